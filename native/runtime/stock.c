/*
 * What this Python's importlib is like: the functions and classes that we call,
 * and which of the known forms the functions have that we stand in for.
 *
 * importlib changes between minor versions and also between bug-fix releases
 * (3.14.8 has what 3.14.3 had not). So no version number is asked: each
 * function's co_names, the names that its code uses, are compared with the names
 * that the known forms use. A name among them tells which form it is; a
 * name that is not among them means a form that we do not know, and then
 * nothing is served.
 */
#define _GNU_SOURCE
#include "state.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* ---- what is called ----------------------------------------------------------------- */

static PyObject *need(PyObject *dict, const char *name, char why[PYCDS_WHY]) {
    PyObject *value = PyDict_GetItemString(dict, name);
    if (!value && !why[0]) snprintf(why, PYCDS_WHY, "importlib has no %s", name);
    return py_new_ref(value);
}

static PyObject *module_dict(const char *name, char why[PYCDS_WHY]) {
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *module = modules ? PyDict_GetItemString(modules, name) : NULL;
    if (!module || !py_is_module(module)) {
        snprintf(why, PYCDS_WHY, "no module %s", name);
        return NULL;
    }
    return PyModule_GetDict(module);
}

int stock_find(char why[PYCDS_WHY]) {
    why[0] = '\0';
    PyObject *bootstrap = state.bootstrap_dict = module_dict("_frozen_importlib", why);
    PyObject *external = state.external_dict = why[0] ? NULL : module_dict("_frozen_importlib_external", why);
    PyObject *imp = state.imp_dict = why[0] ? NULL : module_dict("_imp", why);
    state.builtins_dict = why[0] ? NULL : module_dict("builtins", why);
    if (why[0]) return -1;
    Py_IncRef(bootstrap);
    Py_IncRef(external);
    Py_IncRef(imp);
    Py_IncRef(state.builtins_dict);
    state.find_and_load = need(bootstrap, "_find_and_load", why);
    state.handle_fromlist = need(bootstrap, "_handle_fromlist", why);
    state.get_module_lock = need(bootstrap, "_get_module_lock", why);
    state.lock_unlock_module = need(bootstrap, "_lock_unlock_module", why);
    state.module_locks = need(bootstrap, "_module_locks", why);
    state.find_spec = need(bootstrap, "_find_spec", why);
    state.find_and_load_unlocked = need(bootstrap, "_find_and_load_unlocked", why);
    state.load_unlocked = need(bootstrap, "_load_unlocked", why);
    state.lock_manager = need(bootstrap, "_ModuleLockManager", why);
    state.module_spec = need(bootstrap, "ModuleSpec", why);
    state.deadlock_error = need(bootstrap, "_DeadlockError", why);
    state.builtin_importer = need(bootstrap, "BuiltinImporter", why);
    state.frozen_importer = need(bootstrap, "FrozenImporter", why);
    state.namespace_path = need(external, "_NamespacePath", why); /* 3.15: another name of NamespacePath */
    state.path_finder = need(external, "PathFinder", why);
    state.file_finder = need(external, "FileFinder", why);
    state.source_loader = need(external, "SourceFileLoader", why);
    state.sourceless_loader = need(external, "SourcelessFileLoader", why);
    state.extension_loader = need(external, "ExtensionFileLoader", why);
    state.imp_acquire_lock = need(imp, "acquire_lock", why);
    state.imp_release_lock = need(imp, "release_lock", why);
    state.imp_is_frozen = need(imp, "is_frozen", why);
    if (why[0]) return -1;
#define X(n) state.n_##n = PyUnicode_InternFromString(#n);
    STATE_NAMES(X)
#undef X
    *(void **)&state.has_attr_with_error = dlsym(RTLD_DEFAULT, "PyObject_HasAttrWithError");
#if PY_FREE_THREADED
    /* Called as C functions: a call of the object may fail where the stack is nearly used up, and the lock would then stay held. */
    PyObject *acquire = state.imp_acquire_lock, *release = state.imp_release_lock;
    if (!py_is(acquire, &PyCFunction_Type) || !py_is(release, &PyCFunction_Type) || PyCFunction_GetFlags(acquire) != METH_NOARGS || PyCFunction_GetFlags(release) != METH_NOARGS) {
        snprintf(why, PYCDS_WHY, "_imp's import lock is not as expected");
        return -1;
    }
    state.acquire_lock = PyCFunction_GetFunction(acquire);
    state.release_lock = PyCFunction_GetFunction(release);
    state.imp_self = PyCFunction_GetSelf(acquire);
#endif
    state.path_importer_cache = PyObject_GetAttrString(state.path_finder, "_path_importer_cache");
    PyObject *names = PySys_GetObject("builtin_module_names");
    state.builtin_names = names ? PyFrozenSet_New(names) : NULL;
    if (!state.path_importer_cache || !state.builtin_names || PyErr_Occurred()) {
        PyErr_Clear();
        snprintf(why, PYCDS_WHY, "importlib is not as expected");
        return -1;
    }
    return 0;
}

/* ---- which form it has ------------------------------------------------------------------ */

#define EXTERNAL 1 /* of importlib._bootstrap_external */
#define OPTIONAL 2 /* not in every version */

/* Every name that a known form of the function uses (CPython 3.9 to 3.15, dis of each). */
static const struct Known {
    const char *function; /* or Class.function */
    int flags;
    const char *names; /* each between spaces */
} known[] = {
    {"_find_and_load", 0, " _ModuleLockManager sys modules get _NEEDS_LOADING _find_and_load_unlocked ModuleNotFoundError _lock_unlock_module format"
                          " getattr _find_and_load _HierarchicalLockManager "},
    {"_find_and_load_unlocked", 0, " rpartition sys modules _call_with_frames_removed __path__ AttributeError ModuleNotFoundError _find_spec _load_unlocked setattr"
                                   " _warnings warn ImportWarning _ERR_MSG _ERR_MSG_PREFIX format __spec__ _uninitialized_submodules append pop get getattr audit"
                                   " _imp _set_lazy_attributes Exception "},
    {"_find_spec", 0, " sys meta_path ImportError _warnings warn ImportWarning modules _ImportLockContext find_spec AttributeError __spec__ _find_spec_legacy list "},
    {"_handle_fromlist", 0, " isinstance str __name__ TypeError type hasattr _handle_fromlist __all__ _call_with_frames_removed ModuleNotFoundError name sys modules"
                            " get _NEEDS_LOADING format "},
    {"_load_unlocked", 0, " loader module_from_spec _initializing sys modules name submodule_search_locations ImportError exec_module KeyError pop _verbose_message"
                          " hasattr _load_backward_compatible _object_name _warnings warn ImportWarning "},
    {"module_from_spec", 0, " hasattr loader create_module ImportError _new_module name _init_module_attrs "},
    {"_init_module_attrs", 0, " getattr name __name__ AttributeError loader submodule_search_locations _bootstrap_external NotImplementedError __new__ _path __file__"
                              " __loader__ parent __package__ __spec__ __path__ has_location origin _NamespaceLoader NamespaceLoader cached __cached__ "},
    {"ModuleSpec.__init__", 0, " name loader origin loader_state submodule_search_locations _set_fileattr _cached _uninitialized_submodules "},
    {"_get_module_lock", 0, " _imp acquire_lock _module_locks KeyError _thread _DummyModuleLock _ModuleLock _weakref ref release_lock "},
    {"_lock_unlock_module", 0, " _get_module_lock acquire _DeadlockError release "},
    {"_ModuleLockManager.__enter__", 0, " _get_module_lock _name _lock acquire "},
    {"_ModuleLock.__init__", 0, " _thread allocate_lock RLock lock wakeup name owner count waiters "},
    {"_ModuleLock.acquire", 0, " _thread get_ident _blocking_on _BlockingOnManager lock count owner append has_deadlock _DeadlockError wakeup acquire waiters release "},
    {"_ModuleLock.release", 0, " _thread get_ident lock owner RuntimeError len count pop waiters wakeup release "},
    {"_HierarchicalLockManager.__enter__", OPTIONAL, " _module_chain sys modules get getattr _get_module_lock acquire _DeadlockError _name _locks append reversed"
                                                     " release clear "},
    {"BuiltinImporter.find_spec", 0, " _imp is_builtin spec_from_loader _ORIGIN "},
    {"FrozenImporter.find_spec", 0, " _imp spec_from_loader _ORIGIN is_frozen _call_with_frames_removed find_frozen _resolve_filename type sys implementation"
                                    " loader_state submodule_search_locations insert "},
    {"spec_from_file_location", EXTERNAL, " hasattr get_filename ImportError _os fspath _bootstrap ModuleSpec _set_fileattr _get_supported_file_loaders endswith tuple"
                                          " loader _POPULATE is_package submodule_search_locations _path_split append _path_isabs _path_join getcwd OSError _path_abspath "},
    {"PathFinder.find_spec", EXTERNAL, " sys path _get_spec loader submodule_search_locations origin _NamespacePath NamespacePath "},
    {"PathFinder._get_spec", EXTERNAL, " isinstance str bytes _path_importer_cache find_spec loader submodule_search_locations ImportError extend _bootstrap ModuleSpec"
                                       " hasattr _legacy_get_spec "},
    {"PathFinder._path_importer_cache", EXTERNAL, " _os getcwd FileNotFoundError PermissionError sys path_importer_cache KeyError _path_hooks "},
    {"FileFinder.find_spec", EXTERNAL, " rpartition _path_stat path _os getcwd st_mtime OSError _path_mtime _fill_cache _relax_case _relaxed_path_cache lower _path_cache"
                                       " _path_join _loaders _path_isfile _get_spec _path_isdir ValueError _bootstrap _verbose_message ModuleSpec"
                                       " submodule_search_locations "},
    {"FileFinder._get_spec", EXTERNAL, " spec_from_file_location "},
    {"SourceFileLoader.exec_module", EXTERNAL, " get_code __name__ ImportError _bootstrap _call_with_frames_removed exec __dict__ format "},
    {"SourceFileLoader.get_code", EXTERNAL, " get_filename cache_from_source NotImplementedError path_stats OSError int get_data _classify_pyc memoryview _imp"
                                            " check_hash_based_pycs source_hash _validate_hash_pyc _validate_timestamp_pyc ImportError EOFError _bootstrap"
                                            " _verbose_message _compile_bytecode source_to_code sys dont_write_bytecode _code_to_hash_pyc _code_to_timestamp_pyc"
                                            " len _cache_bytecode _RAW_MAGIC_NUMBER pyc_magic_number_token "},
    {"SourceFileLoader.path_stats", EXTERNAL, " _path_stat st_mtime st_size "},
    {"SourcelessFileLoader.get_code", EXTERNAL, " get_filename get_data _classify_pyc _compile_bytecode memoryview "},
    {"_compile_bytecode", EXTERNAL, " marshal loads isinstance _code_type _bootstrap _verbose_message _imp _fix_co_filename ImportError format "},
};

/* co_names of a function, or of a class's one; NULL (no exception) when there is no such. New reference. */
static PyObject *names_of(const char *function, int external) {
    PyObject *dict = external ? state.external_dict : state.bootstrap_dict, *object, *code, *names;
    const char *dot = strchr(function, '.');
    if (dot) {
        char class_name[40];
        if ((size_t)(dot - function) >= sizeof class_name) return NULL;
        memcpy(class_name, function, (size_t)(dot - function));
        class_name[dot - function] = '\0';
        PyObject *class = PyDict_GetItemString(dict, class_name);
        object = class ? PyObject_GetAttrString(class, dot + 1) : NULL; /* a classmethod comes bound: its __code__ is the function's all the same */
    } else {
        object = py_new_ref(PyDict_GetItemString(dict, function));
    }
    code = object ? PyObject_GetAttr(object, state.n___code__) : NULL;
    names = code ? PyObject_GetAttr(code, state.n_co_names) : NULL;
    PyErr_Clear();
    Py_DecRef(code);
    Py_DecRef(object);
    return names;
}

/* `name`, between spaces, is in `names`. */
static int lists(const char *names, const char *name, size_t length) {
    for (const char *at = names; (at = strstr(at, name)) != NULL; at++)
        if (at[-1] == ' ' && at[length] == ' ') return 1;
    return 0;
}

/* `names`: co_names of the function, NULL when it is not there. */
static int check_form(const struct Known *k, PyObject *names, char why[PYCDS_WHY]) {
    if (!names) {
        if (k->flags & OPTIONAL) return 0;
        snprintf(why, PYCDS_WHY, "importlib's %s is patched", k->function);
        return -1;
    }
    int ok = py_is_tuple(names);
    const char *next = k->names + 1; /* mostly they come in this order */
    for (Py_ssize_t i = 0, count = ok ? PyTuple_Size(names) : 0; ok && i < count; i++) {
        Py_ssize_t length;
        const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GetItem(names, i), &length);
        ok = name != NULL && length > 0;
        if (ok && strncmp(next, name, (size_t)length) == 0 && next[length] == ' ') next += length + 1;
        else ok = ok && lists(k->names, name, (size_t)length);
        if (!ok) snprintf(why, PYCDS_WHY, "importlib's %s uses %s, which no version that we know does", k->function, name ? name : "?");
    }
    PyErr_Clear();
    return ok ? 0 : -1;
}

/* What tells the forms apart: a name that the function uses, or does not use. */
static const struct Sign {
    const char *function, *name;
    int *form, absent; /* the form's value where the name is not used */
} signs[] = {
    {"_find_and_load", "getattr", &state.forms.always_locks, 1},
    {"_find_and_load", "_find_and_load", &state.forms.looks_again, 0},
    {"_find_and_load", "_HierarchicalLockManager", &state.forms.hierarchical_locks, 0},
    {"_find_and_load_unlocked", "get", &state.forms.none_is_missing, 0},
    {"_find_and_load_unlocked", "getattr", &state.forms.waits_for_parent, 0},
    {"_find_and_load_unlocked", "_uninitialized_submodules", &state.forms.tracks_submodules, 0},
    {"_find_and_load_unlocked", "audit", &state.forms.audits, 0},
    {"_find_and_load_unlocked", "_set_lazy_attributes", &state.forms.sets_lazy_attributes, 0},
    {"_find_spec", "list", &state.forms.copies_meta_path, 0},
    {"_init_module_attrs", "__cached__", &state.forms.sets_cached, 0},
    {"PathFinder._get_spec", "bytes", &state.forms.takes_bytes, 0},
};

static void read_signs(const char *function, PyObject *names) {
    for (size_t s = 0; s < sizeof signs / sizeof signs[0]; s++) {
        if (strcmp(signs[s].function, function) != 0) continue;
        int found = 0;
        for (Py_ssize_t i = 0, count = PyTuple_Size(names); !found && i < count; i++) found = PyUnicode_CompareWithASCIIString(PyTuple_GetItem(names, i), signs[s].name) == 0;
        *signs[s].form = found != signs[s].absent;
    }
}

int stock_forms(char why[PYCDS_WHY]) {
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        PyObject *names = names_of(known[i].function, known[i].flags & EXTERNAL);
        const int result = check_form(&known[i], names, why);
        if (result == 0 && names) read_signs(known[i].function, names);
        Py_DecRef(names);
        if (result < 0) return -1;
    }
    const Forms *f = &state.forms;
    if (f->hierarchical_locks) {
        state.hierarchical_lock_manager = need(state.bootstrap_dict, "_HierarchicalLockManager", why);
        if (!state.hierarchical_lock_manager) return -1;
    }
    if (f->sets_lazy_attributes) {
        state.imp_set_lazy_attributes = need(state.imp_dict, "_set_lazy_attributes", why);
        if (!state.imp_set_lazy_attributes) return -1;
    }
    return 0;
}
