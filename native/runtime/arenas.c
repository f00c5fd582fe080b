/*
 * Memory for what imports make, in huge pages.
 *
 * CPython's allocator takes memory in arenas of 1 MiB (256 KiB in 3.9), which come in by a page fault for every 4 KiB:
 * a tenth of an archived import's time is spent in them. While imports are running, arenas are parts of regions that are
 * as large as a huge page, lie as one must lie, and ask for one: one fault, and fewer misses of the TLB, as much in the
 * collections at the end. Where the kernel has none to give it gives small pages, as ever; where few are free none is asked for (pages.c).
 *
 * The allocator of arenas is a setting that the C API has for it (PyObject_SetArenaAllocator: exported by all, not in the
 * stable ABI). What is not asked for by an import goes to the one that was there before, so a program's own growth, and what
 * of that is given back, is stock's. Arenas are taken and given back under the GIL of the main interpreter, the only one
 * whose imports are ours; others only compare their arenas' addresses with the regions'.
 */
#define _GNU_SOURCE
#include "pages.h"
#include "state.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20) /* x86-64, and aarch64 with pages of 4 KiB; elsewhere the kernel gives small ones */
#define REGIONS_MAX 64

/* Include/cpython/objimpl.h, PyObjectArenaAllocator: the same since 3.4. */
typedef struct Allocator {
    void *context;
    void *(*allocate)(void *context, size_t size);
    void (*release)(void *context, void *arena, size_t size);
} Allocator;

static Allocator stock;
static struct {
    _Atomic(char *) begin; /* NULL: none here */
    uint32_t used;         /* a bit for each arena of it */
} regions[REGIONS_MAX];

static char *map_region(void) {
    const int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;
    char *at = mmap(NULL, HUGE_PAGE, protection, flags, -1, 0); /* Linux 6.7 places it well by itself */
    if (at != MAP_FAILED && (uintptr_t)at % HUGE_PAGE != 0) {
        munmap(at, HUGE_PAGE);
        at = mmap(NULL, 2 * HUGE_PAGE, protection, flags, -1, 0);
        if (at != MAP_FAILED) {
            const size_t before = HUGE_PAGE - (uintptr_t)at % HUGE_PAGE, after = HUGE_PAGE - before; /* a multiple: the region's second half is cut off */
            munmap(at, before);
            if (after > 0) munmap(at + before + HUGE_PAGE, after);
            at += before;
        }
    }
    if (at == MAP_FAILED) return NULL;
    madvise(at, HUGE_PAGE, MADV_HUGEPAGE);
    return at;
}

static void *take(size_t size) {
    const uint32_t all = (uint32_t)((UINT64_C(1) << (HUGE_PAGE / size)) - 1);
    size_t i = 0;
    while (i < REGIONS_MAX && (regions[i].begin == NULL || regions[i].used == all)) i++;
    if (i == REGIONS_MAX) {
        for (i = 0; i < REGIONS_MAX && regions[i].begin != NULL;) i++;
        char *begin = i < REGIONS_MAX && pages_huge_are_plenty() ? map_region() : NULL;
        if (begin == NULL) return NULL;
        regions[i].used = 0;
        regions[i].begin = begin;
    }
    uint32_t part = 0;
    while (regions[i].used & UINT32_C(1) << part) part++;
    regions[i].used |= UINT32_C(1) << part;
    return regions[i].begin + part * size;
}

static void *allocate(void *context, size_t size) {
    (void)context;
    const int error = errno;
    const int fits = size > 0 && HUGE_PAGE % size == 0 && HUGE_PAGE / size > 1 && HUGE_PAGE / size <= 32;
    void *arena = fits && import_running() ? take(size) : NULL;
    errno = error;
    return arena != NULL ? arena : stock.allocate(stock.context, size);
}

static void release(void *context, void *arena, size_t size) {
    (void)context;
    const uintptr_t address = (uintptr_t)arena;
    for (size_t i = 0; i < REGIONS_MAX; i++) {
        char *begin = regions[i].begin;
        if (begin == NULL || address - (uintptr_t)begin >= HUGE_PAGE) continue;
        regions[i].used &= ~(UINT32_C(1) << (address - (uintptr_t)begin) / size);
        if (regions[i].used != 0) {
            madvise(arena, size, MADV_DONTNEED); /* its place is for the next one */
        } else {
            regions[i].begin = NULL;
            munmap(begin, HUGE_PAGE);
        }
        return;
    }
    stock.release(stock.context, arena, size);
}

void arenas_init(void) {
    const char *wish = getenv("PYCDS_ARENAS"), *pages = getenv("PYCDS_PAGES");
    void (*get)(Allocator *), (*set)(Allocator *);
    void *const get_address = dlsym(RTLD_DEFAULT, "PyObject_GetArenaAllocator"), *const set_address = dlsym(RTLD_DEFAULT, "PyObject_SetArenaAllocator");
    Allocator ours = {NULL, allocate, release};
    if (PY_FREE_THREADED || stock.allocate != NULL || !get_address || !set_address || (wish && strcmp(wish, "stock") == 0) || (pages && strcasecmp(pages, "small") == 0)) return;
    memcpy(&get, &get_address, sizeof get);
    memcpy(&set, &set_address, sizeof set);
    get(&stock);
    if (stock.allocate != NULL && stock.release != NULL) set(&ours);
}
