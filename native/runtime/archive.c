/*
 * Maps an archive and validates it (design.md, decisions 6 and 7).
 *
 * Two mappings of the file: everything before DATA, read-only; and DATA,
 * private and writable, at the address the image was laid out for when that is
 * free. The descriptor is closed at once.
 *
 * What is guarded against: damage, by digests and bounds; a file that another
 * user could have written, by owner and mode. What cannot be: a file that is
 * cut while it is mapped. The kernel then takes away all of its pages, copied
 * ones too (mm/truncate.c, truncate_pagecache: even_cows), as it does for any
 * shared library. That is why archives are replaced by rename only; a file
 * that was cut before a unit's first use is still noticed (archive_populate).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tables.h"
#include "xxh3.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* Linux 4.17 */
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif

#define BASE_LIMIT (UINT64_C(1) << 38) /* design.md, decision 6: valid for 39-bit address spaces too */
#define POPULATE_STEP_FIRST (UINT64_C(32) << 10)
#define POPULATE_STEP (UINT64_C(256) << 10)
#define SECTIONS_MAX 64
#define PURES_ALONE 4

/* ---- the file --------------------------------------------------------------- */

/* Whoever may replace this library may as well write what it loads. */
static int owns_this_library(uid_t owner) {
    Dl_info info;
    struct stat st;
    return dladdr((void *)(uintptr_t)&archive_open, &info) != 0 && info.dli_fname != NULL && stat(info.dli_fname, &st) == 0 && st.st_uid == owner;
}

static int check_file(const struct stat *st, char why[PYCDS_WHY]) {
    if (S_ISDIR(st->st_mode)) return refuse(why, "it is a directory");
    if (!S_ISREG(st->st_mode)) return refuse(why, "it is not a regular file");
    if (st->st_uid != 0 && st->st_uid != geteuid() && !owns_this_library(st->st_uid))
        return refuse(why, "it belongs to user %u, who is neither root, nor the user of this process, nor the owner of the runtime", (unsigned)st->st_uid);
    if (st->st_mode & (S_IWGRP | S_IWOTH)) return refuse(why, "others may write it (mode %03o); chmod go-w", (unsigned)st->st_mode & 0777U);
    if (st->st_size == 0) return refuse(why, "it is empty");
    if ((uint64_t)st->st_size < sizeof(PycdsFileHeader)) return refuse(why, "it is truncated: %" PRIu64 " bytes, a header has %zu", (uint64_t)st->st_size, sizeof(PycdsFileHeader));
    return 0;
}

static int check_header(const uint8_t *map, uint64_t size, char why[PYCDS_WHY]) {
    static const uint8_t magic[PYCDS_MAGIC_SIZE] = PYCDS_MAGIC;
    PycdsFileHeader h;
    memcpy(&h, map, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0) return refuse(why, "it is not a PyCDS archive");
    if (h.byte_order != PYCDS_BYTE_ORDER) return refuse(why, "it is for another byte order (0x%08" PRIx32 ")", h.byte_order);
    if (h.format_version != PYCDS_FORMAT_VERSION) return refuse(why, "its format version is %" PRIu32 ", this runtime knows %" PRIu32, h.format_version, PYCDS_FORMAT_VERSION);
    if (h.file_size != size) return refuse(why, "it is truncated or extended: %" PRIu64 " bytes, its header says %" PRIu64, size, h.file_size);
    if (h.section_count > SECTIONS_MAX) return refuse(why, "its header is damaged (%" PRIu32 " sections)", h.section_count);
    uint64_t table = (uint64_t)h.section_count * sizeof(PycdsSection);
    if (table > size - sizeof h) return refuse(why, "its section table is truncated");

    uint64_t digest = h.header_digest;
    uint8_t copy[sizeof h + SECTIONS_MAX * sizeof(PycdsSection)];
    h.header_digest = 0;
    memcpy(copy, &h, sizeof h);
    memcpy(copy + sizeof h, map + sizeof h, table);
    if (xxh3(copy, sizeof h + table) != digest) return refuse(why, "its header is damaged (digest differs)");

    if (h.required_features & ~PYCDS_FEATURES_KNOWN)
        return refuse(why, "it needs features that this runtime does not have (0x%" PRIx64 ")", h.required_features & ~PYCDS_FEATURES_KNOWN);
    if (h.preferred_base % PYCDS_SEGMENT_ALIGNMENT != 0 || h.preferred_base == 0 || h.preferred_base >= BASE_LIMIT)
        return refuse(why, "its base address 0x%" PRIx64 " is not a possible one", h.preferred_base);
    return 0;
}

/* ---- mapping ------------------------------------------------------------------ */

/* DATA at its requested address; when that is taken, or the kernel cannot do it, anywhere. */
static int map_data(Archive *a, int fd, uint64_t offset, char why[PYCDS_WHY]) {
    if (a->data_size == 0) return 0;
    void *requested = (void *)(uintptr_t)a->header->preferred_base; /* NOLINT(performance-no-int-to-ptr): that is what a requested address is */
    const int protection = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_NORESERVE;
    /* Before Linux 4.17 NOREPLACE is unknown and the address a mere hint: whatever comes back is fine, delta says where it is. */
    void *data = mmap(requested, a->data_size, protection, flags | MAP_FIXED_NOREPLACE, fd, (off_t)offset);
    if (data == MAP_FAILED) data = mmap(NULL, a->data_size, protection, flags, fd, (off_t)offset);
    if (data == MAP_FAILED) return refuse(why, "its data cannot be mapped: %s", strerror(errno));
    a->data = data;
    a->delta = (int64_t)((uint64_t)(uintptr_t)data - a->header->preferred_base);
    return 0;
}

/* One zeroed block for all run-time state: those that need the widest alignment first. */
static int allocate_state(Archive *a, char why[PYCDS_WHY]) {
    size_t names = (size_t)a->name_count * sizeof *a->canonical; /* counts come from a file that is mapped: no overflow */
    size_t uses = (size_t)a->pure_count * sizeof *a->pure_uses;
    uint8_t *block = calloc(1, names + uses + a->unit_count + a->name_block_count + 1);
    if (block == NULL) return refuse(why, "no memory");
    a->canonical = (PyObject **)(void *)block;
    a->pure_uses = (uint32_t *)(void *)(block + names);
    a->unit_state = block + names + uses;
    a->block_state = a->unit_state + a->unit_count;
    return 0;
}

static int map_archive(Archive *a, int fd, uint64_t size, char why[PYCDS_WHY]) {
    void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED) return refuse(why, "it cannot be mapped: %s", strerror(errno));
    a->map = map;
    a->map_size = size;
    a->header = map;
    if (check_header(map, size, why) != 0 || tables_locate(a, why) != 0) return -1;
    const PycdsSection *data = tables_data(a);
    /* All of the index is read below: one call instead of a fault for every 64 KiB, and an answer instead of SIGBUS. */
    if (madvise(map, tables_end(a), MADV_POPULATE_READ) != 0 && errno == EFAULT) return refuse(why, "it was truncated while it was being read");
    if (tables_digest(a, why) != 0 || tables_check(a, why) != 0) return -1;
    uint64_t offset = data->offset;
    if (map_data(a, fd, offset, why) != 0) return -1;
    /* The file from DATA on is not needed a second time; DATA begins at a page of any size. */
    if (offset < size && munmap((uint8_t *)map + offset, size - offset) == 0) a->map_size = offset;
    return allocate_state(a, why);
}

int archive_open(const char *path, Archive *archive, char why[PYCDS_WHY]) {
    struct stat st;
    memset(archive, 0, sizeof *archive);
    /* NONBLOCK: a FIFO must not hang the start. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return refuse(why, "it cannot be opened: %s", strerror(errno));
    int result = -1;
    if (fstat(fd, &st) != 0) refuse(why, "it cannot be examined: %s", strerror(errno));
    else if (check_file(&st, why) == 0) result = map_archive(archive, fd, (uint64_t)st.st_size, why);
    close(fd);
    if (result == 0) {
        archive->path = strdup(path);
        if (archive->path == NULL) result = refuse(why, "no memory");
    }
    if (result != 0) archive_close(archive);
    return result;
}

void archive_close(Archive *archive) {
    if (archive->data != NULL) munmap(archive->data, archive->data_size);
    if (archive->map != NULL) munmap((void *)(uintptr_t)archive->map, archive->map_size);
    free(archive->canonical);
    free(archive->path);
    memset(archive, 0, sizeof *archive);
}

/* ---- faulting in ---------------------------------------------------------------- */

/*
 * Kernels without MADV_POPULATE_WRITE: pages come by fault, and a cut file
 * would be SIGBUS. The name is looked at again instead. It may be another file
 * by now (archives are replaced by rename), or none: ours then lives on
 * unchanged, and only a smaller one costs us a unit that could have been used.
 */
static int file_still_whole(const Archive *a) {
    struct stat st;
    return stat(a->path, &st) != 0 || (uint64_t)st.st_size >= (uint64_t)a->map_size + a->data_size;
}

static int populate(const Archive *a, uint64_t begin, uint64_t end) {
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    begin -= begin % page;
    if (madvise(a->data + begin, end - begin, MADV_POPULATE_WRITE) == 0) return 0;
    if (errno == EFAULT || errno == EHWPOISON) return -1;
    /* ENOMEM, EAGAIN: the pages that are touched will come, or not, as for any memory. */
    return errno != EINVAL || file_still_whole(a) ? 0 : -1;
}

int archive_populate(Archive *archive, uint64_t offset, uint64_t size) {
    if (size == 0) return 0;
    const uint64_t end = offset + size, hot = (uint64_t)archive->header->data_hot_size * PYCDS_HOT_UNIT;
    if (offset >= archive->populated_from && end <= archive->populated) return 0;
    if (offset >= hot) return populate(archive, offset, end);
    /*
     * Traced units are used about in the order in which they lie, so the hot part is taken in steps, which
     * grow while that holds: a page too many costs as much as one that is needed. A unit elsewhere (a run that imports only some of
     * what was traced, what was loaded before we came) begins anew there.
     */
    if (offset < archive->populated_from || offset > archive->populated + archive->step || archive->step == 0) {
        archive->populated_from = archive->populated = offset;
        archive->step = 0;
    }
    uint64_t stop = archive->populated + archive->step;
    if (stop > hot) stop = hot;
    if (stop < end) stop = end;
    if (populate(archive, archive->populated, stop) != 0) {
        archive->step = archive->populated = archive->populated_from = 0;
        return -1;
    }
    archive->populated = stop;
    archive->step = archive->step == 0 ? POPULATE_STEP_FIRST : archive->step < POPULATE_STEP ? archive->step * 2 : POPULATE_STEP;
    return 0;
}

/* As populate(), but the pages stay the file's. */
static int populate_read(const Archive *a, const uint8_t *begin, uint64_t size) {
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), before = (uint64_t)(uintptr_t)begin % page;
    if (madvise((void *)(uintptr_t)(begin - before), size + before, MADV_POPULATE_READ) == 0) return 0;
    if (errno == EFAULT || errno == EHWPOISON) return -1;
    return errno != EINVAL || file_still_whole(a) ? 0 : -1;
}

static int populate_pures(Archive *archive) {
    if (archive->pures_populated != 0) return archive->pures_populated < 0 ? -1 : 0;
    /* Units of source strings follow one another in DATA. */
    uint64_t begin = archive->data_size, end = 0;
    for (uint32_t i = 0; i < archive->pure_count; i++) {
        if (archive->pures[i].kind <= PYCDS_PURE_BYTES_PATTERN) continue;
        const PycdsUnit *u = &archive->units[archive->pures[i].result];
        if (u->data_offset < begin) begin = u->data_offset;
        if (u->data_offset + u->data_size > end) end = u->data_offset + u->data_size;
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
