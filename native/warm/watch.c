/* What the driver cannot watch from Python: draws of randomness, C code's reads of the environment, bytes that must not stay. */
#define _GNU_SOURCE
#include "warm.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

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
static PyMethodDef rand_bytes_definition = {"RAND_bytes", (PyCFunction)(void *)draw, METH_VARARGS | METH_KEYWORDS, NULL};

/* counted(NAME, STOCK, TOLD): a function like STOCK that calls TOLD first; no frame of ours is below it. */
static PyObject *counted(PyObject *self, PyObject *arguments) {
    (void)self;
    const char *name = NULL;
    PyObject *stock = NULL, *told = NULL;
    if (!PyArg_ParseTuple(arguments, "sOO", &name, &stock, &told)) return NULL;
    PyMethodDef *definition = strcmp(name, "urandom") == 0 ? &urandom_definition : strcmp(name, "getrandom") == 0 ? &getrandom_definition : &rand_bytes_definition;
    PyObject *pair = Py_BuildValue("(OO)", stock, told);
    PyObject *function = pair == NULL ? NULL : PyCFunction_NewEx(definition, pair, NULL);
    Py_DecRef(pair);
    return function;
}

enum { MERSENNE_WORDS = 624 };

/*
 * The words of an MT19937 behind numpy's capsule: bitgen_t begins with a pointer to the
 * state, and that with the key and the position (numpy/random/src/mt19937/mt19937.h). The
 * driver compares before it trusts that.
 */
static uint32_t *mersenne_words(PyObject *capsule) {
    void **generator = PyCapsule_GetPointer(capsule, "BitGenerator");
    return generator == NULL ? NULL : *generator;
}

/* mersenne(CAPSULE): the key, as bytes. */
static PyObject *mersenne(PyObject *self, PyObject *capsule) {
    (void)self;
    uint32_t *words = mersenne_words(capsule);
    return words == NULL ? NULL : PyBytes_FromStringAndSize((const char *)words, MERSENNE_WORDS * sizeof *words);
}

/* fill_mersenne(CAPSULE): a key of the system's random bytes, not all zero, and nothing of it used. */
static PyObject *fill_mersenne(PyObject *self, PyObject *capsule) {
    (void)self;
    uint32_t *words = mersenne_words(capsule);
    if (words == NULL) return NULL;
    for (size_t done = 0; done < MERSENNE_WORDS * sizeof *words;) {
        ssize_t got = getrandom((char *)words + done, MERSENNE_WORDS * sizeof *words - done, 0);
        if (got < 0 && errno != EINTR) abort(); /* never seen without seccomp; the same draws again would be worse */
        if (got > 0) done += (size_t)got;
    }
    words[0] |= UINT32_C(0x80000000);
    words[MERSENNE_WORDS] = MERSENNE_WORDS;
    return Py_BuildValue("");
}

static PyMethodDef functions[] = {
    {"native_reads", native_reads, METH_NOARGS, NULL},
    {"wipe", wipe, METH_O, NULL},
    {"mersenne", mersenne, METH_O, NULL},
    {"fill_mersenne", fill_mersenne, METH_O, NULL},
    {"counted", counted, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyMethodDef *watch_functions(void) { return functions; }
