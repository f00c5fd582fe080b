/* PYCDS=auto|on|off, PYCDS_LOG, and the normal start. */
#include <fcntl.h>
#include <sys/syscall.h>

#include "restorer.h"

bool switched_off;
static bool strict;
static const char *log_name;

void say_read_settings(void) {
    const char *mode = variable("PYCDS", 5);
    switched_off = mode != NULL && text_equal(mode, "off");
    strict = mode != NULL && text_equal(mode, "on");
    log_name = variable("PYCDS_LOG", 9);
    if (log_name != NULL && *log_name == '\0') log_name = NULL;
}

/* One line of several pieces, in one write, so that lines of several processes do not mix. */
static void say(int file, const char *const *pieces, size_t count) {
    char line[2048];
    size_t used = 0;
    for (size_t i = 0; i < count; i++)
        for (const char *from = pieces[i]; from != NULL && *from != '\0' && used < sizeof line - 1; from++) line[used++] = *from == '\n' || *from == '\r' ? ' ' : *from;
    line[used++] = '\n';
    kernel(SYS_write, file, line, used, 0, 0);
}

static void say_to_log(const char *const *pieces, size_t count) {
    if (log_name == NULL) return;
    if (text_equal(log_name, "stderr")) {
        say(2, pieces, count);
        return;
    }
    long file = kernel(SYS_open, log_name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666, 0, 0);
    if (failed(file)) return;
    say((int)file, pieces, count);
    kernel(SYS_close, file, 0, 0, 0, 0);
}

_Noreturn static void end(int status) {
    for (;;) kernel(SYS_exit_group, status, 0, 0, 0, 0);
}

void start_normally(void) {
    const uint32_t *command = image_table(header->command_offset);
    /* its words, then what follows the program's name in ours */
    const char *argv[512];
    size_t count = 0;
    for (; count < header->command_count; count++) argv[count] = image_string(command[count]);
    /* a start with many arguments: its own vector has room for all but the command's additional words */
    const char **vector = argv;
    size_t given = start.argc > 0 ? start.argc - 1 : 0;
    if (count + given + 1 > sizeof argv / sizeof *argv) {
        long room = kernel6(SYS_mmap, 0, (long)page_up((count + given + 1) * sizeof *argv), 3, 0x22, -1, 0);
        if (failed(room)) end(127);
        vector = at_address((uint64_t)room);
        memcpy(vector, argv, count * sizeof *argv);
    }
    for (size_t i = 0; i < given; i++) vector[count + i] = start.argv[i + 1];
    vector[count + given] = NULL;
    unblock_signals();
    kernel(SYS_execve, vector[0], vector, start.envp, 0, 0);
    const char *pieces[] = {"pycds: error: cannot start ", vector[0], " — it cannot be executed — build the image again"};
    say(2, pieces, 3);
    end(127);
}

void refuse(const char *why, const char *what) {
    const char *separator = what == NULL ? NULL : ": ";
    if (strict) {
        const char *pieces[] = {"pycds: error: cannot restore (", program_path, ") — ", why, separator, what, " — build the image again, or set PYCDS=auto"};
        say(2, pieces, 7);
        end(2);
    }
    const char *pieces[] = {"pycds: refused ", program_path, ": ", why, separator, what};
    say_to_log(pieces, 6);
    start_normally();
}

void broken(const char *why) {
    const char *pieces[] = {"pycds: error: cannot restore (", program_path, ") — ", why, " — build the image again"};
    say(2, pieces, 5);
    end(2);
}

/* Log file and environment are the caller's, the rights are another's: nothing is opened or started with them. */
void refuse_secure(void) {
    const char *pieces[] = {"pycds: error: cannot restore (", program_path, ") — it runs with another user's rights (AT_SECURE) — start it without set-user-ID, set-group-ID and file capabilities"};
    say(2, pieces, 3);
    end(2);
}

void say_restored(void) {
    const char *pieces[] = {"pycds: restored ", program_path, ": each start compares the contents of ", compared_file, " — pycds warm renew ", program_path};
    say_to_log(pieces, compared_file == NULL ? 2 : 6);
}
