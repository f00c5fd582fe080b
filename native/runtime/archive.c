/*
 * Maps an archive and validates it (design.md, decisions 6 and 7).
 *
 * One mapping of the file, to be read only; what is executed and written to is
 * read into memory of its own (read.c). The descriptor is closed at once.
 *
 * What is guarded against: damage, by digests and bounds; a file that another
 * user could have written, by owner and mode. What cannot be: a file that is
 * cut while it is mapped. The kernel then takes away its pages, as it does
 * for any shared library, and the next look at its index is SIGBUS. That is why archives are replaced by rename only; a file
 * that was cut before a unit's first use is still noticed (read.c), and units in use do not depend on the file.
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

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14 */
#endif

#define BASE_LIMIT (UINT64_C(1) << 38) /* design.md, decision 6: valid for 39-bit address spaces too */
#define SECTIONS_MAX 64

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

/* One zeroed block for all run-time state: those that need the widest alignment first. */
static int allocate_state(Archive *a, char why[PYCDS_WHY]) {
    size_t names = (size_t)a->name_count * sizeof *a->canonical; /* counts come from a file that is mapped: no overflow */
    size_t bases = ((size_t)a->unit_count + a->name_block_count) * sizeof *a->unit_base;
    size_t uses = (size_t)a->pure_count * sizeof *a->pure_uses;
    uint8_t *block = calloc(1, names + bases + uses + a->unit_count + a->name_block_count + 1);
    if (block == NULL) return refuse(why, "no memory");
    a->canonical = (PyObject **)(void *)block;
    a->unit_base = (uint8_t **)(void *)(block + names);
    a->block_base = a->unit_base + a->unit_count;
    a->pure_uses = (uint32_t *)(void *)(block + names + bases);
    a->unit_state = block + names + bases + uses;
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
    /* All of the index is read below: one call instead of a fault for every 64 KiB, and an answer instead of SIGBUS. */
    if (madvise(map, tables_end(a), MADV_POPULATE_READ) != 0 && errno == EFAULT) return refuse(why, "it was truncated while it was being read");
    if (tables_digest(a, why) != 0 || tables_check(a, why) != 0) return -1;
    a->data = a->map + tables_data(a)->offset;
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
        archive->device = st.st_dev;
        archive->inode = st.st_ino;
        archive->path = strdup(path);
        if (archive->path == NULL) result = refuse(why, "no memory");
    }
    if (result != 0) archive_close(archive);
    return result;
}

void archive_close(Archive *archive) {
    if (archive->map != NULL) munmap((void *)(uintptr_t)archive->map, archive->map_size);
    free(archive->canonical);
    free(archive->path);
    memset(archive, 0, sizeof *archive);
}
