#define _GNU_SOURCE
#include "bytes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../native/runtime/xxh3.h"
#include "walk.h"

Bytes read_file(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && fstat(fd, &st) == 0);
    Bytes bytes = {malloc((size_t)st.st_size), (size_t)st.st_size};
    CHECK(bytes.at != NULL && read(fd, bytes.at, bytes.size) == st.st_size);
    close(fd);
    return bytes;
}

void write_file(const char *path, Bytes bytes) {
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)bytes.size) == 0 && pwrite(fd, bytes.at, bytes.size, 0) == (ssize_t)bytes.size);
    close(fd);
}

PycdsFileHeader *header_of(Bytes file) { return (PycdsFileHeader *)(void *)file.at; }
PycdsSection *sections_of(Bytes file) { return (PycdsSection *)(void *)(file.at + sizeof(PycdsFileHeader)); }
PycdsSection *section_of(Bytes file, uint32_t kind) {
    for (uint32_t i = 0; i < header_of(file)->section_count; i++)
        if (sections_of(file)[i].kind == kind) return &sections_of(file)[i];
    return NULL;
}
int is_eager(uint32_t kind) { return kind <= PYCDS_SECTION_MAX && (PYCDS_SECTIONS_EAGER >> kind & 1) != 0; }

void reseal(Bytes file) {
    PycdsFileHeader *h = header_of(file);
    uint64_t table = (uint64_t)h->section_count * sizeof(PycdsSection);
    if (!inside(sizeof *h, table, file.size)) return;
    for (uint32_t i = 0; i < h->section_count; i++) {
        PycdsSection *s = &sections_of(file)[i];
        if (is_eager(s->kind) && inside(s->offset, s->size, file.size)) s->digest = xxh3(file.at + s->offset, s->size);
    }
    h->header_digest = 0;
    h->header_digest = xxh3(file.at, sizeof *h + table);
}

