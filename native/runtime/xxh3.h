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

#endif
