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

/* struct linux_dirent64: ino, off (8 bytes each), reclen (2), type (1), name */
typedef bool EntryTest(long folder, const char *name, size_t length, unsigned char type);

/* Whether `test` is true of an entry; its name is then in `found`. A folder that cannot be read has none, for FileFinder too. */
static bool any_entry(long folder, EntryTest *test, unsigned char *entries, long size, char found[256]) {
    long got;
    while ((got = kernel(SYS_getdents64, folder, entries, size, 0, 0)) > 0) {
        for (long at = 0; at < got;) {
            uint16_t record;
            memcpy(&record, entries + at + 16, sizeof record);
            const char *name = (const char *)entries + at + 19;
            size_t length = text_length(name);
            if (length < 256 && test(folder, name, length, entries[at + 18])) {
                if (found != NULL) memcpy(found, name, length + 1);
                return true;
            }
            at += record;
        }
    }
    return false;
}

static bool ends_in(const char *name, size_t length, const char *end) {
    size_t size = text_length(end);
    return length > size && memcmp(name + length - size, end, size) == 0;
}

/* Length of the module's name in NAME.py, NAME.pyc, NAME.so and NAME.TAG.so; 0: none of these. */
static size_t module_length(const char *name, size_t length) {
    size_t first = 0;
    while (first < length && name[first] != '.') first++;
    if (ends_in(name, length, ".so")) return first;
    if (ends_in(name, length, ".py")) return first == length - 3 ? first : 0;
    return ends_in(name, length, ".pyc") && first == length - 4 ? first : 0;
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

static bool is_init(long folder, const char *name, size_t length, unsigned char type) {
    (void)folder, (void)type;
    return module_length(name, length) == 8 && memcmp(name, "__init__", 8) == 0;
}

static bool is_package(long folder, const char *name) {
    static _Alignas(8) unsigned char entries[8192];
    long inside = kernel(SYS_openat, folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0);
    if (failed(inside)) return false;
    bool found = any_entry(inside, is_init, entries, sizeof entries, NULL);
    kernel(SYS_close, inside, 0, 0, 0, 0);
    return found;
}

static bool takes_over(long folder, const char *name, size_t length, unsigned char type) {
    size_t module = module_length(name, length);
    if (module != 0) return looked_up(name, module) != 0;
    if (type != 0 /* DT_UNKNOWN */ && type != 4 /* DT_DIR */ && type != 10 /* DT_LNK */) return false;
    int kind = looked_up(name, length);
    return kind == 2 || (kind == 1 && is_package(folder, name));
}

static void check_folder(const char *path) {
    static _Alignas(8) unsigned char entries[32768];
    static char name[256];
    long folder = kernel(SYS_open, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
    if (failed(folder)) return;
    bool found = any_entry(folder, takes_over, entries, sizeof entries, name);
    kernel(SYS_close, folder, 0, 0, 0, 0);
    if (found) refuse("beside the program is a module that its imports would find", name);
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
