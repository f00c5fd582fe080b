/* The soft limit of open files: Node raises its own, and the program would inherit that. */
#define _GNU_SOURCE
#include "launch.h"

#include <stdlib.h>
#include <sys/resource.h>

static const char name[] = "PYCDS_LAUNCH_FILES";

void limits_restore(void) {
    const char *value = getenv(name);
    if (value == NULL) return;
    char *end;
    unsigned long long wanted = strtoull(value, &end, 10);
    struct rlimit limit;
    if (*end == '\0' && wanted != 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0 && wanted < limit.rlim_cur) {
        limit.rlim_cur = wanted;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    unsetenv(name);
}
