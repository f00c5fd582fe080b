/*
 * Is the executable's main the one of CPython's Programs/python.c,
 *     int main(int argc, char **argv) { return Py_BytesMain(argc, argv); }
 * ? Decided from its machine code, so that a main of our own can stand in for it.
 * A vendor's python that extends the inittab or edits argv first, or cleans up
 * afterwards, has another main and is left alone. Unknown code means "no".
 *
 * Two shapes say yes:
 *   1. [endbr64] prologue branch epilogue, where prologue and epilogue are of the
 *      lists below (what gcc and clang make of that one line at -O0 to -O3) and the
 *      branch leads to Py_BytesMain, directly or through its PLT or GOT entry;
 *   2. the same code as Py_BytesMain, which a link-time optimiser inlined into main
 *      (or folded with it).
 */
#define _GNU_SOURCE
#include "launch.h"

#include <elf.h>
#include <limits.h>
#include <link.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

bool named_like_python(void) {
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0) return false;
    path[length] = '\0';
    const char *name = strrchr(path, '/');
    name = name == NULL ? path : name + 1;
    if (strncmp(name, "python", 6) != 0) return false;
    /* python 3 .11 dmtu -dbg: digits, dots, ABI letters, Debian's suffix */
    name += 6;
    name += strspn(name, "0123456789.");
    name += strspn(name, "dmtu");
    return *name == '\0' || strcmp(name, "-dbg") == 0;
}

#if defined(__x86_64__)

const bool can_prove_main = true;

typedef struct Code {
    const uint8_t *bytes;
    size_t size;
} Code;

static const Code endbr = {(const uint8_t *)"\xf3\x0f\x1e\xfa", 4};

/* Longer ones first where one begins with another. Disassembly in Intel's order, destination first. */
static const struct {
    Code prologue;
    Code epilogue; /* none: the branch is a tail call */
} shapes[] = {
#define BYTES(text) {(const uint8_t *)(text), sizeof(text) - 1}
    /* gcc -O0: push rbp; mov rbp,rsp; sub rsp,16; spill edi, rsi; reload */
    {BYTES("\x55\x48\x89\xe5\x48\x83\xec\x10\x89\x7d\xfc\x48\x89\x75\xf0\x48\x8b\x55\xf0\x8b\x45\xfc\x48\x89\xd6\x89\xc7"),
     BYTES("\xc9\xc3")},
    /* clang -O0: the same, and the return value's slot set to 0 */
    {BYTES("\x55\x48\x89\xe5\x48\x83\xec\x10\xc7\x45\xfc\x00\x00\x00\x00\x89\x7d\xf8\x48\x89\x75\xf0\x8b\x7d\xf8\x48\x8b\x75\xf0"),
     BYTES("\x48\x83\xc4\x10\x5d\xc3")},
    /* -fno-omit-frame-pointer, tail call: push rbp; mov rbp,rsp; pop rbp */
    {BYTES("\x55\x48\x89\xe5\x5d"), BYTES("")},
    /* -fno-omit-frame-pointer: push rbp; mov rbp,rsp … pop rbp; ret */
    {BYTES("\x55\x48\x89\xe5"), BYTES("\x5d\xc3")},
    /* gcc -O1: sub rsp,8 … add rsp,8; ret */
    {BYTES("\x48\x83\xec\x08"), BYTES("\x48\x83\xc4\x08\xc3")},
    /* clang -O1: push rax … pop rcx; ret */
    {BYTES("\x50"), BYTES("\x59\xc3")},
    /* -O2: jmp */
    {BYTES(""), BYTES("")},
#undef BYTES
};

/* The executable in memory, as the dynamic linker sees it. */
typedef struct Program {
    uintptr_t base;
    const ElfW(Phdr) *headers;
    size_t header_count;
    const ElfW(Dyn) *dynamic;
} Program;

static int first_program(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size;
    Program *program = data;
    program->base = info->dlpi_addr;
    program->headers = info->dlpi_phdr;
    program->header_count = info->dlpi_phnum;
    for (size_t i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            program->dynamic = (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
    return 1; /* the executable is always the first */
}

/* `size` bytes at `address` are code of the executable that may be read. */
static bool is_code(const Program *program, uintptr_t address, size_t size) {
    for (size_t i = 0; i < program->header_count; i++) {
        const ElfW(Phdr) *header = &program->headers[i];
        if (header->p_type != PT_LOAD || (header->p_flags & (PF_R | PF_X)) != (PF_R | PF_X)) continue;
        uintptr_t start = program->base + header->p_vaddr;
        if (address >= start && address - start <= header->p_memsz && size <= header->p_memsz - (address - start)) return true;
    }
    return false;
}

static bool starts_with(const Program *program, uintptr_t at, Code code) {
    return is_code(program, at, code.size) && memcmp((const void *)at, code.bytes, code.size) == 0;
}

static uintptr_t relative(uintptr_t operand) {
    int32_t distance;
    memcpy(&distance, (const void *)operand, sizeof distance);
    return operand + sizeof distance + (uintptr_t)(intptr_t)distance;
}

/* True when some relocation of a table says that `slot` receives the address of Py_BytesMain. */
static bool table_binds(const Program *program, uintptr_t table, size_t size, const ElfW(Sym) *symbols, const char *strings,
                        uintptr_t slot) {
    const ElfW(Rela) *entries = (const ElfW(Rela) *)table;
    for (size_t i = 0; table != 0 && i < size / sizeof *entries; i++) {
        uint64_t type = ELF64_R_TYPE(entries[i].r_info);
        if (program->base + entries[i].r_offset != slot || entries[i].r_addend != 0) continue;
        if (type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT && type != R_X86_64_64) continue;
        return strcmp(strings + symbols[ELF64_R_SYM(entries[i].r_info)].st_name, "Py_BytesMain") == 0;
    }
    return false;
}

/* By name, since a lazily bound slot does not hold the function's address yet. */
static bool slot_is_bytes_main(const Program *program, uintptr_t slot) {
    uintptr_t jumps = 0, others = 0, symbols = 0, strings = 0;
    size_t jumps_size = 0, others_size = 0;
    for (const ElfW(Dyn) *entry = program->dynamic; entry != NULL && entry->d_tag != DT_NULL; entry++) {
        /* glibc adds the base to these pointers in place, others do not */
        uintptr_t address = entry->d_un.d_ptr;
        if (address < program->base) address += program->base;
        switch (entry->d_tag) {
        case DT_JMPREL: jumps = address; break;
        case DT_PLTRELSZ: jumps_size = entry->d_un.d_val; break;
        case DT_RELA: others = address; break;
        case DT_RELASZ: others_size = entry->d_un.d_val; break;
        case DT_SYMTAB: symbols = address; break;
        case DT_STRTAB: strings = address; break;
        default: break;
        }
    }
    if (symbols == 0 || strings == 0) return false;
    const ElfW(Sym) *table = (const ElfW(Sym) *)symbols;
    return table_binds(program, jumps, jumps_size, table, (const char *)strings, slot) ||
           table_binds(program, others, others_size, table, (const char *)strings, slot);
}

/* A PLT entry of Py_BytesMain: [endbr64] [bnd] jmp *slot(%rip). */
static bool is_stub(const Program *program, uintptr_t at) {
    if (starts_with(program, at, endbr)) at += endbr.size;
    if (is_code(program, at, 7) && *(const uint8_t *)at == 0xf2) at++;
    return is_code(program, at, 6) && memcmp((const void *)at, "\xff\x25", 2) == 0 &&
           slot_is_bytes_main(program, relative(at + 2));
}

/* The branch at `at` (a tail call's jmp, else a call) leads to Py_BytesMain; its length, else 0. */
static size_t branch(const Program *program, uintptr_t at, bool tail, uintptr_t bytes_main) {
    if (!is_code(program, at, 6)) return 0;
    const uint8_t *code = (const uint8_t *)at;
    if (code[0] == (tail ? 0xe9 : 0xe8)) {
        uintptr_t target = relative(at + 1);
        return target == bytes_main || is_stub(program, target) ? 5 : 0;
    }
    if (code[0] == 0xff && code[1] == (tail ? 0x25 : 0x15)) return slot_is_bytes_main(program, relative(at + 2)) ? 6 : 0;
    if (tail && code[0] == 0xeb) {
        int8_t distance;
        memcpy(&distance, code + 1, 1);
        return at + 2 + (uintptr_t)(intptr_t)distance == bytes_main ? 2 : 0;
    }
    return 0;
}

static bool calls_bytes_main(const Program *program, uintptr_t start, uintptr_t bytes_main) {
    if (starts_with(program, start, endbr)) start += endbr.size;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (!starts_with(program, start, shapes[i].prologue)) continue;
        uintptr_t at = start + shapes[i].prologue.size;
        bool tail = shapes[i].epilogue.size == 0;
        size_t length = branch(program, at, tail, bytes_main);
        if (length != 0 && (tail || starts_with(program, at + length, shapes[i].epilogue))) return true;
    }
    return false;
}

/*
 * The same bytes up to the first ret (or jmp) behind at least one call, where
 * relative calls and jumps may have other distances but must have the same targets.
 */
static bool same_code(const Program *program, uintptr_t a, uintptr_t b) {
    enum { LONGEST = 128 };
    bool called = false;
    for (size_t i = 0; i < LONGEST;) {
        if (!is_code(program, a + i, 5) || !is_code(program, b + i, 5)) return false;
        uint8_t byte = *(const uint8_t *)(a + i);
        if (byte != *(const uint8_t *)(b + i)) return false;
        if ((byte == 0xe8 || byte == 0xe9) && relative(a + i + 1) == relative(b + i + 1) && is_code(program, relative(a + i + 1), 1)) {
            if (byte == 0xe9) return true;
            called = true;
            i += 5;
            continue;
        }
        if (byte == 0xc3 && called) return true;
        i++;
    }
    return false;
}

bool main_is_bytes_main(MainFunction *program_main, const void *bytes_main) {
    Program program = {0, NULL, 0, NULL};
    uintptr_t start = (uintptr_t)program_main;
    uintptr_t target = (uintptr_t)bytes_main;
    dl_iterate_phdr(first_program, &program);
    return start == target || calls_bytes_main(&program, start, target) || same_code(&program, start, target);
}

#else

const bool can_prove_main = false;

bool main_is_bytes_main(MainFunction *program_main, const void *bytes_main) {
    (void)program_main;
    (void)bytes_main;
    return false;
}

#endif
