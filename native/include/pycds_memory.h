/* What pycds_warm.so wants to know before memory is given back or moved; called by the launcher. */
#ifndef PYCDS_MEMORY_H
#define PYCDS_MEMORY_H

#include <stddef.h>

typedef struct PycdsMemory {
    void (*before_advice)(void *at, size_t size, int advice);
    void (*before_move)(void *at, size_t size);
} PycdsMemory;

#endif
