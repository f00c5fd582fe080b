/* Names of environment variables that C code asked for, in the order of asking; shared with native/warm. */
#ifndef PYCDS_READS_H
#define PYCDS_READS_H

#include <stdbool.h>
#include <stdint.h>

enum { PYCDS_READS = 512 };

typedef struct PycdsReads {
    uint32_t count;
    bool closed; /* no more are noted */
    char names[PYCDS_READS][56];
} PycdsReads;

#endif
