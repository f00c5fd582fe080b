/* For the harness: an archive that was accepted keeps what runtime.h promises. */
#ifndef PYCDS_WALK_H
#define PYCDS_WALK_H

#include "../../native/runtime/index.h"

/* The last reason. */
extern char why[PYCDS_WHY];

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))
/* Names the condition and aborts. */
void check_failed(const char *condition, const char *file, int line);

/* [offset, offset + size) lies in `limit` bytes. */
static inline int inside(uint64_t offset, uint64_t size, uint64_t limit) { return offset <= limit && size <= limit - offset; }

typedef struct Walked {
    unsigned entries, names; /* refused */
    unsigned served;         /* lookups that found a file */
} Walked;

/*
 * Uses every reference of the tables as the runtime does: entries and names only where
 * tables_entry_ok and tables_name_ok allow it; every entry is looked up by index.c, and a
 * refused one is never what it finds. `print`: `, entry N refused`, `, name N refused`.
 */
Walked walk(Archive *a, int print);

/* What find.c does with a file that index.c found; its path is left in `path`. A path that is too long: STAMP_GONE, without a reason. */
StampResult use_found(const Archive *a, const Found *found, char *path, size_t size);

typedef struct Loads {
    unsigned loaded, refused;
} Loads;

/*
 * Loads units [first, last). A unit that is refused was not touched, but for frozensets, which
 * are made last; and no unit writes into another one (nor into the file's mapping, which cannot be written).
 */
void load_units(Archive *a, uint32_t first, uint32_t last, Loads *loads, int print);
/* All of them, then every name. */
void load_all(Archive *a, Loads *loads, int print);

#endif
