/*
 * The runtime's file handling without Python (fake_python.c stands in for it).
 *
 *   harness open FILE…              one line a file: `ok[, entry N refused][, name N refused]…` or `refused: REASON`
 *   harness load FILE               loads every unit; one line each
 *   harness find FILE [FOLDER NAME]…   what index.c finds; one line each
 *   harness racy FILE FOLDER MTIME NOW NAME   FOLDER listed at a time, then NAME.py comes and the mtime is put back (all in ns)
 *   harness flip FILE SCRATCH       flips each byte of header, table and eager sections: who is not refused?
 *   harness tables FILE SCRATCH SEED COUNT   random damage to what is read at start, digests made right again
 *   harness units FILE SCRATCH SEED COUNT    random damage to relocations and objects, digests made right again
 *   harness cut FILE SCRATCH        the file is truncated while it is mapped
 *   harness steps FILE UNIT…        how many units are read along with each
 *   harness reads FILE HOW          loads every unit while reading is `unknown`, `short`, `interrupted`, `failing` (reads.c)
 *   harness replaced FILE SCRATCH HOW   loads one unit, the name is `renamed` over or `unlinked`, loads the others
 *   harness memory HOW              where pages_take's memory lies, and how much of it is in huge pages (reads.c)
 *   harness limit FILE              a unit for which there is no memory
 *   harness sets FILE               making a frozenset fails
 *   harness versions FILE           co_version numbers come from a shared counter, and end
 *   harness log LINE…               log_init() and one log_line() for each
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "damage.h"
#include "fake_python.h"
#include "reads.h"
#include "walk.h"

/* ---- the mapping ------------------------------------------------------------------------------ */

static void run_open(const char *path) {
    Archive a;
    if (archive_open(path, &a, why) != 0) {
        printf("refused: %s\n", why);
        return;
    }
    fputs("ok", stdout);
    walk(&a, 1);
    putchar('\n');
    archive_close(&a);
}

/* The archive loses its DATA after it was opened: units are refused, and nothing is SIGBUS. */
static void run_cut(const char *path, const char *scratch) {
    Bytes file = read_file(path);
    Archive a;
    Loads loads = {0, 0};
    write_file(scratch, file);
    CHECK(archive_open(scratch, &a, why) == 0 && externals_init(&a) == 0);
    CHECK(truncate(scratch, (off_t)section_of(file, PYCDS_SECTION_DATA)->offset) == 0);
    for (uint32_t i = 0; i < a.unit_count; i++) {
        CHECK(unit_code(&a, i, PyUnicode_FromOrdinal('f'), why) == NULL);
        CHECK(a.unit_state[i] == UNIT_NEW && a.unit_base[i] == NULL);
        loads.refused++;
    }
    CHECK(name_object(&a, a.name_count - 1) == NULL || (a.names[a.name_count - 1] & PYCDS_NAME_LATIN1) != 0);
    printf("refused=%u: %s\n", loads.refused, why);
}

static void run_find(char **arguments, int count) {
    static char path[PATH_MAX];
    Archive a;
    CHECK(archive_open(arguments[0], &a, why) == 0);
    for (int i = 1; i + 1 < count; i += 2) {
        const char *folder = arguments[i], *name = arguments[i + 1];
        const uint32_t index = index_folder(&a, index_path_hash(folder, strlen(folder)), folder, strlen(folder));
        Found found = {.kind = FIND_ASK};
        if (index == PYCDS_NONE) found.kind = index_find_unknown(&a, folder, strlen(folder), name, strlen(name));
        else index_find(&a, index, name, strlen(name), &found);
        if (found.kind != FIND_FILE) {
            puts(found.kind == FIND_ABSENT ? "absent" : found.kind == FIND_ASK ? "ask" : "namespace");
            continue;
        }
        const StampResult stamp = use_found(&a, &found, path, sizeof path);
        printf("%s%s%s%s\n", path, found.is_package ? " (package)" : "", stamp == STAMP_FRESH ? "" : ": ", why);
    }
    archive_close(&a);
}

static int64_t fake_now; /* ns; 0: the clock's */

int __real_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time) {
    if (fake_now == 0) return __real_clock_gettime(clock, time);
    *time = (struct timespec){fake_now / 1000000000, fake_now % 1000000000};
    return 0;
}

static void set_mtime(const char *path, int64_t mtime) {
    const struct timespec times[2] = {{0, UTIME_OMIT}, {mtime / 1000000000, mtime % 1000000000}};
    CHECK(utimensat(AT_FDCWD, path, times, 0) == 0);
}

static void run_racy(char **arguments) {
    char file[PATH_MAX];
    Archive a;
    const char *folder = arguments[1], *name = arguments[4];
    const int64_t mtime = strtoll(arguments[2], NULL, 10);
    CHECK(archive_open(arguments[0], &a, why) == 0);
    fake_now = strtoll(arguments[3], NULL, 10);
    set_mtime(folder, mtime);
    CHECK(index_find_unknown(&a, folder, strlen(folder), name, strlen(name)) == FIND_ABSENT);
    CHECK(snprintf(file, sizeof file, "%s/%s.py", folder, name) < (int)sizeof file);
    const int fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    CHECK(fd >= 0 && close(fd) == 0);
    set_mtime(folder, mtime);
    puts(index_find_unknown(&a, folder, strlen(folder), name, strlen(name)) == FIND_ABSENT ? "kept" : "listed again");
    archive_close(&a);
}

static void run_sets(const char *path) {
    Archive a;
    CHECK(archive_open(path, &a, why) == 0 && externals_init(&a) == 0);
    PyObject *filename = PyUnicode_FromOrdinal('f');
    unsigned failed_units = 0;
    fake_sets_fail = 1;
    for (uint32_t i = 0; i < a.unit_count; i++) {
        if (unit_code(&a, i, filename, why) != NULL) continue;
        failed_units++;
        CHECK(PyErr_Occurred() == PyExc_MemoryError && a.unit_state[i] == UNIT_BAD);
        PyErr_Clear();
        fake_sets_fail = 0; /* half done is never done */
        CHECK(unit_code(&a, i, filename, why) == NULL && PyErr_Occurred() == NULL);
        fake_sets_fail = 1;
    }
    printf("failed=%u\n", failed_units);
}

/* Another copy of this library has put its counter into the interpreter's dict. */
static void run_versions(const char *path) {
    static _Atomic uint32_t theirs = UINT32_C(0x50000000);
    Archive a;
    PyDict_SetItemString(PyInterpreterState_GetDict(PyInterpreterState_Get()), "pycds.co_version", PyLong_FromVoidPtr((void *)(uintptr_t)&theirs));
    for (int round = 0; round < 2; round++) {
        CHECK(archive_open(path, &a, why) == 0 && externals_init(&a) == 0);
        unsigned loaded = 0;
        for (uint32_t i = 0; i < a.unit_count; i++) loaded += unit_code(&a, i, PyUnicode_FromOrdinal('f'), why) != NULL;
        printf("loaded=%u of %u, next=0x%" PRIx32 "\n", loaded, a.unit_count, theirs);
        archive_close(&a);
        theirs = UINT32_C(0xefffffff); /* one is left */
    }
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    damage_seed(argc > 4 ? strtoull(argv[4], NULL, 10) : 0);
    const uint64_t count = argc > 5 ? strtoull(argv[5], NULL, 10) : 0;
    if (strcmp(mode, "open") == 0) {
        for (int i = 2; i < argc; i++) run_open(argv[i]);
    } else if (strcmp(mode, "load") == 0 && argc == 3) {
        Archive a;
        Loads loads = {0, 0};
        CHECK(archive_open(argv[2], &a, why) == 0);
        load_all(&a, &loads, 1);
    } else if (strcmp(mode, "find") == 0 && argc > 2) {
        run_find(argv + 2, argc - 2);
    } else if (strcmp(mode, "racy") == 0 && argc == 7) {
        run_racy(argv + 2);
    } else if (strcmp(mode, "flip") == 0 && argc == 4) {
        damage_flip(argv[2], argv[3]);
    } else if (strcmp(mode, "tables") == 0 && argc == 6) {
        damage_tables(argv[2], argv[3], count);
    } else if (strcmp(mode, "units") == 0 && argc == 6) {
        damage_units(argv[2], argv[3], count);
    } else if (strcmp(mode, "cut") == 0 && argc == 4) {
        run_cut(argv[2], argv[3]);
    } else if (strcmp(mode, "steps") == 0 && argc > 2) {
        reads_steps(argv + 2, argc - 2);
    } else if (strcmp(mode, "reads") == 0 && argc == 4) {
        reads_load(argv[2], argv[3]);
    } else if (strcmp(mode, "replaced") == 0 && argc == 5) {
        reads_replaced(argv[2], argv[3], argv[4]);
    } else if (strcmp(mode, "memory") == 0 && argc == 3) {
        reads_memory(argv[2]);
    } else if (strcmp(mode, "limit") == 0 && argc == 3) {
        reads_limit(argv[2]);
    } else if (strcmp(mode, "sets") == 0 && argc == 3) {
        run_sets(argv[2]);
    } else if (strcmp(mode, "versions") == 0 && argc == 3) {
        run_versions(argv[2]);
    } else if (strcmp(mode, "log") == 0) {
        log_init();
        if (chdir("/") != 0) return 1; /* a relative PYCDS_LOG was made absolute */
        for (int i = 2; i < argc; i++) log_line("%s", argv[i]);
        printf("wanted=%d\n", log_wanted);
    } else {
        fputs("usage: see the top of harness.c\n", stderr);
        return 2;
    }
    return 0;
}
