/*
 * Just enough of CPython's API for archive.c, names.c, externals.c and unit.c
 * to run without Python, so that they can be fuzzed under the sanitizers. Every
 * function checks what it is given as the real one would need it.
 */
#include "fake_python.h"

#include <stdio.h>
#include <stdlib.h>

struct _object {
    int64_t references;
    PyObject *type;
};

#define TYPE(name) PyObject name = {1, &PyType_Type}
PyObject PyType_Type = {1, &PyType_Type};
TYPE(PyUnicode_Type);
TYPE(PyBytes_Type);
TYPE(PyTuple_Type);
TYPE(PyLong_Type);
TYPE(PyFloat_Type);
TYPE(PyComplex_Type);
TYPE(PyFrozenSet_Type);
TYPE(PySlice_Type);
TYPE(PyCode_Type);
PyObject *py_code_type = &PyCode_Type; /* py.c is not part of the harness */
PyObject _Py_NoneStruct = {1, &PyType_Type}, _Py_TrueStruct = {1, &PyType_Type}, _Py_FalseStruct = {1, &PyType_Type}, _Py_EllipsisObject = {1, &PyType_Type};

static PyObject memory_error = {1, &PyType_Type}, stop_iteration = {1, &PyType_Type};
PyObject *PyExc_MemoryError = &memory_error, *PyExc_StopIteration = &stop_iteration;

int fake_sets_fail;
static PyObject *error;

static PyObject *make(PyObject *type) {
    PyObject *o = malloc(sizeof *o);
    if (o == NULL) abort();
    *o = (PyObject){1, type};
    return o;
}

void Py_IncRef(PyObject *o) {
    if (o != NULL) o->references++;
}
void Py_DecRef(PyObject *o) {
    if (o != NULL && --o->references == 0) free(o);
}

PyObject *PyErr_Occurred(void) { return error; }
void PyErr_Clear(void) { error = NULL; }
int PyErr_ExceptionMatches(PyObject *type) { return error == type; }

/* Small immutable things are made once, as CPython's are. */
static PyObject *cached(PyObject **slot, PyObject *type) {
    if (*slot == NULL) *slot = make(type);
    return py_new_ref(*slot);
}
PyObject *PyUnicode_FromOrdinal(int c) {
    static PyObject *all[256];
    return cached(&all[c], &PyUnicode_Type);
}
PyObject *PyUnicode_FromStringAndSize(const char *s, Py_ssize_t size) {
    static PyObject *empty;
    (void)s;
    if (size != 0) abort();
    return cached(&empty, &PyUnicode_Type);
}
PyObject *PyBytes_FromStringAndSize(const char *s, Py_ssize_t size) {
    static PyObject *empty, *all[256];
    return cached(size == 0 ? &empty : &all[(unsigned char)*s], &PyBytes_Type);
}
PyObject *PyTuple_New(Py_ssize_t size) {
    static PyObject *empty;
    if (size != 0) abort();
    return cached(&empty, &PyTuple_Type);
}
PyObject *PyLong_FromLong(long v) {
    static PyObject *all[2048];
    return cached(&all[v + 5], &PyLong_Type);
}

void PyUnicode_InternInPlace(PyObject **s) {
    if ((*s)->type != &PyUnicode_Type) {
        fputs("not a str was interned\n", stderr);
        abort();
    }
}

PyObject *PyFrozenSet_New(PyObject *iterable) {
    if (iterable != NULL) abort();
    if (fake_sets_fail) {
        error = PyExc_MemoryError;
        return NULL;
    }
    return make(&PyFrozenSet_Type);
}
int PySet_Add(PyObject *set, PyObject *item) {
    if (set->type != &PyFrozenSet_Type || item == NULL) abort();
    return 0;
}

/* The interpreter's dict, with one place. */
static PyObject *kept;
PyInterpreterState *PyInterpreterState_Get(void) { return NULL; }
PyObject *PyInterpreterState_GetDict(PyInterpreterState *interp) {
    (void)interp;
    return &_Py_NoneStruct;
}
PyObject *PyDict_GetItemString(PyObject *d, const char *key) {
    (void)d, (void)key;
    return kept;
}
int PyDict_SetItemString(PyObject *d, const char *key, PyObject *value) {
    (void)d, (void)key;
    kept = py_new_ref(value);
    return 0;
}
static void *pointer;
PyObject *PyLong_FromVoidPtr(void *p) {
    pointer = p;
    return make(&PyLong_Type);
}
void *PyLong_AsVoidPtr(PyObject *o) { return o != NULL ? pointer : NULL; }
