/*
 * Between the restorer and the process that it has restored: what this start is
 * like. Passed in rax to the place where the parked process stopped.
 */
#ifndef PYCDS_WARM_START_H
#define PYCDS_WARM_START_H

#include <stdint.h>

typedef struct WarmStart {
    uint64_t argc;
    char **argv;
    char **envp;
    uint64_t *auxv;   /* pairs, ends with AT_NULL */
    uint64_t mask;    /* the signals that our starter has blocked: until the process is whole, all are */
    uint64_t ignored; /* bit N-1: signal N was ignored by whoever started us, and stays so */
    const void *image; /* PycdsWarmHeader: the tables stay mapped */
} WarmStart;

#endif
