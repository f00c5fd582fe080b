/*
 * The tables of an archive, checked when it is mapped: after this every index,
 * offset and string reference in them may be used as it stands, and every
 * probe of a hash table ends. Two tables grow with everything that could be
 * imported, while a process uses little of them: entries and names are checked
 * one by one at their use (tables_entry_ok, tables_name_ok).
 */
#include "slots.h"
#include "tables.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "digest.h"

_Static_assert(PYCDS_SECTION_MAX < 32, "kinds are bits of PYCDS_SECTIONS_EAGER");

int refuse(char why[PYCDS_WHY], const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, PYCDS_WHY, format, arguments);
    va_end(arguments);
    return -1;
}

static const PycdsSection *section_table(const Archive *a) { return (const PycdsSection *)(const void *)(a->map + sizeof(PycdsFileHeader)); }

static const PycdsSection *find_section(const Archive *a, uint32_t kind) {
    const PycdsSection *sections = section_table(a);
    for (uint32_t i = 0; i < a->header->section_count; i++)
        if (sections[i].kind == kind) return &sections[i];
    return NULL;
}

uint64_t tables_end(const Archive *a) {
    const PycdsSection *sections = section_table(a);
    uint64_t end = 0;
    for (uint32_t i = 0; i < a->header->section_count; i++)
        if (sections[i].kind < 32 && (PYCDS_SECTIONS_EAGER & UINT32_C(1) << sections[i].kind) != 0 && sections[i].offset + sections[i].size > end) end = sections[i].offset + sections[i].size;
    return end;
}

const PycdsSection *tables_data(const Archive *a) { return find_section(a, PYCDS_SECTION_DATA); }

/* Pointer to a section that is an array of structs, and their number; NULL with a reason. */
static const void *array(const Archive *a, uint32_t kind, size_t item, uint32_t *count, char why[PYCDS_WHY]) {
    const PycdsSection *section = find_section(a, kind);
    if (section->size % item != 0 || section->size / item >= PYCDS_NONE) {
        refuse(why, "section %" PRIu32 " has a size of %" PRIu64 " bytes, items of it %zu", kind, section->size, item);
        return NULL;
    }
    *count = (uint32_t)(section->size / item);
    return a->map + section->offset;
}

/* Every section lies in the file, aligned, after the one before it; all that we read is there once, before DATA. */
static int check_sections(const Archive *a, char why[PYCDS_WHY]) {
    const PycdsSection *sections = section_table(a);
    uint64_t end = sizeof(PycdsFileHeader) + (uint64_t)a->header->section_count * sizeof(PycdsSection);
    uint32_t seen = 0;
    for (uint32_t i = 0; i < a->header->section_count; i++) {
        const PycdsSection *s = &sections[i];
        const uint64_t alignment = s->kind == PYCDS_SECTION_DATA ? PYCDS_DATA_ALIGNMENT : 16;
        if (s->offset % alignment != 0 || s->offset < end || s->offset > a->map_size || s->size > a->map_size - s->offset)
            return refuse(why, "section %" PRIu32 " is misplaced (offset %" PRIu64 ", size %" PRIu64 ")", s->kind, s->offset, s->size);
        end = s->offset + s->size;
        if (s->kind == 0 || s->kind > PYCDS_SECTION_MAX) continue; /* of a later runtime; what must be known is a required feature */
        if (seen & UINT32_C(1) << s->kind) return refuse(why, "section %" PRIu32 " is there twice", s->kind);
        seen |= UINT32_C(1) << s->kind;
    }
    const uint32_t needed = PYCDS_SECTIONS_EAGER | UINT32_C(1) << PYCDS_SECTION_PURE_DATA | UINT32_C(1) << PYCDS_SECTION_RELOCATIONS | UINT32_C(1) << PYCDS_SECTION_DATA;
    if ((seen & needed) != needed) return refuse(why, "sections are missing (0x%" PRIx32 ")", needed & ~seen);
    const uint64_t data = tables_data(a)->offset;
    _Static_assert(PYCDS_SECTION_DATA == PYCDS_SECTION_MAX, "kinds below it are all but DATA");
    for (uint32_t i = 0; i < a->header->section_count; i++)
        if (sections[i].kind < PYCDS_SECTION_MAX && (needed & UINT32_C(1) << sections[i].kind) != 0 && sections[i].offset + sections[i].size > data)
            return refuse(why, "section %" PRIu32 " lies behind DATA", sections[i].kind);
    return 0;
}

int tables_locate(Archive *a, char why[PYCDS_WHY]) {
    uint32_t count;
    if (check_sections(a, why) != 0) return -1;
#define ARRAY(field, counter, kind) ((a->field = array(a, kind, sizeof *a->field, &(counter), why)) == NULL)
    if (ARRAY(abi, count, PYCDS_SECTION_ABI)) return -1;
    if (count != 1) return refuse(why, "it has %" PRIu32 " ABI descriptions", count);
    if (ARRAY(self_checks, a->self_check_count, PYCDS_SECTION_SELF_CHECKS) || ARRAY(suffixes, a->suffix_count, PYCDS_SECTION_SUFFIXES) ||
        ARRAY(roots, a->root_count, PYCDS_SECTION_ROOTS) ||
        ARRAY(folders, a->folder_count, PYCDS_SECTION_FOLDERS) || ARRAY(folder_hash, a->folder_hash_size, PYCDS_SECTION_FOLDER_HASH) ||
        ARRAY(entries, a->entry_count, PYCDS_SECTION_ENTRIES) || ARRAY(entry_hash, a->entry_hash_size, PYCDS_SECTION_ENTRY_HASH) ||
        ARRAY(units, a->unit_count, PYCDS_SECTION_UNITS) || ARRAY(names, a->name_count, PYCDS_SECTION_NAMES) ||
        ARRAY(name_blocks, a->name_block_count, PYCDS_SECTION_NAME_BLOCKS) || ARRAY(pures, a->pure_count, PYCDS_SECTION_PURES) ||
        ARRAY(pure_hash, a->pure_hash_size, PYCDS_SECTION_PURE_HASH) || ARRAY(strings, count, PYCDS_SECTION_STRINGS))
        return -1;
#undef ARRAY
    a->strings_size = count;
    const PycdsSection *relocations = find_section(a, PYCDS_SECTION_RELOCATIONS);
    a->relocations = a->map + relocations->offset;
    a->relocations_size = relocations->size;
    const PycdsSection *pure_data = find_section(a, PYCDS_SECTION_PURE_DATA);
    a->pure_data = a->map + pure_data->offset;
    a->pure_data_size = pure_data->size;
    a->data_size = tables_data(a)->size;
    return 0;
}

int tables_digest(const Archive *a, char why[PYCDS_WHY]) {
    const PycdsSection *sections = section_table(a);
    for (uint32_t i = 0; i < a->header->section_count; i++) {
        const PycdsSection *s = &sections[i];
        if (s->kind > PYCDS_SECTION_MAX || (PYCDS_SECTIONS_EAGER & UINT32_C(1) << s->kind) == 0) continue;
        if (digest(a->map + s->offset, s->size, NULL, 0) != s->digest) return refuse(why, "section %" PRIu32 " is damaged (digest differs)", s->kind);
    }
    return 0;
}

/* ---- references ---------------------------------------------------------------- */

static int string_ok(const Archive *a, uint32_t ref) { return ref < a->strings_size; }
static int optional_string_ok(const Archive *a, uint32_t ref) { return ref == PYCDS_NONE || string_ok(a, ref); }
static int text_ok(const Archive *a, uint32_t ref, uint32_t length) {
    uint64_t end = (uint64_t)ref + length;
    return end < a->strings_size && a->strings[end] == '\0';
}
static int index_ok(uint32_t index, uint32_t count) { return index < count; }
static int optional_index_ok(uint32_t index, uint32_t count) { return index == PYCDS_NONE || index < count; }
/* [offset, offset + size) in `limit` bytes */
static int range_ok(uint64_t offset, uint64_t size, uint64_t limit) { return offset <= limit && size <= limit - offset; }

static int check_hash(const uint32_t *table, uint32_t size, uint32_t items, const char *what, char why[PYCDS_WHY]) {
    uint32_t largest = 0, empty = 0;
    for (uint32_t i = 0; i < size; i++) {
        largest = table[i] > largest ? table[i] : largest;
        empty += table[i] == 0;
    }
    if (size == 0 || (size & (size - 1)) != 0) return refuse(why, "its %s hash has %" PRIu32 " slots, no power of two", what, size);
    if (largest > items) return refuse(why, "its %s hash names item %" PRIu32 " of %" PRIu32, what, largest, items);
    if (empty == 0) return refuse(why, "its %s hash has no empty slot", what);
    return 0;
}

/* ---- the tables ------------------------------------------------------------------ */

/* All of it is none, or offsets in a state of at most 4 KiB, each aligned to its size. */
static int collector_ok(const PycdsAbi *abi) {
    const uint32_t pointers[] = {abi->gc_generations, abi->gc_generation_size, abi->gc_generation0, abi->gc_callbacks, abi->gc_long_lived_total, abi->gc_long_lived_pending};
    const uint32_t words[] = {abi->gc_packed_generations, abi->gc_threshold, abi->gc_count, abi->gc_enabled, abi->gc_debug, abi->gc_collecting};
    const int known = abi->gc_generations != PYCDS_NONE;
    int ok = abi->cfunction_def % 8 == 0 && abi->cfunction_def <= 64;
    for (size_t i = 0; i < sizeof pointers / sizeof pointers[0]; i++) ok &= known ? pointers[i] % 8 == 0 && pointers[i] <= 4096 : pointers[i] == PYCDS_NONE;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) ok &= known ? words[i] % 4 == 0 && words[i] <= 4096 : words[i] == PYCDS_NONE;
    /* no release has begun with more than 10,000 */
    ok = ok && (known ? abi->gc_initial_threshold - 1 < 10000 : abi->gc_initial_threshold == PYCDS_NONE);
    return ok && (!known || (abi->gc_threshold + 4 <= abi->gc_generation_size && abi->gc_count + 4 <= abi->gc_generation_size));
}

/* All of it is none, or offsets in a type of at most 4 KiB, in a row of slotdefs, in a descriptor. */
static int classes_ok(const PycdsAbi *abi) {
    const uint32_t in_type[] = {abi->class_dealloc, abi->class_flags, abi->class_base, abi->class_dict, abi->class_alloc, abi->class_new, abi->class_mro,
                                abi->class_vectorcall, abi->class_slots_end, abi->class_module, abi->class_type_name};
    const uint32_t in_row[] = {abi->class_slotdef_function, abi->class_slotdef_object}, sizes[] = {abi->class_wrapper_base, abi->class_slotdef_size, abi->class_size};
    const int known = abi->class_wrapper_base != PYCDS_NONE;
    int ok = known ? abi->class_slotdef_offset % 4 == 0 && range_ok(abi->class_slotdef_offset, 4, abi->class_slotdef_size) : abi->class_slotdef_offset == PYCDS_NONE;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) ok &= known ? sizes[i] % 8 == 0 && range_ok(sizes[i], 8, 4096) : sizes[i] == PYCDS_NONE;
    for (size_t i = 0; i < sizeof in_type / sizeof in_type[0]; i++) ok &= known ? in_type[i] % 8 == 0 && range_ok(in_type[i], 8, abi->class_size) : in_type[i] == PYCDS_NONE;
    for (size_t i = 0; i < sizeof in_row / sizeof in_row[0]; i++) ok &= known ? in_row[i] % 8 == 0 && range_ok(in_row[i], 8, abi->class_slotdef_size) : in_row[i] == PYCDS_NONE;
    return ok;
}

static int check_abi(const Archive *a, char why[PYCDS_WHY]) {
    const PycdsAbi *abi = a->abi;
    /* code_basicsize: an upper bound that no layout comes near, so that sums with it stay small. */
    if (abi->type_offset % 8 != 0 || abi->type_offset > 64 || abi->code_basicsize < abi->type_offset + 8 || abi->code_basicsize > 4096 ||
        !shapes_abi_ok(abi, (a->header->required_features & PYCDS_FEATURE_CODE_VERSION) != 0) || abi->small_int_min < -5 || abi->small_int_max > 1024 || abi->small_int_min > abi->small_int_max ||
        !collector_ok(abi) || !classes_ok(abi))
        return refuse(why, "its ABI description is impossible");
    for (uint32_t i = 0; i < a->self_check_count; i++) {
        const PycdsSelfCheck *c = &a->self_checks[i];
        const int of_type = c->what == PYCDS_CHECK_BASICSIZE;
        if (c->subject > PYCDS_CHECK_TYPE || c->what > PYCDS_CHECK_BASICSIZE || (c->subject == PYCDS_CHECK_TYPE) != of_type || !string_ok(a, c->name))
            return refuse(why, "its self-check %" PRIu32 " is unknown", i);
        const uint32_t size = c->what == PYCDS_CHECK_I32 ? 4 : 8;
        if (!of_type && (c->offset % size != 0 || !range_ok(c->offset, size, abi->code_basicsize)))
            return refuse(why, "its self-check %" PRIu32 " is outside of a code object", i);
    }
    return 0;
}

static int check_folders(const Archive *a, char why[PYCDS_WHY]) {
    for (uint32_t i = 0; i < a->root_count; i++)
        if (!string_ok(a, a->roots[i].name) || !string_ok(a, a->roots[i].path)) return refuse(why, "root %" PRIu32 " is damaged", i);
    for (uint32_t i = 0; i < a->suffix_count; i++) {
        const PycdsSuffix *s = &a->suffixes[i];
        if (!text_ok(a, s->suffix, s->length) || s->loader > PYCDS_SUFFIX_SOURCELESS) return refuse(why, "suffix %" PRIu32 " is damaged", i);
    }
    for (uint32_t i = 0; i < a->folder_count; i++) {
        const PycdsFolder *f = &a->folders[i];
        if (!text_ok(a, f->path, f->path_length) || !optional_index_ok(f->root, a->root_count) || !string_ok(a, f->relative) ||
            !range_ok(f->first_entry, f->entry_count, a->entry_count))
            return refuse(why, "folder %" PRIu32 " is damaged", i);
    }
    return check_hash(a->folder_hash, a->folder_hash_size, a->folder_count, "folder", why);
}

int tables_entry_ok(const Archive *a, uint32_t index) {
    const PycdsEntry *e = &a->entries[index];
    if (!index_ok(e->folder, a->folder_count) || !text_ok(a, e->name, e->name_length)) return 0;
    const PycdsFolder *folder = &a->folders[e->folder];
    if (index - folder->first_entry >= folder->entry_count) return 0; /* unsigned: an index before the first one is a huge number */
    if (e->kind > PYCDS_ENTRY_ASK || e->stamp_kind > PYCDS_STAMP_DIGEST) return 0;
    /* What loader the file's suffix must have. */
    static const uint8_t loader[] = {PYCDS_SUFFIX_SOURCE, UINT8_MAX, PYCDS_SUFFIX_EXTENSION, PYCDS_SUFFIX_SOURCELESS, UINT8_MAX, UINT8_MAX};
    if (loader[e->kind] != UINT8_MAX && (!index_ok(e->suffix, a->suffix_count) || a->suffixes[e->suffix].loader != loader[e->kind])) return 0;
    if (e->unit != PYCDS_NONE) {
        if (!index_ok(e->unit, a->unit_count) || (e->kind != PYCDS_ENTRY_SOURCE && e->kind != PYCDS_ENTRY_SOURCELESS)) return 0;
        /* Code that nothing is compared with could be served stale. */
        if (e->stamp_kind == PYCDS_STAMP_NONE && (a->header->required_features & PYCDS_FEATURE_SEALED) == 0) return 0;
    }
    if (!optional_index_ok(e->child, a->folder_count) || !optional_string_ok(a, e->reason)) return 0;
    return e->stamp_kind == PYCDS_STAMP_PYC ? string_ok(a, e->stamp_file) : optional_string_ok(a, e->stamp_file);
}

/* Units and name blocks lie in DATA one after the other: none reaches into what another one owns. */
static int check_units(const Archive *a, char why[PYCDS_WHY]) {
    uint64_t end = 0;
    for (uint32_t i = 0; i < a->unit_count; i++) {
        const PycdsUnit *u = &a->units[i];
        if (u->data_offset % PYCDS_UNIT_ALIGNMENT != 0 || u->data_offset < end || !range_ok(u->data_offset, u->data_size, a->data_size) ||
            u->root % PYCDS_OBJECT_ALIGNMENT != 0 || !range_ok(u->root, a->abi->code_basicsize, u->data_size))
            return refuse(why, "unit %" PRIu32 " is misplaced in DATA", i);
        end = u->data_offset + u->data_size;
        if (u->reloc_offset % 8 != 0 || u->reloc_size < sizeof(PycdsRelocations) || !range_ok(u->reloc_offset, u->reloc_size, a->relocations_size) || u->flags != 0)
            return refuse(why, "unit %" PRIu32 " has impossible relocations", i);
    }

    uint32_t next = 0;
    for (uint32_t i = 0; i < a->name_block_count; i++) {
        const PycdsNameBlock *b = &a->name_blocks[i];
        if (b->data_offset % PYCDS_UNIT_ALIGNMENT != 0 || b->data_offset < end || !range_ok(b->data_offset, b->data_size, a->data_size))
            return refuse(why, "name block %" PRIu32 " is misplaced in DATA", i);
        end = b->data_offset + b->data_size;
        if (b->first_name != next || !range_ok(next, b->name_count, a->name_count)) return refuse(why, "name block %" PRIu32 " has the wrong names", i);
        next += b->name_count;
    }
    if (next != a->name_count) return refuse(why, "%" PRIu32 " of %" PRIu32 " names are in no block", a->name_count - next, a->name_count);
    return 0;
}

static int check_pures(const Archive *a, char why[PYCDS_WHY]) {
    for (uint32_t i = 0; i < a->pure_count; i++) {
        const PycdsPure *p = &a->pures[i];
        const int pattern = p->kind <= PYCDS_PURE_BYTES_PATTERN;
        if (p->kind > PYCDS_PURE_SINGLE || !range_ok(p->text, p->text_size, a->pure_data_size) ||
            (pattern ? p->result % 4 != 0 || p->result_size < sizeof(PycdsPurePattern) || !range_ok(p->result, p->result_size, a->pure_data_size)
                     : !index_ok(p->result, a->unit_count)))
            return refuse(why, "pure result %" PRIu32 " is damaged", i);
    }
    return check_hash(a->pure_hash, a->pure_hash_size, a->pure_count, "pure result", why);
}

int tables_name_ok(const Archive *a, uint32_t index, const PycdsNameBlock *block) {
    /* What we touch of a str: the smallest header there is, PyASCIIObject of 3.12+ (40 bytes; 16 more in free-threaded builds). */
    const uint64_t str_size = (uint64_t)a->abi->type_offset + 32;
    const uint32_t word = a->names[index];
    return word & PYCDS_NAME_LATIN1 ? (word & ~PYCDS_NAME_LATIN1) <= 0xff : range_ok((uint64_t)word * PYCDS_OBJECT_ALIGNMENT, str_size, block->data_size);
}

int tables_check(const Archive *a, char why[PYCDS_WHY]) {
    if (a->strings_size == 0 || a->strings[a->strings_size - 1] != '\0') return refuse(why, "its strings are cut");
    if ((uint64_t)a->header->data_hot_size * PYCDS_HOT_UNIT > a->data_size) return refuse(why, "its hot part is larger than DATA");
    if (check_abi(a, why) != 0 || check_folders(a, why) != 0 || check_units(a, why) != 0 || check_pures(a, why) != 0) return -1;
    return check_hash(a->entry_hash, a->entry_hash_size, a->entry_count, "entry", why);
}
