/*
 * Vectors of 32 bytes where the processor has them: half the instructions for what
 * is 2 to 3 % of an archived import. Everything in this file is compiled for AVX2, so
 * nothing of it may be called before the processor was asked.
 */
#ifdef __x86_64__
#ifdef __clang__
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif
#define XXH_VECTOR 2 /* XXH_AVX2 */
#include "digest.h"
#include "xxh3.h"

uint64_t digest_avx2(const void *bytes, size_t size, const void *more, size_t more_size) { return xxh3_both(bytes, size, more, more_size); }
#ifdef __clang__
#pragma clang attribute pop
#endif
#else
typedef int digest_needs_x86_64;
#endif
