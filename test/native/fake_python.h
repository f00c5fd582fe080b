#ifndef FAKE_PYTHON_H
#define FAKE_PYTHON_H

#include "../../native/runtime/py.h"

/* Making a frozenset raises MemoryError. */
extern int fake_sets_fail;

#endif
