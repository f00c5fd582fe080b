/* The runtime's objects, callable through ctypes.PyDLL: one archive a process. */
#include "../../native/runtime/runtime.h"

#define EXPORT __attribute__((visibility("default")))
EXPORT PyObject *shim_open(const char *path);
EXPORT PyObject *shim_selfcheck(void);
EXPORT PyObject *shim_code(unsigned unit, PyObject *filename);
EXPORT PyObject *shim_name(unsigned index);
EXPORT PyObject *shim_facts(void);
EXPORT PyObject *shim_external(unsigned number);

static Archive archive;
static char why[PYCDS_WHY];

static PyObject *reason(int result) { return result == 0 ? py_new_ref(PY_NONE) : PyUnicode_FromString(why); }

/* None, or why the archive is refused. */
PyObject *shim_open(const char *path) { return reason(py_init() == 0 ? archive_open(path, &archive, why) : -1); }
PyObject *shim_selfcheck(void) {
    const int result = selfcheck(&archive, why);
    if (PyErr_Occurred() != NULL) return NULL; /* it must clear what it raises */
    return result == 0 && externals_init(&archive) != 0 ? NULL : reason(result);
}

/* The unit's code object, or RuntimeError(why). */
PyObject *shim_code(unsigned unit, PyObject *filename) {
    PyObject *code = unit_code(&archive, unit, filename, why);
    if (code != NULL) return py_new_ref(code);
    if (PyErr_Occurred() == NULL) PyErr_SetString(PyExc_RuntimeError, why);
    return NULL;
}

PyObject *shim_name(unsigned index) {
    PyObject *name = name_object(&archive, index);
    return name != NULL ? py_new_ref(name) : NULL;
}

PyObject *shim_external(unsigned number) {
    PyObject *object = external_object(number);
    return py_new_ref(object != NULL ? object : PY_NONE);
}

/* (units, names) */
PyObject *shim_facts(void) {
    PyObject *facts = PyTuple_New(2);
    if (facts == NULL) return NULL;
    PyTuple_SetItem(facts, 0, PyLong_FromUnsignedLong(archive.unit_count));
    PyTuple_SetItem(facts, 1, PyLong_FromUnsignedLong(archive.name_count));
    return facts;
}
