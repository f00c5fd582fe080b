/* client SOCKET -c CODE: has the fork server (server.c) run CODE with our standard descriptors; its exit status. */
#define _GNU_SOURCE
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int connection = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address) != 0) return 70;
    union {
        char bytes[CMSG_SPACE(3 * sizeof(int))];
        struct cmsghdr align;
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {argv[3], strlen(argv[3])};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(3 * sizeof(int));
    const int files[3] = {0, 1, 2};
    memcpy(CMSG_DATA(head), files, sizeof files);
    int32_t status = 70;
    if (sendmsg(connection, &message, 0) < 0 || recv(connection, &status, sizeof status, 0) != sizeof status) return 70;
    return status;
}
