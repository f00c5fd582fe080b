/*
 * Is re's compiler still what it was when re had been imported? A program may
 * replace any part of it (the regex backports, tests and type checkers' stubs do),
 * and then what is archived is not what its compiler would answer.
 *
 * It may have been another one before we came: a sitecustomize or an earlier .pth patches it, or
 * PYTHONPATH has another `re`. So its modules must be the files of the standard library that the
 * archives have, and all of its functions must come from there.
 *
 * Remembered are the globals of its two modules, the contents of dicts among
 * them (FLAGS, CATEGORIES), the code of functions, and the methods of
 * their classes. Looking at all of it takes about as long as parsing a
 * pattern of one character, so a dict that is known not to have changed is passed over (dicts.h).
 */
#define _GNU_SOURCE
#include "dicts.h"
#include "pure.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "places.h"

typedef struct Item {
    PyObject *key, *value, *code; /* strong references */
} Item;

/* A dict (owner: itself), or the class whose attributes `items` are. */
typedef struct Part {
    PyObject *owner;
    int is_class;
    Py_ssize_t size; /* of the dict, or of the class's namespace */
    Item *items;
    Py_ssize_t count;
    uint64_t stamp; /* of a dict, when it was last compared (dicts.h) */
} Part;

enum { PARTS_MAX = 64 };

static Part parts[PARTS_MAX];
static int part_count;
static PyObject *(*function_code)(PyObject *); /* PyFunction_GetCode, borrowed: exported by all, not in the stable ABI */

static PyObject *code_of(PyObject *value) { return py_is_function(value) ? function_code(value) : NULL; }

/* ---- where it comes from ---------------------------------------------------------------- */

static PyObject *standard_path; /* the last one that was found to be: code of one module has one file name; strong reference */

/* `name` of `object` is the file of a module of re in the standard library as every archive with results has it. */
static int is_standard_path(PyObject *object, const char *name) {
    PyObject *value = PyObject_GetAttrString(object, name);
    if (value && value == standard_path) {
        Py_DecRef(value);
        return 1;
    }
    const char *text = value && py_is_str(value) ? PyUnicode_AsUTF8AndSize(value, NULL) : NULL;
    int standard = text != NULL;
    for (uint32_t i = 0; standard && i < state.layer_count; i++) {
        size_t length;
        char root[PATH_MAX];
        if (state.layers[i].pure_count == 0) continue;
        standard = place_root(&state.layers[i], "stdlib", root, sizeof root, &length) == 0 && strncmp(text, root, length) == 0 &&
                   (strncmp(text + length, "/re/", 4) == 0 || strncmp(text + length, "/sre_", 5) == 0 || strcmp(text + length, "/re.py") == 0);
    }
    PyErr_Clear();
    if (!standard) {
        Py_DecRef(value);
        return 0;
    }
    Py_DecRef(standard_path);
    standard_path = value;
    return 1;
}

static int is_standard_code(PyObject *code) { return code == NULL || is_standard_path(code, "co_filename"); }

/* ---- what it is ------------------------------------------------------------------------- */

static Part *add_part(PyObject *owner, int is_class, Py_ssize_t size) {
    if (part_count == PARTS_MAX) return NULL;
    Part *part = &parts[part_count];
    *part = (Part){py_new_ref(owner), is_class, size, calloc((size_t)size + 1, sizeof(Item)), 0, 0};
    if (!part->items) return NULL;
    part_count++;
    return part;
}

/* 0; -1: a function that is not of the standard library's re. */
static int add_item(Part *part, PyObject *key, PyObject *value) {
    PyObject *code = code_of(value);
    if (!is_standard_code(code)) return -1;
    Py_IncRef(code);
    part->items[part->count++] = (Item){py_new_ref(key), py_new_ref(value), code};
    return 0;
}

static int remember_dict(PyObject *dict) {
    Part *part = add_part(dict, 0, PyDict_Size(dict));
    if (!part) return -1;
    dicts_watch(dict);
    Py_ssize_t position = 0;
    PyObject *key, *value;
    while (PyDict_Next(dict, &position, &key, &value))
        if (add_item(part, key, value) < 0) return -1;
    return 0;
}

/* Functions and properties of a class's own namespace. */
static int remember_class(PyObject *class) {
    PyObject *namespace = PyObject_GetAttrString(class, "__dict__"), *keys = namespace ? PyMapping_Keys(namespace) : NULL;
    Part *part = keys ? add_part(class, 1, PyList_Size(keys)) : NULL;
    int result = part ? 0 : -1;
    for (Py_ssize_t i = 0; result == 0 && i < part->size; i++) {
        PyObject *key = PyList_GetItem(keys, i), *value = PyObject_GetAttr(class, key);
        if (value && (py_is_function(value) || py_is(value, &PyProperty_Type))) result = add_item(part, key, value);
        if (!value) PyErr_Clear();
        Py_DecRef(value);
    }
    Py_DecRef(keys);
    Py_DecRef(namespace);
    return result;
}

static int remember_module(PyObject *module) {
    PyObject *dict = PyModule_GetDict(module), *own_name = PyDict_GetItemString(dict, "__name__");
    if (remember_dict(dict) < 0) return -1;
    const Part *part = &parts[part_count - 1];
    for (Py_ssize_t i = 0; i < part->count; i++) {
        PyObject *key = part->items[i].key, *value = part->items[i].value;
        const char *name = py_is_str(key) ? PyUnicode_AsUTF8AndSize(key, NULL) : NULL;
        if (!name || strncmp(name, "__", 2) == 0) continue;
        if (py_is_dict(value) && remember_dict(value) < 0) return -1;
        if (py_is(value, &PyType_Type)) {
            PyObject *home = PyObject_GetAttrString(value, "__module__");
            const int own = home && own_name && PyObject_RichCompareBool(home, own_name, PY_EQ) == 1;
            Py_DecRef(home);
            if (own && remember_class(value) < 0) return -1;
        }
    }
    return 0;
}

int pure_parser_remember(PyObject *re, PyObject *compiler, PyObject *parser) {
    void *get = dlsym(RTLD_DEFAULT, "PyFunction_GetCode");
    PyObject *const modules[] = {re, compiler, parser}, *function = PyDict_GetItemString(PyModule_GetDict(re), "_compile");
    if (!get || part_count != 0) return -1;
    memcpy(&function_code, &get, sizeof function_code);
    int standard = function && py_is_function(function) && is_standard_code(function_code(function));
    for (size_t i = 0; standard && i < sizeof modules / sizeof modules[0]; i++) standard = is_standard_path(modules[i], "__file__");
    const int result = !standard || remember_module(compiler) < 0 || remember_module(parser) < 0 ? -1 : 0;
    PyErr_Clear();
    if (result < 0) part_count = 0; /* nothing is stock's then; what was remembered stays where it is */
    return result;
}

static int same_item(const Item *item, const PyObject *key, PyObject *value) { return key == item->key && value == item->value && code_of(value) == item->code; }

/* Of a dict that has not changed: a function's code may have been replaced all the same. */
static int same_codes(const Part *part) {
    for (Py_ssize_t i = 0; i < part->count; i++)
        if (part->items[i].code && function_code(part->items[i].value) != part->items[i].code) return 0;
    return 1;
}

static int same_dict(Part *part) {
    const uint64_t stamp = dicts_stamp(part->owner);
    if (stamp != 0 && stamp == part->stamp) return same_codes(part);
    if (PyDict_Size(part->owner) != part->size) return 0;
    Py_ssize_t position = 0, i = 0;
    PyObject *key, *value;
    while (PyDict_Next(part->owner, &position, &key, &value))
        if (!same_item(&part->items[i++], key, value)) return 0;
    part->stamp = stamp;
    return 1;
}

static int same_class(const Part *part) {
    PyObject *namespace = PyObject_GetAttrString(part->owner, "__dict__");
    int same = namespace && PyObject_Size(namespace) == part->size;
    Py_DecRef(namespace);
    for (Py_ssize_t i = 0; same && i < part->count; i++) {
        PyObject *value = PyObject_GetAttr(part->owner, part->items[i].key);
        same = value && same_item(&part->items[i], part->items[i].key, value);
        Py_DecRef(value);
    }
    return same;
}

int pure_parser_is_stock(void) {
    int same = part_count != 0;
    for (int i = 0; same && i < part_count; i++) same = parts[i].is_class ? same_class(&parts[i]) : same_dict(&parts[i]);
    PyErr_Clear();
    return same;
}
