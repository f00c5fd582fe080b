/*
 * madvise and mremap of a program that becomes a warm image, and of all its libraries,
 * come here: native/warm/memory.c says why. In the library for warm images only
 * (pycds_launch_warm.so). The C library's own calls do not come here; nor would those
 * of a program without it.
 */
#ifdef PYCDS_LAUNCH_WARM
#define _GNU_SOURCE
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../include/pycds_memory.h"

/* Filled in by native/warm, which finds it through dlsym. */
__attribute__((visibility("default"))) PycdsMemory pycds_launch_memory;

/* The kernel is called at once: dlsym, which would find the C library's wrapper, may allocate, and the callers are allocators. */
__attribute__((visibility("default"))) int madvise(void *at, size_t size, int advice) {
    if (pycds_launch_memory.before_advice != NULL) pycds_launch_memory.before_advice(at, size, advice);
    return (int)syscall(SYS_madvise, at, size, advice);
}

__attribute__((visibility("default"))) void *mremap(void *at, size_t size, size_t new_size, int flags, ...) {
    void *to = NULL;
    if ((flags & (MREMAP_FIXED | 4 /* MREMAP_DONTUNMAP */)) != 0) {
        va_list more;
        va_start(more, flags);
        to = va_arg(more, void *);
        va_end(more);
    }
    if (pycds_launch_memory.before_move != NULL) pycds_launch_memory.before_move(at, size);
    return (void *)syscall(SYS_mremap, at, size, new_size, flags, to); /* -1 is MAP_FAILED */
}
#else
typedef int pycds_no_memory; /* ISO C wants a declaration */
#endif
