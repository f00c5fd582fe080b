/*
 * _find_and_load_unlocked of importlib/_bootstrap.py: the parent first, then find
 * the module, load it, and bind it to the parent.
 */
#define _GNU_SOURCE
#include "find.h"

/* ---- small parts -------------------------------------------------------------------------- */

/* getattr(spec, "_initializing", False); -1 with an exception. */
static int spec_initializing(PyObject *spec) {
    PyObject *flag = PyObject_GetAttr(spec, state.n__initializing);
    if (flag) {
        int result = PyObject_IsTrue(flag);
        Py_DecRef(flag);
        return result;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
    PyErr_Clear();
    return 0;
}

int is_initializing(PyObject *module) {
    PyObject *spec = PyObject_GetAttr(module, state.n___spec__);
    if (spec) {
        int result = spec_initializing(spec);
        Py_DecRef(spec);
        return result;
    }
    if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return -1;
    PyErr_Clear();
    return 0;
}

/*
 * _warnings.warn(message, ImportWarning) of _find_and_load_unlocked: the warning is
 * importlib's, not its caller's (Python/_warnings.c, setup_context). Its line is that
 * of the function, since only its own frame could tell closer. 0 or -1; steals `message`.
 */
static int warn_import(PyObject *message) {
    const char *text = message ? PyUnicode_AsUTF8AndSize(message, NULL) : NULL;
    PyObject *module = py_dict_get(state.bootstrap_dict, state.n___name__);
    const char *module_name = module && py_is_str(module) ? PyUnicode_AsUTF8AndSize(module, NULL) : "importlib._bootstrap";
    PyObject *registry = py_dict_get_string(state.bootstrap_dict, "__warningregistry__");
    if (!registry) {
        registry = PyDict_New();
        if (registry && PyDict_SetItemString(state.bootstrap_dict, "__warningregistry__", registry) < 0) PyErr_Clear();
    }
    PyObject *code = PyObject_GetAttrString(state.find_and_load_unlocked, "__code__");
    PyObject *line = code ? PyObject_GetAttrString(code, "co_firstlineno") : NULL;
    int result = text && module_name && registry && line
                     ? PyErr_WarnExplicit(PyExc_ImportWarning, text, "<frozen importlib._bootstrap>", (int)PyLong_AsLong(line), module_name, registry)
                     : -1;
    Py_DecRef(line);
    Py_DecRef(code);
    Py_DecRef(registry);
    Py_DecRef(module);
    Py_DecRef(message);
    return result;
}

/* ModuleNotFoundError(message, name=name): that call and no other, since from 3.15 on its repr shows the keywords. Steals `message`. */
void raise_not_found(PyObject *message, PyObject *name) {
    PyObject *args = message ? PyTuple_Pack(1, message) : NULL, *keywords = PyDict_New(), *error = NULL;
    if (args && keywords && PyDict_SetItem(keywords, state.n_name, name) == 0) error = PyObject_Call(PyExc_ModuleNotFoundError, args, keywords);
    if (error) PyErr_SetObject(PyExc_ModuleNotFoundError, error);
    Py_DecRef(error);
    Py_DecRef(keywords);
    Py_DecRef(args);
    Py_DecRef(message);
}

/* ---- _find_and_load_unlocked ---------------------------------------------------------- */

/* The exception being handled, as an except clause has it. */
typedef struct Handled {
    PyObject *type, *value, *traceback;
} Handled;

static Handled handle(void) {
    Handled h;
    PyErr_Fetch(&h.type, &h.value, &h.traceback);
    PyErr_NormalizeException(&h.type, &h.value, &h.traceback);
    if (h.value && h.traceback) PyException_SetTraceback(h.value, h.traceback);
    return h;
}

/* The end of the except clause: what is raised in it has the handled one as context. `from_none`: raise … from None. */
static void handled(Handled h, int from_none) {
    if (PyErr_Occurred() && h.value) {
        Handled raised = handle();
        if (from_none && raised.value && PyObject_SetAttrString(raised.value, "__suppress_context__", PY_TRUE) < 0) PyErr_Clear();
        if (raised.value) {
            PyException_SetContext(raised.value, h.value);
            h.value = NULL;
        }
        PyErr_Restore(raised.type, raised.value, raised.traceback);
    }
    Py_DecRef(h.type);
    Py_DecRef(h.value);
    Py_DecRef(h.traceback);
}

/* parent_module.__path__, or the stock error that the parent is no package; `lazy`: NULL without an exception then. */
static PyObject *parent_path(PyObject *parent_module, PyObject *parent, PyObject *name, int lazy) {
    PyObject *path = PyObject_GetAttr(parent_module, state.n___path__);
    if (path || !PyErr_ExceptionMatches(PyExc_AttributeError)) return path;
    Handled h = handle();
    if (!lazy) raise_not_found(PyUnicode_FromFormat("No module named %R; %R is not a package", name, parent), name);
    handled(h, 1);
    return NULL;
}

/* parent_spec._uninitialized_submodules.append(child): *list is the list, to be popped; NULL for a spec that is false. */
static int track_child(PyObject *parent_spec, PyObject *child, PyObject **list) {
    *list = NULL;
    if (PyObject_IsTrue(parent_spec) != 1) return PyErr_Occurred() ? -1 : 0;
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
    Py_DecRef(modules);
    if (!parent_module) return -1;
    int result = PyObject_SetAttr(parent_module, child, module);
    if (result < 0 && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        Handled h = handle();
        result = warn_import(PyUnicode_FromFormat("Cannot set an attribute on %R for child module %R", parent, child));
        handled(h, 0);
    }
    Py_DecRef(parent_module);
    return result;
}

/* _imp._set_lazy_attributes(module, name); an Exception becomes a warning (3.15). */
static int set_lazy_attributes(PyObject *module, PyObject *name) {
    PyObject *result = PyObject_CallFunctionObjArgs(state.imp_set_lazy_attributes, module, name, NULL);
    Py_DecRef(result);
    if (result) return 0;
    if (!PyErr_ExceptionMatches(PyExc_Exception)) return -1;
    Handled h = handle();
    int warned = warn_import(PyUnicode_FromFormat("Cannot set lazy attributes on %R: %R", name, h.value ? h.value : PY_NONE));
    handled(h, 0);
    return warned;
}

/* sys.audit("import", name, None, sys.path, sys.meta_path, sys.path_hooks), which C did until 3.14. 0 or -1. */
static int audit_import(PyObject *name) {
    PyObject *path = py_sys_get(state.n_path), *meta_path = py_sys_get(state.n_meta_path), *hooks = py_sys_get(state.n_path_hooks);
    int result = PySys_Audit("import", "OOOOO", name, PY_NONE, path ? path : PY_NONE, meta_path ? meta_path : PY_NONE, hooks ? hooks : PY_NONE);
    Py_DecRef(path);
    Py_DecRef(meta_path);
    Py_DecRef(hooks);
    return result;
}

/*
 * Is `name` in sys.modules now, after its parent was imported (whose side effects are crazy)?
 * 1: *module is it (None too, until 3.13), or NULL with an exception. 0: no.
 */
static int came_along(PyObject *name, PyObject **module) {
    PyObject *modules = modules_mapping();
    *module = modules ? modules_get(modules, name) : NULL;
    Py_DecRef(modules);
    if (*module == PY_NONE && state.forms.none_is_missing) {
        Py_DecRef(*module);
        *module = NULL;
    }
    return *module || PyErr_Occurred();
}

PyObject *find_and_load_unlocked(PyObject *name, PyObject *import, int lazy) {
    PyObject *path = NULL, *parent = NULL, *child = NULL, *parent_module = NULL, *parent_spec = NULL, *pending = NULL;
    PyObject *modules, *module = NULL, *result;
    Answer answer;
    Py_ssize_t size;
    size_t child_length;
    if (state.forms.audits && audit_import(name) < 0) return NULL;
    const char *text = PyUnicode_AsUTF8AndSize(name, &size);
    if (!text) return NULL;
    const char *tail = tail_of(text, (size_t)size, &child_length);
    if (tail - text > 1) {
        parent = PyUnicode_FromStringAndSize(text, tail - text - 1);
        if (!parent) goto done;
        modules = modules_mapping();
        if (!modules) goto done;
        parent_module = modules_get(modules, parent);
        Py_DecRef(modules);
        if (!parent_module) {
            if (PyErr_Occurred()) goto done;
            result = PyObject_CallFunctionObjArgs(import, parent, NULL);
            if (!result) goto done;
            Py_DecRef(result);
        }
        if (came_along(name, &module)) goto done;
        Py_DecRef(parent_module);
        modules = modules_mapping();
        parent_module = modules ? PyObject_GetItem(modules, parent) : NULL;
        Py_DecRef(modules);
        if (!parent_module) goto done;
        path = parent_path(parent_module, parent, name, lazy);
        if (!path) {
            if (!PyErr_Occurred()) module = py_new_ref(PY_NONE);
            goto done;
        }
        if (state.forms.tracks_submodules) {
            parent_spec = PyObject_GetAttr(parent_module, state.n___spec__);
            if (!parent_spec) goto done;
        }
        if (state.forms.waits_for_parent) {
            int initializing = spec_initializing(parent_spec);
            result = initializing > 0 ? PyObject_CallFunctionObjArgs(import, parent, NULL) : NULL;
            if (initializing < 0 || (initializing && !result)) goto done;
            Py_DecRef(result);
            if (came_along(name, &module)) goto done;
        }
        child = PyUnicode_FromStringAndSize(tail, (Py_ssize_t)child_length);
        if (!child) goto done;
    }
    modules = modules_mapping();
    int searched = modules ? find_spec(modules, name, path ? path : PY_NONE, &answer) : -1;
    Py_DecRef(modules);
    if (searched < 0) goto done;
    if (answer.found.kind != FIND_FILE && !answer.spec) {
        if (trace_active) trace_missing(name);
        if (lazy) module = py_new_ref(PY_NONE);
        else raise_not_found(PyUnicode_FromFormat("No module named %R", name), name);
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
    if (module && ((parent && bind_child(parent, child, module) < 0) || (state.forms.sets_lazy_attributes && set_lazy_attributes(module, name) < 0))) {
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

