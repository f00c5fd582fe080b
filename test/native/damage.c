#define _GNU_SOURCE
#include "damage.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../native/runtime/xxh3.h"
#include "bytes.h"
#include "walk.h"

static uint64_t random_state = 1;

void damage_seed(uint64_t seed) { random_state = seed * 2 + 1; }

static uint64_t random_below(uint64_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return limit == 0 ? 0 : random_state % limit;
}

static void damage(uint8_t *at, uint64_t size) {
    static const uint32_t values[] = {0, 1, 2, 7, 0x7fffffff, 0x80000000, 0xffff, 0xfffffff0, 0xffffffff, 0x10000};
    if (size < 4) return;
    uint64_t place = random_below(size - 3);
    uint32_t word;
    switch (random_below(4)) {
    case 0:
        at[place] ^= (uint8_t)(1U << random_below(8));
        return;
    case 1:
        at[place] = (uint8_t)random_below(256);
        return;
    case 2:
        place &= ~UINT64_C(3);
        memcpy(&word, at + place, 4);
        word += (uint32_t)random_below(33) - 16;
        break;
    default:
        place &= ~UINT64_C(3);
        word = values[random_below(sizeof values / sizeof values[0])];
        break;
    }
    memcpy(at + place, &word, 4);
}

static Bytes copy_of(Bytes file) {
    Bytes copy = {malloc(file.size), file.size};
    CHECK(copy.at != NULL);
    memcpy(copy.at, file.at, file.size);
    return copy;
}

/* Every folder's listing is out of date: lookups list the folders. */
static void change_mtimes(Bytes file) {
    const PycdsSection *s = section_of(file, PYCDS_SECTION_FOLDERS);
    PycdsFolder *folders = (PycdsFolder *)(void *)(file.at + s->offset);
    for (uint64_t i = 0; i < s->size / sizeof *folders; i++) folders[i].mtime_ns ^= 1;
}

void damage_tables(const char *path, const char *scratch, uint64_t count) {
    Bytes good = read_file(path), file = copy_of(good);
    unsigned accepted = 0;
    Loads loads = {0, 0};
    Walked all = {0, 0, 0};
    const uint64_t table = sizeof(PycdsFileHeader) + (uint64_t)header_of(good)->section_count * sizeof(PycdsSection);
    for (uint64_t i = 0; i < count; i++) {
        memcpy(file.at, good.at, good.size);
        if (i % 2 != 0) change_mtimes(file);
        for (uint64_t hits = 1 + random_below(2); hits > 0; hits--) {
            const uint32_t kind = (uint32_t)random_below(PYCDS_SECTION_NAME_BLOCKS + 1);
            const PycdsSection *s = section_of(good, kind); /* kind 0 is none: header and section table */
            if (s != NULL) damage(file.at + s->offset, s->size);
            else damage(file.at + 8, table - 8);
        }
        reseal(file);
        write_file(scratch, file);
        Archive a;
        if (archive_open(scratch, &a, why) != 0) {
            CHECK(why[0] != '\0' && a.map == NULL && a.data == NULL && a.path == NULL);
            continue;
        }
        accepted++;
        const Walked walked = walk(&a, 0);
        all.entries += walked.entries != 0;
        all.names += walked.names != 0;
        all.served += walked.served;
        if (a.abi->type_offset == 8) load_all(&a, &loads, 0); /* another one is for selfcheck() to refuse */
        archive_close(&a);
    }
    printf("accepted=%u of %" PRIu64 " loaded=%u refused=%u entries=%u names=%u served=%u\n", accepted, count, loads.loaded, loads.refused, all.entries, all.names, all.served);
}

void damage_units(const char *path, const char *scratch, uint64_t count) {
    Bytes good = read_file(path), file = copy_of(good);
    const PycdsSection *units = section_of(good, PYCDS_SECTION_UNITS), *relocations = section_of(good, PYCDS_SECTION_RELOCATIONS), *data = section_of(good, PYCDS_SECTION_DATA);
    const uint64_t unit_count = units->size / sizeof(PycdsUnit);
    Loads loads = {0, 0};
    for (uint64_t i = 0; i < count; i++) {
        memcpy(file.at, good.at, good.size);
        const uint32_t number = (uint32_t)random_below(unit_count);
        PycdsUnit *u = (PycdsUnit *)(void *)(file.at + units->offset) + number;
        uint8_t *stream = file.at + relocations->offset + u->reloc_offset, *objects = file.at + data->offset + u->data_offset;
        /* Mostly the counts at the head and the tables after it; sometimes all of it, the objects, or a cut escape at the end. */
        const uint64_t choice = random_below(5);
        if (choice == 4) memset(stream + u->reloc_size - 2, 0xff, 2);
        else if (choice == 3) damage(objects, u->data_size);
        else damage(stream, choice == 0 ? sizeof(PycdsRelocations) : u->reloc_size);
        if (random_below(8) == 0) u->reloc_size -= (uint32_t)random_below(u->reloc_size - sizeof(PycdsRelocations) + 1);
        XXH3_state_t *state = XXH3_createState();
        CHECK(state != NULL);
        XXH3_64bits_reset(state);
        XXH3_64bits_update(state, objects, u->data_size);
        XXH3_64bits_update(state, stream, u->reloc_size);
        u->digest = XXH3_64bits_digest(state);
        XXH3_freeState(state);
        reseal(file);
        write_file(scratch, file);
        Archive a;
        CHECK(archive_open(scratch, &a, why) == 0);
        /* The stream at the end of its own memory: the sanitizer sees any read behind it. */
        const size_t end = (size_t)u->reloc_offset + u->reloc_size;
        uint8_t *copy = malloc(end);
        CHECK(copy != NULL);
        memcpy(copy, a.relocations, end);
        a.relocations = copy;
        load_units(&a, number, number + 1, &loads, 0);
        free(copy);
        archive_close(&a);
    }
    printf("loaded=%u refused=%u\n", loads.loaded, loads.refused);
}

void damage_flip(const char *path, const char *scratch) {
    Bytes good = read_file(path);
    unsigned tried = 0;
    write_file(scratch, good);
    int fd = open(scratch, O_WRONLY);
    CHECK(fd >= 0);
    for (uint32_t i = 0; i <= header_of(good)->section_count; i++) {
        const PycdsSection *s = i > 0 ? &sections_of(good)[i - 1] : NULL;
        if (s != NULL && !is_eager(s->kind)) continue;
        const uint64_t begin = s ? s->offset : 0, size = s ? s->size : sizeof(PycdsFileHeader) + (uint64_t)header_of(good)->section_count * sizeof(PycdsSection);
        for (uint64_t at = begin; at < begin + size; at++) {
            uint8_t byte = good.at[at] ^ (uint8_t)(1U << random_below(8));
            CHECK(pwrite(fd, &byte, 1, (off_t)at) == 1);
            Archive a;
            tried++;
            if (archive_open(scratch, &a, why) == 0) {
                printf("accepted: byte %" PRIu64 " (section %" PRIu32 ")\n", at, s ? s->kind : 0);
                archive_close(&a);
            }
            CHECK(pwrite(fd, &good.at[at], 1, (off_t)at) == 1);
        }
    }
    close(fd);
    printf("tried=%u\n", tried);
}

