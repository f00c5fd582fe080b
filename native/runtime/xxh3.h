/* XXH3-64, seed 0, of the vendored header; its own warnings are not ours. */
#ifndef PYCDS_XXH3_H
#define PYCDS_XXH3_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wshadow"
#define XXH_INLINE_ALL
#include "../vendor/xxhash.h"
#pragma GCC diagnostic pop

static inline uint64_t xxh3(const void *bytes, size_t size) { return XXH3_64bits(bytes, size); }

/* Of two pieces, one after the other. */
static inline uint64_t xxh3_both(const void *bytes, size_t size, const void *more, size_t more_size) {
    XXH3_state_t hash;
    if (more_size == 0) return xxh3(bytes, size);
    XXH3_INITSTATE(&hash);
    XXH3_64bits_reset(&hash);
    XXH3_64bits_update(&hash, bytes, size);
    XXH3_64bits_update(&hash, more, more_size);
    return XXH3_64bits_digest(&hash);
}

#endif
