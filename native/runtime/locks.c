/*
 * Module locks without their cost while nobody waits (importlib/_bootstrap.py,
 * _ModuleLockManager): creating, acquiring and releasing a _ModuleLock is some
 * 30,000 instructions of bytecode an import, and matters only when a second
 * thread wants the same module.
 *
 * A module that we load is noted in a list instead. Whoever wants its lock comes
 * through _bootstrap._get_module_lock, which is ours: it makes the lock then,
 * and makes it held by the loading thread, as it would have been. From
 * there on all is stock's: waiting, deadlock detection, release. The GIL
 * guards the list; no bytecode runs between a look at it and what follows from it.
 */
#include "state.h"

#include <stdlib.h>

typedef struct Loading {
    PyObject *name;       /* owned */
    unsigned long thread; /* that loads it */
    unsigned long serial; /* tells entries of one name apart */
    PyObject *lock;       /* owned; held for `thread`; NULL while nobody asked */
    struct Loading *next;
} Loading;

static Loading *loading;
static unsigned long serials;

static Loading *find(PyObject *name, unsigned long serial) {
    for (Loading *l = loading; l; l = l->next) {
        if (serial && l->serial != serial) continue;
        int same = l->name == name ? 1 : PyObject_RichCompareBool(l->name, name, PY_EQ);
        if (same == 1) return l;
        if (same < 0) PyErr_Clear();
    }
    return NULL;
}

int locks_enter(PyObject *name, unsigned long *serial) {
    *serial = 0;
    /* Somebody replaced our hook: then nobody would find the list. */
    if (PyDict_GetItemWithError(state.bootstrap_dict, state.n__get_module_lock) != state.our_get_module_lock) return PyErr_Occurred() ? -1 : 0;
    /* A stock lock of that name exists: another thread has or wants it. */
    int taken = PyDict_Contains(state.module_locks, name);
    if (taken < 0) return -1;
    if (taken || find(name, 0)) return 0;
    Loading *l = malloc(sizeof *l);
    if (!l) return 0;
    l->name = py_new_ref(name);
    l->thread = PyThread_get_thread_ident();
    l->serial = *serial = ++serials;
    l->lock = NULL;
    l->next = loading;
    loading = l;
    return 1;
}

int locks_leave(unsigned long serial) {
    for (Loading **at = &loading; *at; at = &(*at)->next) {
        Loading *l = *at;
        if (l->serial != serial) continue;
        *at = l->next;
        PyObject *lock = l->lock;
        Py_DecRef(l->name);
        free(l);
        if (!lock) return 0;
        PyObject *result = PyObject_CallMethodObjArgs(lock, state.n_release, NULL);
        Py_DecRef(lock);
        Py_DecRef(result);
        return result ? 0 : -1;
    }
    return 0;
}

PyObject *locks_get_module_lock(PyObject *self, PyObject *name) {
    (void)self;
    Loading *l = find(name, 0);
    PyObject *lock = PyObject_CallFunctionObjArgs(state.get_module_lock, name, NULL);
    if (!lock || !l) return lock;
    unsigned long serial = l->serial;
    /* Bytecode ran: look again. A lock that somebody made in the meantime is set up already. */
    l = find(name, serial);
    if (!l || l->lock) return lock;
    PyObject *result = PyObject_CallMethodObjArgs(lock, state.n_acquire, NULL);
    if (!result) {
        Py_DecRef(lock);
        return NULL;
    }
    Py_DecRef(result);
    l = find(name, serial);
    if (!l || l->lock) {
        /* Loaded by now, or set up by another thread that came in between: ours was one acquisition too many. */
        result = PyObject_CallMethodObjArgs(lock, state.n_release, NULL);
        Py_DecRef(result);
        if (!result) {
            Py_DecRef(lock);
            return NULL;
        }
        return lock;
    }
    PyObject *owner = PyLong_FromUnsignedLong(l->thread);
    if (!owner || PyObject_SetAttr(lock, state.n_owner, owner) < 0) {
        Py_DecRef(owner);
        Py_DecRef(lock);
        return NULL;
    }
    Py_DecRef(owner);
    l->lock = py_new_ref(lock);
    return lock;
}

int locks_hand_over(void) {
    for (Loading *l = loading; l;) {
        if (l->lock) {
            l = l->next;
            continue;
        }
        PyObject *lock = locks_get_module_lock(NULL, l->name);
        Py_DecRef(lock);
        if (!lock) return -1;
        l = loading; /* bytecode ran: begin again */
    }
    return 0;
}
