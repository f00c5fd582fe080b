/*
 * _load_unlocked of importlib/_bootstrap.py for a file that the archive serves:
 * the module that stock would make, executing code that lies in the image.
 */
#define _GNU_SOURCE
#include "find.h"

/* ---- _load_unlocked for a served file ---------------------------------------------- */

/* `finally: spec._initializing = False`, keeping a pending exception. */
static int initialized(PyObject *spec) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    int result = PyObject_SetAttr(spec, state.n__initializing, PY_FALSE);
    if (type) {
        if (result < 0) PyErr_Clear();
        PyErr_Restore(type, value, traceback);
    }
    return result;
}

/*
 * exec(code, module.__dict__) as _call_with_frames_removed calls it: through whatever builtins.exec is. 0 or -1.
 * The builtin one gives a namespace the builtins of the frame that calls it (Python/bltinmodule.c, builtin_exec_impl), in
 * stock importlib's. Here that frame is the importer's, which may have others: so the namespace gets them before.
 */
static int exec_code(PyObject *code, PyObject *module) {
    PyObject *exec = py_dict_get(state.builtins_dict, state.n_exec);
    PyObject *dict = PyModule_GetDict(module);
    if (!exec || !dict) {
        if (!PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, "builtins.exec is gone");
        Py_DecRef(exec);
        return -1;
    }
    int is_builtin = py_type(exec) == py_type(state.imp_acquire_lock);
    int ready = is_builtin ? PyDict_SetItem(dict, state.n___builtins__, state.builtins_dict) == 0 : 1;
    PyObject *result = ready ? PyObject_CallFunctionObjArgs(exec, code, dict, NULL) : NULL;
    Py_DecRef(exec);
    Py_DecRef(result);
    return result ? 0 : -1;
}

static PyObject *load_served(PyObject *name, PyObject *spec, PyObject *module, PyObject *code) {
    PyObject *modules, *loaded = NULL;
    if (PyObject_SetAttr(spec, state.n__initializing, PY_TRUE) < 0) return NULL;
    modules = modules_mapping();
    if (!modules || modules_set(modules, name, module) < 0) goto done;
    Py_DecRef(modules); /* the module's body may replace it */
    if (exec_code(code, module) < 0) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        modules = modules_mapping();
        if (!modules || PyObject_DelItem(modules, name) < 0) PyErr_Clear();
        PyErr_Restore(type, value, traceback);
        goto done;
    }
    /* module = sys.modules.pop(name); sys.modules[name] = module: to the end, and whatever it replaced itself by. */
    modules = modules_mapping();
    if (!modules) goto done;
    loaded = PyObject_CallMethodObjArgs(modules, state.n_pop, name, NULL);
    if (loaded && modules_set(modules, name, loaded) < 0) {
        Py_DecRef(loaded);
        loaded = NULL;
    }
done:
    Py_DecRef(modules);
    if (initialized(spec) < 0 && loaded) {
        Py_DecRef(loaded);
        loaded = NULL;
    }
    return loaded;
}

/* The code of a file to serve; NULL with or without an exception. A function of its own, so that its text does not stay on the stack while the code runs. */
static __attribute__((noinline)) PyObject *served_code(PyObject *name, const Found *found, PyObject *path) {
    char why[PYCDS_WHY] = "";
    imports_lock();
    PyObject *code = unit_code(found->archive, found->file->unit, path, why);
    imports_unlock();
    if (!code && !PyErr_Occurred()) log_stale(name, why);
    return code;
}

/* With several layers the line says which one served. */
static void log_hit(PyObject *name, const Found *found) {
    const char *text = PyUnicode_AsUTF8AndSize(name, NULL);
    if (state.layer_count > 1) log_line("hit %s: %s", text, found->archive->path);
    else log_line("hit %s", text);
}

/* Serves a file of the index; uses up answer->path. *declined is set (and nothing has happened) when its unit is damaged. */
static PyObject *serve(PyObject *name, Answer *answer, int *declined) {
    const Found *found = &answer->found;
    int is_extension = found->archive->suffixes[found->file->suffix].loader == PYCDS_SUFFIX_EXTENSION;
    PyObject *loader = NULL, *spec = NULL, *locations = NULL, *module = NULL, *result = NULL, *code = NULL;
    PyObject *path = answer->path;
    answer->path = NULL;
    if (!is_extension) {
        code = served_code(name, found, path);
        if (!code) {
            Py_DecRef(path);
            *declined = !PyErr_Occurred();
            return NULL;
        }
    }
    spec = spec_for_file(found, name, path, &loader);
    if (!spec) goto done;
    if (trace_active) trace_spec(name, spec, !is_extension);
    if (is_extension) {
        result = PyObject_CallFunctionObjArgs(state.load_unlocked, spec, NULL);
        goto done;
    }
    count_event(&state.hits);
    if (log_wanted) log_hit(name, found);
    if (found->is_package) {
        locations = PyObject_GetAttr(spec, state.n_submodule_search_locations);
        if (!locations) goto done;
    }
    module = module_for_spec(spec, loader, name, path, locations);
    if (module) result = load_served(name, spec, module, code);
done:
    Py_DecRef(module);
    Py_DecRef(locations);
    Py_DecRef(spec);
    Py_DecRef(loader);
    Py_DecRef(path);
    return result;
}

/* A spec whose code an archive could have served: an exact stock loader of Python code. */
static int is_source_spec(PyObject *spec) {
    PyObject *loader = PyObject_GetAttr(spec, state.n_loader);
    if (!loader) PyErr_Clear();
    int is = loader && (py_type(loader) == state.source_loader || py_type(loader) == state.sourceless_loader);
    Py_DecRef(loader);
    return is;
}

/* Loads what find_spec found; stock's _load_unlocked where it is not ours. */
PyObject *load_answer(PyObject *name, PyObject *path, Answer *answer) {
    if (answer->found.kind == FIND_FILE) {
        int declined = 0;
        PyObject *module = serve(name, answer, &declined);
        /* A damaged unit stays refused, so each turn leaves fewer: another layer may have the module too. */
        while (declined && state.layer_count > 1) {
            imports_lock();
            const int found = path_finder_find(name, path, answer);
            imports_unlock();
            if (found < 0) return NULL;
            if (answer->found.kind != FIND_FILE) {
                Py_DecRef(answer->spec);
                break;
            }
            declined = 0;
            module = serve(name, answer, &declined);
        }
        if (!declined) return module;
        answer->spec = ask_finder(state.path_finder, name, path);
        answer->why = NULL;
        if (!answer->spec) return NULL;
    } else if (state.layer_count != 0 && answer->spec) {
        if (answer->why && is_source_spec(answer->spec)) log_miss(name, answer->why);
    }
    if (trace_active) trace_spec(name, answer->spec, 0);
    PyObject *module = PyObject_CallFunctionObjArgs(state.load_unlocked, answer->spec, NULL);
    Py_DecRef(answer->spec);
    answer->spec = NULL;
    return module;
}
