/*
 * _find_spec of importlib/_bootstrap.py in C: each finder of sys.meta_path in
 * its turn. The archive answers in PathFinder's place, and the exact stock
 * Builtin- and FrozenImporter are not asked for names they do not have.
 */
#define _GNU_SOURCE
#include "find.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* sys.modules as importlib sees it: whatever sys.modules is now. Borrowed. */
PyObject *modules_mapping(void) {
    PyObject *modules = PySys_GetObject("modules");
    if (!modules) PyErr_SetString(PyExc_RuntimeError, "lost sys.modules");
    return modules;
}

/* sys.modules.get(name): a new reference; NULL with or without exception. */
PyObject *modules_get(PyObject *modules, PyObject *name) {
    PyObject *module;
    if (py_is_dict(modules)) {
        module = PyDict_GetItemWithError(modules, name);
        Py_IncRef(module);
        return module;
    }
    module = PyObject_GetItem(modules, name);
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
    state.stales++;
    if (log_wanted) log_line("stale %s: %s", shown(name), why);
}

void log_miss(PyObject *name, const char *why) {
    state.misses++;
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
        PyObject *legacy = PyDict_GetItemString(state.bootstrap_dict, "_find_spec_legacy");
        spec = legacy ? PyObject_CallFunctionObjArgs(legacy, finder, name, path, NULL) : py_new_ref(PY_NONE);
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

/* ---- PathFinder's part -------------------------------------------------------- */

/* namespace_path.extend(portions); 0 or -1. */
static int add_portions(Answer *answer, PyObject *portions) {
    if (!answer->portions) {
        answer->portions = PyList_New(0);
        if (!answer->portions) return -1;
    }
    PyObject *result = PyObject_CallMethodObjArgs(answer->portions, state.n_extend, portions, NULL);
    Py_DecRef(result);
    return result ? 0 : -1;
}

/* A folder without __init__ in an archived folder: FileFinder's answer would have this one portion. */
static int add_archived_portion(Answer *answer, const Archive *archive, uint32_t folder, const char *tail, size_t tail_length) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%.*s", archive_string(archive, archive->folders[folder].path), (int)tail_length, tail);
    if (n < 0 || (size_t)n >= sizeof path) return 2; /* let PathFinder say what stock says */
    PyObject *portion = PyUnicode_FromStringAndSize(path, n);
    PyObject *portions = portion ? PyTuple_Pack(1, portion) : NULL;
    int result = portions ? add_portions(answer, portions) : -1;
    Py_DecRef(portions);
    Py_DecRef(portion);
    return result;
}

/* One folder through its stock finder, as PathFinder._get_spec does. 1 a spec with a loader; 0 nothing or a portion; 2 let PathFinder do it all; -1 error. */
static int ask_folder(PyObject *entry, PyObject *name, Answer *answer) {
    PyObject *finder = PyObject_CallFunctionObjArgs(state.path_importer_cache, entry, NULL), *find_spec, *spec, *loader;
    if (!finder) return -1;
    if (finder == PY_NONE) {
        Py_DecRef(finder);
        return 0;
    }
    find_spec = PyObject_GetAttr(finder, state.n_find_spec);
    Py_DecRef(finder);
    if (!find_spec) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
        PyErr_Clear();
        return 2; /* until 3.11: a finder with find_loader or find_module only */
    }
    spec = PyObject_CallFunctionObjArgs(find_spec, name, PY_NONE, NULL);
    Py_DecRef(find_spec);
    if (!spec || spec == PY_NONE) {
        Py_DecRef(spec);
        return spec ? 0 : -1;
    }
    loader = PyObject_GetAttr(spec, state.n_loader);
    Py_DecRef(loader); /* compared only */
    if (loader && loader != PY_NONE) {
        answer->spec = spec;
        return 1;
    }
    PyObject *portions = loader ? PyObject_GetAttr(spec, state.n_submodule_search_locations) : NULL;
    Py_DecRef(spec);
    if (!portions) return -1;
    int result = 0;
    if (portions == PY_NONE) {
        PyErr_SetString(PyExc_ImportError, "spec missing loader");
        result = -1;
    } else {
        result = add_portions(answer, portions);
    }
    Py_DecRef(portions);
    return result;
}

/* The spec of a namespace package, as PathFinder.find_spec ends. New reference or NULL. */
static PyObject *namespace_spec(PyObject *name, PyObject *portions) {
    PyObject *spec = PyObject_CallFunctionObjArgs(state.module_spec, name, PY_NONE, NULL);
    PyObject *get_spec = PyObject_GetAttrString(state.path_finder, "_get_spec");
    PyObject *path = spec && get_spec ? PyObject_CallFunctionObjArgs(state.namespace_path, name, portions, get_spec, NULL) : NULL;
    if (!path || PyObject_SetAttr(spec, state.n_submodule_search_locations, path) < 0) {
        Py_DecRef(spec);
        spec = NULL;
    }
    Py_DecRef(path);
    Py_DecRef(get_spec);
    return spec;
}

/* --check-hash-based-pycs default: with always or never stock compares hash-based .pyc files otherwise. Never leaves an exception. */
static int checks_hashes_as_usual(void) {
    PyObject *value = PyDict_GetItemString(state.imp_dict, "check_hash_based_pycs");
    return value && py_is_str(value) && PyUnicode_CompareWithASCIIString(value, "default") == 0;
}

/*
 * A file that a layer has: still what it was, and is its code there? 1: serve it, answer->path is set.
 * 0: this layer cannot; the reason is in answer->why, or in `stale` if it could when it was built. -1: an exception.
 */
static int usable(Answer *answer, char stale[PYCDS_WHY]) {
    char why[PYCDS_WHY], path[PATH_MAX];
    size_t path_length;
    const Archive *archive = answer->found.archive;
    const PycdsEntry *file = answer->found.file;
    int is_extension = archive->suffixes[file->suffix].loader == PYCDS_SUFFIX_EXTENSION;
    if (!is_extension && file->unit == PYCDS_NONE) {
        answer->why = file->reason == PYCDS_NONE ? "not in the archive" : archive_string(archive, file->reason);
        return 0;
    }
    if (!is_extension && archive->unit_state[file->unit] == UNIT_BAD) {
        answer->why = "archived code is damaged";
        return 0;
    }
    if (index_file_path(archive, &answer->found, path, sizeof path, &path_length) < 0) {
        answer->why = "path too long";
        return 0;
    }
    if (index_stamp(archive, &answer->found, path, why) != STAMP_FRESH) {
        if (!stale[0]) memcpy(stale, why, PYCDS_WHY);
        return 0;
    }
    if (!is_extension && (file->stamp_kind == PYCDS_STAMP_PYC || file->stamp_kind == PYCDS_STAMP_DIGEST) && !checks_hashes_as_usual()) {
        answer->why = "--check-hash-based-pycs";
        return 0;
    }
    answer->path = PyUnicode_FromStringAndSize(path, (Py_ssize_t)path_length);
    return answer->path ? 1 : -1;
}

/*
 * One folder, asked of every layer that knows it, in order. What any of them says of the folder is true of it
 * (index_find), and the first whose code is there and valid serves; where none does, the folder's stock finder is asked.
 */
static int look_up_folder(PyObject *entry, PyObject *name, const char *folder, size_t size, const char *tail, size_t tail_length, PyObject *finder, Answer *answer) {
    char stale[PYCDS_WHY];
    const uint64_t hash = index_path_hash(folder, size);
    int known = 0;
    stale[0] = '\0';
    for (uint32_t i = 0; i < state.layer_count; i++) {
        Archive *layer = &state.layers[i];
        uint32_t index = index_folder(layer, hash, folder, size);
        if (index == PYCDS_NONE) continue;
        known = 1;
        index_find(layer, index, tail, tail_length, &answer->found);
        switch (answer->found.kind) {
        case FIND_ABSENT:
            return 0;
        case FIND_FILE: {
            int result = usable(answer, stale);
            if (result != 0) return result;
            break;
        }
        case FIND_NAMESPACE:
            answer->found.kind = FIND_ABSENT;
            return add_archived_portion(answer, layer, index, tail, tail_length);
        case FIND_ASK:
            if (!answer->why) answer->why = "not in the archive";
            break;
        }
        answer->found.kind = FIND_ABSENT;
    }
    if (!known) {
        answer->why = "folder is not in the archive";
        /* No finder yet: let stock decide once what this entry is (a folder, a zip file, nothing). */
        if (finder && index_find_unknown(&state.layers[0], folder, size, tail, tail_length) == FIND_ABSENT) return 0;
    }
    if (stale[0]) {
        log_stale(name, stale);
        answer->why = NULL; /* logged */
    }
    return ask_folder(entry, name, answer);
}

/* Looks one path entry up. 1 answered (answer->found or answer->spec), 0 not here, 2 let PathFinder do it all, -1 error. */
static int look_up_entry(PyObject *entry, PyObject *name, const char *tail, size_t tail_length, Answer *answer) {
    char cwd[PATH_MAX];
    PyObject *key = entry, *cwd_object = NULL, *finder;
    Py_ssize_t size;
    const char *folder = PyUnicode_AsUTF8AndSize(entry, &size);
    if (!folder) {
        PyErr_Clear(); /* a path that is not UTF-8: never archived */
        answer->why = "path is not UTF-8";
        return ask_folder(entry, name, answer);
    }
    if (size == 0) {
        if (!getcwd(cwd, sizeof cwd)) return ask_folder(entry, name, answer); /* which errors count as "nothing there" differs by version */
        folder = cwd;
        size = (Py_ssize_t)strlen(cwd);
        key = cwd_object = PyUnicode_DecodeFSDefault(cwd);
        if (!key) return -1;
    }
    int stock_finder = guard_folder(key, &finder);
    int absent = stock_finder == 0 && finder == PY_NONE;
    Py_DecRef(cwd_object);
    if (absent) return 0;
    if (!stock_finder || folder[0] != '/') {
        answer->why = stock_finder ? "relative path" : "another path entry finder";
        return ask_folder(entry, name, answer);
    }
    return look_up_folder(entry, name, folder, (size_t)size, tail, tail_length, finder, answer);
}

int path_finder_find(PyObject *name, PyObject *path, Answer *answer) {
    Py_ssize_t size;
    size_t tail_length;
    const char *text = PyUnicode_AsUTF8AndSize(name, &size);
    memset(&answer->found, 0, sizeof answer->found);
    answer->path = NULL;
    answer->spec = NULL;
    answer->portions = NULL;
    answer->why = NULL;
    answer->ask_path_finder = 0;
    if (!text) {
        PyErr_Clear();
        answer->ask_path_finder = 1;
        return 0;
    }
    const char *tail = tail_of(text, (size_t)size, &tail_length);
    if (tail_length == 0 || memchr(tail, '/', tail_length) || memchr(tail, '\0', tail_length)) {
        answer->ask_path_finder = 1; /* `import_module("a/b")` does reach a file in stock */
        return 0;
    }
    if (path == PY_NONE) {
        path = PySys_GetObject("path");
        if (!path) {
            answer->ask_path_finder = 1;
            return 0;
        }
    }
    /* Plain lists are walked in place, like a for statement does; others (_NamespacePath recalculates) by iterator. */
    PyObject *iterator = py_is_list(path) ? NULL : PyObject_GetIter(path);
    if (!py_is_list(path) && !iterator) return -1;
    Py_IncRef(path);
    int result = 0;
    for (Py_ssize_t i = 0; result == 0; i++) {
        PyObject *entry;
        if (iterator) {
            entry = PyIter_Next(iterator);
            if (!entry) {
                result = PyErr_Occurred() ? -1 : 0;
                break;
            }
        } else {
            if (i >= PyList_Size(path)) break;
            entry = py_new_ref(PyList_GetItem(path, i));
        }
        if (py_is_str(entry) || PyObject_IsInstance(entry, &PyUnicode_Type) == 1) {
            result = look_up_entry(entry, name, tail, tail_length, answer);
        } else if (state.forms.takes_bytes && PyObject_IsInstance(entry, &PyBytes_Type) == 1) {
            result = ask_folder(entry, name, answer);
        }
        Py_DecRef(entry);
        if (result == 2) {
            answer->ask_path_finder = 1;
            break;
        }
    }
    Py_DecRef(iterator);
    Py_DecRef(path);
    if (result == 0 && answer->portions && PyList_Size(answer->portions) > 0) {
        answer->spec = namespace_spec(name, answer->portions);
        if (!answer->spec) result = -1;
    }
    Py_DecRef(answer->portions);
    answer->portions = NULL;
    return result < 0 ? -1 : 0;
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
    PyObject *meta_path = PySys_GetObject("meta_path");
    answer->found.kind = FIND_ABSENT;
    answer->path = NULL;
    answer->spec = NULL;
    answer->why = NULL;
    if (!meta_path || meta_path == PY_NONE) {
        PyErr_SetString(PyExc_ImportError, "sys.meta_path is None, Python is likely shutting down");
        return -1;
    }
    if (trace_active && path == PY_NONE) trace_sys_path();
    Py_ssize_t size = PySequence_Size(meta_path);
    if (size < 0) return -1;
    if (size == 0) {
        /* Stock's function has nobody to ask and warns; from its own frame, which is what the warning shows. */
        PyObject *none = PyObject_CallFunctionObjArgs(state.find_spec, name, path, NULL);
        if (none == PY_NONE) Py_DecRef(none);
        else answer->spec = none;
        return none ? 0 : -1;
    }
    PyObject *reloaded = modules_get(modules, name);
    if (!reloaded && PyErr_Occurred()) return -1;
    Py_DecRef(reloaded);
    const int is_reload = reloaded != NULL;
    meta_path = state.forms.copies_meta_path ? PySequence_List(meta_path) : py_new_ref(meta_path);
    if (!meta_path) return -1;
    int result = 0;
    for (Py_ssize_t i = 0; result == 0 && i < PySequence_Size(meta_path); i++) {
        PyObject *finder = PySequence_GetItem(meta_path, i), *spec = NULL;
        if (!finder) {
            result = -1;
            break;
        }
        int ask = 1;
        if (state.layer_count != 0 && finder == state.path_finder) {
            if (path_finder_find(name, path, answer) < 0) {
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
