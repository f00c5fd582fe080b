/*
 * From an initialised Python to the program's end. The steps are those of
 * pymain_run_python (Modules/main.c), through public API, so that no Python frame
 * of ours is below the program's and no private structure is written to. The
 * driver says what to run, as a tuple:
 *   ("code", CODE)          in __main__'s namespace: -c and scripts
 *   ("module", NAME, BOOL)  runpy._run_module_as_main: -m, folders and zip files
 *   ("raise", EXCEPTION)    nothing: compiling failed
 *   ("exit", STATUS)        nothing: the message has been printed
 */
#define _GNU_SOURCE
#include "warm.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "python.h"

static PyObject *driver; /* the driver's namespace */
static bool interrupted;

_Noreturn static void give_up(const char *text) {
    if (PyErr_Occurred() != NULL) PyErr_Print();
    if (text != NULL) warm_refuse(text);
    fflush(NULL);
    _exit(3);
}

/* Calls a function of the driver; a failure is the end while the image is built. */
static PyObject *driver_call(const char *name, PyObject *arguments) {
    PyObject *function = PyDict_GetItemString(driver, name); /* borrowed */
    if (function == NULL || arguments == NULL) return NULL;
    PyObject *result = PyObject_CallObject(function, arguments);
    Py_DecRef(arguments);
    return result;
}

static PyObject *strings(char *const *text, size_t count) {
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        PyObject *one = PyBytes_FromString(text[i]);
        if (one == NULL || PyList_SetItem(list, (Py_ssize_t)i, one) != 0) {
            Py_DecRef(list);
            return NULL;
        }
    }
    return list;
}

/* ---- parking ---- */

/* The parent waits until the command line has read the child's memory and killed it. */
_Noreturn static void wait_for_reader(pid_t child) {
    int status = 0;
    siginfo_t ended = {0};
    if (waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == 0) {
        PyObject *measured = driver_call("measure", Py_BuildValue("()"));
        if (measured == NULL) PyErr_Clear();
        Py_DecRef(measured);
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) give_up("the parked process is lost");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) _exit(0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == WARM_EXIT_THREADS) {
        int ids[64];
        size_t count = park_threads(ids, sizeof ids / sizeof *ids);
        PyObject *list = PyList_New(0);
        for (size_t i = 0; list != NULL && i < count && i < sizeof ids / sizeof *ids; i++) PyList_Append(list, PyLong_FromLong(ids[i]));
        if (driver_call("refuse_threads", Py_BuildValue("(N)", list)) == NULL) give_up("more than one thread runs");
        _exit(3);
    }
    give_up(WIFEXITED(status) && WEXITSTATUS(status) == WARM_EXIT_FAILED ? NULL : "the parked process ended");
}

/*
 * The driver calls it as its last step: everything there is out of the collector's
 * sight, so that a collection touches no page of the image; but __main__ is seen,
 * or its objects' finalizers would not run at the end.
 */
static PyObject *freeze(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    PyObject *main_module = PyImport_AddModule("__main__"); /* borrowed */
    PyObject *names = main_module == NULL ? NULL : PyModule_GetDict(main_module);
    PyObject *gc = names == NULL ? NULL : PyDict_GetItemString(driver, "gc"); /* borrowed */
    if (gc == NULL) return NULL;
    bool was_tracked = PyObject_GC_IsTracked(names) != 0;
    PyObject_GC_UnTrack(main_module);
    PyObject_GC_UnTrack(names);
    PyObject *result = PyObject_CallMethod(gc, "freeze", NULL);
    PyObject_GC_Track(main_module);
    if (was_tracked) PyObject_GC_Track(names);
    return result;
}

/*
 * Since 3.14 the room on the stack limits how deep C code may call itself; CPython looks
 * it up when it makes a thread's state (Python/ceval.c, hardware_stack_limits), and can be
 * told another one from 3.14.1 on. Before, the limit stays that of the building, whose
 * stack a start with a smaller one has room for, too (restorer/map.c).
 */
static void renew_stack_limits(void) {
    int (*set)(void *thread, void *begin, size_t size) = NULL;
    if (!park_stack_differs()) return;
    *(void **)&set = dlsym(RTLD_DEFAULT, "PyUnstable_ThreadState_SetStackProtection");
    pthread_attr_t attributes;
    if (set == NULL || pthread_getattr_np(pthread_self(), &attributes) != 0) return;
    void *begin = NULL;
    size_t size = 0, guard = 0;
    bool known = pthread_attr_getguardsize(&attributes, &guard) == 0 && pthread_attr_getstack(&attributes, &begin, &size) == 0 && size > guard;
    pthread_attr_destroy(&attributes);
    if (known && set(PyThreadState_Get(), (char *)begin + guard, size - guard) != 0) PyErr_Clear();
}

/* native/launch/cleanup.c */
static void tell_cleanup(int fast) {
    void (*tell)(int) = NULL;
    *(void **)&tell = dlsym(RTLD_DEFAULT, "pycds_launch_cleanup");
    if (tell != NULL) tell(fast);
}

/* Forks and parks the child. Returns in restored processes only. NULL with an exception. */
static PyObject *park(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    if (park_start() != NULL) return Py_BuildValue(""); /* restored already: park() is nothing then */
    PyObject *ready = driver_call("before_park", Py_BuildValue("()"));
    if (ready == NULL) give_up(NULL);
    Py_DecRef(ready);
    PyObject *os = PyImport_ImportModule("os");
    if (os == NULL) give_up(NULL);
    /* what C code has buffered would be written again by every start */
    fflush(NULL);
    tell_cleanup(false);
    park_arm();
    PyObject *result = PyObject_CallMethod(os, "fork", NULL);
    if (result == NULL) give_up("fork failed");
    long pid = PyLong_AsLong(result);
    Py_DecRef(result);
    Py_DecRef(os);
    if (pid != 0) wait_for_reader((pid_t)pid);

    renew_stack_limits();
    const WarmStart *start = park_start();
    size_t variables = 0;
    while (start->envp[variables] != NULL) variables++;
    size_t given = start->argc > 0 ? (size_t)start->argc - 1 : 0;
    return driver_call("restored", Py_BuildValue("(NNK)", strings(start->argv + 1, given), strings(start->envp, variables), (unsigned long long)start->ignored));
}

/* Before what may take its time: the program's hooks. */
static PyObject *let_signals_in(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    park_let_signals_in();
    return Py_BuildValue("");
}

/* The program's call: from here on it runs itself. */
static PyObject *park_here(PyObject *self, PyObject *unused) {
    PyObject *result = park(self, unused);
    park_let_signals_in();
    return result;
}

/*
 * (SOURCE, FILE, FLAGS): code of a main module, as stock's start compiles it
 * (Python/pythonrun.c). compile() would make the types of ast first, half a
 * millisecond (Python/Python-ast.c, init_types).
 */
static PyObject *compile_source(PyObject *self, PyObject *arguments) {
    (void)self;
    const char *source = NULL;
    PyObject *file = NULL;
    PyCompilerFlags flags = {0, 0};
    if (!PyArg_ParseTuple(arguments, "yUi", &source, &file, &flags.cf_flags)) return NULL;
    return Py_CompileStringObject(source, file, 257 /* Py_file_input */, &flags, -1);
}

static PyMethodDef own_functions[] = {
    {"compile_source", compile_source, METH_VARARGS, NULL},
    {"park", park_here, METH_NOARGS, NULL},
    {"freeze", freeze, METH_NOARGS, NULL},
    {"let_signals_in", let_signals_in, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

/* ---- running ---- */

/* Python/pythonrun.c, _Py_HandleSystemExit, without the exit. */
static int status_of_system_exit(void) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    PyObject *code = value == NULL ? NULL : PyObject_GetAttrString(value, "code");
    if (code == NULL) {
        PyErr_Clear();
        code = value;
        Py_IncRef(code);
    }
    int status = 0;
    if (code == NULL || code == &_Py_NoneStruct) {
        status = 0;
    } else if (PyObject_IsInstance(code, (PyObject *)&PyLong_Type) == 1) {
        status = (int)PyLong_AsLong(code);
        PyErr_Clear();
    } else {
        PyObject *output = PySys_GetObject("stderr"); /* borrowed */
        fflush(stdout);
        if (output != NULL && output != &_Py_NoneStruct) {
            PyFile_WriteObject(code, output, 1 /* Py_PRINT_RAW */);
            PyErr_Clear();
        } else {
            PyObject *text = PyObject_Str(code);
            const char *utf8 = text == NULL ? NULL : PyUnicode_AsUTF8AndSize(text, NULL);
            if (utf8 != NULL) fputs(utf8, stderr);
            PyErr_Clear();
            Py_DecRef(text);
        }
        PySys_WriteStderr("\n");
        status = 1;
    }
    Py_DecRef(code);
    Py_DecRef(type);
    Py_DecRef(value);
    Py_DecRef(traceback);
    return status;
}

/* Stock exits from within a script's run, so atexit functions still see __main__.__file__; else it is gone by then (Python/pythonrun.c, _PyRun_SimpleFile). */
static void keep_script_names(void) {
    PyObject *state = PyDict_GetItemString(driver, "state"); /* borrowed */
    PyObject *no = PyLong_FromLong(0);
    if (state == NULL || no == NULL || PyDict_SetItemString(state, "script", no) != 0) PyErr_Clear();
    Py_DecRef(no);
}

static int status_of_exception(void) {
    if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
        int status = status_of_system_exit();
        keep_script_names();
        return status;
    }
    interrupted = PyErr_Occurred() == PyExc_KeyboardInterrupt;
    PyErr_Print();
    return 1;
}

/* Runs what the driver said; the program's exit status. */
static int run(PyObject *plan) {
    const char *kind = NULL;
    PyObject *what = NULL, *more = NULL;
    if (!PyArg_ParseTuple(plan, "s|OO", &kind, &what, &more)) return status_of_exception();
    if (strcmp(kind, "exit") == 0) return (int)PyLong_AsLong(what);
    if (strcmp(kind, "raise") == 0) {
        PyErr_SetObject(PyObject_Type(what), what);
        return status_of_exception();
    }

    PyObject *result = NULL;
    if (strcmp(kind, "code") == 0) {
        PyObject *main_module = PyImport_AddModule("__main__"); /* borrowed */
        PyObject *names = main_module == NULL ? NULL : PyModule_GetDict(main_module);
        Py_IncRef(what);
        Py_DecRef(plan);
        if (names != NULL) {
            Py_IncRef(names);
            result = PyEval_EvalCode(what, names, names);
            Py_DecRef(names);
        }
        Py_DecRef(what);
    } else {
        PyObject *runpy = PyImport_ImportModule("runpy");
        PyObject *function = runpy == NULL ? NULL : PyObject_GetAttrString(runpy, "_run_module_as_main");
        if (function != NULL) result = PyObject_CallFunctionObjArgs(function, what, more, NULL);
        Py_DecRef(function);
        Py_DecRef(runpy);
        Py_DecRef(plan);
    }
    if (result == NULL) return status_of_exception();
    Py_DecRef(result);
    return 0;
}

/*
 * As finalization reports it, with the message or else with the object (end.py says
 * which). `items`: (ERROR, OBJECT, MESSAGE) tuples.
 */
static void write_unraisable(PyObject *items) {
    void (*with_message)(const char *format, ...) = NULL;
    *(void **)&with_message = dlsym(RTLD_DEFAULT, "PyErr_FormatUnraisable"); /* since 3.13 */
    for (Py_ssize_t i = 0; items != NULL && i < PyList_Size(items); i++) {
        PyObject *error = NULL, *object = NULL;
        const char *message = NULL;
        if (!PyArg_ParseTuple(PyList_GetItem(items, i), "OOs", &error, &object, &message)) break;
        PyErr_SetObject(PyObject_Type(error), error);
        if (with_message != NULL && *message != '\0') with_message("%s", message);
        else PyErr_WriteUnraisable(object);
    }
}

/* The end that was asked for when the image was built. */
static int end(int status) {
    PyObject *answer = driver_call("finish", Py_BuildValue("(i)", status));
    if (answer == NULL) PyErr_Print();
    const char *mode = NULL;
    PyObject *unraisable = NULL;
    if (answer != NULL && !PyArg_ParseTuple(answer, "siO", &mode, &status, &unraisable)) PyErr_Print();
    write_unraisable(unraisable);
    if (mode == NULL || strcmp(mode, "exact") == 0) {
        if (Py_FinalizeEx() < 0) status = 120; /* as Py_RunMain */
    }
    if (interrupted) {
        /* Modules/main.c, exit_sigint */
        signal(SIGINT, SIG_DFL);
        kill(getpid(), SIGINT);
        status = SIGINT + 128;
    }
    if (mode != NULL && strcmp(mode, "quick") == 0) {
        fflush(NULL);
        _exit(status);
    }
    if (mode != NULL && strcmp(mode, "fast") == 0) tell_cleanup(true);
    return status;
}

/* ---- the driver ---- */

static char *read_file(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (file < 0 || fstat(file, &about) != 0 || about.st_size > 1 << 20) return NULL;
    char *text = malloc((size_t)about.st_size + 1);
    ssize_t size = text == NULL ? -1 : read(file, text, (size_t)about.st_size);
    close(file);
    if (size != about.st_size) return NULL;
    text[size] = '\0';
    return text;
}

static bool load_driver(void) {
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/driver.py", warm_work) >= sizeof path) return false;
    char *source = read_file(path);
    if (source == NULL) return false;
    driver = PyDict_New();
    PyObject *code = driver == NULL ? NULL : Py_CompileString(source, "<pycds warm>", 257 /* Py_file_input */);
    free(source);
    if (code == NULL || PyDict_SetItemString(driver, "__builtins__", PyEval_GetBuiltins()) != 0) return false;
    PyMethodDef *const tables[] = {own_functions, watch_functions(), config_functions(), process_functions()};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        for (PyMethodDef *one = tables[i]; one->ml_name != NULL; one++) {
            PyObject *function = PyCFunction_NewEx(one, NULL, NULL);
            if (function == NULL || PyDict_SetItemString(driver, one->ml_name, function) != 0) return false;
            Py_DecRef(function);
        }
    }
    size_t count = 0;
    while (warm_environment[count] != NULL) count++;
    PyObject *variables = strings(warm_environment, count);
    if (variables == NULL || PyDict_SetItemString(driver, "initial_environment", variables) != 0) return false;
    Py_DecRef(variables);
    warm_forget_environment();
    PyObject *result = PyEval_EvalCode(code, driver, driver);
    Py_DecRef(code);
    Py_DecRef(result);
    return result != NULL;
}

/*
 * Modules/main.c, pymain_run_python: the interpreter's main thread is running its main
 * code, which sys.remote_exec (3.14) and the interpreters modules look at. Exported, and
 * since 3.13 only: as ever, a missing one means that there is nothing to say.
 */
static void set_running_main(bool running) {
    int (*set)(void *interpreter) = NULL;
    void (*unset)(void *interpreter) = NULL;
    *(void **)&set = dlsym(RTLD_DEFAULT, "_PyInterpreterState_SetRunningMain");
    *(void **)&unset = dlsym(RTLD_DEFAULT, "_PyInterpreterState_SetNotRunningMain");
    if (set == NULL || unset == NULL) return;
    if (!running) unset(PyInterpreterState_Get());
    else if (set(PyInterpreterState_Get()) != 0) PyErr_Clear();
}

int pycds_warm_run(void) {
    set_running_main(true);
    config_find();
    watch_begin();
    memory_begin();
    if (!load_driver()) give_up("the driver cannot be loaded");
    /* the interpreter itself: the plan needs this start's arguments, so it is made behind the park. A program: it parks on its way. */
    PyObject *plan = driver_call("prepare", Py_BuildValue("(s)", warm_work));
    if (plan == NULL) give_up(NULL);
    if (plan == &_Py_NoneStruct) {
        Py_DecRef(plan);
        PyObject *done = park(NULL, NULL);
        if (done == NULL) return end(status_of_exception());
        Py_DecRef(done);
        plan = driver_call("plan", Py_BuildValue("()"));
        if (plan == NULL) return end(status_of_exception());
    }
    /* a Ctrl-C that came before is the program's */
    park_let_signals_in();
    int status = run(plan);
    set_running_main(false);
    if (park_start() == NULL) {
        /* its output and its traceback are on the terminal */
        fflush(NULL);
        give_up("the program ended before its mark — let it call pycds.park(), or name what to import with --preload");
    }
    return end(status);
}
