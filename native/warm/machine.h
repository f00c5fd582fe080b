/* The processor's features, which C libraries chose their code by when they were loaded. */
#ifndef PYCDS_WARM_MACHINE_H
#define PYCDS_WARM_MACHINE_H

#include <stdint.h>
#include <string.h>

static inline void machine_cpuid(uint32_t leaf, uint32_t words[4]) {
    __asm__ volatile("cpuid" : "=a"(words[0]), "=b"(words[1]), "=c"(words[2]), "=d"(words[3]) : "a"(leaf), "c"(0));
}

/* Leaves 1, 7 and 0x80000001 and XCR0, without what differs from core to core. 64 bytes. */
static inline void machine_cpu(uint8_t *to) {
    uint32_t words[16] = {0};
    machine_cpuid(1, words);
    words[1] = 0;                       /* APIC ID, number of logical processors */
    machine_cpuid(7, words + 4);
    machine_cpuid(UINT32_C(0x80000001), words + 8);
    words[9] = 0;
    if ((words[2] & (UINT32_C(1) << 27)) != 0) { /* OSXSAVE */
        uint32_t low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        words[12] = low;
        words[13] = high;
    }
    memcpy(to, words, sizeof words);
}

#endif
