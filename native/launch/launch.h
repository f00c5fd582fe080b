/*
 * The launcher: a library that `pycds run`, `pycds trace` and `pycds warm create`
 * preload into the program's process. Reading order:
 *   launch.c    takes __libc_start_main; decides whether this process is a CPython
 *   mainproof.c proves that the executable's main does nothing but call Py_BytesMain
 *   limits.c    makes a limit that Node has changed what it was
 *   environ.c   makes the environment what it was before the launcher
 *   getenv.c, memory.c, cleanup.c  in the library for warm images only: what C code reads of the
 *               environment; memory given back or moved; OpenSSL's exit handler
 *   cpython.c   a main of our own, equal to Py_BytesMain, that starts the runtime in between
 *   report.c    PYCDS=auto|on|off, and the lines for PYCDS_LOG and stderr
 *
 * What it is asked to do stands in the environment, set by the command line:
 *   PYCDS_LAUNCH_RUNTIME   path of the runtime library (_pycds.so)
 *   PYCDS_LAUNCH_RUNTIME_T  its path for free-threaded Pythons (_pycds_t.so): which of the two is
 *                          needed shows only in the process, since a wrapper may start any Python
 *   PYCDS_LAUNCH_ARCHIVE   path of the archive, or empty
 *   PYCDS_LAUNCH_TRACE     path of the trace file, or empty
 *   PYCDS_LAUNCH_PRELOAD   LD_PRELOAD as it was before the launcher ("" if unset)
 *   PYCDS_LAUNCH_WARM      path of the library that builds warm images (pycds_warm.so), instead of a runtime
 *   PYCDS_LAUNCH_WORK      the folder that it works in
 *   PYCDS_LAUNCH_FILES     the soft limit of open files; the first process takes it and its variable away
 *   PYCDS_LAUNCH_CHILDREN  1: leave the environment as it is, so that child Pythons are launched too
 *
 * Which process is taken over. Three cases, decided in launch.c before main:
 *   1. No CPython API in the global scope (a shell, env, a shim, a wrapper): pass
 *      through, environment untouched, so that a Python exec'ed later is launched.
 *   2. The API is there, and main is proven to be that of python.c (mainproof.c):
 *      take over. The name of the file plays no part, so `.python3-wrapped` works.
 *   3. The API is there, but main is something else. Named like an interpreter
 *      (python, python3, python3.11, python3.13t, …): an interpreter that we can't
 *      stand in for; it gets its clean environment and its own main. Any other
 *      name: an embedding program (uwsgi, gdb, vim); as case 1.
 * Where machine code cannot be read (not x86-64) the name decides between 2 and 3.
 */
#ifndef PYCDS_LAUNCH_H
#define PYCDS_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>

/* Nothing but the two symbols of launch.c, and in the library for warm images those of getenv.c, memory.c and cleanup.c, may show in the program's global scope. */
#pragma GCC visibility push(hidden)

typedef int MainFunction(int argc, char **argv, char **envp);

/* What the environment asked for; strings are copies, NULL where empty. */
typedef struct Wish {
    char *runtime;       /* for Pythons with a GIL */
    char *free_threaded; /* for those without */
    char *archive;
    char *trace;
    char *warm;
    char *work;
} Wish;

/* ---- limits.c ---- */

/* What PYCDS_LAUNCH_FILES asks for, once: what the program or a wrapper sets later stays. Changes nothing else of a process that is passed through. */
void limits_restore(void);

/* ---- environ.c ---- */

/* True when the command line asked for a launch in this process or in one that it execs. */
bool environ_asks(void);
/* Copies the wish. False when memory ran out. */
bool environ_read(Wish *wish);
/*
 * Takes our variables and our entry of LD_PRELOAD out of the environment; the
 * other entries keep their order, their addresses and their bytes. `self`: this
 * library's path as LD_PRELOAD has it. Does nothing under PYCDS_LAUNCH_CHILDREN=1.
 * False when memory ran out (the environment is as it was).
 */
bool environ_restore(const char *self);

/* ---- mainproof.c ---- */

/* True when a call of `program_main` is the same as one of `bytes_main` (Py_BytesMain), by their machine code. */
bool main_is_bytes_main(MainFunction *program_main, const void *bytes_main);
/* True when the executable's file, symbolic links followed, has an interpreter's name. */
bool named_like_python(void);
/* False where main_is_bytes_main() cannot read machine code and always says no. */
extern const bool can_prove_main;

/* ---- cpython.c ---- */

typedef struct CPython CPython;
/* NULL when the global scope has no CPython that could be meant (before 3.8 neither). */
const CPython *cpython_find(void);
/* The address of Py_BytesMain. */
const void *cpython_bytes_main(const CPython *python);
/* True when we know how to start this version; else false with a reason. */
bool cpython_known(const CPython *python, char *why, size_t size);
/* The runtime for this flavour of Python. */
const char *cpython_runtime(const CPython *python, const Wish *wish);
/* Loads the runtime; false with a reason. Python need not be initialised. */
bool cpython_load(const char *runtime, char *why, size_t size);
/* Loads the library that builds warm images, and has it prepare this process; false with a reason. */
bool cpython_load_warm(const Wish *wish, char *why, size_t size);
/* As Py_BytesMain(argc, argv), with the runtime started between initialisation and the program; for a warm image its library goes on after initialisation. */
int cpython_main(const CPython *python, const Wish *wish, int argc, char **argv);

/* ---- report.c ---- */

enum { PYCDS_AUTO, PYCDS_ON, PYCDS_OFF };
/* PYCDS of the environment; anything unknown is auto. */
int report_mode(void);
/*
 * Says that this start cannot be served; `runtime`: the library meant, or NULL. Under PYCDS=on an error
 * line on stderr and the end of the process with status 2; else a line in PYCDS_LOG, if any.
 */
void report_refusal(const Wish *wish, const char *runtime, const char *what, const char *why, const char *next);

#pragma GCC visibility pop
#endif
