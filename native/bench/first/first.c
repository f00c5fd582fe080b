/*
 * Times one process from just before posix_spawn to its first line and to its end:
 *
 *   pycds_first PROGRAM ARGS…
 *
 * The program writes CLOCK_MONOTONIC in ns, in decimal and with a newline, as its
 * first line to standard output (python: time.monotonic_ns()). Prints
 * FIRST_NS TOTAL_NS MINOR_FAULTS STATUS.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int main(int argc, char **argv, char **envp) {
    if (argc < 2) {
        fputs("usage: pycds_first PROGRAM ARGS...\n", stderr);
        return 2;
    }
    int ends[2];
    if (pipe(ends) != 0) return 70;
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0 || posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO) != 0 ||
        posix_spawn_file_actions_addclose(&actions, ends[0]) != 0 || posix_spawn_file_actions_addclose(&actions, ends[1]) != 0)
        return 70;
    pid_t child;
    int64_t start = now();
    int failure = posix_spawnp(&child, argv[1], &actions, NULL, argv + 1, envp);
    if (failure != 0) {
        fprintf(stderr, "pycds_first: %s: %s\n", argv[1], strerror(failure));
        return 2;
    }
    close(ends[1]);
    char text[64] = "";
    size_t used = 0;
    char rest[4096];
    for (;;) {
        ssize_t got = used < sizeof text - 1 ? read(ends[0], text + used, sizeof text - 1 - used) : read(ends[0], rest, sizeof rest);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        if (used < sizeof text - 1) used += (size_t)got;
    }
    int status;
    struct rusage usage;
    while (wait4(child, &status, 0, &usage) < 0)
        if (errno != EINTR) return 70;
    int64_t end = now();
    int64_t first = strtoll(text, NULL, 10);
    printf("%" PRId64 " %" PRId64 " %ld %d\n", first - start, end - start, usage.ru_minflt, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    return 0;
}
