/*
 * compile(p, flags) of re's compiler (Lib/re/_compiler.py; before 3.11
 * Lib/sre_compile.py) without its Python code: parsing the pattern and making code of
 * it. What it calls in the end, _sre.compile, is called here with the same
 * arguments, and checks them again (Modules/_sre/sre.c, _validate).
 */
#define _GNU_SOURCE
#include "pure.h"

#include <dlfcn.h>
#include <string.h>

#include "xxh3.h"

static PyObject *sre, *sre_compile; /* the module _sre and its function, as re's compiler found them */
static PyObject *get_trace, *get_profile, *get_tool, *all_events;
/* PEP 523; exported by all, not in the stable ABI. */
static void *(*get_evaluator)(PyInterpreterState *);
static void *usual_evaluator;

enum { RESULT_UNKNOWN = 0, RESULT_GOOD = 1, RESULT_BAD = 2 }; /* pure_uses of a pattern */

int pure_observed(void) {
    PyObject *const observers[] = {get_trace, get_profile};
    for (size_t i = 0; i < 2; i++) {
        PyObject *found = observers[i] ? PyObject_CallNoArgs(observers[i]) : NULL;
        Py_DecRef(found);
        if (found != PY_NONE) {
            PyErr_Clear();
            return 1;
        }
    }
    /* A debugger or compiler that evaluates frames itself. */
    if (get_evaluator && usual_evaluator && get_evaluator(PyInterpreterState_Get()) != usual_evaluator) return 1;
    /* sys.monitoring (3.12+): events of all tools, those of C's PyEval_SetProfile and PyEval_SetTrace (6 and 7) too; sys.getprofile() says None of a NULL argument. */
    if (all_events) {
        PyObject *events = PyObject_CallNoArgs(all_events);
        const int quiet = events && py_is_dict(events) && PyDict_Size(events) == 0;
        Py_DecRef(events);
        if (!quiet) {
            PyErr_Clear();
            return 1;
        }
    }
    /* Tools 0 … 5, which may have events of single code objects. */
    for (long tool = 0; get_tool && tool < 6; tool++) {
        PyObject *number = PyLong_FromLong(tool), *found = number ? PyObject_CallFunctionObjArgs(get_tool, number, NULL) : NULL;
        Py_DecRef(number);
        Py_DecRef(found);
        if (found != PY_NONE) {
            PyErr_Clear();
            return 1;
        }
    }
    return 0;
}

/* ---- results ------------------------------------------------------------------------ */

/* A pattern's result, checked once; NULL when it is damaged. */
static const PycdsPurePattern *result_of(const PureFound *found) {
    const PycdsPure *p = found->row;
    const uint8_t *bytes = found->archive->pure_data + p->result;
    if (*found->uses == RESULT_UNKNOWN) *found->uses = xxh3(bytes, p->result_size) == p->digest ? RESULT_GOOD : RESULT_BAD;
    const PycdsPurePattern *result = (const PycdsPurePattern *)(const void *)bytes;
    if (*found->uses == RESULT_BAD || result->code_count > (p->result_size - sizeof *result) / 4 || result->groups > INT32_MAX) return NULL;
    return result;
}

/* [code], new. */
static PyObject *code_list(const PycdsPurePattern *result) {
    const uint32_t *words = (const uint32_t *)(const void *)(result + 1);
    PyObject *list = PyList_New(result->code_count);
    for (uint32_t i = 0; list && i < result->code_count; i++) {
        PyObject *word = PyLong_FromUnsignedLong(words[i]);
        if (!word) {
            Py_DecRef(list);
            return NULL;
        }
        PyList_SetItem(list, i, word);
    }
    return list;
}

/* groupindex, a dict, and indexgroup, a tuple of groups + 1. 0; -1: damaged, or an exception. */
static int group_names(const PycdsPurePattern *result, const uint8_t *end, PyObject *index, PyObject *names) {
    const uint8_t *at = (const uint8_t *)(result + 1) + (size_t)result->code_count * 4;
    for (uint32_t i = 0; i <= result->groups; i++) PyTuple_SetItem(names, i, py_new_ref(PY_NONE));
    for (uint32_t i = 0; i < result->name_count; i++) {
        PycdsPureGroup group;
        if ((size_t)(end - at) < sizeof group) return -1;
        memcpy(&group, at, sizeof group);
        at += sizeof group;
        if (group.group == 0 || group.group > result->groups || group.length > (size_t)(end - at)) return -1;
        PyObject *name = PyUnicode_FromStringAndSize((const char *)at, (Py_ssize_t)group.length), *number = name ? PyLong_FromUnsignedLong(group.group) : NULL;
        const int ok = number && PyDict_SetItem(index, name, number) == 0;
        Py_DecRef(number);
        if (!ok) {
            Py_DecRef(name);
            return -1;
        }
        PyTuple_SetItem(names, group.group, name);
        const size_t padded = ((size_t)group.length + 3) & ~(size_t)3;
        if (padded > (size_t)(end - at)) return -1;
        at += padded;
    }
    return at == end ? 0 : -1;
}

static PyObject *make(const PureFound *found, PyObject *pattern) {
    const PycdsPure *p = found->row;
    const PycdsPurePattern *result = result_of(found);
    if (!result || result->groups > p->result_size) return NULL; /* each group takes a word of code at least */
    PyObject *code = code_list(result), *index = PyDict_New(), *names = PyTuple_New((Py_ssize_t)result->groups + 1);
    PyObject *flags = PyLong_FromUnsignedLong(result->flags), *groups = PyLong_FromUnsignedLong(result->groups), *made = NULL;
    if (code && index && names && flags && groups && group_names(result, found->archive->pure_data + p->result + p->result_size, index, names) == 0)
        made = PyObject_CallFunctionObjArgs(sre_compile, pattern, flags, code, groups, index, names, NULL);
    Py_DecRef(code);
    Py_DecRef(index);
    Py_DecRef(names);
    Py_DecRef(flags);
    Py_DecRef(groups);
    return made;
}

/* ---- calls ---------------------------------------------------------------------------- */

/* Flags as an int that a row can have; -1: stock's. */
static int64_t flags_of(PyObject *flags) {
    if (!flags || !py_is_long(flags)) return -1;
    const long long value = PyLong_AsLongLong(flags);
    if (value < 0 || value > UINT32_MAX) {
        PyErr_Clear();
        return -1;
    }
    return value;
}

static PureFound row_of(PyObject *pattern, uint32_t flags) {
    Py_ssize_t size;
    char *bytes = NULL;
    const char *text = NULL;
    if (py_is_str(pattern)) text = PyUnicode_AsUTF8AndSize(pattern, &size);
    else if (py_is_bytes(pattern) && PyBytes_AsStringAndSize(pattern, &bytes, &size) == 0) text = bytes;
    if (!text) {
        PyErr_Clear();
        return (PureFound){NULL, NULL, NULL};
    }
    return pure_find(bytes ? PYCDS_PURE_BYTES_PATTERN : PYCDS_PURE_STR_PATTERN, flags, text, (size_t)size);
}

PyObject *pure_regex_serve(PyObject *pattern, PyObject *flags) {
    const int64_t number = flags_of(flags);
    if (number < 0 || !pure_here() || !sre_compile) return NULL;
    const PureFound row = row_of(pattern, (uint32_t)number);
    if (!row.row || pure_observed() || !pure_parser_is_stock()) return NULL;
    PyObject *found = PyObject_GetAttrString(sre, "compile");
    Py_DecRef(found); /* the module holds it */
    PyObject *made = found == sre_compile ? make(&row, pattern) : NULL;
    if (made) pure_patterns_served++;
    else PyErr_Clear();
    return made;
}

void pure_regex_record(PyObject *pattern, PyObject *flags) {
    const int64_t number = flags_of(flags);
    if (trace_active && import_running() && number >= 0 && pure_here()) trace_pattern(pattern, (uint32_t)number);
}

/* ---- installation ----------------------------------------------------------------------- */

/* An exact module of sys.modules; borrowed. */
static PyObject *module_named(const char *name) {
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *module = modules && py_is_dict(modules) ? PyDict_GetItemString(modules, name) : NULL;
    return module && py_is_module(module) ? module : NULL;
}

static PyObject *global(PyObject *module, const char *name) { return module ? PyDict_GetItemString(PyModule_GetDict(module), name) : NULL; }

static PyObject *sys_function(const char *name) {
    PyObject *function = PySys_GetObject(name);
    return function && py_is(function, &PyCFunction_Type) ? py_new_ref(function) : NULL;
}

static void install(PyObject *re) {
    PyObject *compiler = module_named("re._compiler"), *parser = module_named("re._parser"), *monitoring = PySys_GetObject("monitoring");
    if (!compiler) {
        compiler = module_named("sre_compile");
        parser = module_named("sre_parse");
    }
    PyObject *function = global(compiler, "compile");
    sre = global(compiler, "_sre");
    get_trace = sys_function("gettrace");
    get_profile = sys_function("getprofile");
    get_tool = monitoring ? PyObject_GetAttrString(monitoring, "get_tool") : NULL;
    all_events = get_tool ? PyObject_GetAttrString(monitoring, "_all_events") : NULL;
    void *const get = dlsym(RTLD_DEFAULT, "_PyInterpreterState_GetEvalFrameFunc");
    memcpy(&get_evaluator, &get, sizeof get_evaluator);
    usual_evaluator = dlsym(RTLD_DEFAULT, "_PyEval_EvalFrameDefault");
    PyErr_Clear();
    if (!parser || !function || !py_is_function(function) || !sre || sre != module_named("_sre") || !get_trace || !get_profile || pure_observed()) return;
    PyObject *globals = PyObject_GetAttrString(function, "__globals__");
    PyErr_Clear();
    const int own = globals == PyModule_GetDict(compiler);
    Py_DecRef(globals);
    sre_compile = PyObject_GetAttrString(sre, "compile");
    PyErr_Clear();
    if (!own || !sre_compile || !py_is(sre_compile, &PyCFunction_Type) || pure_parser_remember(re, compiler, parser) < 0 || pure_hook(re, compiler, function) < 0) {
        sre_compile = NULL;
        return;
    }
    Py_IncRef(sre);
}

void pure_regex_imported(PyObject *name) {
    static int done;
    if (done || !pure_here() || (name && PyUnicode_CompareWithASCIIString(name, "re") != 0)) return;
    PyObject *re = module_named("re");
    if (!re) return;
    done = 1;
    install(re);
    if (PyErr_Occurred()) PyErr_Clear();
}
