/* Finds, maps and checks the image behind the restorer. */
#include <fcntl.h>
#include <linux/mman.h>
#include <sys/syscall.h>

#define XXH_INLINE_ALL
#define XXH_NO_STDLIB
#define XXH_NO_STREAM
#define XXH_VECTOR 1 /* SSE2: every x86-64 has it */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-function"
#include "../../vendor/xxhash.h"
#pragma GCC diagnostic pop

#include "restorer.h"

/* The writer finds it by its mark and fills in the offset; volatile, so that the compiler does not take the 0 for granted. */
__attribute__((used, aligned(16))) static volatile const struct {
    char mark[16];
    uint64_t image_offset;
} slot = {PYCDS_WARM_SLOT_MARK, 0};
_Static_assert(sizeof slot == sizeof(PycdsWarmSlot), "slot");
_Static_assert(sizeof PYCDS_WARM_SLOT_MARK - 1 == sizeof((PycdsWarmSlot *)0)->mark, "mark");

const PycdsWarmHeader *header;
int image_file = -1;
static const unsigned char *tables;

const void *image_table(uint32_t offset) { return tables + offset; }
const char *image_string(uint32_t reference) { return (const char *)tables + header->strings_offset + reference; }

uint64_t digest_of(const char *text, size_t size) { return XXH3_64bits(text, size); }

/* A table lies within the tables and is aligned as its structs need. */
static void check_table(const PycdsWarmHeader *h, uint32_t offset, uint64_t count, uint64_t size) {
    if (offset % 8 != 0 || offset < sizeof *h || offset > h->tables_size || count > (h->tables_size - offset) / size) broken("a table lies outside the image");
}

static void check_string(uint32_t reference) {
    if (reference >= header->strings_size) broken("a string lies outside the image");
}

static void check_strings(void) {
    const uint32_t *command = image_table(header->command_offset);
    for (uint32_t i = 0; i < header->command_count; i++) check_string(command[i]);
    check_string(header->folder);
    const uint32_t *renew = image_table(header->renew_offset);
    for (uint32_t i = 0; i < header->renew_count; i++) check_string(renew[i]);
    const PycdsWarmFile *file = image_table(header->files_offset);
    for (uint32_t i = 0; i < header->file_count; i++) check_string(file[i].path);
    const PycdsWarmFolder *folder = image_table(header->folders_offset);
    for (uint32_t i = 0; i < header->folder_count; i++) {
        check_string(folder[i].path);
        if (folder[i].first_stamp > header->stamp_count || folder[i].stamp_count > header->stamp_count - folder[i].first_stamp) broken("a folder's stamps lie outside the image");
    }
    const PycdsWarmStamp *stamp = image_table(header->stamps_offset);
    for (uint32_t i = 0; i < header->stamp_count; i++) check_string(stamp[i].name);
    const PycdsWarmVariable *one = image_table(header->variables_offset);
    for (uint32_t i = 0; i < header->variable_count; i++) {
        check_string(one[i].name);
        if (one[i].value != PYCDS_WARM_NONE) check_string(one[i].value);
    }
    const PycdsWarmSegment *segment = image_table(header->segments_offset);
    for (uint32_t i = 0; i < header->segment_count; i++)
        if (segment[i].kind == PYCDS_SEGMENT_ORIGINAL && segment[i].file >= header->file_count) broken("a segment's file lies outside the image");
}

void image_open(void) {
    if (slot.image_offset == 0) broken("it has no image");
    long file = kernel(SYS_open, "/proc/self/exe", O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (failed(file)) file = kernel(SYS_open, program_path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (failed(file)) broken("it cannot be opened");
    /* a closed standard descriptor must stay closed for the program, so ours moves away from its number */
    if (file <= 2) {
        long moved = kernel(SYS_fcntl, file, F_DUPFD_CLOEXEC, 3, 0, 0);
        kernel(SYS_close, file, 0, 0, 0, 0);
        if (failed(moved)) broken("it cannot be opened");
        file = moved;
    }
    image_file = (int)file;

    PycdsWarmHeader h;
    if (kernel(SYS_pread64, file, &h, sizeof h, slot.image_offset, 0) != sizeof h) broken("it is cut off");
    static const uint8_t magic[8] = PYCDS_WARM_MAGIC;
    if (memcmp(h.magic, magic, sizeof magic) != 0 || h.byte_order != PYCDS_WARM_BYTE_ORDER || h.header_size != sizeof h) broken("it has no image");
    if (h.format_version != PYCDS_WARM_FORMAT_VERSION || (h.flags & ~PYCDS_WARM_FLAGS_KNOWN) != 0) broken("its format is not known to its restorer");

    struct statx about;
    if (failed(kernel(SYS_statx, file, "", 0x1000 /* AT_EMPTY_PATH */, STATX_BASIC_STATS, &about))) broken("it cannot be read");
    if (about.stx_size != h.file_size || h.tables_size % PYCDS_WARM_PAGE != 0 || h.tables_size > h.file_size || slot.image_offset > h.file_size - h.tables_size)
        broken("it is cut off");
    long mapped = kernel6(SYS_mmap, (long)RESTORER_TABLES, (long)h.tables_size, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE | MAP_POPULATE, file, (long)slot.image_offset);
    if ((uint64_t)mapped != RESTORER_TABLES) broken("it cannot be mapped");
    tables = at_address(RESTORER_TABLES);

    uint64_t expected = h.tables_digest;
    h.tables_digest = 0;
    if ((XXH3_64bits(&h, sizeof h) ^ XXH3_64bits(tables + sizeof h, h.tables_size - sizeof h)) != expected) broken("it is damaged");

    check_table(&h, h.state_offset, 1, sizeof(PycdsWarmState));
    check_table(&h, h.signals_offset, PYCDS_WARM_SIGNALS, sizeof(PycdsWarmSignal));
    check_table(&h, h.segments_offset, h.segment_count, sizeof(PycdsWarmSegment));
    check_table(&h, h.files_offset, h.file_count, sizeof(PycdsWarmFile));
    check_table(&h, h.folders_offset, h.folder_count, sizeof(PycdsWarmFolder));
    check_table(&h, h.stamps_offset, h.stamp_count, sizeof(PycdsWarmStamp));
    check_table(&h, h.variables_offset, h.variable_count, sizeof(PycdsWarmVariable));
    check_table(&h, h.command_offset, h.command_count, sizeof(uint32_t));
    check_table(&h, h.names_offset, h.name_count, sizeof(uint64_t));
    check_table(&h, h.renew_offset, h.renew_count, sizeof(uint32_t));
    if (h.renew_count > 16) broken("a string lies outside the image");
    check_table(&h, h.hot_offset, h.hot_count, sizeof(PycdsWarmHot));
    check_table(&h, h.strings_offset, h.strings_size, 1);
    check_table(&h, h.vdso_offset, h.vdso_size, 1);
    if (h.strings_size == 0 || tables[h.strings_offset + h.strings_size - 1] != 0 || h.command_count == 0 || h.command_count > 64) broken("a string lies outside the image");
    header = (const PycdsWarmHeader *)tables;
    check_strings();

    /* who may write it decides what runs */
    long user = kernel(SYS_geteuid, 0, 0, 0, 0, 0);
    if (about.stx_uid != 0 && about.stx_uid != (uint32_t)user) refuse("it belongs to another user", NULL);
    if ((about.stx_mode & 022) != 0) refuse("others may write it", NULL);
}
