/* The digest for every processor, and the choice between it and digest_avx2.c. */
#include "digest.h"
#include "xxh3.h"

uint64_t digest(const void *bytes, size_t size, const void *more, size_t more_size) {
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) return digest_avx2(bytes, size, more, more_size);
#endif
    return xxh3_both(bytes, size, more, more_size);
}
