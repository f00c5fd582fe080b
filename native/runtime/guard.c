/*
 * Is what the archive stands in for still stock's? (design.md, decision 4)
 *
 * Import hooks of real packages patch these (beartype, jaxtyping, pytest and
 * coverage use finders of their own, which are asked in their turn; others
 * replace methods of SourceFileLoader or insert into sys.path_hooks). When one
 * of the watched places changes, stock's own _find_and_load takes over.
 */
#include "dicts.h"
#include "state.h"

#include <stdio.h>
#include <string.h>

typedef enum Place { IN_BOOTSTRAP, IN_EXTERNAL, ON_PATH_FINDER, ON_FILE_FINDER, ON_SOURCE, ON_SOURCELESS, ON_EXTENSION } Place;

typedef struct Watch {
    Place place;
    const char *key;
    PyObject *name;  /* interned key */
    PyObject *value; /* what was there at activation; strong; NULL: not watched in this version */
} Watch;

/* Functions whose effect we reproduce or skip. Optional ones differ by version. */
static Watch watches[] = {
    {IN_BOOTSTRAP, "_find_spec", NULL, NULL},
    {IN_BOOTSTRAP, "_find_and_load_unlocked", NULL, NULL},
    {IN_BOOTSTRAP, "_load_unlocked", NULL, NULL},
    {IN_BOOTSTRAP, "module_from_spec", NULL, NULL},
    {IN_BOOTSTRAP, "_init_module_attrs", NULL, NULL},
    {IN_BOOTSTRAP, "ModuleSpec", NULL, NULL},
    {IN_BOOTSTRAP, "_ModuleLockManager", NULL, NULL},
    {IN_BOOTSTRAP, "_HierarchicalLockManager", NULL, NULL},
    {IN_EXTERNAL, "spec_from_file_location", NULL, NULL},
    {IN_EXTERNAL, "cache_from_source", NULL, NULL},
    {IN_EXTERNAL, "_compile_bytecode", NULL, NULL},
    {IN_EXTERNAL, "_path_stat", NULL, NULL},
    {IN_EXTERNAL, "SourceFileLoader", NULL, NULL},
    {ON_PATH_FINDER, "find_spec", NULL, NULL},
    {ON_PATH_FINDER, "_get_spec", NULL, NULL},
    {ON_FILE_FINDER, "find_spec", NULL, NULL},
    {ON_FILE_FINDER, "_get_spec", NULL, NULL},
    {ON_SOURCE, "exec_module", NULL, NULL},
    {ON_SOURCE, "create_module", NULL, NULL},
    {ON_SOURCE, "get_code", NULL, NULL},
    {ON_SOURCE, "source_to_code", NULL, NULL},
    {ON_SOURCE, "get_data", NULL, NULL},
    {ON_SOURCE, "get_filename", NULL, NULL},
    {ON_SOURCE, "path_stats", NULL, NULL},
    {ON_SOURCE, "__init__", NULL, NULL},
    {ON_SOURCELESS, "exec_module", NULL, NULL},
    {ON_SOURCELESS, "get_code", NULL, NULL},
    {ON_EXTENSION, "__init__", NULL, NULL},
};
#define WATCH_COUNT (sizeof watches / sizeof watches[0])

static uint64_t bootstrap_stamp, external_stamp; /* of importlib's two dicts when they were last found as they should be; 0: unknown */
static PyObject *path_finder_vars; /* PathFinder.__dict__: its methods are classmethods, bound anew at each getattr */
static PyObject *hooks[8];         /* sys.path_hooks up to FileFinder's own */
static Py_ssize_t hook_count;
static PyObject *finder_loaders; /* FileFinder._loaders as the stock hook makes it: list of (suffix, loader class) */
static Py_ssize_t finder_attributes;

/* What stands in a watched place now; a new reference, or NULL without exception. */
static PyObject *current(const Watch *watch) {
    PyObject *value = NULL;
    switch (watch->place) {
    case IN_BOOTSTRAP:
        value = py_dict_get(state.bootstrap_dict, watch->name);
        break;
    case IN_EXTERNAL:
        value = py_dict_get(state.external_dict, watch->name);
        break;
    case ON_PATH_FINDER:
        value = PyObject_GetItem(path_finder_vars, watch->name);
        break;
    case ON_FILE_FINDER:
        value = PyObject_GetAttr(state.file_finder, watch->name);
        break;
    case ON_SOURCE:
        value = PyObject_GetAttr(state.source_loader, watch->name);
        break;
    case ON_SOURCELESS:
        value = PyObject_GetAttr(state.sourceless_loader, watch->name);
        break;
    case ON_EXTENSION:
        value = PyObject_GetAttr(state.extension_loader, watch->name);
        break;
    }
    if (!value) PyErr_Clear();
    return value;
}

/* function.__globals__ is `dict`. */
static int has_globals(PyObject *function, PyObject *dict) {
    PyObject *globals = PyObject_GetAttr(function, state.n___globals__);
    if (!globals) PyErr_Clear();
    Py_DecRef(globals); /* compared only */
    return globals == dict;
}

int guard_is_importlib_function(PyObject *object) {
    return py_is_function(object) && (has_globals(object, state.bootstrap_dict) || has_globals(object, state.external_dict));
}

/* FileFinder's hook: the closure of FileFinder.path_hook (function path_hook_for_FileFinder of _bootstrap_external). */
static int is_file_finder_hook(PyObject *hook) {
    if (!py_is_function(hook) || !has_globals(hook, state.external_dict)) return 0;
    PyObject *name = PyObject_GetAttr(hook, state.n___name__);
    int yes = name && py_is_str(name) && PyUnicode_CompareWithASCIIString(name, "path_hook_for_FileFinder") == 0;
    if (!name) PyErr_Clear();
    Py_DecRef(name);
    return yes;
}

/* zipimport.zipimporter, which takes files only. */
static int is_zipimporter(PyObject *hook) {
    PyObject *module = py_is(hook, &PyType_Type) ? PyObject_GetAttrString(hook, "__module__") : NULL, *name = module ? PyObject_GetAttr(hook, state.n___name__) : NULL;
    const int is = name && py_is_str(module) && py_is_str(name) && PyUnicode_CompareWithASCIIString(module, "zipimport") == 0 && PyUnicode_CompareWithASCIIString(name, "zipimporter") == 0;
    PyErr_Clear();
    Py_DecRef(module);
    Py_DecRef(name);
    return is;
}

/*
 * A FileFinder as the stock hook makes it for `entry`: of that folder, with the
 * stock loaders, nothing put into it. Programs make others and put them into
 * sys.path_importer_cache. Never leaves an exception.
 */
static int is_stock_finder(PyObject *finder, PyObject *entry) {
    if (!py_is(finder, state.file_finder)) return 0;
    PyObject *path = PyObject_GetAttr(finder, state.n_path), *loaders = PyObject_GetAttr(finder, state.n__loaders), *dict = PyObject_GetAttr(finder, state.n___dict__);
    int same = path && loaders && dict && PyDict_Size(dict) == finder_attributes && PyObject_RichCompareBool(path, entry, PY_EQ) == 1 &&
               PyObject_RichCompareBool(loaders, finder_loaders, PY_EQ) == 1;
    PyErr_Clear();
    Py_DecRef(dict);
    Py_DecRef(loaders);
    Py_DecRef(path);
    return same;
}

/* What the stock hook puts into its finders. 0; -1 when it makes none. */
static int learn_stock_finder(void) {
    PyObject *root = PyUnicode_InternFromString("/"), *dict = NULL;
    PyObject *finder = root ? PyObject_CallFunctionObjArgs(hooks[hook_count - 1], root, NULL) : NULL;
    if (finder) finder_loaders = PyObject_GetAttr(finder, state.n__loaders);
    if (finder_loaders) dict = PyObject_GetAttr(finder, state.n___dict__);
    if (dict) finder_attributes = PyDict_Size(dict);
    int known = dict && is_stock_finder(finder, root);
    PyErr_Clear();
    Py_DecRef(dict);
    Py_DecRef(finder);
    Py_DecRef(root);
    return known ? 0 : -1;
}

static int is_suffix_row(PyObject *row, const Archive *a, const PycdsSuffix *suffix) {
    PyObject *const loaders[] = {[PYCDS_SUFFIX_EXTENSION] = state.extension_loader, [PYCDS_SUFFIX_SOURCE] = state.source_loader, [PYCDS_SUFFIX_SOURCELESS] = state.sourceless_loader};
    if (!row || !py_is_tuple(row) || PyTuple_Size(row) != 2 || suffix->loader >= sizeof loaders / sizeof loaders[0]) return 0;
    Py_ssize_t length;
    PyObject *text = PyTuple_GetItem(row, 0);
    const char *have = py_is_str(text) ? PyUnicode_AsUTF8AndSize(text, &length) : NULL;
    return have && length == (Py_ssize_t)suffix->length && memcmp(have, archive_string(a, suffix->suffix), suffix->length) == 0 && PyTuple_GetItem(row, 1) == loaders[suffix->loader];
}

int guard_suffixes(const Archive *a, char why[PYCDS_WHY]) {
    Py_ssize_t count = py_is_list(finder_loaders) ? PyList_Size(finder_loaders) : -1;
    int same = count == (Py_ssize_t)a->suffix_count;
    for (Py_ssize_t i = 0; same && i < count; i++) {
        same = is_suffix_row(PyList_GetItem(finder_loaders, i), a, &a->suffixes[i]);
        if (!same) snprintf(why, PYCDS_WHY, "this Python's finders look for other suffixes than %s; build it with this Python", archive_string(a, a->suffixes[i].suffix));
    }
    if (count != (Py_ssize_t)a->suffix_count) snprintf(why, PYCDS_WHY, "this Python's finders look for %zd suffixes, it has %u; build it with this Python", count, (unsigned)a->suffix_count);
    PyErr_Clear();
    return same ? 0 : -1;
}

int guard_init(char why[PYCDS_WHY]) {
    path_finder_vars = PyObject_GetAttrString(state.path_finder, "__dict__");
    if (!path_finder_vars) {
        PyErr_Clear();
        snprintf(why, PYCDS_WHY, "PathFinder is not stock's");
        return -1;
    }
    for (size_t i = 0; i < WATCH_COUNT; i++) {
        watches[i].name = PyUnicode_InternFromString(watches[i].key);
        if (!watches[i].name) {
            PyErr_Clear();
            snprintf(why, PYCDS_WHY, "no memory");
            return -1;
        }
        watches[i].value = current(&watches[i]);
        /*
         * Patched before we came (by an earlier .pth, say): a function of importlib
         * has importlib's own globals.
         */
        if (watches[i].value && py_is_function(watches[i].value) && !guard_is_importlib_function(watches[i].value)) {
            snprintf(why, PYCDS_WHY, "importlib's %s is patched", watches[i].key);
            return -1;
        }
    }
    dicts_watch(state.bootstrap_dict);
    dicts_watch(state.external_dict);
    PyObject *list = py_sys_get(state.n_path_hooks);
    for (hook_count = 0; list && py_is_list(list) && hook_count < 8;) {
        PyObject *hook = py_list_get(list, hook_count);
        if (!hook) break;
        hooks[hook_count++] = hook;
        if (is_file_finder_hook(hook)) break;
    }
    Py_DecRef(list);
    if (hook_count == 0 || !is_file_finder_hook(hooks[hook_count - 1])) {
        snprintf(why, PYCDS_WHY, "sys.path_hooks has no FileFinder");
        return -1;
    }
    /* Before FileFinder's there is only zipimporter in stock Python (site adds none). */
    if (hook_count > 2 || (hook_count == 2 && !is_zipimporter(hooks[0]))) {
        snprintf(why, PYCDS_WHY, "a hook stands before FileFinder's in sys.path_hooks");
        return -1;
    }
    if (learn_stock_finder() < 0) {
        snprintf(why, PYCDS_WHY, "FileFinder's hook makes no FileFinder");
        return -1;
    }
    return 0;
}

int guard_holds(const char **why) {
    const uint64_t bootstrap_now = dicts_stamp(state.bootstrap_dict), external_now = dicts_stamp(state.external_dict);
    const int unchanged = bootstrap_now != 0 && bootstrap_now == bootstrap_stamp && external_now == external_stamp;
    for (size_t i = 0; i < WATCH_COUNT; i++) {
        if (unchanged && (watches[i].place == IN_BOOTSTRAP || watches[i].place == IN_EXTERNAL)) continue;
        PyObject *now = current(&watches[i]);
        int same = now == watches[i].value;
        Py_DecRef(now);
        if (!same) {
            *why = watches[i].key;
            return 0;
        }
    }
    bootstrap_stamp = bootstrap_now;
    external_stamp = external_now;
    PyObject *list = py_sys_get(state.n_path_hooks);
    int same = list && py_is_list(list);
    for (Py_ssize_t i = 0; same && i < hook_count; i++) {
        PyObject *hook = py_list_get(list, i);
        Py_DecRef(hook); /* compared only */
        same = hook == hooks[i];
    }
    Py_DecRef(list);
    if (!same) *why = "sys.path_hooks";
    return same;
}

int guard_folder(PyObject *entry, KnownFinder *known) {
    PyObject *cache = py_sys_get(state.n_path_importer_cache);
    int usable = cache && py_is_dict(cache);
    PyObject *found = usable ? py_dict_get(cache, entry) : NULL;
    Py_DecRef(cache);
    if (found) usable = is_stock_finder(found, entry);
    else PyErr_Clear();
    *known = found ? found == PY_NONE ? FINDER_NONE : FINDER_SOME : FINDER_UNKNOWN;
    Py_DecRef(found);
    return usable;
}
