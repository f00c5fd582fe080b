/*
 * Types, singletons and small immutable objects of this interpreter, by the
 * numbers of src/abi/externals.ts. Each is resolved on its own: types and
 * singletons through the GOT, the rest by API. There is no base to compute them
 * from, since COPY relocations may have moved any of them (facts/cpython.md §9).
 */
#include "runtime.h"

#define PyCode_Type (*py_code_type) /* not in the stable ABI: py.h */

static PyObject *table[PYCDS_EXT_COUNT];

static int put(uint32_t number, PyObject *object) { return (table[number] = object) != NULL ? 0 : -1; }

int externals_init(const Archive *archive) {
    static int done;
    if (done) return 0;
#define X(number, symbol) table[number] = &symbol;
    PYCDS_EXT_TYPES(X)
#undef X
    table[PYCDS_EXT_NONE] = PY_NONE;
    table[PYCDS_EXT_TRUE] = PY_TRUE;
    table[PYCDS_EXT_FALSE] = PY_FALSE;
    table[PYCDS_EXT_ELLIPSIS] = PY_ELLIPSIS;
    table[PYCDS_EXT_STOP_ITERATION] = PyExc_StopIteration;
    /* The reference that each call returns is kept: the image points at these for ever. */
    if (put(PYCDS_EXT_EMPTY_STR, PyUnicode_FromStringAndSize("", 0)) != 0) return -1;
    if (put(PYCDS_EXT_EMPTY_BYTES, PyBytes_FromStringAndSize("", 0)) != 0) return -1;
    if (put(PYCDS_EXT_EMPTY_TUPLE, PyTuple_New(0)) != 0) return -1;
    for (uint32_t i = 0; i < 256; i++) {
        const char byte = (char)i;
        if (put(PYCDS_EXT_LATIN1 + i, PyUnicode_FromOrdinal((int)i)) != 0) return -1;
        if (put(PYCDS_EXT_BYTE + i, PyBytes_FromStringAndSize(&byte, 1)) != 0) return -1;
    }
    for (int32_t value = archive->abi->small_int_min; value <= archive->abi->small_int_max; value++)
        if (put((uint32_t)((int32_t)PYCDS_EXT_SMALL_INT + value), PyLong_FromLong(value)) != 0) return -1;
    done = 1;
    return 0;
}

PyObject *external_object(uint32_t number) { return number < PYCDS_EXT_COUNT ? table[number] : NULL; }
