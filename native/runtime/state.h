/*
 * What an activation holds: the archives, the parts of importlib that it calls,
 * and counters. One a process, of the main interpreter only.
 */
#ifndef PYCDS_STATE_H
#define PYCDS_STATE_H

#include <stdatomic.h>

#include "index.h"
#include "runtime.h"

/* Attribute names used at every import, interned once. */
#define STATE_NAMES(X) \
    X(__name__) X(__loader__) X(__package__) X(__spec__) X(__path__) X(__file__) X(__cached__) X(__all__) \
    X(__enter__) X(__exit__) X(_initializing) X(_uninitialized_submodules) X(_set_fileattr) X(_cached) X(cached) X(origin) \
    X(loader) X(submodule_search_locations) X(find_spec) X(exec) X(release) X(owner) X(count) X(_get_module_lock) X(pop) X(append) X(extend) X(name) X(path) X(_loaders) X(__dict__) \
    X(gc) X(isenabled) X(__builtins__) X(modules) X(meta_path) X(path_hooks) X(path_importer_cache) X(dont_write_bytecode) X(pycache_prefix) X(__code__) X(co_names) X(__globals__)

/* The most archives that one process serves from: a base, a venv's, an application's, and room. */
#define LAYERS_MAX 8

/* Which of its known forms importlib has here (stock.c): each is 0 or 1. */
typedef struct Forms {
    int always_locks;         /* _find_and_load takes the module lock for a loaded module too (3.9, 3.10) */
    int looks_again;          /* _find_and_load: a loaded module must still be in sys.modules (3.14.8) */
    int hierarchical_locks;   /* a.b is locked together with a (3.15) */
    int none_is_missing;      /* after importing the parent: None in sys.modules does not count as there (3.14) */
    int waits_for_parent;     /* a parent that is initializing is imported again, to wait for it (3.14) */
    int tracks_submodules;    /* specs have _uninitialized_submodules (3.11) */
    int audits;               /* _find_and_load_unlocked raises the event "import" (3.15; before, C does) */
    int sets_lazy_attributes; /* lazy sub-modules become attributes of a loaded module (3.15) */
    int copies_meta_path;     /* (3.14) */
    int sets_cached;          /* modules get __cached__ (until 3.14) */
    int takes_bytes;          /* path entries may be bytes (3.9, 3.10) */
} Forms;

typedef struct State {
    atomic_int active;
    Archive layers[LAYERS_MAX]; /* in the order in which they are asked; none points into another */
    uint32_t layer_count;       /* 0: nothing is served (only traced) */
    char *archives;             /* their paths, separated by ':' */

    PyObject *bootstrap_dict; /* of _frozen_importlib */
    PyObject *external_dict;  /* of _frozen_importlib_external */
    PyObject *imp_dict;       /* of _imp */
    Forms forms;
    /* stock's functions and classes as they were at activation; strong references */
    PyObject *find_and_load, *handle_fromlist; /* replaced by ours */
    PyObject *get_module_lock, *lock_unlock_module; /* replaced by ours */
    PyObject *module_locks;                         /* dict: name → weak reference to its lock */
    PyObject *find_spec, *find_and_load_unlocked, *load_unlocked, *lock_manager, *hierarchical_lock_manager, *module_spec, *namespace_path;
    PyObject *deadlock_error; /* the class */
    PyObject *builtin_importer, *frozen_importer, *path_finder, *file_finder;
    PyObject *source_loader, *sourceless_loader, *extension_loader;
    PyObject *path_importer_cache; /* PathFinder._path_importer_cache, bound */
    PyObject *imp_acquire_lock, *imp_release_lock, *imp_is_frozen, *imp_set_lazy_attributes;
    PyCFunction acquire_lock, release_lock; /* what the two above call, and with what; free-threaded builds only */
    PyObject *imp_self;
    PyObject *builtin_names;       /* frozenset of sys.builtin_module_names */
    PyObject *builtins_dict;
    int (*has_attr_with_error)(PyObject *o, PyObject *name); /* PyObject_HasAttrWithError, NULL before 3.13 */
    char cached_suffix[64];        /* ".cpython-311.pyc" */
    PyObject *our_find_and_load, *our_handle_fromlist, *our_get_module_lock, *our_lock_unlock_module;

#define X(n) PyObject *n_##n;
    STATE_NAMES(X)
#undef X

    _Atomic unsigned long hits, misses, stales;
} State;

extern State state;

static inline void count_event(_Atomic unsigned long *counter) { atomic_fetch_add_explicit(counter, 1, memory_order_relaxed); }

/* ---- stock.c ---------------------------------------------------------------- */

/* Finds what we call of importlib. 0, or -1 with a reason. */
int stock_find(char why[PYCDS_WHY]);
/* Finds out which form importlib has. 0; -1 with a reason when it has one that we do not know. */
int stock_forms(char why[PYCDS_WHY]);

/* ---- layers.c ---------------------------------------------------------------- */

/*
 * Opens the archives of a list, those between `separator`s that are not empty,
 * and compares each with this interpreter. `refused` is told of each that can't
 * be used; the others are in state.layers afterwards. A list that is itself the
 * name of a file is that one file, whatever it has in it.
 */
void layers_open(const char *list, char separator, void (*refused)(const char *archive, const char *why));
/*
 * The list of what is installed beside this library, separated by '\n', malloc'ed: the lines of
 * pycds.data/default.layers (relative ones below pycds.data), else pycds.data/default.pycds. NULL: nothing.
 */
char *layers_installed(void);

/* ---- guard.c ---------------------------------------------------------------- */

/* Remembers what the archive stands in for. 0; -1 with a reason when it is not stock's already now. */
int guard_init(char why[PYCDS_WHY]);
/* Do FileFinders look for the suffixes that the archive's index goes by? They name the C library and the build (musl, glibc). 0; -1 with a reason. */
int guard_suffixes(const Archive *archive, char why[PYCDS_WHY]);
/* A Python function that importlib itself defined. */
int guard_is_importlib_function(PyObject *object);
/* 1 while all of it is unmodified; 0 with a reason (static text) otherwise. Never leaves an exception. */
int guard_holds(const char **why);
/* What sys.path_importer_cache has for a path entry: nothing, None (nobody can find anything there), or a finder. */
typedef enum KnownFinder { FINDER_UNKNOWN, FINDER_NONE, FINDER_SOME } KnownFinder;
/*
 * What PathFinder would use for `entry`: 1 a FileFinder as stock makes it, or none yet and
 * the stock hooks would make one for a folder; 0 something else.
 */
int guard_folder(PyObject *entry, KnownFinder *known);

/* ---- spec.c ------------------------------------------------------------------ */

/* __cached__ of a found source, which _get_cached(origin) would answer: its length in `buffer`, or -1 when it does not fit. */
int cached_text(const Found *found, char *buffer, size_t size);
/* The exact stock spec of an archived or indexed file, as spec_from_file_location makes it. New reference, or NULL with an exception. */
PyObject *spec_for_file(const Found *found, PyObject *name, PyObject *path, PyObject **loader);
/* module_from_spec() for a spec of spec_for_file(). New reference or NULL. */
PyObject *module_for_spec(PyObject *spec, PyObject *loader, PyObject *name, PyObject *path, PyObject *locations);

/* ---- locks.c ------------------------------------------------------------------ */

/*
 * What the GIL guards for us elsewhere (the list of locks.c, units and names, the
 * index's listings, the tracer's set) is guarded by importlib's own import lock in a
 * free-threaded build: stock holds it where we look modules up, a thread may take it
 * again, waiting for it lets the garbage collector stop this thread, and a fork takes it
 * first (Modules/posixmodule.c, PyOS_BeforeFork), so that no child finds what it
 * guards half done. Nothing else is waited for while it is held, except by what stock
 * calls with it held too. A pending exception stays. Nothing of this with a GIL.
 */
#if PY_FREE_THREADED
void imports_lock(void);
void imports_unlock(void);
#else
static inline void imports_lock(void) {}
static inline void imports_unlock(void) {}
#endif

/*
 * Notes that this thread loads `name`, which is not in sys.modules. 1: noted,
 * locks_leave(*serial) must follow. 0: another thread may be at it: take the
 * module lock as stock does. -1: an exception.
 */
int locks_enter(PyObject *name, unsigned long *serial);
/* Done loading: releases the lock if somebody asked for it. 0, or -1 with an exception. */
int locks_leave(unsigned long serial);
/* Makes the locks of all that is being loaded, for stock to go on with. 0, or -1 with an exception. */
int locks_hand_over(void);
/* _bootstrap._get_module_lock(name) */
PyObject *locks_get_module_lock(PyObject *self, PyObject *name);
/* _bootstrap._lock_unlock_module(name): waits until no other thread loads it */
PyObject *locks_lock_unlock_module(PyObject *self, PyObject *name);
/* 1: nobody would be waited for and nothing would be seen if the locks for importing `name` were taken and released. 0, or -1 with an exception. */
int locks_idle(PyObject *name);

/* ---- import.c ------------------------------------------------------------------ */

/* getattr(getattr(module, "__spec__", None), "_initializing", False); -1 with an exception. */
int is_initializing(PyObject *module);
/* True while this thread imports something. */
int import_running(void);
PyObject *import_find_and_load(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames);
PyObject *import_handle_fromlist(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames);

/* ---- pure.c --------------------------------------------------------------------- */

/* Serves and records results of pure functions from now on; with neither an archive that has some nor a trace it does nothing. */
void pure_start(void);
/* Stock computes everything from now on. */
void pure_stop(void);
/* What was served, for the log. */
void pure_log(void);
/* Looks whether re is there by now, and hooks its compiler then: to be called after an import of `name` (NULL: any). */
void pure_regex_imported(PyObject *name);

/* ---- gc.c ---------------------------------------------------------------------- */

/* Finds the collector's state, once the archive is loaded; without it, or under PYCDS_GC=stock, the rest does nothing. */
void gc_init(void);
/* An import begins that really loads something. 1: the outermost, gc_resume() must follow. Leaves a pending exception alone, as the next does. */
int gc_defer(void);
void gc_resume(void);
/* The module gc may be there now: from its functions on the program's word counts. */
void gc_module_imported(void);
/* From now on the collector is stock's. */
void gc_give_up(void);
/* Imports still defer the collector in this process. */
int gc_is_deferred(void);
/*
 * Appends to the list `found` each object of the collector's lists that `wanted` says 1 to, in the lists' order, the oldest
 * generation first, as gc.get_objects() has them. `wanted` must neither make nor free containers. 0; -1: their place is
 * not known, or, with an exception, no memory.
 */
int gc_find_objects(int (*wanted)(PyObject *object, void *argument), void *argument, PyObject *found);

/* ---- arenas.c ---------------------------------------------------------------- */

/* From now on what imports make lies in huge pages, unless PYCDS_ARENAS=stock. Of the process: it outlives the interpreter. */
void arenas_init(void);

/* ---- types.c -------------------------------------------------------------------- */

/* PYCDS_TYPES=fast or check, once the archive is loaded. Leaves no exception. */
void types_init(void);
/* From now on classes are stock's. `why`: static text. */
void types_off(const char *why);
/* The same at the end of the interpreter, whose objects are gone then. */
void types_stop(void);
/* What was made, for the log. */
void types_log(void);
/* A dict for status(). New reference or NULL. */
PyObject *types_status(void);

/* ---- exit.c --------------------------------------------------------------------- */

/* PYCDS_EXIT=fast. Leaves no exception. */
void exit_init(void);
/* From now on this process ends without teardown. 1, or 0 where that is not done. */
int exit_arm(void);

/* ---- trace.c -------------------------------------------------------------------- */

extern atomic_int trace_active;
/* Starts tracing into `path`: header and the modules already loaded. 0, or -1 with a reason. */
int trace_start(const char *path, char why[PYCDS_WHY]);
/* One line for a module that is about to be loaded from `spec`. Exceptions are swallowed. */
void trace_spec(PyObject *name, PyObject *spec, int served);
void trace_missing(PyObject *name);
/* A source string (UTF-8) that is being compiled, `kind` as Pure.kind; a pattern that re compiled. */
void trace_source(uint32_t kind, uint32_t flags, const char *text, size_t size);
void trace_pattern(PyObject *pattern, uint32_t flags);
/* sys.path entries not seen before. */
void trace_sys_path(void);

#endif
