/*
 * Activation, and the extension module `_pycds`.
 *
 * Two ways in: a .pth line imports `_pycds` (installed; the archives are those
 * beside this library, or PYCDSARCHIVE), or native/launch calls
 * pycds_start() before user code runs (`pycds run`, `pycds trace`).
 */
#define _GNU_SOURCE
#include "state.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

State state;

enum Mode { MODE_AUTO, MODE_ON, MODE_OFF };

static enum Mode mode;
static atomic_int started; /* an activation was tried in this process: static state is bound to that interpreter */
static pid_t started_pid; /* a fork's child does not repeat the summary */
static char refusal[PYCDS_WHY]; /* written by activation only */
static atomic_int disabled;     /* by disable() */

static void note_refusal(const char *archive, const char *why) {
    snprintf(refusal, sizeof refusal, "%s", why);
    if (log_wanted) log_line("refused %s: %s", archive ? archive : "-", why);
}

/* A refused archive: under PYCDS=on the process ends here, before user code (an exception in a .pth would not stop Python). */
static int refuse(const char *archive, const char *why) {
    note_refusal(archive, why);
    if (mode == MODE_ON) {
        fprintf(stderr, "pycds: error: archive refused (%s) — %s — rebuild it with `pycds build`, or start with PYCDS=auto\n", archive ? archive : "none", why);
        fflush(stderr);
        _exit(2);
    }
    return -1;
}

static void at_exit(void) {
    pure_stop();
    types_stop();
    if (getpid() != started_pid || state.layer_count == 0 || !log_wanted) return;
    pure_log();
    types_log();
    log_line("summary hit=%lu miss=%lu stale=%lu archive=%s", state.hits, state.misses, state.stales, state.archives);
}

/* ---- importlib's functions, and ours --------------------------------------------- */

static PyMethodDef find_and_load_def = {"_find_and_load", (PyCFunction)(void (*)(void))import_find_and_load, METH_FASTCALL | METH_KEYWORDS, "Find and load the module."};
static PyMethodDef handle_fromlist_def = {"_handle_fromlist", (PyCFunction)(void (*)(void))import_handle_fromlist, METH_FASTCALL | METH_KEYWORDS, "Figure out what __import__ should return."};
static PyMethodDef get_module_lock_def = {"_get_module_lock", locks_get_module_lock, METH_O, "Get or create the module lock for a given module name."};
static PyMethodDef lock_unlock_module_def = {"_lock_unlock_module", locks_lock_unlock_module, METH_O, "Acquires then releases the module lock for a given module name."};

/* What is replaced in _frozen_importlib; _find_and_load last: with it everything begins. */
static const struct Patch {
    const char *name;
    PyMethodDef *def;
    PyObject **ours, **stock;
} patches[] = {
    {"_get_module_lock", &get_module_lock_def, &state.our_get_module_lock, &state.get_module_lock},
    {"_lock_unlock_module", &lock_unlock_module_def, &state.our_lock_unlock_module, &state.lock_unlock_module},
    {"_handle_fromlist", &handle_fromlist_def, &state.our_handle_fromlist, &state.handle_fromlist},
    {"_find_and_load", &find_and_load_def, &state.our_find_and_load, &state.find_and_load},
};
#define PATCH_COUNT (sizeof patches / sizeof patches[0])

/* A stock _find_and_load is a Python function of _frozen_importlib. */
static int importlib_is_stock(char why[PYCDS_WHY]) {
    for (size_t i = 0; i < PATCH_COUNT; i++) {
        if (!guard_is_importlib_function(*patches[i].stock)) {
            snprintf(why, PYCDS_WHY, "importlib's %s is patched", patches[i].name);
            return -1;
        }
    }
    if (!py_is_dict(state.module_locks)) {
        snprintf(why, PYCDS_WHY, "importlib's _module_locks is not a dict");
        return -1;
    }
    return 0;
}

/* python -v. Asked before anything of importlib is held on to: at the end -v tells which modules that keeps alive. */
static int is_verbose(void) {
    PyObject *flags = PySys_GetObject("flags"), *verbose = flags ? PyObject_GetAttrString(flags, "verbose") : NULL;
    int quiet = verbose && PyObject_IsTrue(verbose) == 0;
    Py_DecRef(verbose);
    PyErr_Clear();
    return !quiet;
}

/* Puts our functions into importlib. 0 or -1; on failure nothing is replaced. */
static int patch_importlib(void) {
    PyObject *module_name = PyUnicode_InternFromString("_frozen_importlib");
    size_t done = 0;
    for (; done < PATCH_COUNT; done++) {
        PyObject *function = *patches[done].ours = PyCFunction_NewEx(patches[done].def, NULL, module_name);
        if (!function || PyDict_SetItemString(state.bootstrap_dict, patches[done].name, function) < 0) break;
    }
    Py_DecRef(module_name);
    if (done == PATCH_COUNT) return 0;
    PyErr_Clear();
    while (done-- > 0) PyDict_SetItemString(state.bootstrap_dict, patches[done].name, *patches[done].stock);
    return -1;
}

static void refused(const char *archive, const char *why) { refuse(archive, why); }

/* Everything up to the point of no return may refuse. `archive`: a list, for layers_open. Returns 0 when active. */
static int activate(const char *archive, char separator, const char *trace) {
    char why[PYCDS_WHY] = "";
    if (atomic_exchange(&started, 1)) {
        /* Objects of a finalised interpreter are still in our tables. */
        note_refusal(archive, "already started in this process");
        return -1;
    }
    started_pid = getpid();
    if (py_is_free_threaded() != PY_FREE_THREADED)
        return refuse(archive, PY_FREE_THREADED ? "this runtime library is for free-threaded Python, this one has a GIL; install it again"
                                                : "this runtime library is for Python with a GIL, this one is free-threaded; install it again");
    if (py_init() < 0) return refuse(archive, "unknown object header (a build we do not know)");
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) return refuse(archive, "not the main interpreter");
    if (is_verbose()) return refuse(archive, "python -v prints what stock's finders do");
    if (stock_find(why) < 0 || importlib_is_stock(why) < 0 || stock_forms(why) < 0 || guard_init(why) < 0) return refuse(archive, why);
    if (archive) {
        layers_open(archive, separator, refused);
        if (state.layer_count == 0 && !trace) return -1;
    }
    if (trace && trace_start(trace, why) < 0) {
        fprintf(stderr, "pycds: error: %s\n", why);
        if (state.layer_count == 0) return -1;
    }
    if (Py_AtExit(at_exit) < 0 && log_wanted) log_line("no summary at exit: too many exit functions");
    /* Point of no return: from here on imports go through import.c, and the archive stays mapped for ever. */
    if (patch_importlib() < 0) {
        PyErr_Clear();
        return refuse(archive, "no memory");
    }
    state.active = 1;
    pure_start();
    if (state.layer_count > 0) {
        gc_init();
        arenas_init();
        types_init();
    }
    exit_init();
    return 0;
}

/* ---- the ways in ----------------------------------------------------------------- */

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

static void read_mode(void) {
    const char *value = setting("PYCDS");
    mode = value && strcasecmp(value, "off") == 0 ? MODE_OFF : value && strcasecmp(value, "on") == 0 ? MODE_ON : MODE_AUTO;
    log_init();
}

/* From the .pth: design.md, "Contracts"; the seed's PYCDSMODE names work too. */
static void activate_installed(void) {
    char separator = ':';
    char *installed = NULL;
    const char *archive = setting("PYCDSARCHIVE"), *seed = setting("PYCDSMODE"), *trace = NULL;
    read_mode();
    if (mode == MODE_OFF) {
        note_refusal(archive, "PYCDS=off");
        return;
    }
    if (seed && strcasecmp(seed, "TRACE") == 0) {
        trace = setting("PYCDSLIST");
        archive = NULL;
        if (!trace) {
            fputs("pycds: error: PYCDSMODE=TRACE without PYCDSLIST — set PYCDSLIST to the file to write\n", stderr);
            return;
        }
    } else if (!archive) {
        archive = installed = layers_installed();
        separator = '\n';
    }
    if (archive || trace) activate(archive, separator, trace);
    else if (mode == MODE_ON || seed) refuse(NULL, "no archive: PYCDSARCHIVE is not set and none is installed");
    else snprintf(refusal, sizeof refusal, "no archive");
    free(installed);
}

static PyObject *text_or_none(const char *text) { return text && text[0] ? PyUnicode_FromString(text) : py_new_ref(PY_NONE); }

static int put(PyObject *dict, const char *key, PyObject *value) {
    int result = value ? PyDict_SetItemString(dict, key, value) : -1;
    Py_DecRef(value);
    return result;
}

/*
 * Is the interpreter that asks the one whose imports are ours? Not a
 * sub-interpreter, nor one that was initialised after Py_Finalize: those have
 * an importlib of their own, and objects of the other must not be touched from them.
 */
static int active_here(void) {
    if (!state.active) return 0;
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *module = modules && py_is_dict(modules) ? py_dict_get_string(modules, "_frozen_importlib") : NULL;
    int here = module && py_is_module(module) && PyModule_GetDict(module) == state.bootstrap_dict;
    Py_DecRef(module);
    return here;
}

static PyObject *layer_paths(void) {
    PyObject *list = PyList_New((Py_ssize_t)state.layer_count);
    for (uint32_t i = 0; list && i < state.layer_count; i++) {
        PyObject *path = PyUnicode_DecodeFSDefault(state.layers[i].path);
        if (path && PyList_SetItem(list, (Py_ssize_t)i, path) == 0) continue;
        Py_DecRef(list);
        list = NULL;
    }
    return list;
}

static PyObject *module_status(PyObject *self, PyObject *args) {
    static const char *const modes[] = {"auto", "on", "off"};
    (void)self, (void)args;
    const int here = active_here();
    const char *reason = here && state.layer_count            ? NULL
                         : here && trace_active && !refusal[0] ? "only tracing"
                         : state.active && !here               ? "active in another interpreter of this process"
                         : disabled                            ? "disabled"
                                                               : refusal;
    unsigned long prelinked = 0;
    for (size_t i = 0; i < state.layer_count; i++) prelinked += state.layers[i].prelinked;
    PyObject *dict = PyDict_New();
    if (!dict) return NULL;
    if (put(dict, "active", PyBool_FromLong(here && state.layer_count != 0)) < 0 ||
        put(dict, "mode", PyUnicode_FromString(modes[mode])) < 0 ||
        put(dict, "archive", text_or_none(state.archives)) < 0 ||
        put(dict, "archives", layer_paths()) < 0 ||
        put(dict, "reason", text_or_none(reason)) < 0 ||
        put(dict, "hit", PyLong_FromUnsignedLong(state.hits)) < 0 ||
        put(dict, "miss", PyLong_FromUnsignedLong(state.misses)) < 0 ||
        put(dict, "stale", PyLong_FromUnsignedLong(state.stales)) < 0 ||
        put(dict, "collector", PyUnicode_FromString(here && gc_is_deferred() ? "deferred" : "stock")) < 0 ||
        put(dict, "types", types_status()) < 0 ||
        put(dict, "prelinked", PyLong_FromUnsignedLong(prelinked)) < 0 ||
        put(dict, "tracing", PyBool_FromLong(here && trace_active)) < 0) {
        Py_DecRef(dict);
        return NULL;
    }
    return dict;
}

/* Puts stock's functions back, unless somebody else replaced ours meanwhile. True when imports are stock's from now on. */
static PyObject *module_disable(PyObject *self, PyObject *args) {
    (void)self, (void)args;
    if (!active_here()) return PyBool_FromLong(0);
    /* In one step, as other threads see it: who finds our _get_module_lock in place notes what it loads, and that is handed over. */
    imports_lock();
    int restored = locks_hand_over() < 0 ? -1 : 1;
    for (size_t left = PATCH_COUNT; restored >= 0 && left > 0; left--) {
        const struct Patch *patch = &patches[left - 1];
        PyObject *now = py_dict_get_string(state.bootstrap_dict, patch->name);
        Py_DecRef(now); /* compared only */
        if (now != *patch->ours) restored = 0;
        else if (PyDict_SetItemString(state.bootstrap_dict, patch->name, *patch->stock) < 0) restored = -1;
    }
    imports_unlock();
    if (restored < 0) return NULL;
    pure_stop();
    if (restored) {
        disabled = 1;
        state.active = 0;
        types_off("disabled");
        gc_give_up(); /* within a module's body the threshold is raised */
    }
    return PyBool_FromLong(restored);
}

static PyObject *module_fast_exit(PyObject *self, PyObject *args) {
    (void)self, (void)args;
    return PyBool_FromLong(active_here() && exit_arm());
}

static PyMethodDef methods[] = {
    {"status", module_status, METH_NOARGS, "status() -> dict: active, mode, archive, archives, reason, hit, miss, stale, prelinked, tracing."},
    {"disable", module_disable, METH_NOARGS, "disable() -> bool: stock imports from now on; true if PyCDS was active until now."},
    {"fast_exit", module_fast_exit, METH_NOARGS, "fast_exit() -> bool: this process ends without teardown of its modules; true if so."},
    {NULL, NULL, 0, NULL},
};

int pycds_start(const Request *request) {
    if (request->size < sizeof(Request)) return -1;
    read_mode();
    /* `import pycds` must speak of this copy of the library, not of an installed one that stays passive. */
    PyObject *module = PyImport_AddModule("_pycds");
    if (!module || PyModule_AddFunctions(module, methods) < 0) PyErr_Clear();
    if (mode == MODE_OFF) {
        note_refusal(request->archive, "PYCDS=off");
        return -1;
    }
    return activate(request->archive, ':', request->trace);
}

static int module_exec(PyObject *module) {
    (void)module;
    /* Under `pycds run` the launcher starts the runtime itself, later; one that fell back to stock's main says 0. */
    const int *launched = dlsym(RTLD_DEFAULT, "pycds_launch_active");
    /* Of two interpreters that come here at once (each with a GIL of its own, or without any) the first activates. */
    static atomic_flag activating = ATOMIC_FLAG_INIT;
    if (!started && !(launched && *launched) && !atomic_flag_test_and_set(&activating)) {
        activate_installed();
        atomic_flag_clear(&activating);
    }
    if (PyErr_Occurred()) PyErr_Clear();
    return 0;
}

PYCDS_EXPORT PyObject *PyInit__pycds(void);
PyObject *PyInit__pycds(void) {
    void *def = py_module_def("_pycds", methods, module_exec);
    if (def) return PyModuleDef_Init(def);
    PyErr_SetString(PyExc_ImportError, "pycds: unknown Python version");
    return NULL;
}
