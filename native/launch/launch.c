/* The preloaded library's one hook: what happens between the dynamic linker and main. See launch.h. */
#define _GNU_SOURCE
#include "launch.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "cpython.h"

/*
 * 1 once this process starts the runtime itself; the runtime that a .pth file
 * imports looks it up with dlsym(RTLD_DEFAULT, …) and then leaves activation to us.
 */
__attribute__((visibility("default"))) int pycds_launch_active = 0;

typedef int StartMain(MainFunction *program_main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end);

/* The same symbol, exported: glibc's and musl's start code calls it with the executable's main. */
__attribute__((visibility("default"))) int __libc_start_main(MainFunction *program_main, int argc, char **argv,
                                                             void (*init)(void), void (*fini)(void),
                                                             void (*rtld_fini)(void), void *stack_end);

static MainFunction *stock_main;
static const CPython *python;
static bool take_over;

/* This library's path as the dynamic linker was given it, which is how it stands in LD_PRELOAD. */
static const char *own_path(void) {
    Dl_info info;
    return dladdr(&pycds_launch_active, &info) != 0 && info.dli_fname != NULL ? info.dli_fname : "";
}

static int python_main(int argc, char **argv, char **envp) {
    Wish wish = {0};
    char why[512] = "out of memory";
    bool ready = environ_read(&wish) && environ_restore(own_path());

    if (report_mode() == PYCDS_OFF && wish.warm == NULL) return stock_main(argc, argv, envp);
    const char *runtime = cpython_runtime(python, &wish);
    if (!ready) {
        report_refusal(&wish, runtime, "cannot start the runtime", why, "free some memory");
    } else if (!take_over) {
        report_refusal(&wish, runtime, "cannot stand in for this interpreter", "its main is not the stock one",
                       "use pycds install, or a stock interpreter");
    } else if (!cpython_known(python, why, sizeof why)) {
        report_refusal(&wish, runtime, "cannot stand in for this interpreter", why, "use " LAUNCH_VERSIONS);
    } else if (wish.warm != NULL) {
        if (cpython_load_warm(&wish, why, sizeof why)) return cpython_main(python, &wish, argc, argv);
        report_refusal(&wish, runtime, "cannot build a warm image", why, "use the code archive: pycds run");
    } else if (runtime == NULL) {
        report_refusal(&wish, runtime, "cannot start the runtime", "PYCDS_LAUNCH_RUNTIME, or PYCDS_LAUNCH_RUNTIME_T for free-threaded Python, is empty",
                       "start it with pycds run");
    } else if (!cpython_load(runtime, why, sizeof why)) {
        report_refusal(&wish, runtime, "cannot load the runtime", why, "build it again, or set PYCDS=off");
    } else {
        pycds_launch_active = 1;
        return cpython_main(python, &wish, argc, argv);
    }
    return stock_main(argc, argv, envp);
}

int __libc_start_main(MainFunction *program_main, int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end) {
    StartMain *next = NULL;
    *(void **)&next = dlsym(RTLD_NEXT, "__libc_start_main");
    if (next == NULL) abort(); /* no C library behind us: nothing could start this program */
    limits_restore();

    MainFunction *chosen = program_main;
    if (environ_asks() && (python = cpython_find()) != NULL) {
        bool named = named_like_python();
        take_over = can_prove_main ? main_is_bytes_main(program_main, cpython_bytes_main(python)) : named;
        if (take_over || named) {
            stock_main = program_main;
            chosen = python_main;
        }
    }
    return next(chosen, argc, argv, init, fini, rtld_fini, stack_end);
}
