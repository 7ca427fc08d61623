"""`WebSocketStream`: the proposed successor of the WHATWG's `WebSocket`, with backpressure both ways.

Rule of this module: the proposal's steps, over a `Connection` that is read with `recv`: its inbox is the readable's
queue, and while that is full the server is not read.

Where the proposal drops what a program does too late, this raises; where a promise is rejected, awaiting it raises. The
proposal's abort signal is cancellation: whoever gives up waiting for `opened` gives up connecting.

Source: the WebSocketStream explainer; whatwg/websockets, pull request 48.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, Unpack

from telex.errors import ConnectionClosed, InvalidStateError, WebSocketError
from telex.types import Data
from telex.websocket.api import Connection
from telex.websocket.waiting import DONE, Acted, Waiters
from telex.websocket.whatwg_opening import Options, begin, start, unacknowledged, why_not
from telex.websocket.whatwg_rules import check_close, to_scalars

__all__ = ["CloseInfo", "OpenInfo", "Promise", "Readable", "WebSocketStream", "Writable"]

T = TypeVar("T")


class Promise(Generic[T]):
    """Be a value to come: may be awaited any number of times, by any number of tasks."""

    __slots__ = ("_wait",)

    def __init__(self, wait: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait().__await__()


@dataclass(frozen=True, slots=True)
class OpenInfo:
    """Be what is known once a connection has been established."""

    readable: Readable
    """The messages that come."""
    writable: Writable
    """Where messages are sent."""
    extensions: str
    """The extensions that the server chose, or ""."""
    protocol: str
    """The subprotocol that it chose, or ""."""


@dataclass(frozen=True, slots=True)
class CloseInfo:
    """Be how a connection has ended."""

    close_code: int
    """The server's close code; 1005 where its Close had none."""
    reason: str
    """The server's reason."""


class WebSocketStream:
    """Be a WebSocket as a pair of streams. Making one begins to connect; a running event loop is needed.

    Args:
        url: `ws://`, `wss://`, `http://` or `https://`.
        protocols: The subprotocols to offer. Connecting fails where the server chooses none.
        options: Those of `connect`. By default permessage-deflate is offered, as browsers do.

    Raises `DOMSyntaxError` for a URL with a fragment or that is none, and for subprotocols that are no tokens or
    repeated; `RuntimeError` where no loop runs; `ValueError` and `TypeError` as `connect`.
    **Limits**: those of `Connection`.
    """

    __slots__ = ("__weakref__", "_address", "_connection", "_error", "_info", "_opening", "_protocols", "_waiters")

    def __init__(self, url: str, *, protocols: Iterable[str] = (), **options: Unpack[Options]) -> None:
        self._connection: Connection | None = None
        self._info: OpenInfo | None = None
        self._error: BaseException | None = None  # why there never was a connection
        self._waiters = Waiters()
        asyncio.get_running_loop()
        self._address, self._protocols, connecting = begin(url, protocols, options)
        self._opening: asyncio.Task[Connection] | None = start(connecting, self._tried)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    @property
    def url(self) -> str:
        """The URL, serialized."""
        return self._address.url

    @property
    def opened(self) -> Promise[OpenInfo]:
        """Wait until the connection has been established: `readable`, `writable`, `extensions`, `protocol`.

        Raises `WebSocketError` where that fails; its `__cause__` says why (`OSError`, `TimeoutError`,
        `HandshakeError`). **Cancellation** of the wait, in whatever task, gives up connecting.
        """
        return Promise(self._wait_opened)

    @property
    def closed(self) -> Promise[CloseInfo]:
        """Wait until the connection is gone: `close_code` and `reason`.

        Raises `WebSocketError` where it did not end cleanly, with 1006, or was never established. Where the task that
        reads waits here, messages that find the queue full are dropped. **Cancellation** of the wait changes nothing.
        """
        return Promise(self._wait_closed)

    def close(self, close_code: int | None = None, reason: str = "") -> Acted:
        """Begin to close at once; awaiting the result waits until the connection is gone. Idempotent.

        Messages that come from now on are dropped. While connecting, that is given up.
        Raises `InvalidAccessError` for a code that is neither 1000 nor 3000 to 4999, `DOMSyntaxError` for a reason of
        more than 123 bytes in UTF-8. A reason without a code goes with 1000.
        """
        close_code, reason = check_close(close_code, reason)
        if self._connection is not None:
            self._connection.close(close_code, reason)
        elif self._opening is not None:
            self._give_up(ConnectionAbortedError("closed before the connection was established"))
        return Acted(lambda: self._wait_gone().__await__())

    # Inside

    def _tried(self, opening: asyncio.Task[Connection]) -> None:
        """Take the outcome of connecting."""
        self._opening = None
        error = why_not(opening)
        if error is None:
            connection = opening.result()
            if self._protocols and connection.subprotocol is None:
                connection.abort()
                error = unacknowledged()
            else:
                self._connection = connection
                self._info = OpenInfo(
                    readable=Readable(self, connection),
                    writable=Writable(self, connection),
                    extensions=connection.response.headers.get("Sec-WebSocket-Extensions", ""),
                    protocol=connection.subprotocol or "",
                )
        self._error = self._error or error
        self._waiters.wake()

    def _give_up(self, error: Exception) -> None:
        if self._opening is not None and self._error is None:
            self._error = error
            self._opening.cancel()

    async def _wait_opened(self) -> OpenInfo:
        try:
            while self._opening is not None:
                await self._waiters.wait()
        except asyncio.CancelledError:
            self._give_up(ConnectionAbortedError("nobody waited for the connection any more"))
            raise
        if self._info is None:
            raise WebSocketError("the connection could not be established") from self._error
        return self._info

    async def _wait_closed(self) -> CloseInfo:
        await self._wait_gone()
        if self._connection is None:
            raise WebSocketError("the connection could not be established", 1006) from self._error
        if not self._connection.was_clean:
            cause = self._connection.closed_error()
            raise unclean(cause) from cause
        core = self._connection.core
        return CloseInfo(1005 if core.close_code is None else core.close_code, core.close_reason)

    async def _wait_gone(self) -> None:
        while self._opening is not None:
            await self._waiters.wait()
        if self._connection is not None:
            await self._connection.wait_closed()


def unclean(cause: ConnectionClosed) -> WebSocketError:
    """Return what to raise where a connection did not end cleanly, from what Telex knows of it."""
    return WebSocketError(f"the connection did not end cleanly: {cause.code} {cause.reason}".rstrip(), 1006)


class Readable:
    """Give the messages of a `WebSocketStream`: `async for message in readable`, or `await anext(readable)`.

    A message is `str` or `bytes`. The iteration ends with the connection, and raises `WebSocketError` where that did
    not end cleanly. One task at a time may wait here. **Cancellation** loses nothing.
    """

    __slots__ = ("_connection", "_is_cancelled", "_stream")

    def __init__(self, stream: WebSocketStream, connection: Connection) -> None:
        self._stream = stream
        self._connection = connection
        self._is_cancelled = False

    def __aiter__(self) -> AsyncIterator[Data]:
        return self

    async def __anext__(self) -> Data:
        """Return the next message."""
        if not self._is_cancelled:
            try:
                message = await self._connection.recv()
            except ConnectionClosed as cause:
                if not self._connection.was_clean:
                    raise unclean(cause) from cause
            else:
                if not self._is_cancelled:
                    return message
        raise StopAsyncIteration

    def cancel(self, reason: WebSocketError | None = None) -> Acted:
        """Read no more: drop what has come, and close, with the code and reason of the error.

        Awaiting the result waits until the connection is gone. Raises as `WebSocketStream.close`.
        """
        closing = _close_with(self._stream, reason)
        self._is_cancelled = True
        return closing


class Writable:
    """Send the messages of a `WebSocketStream`."""

    __slots__ = ("_connection", "_stream")

    def __init__(self, stream: WebSocketStream, connection: Connection) -> None:
        self._stream = stream
        self._connection = connection

    def write(self, message: Data | bytearray | memoryview) -> Acted:
        """Send a message at once: text for `str`, else binary; awaiting the result waits until there is room.

        A lone surrogate is sent as U+FFFD. Raises `InvalidStateError` once the connection is closing (the proposal
        would drop the message), `WebSocketError` where it was lost, `TypeError` for what is no message.
        **Ownership**: copied. **Cancellation** of the wait: the message is sent all the same.
        """
        if isinstance(message, str):
            message = to_scalars(message)
        try:
            sent = self._connection.send(message)
        except ConnectionClosed as cause:
            raise self._too_late(cause) from cause
        return DONE if sent is DONE else Acted(lambda: self._wait(sent).__await__())

    def close(self) -> Acted:
        """Close, after what was written; awaiting the result waits until the connection is gone."""
        return self._stream.close()

    def abort(self, reason: WebSocketError | None = None) -> Acted:
        """Close, with the code and reason of the error. What was written and has not left yet is sent all the same.

        Awaiting the result waits until the connection is gone. Raises as `WebSocketStream.close`.
        """
        return _close_with(self._stream, reason)

    async def _wait(self, sent: Acted) -> None:
        try:
            await sent
        except ConnectionClosed as cause:
            raise self._too_late(cause) from cause

    def _too_late(self, cause: ConnectionClosed) -> WebSocketError | InvalidStateError:
        connection = self._connection
        if connection.close_code is None or connection.was_clean:  # we have said Close, or the server too
            return InvalidStateError("a closed WebSocketStream cannot be written to")
        return unclean(cause)


def _close_with(stream: WebSocketStream, reason: WebSocketError | None) -> Acted:
    return stream.close() if reason is None else stream.close(reason.close_code, reason.reason)
