/*
 * CPython's object layouts as its own headers describe them, as data.
 *
 * Compiled by probe.ts against one interpreter's include folder, for any
 * machine that the compiler knows; never linked, run or shipped. What the
 * compiler made of it is read out of the object file, section by section:
 *
 *   pycds_facts   struct fact, one a row
 *   pycds_state   struct state, one a bit field of the str state word, all its bits set
 *   pycds_header  a PyObject that is never freed
 *
 * Every member of a struct is listed, header included (a struct's own copy of
 * ob_refcnt, ob_type, ob_size), in the order of the headers. gather.ts refuses
 * facts with a hole that alignment does not explain, so a member that a new
 * version adds is noticed.
 */
#define Py_BUILD_CORE 1
#include "Python.h"

#define AT_LEAST(minor) (PY_VERSION_HEX >= (0x03000000 | (minor) << 16))

#include "internal/pycore_gc.h"
#include "internal/pycore_object.h"
#if defined(__has_include) && __has_include("internal/pycore_interp_structs.h")
#include "internal/pycore_interp_structs.h" /* 3.14+: struct _gc_runtime_state */
#endif
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
#include "internal/pycore_opcode_utils.h"
#endif

#include <stddef.h>
#include <stdint.h>

/* ob_shash and wstr are marked deprecated for extensions; we only measure them. */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

/* probe.ts reads it so; no padding, and names too long for their place do not compile. */
struct fact {
    char what[8];       /* "size", "field" or "const" */
    char owner[24];     /* the struct; empty for "const" */
    char name[32];
    int64_t value;      /* of "size" and "const", and the offset of a "field" */
    int32_t size;       /* of a "field" */
    int32_t kind;
};
enum { SIGNED, UNSIGNED, POINTER, FLOAT, INLINE };

#define IN(section_name) __attribute__((used, section(section_name)))
#define MEMBER(T, f) (((T *)0)->f)
#define BYTES(T, f) sizeof(MEMBER(T, f))

/* All integer types have a row; what is left in a scalar member is a pointer. */
#define KIND(x)                                                                     \
    _Generic((x), signed char: SIGNED, short: SIGNED, int: SIGNED, long: SIGNED,    \
             long long: SIGNED, char: SIGNED, unsigned char: UNSIGNED,              \
             unsigned short: UNSIGNED, unsigned int: UNSIGNED,                      \
             unsigned long: UNSIGNED, unsigned long long: UNSIGNED, float: FLOAT,   \
             double: FLOAT, default: POINTER)

#define FACT_CONST(name, value) { "const", "", name, (int64_t)(value), 0, 0 },
#define CONST(c) FACT_CONST(#c, c)
#define SIZE(T) { "size", #T, "", sizeof(T), 0, 0 },
#define FIELD_AS(T, path, name) { "field", #T, name, offsetof(T, path), BYTES(T, path), KIND(MEMBER(T, path)) },
#define FIELD(T, f) FIELD_AS(T, f, #f)
/* A struct or union member that is one word to us. */
#define WORD(T, path, name, kind) { "field", #T, name, offsetof(T, path), BYTES(T, path), kind },
/* Trailing data: declared with one element, really as long as the object says. */
#define TRAILING(T, path, name) { "field", #T, name, offsetof(T, path), 0, INLINE },
#define TRAILING_AFTER(T, name) { "field", #T, name, sizeof(T), 0, INLINE },

/* PyObject at the start of T, reached by the member path p. */
#ifdef Py_GIL_DISABLED
#if AT_LEAST(14)
#define HEADER_FLAGS(T, p) FIELD_AS(T, p ob_flags, "ob_flags")
#else
#define HEADER_FLAGS(T, p) FIELD_AS(T, p _padding, "_padding")
#endif
#define HEADER(T, p)                                              \
    FIELD_AS(T, p ob_tid, "ob_tid")                               \
    HEADER_FLAGS(T, p)                                            \
    WORD(T, p ob_mutex, "ob_mutex", UNSIGNED)                     \
    FIELD_AS(T, p ob_gc_bits, "ob_gc_bits")                       \
    FIELD_AS(T, p ob_ref_local, "ob_ref_local")                   \
    FIELD_AS(T, p ob_ref_shared, "ob_ref_shared")                 \
    FIELD_AS(T, p ob_type, "ob_type")
#elif AT_LEAST(14)
#define HEADER(T, p)                                              \
    FIELD_AS(T, p ob_refcnt, "ob_refcnt")                         \
    FIELD_AS(T, p ob_overflow, "ob_overflow")                     \
    FIELD_AS(T, p ob_flags, "ob_flags")                           \
    FIELD_AS(T, p ob_type, "ob_type")
#elif defined(Py_TRACE_REFS) && !AT_LEAST(13)
#define HEADER(T, p)                                              \
    FIELD_AS(T, p _ob_next, "_ob_next")                           \
    FIELD_AS(T, p _ob_prev, "_ob_prev")                           \
    FIELD_AS(T, p ob_refcnt, "ob_refcnt")                         \
    FIELD_AS(T, p ob_type, "ob_type")
#else
#define HEADER(T, p)                                              \
    FIELD_AS(T, p ob_refcnt, "ob_refcnt")                         \
    FIELD_AS(T, p ob_type, "ob_type")
#endif
#define VAR_HEADER(T, p)                                          \
    HEADER(T, p ob_base.)                                         \
    FIELD_AS(T, p ob_size, "ob_size")

#if AT_LEAST(12)
#define STR_FIELDS(T, p)                                          \
    FIELD_AS(T, p length, "length")                               \
    FIELD_AS(T, p hash, "hash")                                   \
    WORD(T, p state, "state", UNSIGNED)
#else
#define STR_FIELDS(T, p)                                          \
    FIELD_AS(T, p length, "length")                               \
    FIELD_AS(T, p hash, "hash")                                   \
    WORD(T, p state, "state", UNSIGNED)                           \
    FIELD_AS(T, p wstr, "wstr")
#endif

static const struct fact facts[] IN("pycds_facts") = {
    CONST(PY_VERSION_HEX)
    CONST(sizeof(void *))
#ifdef Py_DEBUG
    FACT_CONST("Py_DEBUG", 1)
#endif
#ifdef Py_GIL_DISABLED
    FACT_CONST("Py_GIL_DISABLED", 1)
#endif
#ifdef Py_TRACE_REFS
    FACT_CONST("Py_TRACE_REFS", 1)
#endif

    SIZE(PyObject)
    HEADER(PyObject, )
    SIZE(PyVarObject)
    VAR_HEADER(PyVarObject, )

    SIZE(PyCodeObject)
#define F(f) FIELD(PyCodeObject, f)
#if AT_LEAST(11)
    VAR_HEADER(PyCodeObject, ob_base.)
#else
    HEADER(PyCodeObject, ob_base.)
#endif
    F(co_argcount) F(co_posonlyargcount) F(co_kwonlyargcount) F(co_nlocals)
    F(co_stacksize) F(co_flags) F(co_firstlineno)
    F(co_consts) F(co_names) F(co_filename) F(co_name)
    F(co_weakreflist) F(co_extra)
#if AT_LEAST(10)
    F(co_linetable)
#else
    F(co_lnotab)
#endif
#if AT_LEAST(11)
    F(co_exceptiontable) F(co_nlocalsplus) F(co_ncellvars) F(co_nfreevars)
    F(co_localsplusnames) F(co_localspluskinds) F(co_qualname) F(_co_firsttraceable)
    TRAILING(PyCodeObject, co_code_adaptive, "co_code_adaptive")
#else
    F(co_code) F(co_varnames) F(co_freevars) F(co_cellvars)
    F(co_cell2arg) F(co_zombieframe)
    F(co_opcache_map) F(co_opcache) F(co_opcache_flag) F(co_opcache_size)
#endif
#if AT_LEAST(11) && !AT_LEAST(12)
    F(co_warmup) F(_co_linearray_entry_size) F(co_nplaincellvars) F(_co_code) F(_co_linearray)
#endif
#if AT_LEAST(12)
    F(co_framesize) F(co_version) F(_co_cached) F(_co_instrumentation_version) F(_co_monitoring)
#endif
#if AT_LEAST(13)
    F(co_executors)
#endif
#if AT_LEAST(14)
    F(_co_unique_id)
#endif
#if AT_LEAST(14) && defined(Py_GIL_DISABLED)
    F(co_tlbc)
#endif
#undef F

    SIZE(PyASCIIObject)
    HEADER(PyASCIIObject, ob_base.)
    STR_FIELDS(PyASCIIObject, )
    TRAILING_AFTER(PyASCIIObject, "data")
    SIZE(PyCompactUnicodeObject)
    HEADER(PyCompactUnicodeObject, _base.ob_base.)
    STR_FIELDS(PyCompactUnicodeObject, _base.)
    FIELD(PyCompactUnicodeObject, utf8_length)
    FIELD(PyCompactUnicodeObject, utf8)
#if !AT_LEAST(12)
    FIELD(PyCompactUnicodeObject, wstr_length)
#endif
    TRAILING_AFTER(PyCompactUnicodeObject, "data")
    CONST(sizeof(PyUnicodeObject))

    SIZE(PyBytesObject)
    VAR_HEADER(PyBytesObject, ob_base.)
    FIELD(PyBytesObject, ob_shash)
    TRAILING(PyBytesObject, ob_sval, "ob_sval")

    SIZE(PyLongObject)
#if AT_LEAST(12)
    HEADER(PyLongObject, ob_base.)
    FIELD_AS(PyLongObject, long_value.lv_tag, "lv_tag")
    TRAILING(PyLongObject, long_value.ob_digit, "ob_digit")
    FACT_CONST("long sign zero", SIGN_ZERO)
    FACT_CONST("long sign negative", SIGN_NEGATIVE)
    FACT_CONST("long non-size bits", NON_SIZE_BITS)
#else
    VAR_HEADER(PyLongObject, ob_base.)
    TRAILING(PyLongObject, ob_digit, "ob_digit")
#endif
    CONST(PyLong_SHIFT)
    CONST(sizeof(digit))

    SIZE(PyFloatObject)
    HEADER(PyFloatObject, ob_base.)
    FIELD(PyFloatObject, ob_fval)

    SIZE(PyComplexObject)
    HEADER(PyComplexObject, ob_base.)
    WORD(PyComplexObject, cval, "cval", FLOAT) /* two doubles: real, imag */

    SIZE(PyTupleObject)
    VAR_HEADER(PyTupleObject, ob_base.)
#if AT_LEAST(14)
    FIELD(PyTupleObject, ob_hash)
#endif
    TRAILING(PyTupleObject, ob_item, "ob_item")

    SIZE(PySliceObject)
    HEADER(PySliceObject, ob_base.)
    FIELD(PySliceObject, start) FIELD(PySliceObject, stop) FIELD(PySliceObject, step)

    SIZE(PySetObject)
    HEADER(PySetObject, ob_base.)
    FIELD(PySetObject, fill) FIELD(PySetObject, used) FIELD(PySetObject, mask)
    FIELD(PySetObject, table) FIELD(PySetObject, hash) FIELD(PySetObject, finger)
    WORD(PySetObject, smalltable, "smalltable", INLINE)
    FIELD(PySetObject, weakreflist)

    FACT_CONST("cfunction def", offsetof(PyCFunctionObject, m_ml))
/* The collector with generations; early releases of 3.14 have an incremental one, of which a bit in _gc_next tells. */
#if !defined(Py_GIL_DISABLED) && !defined(_PyGC_NEXT_MASK_OLD_SPACE_1)
#define GC(name, f) FACT_CONST("gc " name, offsetof(struct _gc_runtime_state, f))
    GC("enabled", enabled) GC("debug", debug) GC("generations", generations) GC("generation0", generation0)
    FACT_CONST("gc packed generations", offsetof(struct _gc_runtime_state, debug) + sizeof(MEMBER(struct _gc_runtime_state, debug)))
    GC("collecting", collecting) GC("callbacks", callbacks)
    GC("long lived total", long_lived_total) GC("long lived pending", long_lived_pending)
    FACT_CONST("gc generation size", sizeof(struct gc_generation))
    FACT_CONST("gc head", offsetof(struct gc_generation, head))
    FACT_CONST("gc threshold", offsetof(struct gc_generation, threshold))
    FACT_CONST("gc count", offsetof(struct gc_generation, count))
    FACT_CONST("gc int", sizeof(MEMBER(struct gc_generation, count)))
#undef GC
#endif
/* Classes, as native/runtime/types.c makes them: in the versions whose Objects/typeobject.c was read for it. */
#if !defined(Py_GIL_DISABLED) && AT_LEAST(11) && !AT_LEAST(15)
#define CLASS(name, T, f) FACT_CONST("class " name, offsetof(T, f))
    CLASS("wrapper base", PyWrapperDescrObject, d_base)
    FACT_CONST("class slotdef size", sizeof(struct wrapperbase))
    CLASS("slotdef name", struct wrapperbase, name) CLASS("slotdef offset", struct wrapperbase, offset)
    CLASS("slotdef function", struct wrapperbase, function) CLASS("slotdef object", struct wrapperbase, name_strobj)
    FACT_CONST("class int", sizeof(MEMBER(struct wrapperbase, offset)))
    CLASS("dealloc", PyTypeObject, tp_dealloc) CLASS("flags", PyTypeObject, tp_flags) CLASS("base", PyTypeObject, tp_base)
    CLASS("dict", PyTypeObject, tp_dict) CLASS("alloc", PyTypeObject, tp_alloc) CLASS("new", PyTypeObject, tp_new)
    CLASS("mro", PyTypeObject, tp_mro) CLASS("vectorcall", PyTypeObject, tp_vectorcall)
    CLASS("slots end", PyHeapTypeObject, ht_name) CLASS("module", PyHeapTypeObject, ht_module) CLASS("type name", PyHeapTypeObject, _ht_tpname)
    FACT_CONST("class size", sizeof(PyHeapTypeObject))
#undef CLASS
#endif
#ifdef Py_GIL_DISABLED
    FACT_CONST("gc header", 0) /* Include/internal/pycore_gc.h: free-threaded builds keep the bits in ob_gc_bits */
#else
    FACT_CONST("gc header", sizeof(PyGC_Head))
#endif
#ifdef FRAME_SPECIALS_SIZE
    CONST(FRAME_SPECIALS_SIZE)
#endif
#ifdef CO_FAST_LOCAL
    CONST(CO_FAST_LOCAL) CONST(CO_FAST_CELL) CONST(CO_FAST_FREE)
#endif
#if !AT_LEAST(11)
    CONST(CO_VARARGS) CONST(CO_VARKEYWORDS) CONST(CO_NOFREE) CONST(CO_CELL_NOT_AN_ARG)
#endif
#ifdef RESUME_AT_GEN_EXPR_START
    CONST(RESUME_AT_GEN_EXPR_START) CONST(RESUME_OPARG_LOCATION_MASK)
#endif
#ifdef QUICKENING_INITIAL_WARMUP_VALUE
    CONST(QUICKENING_INITIAL_WARMUP_VALUE)
#endif
};

/* All bits of a field at once do not fit into it, which is the point. */
#pragma GCC diagnostic ignored "-Woverflow"
#define STATE(f) { #f, { .state = { .f = ~0u } } },
_Static_assert(sizeof(MEMBER(PyASCIIObject, state)) == 4, "the state word is read as a u32");

struct state {
    char name[32];
    PyASCIIObject object;
};
static const struct state states[] IN("pycds_state") = {
    STATE(interned) STATE(kind) STATE(compact) STATE(ascii)
#if AT_LEAST(12)
    STATE(statically_allocated)
#else
    STATE(ready)
#endif
};

/*
 * 3.12+ (PEP 683): what CPython itself gives an immortal object, through
 * PyObject_HEAD_INIT. Before, a count that no program brings back to 0.
 */
static const PyObject header[] IN("pycds_header") = {
#if AT_LEAST(12)
    PyObject_HEAD_INIT(NULL)
#else
    { .ob_refcnt = (Py_ssize_t)1 << 40 }
#endif
};
