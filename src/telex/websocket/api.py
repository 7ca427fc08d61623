"""What a program holds of one WebSocket connection, over asyncio.

Rule of this module: it joins a `ConnectionCore` (all decisions about the protocol) to a stream, the loop's deadlines
and the program; it decides only what concerns the program: who gets a message, who waits, and for how long we keep
data for a peer that does not take it.

A program reads a connection in one of two ways, and is served by the same `Connection`:

- a **coroutine** takes messages with `recv` or `async for`. They wait in an inbox, and while that is full the peer is
  not read. A Close or a violation takes effect when the inbox is drained and the coroutine has come back for more, so
  its answers to earlier messages still leave;
- a **Listener** is called, on the spot, for each message: no task, no queue, nothing to wake.

Calls act at once, and awaiting what they return waits: `ws.send(x)` has sent when it returns, `await ws.send(x)` also
waits until the peer has room.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from telex.errors import ConnectionClosed
from telex.limits import Limits
from telex.streams import BYTES_PER_TURN, FRAMES_PER_TURN, Deadline, Stream, deadlines_of, turn_of
from telex.types import Data
from telex.websocket.connection import ConnectionCore, Role, State
from telex.websocket.receivers import Calls, Inbox, Listener
from telex.websocket.waiting import Acted, Pong, Waiters

if TYPE_CHECKING:
    from telex.websocket.deflate import DeflateParameters
    from telex.websocket.handshake import Request, Response

__all__ = ["Connection", "Statistics"]

logger = logging.getLogger("telex.websocket")

QUIET_CODES = frozenset({1000, 1001, 1005})
"""Ends that are nobody's fault: done, going away, and a Close without a code, which is what browsers send."""

TOO_SLOW = (1013, "too slow: the peer does not take what it is sent")


@dataclass(frozen=True, slots=True)
class Statistics:
    """Say what a connection has done so far."""

    n_received: int
    """Messages received."""
    n_sent: int
    """Messages sent."""
    received_bytes: int
    """Bytes received after the opening handshake, framing included."""
    sent_bytes: int
    """Bytes the operating system has taken, framing included."""
    buffered_bytes: int
    """Bytes it has not taken yet."""
    n_waiting: int
    """Messages received that no `recv` has taken yet."""
    latency: float | None
    """The last round trip of a ping in seconds."""


class Connection:
    """Talk to one peer. Made by `serve` and `connect`.

    **Limits**: those of `ConnectionCore`, and `recv_queue_high`, `recv_queue_high_bytes`, `send_buffer_high`,
    `send_buffer_max`, `slow_consumer_timeout`.

    Attributes:
        request: The opening handshake's request.
        response: Its answer.
        subprotocol: What was negotiated, or None.
        remote_address: The peer's socket address, as the stream knows it.
        local_address: Our own.
    """

    __slots__ = (
        "__weakref__",
        "_closed_waiters",
        "_continue",
        "_deadline",
        "_events",
        "_high",
        "_is_continuing",
        "_is_holding_answers",
        "_is_processing",
        "_limits",
        "_loop",
        "_lost_callback",
        "_max",
        "_pongs",
        "_received_bytes",
        "_room",
        "_room_waiters",
        "_slow",
        "_slow_mark",
        "_stream",
        "_verdict",
        "_when",
        "core",
        "is_plain",
        "local_address",
        "n_received",
        "n_sent",
        "now",
        "remote_address",
        "request",
        "response",
        "subprotocol",
    )

    def __init__(
        self,
        role: Role,
        stream: Stream,
        *,
        listener: Listener | None,
        request: Request,
        response: Response,
        subprotocol: str | None,
        deflate: DeflateParameters | None,
        limits: Limits,
        keepalive: bool,
        token: Callable[[int], bytes],
        lost: Callable[[Connection], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.request = request
        self.response = response
        self.subprotocol = subprotocol
        self.remote_address = stream.get_extra_info("peername")
        self.local_address = stream.get_extra_info("sockname")
        self.n_received = 0
        self.n_sent = 0
        self.is_plain = deflate is None and role is Role.SERVER  # a frame encoded for all will do
        self._stream = stream
        self._limits = limits
        self._high = limits.send_buffer_high
        self._max = limits.send_buffer_max
        self._events: Inbox | Calls = Inbox(self, limits) if listener is None else Calls(self, listener)
        self._received_bytes = 0
        self._is_processing = False
        self._is_continuing = False  # in the next turn
        self._is_holding_answers = False  # the listener's answers fill the buffer, so no more is read
        self._deadline: Deadline | None = None
        self._when: float | None = None
        self._slow: Deadline | None = None  # while the buffer is over the high mark
        self._slow_mark = 0
        self._verdict: tuple[int, str] | None = None  # where we know better than the core why it ended
        self._room = Acted(self._wait_for_room)
        self._room_waiters = Waiters()
        self._closed_waiters = Waiters()
        self._pongs: dict[bytes, asyncio.Future[float | None]] = {}
        self._lost_callback = lost
        self.core = ConnectionCore(
            role,
            self._events,
            stream,
            limits=limits,
            deflate=deflate,
            token=token,
            keepalive=keepalive,
            now=self.now(),
        )
        self._sync()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.remote_address} {self.state.name}>"

    # What is known

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self.core.state

    @property
    def latency(self) -> float | None:
        """The last round trip of a ping in seconds."""
        return self.core.latency

    @property
    def close_code(self) -> int | None:
        """How it ended: the peer's code, ours where the peer broke a rule, 1006 where it was lost; None before."""
        return self.core.close_code if self._verdict is None else self._verdict[0]

    @property
    def close_reason(self) -> str:
        """The reason that belongs to `close_code`."""
        return self.core.close_reason if self._verdict is None else self._verdict[1]

    @property
    def buffered_bytes(self) -> int:
        """Bytes sent that the operating system has not taken yet."""
        return self._stream.buffered_bytes

    @property
    def limits(self) -> Limits:
        """The bounds this connection keeps."""
        return self._limits

    def statistics(self) -> Statistics:
        """Return what the connection has done so far."""
        return Statistics(
            n_received=self.n_received,
            n_sent=self.n_sent,
            received_bytes=self._received_bytes,
            sent_bytes=self._stream.sent_bytes,
            buffered_bytes=self._stream.buffered_bytes,
            n_waiting=len(self._events.messages),
            latency=self.core.latency,
        )

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the stream knows, for example `ssl_object`."""
        return self._stream.get_extra_info(name, default)

    # What a program does

    async def recv(self) -> Data:
        """Return the next message: `str` for text, `bytes` for binary.

        Raises `ConnectionClosed` when no more will come, `RuntimeError` when another task waits here already.
        **Cancellation**: loses nothing.
        """
        return await self._events.get()

    def __aiter__(self) -> AsyncIterator[Data]:
        return self

    async def __anext__(self) -> Data:
        """Return the next message; end quietly where the peer is done (1000, 1001 or no code)."""
        try:
            return await self._events.get()
        except ConnectionClosed as error:
            if error.code in QUIET_CODES:
                raise StopAsyncIteration from None
            raise

    def send(self, message: Data | bytearray | memoryview, *, compress: bool | None = None) -> Acted:
        """Send a message at once; awaiting the result waits until the peer has room.

        Args:
            message: Text or binary. **Ownership**: copied.
            compress: Whether to compress; by default the negotiated options say so, by size.

        Raises `ConnectionClosed`; `TypeError` or `ValueError` for what is no message, before anything is sent.
        A peer that lets more than `send_buffer_max` bytes pile up, or takes nothing for `slow_consumer_timeout`
        while more than `send_buffer_high` wait, is closed with 1013. One message of any size may be sent to a peer
        that keeps up.
        **Cancellation** of the wait: the message is sent all the same.
        """
        if self._verdict is not None:
            raise self.closed_error()
        size = self.core.send(message, compress=compress)
        self.n_sent += 1
        self._watch(size)
        return self._room

    def send_encoded(self, frame: bytes) -> None:
        """Send a frame that `broadcast` has encoded for many. Raises `ConnectionClosed`."""
        if self._verdict is not None:
            raise self.closed_error()
        self.core.send_encoded(frame)
        self.n_sent += 1
        self._watch(len(frame))

    def ping(self, payload: bytes | None = None) -> Pong:
        """Send a ping at once; awaiting the result gives the round-trip time in seconds.

        Raises `ConnectionClosed`; `ValueError` for a payload over 125 bytes or one that still waits for its answer.
        """
        payload = self.core.ping(self.now(), payload)
        future: asyncio.Future[float | None] = self._loop.create_future()
        self._pongs[payload] = future
        self._sync()
        return Pong(self, future)

    def close(self, code: int | None = 1000, reason: str = "") -> Acted:
        """Begin the closing handshake at once; awaiting the result waits until the connection is gone.

        That takes `close_timeout` at most. Messages that come from now on are dropped. Idempotent.
        Raises `ValueError` or `TypeError` for a code or reason that must not stand in a Close frame.
        """
        self.core.close(self.now(), code, reason)
        self._after_call()
        return Acted(lambda: self.wait_closed().__await__())

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._stream.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone. Messages not yet received stay where they are.

        Where the task that receives waits here, those that come when the inbox is full are dropped.
        """
        with self._events.left():
            while self.core.state is not State.CLOSED:
                await self._closed_waiters.wait()

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # What server and client do

    def open(self, early: bytes = b"") -> None:
        """Begin: tell the listener, then take the bytes that came with the opening handshake."""
        self._guard(self._events.opened)
        if early:
            self.data_received(early)

    def adopt(self) -> None:
        """Note that the running task is the one that receives."""
        self._events.adopt()

    # What the stream calls

    def data_received(self, data: bytes) -> None:
        """Take input (see `StreamSink`)."""
        self._received_bytes += len(data)
        self.core.feed(data)
        self._process()

    def eof_received(self) -> None:
        """Take the end of the input (see `StreamSink`)."""
        self.core.receive_eof(self.now())
        self._process()

    def writing_resumed(self) -> None:
        """Take note of room (see `StreamSink`)."""
        self._forget_slow()
        self.core.writing_resumed()
        self._room_waiters.wake()
        if self._is_holding_answers:
            self._is_holding_answers = False
            self.read_on()

    def connection_lost(self, error: Exception | None) -> None:
        """Take note of the end (see `StreamSink`)."""
        self.core.connection_lost()
        self._forget_slow()
        self._sync()
        for pong in self._pongs.values():
            if not pong.done():
                pong.set_result(None)
        self._pongs.clear()
        self._guard(self._tell_end)
        self._room_waiters.wake()
        self._closed_waiters.wake()
        if self._lost_callback is not None:
            self._lost_callback(self)

    # What the events call

    def pong_received(self, latency: float | None) -> None:
        """Answer those who wait for this ping or an older one, be this one theirs or the keepalive's."""
        if latency is None:
            return
        for answered in [older for older in self._pongs if not self.core.awaits(older)]:
            future = self._pongs.pop(answered)
            if not future.done():
                future.set_result(latency)

    def finish(self) -> None:
        """Send the Close that is owed."""
        self.core.finish(self.now())
        self._sync()

    def read_on(self) -> None:
        """Take messages again, where the inbox was full."""
        self.core.resume_reading(self.now())
        self._process()

    def closed_error(self) -> ConnectionClosed:
        """Return what to raise where the connection is over."""
        code = self.close_code
        return ConnectionClosed(1006 if code is None else code, self.close_reason)

    # Inside

    def _process(self) -> None:
        """Handle this turn's share of the input, and leave the rest to the next turn."""
        if self._is_processing:
            return
        self._is_processing = True
        try:
            more = self.core.process(self.now(), FRAMES_PER_TURN, BYTES_PER_TURN)
        except (Exception, asyncio.CancelledError):  # a plain call is no task, so nobody cancelled it
            more = True
            self._blame_program()
        finally:
            self._is_processing = False
        if more and not self._is_continuing:
            self._is_continuing = True
            turn_of(self._loop).after(self._go_on)
        self._sync()

    def _go_on(self) -> None:
        self._is_continuing = False
        self._process()

    def _after_call(self) -> None:
        """See to what a call into the core from outside may have left to do."""
        if self.core.has_input and not self._is_processing:
            self._process()
        else:
            self._sync()

    def _guard(self, call: Callable[[], None]) -> None:
        """Call the program, whose exceptions are its own."""
        try:
            call()
        except (Exception, asyncio.CancelledError):
            self._blame_program()

    def _tell_end(self) -> None:
        error = self.closed_error()
        self._events.lost(error.code, error.reason)

    def _blame_program(self) -> None:
        logger.exception("the listener of %r failed", self)
        self.core.close(self.now(), 1011, "internal error")
        self._sync()

    def _sync(self) -> None:
        """Keep one deadline in step with the core's."""
        when = self.core.deadline
        if when == self._when:
            return
        self._when = when
        if when is None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
        elif self._deadline is None:
            self._deadline = deadlines_of(self._loop).at(when, self._wake)
        else:
            self._deadline.move(when)

    def _wake(self) -> None:
        self._deadline = self._when = None
        self._guard(lambda: self.core.wake(self.now()))
        self._sync()

    def _watch(self, size: int) -> None:
        """See whether the peer keeps up; called after each write of `size` bytes."""
        buffered = self._stream.buffered_bytes
        if buffered <= self._high:
            return
        if self._is_processing and not self._is_holding_answers and isinstance(self._events, Calls):
            # A listener cannot wait for room. Where it answers a peer that does not read, we stop reading that peer;
            # what others make us send to it is no reason to turn a deaf ear.
            self._is_holding_answers = True
            self.core.pause_reading(self.now())
        if buffered > self._max and buffered - size > self._high:
            # It lagged before, so this is not only the size of one message, which is the program's own choice.
            # Nothing is added from here on, and what is there has `close_timeout` to leave.
            self._verdict = TOO_SLOW
            self.core.close(self.now(), *TOO_SLOW)
            self._after_call()
        elif self._slow is None:
            self._expect_progress()

    def _expect_progress(self) -> None:
        self._slow_mark = self._stream.acknowledged_bytes
        self._slow = deadlines_of(self._loop).at(self.now() + self._limits.slow_consumer_timeout, self._judge_slow)

    def _judge_slow(self) -> None:
        self._slow = None
        if self._stream.buffered_bytes <= self._high:
            return
        if self._stream.acknowledged_bytes > self._slow_mark:
            self._expect_progress()
        else:
            self._verdict = TOO_SLOW
            self._stream.abort()

    def _forget_slow(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None

    def _wait_for_room(self) -> Generator[Any, None, None]:
        while self._stream.buffered_bytes > self._high:
            yield from self._room_waiters.wait().__await__()
            if self.core.state is State.CLOSED:  # what waited is lost
                raise self.closed_error()
        if self._verdict is not None:
            raise self.closed_error()
