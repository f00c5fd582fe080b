/*
 * OpenSSL's exit handler, which takes a restored process 1 to 2 ms: it frees thousands
 * of blocks, each in a page that must be copied for that, and the process ends.
 * OpenSSL lets programs do without it (OPENSSL_INIT_NO_ATEXIT). It has an effect of its
 * own only through code that is not OpenSSL's: provider and engine modules, which may
 * have sessions to end. So it is registered as ever, and in a restored process whose
 * end was asked to be fast it is left out unless a library with such a module's entry
 * point is there. In the library for warm images only (pycds_launch_warm.so).
 */
#ifdef PYCDS_LAUNCH_WARM
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef void Handler(void *argument);
typedef int Register(Handler *handler, void *argument, void *library);

static unsigned long long loads_seen; /* how many libraries had been loaded when they were looked at */
static bool has_modules;
static bool leave_out;

static bool is_module(const struct link_map *library) {
    /* OpenSSL 3's providers and the engines of all versions (openssl/core.h, openssl/engine.h) */
    static const char *const entries[] = {"OSSL_provider_init", "bind_engine"};
    void *handle = library->l_name[0] == '\0' ? NULL : dlopen(library->l_name, RTLD_LAZY | RTLD_NOLOAD);
    bool found = false;
    for (size_t i = 0; handle != NULL && !found && i < sizeof entries / sizeof *entries; i++) found = dlsym(handle, entries[i]) != NULL;
    if (handle != NULL) dlclose(handle);
    return found;
}

static int note_loads(struct dl_phdr_info *info, size_t size, void *loads) {
    (void)size;
    *(unsigned long long *)loads = info->dlpi_adds;
    return 1; /* the same for all libraries */
}

/* Looks at all libraries, if any has been loaded since the last call. None is remembered: it may be unloaded meanwhile. */
static void look(void) {
    unsigned long long loads = 0;
    dl_iterate_phdr(note_loads, &loads);
    if (loads == loads_seen) return;
    loads_seen = loads;
    const struct link_map *one = NULL;
    void *program = dlopen(NULL, RTLD_LAZY);
    if (program == NULL || dlinfo(program, RTLD_DI_LINKMAP, &one) != 0) has_modules = true; /* not known */
    for (; one != NULL; one = one->l_next)
        if (is_module(one)) has_modules = true;
    if (program != NULL) dlclose(program);
}

/* Called by native/warm through dlsym: before the process parks, and (`fast`) at a restored one's end. */
__attribute__((visibility("default"))) void pycds_launch_cleanup(int fast) {
    look();
    leave_out = fast && !has_modules;
}

static void clean_up(void *handler) {
    if (leave_out) return;
    void (*openssl_cleanup)(void);
    memcpy(&openssl_cleanup, &handler, sizeof handler);
    openssl_cleanup();
}

/* atexit() of a library is a call of this one (libc_nonshared.a). */
__attribute__((visibility("default"))) int __cxa_atexit(Handler *handler, void *argument, void *library);

int __cxa_atexit(Handler *handler, void *argument, void *library) {
    static Register *next;
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "__cxa_atexit");
    if (next == NULL) return -1;
    void *address;
    memcpy(&address, &handler, sizeof address);
    Dl_info info;
    if (argument == NULL && library != NULL && dladdr(address, &info) != 0 && info.dli_saddr == address && info.dli_sname != NULL && strcmp(info.dli_sname, "OPENSSL_cleanup") == 0)
        return next(clean_up, address, library);
    return next(handler, argument, library);
}
#else
typedef int pycds_no_cleanup; /* ISO C wants a declaration */
#endif
