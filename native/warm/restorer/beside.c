/*
 * sys.path begins with the script's folder, or with the current one: a file there
 * that bears the name of a module that imports found elsewhere, or missed, would have
 * been imported by a stock start.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "restorer.h"

#define PATH_SIZE 4096
#define ZIP_END 22       /* bytes of a zip file's end record without its comment */
#define ZIP_COMMENT 65535

/* Length of the module's name in NAME.py, NAME.pyc, NAME.so and NAME.TAG.so; 0: none of these. */
static size_t module_length(const char *name, size_t length) {
    size_t first = 0;
    while (first < length && name[first] != '.') first++;
    if (ends_with(name, length, ".so")) return first;
    if (ends_with(name, length, ".py")) return first == length - 3 ? first : 0;
    return ends_with(name, length, ".pyc") && first == length - 4 ? first : 0;
}

/* 0: no such name was looked up; 1: a module; 2: a plain folder would be found too. */
static int looked_up(const char *name, size_t length) {
    const uint64_t *digests = image_table(header->names_offset);
    uint64_t wanted = digest_of(name, length) & ~UINT64_C(1);
    uint32_t low = 0, high = header->name_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if ((digests[middle] & ~UINT64_C(1)) < wanted) low = middle + 1;
        else high = middle;
    }
    if (low == header->name_count || (digests[low] & ~UINT64_C(1)) != wanted) return 0;
    return (digests[low] & 1) != 0 ? 2 : 1;
}

static bool is_init(const char *name, size_t length, unsigned char type, void *state) {
    (void)type, (void)state;
    return module_length(name, length) == 8 && memcmp(name, "__init__", 8) == 0;
}

static bool is_package(long folder, const char *name) {
    static _Alignas(8) unsigned char entries[8192];
    long inside = kernel(SYS_openat, folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0);
    if (failed(inside)) return false;
    bool found = each_entry(inside, entries, sizeof entries, is_init, NULL) == 1;
    kernel(SYS_close, inside, 0, 0, 0, 0);
    return found;
}

typedef struct {
    long folder;
    char found[256]; /* the name that takes over */
} Search;

static bool takes_over(const char *name, size_t length, unsigned char type, void *state) {
    Search *search = state;
    size_t module = module_length(name, length);
    bool over = false;
    if (module != 0) {
        over = looked_up(name, module) != 0;
    } else if (type == 0 /* DT_UNKNOWN */ || type == 4 /* DT_DIR */ || type == 10 /* DT_LNK */) {
        int kind = looked_up(name, length);
        over = kind == 2 || (kind == 1 && is_package(search->folder, name));
    }
    if (over && length < sizeof search->found) memcpy(search->found, name, length + 1);
    return over;
}

/* A folder that cannot be read has no names, for FileFinder too. */
static void check_folder(const char *path) {
    static _Alignas(8) unsigned char entries[32768];
    static Search search;
    search.folder = kernel(SYS_open, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
    if (failed(search.folder)) return;
    bool found = each_entry(search.folder, entries, sizeof entries, takes_over, &search) == 1;
    kernel(SYS_close, search.folder, 0, 0, 0, 0);
    if (found) refuse("beside the program is a module that its imports would find", search.found);
}

/* As zipimport recognises one (Lib/zipimport.py, _read_directory): the end record at the end, or before a comment. */
static bool is_zip(long file, uint64_t size) {
    static unsigned char tail[ZIP_COMMENT + ZIP_END];
    uint64_t length = size < sizeof tail ? size : sizeof tail;
    long got = kernel(SYS_pread64, file, tail, length, size - length, 0);
    for (long at = got - ZIP_END; at >= 0; at--)
        if (memcmp(tail + at, "PK\5\6", 4) == 0) return true;
    return false;
}

/* A program that is named by its path: its folder is on sys.path, or it is itself. */
static void check_program(const char *path) {
    long file = kernel(SYS_open, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0, 0, 0);
    if (failed(file)) return;
    struct statx about;
    bool known = !failed(kernel(SYS_statx, file, "", 0x1000 /* AT_EMPTY_PATH */, STATX_TYPE | STATX_SIZE, &about));
    if (known && S_ISREG(about.stx_mode) && is_zip(file, about.stx_size)) refuse("a zip file could hold modules that its imports would find", path);
    static char own[32] = "/proc/self/fd/", real[PATH_SIZE];
    size_t used = 14;
    char digits[20];
    size_t count = 0;
    for (long rest = file; count == 0 || rest > 0; rest /= 10) digits[count++] = (char)('0' + rest % 10);
    while (count > 0) own[used++] = digits[--count];
    own[used] = '\0';
    long length = kernel(SYS_readlink, own, real, sizeof real - 1, 0, 0);
    kernel(SYS_close, file, 0, 0, 0, 0);
    if (failed(length)) refuse("the program's folder cannot be found", path);
    real[length] = '\0';
    if (real[0] != '/') return; /* a pipe: in its folder, /proc/PID/fd, are no modules */
    if (known && S_ISDIR(about.stx_mode)) {
        check_folder(real);
    } else if ((header->flags & PYCDS_WARM_SAFE_PATH) == 0) {
        while (length > 1 && real[length - 1] != '/') length--;
        real[length] = '\0';
        check_folder(real);
    }
}

void check_beside(void) {
    bool is_safe = (header->flags & PYCDS_WARM_SAFE_PATH) != 0;
    if ((header->flags & PYCDS_WARM_INTERPRETER) != 0) {
        if (header->name_count == 0) return;
        bool named = start.argv[1][0] != '-';
        if (named) check_program(start.argv[1]);
        else if (!is_safe) check_folder(".");
        return;
    }
    if ((header->flags & PYCDS_WARM_CURRENT_FOLDER) == 0) return;
    if ((header->flags & PYCDS_WARM_NEEDS_FOLDER) == 0) {
        check_folder(".");
        return;
    }
    /* what that folder has in it is stamped, unless the image is sealed */
    static char now[PATH_SIZE];
    if (failed(kernel(SYS_getcwd, now, sizeof now, 0, 0, 0)) || !text_equal(now, image_string(header->folder)))
        refuse("it was built in another folder, where its modules are", image_string(header->folder));
}
