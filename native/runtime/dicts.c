/*
 * Two ways to be told that a dict changed, by version:
 *
 *   until 3.11  each dict has a version tag, taken from a counter of the process at each change (PEP 509:
 *               Include/cpython/dictobject.h, ma_version_tag). Believed where a dict of our own shows it at work.
 *   from 3.12   a watcher is called before each change of the dicts that it was given (PyDict_AddWatcher; not in the
 *               stable ABI, so taken by name). An interpreter has eight; we take one, or do without.
 *
 * Without a GIL a change could fall between the question and the use of its answer: nothing is known there.
 */
#define _GNU_SOURCE
#include "dicts.h"

#include <dlfcn.h>
#include <string.h>

enum { TAG_OFFSET = 24 /* PyDictObject: header, ma_used, ma_version_tag */ };
static enum { UNDECIDED, TAGS, WATCHER, NEITHER } way;

static uint64_t tag_of(PyObject *dict) {
    uint64_t tag;
    memcpy(&tag, (const char *)dict + TAG_OFFSET, sizeof tag);
    return tag;
}

/* A dict's word at that place goes up at each change, of a value alone too, and stays when it is only read. */
static int has_tags(void) {
    PyObject *one = PyDict_New(), *two = PyDict_New(), *key = PyUnicode_InternFromString("path");
    int works = 0;
    if (one && two && key && PyDict_SetItem(one, key, PY_NONE) == 0) {
        const uint64_t first = tag_of(one);
        const int read = PyDict_GetItemWithError(one, key) == PY_NONE && tag_of(one) == first;
        const int changed = PyDict_SetItem(one, key, PY_TRUE) == 0;
        const uint64_t second = tag_of(one);
        const int other = PyDict_SetItem(two, key, PY_TRUE) == 0 && tag_of(one) == second;
        works = read && changed && second > first && other && tag_of(two) > second && PyDict_DelItem(one, key) == 0 && tag_of(one) > tag_of(two);
    }
    PyErr_Clear();
    Py_DecRef(key);
    Py_DecRef(two);
    Py_DecRef(one);
    return works;
}

static uint64_t changes = 1; /* of any watched dict */
static int watcher;
static int (*watch)(int watcher, PyObject *dict);

/* (event, dict, key, new value): before it happens; nothing but noting is done. */
static int changed(int event, PyObject *dict, PyObject *key, PyObject *value) {
    (void)event, (void)dict, (void)key, (void)value;
    changes++;
    return 0;
}

static int has_watcher(void) {
    int (*add)(int (*callback)(int event, PyObject *dict, PyObject *key, PyObject *value));
    void *const add_address = dlsym(RTLD_DEFAULT, "PyDict_AddWatcher"), *const watch_address = dlsym(RTLD_DEFAULT, "PyDict_Watch");
    if (!add_address || !watch_address) return 0;
    memcpy(&add, &add_address, sizeof add);
    memcpy(&watch, &watch_address, sizeof watch);
    watcher = add(changed);
    if (watcher < 0) PyErr_Clear();
    return watcher >= 0;
}

void dicts_watch(PyObject *dict) {
    if (way == UNDECIDED) {
        PyObject *version = PySys_GetObject("hexversion");
        const long hexversion = version ? PyLong_AsLong(version) : 0;
        way = PY_FREE_THREADED ? NEITHER : hexversion < 0x030c0000 ? (has_tags() ? TAGS : NEITHER) : has_watcher() ? WATCHER : NEITHER;
    }
    if (way == WATCHER && watch(watcher, dict) < 0) {
        PyErr_Clear();
        way = NEITHER;
    }
}

uint64_t dicts_stamp(PyObject *dict) { return way == TAGS ? tag_of(dict) : way == WATCHER ? changes : 0; }
