/* Reading the streams of a unit's relocations (schema.ts, Relocations). */
#ifndef PYCDS_SLOTS_H
#define PYCDS_SLOTS_H

#include "runtime.h"

/* Loaded and stored as whole words: slots are aligned (slots_measure() refuses others). */
#define SLOT(base, offset) (*(PyObject **)(void *)((base) + (offset)))

static inline uint32_t load_u16(const uint8_t *at) { return at[0] | (uint32_t)at[1] << 8; }
static inline uint32_t load_u32(const uint8_t *at) { return load_u16(at) | load_u16(at + 2) << 16; }

/*
 * Steps over `count` slots that are multiples of `width` bytes, each the first of `span` bytes. -1 unless the stream
 * holds them and they ascend and lie in `size`. Since they ascend, the last one tells for all.
 */
int slots_measure(const uint8_t **stream, const uint8_t *end, uint32_t count, uint32_t width, uint64_t span, uint64_t size);

/* Steps the slot behind `at` on: what EACH_SLOT does for one. */
static inline uint32_t next_delta(const uint8_t **at) {
    uint32_t delta = *(*at)++;
    if (__builtin_expect(delta >= PYCDS_SLOT_U16, 0)) {
        const int wide = delta == PYCDS_SLOT_U32;
        delta = wide ? load_u32(*at) : load_u16(*at);
        *at += wide ? 4 : 2;
    }
    return delta;
}

/* Runs `action` at every `slot` of a measured stream. A macro, so that each loop is compiled for its action. */
#define EACH_SLOT(at, base, count, width, action)                                                  \
    do {                                                                                           \
        uint8_t *slot = (base);                                                                    \
        for (uint32_t left_ = (count); left_ != 0; left_--) {                                      \
            slot += (uint64_t)next_delta(&(at)) * (width);                                         \
            action;                                                                                \
        }                                                                                          \
    } while (0)

/* The next of a measured stream of indexes. */
static inline uint32_t next_index(const uint8_t **at) {
    const uint32_t byte = *(*at)++;
    if (__builtin_expect(byte < PYCDS_INDEX_WIDE, 1)) return byte;
    if (byte != PYCDS_INDEX_U32) return (byte - PYCDS_INDEX_WIDE) * 0x100 + PYCDS_INDEX_WIDE + *(*at)++;
    const uint32_t index = load_u32(*at);
    *at += 4;
    return index;
}

/* ---- shapes.c: code objects, and tuples of names, whose slots follow from their shape ------------ */

typedef struct Shapes {
    const PycdsAbi *abi;
    uint32_t code_count, tuple_count;
    const uint8_t *masks, *codes, *tuples; /* of each code object its fields; streams of where they are */
    uint64_t tuple_names;                  /* how many items its tuples have */
    uint64_t names;                        /* how many of their slots receive a name */
    uint64_t size;                         /* of the unit */
} Shapes;

/* Whether the offsets of an archive are possible ones; `numbered`: its code objects have versions. */
int shapes_abi_ok(const PycdsAbi *abi, int numbered);
/* Steps over the code objects of a unit of `size` bytes. -1 unless they lie in it. */
int shapes_measure_codes(Shapes *s, const uint8_t **stream, const uint8_t *end, uint64_t size);
/* Likewise its tuples; `base` is the unit, whose tuples say how many items they have: `most` at most, together with the names of code objects. */
int shapes_measure_tuples(Shapes *s, const uint8_t **stream, const uint8_t *end, const uint8_t *base, uint64_t size, uint64_t most);
/* Write; `index` is the stream of indexes into `names`, which moves on. shapes_codes() numbers them from `version` on. */
void shapes_codes(const Shapes *s, uint8_t *base, uint64_t delta, PyObject *filename, uint32_t version, PyObject *const *names, const uint8_t **index);
void shapes_tuples(const Shapes *s, uint8_t *base, PyObject *const *names, const uint8_t **index);

#endif
