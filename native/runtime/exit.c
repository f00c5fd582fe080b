/*
 * Exit without teardown, for programs that ask for it: PYCDS_EXIT=fast or
 * pycds.fast_exit(). (docs/fast-exit.md, decision 21)
 *
 * Py_FinalizeEx itself runs, so threads are joined, atexit functions run, the standard
 * streams are flushed and the exit status is found as ever. What it would take
 * apart is taken out of its sight before it gets there: at the start of the
 * collection that precedes finalize_modules (Python/pylifecycle.c) every open file
 * is finalised, all modules but __main__ are given a reference that nobody
 * drops, sys.modules is emptied, and the collector's objects are made permanent.
 *
 *   atexit function (ours)          appends to gc.callbacks; gc is enabled
 *   gc.callbacks: phase "start"     and the interpreter is finalizing: now
 */
#define _GNU_SOURCE
#include "state.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static int armed; /* our function is among atexit's */
static pid_t armed_in;
static int gone;  /* once a process */
static PyObject *kept[3]; /* what must outlive the interpreter: files, modules; never dropped */

/* ---- every open file ----------------------------------------------------------------------- */

/* Is a subclass of io.IOBase; a program has a few hundred types at work, asked for 50,000 objects. */
static int is_file_type(PyObject *type, PyObject *base) {
    static struct {
        PyObject *type;
        int is;
    } seen[256];
    const size_t slot = ((uintptr_t)type >> 4) % (sizeof seen / sizeof seen[0]);
    if (seen[slot].type != type) {
        seen[slot].type = type;
        seen[slot].is = PyType_IsSubtype(type, base);
    }
    return seen[slot].is;
}

/* sys.__stdin__, __stdout__ and __stderr__ with what they are made of are Py_FinalizeEx's own concern. */
static int is_standard(PyObject *file) {
    static const char *const names[] = {"__stdin__", "__stdout__", "__stderr__"};
    static const char *const inner[] = {"buffer", "raw"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        PyObject *stream = py_new_ref(PySys_GetObject(names[i]));
        for (size_t depth = 0; stream; depth++) {
            if (stream == file) {
                Py_DecRef(stream);
                return 1;
            }
            PyObject *next = depth < sizeof inner / sizeof inner[0] ? PyObject_GetAttrString(stream, inner[depth]) : NULL;
            PyErr_Clear();
            Py_DecRef(stream);
            stream = next;
        }
    }
    return 0;
}

/* As the deallocator does (Modules/_io/iobase.c, iobase_finalize): closes, and says what it says there. */
static void finalise(PyObject *file) {
    PyObject *type = py_type(file), *method = PyObject_GetAttrString(type, "__del__");
    PyObject *result = method ? PyObject_CallFunctionObjArgs(method, file, NULL) : NULL;
    if (!result && PyErr_Occurred()) PyErr_WriteUnraisable(method);
    Py_DecRef(result);
    Py_DecRef(method);
}

static int is_file(PyObject *object, void *base) { return is_file_type(py_type(object), base); }

/* The same by gc.get_objects(), which makes a list of everything. */
static void find_all(PyObject *base, PyObject *gc, PyObject *found) {
    PyObject *get_objects = PyObject_GetAttrString(gc, "get_objects");
    for (long generation = 3; get_objects && generation-- > 0;) {
        PyObject *number = PyLong_FromLong(generation), *objects = number ? PyObject_CallFunctionObjArgs(get_objects, number, NULL) : NULL;
        Py_DecRef(number);
        const Py_ssize_t count = objects && py_is_list(objects) ? PyList_Size(objects) : 0;
        for (Py_ssize_t i = 0; i < count; i++)
            if (is_file(PyList_GetItem(objects, i), base)) PyList_Append(found, PyList_GetItem(objects, i));
        PyErr_Clear();
        Py_DecRef(objects);
    }
    Py_DecRef(get_objects);
}

/* All open files, in the order of making as far as the collector's lists tell it. New reference or NULL. */
static PyObject *all_files(PyObject *gc) {
    PyObject *modules = PyImport_GetModuleDict(), *io = modules ? PyDict_GetItemString(modules, "_io") : NULL;
    PyObject *base = io ? PyObject_GetAttrString(io, "_IOBase") : NULL, *found = base ? PyList_New(0) : NULL, *files = found ? PyList_New(0) : NULL;
    if (files && gc_find_objects(is_file, base, found) < 0) {
        PyErr_Clear();
        PyList_SetSlice(found, 0, PyList_Size(found), NULL);
        find_all(base, gc, found);
    }
    for (Py_ssize_t i = 0; files && i < PyList_Size(found); i++)
        if (!is_standard(PyList_GetItem(found, i))) PyList_Append(files, PyList_GetItem(found, i));
    PyErr_Clear();
    Py_DecRef(found);
    Py_DecRef(base);
    return files;
}

/* What each file refers to, itself or by its __dict__: a list of lists. New reference or NULL. */
static PyObject *referents_of(PyObject *files, PyObject *gc) {
    PyObject *get_referents = PyObject_GetAttrString(gc, "get_referents"), *all = get_referents ? PyList_New(0) : NULL;
    for (Py_ssize_t i = 0; all && i < PyList_Size(files); i++) {
        PyObject *direct = PyObject_CallFunctionObjArgs(get_referents, PyList_GetItem(files, i), NULL);
        for (Py_ssize_t k = 0, n = direct ? PyList_Size(direct) : 0; k < n; k++) {
            if (!py_is_dict(PyList_GetItem(direct, k))) continue;
            PyObject *more = PyObject_CallFunctionObjArgs(get_referents, PyList_GetItem(direct, k), NULL);
            if (more) PyList_SetSlice(direct, PyList_Size(direct), PyList_Size(direct), more);
            Py_DecRef(more);
        }
        if (!direct || PyList_Append(all, direct) < 0) {
            Py_DecRef(all);
            all = NULL;
        }
        Py_DecRef(direct);
    }
    Py_DecRef(get_referents);
    return all;
}

/* Adds `by` to what still wraps each file that file `k` refers to; of those that nothing wraps any more, the first, else `none`. */
static Py_ssize_t count_wrapped(PyObject *referents, PyObject *places, Py_ssize_t k, int32_t *wrapped, int32_t by, Py_ssize_t none) {
    PyObject *list = PyList_GetItem(referents, k);
    Py_ssize_t freed = none;
    for (Py_ssize_t i = 0; i < PyList_Size(list); i++) {
        PyObject *address = PyLong_FromVoidPtr(PyList_GetItem(list, i)), *place = address ? PyDict_GetItemWithError(places, address) : NULL;
        const Py_ssize_t at = place ? PyLong_AsSsize_t(place) : k;
        Py_DecRef(address);
        if (at == k) continue;
        wrapped[at] += by;
        if (at < freed && wrapped[at] == 0) freed = at;
    }
    return freed;
}

/* {address: its place in the list}. New reference or NULL. */
static PyObject *places_of(PyObject *files) {
    PyObject *places = PyDict_New();
    for (Py_ssize_t i = 0; places && i < PyList_Size(files); i++) {
        PyObject *address = PyLong_FromVoidPtr(PyList_GetItem(files, i)), *place = PyLong_FromLong((long)i);
        if (!address || !place || PyDict_SetItem(places, address, place) < 0) {
            Py_DecRef(places);
            places = NULL;
        }
        Py_DecRef(address);
        Py_DecRef(place);
    }
    return places;
}

/*
 * A file that wraps another one is finalised first, as reference counts would have it: it may still
 * have something to write. Among others, the older first. (BZ2File is made before the file in it,
 * TextIOWrapper after it.) Without memory for that they are left to stock.
 */
static void finalise_files(PyObject *gc) {
    PyObject *files = kept[0] = all_files(gc); /* finalised once: they must not be deallocated after it */
    const Py_ssize_t count = files ? PyList_Size(files) : 0;
    PyObject *referents = count ? referents_of(files, gc) : NULL, *places = referents ? places_of(files) : NULL;
    int32_t *wrapped = places ? calloc((size_t)count, sizeof *wrapped) : NULL;
    char *done = wrapped ? calloc((size_t)count, 1) : NULL;
    for (Py_ssize_t k = 0; done && k < count; k++) count_wrapped(referents, places, k, wrapped, 1, count);
    Py_ssize_t from = 0; /* what lies before is done, or wrapped by what is not */
    for (Py_ssize_t left = count; done && left > 0; left--) {
        Py_ssize_t chosen = from;
        while (chosen < count && (done[chosen] || wrapped[chosen] > 0)) chosen++;
        from = chosen + 1;
        if (chosen == count) /* in a circle */
            for (chosen = from = 0; done[chosen];) chosen++;
        done[chosen] = 1;
        finalise(PyList_GetItem(files, chosen));
        const Py_ssize_t freed = count_wrapped(referents, places, chosen, wrapped, -1, count);
        if (freed < from) from = freed;
    }
    free(done);
    free(wrapped);
    Py_DecRef(places);
    Py_DecRef(referents);
    PyErr_Clear();
}

/* ---- variables of __main__ --------------------------------------------------------------------- */

/* As finalize_modules_delete_special (Python/pylifecycle.c) does it before anything is cleared: what else would hold variables, or hear what a __del__ prints. */
static void reset_sys(void) {
    static const char *const last[] = {"last_exc", "last_type", "last_value", "last_traceback"};
    static const char *const streams[][2] = {{"stdin", "__stdin__"}, {"stdout", "__stdout__"}, {"stderr", "__stderr__"}};
    for (size_t i = 0; i < sizeof last / sizeof last[0]; i++)
        if (PySys_GetObject(last[i])) PySys_SetObject(last[i], PY_NONE);
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
        PyObject *first = PySys_GetObject(streams[i][1]);
        PySys_SetObject(streams[i][0], first ? first : PY_NONE);
    }
    PyErr_Clear();
}

/* What __del__ methods are made of and call: stays to the last, as do files, which have their own order. */
static int is_program(PyObject *value, PyObject *file_base) {
    PyObject *type = py_type(value);
    return value == PY_NONE || py_is_module(value) || py_is_function(value) || py_is(value, &PyCFunction_Type) || PyType_IsSubtype(type, &PyType_Type) || (file_base && PyType_IsSubtype(type, file_base));
}

/*
 * Objects of __main__ may write to a file when they go (zipfile.ZipFile), so they go before the files
 * do, while modules, classes and functions are there: first those with a __del__ of their own.
 */
static void release_variables(PyObject *gc) {
    PyObject *modules = PyImport_GetModuleDict(), *main = modules && py_is_dict(modules) ? PyDict_GetItemString(modules, "__main__") : NULL;
    PyObject *dict = main && py_is_module(main) ? PyModule_GetDict(main) : NULL, *names = dict ? PyDict_Keys(dict) : NULL;
    PyObject *is_tracked = names ? PyObject_GetAttrString(gc, "is_tracked") : NULL;
    PyObject *io = is_tracked ? PyDict_GetItemString(modules, "_io") : NULL, *file_base = io ? PyObject_GetAttrString(io, "_IOBase") : NULL;
    for (int all = 0; is_tracked && all < 2; all++) {
        for (Py_ssize_t i = 0; i < PyList_Size(names); i++) {
            PyObject *name = PyList_GetItem(names, i), *value = py_is_str(name) ? PyDict_GetItemWithError(dict, name) : NULL;
            if (!value || is_program(value, file_base) || (PyUnicode_GetLength(name) > 1 && PyUnicode_ReadChar(name, 0) == '_' && PyUnicode_ReadChar(name, 1) == '_')) continue;
            PyObject *tracked = all ? PyObject_CallFunctionObjArgs(is_tracked, value, NULL) : NULL;
            if (all ? tracked == PY_TRUE : PyObject_HasAttrString(py_type(value), "__del__")) PyDict_SetItem(dict, name, PY_NONE);
            Py_DecRef(tracked);
            PyErr_Clear();
        }
    }
    PyErr_Clear();
    Py_DecRef(file_base);
    Py_DecRef(is_tracked);
    Py_DecRef(names);
}

/* ---- modules ----------------------------------------------------------------------------------- */

/* What stays in sys.modules for finalize_modules: its own business, and the program's. */
static const char *const torn_down[] = {"sys", "builtins", "__main__"};

static void keep_modules(void) {
    PyObject *modules = PyImport_GetModuleDict();
    if (!modules || !py_is_dict(modules)) return;
    PyObject *stay = PyDict_New(), *copy = PyDict_Copy(modules);
    if (!stay || !copy) {
        Py_DecRef(stay);
        Py_DecRef(copy);
        return;
    }
    for (size_t i = 0; i < sizeof torn_down / sizeof torn_down[0]; i++) {
        PyObject *module = PyDict_GetItemString(modules, torn_down[i]);
        if (module) PyDict_SetItemString(stay, torn_down[i], module);
        if (module && PyDict_GetItemString(copy, torn_down[i])) PyDict_DelItemString(copy, torn_down[i]);
    }
    kept[1] = copy;
    /* A __main__ that dies at once would leave its variables, which its functions refer to, to the collector; kept, it is cleared name by name. */
    kept[2] = py_new_ref(PyDict_GetItemString(modules, "__main__"));
    PyDict_Clear(modules);
    PyDict_Update(modules, stay);
    Py_DecRef(stay);
}

static int is_finalizing(void) {
    PyObject *function = PySys_GetObject("is_finalizing"), *answer = function ? PyObject_CallNoArgs(function) : NULL;
    const int yes = answer == PY_TRUE;
    Py_DecRef(answer);
    return yes;
}

/* gc.callbacks: (phase, info) */
static PyObject *on_collection(PyObject *self, PyObject *args) {
    (void)self;
    PyObject *phase = PyTuple_Size(args) == 2 ? PyTuple_GetItem(args, 0) : NULL;
    if (!gone && phase && py_is_str(phase) && PyUnicode_CompareWithASCIIString(phase, "start") == 0 && is_finalizing()) {
        gone = 1;
        PyObject *gc = PyImport_ImportModule("gc");
        PyObject *freeze = gc ? PyObject_GetAttrString(gc, "freeze") : NULL;
        if (freeze) {
            /* gc.get_objects() does not show what the program has frozen. */
            PyObject *unfreeze = PyObject_GetAttrString(gc, "unfreeze"), *thawed = unfreeze ? PyObject_CallNoArgs(unfreeze) : NULL;
            Py_DecRef(thawed);
            Py_DecRef(unfreeze);
            PyErr_Clear();
            reset_sys();
            release_variables(gc);
            finalise_files(gc);
            keep_modules();
            PyObject *frozen = PyObject_CallNoArgs(freeze);
            Py_DecRef(frozen);
        }
        Py_DecRef(freeze);
        Py_DecRef(gc);
    }
    PyErr_Clear();
    return py_new_ref(PY_NONE);
}

/* ---- arming -------------------------------------------------------------------------------------- */

static PyMethodDef on_collection_def = {"_fast_exit", on_collection, METH_VARARGS, NULL};

/*
 * Other threads, daemons by now, may hold the lock of a file, and never give it back. Asked here: before
 * the last collection Py_FinalizeEx forgets them. (Python/pylifecycle.c, _PyThreadState_DeleteExcept)
 */
static int has_threads(void) {
    PyObject *function = PySys_GetObject("_current_frames"), *frames = function ? PyObject_CallNoArgs(function) : NULL;
    PyObject *own = PyLong_FromUnsignedLong(PyThread_get_thread_ident());
    /* This thread is among them while Python code runs in it, which at this point it need not. */
    const int more = !frames || !own || PyObject_Size(frames) > (PyDict_GetItemWithError(frames, own) != NULL);
    Py_DecRef(own);
    Py_DecRef(frames);
    PyErr_Clear();
    return more;
}

/* Why this process ends as in stock, or NULL. In a fork's child the files of threads that are not in it belong to the parent. */
static const char *stock_reason(void) {
    return getpid() != armed_in ? "exit stock: a fork's child" : has_threads() ? "exit stock: threads are still running" : NULL;
}

/* atexit's: other functions may still run, and collect; only when the interpreter is finalizing is it our turn. */
static PyObject *at_exit(PyObject *self, PyObject *args) {
    (void)self, (void)args;
    const char *reason = stock_reason();
    if (reason) {
        if (log_wanted) log_line("%s", reason);
        return py_new_ref(PY_NONE);
    }
    PyObject *gc = PyImport_ImportModule("gc");
    PyObject *callbacks = gc ? PyObject_GetAttrString(gc, "callbacks") : NULL, *enabled = gc ? PyObject_CallMethodObjArgs(gc, state.n_isenabled, NULL) : NULL;
    PyObject *function = callbacks && py_is_list(callbacks) && enabled == PY_TRUE ? PyCFunction_NewEx(&on_collection_def, NULL, NULL) : NULL;
    if (function) PyList_Append(callbacks, function);
    else if (log_wanted) log_line("exit stock: the program has switched the collector off");
    Py_DecRef(function);
    Py_DecRef(enabled);
    Py_DecRef(callbacks);
    Py_DecRef(gc);
    PyErr_Clear();
    return py_new_ref(PY_NONE);
}

static PyMethodDef at_exit_def = {"_fast_exit", at_exit, METH_NOARGS, NULL};

/* -X dev, -W and PYTHONWARNINGS look for what is left open: they get stock's teardown. */
static int wants_warnings(void) {
    PyObject *flags = PySys_GetObject("flags"), *mode = flags ? PyObject_GetAttrString(flags, "dev_mode") : NULL, *options = PySys_GetObject("warnoptions");
    const int yes = !mode || PyObject_IsTrue(mode) != 0 || !options || PyObject_Size(options) != 0;
    PyErr_Clear();
    Py_DecRef(mode);
    return yes;
}

int exit_arm(void) {
    if (armed) return getpid() == armed_in;
    if (PY_FREE_THREADED || wants_warnings()) return 0;
    PyObject *modules = PyImport_GetModuleDict();
    if (!modules || !py_is_dict(modules)) return 0;
    const int was_there = PyDict_GetItemString(modules, "atexit") != NULL;
    PyObject *atexit = PyImport_ImportModule("atexit"), *function = atexit ? PyCFunction_NewEx(&at_exit_def, NULL, NULL) : NULL;
    PyObject *add = function ? PyObject_GetAttrString(atexit, "register") : NULL, *result = add ? PyObject_CallFunctionObjArgs(add, function, NULL) : NULL;
    armed = result != NULL;
    armed_in = getpid();
    PyErr_Clear();
    /* The program finds sys.modules as it would be; but 3.9's interpreter calls the module without owning it (Modules/atexitmodule.c, pyexitmodule). */
    PyObject *version = PySys_GetObject("hexversion");
    const int may_go = version && PyLong_AsLong(version) >= 0x030a0000;
    if (may_go && !was_there && atexit && PyDict_DelItemString(modules, "atexit") < 0) PyErr_Clear();
    Py_DecRef(result);
    Py_DecRef(add);
    Py_DecRef(function);
    Py_DecRef(atexit);
    return armed;
}

void exit_init(void) {
    const char *wish = getenv("PYCDS_EXIT");
    if (wish && strcasecmp(wish, "fast") == 0 && !exit_arm() && log_wanted) log_line("exit stock: not in this Python");
}
