/* From the kernel to the parked process: the steps in order. */
#include <stddef.h>

#include "restorer.h"

#define TEXT_OF(value) #value
#define TEXT(value) TEXT_OF(value)
#define STACK_SIZE 65536

/* Ours, since the kernel's may lie where the parked process had something. */
__attribute__((aligned(64), used)) static unsigned char own_stack[STACK_SIZE];

__asm__(".text\n"
        ".globl _start\n"
        ".type _start,@function\n"
        "_start:\n"
        "    xor %ebp, %ebp\n"
        "    mov %rsp, %rdi\n"
        "    lea own_stack+" TEXT(STACK_SIZE) "(%rip), %rsp\n"
        "    call restorer_main\n"
        "    hlt\n");

void restorer_main(uint64_t *kernel_stack);

_Noreturn static void go_on(const PycdsWarmState *state) {
    __asm__ volatile(
        "ldmxcsr %c[mxcsr](%%rdi)\n\t"
        "fldcw %c[fpu](%%rdi)\n\t"
        "mov %c[rbx](%%rdi), %%rbx\n\t"
        "mov %c[rbp](%%rdi), %%rbp\n\t"
        "mov %c[r12](%%rdi), %%r12\n\t"
        "mov %c[r13](%%rdi), %%r13\n\t"
        "mov %c[r14](%%rdi), %%r14\n\t"
        "mov %c[r15](%%rdi), %%r15\n\t"
        "mov %c[rsp](%%rdi), %%rsp\n\t"
        "jmp *%c[rip](%%rdi)\n\t"
        :
        : "D"(state), "a"(&start), [mxcsr] "i"(offsetof(PycdsWarmState, mxcsr)), [fpu] "i"(offsetof(PycdsWarmState, fpu_control)),
          [rbx] "i"(offsetof(PycdsWarmState, rbx)), [rbp] "i"(offsetof(PycdsWarmState, rbp)), [r12] "i"(offsetof(PycdsWarmState, r12)),
          [r13] "i"(offsetof(PycdsWarmState, r13)), [r14] "i"(offsetof(PycdsWarmState, r14)), [r15] "i"(offsetof(PycdsWarmState, r15)),
          [rsp] "i"(offsetof(PycdsWarmState, rsp)), [rip] "i"(offsetof(PycdsWarmState, rip))
        : "memory");
    __builtin_unreachable();
}

__attribute__((used)) void restorer_main(uint64_t *kernel_stack) {
    block_signals();
    args_read(kernel_stack);
    if (is_secure) refuse_secure();
    say_read_settings();
    image_open();
    if (switched_off) start_normally();

    check_start();
    check_environment();
    check_machine();
    check_files();
    check_beside();
    check_age();

    if (!args_copy()) refuse("no room for the arguments", NULL);
    map_memory();
    restore_process();
    start.image = header;
    say_restored();
    kernel(3 /* close */, image_file, 0, 0, 0, 0);
    /* The point of no return: from here on it is the parked process. */
    go_on(image_table(header->state_offset));
}

/* ---- what the compiler and we need of a C library ---- */

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    void *result = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
    return result;
}

void *memset(void *at, int byte, size_t size) {
    void *result = at;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(byte) : "memory");
    return result;
}

int memcmp(const void *a, const void *b, size_t size) {
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < size; i++)
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    return 0;
}

size_t text_length(const char *text) {
    size_t length = 0;
    while (text[length] != '\0') length++;
    return length;
}

bool text_equal(const char *a, const char *b) {
    size_t i = 0;
    while (a[i] != '\0' && a[i] == b[i]) i++;
    return a[i] == b[i];
}
