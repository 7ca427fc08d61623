"""Turn bytes into WebSocket frames and back.

Rule of this module: the wire format of RFC 6455 §5 and nothing else. No state of a connection, no time, no I/O, and no
randomness but what `Keys` is given. `_frames.pyx` is its compiled twin, with the same names, results and exceptions:
this file is small, exact, and the specification of that one. Whoever reads or writes frames imports them from `codec`,
which chooses.

Theory of operation: `FrameReader` is fed what the socket gave and hands out frames until it needs more. A header is
judged as a whole before any payload is looked at: RSV bits, opcode, masking and the rules for control frames as soon
as its first two bytes are there, sizes and fragmentation as soon as it is complete. So an oversized message costs its
header. Control frames (at most 125 bytes) are handed out whole. Data frames are handed out **in parts**, as their
payload arrives: the reader keeps no payload of an unfinished data frame, bad UTF-8 and bad compressed data fail inside
the frame, and feeding byte by byte stays linear. A frame that is there as a whole is one part, which is the usual case
and the fast one.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable
from enum import IntEnum
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from telex.errors import FrameError
from telex.types import Data

if TYPE_CHECKING:
    from telex.streams.base import Stream
    from telex.websocket.waiting import Acted

__all__ = [
    "CLOSE_CODES",
    "MAX_CLOSE_REASON",
    "MAX_CONTROL_PAYLOAD",
    "Frame",
    "FrameReader",
    "Keys",
    "Opcode",
    "Sender",
    "Utf8Validator",
    "apply_mask",
    "decode_close",
    "decode_text",
    "encode_close",
    "encode_frame",
    "send_to_all",
    "write_message",
    "write_text",
    "write_to_all",
]

MAX_CONTROL_PAYLOAD = 125
"""Bytes a control frame may carry (RFC 6455 §5.5)."""

MAX_CLOSE_REASON = MAX_CONTROL_PAYLOAD - 2
"""Bytes of UTF-8 the reason of a Close frame may have: the code takes two."""

CLOSE_CODES = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})
"""Codes that may stand in a Close frame.

1004 has no meaning yet; 1005, 1006 and 1015 describe what never was on the wire; 1016-2999 are reserved, and 1012-1014
were registered after the RFC. Source: RFC 6455 §7.4.2 and the IANA registry of close codes.
"""


class Opcode(IntEnum):
    """Say what a frame carries (RFC 6455 §5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Frame(NamedTuple):
    """Be one part of a frame: a whole control frame, or the payload of a data frame as far as it has arrived.

    **Shape**: `fin` and `rsv1` are the header's, the same in every part. `begins` is true in the first part of the
    frame, `ends` in the last; a message ends with the part that has both `fin` and `ends`. Only a frame without
    payload has an empty part.
    """

    opcode: Opcode
    payload: bytes
    fin: bool = True
    rsv1: bool = False
    begins: bool = True
    ends: bool = True


_FIN = 0x80
_RSV1 = 0x40
_RSV23 = 0x30
_OPCODE = 0x0F
_OPCODES = frozenset(Opcode)
_CONTROL = 0x08
_MASKED = 0x80
_LENGTH_16 = 126
_LENGTH_64 = 127
_KEY_BYTES = 4

KEY_PAGE_BYTES = 1024
"""Bytes of keys that are fetched at once where that saves calls: they are gone in no time, or nobody's memory."""
_SHORTEST_HEADER = 2

_NOT_UTF8 = "a text is not valid UTF-8"

_IncrementalDecoder = codecs.getincrementaldecoder("utf-8")
_pack_short = Struct("!BB").pack
_pack_medium = Struct("!BBH").pack
_pack_long = Struct("!BBQ").pack
_unpack_medium = Struct("!H").unpack_from
_unpack_long = Struct("!Q").unpack_from


def _refusal(first: int, allow_rsv1: bool) -> str | None:
    """Say what is wrong with the first byte of a header, or None."""
    opcode = first & _OPCODE
    if first & _RSV23:
        return "a reserved bit is set"
    # RFC 7692 §6: the bit is set on the first frame of a compressed message only, never on control frames.
    if first & _RSV1 and not (allow_rsv1 and opcode in (Opcode.TEXT, Opcode.BINARY)):
        return "RSV1 is set"
    if opcode not in _OPCODES:
        return f"opcode {opcode:#x} is reserved"
    # RFC 6455 §5.5: "All control frames [...] MUST NOT be fragmented."
    if opcode & _CONTROL and not first & _FIN:
        return "a control frame is fragmented"
    return None


_Shape = tuple[Opcode, bool, bool]


def _shapes(allow_rsv1: bool) -> tuple[_Shape | None, ...]:
    """Return for each first byte of a header its opcode, FIN and RSV1, or None where the byte is not allowed."""
    return tuple(
        None if _refusal(first, allow_rsv1) else (Opcode(first & _OPCODE), bool(first & _FIN), bool(first & _RSV1))
        for first in range(256)
    )


# How long the header is, by its second byte: MASK and the short length.
_HEADER_BYTES = tuple(
    _SHORTEST_HEADER + {_LENGTH_16: 2, _LENGTH_64: 8}.get(second & 0x7F, 0) + (_KEY_BYTES if second & _MASKED else 0)
    for second in range(256)
)

_SHAPES = {allow_rsv1: _shapes(allow_rsv1) for allow_rsv1 in (False, True)}


def _compressed_bound(size: int) -> int:
    """Return how large a message of `size` bytes can become by compression (zlib's `deflateBound`, rounded up)."""
    return size + (size >> 10) + 64


class FrameReader:
    """Read frames from a stream of bytes.

    Args:
        expect_masked: true on a server: what a client sends must be masked, what a server sends must not
            (RFC 6455 §5.1).
        allow_rsv1: true where permessage-deflate was negotiated.
        max_message_size: bytes the fragments of one message may have together. A compressed message may have a little
            more, because data that cannot be compressed grows; its true size is bounded when it is inflated.
        max_fragments: frames one message may have, empty ones counted.

    **Ownership**: `feed` keeps a reference to the bytes until they are read. Unread bytes are copied once per `feed`,
    so a caller that stops reading on purpose must also stop feeding.
    **Limits**: `Limits.max_message_size`, `Limits.max_fragments`.
    """

    __slots__ = (
        "_allow_rsv1",
        "_budget",
        "_data",
        "_expected_mask",
        "_key",
        "_left",
        "_max_compressed",
        "_max_fragments",
        "_max_message_size",
        "_n_fragments",
        "_offset",
        "_pos",
        "_shape",
        "_shapes",
        "is_direct",
    )

    n_delivered = 0
    is_delivering = False

    def __init__(self, *, expect_masked: bool, allow_rsv1: bool, max_message_size: int, max_fragments: int) -> None:
        self._expected_mask = _MASKED if expect_masked else 0
        self._allow_rsv1 = allow_rsv1
        self._shapes = _SHAPES[allow_rsv1]
        self._max_message_size = max_message_size
        self._max_compressed = _compressed_bound(max_message_size)
        self._max_fragments = max_fragments
        self._data = b""  # what was fed
        self._pos = 0  # how much of it was read
        self._n_fragments = 0  # frames of the message that is open; 0: none is
        self._budget = 0  # bytes its further frames may have
        self._shape: _Shape = (Opcode.CONTINUATION, True, False)  # of the data frame whose payload is being read
        self._left = 0  # payload of that frame that is still to come
        self._offset = -1  # payload of that frame already handed out, modulo 4; -1: nothing was
        self._key = b""  # its masking key
        self.is_direct = False

    @property
    def has_input(self) -> bool:
        """Tell whether bytes are left that were not read; they may be too few for `read` to return anything."""
        return self._pos < len(self._data)

    @property
    def has_open_message(self) -> bool:
        """Tell whether something has begun and not ended: a message, a frame or a header."""
        return self._left > 0 or self._n_fragments > 0 or self._pos < len(self._data)

    def feed(self, data: bytes) -> None:
        """Append what was received. **Next**: call `read` until it returns None."""
        self._data = self._data[self._pos :] + data  # nothing left plus bytes is those bytes, not a copy
        self._pos = 0

    def attach(self, stream: Stream, events: Any, listener: Any = None) -> None:
        """Take whole messages where they lie in a compiled stream's buffer: only the compiled twin can.

        Where the stream is of that kind, a message that came whole, in one frame and uncompressed, goes straight to
        `events.message_received(message)`, or where there is a listener to `listener.on_message(events, message)`,
        while nothing else is open and `is_direct` is true; it can be switched off and on again. All else goes to the
        stream's sink as ever. What these calls raise is told to `events.program_failed()`, in whose time it is the
        current exception. `is_delivering` says that such a call is being made, `n_delivered` how many went to the
        listener.
        """

    def read_message(self) -> Data | None:  # noqa: PLR0911  # each says where it is not the simple case
        """Return the next message if it lies here whole, in one frame and uncompressed.

        None for everything else, of which nothing is read: that is `read`'s, and so are all errors.
        """
        data, pos = self._data, self._pos
        if self._left or self._n_fragments or len(data) - pos < _SHORTEST_HEADER:
            return None
        first, second = data[pos], data[pos + 1]
        is_text = first == _FIN | Opcode.TEXT
        if (not is_text and first != _FIN | Opcode.BINARY) or second & _MASKED != self._expected_mask:
            return None
        body = pos + _HEADER_BYTES[second]
        length = second & 0x7F
        if length >= _LENGTH_16:
            if len(data) < body:
                return None
            short = length == _LENGTH_16
            (length,) = (_unpack_medium if short else _unpack_long)(data, pos + 2)
            if length < (_LENGTH_16 if short else 0x10000):
                return None
        if length > self._max_message_size or len(data) < body + length:
            return None
        payload = data[body : body + length]
        if self._expected_mask and length:
            payload = apply_mask(payload, data[body - _KEY_BYTES : body])
        try:
            message: Data = payload.decode() if is_text else payload
        except UnicodeDecodeError:
            return None
        self._pos = body + length
        return message

    def read(self) -> Frame | None:
        """Return the next frame, or what has arrived of it; None when more bytes are needed.

        Raises `FrameError` with 1002 (broken rule), 1008 (too many fragments) or 1009 (too large); after that the
        stream has no more meaning and the reader must not be used.

        Source: RFC 6455 §5.2, §5.4, §5.5.
        """
        n_available = len(self._data) - self._pos
        if self._left:
            if n_available:
                return self._read_part(n_available)
        elif n_available >= _SHORTEST_HEADER:
            frame = self._read_frame(n_available)
            if frame is not None:
                return frame
        if self._pos:
            # Keep the unread bytes only: the chunk may be large, and the next one long in coming.
            self._data, self._pos = self._data[self._pos :], 0
        return None

    def _read_frame(self, n_available: int) -> Frame | None:
        """Judge the header that begins here and return its frame, or the part of it that is there."""
        data, pos = self._data, self._pos
        first, second = data[pos], data[pos + 1]
        shape = self._shapes[first]
        if shape is None:
            raise FrameError(1002, _refusal(first, self._allow_rsv1) or "")
        if second & _MASKED != self._expected_mask:
            raise FrameError(1002, "a frame is masked" if second & _MASKED else "a frame is not masked")
        opcode, fin, rsv1 = shape
        length = second & 0x7F
        is_control = first & _CONTROL
        if is_control:
            if length > MAX_CONTROL_PAYLOAD:
                raise FrameError(1002, "a control frame is longer than 125 bytes")
        elif (first & _OPCODE == 0) is (self._n_fragments == 0):
            raise FrameError(1002, "a message begins inside another" if opcode else "there is no message to continue")
        body = pos + _HEADER_BYTES[second]
        end = pos + n_available
        if end < body:
            return None
        if length >= _LENGTH_16:
            length = self._long_length(length)
        if not is_control:
            self._count(shape, length)
        if end < body + length:
            if is_control:
                return None
            self._shape, self._left, self._offset = shape, length, -1
            self._key = data[body - _KEY_BYTES : body]
            self._pos = body
            return self.read()
        payload = data[body : body + length]
        if self._expected_mask and length:
            payload = apply_mask(payload, data[body - _KEY_BYTES : body])
        self._pos = body + length
        return Frame(opcode, payload, fin, rsv1)

    def _long_length(self, form: int) -> int:
        """Return the length that stands in 2 or 8 further bytes (RFC 6455 §5.2)."""
        length: int
        if form == _LENGTH_16:
            (length,) = _unpack_medium(self._data, self._pos + 2)
            smallest = _LENGTH_16
        else:
            (length,) = _unpack_long(self._data, self._pos + 2)
            smallest = 0x10000
            if length >> 63:  # "the most significant bit MUST be 0"
                raise FrameError(1002, "the top bit of a 64-bit length is set")
        if length < smallest:  # "the minimal number of bytes MUST be used to encode the length"
            raise FrameError(1002, "a length is not encoded in its shortest form")
        return length

    def _count(self, shape: _Shape, length: int) -> None:
        """Charge a data frame to its message, from its header alone."""
        opcode, fin, rsv1 = shape
        if opcode:
            self._budget = self._max_compressed if rsv1 else self._max_message_size
        if self._n_fragments >= self._max_fragments:
            raise FrameError(1008, f"a message has more than {self._max_fragments} fragments")
        if length > self._budget:
            raise FrameError(1009, f"a message is larger than {self._max_message_size} bytes")
        self._budget -= length
        self._n_fragments = 0 if fin else self._n_fragments + 1

    def _read_part(self, n_available: int) -> Frame:
        """Return what has arrived of the open frame's payload: at least one byte."""
        size = min(n_available, self._left)
        payload = self._data[self._pos : self._pos + size]
        begins = self._offset < 0
        offset = 0 if begins else self._offset
        if self._expected_mask:
            payload = apply_mask(payload, self._key, offset)
        self._pos += size
        self._left -= size
        self._offset = (offset + size) & 3
        opcode, fin, rsv1 = self._shape
        return Frame(opcode, payload, fin, rsv1, begins, not self._left)


def encode_frame(
    opcode: int,
    payload: bytes | bytearray | memoryview,
    *,
    fin: bool = True,
    rsv1: bool = False,
    mask: bytes | None = None,
) -> bytes:
    """Return one frame as it goes on the wire.

    Args:
        payload: bytes; a `memoryview` must be contiguous with one byte per item.
        mask: four unpredictable bytes in what a client sends, None in what a server sends (RFC 6455 §5.3).

    Raises `ValueError` when a control frame is longer than 125 bytes or fragmented, or the key is not 4 bytes long.
    **Ownership**: the payload is copied.
    Source: RFC 6455 §5.2.
    """
    length = len(payload)
    first = opcode | (_FIN if fin else 0) | (_RSV1 if rsv1 else 0)
    masked = 0
    if opcode & _CONTROL and (length > MAX_CONTROL_PAYLOAD or not fin):
        raise ValueError("a control frame has at most 125 bytes and is not fragmented")
    if mask is not None:
        payload = mask + apply_mask(payload, mask)
        masked = _MASKED
    if length < _LENGTH_16:
        return _pack_short(first, masked | length) + payload
    if length < 0x10000:  # noqa: PLR2004  # what 16 bits hold
        return _pack_medium(first, masked | _LENGTH_16, length) + payload
    return _pack_long(first, masked | _LENGTH_64, length) + payload


class Keys:
    """Supply masking keys, to one or many connections of clients: each key is handed out once.

    "The masking key is a 32-bit value chosen at random by the client", "fresh" for each frame and "unpredictable".
    Args: `token` gives that many unpredictable bytes. The compiled twin asks for `KEY_PAGE_BYTES` at once, so after a
    fork the child has to `forget`. Any thread may ask.
    Source: RFC 6455 §5.3.
    """

    __slots__ = ("_token",)

    def __init__(self, token: Callable[[int], bytes]) -> None:
        self._token = token

    def take(self) -> bytes:
        """Return the next key. Raises `ValueError` where `token` gives fewer bytes."""
        key = self._token(_KEY_BYTES)
        if len(key) < _KEY_BYTES:
            raise ValueError(f"a masking key has {_KEY_BYTES} bytes, not {len(key)}")
        return key

    def forget(self) -> None:
        """Hand out nothing that was fetched before this call."""


def write_message(stream: Stream, message: Data | bytearray | memoryview, keys: Keys | None = None) -> int:
    """Write one message to a stream as one frame, text for `str`, else binary; return its `buffered_bytes` then.

    Args: `keys` are what a client masks with, None in what a server sends.
    Raises `ValueError` for text with a lone surrogate, `TypeError` for anything that is neither text nor bytes;
    nothing is written then. **Ownership**: the message is copied.
    """
    mask = None if keys is None else keys.take()
    opcode = Opcode.BINARY
    if isinstance(message, str):
        opcode = Opcode.TEXT
        payload: bytes | bytearray = message.encode()
    elif isinstance(message, memoryview):
        payload = message.tobytes()
    elif isinstance(message, bytes | bytearray):
        payload = message
    else:
        raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
    stream.write(encode_frame(opcode, payload, mask=mask))
    return stream.buffered_bytes


def write_text(stream: Stream, head: bytes, body: bytes, keys: Keys | None = None) -> int:
    """Write one message of text, given in two parts of UTF-8, as one frame; return the stream's `buffered_bytes` then.

    Args: `keys` as in `write_message`.
    **Ownership**: the parts are copied.
    """
    mask = None if keys is None else keys.take()
    stream.write(encode_frame(Opcode.TEXT, head + body, mask=mask))
    return stream.buffered_bytes


def write_to_all(streams: list[Any], frame: bytes, high_mark: int) -> tuple[list[int], list[int]]:
    """Write one frame to many streams, but for those that hold more than `high_mark` bytes already.

    Returns the indices of these, and of those that hold more now. O(streams).
    """
    refused, lagging = [], []
    for i, stream in enumerate(streams):
        if stream.buffered_bytes > high_mark:
            refused.append(i)
            continue
        stream.write(frame)
        if stream.buffered_bytes > high_mark:
            lagging.append(i)
    return refused, lagging


class Sender:
    """Send messages as one end of a connection: what `Connection` does so often that it has a compiled twin.

    Attributes:
        plain: The stream, while messages may be written to it as they are: uncompressed, by one who may send. Else
            None.
        keys: What they are masked with: a client's. None for a server.
        high_mark: The stream's `buffered_bytes` above which the peer lags.
        n_sent: Messages sent.
        done: What `send` returns where there is nothing to wait for. A subclass says so.
    """

    __slots__ = ("high_mark", "keys", "n_sent", "plain")

    done: Acted = cast("Acted", None)
    plain: Stream | None
    keys: Keys | None
    high_mark: int
    n_sent: int

    def send(self, message: Data | bytearray | memoryview, *, compress: bool | None = None) -> Acted:
        """Send a message at once; awaiting the result waits until the peer has room.

        Args:
            message: Text or binary. **Ownership**: copied.
            compress: Whether to compress; by default the negotiated options say so, by size.

        Raises `ConnectionClosed`; `TypeError` or `ValueError` for what is no message, before anything is sent.
        A peer that lets more than `send_buffer_max` bytes pile up, or takes nothing for `slow_consumer_timeout` while
        more than `send_buffer_high` wait, is closed with 1013. One message of any size may be sent to a peer that keeps
        up. **Cancellation** of the wait: the message is sent all the same.
        """
        stream = self.plain
        if stream is None:
            return self._send(message, compress)
        buffered = write_message(stream, message, self.keys)
        self.n_sent += 1
        if buffered <= self.high_mark:
            return self.done
        return self._over(buffered, message)

    def _send(self, message: Data | bytearray | memoryview, compress: bool | None) -> Acted:
        """Send what is not plain, or cannot be sent: the subclass's."""
        raise TypeError("a sender that is only this sends nothing but plain messages")

    def _over(self, buffered: int, message: Data | bytearray | memoryview) -> Acted:
        """See to a peer that lags, which a message has just been sent to: the subclass's, where it minds."""
        return self.done


def send_to_all(senders: Iterable[Sender], frame: bytes) -> tuple[list[Any], list[Any], list[Any]]:
    """Send one encoded frame, a server's, to all that are plain and keep up.

    Returns those that are not plain or mask, those that hold more than their high mark already, and those that do so
    now.
    """
    others: list[Any] = []
    refused: list[Any] = []
    lagging: list[Any] = []
    for sender in senders:
        stream = sender.plain
        if stream is None or sender.keys is not None:
            others.append(sender)
        elif stream.buffered_bytes > sender.high_mark:
            refused.append(sender)
        else:
            stream.write(frame)
            sender.n_sent += 1
            if stream.buffered_bytes > sender.high_mark:
                lagging.append(sender)
    return others, refused, lagging


def apply_mask(payload: bytes | bytearray | memoryview, key: bytes, offset: int = 0) -> bytes:
    """Mask or unmask: return `payload[i] ^ key[(offset + i) % 4]` for every i.

    The bytes are XORed as one large integer, which is what makes it fast here. Cost: O(len(payload)).
    Raises `ValueError` when the key is not 4 bytes long.
    Source: RFC 6455 §5.3.
    """
    if len(key) != _KEY_BYTES:
        raise ValueError(f"a masking key has 4 bytes, not {len(key)}")
    offset &= 3
    if offset:
        key = key[offset:] + key[:offset]
    length = len(payload)
    mask = (key * ((length + 3) >> 2))[:length]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little")).to_bytes(length, "little")


class Utf8Validator:
    """Validate UTF-8 that arrives in pieces, and fail with the first byte that no valid text can continue with.

    RFC 6455 §8.1 asks for failure with 1007. CPython's incremental decoder rejects a sequence at the byte that makes it
    impossible (`C0`, `E0 80`, `F4 90`), with one exception: it waits for the third byte of a surrogate, because some
    error handlers want it. `validate` does not wait.
    """

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = _IncrementalDecoder()

    def validate(self, data: bytes | bytearray, final: bool = False) -> None:
        """Take the next piece; `final` says that nothing follows. Raises `FrameError` 1007."""
        try:
            self._decoder.decode(data, final)
        except UnicodeDecodeError:
            raise FrameError(1007, _NOT_UTF8) from None
        pending = self._decoder.getstate()[0]
        if pending[:1] == b"\xed" and pending[1:] >= b"\xa0":
            raise FrameError(1007, _NOT_UTF8)


def decode_text(payload: bytes) -> str:
    """Return the text of a whole message. Raises `FrameError` 1007 where it is not UTF-8 (RFC 6455 §8.1)."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise FrameError(1007, _NOT_UTF8) from None


def encode_close(code: int | None = None, reason: str = "") -> bytes:
    """Return the payload of a Close frame; without a code it is empty.

    Raises `ValueError` when the code may not be sent, the reason has more than 123 bytes of UTF-8 or a lone surrogate,
    or there is a reason and no code; `TypeError` when the reason is not text.
    **Shape**: two bytes of code, big endian, then the reason.
    Source: RFC 6455 §5.5.1, §7.4.
    """
    if not isinstance(reason, str):
        raise TypeError(f"the reason of a close is text, not {type(reason).__name__}")
    text = reason.encode()
    if len(text) > MAX_CLOSE_REASON:
        raise ValueError(f"the reason of a close has at most {MAX_CLOSE_REASON} bytes, not {len(text)}")
    if code is None:
        if text:
            raise ValueError("the reason of a close needs a code")
        return b""
    if code not in CLOSE_CODES:
        raise ValueError(f"close code {code} may not be sent")
    return int(code).to_bytes(2, "big") + text


def decode_close(payload: bytes) -> tuple[int, str]:
    """Return the code and the reason in the payload of a Close frame; (1005, "") where it is empty.

    Raises `FrameError` 1002 for one byte or a code that may not be sent, 1007 for a reason that is not UTF-8.
    Source: RFC 6455 §5.5.1, §7.1.5, §7.4.
    """
    if not payload:
        return 1005, ""
    if len(payload) == 1:
        raise FrameError(1002, "the payload of a Close frame has one byte")
    code = int.from_bytes(payload[:2], "big")
    if code not in CLOSE_CODES:
        raise FrameError(1002, f"close code {code} is not allowed")
    return code, decode_text(payload[2:])
