/*
 * _find_and_load and _handle_fromlist of importlib/_bootstrap.py in C. Read
 * beside that file: the steps are the same and in the same order; what differs
 * is that find.c lets the archive answer for PathFinder and load.c executes
 * code from the image. Where versions differ, state.forms says how it is here.
 *
 * Every function returns a new reference or NULL with an exception unless said
 * otherwise. The GIL is held and not released between a lookup and its use; in a
 * free-threaded build any other thread may act in between, and what was looked
 * up is looked at again where that matters.
 */
#define _GNU_SOURCE
#include "find.h"

/* function(*args, **kwargs) */
static PyObject *call_stock(PyObject *function, PyObject *const *args, Py_ssize_t count, PyObject *kwnames) {
    Py_ssize_t named = kwnames ? PyTuple_Size(kwnames) : 0;
    PyObject *positional = PyTuple_New(count), *keywords = PyDict_New(), *result = NULL;
    if (positional && keywords) {
        int ok = 1;
        for (Py_ssize_t i = 0; i < count; i++) PyTuple_SetItem(positional, i, py_new_ref(args[i]));
        for (Py_ssize_t i = 0; i < named; i++) ok &= PyDict_SetItem(keywords, PyTuple_GetItem(kwnames, i), args[count + i]) == 0;
        if (ok) result = PyObject_Call(function, positional, keywords);
    }
    Py_DecRef(positional);
    Py_DecRef(keywords);
    return result;
}

/* ---- _find_and_load --------------------------------------------------------------------- */

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

static int is_gc(PyObject *name) { return name == state.n_gc || PyUnicode_CompareWithASCIIString(name, "gc") == 0; }

static PyObject *load_now(PyObject *name, PyObject *import, int lazy) {
    const int outermost = gc_defer();
    PyObject *module = find_and_load_unlocked(name, import, lazy);
    if (is_gc(name)) gc_module_imported();
    if (outermost) gc_resume();
    return module;
}

/* with _ModuleLockManager(name): _find_and_load_unlocked(name, import_), while no other thread is about (locks.c). */
static PyObject *load_unwaited(PyObject *name, PyObject *import, int lazy, unsigned long serial) {
    PyObject *type, *value, *traceback;
    PyObject *module = load_now(name, import, lazy);
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

/* sys.modules.get(name); `absent`: the answer when it is not there, with a new reference. NULL with an exception. */
static PyObject *get_module(PyObject *name, PyObject *absent) {
    PyObject *modules = modules_mapping();
    PyObject *module = modules ? modules_get(modules, name) : NULL;
    Py_DecRef(modules);
    return module || PyErr_Occurred() ? module : py_new_ref(absent);
}

/* _NEEDS_LOADING, which no module can be. */
#define NEEDS_LOADING (&_Py_NotImplementedStruct)

/*
 * The lock of `name` could not be had without a deadlock: its holder waits for a module that this
 * thread loads, so it is in the body of `name`, and that in sys.modules by now. An import statement finds
 * it there, and then takes it as far as it is (Python/import.c, import_ensure_initialized), unless it looked
 * in the moment before: then it raises. As we are so much sooner at that body, threads that really run at
 * once would often meet that moment; so a statement gets what it gets a moment later. import_module()
 * (its `import` is a Python function, _gcd_import) always raises in stock, and here.
 */
static PyObject *deadlocked(PyObject *name, PyObject *import) {
    PyObject *type, *value, *traceback;
    if (py_is_function(import) || !PyErr_ExceptionMatches(state.deadlock_error)) return NULL;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *module = get_module(name, NEEDS_LOADING);
    if (!module || module == NEEDS_LOADING) {
        Py_DecRef(module);
        PyErr_Restore(type, value, traceback);
        return NULL;
    }
    Py_DecRef(type);
    Py_DecRef(value);
    Py_DecRef(traceback);
    return module;
}

/* with _ModuleLockManager(name) and what follows it; uses up `module`, what sys.modules had for `name` before. *loaded: by _find_and_load_unlocked. */
static PyObject *load_waiting(PyObject *name, PyObject *import, int lazy, PyObject *module, int *loaded) {
    unsigned long serial;
    int quiet = 0;
    *loaded = 0;
    if (module == NEEDS_LOADING) {
        quiet = locks_enter(name, &serial);
        if (quiet > 0) {
            Py_DecRef(module);
            /* Since we looked another thread may have loaded it: without a GIL, and where the look itself ran bytecode (a sys.modules that is no plain dict). */
            module = get_module(name, NEEDS_LOADING);
            if (module == NEEDS_LOADING) {
                Py_DecRef(module);
                *loaded = 1;
                return load_unwaited(name, import, lazy, serial);
            }
            if (locks_leave(serial) < 0 || !module) {
                Py_DecRef(module);
                return NULL;
            }
        }
    } else {
        quiet = locks_idle(name);
        if (PY_FREE_THREADED && quiet > 0) {
            /* The thread that loaded it may have ended by failing, and have taken it away. */
            PyObject *now = get_module(name, NEEDS_LOADING);
            quiet = now ? now == module : -1;
            Py_DecRef(now); /* compared only */
        }
    }
    if (quiet > 0) return module;
    Py_DecRef(module);
    if (quiet < 0) return NULL;
    int nested = state.forms.hierarchical_locks && PyUnicode_FindChar(name, '.', 0, PyUnicode_GetLength(name), 1) >= 0;
    PyObject *manager = PyObject_CallFunctionObjArgs(nested ? state.hierarchical_lock_manager : state.lock_manager, name, NULL);
    PyObject *entered = manager ? PyObject_CallMethodObjArgs(manager, state.n___enter__, NULL) : NULL;
    Py_DecRef(entered);
    if (!entered) {
        Py_DecRef(manager);
        return deadlocked(name, import);
    }
    module = get_module(name, NEEDS_LOADING);
    if (module == NEEDS_LOADING) {
        Py_DecRef(module);
        *loaded = 1;
        return release(manager, load_now(name, import, lazy));
    }
    module = release(manager, module);
    if (!module || (module == PY_NONE && state.forms.always_locks)) return module;
    PyObject *unlocked = PyObject_CallFunctionObjArgs(state.lock_unlock_module, name, NULL);
    Py_DecRef(unlocked);
    if (unlocked) return module;
    Py_DecRef(module);
    return NULL;
}

/* _find_and_load(name, import_, lazy_submodule=lazy) */
static PyObject *find_and_load(PyObject *name, PyObject *import, int lazy) {
    for (;;) {
        PyObject *module = get_module(name, NEEDS_LOADING);
        if (!module) return NULL;
        int wait = module == NEEDS_LOADING || state.forms.always_locks ? 1 : is_initializing(module);
        if (wait < 0) {
            Py_DecRef(module);
            return NULL;
        }
        if (wait) {
            int loaded;
            module = load_waiting(name, import, lazy, module, &loaded);
            if (loaded || !module) return module;
        } else if (state.forms.looks_again) {
            PyObject *now = get_module(name, PY_NONE);
            Py_DecRef(now);
            if (now != module) Py_DecRef(module);
            if (!now) return NULL;
            if (now != module) continue;
        }
        if (module != PY_NONE) return module;
        Py_DecRef(module);
        raise_not_found(PyUnicode_FromFormat("import of %U halted; None in sys.modules", name), name);
        return NULL;
    }
}

/* Stock's own function, whatever the arguments; what it loads is traced. */
static PyObject *stock_find_and_load(PyObject *const *args, Py_ssize_t count, PyObject *kwnames) {
    PyObject *result = call_stock(state.find_and_load, args, count, kwnames);
    if (result && trace_active && count == 2) {
        PyObject *spec = PyObject_GetAttr(result, state.n___spec__);
        if (!spec) PyErr_Clear();
        if (spec && spec != PY_NONE) trace_spec(args[0], spec, 0);
        Py_DecRef(spec);
    }
    return result;
}

/*
 * Imports that stand inside one another on this thread. Stock's go through six
 * Python frames each, which the recursion limit counts; ours take C stack that
 * nothing counts. Deeper than any real program nests them, stock takes over.
 */
#define DEPTH_LIMIT 64
static _Thread_local int depth;
static _Thread_local int running; /* imports on this thread, whoever does them */

int import_running(void) { return running != 0; }

PyObject *import_find_and_load(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *kwnames) {
    const char *why = NULL;
    int lazy = 0, plain = count == 2 && depth < DEPTH_LIMIT && is_utf8_name(args[0]);
    (void)self;
    if (plain && kwnames) {
        /* _find_and_load_lazy_submodule */
        plain = state.forms.sets_lazy_attributes && PyTuple_Size(kwnames) == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(kwnames, 0), "lazy_submodule") == 0;
        lazy = plain && args[2] == PY_TRUE;
    }
    if (plain && guard_holds(&why)) {
        depth++;
        running++;
        PyObject *module = find_and_load(args[0], args[1], lazy);
        running--;
        depth--;
        if (module) pure_regex_imported(args[0]);
        return module;
    }
    if (why) log_miss(args[0], why);
    running++;
    PyObject *module = stock_find_and_load(args, count, kwnames);
    running--;
    return module;
}

/* ---- _handle_fromlist ---------------------------------------------------------------------- */

/*
 * hasattr(module, x): 1, 0, -1. The very function behind hasattr() where there is one (3.13+): in 3.15 it
 * also takes a lazy import that is being resolved for no attribute (Objects/moduleobject.c), as PyObject_GetAttr does not.
 */
static int has_attribute(PyObject *module, PyObject *x) {
    if (state.has_attr_with_error) return state.has_attr_with_error(module, x);
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
        Py_DecRef(modules);
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
    if (!plain) return call_stock(state.handle_fromlist, args, count, kwnames);
    PyObject *module = args[0];
    for (Py_ssize_t i = 0; i < size; i++) {
        PyObject *x = PyTuple_GetItem(args[1], i);
        int has = has_attribute(module, x);
        if (has < 0 || (!has && import_submodule(module, x, args[2]) < 0)) return NULL;
    }
    return py_new_ref(module);
}
