/*
 * _find_and_load and _handle_fromlist of importlib/_bootstrap.py in C. Read
 * beside that file: the steps are the same and in the same order; what differs
 * is that find.c lets the archive answer for PathFinder and load.c executes
 * code from the image.
 *
 * Every function returns a new reference or NULL with an exception unless said
 * otherwise. The GIL is held and not released between a lookup and its use.
 */
#define _GNU_SOURCE
#include "find.h"

/* ModuleNotFoundError(message, name=name); steals `message`. */
static void raise_not_found(PyObject *message, PyObject *name) {
    if (!message) return;
    PyErr_SetImportErrorSubclass(PyExc_ModuleNotFoundError, message, name, NULL);
    Py_DecRef(message);
}

/* ---- _find_and_load_unlocked ---------------------------------------------------------- */

/* parent_module.__path__, or the stock error that the parent is no package. */
static PyObject *parent_path(PyObject *parent_module, PyObject *parent, PyObject *name) {
    PyObject *path = PyObject_GetAttr(parent_module, state.n___path__);
    if (path || !PyErr_ExceptionMatches(PyExc_AttributeError)) return path;
    PyObject *type, *value, *traceback, *error_type, *error, *error_traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    raise_not_found(PyUnicode_FromFormat("No module named %R; %R is not a package", name, parent), name);
    /* `from None`: the AttributeError stays as context, suppressed. */
    PyErr_Fetch(&error_type, &error, &error_traceback);
    PyErr_NormalizeException(&error_type, &error, &error_traceback);
    if (error && PyObject_SetAttrString(error, "__suppress_context__", PY_TRUE) < 0) PyErr_Clear();
    if (error && value) {
        PyException_SetContext(error, value);
        value = NULL;
    }
    PyErr_Restore(error_type, error, error_traceback);
    Py_DecRef(type);
    Py_DecRef(value);
    Py_DecRef(traceback);
    return NULL;
}

/* parent_spec._uninitialized_submodules.append(child): *list is the list, to be popped; NULL where versions have none. */
static int track_child(PyObject *parent_spec, PyObject *child, PyObject **list) {
    *list = NULL;
    if (!state.tracks_submodules || PyObject_IsTrue(parent_spec) != 1) return PyErr_Occurred() ? -1 : 0;
    *list = PyObject_GetAttr(parent_spec, state.n__uninitialized_submodules);
    if (!*list) return -1;
    PyObject *result = PyObject_CallMethodObjArgs(*list, state.n_append, child, NULL);
    Py_DecRef(result);
    return result ? 0 : -1;
}

static int untrack_child(PyObject *list) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *result = PyObject_CallMethodObjArgs(list, state.n_pop, NULL);
    Py_DecRef(result);
    if (type) {
        if (!result) PyErr_Clear();
        PyErr_Restore(type, value, traceback);
    }
    return result ? 0 : -1;
}

/* setattr(sys.modules[parent], child, module); an AttributeError becomes a warning. */
static int bind_child(PyObject *parent, PyObject *child, PyObject *module) {
    PyObject *modules = modules_mapping();
    PyObject *parent_module = modules ? PyObject_GetItem(modules, parent) : NULL;
    if (!parent_module) return -1;
    int result = PyObject_SetAttr(parent_module, child, module);
    if (result < 0 && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        PyObject *message = PyUnicode_FromFormat("Cannot set an attribute on %R for child module %R", parent, child);
        const char *text = message ? PyUnicode_AsUTF8AndSize(message, NULL) : NULL;
        result = text ? PyErr_WarnEx(PyExc_ImportWarning, text, 1) : -1;
        Py_DecRef(message);
    }
    Py_DecRef(parent_module);
    return result;
}

static PyObject *find_and_load_unlocked(PyObject *name, PyObject *import) {
    PyObject *path = NULL, *parent = NULL, *child = NULL, *parent_module = NULL, *parent_spec = NULL, *pending = NULL;
    PyObject *modules, *module = NULL;
    Answer answer;
    Py_ssize_t size;
    size_t child_length;
    const char *text = PyUnicode_AsUTF8AndSize(name, &size);
    if (!text) return NULL;
    const char *tail = tail_of(text, (size_t)size, &child_length);
    if (tail - text > 1) {
        parent = PyUnicode_FromStringAndSize(text, tail - text - 1);
        if (!parent) goto done;
        modules = modules_mapping();
        if (!modules) goto done;
        parent_module = modules_get(modules, parent);
        if (!parent_module) {
            if (PyErr_Occurred()) goto done;
            PyObject *result = PyObject_CallFunctionObjArgs(import, parent, NULL);
            if (!result) goto done;
            Py_DecRef(result);
            modules = modules_mapping();
            if (!modules) goto done;
        }
        /* Crazy side-effects: importing the parent may have imported us. */
        module = modules_get(modules, name);
        if (module || PyErr_Occurred()) goto done;
        Py_DecRef(parent_module);
        parent_module = PyObject_GetItem(modules, parent);
        if (!parent_module) goto done;
        path = parent_path(parent_module, parent, name);
        if (!path) goto done;
        parent_spec = PyObject_GetAttr(parent_module, state.n___spec__);
        if (!parent_spec) goto done;
        child = PyUnicode_FromStringAndSize(tail, (Py_ssize_t)child_length);
        if (!child) goto done;
    }
    modules = modules_mapping();
    if (!modules || find_spec(modules, name, path ? path : PY_NONE, &answer) < 0) goto done;
    if (answer.found.kind != FIND_FILE && !answer.spec) {
        if (trace_active) trace_missing(name);
        raise_not_found(PyUnicode_FromFormat("No module named %R", name), name);
        goto done;
    }
    if (parent_spec && track_child(parent_spec, child, &pending) < 0) {
        Py_DecRef(answer.spec);
        Py_DecRef(answer.path);
        goto done;
    }
    module = load_answer(name, path ? path : PY_NONE, &answer);
    if (pending && untrack_child(pending) < 0 && module) {
        Py_DecRef(module);
        module = NULL;
    }
    if (module && parent && bind_child(parent, child, module) < 0) {
        Py_DecRef(module);
        module = NULL;
    }
done:
    Py_DecRef(pending);
    Py_DecRef(parent_spec);
    Py_DecRef(parent_module);
    Py_DecRef(path);
    Py_DecRef(child);
    Py_DecRef(parent);
    return module;
}

/* ---- _find_and_load --------------------------------------------------------------------- */

/* getattr(getattr(module, "__spec__", None), "_initializing", False): -1 error. */
static int is_initializing(PyObject *module) {
    PyObject *spec = PyObject_GetAttr(module, state.n___spec__), *flag;
    if (!spec) goto missing;
    flag = PyObject_GetAttr(spec, state.n__initializing);
    Py_DecRef(spec);
    if (!flag) goto missing;
    int result = PyObject_IsTrue(flag);
    Py_DecRef(flag);
    return result;
missing:
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
    PyErr_Clear();
    return 0;
}

/* `failed`: what a release answered. Keeps a pending exception; drops `module` when only releasing failed. */
static PyObject *released(PyObject *module, int failed, PyObject *type, PyObject *value, PyObject *traceback) {
    if (type) {
        if (failed) PyErr_Clear();
        PyErr_Restore(type, value, traceback);
    } else if (failed) {
        Py_DecRef(module);
        return NULL;
    }
    return module;
}

/* manager.__exit__() */
static PyObject *release(PyObject *manager, PyObject *module) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *result = PyObject_CallMethodObjArgs(manager, state.n___exit__, PY_NONE, PY_NONE, PY_NONE, NULL);
    Py_DecRef(result);
    Py_DecRef(manager);
    return released(module, result == NULL, type, value, traceback);
}

/* with _ModuleLockManager(name): _find_and_load_unlocked(name, import_), while no other thread is about (locks.c). */
static PyObject *load_unwaited(PyObject *name, PyObject *import, unsigned long serial) {
    PyObject *type, *value, *traceback;
    PyObject *module = find_and_load_unlocked(name, import);
    PyErr_Fetch(&type, &value, &traceback);
    int failed = locks_leave(serial) < 0;
    return released(module, failed, type, value, traceback);
}

/* Names with a lone surrogate have no UTF-8, by which the index is asked: they are stock's. */
static int is_utf8_name(PyObject *name) {
    if (!py_is_str(name)) return 0;
    if (PyUnicode_AsUTF8AndSize(name, NULL)) return 1;
    PyErr_Clear();
    return 0;
}

/*
 * Imports that stand inside one another on this thread. Stock's go through six
 * Python frames each, which the recursion limit counts; ours take C stack that
 * nothing counts. Deeper than any real program nests them, stock takes over.
 */
#define DEPTH_LIMIT 64
static _Thread_local int depth;

static PyObject *find_and_load(PyObject *name, PyObject *import);

PyObject *import_find_and_load(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    const char *why = NULL;
    (void)self;
    if (count != 2 || depth >= DEPTH_LIMIT || !is_utf8_name(args[0]) || !guard_holds(&why)) {
        if (count == 2 && why) log_miss(args[0], why);
        PyObject *tuple = PyTuple_New(count), *result = NULL;
        for (Py_ssize_t i = 0; tuple && i < count; i++) PyTuple_SetItem(tuple, i, py_new_ref(args[i]));
        if (tuple) result = PyObject_Call(state.find_and_load, tuple, NULL);
        Py_DecRef(tuple);
        if (result && trace_active && count == 2) {
            PyObject *spec = PyObject_GetAttr(result, state.n___spec__);
            if (!spec) PyErr_Clear();
            if (spec && spec != PY_NONE) trace_spec(args[0], spec, 0);
            Py_DecRef(spec);
        }
        return result;
    }
    depth++;
    PyObject *result = find_and_load(args[0], args[1]);
    depth--;
    return result;
}

/* _find_and_load(name, import_) */
static PyObject *find_and_load(PyObject *name, PyObject *import) {
    PyObject *modules = modules_mapping();
    if (!modules) return NULL;
    PyObject *module = modules_get(modules, name);
    if (!module && PyErr_Occurred()) return NULL;
    int initializing = module ? is_initializing(module) : 1;
    if (initializing < 0) {
        Py_DecRef(module);
        return NULL;
    }
    if (!module) {
        unsigned long serial;
        int noted = locks_enter(name, &serial);
        if (noted < 0) return NULL;
        if (noted) return load_unwaited(name, import, serial);
    }
    if (initializing) {
        Py_DecRef(module);
        PyObject *manager = PyObject_CallFunctionObjArgs(state.lock_manager, name, NULL);
        PyObject *entered = manager ? PyObject_CallMethodObjArgs(manager, state.n___enter__, NULL) : NULL;
        if (!entered) {
            Py_DecRef(manager);
            return NULL;
        }
        Py_DecRef(entered);
        modules = modules_mapping();
        module = modules ? modules_get(modules, name) : NULL;
        if (!module) {
            if (modules && !PyErr_Occurred()) module = find_and_load_unlocked(name, import);
            return release(manager, module);
        }
        module = release(manager, module);
        if (!module) return NULL;
        PyObject *done = PyObject_CallFunctionObjArgs(state.lock_unlock_module, name, NULL);
        Py_DecRef(done);
        if (!done) {
            Py_DecRef(module);
            return NULL;
        }
    }
    if (module == PY_NONE) {
        Py_DecRef(module);
        raise_not_found(PyUnicode_FromFormat("import of %U halted; None in sys.modules", name), name);
        return NULL;
    }
    return module;
}

/* ---- _handle_fromlist ---------------------------------------------------------------------- */

/* hasattr(module, x): 1, 0, -1. */
static int has_attribute(PyObject *module, PyObject *x) {
    PyObject *value = PyObject_GetAttr(module, x);
    if (value) {
        Py_DecRef(value);
        return 1;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
    PyErr_Clear();
    return 0;
}

/* A submodule that `from module import x` wants: a missing one is ignored, as stock does. 0 or -1. */
static int import_submodule(PyObject *module, PyObject *x, PyObject *import) {
    PyObject *module_name = PyObject_GetAttr(module, state.n___name__);
    if (!module_name) return -1;
    PyObject *prefix = PyObject_Str(module_name);
    Py_DecRef(module_name);
    PyObject *name = prefix ? PyUnicode_FromFormat("%U.%U", prefix, x) : NULL;
    Py_DecRef(prefix);
    if (!name) return -1;
    PyObject *result = PyObject_CallFunctionObjArgs(import, name, NULL);
    int ok = result ? 0 : -1;
    Py_DecRef(result);
    if (!result && PyErr_ExceptionMatches(PyExc_ModuleNotFoundError)) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        PyErr_NormalizeException(&type, &value, &traceback);
        PyObject *missing = value ? PyObject_GetAttr(value, state.n_name) : NULL;
        int same = missing ? PyObject_RichCompareBool(missing, name, PY_EQ) : 0;
        Py_DecRef(missing);
        PyObject *modules = modules_mapping();
        PyObject *there = same == 1 && modules ? modules_get(modules, name) : NULL;
        PyErr_Clear();
        /* sys.modules.get(from_name, _NEEDS_LOADING) is not None */
        if (same == 1 && there != PY_NONE) {
            Py_DecRef(type);
            Py_DecRef(value);
            Py_DecRef(traceback);
            ok = 0;
        } else {
            PyErr_Restore(type, value, traceback);
        }
        Py_DecRef(there);
    }
    Py_DecRef(name);
    return ok;
}

PyObject *import_handle_fromlist(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames) {
    (void)self;
    /* The common form: a tuple of plain names, no star. All else is stock's, before anything was looked at. */
    int plain = count == 3 && !kwnames && py_is_tuple(args[1]);
    Py_ssize_t size = plain ? PyTuple_Size(args[1]) : 0;
    for (Py_ssize_t i = 0; plain && i < size; i++) {
        PyObject *x = PyTuple_GetItem(args[1], i);
        plain = py_is_str(x) && PyUnicode_CompareWithASCIIString(x, "*") != 0;
    }
    if (!plain) {
        Py_ssize_t named = kwnames ? PyTuple_Size(kwnames) : 0;
        PyObject *positional = PyTuple_New(count), *keywords = PyDict_New(), *result = NULL;
        if (positional && keywords) {
            int ok = 1;
            for (Py_ssize_t i = 0; i < count; i++) PyTuple_SetItem(positional, i, py_new_ref(args[i]));
            for (Py_ssize_t i = 0; i < named; i++) ok &= PyDict_SetItem(keywords, PyTuple_GetItem(kwnames, i), args[count + i]) == 0;
            if (ok) result = PyObject_Call(state.handle_fromlist, positional, keywords);
        }
        Py_DecRef(positional);
        Py_DecRef(keywords);
        return result;
    }
    PyObject *module = args[0];
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *x = PyTuple_GetItem(args[1], i);
        int has = has_attribute(module, x);
        if (has < 0 || (!has && import_submodule(module, x, args[2]) < 0)) return NULL;
    }
    return py_new_ref(module);
}
