/* A load generator for servers of raw bytes, WebSocket and Socket.IO on 127.0.0.1. load.h says how it is built.
 *
 *   load PROTOCOL ACTIVITY --port P [--pid PID]... [--connections N] [--depth N] [--bytes N] [--seconds S] [--warmup S]
 *        [--event NAME] [--sources N] [--core N] [--shouts N]
 *
 * It opens the connections, lets the activity run for the time of the warm-up and then for the time that is measured,
 * waits until all that is in flight was answered, and prints one JSON object. The CPU time is that of the processes
 * named with --pid, which should have the core named with --core for themselves. Every answer was checked: where one
 * was wrong or missing there is a sentence on standard error, no JSON, and exit status 1. */
#define _GNU_SOURCE
#include "load.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    N_MAX = 100000, /* connections */
    DEPTH_MAX = 1024,
    SECONDS_MAX = 600,
    SOURCES_MAX = 64,
    SHOUTS_MAX = 1000,
    OPENING_MAX = 128,    /* handshakes under way at once: below any server's backlog */
    OPENING_SECONDS = 90, /* for all connections; and no run lasts longer than this with its own time added */
    DRAIN_SECONDS = 5,    /* for answers to what is in flight at the end */
};

/* Between the last handshake and the first broadcast. A server may answer a handshake just before it counts the
 * connection among those that it sends to, and the kernel completes TCP's before the server accepts. */
#define SETTLE_SECONDS 0.3

struct options options = {
    .event = "echo", .n_connections = 64, .depth = 1, .n_sources = 1, .n_bytes = 64, .seconds = 2, .warmup = 0.5,
};

static const char *const protocol_names[] = {"raw", "websocket", "socketio", "polling"};
static const char *const activity_names[] = {"echo", "ack", "broadcast", "connect", "hold"};

static struct connection *connections;
static unsigned n_opened, n_ready;   /* of the first opening */
static bool is_running, is_measured; /* new messages are sent; answers count */
static uint64_t n_counted;           /* answers, or connections, while measured */
static uint64_t n_heartbeats;
static unsigned n_received; /* of the present round of a broadcast */

_Noreturn void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

uint64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- What the protocols tell ---- */

/* Tell whether new messages, or new connections, are wanted. */
bool wants_more(void) { return is_running; }

void on_heartbeat(struct connection *c) {
    c->n_heartbeats++;
    n_heartbeats++;
}

/* A connection has done all of its handshakes. */
void on_ready(struct connection *c) {
    c->state = READY;
    n_ready++;
    n_counted += is_measured;
}

/* Tell whether what connection 0 sends goes to all; else each is sent its own messages. */
static bool goes_to_all(void) { return options.activity == BROADCAST || options.activity == HOLD; }

static const struct connection *sender_to(const struct connection *c) { return goes_to_all() ? &connections[0] : c; }

static void begin_round(void) {
    n_received = 0;
    protocol_send(&connections[0], 1);
    connection_flush(&connections[0]);
}

static _Noreturn void fail_on_answer(const struct connection *c, const char *due, size_t n_due, const uint8_t *got,
                                     size_t n_got) {
    enum { SHOWN = 48 };
    size_t at = 0;
    while (at < n_due && at < n_got && (uint8_t)due[at] == got[at]) at++;
    fail("connection %u got \"%.*s\" (%zu bytes) where \"%.*s\" (%zu bytes) was due; they differ from byte %zu on",
         c->index, n_got < SHOWN ? (int)n_got : SHOWN, (const char *)got, n_got, n_due < SHOWN ? (int)n_due : SHOWN,
         due, n_due, at);
}

/* Check an answer against the one expected; send what comes next. */
void on_answer(struct connection *c, const uint8_t *message, size_t n) {
    static char expected[MESSAGE_MAX];
    const struct connection *sender = sender_to(c);
    if (c->n_answered == sender->n_sent) fail("connection %u got a message that answers nothing", c->index);
    size_t n_expected = message_compose(expected, true, sender->index, c->n_answered);
    if (n != n_expected || memcmp(message, expected, n)) fail_on_answer(c, expected, n_expected, message, n);
    c->n_answered++;
    n_counted += is_measured;
    if (goes_to_all()) {
        if (++n_received == options.n_connections && is_running) begin_round();
    } else if (is_running && options.protocol != POLLING) { /* long-polling sends when its response is read */
        protocol_send(c, 1);
    }
}

/* ---- The phases of a run ---- */

static void pump_for(double seconds) {
    uint64_t end = nanoseconds() + (uint64_t)(seconds * 1e9), now;
    while ((now = nanoseconds()) < end) network_pump((int)((end - now) / 1000000) < 10 ? 1 : 10);
}

static void make_connections(void) {
    connections = calloc(options.n_connections, sizeof *connections);
    if (!connections) fail("out of memory");
    for (unsigned i = 0; i < options.n_connections; i++) connections[i].index = i;
}

/* Open all connections, some at a time; return how many seconds that took. */
static double open_all(void) {
    uint64_t began = nanoseconds();
    while (n_ready < options.n_connections) {
        while (n_opened < options.n_connections && n_opened - n_ready < OPENING_MAX) {
            connection_open(&connections[n_opened++]);
        }
        network_pump(10);
        if (nanoseconds() - began > OPENING_SECONDS * 1000000000ull)
            fail("only %u of %u connections were ready in %d seconds", n_ready, options.n_connections, OPENING_SECONDS);
    }
    return (double)(nanoseconds() - began) / 1e9;
}

static void begin_activity(void) {
    is_running = true;
    for (unsigned i = 0; i < options.n_connections; i++) {
        struct connection *c = &connections[i];
        if (options.activity == CONNECT) {
            connection_open(c);
        } else if (options.activity == BROADCAST) {
            begin_round();
            return;
        } else {
            protocol_send(c, options.depth);
            connection_flush(c);
        }
    }
}

static uint64_t n_unanswered(void) {
    uint64_t n = 0;
    for (unsigned i = 0; i < options.n_connections; i++) {
        n += sender_to(&connections[i])->n_sent - connections[i].n_answered;
    }
    return n;
}

/* Send nothing more, and see that everything sent is answered. */
static void drain(void) {
    is_running = false;
    uint64_t end = nanoseconds() + DRAIN_SECONDS * 1000000000ull;
    if (options.activity == CONNECT) return;
    while (n_unanswered()) {
        network_pump(10);
        if (nanoseconds() > end)
            fail("%llu messages were not answered in %d seconds", (unsigned long long)n_unanswered(), DRAIN_SECONDS);
    }
}

/* What the clocks said at one moment. */
struct reading {
    uint64_t at;
    double cpu, core;
};

static struct reading read_clocks(void) {
    return (struct reading){.at = nanoseconds(), .cpu = process_cpu_seconds(), .core = process_core_seconds()};
}

/* Return what passed between two readings, in seconds. */
static struct reading since(struct reading before, double *elapsed) {
    struct reading now = read_clocks();
    *elapsed = (double)(now.at - before.at) / 1e9;
    return (struct reading){.cpu = now.cpu - before.cpu, .core = now.core - before.core};
}

/* Begin the report. `others_busy` is what anything but the server took of the server's core. */
static void report(double elapsed, struct reading passed) {
    double others = passed.core > passed.cpu ? passed.core - passed.cpu : 0;
    printf("{\"protocol\": \"%s\", \"activity\": \"%s\", \"connections\": %u, \"depth\": %u, \"bytes\": %zu, "
           "\"seconds\": %.3f, \"server_busy\": %.3f, \"others_busy\": %.3f, \"heartbeats\": %llu, \"rss_kb\": %ld, ",
           protocol_names[options.protocol], activity_names[options.activity], options.n_connections, options.depth,
           options.n_bytes, elapsed, passed.cpu / elapsed, others / elapsed, (unsigned long long)n_heartbeats,
           process_rss_kb());
}

/* Let one connection's event go to all; return in how many seconds it was everywhere. */
static double shout(void) {
    uint64_t began = nanoseconds();
    begin_round();
    drain();
    return (double)(nanoseconds() - began) / 1e9;
}

static void measure_hold(void) {
    long before = process_rss_kb();
    double opening = open_all(), elapsed, slowest = 0;
    uint64_t n_before = n_heartbeats;
    struct reading began = read_clocks();
    pump_for(options.seconds);
    struct reading passed = since(began, &elapsed);
    double per_connection = (double)(process_rss_kb() - before) * 1024 / options.n_connections;
    uint64_t n_held = n_heartbeats - n_before;
    for (unsigned i = 0; i < options.n_shouts; i++) {
        double taken = shout();
        if (taken > slowest) slowest = taken;
    }
    unsigned least = connections[0].n_heartbeats;
    for (unsigned i = 1; i < options.n_connections; i++)
        if (connections[i].n_heartbeats < least) least = connections[i].n_heartbeats;
    report(elapsed, passed);
    printf("\"opening_seconds\": %.2f, \"bytes_per_connection\": %.0f, \"held_heartbeats\": %llu, "
           "\"least_heartbeats\": %u, \"shouts\": %u, \"slowest_shout_seconds\": %.3f}\n",
           opening, per_connection, (unsigned long long)n_held, least, options.n_shouts, slowest);
}

static void measure_messages(void) {
    if (options.activity != CONNECT) open_all();
    if (options.activity == BROADCAST) pump_for(SETTLE_SECONDS);
    begin_activity();
    pump_for(options.warmup);
    struct reading began = read_clocks();
    is_measured = true;
    pump_for(options.seconds);
    is_measured = false;
    double elapsed;
    struct reading passed = since(began, &elapsed);
    uint64_t n = n_counted;
    drain();
    if (!n) fail("nothing was answered in %.1f seconds", elapsed);
    report(elapsed, passed);
    printf("\"messages\": %llu, \"per_second\": %.1f, \"cpu_us\": %.4f}\n", (unsigned long long)n, (double)n / elapsed,
           passed.cpu * 1e6 / (double)n);
}

/* ---- Options ---- */

static int index_of(const char *name, const char *const names[], int n) {
    for (int i = 0; i < n; i++)
        if (!strcmp(name, names[i])) return i;
    fail("\"%s\" is neither a protocol nor an activity; the first comment of main.c says what is", name);
}

static double number(const char *name, const char *text, double min, double max) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= min && value <= max))
        fail("%s is from %.0f to %.0f, not %s", name, min, max, text);
    return value;
}

static void read_options(int n, char **arguments) {
    if (n < 3 || n % 2 == 0) fail("usage: load PROTOCOL ACTIVITY --port P [--OPTION VALUE]...");
    options.protocol = (enum protocol)index_of(arguments[1], protocol_names, 4);
    options.activity = (enum activity)index_of(arguments[2], activity_names, 5);
    for (int i = 3; i < n; i += 2) {
        const char *name = arguments[i], *value = arguments[i + 1];
        if (!strcmp(name, "--port")) options.port = (unsigned)number(name, value, 1, 65535);
        else if (!strcmp(name, "--pid")) process_watch((int)number(name, value, 1, 1 << 30));
        else if (!strcmp(name, "--core")) process_watch_core((int)number(name, value, 0, 4095));
        else if (!strcmp(name, "--connections")) options.n_connections = (unsigned)number(name, value, 1, N_MAX);
        else if (!strcmp(name, "--depth")) options.depth = (unsigned)number(name, value, 1, DEPTH_MAX);
        else if (!strcmp(name, "--bytes")) options.n_bytes = (size_t)number(name, value, PAYLOAD_MIN, PAYLOAD_MAX);
        else if (!strcmp(name, "--seconds")) options.seconds = number(name, value, 0.1, SECONDS_MAX);
        else if (!strcmp(name, "--warmup")) options.warmup = number(name, value, 0, SECONDS_MAX);
        else if (!strcmp(name, "--sources")) options.n_sources = (unsigned)number(name, value, 1, SOURCES_MAX);
        else if (!strcmp(name, "--shouts")) options.n_shouts = (unsigned)number(name, value, 0, SHOUTS_MAX);
        else if (!strcmp(name, "--event")) options.event = value;
        else fail("unknown option %s", name);
    }
    bool is_socketio = options.protocol == SOCKETIO || options.protocol == POLLING;
    if (!options.port) fail("--port is missing");
    if (strlen(options.event) > EVENT_MAX) fail("an event's name has at most %d bytes", EVENT_MAX);
    if (options.activity == ACK && options.protocol != SOCKETIO) fail("acknowledgements are Socket.IO's");
    if (options.protocol == POLLING && options.activity != ECHO) fail("long-polling does echo only");
    if (options.protocol == RAW && options.activity >= CONNECT) fail("raw bytes do echo and broadcast only");
    if (options.n_shouts && (options.activity != HOLD || options.protocol != SOCKETIO))
        fail("shouts end a hold of Socket.IO connections");
    if (!is_socketio && strcmp(options.event, "echo")) fail("--event is for Socket.IO");
}

static void raise_descriptors(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < options.n_connections + 64)
        fail("%u connections need more than the %llu descriptors allowed here", options.n_connections,
             (unsigned long long)files.rlim_cur);
}

static void on_alarm(int signal) {
    static const char text[] = "load: the run did not end in its time\n";
    (void)signal;
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {}
    _exit(1);
}

int main(int n, char **arguments) {
    read_options(n, arguments);
    raise_descriptors();
    signal(SIGALRM, on_alarm);
    alarm((unsigned)(options.seconds + options.warmup) + OPENING_SECONDS + 2 * DRAIN_SECONDS);
    make_connections();
    messages_prepare();
    network_open();
    if (options.activity == HOLD) measure_hold();
    else measure_messages();
    return 0;
}
