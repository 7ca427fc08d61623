/* What the parts of the load generator share.
 *
 * The generator is one thread round one epoll. Its parts, from the bottom up:
 *
 *   process.c    reads the server's CPU time and memory
 *   network.c    opens connections, moves bytes, knows no protocol
 *   messages.c   says what each message is, byte for byte, and what its answer must be
 *   protocols.c  raw bytes, WebSocket, Engine.IO and Socket.IO, HTTP long-polling: from bytes to messages and back
 *   main.c       the activities (echo, broadcast, ...), the phases of a run, and the report
 *
 * A measurement counts only if the server did what was asked, so every answer is compared with the one expected and the
 * first that differs ends the run (`fail`). There is no count of errors to overlook. */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum protocol { RAW, WEBSOCKET, SOCKETIO, POLLING };

enum activity {
    ECHO,      /* each message comes back, on its own connection and in order */
    ACK,       /* each Socket.IO event is acknowledged with its own data */
    BROADCAST, /* connection 0 sends, all receive; then the next round */
    CONNECT,   /* connections are opened and at once reset, as many as possible */
    HOLD,      /* connections are opened and kept, with nothing but heartbeats; at the end come the shouts, if any */
};

enum state {
    CLOSED,
    CONNECTING, /* TCP */
    UPGRADING,  /* the WebSocket handshake is sent */
    OPENING,    /* waits for Engine.IO's open packet */
    JOINING,    /* waits for the answer to Socket.IO's CONNECT */
    READY,
};

struct options {
    enum protocol protocol;
    enum activity activity;
    const char *event; /* name of the Socket.IO event */
    unsigned port;
    unsigned n_connections;
    unsigned depth;     /* messages in flight per connection */
    unsigned n_sources; /* loopback addresses to connect from; one has about 28,000 ports */
    size_t n_bytes;     /* of a message's payload */
    double seconds, warmup;
    unsigned n_shouts; /* broadcasts at the end of a hold, each of which must reach every connection */
};

struct buffer {
    uint8_t *bytes;
    size_t n, room;
};

struct connection {
    int fd;
    unsigned index; /* its place among the connections, which its payloads carry */
    enum state state;
    bool wants_out;      /* epoll was asked to tell when it can be written to */
    uint64_t n_sent;     /* also the number of the next message */
    uint64_t n_answered; /* also the number of the next answer */
    unsigned n_heartbeats; /* pings that came, each of which was answered */
    struct buffer in;    /* bytes of a message that is not yet whole; mostly empty */
    struct buffer out;   /* bytes to be sent */
    /* Long-polling only: */
    char sid[64];       /* of the Engine.IO session */
    bool is_posting;    /* the request under way is a POST */
    bool owes_pong;     /* a ping came; the next POST carries the pong */
};

/* PAYLOAD_MIN has room for the numbers that a payload carries (messages.c). With what surrounds a payload on the wire,
 * a message takes MESSAGE_MAX at most. */
enum { PAYLOAD_MIN = 16, PAYLOAD_MAX = 1 << 20, EVENT_MAX = 32, MESSAGE_MAX = PAYLOAD_MAX + 256 };

extern struct options options;

/* main.c */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t nanoseconds(void);
void on_ready(struct connection *c);
void on_answer(struct connection *c, const uint8_t *message, size_t n);
void on_heartbeat(struct connection *c);
bool wants_more(void);

/* network.c */
void network_open(void);
void connection_open(struct connection *c);
void connection_reset(struct connection *c);
uint8_t *connection_reserve(struct connection *c, size_t n);
void connection_queue(struct connection *c, const void *bytes, size_t n);
void connection_flush(struct connection *c);
void network_pump(int milliseconds);
void buffer_append(struct buffer *b, const void *bytes, size_t n);

/* messages.c */
void messages_prepare(void);
size_t message_compose(char *to, bool is_answer, unsigned sender, uint64_t number);

/* protocols.c */
void protocol_begin(struct connection *c);
size_t protocol_read(struct connection *c, const uint8_t *bytes, size_t n);
void protocol_send(struct connection *c, unsigned n_messages);

/* process.c */
void process_watch(int pid);
void process_watch_core(int number);
double process_core_seconds(void);
double process_cpu_seconds(void);
long process_rss_kb(void);

#endif
