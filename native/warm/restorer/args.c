/* Arguments, environment and auxiliary vector of this start. */
#include <elf.h>
#include <linux/auxvec.h>
#include <linux/mman.h>
#include <sys/syscall.h>

#include "restorer.h"

WarmStart start;
uint64_t kernel_vdso;
bool is_secure;
const char *program_path = "";
uint64_t args_begin, args_end, variables_begin, variables_end;

static uint64_t kernel_stack_low;
static size_t variable_count, auxiliary_count;

void args_read(uint64_t *stack) {
    kernel_stack_low = (uint64_t)(uintptr_t)stack;
    start.argc = stack[0];
    start.argv = (char **)(stack + 1);
    start.envp = start.argv + start.argc + 1;
    while (start.envp[variable_count] != NULL) variable_count++;
    start.auxv = (uint64_t *)(start.envp + variable_count + 1);
    for (uint64_t *at = start.auxv; at[0] != AT_NULL; at += 2) {
        auxiliary_count++;
        if (at[0] == AT_SYSINFO_EHDR) kernel_vdso = at[1];
        if (at[0] == AT_SECURE) is_secure = at[1] != 0;
        if (at[0] == AT_EXECFN) program_path = at_address(at[1]);
    }
}

const char *variable(const char *name, size_t size) {
    for (size_t i = 0; i < variable_count; i++) {
        const char *entry = start.envp[i];
        size_t same = 0;
        while (same < size && entry[same] == name[same] && entry[same] != '\0') same++;
        if (same == size && entry[size] == '=') return entry + size + 1;
    }
    return NULL;
}

static char *copy(char **to, const char *from, size_t size) {
    char *result = *to;
    memcpy(result, from, size);
    *to += size;
    return result;
}

static bool points_to_text(uint64_t type) { return type == AT_EXECFN || type == AT_PLATFORM || type == AT_BASE_PLATFORM; }

bool args_copy(void) {
    size_t strings = 16; /* AT_RANDOM's */
    for (size_t i = 0; i < start.argc; i++) strings += text_length(start.argv[i]) + 1;
    for (size_t i = 0; i < variable_count; i++) strings += text_length(start.envp[i]) + 1;
    for (size_t i = 0; i < auxiliary_count; i++)
        if (points_to_text(start.auxv[2 * i])) strings += text_length(at_address(start.auxv[2 * i + 1])) + 1;
    size_t pointers = (start.argc + 1 + variable_count + 1 + 2 * (auxiliary_count + 1)) * sizeof(uint64_t);

    long block = kernel6(SYS_mmap, (long)RESTORER_ARGUMENTS, (long)page_up(strings + pointers), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if ((uint64_t)block != RESTORER_ARGUMENTS) return false;
    char **argv = at_address(RESTORER_ARGUMENTS);
    char **envp = argv + start.argc + 1;
    uint64_t *auxv = (uint64_t *)(envp + variable_count + 1);
    char *text = (char *)(auxv + 2 * (auxiliary_count + 1));

    args_begin = (uint64_t)(uintptr_t)text;
    for (size_t i = 0; i < start.argc; i++) argv[i] = copy(&text, start.argv[i], text_length(start.argv[i]) + 1);
    args_end = variables_begin = (uint64_t)(uintptr_t)text;
    for (size_t i = 0; i < variable_count; i++) envp[i] = copy(&text, start.envp[i], text_length(start.envp[i]) + 1);
    variables_end = (uint64_t)(uintptr_t)text;
    for (size_t i = 0; i < auxiliary_count; i++) {
        uint64_t type = start.auxv[2 * i], value = start.auxv[2 * i + 1];
        if (points_to_text(type)) value = (uint64_t)(uintptr_t)copy(&text, at_address(value), text_length(at_address(value)) + 1);
        if (type == AT_RANDOM) value = (uint64_t)(uintptr_t)copy(&text, at_address(value), 16);
        auxv[2 * i] = type;
        auxv[2 * i + 1] = value;
        if (type == AT_EXECFN) program_path = at_address(value);
    }
    /* settings that were read before now point into the copy, too */
    uint64_t top = page_up((uint64_t)(uintptr_t)program_path);
    for (size_t i = 0; i < auxiliary_count; i++)
        if (start.auxv[2 * i] == AT_EXECFN) top = page_up(start.auxv[2 * i + 1] + text_length(at_address(start.auxv[2 * i + 1])) + 1);
    start.argv = argv;
    start.envp = envp;
    start.auxv = auxv;
    say_read_settings();
    /* exec gives the stack 128 KiB below its top words (fs/exec.c, setup_arg_pages); nothing else is near. */
    uint64_t low = (kernel_stack_low & ~(PYCDS_WARM_PAGE - 1)) - (UINT64_C(1) << 20);
    if (top > low) kernel(SYS_munmap, low, top - low, 0, 0, 0);
    return true;
}
