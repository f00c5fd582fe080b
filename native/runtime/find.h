/*
 * The parts of _find_and_load, shared by find.c (which finder has it?), path_finder.c
 * (is it in an archive?), load.c
 * (make the module), unlocked.c (both, and the parent) and import.c (the entry points).
 */
#ifndef PYCDS_FIND_H
#define PYCDS_FIND_H

#include "state.h"

/*
 * What _find_spec found. Lives on the C stack while the module's body runs, once
 * for each import that is nested in another: threads with small stacks nest them
 * as deep as stock does, so no buffers in here.
 */
typedef struct Answer {
    Found found;         /* found.kind == FIND_FILE: serve this file */
    PyObject *path;      /* its path (owned), else NULL */
    PyObject *spec;      /* else a spec of stock's or of a foreign finder (owned), or NULL: not found */
    const char *why;     /* why the archive did not answer, for the log; NULL: nothing to tell */
    PyObject *portions;  /* list of a namespace package's folders seen so far, or NULL (owned by path_finder_find) */
    int ask_path_finder; /* stock's PathFinder must answer for the whole path */
} Answer;

/* sys.modules as importlib sees it: whatever sys.modules is now. New reference; NULL with an exception. */
PyObject *modules_mapping(void);
/* sys.modules.get(name): a new reference; NULL with or without exception. */
PyObject *modules_get(PyObject *modules, PyObject *name);
int modules_set(PyObject *modules, PyObject *name, PyObject *module);

/* The last part of a dotted name, as text of `name`. */
const char *tail_of(const char *name, size_t size, size_t *length);

/*
 * _find_spec(name, path). 0: answer->found (a file to serve), or answer->spec,
 * or neither (not found). -1: an exception.
 */
int find_spec(PyObject *modules, PyObject *name, PyObject *path, Answer *answer);
/* with _ImportLockContext(): finder.find_spec(name, path, None). New reference (maybe None). */
PyObject *ask_finder(PyObject *finder, PyObject *name, PyObject *path);
/*
 * PathFinder.find_spec(name, path) by the layers: answer->found (a file to serve), or answer->spec, or
 * answer->ask_path_finder, or none of them (not found). 0, or -1 with an exception.
 */
int path_finder_find(PyObject *name, PyObject *path, Answer *answer);
void log_stale(PyObject *name, const char *why);
void log_miss(PyObject *name, const char *why);

/* ---- unlocked.c ---- */

/* Raises ModuleNotFoundError(message, name=name); steals `message`, NULL: an exception is set already. */
void raise_not_found(PyObject *message, PyObject *name);
/* New reference or NULL. `lazy`: None where the module, or its parent's __path__, is not there (_find_and_load_lazy_submodule, 3.15). */
PyObject *find_and_load_unlocked(PyObject *name, PyObject *import, int lazy);

/* ---- load.c ---- */

/* _load_unlocked for what find_spec found; uses up answer->spec and answer->path. New reference or NULL. */
PyObject *load_answer(PyObject *name, PyObject *path, Answer *answer);

#endif
