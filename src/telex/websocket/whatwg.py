"""The WHATWG's `WebSocket`, in snake_case.

Rule of this module: the standard's steps, over a `Connection` and its opening as they are. It is for programs that come
from JavaScript, or know this interface best; `connect` is what Python programs want.

What the standard calls a task is here a callback of the event loop: whatever comes from the network comes in one of its
own, never inside a call of the program's. `CLOSING` is read off the connection below, for only that knows when the
closing handshake has begun.

Events are pushed, so a program cannot say "not yet". Where a callback is a coroutine function, its coroutines run side
by side, as in JavaScript; but while `recv_queue_high` messages, or `recv_queue_high_bytes` of them, are being handled,
the server is not read. A flood fills the kernel's buffers and not our memory.

Source: WHATWG WebSockets Standard.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import Any, Unpack

from telex.errors import ConnectionClosed, InvalidStateError
from telex.types import Data
from telex.websocket.api import Connection
from telex.websocket.connection import State
from telex.websocket.receivers import Listener
from telex.websocket.waiting import Waiters
from telex.websocket.whatwg_events import CloseEvent, ErrorEvent, Event, EventHandler, EventTarget, MessageEvent
from telex.websocket.whatwg_opening import Options, begin, start, unacknowledged, why_not
from telex.websocket.whatwg_rules import ReadyState, Unsent, check_close, size_in_utf8, to_scalars

__all__ = ["WebSocket"]

BINARY_TYPES = {"bytes": bytes, "bytearray": bytearray}


class WebSocket(EventTarget):
    """Be a WebSocket as browsers have it. Making one begins to connect; a running event loop is needed.

    Args:
        url: `ws://`, `wss://`, `http://` or `https://`.
        protocols: The subprotocols to offer, or one. The connection is failed where the server chooses none.
        options: Those of `connect`. By default permessage-deflate is offered, as browsers do.

    Raises `DOMSyntaxError` for a URL with a fragment or that is none, and for subprotocols that are no tokens or
    repeated; `RuntimeError` where no loop runs; `ValueError` and `TypeError` as `connect`.

    Callbacks are functions or coroutine functions of one event: `on_open`, `on_message`, `on_error`, `on_close`, and
    what is added with `add_event_listener`. What a callback raises is logged. The object lives as long as its
    connection. **Limits**: those of `Connection`.

    Attributes:
        url: The URL, serialized.
        protocol: The subprotocol that the server chose, or "".
        extensions: The extensions that it chose, or "".
    """

    __slots__ = (
        "__weakref__",
        "_address",
        "_binary_type",
        "_connection",
        "_error",
        "_is_paused",
        "_opening",
        "_protocols",
        "_state",
        "_unsent",
        "_waiters",
        "_work",
        "_work_bytes",
        "extensions",
        "protocol",
    )

    CONNECTING = ReadyState.CONNECTING
    OPEN = ReadyState.OPEN
    CLOSING = ReadyState.CLOSING
    CLOSED = ReadyState.CLOSED

    on_open = EventHandler[Event]("open")
    on_message = EventHandler[MessageEvent]("message")
    on_error = EventHandler[ErrorEvent]("error")
    on_close = EventHandler[CloseEvent]("close")

    def __init__(self, url: str, protocols: str | Iterable[str] = (), **options: Unpack[Options]) -> None:
        super().__init__()
        self.extensions = ""
        self.protocol = ""
        self._binary_type = "bytes"
        self._state = ReadyState.CONNECTING
        self._connection: Connection | None = None
        self._error: BaseException | None = None  # why the connection was failed
        self._unsent: Unsent | None = None  # from the first message on
        self._waiters: Waiters | None = None  # once somebody waits
        self._work: set[asyncio.Task[Any]] | None = None  # coroutines of callbacks
        self._work_bytes = 0  # of the messages they are at
        self._is_paused = False  # for there are so many of them
        asyncio.get_running_loop()
        self._address, self._protocols, connecting = begin(url, protocols, options, _Feed(self))
        self._opening: asyncio.Task[Connection] | None = start(connecting, self._tried)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url} {self.ready_state.name}>"

    # What is known

    @property
    def url(self) -> str:
        """The URL, serialized."""
        return self._address.url

    @property
    def ready_state(self) -> ReadyState:
        """Where the connection stands."""
        if self._state is ReadyState.OPEN and self._connection is not None and self._connection.state is not State.OPEN:
            return ReadyState.CLOSING
        return self._state

    @property
    def buffered_amount(self) -> int:
        """Bytes of messages that have not been handed to the operating system.

        Framing is not counted. What was sent in this turn of the loop counts until that is over, what could not be
        sent any more counts for ever: after the end this only grows. **Units**: bytes, of text those of its UTF-8.
        """
        return 0 if self._unsent is None else self._unsent.amount(self._n_gone())

    @property
    def binary_type(self) -> str:
        """What binary messages come as: "bytes" (by default), or "bytearray", which the program may change.

        They stand for "blob" and "arraybuffer". Raises `ValueError`, when set, for anything else.
        """
        return self._binary_type

    @binary_type.setter
    def binary_type(self, value: str) -> None:
        if value not in BINARY_TYPES:
            raise ValueError(f'binary_type is "bytes" or "bytearray", not {value!r}')
        self._binary_type = value

    # What a program does

    def send(self, data: Data | bytearray | memoryview) -> None:
        """Send a message: text for `str`, else binary.

        Once the connection is closing, it is not sent but counted in `buffered_amount`. A lone surrogate is sent as
        U+FFFD. Where the server does not take what it is sent (`send_buffer_max`), the connection is failed.
        Raises `InvalidStateError` while connecting, `TypeError` for what is no message. **Ownership**: copied.
        """
        if not isinstance(data, str | bytes | bytearray | memoryview):
            raise TypeError(f"a message is str or bytes, not {type(data).__name__}")
        if self._state is ReadyState.CONNECTING:
            raise InvalidStateError("the connection is not open yet")
        if isinstance(data, str):
            data = to_scalars(data)
        n_bytes = size_in_utf8(data)
        if self._unsent is None:
            self._unsent = Unsent()
        connection = self._connection
        if connection is None or self.ready_state is not ReadyState.OPEN:
            self._unsent.add_never(n_bytes)
            return
        before = self._end_of_output(connection)
        try:
            connection.send(data)
        except ConnectionClosed:
            self._unsent.add_never(n_bytes)
            return
        end = self._end_of_output(connection)
        if self._unsent.add(n_bytes, end - before, end):
            asyncio.get_running_loop().call_soon(self._end_task)

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Begin to close; what was sent before is sent. While connecting, the connection is failed. Idempotent.

        Messages that come from now on are dropped. A close event follows, within `close_timeout`.
        Raises `InvalidAccessError` for a code that is neither 1000 nor 3000 to 4999, `DOMSyntaxError` for a reason of
        more than 123 bytes in UTF-8, in every state. Without a code and a reason the Close frame is empty.
        """
        code, reason = check_close(code, reason)
        state, self._state = self.ready_state, max(self.ready_state, ReadyState.CLOSING)
        if state is ReadyState.CONNECTING:
            self._fail(ConnectionAbortedError("closed before the connection was established"))
        elif state is ReadyState.OPEN and self._connection is not None:
            self._connection.close(code, reason)

    async def wait_opened(self) -> None:
        """Wait until the connection has been established; not in the standard.

        Raises why it could not be: `OSError`, `TimeoutError`, `HandshakeError`. **Cancellation** changes nothing.
        """
        while self._connection is None and self._state is not ReadyState.CLOSED:
            await self._wait()
        if self._connection is None:
            raise self._error or ConnectionClosed(1006)

    async def wait_closed(self) -> None:
        """Wait until the close event has been dispatched; not in the standard. **Cancellation** changes nothing."""
        while self._state is not ReadyState.CLOSED:
            await self._wait()

    # What happens to the connection

    def _tried(self, opening: asyncio.Task[Connection]) -> None:
        """Take the outcome of connecting, where it failed."""
        self._opening = None
        error = why_not(opening)
        if error is not None and self._connection is None:
            self._error = self._error or error
            self._end(was_clean=False, code=1006, reason="")

    def _opened(self, connection: Connection) -> None:
        """Take the connection ("the WebSocket connection is established")."""
        if self._state is not ReadyState.CONNECTING:
            connection.abort()
        elif self._protocols and connection.subprotocol is None:
            self._state = ReadyState.CLOSING
            self._error = unacknowledged()
            connection.abort()
        else:
            self._connection = connection
            self._state = ReadyState.OPEN
            self.extensions = connection.response.headers.get("Sec-WebSocket-Extensions", "")
            self.protocol = connection.subprotocol or ""
            self._dispatch(Event("open", self))
            self._wake()

    def _received(self, message: Data) -> None:
        """Take a message ("a WebSocket message has been received")."""
        if self._state is ReadyState.OPEN and "message" in self._listeners:
            data = message if isinstance(message, str) else BINARY_TYPES[self._binary_type](message)
            self._dispatch(MessageEvent(self, data, self._address.origin))

    def _closed(self, connection: Connection) -> None:
        """Take the end of a connection ("the WebSocket connection is closed")."""
        if connection.has_failed and self._error is None:
            self._error = connection.closed_error()
        core = connection.core
        if core.was_clean and core.close_code is not None:
            self._end(was_clean=True, code=core.close_code, reason=core.close_reason)
        else:
            self._end(was_clean=False, code=1006, reason="")

    def _end(self, *, was_clean: bool, code: int, reason: str) -> None:
        if self._state is ReadyState.CLOSED:
            return
        self._state = ReadyState.CLOSED
        if self._unsent is not None:
            self._unsent.lose(self._n_gone())
        if self._error is not None:
            self._dispatch(ErrorEvent(self, self._error))
        self._dispatch(CloseEvent(self, was_clean, code, reason))
        self._wake()

    def _fail(self, error: Exception) -> None:
        """Give up connecting; the events come in a callback of the loop's own."""
        self._error = error
        if self._opening is not None:
            self._opening.cancel()

    # Coroutines of callbacks

    def _follow(self, work: Coroutine[Any, Any, Any], event: Event) -> None:
        """Run a coroutine beside the others; leave messages where they are while there are too many."""
        n_bytes = size_in_utf8(event.data) if isinstance(event, MessageEvent) else 0
        task = asyncio.get_running_loop().create_task(work)
        if self._work is None:
            self._work = set()
        self._work.add(task)
        self._work_bytes += n_bytes
        task.add_done_callback(partial(self._did, n_bytes))
        if not self._is_paused and self._connection is not None and self._is_busy(1):
            self._is_paused = True
            self._connection.pause_reading()

    def _did(self, n_bytes: int, task: asyncio.Task[Any]) -> None:
        """Take the end of a coroutine."""
        if self._work is not None:
            self._work.discard(task)
            self._work = self._work or None
        self._work_bytes -= n_bytes
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._report(error)
        if self._is_paused and self._connection is not None and not self._is_busy(2):
            self._is_paused = False
            self._connection.resume_reading()

    def _is_busy(self, divisor: int) -> bool:
        """Whether the coroutines are at so many messages, or more than half as many."""
        limits = self._connection.limits if self._connection is not None else None
        n = 0 if self._work is None else len(self._work)
        return limits is not None and (
            n * divisor >= limits.recv_queue_high or self._work_bytes * divisor >= limits.recv_queue_high_bytes
        )

    # Inside

    def _end_task(self) -> None:
        if self._unsent is not None:
            self._unsent.end_task(self._n_gone())

    def _n_gone(self) -> int:
        """Bytes of the output that have been transmitted; all of it where both ends have said Close."""
        connection = self._connection
        if connection is None:
            return 0
        if connection.state is State.CLOSED and connection.was_clean:
            return self._end_of_output(connection)
        return connection.core.stream.sent_bytes

    @staticmethod
    def _end_of_output(connection: Connection) -> int:
        stream = connection.core.stream
        return stream.sent_bytes + stream.buffered_bytes

    async def _wait(self) -> None:
        if self._waiters is None:
            self._waiters = Waiters()
        await self._waiters.wait()

    def _wake(self) -> None:
        if self._waiters is not None:
            self._waiters.wake()


class _Feed(Listener):
    """Tell a WebSocket what happens to its connection."""

    __slots__ = ("_socket",)

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    def on_open(self, ws: Connection) -> None:
        self._socket._opened(ws)

    def on_message(self, ws: Connection, message: Data) -> None:
        self._socket._received(message)

    def on_close(self, ws: Connection, code: int, reason: str) -> None:
        self._socket._closed(ws)
