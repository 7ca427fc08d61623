"""The asyncio driver: a `Stream` over any asyncio transport (TCP, TLS, a socket pair), on any event loop.

Rule of this module: bytes only; it knows no protocol and judges no peer.

- Writes are corked. While the sink handles input they gather and leave together when it is done; writes from
  elsewhere (a task, another connection's handler) leave at the end of the turn, through the loop's one `Turn`.
- The transport's buffer and the cork are one number to the floors above (`buffered_bytes`), with one pair of marks.
  Over TLS, the transport below holds some more (64 KiB, and one part), which asyncio does not tell. So what is large
  goes there in parts, and the rest stays corked until there is room.
- `close` over TCP sends FIN and then drops what comes until the peer's own FIN. Closing the socket with unread input
  would make the kernel send RST, and that can destroy the last bytes sent (a Close frame, a refusal) before the peer
  has read them. TLS cannot half-close; there asyncio's own shutdown reads on until the peer's close_notify.
- TCP_NODELAY and TCP_USER_TIMEOUT are set on every TCP transport, whoever made its socket.
"""

from __future__ import annotations

import asyncio
import enum
import socket
import sys
from typing import Any, cast

from telex.streams.base import StreamSink
from telex.streams.drivers import USER_TIMEOUT_SECONDS, take_descriptor
from telex.streams.fairness import turn_of

__all__ = ["AsyncioStream"]

HIGH_MARK = 64 * 1024
"""The default of `Limits.send_buffer_high`; above it a writer should wait."""


# What Linux and macOS tell of a socket's send queue; elsewhere there is no such question.
fcntl: Any
termios: Any
try:
    import fcntl
    import termios
except ImportError:
    fcntl = termios = None


def _unacknowledged_bytes(descriptor: int) -> int:
    """Return how many bytes the kernel holds for the peer of a socket, and 0 where it does not tell."""
    if termios is None or descriptor < 0:
        return 0
    try:
        answer = fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4)
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)


def tune(sock: Any) -> None:
    """Set a TCP socket's options; does nothing for any other, or where the system does not know one."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, USER_TIMEOUT_SECONDS * 1000)


class _State(enum.Enum):
    OPEN = "reading and writing"
    LINGERING = "our end is sent; what still comes is dropped"
    CLOSING = "the transport is closing"
    ABORTED = "the transport is closing, and what was buffered is dropped"
    LOST = "connection_lost was called"


class AsyncioStream(asyncio.Protocol):
    """Implement `Stream` over an asyncio transport.

    It is the transport's protocol: give it to `create_server` or `create_connection`, or adopt a transport that is
    already open with `connection_made` and `transport.set_protocol`. `sink` may be replaced at any time, for example
    when an opening handshake is over.

    Args:
        sink: Hears of input, end and room.
        loop: The running loop, by default.
        high_mark: `buffered_bytes` above which the sink is told when there is room again (at half of it).
    """

    __slots__ = (
        "_cork",
        "_corked_bytes",
        "_has_peer_ended",
        "_high_mark",
        "_is_backed_up",
        "_is_flush_asked",
        "_is_handling",
        "_is_over",
        "_is_reading",
        "_is_tls",
        "_loop",
        "_low_mark",
        "_peer",
        "_received_bytes",
        "_state",
        "_transport",
        "_written_bytes",
        "sink",
    )

    sink: StreamSink

    def __init__(
        self,
        sink: StreamSink,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        high_mark: int = HIGH_MARK,
    ) -> None:
        self.sink = sink
        self._loop = loop or asyncio.get_running_loop()
        self._high_mark = high_mark
        self._low_mark = high_mark // 2
        self._transport: asyncio.Transport | None = None
        self._peer: Any = None  # its address, when the transport is gone
        self._state = _State.OPEN
        self._cork: list[bytes | memoryview] = []
        self._corked_bytes = 0
        self._written_bytes = 0
        self._received_bytes = 0
        self._is_handling = False  # the sink is at work, and we flush when it is done
        self._is_flush_asked = False  # at the end of the turn
        self._is_backed_up = False  # the transport holds more than the low mark
        self._is_over = False  # the high mark was passed, and the sink has not been told of room since
        self._is_reading = True
        self._is_tls = False
        self._has_peer_ended = False

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)
        tune(transport.get_extra_info("socket"))
        self._is_tls = transport.get_extra_info("sslcontext") is not None
        # One mark below ours, so that falling to it is always told, whether our own high mark was passed by what the
        # transport holds or by what is corked.
        self._transport.set_write_buffer_limits(high=self._low_mark, low=self._low_mark)
        # A transport that is taken over may be full, and told its protocol of before.
        self._is_backed_up = self._transport.get_write_buffer_size() > self._low_mark
        if self._state is not _State.OPEN:  # closed before it began
            self._transport.abort()
            return
        if not self._is_reading:
            self._transport.pause_reading()
        if self._cork:
            self._ask_flush()

    def data_received(self, data: bytes) -> None:
        """Hand input to the sink, then send what it wrote."""
        if self._state is not _State.OPEN:
            return
        self._received_bytes += len(data)
        self._is_handling = True
        try:
            self.sink.data_received(data)
        finally:
            self._is_handling = False
            self._flush()

    def eof_received(self) -> bool:
        """Tell the sink that the peer has ended; over TCP our own direction stays open."""
        self._has_peer_ended = True
        if self._state is _State.LINGERING:
            self._close_transport()
            return False
        if self._state is _State.OPEN:
            self._is_handling = True
            try:
                self.sink.eof_received()
            finally:
                self._is_handling = False
                self._flush()
        return self._transport is not None and self._transport.can_write_eof() and not self._transport.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the sink that it is over."""
        # What was not sent is dropped, and what the transport held already is; how much that was it does not tell,
        # but for its mark.
        self._written_bytes -= self._corked_bytes
        if self._is_backed_up and self._state is not _State.ABORTED:
            self._written_bytes -= self._low_mark
        self._state = _State.LOST
        self._cork.clear()
        self._corked_bytes = 0
        self._peer = self.get_extra_info("peername")
        self._transport = None
        self.sink.connection_lost(exc)

    def pause_writing(self) -> None:
        """Learn that the transport holds more than the low mark."""
        self._is_backed_up = True

    def resume_writing(self) -> None:
        """Learn that the transport holds no more than the low mark."""
        self._is_backed_up = False
        if self._is_tls and not self._is_handling:
            self._flush()
        self._tell_room()

    # What the floors above call.

    @property
    def buffered_bytes(self) -> int:
        """Bytes in the cork and in the transport."""
        transport = self._transport
        if transport is None or self._state is _State.ABORTED:
            return self._corked_bytes
        return self._corked_bytes + transport.get_write_buffer_size()

    @property
    def sent_bytes(self) -> int:
        """Bytes that have left the process."""
        return self._written_bytes - self.buffered_bytes

    @property
    def received_bytes(self) -> int:
        """Bytes that were handed to the sink."""
        return self._received_bytes

    @property
    def acknowledged_bytes(self) -> int:
        """Bytes that the peer has acknowledged, on Linux and macOS; over TLS roughly. One system call."""
        sock = self.get_extra_info("socket")
        if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
            return self.sent_bytes
        return self.sent_bytes - _unacknowledged_bytes(sock.fileno())

    @property
    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._state is not _State.OPEN or (self._transport is not None and self._transport.is_closing())

    def write(self, data: bytes) -> None:
        """Cork bytes for this batch or turn."""
        if self._state is not _State.OPEN or not data:
            return
        self._cork.append(data)
        self._corked_bytes += len(data)
        self._written_bytes += len(data)
        # Neither half above the low mark is together not above the high one: the usual case, and a cheap question.
        if (self._is_backed_up or self._corked_bytes > self._low_mark) and self.buffered_bytes > self._high_mark:
            self._is_over = True
        if not self._is_handling:
            self._ask_flush()

    def pause_reading(self) -> None:
        """Leave the peer's bytes in the socket."""
        if self._is_reading:
            self._is_reading = False
            if self._transport is not None:
                self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read the socket again."""
        if not self._is_reading:
            self._is_reading = True
            if self._transport is not None:
                self._transport.resume_reading()

    def close(self) -> None:
        """Flush, send the end, and linger until the peer's end (see the module's text)."""
        if self._state is not _State.OPEN:
            return
        self._flush(is_last=True)
        transport = self._transport
        self._state = _State.LINGERING
        if transport is None or transport.is_closing():
            self._state = _State.CLOSING
        elif self._has_peer_ended or not transport.can_write_eof():
            self._close_transport()
        else:
            try:
                transport.write_eof()
            except OSError:  # the peer has reset the connection, and the transport is about to learn of it
                self._close_transport()
            else:
                self.resume_reading()

    def abort(self) -> None:
        """Cut the connection now."""
        if self._state in (_State.ABORTED, _State.LOST):
            return
        self._written_bytes -= self.buffered_bytes
        self._state = _State.ABORTED
        self._cork.clear()
        self._corked_bytes = 0
        if self._transport is not None:
            self._transport.abort()

    def detach(self) -> int | None:
        """Send what is corked and give the connection away: return its descriptor, which is the caller's from now on.

        The stream is lost by that, and its sink soon told so. None, and nothing happens, where that cannot be: over
        TLS, and while the transport holds output.
        """
        transport = self._transport
        if transport is None or self._state is not _State.OPEN:
            return None
        self._flush()
        descriptor = take_descriptor(transport)
        if descriptor is not None:
            self._state = _State.CLOSING
        return descriptor

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport knows; of one that is lost, `peername`."""
        if self._transport is None and name == "peername" and self._peer is not None:
            return self._peer
        return default if self._transport is None else self._transport.get_extra_info(name, default)

    # Inside.

    def _close_transport(self) -> None:
        self._state = _State.CLOSING
        if self._transport is not None:
            self._transport.close()

    def _ask_flush(self) -> None:
        if not self._is_flush_asked:
            self._is_flush_asked = True
            turn_of(self._loop).flush(self._flush_at_end_of_turn)

    def _flush_at_end_of_turn(self) -> None:
        self._is_flush_asked = False
        if not self._is_handling:
            self._flush()

    def _flush(self, *, is_last: bool = False) -> None:
        cork, transport = self._cork, self._transport
        if not cork or transport is None:
            return
        if self._is_tls and not is_last and (self._is_backed_up or self._corked_bytes > self._low_mark):
            while cork and not self._is_backed_up:
                transport.write(self._take_part())
        else:
            self._cork = []
            self._corked_bytes = 0
            transport.write(cork[0] if len(cork) == 1 else b"".join(cork))
        self._tell_room()

    def _take_part(self) -> bytes:
        """Take as much as the low mark from the cork."""
        cork = self._cork
        n_left, n_whole = self._low_mark, 0
        while n_whole < len(cork) and len(cork[n_whole]) <= n_left:
            n_left -= len(cork[n_whole])
            n_whole += 1
        part = cork[:n_whole]
        del cork[:n_whole]
        if cork and n_left:
            rest = memoryview(cork[0])
            part.append(rest[:n_left])
            cork[0] = rest[n_left:]
        data = b"".join(part)
        self._corked_bytes -= len(data)
        return data

    def _tell_room(self) -> None:
        if self._is_over and self.buffered_bytes <= self._low_mark and self._state is not _State.LOST:
            self._is_over = False
            self.sink.writing_resumed()
