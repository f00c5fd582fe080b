/*
 * How calls of compile(p, flags) in re's compiler come to us, without anything a
 * program can see of that function having changed (decision 0025).
 *
 * A Python function has a C function by which it is called, its vectorcall. In 3.9
 * and 3.10 every call goes through it, and from 3.12 on the interpreter asks it before it
 * makes a frame itself (PyFunction_SetVectorcall). 3.11 does neither:
 * pure_site.c.
 */
#define _GNU_SOURCE
#include "pure_hook.h"

#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

typedef PyObject *(*Vectorcall)(PyObject *callable, PyObject *const *args, size_t count, PyObject *kwnames);

static Vectorcall stock;
static PyObject *sample; /* a function of our own, to try things on */

void pure_hook_prepare(void) {
    PyObject *eval = PyDict_GetItemString(state.builtins_dict, "eval"), *text = PyUnicode_FromString("lambda o, a: o.compile"), *globals = text ? PyDict_New() : NULL;
    sample = eval && globals ? PyObject_CallFunctionObjArgs(eval, text, globals, NULL) : NULL;
    if (sample && !py_is_function(sample)) {
        Py_DecRef(sample); /* of an eval that somebody replaced */
        sample = NULL;
    }
    if (sample) PyObject_GC_UnTrack(sample); /* gc.get_objects() is to have no function of ours; it lives for ever */
    Py_DecRef(globals);
    Py_DecRef(text);
    PyErr_Clear();
}

PyObject *pure_sample_filename(void) {
    PyObject *(*get_code)(PyObject *) = NULL; /* PyFunction_GetCode, borrowed: exported by all, not in the stable ABI; __code__ would raise an audit event */
    void *const get = dlsym(RTLD_DEFAULT, "PyFunction_GetCode");
    memcpy(&get_code, &get, sizeof get_code);
    PyObject *name = get_code && sample ? PyObject_GetAttrString(get_code(sample), "co_filename") : NULL;
    PyErr_Clear();
    return name;
}

static PyObject *vectorcall(PyObject *callable, PyObject *const *args, size_t count, PyObject *kwnames) {
    const int plain = !kwnames && (count & ~PY_VECTORCALL_ARGUMENTS_OFFSET) == 2;
    PyObject *result = plain ? pure_regex_serve(args[0], args[1]) : NULL;
    if (!result && !PyErr_Occurred()) result = stock(callable, args, count, kwnames);
    if (result && plain) pure_regex_record(args[0], args[1]);
    return result;
}

long pure_int_attribute(PyObject *object, const char *name) {
    PyObject *value = PyObject_GetAttrString(object, name);
    const long number = value && py_is_long(value) ? PyLong_AsLong(value) : -1;
    Py_DecRef(value);
    PyErr_Clear();
    return number;
}

/* The word of a function object that holds `value`; NULL unless there is exactly one. */
static void **word_with(PyObject *function, long size, void *value) {
    void **found = NULL;
    for (long at = (long)PY_TYPE_OFFSET + 8; at + 8 <= size; at += 8) {
        void **word = (void **)(void *)((char *)function + at);
        if (*word != value) continue;
        if (found) return NULL;
        found = word;
    }
    return found;
}

/* 3.9, 3.10: no function sets it; its word is the one that holds what all functions have. */
static int set_word(PyObject *function, long size) {
    void *usual = dlsym(RTLD_DEFAULT, "_PyFunction_Vectorcall");
    void **word = usual ? word_with(function, size, usual) : NULL;
    if (!word) return -1;
    memcpy(&stock, &usual, sizeof stock);
    const Vectorcall ours = vectorcall;
    memcpy(word, &ours, sizeof ours);
    return 0;
}

/* 3.12+: it is set by API. Which word that changes is tried out, since what stood there must be known for the calls that are stock's. */
static int set_by_api(PyObject *function, long size) {
    void *api = dlsym(RTLD_DEFAULT, "PyFunction_SetVectorcall"), *address;
    if (!api || !sample) return -1;
    void (*set)(PyObject *, Vectorcall);
    const Vectorcall ours = vectorcall;
    memcpy(&set, &api, sizeof set);
    memcpy(&address, &ours, sizeof address);
    set(sample, ours); /* it is never called */
    void **word = word_with(sample, size, address);
    const ptrdiff_t offset = word ? (char *)word - (char *)sample : 0;
    if (!word) return -1;
    memcpy(&stock, (char *)function + offset, sizeof stock);
    set(function, ours);
    return 0;
}

int pure_hook(PyObject *re, PyObject *compiler, PyObject *compile) {
    PyObject *version = PySys_GetObject("hexversion");
    const long minor = version ? PyLong_AsLong(version) >> 16 & 0xff : 0, size = pure_int_attribute(py_function_type, "__basicsize__");
    if (size < 16 || size % 8 != 0) return -1;
    if (minor < 11) return set_word(compile, size);
    if (minor == 11) return sample ? pure_site_hook(re, compiler, sample) : -1;
    return set_by_api(compile, size);
}
