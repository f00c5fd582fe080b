/*
 * _find_spec of importlib/_bootstrap.py in C: each finder of sys.meta_path in
 * its turn. The archive answers in PathFinder's place, and the exact stock
 * Builtin- and FrozenImporter are not asked for names they do not have.
 */
#define _GNU_SOURCE
#include "find.h"

PyObject *modules_mapping(void) {
    PyObject *modules = py_sys_get(state.n_modules);
    if (!modules) PyErr_SetString(PyExc_RuntimeError, "lost sys.modules");
    return modules;
}

PyObject *modules_get(PyObject *modules, PyObject *name) {
    if (py_is_dict(modules)) return py_dict_get(modules, name);
    PyObject *module = PyObject_GetItem(modules, name);
    if (!module && PyErr_ExceptionMatches(PyExc_KeyError)) PyErr_Clear();
    return module;
}

int modules_set(PyObject *modules, PyObject *name, PyObject *module) {
    return py_is_dict(modules) ? PyDict_SetItem(modules, name, module) : PyObject_SetItem(modules, name, module);
}

/* The end of a dotted name: its last part, as text of `name`. */
const char *tail_of(const char *name, size_t size, size_t *length) {
    size_t at = size;
    while (at > 0 && name[at - 1] != '.') at--;
    *length = size - at;
    return name + at;
}

/* A module's name for the log; one with a lone surrogate has no UTF-8. */
static const char *shown(PyObject *name) {
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    if (!text) PyErr_Clear();
    return text ? text : "?";
}

void log_stale(PyObject *name, const char *why) {
    count_event(&state.stales);
    if (log_wanted) log_line("stale %s: %s", shown(name), why);
}

void log_miss(PyObject *name, const char *why) {
    count_event(&state.misses);
    if (log_wanted) log_line("miss %s: %s", shown(name), why ? why : "not in the archive");
}

/* ---- where stock asks a finder ------------------------------------------------ */

/* with _ImportLockContext(): finder.find_spec(name, path, None). None → Py None. */
PyObject *ask_finder(PyObject *finder, PyObject *name, PyObject *path) {
    PyObject *result = PyObject_CallFunctionObjArgs(state.imp_acquire_lock, NULL), *find_spec, *spec = NULL;
    if (!result) return NULL;
    Py_DecRef(result);
    find_spec = PyObject_GetAttr(finder, state.n_find_spec);
    if (find_spec) {
        spec = PyObject_CallFunctionObjArgs(find_spec, name, path, PY_NONE, NULL);
        Py_DecRef(find_spec);
    } else if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        /* 3.11 and before: finders with find_module only (importlib._bootstrap._find_spec_legacy, warns). */
        PyObject *legacy = py_dict_get_string(state.bootstrap_dict, "_find_spec_legacy");
        spec = legacy ? PyObject_CallFunctionObjArgs(legacy, finder, name, path, NULL) : py_new_ref(PY_NONE);
        Py_DecRef(legacy);
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    result = PyObject_CallFunctionObjArgs(state.imp_release_lock, NULL);
    if (!result && !type) {
        Py_DecRef(spec);
        return NULL;
    }
    if (!result) PyErr_Clear();
    Py_DecRef(result);
    PyErr_Restore(type, value, traceback);
    return spec;
}

/* ---- _find_spec ----------------------------------------------------------------- */

/* True when the exact stock Builtin- or FrozenImporter would answer None, which need not be asked then. */
static int importer_has(PyObject *finder, PyObject *name) {
    if (finder == state.builtin_importer) return PySet_Contains(state.builtin_names, name) != 0;
    PyObject *frozen = PyObject_CallFunctionObjArgs(state.imp_is_frozen, name, NULL);
    int has = !frozen || PyObject_IsTrue(frozen) != 0;
    if (!frozen) PyErr_Clear();
    Py_DecRef(frozen);
    return has;
}

/* A finder, or what it imported, may have loaded the module: then its own spec counts. 0: *own is that one (owned), or NULL; -1 with an exception. */
static int own_spec(PyObject *modules, PyObject *name, PyObject **own) {
    *own = NULL;
    PyObject *module = modules_get(modules, name);
    if (!module) return PyErr_Occurred() ? -1 : 0;
    *own = PyObject_GetAttr(module, state.n___spec__);
    Py_DecRef(module);
    if (!*own && !PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
    if (!*own) PyErr_Clear();
    if (*own == PY_NONE) {
        Py_DecRef(*own);
        *own = NULL;
    }
    return 0;
}

/*
 * _find_spec(name, path). 0: answer->found (a file to serve), or answer->spec
 * (a stock spec), or neither (not found). -1: an exception.
 */
int find_spec(PyObject *modules, PyObject *name, PyObject *path, Answer *answer) {
    PyObject *meta_path = py_sys_get(state.n_meta_path);
    answer->found.kind = FIND_ABSENT;
    answer->path = NULL;
    answer->spec = NULL;
    answer->why = NULL;
    if (!meta_path || meta_path == PY_NONE) {
        Py_DecRef(meta_path);
        PyErr_SetString(PyExc_ImportError, "sys.meta_path is None, Python is likely shutting down");
        return -1;
    }
    if (trace_active && path == PY_NONE) trace_sys_path();
    Py_ssize_t size = PySequence_Size(meta_path);
    if (size <= 0) Py_DecRef(meta_path);
    if (size < 0) return -1;
    if (size == 0) {
        /* Stock's function has nobody to ask and warns; from its own frame, which is what the warning shows. */
        PyObject *none = PyObject_CallFunctionObjArgs(state.find_spec, name, path, NULL);
        if (none == PY_NONE) Py_DecRef(none);
        else answer->spec = none;
        return none ? 0 : -1;
    }
    PyObject *reloaded = modules_get(modules, name);
    Py_DecRef(reloaded);
    const int is_reload = reloaded != NULL;
    if (!reloaded && PyErr_Occurred()) {
        Py_DecRef(meta_path);
        return -1;
    }
    if (state.forms.copies_meta_path) {
        PyObject *copy = PySequence_List(meta_path);
        Py_DecRef(meta_path);
        if (!copy) return -1;
        meta_path = copy;
    }
    int result = 0;
    for (Py_ssize_t i = 0; result == 0 && i < PySequence_Size(meta_path); i++) {
        PyObject *finder = py_is_list(meta_path) ? py_list_get(meta_path, i) : PySequence_GetItem(meta_path, i), *spec = NULL;
        if (!finder) {
            result = PyErr_Occurred() ? -1 : 0; /* another thread took finders away */
            break;
        }
        int ask = 1;
        if (state.layer_count != 0 && finder == state.path_finder) {
            imports_lock(); /* with _ImportLockContext() */
            int found = path_finder_find(name, path, answer);
            imports_unlock();
            if (found < 0) {
                result = -1;
            } else if (answer->found.kind == FIND_FILE) {
                result = is_reload || own_spec(modules, name, &answer->spec) == 0 ? 1 : -1;
                if (answer->spec || result < 0) {
                    answer->found.kind = FIND_ABSENT;
                    Py_DecRef(answer->path);
                    answer->path = NULL;
                    answer->why = "loaded while it was looked for";
                }
            } else {
                spec = answer->spec;
                answer->spec = NULL;
            }
            ask = result == 0 && answer->ask_path_finder;
        } else if (finder == state.builtin_importer || finder == state.frozen_importer) {
            ask = importer_has(finder, name);
        }
        if (ask) {
            spec = ask_finder(finder, name, path);
            if (!spec) result = -1;
            if (finder != state.path_finder) answer->why = "another finder";
        }
        Py_DecRef(finder);
        if (!spec || spec == PY_NONE) {
            Py_DecRef(spec);
            continue;
        }
        PyObject *own;
        if (is_reload || own_spec(modules, name, &own) < 0) own = NULL;
        if (PyErr_Occurred()) {
            Py_DecRef(spec);
            result = -1;
            break;
        }
        if (own) {
            Py_DecRef(spec);
            spec = own;
        }
        answer->spec = spec;
        result = 1;
    }
    Py_DecRef(meta_path);
    return result < 0 ? -1 : 0;
}
