/*
 * Between the pure*.c files: results of pure functions, archived by their input
 * (decision 0024).
 *   pure.c         the table; what is on, and for whom
 *   pure_source.c  exec, eval and compile of a str
 *   pure_regex.c   re's compiler
 *   pure_parser.c  is re's compiler still stock's?
 *   pure_hook.c    how calls of re's compiler come to us (decision 0025)
 *   pure_site.c    … in 3.11
 */
#ifndef PYCDS_PURE_H
#define PYCDS_PURE_H

#include "state.h"

/* True where results may be served or recorded: this process's main interpreter, not disabled. */
int pure_here(void);
/* An archived result; row NULL: none. */
typedef struct PureFound {
    Archive *archive;
    const PycdsPure *row;
    uint32_t *uses; /* Archive.pure_uses of the row */
} PureFound;
/* The result for an input, in the first layer that has it and, for a source, may still be copied from. `flags`: as Pure.flags. */
PureFound pure_find(uint32_t kind, uint32_t flags, const void *text, size_t size);
/* How many results were served, for the log. */
extern unsigned long pure_sources_served, pure_patterns_served;

/* Puts wrappers behind the builtins exec, eval and compile; what does not look as expected stays stock's. */
void pure_source_install(void);

/* re's compiler, asked for `pattern`: a new reference; NULL with an exception, or without one: ask stock. */
PyObject *pure_regex_serve(PyObject *pattern, PyObject *flags);
/* Records a pattern that stock compiled or that was served. */
void pure_regex_record(PyObject *pattern, PyObject *flags);

/* Remembers re's parser and compiler as they are. 0, or -1 when they are not the standard library's. No exception is left. */
int pure_parser_remember(PyObject *re, PyObject *compiler, PyObject *parser);
/* True while they are what pure_parser_remember() saw. Never leaves an exception. */
int pure_parser_is_stock(void);

/* To be called before user code: what pure_hook() needs and that an audit hook would see in the making. */
void pure_hook_prepare(void);
/* The file name "<string>" as stock's eval gives it to its code, after pure_hook_prepare(): a new reference, NULL where it is not known. No exception is left. */
PyObject *pure_sample_filename(void);
/*
 * From now on calls of the Python function `compile` of module `compiler`, which
 * _compile() of module `re` makes, come to pure_regex_serve(). 0; -1: not
 * possible in this Python. No exception is left.
 */
int pure_hook(PyObject *re, PyObject *compiler, PyObject *compile);
/* True when a tracer, profiler or monitoring tool could see which frames there are. */
int pure_observed(void);

#endif
