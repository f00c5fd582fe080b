/*
 * Prints CPython's object layouts as its own headers describe them.
 *
 * Compiled by gather.ts against one interpreter's include folder and run once;
 * never linked with Python, never shipped. Each line of output is one fact:
 *
 *   size STRUCT BYTES
 *   field STRUCT NAME OFFSET BYTES signed|unsigned|pointer|float|inline
 *   state NAME MASK            bits of the str state word
 *   const NAME VALUE
 *   header HEX                 bytes 0 .. ob_type of an object that is never freed
 *
 * Every member of a struct is listed, header included (a struct's own copy of
 * ob_refcnt, ob_type, ob_size), in the order of the headers. gather.ts refuses
 * output with a hole that alignment does not explain, so a member that a new
 * version adds is noticed.
 */
#define Py_BUILD_CORE 1
#include "Python.h"

#define AT_LEAST(minor) (PY_VERSION_HEX >= (0x03000000 | (minor) << 16))

#include "internal/pycore_gc.h"
#include "internal/pycore_object.h"
#if AT_LEAST(11)
#include "internal/pycore_code.h"
#if defined(__has_include) && __has_include("internal/pycore_interpframe.h")
#include "internal/pycore_interpframe.h" /* 3.14+ */
#else
#include "internal/pycore_frame.h"
#endif
#endif
#if AT_LEAST(12)
#include "internal/pycore_long.h"
#endif

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ob_shash and wstr are marked deprecated for extensions; we only measure them. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

#define MEMBER(T, f) (((T *)0)->f)
#define BYTES(T, f) sizeof(MEMBER(T, f))

/* All integer types have a row; what is left in a scalar member is a pointer. */
#define KIND(x)                                                                     \
    _Generic((x), signed char: "signed", short: "signed", int: "signed",            \
             long: "signed", long long: "signed", char: "signed",                   \
             unsigned char: "unsigned", unsigned short: "unsigned",                 \
             unsigned int: "unsigned", unsigned long: "unsigned",                   \
             unsigned long long: "unsigned", float: "float", double: "float",       \
             default: "pointer")

static void size_line(const char *type, size_t size) { printf("size %s %zu\n", type, size); }

static void field_line(const char *type, const char *name, size_t offset, size_t size, const char *kind)
{
    printf("field %s %s %zu %zu %s\n", type, name, offset, size, kind);
}

static void const_line(const char *name, long long value) { printf("const %s %lld\n", name, value); }

#define SIZE(T) size_line(#T, sizeof(T))
#define FIELD_AS(T, path, name) field_line(#T, name, offsetof(T, path), BYTES(T, path), KIND(MEMBER(T, path)))
#define FIELD(T, f) FIELD_AS(T, f, #f)
/* A struct or union member that is one word to us. */
#define WORD(T, path, name, kind) field_line(#T, name, offsetof(T, path), BYTES(T, path), kind)
/* Trailing data: declared with one element, really as long as the object says. */
#define TRAILING(T, path, name) field_line(#T, name, offsetof(T, path), 0, "inline")
#define TRAILING_AFTER(T, name) field_line(#T, name, sizeof(T), 0, "inline")
#define CONST(c) const_line(#c, (long long)(c))

/* PyObject at the start of T, reached by the member path p. */
#ifdef Py_GIL_DISABLED
#if AT_LEAST(14)
#define HEADER_FLAGS(T, p) FIELD_AS(T, p ob_flags, "ob_flags");
#else
#define HEADER_FLAGS(T, p) FIELD_AS(T, p _padding, "_padding");
#endif
#define HEADER(T, p)                                              \
    FIELD_AS(T, p ob_tid, "ob_tid");                              \
    HEADER_FLAGS(T, p)                                            \
    WORD(T, p ob_mutex, "ob_mutex", "unsigned");                  \
    FIELD_AS(T, p ob_gc_bits, "ob_gc_bits");                      \
    FIELD_AS(T, p ob_ref_local, "ob_ref_local");                  \
    FIELD_AS(T, p ob_ref_shared, "ob_ref_shared");                \
    FIELD_AS(T, p ob_type, "ob_type")
#elif AT_LEAST(14)
#define HEADER(T, p)                                              \
    FIELD_AS(T, p ob_refcnt, "ob_refcnt");                        \
    FIELD_AS(T, p ob_overflow, "ob_overflow");                    \
    FIELD_AS(T, p ob_flags, "ob_flags");                          \
    FIELD_AS(T, p ob_type, "ob_type")
#elif defined(Py_TRACE_REFS) && !AT_LEAST(13)
#define HEADER(T, p)                                              \
    FIELD_AS(T, p _ob_next, "_ob_next");                          \
    FIELD_AS(T, p _ob_prev, "_ob_prev");                          \
    FIELD_AS(T, p ob_refcnt, "ob_refcnt");                        \
    FIELD_AS(T, p ob_type, "ob_type")
#else
#define HEADER(T, p)                                              \
    FIELD_AS(T, p ob_refcnt, "ob_refcnt");                        \
    FIELD_AS(T, p ob_type, "ob_type")
#endif
#define VAR_HEADER(T, p)                                          \
    HEADER(T, p ob_base.);                                        \
    FIELD_AS(T, p ob_size, "ob_size")

static void headers(void)
{
    SIZE(PyObject);
    HEADER(PyObject, );
    SIZE(PyVarObject);
    VAR_HEADER(PyVarObject, );
}

static void code(void)
{
    SIZE(PyCodeObject);
#define F(f) FIELD(PyCodeObject, f)
#if AT_LEAST(11)
    VAR_HEADER(PyCodeObject, ob_base.);
#else
    HEADER(PyCodeObject, ob_base.);
#endif
    F(co_argcount); F(co_posonlyargcount); F(co_kwonlyargcount); F(co_nlocals);
    F(co_stacksize); F(co_flags); F(co_firstlineno);
    F(co_consts); F(co_names); F(co_filename); F(co_name);
    F(co_weakreflist); F(co_extra);
#if AT_LEAST(10)
    F(co_linetable);
#else
    F(co_lnotab);
#endif
#if AT_LEAST(11)
    F(co_exceptiontable); F(co_nlocalsplus); F(co_ncellvars); F(co_nfreevars);
    F(co_localsplusnames); F(co_localspluskinds); F(co_qualname); F(_co_firsttraceable);
    TRAILING(PyCodeObject, co_code_adaptive, "co_code_adaptive");
#else
    F(co_code); F(co_varnames); F(co_freevars); F(co_cellvars);
    F(co_cell2arg); F(co_zombieframe);
    F(co_opcache_map); F(co_opcache); F(co_opcache_flag); F(co_opcache_size);
#endif
#if AT_LEAST(11) && !AT_LEAST(12)
    F(co_warmup); F(_co_linearray_entry_size); F(co_nplaincellvars); F(_co_code); F(_co_linearray);
#endif
#if AT_LEAST(12)
    F(co_framesize); F(co_version); F(_co_cached); F(_co_instrumentation_version); F(_co_monitoring);
#endif
#if AT_LEAST(13)
    F(co_executors);
#endif
#if AT_LEAST(14)
    F(_co_unique_id);
#endif
#if AT_LEAST(14) && defined(Py_GIL_DISABLED)
    F(co_tlbc);
#endif
#undef F
}

#if AT_LEAST(12)
#define STR_FIELDS(T, p)                                          \
    FIELD_AS(T, p length, "length");                              \
    FIELD_AS(T, p hash, "hash");                                  \
    WORD(T, p state, "state", "unsigned")
#else
#define STR_FIELDS(T, p)                                          \
    FIELD_AS(T, p length, "length");                              \
    FIELD_AS(T, p hash, "hash");                                  \
    WORD(T, p state, "state", "unsigned");                        \
    FIELD_AS(T, p wstr, "wstr")
#endif

/* All bits of a field of the str state word, which is four bytes everywhere. */
#define STATE(f)                                                  \
    do {                                                          \
        PyASCIIObject object;                                     \
        uint32_t mask;                                            \
        memset(&object, 0, sizeof object);                        \
        object.state.f = ~0;                                      \
        memcpy(&mask, &object.state, sizeof mask);                \
        printf("state %s %" PRIu32 "\n", #f, mask);               \
    } while (0)

static void strings(void)
{
    _Static_assert(sizeof(((PyASCIIObject *)0)->state) == 4, "the state word is read as a u32");
    SIZE(PyASCIIObject);
    HEADER(PyASCIIObject, ob_base.);
    STR_FIELDS(PyASCIIObject, );
    TRAILING_AFTER(PyASCIIObject, "data");
    SIZE(PyCompactUnicodeObject);
    HEADER(PyCompactUnicodeObject, _base.ob_base.);
    STR_FIELDS(PyCompactUnicodeObject, _base.);
    FIELD(PyCompactUnicodeObject, utf8_length);
    FIELD(PyCompactUnicodeObject, utf8);
#if !AT_LEAST(12)
    FIELD(PyCompactUnicodeObject, wstr_length);
#endif
    TRAILING_AFTER(PyCompactUnicodeObject, "data");
    const_line("sizeof(PyUnicodeObject)", (long long)sizeof(PyUnicodeObject));
    STATE(interned); STATE(kind); STATE(compact); STATE(ascii);
#if AT_LEAST(12)
    STATE(statically_allocated);
#else
    STATE(ready);
#endif
}

static void scalars(void)
{
    SIZE(PyBytesObject);
    VAR_HEADER(PyBytesObject, ob_base.);
    FIELD(PyBytesObject, ob_shash);
    TRAILING(PyBytesObject, ob_sval, "ob_sval");

    SIZE(PyLongObject);
#if AT_LEAST(12)
    HEADER(PyLongObject, ob_base.);
    FIELD_AS(PyLongObject, long_value.lv_tag, "lv_tag");
    TRAILING(PyLongObject, long_value.ob_digit, "ob_digit");
    const_line("long sign zero", SIGN_ZERO);
    const_line("long sign negative", SIGN_NEGATIVE);
    const_line("long non-size bits", NON_SIZE_BITS);
#else
    VAR_HEADER(PyLongObject, ob_base.);
    TRAILING(PyLongObject, ob_digit, "ob_digit");
#endif
    CONST(PyLong_SHIFT);
    CONST(sizeof(digit));

    SIZE(PyFloatObject);
    HEADER(PyFloatObject, ob_base.);
    FIELD(PyFloatObject, ob_fval);

    SIZE(PyComplexObject);
    HEADER(PyComplexObject, ob_base.);
    WORD(PyComplexObject, cval, "cval", "float"); /* two doubles: real, imag */
}

static void containers(void)
{
    SIZE(PyTupleObject);
    VAR_HEADER(PyTupleObject, ob_base.);
#if AT_LEAST(14)
    FIELD(PyTupleObject, ob_hash);
#endif
    TRAILING(PyTupleObject, ob_item, "ob_item");

    SIZE(PySliceObject);
    HEADER(PySliceObject, ob_base.);
    FIELD(PySliceObject, start); FIELD(PySliceObject, stop); FIELD(PySliceObject, step);

    SIZE(PySetObject);
    HEADER(PySetObject, ob_base.);
    FIELD(PySetObject, fill); FIELD(PySetObject, used); FIELD(PySetObject, mask);
    FIELD(PySetObject, table); FIELD(PySetObject, hash); FIELD(PySetObject, finger);
    WORD(PySetObject, smalltable, "smalltable", "inline");
    FIELD(PySetObject, weakreflist);
}

static void constants(void)
{
#ifdef Py_GIL_DISABLED
    const_line("gc header", 0); /* Include/internal/pycore_gc.h: free-threaded builds keep the bits in ob_gc_bits */
#else
    const_line("gc header", (long long)sizeof(PyGC_Head));
#endif
#ifdef FRAME_SPECIALS_SIZE
    CONST(FRAME_SPECIALS_SIZE);
#endif
#ifdef CO_FAST_LOCAL
    CONST(CO_FAST_LOCAL); CONST(CO_FAST_CELL); CONST(CO_FAST_FREE);
#endif
#ifdef QUICKENING_INITIAL_WARMUP_VALUE
    CONST(QUICKENING_INITIAL_WARMUP_VALUE);
#endif
}

/*
 * 3.12+ (PEP 683): what CPython itself gives an immortal object, through
 * PyObject_HEAD_INIT. Before, a count that no program brings back to 0.
 */
static void immortal(void)
{
    static PyObject object[] = { PyObject_HEAD_INIT(NULL) };
#if !AT_LEAST(12)
    object[0].ob_refcnt = (Py_ssize_t)1 << 40;
#endif
    const unsigned char *bytes = (const unsigned char *)object;
    printf("header ");
    for (size_t i = 0; i < offsetof(PyObject, ob_type); i++) printf("%02x", bytes[i]);
    printf("\n");
}

int main(void)
{
    const_line("PY_VERSION_HEX", PY_VERSION_HEX);
    const_line("sizeof(void *)", (long long)sizeof(void *));
    headers();
    code();
    strings();
    scalars();
    containers();
    constants();
    immortal();
    return 0;
}
