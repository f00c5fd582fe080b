/* Digests of what is large: XXH3-64, seed 0, by the widest vectors of this processor. No Python objects. */
#ifndef PYCDS_DIGEST_H
#define PYCDS_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/* Of `size` bytes at `bytes`, followed by `more_size` at `more`. */
uint64_t digest(const void *bytes, size_t size, const void *more, size_t more_size);
/* The same where the processor has AVX2 (digest_avx2.c). */
uint64_t digest_avx2(const void *bytes, size_t size, const void *more, size_t more_size);

#endif
