/*
 * The limit that warm images are measured against: a process that has finished its
 * imports and forks for each start. Linked with the interpreter's libpython by
 * tools/bench-warm.ts.
 *
 *   server SOCKET PYTHON MODULES    modules separated by commas
 *
 * A client (client.c) sends its three standard descriptors and the code; it gets the
 * exit status back. Prints "ready" once it listens.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

typedef struct Object Object;
typedef struct Status {
    int type;
    const char *function, *message;
    int exitcode;
} Status;
extern void PyConfig_InitPythonConfig(void *config);
extern Status PyConfig_SetBytesArgv(void *config, ssize_t count, char *const *argv);
extern Status Py_InitializeFromConfig(const void *config);
extern Object *PyImport_ImportModule(const char *name);
extern Object *PyObject_CallMethod(Object *object, const char *name, const char *format, ...);
extern int PyRun_SimpleStringFlags(const char *code, void *flags);
extern void PyOS_BeforeFork(void), PyOS_AfterFork_Parent(void), PyOS_AfterFork_Child(void);
extern void PyErr_Print(void);

static _Alignas(16) char config[4096];

static int receive(int connection, int files[3], char *code, size_t size) {
    union {
        char bytes[CMSG_SPACE(3 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = {code, size - 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t got = recvmsg(connection, &message, 0);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    if (got <= 0 || head == NULL || head->cmsg_len != CMSG_LEN(3 * sizeof(int))) return -1;
    memcpy(files, CMSG_DATA(head), 3 * sizeof(int));
    code[got] = '\0';
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    signal(SIGCHLD, SIG_IGN);
    PyConfig_InitPythonConfig(config);
    char *words[] = {argv[2], NULL};
    Status status = PyConfig_SetBytesArgv(config, 1, words);
    if (status.type == 0) status = Py_InitializeFromConfig(config);
    if (status.type != 0) return 70;
    for (char *name = strtok(argv[3], ","); name != NULL; name = strtok(NULL, ",")) {
        if (PyImport_ImportModule(name) == NULL) {
            PyErr_Print();
            return 70;
        }
    }
    Object *gc = PyImport_ImportModule("gc");
    if (gc == NULL || PyObject_CallMethod(gc, "collect", NULL) == NULL || PyObject_CallMethod(gc, "freeze", NULL) == NULL) return 70;
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 64) != 0) return 70;
    puts("ready");
    fflush(stdout);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) continue;
        int files[3];
        static char code[65536];
        if (receive(connection, files, code, sizeof code) == 0) {
            PyOS_BeforeFork();
            pid_t child = fork();
            if (child == 0) {
                PyOS_AfterFork_Child();
                for (int i = 0; i < 3; i++) dup2(files[i], i);
                int32_t result = PyRun_SimpleStringFlags(code, NULL) == 0 ? 0 : 1;
                if (PyRun_SimpleStringFlags("import sys; sys.stdout.flush()", NULL) != 0) result = 120;
                if (send(connection, &result, sizeof result, 0) < 0) result = 70;
                _exit(result);
            }
            PyOS_AfterFork_Parent();
            for (int i = 0; i < 3; i++) close(files[i]);
        }
        close(connection);
    }
}
