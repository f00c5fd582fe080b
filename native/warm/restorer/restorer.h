/*
 * The restorer: a static program without a C library that puts the memory of a
 * parked process back where it was and goes on where that process stopped.
 * Reading order:
 *   entry.c  from the kernel's stack to ours; the steps in order; the jump
 *   args.c   argv, environment and auxiliary vector, copied off the kernel's stack
 *   image.c  opens the image, checks header and tables
 *   check.c  is it still valid here? (environment, files, CPU, vDSO)
 *   folder.c the names in a folder
 *   beside.c is a module beside the program that stock would import?
 *   renew.c  too old: built again in the background
 *   map.c    the address space
 *   kernel.c what the kernel keeps for a process: brk, signals, thread
 *   say.c    PYCDS, PYCDS_LOG; refusing: the program is started the normal way
 *
 * Any doubt before the jump is a refusal, and a refusal is an execve of the
 * original command, which is right at any point: nothing of ours outlives it.
 */
#ifndef PYCDS_RESTORER_H
#define PYCDS_RESTORER_H

#include <linux/stat.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../../include/pycds_warm_format.h"
#include "../start.h"

/* Our part of the address space: nothing of a parked process may lie in it (src/warm/plan.ts checks). The program itself is linked to its begin (tools/build-native.mjs). */
#define RESTORER_TABLES UINT64_C(0x5a1000000000)
#define RESTORER_ARGUMENTS UINT64_C(0x5a2000000000)
#define RESTORER_VDSO UINT64_C(0x5a3000000000)

/* ---- the kernel ---- */

static inline long kernel6(long number, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result; /* or -errno */
}
#define kernel(number, a, b, c, d, e) kernel6((number), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

static inline bool failed(long result) { return result < 0 && result >= -4095; }
static inline uint64_t page_up(uint64_t size) { return (size + PYCDS_WARM_PAGE - 1) & ~(PYCDS_WARM_PAGE - 1); }

static inline int64_t nanoseconds(const struct statx_timestamp *time) { return time->tv_sec * 1000000000 + time->tv_nsec; }

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *at, int byte, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t text_length(const char *text);
bool text_equal(const char *a, const char *b);

/* The address of what begins at a number that the kernel or the image gave. */
static inline void *at_address(uint64_t address) { return (void *)(uintptr_t)address; }

/* ---- this start ---- */

extern WarmStart start;
/* The vDSO as the kernel mapped it; 0: none. */
extern uint64_t kernel_vdso;
/* AT_SECURE: set-user-ID or the like. */
extern bool is_secure;
/* The path that we were executed by. */
extern const char *program_path;

/* args.c: reads the kernel's stack; what `start` points to is on it until args_copy(). */
void args_read(uint64_t *stack);
/* Moves all of it to RESTORER_ARGUMENTS and unmaps the kernel's stack. False: no room. */
bool args_copy(void);
/* Where the copied strings are, for /proc/PID/cmdline and environ. */
extern uint64_t args_begin, args_end, variables_begin, variables_end;
/* The value of an environment variable, or NULL. `size` bytes of `name`. */
const char *variable(const char *name, size_t size);

/* ---- image.c ---- */

extern const PycdsWarmHeader *header; /* NULL until the tables are mapped and checked */
extern int image_file;
void image_open(void);
/* A table of the image; its place and size have been checked. */
const void *image_table(uint32_t offset);
const char *image_string(uint32_t reference);
/* XXH3-64. */
uint64_t digest_of(const char *text, size_t size);

/* ---- folder.c ---- */

bool ends_with(const char *name, size_t length, const char *end);
/* Called with each name in a folder, its d_type and `state`; true ends it. */
typedef bool EntryVisit(const char *name, size_t length, unsigned char type, void *state);
/* 0: all were visited; 1: a visit ended it; -1: the folder cannot be read to its end. */
int each_entry(long folder, unsigned char *buffer, size_t size, EntryVisit *visit, void *state);

/* ---- check.c, beside.c, renew.c, map.c, kernel.c ---- */

void check_start(void);
void check_environment(void);
void check_files(void);
void check_beside(void);
void check_age(void);
void check_machine(void);
void map_memory(void);
/* A mapped file whose contents had to be compared, which costs each start its digest; NULL: none. */
extern const char *compared_file;
void restore_process(void);
/* A signal must not find handlers of a process that is not whole yet. */
void block_signals(void);
/* For who is started in our place. */
void unblock_signals(void);

/* ---- say.c ---- */

void say_read_settings(void);
/* True under PYCDS=off. */
extern bool switched_off;
/* Refuses: logs `why` and `what` (may be NULL) and starts the program the normal way; under PYCDS=on ends with status 2. */
_Noreturn void refuse(const char *why, const char *what);
/* Starts the program the normal way. */
_Noreturn void start_normally(void);
/* The image itself cannot be read: an error, status 2. */
_Noreturn void broken(const char *why);
/* Under AT_SECURE, before anything of the environment is read: an error, status 2; neither a log nor a normal start. */
_Noreturn void refuse_secure(void);
void say_restored(void);

#endif
