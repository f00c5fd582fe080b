/* CPython's start-up API, found at run time, and a main equal to Py_BytesMain made of it. */
#define _GNU_SOURCE
#include "launch.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpython.h"

/* PyStatus.type in Include/cpython/initconfig.h */
enum { STATUS_OK = 0, STATUS_ERROR = 1, STATUS_EXIT = 2 };

struct CPython {
    const char *(*get_version)(void);
    void (*config_init)(void *config);
    CPyStatus (*config_set_argv)(void *config, ptrdiff_t argc, char *const *argv);
    CPyStatus (*initialize)(const void *config);
    void (*config_clear)(void *config);
    void (*exit_status)(CPyStatus status);
    int (*run_main)(void);
    void *(*error_occurred)(void);
    void (*error_clear)(void);
    void *bytes_main;
};

static struct CPython found;
static int (*runtime_start)(const LaunchRequest *request);
static int (*warm_run)(void);

const CPython *cpython_find(void) {
    const struct {
        const char *name;
        void *into;
    } symbols[] = {
        /* the rarest name first: a shell pays for one failed look-up only */
        {"Py_RunMain", &found.run_main},
        {"Py_BytesMain", &found.bytes_main},
        {"Py_GetVersion", &found.get_version},
        {"PyConfig_InitPythonConfig", &found.config_init},
        {"PyConfig_SetBytesArgv", &found.config_set_argv},
        {"Py_InitializeFromConfig", &found.initialize},
        {"PyConfig_Clear", &found.config_clear},
        {"Py_ExitStatusException", &found.exit_status},
        {"PyErr_Occurred", &found.error_occurred},
        {"PyErr_Clear", &found.error_clear},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *address = dlsym(RTLD_DEFAULT, symbols[i].name);
        if (address == NULL) return NULL;
        memcpy(symbols[i].into, &address, sizeof address);
    }
    return &found;
}

const void *cpython_bytes_main(const CPython *python) { return python->bytes_main; }

bool cpython_known(const CPython *python, char *why, size_t size) {
    char *end;
    const char *version = python->get_version();
    long major = strtol(version, &end, 10);
    long minor = *end == '.' ? strtol(end + 1, NULL, 10) : -1;
    if (major != 3 || minor < LAUNCH_MINOR_FIRST || minor > LAUNCH_MINOR_LAST) {
        snprintf(why, size, "version %.*s is not known to the launcher", (int)strcspn(version, " "), version);
        return false;
    }
    /*
     * PyConfig is opaque to us: only its size matters. InitPythonConfig clears the
     * whole of it (Python/initconfig.c, _PyConfig_InitCompatConfig) and allocates
     * nothing, so what it leaves untouched shows how large this interpreter's is.
     */
    _Alignas(16) unsigned char config[LAUNCH_CONFIG_BUFFER];
    memset(config, 0xa5, sizeof config);
    python->config_init(config);
    size_t used = sizeof config;
    while (used > 0 && config[used - 1] == 0xa5) used--;
    if (used < LAUNCH_CONFIG_LEAST || used > LAUNCH_CONFIG_MOST) {
        snprintf(why, size, "its PyConfig has %zu bytes, %d to %d expected", used, LAUNCH_CONFIG_LEAST, LAUNCH_CONFIG_MOST);
        return false;
    }
    return true;
}

/* sys.version of free-threaded builds says so (Python/getversion.c, Include/patchlevel.h). */
const char *cpython_runtime(const CPython *python, const Wish *wish) {
    return strstr(python->get_version(), "free-threading") != NULL ? wish->free_threaded : wish->runtime;
}

bool cpython_load(const char *runtime, char *why, size_t size) {
    void *library = dlopen(runtime, RTLD_NOW | RTLD_LOCAL);
    void *start = library == NULL ? NULL : dlsym(library, "pycds_start");
    if (start == NULL) {
        const char *reason = dlerror();
        snprintf(why, size, "%s", reason == NULL ? "it has no pycds_start" : reason);
        if (library != NULL) dlclose(library);
        return false;
    }
    memcpy(&runtime_start, &start, sizeof start);
    return true;
}

bool cpython_load_warm(const Wish *wish, char *why, size_t size) {
    const char *(*begin)(const char *) = NULL;
    void *library = dlopen(wish->warm, RTLD_NOW | RTLD_LOCAL);
    if (library != NULL) {
        *(void **)&begin = dlsym(library, "pycds_warm_begin");
        *(void **)&warm_run = dlsym(library, "pycds_warm_run");
    }
    if (begin == NULL || warm_run == NULL) {
        const char *reason = dlerror();
        snprintf(why, size, "%s", reason == NULL ? "it is not the right library" : reason);
        return false;
    }
    const char *reason = begin(wish->work);
    if (reason != NULL) snprintf(why, size, "%s", reason);
    return reason == NULL;
}

/* Modules/main.c, pymain_init: the same steps through the public API. Apart, so that its buffer is gone while the program runs. */
__attribute__((noinline)) static CPyStatus initialize(const CPython *python, int argc, char **argv) {
    _Alignas(16) unsigned char config[LAUNCH_CONFIG_BUFFER] = {0};
    python->config_init(config);
    /* pre-initialises too, from argv and the environment, as pymain_init does first */
    CPyStatus status = python->config_set_argv(config, argc, argv);
    if (status.type == STATUS_OK) status = python->initialize(config);
    python->config_clear(config);
    return status;
}

/* Modules/main.c, pymain_main. */
int cpython_main(const CPython *python, const Wish *wish, int argc, char **argv) {
    CPyStatus status = initialize(python, argc, argv);
    if (status.type == STATUS_EXIT) return status.exitcode; /* --version, --help */
    if (status.type != STATUS_OK) python->exit_status(status);

    if (warm_run != NULL) return warm_run();
    LaunchRequest request = {sizeof request, wish->archive, wish->trace};
    runtime_start(&request);
    /* whatever went wrong in there is no concern of the program's */
    if (python->error_occurred() != NULL) python->error_clear();
    return python->run_main();
}
