/* Has a dict changed? Asked often of dicts that hardly ever do. Needs the GIL. */
#ifndef PYCDS_DICTS_H
#define PYCDS_DICTS_H

#include "py.h"

/* From now on dicts_stamp() can be asked of this dict, of which the caller keeps a reference for ever. Leaves no exception. */
void dicts_watch(PyObject *dict);
/*
 * Of a watched dict: while it answers the same number, no value and no key of the dict has
 * changed. 0: that cannot be told here, nothing is known.
 */
uint64_t dicts_stamp(PyObject *dict);

#endif
