#include "walk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../native/runtime/xxh3.h"

char why[PYCDS_WHY];

void check_failed(const char *condition, const char *file, int line) {
    fprintf(stderr, "%s:%d: %s does not hold (%s)\n", file, line, condition, why);
    abort();
}

static void walk_string(const Archive *a, uint32_t ref) { CHECK(ref + strlen(archive_string(a, ref)) < a->strings_size); }

static void walk_hash(const uint32_t *table, uint32_t size, uint32_t items) {
    for (uint64_t start = 0; start < size && start < 4096; start++) {
        uint32_t at = (uint32_t)start, steps = 0;
        for (; table[at] != 0; at = (at + 1) & (size - 1), steps++) {
            CHECK(table[at] <= items);
            CHECK(steps < size);
        }
    }
}

void walk(const Archive *a) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < a->self_check_count; i++) walk_string(a, a->self_checks[i].name);
    for (uint32_t i = 0; i < a->suffix_count; i++) {
        walk_string(a, a->suffixes[i].suffix);
        sum += xxh3(archive_string(a, a->suffixes[i].suffix), a->suffixes[i].length);
    }
    for (uint32_t i = 0; i < a->folder_count; i++) {
        const PycdsFolder *f = &a->folders[i];
        CHECK((uint64_t)f->path + f->path_length < a->strings_size);
        CHECK((uint64_t)f->first_entry + f->entry_count <= a->entry_count);
        walk_string(a, f->relative);
    }
    for (uint32_t i = 0; i < a->entry_count; i++) {
        const PycdsEntry *e = &a->entries[i];
        CHECK(e->folder < a->folder_count);
        CHECK((uint64_t)e->name + e->name_length < a->strings_size);
        CHECK(e->unit == PYCDS_NONE || e->unit < a->unit_count);
        CHECK(e->child == PYCDS_NONE || e->child < a->folder_count);
        if (e->kind == PYCDS_ENTRY_SOURCE || e->kind == PYCDS_ENTRY_SOURCELESS || e->kind == PYCDS_ENTRY_EXTENSION) CHECK(e->suffix < a->suffix_count);
        if (e->stamp_kind == PYCDS_STAMP_PYC) walk_string(a, e->stamp_file);
        if (e->reason != PYCDS_NONE) walk_string(a, e->reason);
    }
    walk_hash(a->folder_hash, a->folder_hash_size, a->folder_count);
    walk_hash(a->entry_hash, a->entry_hash_size, a->entry_count);
    uint64_t end = 0;
    for (uint32_t i = 0; i < a->unit_count; i++) {
        const PycdsUnit *u = &a->units[i];
        CHECK(u->data_offset >= end && inside(u->data_offset, u->data_size, a->data_size) && inside(u->root, a->abi->code_basicsize, u->data_size));
        CHECK(inside(u->reloc_offset, u->reloc_size, a->relocations_size));
        end = u->data_offset + u->data_size;
    }
    CHECK(sum != 1); /* keeps the reads alive */
}

/* ---- loading ---------------------------------------------------------------------------- */

static int in_name_block(const Archive *a, uint64_t offset) {
    for (uint32_t i = 0; i < a->name_block_count; i++)
        if (offset >= a->name_blocks[i].data_offset && offset < a->name_blocks[i].data_offset + a->name_blocks[i].data_size) return 1;
    return 0;
}

void load_units(Archive *a, uint32_t first, uint32_t last, Loads *loads, int print) {
    static PyObject *filename;
    if (filename == NULL) filename = PyUnicode_FromOrdinal('f');
    CHECK(externals_init(a) == 0);
    uint8_t *before = malloc(a->data_size + 1);
    CHECK(before != NULL);
    for (uint32_t i = first; i < last; i++) {
        const PycdsUnit *u = &a->units[i];
        memcpy(before, a->data, a->data_size);
        why[0] = '\0';
        PyObject *code = unit_code(a, i, filename, why);
        if (print) printf("%s%s\n", code ? "loaded" : "refused: ", code ? "" : why);
        if (code != NULL) {
            loads->loaded++;
            CHECK(a->unit_state[i] == UNIT_READY && unit_code(a, i, filename, why) == code);
        } else {
            loads->refused++;
            CHECK(a->unit_state[i] == UNIT_BAD && PyErr_Occurred() == NULL && why[0] != '\0');
            if (strstr(why, "frozenset") == NULL) CHECK(memcmp(a->data + u->data_offset, before + u->data_offset, u->data_size) == 0);
            CHECK(unit_code(a, i, filename, why) == NULL);
        }
        for (uint64_t at = 0; at < a->data_size; at++)
            if (a->data[at] != before[at]) CHECK(inside(at - u->data_offset, 1, u->data_size) || in_name_block(a, at));
    }
    free(before);
}

void load_all(Archive *a, Loads *loads, int print) {
    load_units(a, 0, a->unit_count, loads, print);
    for (uint32_t i = 0; i < a->name_count; i++) {
        PyObject *name = name_object(a, i);
        CHECK(name == NULL || name_object(a, i) == name);
    }
}
