/* Is the image still what a normal start would give? Each doubt is a refusal with its reason. */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "restorer.h"

/* What the interpreter's own options and standard input as a script need is the stock start. */
static void check_arguments(void) {
    if (start.argc < 2) refuse("no program is named: a script on standard input, or an interactive session", NULL);
    const char *first = start.argv[1];
    if (first[0] != '-') return;
    bool runs = first[1] != '\0' && first[2] == '\0' && (first[1] == 'c' || first[1] == 'm');
    if (!runs) refuse("an interpreter option", first);
    if (start.argc < 3) refuse("an interpreter option without its argument", first);
}

void check_start(void) {
    if (start.argc < 1) refuse("it was started without a name", NULL);
    if (header->owner != (uint32_t)kernel(SYS_geteuid, 0, 0, 0, 0, 0)) refuse("it was built for another user", NULL);
    const PycdsWarmState *state = image_table(header->state_offset);
    long pid = kernel(SYS_getpid, 0, 0, 0, 0, 0);
    if (pid == state->fake_pid) refuse("this process has the ID that the parked process saw", NULL);
    if ((header->flags & PYCDS_WARM_INTERPRETER) != 0) check_arguments();
}

/* ---- environment ---- */

static bool begins_with(const char *text, const char *prefix) {
    while (*prefix != '\0')
        if (*text++ != *prefix++) return false;
    return true;
}

static const char *const prefixes[] = PYCDS_WARM_PREFIXES;

static bool is_watched_as_whole(const char *name) {
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        if (begins_with(name, prefixes[i])) return true;
    return false;
}

void check_environment(void) {
    const PycdsWarmVariable *one = image_table(header->variables_offset);
    for (uint32_t i = 0; i < header->variable_count; i++) {
        const char *name = image_string(one[i].name);
        const char *now = variable(name, text_length(name));
        if (one[i].value == PYCDS_WARM_NONE ? now != NULL : now == NULL || !text_equal(now, image_string(one[i].value))) refuse("the environment differs", name);
    }
    /* all that were set are set to the same values; is there one more? */
    uint32_t found = 0;
    for (char **entry = start.envp; *entry != NULL; entry++) found += is_watched_as_whole(*entry);
    if (found != header->prefixed_count) refuse("the environment differs", "another variable of PYTHON*, LC_*, LD_*, GLIBC_* or MALLOC_*");
}

/* ---- files ---- */

/* What an import could find under this name: src/warm/stamps.ts, listingOf, has the same. */
static bool is_importable(const char *name, size_t length, unsigned char type) {
    if (ends_with(name, length, ".py") || ends_with(name, length, ".pyc") || ends_with(name, length, ".so") || ends_with(name, length, ".pth")) return true;
    if (type != 4 /* DT_DIR */ && type != 10 /* DT_LNK */) return false;
    for (size_t i = 0; i < length; i++)
        if (name[i] == '.') return false;
    return !text_equal(name, "__pycache__");
}

static bool add_name(const char *name, size_t length, unsigned char type, void *state) {
    uint64_t *sum = state;
    if (is_importable(name, length, type)) *sum ^= digest_of(name, length);
    return false;
}

/* The folder's number of listingOf. Read only where its mtime differs. */
static bool listing_is(const char *path, uint64_t expected) {
    long file = kernel(SYS_open, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
    if (failed(file)) return false;
    static _Alignas(8) unsigned char entries[32768];
    uint64_t sum = 0;
    bool whole = each_entry(file, entries, sizeof entries, add_name, &sum) == 0;
    kernel(SYS_close, file, 0, 0, 0, 0);
    return whole && sum == expected;
}

static void check_stamp(int folder, const PycdsWarmStamp *stamp, const char *path) {
    const char *name = image_string(stamp->name);
    int flags = 0x4000 /* AT_STATX_DONT_SYNC */ | (*name == '\0' ? 0x1000 /* AT_EMPTY_PATH */ : 0);
    struct statx now;
    bool missing = folder < 0 || failed(kernel(SYS_statx, folder, name, flags, STATX_TYPE | STATX_MTIME | STATX_SIZE, &now));
    bool same = missing ? stamp->mode == 0
                        : stamp->mode == (now.stx_mode & S_IFMT) && stamp->mtime_ns == nanoseconds(&now.stx_mtime) &&
                              (S_ISDIR(now.stx_mode) || stamp->size == now.stx_size);
    if (same || (!missing && *name == '\0' && stamp->mode == S_IFDIR && listing_is(path, stamp->size))) return;
    /* "FOLDER/NAME" */
    static char text[4096];
    size_t used = 0;
    for (; *path != '\0' && used < sizeof text - 2; path++) text[used++] = *path;
    if (*name != '\0') text[used++] = '/';
    for (; *name != '\0' && used < sizeof text - 1; name++) text[used++] = *name;
    text[used] = '\0';
    refuse(missing ? "a file is gone" : "a file has changed", text);
}

void check_files(void) {
    if ((header->flags & PYCDS_WARM_SEALED) != 0) return;
    const PycdsWarmFolder *folder = image_table(header->folders_offset);
    const PycdsWarmStamp *stamps = image_table(header->stamps_offset);
    for (uint32_t i = 0; i < header->folder_count; i++) {
        const char *path = image_string(folder[i].path);
        long file = kernel(SYS_open, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
        for (uint32_t k = 0; k < folder[i].stamp_count; k++) check_stamp(failed(file) ? -1 : (int)file, &stamps[folder[i].first_stamp + k], path);
        if (!failed(file)) kernel(SYS_close, file, 0, 0, 0, 0);
    }
}

/* ---- the machine ---- */

/* native/warm/machine.h has the same for the parked process. */
#include "../machine.h"

/*
 * Page by page, up to the first difference: another kernel's vDSO may be smaller, and
 * behind it nothing may be mapped. Its first page, which holds the ELF header with the
 * sizes, differs then, so what lies behind is not read.
 */
static bool same_words(const void *a, const void *b, size_t size) {
    const uint64_t *x = a, *y = b;
    const size_t words = size / sizeof *x, words_of_page = PYCDS_WARM_PAGE / sizeof *x;
    for (size_t at = 0; at < words; at += words_of_page) {
        uint64_t difference = 0;
        for (size_t i = at; i < words && i < at + words_of_page; i++) difference |= x[i] ^ y[i];
        if (difference != 0) return false;
    }
    return true;
}

void check_machine(void) {
    const PycdsWarmState *state = image_table(header->state_offset);
    _Alignas(8) uint8_t cpu[64];
    machine_cpu(cpu);
    if (memcmp(cpu, state->cpu, sizeof cpu) != 0) refuse("the processor differs", NULL);
    if (header->vdso_size == 0 && kernel_vdso == 0) return;
    if (kernel_vdso == 0 || header->vdso_size % sizeof(uint64_t) != 0 || !same_words(at_address(kernel_vdso), image_table(header->vdso_offset), header->vdso_size))
        refuse("the kernel's vDSO differs", NULL);
}
