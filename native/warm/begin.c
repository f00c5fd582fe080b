/* Before Python: the process ID that no process can have, and the fork handlers. */
#define _GNU_SOURCE
#include "warm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *warm_work;
char **warm_environment;
int warm_fake_pid;

/*
 * getpid() fails with this number, so it gives -FAKE_ERROR: no process has that
 * ID, so whatever compares a remembered ID with getpid() after a restore (as
 * OpenSSL does to notice a fork, in static copies too) sees a difference. The
 * largest numbers below MAX_ERRNO belong to no error. Restored processes do not
 * inherit the filter: they are no children of this one.
 */
enum { FAKE_ERROR = 4093 };

static const char *fake_pid(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | FAKE_ERROR),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return "no_new_privs cannot be set";
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) return "a seccomp filter cannot be installed";
    warm_fake_pid = getpid();
    return warm_fake_pid < 0 ? NULL : "getpid() cannot be hidden";
}

void warm_refuse(const char *text) {
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/refused", warm_work) >= sizeof path) return;
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) return;
    if (write(file, text, strlen(text)) < 0) (void)errno; /* then the command line says that there is no image */
    close(file);
}

/* As the program found it: initialisation may change it (PEP 538 sets LC_CTYPE in the C locale), and imports too. */
static bool keep_environment(void) {
    size_t count = 0;
    while (environ != NULL && environ[count] != NULL) count++;
    warm_environment = calloc(count + 1, sizeof *warm_environment);
    for (size_t i = 0; warm_environment != NULL && i < count; i++)
        if ((warm_environment[i] = strdup(environ[i])) == NULL) return false;
    return warm_environment != NULL;
}

static bool write_environment(void) {
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/environment", warm_work) >= sizeof path) return false;
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool written = file >= 0;
    for (size_t i = 0; written && warm_environment[i] != NULL; i++) {
        size_t size = strlen(warm_environment[i]) + 1;
        written = write(file, warm_environment[i], size) == (ssize_t)size;
    }
    return file >= 0 && close(file) == 0 && written;
}

/* What is left of it has no place in an image. */
void warm_forget_environment(void) {
    for (size_t i = 0; warm_environment != NULL && warm_environment[i] != NULL; i++) {
        explicit_bzero(warm_environment[i], strlen(warm_environment[i]));
        free(warm_environment[i]);
    }
    free(warm_environment);
    warm_environment = NULL;
}

const char *pycds_warm_begin(const char *work) {
    if (work == NULL || *work == '\0' || (warm_work = strdup(work)) == NULL) return "no folder to work in";
    process_begin();
    if (!keep_environment()) return "memory ran out";
    if (!write_environment()) return "its folder cannot be written";
    /* Ctrl-C ends the command line; we, who wait for a parked child, end with it, and the child with us (park.c). A child that we fork does not inherit this. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return "the parent's end cannot be followed";
#if defined(__x86_64__) && defined(__GLIBC__)
    const char *why = fake_pid();
    if (why != NULL) return why;
    return park_register() ? NULL : "fork handlers cannot be registered";
#else
    (void)fake_pid;
    return "warm images are for glibc on x86-64";
#endif
}
