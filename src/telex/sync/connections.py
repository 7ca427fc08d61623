"""WebSocket connections for threads and scripts: `telex.websocket.connect` with calls that wait.

Rule of this module: faces. What a call does is done by the connection of `telex.websocket` that each face holds, on the
portal's loop; here is only what waiting threads need: their turn, and messages fetched for them.

Messages are fetched as many at a time as have come, so a flood costs two switches between threads for a handful of
messages, and small ones are sent without waiting for the loop while it keeps up.
"""

from __future__ import annotations

import socket
import ssl as ssl_module
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Any, Self, cast

from telex import websocket
from telex.errors import ConnectionClosed
from telex.limits import Limits
from telex.sync.portal import Portal, shared
from telex.types import Data
from telex.websocket import DeflateOptions, Request, Response, State, Statistics, is_transient
from telex.websocket.client import Connecting as AsyncConnecting
from telex.websocket.receivers import QUIET_CODES

__all__ = ["Connecting", "Connection", "connect"]

SMALL = 1024
"""Messages of so many bytes are sent without waiting for the loop. With `MAX_POSTED` of them in its mailbox, 64 KiB are
under way, as much again as `send_buffer_high` lets wait behind them."""


def connect(
    url: str,
    *,
    subprotocols: Sequence[str] = (),
    origin: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    user_agent: str | bool | None = True,
    deflate: DeflateOptions | bool | None = None,
    keepalive: bool = True,
    limits: Limits | None = None,
    open_timeout: float | None = None,
    ssl: ssl_module.SSLContext | None = None,
    server_hostname: str | None = None,
    sock: socket.socket | None = None,
    proxy: str | bool | None = True,
    proxy_ssl: ssl_module.SSLContext | None = None,
    local_address: tuple[str, int] | None = None,
    follow_redirects: bool = True,
    reconnection_delay: float = 1.0,
    reconnection_delay_max: float = 30.0,
    retry_if: Callable[[Exception], bool] = is_transient,
) -> Connecting:
    """Open a connection: `with connect(url) as ws:`, or `ws = connect(url).open()`.

    Or open one after another: `for ws in connect(url):` (see `telex.websocket.Connecting`).

    Args: those of `telex.websocket.connect`, which this is for threads. There is no `listener`: it would be called on
    the background loop's thread, where nothing may block, and where `retry_if` is called too.

    Raises, when entered or opened, what that one raises when awaited; `ValueError` at once for options that cannot be.
    **Interruption** of the wait, by Ctrl-C: the connection is cut.
    """
    return Connecting(
        websocket.connect(
            url,
            subprotocols=subprotocols,
            origin=origin,
            headers=headers,
            user_agent=user_agent,
            deflate=deflate,
            keepalive=keepalive,
            limits=limits,
            open_timeout=open_timeout,
            ssl=ssl,
            server_hostname=server_hostname,
            sock=sock,
            proxy=proxy,
            proxy_ssl=proxy_ssl,
            local_address=local_address,
            follow_redirects=follow_redirects,
            reconnection_delay=reconnection_delay,
            reconnection_delay_max=reconnection_delay_max,
            retry_if=retry_if,
        )
    )


class Connecting:
    """Be a connection to come: enter it with `with`, or `open` it.

    Or go through connections with `for`, one after another for as long as the loop runs: delays, what counts as a
    failure, and what ends the loop are as `telex.websocket.Connecting` says. Each connection is closed when the body of
    the loop is done with it; an exception that leaves the body leaves the loop.
    """

    def __init__(self, connecting: AsyncConnecting) -> None:
        self._connecting = connecting
        self._connection: Connection | None = None

    def open(self) -> Connection:
        """Open the connection. Raises as `connect` says."""
        portal = shared()
        opened: list[Connection] = []

        async def open_it() -> None:
            connection = await self._connecting
            portal.keep(connection, _say_goodbye)
            opened.append(Connection(connection, portal))

        try:
            portal.call(open_it)
        except BaseException:
            for connection in opened:  # interrupted when it was there already
                connection.abort()
            raise
        return opened[0]

    def __enter__(self) -> Connection:
        self._connection = self.open()
        return self._connection

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()

    def __iter__(self) -> Iterator[Connection]:
        portal = shared()
        connections = cast("AsyncGenerator[websocket.Connection, None]", aiter(self._connecting))
        last: websocket.Connection | None = None

        def let_go() -> None:
            if last is not None:
                last.adopt()  # nobody receives any more, so what is still coming may be dropped

        async def go_on() -> websocket.Connection:
            let_go()
            connection = await anext(connections)
            portal.keep(connection, _say_goodbye)
            return connection

        async def leave() -> None:
            let_go()
            await connections.aclose()

        try:
            while True:
                last = portal.call(go_on)
                yield Connection(last, portal)
        finally:
            with suppress(RuntimeError):  # of a portal that has ended
                portal.call(leave)


class Connection:
    """Talk to one peer. Made by `connect`; every method may be called from any thread.

    Calls wait until they are done, and raise `RuntimeError` when the interpreter is ending or the process has forked.
    """

    __slots__ = ("_connection", "_messages", "_portal", "_receiving")

    def __init__(self, connection: websocket.Connection, portal: Portal) -> None:
        self._connection = connection
        self._portal = portal
        self._messages: deque[Data] = deque()  # fetched, and not yet taken
        self._receiving = threading.Lock()

    def __repr__(self) -> str:
        return f"<sync {self._connection!r}>"

    # What is known

    @property
    def subprotocol(self) -> str | None:
        """What was negotiated, or None."""
        return self._connection.subprotocol

    @property
    def request(self) -> Request:
        """The opening handshake's request."""
        return self._connection.request

    @property
    def response(self) -> Response:
        """The answer to it."""
        return self._connection.response

    @property
    def remote_address(self) -> Any:
        """The peer's socket address."""
        return self._connection.remote_address

    @property
    def local_address(self) -> Any:
        """Our own socket address; None once the connection is gone."""
        return self._connection.local_address

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._connection.state

    @property
    def latency(self) -> float | None:
        """The last round trip of a ping in seconds, the keepalive's included."""
        return self._connection.latency

    @property
    def close_code(self) -> int | None:
        """How it ended: the peer's code, ours where the peer broke a rule, 1006 where it was lost; None before."""
        return self._connection.close_code

    @property
    def close_reason(self) -> str:
        """The reason that belongs to `close_code`."""
        return self._connection.close_reason

    @property
    def buffered_bytes(self) -> int:
        """Bytes sent that the operating system has not taken yet."""
        return self._connection.buffered_bytes

    @property
    def limits(self) -> Limits:
        """The bounds this connection keeps."""
        return self._connection.limits

    def statistics(self) -> Statistics:
        """Return what the connection has done so far."""
        known = self._connection.statistics()
        return replace(known, n_waiting=known.n_waiting + len(self._messages))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the stream knows, for example `ssl_object`."""
        return self._connection.get_extra_info(name, default)

    # What a program does

    def send(
        self,
        message: Data | bytearray | memoryview,
        *,
        compress: bool | None = None,
        timeout: float | None = None,
    ) -> None:
        """Send a message, and wait until the peer has room: until at most `send_buffer_high` wait for it.

        Args:
            message: Text or binary. **Ownership**: copied.
            compress: Whether to compress; by default the negotiated options say so, by size.
            timeout: Seconds to wait for room; for ever by default, which `slow_consumer_timeout` bounds.

        A small message has not left yet when this returns, but is on its way to the loop, in order with all others.
        Raises `ConnectionClosed`; `TimeoutError`, and the message is sent all the same; `TypeError` or `ValueError` for
        what is no message, before anything is sent. **Interruption** of the wait: as of the timeout.
        """
        connection = self._connection
        if (
            (type(message) is bytes or (type(message) is str and message.isascii()))  # nothing can be wrong with it
            and len(message) <= SMALL
            and connection.state is State.OPEN
            and connection.buffered_bytes <= connection.limits.send_buffer_high
            and not self._portal.is_behind
        ):
            self._portal.post(lambda: self._send_now(message, compress))
        else:
            self._portal.call_within(timeout, self._send, message, compress)

    def recv(self, timeout: float | None = None) -> Data:
        """Return the next message: `str` for text, `bytes` for binary. Several threads may wait, each gets its own.

        Args:
            timeout: Seconds to wait; for ever by default.

        Raises `ConnectionClosed` when no more will come, `TimeoutError` when none came in time. **Interruption**: loses
        nothing.
        """
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            with suppress(IndexError):
                return self._messages.popleft()
            if not self._receiving.acquire(timeout=-1 if deadline is None else _left(deadline)):
                raise TimeoutError(f"no message within {timeout:g} s")
            try:
                if not self._messages:
                    self._portal.call_within(None if deadline is None else _left(deadline), self._fetch)
            except TimeoutError:
                raise TimeoutError(f"no message within {timeout:g} s") from None
            finally:
                self._receiving.release()

    def __iter__(self) -> Iterator[Data]:
        return self

    def __next__(self) -> Data:
        """Return the next message; end quietly where the peer is done (1000, 1001 or no code)."""
        try:
            return self.recv()
        except ConnectionClosed as error:
            if error.code in QUIET_CODES:
                raise StopIteration from None
            raise

    def ping(self, payload: bytes | None = None, *, timeout: float | None = None) -> float:
        """Send a ping, wait for its answer, and return the round-trip time in seconds.

        Raises `ConnectionClosed`; `TimeoutError`; `ValueError` for a payload over 125 bytes or one that still waits for
        its answer.
        """

        async def ping() -> float:
            return await self._connection.ping(payload)

        return self._portal.call_within(timeout, ping)

    def close(self, code: int | None = 1000, reason: str = "") -> None:
        """Close the connection and wait until it is gone, which takes `close_timeout` at most. Idempotent.

        Messages that have been fetched may still be taken; those that come from now on are dropped.
        Raises `ValueError` or `TypeError` for a code or reason that must not stand in a Close frame. **Interruption**:
        the closing goes on.
        """
        if self._connection.state is State.CLOSED:
            return

        async def close() -> None:
            self._connection.adopt()  # nobody receives any more, so what is still coming may be dropped
            await self._connection.close(code, reason)

        self._portal.call(close)

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._portal.post(self._connection.abort)

    def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until the connection is gone. Messages not yet received stay where they are.

        Raises `TimeoutError`.
        """
        self._portal.call_within(timeout, self._connection.wait_closed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # On the loop

    def _send_now(self, message: Data | bytearray | memoryview, compress: bool | None) -> None:
        with suppress(ConnectionClosed):  # on its way when the connection ended: whoever comes next hears of it
            self._connection.send(message, compress=compress)

    async def _send(self, message: Data | bytearray | memoryview, compress: bool | None) -> None:
        await self._connection.send(message, compress=compress)

    async def _fetch(self) -> None:
        """Fetch the next message, and what has come with it."""
        connection = self._connection
        self._messages.append(await connection.recv())
        for _ in range(connection.statistics().n_waiting):
            self._messages.append(await connection.recv())  # at once


async def _say_goodbye(connection: websocket.Connection) -> None:
    connection.adopt()
    await connection.close(1001, "the program is ending")


def _left(deadline: float) -> float:
    return max(deadline - monotonic(), 0.0)
