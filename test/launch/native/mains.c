/*
 * Executables with a Python inside, one for each -DMAIN_…: mains that the launcher
 * may replace (one call of Py_BytesMain) and mains that it must leave alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

extern int Py_BytesMain(int argc, char **argv);

#if defined(MAIN_STOCK)
int main(int argc, char **argv) { return Py_BytesMain(argc, argv); }

#elif defined(MAIN_INLINED)
/* As if a link-time optimiser had copied the interpreter's own Py_BytesMain into main. */
struct arguments {
    long argc;
    char **argv;
};
__attribute__((noinline)) static int inner(struct arguments *arguments) {
    int (*next)(int, char **) = NULL;
    *(void **)&next = dlsym(RTLD_NEXT, "Py_BytesMain");
    return next((int)arguments->argc, arguments->argv);
}
static inline __attribute__((always_inline)) int body(int argc, char **argv) {
    struct arguments arguments = {argc, argv};
    return inner(&arguments);
}
__attribute__((visibility("default"))) int Py_BytesMain(int argc, char **argv) { return body(argc, argv); }
int main(int argc, char **argv) { return body(argc, argv); }

#elif defined(MAIN_OTHER_ARGUMENTS)
int main(int argc, char **argv) {
    char *other[] = {argv[0], "-c", "print('its own main')", NULL};
    return argc > 0 ? Py_BytesMain(3, other) : 1;
}

#elif defined(MAIN_BEFORE)
extern int PyImport_AppendInittab(const char *name, void *(*init)(void));
static void *none(void) { return NULL; }
int main(int argc, char **argv) {
    PyImport_AppendInittab("extra", none);
    puts("its own main");
    fflush(stdout);
    return Py_BytesMain(argc, argv);
}

#elif defined(MAIN_OTHER_STATUS)
/* Begins as the stock main does; only what follows the call is different. */
int main(int argc, char **argv) {
    Py_BytesMain(argc, argv);
    return 7;
}

#elif defined(MAIN_AFTER)
int main(int argc, char **argv) {
    int status = Py_BytesMain(argc, argv);
    puts("its own main");
    return status;
}
#endif
