/* Between pure_hook.c and pure_site.c. */
#ifndef PYCDS_PURE_HOOK_H
#define PYCDS_PURE_HOOK_H

#include "pure.h"

/* An int attribute, or -1. Never leaves an exception. */
long pure_int_attribute(PyObject *object, const char *name);
/* pure_hook() for 3.11: at the one place where re calls its compiler. `sampled`: a function of (o, a) that gives o.compile, never called yet. */
int pure_site_hook(PyObject *re, PyObject *compiler, PyObject *sampled);

#endif
