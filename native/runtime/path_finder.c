/*
 * PathFinder.find_spec of importlib/_bootstrap_external.py by the archives'
 * indexes, entry by entry of sys.path or a __path__. What they cannot tell the
 * entry's own stock finder is asked; what that cannot either, PathFinder itself.
 */
#define _GNU_SOURCE
#include "find.h"
#include "places.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
    size_t length;
    int n = snprintf(path, sizeof path, "%s/%.*s", place_path(archive, folder, &length), (int)tail_length, tail);
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
    PyObject *value = py_dict_get_string(state.imp_dict, "check_hash_based_pycs");
    int usual = value && py_is_str(value) && PyUnicode_CompareWithASCIIString(value, "default") == 0;
    Py_DecRef(value);
    return usual;
}

/* cache_from_source(path) where sys.pycache_prefix is set: its length in `buffer`, or -1. Never leaves an exception. */
static int prefixed_cache(const char *path, char *buffer, size_t size) {
    PyObject *function = py_dict_get_string(state.external_dict, "cache_from_source"), *source = PyUnicode_FromString(path);
    PyObject *cached = function && source ? PyObject_CallFunctionObjArgs(function, source, NULL) : NULL;
    const char *text = cached && py_is_str(cached) ? PyUnicode_AsUTF8AndSize(cached, NULL) : NULL;
    int n = text ? snprintf(buffer, size, "%s", text) : -1;
    PyErr_Clear();
    Py_DecRef(cached);
    Py_DecRef(source);
    Py_DecRef(function);
    return n < 0 || (size_t)n >= size ? -1 : n;
}

/* sys.dont_write_bytecode: may no .pyc be written? */
static int writes_none(void) {
    PyObject *frugal = py_sys_get(state.n_dont_write_bytecode);
    const int truth = frugal ? PyObject_IsTrue(frugal) : 0;
    if (truth < 0) PyErr_Clear();
    Py_DecRef(frugal);
    return truth == 1;
}

/* Of a source whose stamp holds: would stock load the same code, and write no .pyc? Why not is in answer->why. */
static int leaves_pyc(Answer *answer, const char *path) {
    char pyc[PATH_MAX];
    const Found *found = &answer->found;
    PyObject *prefix = py_sys_get(state.n_pycache_prefix);
    const int elsewhere = prefix && prefix != PY_NONE;
    Py_DecRef(prefix);
    if (found->file->stamp_file != PYCDS_NONE) {
        /* That .pyc was compared; with a prefix stock does not look at it. */
        if (elsewhere) answer->why = "sys.pycache_prefix";
        return !elsewhere;
    }
    if (!elsewhere && index_pyc_intact(found->archive, found)) return 1;
    if ((elsewhere ? prefixed_cache(path, pyc, sizeof pyc) : cached_text(found, pyc, sizeof pyc)) < 0) {
        answer->why = "no name for its .pyc";
        return 0;
    }
    switch (index_pyc(found->archive, found, path, pyc)) {
    case PYC_KEPT:
        return 1;
    case PYC_DUE:
        if (writes_none()) return 1;
        answer->why = "stock writes its .pyc first";
        return 0;
    case PYC_OTHER:
        break;
    }
    answer->why = "its .pyc is hash-based now";
    return 0;
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
    if (archive->suffixes[file->suffix].loader == PYCDS_SUFFIX_SOURCE && !leaves_pyc(answer, path)) return 0;
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
static int look_up_folder(PyObject *entry, PyObject *name, const char *folder, size_t size, const char *tail, size_t tail_length, Answer *answer) {
    char stale[PYCDS_WHY];
    const uint64_t hash = index_path_hash(folder, size);
    int known = 0;
    stale[0] = '\0';
    /* FileFinder takes slashes off where it joins names (_path_join), and has its own ways with "/": its answer then. */
    const int stocks = size != 0 && folder[size - 1] == '/';
    for (uint32_t i = 0; !stocks && i < state.layer_count; i++) {
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
        /* A folder has a FileFinder, or would get one: zipimporter, the hook before, takes files only. What else the entry may be is stock's to say. */
        if (index_find_unknown(&state.layers[0], folder, size, tail, tail_length) == FIND_ABSENT) return 0;
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
    PyObject *key = entry, *cwd_object = NULL;
    KnownFinder finder;
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
    int absent = stock_finder == 0 && finder == FINDER_NONE;
    Py_DecRef(cwd_object);
    if (absent) return 0;
    if (!stock_finder || folder[0] != '/') {
        answer->why = stock_finder ? "relative path" : "another path entry finder";
        return ask_folder(entry, name, answer);
    }
    return look_up_folder(entry, name, folder, (size_t)size, tail, tail_length, answer);
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
    path = path == PY_NONE ? py_sys_get(state.n_path) : py_new_ref(path);
    if (!path) {
        answer->ask_path_finder = 1;
        return 0;
    }
    /* Plain lists are walked in place, like a for statement does; others (_NamespacePath recalculates) by iterator. */
    PyObject *iterator = py_is_list(path) ? NULL : PyObject_GetIter(path);
    int result = py_is_list(path) || iterator ? 0 : -1;
    for (Py_ssize_t i = 0; result == 0; i++) {
        PyObject *entry;
        if (iterator) {
            entry = PyIter_Next(iterator);
            if (!entry) {
                result = PyErr_Occurred() ? -1 : 0;
                break;
            }
        } else {
            entry = py_list_get(path, i);
            if (!entry) break;
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
