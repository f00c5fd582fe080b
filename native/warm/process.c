/*
 * What imports changed of their process outside its memory: a fork keeps it, and a
 * restored process, which is its starter's child, has to be given it again. What they
 * did not change stays as the starter has it. Kept by a fork and not here: users and
 * groups, session and process group, scheduling policy, OOM score.
 */
#define _GNU_SOURCE
#include "warm.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "python.h"

enum { LIMITS = 16, NAME = 16 };

typedef struct Process {
    char folder[PATH_MAX]; /* empty: it has none */
    mode_t mask;
    struct rlimit limits[LIMITS];
    int nice;
    cpu_set_t processors;
    int timer_slack;
    char name[NAME];
} Process;

static Process before, parked;
static bool changed; /* most starts look at nothing else */

static void look(Process *at) {
    memset(at, 0, sizeof *at);
    if (getcwd(at->folder, sizeof at->folder) == NULL || at->folder[0] != '/') at->folder[0] = '\0'; /* "(unreachable)…" */
    at->mask = umask(077);
    umask(at->mask);
    for (int i = 0; i < LIMITS; i++)
        if (getrlimit((__rlimit_resource_t)i, &at->limits[i]) != 0) memset(&at->limits[i], 0, sizeof at->limits[i]);
    at->nice = getpriority(PRIO_PROCESS, 0);
    if (sched_getaffinity(0, sizeof at->processors, &at->processors) != 0) CPU_ZERO(&at->processors);
    at->timer_slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
    prctl(PR_GET_NAME, at->name, 0, 0, 0);
}

void process_begin(void) { look(&before); }

void process_parked(void) {
    look(&parked);
    changed = memcmp(&before, &parked, sizeof before) != 0;
}

/* A hard limit that the imports left alone is the starter's, and a soft one that they raised to it follows it. */
static void renew_limit(int which) {
    const struct rlimit *was = &before.limits[which], *is = &parked.limits[which];
    struct rlimit now;
    if ((was->rlim_cur == is->rlim_cur && was->rlim_max == is->rlim_max) || getrlimit((__rlimit_resource_t)which, &now) != 0) return;
    if (is->rlim_max != was->rlim_max && is->rlim_max < now.rlim_max) now.rlim_max = is->rlim_max;
    now.rlim_cur = is->rlim_cur >= is->rlim_max || is->rlim_cur > now.rlim_max ? now.rlim_max : is->rlim_cur;
    (void)setrlimit((__rlimit_resource_t)which, &now);
}

static bool has_moved(void) { return changed && parked.folder[0] != '\0' && strcmp(before.folder, parked.folder) != 0; }

/*
 * renew_process(): in a restored process, all but the folder. What the starter may not do
 * is left out. False, and nothing is done: the folder that imports went to is gone, which
 * an import would say, or do something else.
 */
static PyObject *renew_process(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    if (has_moved() && access(parked.folder, X_OK) != 0) return Py_BuildValue("i", 0);
    if (!changed) return Py_BuildValue("i", 1);
    if (before.mask != parked.mask) umask(parked.mask);
    for (int i = 0; i < LIMITS; i++) renew_limit(i);
    if (before.nice != parked.nice) (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + parked.nice - before.nice);
    if (!CPU_EQUAL(&before.processors, &parked.processors)) {
        cpu_set_t now;
        if (sched_getaffinity(0, sizeof now, &now) == 0) {
            CPU_AND(&now, &now, &parked.processors);
            if (CPU_COUNT(&now) > 0) (void)sched_setaffinity(0, sizeof now, &now);
        }
    }
    if (before.timer_slack != parked.timer_slack) prctl(PR_SET_TIMERSLACK, parked.timer_slack, 0, 0, 0);
    if (memcmp(before.name, parked.name, NAME) != 0) prctl(PR_SET_NAME, parked.name, 0, 0, 0);
    return Py_BuildValue("i", 1);
}

/* renew_folder(): goes where the imports went. */
static PyObject *renew_folder(PyObject *self, PyObject *unused) {
    (void)self, (void)unused;
    if (has_moved() && chdir(parked.folder) != 0) (void)errno; /* gone within a moment */
    return Py_BuildValue("");
}

PyMethodDef *process_functions(void) {
    static PyMethodDef functions[] = {
        {"renew_process", renew_process, METH_NOARGS, NULL},
        {"renew_folder", renew_folder, METH_NOARGS, NULL},
        {NULL, NULL, 0, NULL},
    };
    return functions;
}
