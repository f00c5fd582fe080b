/*
 * What the launcher knows of CPython's start-up structures. PyConfig stays opaque:
 * only its size is needed, to give it room. Measured with the headers of each
 * version (bytes, x86-64): 3.9 392, 3.10 392, 3.11 424, 3.12 432, 3.13 448, 3.14
 * and 3.15 456 (debug builds of 3.14: 464); test/launch/abi.test.ts measures again.
 */
#ifndef PYCDS_LAUNCH_CPYTHON_H
#define PYCDS_LAUNCH_CPYTHON_H

#include <stdint.h>

#define LAUNCH_MINOR_FIRST 9
#define LAUNCH_MINOR_LAST 15
#define LAUNCH_TEXT(minor) LAUNCH_TEXT_OF(minor)
#define LAUNCH_TEXT_OF(minor) #minor
#define LAUNCH_VERSIONS "CPython 3." LAUNCH_TEXT(LAUNCH_MINOR_FIRST) " to 3." LAUNCH_TEXT(LAUNCH_MINOR_LAST)
#define LAUNCH_CONFIG_LEAST 300
#define LAUNCH_CONFIG_MOST 1024
/* Four times what is accepted: an interpreter that is off the mark is caught before it could write past the end. */
#define LAUNCH_CONFIG_BUFFER 4096

/* PyStatus of Include/cpython/initconfig.h, the same in every version so far; returned and passed by value. */
typedef struct CPyStatus {
    int type;
    const char *func;
    const char *err_msg;
    int exitcode;
} CPyStatus;

/* Request of native/runtime/runtime.h; test/launch/abi.test.ts compares the two. */
typedef struct LaunchRequest {
    uint32_t size;
    const char *archive;
    const char *trace;
} LaunchRequest;

#endif
