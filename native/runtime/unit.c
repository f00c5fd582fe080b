/*
 * Digests and relocates one unit: the objects of one module, or a copy of those
 * of one source string.
 *
 * Two passes over the relocation streams. The first only reads: it finds every
 * count, index and slot that does not fit and makes every name canonical. The
 * second writes and cannot fail. Between them is the point of no return; a unit
 * that is refused before it was not touched, one that is refused after it
 * (building a frozenset needs memory) is never handed out.
 *
 * What an internal slot points at is not looked at: the digest says that the
 * bytes are the writer's, and `pycds verify` checks the writer.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "pages.h"
#include "slots.h"

/* Pieces of one relocation stream, as schema.ts ("Relocations") lays them out. */
typedef struct Streams {
    PycdsRelocations head;
    const PycdsRelocationGroup *groups;
    const PycdsRebuilt *rebuilt;
    const void *known; /* numbers of names */
    uint32_t known_width;
    const uint8_t *indexes; /* into the unit's list of them: of code objects, tuples, name slots */
    Shapes shapes;
    const uint8_t *bits; /* which names of the list are known ones */
    PyObject **names;    /* that list, canonical; of malloc */
    const uint8_t *slots, *internal, *after_groups, *name_slots, *end;
    int prelinked; /* every external object lies where the slots already point */
} Streams;

/* ---- co_version ---------------------------------------------------------------- */

/*
 * Unique per code object and process: two functions with one version make CALL's
 * guards pass for the wrong one, and 3.12+ crashes (facts/cpython.md §4). The
 * interpreter counts up from 1; we begin where it will not come.
 *
 * Another copy of this library may be in the process (one in a venv, one
 * preloaded), so the counter is shared through the interpreter's own dict, which no
 * program sees. Its form, a _Atomic uint32_t, is a contract between our versions.
 */
#define VERSION_FIRST UINT32_C(0x40000000)
#define VERSION_LIMIT UINT32_C(0xf0000000)

static _Atomic uint32_t *version_counter(void) {
    static _Atomic uint32_t own = VERSION_FIRST;
    static _Atomic uint32_t *counter;
    if (counter != NULL) return counter;
    counter = &own;
    PyObject *dict = PyInterpreterState_GetDict(PyInterpreterState_Get()); /* borrowed */
    PyObject *shared = dict != NULL ? PyDict_GetItemString(dict, "pycds.co_version") : NULL;
    if (shared != NULL) {
        void *pointer = PyLong_AsVoidPtr(shared);
        if (pointer != NULL) counter = pointer;
    } else if (dict != NULL) {
        shared = PyLong_FromVoidPtr((void *)(uintptr_t)&own);
        if (shared != NULL) PyDict_SetItemString(dict, "pycds.co_version", shared);
        Py_DecRef(shared);
    }
    PyErr_Clear();
    return counter;
}

/* `count` fresh numbers from *first on; -1 when there are none left. */
static int take_versions(uint32_t count, uint32_t *first) {
    _Atomic uint32_t *counter = version_counter();
    uint32_t now = atomic_load_explicit(counter, memory_order_relaxed);
    do {
        if (now > VERSION_LIMIT || count > VERSION_LIMIT - now) return -1;
    } while (!atomic_compare_exchange_weak_explicit(counter, &now, now + count, memory_order_relaxed, memory_order_relaxed));
    *first = now;
    return 0;
}

/* ---- pass 1: only reads ------------------------------------------------------------ */

static int open_streams(Streams *s, const PycdsAbi *abi, const uint8_t *stream, uint32_t size) {
    memcpy(&s->head, stream, sizeof s->head); /* reloc_size was checked to hold it */
    s->known_width = s->head.name_count <= UINT32_C(0x10000) && s->head.first_new <= UINT32_C(0x10000) ? 2 : 4;
    const uint64_t groups = sizeof s->head, rebuilt = groups + (uint64_t)s->head.group_count * sizeof *s->groups,
                   known = rebuilt + (uint64_t)s->head.rebuilt_count * sizeof *s->rebuilt,
                   bits = known + (uint64_t)s->head.known_count * s->known_width,
                   masks = bits + ((uint64_t)s->head.name_count + 7) / 8,
                   slots = masks + s->head.code_count;
    if (slots > size) return -1;
    s->groups = (const PycdsRelocationGroup *)(const void *)(stream + groups);
    s->rebuilt = (const PycdsRebuilt *)(const void *)(stream + rebuilt);
    s->known = stream + known;
    s->bits = stream + bits;
    s->shapes = (Shapes){.abi = abi, .code_count = s->head.code_count, .tuple_count = s->head.tuple_count, .masks = stream + masks};
    s->slots = stream + slots;
    s->end = stream + size;
    return 0;
}

int slots_measure(const uint8_t **stream, const uint8_t *end, uint32_t count, uint32_t width, uint64_t span, uint64_t size) {
    enum { CHUNK = 64 };
    const uint8_t *at = *stream;
    uint64_t words = 0;
    if (count == 0) return 0;
    for (uint32_t i = 0; i < count;) {
        /* Most of any stream: no escape and no 0 in the next 64, in one vectorised look. */
        if (i != 0 && count - i >= CHUNK && end - at >= CHUNK) {
            uint32_t sum = 0;
            uint8_t odd_ones = 0;
            for (int j = 0; j < CHUNK; j++) {
                sum += at[j];
                odd_ones |= (uint8_t)((at[j] >= PYCDS_SLOT_U16) | (at[j] == 0));
            }
            if (!odd_ones) {
                words += sum;
                at += CHUNK;
                i += CHUNK;
                continue;
            }
        }
        const uint32_t stop = count - i >= CHUNK ? i + CHUNK : count;
        for (; i < stop; i++) {
            if (at == end) return -1;
            uint32_t delta = *at++;
            if (delta >= PYCDS_SLOT_U16) {
                const int bytes = delta == PYCDS_SLOT_U16 ? 2 : 4;
                if (end - at < bytes) return -1;
                delta = bytes == 2 ? load_u16(at) : load_u32(at);
                at += bytes;
            }
            if (delta == 0 && i != 0) return -1;
            words += delta;
        }
        if (words > size) return -1; /* else a hostile sum could come round to a small one */
    }
    *stream = at;
    return words * width + span > size ? -1 : 0;
}

static int measure(const uint8_t **stream, const uint8_t *end, uint32_t count, uint32_t width, uint64_t size) { return slots_measure(stream, end, count, width, width, size); }

/* `count` indexes, each of a name of the unit's list, to the stream's end. */
static int measure_indexes(const Streams *s, uint64_t count) {
    const uint8_t *at = s->indexes;
    const uint32_t names = s->head.name_count;
    for (; count != 0; count--) {
        if (at == s->end) return -1;
        if (*at >= PYCDS_INDEX_WIDE && s->end - at < (*at == PYCDS_INDEX_U32 ? 5 : 2)) return -1;
        if (next_index(&at) >= names) return -1;
    }
    return at == s->end ? 0 : -1;
}

static int measure_all(Streams *s, const uint8_t *base, uint64_t size) {
    const uint8_t *at = s->slots;
    if (shapes_measure_codes(&s->shapes, &at, s->end, size) != 0) return -1;
    s->internal = at;
    if (measure(&at, s->end, s->head.internal_count, 8, size) != 0) return -1;
    s->prelinked = s->head.group_count != 0;
    for (uint32_t i = 0; i < s->head.group_count; i++) {
        PyObject *const object = external_object(s->groups[i].external);
        if (object == NULL) return -1;
        s->prelinked &= s->groups[i].hint == (uintptr_t)object;
        if (measure(&at, s->end, s->groups[i].count, 8, size) != 0) return -1;
    }
    s->after_groups = at;
    if (shapes_measure_tuples(&s->shapes, &at, s->end, base, size, (uint64_t)(s->end - at)) != 0) return -1;
    s->name_slots = at;
    if (measure(&at, s->end, s->head.name_slot_count, 8, size) != 0) return -1;
    if (measure(&at, s->end, s->head.filename_count, 8, size) != 0) return -1;
    if (measure(&at, s->end, s->head.version_count, 4, size) != 0) return -1;
    for (uint32_t i = 0; i < s->head.rebuilt_count; i++) {
        const PycdsRebuilt *r = &s->rebuilt[i];
        if (r->kind != PYCDS_REBUILT_FROZENSET || r->items % 8 != 0 || r->items > size || r->item_count > (size - r->items) / 8) return -1;
        if (measure(&at, s->end, r->slot_count, 8, size) != 0) return -1;
    }
    s->indexes = at;
    return measure_indexes(s, s->shapes.names + s->head.name_slot_count);
}

/* The unit's list of names, each canonical. -1: a bad number or block, no memory, or an exception. */
static int resolve_names(Archive *a, Streams *s) {
    if (s->head.name_count == 0) return s->head.known_count == 0 ? 0 : -1;
    PyObject **const names = malloc((size_t)s->head.name_count * sizeof *names); /* eight names a byte of a mapped file: no overflow */
    if (names == NULL) return -1;
    s->names = names;
    uint32_t known = 0, fresh = s->head.first_new, bits = 0;
    for (uint32_t i = 0; i < s->head.name_count; i++, bits >>= 1) {
        if (i % 8 == 0) bits = s->bits[i / 8];
        uint32_t number;
        if (!(bits & 1)) number = fresh++;
        else if (known == s->head.known_count) return -1;
        else number = s->known_width == 2 ? ((const uint16_t *)s->known)[known++] : ((const uint32_t *)s->known)[known++];
        if (number >= a->name_count) return -1;
        PyObject *name = a->canonical[number];
        if (name == NULL && (name = name_object(a, number)) == NULL) return -1;
        names[i] = name;
    }
    return known == s->head.known_count ? 0 : -1;
}

static void close_streams(Streams *s) {
    free(s->names);
    s->names = NULL;
}

static int digest_matches(const uint8_t *data, const uint8_t *stream, const PycdsUnit *u) { return digest(data, u->data_size, stream, u->reloc_size) == u->digest; }

/* ---- pass 2: only writes ------------------------------------------------------------- */

/* All streams but the rebuilt ones; returns where those begin. */
static const uint8_t *relocate(const Streams *s, uint8_t *base, uint64_t delta, PyObject *filename, uint32_t version) {
    const uint8_t *at = s->internal, *index = s->indexes;
    PyObject *const *names = s->names;
    shapes_codes(&s->shapes, base, delta, filename, version, names, &index);
    if (s->shapes.abi->code_version != PYCDS_NONE) version += s->head.code_count;
    EACH_SLOT(at, base, s->head.internal_count, 8, *(uint64_t *)(void *)slot += delta);
    if (s->prelinked) at = s->after_groups; /* written for this very interpreter (src/image/prelink.ts) */
    for (uint32_t i = 0; !s->prelinked && i < s->head.group_count; i++) {
        PyObject *const object = external_object(s->groups[i].external);
        EACH_SLOT(at, base, s->groups[i].count, 8, SLOT(slot, 0) = object);
    }
    shapes_tuples(&s->shapes, base, names, &index);
    at = s->name_slots;
    EACH_SLOT(at, base, s->head.name_slot_count, 8, SLOT(slot, 0) = names[next_index(&index)]);
    EACH_SLOT(at, base, s->head.filename_count, 8, SLOT(slot, 0) = filename);
    EACH_SLOT(at, base, s->head.version_count, 4, *(uint32_t *)(void *)slot = version++);
    return at;
}

/* As marshal makes it: added one by one, in the order in which the .pyc has them. */
static PyObject *make_frozenset(uint8_t *base, const PycdsRebuilt *r) {
    PyObject *set = PyFrozenSet_New(NULL);
    if (set == NULL) return NULL;
    for (uint32_t i = 0; i < r->item_count; i++) {
        PyObject *item = SLOT(base, r->items + (uint64_t)i * 8);
        if (item == NULL || PySet_Add(set, item) != 0) {
            Py_DecRef(set);
            return NULL;
        }
    }
    return set;
}

static int rebuild(const Streams *s, const uint8_t *at, uint8_t *base) {
    for (uint32_t i = 0; i < s->head.rebuilt_count; i++) {
        PyObject *const set = make_frozenset(base, &s->rebuilt[i]); /* its reference is the image's */
        if (set == NULL) return -1;
        EACH_SLOT(at, base, s->rebuilt[i].slot_count, 8, SLOT(slot, 0) = set);
    }
    return 0;
}

/* ---- together --------------------------------------------------------------------------- */

static PyObject *refused(Archive *a, uint32_t unit, char why[PYCDS_WHY], const char *reason) {
    a->unit_state[unit] = UNIT_BAD;
    if (PyErr_Occurred() == NULL) snprintf(why, PYCDS_WHY, "%s (unit %" PRIu32 ")", reason, unit);
    return NULL;
}

static const char *check(Archive *archive, const PycdsUnit *u, const uint8_t *base, Streams *streams, uint32_t *version) {
    const uint8_t *stream = archive->relocations + u->reloc_offset;
    if (!digest_matches(base, stream, u)) return "archived code is damaged (digest differs)";
    if (open_streams(streams, archive->abi, stream, u->reloc_size) != 0 || measure_all(streams, base, u->data_size) != 0) return "archived code has impossible relocations";
    if (resolve_names(archive, streams) != 0) return "archived names are damaged, or cannot be read now";
    const uint64_t versions = (uint64_t)streams->head.version_count + (archive->abi->code_version == PYCDS_NONE ? 0 : streams->head.code_count);
    if (versions > UINT32_MAX || (versions != 0 && take_versions((uint32_t)versions, version) != 0)) return "no code versions are left";
    return NULL;
}

/*
 * Everything that can be found out without writing: the bytes at `base` are unit `u`'s, and its streams fit. NULL, and the
 * streams are to be closed; or a reason (an exception may be set).
 */
static const char *prepare(Archive *archive, const PycdsUnit *u, const uint8_t *base, Streams *streams, uint32_t *version) {
    streams->names = NULL;
    *version = 0;
    const char *const reason = check(archive, u, base, streams, version);
    if (reason != NULL) close_streams(streams);
    return reason;
}

/* What to add to the unit's internal slots. */
static uint64_t moved(const Archive *archive, const PycdsUnit *u, const uint8_t *base) { return (uint64_t)(uintptr_t)base - (archive->header->preferred_base + u->data_offset); }

PyObject *unit_code(Archive *archive, uint32_t unit, PyObject *filename, char why[PYCDS_WHY]) {
    const PycdsUnit *u = &archive->units[unit];
    if (archive->unit_state[unit] == UNIT_READY) return (PyObject *)(void *)(archive->unit_base[unit] + u->root);
    if (archive->unit_state[unit] == UNIT_BAD) return refused(archive, unit, why, "archived code is damaged");

    Streams streams;
    uint32_t version;
    /* Read first: what is digested then is our own, which nobody changes. */
    uint8_t *const base = archive_unit(archive, unit, why);
    if (base == NULL) return NULL;
    const char *reason = prepare(archive, u, base, &streams, &version);
    if (reason != NULL) return refused(archive, unit, why, reason);

    /*
     * Point of no return: from here on the unit's bytes change, so it can't be
     * begun again. It counts as bad until it is whole: making a frozenset may
     * run the garbage collector, and with it any Python code, which must not
     * find half a unit.
     */
    archive->unit_state[unit] = UNIT_BAD;
    Py_IncRef(filename);
    const uint8_t *rest = relocate(&streams, base, moved(archive, u, base), filename, version);
    close_streams(&streams);
    if (rebuild(&streams, rest, base) != 0) {
        if (PyErr_ExceptionMatches(PyExc_MemoryError)) return NULL;
        PyErr_Clear();
        return refused(archive, unit, why, "archived code has an impossible frozenset");
    }
    archive->unit_state[unit] = UNIT_READY;
    archive->prelinked += streams.prelinked;
    return (PyObject *)(void *)(base + u->root);
}

/* ---- copies ----------------------------------------------------------------------------- */

PyObject *unit_copy(Archive *archive, uint32_t unit, PyObject *filename) {
    const PycdsUnit *u = &archive->units[unit];
    if (archive->unit_state[unit] == UNIT_BAD) return NULL; /* pure_find() has faulted it in */
    uint8_t *const base = pages_take(archive->header->preferred_base, u->data_size, 0);
    if (base == NULL) return NULL;
    /* What is digested is the copy, which nobody changes. */
    memcpy(base, archive->data + u->data_offset, u->data_size);
    Streams streams;
    uint32_t version;
    if (prepare(archive, u, base, &streams, &version) != NULL) {
        archive->unit_state[unit] = UNIT_BAD;
        return NULL;
    }
    Py_IncRef(filename);
    const uint8_t *rest = relocate(&streams, base, moved(archive, u, base), filename, version);
    close_streams(&streams);
    if (rebuild(&streams, rest, base) != 0) return NULL;
    return (PyObject *)(void *)(base + u->root);
}
