/*
 * The runtime's file handling without Python (fake_python.c stands in for it).
 *
 *   harness open FILE…              one line a file: `ok delta=N` or `refused: REASON`
 *   harness taken FILE              the same, with the archive's preferred base occupied
 *   harness load FILE               loads every unit; one line each
 *   harness flip FILE SCRATCH       flips each byte of header, table and eager sections: who is not refused?
 *   harness reseal FILE SCRATCH SEED COUNT   random damage with all digests made right again
 *   harness units FILE SCRATCH SEED COUNT    random damage to relocations and objects, digests made right again
 *   harness cut FILE SCRATCH        the file is truncated while it is mapped
 *   harness populate FILE           how far each populate reaches
 *   harness sets FILE               making a frozenset fails
 *   harness versions FILE           co_version numbers come from a shared counter, and end
 *   harness log LINE…               log_init() and one log_line() for each
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../native/runtime/xxh3.h"
#include "fake_python.h"
#include "walk.h"

/* ---- files -------------------------------------------------------------------- */

typedef struct Bytes {
    uint8_t *at;
    size_t size;
} Bytes;

static Bytes read_file(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && fstat(fd, &st) == 0);
    Bytes bytes = {malloc((size_t)st.st_size), (size_t)st.st_size};
    CHECK(bytes.at != NULL && read(fd, bytes.at, bytes.size) == st.st_size);
    close(fd);
    return bytes;
}

/* In place: the harness unmaps an archive before it changes the file, but in the `cut` test. */
static void write_file(const char *path, Bytes bytes) {
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)bytes.size) == 0 && pwrite(fd, bytes.at, bytes.size, 0) == (ssize_t)bytes.size);
    close(fd);
}

static PycdsFileHeader *header_of(Bytes file) { return (PycdsFileHeader *)(void *)file.at; }
static PycdsSection *sections_of(Bytes file) { return (PycdsSection *)(void *)(file.at + sizeof(PycdsFileHeader)); }
static PycdsSection *section_of(Bytes file, uint32_t kind) {
    for (uint32_t i = 0; i < header_of(file)->section_count; i++)
        if (sections_of(file)[i].kind == kind) return &sections_of(file)[i];
    return NULL;
}
static int is_eager(uint32_t kind) { return kind <= PYCDS_SECTION_MAX && (PYCDS_SECTIONS_EAGER >> kind & 1) != 0; }

/* Makes the digests of header and sections right, as far as the damaged header lets us find what they are of. */
static void reseal(Bytes file) {
    PycdsFileHeader *h = header_of(file);
    uint64_t table = (uint64_t)h->section_count * sizeof(PycdsSection);
    if (!inside(sizeof *h, table, file.size)) return;
    for (uint32_t i = 0; i < h->section_count; i++) {
        PycdsSection *s = &sections_of(file)[i];
        if (is_eager(s->kind) && inside(s->offset, s->size, file.size)) s->digest = xxh3(file.at + s->offset, s->size);
    }
    h->header_digest = 0;
    h->header_digest = xxh3(file.at, sizeof *h + table);
}

/* ---- damage ------------------------------------------------------------------------------- */

static uint64_t random_state;
static uint64_t random_below(uint64_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return limit == 0 ? 0 : random_state % limit;
}

static void damage(uint8_t *at, uint64_t size) {
    static const uint32_t values[] = {0, 1, 2, 7, 0x7fffffff, 0x80000000, 0xffff, 0xfffffff0, 0xffffffff, 0x10000};
    if (size < 4) return;
    uint64_t place = random_below(size - 3);
    uint32_t word;
    switch (random_below(4)) {
    case 0:
        at[place] ^= (uint8_t)(1U << random_below(8));
        return;
    case 1:
        at[place] = (uint8_t)random_below(256);
        return;
    case 2:
        place &= ~UINT64_C(3);
        memcpy(&word, at + place, 4);
        word += (uint32_t)random_below(33) - 16;
        break;
    default:
        place &= ~UINT64_C(3);
        word = values[random_below(sizeof values / sizeof values[0])];
        break;
    }
    memcpy(at + place, &word, 4);
}

static Bytes copy_of(Bytes file) {
    Bytes copy = {malloc(file.size), file.size};
    CHECK(copy.at != NULL);
    memcpy(copy.at, file.at, file.size);
    return copy;
}

static void run_reseal(const char *path, const char *scratch, uint64_t count) {
    Bytes good = read_file(path), file = copy_of(good);
    unsigned accepted = 0;
    Loads loads = {0, 0};
    const uint64_t table = sizeof(PycdsFileHeader) + (uint64_t)header_of(good)->section_count * sizeof(PycdsSection);
    for (uint64_t i = 0; i < count; i++) {
        memcpy(file.at, good.at, good.size);
        for (uint64_t hits = 1 + random_below(2); hits > 0; hits--) {
            const uint32_t kind = (uint32_t)random_below(PYCDS_SECTION_NAME_BLOCKS + 1);
            const PycdsSection *s = section_of(good, kind); /* kind 0 is none: header and section table */
            if (s != NULL) damage(file.at + s->offset, s->size);
            else damage(file.at + 8, table - 8);
        }
        reseal(file);
        write_file(scratch, file);
        Archive a;
        if (archive_open(scratch, &a, why) != 0) {
            CHECK(why[0] != '\0' && a.map == NULL && a.data == NULL && a.path == NULL);
            continue;
        }
        accepted++;
        walk(&a);
        if (a.abi->type_offset == 8) load_all(&a, &loads, 0); /* another one is for selfcheck() to refuse */
        archive_close(&a);
    }
    printf("accepted=%u of %" PRIu64 " loaded=%u refused=%u\n", accepted, count, loads.loaded, loads.refused);
}

static void run_units(const char *path, const char *scratch, uint64_t count) {
    Bytes good = read_file(path), file = copy_of(good);
    const PycdsSection *units = section_of(good, PYCDS_SECTION_UNITS), *relocations = section_of(good, PYCDS_SECTION_RELOCATIONS), *data = section_of(good, PYCDS_SECTION_DATA);
    const uint64_t unit_count = units->size / sizeof(PycdsUnit);
    Loads loads = {0, 0};
    for (uint64_t i = 0; i < count; i++) {
        memcpy(file.at, good.at, good.size);
        const uint32_t number = (uint32_t)random_below(unit_count);
        PycdsUnit *u = (PycdsUnit *)(void *)(file.at + units->offset) + number;
        uint8_t *stream = file.at + relocations->offset + u->reloc_offset, *objects = file.at + data->offset + u->data_offset;
        /* Mostly the counts at the head and the tables after it; sometimes all of it, the objects, or a cut escape at the end. */
        const uint64_t choice = random_below(5);
        if (choice == 4) memset(stream + u->reloc_size - 2, 0xff, 2);
        else if (choice == 3) damage(objects, u->data_size);
        else damage(stream, choice == 0 ? sizeof(PycdsRelocations) : u->reloc_size);
        if (random_below(8) == 0) u->reloc_size -= (uint32_t)random_below(u->reloc_size - sizeof(PycdsRelocations) + 1);
        XXH3_state_t *state = XXH3_createState();
        CHECK(state != NULL);
        XXH3_64bits_reset(state);
        XXH3_64bits_update(state, objects, u->data_size);
        XXH3_64bits_update(state, stream, u->reloc_size);
        u->digest = XXH3_64bits_digest(state);
        XXH3_freeState(state);
        reseal(file);
        write_file(scratch, file);
        Archive a;
        CHECK(archive_open(scratch, &a, why) == 0);
        /* The stream at the end of its own memory: the sanitizer sees any read behind it. */
        const size_t end = (size_t)u->reloc_offset + u->reloc_size;
        uint8_t *copy = malloc(end);
        CHECK(copy != NULL);
        memcpy(copy, a.relocations, end);
        a.relocations = copy;
        load_units(&a, number, number + 1, &loads, 0);
        free(copy);
        archive_close(&a);
    }
    printf("loaded=%u refused=%u\n", loads.loaded, loads.refused);
}

static void run_flip(const char *path, const char *scratch) {
    Bytes good = read_file(path);
    unsigned tried = 0;
    write_file(scratch, good);
    int fd = open(scratch, O_WRONLY);
    CHECK(fd >= 0);
    for (uint32_t i = 0; i <= header_of(good)->section_count; i++) {
        const PycdsSection *s = i > 0 ? &sections_of(good)[i - 1] : NULL;
        if (s != NULL && !is_eager(s->kind)) continue;
        const uint64_t begin = s ? s->offset : 0, size = s ? s->size : sizeof(PycdsFileHeader) + (uint64_t)header_of(good)->section_count * sizeof(PycdsSection);
        for (uint64_t at = begin; at < begin + size; at++) {
            uint8_t byte = good.at[at] ^ (uint8_t)(1U << random_below(8));
            CHECK(pwrite(fd, &byte, 1, (off_t)at) == 1);
            Archive a;
            tried++;
            if (archive_open(scratch, &a, why) == 0) {
                printf("accepted: byte %" PRIu64 " (section %" PRIu32 ")\n", at, s ? s->kind : 0);
                archive_close(&a);
            }
            CHECK(pwrite(fd, &good.at[at], 1, (off_t)at) == 1);
        }
    }
    close(fd);
    printf("tried=%u\n", tried);
}

/* ---- the mapping ------------------------------------------------------------------------------ */

static void run_open(const char *path) {
    Archive a;
    if (archive_open(path, &a, why) != 0) {
        printf("refused: %s\n", why);
        return;
    }
    walk(&a);
    printf("ok delta=%" PRId64 "\n", a.delta);
    archive_close(&a);
}

static void run_taken(const char *path) {
    Bytes file = read_file(path);
    void *base = (void *)(uintptr_t)header_of(file)->preferred_base; /* NOLINT */
    CHECK(mmap(base, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != MAP_FAILED || errno == EEXIST);
    run_open(path);
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
        CHECK(a.unit_state[i] == UNIT_BAD);
        loads.refused++;
    }
    CHECK(name_object(&a, a.name_count - 1) == NULL || (a.names[a.name_count - 1] & PYCDS_NAME_LATIN1) != 0);
    printf("refused=%u: %s\n", loads.refused, why);
}

static long faults(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

static long faults_of_writing(uint8_t *at, uint64_t size) {
    const long before = faults();
    for (uint64_t i = 0; i < size; i += 4096) ((volatile uint8_t *)at)[i] = 1;
    return faults() - before;
}

static void run_populate(const char *path) {
    const uint64_t step = 256 << 10;
    Archive a;
    CHECK(archive_open(path, &a, why) == 0);
    CHECK(a.data_size > 4 * step && (uint64_t)a.header->data_hot_size * PYCDS_HOT_UNIT > 4 * step);
    CHECK(archive_populate(&a, 4096, 100) == 0);
    printf("first: populated=%" PRIu64 " faults=%ld\n", a.populated, faults_of_writing(a.data, step));
    CHECK(archive_populate(&a, 0, step) == 0);
    printf("inside: populated=%" PRIu64 "\n", a.populated);
    CHECK(archive_populate(&a, 3 * step, 8192) == 0);
    printf("far: populated=%" PRIu64 " faults=%ld\n", a.populated, faults_of_writing(a.data + 3 * step, 8192));
    CHECK(archive_populate(&a, step + 5000, 4096) == 0);
    printf("next: populated=%" PRIu64 " faults=%ld\n", a.populated, faults_of_writing(a.data + step, step));
    const uint64_t last = a.data_size - 100;
    CHECK(archive_populate(&a, last, 100) == 0);
    printf("last: populated=%" PRIu64 " faults=%ld\n", a.populated, faults_of_writing(a.data + last - last % 4096, 4096));
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
    random_state = argc > 4 ? strtoull(argv[4], NULL, 10) * 2 + 1 : 1;
    const uint64_t count = argc > 5 ? strtoull(argv[5], NULL, 10) : 0;
    if (strcmp(mode, "open") == 0) {
        for (int i = 2; i < argc; i++) run_open(argv[i]);
    } else if (strcmp(mode, "taken") == 0 && argc == 3) {
        run_taken(argv[2]);
    } else if (strcmp(mode, "load") == 0 && argc == 3) {
        Archive a;
        Loads loads = {0, 0};
        CHECK(archive_open(argv[2], &a, why) == 0);
        load_all(&a, &loads, 1);
    } else if (strcmp(mode, "flip") == 0 && argc == 4) {
        run_flip(argv[2], argv[3]);
    } else if (strcmp(mode, "reseal") == 0 && argc == 6) {
        run_reseal(argv[2], argv[3], count);
    } else if (strcmp(mode, "units") == 0 && argc == 6) {
        run_units(argv[2], argv[3], count);
    } else if (strcmp(mode, "cut") == 0 && argc == 4) {
        run_cut(argv[2], argv[3]);
    } else if (strcmp(mode, "populate") == 0 && argc == 3) {
        run_populate(argv[2]);
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
