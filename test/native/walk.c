#include "walk.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../native/runtime/tables.h"
#include "../../native/runtime/xxh3.h"

char why[PYCDS_WHY];

void check_failed(const char *condition, const char *file, int line) {
    fprintf(stderr, "%s:%d: %s does not hold (%s)\n", file, line, condition, why);
    abort();
}

/* ---- tables --------------------------------------------------------------------------------- */

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

static void walk_folders(Archive *a) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < a->suffix_count; i++) {
        walk_string(a, a->suffixes[i].suffix);
        sum += xxh3(archive_string(a, a->suffixes[i].suffix), a->suffixes[i].length);
    }
    CHECK(sum != 1); /* keeps the reads alive */
    for (uint32_t i = 0; i < a->folder_count; i++) {
        const PycdsFolder *f = &a->folders[i];
        CHECK((uint64_t)f->path + f->path_length < a->strings_size);
        CHECK((uint64_t)f->first_entry + f->entry_count <= a->entry_count);
        walk_string(a, f->relative);
        const uint32_t found = index_folder(a, index_path_hash(archive_string(a, f->path), f->path_length), archive_string(a, f->path), f->path_length);
        CHECK(found == PYCDS_NONE || found < a->folder_count);
        (void)index_find_unknown(a, archive_string(a, f->path), f->path_length, "pkg", 3);
    }
    walk_hash(a->folder_hash, a->folder_hash_size, a->folder_count);
    walk_hash(a->entry_hash, a->entry_hash_size, a->entry_count);
}

static void walk_units(const Archive *a) {
    uint64_t end = 0;
    for (uint32_t i = 0; i < a->unit_count; i++) {
        const PycdsUnit *u = &a->units[i];
        CHECK(u->data_offset >= end && inside(u->data_offset, u->data_size, a->data_size) && inside(u->root, a->abi->code_basicsize, u->data_size));
        CHECK(inside(u->reloc_offset, u->reloc_size, a->relocations_size));
        end = u->data_offset + u->data_size;
    }
}

/* ---- what is checked at its use ------------------------------------------------------------- */

/* What tables_entry_ok promises to index.c and find.c. */
static void walk_entry(const Archive *a, uint32_t index) {
    const PycdsEntry *e = &a->entries[index];
    CHECK(e->folder < a->folder_count);
    CHECK(inside(index, 1, (uint64_t)a->folders[e->folder].first_entry + a->folders[e->folder].entry_count));
    CHECK(index >= a->folders[e->folder].first_entry);
    CHECK((uint64_t)e->name + e->name_length < a->strings_size && archive_string(a, e->name)[e->name_length] == '\0');
    CHECK(e->unit == PYCDS_NONE || e->unit < a->unit_count);
    CHECK(e->unit == PYCDS_NONE || e->stamp_kind != PYCDS_STAMP_NONE || (a->header->required_features & PYCDS_FEATURE_SEALED) != 0);
    CHECK(e->child == PYCDS_NONE || e->child < a->folder_count);
    if (e->kind == PYCDS_ENTRY_SOURCE || e->kind == PYCDS_ENTRY_SOURCELESS || e->kind == PYCDS_ENTRY_EXTENSION) CHECK(e->suffix < a->suffix_count);
    if (e->stamp_kind == PYCDS_STAMP_PYC || e->stamp_file != PYCDS_NONE) walk_string(a, e->stamp_file);
    if (e->reason != PYCDS_NONE) walk_string(a, e->reason);
}

StampResult use_found(const Archive *a, const Found *found, char *path, size_t size) {
    const uint64_t index = (uint64_t)(found->file - a->entries);
    size_t length, again;
    CHECK(index < a->entry_count && tables_entry_ok(a, (uint32_t)index) && found->file->folder == found->folder);
    why[0] = '\0';
    if (index_file_path(a, found, path, size, &length) != 0) return STAMP_GONE;
    CHECK(length < size && path[length] == '\0');
    /* Room for the terminating NUL is part of it, at the end of memory where the sanitizer sees one byte too many. */
    char *exact = malloc(length + 1);
    CHECK(exact != NULL && index_file_path(a, found, exact, length, &again) == -1);
    CHECK(index_file_path(a, found, exact, length + 1, &again) == 0 && again == length && memcmp(exact, path, length + 1) == 0);
    free(exact);
    const StampResult stamp = index_stamp(a, found, path, why);
    CHECK(stamp == STAMP_FRESH || why[0] != '\0');
    return stamp;
}

/* Looks up what entry `index` is named, if that can be read. */
static int look_up(Archive *a, uint32_t index, Found *found) {
    const PycdsEntry *e = &a->entries[index];
    if (e->folder >= a->folder_count || (uint64_t)e->name + e->name_length >= a->strings_size) return 0;
    index_find(a, e->folder, archive_string(a, e->name), e->name_length, found);
    return 1;
}

static unsigned walk_entries(Archive *a, int print, unsigned *served) {
    static char path[1 << 13];
    unsigned refused = 0;
    for (uint32_t i = 0; i < a->entry_count; i++) {
        const int ok = tables_entry_ok(a, i);
        Found found = {.kind = FIND_ASK};
        if (ok) {
            walk_entry(a, i);
        } else {
            refused++;
            if (print) printf(", entry %" PRIu32 " refused", i);
        }
        if (!look_up(a, i, &found) || found.kind != FIND_FILE) continue;
        CHECK(ok || found.file != &a->entries[i]);
        (*served)++;
        use_found(a, &found, path, sizeof path);
    }
    return refused;
}

static unsigned walk_names(const Archive *a, int print) {
    unsigned refused = 0;
    for (uint32_t block = 0; block < a->name_block_count; block++) {
        const PycdsNameBlock *b = &a->name_blocks[block];
        CHECK(inside(b->data_offset, b->data_size, a->data_size) && inside(b->first_name, b->name_count, a->name_count));
        for (uint32_t i = b->first_name; i < b->first_name + b->name_count; i++) {
            if (!tables_name_ok(a, i, b)) {
                refused++;
                if (print) printf(", name %" PRIu32 " refused", i);
            } else if ((a->names[i] & PYCDS_NAME_LATIN1) != 0) {
                CHECK((a->names[i] & ~PYCDS_NAME_LATIN1) <= 0xff);
            } else {
                CHECK(inside((uint64_t)a->names[i] * PYCDS_OBJECT_ALIGNMENT, a->abi->type_offset + sizeof(PyObject *), b->data_size));
            }
        }
    }
    return refused;
}

Walked walk(Archive *a, int print) {
    Walked walked = {0, 0, 0};
    for (uint32_t i = 0; i < a->self_check_count; i++) walk_string(a, a->self_checks[i].name);
    walk_folders(a);
    walk_units(a);
    walked.entries = walk_entries(a, print, &walked.served);
    walked.names = walk_names(a, print);
    return walked;
}

/* ---- loading ---------------------------------------------------------------------------- */

/* Whatever was read and not relocated is what the file has. */
static void check_untouched(const Archive *a, uint32_t unit) {
    const PycdsUnit *u = &a->units[unit];
    if (a->unit_base[unit] != NULL) CHECK(memcmp(a->unit_base[unit], a->data + u->data_offset, u->data_size) == 0);
}

void load_units(Archive *a, uint32_t first, uint32_t last, Loads *loads, int print) {
    static PyObject *filename;
    if (filename == NULL) filename = PyUnicode_FromOrdinal('f');
    CHECK(externals_init(a) == 0);
    for (uint32_t i = first; i < last; i++) {
        why[0] = '\0';
        PyObject *code = unit_code(a, i, filename, why);
        if (print) printf("%s%s\n", code ? "loaded" : "refused: ", code ? "" : why);
        if (code != NULL) {
            loads->loaded++;
            CHECK(a->unit_state[i] == UNIT_READY && unit_code(a, i, filename, why) == code);
        } else {
            loads->refused++;
            CHECK(a->unit_state[i] == UNIT_BAD && PyErr_Occurred() == NULL && why[0] != '\0');
            if (strstr(why, "frozenset") == NULL) check_untouched(a, i);
            CHECK(unit_code(a, i, filename, why) == NULL);
        }
        for (uint32_t other = 0; other < a->unit_count; other++)
            if (a->unit_state[other] == UNIT_NEW) check_untouched(a, other);
    }
}

void load_all(Archive *a, Loads *loads, int print) {
    load_units(a, 0, a->unit_count, loads, print);
    for (uint32_t i = 0; i < a->name_count; i++) {
        PyObject *name = name_object(a, i);
        CHECK(name == NULL || name_object(a, i) == name);
    }
}
