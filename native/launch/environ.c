/* The launcher's variables: read, then removed as if they had never been there. */
#define _GNU_SOURCE
#include "launch.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char prefix[] = "PYCDS_LAUNCH_";
static const char preload[] = "LD_PRELOAD=";

bool environ_asks(void) { return environ != NULL && (getenv("PYCDS_LAUNCH_RUNTIME") != NULL || getenv("PYCDS_LAUNCH_WARM") != NULL); }

/* A copy that outlives programs which write over their environment (setproctitle). */
static bool copy(const char *name, char **into) {
    const char *value = getenv(name);
    *into = NULL;
    if (value == NULL || *value == '\0') return true;
    return (*into = strdup(value)) != NULL;
}

bool environ_read(Wish *wish) {
    return copy("PYCDS_LAUNCH_RUNTIME", &wish->runtime) && copy("PYCDS_LAUNCH_RUNTIME_T", &wish->free_threaded) &&
           copy("PYCDS_LAUNCH_ARCHIVE", &wish->archive) && copy("PYCDS_LAUNCH_TRACE", &wish->trace) &&
           copy("PYCDS_LAUNCH_WARM", &wish->warm) && copy("PYCDS_LAUNCH_WORK", &wish->work);
}

static bool separates(char c) { return c == ':' || c == ' '; }

/*
 * `LD_PRELOAD=…` without `self`, or NULL when there was no such entry. A wrapper
 * script may have added its own entries since the command line set the variable,
 * so what stands there now is kept, rather than put back from PYCDS_LAUNCH_PRELOAD.
 * *failed is set when memory ran out.
 */
static char *without_self(const char *entry, const char *self, bool *failed) {
    size_t length = strlen(self);
    for (const char *at = entry + sizeof preload - 1; *at != '\0';) {
        size_t token = strcspn(at, ": ");
        if (token != length || memcmp(at, self, length) != 0) {
            at += token;
            if (*at != '\0') at++;
            continue;
        }
        /* one separator goes with it: the one behind it, or at the end the one before */
        const char *rest = at + token;
        size_t keep = (size_t)(at - entry);
        if (*rest != '\0') rest++;
        else if (separates(entry[keep - 1])) keep--;
        char *result = malloc(keep + strlen(rest) + 1);
        if (result == NULL) {
            *failed = true;
            return NULL;
        }
        memcpy(result, entry, keep);
        strcpy(result + keep, rest);
        return result;
    }
    return NULL;
}

bool environ_restore(const char *self) {
    const char *children = getenv("PYCDS_LAUNCH_CHILDREN");
    if (children != NULL && strcmp(children, "1") == 0) return true;

    const char *before = getenv("PYCDS_LAUNCH_PRELOAD");
    char **write = environ;
    char *restored = NULL;
    bool drop = false;
    bool failed = false;
    for (char **read = environ; *read != NULL; read++) {
        if (strncmp(*read, preload, sizeof preload - 1) != 0) continue;
        restored = without_self(*read, self, &failed);
        if (failed) return false;
        /* empty now: it was unset before, since the command line adds nothing to an empty value */
        drop = restored != NULL && restored[sizeof preload - 1] == '\0' && (before == NULL || *before == '\0');
        break;
    }
    for (char **read = environ; *read != NULL; read++) {
        if (strncmp(*read, prefix, sizeof prefix - 1) == 0) continue;
        bool ours = restored != NULL && strncmp(*read, preload, sizeof preload - 1) == 0;
        if (ours && drop) continue;
        *write++ = ours ? restored : *read;
    }
    *write = NULL;
    if (drop) free(restored);
    return true;
}
