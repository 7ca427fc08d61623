# cython: language_level=3
# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The compiled twin of `frames.py`: the same names, results and exceptions, per byte in C.

Rule of this module: as `frames.py`, which is its specification and says what everything here means; whatever is not
done per byte or per frame is imported from there. `telex.websocket.codec` chooses between the two.

What it has beyond its twin: `FrameReader.attach` puts the reader into a compiled stream (`streams/native.h`). Messages
that lie whole in the stream's buffer then go straight up, unmasked in place and never copied as bytes; the first that
is anything else leaves this lane, with all that follows it, for `feed` and `read`.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int8_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from asyncio import CancelledError

from telex.errors import FrameError
from telex.streams.fairness import FRAMES_PER_TURN
from telex.websocket.frames import KEY_PAGE_BYTES, MAX_CONTROL_PAYLOAD, Frame, Opcode, _compressed_bound, _refusal

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define TELEX_LIKELY(x) __builtin_expect(!!(x), 1)
    #else
    #define TELEX_LIKELY(x) (x)
    #endif

    /* XOR `size` bytes at `from` with the key into `to`, which may be the same place. The key is turned so that its
     * first byte meets the first byte; eight at a time, by memcpy, so that no alignment is asked for. */
    static void telex_mask(unsigned char *to, const unsigned char *from, Py_ssize_t size,
                           const unsigned char *key, Py_ssize_t offset) {
        unsigned char turned[8];
        uint64_t wide, word;
        Py_ssize_t i;
        for (i = 0; i < 8; i++) turned[i] = key[(offset + i) & 3];
        memcpy(&wide, turned, 8);
        for (i = 0; i + 8 <= size; i += 8) {
            memcpy(&word, from + i, 8);
            word ^= wide;
            memcpy(to + i, &word, 8);
        }
        for (; i < size; i++) to[i] = from[i] ^ turned[i & 7];
    }

    /* How many ASCII bytes there are at the beginning, rounded down to eight. */
    static Py_ssize_t telex_ascii(const unsigned char *data, Py_ssize_t size) {
        uint64_t word;
        Py_ssize_t i;
        for (i = 0; i + 8 <= size; i += 8) {
            memcpy(&word, data + i, 8);
            if (word & 0x8080808080808080ULL) break;
        }
        return i;
    }
    """
    void telex_mask(unsigned char *to, const unsigned char *source, Py_ssize_t size, const unsigned char *key, Py_ssize_t offset) nogil
    Py_ssize_t telex_ascii(const unsigned char *data, Py_ssize_t size) nogil
    bint likely "TELEX_LIKELY"(bint condition) nogil
    object _vectorcall_method "PyObject_VectorcallMethod"(PyObject *name, PyObject **args, size_t n, PyObject *kwnames)
    bint PyUnicode_IS_ASCII(object text) nogil
    bint PyUnicode_IS_READY(object text) nogil
    void *PyUnicode_DATA(object text) nogil
    Py_ssize_t PyUnicode_GET_LENGTH(object text) nogil
    void *PyCapsule_Import(const char *name, int no_block)
    ctypedef struct PyTypeObject:
        pass
    PyTypeObject *Py_TYPE(PyObject *found) nogil

cdef extern from "native.h":
    ctypedef Py_ssize_t (*telex_receive)(PyObject *receiver, unsigned char *data, Py_ssize_t size) except? -1
    ctypedef struct telex_streams:
        PyTypeObject *stream_type
        int (*write)(PyObject *stream, PyObject *data) except -1
        Py_ssize_t (*buffered_bytes)(PyObject *stream) noexcept
        unsigned char *(*reserve)(PyObject *stream, Py_ssize_t size) noexcept
        void (*attach)(PyObject *stream, PyObject *receiver, telex_receive receive) noexcept
    const char *TELEX_STREAMS_API

__all__ = ["FrameReader", "Keys", "Sender", "Utf8Validator", "apply_mask", "decode_text", "encode_frame", "send_to_all", "write_message", "write_text", "write_to_all"]

cdef enum:
    FIN = 0x80
    RSV1 = 0x40
    RSV23 = 0x30
    OPCODE = 0x0F
    CONTROL = 0x08
    MASKED = 0x80
    LENGTH = 0x7F
    LENGTH_16 = 126
    LENGTH_64 = 127
    KEY_BYTES = 4
    SHORTEST_HEADER = 2
    LONGEST_CONTROL = 125
    TEXT = 0x1
    BINARY = 0x2

assert LONGEST_CONTROL == MAX_CONTROL_PAYLOAD

cdef int _FRAMES_PER_TURN = FRAMES_PER_TURN
cdef object _page_bytes = KEY_PAGE_BYTES

# The same objects that the twin hands out, by their number.
cdef tuple _OPCODES = tuple(Opcode(number) if number in {*Opcode} else None for number in range(16))

cdef object _new = tuple.__new__
cdef object _Frame = Frame
cdef str _on_message = "on_message"
cdef str _message_received = "message_received"

cdef telex_streams *_streams = NULL
try:
    # First, for a capsule is looked up in modules that are there already: only the package at its head is imported.
    from telex.streams import _epoll
    _streams = <telex_streams *>PyCapsule_Import(TELEX_STREAMS_API, 0)
except (ImportError, AttributeError):  # not built here, or not for this platform
    pass


cdef inline Py_ssize_t _header_bytes(unsigned char second) noexcept nogil:
    """Return how long a header is, by its second byte: MASK and the short length."""
    cdef Py_ssize_t size = SHORTEST_HEADER
    cdef int length = second & LENGTH
    if length == LENGTH_16:
        size += 2
    elif length == LENGTH_64:
        size += 8
    return size + KEY_BYTES if second & MASKED else size


cdef inline uint64_t _read_16(const unsigned char *data) noexcept nogil:
    return (<uint64_t>data[0] << 8) | data[1]


cdef inline uint64_t _read_64(const unsigned char *data) noexcept nogil:
    return (
        (<uint64_t>data[0] << 56) | (<uint64_t>data[1] << 48) | (<uint64_t>data[2] << 40) | (<uint64_t>data[3] << 32)
        | (<uint64_t>data[4] << 24) | (<uint64_t>data[5] << 16) | (<uint64_t>data[6] << 8) | data[7]
    )


cdef class FrameReader:
    """Read frames from a stream of bytes; see `frames.FrameReader`."""

    cdef public uint8_t is_direct
    cdef readonly uint8_t is_delivering
    cdef uint8_t _allow_rsv1
    cdef uint8_t _expected_mask
    cdef uint8_t _first  # the first byte of the header of the data frame whose payload is being read
    cdef int8_t _offset  # payload of that frame already handed out, modulo 4; -1: nothing was
    cdef uint8_t _key[KEY_BYTES]
    cdef uint32_t _max_fragments
    cdef uint32_t _n_fragments
    cdef uint64_t _max_message_size
    cdef uint64_t _budget
    cdef uint64_t _left
    cdef bytes _data  # what was fed; None for nothing
    cdef Py_ssize_t _pos
    cdef object _events
    cdef object _listener
    cdef readonly Py_ssize_t n_delivered

    def __init__(self, *, bint expect_masked, bint allow_rsv1, max_message_size, max_fragments):
        self._expected_mask = MASKED if expect_masked else 0
        self._allow_rsv1 = allow_rsv1
        # What no peer can reach is as good as any larger bound; the budget of a compressed message must fit too.
        self._max_message_size = min(max_message_size, 1 << 62)
        self._max_fragments = min(max_fragments, 0xFFFFFFFF)
        self._offset = -1

    @property
    def has_input(self):
        """Tell whether bytes are left that were not read; they may be too few for `read` to return anything."""
        return self._data is not None

    @property
    def has_open_message(self):
        """Tell whether something has begun and not ended: a message, a frame or a header."""
        return self._left > 0 or self._n_fragments > 0 or self._data is not None

    def feed(self, bytes data not None):
        """Append what was received. **Next**: call `read` until it returns None."""
        if not data:
            return
        if self._data is not None:
            data = PyBytes_FromStringAndSize(
                PyBytes_AS_STRING(self._data) + self._pos, PyBytes_GET_SIZE(self._data) - self._pos
            ) + data
        self._data, self._pos = data, 0

    def attach(self, stream, events, listener=None):
        """Take whole messages where they lie in a compiled stream's buffer; see `frames.FrameReader`."""
        if _streams is NULL or Py_TYPE(<PyObject *>stream) is not _streams.stream_type:
            return
        self._events, self._listener = events, listener
        self.is_direct = True
        _streams.attach(<PyObject *>stream, <PyObject *>self, _receive)

    def read_message(self):
        """Return the next message if it lies here whole, in one frame and uncompressed; else None, nothing is read."""
        cdef Py_ssize_t used
        cdef Py_ssize_t size
        cdef unsigned char *data
        if self._data is None or self._left or self._n_fragments:
            return None
        data = <unsigned char *>PyBytes_AS_STRING(self._data) + self._pos
        size = PyBytes_GET_SIZE(self._data) - self._pos
        message = self._whole(data, size, &used, False)
        if message is not None:
            self._consume(used)
        return message

    def read(self):
        """Return the next frame, or what has arrived of it; None when more bytes are needed.

        Raises `FrameError` with 1002, 1008 or 1009; after that the reader must not be used.
        """
        cdef Py_ssize_t n_available
        if self._data is None:
            return None
        n_available = PyBytes_GET_SIZE(self._data) - self._pos
        if self._left:
            return self._read_part(n_available)
        if n_available >= SHORTEST_HEADER:
            frame = self._read_frame(n_available)
            if frame is not None:
                return frame
        if self._pos and self._data is not None:
            # Keep the unread bytes only: the chunk may be large, and the next one long in coming.
            self._data = self._data[self._pos :]
            self._pos = 0
        return None

    cdef inline int _consume(self, Py_ssize_t n) except -1:
        self._pos += n
        if self._pos == PyBytes_GET_SIZE(self._data):
            self._data, self._pos = None, 0
        return 0

    cdef bytes _payload(self, const unsigned char *data, Py_ssize_t size, const unsigned char *key, int offset):
        """Return payload as it was before it was masked, if it was."""
        cdef bytes found
        if not self._expected_mask:
            return PyBytes_FromStringAndSize(<char *>data, size)
        found = PyBytes_FromStringAndSize(NULL, size)  # and not of the data: a single byte would be everybody's
        telex_mask(<unsigned char *>PyBytes_AS_STRING(found), data, size, key, offset)
        return found

    cdef object _whole(self, unsigned char *data, Py_ssize_t size, Py_ssize_t *used, bint in_place):
        """Return the message that lies whole at `data`, and in `used` the bytes of its frame; None for all else.

        Judges nothing: what is not plainly right is left to `read`, unchanged. `in_place`: the bytes may be changed.
        """
        cdef unsigned char first, second
        cdef Py_ssize_t body
        cdef uint64_t length
        cdef unsigned char *payload
        if size < SHORTEST_HEADER:
            return None
        first, second = data[0], data[1]
        if (first != (FIN | TEXT) and first != (FIN | BINARY)) or second & MASKED != self._expected_mask:
            return None
        length = second & LENGTH
        body = _header_bytes(second)
        if size < body:
            return None
        if length >= LENGTH_16:
            if length == LENGTH_16:
                length = _read_16(data + 2)
                if length < LENGTH_16:
                    return None
            else:
                length = _read_64(data + 2)
                if length < 0x10000:
                    return None
        if length > self._max_message_size or length > <uint64_t>(size - body):
            return None
        used[0] = body + <Py_ssize_t>length
        payload = data + body
        if first & OPCODE == BINARY:
            return self._payload(payload, <Py_ssize_t>length, payload - KEY_BYTES, 0)
        if self._expected_mask:
            if not in_place:
                found = self._payload(payload, <Py_ssize_t>length, payload - KEY_BYTES, 0)
                payload = <unsigned char *>PyBytes_AS_STRING(found)
            else:
                telex_mask(payload, payload, <Py_ssize_t>length, payload - KEY_BYTES, 0)
        try:
            return PyUnicode_DecodeUTF8(<char *>payload, <Py_ssize_t>length, NULL)
        except UnicodeDecodeError:
            if self._expected_mask and in_place:  # back as it was
                telex_mask(payload, payload, <Py_ssize_t>length, payload - KEY_BYTES, 0)
            return None

    cdef Py_ssize_t receive(self, unsigned char *data, Py_ssize_t size) except? -1:
        """Deliver the whole messages at the beginning of the input, this turn's share of them; return their bytes."""
        cdef Py_ssize_t pos = 0, used = 0
        cdef int n_left = _FRAMES_PER_TURN
        cdef PyObject *args[3]
        if self._data is not None or self._left or self._n_fragments:
            return 0
        self.is_delivering = True
        try:
            while self.is_direct and n_left and pos < size:
                message = self._whole(data + pos, size - pos, &used, True)
                if message is None:
                    break
                pos += used
                n_left -= 1
                try:
                    # Held here, for the program may attach something else meanwhile.
                    events, listener = self._events, self._listener
                    if listener is None:
                        args[0] = <PyObject *>events
                        args[1] = <PyObject *>message
                        _vectorcall_method(<PyObject *>_message_received, args, 2, NULL)
                    else:
                        self.n_delivered += 1
                        args[0] = <PyObject *>listener
                        args[1] = <PyObject *>events
                        args[2] = <PyObject *>message
                        _vectorcall_method(<PyObject *>_on_message, args, 3, NULL)
                except (Exception, CancelledError):  # a plain call is no task, so nobody cancelled it
                    self._events.program_failed()
        finally:
            self.is_delivering = False
        return pos

    cdef object _read_frame(self, Py_ssize_t n_available):
        """Judge the header that begins here and return its frame, or the part of it that is there."""
        cdef unsigned char *data = <unsigned char *>PyBytes_AS_STRING(self._data) + self._pos
        cdef unsigned char first = data[0], second = data[1]
        cdef int opcode = first & OPCODE
        cdef bint is_control = first & CONTROL
        cdef Py_ssize_t body
        cdef uint64_t length
        if (
            first & RSV23
            or (first & RSV1 and not (self._allow_rsv1 and (opcode == TEXT or opcode == BINARY)))
            or _OPCODES[opcode] is None
            or (is_control and not first & FIN)
        ):
            raise FrameError(1002, _refusal(first, self._allow_rsv1) or "")
        if second & MASKED != self._expected_mask:
            raise FrameError(1002, "a frame is masked" if second & MASKED else "a frame is not masked")
        length = second & LENGTH
        if is_control:
            if length > LONGEST_CONTROL:
                raise FrameError(1002, "a control frame is longer than 125 bytes")
        elif (opcode == 0) == (self._n_fragments == 0):
            raise FrameError(1002, "a message begins inside another" if opcode else "there is no message to continue")
        body = _header_bytes(second)
        if n_available < body:
            return None
        if length == LENGTH_16:
            length = self._check_length(_read_16(data + 2), LENGTH_16)
        elif length == LENGTH_64:
            length = self._check_length(_read_64(data + 2), 0x10000)
        if not is_control:
            self._count(first, length)
        if <uint64_t>(n_available - body) < length:
            if is_control:
                return None
            self._first, self._left, self._offset = first, length, -1
            if self._expected_mask:
                memcpy(self._key, data + body - KEY_BYTES, KEY_BYTES)
            self._consume(body)
            return self.read()
        data += body
        payload = self._payload(data, <Py_ssize_t>length, data - KEY_BYTES, 0)
        self._consume(body + <Py_ssize_t>length)
        return _new(_Frame, (_OPCODES[opcode], payload, bool(first & FIN), bool(first & RSV1), True, True))

    cdef uint64_t _check_length(self, uint64_t length, uint64_t smallest) except? 0:
        """Return a length that stands in 2 or 8 further bytes (RFC 6455 §5.2)."""
        if length >> 63:  # "the most significant bit MUST be 0"
            raise FrameError(1002, "the top bit of a 64-bit length is set")
        if length < smallest:  # "the minimal number of bytes MUST be used to encode the length"
            raise FrameError(1002, "a length is not encoded in its shortest form")
        return length

    cdef int _count(self, unsigned char first, uint64_t length) except -1:
        """Charge a data frame to its message, from its header alone."""
        if first & OPCODE:
            self._budget = _compressed_bound(self._max_message_size) if first & RSV1 else self._max_message_size
        if self._n_fragments >= self._max_fragments:
            raise FrameError(1008, f"a message has more than {self._max_fragments} fragments")
        if length > self._budget:
            raise FrameError(1009, f"a message is larger than {self._max_message_size} bytes")
        self._budget -= length
        self._n_fragments = 0 if first & FIN else self._n_fragments + 1
        return 0

    cdef object _read_part(self, Py_ssize_t n_available):
        """Return what has arrived of the open frame's payload: at least one byte."""
        cdef Py_ssize_t size = n_available if <uint64_t>n_available < self._left else <Py_ssize_t>self._left
        cdef unsigned char *data = <unsigned char *>PyBytes_AS_STRING(self._data) + self._pos
        cdef bint begins = self._offset < 0
        cdef int offset = 0 if begins else self._offset
        payload = self._payload(data, size, self._key, offset)
        self._left -= size
        self._offset = (offset + size) & 3
        self._consume(size)
        return _new(
            _Frame,
            (
                _OPCODES[self._first & OPCODE],
                payload,
                bool(self._first & FIN),
                bool(self._first & RSV1),
                begins,
                self._left == 0,
            ),
        )


cdef Py_ssize_t _receive(PyObject *receiver, unsigned char *data, Py_ssize_t size) except? -1:
    return (<FrameReader>receiver).receive(data, size)


cdef inline Py_ssize_t _frame_bytes(Py_ssize_t length, bint is_masked) noexcept nogil:
    """Return how long a frame is around a payload of this length."""
    cdef Py_ssize_t size = SHORTEST_HEADER + length
    if length >= 0x10000:
        size += 8
    elif length >= LENGTH_16:
        size += 2
    return size + KEY_BYTES if is_masked else size


cdef unsigned char *_lay_out_header(unsigned char *out, unsigned char first, Py_ssize_t length, bint is_masked) noexcept nogil:
    """Lay out what stands before the key and the payload; return where these go."""
    cdef unsigned char masked = MASKED if is_masked else 0
    cdef int i
    out[0] = first
    if length < LENGTH_16:
        out[1] = masked | <unsigned char>length
        return out + 2
    if length < 0x10000:
        out[1] = masked | LENGTH_16
        out[2] = <unsigned char>(length >> 8)
        out[3] = <unsigned char>(length & 0xFF)
        return out + 4
    out[1] = masked | LENGTH_64
    for i in range(8):
        out[2 + i] = <unsigned char>((<uint64_t>length >> (56 - 8 * i)) & 0xFF)
    return out + 10


cdef void _lay_out(
    unsigned char *out, unsigned char first, const unsigned char *payload, Py_ssize_t length, const unsigned char *key
) noexcept nogil:
    """Lay out one frame; `key` is NULL in what a server sends."""
    out = _lay_out_header(out, first, length, key is not NULL)
    if key is NULL:
        memcpy(out, payload, length)
    else:
        memcpy(out, key, KEY_BYTES)
        telex_mask(out + KEY_BYTES, payload, length, key, 0)


cdef bytes _frame(unsigned char first, const unsigned char *payload, Py_ssize_t length, const unsigned char *key):
    """Return one frame."""
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, _frame_bytes(length, key is not NULL))
    _lay_out(<unsigned char *>PyBytes_AS_STRING(frame), first, payload, length, key)
    return frame


cdef class Keys:
    """Supply masking keys; see `frames.Keys`."""

    def __init__(self, token not None):
        self._token = token

    def take(self):
        """Return the next key; see `frames.Keys.take`."""
        cdef bytes key = PyBytes_FromStringAndSize(NULL, KEY_BYTES)
        self.put(<unsigned char *>PyBytes_AS_STRING(key))
        return key

    def forget(self):
        """Hand out nothing that was fetched before this call."""
        self._page = None

    cdef int put(self, unsigned char *key) except -1:
        """Put the next key here."""
        cdef bytes page
        if self._page is None or PyBytes_GET_SIZE(self._page) - self._pos < KEY_BYTES:
            page = <bytes?>self._token(_page_bytes)
            if PyBytes_GET_SIZE(page) < KEY_BYTES:
                raise ValueError(f"a masking key has {KEY_BYTES} bytes, not {len(page)}")
            self._page, self._pos = page, 0
        # No other thread comes between these two.
        memcpy(key, PyBytes_AS_STRING(self._page) + self._pos, KEY_BYTES)
        self._pos += KEY_BYTES
        return 0


cdef bytes _write(
    PyObject *stream, unsigned char first, const unsigned char *payload, Py_ssize_t length, const unsigned char *key
):
    """Lay one frame out in a compiled stream's output, if that takes it; else return it, to be written."""
    cdef unsigned char *out = NULL
    if _streams is not NULL and Py_TYPE(stream) is _streams.stream_type:
        out = _streams.reserve(stream, _frame_bytes(length, key is not NULL))
    if out is NULL:
        return _frame(first, payload, length, key)
    _lay_out(out, first, payload, length, key)
    return None


cdef const unsigned char *_key_of(object mask) except? NULL:
    """Return where a masking key lies, NULL for None."""
    if mask is None:
        return NULL
    if len(mask) != KEY_BYTES:
        raise ValueError(f"a masking key has 4 bytes, not {len(mask)}")
    return <const unsigned char *>PyBytes_AS_STRING(<bytes?>mask)


cdef bytes _frame_of(unsigned char first, object payload, const unsigned char *key):
    """Lay out one frame around anything with a buffer."""
    cdef Py_buffer view
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        return _frame(first, <const unsigned char *>view.buf, view.len, key)
    finally:
        PyBuffer_Release(&view)


def encode_frame(int opcode, payload, *, bint fin=True, bint rsv1=False, mask=None):
    """Return one frame as it goes on the wire; see `frames.encode_frame`."""
    cdef unsigned char first = opcode | (FIN if fin else 0) | (RSV1 if rsv1 else 0)
    if opcode & CONTROL and (len(payload) > LONGEST_CONTROL or not fin):
        raise ValueError("a control frame has at most 125 bytes and is not fragmented")
    return _frame_of(first, payload, _key_of(mask))


cpdef Py_ssize_t write_message(stream, message, Keys keys=None) except -1:
    """Write one message to a stream as one frame; see `frames.write_message`."""
    cdef unsigned char fresh[KEY_BYTES]
    cdef const unsigned char *key = NULL
    cdef bytes frame = None
    if keys is not None:
        keys.put(fresh)
        key = fresh
    if type(message) is str:
        if PyUnicode_IS_READY(message) and PyUnicode_IS_ASCII(message):
            frame = _write(
                <PyObject *>stream,
                FIN | TEXT,
                <const unsigned char *>PyUnicode_DATA(message),
                PyUnicode_GET_LENGTH(message),
                key,
            )
        else:
            frame = _frame_of(FIN | TEXT, (<str>message).encode(), key)
    elif type(message) is bytes:
        frame = _write(
            <PyObject *>stream,
            FIN | BINARY,
            <const unsigned char *>PyBytes_AS_STRING(message),
            PyBytes_GET_SIZE(message),
            key,
        )
    elif isinstance(message, str):
        frame = _frame_of(FIN | TEXT, message.encode(), key)
    elif isinstance(message, (bytes, bytearray)):
        frame = _frame_of(FIN | BINARY, message, key)
    elif isinstance(message, memoryview):
        frame = _frame_of(FIN | BINARY, message.tobytes(), key)
    else:
        raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
    if _streams is not NULL and Py_TYPE(<PyObject *>stream) is _streams.stream_type:
        if frame is not None:
            _streams.write(<PyObject *>stream, <PyObject *>frame)
        return _streams.buffered_bytes(<PyObject *>stream)
    stream.write(frame)
    return stream.buffered_bytes


cpdef Py_ssize_t write_text(stream, bytes head, bytes body, Keys keys=None) except -1:
    """Write one message of text, given in two parts of UTF-8; see `frames.write_text`."""
    cdef Py_ssize_t n_head = len(head), length = n_head + len(body)
    cdef bint is_compiled = _streams is not NULL and Py_TYPE(<PyObject *>stream) is _streams.stream_type
    cdef bint is_masked = keys is not None
    cdef unsigned char key[KEY_BYTES]
    cdef unsigned char *out = NULL
    cdef bytes frame = None
    if is_masked:
        keys.put(key)
    if is_compiled:
        out = _streams.reserve(<PyObject *>stream, _frame_bytes(length, is_masked))
    if out is NULL:
        frame = PyBytes_FromStringAndSize(NULL, _frame_bytes(length, is_masked))
        out = <unsigned char *>PyBytes_AS_STRING(frame)
    out = _lay_out_header(out, FIN | TEXT, length, is_masked)
    if is_masked:
        memcpy(out, key, KEY_BYTES)
        out += KEY_BYTES
        telex_mask(out, <const unsigned char *>PyBytes_AS_STRING(head), n_head, key, 0)
        telex_mask(out + n_head, <const unsigned char *>PyBytes_AS_STRING(body), length - n_head, key, n_head & 3)
    else:
        memcpy(out, PyBytes_AS_STRING(head), n_head)
        memcpy(out + n_head, PyBytes_AS_STRING(body), length - n_head)
    if not is_compiled:
        stream.write(frame)
        return stream.buffered_bytes
    if frame is not None:
        _streams.write(<PyObject *>stream, <PyObject *>frame)
    return _streams.buffered_bytes(<PyObject *>stream)


cdef class Sender:
    """Send messages as one end of a connection; see `frames.Sender`."""

    cdef public object plain
    cdef public Keys keys
    cdef public Py_ssize_t high_mark
    cdef public Py_ssize_t n_sent

    done = None

    def send(self, message, *, compress=None):
        """Send a message at once; awaiting the result waits until the peer has room.

        Args:
            message: Text or binary. **Ownership**: copied.
            compress: Whether to compress; by default the negotiated options say so, by size.

        Raises `ConnectionClosed`; `TypeError` or `ValueError` for what is no message, before anything is sent.
        A peer that lets more than `send_buffer_max` bytes pile up, or takes nothing for `slow_consumer_timeout` while
        more than `send_buffer_high` wait, is closed with 1013. One message of any size may be sent to a peer that keeps
        up. **Cancellation** of the wait: the message is sent all the same.
        """
        cdef Py_ssize_t buffered
        if self.plain is None:
            return self._send(message, compress)
        buffered = write_message(self.plain, message, self.keys)
        self.n_sent += 1
        if buffered <= self.high_mark:
            return self.done
        return self._over(buffered, message)

    def _send(self, message, compress):
        """Send what is not plain, or cannot be sent: the subclass's."""
        raise TypeError("a sender that is only this sends nothing but plain messages")

    def _over(self, buffered, message):
        """See to a peer that lags, which a message has just been sent to: the subclass's, where it minds."""
        return self.done


def write_to_all(list streams not None, bytes frame not None, Py_ssize_t high_mark):
    """Write one frame to many streams; see `frames.write_to_all`."""
    cdef list refused = [], lagging = []
    cdef Py_ssize_t i
    cdef PyObject *stream
    cdef PyTypeObject *kind = NULL if _streams is NULL else _streams.stream_type
    for i in range(len(streams)):
        found = streams[i]
        stream = <PyObject *>found
        if Py_TYPE(stream) is kind:
            if _streams.buffered_bytes(stream) > high_mark:
                refused.append(i)
                continue
            _streams.write(stream, <PyObject *>frame)
            if _streams.buffered_bytes(stream) > high_mark:
                lagging.append(i)
        elif found.buffered_bytes > high_mark:
            refused.append(i)
        else:
            found.write(frame)
            if found.buffered_bytes > high_mark:
                lagging.append(i)
    return refused, lagging


def send_to_all(senders, bytes frame not None):
    """Send one encoded frame to all that are plain; see `frames.send_to_all`."""
    cdef list others = [], refused = [], lagging = []
    cdef Sender sender
    cdef PyObject *stream
    cdef Py_ssize_t buffered
    cdef PyTypeObject *kind = NULL if _streams is NULL else _streams.stream_type
    for found in senders:
        sender = <Sender?>found
        plain = sender.plain
        if plain is None or sender.keys is not None:
            others.append(found)
            continue
        stream = <PyObject *>plain
        if Py_TYPE(stream) is kind:
            if _streams.buffered_bytes(stream) > sender.high_mark:
                refused.append(found)
                continue
            _streams.write(stream, <PyObject *>frame)
            buffered = _streams.buffered_bytes(stream)
        elif plain.buffered_bytes > sender.high_mark:
            refused.append(found)
            continue
        else:
            plain.write(frame)
            buffered = plain.buffered_bytes
        sender.n_sent += 1
        if buffered > sender.high_mark:
            lagging.append(found)
    return others, refused, lagging


def apply_mask(payload, bytes key not None, Py_ssize_t offset=0):
    """Mask or unmask: return `payload[i] ^ key[(offset + i) % 4]` for every i; see `frames.apply_mask`."""
    cdef Py_buffer view
    cdef bytes found
    if len(key) != KEY_BYTES:
        raise ValueError(f"a masking key has 4 bytes, not {len(key)}")
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        found = PyBytes_FromStringAndSize(NULL, view.len)
        telex_mask(
            <unsigned char *>PyBytes_AS_STRING(found),
            <const unsigned char *>view.buf,
            view.len,
            <const unsigned char *>PyBytes_AS_STRING(key),
            offset & 3,
        )
    finally:
        PyBuffer_Release(&view)
    return found


cdef class Utf8Validator:
    """Validate UTF-8 that arrives in pieces; see `frames.Utf8Validator`.

    What may come next is all its state: how many bytes the open character still has, and between which two values its
    next byte must lie (RFC 3629 §4: the first byte, and sometimes its value, narrows the second).
    """

    cdef uint8_t _n_more
    cdef uint8_t _low
    cdef uint8_t _high

    def validate(self, data, bint final=False):
        """Take the next piece; `final` says that nothing follows. Raises `FrameError` 1007."""
        cdef Py_buffer view
        cdef bint is_valid
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            is_valid = self._take(<const unsigned char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)
        if not is_valid or (final and self._n_more):
            raise FrameError(1007, "a text is not valid UTF-8")

    cdef bint _take(self, const unsigned char *data, Py_ssize_t size) noexcept nogil:
        cdef Py_ssize_t i = 0
        cdef unsigned char byte
        while i < size:
            if self._n_more == 0:
                i += telex_ascii(data + i, size - i)
                if i == size:
                    break
            byte = data[i]
            i += 1
            if self._n_more:
                if byte < self._low or byte > self._high:
                    return False
                self._n_more -= 1
                self._low, self._high = 0x80, 0xBF
            elif byte >= 0x80:
                if byte < 0xC2 or byte > 0xF4:  # C0 and C1 would be too long a form, F5 and above too large a number
                    return False
                self._n_more = 1 if byte < 0xE0 else 2 if byte < 0xF0 else 3
                self._low = 0xA0 if byte == 0xE0 else 0x90 if byte == 0xF0 else 0x80
                self._high = 0x9F if byte == 0xED else 0x8F if byte == 0xF4 else 0xBF  # surrogates; above U+10FFFF
        return True


def decode_text(bytes payload not None):
    """Return the text of a whole message. Raises `FrameError` 1007 where it is not UTF-8 (RFC 6455 §8.1)."""
    try:
        return PyUnicode_DecodeUTF8(PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), NULL)
    except UnicodeDecodeError:
        raise FrameError(1007, "a text is not valid UTF-8") from None
