/* An image that has reached its age: the program starts the normal way, and the image is built again in the background. */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "restorer.h"

#define RETRY_SECONDS 600

/* One start of many renews it; one that failed leaves the lock, and is tried again later. */
static bool take_lock(const char *path) {
    long file = kernel(SYS_open, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600, 0, 0);
    if (!failed(file)) {
        kernel(SYS_close, file, 0, 0, 0, 0);
        return true;
    }
    struct statx about;
    if (file != -17 /* EEXIST */ || failed(kernel(SYS_statx, -100 /* AT_FDCWD */, path, 0, STATX_MTIME, &about))) return false;
    if (kernel(SYS_time, 0, 0, 0, 0, 0) - about.stx_mtime.tv_sec < RETRY_SECONDS) return false;
    return !failed(kernel(SYS_utimensat, -100, path, 0, 0, 0));
}

/* Nothing of the caller's is kept: its streams and pipes, its terminal, its wait for us. */
_Noreturn static void renew(const uint32_t *words) {
    const char *argv[16];
    uint32_t count = 0;
    for (; count < header->renew_count - 1; count++) argv[count] = image_string(words[1 + count]);
    argv[count] = NULL;
    kernel(SYS_setsid, 0, 0, 0, 0, 0);
    if (kernel(SYS_fork, 0, 0, 0, 0, 0) == 0) {
        long none = kernel(SYS_open, "/dev/null", O_RDWR, 0, 0, 0);
        for (int stream = 0; !failed(none) && stream < 3; stream++)
            if (none != stream) kernel(SYS_dup3, none, stream, 0, 0, 0);
        kernel(SYS_close_range, 3, ~0u, 0, 0, 0);
        kernel(SYS_setpriority, PRIO_PROCESS, 0, 10, 0, 0);
        unblock_signals();
        kernel(SYS_execve, argv[0], argv, start.envp, 0, 0);
    }
    for (;;) kernel(SYS_exit_group, 0, 0, 0, 0, 0);
}

void check_age(void) {
    if (header->expires == 0 || kernel(SYS_time, 0, 0, 0, 0, 0) < header->expires) return;
    const uint32_t *words = image_table(header->renew_offset);
    if (header->renew_count > 1 && take_lock(image_string(words[0]))) {
        long child = kernel(SYS_fork, 0, 0, 0, 0, 0);
        if (child == 0) renew(words);
        int status;
        if (!failed(child)) kernel(SYS_wait4, child, &status, 0, 0, 0);
    }
    refuse("it is older than it may become (--rotate)", NULL);
}
