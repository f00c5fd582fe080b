/*
 * Is this the interpreter that the archive was built for? First what it says of
 * itself, then its objects: the layout that the archive assumes is compared
 * with live ones, so that a build with other structures is refused however it
 * calls itself.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tables.h"

#define PyCode_Type (*py_code_type) /* not in the stable ABI: py.h */

#if defined(__linux__) && defined(__x86_64__) && defined(__LP64__)
#define PLATFORM "linux-x86_64"
#elif defined(__linux__) && defined(__aarch64__) && defined(__LP64__)
#define PLATFORM "linux-aarch64"
#else
#define PLATFORM "unsupported"
#endif

#define HEX_3_11 UINT32_C(0x030b0000) /* code objects with qualified names, columns and tables of handlers */

/* ---- what the interpreter says ----------------------------------------------------- */

/* An int attribute of `o`, -1 when there is none. */
static long int_attribute(PyObject *o, const char *name) {
    PyObject *value = o != NULL ? PyObject_GetAttrString(o, name) : NULL;
    const long result = value != NULL ? PyLong_AsLong(value) : -1;
    Py_DecRef(value);
    PyErr_Clear();
    return result;
}

static int text_is(PyObject *value, const char *text) { return value != NULL && py_is_str(value) && PyUnicode_CompareWithASCIIString(value, text) == 0; }

static int is_debug_build(void) {
    PyObject *flags = PySys_GetObject("abiflags");
    const int debug = flags != NULL && py_is_str(flags) && PyUnicode_FindChar(flags, 'd', 0, PyUnicode_GetLength(flags), 1) >= 0;
    PyErr_Clear();
    return debug || PySys_GetObject("gettotalrefcount") != NULL; /* Py_REF_DEBUG, which Py_DEBUG implies */
}

static int check_version(const PycdsFileHeader *h, char why[PYCDS_WHY]) {
    PyObject *hexversion = PySys_GetObject("hexversion");
    const long have = hexversion != NULL ? PyLong_AsLong(hexversion) : -1;
    if ((uint64_t)have != h->hexversion)
        return refuse(why, "it is for Python %" PRIu32 ".%" PRIu32 ".%" PRIu32 " (0x%08" PRIx32 "), this is 0x%08lx", h->hexversion >> 24, h->hexversion >> 16 & 0xff,
                      h->hexversion >> 8 & 0xff, h->hexversion, (unsigned long)have);
    const long magic = PyImport_GetMagicNumber();
    if ((uint64_t)magic != h->pyc_magic) return refuse(why, "its .pyc magic number is 0x%08" PRIx32 ", this Python's is 0x%08lx", h->pyc_magic, (unsigned long)magic);

    char tag[sizeof h->cache_tag + 1] = {0}, platform[sizeof h->platform + 1] = {0};
    memcpy(tag, h->cache_tag, sizeof h->cache_tag);
    memcpy(platform, h->platform, sizeof h->platform);
    PyObject *implementation = PySys_GetObject("implementation");
    PyObject *cache_tag = implementation != NULL ? PyObject_GetAttrString(implementation, "cache_tag") : NULL;
    const int same_tag = text_is(cache_tag, tag);
    Py_DecRef(cache_tag);
    if (!same_tag) return refuse(why, "its cache tag is %s, this Python has another one", tag);
    if (strcmp(platform, PLATFORM) != 0) return refuse(why, "it is for %s, this is " PLATFORM, platform);
    return 0;
}

static int check_flavour(const PycdsFileHeader *h, char why[PYCDS_WHY]) {
    const uint32_t flags = (py_is_free_threaded() ? PYCDS_ABI_FREETHREADED : 0U) | (is_debug_build() ? PYCDS_ABI_DEBUG : 0U);
    if (flags != h->abi_flags) return refuse(why, "it is for another build flavour (flags %" PRIu32 ", this Python has %" PRIu32 ")", h->abi_flags, flags);
    /* Py_TRACE_REFS: every object begins with two more pointers, or is in a table of all objects. */
    if (PySys_GetObject("getobjects") != NULL) return refuse(why, "this Python traces references");
    const long optimize = int_attribute(PySys_GetObject("flags"), "optimize");
    if (optimize < 0 || (uint64_t)optimize != h->optimize) return refuse(why, "it is for -O level %" PRIu32 ", this process has %ld", h->optimize, optimize);
    return 0;
}

/* ---- its objects ---------------------------------------------------------------------- */

/* A tuple of new references to `items`, all used up; NULL when one is missing. */
static PyObject *tuple_of(size_t count, PyObject *items[]) {
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    int whole = tuple != NULL;
    for (size_t i = 0; i < count; i++) {
        whole &= items[i] != NULL;
        if (tuple != NULL) PyTuple_SetItem(tuple, (Py_ssize_t)i, items[i]);
        else Py_DecRef(items[i]);
    }
    if (whole) return tuple;
    Py_DecRef(tuple);
    return NULL;
}

#define TUPLE(...) tuple_of(sizeof((PyObject *[]){__VA_ARGS__}) / sizeof(PyObject *), (PyObject *[]){__VA_ARGS__})
#define TEXT(literal) PyUnicode_FromString(literal)
#define BYTES(literal) PyBytes_FromStringAndSize(literal, sizeof(literal) - 1)

/* Bytecode of this interpreter: that of a function of importlib. */
static PyObject *some_bytecode(void) {
    PyObject *modules = PyImport_GetModuleDict(), *importlib = modules != NULL ? PyDict_GetItemString(modules, "_frozen_importlib") : NULL;
    PyObject *function = importlib != NULL && py_is_module(importlib) ? PyDict_GetItemString(PyModule_GetDict(importlib), "_verbose_message") : NULL;
    PyObject *code = function != NULL ? PyObject_GetAttrString(function, "__code__") : NULL, *bytes = code != NULL ? PyObject_GetAttrString(code, "co_code") : NULL;
    Py_DecRef(code);
    return bytes;
}

/*
 * A live code object of our own, so that each of its numbers is a different one and no
 * field can be taken for another: 3 positional-only, 4 positional and 2
 * keyword-only arguments, 6 locals, stack of 8, line 9, a free variable; nor any two of its objects. Made
 * by its type (Objects/codeobject.c, code_new_impl: two arguments more from 3.11 on): compiling one
 * takes thirty times as long. It is never executed.
 */
static PyObject *sample_code(uint32_t hexversion) {
    enum { OPTIMIZED = 1, NEWLOCALS = 2, NESTED = 16 };
    static const char columns[] = "\xd0\x01\x05"; /* one unit on one line, columns 1 to 5 (Objects/locations.md) */
    PyObject *const head = TUPLE(PyLong_FromLong(4), PyLong_FromLong(3), PyLong_FromLong(2), PyLong_FromLong(6), PyLong_FromLong(8), PyLong_FromLong(OPTIMIZED | NEWLOCALS | NESTED),
                                 some_bytecode(), TUPLE(TEXT("pycds constant")), TUPLE(TEXT("pycds_name")),
                                 TUPLE(TEXT("a"), TEXT("b"), TEXT("c"), TEXT("d"), TEXT("e"), TEXT("f")), TEXT("<pycds>"), TEXT("sample"));
    PyObject *const tail = hexversion >= HEX_3_11
                               ? TUPLE(TEXT("pycds.sample"), PyLong_FromLong(9), BYTES(columns), BYTES("pycds handlers"), TUPLE(TEXT("q")), PyTuple_New(0))
                               : TUPLE(PyLong_FromLong(9), BYTES("\0\0"), TUPLE(TEXT("q")), PyTuple_New(0));
    PyObject *const arguments = head != NULL && tail != NULL ? PySequence_Concat(head, tail) : NULL;
    PyObject *const code = arguments != NULL ? PyObject_Call(&PyCode_Type, arguments, NULL) : NULL;
    Py_DecRef(arguments);
    Py_DecRef(tail);
    Py_DecRef(head);
    return code;
}

/*
 * -X no_debug_ranges, PYTHONNODEBUGRANGES and PyConfig.code_debug_ranges (3.11+)
 * drop the columns when a code object is made (Objects/codeobject.c,
 * init_code), so what stock would load has a different co_linetable. No
 * flag in sys tells; a code object just made does.
 */
static int has_columns(PyObject *code) {
    PyObject *method = PyObject_GetAttrString(code, "co_positions");
    PyObject *positions = method != NULL ? PyObject_CallObject(method, NULL) : NULL;
    PyObject *item;
    int found = 0;
    while (!found && positions != NULL && (item = PyIter_Next(positions)) != NULL) {
        found = py_is_tuple(item) && PyTuple_Size(item) == 4 && PyTuple_GetItem(item, 2) != PY_NONE;
        Py_DecRef(item);
    }
    Py_DecRef(positions);
    Py_DecRef(method);
    return found;
}

static PyObject *type_by_symbol(const char *symbol) {
#define X(number, type) \
    if (strcmp(symbol, #type) == 0) return &type;
    PYCDS_EXT_TYPES(X)
#undef X
    return NULL;
}

static int check_row(const Archive *a, const PycdsSelfCheck *check, PyObject *code, char why[PYCDS_WHY]) {
    const char *name = archive_string(a, check->name);
    if (check->subject == PYCDS_CHECK_TYPE) {
        PyObject *type = type_by_symbol(name);
        const long have = int_attribute(type, "__basicsize__");
        if (have < 0 || (uint64_t)have != check->offset) return refuse(why, "%s.__basicsize__ is %ld, the archive has %" PRIu32, name, have, check->offset);
        return 0;
    }
    PyObject *attribute = PyObject_GetAttrString(code, name);
    if (attribute == NULL) return refuse(why, "code objects have no %s", name);
    const char *field = (const char *)code + check->offset; /* inside: tables_check compared it with code_basicsize, and that was checked first */
    int same;
    if (check->what == PYCDS_CHECK_I32) {
        int32_t word;
        memcpy(&word, field, sizeof word);
        same = PyLong_AsLong(attribute) == word;
    } else {
        PyObject *pointer;
        memcpy(&pointer, field, sizeof pointer);
        same = pointer == attribute;
    }
    Py_DecRef(attribute);
    return same ? 0 : refuse(why, "%s of a code object is not at offset %" PRIu32, name, check->offset);
}

static int is_small_int(long value) {
    PyObject *one = PyLong_FromLong(value), *two = PyLong_FromLong(value);
    const int same = one != NULL && one == two;
    Py_DecRef(one);
    Py_DecRef(two);
    return same;
}

static int check_objects(const Archive *a, char why[PYCDS_WHY]) {
    if (py_init() != 0 || PY_TYPE_OFFSET != a->abi->type_offset) return refuse(why, "this Python's objects have their type elsewhere");
    const long basicsize = int_attribute(&PyCode_Type, "__basicsize__");
    if (basicsize != (long)a->abi->code_basicsize) return refuse(why, "its code objects have %" PRIu32 " bytes, this Python's %ld", a->abi->code_basicsize, basicsize);
    if (!is_small_int(a->abi->small_int_min) || !is_small_int(a->abi->small_int_max))
        return refuse(why, "ints from %" PRId32 " to %" PRId32 " are not all singletons here", a->abi->small_int_min, a->abi->small_int_max);

    PyObject *code = sample_code(a->header->hexversion);
    if (code == NULL) return refuse(why, "no sample code object could be made");
    int result = 0;
    if (a->header->hexversion >= HEX_3_11 && !has_columns(code)) result = refuse(why, "column positions are switched off (no_debug_ranges)");
    for (uint32_t i = 0; i < a->self_check_count && result == 0; i++) result = check_row(a, &a->self_checks[i], code, why);
    Py_DecRef(code);
    return result;
}

int selfcheck(const Archive *archive, char why[PYCDS_WHY]) {
    int result = check_version(archive->header, why);
    if (result == 0) result = check_flavour(archive->header, why);
    if (result == 0) result = check_objects(archive, why);
    PyErr_Clear();
    return result;
}
