/* What py.h needs of its own: where an object's type is. */
#include "py.h"

#include <string.h>

size_t py_type_offset = 8;

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
    return 0;
}
