/*
 * Module locks without their cost while nobody waits (importlib/_bootstrap.py,
 * _ModuleLockManager): creating, acquiring and releasing a _ModuleLock is some
 * 30,000 instructions of bytecode an import, and matters only when a second
 * thread wants the same module.
 *
 * A module that we load is noted in a list instead. Whoever wants its lock comes
 * through _bootstrap._get_module_lock, which is ours: it makes the lock then, in
 * the state in which it would be: held by the loading thread. From there on all is
 * stock's: waiting, deadlock detection, release. The GIL guards the list; no
 * bytecode runs between a look at it and what follows from it. In a free-threaded
 * build the import lock guards it: stock makes module locks and takes them out of
 * _module_locks with that held, so "no such lock, nobody loads it: noted" is one
 * step there too, as is "made, and in the state that the list says".
 *
 * A thread may load a module twice at a time (a package whose body imports the
 * very sub-module on whose behalf it is being imported): two entries, and a lock
 * held twice. From 3.15 on (_HierarchicalLockManager) a.b is locked together
 * with a, unless that is loaded: entries of one serial number.
 */
#include "find.h"

#include <stdlib.h>
#include <string.h>

typedef struct Loading {
    PyObject *name;       /* owned */
    unsigned long thread; /* that loads it */
    unsigned long serial; /* one for all entries of one import */
    PyObject *lock;       /* owned; held for `thread`; NULL while nobody asked */
    struct Loading *next;
} Loading;

static Loading *loading;      /* guarded by the GIL, or by imports_lock() */
static unsigned long serials; /* likewise */

#if PY_FREE_THREADED
void imports_lock(void) { Py_DecRef(state.acquire_lock(state.imp_self, NULL)); }

void imports_unlock(void) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *result = state.release_lock(state.imp_self, NULL);
    if (!result) PyErr_Clear(); /* not ours: somebody else released it */
    Py_DecRef(result);
    PyErr_Restore(type, value, traceback);
}
#endif

/* Names are exact str: comparing them runs no bytecode. */
static int same_name(PyObject *a, PyObject *b) {
    return a == b || PyUnicode_Compare(a, b) == 0;
}

/* 1: no lock of that name exists and no other thread loads it. 0; -1 with an exception. */
static int is_idle(PyObject *name) {
    int exists = PyDict_Contains(state.module_locks, name);
    if (exists) return exists < 0 ? -1 : 0;
    unsigned long thread = PyThread_get_thread_ident();
    for (const Loading *l = loading; l; l = l->next)
        if (l->thread != thread && same_name(l->name, name)) return 0;
    return 1;
}

/* ---- the packages that a module is in ---------------------------------------------------- */

enum { DEEPEST = 24 }; /* what is nested deeper takes stock's locks */

/* `name` with the packages that it is in, from the outermost to `name` itself, where they are locked together; else `name` alone. New references; 0 for too deep, -1 error. */
static int chain_of(PyObject *name, PyObject *chain[DEEPEST]) {
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(name, &size), *dot;
    if (!text) return -1;
    int count = 0;
    for (const char *at = text; state.forms.hierarchical_locks && (dot = strchr(at, '.')) != NULL; at = dot + 1) {
        chain[count] = count < DEEPEST - 1 ? PyUnicode_FromStringAndSize(text, dot - text) : NULL;
        if (!chain[count]) {
            int failed = count < DEEPEST - 1;
            while (count > 0) Py_DecRef(chain[--count]);
            return failed ? -1 : 0;
        }
        count++;
    }
    chain[count++] = py_new_ref(name);
    return count;
}

static void free_chain(PyObject *chain[DEEPEST], int count) {
    while (count > 0) Py_DecRef(chain[--count]);
}

/* Drops what is loaded already, as _HierarchicalLockManager.__enter__ does; how many are left, or -1 (all are dropped). */
static int drop_loaded(PyObject *chain[DEEPEST], int count) {
    PyObject *modules = modules_mapping();
    int left = 0, failed = !modules;
    for (int i = 0; i < count; i++) {
        PyObject *module = failed ? NULL : modules_get(modules, chain[i]);
        int wanted = module ? is_initializing(module) : 1;
        failed |= wanted < 0 || PyErr_Occurred() != NULL;
        Py_DecRef(module);
        if (wanted && !failed) chain[left++] = chain[i];
        else Py_DecRef(chain[i]);
    }
    Py_DecRef(modules);
    if (!failed) return left;
    free_chain(chain, left);
    return -1;
}

static int all_idle(PyObject *chain[DEEPEST], int count) {
    for (int i = 0; i < count; i++) {
        int idle = is_idle(chain[i]);
        if (idle <= 0) return idle;
    }
    return 1;
}

int locks_idle(PyObject *name) {
    PyObject *chain[DEEPEST];
    int count = chain_of(name, chain);
    if (count <= 0) return count;
    imports_lock();
    int idle = all_idle(chain, count);
    imports_unlock();
    free_chain(chain, count);
    return idle;
}

/* ---- begin and end of an import ------------------------------------------------------------ */

static int note(PyObject *name, unsigned long serial) {
    Loading *l = malloc(sizeof *l);
    if (!l) return -1;
    l->name = py_new_ref(name);
    l->thread = PyThread_get_thread_ident();
    l->serial = serial;
    l->lock = NULL;
    l->next = loading;
    loading = l;
    return 0;
}

/* Our _get_module_lock is in its place: else nobody would find the list. 1, 0, -1 with an exception. */
static int is_hooked(void) {
    PyObject *hook = py_dict_get(state.bootstrap_dict, state.n__get_module_lock);
    Py_DecRef(hook); /* compared only */
    return hook == state.our_get_module_lock ? 1 : PyErr_Occurred() ? -1 : 0;
}

int locks_enter(PyObject *name, unsigned long *serial) {
    PyObject *chain[DEEPEST];
    *serial = 0;
    int count = chain_of(name, chain);
    if (count > 1) count = drop_loaded(chain, count);
    if (count <= 0) return count;
    /* From here on no bytecode runs. A lock that exists is one that another thread has or wants. */
    imports_lock();
    int result = is_hooked();
    if (result == 1) result = all_idle(chain, count);
    if (result == 1) *serial = ++serials;
    for (int i = 0; result == 1 && i < count; i++) {
        if (note(chain[i], *serial) < 0) {
            result = locks_leave(*serial); /* no memory: 0, stock's locks are taken */
        }
    }
    imports_unlock();
    free_chain(chain, count);
    return result;
}

/* Takes the entries of one import out of the list, the innermost first, as they stand in it. */
static Loading *take_out(unsigned long serial) {
    Loading *taken = NULL, **last = &taken;
    imports_lock();
    for (Loading **at = &loading; *at;) {
        Loading *l = *at;
        if (l->serial != serial) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        l->next = NULL;
        *last = l;
        last = &l->next;
    }
    imports_unlock();
    return taken;
}

int locks_leave(unsigned long serial) {
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    PyErr_Fetch(&type, &value, &traceback); /* releasing runs bytecode, which must not begin with an exception set */
    /* All are out of the list before the first is released: releasing runs bytecode. */
    for (Loading *l = take_out(serial), *next; l; l = next) {
        next = l->next;
        PyObject *lock = l->lock;
        Py_DecRef(l->name);
        free(l);
        if (!lock) continue;
        PyObject *released = PyObject_CallMethodObjArgs(lock, state.n_release, NULL);
        if (!released && type) PyErr_Clear();
        else if (!released) PyErr_Fetch(&type, &value, &traceback);
        Py_DecRef(released);
        Py_DecRef(lock);
    }
    if (!type) return 0;
    PyErr_Restore(type, value, traceback);
    return -1;
}

/* ---- importlib's functions -------------------------------------------------------------------- */

/*
 * Puts a lock that nobody holds yet into the state that it has when `thread` has
 * acquired it `count` times: _ModuleLock.owner and .count, a number until 3.11 and
 * a list of True since. Plain attributes: no bytecode runs, so no thread sees half of it.
 */
static int hold(PyObject *lock, unsigned long thread, long count) {
    PyObject *owner = PyLong_FromUnsignedLong(thread), *before = PyObject_GetAttr(lock, state.n_count), *held = NULL;
    if (before && py_is_list(before)) {
        held = PyList_New(count);
        for (Py_ssize_t i = 0; held && i < count; i++) PyList_SetItem(held, i, py_new_ref(PY_TRUE));
    } else if (before) {
        held = PyLong_FromLong(count);
    }
    int result = owner && held && PyObject_SetAttr(lock, state.n_owner, owner) == 0 && PyObject_SetAttr(lock, state.n_count, held) == 0 ? 0 : -1;
    Py_DecRef(owner);
    Py_DecRef(before);
    Py_DecRef(held);
    return result;
}

static PyObject *get_module_lock(PyObject *name) {
    PyObject *lock = PyObject_CallFunctionObjArgs(state.get_module_lock, name, NULL);
    if (!lock || !py_is_str(name)) return lock;
    /* All entries of one name are of one thread, and either all have the lock or none: none is added once the lock exists. */
    unsigned long thread = 0;
    long count = 0;
    for (const Loading *l = loading; l; l = l->next) {
        if (l->lock || !same_name(l->name, name)) continue;
        thread = l->thread;
        count++;
    }
    if (count == 0) return lock;
    if (hold(lock, thread, count) < 0) {
        Py_DecRef(lock);
        return NULL;
    }
    for (Loading *l = loading; l; l = l->next)
        if (!l->lock && same_name(l->name, name)) l->lock = py_new_ref(lock);
    return lock;
}

PyObject *locks_get_module_lock(PyObject *self, PyObject *name) {
    (void)self;
    imports_lock();
    PyObject *lock = get_module_lock(name);
    imports_unlock();
    return lock;
}

PyObject *locks_lock_unlock_module(PyObject *self, PyObject *name) {
    (void)self;
    imports_lock();
    int idle = py_is_str(name) ? is_idle(name) : 0;
    imports_unlock();
    if (idle < 0) return NULL;
    return idle ? py_new_ref(PY_NONE) : PyObject_CallFunctionObjArgs(state.lock_unlock_module, name, NULL);
}

int locks_hand_over(void) {
    for (const Loading *l = loading; l;) {
        if (l->lock) {
            l = l->next;
            continue;
        }
        PyObject *name = py_new_ref(l->name); /* the entry may end with its thread's import meanwhile */
        PyObject *lock = locks_get_module_lock(NULL, name);
        Py_DecRef(name);
        Py_DecRef(lock);
        if (!lock) return -1;
        l = loading; /* bytecode ran: begin again */
    }
    return 0;
}
