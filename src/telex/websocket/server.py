"""Serve plain WebSockets on asyncio.

Rule of this module: it accepts connections, leads each through its opening handshake and hands it to the program; what
is right and wrong in a handshake is `handshake.py`'s to say, and everything after it is `Connection`'s.

A stream is counted until it is lost, whatever state it is in, and always has a deadline: `handshake_timeout` until it
is a connection, `close_timeout` after a refusal. Over TCP it counts from the moment it is accepted, over TLS from the
end of the TLS handshake: asyncio says nothing of one before, and itself ends it after `handshake_timeout`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import socket
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from telex.errors import ConnectionClosed, HandshakeError
from telex.limits import Limits
from telex.streams import AsyncioStream, Deadline, Listening, Poll, Stream, deadlines_of, poll_of
from telex.tokens import token_bytes
from telex.types import Headers
from telex.websocket.api import Connection
from telex.websocket.connection import Role, State
from telex.websocket.deflate import DeflateOptions
from telex.websocket.frames import encode_close
from telex.websocket.handshake import Origin, Request, RequestReader, Response, accept, parse_origins, refuse, reject
from telex.websocket.receivers import Listener
from telex.websocket.waiting import Waiters

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows, whose limit is not told; its default event loop takes many more than we then allow
    resource = None

__all__ = ["Server", "serve"]

logger = logging.getLogger("telex.websocket")

Handler = Callable[[Connection], Awaitable[None]]
ProcessRequest = Callable[[Request], "Response | Awaitable[Response | None] | None"]

RETRY_AFTER_SECONDS = 5
"""What a client is told that finds the server full."""

SAMPLE = Request(
    "GET",
    "/",
    Headers(
        [
            ("Host", "localhost"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]
    ),
)
"""A sound request, by which `serve` finds out whether it can answer any."""

WINDOWS_MAX_CONNECTIONS = 10_000

REFUSALS_SHARE = 0.1
"""Room for streams that are told 503, as a share of `max_connections`; what comes beyond that is cut without a word."""


def serve(
    handler: Handler | type[Listener] | Listener,
    host: str | Sequence[str] | None = None,
    port: int = 0,
    *,
    subprotocols: Sequence[str] = (),
    origins: Iterable[str] | None = None,
    require_origin: bool = False,
    deflate: DeflateOptions | bool | None = None,
    headers: Iterable[tuple[str, str]] = (),
    process_request: ProcessRequest | None = None,
    keepalive: bool = True,
    limits: Limits | None = None,
    ssl: ssl_module.SSLContext | None = None,
    sock: socket.socket | None = None,
    backlog: int = 1024,
    reuse_port: bool | None = None,
) -> Serving:
    """Serve WebSockets: `async with serve(...) as server:`, or `server = await serve(...)`.

    Args:
        handler: A coroutine function that is given each connection, which is closed with 1000 when it returns and with
            1011 when it raises; or a `Listener` class, of which each connection gets its own object; or a `Listener`
            that all connections share.
        host, port, sock, backlog, reuse_port: Where to listen, as for `loop.create_server`. Port 0 takes a free one.
        subprotocols: Those the program speaks; the first of the client's among them is agreed on.
        origins: The web origins whose pages may connect (`https://example.com`); None allows all.
        require_origin: Refuse clients that send no `Origin`, which browsers always do.
        deflate: permessage-deflate: options, True for the default ones, None or False for none.
        headers: Further header fields of the 101.
        process_request: Called with each sound request before it is accepted; plain or a coroutine function. A
            `Response` it returns (see `telex.websocket.reject`) is sent instead of the 101.
        keepalive: Ping each peer every `ping_interval` and give it up when it does not answer.
        ssl: Serve `wss://` with this context.

    Raises `TypeError` and `ValueError` for wrong options at once, `OSError` when listening fails.
    **Limits**: `handshake_timeout`, `max_connections`, those of the head, and those of `Connection`.
    """
    make_listener = _listener_factory(handler)
    options = _Options(
        handler=None if make_listener is not None else handler,  # type: ignore[arg-type]  # it is no listener here
        make_listener=make_listener,
        subprotocols=_strings(subprotocols, "subprotocols"),
        origins=None if origins is None else parse_origins(_strings(origins, "origins")),
        require_origin=require_origin,
        deflate=DeflateOptions() if deflate is True else deflate or None,
        headers=tuple(headers),
        process_request=process_request,
        keepalive=keepalive,
        limits=limits or Limits(),
    )
    accept(SAMPLE, headers=options.headers)[0].encode()  # bad header fields are found now and not with the first peer
    where: dict[str, Any] = {"ssl": ssl, "backlog": backlog}
    if ssl is not None:
        where["ssl_handshake_timeout"] = options.limits.handshake_timeout
    if sock is not None:
        where["sock"] = sock
    else:
        where |= {"host": host, "port": port, "reuse_port": reuse_port}
    return Serving(options, where)


class Serving:
    """Be a server to come: enter it with `async with`, or await it."""

    def __init__(self, options: _Options, where: dict[str, Any]) -> None:
        self._options = options
        self._where = where
        self._server: Server | None = None

    def __await__(self) -> Generator[Any, None, Server]:
        return self._start().__await__()

    async def __aenter__(self) -> Server:
        self._server = await self._start()
        return self._server

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _start(self) -> Server:
        server = Server(self._options)
        await server._listen(self._where)
        return server


class Server:
    """Serve until closed. Made by `serve`."""

    def __init__(self, options: _Options) -> None:
        self._options = options
        self._loop = asyncio.get_running_loop()
        limits = options.limits
        self._max_streams = limits.max_connections or default_max_connections()
        self._openings: set[_Opening] = set()
        self._connections: dict[Connection, None] = {}  # a set, in half the space
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self._accepting: list[Listening] = []  # where the compiled loop does it
        self._changed = Waiters()
        self._is_closing = False

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets that are listened on."""
        return () if self._listening is None else tuple(self._listening.sockets)

    @property
    def port(self) -> int:
        """The port of the first socket."""
        port: int = self.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> frozenset[Connection]:
        """The connections that are there now, for `broadcast` for example."""
        return frozenset(self._connections)

    def close(self, code: int = 1001, reason: str = "") -> None:
        """Accept nothing more and begin to close every connection. **Next**: `wait_closed`.

        Raises `ValueError` or `TypeError` for a code or reason that must not stand in a Close frame.
        """
        encode_close(code, reason)  # before anything is closed
        if self._is_closing:
            return
        self._is_closing = True
        for accepting in self._accepting:
            accepting.close()
        if self._listening is not None:
            self._listening.close()
        for opening in list(self._openings):
            opening.refuse(reject(503, "The server is going away."))
        for connection in list(self._connections):
            connection.close(code, reason)
        self._changed.wake()

    async def wait_closed(self) -> None:
        """Wait until `close` was called, and all connections are gone and their handlers have returned.

        Connections take `close_timeout` at most. Handlers get as long again before they are cancelled.
        """
        while not self._is_closing or self._openings or self._connections:
            await self._changed.wait()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._options.limits.close_timeout)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        if self._listening is not None:
            await self._listening.wait_closed()

    # Inside

    async def _listen(self, where: dict[str, Any]) -> None:
        poll = None if where["ssl"] is not None else poll_of(self._loop)
        self._listening = await self._loop.create_server(self._accept, **where, start_serving=poll is None)
        if poll is None:
            return
        for listener in self._listening.sockets:  # bound by the event loop, and listened on by us
            with socket.socket(fileno=os.dup(listener.fileno())) as same:
                same.setblocking(False)
                same.listen(where["backlog"])
            self._accepting.append(poll.listen(listener.fileno(), functools.partial(self._accept_descriptor, poll)))

    def _accept(self) -> AsyncioStream:
        opening = _Opening(self)
        opening.stream = stream = _Stream(opening, self)
        return stream

    def _accept_descriptor(self, poll: Poll, descriptor: int) -> None:
        opening = _Opening(self)
        try:
            opening.stream = poll.adopt(descriptor, opening, high_mark=self._options.limits.send_buffer_high)
        except OSError:
            os.close(descriptor)
            raise
        opening.begin()

    def _made(self, opening: _Opening) -> None:
        """Count a stream from here on: one whose TLS handshake fails never gets here, nor is it ever told so."""
        self._openings.add(opening)
        if self._is_closing or self._is_overrun():
            opening.stream.abort()

    @property
    def _n_streams(self) -> int:
        return len(self._openings) + len(self._connections)

    def _is_full(self) -> bool:
        return self._n_streams > self._max_streams

    def _is_overrun(self) -> bool:
        return self._n_streams > self._max_streams * (1 + REFUSALS_SHARE) + 1

    def _forget_opening(self, opening: _Opening) -> None:
        self._openings.discard(opening)
        self._changed.wake()

    def connection_ended(self, connection: Connection) -> None:
        """Learn that a connection is gone."""
        self._connections.pop(connection, None)
        self._changed.wake()

    def _opened(self, connection: Connection, early: bytes) -> None:
        self._connections[connection] = None
        connection.open(early)
        if self._options.handler is not None:
            self._spawn(self._run(self._options.handler, connection))

    def _spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, handler: Handler, connection: Connection) -> None:
        """Run a handler and close its connection behind it."""
        code = 1000
        connection.adopt()
        try:
            await handler(connection)
        except ConnectionClosed:
            if connection.state is State.OPEN:  # another connection of the handler's, so its own trouble
                logger.exception("the handler of %r failed", connection)
                code = 1011
        except asyncio.CancelledError:
            code = 1001
            raise
        except Exception:
            logger.exception("the handler of %r failed", connection)
            code = 1011
        finally:
            connection.close(code)


class _Stream(AsyncioStream):
    """Tell its opening when it has a transport."""

    __slots__ = ("_opening",)

    def __init__(self, opening: _Opening, server: Server) -> None:
        super().__init__(opening, loop=server._loop, high_mark=server._options.limits.send_buffer_high)
        self._opening: _Opening | None = opening

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.begin()


class _Opening:
    """Lead one stream through its opening handshake: its sink until it is a connection or lost."""

    __slots__ = ("_deadline", "_is_silent", "_reader", "_server", "stream")

    def __init__(self, server: Server) -> None:
        self.stream: Stream  # set by whoever makes this
        self._server = server
        self._reader: RequestReader | None = RequestReader(server._options.limits)  # None once there is an answer
        self._is_silent = True
        self._deadline: Deadline | None = None

    def begin(self) -> None:
        """Wait for a request, but not for ever."""
        self._set_deadline(self._server._options.limits.handshake_timeout, self._time_out)
        self._server._made(self)

    # The sink.

    def data_received(self, data: bytes) -> None:
        self._is_silent = False
        if self._reader is None:
            return
        server = self._server
        if server._is_full():
            self.refuse(reject(503, "The server is full.", [("Retry-After", str(RETRY_AFTER_SECONDS))]))
            return
        try:
            request = self._reader.feed(data)
        except HandshakeError as error:
            self.refuse(refuse(error))
            return
        if request is not None:
            self._answer(request)

    def eof_received(self) -> None:
        self.stream.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._cancel_deadline()
        self._reader = None
        self._server._forget_opening(self)

    def writing_resumed(self) -> None:
        pass

    # Inside.

    def _time_out(self) -> None:
        if self._reader is None or self._is_silent:
            self.stream.abort()
        else:
            self.refuse(reject(408, "The opening handshake took too long."))

    def refuse(self, response: Response) -> None:
        """Send a response that is not 101, and end; the peer gets `close_timeout` to read it."""
        if self.stream.is_closing:
            return
        logger.debug("%s: refused with %s", self.stream.get_extra_info("peername"), response.status)
        self._reader = None
        self.stream.write(response.encode())
        self.stream.close()
        self._set_deadline(self._server._options.limits.close_timeout, self.stream.abort)

    def _set_deadline(self, seconds: float, callback: Callable[[], None]) -> None:
        """Have this deadline and no other."""
        self._cancel_deadline()
        loop = self._server._loop
        self._deadline = deadlines_of(loop).at(loop.time() + seconds, callback)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _answer(self, request: Request) -> None:
        """Accept or refuse a request; the program's hook, where there is one, decides first."""
        options = self._server._options
        try:
            # Before the hook, so that it is asked about sound requests only.
            agreed = accept(
                request,
                subprotocols=options.subprotocols,
                origins=options.origins,
                require_origin=options.require_origin,
                deflate=options.deflate,
                headers=options.headers,
            )
            verdict = None if options.process_request is None else options.process_request(request)
            if inspect.isawaitable(verdict):
                self.stream.pause_reading()
                self._server._spawn(self._answer_later(request, agreed, verdict))
                return
        except HandshakeError as error:
            self.refuse(refuse(error))
            return
        except Exception:
            logger.exception("process_request failed")
            self.refuse(reject(500, "Internal server error."))
            return
        self._conclude(request, agreed, verdict)

    async def _answer_later(self, request: Request, agreed: Any, waiting: Awaitable[Response | None]) -> None:
        try:
            verdict = await waiting
        except HandshakeError as error:
            verdict = refuse(error)
        except Exception:
            logger.exception("process_request failed")
            verdict = reject(500, "Internal server error.")
        self.stream.resume_reading()
        self._conclude(request, agreed, verdict)

    def _conclude(self, request: Request, agreed: Any, verdict: Response | None) -> None:
        reader, server = self._reader, self._server
        if reader is None or self.stream.is_closing:
            return
        if verdict is not None:
            self.refuse(verdict)
            return
        response, negotiated = agreed
        options = server._options
        try:
            listener = None if options.make_listener is None else options.make_listener()
        except Exception:
            logger.exception("the listener could not be made")
            self.refuse(reject(500, "Internal server error."))
            return
        self._reader = None
        self._cancel_deadline()
        connection = Connection(
            Role.SERVER,
            self.stream,
            listener=listener,
            request=request,
            response=response if options.headers or negotiated.deflate is not None else None,
            subprotocol=negotiated.subprotocol,
            deflate=negotiated.deflate,
            limits=options.limits,
            keepalive=options.keepalive,
            token=token_bytes,
            owner=server,
        )
        self.stream.write(response.encode())
        self.stream.sink = connection
        server._openings.discard(self)
        server._opened(connection, reader.leftover)


@dataclass(frozen=True)
class _Options:
    """Be what `serve` was told, checked."""

    handler: Handler | None
    make_listener: Callable[[], Listener] | None
    subprotocols: tuple[str, ...]
    origins: frozenset[Origin] | None
    require_origin: bool
    deflate: DeflateOptions | None
    headers: tuple[tuple[str, str], ...]
    process_request: ProcessRequest | None
    keepalive: bool
    limits: Limits


def _listener_factory(handler: Handler | type[Listener] | Listener) -> Callable[[], Listener] | None:
    """Return what gives each connection its listener; None where the handler is a coroutine function."""
    if isinstance(handler, Listener):
        return lambda: handler
    if isinstance(handler, type):
        if not issubclass(handler, Listener):
            raise TypeError(f"{handler.__name__} is no telex.websocket.Listener")
        return handler
    if not callable(handler):
        raise TypeError(f"a handler is a coroutine function or a Listener, not {handler!r}")
    return None


def _strings(values: Iterable[str], name: str) -> tuple[str, ...]:
    """Return several strings; one alone would be taken for its letters."""
    if isinstance(values, str):
        raise TypeError(f"{name} are several strings, not one")
    return tuple(values)


def default_max_connections() -> int:
    """Return 80 % of the file descriptors this process may open; the rest is for everything else it does."""
    if resource is None:
        return WINDOWS_MAX_CONNECTIONS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1_000_000 if soft == resource.RLIM_INFINITY else max(1, soft * 8 // 10)
