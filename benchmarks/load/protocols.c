/* From bytes to messages and back: raw bytes, WebSocket (RFC 6455, as a client), Engine.IO v4 and Socket.IO v5 over it,
 * and over HTTP long-polling. It reads what the servers of this benchmark send in answer to its own messages and
 * refuses the rest: no fragments, no binary, no extensions. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { OP_TEXT = 1, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10, MASKED = 0x80, FIN = 0x80, CONTROL_MAX = 125 };

#define SEPARATOR '\x1e' /* Engine.IO v4: between the packets of a polling payload */

/* RFC 6455 §1.3 has this key and its answer as the example. One for all connections, so that no SHA-1 is needed. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

static char composed[MESSAGE_MAX];

/* Return enough of what the server sent to recognize it, for a sentence. */
static const char *excerpt(const void *bytes, size_t n) {
    static char text[81];
    size_t n_text = n < sizeof text - 1 ? n : sizeof text - 1;
    memcpy(text, bytes, n_text);
    text[n_text] = 0;
    for (char *p = text; *p; p++)
        if (*p < ' ') *p = ' ';
    return text;
}

static bool begins(const uint8_t *bytes, size_t n, const char *with) {
    size_t n_with = strlen(with);
    return n >= n_with && !memcmp(bytes, with, n_with);
}

/* ---- WebSocket ---- */

static uint32_t next_key(void) {
    static uint32_t x = 2463534242u; /* xorshift: a new mask for each frame, the same ones in each run */
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

static void queue_frame(struct connection *c, int opcode, const void *payload, size_t n) {
    uint8_t *frame = connection_reserve(c, n + 14), *p = frame;
    *p++ = (uint8_t)(FIN | opcode);
    if (n < 126) {
        *p++ = (uint8_t)(MASKED | n);
    } else {
        int n_length = n < 65536 ? 2 : 8;
        *p++ = MASKED | (n_length == 2 ? 126 : 127);
        for (int i = n_length; i--;) *p++ = (uint8_t)((uint64_t)n >> (8 * i));
    }
    uint32_t word = next_key();
    uint8_t key[4];
    memcpy(key, &word, 4);
    memcpy(p, key, 4);
    p += 4;
    const uint8_t *from = payload;
    for (size_t i = 0; i < n; i++) p[i] = from[i] ^ key[i & 3];
    c->out.n += (size_t)(p - frame) + n;
}

static void queue_handshake(struct connection *c) {
    char head[512];
    const char *path = options.protocol == SOCKETIO ? "/socket.io/?EIO=4&transport=websocket" : "/";
    int n = snprintf(head, sizeof head,
                     "GET %s HTTP/1.1\r\n"
                     "Host: 127.0.0.1:%u\r\n"
                     "Connection: Upgrade\r\n"
                     "Upgrade: websocket\r\n"
                     "Sec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: " KEY "\r\n\r\n",
                     path, options.port);
    connection_queue(c, head, (size_t)n);
}

/* Return the length of an HTTP head with its empty line, or 0 when it is not whole yet. */
static size_t head_length(const uint8_t *bytes, size_t n) {
    const uint8_t *end = memmem(bytes, n, "\r\n\r\n", 4);
    return end ? (size_t)(end - bytes) + 4 : 0;
}

/* Return a header's value and its length, or NULL. `name` with its colon. */
static const char *header(const uint8_t *head, size_t n, const char *name, size_t *n_value) {
    size_t n_name = strlen(name);
    for (const char *line = (const char *)head, *end = line + n; line < end;) {
        const char *eol = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!eol) break;
        if ((size_t)(eol - line) > n_name && !strncasecmp(line, name, n_name)) {
            const char *value = line + n_name;
            while (value < eol && *value == ' ') value++;
            *n_value = (size_t)(eol - value);
            return value;
        }
        line = eol + 2;
    }
    return NULL;
}

static void read_handshake(const uint8_t *head, size_t n) {
    size_t n_value = 0;
    if (!begins(head, n, "HTTP/1.1 101 ")) fail("the server refused a WebSocket: %s", excerpt(head, n));
    const char *accept = header(head, n, "Sec-WebSocket-Accept:", &n_value);
    if (!accept || n_value != strlen(ACCEPT) || memcmp(accept, ACCEPT, n_value))
        fail("the server's Sec-WebSocket-Accept is not the one for the key");
    if (header(head, n, "Sec-WebSocket-Extensions:", &n_value)) fail("the server uses an extension nobody offered");
}

static void read_packet(struct connection *c, const uint8_t *packet, size_t n);

static void read_frame(struct connection *c, int opcode, const uint8_t *payload, size_t n) {
    switch (opcode) {
    case OP_TEXT:
        if (options.protocol == SOCKETIO) read_packet(c, payload, n);
        else on_answer(c, payload, n);
        return;
    case OP_PING:
        on_heartbeat(c);
        queue_frame(c, OP_PONG, payload, n);
        return;
    case OP_CLOSE:
        fail("the server closed WebSocket %u with code %d", c->index, n >= 2 ? payload[0] << 8 | payload[1] : 1005);
    default:
        fail("the server sent a frame with opcode %d", opcode);
    }
}

/* Read all whole frames; return how many bytes they were. */
static size_t read_frames(struct connection *c, const uint8_t *bytes, size_t n) {
    size_t at = 0;
    while (n - at >= 2) {
        const uint8_t *p = bytes + at;
        size_t n_head = 2, n_payload = p[1];
        if (p[1] & MASKED) fail("the server masked a frame (RFC 6455 §5.1)");
        if (!(p[0] & FIN) || p[0] & 0x70) fail("the server sent a fragment or a reserved bit");
        if (n_payload >= 126) {
            size_t n_length = n_payload == 126 ? 2 : 8;
            n_head += n_length;
            if (n - at < n_head) break;
            n_payload = 0;
            for (size_t i = 0; i < n_length; i++) n_payload = n_payload << 8 | p[2 + i];
        }
        if (n_payload > MESSAGE_MAX) fail("the server sent a frame of %zu bytes", n_payload);
        if (n - at < n_head + n_payload) break;
        read_frame(c, p[0] & 15, p + n_head, n_payload);
        at += n_head + n_payload;
    }
    return at;
}

static size_t read_websocket(struct connection *c, const uint8_t *bytes, size_t n) {
    size_t n_head = 0;
    if (c->state == UPGRADING) {
        n_head = head_length(bytes, n);
        if (!n_head) return 0;
        read_handshake(bytes, n_head);
        c->state = OPENING;
        if (options.protocol == WEBSOCKET) on_ready(c);
    }
    return n_head + read_frames(c, bytes + n_head, n - n_head);
}

/* ---- Engine.IO and Socket.IO ---- */

static void queue_request(struct connection *c, const char *body, size_t n_body);

static void read_open(struct connection *c, const uint8_t *packet, size_t n) {
    static const char mark[] = "\"sid\":\"";
    const char *sid = memmem(packet, n, mark, sizeof mark - 1);
    if (!sid) fail("the open packet has no sid: %s", excerpt(packet, n));
    sid += sizeof mark - 1;
    const char *end = memchr(sid, '"', (size_t)((const char *)packet + n - sid));
    if (!end || (size_t)(end - sid) >= sizeof c->sid) fail("the sid is too long: %s", excerpt(packet, n));
    memcpy(c->sid, sid, (size_t)(end - sid));
    c->sid[end - sid] = 0;
    c->state = JOINING;
    if (options.protocol == SOCKETIO) queue_frame(c, OP_TEXT, "40", 2);
    else queue_request(c, "40", 2);
}

/* Read one Engine.IO packet. */
static void read_packet(struct connection *c, const uint8_t *packet, size_t n) {
    if (c->state == OPENING && begins(packet, n, "0{")) {
        read_open(c, packet, n);
    } else if (c->state == JOINING && begins(packet, n, "40{\"sid\":\"")) {
        on_ready(c);
    } else if (begins(packet, n, "41")) {
        fail("the server disconnected socket %u", c->index);
    } else if (c->state == READY && begins(packet, n, "4")) {
        on_answer(c, packet, n);
    } else if (n == 1 && packet[0] == '2') {
        on_heartbeat(c);
        if (options.protocol == SOCKETIO) queue_frame(c, OP_TEXT, "3", 1);
        else c->owes_pong = true;
    } else {
        fail("connection %u got, in state %d, the packet: %s", c->index, c->state, excerpt(packet, n));
    }
}

/* ---- HTTP long-polling ----
 *
 * One request at a time on one connection that is kept alive: a POST with the messages, then GETs until all are
 * answered. So an echo costs the server two requests, as it does with a browser. */

/* Queue a POST with a body, or, when it is NULL, a GET. */
static void queue_request(struct connection *c, const char *body, size_t n_body) {
    char head[512];
    int n = snprintf(head, sizeof head, "%s /socket.io/?EIO=4&transport=polling%s%s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n",
                     body ? "POST" : "GET", c->state == OPENING ? "" : "&sid=", c->state == OPENING ? "" : c->sid,
                     options.port);
    if (body)
        n += snprintf(head + n, sizeof head - (size_t)n,
                      "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %zu\r\n", n_body);
    connection_queue(c, head, (size_t)n);
    connection_queue(c, "\r\n", 2);
    if (body) connection_queue(c, body, n_body);
    c->is_posting = body != NULL;
}

/* POST messages, with the pong that is owed. */
static void post_messages(struct connection *c, unsigned n_messages) {
    static struct buffer body;
    body.n = 0;
    if (c->owes_pong) buffer_append(&body, "3", 1);
    c->owes_pong = false;
    for (unsigned i = 0; i < n_messages; i++) {
        static const char separator = SEPARATOR;
        if (body.n) buffer_append(&body, &separator, 1);
        buffer_append(&body, composed, message_compose(composed, false, c->index, c->n_sent++));
    }
    queue_request(c, (const char *)body.bytes, body.n);
}

static void read_payload(struct connection *c, const uint8_t *payload, size_t n) {
    while (n) {
        const uint8_t *end = memchr(payload, SEPARATOR, n);
        size_t n_packet = end ? (size_t)(end - payload) : n;
        read_packet(c, payload, n_packet);
        n -= n_packet + (end != NULL);
        payload += n_packet + (end != NULL);
    }
}

/* Handle a response's body and queue the request that comes next; after the open packet `read_open` has done so. */
static void read_response(struct connection *c, const uint8_t *body, size_t n) {
    if (c->is_posting) {
        /* The original says "ok", python-engineio "OK". */
        if (n != 2 || strncasecmp((const char *)body, "ok", 2)) fail("a POST was answered with: %s", excerpt(body, n));
        queue_request(c, NULL, 0);
        return;
    }
    read_payload(c, body, n);
    if (c->is_posting) return;
    if (c->state == READY && c->n_answered == c->n_sent) {
        if (wants_more()) post_messages(c, options.depth); /* else the next to send is the activity, with a pong owed */
    } else if (c->owes_pong) {
        post_messages(c, 0);
    } else {
        queue_request(c, NULL, 0);
    }
}

/* Put the chunks of a body together in place of `into`. Return the bytes used of the message, or 0: not whole yet. */
static size_t read_chunks(const uint8_t *bytes, size_t n, struct buffer *into) {
    into->n = 0;
    for (size_t at = 0;;) {
        const uint8_t *eol = memmem(bytes + at, n - at, "\r\n", 2);
        if (!eol) return 0;
        size_t n_chunk = strtoul((const char *)bytes + at, NULL, 16), begin = (size_t)(eol - bytes) + 2;
        if (n_chunk > MESSAGE_MAX) fail("the server sent a chunk of %zu bytes", n_chunk);
        if (n - begin < n_chunk + 2) return 0;
        buffer_append(into, bytes + begin, n_chunk);
        at = begin + n_chunk + 2;
        if (!n_chunk) return at;
    }
}

static size_t read_http(struct connection *c, const uint8_t *bytes, size_t n) {
    static struct buffer chunks;
    size_t n_value = 0, n_head = head_length(bytes, n), n_body;
    if (!n_head) return 0;
    if (!begins(bytes, n_head, "HTTP/1.1 200 ")) fail("a request was answered with: %s", excerpt(bytes, n));
    if (header(bytes, n_head, "Transfer-Encoding:", &n_value)) {
        n_body = read_chunks(bytes + n_head, n - n_head, &chunks);
        if (!n_body) return 0;
        read_response(c, chunks.bytes, chunks.n);
    } else {
        const char *length = header(bytes, n_head, "Content-Length:", &n_value);
        if (!length) fail("a response says nothing of its length");
        n_body = strtoul(length, NULL, 10);
        if (n - n_head < n_body) return 0;
        read_response(c, bytes + n_head, n_body);
    }
    return n_head + n_body;
}

/* ---- All of them ---- */

static size_t read_raw(struct connection *c, const uint8_t *bytes, size_t n) {
    size_t at = 0;
    for (; n - at >= options.n_bytes; at += options.n_bytes) on_answer(c, bytes + at, options.n_bytes);
    return at;
}

/* Begin to speak on a connection that TCP has just opened. `on_ready` is called when messages may be sent on it. */
void protocol_begin(struct connection *c) {
    switch (options.protocol) {
    case RAW:
        on_ready(c);
        return;
    case WEBSOCKET:
    case SOCKETIO:
        c->state = UPGRADING;
        queue_handshake(c);
        return;
    case POLLING:
        c->state = OPENING;
        queue_request(c, NULL, 0);
        return;
    }
}

/* Read what is whole; return how many bytes that were. The rest must be given again, with what follows it. */
size_t protocol_read(struct connection *c, const uint8_t *bytes, size_t n) {
    switch (options.protocol) {
    case RAW:
        return read_raw(c, bytes, n);
    case WEBSOCKET:
    case SOCKETIO:
        return read_websocket(c, bytes, n);
    case POLLING:
        return read_http(c, bytes, n);
    }
    return 0;
}

/* Queue the next messages of a connection that is ready. Next: `connection_flush`, unless called from `on_answer`. */
void protocol_send(struct connection *c, unsigned n_messages) {
    if (options.protocol == POLLING) {
        post_messages(c, n_messages);
        return;
    }
    for (; n_messages; n_messages--) {
        size_t n = message_compose(composed, false, c->index, c->n_sent++);
        if (options.protocol == RAW) connection_queue(c, composed, n);
        else queue_frame(c, OP_TEXT, composed, n);
    }
}
