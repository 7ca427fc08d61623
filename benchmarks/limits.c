/* What no server can do without: the system calls of an echo and of a broadcast, and nothing else.
 *
 *   limits echo PORT        sends back the bytes it reads
 *   limits broadcast PORT   sends the bytes it reads to every connection, with one send() each
 *
 * One thread, one epoll, no protocol: a real server pays this, and its protocol and language on top. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 18, EVENTS_MAX = 256, BACKLOG = 4096, DESCRIPTORS_MAX = 1 << 20 };

static int peers[DESCRIPTORS_MAX]; /* who is connected, in no order */
static int n_peers;

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "limits: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int listen_on(uint16_t port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, BACKLOG)) fail("cannot listen");
    return fd;
}

static void watch(int epoll_fd, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

static void accept_one(int epoll_fd, int listening) {
    int one = 1, fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(epoll_fd, fd);
    peers[n_peers++] = fd;
}

static void forget(int fd) {
    close(fd);
    for (int i = 0; i < n_peers; i++)
        if (peers[i] == fd) {
            peers[i] = peers[--n_peers];
            return;
        }
}

/* Send everything, waiting for room where the kernel has none: only large messages in great number need that. */
static void send_all(int fd, const char *bytes, ssize_t n) {
    while (n > 0) {
        ssize_t n_sent = send(fd, bytes, (size_t)n, MSG_NOSIGNAL);
        if (n_sent < 0) {
            struct pollfd room = {.fd = fd, .events = POLLOUT};
            if (errno != EAGAIN || poll(&room, 1, 1000) != 1) return;
            continue;
        }
        bytes += n_sent;
        n -= n_sent;
    }
}

int main(int n_arguments, char **arguments) {
    static char bytes[READ_BYTES];
    if (n_arguments != 3) {
        fputs("usage: limits echo|broadcast PORT\n", stderr);
        return 2;
    }
    bool is_broadcast = !strcmp(arguments[1], "broadcast");
    int listening = listen_on((uint16_t)atoi(arguments[2])), epoll_fd = epoll_create1(0);
    watch(epoll_fd, listening);
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listening) {
                accept_one(epoll_fd, listening);
                continue;
            }
            ssize_t n_read = recv(fd, bytes, sizeof bytes, 0);
            if (n_read <= 0) {
                forget(fd);
            } else if (is_broadcast) {
                for (int j = 0; j < n_peers; j++) send_all(peers[j], bytes, n_read);
            } else {
                send_all(fd, bytes, n_read);
            }
        }
    }
}
