/*
 * Building a warm image, the side of the process that is imaged. The launcher
 * (native/launch) loads this library before Python is initialised. Reading order:
 *   begin.c  a process ID that no process has; the fork handlers, before all others
 *   watch.c  what imports draw and read that Python code cannot see
 *   memory.c memory of the image that is given back or moved: anonymous before that
 *   process.c what imports change of their process: working folder, umask, limits
 *   config.c CPython's PyConfig, which is made this start's
 *   run.c    Python is initialised: the driver (python/pycds_warm), the program, the end
 *   park.c   the child side of the fork stops here, and every restored process goes on here
 *
 * The protocol with the command line is a folder, WORK:
 *   WORK/driver.py     the driver's source
 *   WORK/request.json  what to do, read by the driver
 *   WORK/environment   the environment that the program was started with; entries end with NUL
 *   WORK/facts.json    written by the driver before parking: modules, files, environment
 *   WORK/parked        a WarmState and 64 WarmSignal structs, written by the parked
 *                      process; when it is there the memory can be read. The command
 *                      line kills that process when it has read it.
 *   WORK/refused       why there will be no image, in one line
 */
#ifndef PYCDS_WARM_H
#define PYCDS_WARM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "start.h"

#pragma GCC visibility push(hidden)

/* Exit status of the parked child when it refuses because of threads. */
enum { WARM_EXIT_THREADS = 77, WARM_EXIT_FAILED = 78 };

extern const char *warm_work;
/* The environment before Python was initialised; ends with NULL. */
extern char **warm_environment;
/* Overwrites and frees it. */
void warm_forget_environment(void);
/* What getpid() gives while the image is built. */
extern int warm_fake_pid;

/* Writes `text` to WORK/refused. */
void warm_refuse(const char *text);

/* ---- park.c ---- */

/* Registers the handlers; false when memory ran out. */
bool park_register(void);
/* The next fork's child parks. */
void park_arm(void);
/* Threads of the process when all other prepare handlers had run, up to `size` IDs; the count may be larger. */
size_t park_threads(int *ids, size_t size);
/* This start, in a restored process; NULL in the one that builds. */
const WarmStart *park_start(void);

/* Whether this start has another RLIMIT_STACK than the process that was parked. */
bool park_stack_differs(void);

/* Ends the blocking of signals that the restorer began; once. */
void park_let_signals_in(void);

/* ---- config.c ---- */

/* Looks where PyConfig has what is written to it; Python is initialised. */
void config_find(void);
/* For the driver's namespace; ends with a NULL name. */
struct PyMethodDef;
struct PyMethodDef *config_functions(void);

/* ---- memory.c ---- */

/* From now on the launcher asks here before madvise and mremap. */
void memory_begin(void);

/* ---- process.c ---- */

/* Before Python, and at the park: how the process is. */
void process_begin(void);
void process_parked(void);
/* For the driver's namespace; ends with a NULL name. */
struct PyMethodDef *process_functions(void);

/* ---- watch.c ---- */

/* Imports begin. */
void watch_begin(void);
/* Whether C code has asked for this variable: it may have kept a pointer to the value. */
bool watch_was_read(const char *name, size_t length);
/* For the driver's namespace; ends with a NULL name. */
struct PyMethodDef *watch_functions(void);

#pragma GCC visibility pop

/* Called by the launcher before Python is initialised. NULL, or why no image can be built here. */
__attribute__((visibility("default"))) const char *pycds_warm_begin(const char *work);
/* Called by the launcher in place of Py_RunMain; the process's exit status. */
__attribute__((visibility("default"))) int pycds_warm_run(void);

#endif
