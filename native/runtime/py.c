/* What py.h needs of its own: the object header and the module definition of each flavour, and two types that have no stable symbol. */
#include "py.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

PyObject *py_code_type, *py_function_type;

int py_is_free_threaded(void) { return strstr(Py_GetVersion(), "free-threading") != NULL; }

PyObject *py_sys_dict;

static int find_sys(void) {
    PyObject *modules = PyImport_GetModuleDict(), *sys = modules != NULL && py_is_dict(modules) ? py_dict_get_string(modules, "sys") : NULL;
    PyObject *dict = sys != NULL && py_is_module(sys) ? py_new_ref(PyModule_GetDict(sys)) : NULL;
    Py_DecRef(sys);
    /* The interpreter's own, from which PySys_GetObject takes things too. */
    PyObject *path = dict != NULL ? py_dict_get_string(dict, "path") : NULL;
    Py_DecRef(path); /* compared only */
    if (path == NULL || path != PySys_GetObject("path")) {
        Py_DecRef(dict);
        return -1;
    }
    if (py_sys_dict == NULL) py_sys_dict = dict;
    else Py_DecRef(dict);
    return 0;
}

/* The types of an importlib function and of its code; importlib is there before anything else is imported. */
static int find_types(void) {
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *importlib = modules != NULL ? py_dict_get_string(modules, "_frozen_importlib") : NULL;
    PyObject *dict = importlib != NULL && py_is_module(importlib) ? PyModule_GetDict(importlib) : NULL;
    PyObject *function = dict != NULL ? py_dict_get_string(dict, "_verbose_message") : NULL;
    PyObject *code = function != NULL ? PyObject_GetAttrString(function, "__code__") : NULL;
    if (code != NULL) {
        py_function_type = py_type(function);
        py_code_type = py_type(code);
    } else {
        PyErr_Clear();
    }
    Py_DecRef(code);
    Py_DecRef(function);
    Py_DecRef(importlib);
    return code != NULL ? 0 : -1;
}

int py_init(void) {
    PyObject *const samples[] = {PY_NONE, PY_TRUE, &PyUnicode_Type, &PyType_Type};
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        PyObject *type = PyObject_Type(samples[i]);
        if (type == NULL) {
            PyErr_Clear();
            return -1;
        }
        int same = type == py_type(samples[i]);
        Py_DecRef(type);
        if (!same) return -1;
    }
    return find_sys() == 0 ? find_types() : -1;
}

/* ---- PyModuleDef -------------------------------------------------------------------- */

typedef struct Slot {
    int id;
    void *value;
} Slot;

/*
 * PyModuleDef without Python.h: filled at run time since its header differs
 * (facts/cpython.md §8: fields follow a 40-byte PyModuleDef_Base, 56 in
 * free-threaded builds and in those that trace references; slots 3 and 4 are unknown to older versions).
 */
static int fill_module_def(unsigned char *def, Slot *slots, const char *name, PyMethodDef *methods, int (*exec)(PyObject *module)) {
    int major = 0, minor = 0, n = 0;
    const int threaded = py_is_free_threaded();
    size_t base = threaded ? 56 : 40, refcount = 0;
    if (sscanf(Py_GetVersion(), "%d.%d", &major, &minor) != 2 || major != 3) return -1;
    if (minor < 13 && PySys_GetObject("getobjects")) {
        /* Py_TRACE_REFS until 3.12: two pointers come first (Include/object.h, _PyObject_HEAD_EXTRA); activate() refuses such a build later. */
        base = 56;
        refcount = 16;
    }
    slots[n++] = (Slot){2, (void *)(uintptr_t)exec};                /* Py_mod_exec */
    if (minor >= 12) slots[n++] = (Slot){3, (void *)(uintptr_t)2}; /* Py_mod_multiple_interpreters: per-interpreter GIL supported (inactive there) */
    if (minor >= 13) slots[n++] = (Slot){4, (void *)(uintptr_t)1}; /* Py_mod_gil: not used; without it an import switches the GIL of a free-threaded build on */
    slots[n] = (Slot){0, NULL};
    if (threaded) {
        *(uint32_t *)(void *)(def + 12) = UINT32_MAX; /* ob_ref_local: immortal */
    } else if (minor >= 14) {
        *(uint32_t *)(void *)def = UINT32_C(0xC0000000);
        *(uint16_t *)(void *)(def + 6) = 5;
    } else {
        *(uint64_t *)(void *)(def + refcount) = 1;
    }
    *(const char **)(void *)(def + base) = name;
    *(PyMethodDef **)(void *)(def + base + 24) = methods;
    *(Slot **)(void *)(def + base + 32) = slots;
    return 0;
}

void *py_module_def(const char *name, PyMethodDef *methods, int (*exec)(PyObject *module)) {
    static _Alignas(16) unsigned char def[160];
    static Slot slots[5];
    /* Interpreters with a GIL of their own, or without any, may come here at once; filled once, since the first one's is in use then. */
    enum { NEW, FILLING, FILLED };
    static atomic_int progress = NEW;
    int seen = NEW;
    if (atomic_compare_exchange_strong(&progress, &seen, FILLING)) {
        const int known = fill_module_def(def, slots, name, methods, exec) == 0;
        atomic_store(&progress, known ? FILLED : NEW);
        return known ? def : NULL;
    }
    while ((seen = atomic_load(&progress)) == FILLING) sched_yield();
    return seen == FILLED ? def : NULL;
}
