/*
 * Interned names. A name's str object lies in a name block; at its first use
 * it gets its type and is handed to PyUnicode_InternInPlace, which either
 * adopts it as the interned string or answers with the one that is already
 * there. Only that canonical object is ever used: an image string that is
 * marked interned without being the interned one would be wrong
 * (facts/cpython.md §3).
 */
#include "digest.h"
#include "tables.h"

/* The block that `index` is in; tables_check has seen that blocks partition the names. */
static uint32_t block_of(const Archive *a, uint32_t index) {
    uint32_t low = 0, high = a->name_block_count;
    while (high - low > 1) {
        const uint32_t middle = low + (high - low) / 2;
        if (a->name_blocks[middle].first_name <= index) low = middle;
        else high = middle;
    }
    return low;
}

/* The block's bytes, digested; NULL: damaged, or not to be had now. */
static uint8_t *checked_block(Archive *a, uint32_t block) {
    if (a->block_state[block] == UNIT_READY) return a->block_base[block];
    if (a->block_state[block] == UNIT_BAD) return NULL;
    char why[PYCDS_WHY];
    uint8_t *const base = archive_block(a, block, why);
    if (base == NULL) return NULL;
    const PycdsNameBlock *b = &a->name_blocks[block];
    const int right = digest(base, b->data_size, NULL, 0) == b->digest;
    a->block_state[block] = right ? UNIT_READY : UNIT_BAD;
    return right ? base : NULL;
}

PyObject *name_object(Archive *archive, uint32_t index) {
    PyObject *name = archive->canonical[index];
    if (name != NULL) return name;

    const uint32_t word = archive->names[index], block = block_of(archive, index);
    if (!tables_name_ok(archive, index, &archive->name_blocks[block])) return NULL;
    if (word & PYCDS_NAME_LATIN1) {
        /* A singleton of the interpreter, but perhaps not interned yet (until 3.11). */
        name = py_new_ref(external_object(PYCDS_EXT_LATIN1 + (word & ~PYCDS_NAME_LATIN1)));
    } else {
        uint8_t *const base = checked_block(archive, block);
        if (base == NULL) return NULL;
        uint8_t *const object = base + (uint64_t)word * PYCDS_OBJECT_ALIGNMENT;
        *(PyObject **)(void *)(object + archive->abi->type_offset) = &PyUnicode_Type;
        name = (PyObject *)(void *)object;
    }
    /*
     * Takes our reference and gives one to the canonical string, which we keep for ever. Adopting
     * takes two references of the image string's own away before 3.12; it has 2^40.
     */
    PyUnicode_InternInPlace(&name);
    archive->canonical[index] = name;
    return name;
}
