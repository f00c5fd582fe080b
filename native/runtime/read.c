/*
 * Reads units and name blocks into memory of their own (pages.c).
 *
 * The file is opened again by its name for that, by read() and not through the mapping: a
 * file that was cut is an answer then and no SIGBUS, and no page of it is mapped that is
 * looked at once. No descriptor stays open: programs close, count and reuse
 * them. Where the name stands for another file by now (archives are
 * replaced by rename), or may not be opened any more, the mapping has the bytes.
 *
 * Traced units are used about in the order in which they lie, so the hot part is read in steps,
 * which grow while that holds. A unit elsewhere (a run that imports only some of what was traced, what was loaded
 * before we came) begins anew there. A page too many costs as much as one that is needed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "pages.h"
#include "tables.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

#define STEP_FIRST (UINT64_C(32) << 10)
#define STEP (UINT64_C(512) << 10) /* a core's cache should hold it until it is digested and relocated */
#define PURES_ALONE 4
#define NAMES_AHEAD (UINT64_C(1) << 20)

static const char cut[] = "the archive file was cut";

/* ---- the file's bytes ------------------------------------------------------------- */

/*
 * Kernels without MADV_POPULATE_READ: pages come by fault, and a cut file
 * would be SIGBUS. The name is looked at again instead. It may be another file
 * by now (archives are replaced by rename), or none: ours then lives on
 * unchanged, and only a smaller one costs us a unit that could have been used.
 */
static int file_still_whole(const Archive *a) {
    struct stat st;
    return stat(a->path, &st) != 0 || (uint64_t)st.st_size >= a->map_size;
}

/* Faults [begin, begin + size) of the mapping in, for reading. -1: the file behind it was cut. */
static int populate_read(const Archive *a, const uint8_t *begin, uint64_t size) {
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), before = (uint64_t)(uintptr_t)begin % page;
    if (madvise((void *)(uintptr_t)(begin - before), size + before, MADV_POPULATE_READ) == 0) return 0;
    if (errno == EFAULT || errno == EHWPOISON) return -1;
    /* ENOMEM, EAGAIN: the pages that are touched will come, or not, as for any file. */
    return errno != EINVAL || file_still_whole(a) ? 0 : -1;
}

/* The archive's file, opened anew; -1: it is another one now, or cannot be opened. */
static int reopen(const Archive *a) {
    struct stat st;
    const int fd = open(a->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || (fstat(fd, &st) == 0 && st.st_dev == a->device && st.st_ino == a->inode)) return fd;
    close(fd);
    return -1;
}

/* Reads [at, at + size) of the file. Bytes that were read, fewer at its end; -1 with errno. */
static int64_t read_at(Archive *a, int fd, uint64_t at, uint64_t size, uint64_t ahead, uint8_t *to) {
    struct iovec whole = {to, size};
    ssize_t n = preadv2(fd, &whole, 1, (off_t)at, RWF_NOWAIT);
    uint64_t done = n > 0 ? (uint64_t)n : 0;
    if (done == size) return (int64_t)size;
    /* Not in the page cache, or nobody knows: asked for in one go, with what will be read next. */
    if (at < a->asked_from || at + size > a->asked) {
        posix_fadvise(fd, (off_t)at, (off_t)(size + ahead), POSIX_FADV_WILLNEED);
        a->asked_from = at;
        a->asked = at + size + ahead;
    }
    while (done < size) {
        n = pread(fd, to + done, size - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        done += (uint64_t)n;
    }
    return (int64_t)done;
}

/* [offset, offset + size) of DATA to `to`; `ahead`: how much after it will probably be read next. 0, or -1 with a reason. */
static int read_data(Archive *a, uint64_t offset, uint64_t size, uint64_t ahead, uint8_t *to, char why[PYCDS_WHY]) {
    const int fd = reopen(a);
    if (fd < 0) {
        if (populate_read(a, a->data + offset, size) != 0) return refuse(why, cut);
        memcpy(to, a->data + offset, size);
        return 0;
    }
    const int64_t n = read_at(a, fd, (uint64_t)(a->data - a->map) + offset, size, ahead, to);
    const int error = errno;
    close(fd);
    if (n < 0) return refuse(why, "the archive file cannot be read: %s", strerror(error));
    return (uint64_t)n == size ? 0 : refuse(why, cut);
}

/* ---- units and name blocks -------------------------------------------------------- */

static uint8_t *taken(Archive *a, uint64_t offset, uint64_t size, uint64_t expected, uint64_t ahead, char why[PYCDS_WHY]) {
    uint8_t *const base = pages_take(a->header->preferred_base, size, expected);
    if (base == NULL) {
        refuse(why, "no memory for archived code");
        return NULL;
    }
    if (read_data(a, offset, size, ahead, base, why) == 0) return base;
    pages_untake(base);
    return NULL;
}

static uint64_t hot_size(const Archive *a) { return (uint64_t)a->header->data_hot_size * PYCDS_HOT_UNIT; }
static uint64_t end_of(const PycdsUnit *u) { return u->data_offset + u->data_size; }

/* How many bytes of the hot part, with its names, are still to be read if all of it will be. */
static uint64_t still_expected(const Archive *a) {
    const uint64_t hot = hot_size(a), left = hot > a->hot_read ? hot - a->hot_read : 0;
    const uint64_t units = a->name_block_count == 0 ? a->data_size : a->name_blocks[0].data_offset;
    if (units == 0) return left;
    /* The hot part's share of the names, of which no more are left than were not read. */
    const uint64_t names = a->data_size - units, share = (uint64_t)((double)names * (double)left / (double)units), unread = names > a->names_read ? names - a->names_read : 0;
    return left + (share < unread ? share : unread);
}

/* The last one of those that are read together with `unit`. */
static uint32_t last_of_step(Archive *a, uint32_t unit) {
    const PycdsUnit *const units = a->units;
    const uint64_t begin = units[unit].data_offset, hot = hot_size(a);
    if (begin >= hot) return unit;
    if (unit < a->next_unit || a->next_unit >= a->unit_count || begin - units[a->next_unit].data_offset > a->step) a->step = 0;
    uint32_t last = unit;
    while (last + 1 < a->unit_count && a->unit_base[last + 1] == NULL && end_of(&units[last + 1]) <= hot && end_of(&units[last + 1]) - begin <= a->step) last++;
    a->step = a->step == 0 ? STEP_FIRST : a->step < STEP ? a->step * 2 : STEP;
    a->next_unit = last + 1;
    return last;
}

uint8_t *archive_unit(Archive *a, uint32_t unit, char why[PYCDS_WHY]) {
    if (a->unit_base[unit] != NULL) return a->unit_base[unit];
    const PycdsUnit *const units = a->units;
    const uint32_t last = last_of_step(a, unit);
    const uint64_t begin = units[unit].data_offset, end = end_of(&units[last]), hot = hot_size(a);
    if (begin < hot) a->hot_read += end - begin; /* before asking what is expected behind it; one that fails counts, too */
    uint8_t *const base = taken(a, begin, end - begin, still_expected(a), end < hot ? hot - end : 0, why);
    if (base == NULL) return NULL;
    for (uint32_t i = unit; i <= last; i++) a->unit_base[i] = base + (units[i].data_offset - begin);
    return base;
}

uint8_t *archive_block(Archive *a, uint32_t block, char why[PYCDS_WHY]) {
    if (a->block_base[block] != NULL) return a->block_base[block];
    const PycdsNameBlock *b = &a->name_blocks[block];
    const uint64_t rest = a->data_size - b->data_offset - b->data_size;
    a->names_read += b->data_size;
    return a->block_base[block] = taken(a, b->data_offset, b->data_size, still_expected(a), rest < NAMES_AHEAD ? rest : NAMES_AHEAD, why);
}

/* ---- pure results ------------------------------------------------------------------- */

static int populate_pures(Archive *archive) {
    if (archive->pures_populated != 0) return archive->pures_populated < 0 ? -1 : 0;
    /* Units of source strings follow one another in DATA. */
    uint64_t begin = archive->data_size, end = 0;
    for (uint32_t i = 0; i < archive->pure_count; i++) {
        if (archive->pures[i].kind <= PYCDS_PURE_BYTES_PATTERN) continue;
        const PycdsUnit *u = &archive->units[archive->pures[i].result];
        if (u->data_offset < begin) begin = u->data_offset;
        if (end_of(u) > end) end = end_of(u);
    }
    int result = archive->pure_data_size == 0 ? 0 : populate_read(archive, archive->pure_data, archive->pure_data_size);
    if (result == 0 && begin < end) result = populate_read(archive, archive->data + begin, end - begin);
    archive->pures_populated = result == 0 ? 1 : -1;
    return result;
}

int archive_populate_pure(Archive *archive, const PycdsPure *pure) {
    /* A few alone: a process that executes the lines of .pth files and imports little would have all of it mapped for them. */
    if (archive->pures_populated != 0 || archive->pures_alone == PURES_ALONE) return populate_pures(archive);
    archive->pures_alone++;
    if (populate_read(archive, archive->pure_data + pure->text, pure->text_size) != 0) return -1;
    if (pure->kind <= PYCDS_PURE_BYTES_PATTERN) return populate_read(archive, archive->pure_data + pure->result, pure->result_size);
    const PycdsUnit *u = &archive->units[pure->result];
    return populate_read(archive, archive->data + u->data_offset, u->data_size);
}
