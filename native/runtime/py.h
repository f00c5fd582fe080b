/*
 * The part of the CPython C API that the runtime uses, declared without
 * Python.h: one binary serves 3.9 to 3.15 (facts/cpython.md §8), a second one of
 * the same sources, compiled with PYCDS_FREE_THREADED, the free-threaded builds (3.13+). Only symbols
 * that every one of them exports are here, checked with nm -D on 3.9.18,
 * 3.10.13, 3.11.7, 3.12.1, 3.13.0, 3.13.5t, 3.14.8, 3.15.0 and Debian's static 3.11. Not among them, so
 * not here: PyObject_Vectorcall and PyObject_CallOneArg (inline until 3.10),
 * PyGC_Enable/Disable (3.10+), PyObject_GetOptionalAttr (3.13+): take such ones
 * by dlsym. No structure of an object is declared: layouts differ by version.
 */
#ifndef PYCDS_PY_H
#define PYCDS_PY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The flavour that this library serves: what differs by it stands in this header
 * and in py.c, and is loaded politely, to refuse, into an interpreter of the other.
 */
#ifdef PYCDS_FREE_THREADED
#define PY_FREE_THREADED 1
#define PY_TYPE_OFFSET 24 /* ob_tid, flags, ob_mutex, ob_gc_bits, ob_ref_local, ob_ref_shared come first (Include/object.h) */
#else
#define PY_FREE_THREADED 0
#define PY_TYPE_OFFSET 8
#endif

typedef struct _object PyObject; /* opaque */
typedef ssize_t Py_ssize_t;
typedef ssize_t Py_hash_t;
typedef struct PyThreadState_ PyThreadState;
typedef struct PyInterpreterState_ PyInterpreterState;
typedef int PyGILState_STATE; /* an enum of int size */

/* ---- references ------------------------------------------------------------ */
/* Functions, since the refcount word differs by version; both accept NULL. */
extern void Py_IncRef(PyObject *o);
extern void Py_DecRef(PyObject *o);

static inline PyObject *py_new_ref(PyObject *o) { Py_IncRef(o); return o; }

/* ---- singletons and types, each through its GOT entry (facts §9: no single base) ---- */
extern PyObject _Py_NoneStruct, _Py_TrueStruct, _Py_FalseStruct, _Py_EllipsisObject, _Py_NotImplementedStruct;
#define PY_NONE (&_Py_NoneStruct)
#define PY_TRUE (&_Py_TrueStruct)
#define PY_FALSE (&_Py_FalseStruct)
#define PY_ELLIPSIS (&_Py_EllipsisObject)

/* Type objects seen as objects; `PyTypeObject` is never looked into. */
extern PyObject PyType_Type, PyBaseObject_Type, PyUnicode_Type, PyBytes_Type, PyByteArray_Type, PyTuple_Type, PyList_Type,
    PyDict_Type, PySet_Type, PyFrozenSet_Type, PyLong_Type, PyBool_Type, PyFloat_Type, PyComplex_Type, PySlice_Type,
    PyEllipsis_Type, PyMethod_Type, PyCFunction_Type, PyModule_Type, PyProperty_Type,
    PySuper_Type;

/*
 * The types of code objects and Python functions: exported everywhere, but not
 * in the stable ABI, so taken from an importlib function by py_init(). Borrowed.
 */
extern PyObject *py_code_type, *py_function_type;
/* 0, or -1 when the object header of this interpreter is not one we know. No exception set. */
int py_init(void);
/* Is the interpreter a free-threaded build? sys.version of those says so since 3.13 (Python/getversion.c, Include/patchlevel.h). */
int py_is_free_threaded(void);

/*
 * Borrowed type of `o`. Reading ob_type directly is safe where reading any other
 * field is not: its offset is part of the stable ABI of every GIL build since 3.2
 * (Py_TYPE is a macro there, compiled into abi3 extensions) and fixed in every
 * free-threaded one, it never moves at run time, and py_init() compares it with
 * PyObject_Type() on live objects, so a build with another header (Py_TRACE_REFS) is refused.
 */
static inline PyObject *py_type(const PyObject *o) {
    return *(PyObject *const *)(const void *)((const char *)o + PY_TYPE_OFFSET);
}
static inline int py_is(const PyObject *o, const PyObject *type) { return py_type(o) == type; }
static inline int py_is_str(const PyObject *o) { return py_is(o, &PyUnicode_Type); }   /* exact, as all of these */
static inline int py_is_dict(const PyObject *o) { return py_is(o, &PyDict_Type); }
static inline int py_is_list(const PyObject *o) { return py_is(o, &PyList_Type); }
static inline int py_is_tuple(const PyObject *o) { return py_is(o, &PyTuple_Type); }
static inline int py_is_long(const PyObject *o) { return py_is(o, &PyLong_Type); }
static inline int py_is_bytes(const PyObject *o) { return py_is(o, &PyBytes_Type); }
static inline int py_is_function(const PyObject *o) { return py_is(o, py_function_type); }
static inline int py_is_module(const PyObject *o) { return py_is(o, &PyModule_Type); }

/* ---- errors ------------------------------------------------------------------ */
extern PyObject *PyExc_BaseException, *PyExc_Exception, *PyExc_ImportError, *PyExc_ModuleNotFoundError,
    *PyExc_AttributeError, *PyExc_KeyError, *PyExc_IndexError, *PyExc_TypeError, *PyExc_ValueError, *PyExc_RuntimeError,
    *PyExc_SystemError, *PyExc_MemoryError, *PyExc_OSError, *PyExc_FileNotFoundError, *PyExc_StopIteration,
    *PyExc_SystemExit, *PyExc_KeyboardInterrupt, *PyExc_ImportWarning, *PyExc_RuntimeWarning, *PyExc_DeprecationWarning;

extern PyObject *PyErr_Occurred(void); /* borrowed */
extern void PyErr_Clear(void);
extern void PyObject_GC_UnTrack(void *object);
extern void PyErr_SetObject(PyObject *type, PyObject *value);
extern void PyErr_SetString(PyObject *type, const char *message);
extern void PyErr_SetNone(PyObject *type);
extern PyObject *PyErr_Format(PyObject *type, const char *format, ...); /* NULL; PyUnicode_FromFormat's conversions */
extern PyObject *PyErr_NoMemory(void);                                  /* NULL */
extern PyObject *PyErr_SetImportError(PyObject *message, PyObject *name, PyObject *path);
extern PyObject *PyErr_SetImportErrorSubclass(PyObject *type, PyObject *message, PyObject *name, PyObject *path);
/* Deprecated since 3.12, still exported in 3.15. Pass all three to PyErr_NormalizeException before looking at the value. */
extern void PyErr_Fetch(PyObject **type, PyObject **value, PyObject **traceback);
extern void PyErr_Restore(PyObject *type, PyObject *value, PyObject *traceback); /* steals */
extern void PyErr_NormalizeException(PyObject **type, PyObject **value, PyObject **traceback);
extern int PyErr_ExceptionMatches(PyObject *type);
extern int PyErr_GivenExceptionMatches(PyObject *given, PyObject *type);
extern void PyErr_WriteUnraisable(PyObject *where);
extern int PyErr_WarnEx(PyObject *category, const char *message, Py_ssize_t stack_level);
extern int PyErr_WarnExplicit(PyObject *category, const char *message, const char *filename, int line, const char *module, PyObject *registry);
extern int PyErr_CheckSignals(void);
extern void PyErr_Print(void);
extern PyObject *PyException_GetTraceback(PyObject *e);
extern int PyException_SetTraceback(PyObject *e, PyObject *traceback);
extern PyObject *PyException_GetContext(PyObject *e);
extern void PyException_SetContext(PyObject *e, PyObject *context); /* steals */
extern void PyException_SetCause(PyObject *e, PyObject *cause);     /* steals */

/* ---- objects ------------------------------------------------------------------- */
extern PyObject *PyObject_Type(PyObject *o); /* new */
extern PyObject *PyObject_GetAttr(PyObject *o, PyObject *name);
extern PyObject *PyObject_GetAttrString(PyObject *o, const char *name);
extern int PyObject_SetAttr(PyObject *o, PyObject *name, PyObject *value); /* value NULL: deletes */
extern int PyObject_SetAttrString(PyObject *o, const char *name, PyObject *value);
extern int PyObject_HasAttr(PyObject *o, PyObject *name);               /* swallows every error */
extern int PyObject_HasAttrString(PyObject *o, const char *name);
extern PyObject *PyObject_GenericGetAttr(PyObject *o, PyObject *name);
extern PyObject *PyObject_GetItem(PyObject *o, PyObject *key);
extern int PyObject_SetItem(PyObject *o, PyObject *key, PyObject *value);
extern int PyObject_DelItem(PyObject *o, PyObject *key);
extern PyObject *PyObject_Call(PyObject *f, PyObject *args, PyObject *kwargs);
extern PyObject *PyObject_CallObject(PyObject *f, PyObject *args); /* args NULL: none */
extern PyObject *PyObject_CallNoArgs(PyObject *f);
extern PyObject *PyObject_CallFunctionObjArgs(PyObject *f, ...);                   /* NULL ends */
extern PyObject *PyObject_CallMethodObjArgs(PyObject *o, PyObject *name, ...);     /* NULL ends */
/* args[0] is self; count includes it. Set the flag only if args[-1] may be overwritten during the call. */
extern PyObject *PyObject_VectorcallMethod(PyObject *name, PyObject *const *args, size_t count, PyObject *kwnames);
#define PY_VECTORCALL_ARGUMENTS_OFFSET ((size_t)1 << (8 * sizeof(size_t) - 1))
extern int PyObject_IsTrue(PyObject *o);
extern int PyObject_Not(PyObject *o);
extern int PyObject_IsInstance(PyObject *o, PyObject *type);
extern int PyObject_IsSubclass(PyObject *o, PyObject *type);
enum { PY_LT = 0, PY_LE = 1, PY_EQ = 2, PY_NE = 3, PY_GT = 4, PY_GE = 5 };
extern PyObject *PyObject_RichCompare(PyObject *a, PyObject *b, int op);
extern int PyObject_RichCompareBool(PyObject *a, PyObject *b, int op);
extern Py_hash_t PyObject_Hash(PyObject *o);
extern Py_ssize_t PyObject_Size(PyObject *o);
extern PyObject *PyObject_Str(PyObject *o);
extern PyObject *PyObject_Repr(PyObject *o);
extern PyObject *PyObject_GetIter(PyObject *o);
extern PyObject *PyIter_Next(PyObject *iterator); /* NULL without exception: exhausted */
extern int PyCallable_Check(PyObject *o);
extern int PyType_IsSubtype(PyObject *a, PyObject *b);
extern void *PyType_GetSlot(PyObject *type, int slot); /* numbers of Include/typeslots.h; of static types from 3.10 on */

/* ---- dict ------------------------------------------------------------------------ */
extern PyObject *PyDict_New(void);
extern PyObject *PyDict_Copy(PyObject *d);
extern PyObject *PyDict_Keys(PyObject *d);
extern PyObject *PyDict_GetItemWithError(PyObject *d, PyObject *key); /* borrowed */
extern PyObject *PyDict_GetItemString(PyObject *d, const char *key);  /* borrowed; swallows errors */
extern PyObject *PyDict_SetDefault(PyObject *d, PyObject *key, PyObject *value); /* borrowed */
extern int PyDict_SetItem(PyObject *d, PyObject *key, PyObject *value);
extern int PyDict_SetItemString(PyObject *d, const char *key, PyObject *value);
extern int PyDict_DelItem(PyObject *d, PyObject *key);
extern int PyDict_DelItemString(PyObject *d, const char *key);
extern int PyDict_Contains(PyObject *d, PyObject *key);
extern int PyDict_Update(PyObject *d, PyObject *other);
extern int PyDict_Next(PyObject *d, Py_ssize_t *position, PyObject **key, PyObject **value); /* borrowed */
extern void PyDict_Clear(PyObject *d);
extern Py_ssize_t PyDict_Size(PyObject *d);

/* ---- tuple, list, set ---------------------------------------------------------------- */
extern PyObject *PyTuple_New(Py_ssize_t n);
extern PyObject *PyTuple_Pack(Py_ssize_t n, ...);
extern Py_ssize_t PyTuple_Size(PyObject *t);
extern PyObject *PyTuple_GetItem(PyObject *t, Py_ssize_t i);          /* borrowed */
extern int PyTuple_SetItem(PyObject *t, Py_ssize_t i, PyObject *o);   /* steals */
extern PyObject *PyTuple_GetSlice(PyObject *t, Py_ssize_t low, Py_ssize_t high);
extern PyObject *PyList_New(Py_ssize_t n);
extern Py_ssize_t PyList_Size(PyObject *l);
extern PyObject *PyList_GetItem(PyObject *l, Py_ssize_t i);           /* borrowed */
/* Stable ABI; no name is given, which PyCapsule_New allows. */
extern PyObject *PyCapsule_New(void *pointer, const char *name, void (*destructor)(PyObject *capsule));
extern int PyList_SetItem(PyObject *l, Py_ssize_t i, PyObject *o);    /* steals */
extern int PyList_Append(PyObject *l, PyObject *o);
extern int PyList_Insert(PyObject *l, Py_ssize_t i, PyObject *o);
extern int PyList_SetSlice(PyObject *l, Py_ssize_t low, Py_ssize_t high, PyObject *o);
extern PyObject *PyList_AsTuple(PyObject *l);
extern PyObject *PySet_New(PyObject *iterable);
extern PyObject *PyFrozenSet_New(PyObject *iterable); /* NULL: empty, may be filled by PySet_Add while nobody else has it */
extern int PySet_Add(PyObject *s, PyObject *o);
extern int PySet_Contains(PyObject *s, PyObject *o);
extern int PySet_Discard(PyObject *s, PyObject *o);
extern Py_ssize_t PySet_Size(PyObject *s);

/* ---- str, bytes ------------------------------------------------------------------------ */
extern PyObject *PyUnicode_FromString(const char *utf8);
extern PyObject *PyUnicode_FromStringAndSize(const char *utf8, Py_ssize_t size);
extern PyObject *PyUnicode_FromOrdinal(int code_point);
extern PyObject *PyUnicode_FromFormat(const char *format, ...);
/* Cached in the object. Exported by all; in the stable ABI since 3.10, and not changed by that. */
extern const char *PyUnicode_AsUTF8AndSize(PyObject *s, Py_ssize_t *size);
extern PyObject *PyUnicode_DecodeLatin1(const char *bytes, Py_ssize_t size, const char *errors);
extern PyObject *PyUnicode_AsUTF8String(PyObject *s);
extern PyObject *PyUnicode_EncodeFSDefault(PyObject *s); /* bytes; surrogateescape */
extern PyObject *PyUnicode_DecodeFSDefault(const char *s);
extern PyObject *PyUnicode_DecodeFSDefaultAndSize(const char *s, Py_ssize_t size);
extern void PyUnicode_InternInPlace(PyObject **s);
extern PyObject *PyUnicode_InternFromString(const char *utf8);
extern PyObject *PyUnicode_Concat(PyObject *a, PyObject *b);
extern PyObject *PyUnicode_Join(PyObject *separator, PyObject *sequence);
extern PyObject *PyUnicode_Substring(PyObject *s, Py_ssize_t start, Py_ssize_t end);
extern PyObject *PyUnicode_RPartition(PyObject *s, PyObject *separator);
extern Py_ssize_t PyUnicode_Tailmatch(PyObject *s, PyObject *part, Py_ssize_t start, Py_ssize_t end, int direction);
extern Py_ssize_t PyUnicode_FindChar(PyObject *s, uint32_t c, Py_ssize_t start, Py_ssize_t end, int direction);
extern Py_ssize_t PyUnicode_GetLength(PyObject *s);
extern uint32_t PyUnicode_ReadChar(PyObject *s, Py_ssize_t i);
extern int PyUnicode_Compare(PyObject *a, PyObject *b);
extern int PyUnicode_CompareWithASCIIString(PyObject *s, const char *ascii); /* never fails */
extern PyObject *PyUnicode_RichCompare(PyObject *a, PyObject *b, int op);
extern PyObject *PyBytes_FromString(const char *s);
extern PyObject *PyBytes_FromStringAndSize(const char *s, Py_ssize_t size);
extern char *PyBytes_AsString(PyObject *b);
extern int PyBytes_AsStringAndSize(PyObject *b, char **s, Py_ssize_t *size);
extern Py_ssize_t PyBytes_Size(PyObject *b);

/* ---- numbers ----------------------------------------------------------------------------- */
extern PyObject *PyLong_FromLong(long v);
extern PyObject *PyLong_FromUnsignedLong(unsigned long v);
extern PyObject *PyLong_FromLongLong(long long v);
extern PyObject *PyLong_FromUnsignedLongLong(unsigned long long v);
extern PyObject *PyLong_FromSsize_t(Py_ssize_t v);
extern PyObject *PyLong_FromVoidPtr(void *p);
extern long PyLong_AsLong(PyObject *o); /* -1 and an exception, as all of these */
extern unsigned long PyLong_AsUnsignedLong(PyObject *o);
extern long long PyLong_AsLongLong(PyObject *o);
extern unsigned long long PyLong_AsUnsignedLongLong(PyObject *o);
extern Py_ssize_t PyLong_AsSsize_t(PyObject *o);
extern void *PyLong_AsVoidPtr(PyObject *o);
extern PyObject *PyBool_FromLong(long v);
extern PyObject *PyFloat_FromDouble(double v);
extern double PyFloat_AsDouble(PyObject *o);
extern PyObject *PyComplex_FromDoubles(double real, double imaginary);

/* ---- sequences, mappings --------------------------------------------------------------------- */
extern Py_ssize_t PySequence_Size(PyObject *o);
extern PyObject *PySequence_GetItem(PyObject *o, Py_ssize_t i); /* new */
extern int PySequence_Contains(PyObject *o, PyObject *value);
extern PyObject *PySequence_Concat(PyObject *a, PyObject *b); /* new */
extern PyObject *PySequence_List(PyObject *o);
extern PyObject *PySequence_Tuple(PyObject *o);
extern int PySequence_Check(PyObject *o);
extern PyObject *PyMapping_Keys(PyObject *o);
extern PyObject *PyMapping_GetItemString(PyObject *o, const char *key); /* new */
extern int PyMapping_Check(PyObject *o);

/* ---- imports, modules -------------------------------------------------------------------------- */
extern PyObject *PyImport_GetModuleDict(void);               /* borrowed: interp's sys.modules */
extern PyObject *PyImport_GetModule(PyObject *name);         /* new, or NULL without exception */
extern PyObject *PyImport_AddModule(const char *name);       /* borrowed */
extern PyObject *PyImport_ImportModule(const char *name);    /* new; through builtins.__import__ */
extern PyObject *PyImport_ImportModuleLevelObject(PyObject *name, PyObject *globals, PyObject *locals, PyObject *from, int level);
extern long PyImport_GetMagicNumber(void);                   /* of .pyc files, as u32 LE; -1 and an exception */
extern PyObject *PyModule_NewObject(PyObject *name);
extern PyObject *PyModule_New(const char *name);
extern PyObject *PyModule_GetDict(PyObject *module);         /* borrowed */
extern PyObject *PyModule_GetNameObject(PyObject *module);
extern int PyModule_AddObject(PyObject *module, const char *name, PyObject *value); /* steals on success */
extern int PyModule_SetDocString(PyObject *module, const char *doc);

typedef PyObject *(*PyCFunction)(PyObject *self, PyObject *args);
typedef PyObject *(*PyCFunctionFast)(PyObject *self, PyObject *const *args, Py_ssize_t count);                    /* METH_FASTCALL; stable since 3.10, same before */
typedef PyObject *(*PyCFunctionFastWithKeywords)(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames);
typedef PyObject *(*PyCFunctionWithKeywords)(PyObject *self, PyObject *args, PyObject *kwargs);
enum { METH_VARARGS = 1, METH_KEYWORDS = 2, METH_NOARGS = 4, METH_O = 8, METH_CLASS = 16, METH_STATIC = 32, METH_FASTCALL = 128 };
typedef struct PyMethodDef {
    const char *ml_name;
    PyCFunction ml_meth; /* cast of whatever ml_flags says, through void (*)(void) */
    int ml_flags;
    const char *ml_doc;
} PyMethodDef;
_Static_assert(sizeof(PyMethodDef) == 4 * sizeof(void *), "PyMethodDef is 32 bytes in every version (facts/cpython.md, 8)");
extern PyObject *PyCFunction_NewEx(PyMethodDef *def, PyObject *self, PyObject *module);
extern PyObject *PyCFunction_GetSelf(PyObject *f); /* borrowed */
extern PyCFunction PyCFunction_GetFunction(PyObject *f);
extern int PyCFunction_GetFlags(PyObject *f);
extern PyObject *PyModuleDef_Init(void *def);
/*
 * The PyModuleDef of this library's one module, in the form of this interpreter (of either
 * flavour): it needs no GIL and may be in several interpreters. NULL without an exception: an unknown version.
 */
void *py_module_def(const char *name, PyMethodDef *methods, int (*exec)(PyObject *module));
extern int PyModule_AddFunctions(PyObject *module, PyMethodDef *functions);

/* ---- evaluation, interpreter, threads ------------------------------------------------------------ */
enum { PY_SINGLE_INPUT = 256, PY_FILE_INPUT = 257, PY_EVAL_INPUT = 258 };
extern PyObject *Py_CompileString(const char *source, const char *filename, int start); /* no audit event, unlike compile() */
extern PyObject *PyEval_EvalCode(PyObject *code, PyObject *globals, PyObject *locals);
extern PyObject *PyEval_GetBuiltins(void); /* borrowed */
extern PyObject *PyEval_GetGlobals(void);  /* borrowed */
extern PyThreadState *PyEval_SaveThread(void);
extern void PyEval_RestoreThread(PyThreadState *state);
extern PyThreadState *PyThreadState_Get(void);
extern unsigned long PyThread_get_thread_ident(void);
extern PyInterpreterState *PyInterpreterState_Get(void);
extern PyInterpreterState *PyInterpreterState_Main(void);
extern int64_t PyInterpreterState_GetID(PyInterpreterState *interp);
extern PyObject *PyInterpreterState_GetDict(PyInterpreterState *interp); /* borrowed; for C code's own use, no program sees it */
extern PyGILState_STATE PyGILState_Ensure(void);
extern void PyGILState_Release(PyGILState_STATE state);
extern PyObject *PySys_GetObject(const char *name); /* borrowed */
extern int PySys_SetObject(const char *name, PyObject *value);
extern int PySys_Audit(const char *event, const char *format, ...);
extern int Py_IsInitialized(void);
extern int Py_AtExit(void (*callback)(void)); /* at the very end: no Python then */
extern const char *Py_GetVersion(void);

/* ---- references out of what other threads may change at any time ------------------------------------ */
/*
 * Borrowed ones are safe while the GIL is held: nobody else runs. In a
 * free-threaded build another thread may take the item away meanwhile, so all
 * that is reached from sys, importlib's dicts and lists of the program's comes as a new reference.
 */
#if PY_FREE_THREADED
/* All of the stable ABI since 3.13. Weak: an older Python can load this library, to be refused. 1 found, 0 not, -1 an exception. */
extern int PyDict_GetItemRef(PyObject *d, PyObject *key, PyObject **value) __attribute__((weak));
extern PyObject *PyList_GetItemRef(PyObject *l, Py_ssize_t i) __attribute__((weak)); /* IndexError where the list became shorter */

static inline PyObject *py_dict_get(PyObject *d, PyObject *key) {
    PyObject *value;
    PyDict_GetItemRef(d, key, &value);
    return value;
}
static inline PyObject *py_dict_get_string(PyObject *d, const char *key) {
    PyObject *name = PyUnicode_FromString(key), *value = name ? py_dict_get(d, name) : NULL;
    if (!value) PyErr_Clear();
    Py_DecRef(name);
    return value;
}
/* NULL without an exception behind the end. */
static inline PyObject *py_list_get(PyObject *l, Py_ssize_t i) {
    PyObject *item = PyList_GetItemRef(l, i);
    if (!item) PyErr_Clear();
    return item;
}
#else
/* d[key]: NULL, with or without an exception. */
static inline PyObject *py_dict_get(PyObject *d, PyObject *key) { return py_new_ref(PyDict_GetItemWithError(d, key)); }
/* d[key]: NULL without an exception. */
static inline PyObject *py_dict_get_string(PyObject *d, const char *key) { return py_new_ref(PyDict_GetItemString(d, key)); }
/* l[i]: NULL without an exception behind the end. */
static inline PyObject *py_list_get(PyObject *l, Py_ssize_t i) { return i < PyList_Size(l) ? py_new_ref(PyList_GetItem(l, i)) : NULL; }
#endif

/* sys.__dict__ of the interpreter whose imports are ours, which sys.x and PySys_GetObject read and write; set once by py_init(). */
extern PyObject *py_sys_dict;
/* sys.name, of an interned name: NULL without an exception. */
static inline PyObject *py_sys_get(PyObject *name) { return py_dict_get(py_sys_dict, name); }

#endif
