/*
 * The archives that an activation serves from. They are looked up in order, and
 * each is whole in itself: no layer points into another, so one that is refused
 * leaves the others as they are. (docs/layers.md)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "places.h"
#include "state.h"

#define LIST_MAX_BYTES (LAYERS_MAX * (PATH_MAX + 1))

/* One archive: 0, or -1 with a reason; nothing of it is left then. */
static int open_layer(const char *path, Archive *archive, char why[PYCDS_WHY]) {
    if (archive_open(path, archive, why) < 0) return -1;
    if (selfcheck(archive, why) == 0 && guard_suffixes(archive, why) == 0 && externals_init(archive) == 0) return 0;
    if (PyErr_Occurred()) {
        PyErr_Clear();
        snprintf(why, PYCDS_WHY, "no memory");
    }
    archive_close(archive);
    return -1;
}

/* The end of a .pyc's name, which selfcheck has seen to be the same for every layer. */
static int set_cached_suffix(const PycdsFileHeader *header, char why[PYCDS_WHY]) {
    int n = snprintf(state.cached_suffix, sizeof state.cached_suffix, header->optimize ? ".%.32s.opt-%u.pyc" : ".%.32s.pyc", (const char *)header->cache_tag, header->optimize);
    if (n >= 0 && (size_t)n < sizeof state.cached_suffix) return 0;
    snprintf(why, PYCDS_WHY, "cache tag too long");
    return -1;
}

/* sys.prefix or its like as bytes of a path; NULL where it is none. Never leaves an exception. */
static const char *sys_path_text(const char *name) {
    PyObject *value = PySys_GetObject(name);
    Py_ssize_t size;
    const char *text = value && py_is_str(value) ? PyUnicode_AsUTF8AndSize(value, &size) : NULL;
    if (value && !text) PyErr_Clear();
    return text;
}

/* By what a layer tells that something changed. */
static const char *freshness(const Archive *archive) {
    const uint64_t features = archive->header->required_features;
    return features & PYCDS_FEATURE_SEALED ? "does not look for changes (--sealed)" : features & PYCDS_FEATURE_CONTENTS ? "goes by contents (--digest)" : "goes by mtimes";
}

/*
 * What one layer says of a folder counts for all (path_finder.c, look_up_folder), so they must agree on when that holds:
 * where mtimes say nothing, a layer that goes by them would call missing what one that lists the folder finds.
 */
static int check_freshness(const Archive *archive, char why[PYCDS_WHY]) {
    const uint64_t asked = PYCDS_FEATURE_SEALED | PYCDS_FEATURE_CONTENTS;
    if (state.layer_count == 0 || ((archive->header->required_features ^ state.layers[0].header->required_features) & asked) == 0) return 0;
    snprintf(why, PYCDS_WHY, "it %s, the archive before it %s; build both with the same options", freshness(archive), freshness(&state.layers[0]));
    return -1;
}

static void find_places(Archive *archive) { places_find(archive, sys_path_text("prefix"), sys_path_text("base_prefix")); }

static int add_layer(const char *path, char why[PYCDS_WHY]) {
    if (state.layer_count == LAYERS_MAX) {
        snprintf(why, PYCDS_WHY, "more than %d archives are named", LAYERS_MAX);
        return -1;
    }
    Archive *archive = &state.layers[state.layer_count];
    char *archives = NULL;
    if (open_layer(path, archive, why) < 0) return -1;
    if (asprintf(&archives, "%s%s%s", state.archives ? state.archives : "", state.archives ? ":" : "", path) < 0) {
        archives = NULL;
        snprintf(why, PYCDS_WHY, "no memory");
    }
    if (!archives || check_freshness(archive, why) < 0 || set_cached_suffix(archive->header, why) < 0) {
        free(archives);
        archive_close(archive);
        return -1;
    }
    find_places(archive);
    free(state.archives);
    state.archives = archives;
    state.layer_count++;
    return 0;
}

void layers_open(const char *list, char separator, void (*refused)(const char *archive, const char *why)) {
    char path[PATH_MAX], why[PYCDS_WHY];
    int whole = strchr(list, separator) == NULL || access(list, F_OK) == 0, named = 0;
    for (const char *at = list; *at;) {
        size_t length = whole ? strlen(at) : strcspn(at, (const char[]){separator, '\0'});
        if (length >= sizeof path) {
            refused(list, "the name of an archive is too long");
        } else if (length > 0) {
            memcpy(path, at, length);
            path[length] = '\0';
            if (add_layer(path, why) < 0) refused(path, why);
        }
        named += length > 0;
        at += length;
        if (*at) at++;
    }
    if (!named) refused(list, "it names no archive");
}

/* ---- what is installed ------------------------------------------------------------- */

/* A whole small file as text, malloc'ed; NULL when there is none. */
static char *read_list(const char *path) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return NULL;
    char *text = NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && st.st_size < LIST_MAX_BYTES && (text = malloc((size_t)st.st_size + 1)) != NULL) {
        ssize_t n = read(fd, text, (size_t)st.st_size);
        text[n > 0 ? n : 0] = '\0';
    }
    close(fd);
    return text;
}

/* Each line of a list, those that are no absolute paths below `folder`. NULL: no memory. */
static char *resolve_list(const char *text, const char *folder) {
    size_t lines = 1;
    for (const char *at = text; *at; at++) lines += *at == '\n';
    char *list = malloc(strlen(text) + lines * (strlen(folder) + 2) + 1), *out = list;
    if (!list) return NULL;
    for (const char *at = text; *at;) {
        size_t length = strcspn(at, "\n");
        if (length > 0 && *at != '/') out += sprintf(out, "%s/", folder);
        memcpy(out, at, length);
        out += length;
        at += length;
        if (*at) *out++ = *at++;
    }
    *out = '\0';
    return list;
}

char *layers_installed(void) {
    Dl_info info;
    char folder[PATH_MAX], path[PATH_MAX];
    if (!dladdr((void *)(uintptr_t)&layers_installed, &info) || !info.dli_fname) return NULL;
    const char *slash = strrchr(info.dli_fname, '/');
    int n = snprintf(folder, sizeof folder, "%.*s/pycds.data", slash ? (int)(slash - info.dli_fname) : 1, slash ? info.dli_fname : ".");
    if (n < 0 || (size_t)n >= sizeof folder) return NULL;
    n = snprintf(path, sizeof path, "%s/default.layers", folder);
    if (n < 0 || (size_t)n >= sizeof path) return NULL;
    char *text = read_list(path);
    if (text) {
        char *list = resolve_list(text, folder);
        free(text);
        return list;
    }
    n = snprintf(path, sizeof path, "%s/default.pycds", folder);
    return n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0 ? strdup(path) : NULL;
}
