/* What py.h needs of its own: where an object's type is, and two types that have no stable symbol. */
#include "py.h"

#include <string.h>

size_t py_type_offset = 8;
PyObject *py_code_type, *py_function_type;

/* The types of an importlib function and of its code; importlib is there before anything else is imported. */
static int find_types(void) {
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *importlib = modules != NULL ? PyDict_GetItemString(modules, "_frozen_importlib") : NULL;
    PyObject *dict = importlib != NULL && py_is_module(importlib) ? PyModule_GetDict(importlib) : NULL;
    PyObject *function = dict != NULL ? PyDict_GetItemString(dict, "_verbose_message") : NULL;
    PyObject *code = function != NULL ? PyObject_GetAttrString(function, "__code__") : NULL;
    if (code == NULL) {
        PyErr_Clear();
        return -1;
    }
    py_function_type = py_type(function);
    py_code_type = py_type(code);
    Py_DecRef(code);
    return 0;
}

int py_init(void) {
    /* sys.version of free-threaded builds says so since 3.13 (Python/getversion.c, Include/patchlevel.h). */
    py_type_offset = strstr(Py_GetVersion(), "free-threading") != NULL ? 24 : 8;
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
    return find_types();
}
