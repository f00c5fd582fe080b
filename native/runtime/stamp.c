/*
 * Is an archived file still what it was (design.md, decision 5), and would
 * stock do no more than load it?
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "index.h"
#include "places.h"
#include "digest.h"

/* Digest of a file's contents; 0, or -1 when it cannot be read. */
static int file_digest(const char *path, uint64_t size, uint64_t *found) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return -1;
    char *bytes = malloc(size ? size : 1);
    uint64_t have = 0;
    int result = -1;
    while (bytes && have < size) {
        ssize_t n = read(fd, bytes + have, size - have);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        have += (uint64_t)n;
    }
    if (bytes && have == size) {
        *found = digest(bytes, size, NULL, 0);
        result = 0;
    }
    free(bytes);
    close(fd);
    return result;
}

/*
 * int(st.st_mtime), as importlib compares it (SourceFileLoader.path_stats, SourceLoader.get_code). st_mtime is a double made
 * of seconds and nanoseconds (Modules/posixmodule.c, fill_time), so the last hundred of a second's count as the next one.
 */
static uint32_t importlib_mtime(const struct stat *st) {
    const double nanos = 1e-9 * (double)st->st_mtim.tv_nsec;
    return (uint32_t)(int64_t)((double)st->st_mtim.tv_sec + nanos);
}

/* The .pyc that an entry's stamp names: its path into `pyc`, and *st; 0, or -1 where it is none. */
static int stamped_pyc(const Archive *a, const Found *found, char pyc[PATH_MAX], struct stat *st) {
    size_t length;
    const int n = snprintf(pyc, PATH_MAX, "%s/%s", place_path(a, found->folder, &length), archive_string(a, found->file->stamp_file));
    return n > 0 && n < PATH_MAX && stat(pyc, st) == 0 ? 0 : -1;
}

StampResult index_stamp(const Archive *a, const Found *found, const char *path, char why[PYCDS_WHY]) {
    const PycdsEntry *entry = found->file;
    struct stat st;
    char pyc[PATH_MAX];
    if (a->header->required_features & PYCDS_FEATURE_SEALED) return STAMP_FRESH;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) {
        snprintf(why, PYCDS_WHY, "file is gone");
        return STAMP_GONE;
    }
    switch (entry->stamp_kind) {
    case PYCDS_STAMP_NONE:
        return STAMP_FRESH; /* no code: an extension, of which stock also checks no more than that it is a file */
    case PYCDS_STAMP_SOURCE:
        if (importlib_mtime(&st) != (uint32_t)entry->stamp_mtime || (uint32_t)st.st_size != (uint32_t)entry->stamp_size) {
            snprintf(why, PYCDS_WHY, "source changed");
            return STAMP_STALE;
        }
        return STAMP_FRESH;
    case PYCDS_STAMP_PYC:
        if (stamped_pyc(a, found, pyc, &st) != 0 || index_mtime_ns(&st) != entry->stamp_mtime || (uint64_t)st.st_size != entry->stamp_size) {
            snprintf(why, PYCDS_WHY, ".pyc changed");
            return STAMP_STALE;
        }
        return STAMP_FRESH;
    case PYCDS_STAMP_DIGEST: {
        uint64_t found_digest;
        const int of_pyc = entry->stamp_file != PYCDS_NONE;
        if ((of_pyc && stamped_pyc(a, found, pyc, &st) != 0) || (uint64_t)st.st_size != entry->stamp_size ||
            file_digest(of_pyc ? pyc : path, entry->stamp_size, &found_digest) != 0 || found_digest != entry->stamp_digest) {
            snprintf(why, PYCDS_WHY, "%s contents changed", of_pyc ? ".pyc" : "source");
            return STAMP_STALE;
        }
        return STAMP_FRESH;
    }
    default:
        snprintf(why, PYCDS_WHY, "unknown stamp kind %u", (unsigned)entry->stamp_kind);
        return STAMP_STALE;
    }
}

/* ---- what stock would write ------------------------------------------------------------ */

static const char cache_folder[] = "__pycache__";

/* All .pyc files that a folder's archived code came from are as they were: one stat a folder and process. */
static int cache_intact(Archive *a, uint32_t folder) {
    enum { UNKNOWN, INTACT, CHANGED };
    if (a->folders[folder].cache_mtime_ns == 0) return 0;
    if (!a->cache_state && !(a->cache_state = calloc(a->folder_count, 1))) return 0;
    if (a->cache_state[folder] == UNKNOWN) {
        struct stat st;
        char path[PATH_MAX];
        size_t length;
        int n = snprintf(path, sizeof path, "%s/%s", place_path(a, folder, &length), cache_folder);
        const int same = n > 0 && (size_t)n < sizeof path && stat(path, &st) == 0 && index_mtime_ns(&st) == a->folders[folder].cache_mtime_ns;
        a->cache_state[folder] = same ? INTACT : CHANGED;
    }
    return a->cache_state[folder] == INTACT;
}

/* A .pyc's header (Lib/importlib/_bootstrap_external.py, _classify_pyc); 0, or -1 when there is none that could be valid. */
static int read_header(const char *pyc, uint32_t header[4]) {
    int fd = open(pyc, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return -1;
    const ssize_t n = read(fd, header, 16);
    close(fd);
    return n == 16 ? 0 : -1;
}

/* SourceLoader._cache_bytecode (set_data): it makes the folder if need be, and gives up in silence where it may not write. */
static int could_write(const char *pyc) {
    char folder[PATH_MAX];
    const char *slash = strrchr(pyc, '/');
    if (!slash || (size_t)(slash - pyc) >= sizeof folder) return 0;
    size_t length = (size_t)(slash - pyc);
    memcpy(folder, pyc, length);
    folder[length] = '\0';
    while (faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) != 0) {
        char *up = errno == ENOENT ? strrchr(folder, '/') : NULL;
        if (!up || up == folder) return 0;
        *up = '\0';
    }
    return 1;
}

int index_pyc_intact(Archive *a, const Found *found) {
    return (a->header->required_features & (PYCDS_FEATURE_SEALED | PYCDS_FEATURE_CONTENTS)) != 0 || cache_intact(a, found->folder);
}

PycResult index_pyc(const Archive *a, const Found *found, const char *path, const char *pyc) {
    const PycdsEntry *entry = found->file;
    struct stat st;
    uint32_t header[4];
    enum { HASH_BASED = 1, CHECK_SOURCE = 2 };
    if (a->header->required_features & (PYCDS_FEATURE_SEALED | PYCDS_FEATURE_CONTENTS)) return PYC_KEPT;
    if (read_header(pyc, header) == 0 && header[0] == a->header->pyc_magic) {
        if (header[1] == 0 && stat(path, &st) == 0 && header[2] == importlib_mtime(&st) && header[3] == (uint32_t)st.st_size) return PYC_KEPT;
        /* What an unchecked one holds is what stock runs, whatever the source is: it was none when the archive was built. */
        if (header[1] == HASH_BASED) return PYC_OTHER;
        if (header[1] == (HASH_BASED | CHECK_SOURCE)) return entry->stamp_kind == PYCDS_STAMP_DIGEST ? PYC_KEPT : PYC_OTHER;
    }
    return could_write(pyc) ? PYC_DUE : PYC_KEPT;
}
