/*
 * The path index: what FileFinder would find, folder by folder.
 * No Python objects in here; the callers hold the GIL and imports_lock().
 */
#ifndef PYCDS_INDEX_H
#define PYCDS_INDEX_H

#include <sys/stat.h>

#include "runtime.h"

typedef enum FindKind {
    FIND_ABSENT,    /* no candidate in this folder */
    FIND_ASK,       /* the listing cannot decide, or the folder is not in the index: ask its stock finder */
    FIND_FILE,      /* a module file: `file_entry` */
    FIND_NAMESPACE, /* a folder without __init__: part of a namespace package */
} FindKind;

typedef struct Found {
    FindKind kind;
    Archive *archive;         /* FIND_FILE: the layer that has it */
    const PycdsEntry *file;   /* FIND_FILE: the file's entry (a package's __init__) */
    uint32_t folder;          /* FIND_FILE: the folder that holds the file */
    int is_package;
} Found;

/* What index_folder looks a path up by; the same for every layer. */
uint64_t index_path_hash(const char *path, size_t length);
/* Index of the archived folder `path`, or PYCDS_NONE. */
uint32_t index_folder(Archive *archive, uint64_t hash, const char *path, size_t length);
/* The same by the path that it was recorded with. */
uint32_t index_recorded(const Archive *archive, uint64_t hash, const char *path, size_t length);
int64_t index_mtime_ns(const struct stat *st);

/*
 * What FileFinder(folder).find_spec(tail) would find in an archived folder, its mtime checked as FileFinder does.
 * FIND_ABSENT, FIND_FILE and FIND_NAMESPACE are true of the folder, so each layer that does not say FIND_ASK says the same.
 */
void index_find(Archive *archive, uint32_t folder, const char *tail, size_t length, Found *found);

/*
 * The same for a folder that no archive knows: FIND_ABSENT when a listing of
 * the folder has no candidate for `tail`, else FIND_ASK.
 */
FindKind index_find_unknown(const Archive *archive, const char *path, size_t path_length, const char *tail, size_t length);

/* Builds the path of a found file into `buffer`; 0, or -1 when it does not fit. `suffix` comes from the entry. */
int index_file_path(const Archive *archive, const Found *found, char *buffer, size_t size, size_t *length);

typedef enum StampResult { STAMP_FRESH, STAMP_STALE, STAMP_GONE } StampResult;

/*
 * Compares a file with its entry's stamp (design.md, decision 5).
 * STAMP_STALE: it changed, a reason is in `why`. STAMP_GONE: not a regular file any more.
 */
StampResult index_stamp(const Archive *archive, const Found *found, const char *path, char why[PYCDS_WHY]);

typedef enum PycResult {
    PYC_KEPT,  /* stock would load it and leave it, or has none and may write none */
    PYC_DUE,   /* stock would write a new one */
    PYC_OTHER, /* stock would run another one than was archived */
} PycResult;

/*
 * What stock would do with `pyc`, that of a source at `path` whose stamp holds (docs/decisions/0018).
 */
PycResult index_pyc(const Archive *archive, const Found *found, const char *path, const char *pyc);
/* 1: PYC_KEPT without a look at the file, where its __pycache__ is as it was; or nobody asks, of sealed archives and those that go by contents. */
int index_pyc_intact(Archive *archive, const Found *found);

#endif
