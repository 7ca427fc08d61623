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
from typing import TYPE_CHECKING, Any, Protocol

from telex.errors import ConnectionClosed
from telex.limits import Limits
from telex.streams import BYTES_PER_TURN, FRAMES_PER_TURN, Deadline, Stream, deadlines_of, turn_of
from telex.types import Data
from telex.websocket.codec import Sender
from telex.websocket.connection import ConnectionCore, Role, State
from telex.websocket.heads import Request, Response
from telex.websocket.receivers import Calls, Inbox, Listener
from telex.websocket.waiting import DONE, Acted, Pong, Waiters

if TYPE_CHECKING:
    from telex.websocket.deflate import DeflateParameters

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
    """Bytes received, framing and the opening handshake included."""
    sent_bytes: int
    """Bytes the operating system has taken, counted in the same way."""
    buffered_bytes: int
    """Bytes it has not taken yet."""
    n_waiting: int
    """Messages received that no `recv` has taken yet."""
    latency: float | None
    """The last round trip of a ping in seconds."""


class Owner(Protocol):
    """Hear of the end of the connections it has made."""

    def connection_ended(self, connection: Connection) -> None:
        """Learn that a connection is gone."""


class Connection(Sender):
    """Talk to one peer. Made by `serve` and `connect`.

    An idle connection is to be small, so what is rarely asked for is not kept but made anew: the heads of the opening
    handshake stay as bytes and are parsed when asked for, addresses are the stream's to tell, and what only a few
    connections ever have (tasks that wait, pings under way, a lagging peer) comes into being with its first use.

    **Limits**: those of `ConnectionCore`, and `recv_queue_high`, `recv_queue_high_bytes`, `send_buffer_high`,
    `send_buffer_max`, `slow_consumer_timeout`.

    Attributes:
        subprotocol: What was negotiated, or None.
    """

    __slots__ = (
        "__weakref__",
        "_closed_waiters",
        "_deadline",
        "_events",
        "_is_continuing",
        "_is_holding_answers",
        "_is_processing",
        "_limits",
        "_loop",
        "_owner",
        "_pongs",
        "_request",
        "_response",
        "_room_waiters",
        "_slow",
        "_stream",
        "_verdict",
        "core",
        "subprotocol",
    )

    done = DONE

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
        owner: Owner | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._request = request.pack()
        self._response = response.pack()
        self.subprotocol = subprotocol
        self.n_sent = 0
        self.high_mark = limits.send_buffer_high
        self.plain = stream if deflate is None and role is Role.SERVER else None
        self._stream = stream
        self._limits = limits
        self._events: Inbox | Calls = Inbox(self, limits) if listener is None else Calls(self, listener)
        self._is_processing = False
        self._is_continuing = False  # in the next turn
        self._is_holding_answers = False  # the listener's answers fill the buffer, so no more is read
        self._deadline: Deadline | None = None
        self._slow: tuple[Deadline, int] | None = None  # while the buffer is over the high mark
        self._verdict: tuple[int, str] | None = None  # where we know better than the core why it ended
        self._room_waiters: Waiters | None = None
        self._closed_waiters: Waiters | None = None
        self._pongs: dict[bytes, asyncio.Future[float | None]] | None = None
        self._owner = owner
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

    def now(self) -> float:
        """Return the loop's time."""
        return self._loop.time()

    @property
    def request(self) -> Request:
        """The opening handshake's request."""
        return Request.unpack(self._request)

    @property
    def response(self) -> Response:
        """The answer to it."""
        return Response.unpack(self._response)

    @property
    def remote_address(self) -> Any:
        """The peer's socket address, as the stream knows it."""
        return self._stream.get_extra_info("peername")

    @property
    def local_address(self) -> Any:
        """Our own socket address; None once the connection is gone."""
        return self._stream.get_extra_info("sockname")

    @property
    def n_received(self) -> int:
        """Messages received."""
        return self._events.n_received

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
            received_bytes=self._stream.received_bytes,
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

    if TYPE_CHECKING:

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

    def _send(self, message: Data | bytearray | memoryview, compress: bool | None) -> Acted:
        """Send what is compressed or masked, or cannot be sent any more."""
        if self._verdict is not None:
            raise self.closed_error()
        buffered = self.core.send(message, compress=compress)
        self.n_sent += 1
        return DONE if buffered <= self.high_mark else self._over(buffered, message)

    def _over(self, buffered: int, message: Data | bytearray | memoryview) -> Acted:
        self._watch(buffered, len(message))
        return Acted(self._wait_for_room)

    def send_encoded(self, frame: bytes) -> None:
        """Send a frame that `broadcast` has encoded for many. Raises `ConnectionClosed`."""
        if self._verdict is not None:
            raise self.closed_error()
        self.core.send_encoded(frame)
        self.n_sent += 1
        if self._stream.buffered_bytes > self.high_mark:
            self._watch(self._stream.buffered_bytes, len(frame))

    def ping(self, payload: bytes | None = None) -> Pong:
        """Send a ping at once; awaiting the result gives the round-trip time in seconds.

        Raises `ConnectionClosed`; `ValueError` for a payload over 125 bytes or one that still waits for its answer.
        """
        payload = self.core.ping(self.now(), payload)
        future: asyncio.Future[float | None] = self._loop.create_future()
        if self._pongs is None:
            self._pongs = {}
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
                if self._closed_waiters is None:
                    self._closed_waiters = Waiters()
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
        if self._room_waiters is not None:
            self._room_waiters.wake()
        if self._is_holding_answers:
            self._is_holding_answers = False
            self.read_on()

    def connection_lost(self, error: Exception | None) -> None:
        """Take note of the end (see `StreamSink`)."""
        self.core.connection_lost()
        self._forget_slow()
        self._sync()
        pongs, self._pongs = self._pongs or {}, None
        for pong in pongs.values():
            if not pong.done():
                pong.set_result(None)
        self._guard(self._tell_end)
        for waiters in (self._room_waiters, self._closed_waiters):
            if waiters is not None:
                waiters.wake()
        if self._owner is not None:
            self._owner.connection_ended(self)

    # What the events call

    def pong_received(self, latency: float | None) -> None:
        """Answer those who wait for this ping or an older one, be this one theirs or the keepalive's."""
        if latency is None or self._pongs is None:
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
            self.blame_program()
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
            self.blame_program()

    def _tell_end(self) -> None:
        error = self.closed_error()
        self._events.lost(error.code, error.reason)

    def blame_program(self) -> None:
        """Close because of what the program has just raised: the current exception."""
        logger.exception("the listener of %r failed", self)
        self.core.close(self.now(), 1011, "internal error")
        self._sync()

    def beat(self) -> None:
        """Let the core ping, for it is time to (see `Rota`)."""
        self._guard(lambda: self.core.wake(self.now()))
        self._sync()

    def _sync(self) -> None:
        """Keep the loop's deadlines in step with the core's: its pings in a rota, whatever else is due as one of these.

        What is in the rota may be early, which is no harm; so nothing is moved there.
        """
        core, deadline = self.core, self._deadline
        when, ping_due = core.deadline, core.ping_due
        if not core.can_send:
            self.plain = None
        if ping_due is not None:
            rota = deadlines_of(self._loop).rota(self._limits.ping_interval)
            if rota.when(self) is None:
                rota.put(self)
            if when == ping_due:
                when = None
        elif core.state is State.CLOSED:
            deadlines_of(self._loop).rota(self._limits.ping_interval).discard(self)
        if deadline is None:
            if when is not None:
                self._deadline = deadlines_of(self._loop).at(when, self._wake)
        elif when is None:
            deadline.cancel()
            self._deadline = None
        elif when != deadline.when:
            deadline.move(when)

    def _wake(self) -> None:
        self._deadline = None
        self.beat()

    def _watch(self, buffered: int, size: int) -> None:
        """See whether the peer keeps up; called when `buffered` bytes are over the mark, `size` of them just written."""
        if (
            (self._is_processing or self.core.is_delivering)
            and not self._is_holding_answers
            and isinstance(self._events, Calls)
        ):
            # A listener cannot wait for room. Where it answers a peer that does not read, we stop reading that peer;
            # what others make us send to it is no reason to turn a deaf ear.
            self._is_holding_answers = True
            self.core.pause_reading(self.now())
        if buffered > self._limits.send_buffer_max and buffered - size > self.high_mark:
            # It lagged before, so this is not only the size of one message, which is the program's own choice.
            # Nothing is added from here on, and what is there has `close_timeout` to leave.
            self._verdict = TOO_SLOW
            self.plain = None
            self.core.close(self.now(), *TOO_SLOW)
            self._after_call()
        elif self._slow is None:
            self._expect_progress()

    def _expect_progress(self) -> None:
        when = self.now() + self._limits.slow_consumer_timeout
        self._slow = deadlines_of(self._loop).at(when, self._judge_slow), self._stream.acknowledged_bytes

    def _judge_slow(self) -> None:
        mark = 0 if self._slow is None else self._slow[1]
        self._slow = None
        if self._stream.buffered_bytes <= self.high_mark:
            return
        if self._stream.acknowledged_bytes > mark:
            self._expect_progress()
        else:
            self._verdict = TOO_SLOW
            self.plain = None
            self._stream.abort()

    def _forget_slow(self) -> None:
        if self._slow is not None:
            self._slow[0].cancel()
            self._slow = None

    def _wait_for_room(self) -> Generator[Any, None, None]:
        while self._stream.buffered_bytes > self.high_mark:
            if self._room_waiters is None:
                self._room_waiters = Waiters()
            yield from self._room_waiters.wait().__await__()
            if self.core.state is State.CLOSED:  # what waited is lost
                raise self.closed_error()
        if self._verdict is not None:
            raise self.closed_error()
