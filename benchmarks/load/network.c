/* Connections on the loopback interface: opened, read from and written to without blocking. Knows no protocol; what is
 * read goes to `protocol_read`, and what that queues is sent in one piece after it, as a client's event loop does. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_BYTES = 1 << 18, EVENTS_MAX = 512 };

static int epoll_fd;

void network_open(void) {
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) fail("epoll_create1: %s", strerror(errno));
}

/* Make room for n more bytes and return where they go. The caller adds to `b->n` what it has written. */
static uint8_t *buffer_reserve(struct buffer *b, size_t n) {
    if (b->n + n > b->room) {
        size_t room = b->room ? b->room : 256;
        while (room < b->n + n) room *= 2;
        b->bytes = realloc(b->bytes, room);
        if (!b->bytes) fail("out of memory");
        b->room = room;
    }
    return b->bytes + b->n;
}

void buffer_append(struct buffer *b, const void *bytes, size_t n) {
    memcpy(buffer_reserve(b, n), bytes, n);
    b->n += n;
}

static void buffer_drop(struct buffer *b, size_t n) {
    b->n -= n;
    memmove(b->bytes, b->bytes + n, b->n);
}

/* Give the memory back, so that an idle connection has none. */
static void buffer_free(struct buffer *b) {
    free(b->bytes);
    *b = (struct buffer){0};
}

/* Tell epoll what is of interest: reading always, writing while bytes wait. */
static void watch(struct connection *c, int operation, bool wants_out) {
    struct epoll_event event = {.events = EPOLLIN | (wants_out ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &event)) fail("epoll_ctl: %s", strerror(errno));
    c->wants_out = wants_out;
}

/* Begin to connect; `protocol_begin` is called once TCP has. */
void connection_open(struct connection *c) {
    static const int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (options.n_sources > 1) {
        static unsigned turn;
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + turn++ % options.n_sources);
        /* The port is chosen by connect(), which may take one that is in use towards another server. */
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c->fd, (struct sockaddr *)&source, sizeof source)) fail("bind: %s", strerror(errno));
    }
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* never any other */
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS)
        fail("connect: %s", strerror(errno));
    c->state = CONNECTING;
    watch(c, EPOLL_CTL_ADD, true);
}

/* End a connection with a reset. A proper close would leave each port unusable for a minute. */
void connection_reset(struct connection *c) {
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(c->fd);
    c->fd = -1;
    c->state = CLOSED;
    c->n_sent = c->n_answered = 0;
    c->in.n = c->out.n = 0;
    c->owes_pong = false;
}

/* Return room for n bytes after those queued; the caller counts them in `c->out.n`. */
uint8_t *connection_reserve(struct connection *c, size_t n) { return buffer_reserve(&c->out, n); }

/* Put bytes behind those to be sent. Next: `connection_flush`. */
void connection_queue(struct connection *c, const void *bytes, size_t n) { buffer_append(&c->out, bytes, n); }

/* Send what is queued, as far as the kernel takes it; the rest follows when it can. */
void connection_flush(struct connection *c) {
    if (c->out.n) {
        ssize_t n = send(c->fd, c->out.bytes, c->out.n, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) fail("connection %u could not be written to: %s", c->index, strerror(errno));
        if (n > 0) buffer_drop(&c->out, (size_t)n);
    }
    if (c->wants_out != (c->out.n > 0)) watch(c, EPOLL_CTL_MOD, c->out.n > 0);
    if (options.activity == HOLD && !c->out.n) buffer_free(&c->out);
}

static void on_connected(struct connection *c) {
    int error = 0;
    socklen_t n = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error) fail("connection %u was not accepted: %s", c->index, strerror(error));
    protocol_begin(c);
    connection_flush(c);
}

static void on_readable(struct connection *c) {
    static uint8_t read_into[READ_BYTES];
    ssize_t n = recv(c->fd, read_into, sizeof read_into, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) fail("connection %u could not be read from: %s", c->index, strerror(errno));
    if (n == 0) fail("the server closed connection %u", c->index);
    if (c->in.n) {
        buffer_append(&c->in, read_into, (size_t)n);
        buffer_drop(&c->in, protocol_read(c, c->in.bytes, c->in.n));
        if (!c->in.n && options.activity == HOLD) buffer_free(&c->in);
    } else {
        size_t n_used = protocol_read(c, read_into, (size_t)n);
        if (n_used < (size_t)n) buffer_append(&c->in, read_into + n_used, (size_t)n - n_used);
    }
    connection_flush(c);
    if (c->state == READY && options.activity == CONNECT) {
        connection_reset(c);
        if (wants_more()) connection_open(c);
    }
}

/* Handle what has happened, waiting at most so long for something to. */
void network_pump(int milliseconds) {
    struct epoll_event events[EVENTS_MAX];
    int n = epoll_wait(epoll_fd, events, EVENTS_MAX, milliseconds);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->state == CONNECTING) {
            on_connected(c);
            continue;
        }
        if (events[i].events & EPOLLOUT) connection_flush(c);
        if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) on_readable(c);
    }
}
