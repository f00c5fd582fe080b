/* `_pycds` as far as site.py and the package see it: two functions that answer from constants. */
#include <Python.h>

static PyObject *status(PyObject *self, PyObject *unused) {
    (void)self;
    (void)unused;
    return Py_BuildValue("{s:O,s:s}", "active", Py_True, "archive", "/an/archive");
}

static PyObject *disable(PyObject *self, PyObject *unused) {
    (void)self;
    (void)unused;
    Py_RETURN_TRUE;
}

/* So that this file is recognised as a runtime. */
__attribute__((visibility("default"))) const char *pycds_start_name = "pycds_start";

static PyMethodDef methods[] = {{"status", status, METH_NOARGS, NULL}, {"disable", disable, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_pycds", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__pycds(void) {
    PyObject *module = PyModule_Create(&definition);
#ifdef Py_GIL_DISABLED
    /* Or the GIL comes on, with a warning whose printing imports modules. */
    if (module != NULL) PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED);
#endif
    return module;
}
