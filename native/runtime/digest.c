/* The digest for every processor, and the choice between it and digest_avx2.c. */
#include "digest.h"
#include "xxh3.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <stdatomic.h>

/*
 * What the C library found out at the start of the process (glibc since 2.33, sys/platform/x86.h): of leaf 7, index 1, the
 * four registers as the processor gives them, then what of it may be used. cpuid itself leaves a virtual machine each
 * time; the compiler's __builtin_cpu_supports() does it a dozen times when the library is loaded, 0.05 ms there.
 */
struct cpuid_feature {
    unsigned int present[4], usable[4];
};
extern const struct cpuid_feature *__x86_get_cpuid_feature_leaf(unsigned int index) __attribute__((weak));
#define LEAF_7 1

/* Another C library: once a process. */
static int ask_processor(void) {
    static atomic_int answer; /* 1 no, 2 yes */
    int known = atomic_load(&answer);
    if (known == 0) {
        unsigned int a, b, c, d, low, high;
        int has = 0;
        if (__get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE) != 0) {
            __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
            has = (low & 6) == 6 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2) != 0; /* the kernel keeps both halves of the registers */
        }
        known = has ? 2 : 1;
        atomic_store(&answer, known);
    }
    return known == 2;
}

static int has_avx2(void) { return __x86_get_cpuid_feature_leaf != NULL ? (__x86_get_cpuid_feature_leaf(LEAF_7)->usable[1] & bit_AVX2) != 0 : ask_processor(); }
#endif

uint64_t digest(const void *bytes, size_t size, const void *more, size_t more_size) {
#ifdef __x86_64__
    if (has_avx2()) return digest_avx2(bytes, size, more, more_size);
#endif
    return xxh3_both(bytes, size, more, more_size);
}
