/*
 * PYCDS_LOG=FILE|stderr: one line an event. PYCDSVERBOSE: 1 what was refused
 * and the summary, 2 every event, to stderr. (design.md, decision 10)
 *
 * A line is one write(2) to a file opened O_APPEND, so lines of several
 * processes do not mix; nothing stays open in between, since programs close
 * and reuse descriptors, and children inherit them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime.h"

#define LINE_MAX_BYTES (2 * PATH_MAX) /* a name and a path, and some words */

int log_wanted;
static int to_stderr; /* every event */
static int verbose;
static char *file;    /* absolute: the program may change its folder */

static char *absolute(const char *path) {
    char folder[PATH_MAX], *result = NULL;
    if (path[0] == '/' || getcwd(folder, sizeof folder) == NULL) return strdup(path);
    return asprintf(&result, "%s/%s", folder, path) < 0 ? NULL : result;
}

void log_init(void) {
    /* secure_getenv: nothing is written for whoever starts a set-user-ID program. */
    const char *target = secure_getenv("PYCDS_LOG"), *level = secure_getenv("PYCDSVERBOSE");
    free(file);
    file = NULL;
    verbose = level == NULL || level[0] < '1' || level[0] > '9' ? 0 : level[0] == '1' ? 1 : 2;
    to_stderr = verbose == 2;
    if (target != NULL && strcmp(target, "stderr") == 0) to_stderr = 1;
    else if (target != NULL && target[0] != '\0') file = absolute(target);
    log_wanted = verbose != 0 || to_stderr || file != NULL;
}

static void write_line(int fd, const char *line, size_t size) {
    while (write(fd, line, size) < 0 && errno == EINTR) continue; /* whatever else goes wrong: a log must not disturb the program */
}

static int is_event(const char *text, const char *event) {
    const size_t length = strlen(event);
    return strncmp(text, event, length) == 0 && text[length] == ' ';
}

void log_line(const char *format, ...) {
    static const char prefix[] = "pycds: ";
    enum { PREFIX = sizeof prefix - 1 };
    if (!log_wanted) return;
    const int saved = errno;
    char line[LINE_MAX_BYTES];
    memcpy(line, prefix, PREFIX);
    va_list arguments;
    va_start(arguments, format);
    const int formatted = vsnprintf(line + PREFIX, sizeof line - PREFIX - 1, format, arguments);
    va_end(arguments);
    if (formatted >= 0) {
        size_t size = PREFIX + strlen(line + PREFIX);
        /* A module's name may hold anything; an event is one line. */
        for (size_t i = PREFIX; i < size; i++)
            if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) line[i] = '?';
        const char *text = line + PREFIX;
        const int notable = is_event(text, "refused") || is_event(text, "summary");
        line[size++] = '\n';
        if (to_stderr || (verbose != 0 && notable)) write_line(STDERR_FILENO, line, size);
        if (file != NULL) {
            /* NONBLOCK: a FIFO without a reader loses the line rather than stopping the program. */
            const int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
            if (fd >= 0) {
                write_line(fd, line, size);
                close(fd);
            }
        }
    }
    errno = saved;
}
