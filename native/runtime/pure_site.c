/*
 * 3.11 makes the frame of a called Python function itself, without asking the
 * function (Python/ceval.c, CALL), so nothing in or about compile() of re's compiler
 * could bring its calls to us unseen. But its caller can: in re._compile() stands
 *
 *     p = _compiler.compile(pattern, flags)
 *
 * and LOAD_ATTR there has an inline cache. Its specialised form LOAD_ATTR_MODULE
 * holds the version of the keys of the module's dict and an index among their
 * entries; it takes the value at that index when the version is still that.
 * Keys have more entries allocated than are in use. A function of ours is
 * put into the last spare one, where no look-up, iteration or copy of the dict
 * comes, and its index into the cache.
 *
 * What a program can see is as before: `__code__`, co_code, equality and hash are
 * those of the unspecialised code; under a tracer or profiler the
 * unspecialised instruction is executed (DO_TRACING), so compile() is called and seen. A
 * version belongs to one keys object and goes when a key is added or
 * deleted (Objects/dictobject.c): then the interpreter puts the unspecialised
 * instruction back, and the spare entry is overwritten when its turn comes.
 * Whether the module's values are still stock's is asked at each call.
 *
 * Opcode and form of the cache are read off a function of our own that the
 * interpreter has specialised; the whole is tried out on another one before
 * re._compile() is touched (decision 0025).
 */
#define _GNU_SOURCE
#include "pure_hook.h"

#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

enum { CALLS = 12 /* a function is specialised within 10 */, CACHE_MAX = 32 };

/* Bytecode of a function: the program's view of it, and the words that are executed. */
typedef struct Bytecode {
    PyObject *code, *text; /* strong: the code object; co_code */
    const uint8_t *plain;
    uint8_t *live;
    Py_ssize_t size;
} Bytecode;

/* LOAD_ATTR_MODULE as the interpreter wrote it. */
typedef struct Form {
    uint8_t plain_opcode, opcode;
    Py_ssize_t cache_size, index_at; /* bytes; where in the cache */
    uint8_t cache[CACHE_MAX];
} Form;

/*
 * Keys of a dict (Include/internal/pycore_dict.h, struct _dictkeysobject) with str
 * keys only, and their entries. Only of 3.11; each field is compared with what
 * the interpreter's own cache says before another one is believed.
 */
typedef struct Keys {
    Py_ssize_t refcount;
    uint8_t log2_size, log2_index_bytes, kind;
    uint32_t version;
    Py_ssize_t usable, count; /* entries to come, and in use */
    uint8_t indices[];
} Keys;
typedef struct KeysEntry {
    PyObject *key, *value;
} KeysEntry;
enum { KEYS_IN_DICT = 32 /* Include/cpython/dictobject.h, PyDictObject.ma_keys */, KIND_STR = 1 };

static PyObject *re_dict, *compiler_module;

/* ---- what is called in compile()'s place ------------------------------------------------ */

/*
 * (pattern, flags). The version in the cache says that keys like those of `compiler_module`'s dict were asked for
 * "compile": its own, or a copy, since dict.update() of an empty dict copies keys with their version (clone_combined_dict_keys).
 */
static PyObject *called(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    PyObject *asked = PyDict_GetItemString(re_dict, "_compiler");
    if (!asked) asked = compiler_module;
    PyObject *result = count == 2 && asked == compiler_module ? pure_regex_serve(args[0], args[1]) : NULL;
    if (!result && !PyErr_Occurred()) {
        PyObject *function = PyObject_GetAttrString(asked, "compile"), *arguments = function ? PyTuple_New(count) : NULL;
        for (Py_ssize_t i = 0; arguments && i < count; i++) PyTuple_SetItem(arguments, i, py_new_ref(args[i]));
        if (arguments) result = PyObject_Call(function, arguments, NULL);
        Py_DecRef(arguments);
        Py_DecRef(function);
    }
    if (result && count == 2) pure_regex_record(args[0], args[1]);
    return result;
}

static PyMethodDef called_def = {"compile", (PyCFunction)(void (*)(void))called, METH_FASTCALL, NULL};

/* ---- bytecode ------------------------------------------------------------------------------- */

static void close_bytecode(Bytecode *b) {
    Py_DecRef(b->code);
    Py_DecRef(b->text);
}

/* 0 or -1; the bytecode follows the code object's fixed part (Include/cpython/code.h, co_code_adaptive). */
static int open_bytecode(PyObject *function, Bytecode *b) {
    char *plain = NULL;
    memset(b, 0, sizeof *b);
    const long basicsize = pure_int_attribute(py_code_type, "__basicsize__");
    /* function.__code__ would raise the audit event object.__getattr__ until 3.13 */
    PyObject *(*get_code)(PyObject *) = NULL; /* PyFunction_GetCode, borrowed: exported by all, not in the stable ABI */
    void *const get = dlsym(RTLD_DEFAULT, "PyFunction_GetCode");
    memcpy(&get_code, &get, sizeof get_code);
    b->code = get_code && py_is_function(function) ? py_new_ref(get_code(function)) : NULL;
    b->text = b->code ? PyObject_GetAttrString(b->code, "co_code") : NULL;
    if (basicsize <= 0 || !b->text || PyBytes_AsStringAndSize(b->text, &plain, &b->size) < 0) {
        PyErr_Clear();
        close_bytecode(b);
        return -1;
    }
    b->plain = (const uint8_t *)plain;
    b->live = (uint8_t *)(void *)b->code + basicsize;
    return 0;
}

/* The one LOAD_ATTR (or LOAD_METHOD) of `name`, by its place; -1. Units of a cache read as opcode 0. */
static Py_ssize_t find_site(const Bytecode *b, const char *name, uint8_t opcode, Py_ssize_t cache_size) {
    enum { EXTENDED_ARG = 144 };
    PyObject *names = PyObject_GetAttrString(b->code, "co_names");
    Py_ssize_t found = -1;
    int count = 0;
    for (Py_ssize_t at = 0; names && py_is_tuple(names) && at + 2 + cache_size <= b->size; at += 2) {
        if (b->plain[at] != opcode || b->plain[at + 1] >= PyTuple_Size(names)) continue;
        if (PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, b->plain[at + 1]), name) != 0) continue;
        int whole = at < 2 || b->plain[at - 2] != EXTENDED_ARG;
        for (Py_ssize_t i = 0; i < cache_size; i += 2) whole &= b->plain[at + 2 + i] == 0;
        count++;
        if (whole) found = at;
    }
    Py_DecRef(names);
    PyErr_Clear();
    return count == 1 ? found : -1;
}

/* ---- learning --------------------------------------------------------------------------------- */

static int call_often(PyObject *function, PyObject *a, PyObject *b) {
    for (int i = 0; i < CALLS; i++) {
        PyObject *result = PyObject_CallFunctionObjArgs(function, a, b, NULL);
        Py_DecRef(result);
        if (!result) return -1;
    }
    return 0;
}

/* The keys of a module's dict and the entry of `value`, compared with the cache that LOAD_ATTR_MODULE got for it. 0 or -1. */
static int check_keys(PyObject *dict, PyObject *value, Form *form, Keys **found, KeysEntry **entries) {
    Keys *keys;
    memcpy(&keys, (char *)dict + KEYS_IN_DICT, sizeof keys);
    uint32_t version = 0;
    for (form->index_at = 0; form->index_at + 2 <= form->cache_size; form->index_at += 2) {
        /* The counter comes first, then version and index in this order or the other. */
        const Py_ssize_t version_at = form->index_at == 2 ? 4 : 2;
        uint16_t index;
        if (form->cache_size != 8 || form->index_at == 0 || (form->index_at != 2 && form->index_at != 6)) continue;
        memcpy(&version, form->cache + version_at, sizeof version);
        memcpy(&index, form->cache + form->index_at, sizeof index);
        if (version == 0 || keys->version != version) continue;
        if (keys->kind != KIND_STR || keys->log2_size > 12 || keys->log2_index_bytes > 14 || keys->count < PyDict_Size(dict) || keys->usable < 1 || keys->count + keys->usable > UINT16_MAX) return -1;
        /* USABLE_FRACTION of Objects/dictobject.c: all the entries that are allocated. */
        if (keys->count + keys->usable != ((Py_ssize_t)1 << keys->log2_size) * 2 / 3) return -1;
        *entries = (KeysEntry *)(void *)(keys->indices + ((size_t)1 << keys->log2_index_bytes));
        *found = keys;
        return index < keys->count && (*entries)[index].value == value && PyUnicode_CompareWithASCIIString((*entries)[index].key, "compile") == 0 ? 0 : -1;
    }
    return -1;
}

/* The form of LOAD_ATTR_MODULE, from a function that has looked `compile` up in `module` often enough. 0 or -1. */
static int learn_form(PyObject *function, PyObject *module, Bytecode *b, Form *form) {
    /* Not executed yet, the bytecode is as the program sees it: so this is where it is. */
    if (memcmp(b->live, b->plain, (size_t)b->size) != 0) return -1;
    Py_ssize_t at = 0;
    /* The one instruction of the sample that has a cache. */
    while (at + 4 <= b->size && (b->plain[at] == 0 || b->plain[at + 2] != 0)) at += 2;
    if (at + 4 > b->size) return -1;
    form->cache_size = 0;
    while (at + 2 + form->cache_size < b->size && b->plain[at + 2 + form->cache_size] == 0) form->cache_size += 2;
    form->plain_opcode = b->plain[at];
    if (form->cache_size > CACHE_MAX || find_site(b, "compile", form->plain_opcode, form->cache_size) != at || call_often(function, module, PY_NONE) < 0) return -1;
    form->opcode = b->live[at];
    memcpy(form->cache, b->live + at + 2, (size_t)form->cache_size);
    return form->opcode == form->plain_opcode ? -1 : 0;
}

/* ---- the site ----------------------------------------------------------------------------------- */

/* Only for quickened code: before that the interpreter takes caches for instructions to quicken (_PyCode_Quicken). */
static int write_site(const Bytecode *b, const Form *form, uint16_t index) {
    const Py_ssize_t at = find_site(b, "compile", form->plain_opcode, form->cache_size);
    if (at < 0 || b->live[at] == form->plain_opcode || b->live[at + 1] != b->plain[at + 1]) return -1;
    memcpy(b->live + at + 2, form->cache, (size_t)form->cache_size);
    memcpy(b->live + at + 2 + form->index_at, &index, sizeof index);
    b->live[at] = form->opcode;
    return 0;
}

/* On a function of our own that has been specialised: does it give `method`, and is the code unchanged to see? */
static int try_out(PyObject *function, PyObject *module, const Bytecode *b, const Form *form, uint16_t index, PyObject *method) {
    if (write_site(b, form, index) < 0) return -1;
    PyObject *answer = PyObject_CallFunctionObjArgs(function, module, PY_NONE, NULL), *text = PyObject_GetAttrString(b->code, "co_code");
    const int result = answer == method && text && PyObject_RichCompareBool(text, b->text, PY_EQ) == 1 ? 0 : -1;
    Py_DecRef(answer);
    Py_DecRef(text);
    return result;
}

/* Has the interpreter quicken re._compile(): called with a compiled pattern it gives that back and does nothing else. */
static int warm_up(PyObject *compiler, PyObject *function) {
    PyObject *sre = PyDict_GetItemString(PyModule_GetDict(compiler), "_sre"), *compile = sre ? PyObject_GetAttrString(sre, "compile") : NULL;
    PyObject *success = PyLong_FromLong(1), *zero = PyLong_FromLong(0), *empty = PyUnicode_FromString(""), *index = PyDict_New(), *names = PyTuple_Pack(1, PY_NONE), *code = PyList_New(0);
    PyObject *pattern = compile && success && zero && empty && index && names && code && PyList_Append(code, success) == 0
                            ? PyObject_CallFunctionObjArgs(compile, empty, zero, code, zero, index, names, NULL)
                            : NULL;
    int result = pattern ? call_often(function, pattern, zero) : -1;
    PyObject *const used[] = {compile, success, zero, empty, index, names, code, pattern};
    for (size_t i = 0; i < sizeof used / sizeof used[0]; i++) Py_DecRef(used[i]);
    return result;
}

/* Puts `method` where only a cache leads. 0 and its index; -1. */
static int hide(PyObject *dict, PyObject *compile, PyObject *method, Form *form, uint16_t *index, KeysEntry **spare) {
    Keys *keys;
    KeysEntry *entries;
    if (check_keys(dict, compile, form, &keys, &entries) < 0) return -1;
    *index = (uint16_t)(keys->count + keys->usable - 1);
    *spare = &entries[*index];
    if ((*spare)->key || (*spare)->value) return -1;
    (*spare)->value = method;
    return 0;
}

int pure_site_hook(PyObject *re, PyObject *compiler, PyObject *sampled) {
    PyObject *dict = PyModule_GetDict(compiler), *compile = PyDict_GetItemString(dict, "compile"), *function = PyDict_GetItemString(PyModule_GetDict(re), "_compile");
    PyObject *method = PyCFunction_NewEx(&called_def, NULL, NULL);
    KeysEntry *spare = NULL;
    Bytecode own = {0}, theirs = {0};
    Form form;
    uint16_t index;
    int result = -1;
    if (method && function && py_is_function(function) && open_bytecode(sampled, &own) == 0 && open_bytecode(function, &theirs) == 0 && learn_form(sampled, compiler, &own, &form) == 0 &&
        warm_up(compiler, function) == 0 && hide(dict, compile, method, &form, &index, &spare) == 0 && try_out(sampled, compiler, &own, &form, index, method) == 0 &&
        write_site(&theirs, &form, index) == 0) {
        /* Both for ever: a cache borrows the one, the other one's keys must not be freed under it. */
        compiler_module = py_new_ref(compiler);
        re_dict = py_new_ref(PyModule_GetDict(re));
        Py_IncRef(method);
        result = 0;
    } else if (spare) {
        spare->value = NULL;
    }
    PyErr_Clear();
    close_bytecode(&own);
    close_bytecode(&theirs);
    Py_DecRef(method);
    return result;
}
