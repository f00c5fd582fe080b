/* What the driver cannot watch from Python: draws of randomness, C code's reads of the environment, bytes that must not stay. */
#define _GNU_SOURCE
#include "warm.h"

#include <dlfcn.h>
#include <string.h>

#include "../include/pycds_reads.h"
#include "python.h"

static PycdsReads *reads;
static uint32_t early; /* names that were read before imports began: by the dynamic linker, constructors, CPython */

void watch_begin(void) {
    reads = dlsym(RTLD_DEFAULT, "pycds_launch_reads");
    if (reads != NULL) early = reads->count;
}

bool watch_was_read(const char *name, size_t length) {
    for (uint32_t i = 0; reads != NULL && i < reads->count; i++)
        if (strncmp(reads->names[i], name, length) == 0 && reads->names[i][length] == '\0') return true;
    return false;
}

/* native_reads(): what C code asked getenv for while imports ran; from now on it is not noted. */
static PyObject *native_reads(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    PyObject *list = PyList_New(0);
    for (uint32_t i = early; list != NULL && reads != NULL && i < reads->count; i++) {
        PyObject *name = PyBytes_FromString(reads->names[i]);
        if (name == NULL || PyList_Append(list, name) != 0) {
            Py_DecRef(list);
            list = NULL;
        }
        Py_DecRef(name);
    }
    if (reads != NULL) reads->closed = true;
    return list;
}

/* wipe(BYTES): overwrites an object that nobody else refers to, which the driver has made sure of. */
static PyObject *wipe(PyObject *self, PyObject *bytes) {
    (void)self;
    char *text = NULL;
    Py_ssize_t size = 0;
    if (PyBytes_AsStringAndSize(bytes, &text, &size) != 0) return NULL;
    memset(text, 0, (size_t)size);
    return Py_BuildValue("");
}

/* Calls what it stands in for, its `self`, a pair of the stock function and who is told of it. */
static PyObject *draw(PyObject *self, PyObject *arguments, PyObject *keywords) {
    PyObject *stock = NULL, *told = NULL;
    if (!PyArg_ParseTuple(self, "OO", &stock, &told)) return NULL;
    PyObject *answer = PyObject_CallObject(told, NULL);
    if (answer == NULL) return NULL;
    Py_DecRef(answer);
    return PyObject_Call(stock, arguments, keywords);
}

static PyMethodDef urandom_definition = {"urandom", (PyCFunction)(void *)draw, METH_VARARGS | METH_KEYWORDS, NULL};
static PyMethodDef getrandom_definition = {"getrandom", (PyCFunction)(void *)draw, METH_VARARGS | METH_KEYWORDS, NULL};

/* counted(NAME, STOCK, TOLD): a function like STOCK that calls TOLD first; no frame of ours is below it. */
static PyObject *counted(PyObject *self, PyObject *arguments) {
    (void)self;
    const char *name = NULL;
    PyObject *stock = NULL, *told = NULL;
    if (!PyArg_ParseTuple(arguments, "sOO", &name, &stock, &told)) return NULL;
    PyObject *pair = Py_BuildValue("(OO)", stock, told);
    PyObject *function = pair == NULL ? NULL : PyCFunction_NewEx(strcmp(name, "urandom") == 0 ? &urandom_definition : &getrandom_definition, pair, NULL);
    Py_DecRef(pair);
    return function;
}

static PyMethodDef functions[] = {
    {"native_reads", native_reads, METH_NOARGS, NULL},
    {"wipe", wipe, METH_O, NULL},
    {"counted", counted, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyMethodDef *watch_functions(void) { return functions; }
