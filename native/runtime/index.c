/*
 * The path index. One rule above all: the answer is FileFinder.find_spec's
 * (importlib/_bootstrap_external.py), or FIND_ASK.
 *
 * An archived folder's listing holds while its mtime is the recorded one. A
 * folder whose mtime changed, or that no archive knows, is listed here, once
 * per mtime value; its names are then compared with the archived entry, so an
 * unrelated new file makes nothing stale.
 */
#define _GNU_SOURCE
#include "index.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "places.h"
#include "tables.h"
#include "xxh3.h"

/*
 * A listing made less than this after the folder's mtime is not kept: the
 * kernel's clock ticks every 1 to 10 ms, so a file added right after the listing could
 * leave the mtime as it was. One of whole seconds may be a file system's that stores
 * no more (the builder's racyForNs, src/archive/collect-folders.ts).
 */
#define RACY_NS INT64_C(50000000)
#define SECOND_NS INT64_C(1000000000)

typedef struct Listing {
    int64_t mtime_ns;
    uint32_t *slots;  /* offset of a name + 1; 0 is empty */
    uint32_t slot_count; /* power of two */
    char *names;      /* NUL-terminated, one after the other */
    size_t names_size;
    int racy;
} Listing;

/* Listings of folders that no layer knows, by path; those of archived ones are their archive's. */
typedef struct UnknownFolder {
    char *path;
    Listing *listing;
} UnknownFolder;
static UnknownFolder *unknown;
static size_t unknown_count, unknown_capacity;

int64_t index_mtime_ns(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * SECOND_NS + st->st_mtim.tv_nsec;
}

static void listing_free(Listing *listing) {
    if (listing) {
        free(listing->slots);
        free(listing->names);
        free(listing);
    }
}

static int listing_has(const Listing *listing, const char *name, size_t length) {
    uint32_t mask = listing->slot_count - 1;
    for (uint32_t at = (uint32_t)xxh3(name, length) & mask; listing->slots[at]; at = (at + 1) & mask) {
        const char *have = listing->names + listing->slots[at] - 1;
        /* By its own length: `name` may hold a NUL, which then is not where `have` ends. */
        if (strlen(have) == length && memcmp(have, name, length) == 0) return 1;
    }
    return 0;
}

static int listing_has2(const Listing *listing, const char *tail, size_t length, const char *suffix, size_t suffix_length) {
    char name[NAME_MAX + 1];
    if (length + suffix_length > NAME_MAX) return 0; /* no such file can exist */
    memcpy(name, tail, length);
    memcpy(name + length, suffix, suffix_length);
    return listing_has(listing, name, length + suffix_length);
}

/* An unreadable folder lists as empty, as in FileFinder._fill_cache. NULL: no memory. */
static Listing *listing_make(const char *path, int64_t mtime_ns) {
    struct timespec now;
    Listing *listing = calloc(1, sizeof *listing);
    if (!listing) return NULL;
    clock_gettime(CLOCK_REALTIME, &now); /* before the listing begins */
    listing->mtime_ns = mtime_ns;
    listing->racy = (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec - mtime_ns < (mtime_ns % SECOND_NS == 0 ? SECOND_NS + RACY_NS : RACY_NS);
    size_t capacity = 0, count = 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir && fd >= 0) close(fd);
    if (dir) {
        struct dirent *d;
        while ((d = readdir(dir)) != NULL) {
            size_t n = strlen(d->d_name) + 1;
            if (listing->names_size + n > capacity) {
                size_t grown = capacity ? capacity * 2 : 4096;
                char *names = realloc(listing->names, grown);
                if (!names) goto fail;
                listing->names = names;
                capacity = grown;
            }
            memcpy(listing->names + listing->names_size, d->d_name, n);
            listing->names_size += n;
            count++;
        }
    }
    if (count > UINT32_MAX / 4 || listing->names_size > UINT32_MAX / 2) goto fail;
    listing->slot_count = 16;
    while (listing->slot_count < count * 2) listing->slot_count *= 2;
    listing->slots = calloc(listing->slot_count, sizeof *listing->slots);
    if (!listing->slots) goto fail;
    for (size_t at = 0; at < listing->names_size;) {
        size_t n = strlen(listing->names + at);
        uint32_t mask = listing->slot_count - 1, slot = (uint32_t)xxh3(listing->names + at, n) & mask;
        while (listing->slots[slot]) slot = (slot + 1) & mask;
        listing->slots[slot] = (uint32_t)at + 1;
        at += n + 1;
    }
    if (dir) closedir(dir);
    return listing;
fail:
    if (dir) closedir(dir);
    listing_free(listing);
    return NULL;
}

/* The listing of `path` at this mtime, from *cached when that still holds. */
static Listing *listing_at(Listing **cached, const char *path, int64_t mtime_ns) {
    if (*cached && !(*cached)->racy && (*cached)->mtime_ns == mtime_ns) return *cached;
    listing_free(*cached);
    return *cached = listing_make(path, mtime_ns);
}

uint64_t index_path_hash(const char *path, size_t length) { return xxh3(path, length); }

uint32_t index_folder(Archive *a, uint64_t hash, const char *path, size_t length) {
    return a->places ? place_folder(a, hash, path, length) : index_recorded(a, hash, path, length);
}

uint32_t index_recorded(const Archive *a, uint64_t hash, const char *path, size_t length) {
    uint32_t mask = a->folder_hash_size - 1;
    for (uint32_t at = (uint32_t)(hash & mask);; at = (at + 1) & mask) {
        uint32_t value = a->folder_hash[at];
        if (!value) return PYCDS_NONE;
        const PycdsFolder *folder = &a->folders[value - 1];
        if (folder->path_length == length && memcmp(archive_string(a, folder->path), path, length) == 0) return value - 1;
    }
}

/* NULL: `tail` is not in the index. An entry that must not be used is one that cannot decide. */
static const PycdsEntry *find_entry(const Archive *a, uint32_t folder, const char *tail, size_t length) {
    static const PycdsEntry doubtful = {.kind = PYCDS_ENTRY_ASK, .unit = PYCDS_NONE, .child = PYCDS_NONE};
    uint64_t hash = xxh3(tail, length) ^ (uint64_t)folder * PYCDS_ENTRY_HASH_FACTOR;
    uint32_t mask = a->entry_hash_size - 1;
    for (uint32_t at = (uint32_t)(hash >> 7) & mask;; at = (at + 1) & mask) {
        uint32_t value = a->entry_hash[at];
        if (!value) return NULL;
        const PycdsEntry *entry = &a->entries[value - 1];
        if (entry->folder != folder || entry->name_length != length) continue;
        if (!tables_entry_ok(a, value - 1)) return &doubtful;
        if (memcmp(archive_string(a, entry->name), tail, length) == 0) return entry;
    }
}

/* The first `tail`+suffix of a listing in FileFinder's order, as a suffix index; PYCDS_NONE: none. */
static uint32_t first_suffix(const Archive *a, const Listing *listing, const char *tail, size_t length) {
    for (uint32_t i = 0; i < a->suffix_count; i++)
        if (listing_has2(listing, tail, length, archive_string(a, a->suffixes[i].suffix), a->suffixes[i].length)) return i;
    return PYCDS_NONE;
}

/*
 * Is the archived listing of `folder` still right? 1: yes. 0: *listing is the
 * folder's present listing. -1: the folder is gone (FileFinder sees it empty). -2: no memory.
 */
static int folder_state(Archive *a, uint32_t folder, Listing **listing) {
    struct stat st;
    size_t length;
    const char *path = place_path(a, folder, &length);
    if (a->header->required_features & PYCDS_FEATURE_SEALED) return 1;
    if (stat(path, &st) != 0) return -1;
    if (!S_ISDIR(st.st_mode)) return -1;
    int64_t mtime_ns = index_mtime_ns(&st);
    /* Where contents count, mtimes may all be the same, a folder's too. */
    if (mtime_ns == a->folders[folder].mtime_ns && !(a->header->required_features & PYCDS_FEATURE_CONTENTS)) return 1;
    if (!a->listings) {
        a->listings = calloc(a->folder_count, sizeof(Listing *));
        if (!a->listings) return -2;
    }
    *listing = listing_at(&a->listings[folder], path, mtime_ns);
    return *listing ? 0 : -2;
}

/* The file that stands for `tail` in `folder` according to a listing that differs from the archived one: must be the same. */
static int same_choice(const Archive *a, const Listing *listing, const PycdsEntry *entry, const char *tail, size_t length) {
    uint32_t suffix = first_suffix(a, listing, tail, length);
    return suffix == entry->suffix;
}

/* A package's folder: which __init__ would FileFinder take? */
static void find_package(Archive *a, uint32_t folder, Found *found) {
    static const char init[] = "__init__";
    const PycdsEntry *entry = find_entry(a, folder, init, sizeof init - 1);
    Listing *listing = NULL;
    int state = folder_state(a, folder, &listing);
    found->kind = FIND_ASK;
    if (!entry || state < 0) return;
    if (state == 0 && !same_choice(a, listing, entry, init, sizeof init - 1)) return;
    if (entry->kind != PYCDS_ENTRY_SOURCE && entry->kind != PYCDS_ENTRY_SOURCELESS) return;
    found->kind = FIND_FILE;
    found->archive = a;
    found->file = entry;
    found->folder = folder;
    found->is_package = 1;
}

/* FileFinder looks for TAIL/__init__* at every lookup: a folder that had none must have none still. */
static int still_no_package(Archive *a, uint32_t child) {
    static const char init[] = "__init__";
    Listing *listing = NULL;
    int state = folder_state(a, child, &listing);
    return state == 1 || (state == 0 && first_suffix(a, listing, init, sizeof init - 1) == PYCDS_NONE);
}

void index_find(Archive *a, uint32_t folder, const char *tail, size_t length, Found *found) {
    const PycdsEntry *entry = find_entry(a, folder, tail, length);
    Listing *listing = NULL;
    memset(found, 0, sizeof *found);
    int state = folder_state(a, folder, &listing);
    if (state == -1) { found->kind = FIND_ABSENT; return; }
    if (state == -2) { found->kind = FIND_ASK; return; }
    int has_name = 0;
    uint32_t has_suffix = PYCDS_NONE;
    if (state == 0) {
        has_name = listing_has(listing, tail, length);
        has_suffix = first_suffix(a, listing, tail, length);
        if (!has_name && has_suffix == PYCDS_NONE) { found->kind = FIND_ABSENT; return; }
        if (!entry) { found->kind = FIND_ASK; return; }
    } else if (!entry) {
        found->kind = FIND_ABSENT;
        return;
    }
    found->kind = FIND_ASK;
    switch (entry->kind) {
    case PYCDS_ENTRY_PACKAGE:
        /* A package wins over files of its name, so only the folder's name counts. */
        if ((state == 1 || has_name) && entry->child != PYCDS_NONE && place_child(a, folder, entry->child, tail, length) == 0) find_package(a, entry->child, found);
        return;
    case PYCDS_ENTRY_SOURCE:
    case PYCDS_ENTRY_EXTENSION:
    case PYCDS_ENTRY_SOURCELESS:
        if (state == 0 && has_suffix != entry->suffix) return;
        if (state == 0 && has_name && entry->child == PYCDS_NONE) return; /* a folder of that name came: it may be a package */
        if (entry->child != PYCDS_NONE && (state == 1 || has_name) && (place_child(a, folder, entry->child, tail, length) != 0 || !still_no_package(a, entry->child))) return;
        found->kind = FIND_FILE;
        found->archive = a;
        found->file = entry;
        found->folder = folder;
        return;
    case PYCDS_ENTRY_NAMESPACE:
        if (state == 0 && (!has_name || has_suffix != PYCDS_NONE)) return;
        if (entry->child == PYCDS_NONE || place_child(a, folder, entry->child, tail, length) != 0 || !still_no_package(a, entry->child)) return;
        found->kind = FIND_NAMESPACE;
        return;
    default:
        return;
    }
}

static UnknownFolder *unknown_folder(const char *path, size_t length) {
    /* sys.path and __path__ of unarchived packages: few; the latest are asked most. */
    for (size_t i = unknown_count; i-- > 0;)
        if (strlen(unknown[i].path) == length && memcmp(unknown[i].path, path, length) == 0) return &unknown[i];
    if (unknown_count == unknown_capacity) {
        size_t grown = unknown_capacity ? unknown_capacity * 2 : 16;
        UnknownFolder *more = realloc(unknown, grown * sizeof *more);
        if (!more) return NULL;
        unknown = more;
        unknown_capacity = grown;
    }
    char *copy = malloc(length + 1);
    if (!copy) return NULL;
    memcpy(copy, path, length);
    copy[length] = '\0';
    unknown[unknown_count].path = copy;
    unknown[unknown_count].listing = NULL;
    return &unknown[unknown_count++];
}

FindKind index_find_unknown(const Archive *a, const char *path, size_t path_length, const char *tail, size_t length) {
    struct stat st;
    UnknownFolder *folder = unknown_folder(path, path_length);
    if (!folder || length == 0) return FIND_ASK;
    if (stat(folder->path, &st) != 0 || !S_ISDIR(st.st_mode)) return FIND_ASK;
    Listing *listing = listing_at(&folder->listing, folder->path, index_mtime_ns(&st));
    if (!listing) return FIND_ASK;
    if (listing_has(listing, tail, length) || first_suffix(a, listing, tail, length) != PYCDS_NONE) return FIND_ASK;
    return FIND_ABSENT;
}

int index_file_path(const Archive *a, const Found *found, char *buffer, size_t size, size_t *length) {
    size_t folder_length;
    const char *folder = place_path(a, found->folder, &folder_length);
    const PycdsSuffix *suffix = &a->suffixes[found->file->suffix];
    size_t name_length = found->file->name_length;
    if (folder_length >= size || name_length >= size || suffix->length >= size) return -1;
    size_t total = folder_length + 1 + name_length + suffix->length;
    if (total >= size) return -1;
    char *out = buffer;
    memcpy(out, folder, folder_length);
    out += folder_length;
    *out++ = '/';
    memcpy(out, archive_string(a, found->file->name), name_length);
    out += name_length;
    memcpy(out, archive_string(a, suffix->suffix), suffix->length);
    out[suffix->length] = '\0';
    *length = total;
    return 0;
}
