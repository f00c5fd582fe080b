/*
 * exec(), eval() and compile() of a str whose code is archived (Python/bltinmodule.c).
 *
 * The builtins stay the objects that they are; what changes is the C function that
 * they call. It has no frame of its own, as theirs has none, so the caller's
 * future statements are found as stock finds them. exec and eval hand the code
 * object to stock's function, which does all the rest; what the parser would
 * have done that can be seen, the audit event "compile", is done here.
 *
 * Each call gets a code object of its own, as from stock: one that several
 * functions shared would share what CPython has learnt about each (inline
 * caches), and its counters.
 */
#define _GNU_SOURCE
#include "pure.h"

#include <limits.h>
#include <dlfcn.h>
#include <string.h>

/* Python/pythonrun.c, Include/cpython/compile.h: the same since 3.8. */
typedef struct CompilerFlags {
    int flags;
    int feature_version;
} CompilerFlags;

#define SOURCE_IS_UTF8 0x100     /* PyCF_SOURCE_IS_UTF8 */
#define FUTURE_FLAGS 0x01fe0000L /* PyCF_MASK since 3.9: CO_FUTURE_DIVISION … CO_FUTURE_ANNOTATIONS */

static int (*merge_flags)(CompilerFlags *); /* PyEval_MergeCompilerFlags: exported by all, not in the stable ABI */
static int interns_filenames;               /* 3.13+: init_code() of Objects/codeobject.c */
static PyObject *string_filename;           /* the "<string>" that code of exec and eval has in this Python, one object for all */

typedef struct Builtin {
    PyMethodDef def; /* ours: stock's with another function */
    PyCFunction stock;
    int keywords;
} Builtin;

static Builtin builtin_exec, builtin_eval, builtin_compile;

static PyObject *call_stock(const Builtin *b, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames) {
    if (b->keywords) return ((PyCFunctionFastWithKeywords)(void (*)(void))b->stock)(self, args, count, kwnames);
    return ((PyCFunctionFast)(void (*)(void))b->stock)(self, args, count);
}

/* Future statements in force: `own` and those of the calling frame. */
static uint32_t future_flags(long own, int inherit) {
    CompilerFlags flags = {(int)own | SOURCE_IS_UTF8, 0};
    if (inherit) merge_flags(&flags);
    return (uint32_t)(flags.flags & ~SOURCE_IS_UTF8);
}

/* What exec and eval put into globals before they compile (Python/bltinmodule.c). 0, or -1 with an exception. */
static int add_builtins(PyObject *globals) {
    if (!globals || !py_is_dict(globals)) return 0;
    const int has = PyDict_Contains(globals, state.n___builtins__);
    return has != 0 ? (has < 0 ? -1 : 0) : PyDict_SetItem(globals, state.n___builtins__, PyEval_GetBuiltins());
}

/*
 * A code object for a source string; `filename`: a new reference, used up; NULL for "<string>".
 * `globals`: those of exec and eval, or NULL. NULL: stock compiles it, or an exception is set.
 */
static PyObject *code_for(uint32_t kind, uint32_t flags, const char *text, size_t size, PyObject *filename, PyObject *globals) {
    const PureFound found = pure_find(kind, flags, text, size);
    PyObject *code = NULL;
    if (!found.row) goto done;
    if (!filename) filename = py_new_ref(string_filename);
    else if (interns_filenames) PyUnicode_InternInPlace(&filename);
    if (!filename) goto done;
    code = unit_copy(found.archive, found.row->result, filename);
    if (!code) {
        PyErr_Clear();
        goto done;
    }
    ++*found.uses;
    pure_sources_served++;
    if (add_builtins(globals) < 0) {
        code = NULL;
        goto done;
    }
    /* Parser/pegen.c, _PyPegen_run_parser_from_string. */
    if (PySys_Audit("compile", "yO", text, filename) < 0) code = NULL;
done:
    Py_DecRef(filename);
    return code;
}

static const char *text_of(PyObject *source, size_t *size) {
    Py_ssize_t length;
    const char *text = py_is_str(source) ? PyUnicode_AsUTF8AndSize(source, &length) : NULL;
    if (!text) {
        PyErr_Clear(); /* a lone surrogate: stock says so */
        return NULL;
    }
    *size = (size_t)length;
    return strlen(text) == *size ? text : NULL;
}

static void record(uint32_t kind, uint32_t flags, const char *text, size_t size) {
    if (trace_active && import_running()) trace_source(kind, flags, text, size);
}

/* exec(source, globals=None, locals=None), eval(…): what the namespaces must be for stock not to complain before it compiles. */
static int plain_namespaces(PyObject *const *args, Py_ssize_t count) {
    return (count < 2 || args[1] == PY_NONE || py_is_dict(args[1])) && (count < 3 || args[2] == PY_NONE || PyMapping_Check(args[2])) && count <= 3;
}

/* ---- KeyboardInterrupt ------------------------------------------------------------------- */

/*
 * Code that stock compiled from a string marks the process when a KeyboardInterrupt leaves it, and takes an earlier mark
 * off as it begins (Python/pythonrun.c, run_eval_code_obj); a process that ends with the mark ends as by SIGINT
 * (Modules/main.c, Py_RunMain), even when the exception was caught. Code objects given to exec do neither. From 3.14 on main alone marks.
 */
static int *mark;        /* _Py_UnhandledKeyboardInterrupt; NULL from 3.12 on, where it is inside of _PyRuntime */
static int marks_inside; /* 3.12, 3.13 */
static int marked;       /* then: since a KeyboardInterrupt left a string's code, all is stock's, which takes the mark off */

/* After a call of stock's, whose result is given back. */
static PyObject *note_interrupt(PyObject *result) {
    if (marks_inside && !result && PyErr_Occurred() == PyExc_KeyboardInterrupt) marked = 1;
    return result;
}

/* After a call of stock's with an archived code object: the same mark. */
static PyObject *mark_interrupt(PyObject *self, PyObject *result) {
    if (result || PyErr_Occurred() != PyExc_KeyboardInterrupt) return result;
    if (mark) *mark = 1;
    if (!marks_inside) return NULL;
    PyObject *type, *value, *traceback, *args[2] = {PyUnicode_FromString("raise KeyboardInterrupt"), PyDict_New()};
    marked = 1;
    PyErr_Fetch(&type, &value, &traceback);
    if (args[0] && args[1]) Py_DecRef(call_stock(&builtin_exec, self, args, 2, NULL)); /* NULL: an audit hook refused, or as wanted */
    PyErr_Clear();
    Py_DecRef(args[0]);
    Py_DecRef(args[1]);
    PyErr_Restore(type, value, traceback);
    return NULL;
}

static PyObject *execute(const Builtin *b, uint32_t kind, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames) {
    size_t size;
    const char *text;
    if (count < 1 || kwnames || !pure_here() || !plain_namespaces(args, count) || !(text = text_of(args[0], &size))) return note_interrupt(call_stock(b, self, args, count, kwnames));
    while (kind == PYCDS_PURE_EVAL && (*text == ' ' || *text == '\t')) text++, size--;
    const uint32_t flags = future_flags(0, 1);
    record(kind, flags, text, size);
    PyObject *code = marked ? NULL : code_for(kind, flags, text, size, NULL, count > 1 ? args[1] : NULL);
    if (!code) return PyErr_Occurred() ? NULL : note_interrupt(call_stock(b, self, args, count, kwnames));
    PyObject *changed[3] = {code, count > 1 ? args[1] : NULL, count > 2 ? args[2] : NULL};
    if (mark) *mark = 0;
    return mark_interrupt(self, call_stock(b, self, changed, count, NULL));
}

static PyObject *our_exec(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames) { return execute(&builtin_exec, PYCDS_PURE_EXEC, self, args, count, kwnames); }
static PyObject *our_eval(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames) { return execute(&builtin_eval, PYCDS_PURE_EVAL, self, args, count, kwnames); }
/* METH_FASTCALL without keywords, as exec and eval had it before 3.11 and 3.13. */
static PyObject *our_exec_positional(PyObject *self, PyObject *const *args, Py_ssize_t count) { return our_exec(self, args, count, NULL); }
static PyObject *our_eval_positional(PyObject *self, PyObject *const *args, Py_ssize_t count) { return our_eval(self, args, count, NULL); }

/* ---- compile(source, filename, mode, flags=0, dont_inherit=False, optimize=-1, *, _feature_version=-1) ---- */

enum { SOURCE, FILENAME, MODE, FLAGS, DONT_INHERIT, OPTIMIZE, PARAMETERS };

/* Sorts arguments by parameter; 0 where stock must decide. */
static int sort_arguments(PyObject *const *args, Py_ssize_t count, PyObject *kwnames, PyObject *sorted[PARAMETERS]) {
    static const char *const names[PARAMETERS] = {"source", "filename", "mode", "flags", "dont_inherit", "optimize"};
    if (count > PARAMETERS) return 0;
    for (Py_ssize_t i = 0; i < count; i++) sorted[i] = args[i];
    for (Py_ssize_t i = 0; kwnames && i < PyTuple_Size(kwnames); i++) {
        int parameter = 0;
        while (parameter < PARAMETERS && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(kwnames, i), names[parameter]) != 0) parameter++;
        if (parameter == PARAMETERS || sorted[parameter]) return 0;
        sorted[parameter] = args[count + i];
    }
    return sorted[SOURCE] && sorted[FILENAME] && sorted[MODE];
}

/* An exact int (or bool) in range; `absent` where there is none; -2: stock must decide. */
static long small(PyObject *object, long absent) {
    if (!object) return absent;
    if (object == PY_TRUE || object == PY_FALSE) return object == PY_TRUE;
    if (!py_is_long(object)) return -2;
    const long value = PyLong_AsLong(object);
    if (value != -1 || !PyErr_Occurred()) return value;
    PyErr_Clear();
    return -2;
}

static int kind_of(PyObject *mode) {
    static const struct { const char *name; int kind; } modes[] = {{"exec", PYCDS_PURE_EXEC}, {"eval", PYCDS_PURE_EVAL}, {"single", PYCDS_PURE_SINGLE}};
    for (size_t i = 0; i < 3 && py_is_str(mode); i++)
        if (PyUnicode_CompareWithASCIIString(mode, modes[i].name) == 0) return modes[i].kind;
    return -1;
}

static PyObject *compile(PyObject *const *args, Py_ssize_t count, PyObject *kwnames) {
    PyObject *sorted[PARAMETERS] = {NULL};
    size_t size, filename_size;
    if (!pure_here() || !sort_arguments(args, count, kwnames, sorted)) return NULL;
    const int kind = kind_of(sorted[MODE]);
    const long own = small(sorted[FLAGS], 0), dont_inherit = small(sorted[DONT_INHERIT], 0);
    if (kind < 0 || own < 0 || (own & ~FUTURE_FLAGS) != 0 || dont_inherit < 0 || dont_inherit > INT_MAX || small(sorted[OPTIMIZE], -1) != -1 || !text_of(sorted[FILENAME], &filename_size)) return NULL;
    const char *text = text_of(sorted[SOURCE], &size);
    if (!text) return NULL;
    const uint32_t flags = future_flags(own, !dont_inherit);
    record((uint32_t)kind, flags, text, size);
    PyObject *code = code_for((uint32_t)kind, flags, text, size, py_new_ref(sorted[FILENAME]), NULL);
    Py_IncRef(code);
    return code;
}

static PyObject *our_compile(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames) {
    PyObject *code = compile(args, count, kwnames);
    return code || PyErr_Occurred() ? code : call_stock(&builtin_compile, self, args, count, kwnames);
}

/* ---- installation ------------------------------------------------------------------------------- */

/*
 * The method definition that a builtin function holds. It is the first field
 * behind the object header in every version (Include/cpython/methodobject.h,
 * PyCFunctionObject.m_ml), and it is believed only when it says what the API
 * says of the function.
 */
static PyMethodDef **definition_of(PyObject *function, const char *name) {
    if (!function || !py_is(function, &PyCFunction_Type)) return NULL;
    PyMethodDef **place = (PyMethodDef **)(void *)((char *)function + PY_TYPE_OFFSET + sizeof(PyObject *));
    const PyMethodDef *def = *place;
    return def && def->ml_meth == PyCFunction_GetFunction(function) && def->ml_flags == PyCFunction_GetFlags(function) && strcmp(def->ml_name, name) == 0 ? place : NULL;
}

static void replace(const char *name, Builtin *b, PyCFunctionFastWithKeywords ours, PyCFunctionFast ours_positional) {
    PyMethodDef **place = definition_of(PyDict_GetItemString(state.builtins_dict, name), name);
    if (!place) return;
    b->keywords = (*place)->ml_flags == (METH_FASTCALL | METH_KEYWORDS);
    if (!b->keywords && ((*place)->ml_flags != METH_FASTCALL || !ours_positional)) return;
    b->def = **place;
    b->stock = b->def.ml_meth;
    b->def.ml_meth = b->keywords ? (PyCFunction)(void (*)(void))ours : (PyCFunction)(void (*)(void))ours_positional;
    *place = &b->def;
}

void pure_source_install(void) {
    void *merge = dlsym(RTLD_DEFAULT, "PyEval_MergeCompilerFlags");
    if (!merge || builtin_exec.stock) return;
    memcpy(&merge_flags, &merge, sizeof merge_flags);
    const long version = PySys_GetObject("hexversion") ? PyLong_AsLong(PySys_GetObject("hexversion")) : 0;
    interns_filenames = version >= 0x030d0000;
    string_filename = pure_sample_filename();
    if (!string_filename) return;
    mark = (int *)dlsym(RTLD_DEFAULT, "_Py_UnhandledKeyboardInterrupt");
    marks_inside = !mark && version < 0x030e0000;
    replace("exec", &builtin_exec, our_exec, our_exec_positional);
    replace("eval", &builtin_eval, our_eval, our_eval_positional);
    replace("compile", &builtin_compile, our_compile, NULL);
    PyErr_Clear();
}
