/*
 * Most slots of a unit follow from the shape of the object that they are in: a
 * code object's pointers, and the items of a tuple of names. Each takes a byte
 * or two of the relocation stream, and is written in one go.
 */
#include <string.h>

#include "slots.h"

/* Fields of a code object that are written here, all of 8 bytes but the version. */
static uint64_t code_span(const PycdsAbi *abi) {
    const uint32_t fields[] = {abi->type_offset,     abi->code_consts, abi->code_names, abi->code_exceptiontable, abi->code_localsplusnames, abi->code_localspluskinds,
                               abi->code_filename, abi->code_name,   abi->code_qualname, abi->code_linetable};
    uint64_t span = abi->code_version == PYCDS_NONE ? 0 : (uint64_t)abi->code_version + 4;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if ((uint64_t)fields[i] + 8 > span) span = (uint64_t)fields[i] + 8;
    return span;
}

static int offset_ok(uint32_t offset, uint32_t size, uint64_t end) { return offset % size == 0 && (uint64_t)offset + size <= end; }

int shapes_abi_ok(const PycdsAbi *abi, int numbered) {
    const uint32_t fields[] = {abi->code_consts,   abi->code_names, abi->code_exceptiontable, abi->code_localsplusnames, abi->code_localspluskinds,
                               abi->code_filename, abi->code_name,  abi->code_qualname,       abi->code_linetable};
    const int known = abi->code_consts != PYCDS_NONE;
    int ok = offset_ok(abi->tuple_size, 8, 72) && offset_ok(abi->tuple_items, 8, 72);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) ok = ok && (known ? offset_ok(fields[i], 8, abi->code_basicsize) : fields[i] == PYCDS_NONE);
    return ok && (known && numbered ? offset_ok(abi->code_version, 4, abi->code_basicsize) : abi->code_version == PYCDS_NONE);
}

int shapes_measure_codes(Shapes *s, const uint8_t **stream, const uint8_t *end, uint64_t size) {
    s->names = 0;
    s->size = size;
    if (s->code_count == 0) return 0;
    if (s->abi->code_consts == PYCDS_NONE) return -1;
    for (uint32_t i = 0; i < s->code_count; i++) s->names += (s->masks[i] >> 6 & 1) + (s->masks[i] >> 7);
    s->codes = *stream;
    return slots_measure(stream, end, s->code_count, 8, code_span(s->abi), size);
}

int shapes_measure_tuples(Shapes *s, const uint8_t **stream, const uint8_t *end, const uint8_t *base, uint64_t size, uint64_t most) {
    s->tuple_names = 0;
    if (s->tuple_count == 0) return s->names <= most ? 0 : -1;
    const uint64_t head = s->abi->tuple_items > s->abi->tuple_size ? s->abi->tuple_items : (uint64_t)s->abi->tuple_size + 8;
    const uint8_t *at = s->tuples = *stream;
    if (slots_measure(stream, end, s->tuple_count, 8, head, size) != 0) return -1;
    uint64_t start = 0;
    for (uint32_t i = 0; i < s->tuple_count; i++) {
        start += (uint64_t)next_delta(&at) * 8;
        uint64_t count;
        memcpy(&count, base + start + s->abi->tuple_size, sizeof count);
        /* each name takes a byte of the index stream: `most` keeps tuples that overlap from adding up */
        if (count > (size - start - s->abi->tuple_items) / 8 || count > most || s->names > most - count) return -1;
        s->names += count;
        s->tuple_names += count;
    }
    return 0;
}

void shapes_codes(const Shapes *s, uint8_t *base, uint64_t delta, PyObject *filename, uint32_t version, PyObject *const *names, const uint8_t **index) {
    const PycdsAbi *const abi = s->abi;
    PyObject *const type = external_object(PYCDS_EXT_TYPE_CODE), *const empty_tuple = external_object(PYCDS_EXT_EMPTY_TUPLE), *const empty_bytes = external_object(PYCDS_EXT_EMPTY_BYTES);
    const uint32_t consts = abi->code_consts, code_names = abi->code_names, variables = abi->code_localsplusnames, exceptions = abi->code_exceptiontable, kinds = abi->code_localspluskinds,
                   lines = abi->code_linetable;
    const uint8_t *at = s->codes, *mask = s->masks;
    const int numbered = abi->code_version != PYCDS_NONE;
    uint8_t *slot = base;
    for (uint32_t i = 0; i < s->code_count; i++) {
        slot += (uint64_t)next_delta(&at) * 8;
        const uint8_t has = *mask++;
        SLOT(slot, abi->type_offset) = type;
        SLOT(slot, abi->code_filename) = filename;
        if (numbered) *(uint32_t *)(void *)(slot + abi->code_version) = version++;
        if (has & PYCDS_CODE_NAME) SLOT(slot, abi->code_name) = names[next_index(index)];
        if (has & PYCDS_CODE_QUALNAME) SLOT(slot, abi->code_qualname) = names[next_index(index)];
        if (!(has & PYCDS_CODE_CONSTS)) SLOT(slot, consts) = empty_tuple;
        if (!(has & PYCDS_CODE_NAMES)) SLOT(slot, code_names) = empty_tuple;
        if (!(has & PYCDS_CODE_LOCALSPLUSNAMES)) SLOT(slot, variables) = empty_tuple;
        if (!(has & PYCDS_CODE_EXCEPTIONTABLE)) SLOT(slot, exceptions) = empty_bytes;
        if (!(has & (PYCDS_CODE_LOCALSPLUSKINDS | PYCDS_CODE_OTHER_KINDS))) SLOT(slot, kinds) = empty_bytes;
        if (delta != 0) {
            if (has & PYCDS_CODE_CONSTS) *(uint64_t *)(void *)(slot + consts) += delta;
            if (has & PYCDS_CODE_NAMES) *(uint64_t *)(void *)(slot + code_names) += delta;
            if (has & PYCDS_CODE_LOCALSPLUSNAMES) *(uint64_t *)(void *)(slot + variables) += delta;
            if (has & PYCDS_CODE_EXCEPTIONTABLE) *(uint64_t *)(void *)(slot + exceptions) += delta;
            if (has & PYCDS_CODE_LOCALSPLUSKINDS) *(uint64_t *)(void *)(slot + kinds) += delta;
            *(uint64_t *)(void *)(slot + lines) += delta;
        }
    }
}

void shapes_tuples(const Shapes *s, uint8_t *base, PyObject *const *names, const uint8_t **index) {
    PyObject *const type = external_object(PYCDS_EXT_TYPE_TUPLE);
    const uint32_t type_offset = s->abi->type_offset, size = s->abi->tuple_size, items = s->abi->tuple_items;
    const uint8_t *at = s->tuples;
    uint64_t left = s->tuple_names;
    uint8_t *slot = base;
    for (uint32_t i = 0; i < s->tuple_count; i++) {
        slot += (uint64_t)next_delta(&at) * 8;
        SLOT(slot, type_offset) = type;
        uint64_t count = *(const uint64_t *)(const void *)(slot + size);
        /* as it was measured, unless the archive was made to write over it meanwhile */
        const uint64_t fits = (s->size - (uint64_t)(slot - base) - items) / 8, most = left < fits ? left : fits;
        if (count > most) count = most;
        left -= count;
        uint8_t *item = slot + items;
        for (; count != 0; count--, item += 8) SLOT(item, 0) = names[next_index(index)];
    }
}
