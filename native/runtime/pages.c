/*
 * How the memory is laid out: HEAD bytes in small pages, for programs that import
 * little; from there on huge pages, as long as most of the next one will
 * probably be used, else small ones. They begin near the base that the archive asks for, below 2^38,
 * where nothing else is mapped, so that one chunk continues the other; if something is, anywhere.
 *
 * No huge page is a condition: where transparent huge pages are switched off (machine, prctl), where none is
 * free, or the kernel does not know them, the same chunk comes in small pages, only those that are taken. The
 * first chunk that did not become one huge page is the last one that is asked for. Where hardly any is free
 * none is: the kernel would make room for it, moving memory about in the middle of our fault (defrag=madvise,
 * the usual setting), which takes longer than a huge page saves.
 */
#define _GNU_SOURCE
#include "pages.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../include/pycds_format.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* Linux 4.17 */
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

#define HUGE_PAGE (UINT64_C(2) << 20)
#define HEAD (UINT64_C(256) << 10)
#define SMALL_CHUNK HEAD                  /* of address space: pages come as they are taken */
#define POPULATED (UINT64_C(32) << 10)    /* the least that is asked of the kernel in one go */
#define WORTH (HUGE_PAGE / 4 * 3)         /* of a huge page, to be used: the rest of it is memory for nothing */
#define PLENTY 32                         /* huge pages that are free: less, and a fault may have to make one */
#define BUDDYINFO 8192                    /* bytes of it that are looked at: a line of 100 for each zone */

enum { UNDECIDED, WANTED, HAD, UNWANTED };

static uint8_t *next, *ready, *end; /* [next, end) is free, [next, ready) of it has pages */
static int huge;

static uint64_t page_size(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }
static uint8_t *up(uint8_t *at, uint64_t unit) { return at + (unit - (uintptr_t)at % unit) % unit; }
static uint64_t up_size(uint64_t size, uint64_t unit) { return (size + unit - 1) / unit * unit; }

static uint8_t *map_at(uint8_t *where, uint64_t size) {
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (where != NULL ? MAP_FIXED_NOREPLACE : 0);
    uint8_t *got = mmap(where, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (got == MAP_FAILED) return NULL;
    if (where == NULL || got == where) return got;
    munmap(got, size); /* before 4.17 the address is a mere hint */
    return NULL;
}

/* `size` bytes anywhere, at a multiple of `alignment`. */
static uint8_t *map_anywhere(uint64_t size, uint64_t alignment) {
    const uint64_t more = alignment - page_size();
    uint8_t *got = map_at(NULL, size + more);
    if (got == NULL || more == 0) return got;
    uint8_t *const aligned = up(got, alignment), *const behind = got + size + more;
    if (aligned != got) munmap(got, (size_t)(aligned - got));
    if (behind != aligned + size) munmap(aligned + size, (size_t)(behind - aligned) - size);
    return aligned;
}

/* Room for `size` bytes in pages of `alignment`: `where` wanted, so that it continues what is there. What is added, or NULL. */
static uint8_t *add_chunk(uint8_t *where, uint64_t size, uint64_t alignment) {
    const uint64_t left = where == end ? (uint64_t)(end - next) : 0, unit = alignment > SMALL_CHUNK ? alignment : SMALL_CHUNK;
    const uint64_t missing = up_size(size - left, unit);
    uint8_t *chunk = map_at(where, missing);
    if (chunk != NULL) {
        if (chunk != end) next = ready = chunk;
        end = chunk + missing;
        return chunk;
    }
    if ((chunk = map_anywhere(up_size(size, unit), alignment)) == NULL) return NULL;
    next = ready = chunk;
    end = chunk + up_size(size, unit);
    return chunk;
}

/*
 * Are there enough free blocks of a huge page's size? /proc/buddyinfo has a line a zone, `Node 0, zone Normal`, and the number of
 * free blocks of 1, 2, 4, … pages. True, too, where it may not be read.
 */
int pages_huge_are_plenty(void) {
    static const char path[] = "/proc/buddyinfo";
    char text[BUDDYINFO + 1];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd >= 0 ? read(fd, text, BUDDYINFO) : -1;
    if (fd >= 0) close(fd);
    if (n <= 0) return 1;
    text[n] = '\0';
    uint64_t found = 0;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        const char *at = strstr(line, "zone");
        if (at == NULL) break;
        line = at;
        at += strlen("zone");
        at += strspn(at, " ");
        at += strcspn(at, " \n"); /* the zone's name */
        for (uint64_t size = page_size();; size *= 2) {
            char *end_of_number;
            at += strspn(at, " ");
            const unsigned long blocks = strtoul(at, &end_of_number, 10);
            if (end_of_number == at || *at == '\n') break;
            at = end_of_number;
            if (size >= HUGE_PAGE) found += blocks * (size / HUGE_PAGE);
        }
    }
    return found >= PLENTY;
}

/* Asks for one huge page at `chunk`, and decides whether there will be more. */
static void try_huge(uint8_t *chunk) {
    unsigned char there = 0;
    if (madvise(chunk, (size_t)(end - chunk), MADV_HUGEPAGE) == 0) {
        *(volatile uint8_t *)chunk = 0;
        if (mincore(chunk + HUGE_PAGE - page_size(), page_size(), &there) != 0) there = 0;
    }
    huge = there & 1 ? HAD : UNWANTED;
}

/* Makes room for `size` bytes, more than there is. */
static int grow(uint64_t base, uint64_t size, uint64_t expected) {
    if (huge == UNDECIDED) {
        const char *asked = getenv("PYCDS_PAGES");
        huge = asked != NULL && strcasecmp(asked, "small") == 0 ? UNWANTED : WANTED;
    }
    if (end == NULL) {
        uint8_t *const first = up((uint8_t *)(uintptr_t)base, HUGE_PAGE) + HUGE_PAGE; /* NOLINT(performance-no-int-to-ptr): that is what a requested address is */
        next = ready = end = first - HEAD;
        if (size <= HEAD) return add_chunk(end, HEAD, page_size()) != NULL ? 0 : -1;
    }
    const uint64_t missing = size - (uint64_t)(end - next);
    const int worth = expected >= WORTH || missing >= WORTH - expected;
    if (huge == WANTED && worth && !pages_huge_are_plenty()) huge = UNWANTED;
    if (huge == UNWANTED || !worth) return add_chunk(end, size, page_size()) != NULL ? 0 : -1;
    uint8_t *const chunk = add_chunk(up(end, HUGE_PAGE), size, HUGE_PAGE);
    if (chunk == NULL) return -1;
    try_huge(chunk);
    return 0;
}

/* Pages for [ready, until): a call instead of a fault for each; where the kernel has no such call, faults. */
static void populate(uint8_t *until) {
    uint8_t *const page = ready - (uintptr_t)ready % page_size();
    uint64_t size = up_size((uint64_t)(until - page), page_size());
    if (size < POPULATED) size = POPULATED;
    if (size > (uint64_t)(end - page)) size = (uint64_t)(end - page);
    madvise(page, size, MADV_POPULATE_WRITE);
    ready = page + size;
}

uint8_t *pages_take(uint64_t base, uint64_t size, uint64_t expected) {
    if (size > UINT64_MAX / 4) return NULL;
    size = up_size(size, PYCDS_UNIT_ALIGNMENT);
    if (size > (uint64_t)(end - next) && grow(base, size, expected) != 0) return NULL;
    uint8_t *const taken = next;
    next += size;
    if (next > ready) populate(next);
    return taken;
}

void pages_untake(uint8_t *piece) { next = piece; }
