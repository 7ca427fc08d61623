/* What each message is, byte for byte, and what the server's answer to it must be.
 *
 * Shape of a payload: five hexadecimal digits for the connection that sends it, ten for the number of the message on
 * that connection, a dot, and the alphabet from a letter that differs from message to message. So an answer that was lost,
 * doubled, cut, put in another order or sent to the wrong connection is not the one expected. No byte of it needs an
 * escape in JSON. */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_LETTERS = 26 };

static char *letters; /* the alphabet again and again: n_bytes + N_LETTERS of it */
static char event_prefix[EVENT_MAX + 8]; /* ["event"," */
static size_t n_event_prefix;

void messages_prepare(void) {
    size_t n = options.n_bytes + N_LETTERS;
    letters = malloc(n);
    if (!letters) fail("out of memory");
    for (size_t i = 0; i < n; i++) letters[i] = (char)('a' + i % N_LETTERS);
    n_event_prefix = (size_t)snprintf(event_prefix, sizeof event_prefix, "[\"%s\",\"", options.event);
}

static char *put(char *to, const char *bytes, size_t n) { return (char *)memcpy(to, bytes, n) + n; }

static char *put_hex(char *to, uint64_t value, int n_digits) {
    for (int i = n_digits; i--; value >>= 4) to[i] = "0123456789abcdef"[value & 15];
    return to + n_digits;
}

static char *put_payload(char *to, unsigned sender, uint64_t number) {
    to = put_hex(to, sender, 5);
    to = put_hex(to, number, 10);
    *to++ = '.';
    return put(to, letters + (sender + number) % N_LETTERS, options.n_bytes - PAYLOAD_MIN);
}

/* Write a message, or the answer that it must get, at `to` (MESSAGE_MAX bytes of room). Return its length.
 *
 * Raw and WebSocket messages are the payload. Socket.IO's are packets with Engine.IO's type in front:
 * `42["echo","PAYLOAD"]`, and where an acknowledgement is asked for `42NUMBER["ack","PAYLOAD"]`, answered by
 * `43NUMBER["PAYLOAD"]`. */
size_t message_compose(char *to, bool is_answer, unsigned sender, uint64_t number) {
    char *end = to;
    if (options.protocol == RAW || options.protocol == WEBSOCKET)
        return (size_t)(put_payload(end, sender, number) - to);
    bool is_ack = options.activity == ACK && is_answer;
    end = put(end, is_ack ? "43" : "42", 2);
    if (options.activity == ACK) end += sprintf(end, "%llu", (unsigned long long)number);
    end = is_ack ? put(end, "[\"", 2) : put(end, event_prefix, n_event_prefix);
    end = put_payload(end, sender, number);
    end = put(end, "\"]", 2);
    return (size_t)(end - to);
}
