/*
 * Which environment variables C code reads while a warm image is built: an image
 * depends on them, and nobody else tells. In the library for warm images only
 * (pycds_launch_warm.so), where the program's and every library's calls of getenv
 * and secure_getenv come here; the C library's own (locale, TZ) do not.
 */
#ifdef PYCDS_LAUNCH_WARM
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../include/pycds_reads.h"

/* Read by native/warm through dlsym. */
__attribute__((visibility("default"))) PycdsReads pycds_launch_reads;

typedef char *Getenv(const char *name);

/* Without a lock: at worst two threads note a name twice. */
static void note(const char *name) {
    size_t length = strlen(name);
    uint32_t count = __atomic_load_n(&pycds_launch_reads.count, __ATOMIC_ACQUIRE);
    if (pycds_launch_reads.closed || length >= sizeof pycds_launch_reads.names[0] || count >= PYCDS_READS) return;
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(pycds_launch_reads.names[i], name) == 0) return;
    memcpy(pycds_launch_reads.names[count], name, length + 1);
    __atomic_store_n(&pycds_launch_reads.count, count + 1, __ATOMIC_RELEASE);
}

static char *ask(Getenv **next, const char *function, const char *name) {
    if (name != NULL) note(name);
    if (*next == NULL) *(void **)next = dlsym(RTLD_NEXT, function);
    return *next == NULL ? NULL : (*next)(name);
}

__attribute__((visibility("default"))) char *getenv(const char *name) {
    static Getenv *next;
    return ask(&next, "getenv", name);
}

__attribute__((visibility("default"))) char *secure_getenv(const char *name) {
    static Getenv *next;
    return ask(&next, "secure_getenv", name);
}
#else
typedef int pycds_no_getenv; /* ISO C wants a declaration */
#endif
