/* PYCDS=auto|on|off, and what the launcher says before there is a runtime that could. */
#define _GNU_SOURCE
#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int report_mode(void) {
    const char *mode = getenv("PYCDS");
    if (mode == NULL) return PYCDS_AUTO;
    if (strcmp(mode, "on") == 0) return PYCDS_ON;
    return strcmp(mode, "off") == 0 ? PYCDS_OFF : PYCDS_AUTO;
}

/* One write, so that lines of several processes do not mix; a line that cannot be written is lost. */
static void put(int descriptor, char *line, int length, size_t size) {
    if (length < 0) return;
    size_t used = (size_t)length < size ? (size_t)length : size - 1;
    for (size_t i = 0; i < used; i++)
        if (line[i] == '\n' || line[i] == '\r') line[i] = ' ';
    line[used] = '\n';
    while (write(descriptor, line, used + 1) < 0 && errno == EINTR) continue;
}

void report_refusal(const Wish *wish, const char *runtime, const char *what, const char *why, const char *next) {
    char line[2048];
    int length;
    /* a warm image is asked for by name: there is no use in going on without */
    if (report_mode() == PYCDS_ON || wish->warm != NULL) {
        const char *file = wish->warm != NULL ? wish->warm : runtime == NULL ? "no runtime" : runtime;
        length = snprintf(line, sizeof line, "pycds: error: %s (%s) — %s — %s", what, file, why, next);
        put(STDERR_FILENO, line, length, sizeof line);
        _exit(2);
    }
    const char *log = getenv("PYCDS_LOG");
    if (log == NULL || *log == '\0') return;
    const char *subject = wish->archive != NULL ? wish->archive : wish->trace != NULL ? wish->trace : "launch";
    length = snprintf(line, sizeof line, "pycds: refused %s: %s: %s", subject, what, why);
    if (strcmp(log, "stderr") == 0) {
        put(STDERR_FILENO, line, length, sizeof line);
        return;
    }
    int saved = errno;
    int descriptor = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
    if (descriptor >= 0) {
        put(descriptor, line, length, sizeof line);
        close(descriptor);
    }
    errno = saved;
}
