"""The websocket transport straight on a stream: the usual way, with nothing between a session and floor 1.

Rule of this module: it joins a `WebSocketTransport` to a `ConnectionCore`, as `telex.websocket.Connection` joins one to
a program. There is no inbox and no waiting here: packets go up as they come, and who lags is the session's to judge.

The transport is everything at once that its neighbours ask for (the core's `Events`, the stream's `StreamSink`, the
session's `Transport`), because an idle client is to cost as few objects as can be.

Source: Engine.IO protocol v4, "WebSocket"; RFC 6455.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from telex.engineio.fastpath import MessageReceiver
from telex.engineio.packets import Packet
from telex.engineio.transports.websocket import NORMAL_CLOSURE, WebSocketTransport
from telex.errors import FrameError
from telex.limits import Limits
from telex.streams import BYTES_PER_TURN, FRAMES_PER_TURN, Deadline, Stream, deadlines_of, turn_of
from telex.tokens import token_bytes
from telex.websocket import State
from telex.websocket.codec import write_message
from telex.websocket.connection import ConnectionCore, Role
from telex.websocket.masking import KEYS

if TYPE_CHECKING:
    from telex.engineio.interfaces import SessionSink
    from telex.websocket.deflate import DeflateParameters

__all__ = ["StreamTransport"]

logger = logging.getLogger("telex.engineio")

VIOLATION_CODES = (1002, 1007, 1008, 1009)
"""Ends of a peer that broke the rules. One that just went away is "transport close", as in the original."""


class Owner(Protocol):
    """Hear of the end of the connections it has handed over."""

    def connection_ended(self) -> None:
        """Learn that one is gone."""


class StreamTransport(WebSocketTransport):
    """Carry packets over a WebSocket whose opening handshake is done.

    Args: `frame_limits` are the engine's, in which a message may be as large as a payload; `role` says which end of
    the connection this is.

    **Next**: give it a session, make it the stream's sink, then call `open`.
    """

    __slots__ = ("_core", "_deadline", "_is_continuing", "_is_processing", "_owner", "_stream")

    def __init__(
        self,
        stream: Stream,
        *,
        limits: Limits,
        frame_limits: Limits,
        deflate: DeflateParameters | None,
        owner: Owner | None = None,
        role: Role = Role.SERVER,
    ) -> None:
        self._limits = limits
        self._is_closed = False
        self.direct: SessionSink | None = None
        self._stream = stream
        self._owner = owner
        self.plain = stream if deflate is None else None  # while messages can be written to it as they are
        self.keys = KEYS if role is Role.CLIENT else None
        self._is_processing = False
        self._is_continuing = False  # in the next turn
        self._deadline: Deadline | None = None
        self._core = ConnectionCore(
            role,
            self,
            stream,
            limits=frame_limits,
            deflate=deflate,
            token=token_bytes,
            keepalive=False,  # the session has a heartbeat of its own
            now=0.0,
        )

    def open(self, early: bytes = b"") -> None:
        """Begin, with the bytes that came with the opening handshake."""
        self._core.attach()
        if early:
            self.data_received(early)

    # What the session does.

    @property
    def is_writable(self) -> bool:
        """Whether packets handed over now leave at once."""
        return not self._is_closed and self._stream.buffered_bytes <= self._limits.send_buffer_high

    @property
    def buffered_bytes(self) -> int:
        """Bytes handed over that have not left."""
        return self._stream.buffered_bytes

    def offer(self, packets: Sequence[Packet]) -> int | None:
        """Send packets (see `Transport`): while the session is clear there is room."""
        stream, keys = self.plain, self.keys
        if stream is None:
            return super().offer(packets)
        buffered = 0
        for packet in packets:
            if packet.frame is None or keys is not None:
                buffered = write_message(stream, packet.wire, keys)
            else:
                stream.write(packet.frame)
                buffered = stream.buffered_bytes
        return buffered

    def send(self, packets: Sequence[Packet]) -> None:
        """Send each packet as one message."""
        core = self._core
        if not core.can_send:
            return
        for packet in packets:
            if packet.frame is not None and self.plain is not None and self.keys is None:
                self._stream.write(packet.frame)
            else:
                core.send(packet.wire, compress=None if packet.compress else False)

    def close(self) -> None:
        """Send what waits, then the Close frame; `channel_closed` follows."""
        if not self._is_closed:
            self._close(NORMAL_CLOSURE)

    def discard(self) -> None:
        """End at once: the Close frame, and no waiting for what has not left."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._stream.buffered_bytes > self._limits.send_buffer_high:
            self._stream.abort()
        else:
            self._close(NORMAL_CLOSURE)

    def pause_reading(self) -> None:
        """Take nothing more from the peer until `resume_reading`."""
        self._core.pause_reading(self._now())

    def resume_reading(self) -> None:
        """Take from the peer again."""
        self._core.resume_reading(self._now())
        if self._core.has_input:
            self._continue()
        self._sync()

    def _close(self, code: int) -> None:
        self._core.close(self._now(), code)
        if self._core.has_input:
            self._continue()
        self._sync()

    # What the stream tells.

    def data_received(self, data: bytes) -> None:
        """Take input (see `StreamSink`)."""
        self._core.feed(data)
        self._process()

    def eof_received(self) -> None:
        """Take the end of the input (see `StreamSink`)."""
        self._core.receive_eof(self._now())
        self._process()

    def writing_resumed(self) -> None:
        """Take note of room (see `StreamSink`)."""
        self._core.writing_resumed()
        super().writing_resumed()

    def connection_lost(self, error: Exception | None) -> None:
        """Take note of the end (see `StreamSink`)."""
        is_clean = self._core.close_code not in VIOLATION_CODES
        self._core.connection_lost()
        self._sync()
        self.channel_closed(is_clean=is_clean)
        if self._owner is not None:
            self._owner.connection_ended()

    # What the core tells.

    message_received = MessageReceiver.message_received  # the size of a message was bounded before it was read

    def ping_received(self, payload: bytes) -> None:
        """Do nothing: it was answered."""

    def pong_received(self, payload: bytes, latency: float | None) -> None:
        """Do nothing: the session's heartbeat is another."""

    def close_received(self, code: int, reason: str) -> None:
        """Close in turn. A server may take its time to end TCP, and the session is over all the same."""
        self._core.finish(self._now())
        self.channel_closed(is_clean=code not in VIOLATION_CODES)

    def violation(self, error: FrameError) -> None:
        """Close with the code that the peer's mistake calls for."""
        logger.info("closed the connection of %s: %s", self._stream.get_extra_info("peername"), error)
        self._core.finish(self._now())
        self.channel_closed(is_clean=error.code not in VIOLATION_CODES)

    def program_failed(self) -> None:
        """End after an error that should have been caught above."""
        logger.exception("a message could not be handled")
        self._close(1011)

    # Inside.

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _process(self) -> None:
        """Handle this turn's share of the input, and leave the rest to the next turn."""
        if self._is_processing:
            return
        self._is_processing = True
        more = False
        try:
            more = self._core.process(self._now(), FRAMES_PER_TURN, BYTES_PER_TURN)
        except (Exception, asyncio.CancelledError):
            more = True
            self.program_failed()
        finally:
            self._is_processing = False
        if more:
            self._continue()
        self._sync()

    def _continue(self) -> None:
        if not self._is_continuing:
            self._is_continuing = True
            turn_of(asyncio.get_running_loop()).after(self._go_on)

    def _go_on(self) -> None:
        self._is_continuing = False
        self._process()

    def _sync(self) -> None:
        """Keep one deadline in step with the core's, and know whether packets may be written."""
        core, deadline = self._core, self._deadline
        if core.state is not State.OPEN:
            self.plain = None
        when = core.deadline
        if deadline is None:
            if when is not None:
                self._deadline = deadlines_of(asyncio.get_running_loop()).at(when, self._wake)
        elif when is None:
            deadline.cancel()
            self._deadline = None
        elif when != deadline.when:
            deadline.move(when)

    def _wake(self) -> None:
        self._deadline = None
        self._core.wake(self._now())
        self._sync()
