/* The address space of the parked process. */
#include <fcntl.h>
#include <linux/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "restorer.h"

#define POPULATE_WRITE 23 /* MADV_POPULATE_WRITE */
#define SELF (-10000) /* PIDFD_SELF_THREAD_GROUP */
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#define MREMAP_MOVE_TO 3 /* MREMAP_MAYMOVE | MREMAP_FIXED */
#define STACK_GAP (UINT64_C(1) << 20) /* as the kernel keeps below a stack (mm/mmap.c, stack_guard_gap) */

static const char *path_of_original;
const char *compared_file;

static uint64_t digest_of_file(long file, uint64_t size) {
    long at = size == 0 ? -1 : kernel6(SYS_mmap, 0, (long)size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (failed(at)) return 0;
    uint64_t digest = digest_of(at_address((uint64_t)at), size);
    kernel(SYS_munmap, at, size, 0, 0, 0);
    return digest;
}

/* Else (a copy, a new link, an edit that kept its time) the contents decide. */
static bool is_same(const PycdsWarmFile *original, const struct statx *now) { return now->stx_ino == original->inode && nanoseconds(&now->stx_ctime) == original->ctime_ns; }

static bool looks_same(const PycdsWarmFile *original, const struct statx *now) { return now->stx_size == original->size && nanoseconds(&now->stx_mtime) == original->mtime_ns; }

#define AT_EMPTY 0x1000   /* AT_EMPTY_PATH */
#define STATX_FLAGS 0x4000 /* AT_STATX_DONT_SYNC */
#define STATX_WANTED (STATX_MTIME | STATX_CTIME | STATX_INO | STATX_SIZE)

/* The original, which must be the file that the process had mapped: other bytes at these addresses would be no refusal but a crash. */
static int open_original(const PycdsWarmFile *original) {
    path_of_original = image_string(original->path);
    long file = kernel(SYS_open, path_of_original, O_RDONLY | O_CLOEXEC, 0, 0, 0);
    if (failed(file)) refuse("a file is gone", path_of_original);
    struct statx now;
    if (failed(kernel(SYS_statx, file, "", AT_EMPTY | STATX_FLAGS, STATX_WANTED, &now)) || !looks_same(original, &now)) refuse("a file has changed", path_of_original);
    if (!is_same(original, &now)) {
        if (digest_of_file(file, now.stx_size) != original->digest) refuse("a file has changed", path_of_original);
        compared_file = path_of_original;
    }
    return (int)file;
}

/* As open_original(), of a file whose pages the image has. */
static void check_embedded(const PycdsWarmFile *original) {
    struct statx now;
    bool found = !failed(kernel(SYS_statx, -100 /* AT_FDCWD */, image_string(original->path), STATX_FLAGS, STATX_WANTED, &now));
    if (!found || !looks_same(original, &now) || !is_same(original, &now)) kernel(SYS_close, open_original(original), 0, 0, 0, 0);
}

static void map_at(uint64_t address, uint64_t size, uint32_t protection, int flags, int file, uint64_t offset, const char *what) {
    long at = kernel6(SYS_mmap, (long)address, (long)size, (long)protection, flags | MAP_PRIVATE | MAP_FIXED_NOREPLACE | MAP_NORESERVE, file, (long)offset);
    if ((uint64_t)at == address) return;
    refuse(at == -17 /* EEXIST */ || !failed(at) ? "an address is taken" : "memory cannot be mapped", what);
}

static void read_at(uint64_t address, uint64_t size, uint64_t offset, const char *why) {
    for (uint64_t done = 0; done < size;) {
        long got = kernel(SYS_pread64, image_file, address + done, size - done, offset + done, 0);
        if (got <= 0) refuse(why, NULL);
        done += (uint64_t)got;
    }
}

/* Moves every part of the vDSO by way of `from`, in address order; all parts keep their distances, since the kernel is the same. */
static void move_vdso(uint64_t from, uint64_t to) {
    const PycdsWarmSegment *segment = image_table(header->segments_offset);
    for (uint32_t i = 0; i < header->segment_count; i++) {
        if (segment[i].kind != PYCDS_SEGMENT_VDSO) continue;
        uint64_t part = segment[i].address - header->vdso_address;
        if (failed(kernel6(SYS_mremap, (long)(from + part), (long)segment[i].size, (long)segment[i].size, MREMAP_MOVE_TO, (long)(to + part), 0)))
            refuse("the vDSO cannot be moved", NULL);
    }
}

/* Whether something of the parked process goes where the kernel put the vDSO. */
static bool vdso_is_in_the_way(void) {
    const PycdsWarmSegment *segment = image_table(header->segments_offset);
    for (uint32_t i = 0; i < header->segment_count; i++) {
        if (segment[i].kind != PYCDS_SEGMENT_VDSO) continue;
        uint64_t low = kernel_vdso + (segment[i].address - header->vdso_address), high = low + segment[i].size;
        if (low < header->stack_high && header->stack_floor < high) return true; /* the stack may grow down to its floor */
        for (uint32_t k = 0; k < header->segment_count; k++)
            if (low < segment[k].address + segment[k].size && segment[k].address < high) return true;
    }
    return false;
}

/* RLIMIT_STACK may be larger than it was: the room goes down as far, but not to what lies below. Without a limit it is all there is. */
static uint64_t stack_begin(uint64_t low, uint64_t high) {
    struct {
        uint64_t now, most;
    } limit;
    if (failed(kernel(SYS_prlimit64, 0, RLIMIT_STACK, 0, &limit, 0)) || limit.now <= high - low) return low;
    uint64_t floor = header->stack_floor > low ? low : header->stack_floor, room = high - floor;
    if (floor == 0 || room <= STACK_GAP || room - STACK_GAP <= high - low) room = high - low;
    else room = (room - STACK_GAP) & ~(PYCDS_WARM_PAGE - 1);
    if (limit.now == RLIM_INFINITY) return high - room;
    if (limit.now > room) refuse("there is no room for a stack of this size", NULL);
    return high - page_up(limit.now);
}

/*
 * What every start writes to, in one call for all of it (since Linux 6.14), or one for
 * a range; where the kernel has neither (before 5.14), or is not allowed to, pages fault.
 */
static void copy_hot_pages(void) {
    const PycdsWarmHot *hot = image_table(header->hot_offset);
    if (!failed(kernel(SYS_process_madvise, SELF, hot, header->hot_count, POPULATE_WRITE, 0))) return;
    for (uint32_t i = 0; i < header->hot_count; i++)
        if (kernel(SYS_madvise, hot[i].address, hot[i].size, POPULATE_WRITE, 0, 0) == -22 /* EINVAL */) return;
}

void map_memory(void) {
    /* By way of a place of our own where the parked process had something else at the kernel's. */
    bool vdso_moves = kernel_vdso != 0 && kernel_vdso != header->vdso_address;
    uint64_t vdso = kernel_vdso;
    if (vdso_moves && vdso_is_in_the_way()) {
        move_vdso(kernel_vdso, RESTORER_VDSO);
        vdso = RESTORER_VDSO;
    }

    const PycdsWarmSegment *segment = image_table(header->segments_offset);
    const PycdsWarmFile *files = image_table(header->files_offset);
    for (uint32_t i = 0; i < header->file_count; i++)
        if (files[i].embedded != 0) check_embedded(&files[i]);
    int original = -1;
    uint32_t open_index = 0;
    for (uint32_t i = 0; i < header->segment_count; i++) {
        const PycdsWarmSegment *s = &segment[i];
        switch (s->kind) {
        case PYCDS_SEGMENT_IMAGE:
            map_at(s->address, s->size, s->protection, 0, image_file, s->offset, "image");
            break;
        case PYCDS_SEGMENT_ORIGINAL:
            if (original < 0 || open_index != s->file) {
                if (original >= 0) kernel(SYS_close, original, 0, 0, 0, 0);
                original = open_original(&files[s->file]);
                open_index = s->file;
            }
            map_at(s->address, s->size, s->protection, 0, original, s->offset, path_of_original);
            break;
        case PYCDS_SEGMENT_ZERO:
            map_at(s->address, s->size, s->protection, MAP_ANONYMOUS, -1, 0, "zero pages");
            break;
        case PYCDS_SEGMENT_WIPE:
            map_at(s->address, s->size, s->protection, MAP_ANONYMOUS, -1, 0, "wiped pages");
            if (failed(kernel(SYS_madvise, s->address, s->size, 18 /* MADV_WIPEONFORK */, 0, 0))) refuse("memory cannot be wiped on fork", NULL);
            break;
        case PYCDS_SEGMENT_COPIED:
            map_at(s->address, s->size, s->protection, MAP_ANONYMOUS, -1, 0, "copied pages");
            read_at(s->address, s->size, s->offset, "a page cannot be read");
            break;
        case PYCDS_SEGMENT_VDSO:
            break;
        default:
            refuse("a segment of unknown kind", NULL);
        }
    }
    if (original >= 0) kernel(SYS_close, original, 0, 0, 0, 0);

    uint64_t low = header->stack_low, high = header->stack_high, saved = header->stack_saved;
    if (low >= high || saved < low || saved > high) refuse("the stack has no place", NULL);
    low = stack_begin(low, high);
    map_at(low, high - low, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_STACK, -1, 0, "stack");
    read_at(saved, high - saved, header->stack_offset, "the stack cannot be read");

    copy_hot_pages();

    if (vdso_moves) {
        /* mremap replaces what is there: nothing of the parked process is, but make sure */
        for (uint32_t i = 0; i < header->segment_count; i++)
            if (segment[i].kind == PYCDS_SEGMENT_VDSO) map_at(segment[i].address, segment[i].size, 0, MAP_ANONYMOUS, -1, 0, "vDSO");
        move_vdso(vdso, header->vdso_address);
    }
}
