/*
 * A runtime for the launcher's tests: records that it was started, and with what,
 * as one line in the file that FAKE_RUNTIME_LOG names; leaves everything else alone.
 * The line ends with Py_IsInitialized() and whether a thread state (the GIL) is there. Makes no object: one more
 * would move the next collection, and with it the order of what -v shows at the end.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../../native/launch/cpython.h"

#ifndef START
#define START "start"
#endif

__attribute__((visibility("default"))) int pycds_start(const LaunchRequest *request);

int pycds_start(const LaunchRequest *request) {
    int (*initialized)(void) = NULL;
    int (*state)(void) = NULL;
    *(void **)&initialized = dlsym(RTLD_DEFAULT, "Py_IsInitialized");
    *(void **)&state = dlsym(RTLD_DEFAULT, "PyGILState_Check");
    int *active = dlsym(RTLD_DEFAULT, "pycds_launch_active");
    const char *log = getenv("FAKE_RUNTIME_LOG");
    int descriptor = log == NULL ? -1 : open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (descriptor < 0) return -1;
    char line[1024];
    int length = snprintf(line, sizeof line, START " size=%u archive=%s trace=%s active=%d initialized=%d state=%d\n", request->size,
                          request->archive == NULL ? "-" : request->archive, request->trace == NULL ? "-" : request->trace,
                          active == NULL ? -1 : *active, initialized == NULL ? -1 : initialized(),
                          state != NULL && state() == 1);
    if (write(descriptor, line, (size_t)length) < 0) abort();
    close(descriptor);
    return -1;
}
