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
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from telex.errors import ConnectionClosed, FrameError
from telex.limits import Limits
from telex.streams import BYTES_PER_TURN, FRAMES_PER_TURN, Deadline, Slot, Stream, deadlines_of, turn_of
from telex.types import Data
from telex.websocket.codec import Sender
from telex.websocket.connection import ConnectionCore, Role, State
from telex.websocket.handshake import accept
from telex.websocket.heads import Request, Response
from telex.websocket.masking import KEYS
from telex.websocket.receivers import Inbox, Listener
from telex.websocket.waiting import DONE, Acted, Pong, Waiters

if TYPE_CHECKING:
    from telex.websocket.deflate import DeflateParameters

__all__ = ["Connection", "Statistics"]

logger = logging.getLogger("telex.websocket")

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


class _Rare:
    """Hold what only few connections ever have."""

    __slots__ = ("closed_waiters", "pongs", "room_waiters", "slow", "verdict")

    def __init__(self) -> None:
        self.room_waiters = Waiters()
        self.closed_waiters = Waiters()
        self.pongs: dict[bytes, asyncio.Future[float | None]] = {}  # pings of the program's
        self.slow: tuple[Deadline, int] | None = None  # while the buffer is over the high mark
        self.verdict: tuple[int, str] | None = None  # where we know better than the core why it ended


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
        "_deadline",
        "_inbox",
        "_is_continuing",
        "_is_holding_answers",
        "_is_processing",
        "_listener",
        "_loop",
        "_owner",
        "_rare",
        "_request",
        "_response",
        "_slot",
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
        response: Response | None,
        subprotocol: str | None,
        deflate: DeflateParameters | None,
        limits: Limits,
        keepalive: bool,
        token: Callable[[int], bytes],
        owner: Owner | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._request = request.pack()
        self._response = None if response is None else response.pack()
        self.subprotocol = subprotocol
        self.n_sent = 0
        self.high_mark = limits.send_buffer_high
        self.plain = stream if deflate is None else None
        self.keys = KEYS if role is Role.CLIENT else None
        self._listener = listener
        self._inbox = Inbox(self, limits) if listener is None else None
        self._is_processing = False
        self._is_continuing = False  # in the next turn
        self._is_holding_answers = False  # the listener's answers fill the buffer, so no more is read
        self._deadline: Deadline | None = None
        self._slot: Slot | None = None  # in the rota of pings
        self._rare: _Rare | None = None
        self._owner = owner
        self.core = ConnectionCore(
            role,
            self if self._inbox is None else self._inbox,
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
        if self._response is None:  # it followed from the request
            return accept(self.request, subprotocols=() if self.subprotocol is None else (self.subprotocol,))[0]
        return Response.unpack(self._response)

    @property
    def remote_address(self) -> Any:
        """The peer's socket address, as the stream knows it."""
        return self.core.stream.get_extra_info("peername")

    @property
    def local_address(self) -> Any:
        """Our own socket address; None once the connection is gone."""
        return self.core.stream.get_extra_info("sockname")

    @property
    def n_received(self) -> int:
        """Messages received."""
        return self.core.n_delivered if self._inbox is None else self._inbox.n_received

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
        verdict = self._verdict
        return self.core.close_code if verdict is None else verdict[0]

    @property
    def close_reason(self) -> str:
        """The reason that belongs to `close_code`."""
        verdict = self._verdict
        return self.core.close_reason if verdict is None else verdict[1]

    @property
    def buffered_bytes(self) -> int:
        """Bytes sent that the operating system has not taken yet."""
        return self.core.stream.buffered_bytes

    @property
    def limits(self) -> Limits:
        """The bounds this connection keeps."""
        return self.core.limits

    def statistics(self) -> Statistics:
        """Return what the connection has done so far."""
        return Statistics(
            n_received=self.n_received,
            n_sent=self.n_sent,
            received_bytes=self.core.stream.received_bytes,
            sent_bytes=self.core.stream.sent_bytes,
            buffered_bytes=self.core.stream.buffered_bytes,
            n_waiting=0 if self._inbox is None else len(self._inbox.messages),
            latency=self.core.latency,
        )

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the stream knows, for example `ssl_object`."""
        return self.core.stream.get_extra_info(name, default)

    # What a program does

    async def recv(self) -> Data:
        """Return the next message: `str` for text, `bytes` for binary.

        Raises `ConnectionClosed` when no more will come, `RuntimeError` when another task waits here already.
        **Cancellation**: loses nothing.
        """
        return await self._queue.take()

    def __aiter__(self) -> AsyncIterator[Data]:
        return self

    def __anext__(self) -> Awaitable[Data]:
        """Return the next message; end quietly where the peer is done (1000, 1001 or no code)."""
        inbox = self._inbox
        return (self._queue if inbox is None else inbox).take(True)

    def _send(self, message: Data | bytearray | memoryview, compress: bool | None) -> Acted:
        """Send what is compressed, or cannot be sent any more."""
        if self._verdict is not None:
            raise self.closed_error()
        buffered = self.core.send(message, compress=compress)
        self.n_sent += 1
        return DONE if buffered <= self.high_mark else self._over(buffered, message)

    def _over(self, buffered: int, message: Data | bytearray | memoryview) -> Acted:
        self._watch(buffered, len(message))
        return Acted(self._wait_for_room)

    def lag(self, n_bytes: int) -> None:
        """See what to do about a peer that lags, `n_bytes` having been written that it was not asked about."""
        self._watch(self.core.stream.buffered_bytes, n_bytes)

    def send_encoded(self, frame: bytes) -> None:
        """Send a frame that `broadcast` has encoded for many. Raises `ConnectionClosed`."""
        if self._verdict is not None:
            raise self.closed_error()
        self.core.send_encoded(frame)
        self.n_sent += 1
        if self.core.stream.buffered_bytes > self.high_mark:
            self._watch(self.core.stream.buffered_bytes, len(frame))

    def ping(self, payload: bytes | None = None) -> Pong:
        """Send a ping at once; awaiting the result gives the round-trip time in seconds.

        Raises `ConnectionClosed`; `ValueError` for a payload over 125 bytes or one that still waits for its answer.
        """
        payload = self.core.ping(self.now(), payload)
        future: asyncio.Future[float | None] = self._loop.create_future()
        self._know.pongs[payload] = future
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
        self.core.stream.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone. Messages not yet received stay where they are.

        Where the task that receives waits here, those that come when the inbox is full are dropped.
        """
        with nullcontext() if self._inbox is None else self._inbox.left():
            while self.core.state is not State.CLOSED:
                await self._know.closed_waiters.wait()

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # What server and client do

    def open(self, early: bytes = b"") -> None:
        """Begin: tell the listener, then take the bytes that came with the opening handshake."""
        if self._listener is None:
            self.core.attach()
        else:
            self.core.attach(self._listener)
            self._guard(self._tell_open)
        if early:
            self.data_received(early)

    def adopt(self) -> None:
        """Note that the running task is the one that receives."""
        if self._inbox is not None:
            self._inbox.adopt()

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
        if self._rare is not None:
            self._rare.room_waiters.wake()
        if self._is_holding_answers:
            self._is_holding_answers = False
            self.read_on()

    def connection_lost(self, error: Exception | None) -> None:
        """Take note of the end (see `StreamSink`)."""
        self.core.connection_lost()
        self._forget_slow()
        self._sync()
        rare = self._rare
        if rare is not None:
            for pong in rare.pongs.values():
                if not pong.done():
                    pong.set_result(None)
            rare.pongs.clear()
        self._guard(self._tell_end)
        if rare is not None:
            rare.room_waiters.wake()
            rare.closed_waiters.wake()
        if self._owner is not None:
            self._owner.connection_ended(self)

    # What the core tells, where there is a listener (see `Events`); where there is none, it tells the inbox

    def message_received(self, message: Data) -> None:
        """Hand a message on that did not come straight from the stream."""
        self.core.count_delivered()
        self._told.on_message(self, message)

    def ping_received(self, payload: bytes) -> None:
        """Hand a ping on."""
        self._told.on_ping(self, payload)

    def pong_received(self, payload: bytes, latency: float | None) -> None:
        """Hand a pong on."""
        self.answer_pings(latency)
        self._told.on_pong(self, payload, latency)

    def close_received(self, code: int, reason: str) -> None:
        """Close in turn: a listener owes no answers."""
        self.finish()

    def violation(self, error: FrameError) -> None:
        """Close because of what the peer did."""
        logger.debug("%s: %s", self.remote_address, error)
        self.finish()

    def program_failed(self) -> None:
        """Close because of what the program has just raised: the current exception."""
        logger.exception("the listener of %r failed", self)
        self.core.close(self.now(), 1011, "internal error")
        self._sync()

    # What the inbox calls, too

    def answer_pings(self, latency: float | None) -> None:
        """Answer those who wait for this ping or an older one, be this one theirs or the keepalive's."""
        if latency is None or self._rare is None:
            return
        pongs = self._rare.pongs
        for answered in [older for older in pongs if not self.core.awaits(older)]:
            future = pongs.pop(answered)
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

    @property
    def _know(self) -> _Rare:
        """What only few connections have; from now on this one does."""
        if self._rare is None:
            self._rare = _Rare()
        return self._rare

    @property
    def _verdict(self) -> tuple[int, str] | None:
        return None if self._rare is None else self._rare.verdict

    @property
    def _told(self) -> Listener:
        return cast("Listener", self._listener)  # else the inbox would be told

    @property
    def _queue(self) -> Inbox:
        if self._inbox is None:
            raise RuntimeError("the messages of this connection go to its listener")
        return self._inbox

    def _process(self) -> None:
        """Handle this turn's share of the input, and leave the rest to the next turn."""
        if self._is_processing:
            return
        self._is_processing = True
        try:
            more = self.core.process(self.now(), FRAMES_PER_TURN, BYTES_PER_TURN)
        except (Exception, asyncio.CancelledError):  # a plain call is no task, so nobody cancelled it
            more = True
            self.program_failed()
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
            self.program_failed()

    def _tell_end(self) -> None:
        error = self.closed_error()
        if self._inbox is None:
            self._told.on_close(self, error.code, error.reason)
        else:
            self._inbox.end()

    def _tell_open(self) -> None:
        self._told.on_open(self)

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
            rota = deadlines_of(self._loop).rota(self.core.limits.ping_interval)
            if rota.when(self) is None:
                rota.put(self)
            if when == ping_due:
                when = None
        elif core.state is State.CLOSED:
            deadlines_of(self._loop).rota(self.core.limits.ping_interval).discard(self)
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
        """See whether the peer keeps up: `buffered` bytes are over the mark, `size` of them just written."""
        if (self._is_processing or self.core.is_delivering) and not self._is_holding_answers and self._inbox is None:
            # A listener cannot wait for room. Where it answers a peer that does not read, we stop reading that peer;
            # what others make us send to it is no reason to turn a deaf ear.
            self._is_holding_answers = True
            self.core.pause_reading(self.now())
        if buffered > self.core.limits.send_buffer_max and buffered - size > self.high_mark:
            # It lagged before, so this is not only the size of one message, which is the program's own choice.
            # Nothing is added from here on, and what is there has `close_timeout` to leave.
            self._know.verdict = TOO_SLOW
            self.plain = None
            self.core.close(self.now(), *TOO_SLOW)
            self._after_call()
        elif self._know.slow is None:
            self._expect_progress()

    def _expect_progress(self) -> None:
        when = self.now() + self.core.limits.slow_consumer_timeout
        self._know.slow = deadlines_of(self._loop).at(when, self._judge_slow), self.core.stream.acknowledged_bytes

    def _judge_slow(self) -> None:
        rare = self._know
        mark, rare.slow = 0 if rare.slow is None else rare.slow[1], None
        if self.core.stream.buffered_bytes <= self.high_mark:
            return
        if self.core.stream.acknowledged_bytes > mark:
            self._expect_progress()
        else:
            self._know.verdict = TOO_SLOW
            self.plain = None
            self.core.stream.abort()

    def _forget_slow(self) -> None:
        rare = self._rare
        if rare is not None and rare.slow is not None:
            rare.slow[0].cancel()
            rare.slow = None

    def _wait_for_room(self) -> Generator[Any, None, None]:
        while self.core.stream.buffered_bytes > self.high_mark:
            yield from self._know.room_waiters.wait().__await__()
            if self.core.state is State.CLOSED:  # what waited is lost
                raise self.closed_error()
        if self._verdict is not None:
            raise self.closed_error()
