#define _GNU_SOURCE
#include "reads.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../native/runtime/pages.h"
#include "bytes.h"
#include "walk.h"

/* ---- what the kernel answers -------------------------------------------------------- */

static int no_nowait, shortened, interrupt, fail; /* how reads behave from now on */
static uint64_t largest;                          /* bytes asked for in one go */
static unsigned answered_by_nowait, answered_by_pread;

ssize_t __real_pread(int fd, void *to, size_t size, off_t at);
ssize_t __wrap_pread(int fd, void *to, size_t size, off_t at);
ssize_t __wrap_pread(int fd, void *to, size_t size, off_t at) {
    if (size > largest) largest = size;
    errno = interrupt ? EINTR : EIO;
    if (interrupt || fail) return interrupt = 0, -1;
    answered_by_pread++;
    return __real_pread(fd, to, shortened && size > 1000 ? 1000 : size, at);
}

ssize_t __real_preadv2(int fd, const struct iovec *to, int count, off_t at, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *to, int count, off_t at, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *to, int count, off_t at, int flags) {
    if (to->iov_len > largest) largest = to->iov_len;
    errno = no_nowait ? EOPNOTSUPP : EAGAIN;
    if (no_nowait || fail || interrupt) return -1;
    if (!shortened) answered_by_nowait++;
    return __real_preadv2(fd, shortened ? &(struct iovec){to->iov_base, to->iov_len / 2} : to, count, at, flags);
}

static unsigned asked; /* for huge pages */

int __real_madvise(void *at, size_t size, int advice);
int __wrap_madvise(void *at, size_t size, int advice);
int __wrap_madvise(void *at, size_t size, int advice) {
    asked += advice == MADV_HUGEPAGE;
    return __real_madvise(at, size, advice);
}

/* What /proc/buddyinfo says; NULL: what it has. "": it cannot be opened. */
static const char *buddyinfo;

int __real_open(const char *path, int flags, mode_t mode);
int __wrap_open(const char *path, int flags, mode_t mode);
int __wrap_open(const char *path, int flags, mode_t mode) {
    if (buddyinfo == NULL || strcmp(path, "/proc/buddyinfo") != 0) return __real_open(path, flags, mode);
    errno = EACCES;
    if (buddyinfo[0] == '\0') return -1;
    const int fd = memfd_create("buddyinfo", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, buddyinfo, strlen(buddyinfo)) == (ssize_t)strlen(buddyinfo) && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static unsigned advised; /* reads ahead */

int __real_posix_fadvise(int fd, off_t at, off_t size, int advice);
int __wrap_posix_fadvise(int fd, off_t at, off_t size, int advice);
int __wrap_posix_fadvise(int fd, off_t at, off_t size, int advice) {
    advised++;
    return __real_posix_fadvise(fd, at, size, advice);
}

/* ---- units ---------------------------------------------------------------------------- */

static void opened(const char *path, Archive *a) { CHECK(archive_open(path, a, why) == 0); }

static unsigned read_units(const Archive *a) {
    unsigned n = 0;
    for (uint32_t i = 0; i < a->unit_count; i++) n += a->unit_base[i] != NULL;
    return n;
}

void reads_steps(char **arguments, int count) {
    Archive a;
    opened(arguments[0], &a);
    for (int i = 1; i < count; i++) {
        const uint32_t unit = (uint32_t)strtoul(arguments[i], NULL, 10);
        const unsigned before = read_units(&a);
        largest = 0;
        uint8_t **const bases = malloc(a.unit_count * sizeof *bases);
        CHECK(bases != NULL);
        memcpy(bases, a.unit_base, a.unit_count * sizeof *bases);
        CHECK(archive_unit(&a, unit, why) != NULL);
        /* What was read stays where it is: it may be relocated by now. */
        for (uint32_t each = 0; each < a.unit_count; each++) CHECK(bases[each] == NULL || bases[each] == a.unit_base[each]);
        free(bases);
        printf("%" PRIu32 ": units=%u bytes=%" PRIu64 "\n", unit, read_units(&a) - before, largest);
    }
}

void reads_load(const char *path, const char *how) {
    Archive a;
    Loads loads = {0, 0};
    opened(path, &a);
    no_nowait = strcmp(how, "unknown") == 0;
    shortened = strcmp(how, "short") == 0;
    interrupt = strcmp(how, "interrupted") == 0;
    fail = strcmp(how, "failing") == 0;
    CHECK(no_nowait + shortened + interrupt + fail == (strcmp(how, "plain") != 0));
    if (fail) {
        CHECK(externals_init(&a) == 0 && unit_code(&a, 0, PyUnicode_FromOrdinal('f'), why) == NULL && PyErr_Occurred() == NULL);
        CHECK(a.unit_state[0] == UNIT_NEW && a.unit_base[0] == NULL);
        printf("%s\n", why);
        fail = 0;
    }
    load_all(&a, &loads, 0);
    printf("loaded=%u refused=%u nowait=%d pread=%d advised=%d\n", loads.loaded, loads.refused, answered_by_nowait > 0, answered_by_pread > 0, advised > 0);
}

void reads_replaced(const char *path, const char *scratch, const char *how) {
    char other[4096];
    Archive a;
    Loads loads = {0, 0};
    Bytes file = read_file(path);
    write_file(scratch, file);
    opened(scratch, &a);
    load_units(&a, 0, 1, &loads, 0);
    CHECK(loads.loaded == 1);
    if (strcmp(how, "renamed") == 0) {
        CHECK(snprintf(other, sizeof other, "%s.new", scratch) < (int)sizeof other);
        memset(file.at, 0x5a, file.size); /* as long as the first one, and no archive */
        write_file(other, file);
        CHECK(rename(other, scratch) == 0);
    } else {
        CHECK(strcmp(how, "unlinked") == 0 && unlink(scratch) == 0);
    }
    const unsigned before = answered_by_nowait + answered_by_pread;
    load_all(&a, &loads, 0);
    printf("loaded=%u refused=%u read=%u\n", loads.loaded, loads.refused, answered_by_nowait + answered_by_pread - before);
}

/* Address space that this process has, from /proc/self/statm. */
static uint64_t address_space(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    CHECK(file != NULL && fscanf(file, "%lu", &pages) == 1 && fclose(file) == 0);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* No more address space than there is (and half of what pages_take asks for at least); or as much as there was. */
static void limit_memory(int on) {
    static struct rlimit was;
    if (on) CHECK(getrlimit(RLIMIT_AS, &was) == 0);
    const struct rlimit now = {address_space() + (64 << 10), was.rlim_max};
    CHECK(setrlimit(RLIMIT_AS, on ? &now : &was) == 0);
}

void reads_limit(const char *path) {
    Archive a;
    opened(path, &a);
    CHECK(externals_init(&a) == 0);
    PyObject *filename = PyUnicode_FromOrdinal('f');
    limit_memory(1);
    CHECK(unit_code(&a, 0, filename, why) == NULL && PyErr_Occurred() == NULL && a.unit_state[0] == UNIT_NEW);
    limit_memory(0);
    puts(why);
    CHECK(unit_code(&a, 0, filename, why) != NULL);
}

/* ---- memory --------------------------------------------------------------------------- */

#define PIECE (UINT64_C(100) << 10)
#define BASE (UINT64_C(5) << 32)
/* Free blocks of 1, 2, …, 512, 1024 pages: huge pages are 1 + huge + 2 * twice, so 30 with 5 and 12, 32 with 7 and 12. */
#define FREE_BLOCKS(huge, twice)                                                                         \
    "Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      0 \n" \
    "Node 0, zone   Normal  91099  99999  99999  99999  99999  99999  99999  99999  99999      " huge "      " twice " \n"

/* KiB of one line of smaps, added up over all mappings that reach into [begin, end). */
static unsigned long smaps(const char *field, const uint8_t *begin, const uint8_t *end) {
    char line[512];
    unsigned long sum = 0, value, from, to;
    int ours = 0;
    FILE *file = fopen("/proc/self/smaps", "re");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) ours = from < (uintptr_t)end && to > (uintptr_t)begin;
        else if (ours && strncmp(line, field, strlen(field)) == 0 && sscanf(line + strlen(field), ": %lu kB", &value) == 1) sum += value;
    }
    CHECK(fclose(file) == 0);
    return sum;
}

void reads_memory(const char *how) {
    uint8_t *first = NULL, *last = NULL, *before = NULL;
    int joined = 1;
    if (strcmp(how, "prctl") == 0) CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0);
    if (strcmp(how, "few") == 0) buddyinfo = FREE_BLOCKS("5", "12");
    if (strcmp(how, "enough") == 0) buddyinfo = FREE_BLOCKS("7", "12");
    if (strcmp(how, "unreadable") == 0) buddyinfo = "";
    if (strcmp(how, "taken") == 0) CHECK(mmap((void *)(uintptr_t)BASE, 64 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0) == (void *)(uintptr_t)BASE);
    if (strcmp(how, "split") == 0) CHECK(mmap((void *)(uintptr_t)(BASE + (4 << 20)), 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != MAP_FAILED);
    /* 50 pieces, 5 MiB, and what a program says that goes on importing. `little`: the end is in sight; `late`: at first it is. */
    const int count = strcmp(how, "little") == 0 ? 4 : 50;
    for (int i = 0; i < count; i++) {
        uint8_t *piece = pages_take(BASE, PIECE, strcmp(how, "little") == 0 || (strcmp(how, "late") == 0 && i < 4) ? 0 : 50 * PIECE);
        CHECK(piece != NULL && (uintptr_t)piece % PYCDS_UNIT_ALIGNMENT == 0);
        for (uint64_t at = 0; at < PIECE; at++) CHECK(piece[at] == 0);
        memset(piece, i + 1, PIECE);
        if (before != NULL && piece != before + PIECE) joined = 0;
        if (first == NULL || piece < first) first = piece;
        if (last == NULL || piece > last) last = piece;
        before = piece;
    }
    printf("near=%d joined=%d asked=%u huge=%lu rss=%lu\n", (uintptr_t)first >= BASE && (uintptr_t)first < BASE + (4 << 20), joined, asked, smaps("AnonHugePages", first, last + PIECE),
           smaps("Rss", first, last + PIECE));
    pages_untake(before);
    CHECK(pages_take(BASE, PIECE, 0) == before);
    limit_memory(1);
    CHECK(pages_take(BASE, UINT64_C(8) << 20, 0) == NULL && pages_take(BASE, UINT64_MAX, 0) == NULL);
    limit_memory(0);
    CHECK(pages_take(BASE, UINT64_C(8) << 20, 0) != NULL);
}
