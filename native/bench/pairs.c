/*
 * pycds_pairs: runs one command and reports what it cost, as one line of JSON.
 *
 *   pycds_pairs [-o FILE] [-e FILE] [-c FILE] -- COMMAND ARG...
 *
 * The wall time is CLOCK_MONOTONIC from just before posix_spawn to the end of
 * wait4, so that nothing of the caller (Node) is in it. -o and -e name files
 * for the command's stdout and stderr; without them, /dev/null. -c names a
 * list of files, each path ended by NUL, whose pages are dropped from the page
 * cache before the command starts: a cold start. Pages that another process
 * has mapped stay; the kernel drops none of those. Exit status 0
 * when the command could be run, whatever its own status was.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
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

extern char **environ;

static int fail(const char *what, int error) {
    fprintf(stderr, "pycds_pairs: %s: %s\n", what, strerror(error));
    return 2;
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t micros(struct timeval t) { return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_usec; }

/* Drops the pages of every listed file; one that is gone or unreadable has none to drop. */
static int evict(const char *list) {
    FILE *in = fopen(list, "r");
    if (!in) return errno;
    char *path = NULL;
    size_t room = 0;
    while (getdelim(&path, &room, '\0', in) > 0) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    free(path);
    fclose(in);
    return 0;
}

int main(int argc, char **argv) {
    const char *out = "/dev/null", *err = "/dev/null", *cold = NULL;
    int option;
    while ((option = getopt(argc, argv, "+o:e:c:")) != -1) {
        if (option == 'o') out = optarg;
        else if (option == 'e') err = optarg;
        else if (option == 'c') cold = optarg;
        else return 2;
    }
    if (optind >= argc) {
        fprintf(stderr, "usage: pycds_pairs [-o FILE] [-e FILE] [-c FILE] -- COMMAND ARG...\n");
        return 2;
    }

    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    if (!error) error = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    if (!error) error = posix_spawn_file_actions_addopen(&actions, 1, out, flags, 0600);
    if (!error) error = posix_spawn_file_actions_addopen(&actions, 2, err, flags, 0600);
    if (error) return fail("file actions", error);

    error = cold ? evict(cold) : 0;
    if (error) return fail(cold, error);
    pid_t pid;
    uint64_t begin = now_ns();
    error = posix_spawnp(&pid, argv[optind], &actions, NULL, &argv[optind], environ);
    if (error) return fail(argv[optind], error);
    int status;
    struct rusage used;
    while (wait4(pid, &status, 0, &used) < 0) {
        if (errno != EINTR) return fail("wait4", errno);
    }
    uint64_t wall = now_ns() - begin;
    posix_spawn_file_actions_destroy(&actions);

    char end[64];
    if (WIFEXITED(status)) snprintf(end, sizeof end, "\"status\":%d,\"signal\":null", WEXITSTATUS(status));
    else snprintf(end, sizeof end, "\"status\":null,\"signal\":%d", WTERMSIG(status));
    printf("{\"wall_ns\":%" PRIu64 ",\"user_us\":%" PRIu64 ",\"sys_us\":%" PRIu64
           ",\"minor_faults\":%ld,\"major_faults\":%ld,\"max_rss_kib\":%ld,\"blocks_read\":%ld,%s}\n",
           wall, micros(used.ru_utime), micros(used.ru_stime), used.ru_minflt, used.ru_majflt, used.ru_maxrss, used.ru_inblock, end);
    return 0;
}
