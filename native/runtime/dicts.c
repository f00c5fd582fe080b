/*
 * Two ways to be told that a dict changed, by version:
 *
 *   until 3.11  each dict has a version tag, taken from a counter of the process at each change (PEP 509:
 *               Include/cpython/dictobject.h, ma_version_tag). Its place is looked for: the one word of a dict that
 *               dicts of our own show at work.
 *   from 3.12   a watcher is called before each change of the dicts that it was given (PyDict_AddWatcher; not in the
 *               stable ABI, so taken by name). An interpreter has eight; we take one, or do without.
 *
 * Without a GIL a change could fall between the question and the use of its answer: nothing is known there.
 */
#define _GNU_SOURCE
#include "dicts.h"

#include <dlfcn.h>
#include <string.h>

static enum { UNDECIDED, TAGS, WATCHER, NEITHER } way;
static size_t tag_offset; /* in a PyDictObject */

static uint64_t tag_of(PyObject *dict) {
    uint64_t tag;
    memcpy(&tag, (const char *)dict + tag_offset, sizeof tag);
    return tag;
}

/* The word at tag_offset goes up at each change, of a value alone too, from one counter for all dicts, and stays when a dict is only read. */
static int is_tag(PyObject *key) {
    PyObject *one = PyDict_New(), *two = PyDict_New();
    int works = 0;
    if (one && two && PyDict_SetItem(one, key, PY_NONE) == 0) {
        const uint64_t first = tag_of(one);
        const int read = PyDict_GetItemWithError(one, key) == PY_NONE && tag_of(one) == first;
        const int changed = PyDict_SetItem(one, key, PY_TRUE) == 0;
        const uint64_t second = tag_of(one);
        const int other = PyDict_SetItem(two, key, PY_TRUE) == 0 && tag_of(one) == second;
        works = read && changed && second > first && other && tag_of(two) > second && PyDict_DelItem(one, key) == 0 && tag_of(one) > tag_of(two);
    }
    Py_DecRef(two);
    Py_DecRef(one);
    return works;
}

/* Exactly one word behind the header is a tag. */
static int has_tags(void) {
    PyObject *key = PyUnicode_InternFromString("path"), *size = PyObject_GetAttrString((PyObject *)&PyDict_Type, "__basicsize__");
    const long end = size ? PyLong_AsLong(size) : 0;
    size_t place = 0;
    int count = 0;
    for (tag_offset = sizeof(PyObject *); key && tag_offset + sizeof(uint64_t) <= (size_t)(end > 0 ? end : 0); tag_offset += sizeof(uint64_t)) {
        if (!is_tag(key)) continue;
        place = tag_offset;
        count++;
    }
    tag_offset = place;
    PyErr_Clear();
    Py_DecRef(size);
    Py_DecRef(key);
    return count == 1;
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
