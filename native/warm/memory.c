/*
 * Anonymous memory of the parked process is mapped from the image in a restored one:
 * nothing is read at a start but what the program touches. Three things tell the two
 * kinds of memory apart (mm/madvise.c, mm/mremap.c):
 *   - given back (MADV_DONTNEED, MADV_FREE), anonymous memory is zero, which jemalloc
 *     and programs with mmap objects count on; a file's mapping shows the file again;
 *   - some advice is for anonymous memory only (MADV_FREE, MADV_WIPEONFORK: EINVAL);
 *   - a mapping that grows shows the file's next bytes, or ends in SIGBUS.
 * So what is still the image's becomes the process's own memory first. The C library's
 * own calls do not come here: its malloc counts on nothing of what it gave back (calloc
 * clears all that was ever in use: malloc/malloc.c, mp_.sbrk_base + max_system_mem;
 * malloc/arena.c, mprotect_size), nor do its threads' stacks, and src/warm/plan.ts sees
 * to the blocks that realloc moves.
 *
 * Allocators call this under their locks: nothing here allocates by them, waits, or
 * changes errno. Where memory runs out, all stays as it was.
 */
#define _GNU_SOURCE
#include "warm.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../include/pycds_memory.h"
#include "../include/pycds_warm_format.h"

enum { PAGE = PYCDS_WARM_PAGE, FREE = 8, WIPE = 18, DONTNEED_LOCKED = 24, GUARD = 102 };

/* ---- the image's segments that were anonymous ---- */

static const PycdsWarmHeader *image(void) { return park_start() == NULL ? NULL : park_start()->image; }

static const PycdsWarmSegment *segments(const PycdsWarmHeader *header) { return (const PycdsWarmSegment *)(const void *)((const char *)header + header->segments_offset); }

static bool is_ours(const PycdsWarmSegment *one) { return one->kind == PYCDS_SEGMENT_IMAGE && one->file == 1; }

/*
 * A bit for each page of them, in their order: it is known not to be the image's any
 * more. An allocator gives the same pages back again and again, and should not pay for
 * a look into /proc each time. Made at the first need; NULL: none.
 */
static uint64_t *settled;

static uint64_t *settled_bits(const PycdsWarmHeader *header) {
    uint64_t *bits = __atomic_load_n(&settled, __ATOMIC_ACQUIRE);
    if (bits != NULL) return bits;
    uint64_t pages = 0;
    for (uint32_t i = 0; i < header->segment_count; i++)
        if (is_ours(&segments(header)[i])) pages += segments(header)[i].size / PAGE;
    size_t size = (pages / 64 + 1) * sizeof *bits;
    uint64_t *made = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) return NULL;
    if (__atomic_compare_exchange_n(&settled, &bits, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return made;
    munmap(made, size); /* another thread was first */
    return bits;
}

/* Whether pages of a range may be the image's; with `settle`, from now on they are not. */
static bool visit_pages(const PycdsWarmHeader *header, uintptr_t from, uintptr_t to, bool settle) {
    uint64_t *bits = NULL, before = 0;
    for (uint32_t i = 0; i < header->segment_count; i++) {
        const PycdsWarmSegment *one = &segments(header)[i];
        if (!is_ours(one)) continue;
        uintptr_t low = from > one->address ? from : one->address, high = to < one->address + one->size ? to : one->address + one->size;
        if (low < high) {
            if (bits == NULL) bits = settled_bits(header);
            if (bits == NULL && !settle) return true;
            for (uint64_t page = before + (low - one->address) / PAGE; bits != NULL && page < before + (high - one->address) / PAGE; page++) {
                uint64_t bit = UINT64_C(1) << (page % 64);
                if (settle) __atomic_or_fetch(&bits[page / 64], bit, __ATOMIC_RELAXED);
                else if ((__atomic_load_n(&bits[page / 64], __ATOMIC_RELAXED) & bit) == 0) return true;
            }
        }
        before += one->size / PAGE;
    }
    return false;
}

/* ---- /proc/self/maps ---- */

typedef struct Mapping {
    uintptr_t from, to;
    int protection;
    bool is_private;
    uint64_t device, inode; /* the device's two numbers as one */
} Mapping;

typedef struct Maps {
    int file;
    size_t used, size;
    char text[2048];
} Maps;

static int next_character(Maps *maps) {
    if (maps->used == maps->size) {
        ssize_t got;
        do got = read(maps->file, maps->text, sizeof maps->text);
        while (got < 0 && errno == EINTR);
        if (got <= 0) return -1;
        maps->used = 0;
        maps->size = (size_t)got;
    }
    return (unsigned char)maps->text[maps->used++];
}

/* Digits up to what follows them. */
static uint64_t number(Maps *maps, unsigned base) {
    uint64_t value = 0;
    for (int c; (c = next_character(maps)) >= 0;) {
        unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : base;
        if (digit >= base) break;
        value = value * base + digit;
    }
    return value;
}

/* The next line: FROM-TO rwxp OFFSET MAJOR:MINOR INODE … */
static bool next_mapping(Maps *maps, Mapping *into) {
    into->from = number(maps, 16);
    into->to = number(maps, 16);
    into->protection = (next_character(maps) == 'r' ? PROT_READ : 0) | (next_character(maps) == 'w' ? PROT_WRITE : 0) | (next_character(maps) == 'x' ? PROT_EXEC : 0);
    into->is_private = next_character(maps) == 'p';
    (void)next_character(maps);
    (void)number(maps, 16);
    into->device = number(maps, 16) << 32;
    into->device |= number(maps, 16);
    into->inode = number(maps, 10);
    int c; /* a space always follows the inode, and a path may (fs/proc/task_mmu.c, show_vma_header_prefix) */
    do c = next_character(maps);
    while (c >= 0 && c != '\n');
    return c == '\n';
}

/* The image's file, by the mapping of its tables. */
static bool find_image(const PycdsWarmHeader *header, uint64_t *device, uint64_t *inode) {
    static uint64_t known[2]; /* what several threads find is the same */
    if (__atomic_load_n(&known[1], __ATOMIC_ACQUIRE) == 0) {
        Maps maps = {.file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC)};
        Mapping one;
        while (maps.file >= 0 && next_mapping(&maps, &one))
            if (one.from == (uintptr_t)header) {
                __atomic_store_n(&known[0], one.device, __ATOMIC_RELAXED);
                __atomic_store_n(&known[1], one.inode, __ATOMIC_RELEASE);
                break;
            }
        if (maps.file >= 0) close(maps.file);
    }
    *device = known[0];
    *inode = known[1];
    return known[1] != 0;
}

/* ---- what becomes the process's own ---- */

/* Anonymous memory at a place that has other memory: zeros, or the same contents. False: nothing has changed. */
static bool replace(uintptr_t from, uintptr_t to, int protection, bool keep) {
    size_t size = to - from;
    void *place = (void *)from;
    if (!keep) return mmap(place, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == place;
    void *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED) return false;
    bool readable = (protection & PROT_READ) != 0 || mprotect(place, size, PROT_READ) == 0;
    if (readable) memcpy(copy, place, size);
    bool done = readable && mprotect(copy, size, protection) == 0 && (void *)syscall(SYS_mremap, copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place;
    if (!done) {
        if ((protection & PROT_READ) == 0) mprotect(place, size, protection);
        munmap(copy, size);
    }
    return done;
}

/* The parts of a range that were anonymous, with one protection, or each with its own (-1). */
static bool replace_anonymous(const PycdsWarmHeader *header, uintptr_t from, uintptr_t to, int protection, bool keep) {
    bool done = true;
    for (uint32_t i = 0; i < header->segment_count; i++) {
        const PycdsWarmSegment *part = &segments(header)[i];
        if (!is_ours(part)) continue;
        uintptr_t low = from > part->address ? from : part->address, high = to < part->address + part->size ? to : part->address + part->size;
        if (low < high) done = replace(low, high, protection < 0 ? (int)part->protection : protection, keep) && done;
    }
    return done;
}

/*
 * Each part of a range that is still the image's and was anonymous. Where /proc cannot be
 * asked (no descriptor is free), what is not settled is taken for the image's: zeros that
 * are none would be worse.
 */
static void replace_parts(const PycdsWarmHeader *header, uintptr_t from, uintptr_t to, bool keep) {
    uint64_t device, inode;
    bool done = true;
    Maps maps = {.file = find_image(header, &device, &inode) ? open("/proc/self/maps", O_RDONLY | O_CLOEXEC) : -1};
    if (maps.file < 0) {
        done = replace_anonymous(header, from, to, -1, keep);
    } else {
        for (Mapping one; next_mapping(&maps, &one) && one.from < to;) {
            if (one.to <= from || !one.is_private || one.device != device || one.inode != inode) continue;
            done = replace_anonymous(header, one.from > from ? one.from : from, one.to < to ? one.to : to, one.protection, keep) && done;
        }
        close(maps.file);
    }
    if (done) visit_pages(header, from, to, true);
}

/*
 * The whole of a range as one mapping: one of several does not grow or move (EFAULT). Only
 * where all of it is private memory without a file, or the image's, with one protection.
 */
static void replace_whole(const PycdsWarmHeader *header, uintptr_t from, uintptr_t to) {
    uint64_t device, inode;
    Maps maps = {.file = find_image(header, &device, &inode) ? open("/proc/self/maps", O_RDONLY | O_CLOEXEC) : -1};
    if (maps.file < 0) {
        (void)replace_anonymous(header, from, to, -1, true); /* perhaps several mappings: an error then, but no SIGBUS */
        return;
    }
    uintptr_t reached = from;
    int protection = -1;
    bool has_image = false;
    for (Mapping one; reached < to && next_mapping(&maps, &one);) {
        if (one.to <= reached) continue;
        bool is_image = one.device == device && one.inode == inode;
        if (one.from > reached || !one.is_private || (!is_image && one.inode != 0) || (protection >= 0 && one.protection != protection)) break;
        has_image = has_image || is_image;
        protection = one.protection;
        reached = one.to;
    }
    close(maps.file);
    if (reached >= to && has_image && replace(from, to, protection, true)) visit_pages(header, from, to, true);
}

/* ---- before the kernel is asked ---- */

/* The pages that a call is about; false where it is one that the kernel refuses, or nothing of the image's can be meant. */
static bool pages_of(void *at, size_t size, uintptr_t *from, uintptr_t *to) {
    *from = (uintptr_t)at;
    *to = *from + ((size + PAGE - 1) & ~((size_t)PAGE - 1));
    return *from % PAGE == 0 && *to > *from;
}

static void before_advice(void *at, size_t size, int advice) {
    bool gives_back = advice == MADV_DONTNEED || advice == DONTNEED_LOCKED || advice == FREE;
    const PycdsWarmHeader *header = gives_back || advice == WIPE || advice == GUARD ? image() : NULL;
    uintptr_t from, to;
    if (header == NULL || !pages_of(at, size, &from, &to) || !visit_pages(header, from, to, false)) return;
    int error = errno;
    replace_parts(header, from, to, !gives_back);
    errno = error;
}

static void before_move(void *at, size_t size) {
    const PycdsWarmHeader *header = image();
    uintptr_t from, to;
    if (header == NULL || !pages_of(at, size, &from, &to) || !visit_pages(header, from, to, false)) return;
    int error = errno;
    replace_whole(header, from, to);
    errno = error;
}

void memory_begin(void) {
    PycdsMemory *hooks = dlsym(RTLD_DEFAULT, "pycds_launch_memory");
    if (hooks == NULL) return;
    hooks->before_advice = before_advice;
    hooks->before_move = before_move;
}
