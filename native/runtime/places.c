/*
 * Where an archived folder lies in this process. In most archives that is the
 * path it was recorded with. A relocatable archive (`build --relocatable`) whose
 * tree moved is found by its anchors: roots whose present path is known, sys.prefix,
 * sys.base_prefix and the folder that the archive itself is in. What is below
 * an anchor's present path stands for what was recorded below its old one.
 *
 * A recorded folder stands for one folder of the process at most: the first path
 * that it was found by. Its files are then compared with their stamps as ever.
 */
#define _GNU_SOURCE
#include "places.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "index.h"

static size_t without_slashes(const char *path, size_t length) {
    while (length > 0 && path[length - 1] == '/') length--;
    return length;
}

/* The last path of a root of that name; NULL: the archive has none. */
static const char *recorded_root(const Archive *a, const char *name) {
    for (uint32_t i = 0; i < a->root_count; i++)
        if (strcmp(archive_string(a, a->roots[i].name), name) == 0) return archive_string(a, a->roots[i].path);
    return NULL;
}

static int add_anchor(Archive *a, const char *name, const char *actual, size_t actual_length) {
    const char *recorded = recorded_root(a, name);
    if (!recorded || !actual || actual[0] != '/' || a->anchor_count == ANCHORS_MAX) return 0;
    Anchor *anchor = &a->anchors[a->anchor_count];
    anchor->recorded = recorded;
    anchor->recorded_length = without_slashes(recorded, strlen(recorded));
    anchor->actual_length = without_slashes(actual, actual_length);
    anchor->actual = strndup(actual, anchor->actual_length);
    if (!anchor->actual) return -1;
    a->anchor_count++;
    return anchor->recorded_length != anchor->actual_length || memcmp(anchor->recorded, anchor->actual, anchor->actual_length) != 0;
}

int places_find(Archive *a, const char *prefix, const char *base_prefix) {
    if (!(a->header->required_features & PYCDS_FEATURE_RELOCATABLE)) return 0;
    char file[PATH_MAX];
    size_t length = strlen(a->path);
    const char *slash = strrchr(a->path, '/');
    if (a->path[0] == '/') {
        if (length >= sizeof file) return -1;
        memcpy(file, a->path, length + 1);
    } else {
        if (!getcwd(file, sizeof file)) return -1;
        size_t at = strlen(file);
        if (length + 2 > sizeof file - at) return -1;
        file[at] = '/';
        memcpy(file + at + 1, a->path, length + 1);
    }
    slash = strrchr(file, '/');
    /* An interpreter without an environment has one prefix, which stays the base's when an environment is made of it. */
    const char *mine = recorded_root(a, "base-prefix") ? prefix : base_prefix;
    int moved = 0, result;
    const struct { const char *name, *actual; size_t length; } anchors[] = {
        {"prefix", mine, mine ? strlen(mine) : 0},
        {"base-prefix", base_prefix, base_prefix ? strlen(base_prefix) : 0},
        {"archive", file, slash ? (size_t)(slash - file) : 0},
    };
    for (size_t i = 0; i < sizeof anchors / sizeof *anchors; i++) {
        if ((result = add_anchor(a, anchors[i].name, anchors[i].actual, anchors[i].length)) < 0) return -1;
        moved |= result;
    }
    if (moved && a->folder_count && !(a->places = calloc(a->folder_count, sizeof *a->places))) return -1;
    return 0;
}

int place_root(const Archive *a, const char *name, char *buffer, size_t size, size_t *length) {
    const char *recorded = recorded_root(a, name);
    if (!recorded) return -1;
    const size_t full = without_slashes(recorded, strlen(recorded));
    const Anchor *best = NULL;
    for (uint32_t i = 0; i < a->anchor_count; i++) {
        const Anchor *each = &a->anchors[i];
        const size_t n = each->recorded_length;
        if (n <= full && memcmp(recorded, each->recorded, n) == 0 && (n == full || recorded[n] == '/') && (!best || n > best->recorded_length)) best = each;
    }
    const size_t before = best ? best->recorded_length : 0;
    const int n = snprintf(buffer, size, "%.*s%.*s", best ? (int)best->actual_length : 0, best ? best->actual : "", (int)(full - before), recorded + before);
    if (n < 0 || (size_t)n >= size) return -1;
    *length = (size_t)n;
    return 0;
}

const char *place_path(const Archive *a, uint32_t folder, size_t *length) {
    if (a->places && a->places[folder]) {
        *length = strlen(a->places[folder]);
        return a->places[folder];
    }
    *length = a->folders[folder].path_length;
    return archive_string(a, a->folders[folder].path);
}

int place_bind(Archive *a, uint32_t folder, const char *path, size_t length) {
    if (!a->places) return 0;
    char *known = a->places[folder];
    if (known) return strlen(known) == length && memcmp(known, path, length) == 0 ? 0 : -1;
    return (a->places[folder] = strndup(path, length)) != NULL ? 0 : -1;
}

int place_child(Archive *a, uint32_t folder, uint32_t child, const char *tail, size_t length) {
    if (!a->places) return 0;
    char path[PATH_MAX];
    size_t at;
    const char *parent = place_path(a, folder, &at);
    at = without_slashes(parent, at);
    if (at + 1 + length >= sizeof path) return -1;
    memcpy(path, parent, at);
    path[at] = '/';
    memcpy(path + at + 1, tail, length);
    return place_bind(a, child, path, at + 1 + length);
}

/* The anchor that `path` is below by its present path, the innermost of several; NULL: none. */
static const Anchor *anchor_of(const Archive *a, const char *path, size_t length) {
    const Anchor *best = NULL;
    for (uint32_t i = 0; i < a->anchor_count; i++) {
        const Anchor *each = &a->anchors[i];
        const size_t n = each->actual_length;
        if (n <= length && memcmp(path, each->actual, n) == 0 && (n == length || path[n] == '/') && (!best || n > best->actual_length)) best = each;
    }
    return best;
}

uint32_t place_folder(Archive *a, uint64_t hash, const char *path, size_t length) {
    uint32_t folder = index_recorded(a, hash, path, length);
    if (folder == PYCDS_NONE) {
        char recorded[PATH_MAX];
        const Anchor *anchor = anchor_of(a, path, length);
        if (!anchor) return PYCDS_NONE;
        const size_t rest = length - anchor->actual_length, total = anchor->recorded_length + rest;
        if (total >= sizeof recorded) return PYCDS_NONE;
        memcpy(recorded, anchor->recorded, anchor->recorded_length);
        memcpy(recorded + anchor->recorded_length, path + anchor->actual_length, rest);
        folder = index_recorded(a, index_path_hash(recorded, total), recorded, total);
    }
    return folder != PYCDS_NONE && place_bind(a, folder, path, length) == 0 ? folder : PYCDS_NONE;
}
