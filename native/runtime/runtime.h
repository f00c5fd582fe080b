/*
 * Internals of the runtime library, file by file. Reading order:
 *   py.h        the CPython C API we use, declared without Python.h
 *   archive.c   maps a file and validates it          (no Python)
 *   pages.c     memory for objects, in huge pages where there are any (no Python)
 *   read.c      reads units and name blocks into it   (no Python)
 *   externals.c types, singletons, small ints of this interpreter
 *   digest.c, digest_avx2.c  digests of what is large  (no Python)
 *   names.c     interned names, each made canonical once
 *   unit.c      digests and relocates one module's objects; slots.h, shapes.c: its streams, objects told by their shape
 *   selfcheck.c compares the target's layout with live objects
 *   places.c    where an archived folder lies, should its tree have moved (no Python objects)
 *   index.c     the path index: what FileFinder would find (no Python objects)
 *   stamp.c     is a file still what it was; what stock would write (no Python objects)
 *   stock.c     which form importlib has in this Python
 *   guard.c     is what the archive stands in for still stock's?
 *   spec.c      exact stock specs, loaders and modules
 *   layers.c    the archives that an activation serves from, in order
 *   path_finder.c  PathFinder.find_spec by the archives' indexes
 *   find.c      _find_spec: each finder in its turn, the archives in PathFinder's place
 *   load.c      _load_unlocked for a served file
 *   locks.c     module locks, made when a second thread asks
 *   unlocked.c  _find_and_load_unlocked: the parent, find, load, bind
 *   import.c    _find_and_load and _handle_fromlist
 *   dicts.c     has a dict changed?
 *   pure*.c     results of pure functions: code of source strings, patterns (pure.h)
 *   gc.c        the collector, deferred during outermost imports
 *   arenas.c    memory for what imports make, in huge pages
 *   exit.c      an exit that leaves modules as they are, for programs that ask for it
 *   trace.c     records imports
 *   log.c       PYCDS_LOG, PYCDSVERBOSE
 *   module.c    activation; the extension module `_pycds`
 *
 * Threads. Two libraries are made of these files: _pycds.so, under the GIL, and _pycds_t.so
 * (PYCDS_FREE_THREADED) for builds without it, where what the GIL guards is guarded by
 * importlib's import lock (imports_lock() of state.h; nothing in _pycds.so). What can change, and why no two threads meet in it:
 *   written by activation only, before imports go through us   `state` (all but the counters, `active`); module.c mode,
 *       started_pid, refusal; externals.c table, done; guard.c watches, path_finder_vars, hooks, hook_count, finder_loaders,
 *       finder_attributes; dicts.c way, tag_offset, watcher, watch; py.c py_sys_dict, py_code_type, py_function_type; log.c log_wanted, to_stderr, verbose, file; trace.c trace_path
 *   never written but by the interpreter, which makes them immortal or counts them   methods, and what ends in _def
 *   under imports_lock()   locks.c loading, serials; index.c listings, and those of unknown folders (unknown, unknown_count,
 *       unknown_capacity); Archive.unit_state, block_state, canonical, unit_base, block_base, next_unit, step, hot_read, names_read, asked_from, asked, pures_populated (unit.c, names.c, read.c); pages.c
 *       next, ready, end, huge; unit.c
 *       version counter (counter points at it); trace.c seen_entries
 *   atomic   state.active, hits, misses, stales; digest.c answer; module.c started, disabled, activating; py.c progress (of the module
 *       definition, def and slots, which is filled once); trace.c trace_active; unit.c's own counter of code versions
 *   of one thread   import.c depth, running; gc.c mine
 *   under the GIL; in _pycds_t.so nothing of it is used, since pure_start(), gc_init(), arenas_init(), exit_arm() and types_init() install nothing there
 *       pure.c on, interpreter, pure_sources_served, pure_patterns_served; pure_hook.c stock, sample; pure_parser.c parts,
 *       part_count, function_code, standard_path; pure_regex.c sre, sre_compile, get_trace, get_profile, get_tool, all_events, get_evaluator,
 *       usual_evaluator, done; pure_site.c re_dict, compiler_module; pure_source.c merge_flags, interns_filenames,
 *       string_filename, builtin_exec, builtin_eval, builtin_compile, mark, marks_inside, marked; gc.c collector, located, generations, abi, cap, on, raised, sentinel, began, wrapped, wrapped_module; exit.c armed, armed_in,
 *       gone, kept, seen; arenas.c stock, regions; dicts.c changes, and guard.c bootstrap_stamp, external_stamp, which are 0 for ever there; types.c mode, off_reason,
 *       by_stock, fast_count, anew_count, checked_count, mismatch_count, collector_off, collector_on, window, super_new, super_call,
 *       odd_class; types_check.c calls, late; types_rules.c first_interpreter, next_interpreter, cell_content, cell_type,
 *       static_method_type, class_method_type, stock_mro, name_set_name, name_mro, name_name, specials, stock_name, heap_alloc,
 *       dict_iter, type_getattr; types_slots.c slot_table, facts, slot_names, donors
 * An image's objects are immortal and untracked; what CPython writes in them (hashes, UTF-8, ob_mutex,
 * quickening) it writes as in objects of its own. References out of sys, importlib's dicts and
 * lists of the program's are never borrowed (py.h, "references out of what other threads may change").
 *
 * Error model: every check before activate()'s point of no return refuses the
 * archive with a reason; after it, a doubt about one module is a miss or stale
 * and stock imports that module.
 */
#ifndef PYCDS_RUNTIME_H
#define PYCDS_RUNTIME_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "../include/pycds_format.h"
#include "py.h"

#define PYCDS_EXPORT __attribute__((visibility("default")))
#define PYCDS_WHY 256 /* bytes of a reason text */

/* ---- archive.c, no Python ------------------------------------------------- */

/* A root whose present path is known (places.c). */
typedef struct Anchor {
    const char *recorded; /* without slashes at the end, by their lengths */
    char *actual;
    size_t recorded_length, actual_length;
} Anchor;
#define ANCHORS_MAX 3

typedef struct Archive {
    char *path;             /* as given, malloc'ed */
    dev_t device;           /* with inode: which file `path` was */
    ino_t inode;
    const uint8_t *map;     /* the file, mapped to be read */
    size_t map_size;
    const PycdsFileHeader *header;
    const PycdsAbi *abi;
    const PycdsSelfCheck *self_checks;
    uint32_t self_check_count;
    const char *strings;
    uint64_t strings_size;  /* last byte is NUL (validated) */
    const PycdsRoot *roots;
    uint32_t root_count;
    const PycdsSuffix *suffixes;
    uint32_t suffix_count;
    const PycdsFolder *folders;
    uint32_t folder_count;
    const uint32_t *folder_hash;
    uint32_t folder_hash_size;   /* power of two */
    const PycdsEntry *entries;
    uint32_t entry_count;
    const uint32_t *entry_hash;
    uint32_t entry_hash_size;    /* power of two */
    const PycdsUnit *units;
    uint32_t unit_count;
    const uint16_t *names;
    uint32_t name_count;
    const PycdsNameBlock *name_blocks;
    uint32_t name_block_count;
    const PycdsPure *pures;
    uint32_t pure_count;
    const uint32_t *pure_hash;
    uint32_t pure_hash_size;     /* power of two */
    const uint8_t *pure_data;
    uint64_t pure_data_size;
    const uint8_t *relocations;
    uint64_t relocations_size;
    const uint8_t *data;    /* DATA as the file has it: used are units and name blocks that were read into memory of their own */
    uint64_t data_size;
    /* run-time state, one slot an item, zeroed */
    uint8_t *unit_state;    /* UNIT_* */
    uint8_t *block_state;   /* UNIT_*, one a name block */
    uint32_t *pure_uses;    /* copies made, one a pure result */
    PyObject **canonical;   /* interned name objects, borrowed for ever */
    uint8_t **unit_base;    /* where a unit's bytes were read to; NULL: not yet */
    uint8_t **block_base;   /* the same of a name block */
    uint32_t prelinked;     /* units whose external slots were right as they were */
    uint32_t next_unit;     /* the one behind those that were read last */
    uint64_t step;          /* how much of the hot part will be read at once when it is asked for; 0: only the unit */
    uint64_t hot_read, names_read; /* bytes of the hot part, and of name blocks, that were read */
    uint64_t asked_from, asked; /* of the file: what the kernel was last asked to have at hand */
    struct Listing **listings; /* index.c: of folders that changed, by folder; NULL: none so far */
    int pures_populated;    /* 1 done, -1 the file was cut */
    int pures_alone;        /* how many were faulted in each by itself */
    uint8_t *cache_state;   /* stamp.c: what is known of __pycache__, by folder; NULL: nothing so far */
    Anchor anchors[ANCHORS_MAX];
    uint32_t anchor_count;
    char **places;          /* places.c: where folders lie, by folder; NULL: nothing moved */
} Archive;

enum { UNIT_NEW = 0, UNIT_READY = 1, UNIT_BAD = 2 };

/*
 * Maps `path` and validates everything that is checked at start: file type,
 * owner and permissions, size, magic, byte order, version, features, section
 * table, header and eager-section digests, every table's bounds and string
 * references. Does not look at the interpreter.
 * Returns 0; or -1 with a reason (no path in it) in `why`; nothing stays mapped then.
 */
int archive_open(const char *path, Archive *archive, char why[PYCDS_WHY]);
/* Unmaps what archive_open mapped. Only legal before any unit was loaded. */
void archive_close(Archive *archive);
/* String at a validated reference. */
static inline const char *archive_string(const Archive *a, uint32_t ref) { return a->strings + ref; }

/* ---- read.c, no Python ------------------------------------------------------ */

/*
 * A unit's bytes in memory of their own, writable, as the file has them until they are relocated; not digested. In
 * the hot part those that follow it are read along. NULL with a reason in `why`; it may be asked for again.
 */
uint8_t *archive_unit(Archive *archive, uint32_t unit, char why[PYCDS_WHY]);
/* The same of a name block. */
uint8_t *archive_block(Archive *archive, uint32_t block, char why[PYCDS_WHY]);
/*
 * Faults in, for reading, what serving this pure result reads, and after a few all of them. 0, or -1 when the file was cut:
 * touching it would be SIGBUS.
 */
int archive_populate_pure(Archive *archive, const PycdsPure *pure);

/* ---- externals.c, names.c, unit.c, selfcheck.c: need the GIL, names.c and unit.c imports_lock() too -------------- */

/* Fills the table of external references; once a process. 0, or -1 with a Python exception set. */
int externals_init(const Archive *archive);
/* New table entry or NULL for a number that does not exist. Borrowed, lives for ever. */
PyObject *external_object(uint32_t number);

/* Canonical interned string of name `index`; borrowed, lives for ever. NULL: damaged block or (with an exception set) no memory. */
PyObject *name_object(Archive *archive, uint32_t index);

/*
 * The code object of a unit, digested and relocated at the first call; later
 * calls return it at once. Borrowed, lives for ever (the image is never freed).
 * `filename`: exact str for co_filename; a reference is kept for ever at the first call.
 * NULL with a reason in `why` and no exception: damaged (state UNIT_BAD from then on).
 * NULL with an exception set: no memory.
 */
PyObject *unit_code(Archive *archive, uint32_t unit, PyObject *filename, char why[PYCDS_WHY]);

/*
 * A code object of its own from a unit that is never loaded itself: each call
 * copies its bytes. Borrowed, lives for ever. NULL, perhaps with an exception: make it as stock does.
 */
PyObject *unit_copy(Archive *archive, uint32_t unit, PyObject *filename);

/* 0 when the running interpreter is the one built for and every self-check agrees; -1 with a reason (exceptions are cleared). */
int selfcheck(const Archive *archive, char why[PYCDS_WHY]);

/* ---- log.c ----------------------------------------------------------------- */

/* Reads PYCDS_LOG (FILE or "stderr") and PYCDSVERBOSE (0, 1, 2); no descriptor is kept open between events. */
void log_init(void);
/* True when an event would be written somewhere: guards the cost of formatting. */
extern int log_wanted;
/* One line, `pycds: ` and newline are added; written with one write(2). */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- module.c --------------------------------------------------------------- */

typedef struct Request {
    uint32_t size;       /* sizeof(Request) of the caller */
    const char *archive; /* path, or several separated by ':' (layers.c); NULL: serve nothing */
    const char *trace;   /* path that trace lines are appended to, or NULL */
} Request;

/*
 * Entry point for native/launch (found by dlsym as "pycds_start"): GIL held,
 * interpreter initialised, user code not yet run. Replaces an activation that
 * a .pth made. Returns 0 (active) or -1 (refused or nothing to do; the reason
 * is in the log). Under PYCDS=on a refused archive ends the process with status 2.
 */
PYCDS_EXPORT int pycds_start(const Request *request);

#endif
