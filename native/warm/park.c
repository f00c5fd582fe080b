/*
 * The place where a process stops to be imaged: the child side of a fork, in the
 * first of all child handlers. Every restored process returns from the same call,
 * and the rest of the fork's path runs in it: the handlers of every library, then
 * CPython's PyOS_AfterFork_Child.
 */
#define _GNU_SOURCE
#include "warm.h"

#include <asm/prctl.h>
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../include/pycds_warm_format.h"
#include "machine.h"

#define MAX_THREADS 64
#define WIDEST_STACK (UINT64_C(1) << 30)
#define USUAL_STACK (UINT64_C(8) << 20)
#ifndef ARCH_SHSTK_STATUS
#define ARCH_SHSTK_STATUS 0x5005
#endif

static volatile bool armed;
static int threads[MAX_THREADS];
static size_t thread_count;
static const WarmStart *resumed;

/* What WORK/parked holds. */
static struct {
    PycdsWarmState state;
    PycdsWarmSignal signals[PYCDS_WARM_SIGNALS];
} parked;

/*
 * Saves what a call preserves, as setjmp does, and returns NULL; in a restored
 * process it returns again, with the WarmStart that the restorer left in rax.
 */
__attribute__((returns_twice)) const WarmStart *save_registers(PycdsWarmState *state);
__asm__(".text\n"
        ".hidden save_registers\n"
        ".globl save_registers\n"
        ".type save_registers,@function\n"
        "save_registers:\n"
        "    mov %rbx, 0(%rdi)\n"
        "    mov %rbp, 8(%rdi)\n"
        "    mov %r12, 16(%rdi)\n"
        "    mov %r13, 24(%rdi)\n"
        "    mov %r14, 32(%rdi)\n"
        "    mov %r15, 40(%rdi)\n"
        "    lea 8(%rsp), %rax\n"
        "    mov %rax, 48(%rdi)\n"
        "    mov (%rsp), %rax\n"
        "    mov %rax, 56(%rdi)\n"
        "    stmxcsr 64(%rdi)\n"
        "    fnstcw 68(%rdi)\n"
        "    xor %eax, %eax\n"
        "    ret\n"
        ".size save_registers, .-save_registers\n");
_Static_assert(offsetof(PycdsWarmState, r15) == 40 && offsetof(PycdsWarmState, rip) == 56 && offsetof(PycdsWarmState, fpu_control) == 68, "save_registers");

size_t park_threads(int *ids, size_t size) {
    for (size_t i = 0; i < size && i < thread_count && i < MAX_THREADS; i++) ids[i] = threads[i];
    return thread_count;
}

const WarmStart *park_start(void) { return resumed; }
void park_arm(void) { armed = true; }

/*
 * Threads that do not come along into a fork's child, whose library has fork handlers that
 * make up for it: jemalloc's (src/background_thread.c, background_thread_postfork_child)
 * purge in the calling threads from then on. Linked into libraries such as Arrow's.
 */
static bool is_replaced_at_fork(const char *thread) {
    static const char name[] = "jemalloc_bg_thd\n";
    char path[64], text[sizeof name];
    if ((size_t)snprintf(path, sizeof path, "/proc/self/task/%s/comm", thread) >= sizeof path) return false;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? -1 : read(file, text, sizeof text);
    if (file >= 0) close(file);
    return size == (ssize_t)sizeof name - 1 && memcmp(text, name, sizeof name - 1) == 0;
}

static void count_threads(void) {
    thread_count = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL) return;
    for (struct dirent *one; (one = readdir(tasks)) != NULL;) {
        if (one->d_name[0] == '.' || is_replaced_at_fork(one->d_name)) continue;
        if (thread_count < MAX_THREADS) threads[thread_count] = atoi(one->d_name);
        thread_count++;
    }
    closedir(tasks);
}

/*
 * Registered first, so it runs last: libraries that stop their threads before a fork
 * (OpenBLAS) have done so. A thread that was joined may still be on its way out of the
 * kernel (until 3.13 Python's join waits for its Python part only), so threads get some
 * time to go: one that runs on costs that once, before the refusal.
 */
static void before_fork(void) {
    if (!armed) return;
    const struct timespec step = {0, 2000000};
    for (int steps = 0; steps < 500; steps++) {
        count_threads();
        if (thread_count <= 1) return;
        nanosleep(&step, NULL);
    }
}

static void after_fork_parent(void) { armed = false; }

/* The heap segment's begin: field 47 of /proc/PID/stat; field 2 is a name in parentheses that may hold anything. */
static uint64_t brk_start(void) {
    char text[4096];
    int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    if (size <= 0) return 0;
    text[size] = '\0';
    char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 47; field++) at = strchr(at + 1, ' ');
    return at == NULL ? 0 : strtoull(at + 1, NULL, 10);
}

/* RLIMIT_STACK as room for the main stack. */
static uint64_t stack_room(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > WIDEST_STACK) limit.rlim_cur = USUAL_STACK;
    return (limit.rlim_cur + PYCDS_WARM_PAGE - 1) & ~(PYCDS_WARM_PAGE - 1);
}

bool park_stack_differs(void) { return stack_room() != parked.state.stack_limit; }

static const char *fill_state(void) {
    PycdsWarmState *state = &parked.state;
    if (syscall(SYS_arch_prctl, ARCH_GET_FS, &state->fs_base) != 0) return "the thread pointer cannot be read";
    unsigned long shadow = 0;
    if (syscall(SYS_arch_prctl, ARCH_SHSTK_STATUS, &shadow) == 0 && shadow != 0) return "shadow stacks are on (CET)";
    if (prctl(PR_GET_TID_ADDRESS, &state->tid_address, 0, 0, 0) != 0) return "the kernel lacks PR_GET_TID_ADDRESS";
    void *list = NULL;
    size_t list_size = 0;
    if (syscall(SYS_get_robust_list, 0, &list, &list_size) != 0) return "the robust futex list cannot be read";
    state->robust_list = (uintptr_t)list;
    state->robust_size = list_size;
    /* glibc >= 2.35; registered with at least the 32 bytes of the first struct rseq */
    const ptrdiff_t *offset = dlsym(RTLD_DEFAULT, "__rseq_offset");
    const unsigned *size = dlsym(RTLD_DEFAULT, "__rseq_size");
    if (offset != NULL && size != NULL && *size != 0) {
        state->rseq = state->fs_base + (uint64_t)*offset;
        state->rseq_size = *size <= 32 ? 32 : (*size + 31) & ~31u;
        state->rseq_signature = 0x53053053; /* RSEQ_SIG of glibc on x86 */
    }
    state->brk_start = brk_start();
    state->brk_end = (uint64_t)syscall(SYS_brk, 0);
    stack_t alternate;
    if (sigaltstack(NULL, &alternate) != 0) return "the signal stack cannot be read";
    state->altstack = (uintptr_t)alternate.ss_sp;
    state->altstack_size = alternate.ss_size;
    state->altstack_flags = (uint32_t)alternate.ss_flags;
    state->pid = (uint32_t)syscall(SYS_gettid);
    state->parent_pid = (uint32_t)getppid();
    state->fake_pid = warm_fake_pid;
    state->stack_limit = stack_room();
    machine_cpu(state->cpu);
    for (int number = 1; number <= PYCDS_WARM_SIGNALS; number++) {
        /* the kernel's struct, not the C library's; its own two real-time signals cannot be asked for otherwise */
        if (syscall(SYS_rt_sigaction, number, NULL, &parked.signals[number - 1], 8) != 0) return "a signal's action cannot be read";
    }
    return NULL;
}

/* Writes WORK/parked, whole or not at all. */
static bool announce(void) {
    char path[4096], temporary[4096 + 8];
    if ((size_t)snprintf(path, sizeof path, "%s/parked", warm_work) >= sizeof path) return false;
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    int file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) return false;
    bool written = write(file, &parked, sizeof parked) == (ssize_t)sizeof parked;
    return close(file) == 0 && written && rename(temporary, path) == 0;
}

/* Everything in the dead process's auxiliary vector that getauxval() may still give out. */
static void renew_auxiliary_vector(const WarmStart *start) {
    extern void *__libc_stack_end;
    uint64_t *stack = __libc_stack_end;
    uint64_t *at = stack + 1 + *stack + 1;
    while (*at != 0) at++;
    for (at++; at[0] != AT_NULL; at += 2) {
        /* where the program lies is as it was in the parked process, not as for the restorer */
        if (at[0] == AT_SYSINFO_EHDR || at[0] == AT_PHDR || at[0] == AT_PHNUM || at[0] == AT_PHENT || at[0] == AT_BASE || at[0] == AT_ENTRY) continue;
        for (const uint64_t *now = start->auxv; now[0] != AT_NULL; now += 2)
            if (now[0] == at[0]) at[1] = now[1];
    }
}

/*
 * The strings that the kernel put on the stack: a restored process has its own. Those
 * that C code asked for stay, since it may keep pointers to them.
 */
static void wipe_kernel_environment(void) {
    extern void *__libc_stack_end;
    uint64_t *stack = __libc_stack_end;
    for (char **entry = (char **)(stack + 1 + *stack + 1); *entry != NULL; entry++) {
        char *equals = strchr(*entry, '=');
        if (equals != NULL && !watch_was_read(*entry, (size_t)(equals - *entry))) explicit_bzero(equals + 1, strlen(equals + 1));
    }
}

static bool has_signals_blocked;
/* What the building's starter had blocked, and what was at the park: the difference is the imports' doing. */
static uint64_t mask_before, mask_parked;

static uint64_t signal_mask(void) {
    uint64_t mask = 0;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &mask, sizeof mask);
    return mask;
}

void park_let_signals_in(void) {
    if (!has_signals_blocked) return;
    has_signals_blocked = false;
    uint64_t mask = (resumed->mask | (mask_parked & ~mask_before)) & ~(mask_before & ~mask_parked);
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof mask);
}

static void after_fork_child(void) {
    if (!armed) return;
    armed = false;
    if (thread_count != 1) _exit(WARM_EXIT_THREADS);
    /* were the command line to die, so do we */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) _exit(WARM_EXIT_FAILED);
    const char *why = fill_state();
    if (why != NULL) {
        warm_refuse(why);
        _exit(WARM_EXIT_FAILED);
    }
    wipe_kernel_environment();
    mask_parked = signal_mask();
    process_parked();
    const WarmStart *start = save_registers(&parked.state);
    if (start != NULL) {
        /* Here every restored process begins. */
        resumed = start;
        has_signals_blocked = true;
        environ = start->envp;
        renew_auxiliary_vector(start);
        return;
    }
    if (!announce()) _exit(WARM_EXIT_FAILED);
    for (;;) pause();
}

bool park_register(void) {
    mask_before = signal_mask();
    return pthread_atfork(before_fork, after_fork_parent, after_fork_child) == 0;
}
