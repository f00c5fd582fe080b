/*
 * The part of the CPython C API that is used here, declared without Python.h, all
 * of it in the stable ABI or exported unchanged from 3.11 to 3.14; no structure is
 * looked into. Checked by test/warm/symbols.test.ts.
 */
#ifndef PYCDS_WARM_PYTHON_H
#define PYCDS_WARM_PYTHON_H

#include <stddef.h>
#include <sys/types.h>

typedef struct PyObject_ PyObject;
typedef ssize_t Py_ssize_t;
typedef PyObject *(*PyCFunction)(PyObject *, PyObject *);
typedef struct PyMethodDef {
    const char *ml_name;
    PyCFunction ml_meth;
    int ml_flags;
    const char *ml_doc;
} PyMethodDef;
#define METH_VARARGS 1
#define METH_KEYWORDS 2
#define METH_NOARGS 4
#define METH_O 8

extern PyObject _Py_NoneStruct, PyLong_Type;
extern PyObject *PyExc_SystemExit, *PyExc_KeyboardInterrupt;

extern void Py_IncRef(PyObject *o); /* both accept NULL */
extern void Py_DecRef(PyObject *o);
extern PyObject *PyErr_Occurred(void); /* borrowed */
extern void PyErr_Clear(void);
extern void PyErr_SetObject(PyObject *type, PyObject *value);
extern PyObject *PyObject_Type(PyObject *o);
extern int PyObject_GC_IsTracked(PyObject *o);
extern void PyObject_GC_Track(void *o);
extern void PyObject_GC_UnTrack(void *o);
extern void PyErr_Print(void);
extern void PyErr_WriteUnraisable(PyObject *where);
extern const char *Py_GetVersion(void);
extern int PyErr_ExceptionMatches(PyObject *type);
extern void PyErr_Fetch(PyObject **type, PyObject **value, PyObject **traceback);
extern void PyErr_NormalizeException(PyObject **type, PyObject **value, PyObject **traceback);
extern PyObject *Py_BuildValue(const char *format, ...);
extern int PyArg_ParseTuple(PyObject *tuple, const char *format, ...);
extern PyObject *PyList_New(Py_ssize_t size);
extern int PyList_SetItem(PyObject *list, Py_ssize_t index, PyObject *item); /* steals */
extern int PyList_Append(PyObject *list, PyObject *item);
extern Py_ssize_t PyList_Size(PyObject *list);
extern PyObject *PyList_GetItem(PyObject *list, Py_ssize_t index); /* borrowed */
extern PyObject *PyBytes_FromString(const char *text);
extern PyObject *PyBytes_FromStringAndSize(const char *text, Py_ssize_t size);
extern void *PyCapsule_GetPointer(PyObject *capsule, const char *name);
extern int PyBytes_AsStringAndSize(PyObject *bytes, char **text, Py_ssize_t *size);
extern PyObject *PyObject_Call(PyObject *function, PyObject *arguments, PyObject *keywords);
extern PyObject *PyDict_New(void);
extern PyObject *PyDict_GetItemString(PyObject *dict, const char *key); /* borrowed */
extern int PyDict_SetItemString(PyObject *dict, const char *key, PyObject *value);
extern PyObject *PyLong_FromLong(long value);
extern long PyLong_AsLong(PyObject *o);
extern int PyObject_IsInstance(PyObject *o, PyObject *type);
extern PyObject *PyObject_Str(PyObject *o);
extern const char *PyUnicode_AsUTF8AndSize(PyObject *text, Py_ssize_t *size);
extern wchar_t *PyUnicode_AsWideCharString(PyObject *text, Py_ssize_t *size); /* PyMem_Free */
extern void *PyMem_Calloc(size_t count, size_t size);
extern void PyMem_Free(void *memory); /* accepts NULL */
extern PyObject *PyObject_GetAttrString(PyObject *o, const char *name);
extern PyObject *PyObject_CallObject(PyObject *function, PyObject *arguments);
extern PyObject *PyObject_CallMethod(PyObject *o, const char *name, const char *format, ...);
extern PyObject *PyObject_CallFunctionObjArgs(PyObject *function, ...);
extern PyObject *PyCFunction_NewEx(PyMethodDef *definition, PyObject *self, PyObject *module);
extern PyObject *PyImport_ImportModule(const char *name);
extern PyObject *PyImport_AddModule(const char *name); /* borrowed */
extern PyObject *PyModule_GetDict(PyObject *module);   /* borrowed */
extern PyObject *PyEval_GetBuiltins(void);             /* borrowed */
extern PyObject *PyEval_EvalCode(PyObject *code, PyObject *globals, PyObject *locals);
extern PyObject *Py_CompileString(const char *source, const char *file, int start);
typedef struct PyCompilerFlags { /* Include/cpython/compile.h, the same from 3.8 to 3.15 */
    int cf_flags;
    int cf_feature_version; /* of ast.parse only */
} PyCompilerFlags;
extern PyObject *Py_CompileStringObject(const char *source, PyObject *file, int start, PyCompilerFlags *flags, int optimize);
extern PyObject *PySys_GetObject(const char *name); /* borrowed */
extern void PySys_WriteStderr(const char *format, ...);
extern int PyFile_WriteObject(PyObject *o, PyObject *file, int flags);
extern void *PyInterpreterState_Get(void);
extern void *PyThreadState_Get(void);
extern int Py_FinalizeEx(void);

#endif
