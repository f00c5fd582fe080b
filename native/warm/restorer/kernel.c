/* What the kernel keeps for a process and its one thread. */
#include <asm/prctl.h>
#include <linux/prctl.h>
#include <sys/syscall.h>

#include "restorer.h"

enum { IGNORED = 1, SIG_SETMASK = 2, SIGNAL_SET_SIZE = 8 };

/* Unprivileged since Linux 3.18. Where it fails, malloc's next brk would be another process's: no start from the image. */
static void restore_brk(const PycdsWarmState *state) {
    struct prctl_mm_map map;
    memset(&map, 0, sizeof map);
    map.start_code = 0x5a0000000000;
    map.end_code = map.start_data = 0x5a0000001000;
    map.end_data = 0x5a0000002000;
    map.start_brk = state->brk_start;
    map.brk = state->brk_end;
    map.start_stack = header->stack_high - 64;
    map.arg_start = args_begin;
    map.arg_end = args_end;
    map.env_start = variables_begin;
    map.env_end = variables_end;
    map.exe_fd = (uint32_t)-1;
    if (failed(kernel(SYS_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0))) refuse("the heap cannot have its place (PR_SET_MM_MAP)", NULL);
}

void block_signals(void) {
    uint64_t all = ~UINT64_C(0);
    kernel(SYS_rt_sigprocmask, SIG_SETMASK, &all, &start.mask, SIGNAL_SET_SIZE, 0);
}

void unblock_signals(void) { kernel(SYS_rt_sigprocmask, SIG_SETMASK, &start.mask, 0, SIGNAL_SET_SIZE, 0); }

/* The parked process's handlers; but what our caller ignored (nohup) stays ignored. */
static void restore_signals(void) {
    const PycdsWarmSignal *signals = image_table(header->signals_offset);
    for (int number = 1; number <= PYCDS_WARM_SIGNALS; number++) {
        const PycdsWarmSignal *wanted = &signals[number - 1];
        bool plain = wanted->handler == 0;
        PycdsWarmSignal now;
        if (failed(kernel(SYS_rt_sigaction, number, 0, &now, SIGNAL_SET_SIZE, 0))) continue;
        if (now.handler == IGNORED) start.ignored |= UINT64_C(1) << (number - 1);
        if (plain || now.handler == IGNORED) continue;
        kernel(SYS_rt_sigaction, number, wanted, 0, SIGNAL_SET_SIZE, 0);
    }
}

void restore_process(void) {
    const PycdsWarmState *state = image_table(header->state_offset);
    restore_brk(state);
    const char *name = image_string(((const uint32_t *)image_table(header->command_offset))[0]);
    for (const char *at = name; *at != '\0'; at++)
        if (*at == '/') name = at + 1;
    kernel(SYS_prctl, PR_SET_NAME, name, 0, 0, 0);
    restore_signals();
    if ((state->altstack_flags & 2 /* SS_DISABLE */) == 0) {
        struct {
            uint64_t base;
            int flags;
            uint64_t size;
        } stack = {state->altstack, 0, state->altstack_size};
        kernel(SYS_sigaltstack, &stack, 0, 0, 0, 0);
    }
    kernel(SYS_arch_prctl, ARCH_SET_FS, state->fs_base, 0, 0, 0);
    long thread = kernel(SYS_set_tid_address, state->tid_address, 0, 0, 0, 0);
    *(int *)at_address(state->tid_address) = (int)thread;
    kernel(SYS_set_robust_list, state->robust_list, state->robust_size, 0, 0, 0);
    if (state->rseq != 0) {
        /* struct rseq: cpu_id_start 0, cpu_id "not registered", no critical section */
        uint32_t *area = at_address(state->rseq);
        area[0] = 0;
        area[1] = (uint32_t)-1;
        area[2] = area[3] = area[4] = 0;
        if (failed(kernel(SYS_rseq, area, state->rseq_size, 0, state->rseq_signature, 0))) area[1] = (uint32_t)-2; /* RSEQ_CPU_ID_REGISTRATION_FAILED */
    }
}
