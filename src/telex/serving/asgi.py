"""`telex.Server`: the Socket.IO server as an ASGI application.

Rule of this module: ASGI in, Engine.IO requests and channels out. It runs on every ASGI server, needs no lifespan and
uses one when it gets one.

Which requests are ours: standing alone or wrapped around another application, those to the server's `path`; mounted
in a framework, those to the mount point itself, or to `path` below it. Whatever the server's root path is (ASGI
`root_path`), it is left aside.

What ASGI cannot say. Nothing cuts a connection whose peer does not read: the Close frame waits behind what was sent
before, and after `Limits.close_timeout` the call ends and the rest is the ASGI server's affair. Nobody tells how much
of *one* message has left, so a slow peer in the middle of a large one looks like one that takes nothing. Nobody tells
whether a WebSocket connection was lost in order or with a reset.

Source: ASGI 3.0, "HTTP & WebSocket ASGI Message Format" 2.5 and the "Websocket Denial Response" extension.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from http import HTTPStatus
from typing import Any, cast

from telex.engineio import Engine, PeerGone, Request, Response, WebSocketTransport
from telex.limits import Limits
from telex.serving.watchdog import watch
from telex.socketio import Server as SocketServer
from telex.socketio.runners import go_on
from telex.streams.fairness import FRAMES_PER_TURN
from telex.types import Data, Headers, size_of

__all__ = ["App", "Server", "servers_in_use"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

VIOLATION_CODES = (1002, 1007, 1009)
"""With these a server's codec ends a connection whose peer broke the rules. A connection that just went away is
"transport close", as in the original."""

TAKEOVER = "telex.stream"
"""The extension by which `telex.serving.uvicorn.Protocol` offers a connection to be taken out of ASGI."""

PIECE_BYTES = 64 * 1024
"""How much of an answer is handed over at once; servers let the next piece wait until the client has room."""

servers_in_use: weakref.WeakSet[Server] = weakref.WeakSet()
"""Servers that have been asked anything in this process; `telex run` closes them before it waits for their polls."""


class Server(SocketServer):
    """Serve Socket.IO as an ASGI application; for the options see `telex.socketio.Server`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI scope."""
        await self._serve(scope, receive, send, None)

    def wrap(self, app: App) -> App:
        """Return an ASGI application that serves Socket.IO at `path` and hands everything else to `app`."""

        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            await self._serve(scope, receive, send, app)

        return wrapped

    def note_use(self) -> None:
        """Be among the servers in use, which are closed in time and watched."""
        servers_in_use.add(self)
        if self.limits.slow_handler is not None:
            watch(self.limits.slow_handler, servers_in_use)

    def is_own_path(self, path: str) -> bool:
        """Whether a path, without the root path, is this server's."""
        return path.rstrip("/") == self.path.rstrip("/")

    async def _serve(self, scope: Scope, receive: Receive, send: Send, other: App | None) -> None:
        self.note_use()
        kind = scope["type"]
        if kind == "lifespan":
            await self._serve_lifespan(scope, receive, send, other)
        elif kind in ("http", "websocket") and self._is_ours(scope, is_alone=other is None):
            await (serve_http if kind == "http" else serve_websocket)(self.engine, scope, receive, send)
        elif kind == "http" and (response := self._find_file(scope, is_alone=other is None)) is not None:
            with contextlib.suppress(OSError):  # the client has left
                await respond(scope, send, response)
        elif other is not None:
            await other(scope, receive, send)
        elif kind in ("http", "websocket"):
            await respond(scope, send, self._wrong_path(scope))
        else:
            raise ValueError(f"an ASGI scope of type {kind!r} is not known")

    def _is_ours(self, scope: Scope, *, is_alone: bool) -> bool:
        root: str = scope.get("root_path", "").rstrip("/")
        path: str = scope["path"]
        local = path.removeprefix(root)
        is_mount_point = is_alone and root != "" and path.startswith(root) and local.rstrip("/") == ""
        return is_mount_point or self.is_own_path(local)

    def _find_file(self, scope: Scope, *, is_alone: bool) -> Response | None:
        """Answer a request for one of the client's files, which lie right below the path."""
        folder, _, name = scope["path"].rpartition("/")
        if self.client_files is None or not self._is_ours({**scope, "path": folder}, is_alone=is_alone):
            return None
        return self.client_files.answer(name, make_request(scope))

    def _wrong_path(self, scope: Scope) -> Response:
        right = scope.get("root_path", "").rstrip("/") + self.path.rstrip("/") + "/"
        self.engine.log(
            logging.WARNING,
            "wrong path",
            "a request for %r, where there is nothing: the Socket.IO server is at %r (the option path, on both ends)",
            scope["path"][:200],
            right,
        )
        text = f"There is nothing at this path: the Socket.IO server is at {right}\n"
        return Response(404, [("content-type", "text/plain; charset=utf-8")], text.encode())

    async def _serve_lifespan(self, scope: Scope, receive: Receive, send: Send, other: App | None) -> None:
        async def receive_and_close() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self.close()  # while what the application opened at its start is still there
            return message

        if other is not None:
            await other(scope, receive_and_close, send)
        else:
            await receive_and_close()
            await send({"type": "lifespan.startup.complete"})
            await receive_and_close()
            await send({"type": "lifespan.shutdown.complete"})


async def serve_http(engine: Engine, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one long-polling request."""
    try:
        response = await engine.handle(make_request(scope), HttpBody(receive))
    except PeerGone:
        return
    try:
        await respond(scope, send, response)
    except BaseException as error:
        if response.delivery is not None:
            response.delivery.lost()
        if not isinstance(error, OSError):  # which says that the client has left
            raise


async def serve_websocket(engine: Engine, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket connection, from its opening handshake to its end."""
    await receive()  # "websocket.connect"
    takeover = (scope.get("extensions") or {}).get(TAKEOVER)
    request = make_request(scope, None if takeover is None else takeover.headers_of(scope))
    admission = await engine.admit_websocket(request)
    if isinstance(admission, Response):
        with contextlib.suppress(OSError):  # the client has left
            await respond(scope, send, admission)
        return
    try:
        await send({"type": "websocket.accept", "headers": encode_headers(admission.headers)})
    except BaseException as error:
        admission.cancel()
        if not isinstance(error, OSError):
            raise
        return
    if takeover is not None and takeover.take(engine, admission, scope):
        return
    channel = WebSocketChannel(receive, send, engine.limits)
    await channel.serve(admission.start(channel))


class HttpBody:
    """Read the body of an ASGI request."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_more = True
        self._begun: tuple[Any, Any] | None = None  # a call of `receive` that has suspended, and what it has yielded

    def read_nowait(self) -> bytes | None:
        """Return the whole body if it is there already; else None, and nothing is read.

        Servers have a small body at hand when they call the application, and then their `receive` does not suspend.
        """
        coroutine: Any = self._receive()
        try:
            yielded = coroutine.send(None)
        except StopIteration as stop:
            message = stop.value
        else:
            self._begun = coroutine, yielded
            return None
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._has_more = False
            return cast("bytes", message.get("body", b""))
        self._begun = message, None
        return None

    async def _next(self) -> Message:
        """Return the next message, be it one that was asked for before."""
        if self._begun is None:
            return await self._receive()
        (begun, yielded), self._begun = self._begun, None
        return begun if isinstance(begun, MutableMapping) else await _Rest(begun, yielded)

    async def read(self) -> bytes | None:
        """Return the next piece, or `None` after the last. Raises `PeerGone`."""
        if not self._has_more:
            return None
        message = await self._next()
        if message["type"] == "http.disconnect":
            raise PeerGone
        self._has_more = message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body

    async def wait_gone(self) -> None:
        """Return when the client has left."""
        while (await self._next())["type"] != "http.disconnect":
            pass


class _Rest:
    """Await the rest of a coroutine that was stepped once."""

    def __init__(self, coroutine: Any, yielded: Any) -> None:
        self._coroutine = coroutine
        self._yielded = yielded

    def __await__(self) -> Generator[Any, Any, Any]:
        return go_on(self._yielded, self._coroutine.send, self._coroutine.throw)


class WebSocketChannel:
    """Carry messages over an ASGI WebSocket connection.

    What is sent waits in a queue while the server's own `send` waits for room, so `buffered_bytes` tells how far the
    peer lags; the task that empties the queue lives only while there is something in it. Once a Close frame is asked
    for, the peer and the server have `Limits.close_timeout` to end the connection.
    """

    def __init__(self, receive: Receive, send: Send, limits: Limits) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._transport: WebSocketTransport | None = None
        self._queue: deque[tuple[Message, int]] = deque()  # with the bytes that each weighs
        self._writer: asyncio.Task[None] | None = None
        self._reading = asyncio.Event()
        self._reading.set()
        self._is_full = False  # until the transport hears that there is room again
        self._is_closing = False  # nothing more may be sent
        self._timeout: asyncio.Timeout | None = None  # while `serve` runs: none until the closing begins
        self.buffered_bytes = 0

    async def serve(self, transport: WebSocketTransport) -> None:
        """Hand what comes to the transport until the connection ends."""
        self._transport = transport
        is_clean = False
        try:
            async with asyncio.timeout(None) as self._timeout:
                self._limit()
                is_clean = await self._read(transport)
        except TimeoutError:
            pass  # the ASGI server ends the connection
        finally:
            self._timeout = None
            self._is_closing = True
            transport.channel_closed(is_clean=is_clean)
            self._drop()

    async def _read(self, transport: WebSocketTransport) -> bool:
        """Read to the end; return whether it came without a violation.

        While it is paused, one message is asked for and held back: else nobody would say that the client has left.
        """
        while True:
            for _ in range(FRAMES_PER_TURN):
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    return message.get("code") not in VIOLATION_CODES
                await self._reading.wait()  # so that while it is paused a client that leaves is heard
                text = message.get("text")
                transport.message_received(message["bytes"] if text is None else text)
            await asyncio.sleep(0)  # what a server has at hand it gives without a pause

    def send(self, message: Data, compress: bool) -> None:
        """Send one message; ASGI has no word for compression, so `compress` is the server's affair."""
        if not self._is_closing:
            kind = "bytes" if isinstance(message, bytes) else "text"
            self._put({"type": "websocket.send", kind: message}, size_of(message))

    def close(self, code: int, reason: str = "") -> None:
        """Send what waits, then the Close frame."""
        if not self._is_closing:
            self._begin_closing()
            self._put({"type": "websocket.close", "code": code, "reason": reason}, 0)

    def abort(self, code: int) -> None:
        """Send the Close frame now; what waits is lost."""
        if self._queue or not self._is_closing:  # else it has left, or is leaving
            self._drop()
            self._begin_closing()
            self._put({"type": "websocket.close", "code": code, "reason": ""}, 0)

    def pause_reading(self) -> None:
        """Take nothing more from the peer until `resume_reading`."""
        if not self._is_closing:
            self._reading.clear()

    def resume_reading(self) -> None:
        """Take from the peer again."""
        self._reading.set()

    def _begin_closing(self) -> None:
        self._is_closing = True
        self._reading.set()  # what still comes is dropped, but the end must be heard
        self._limit()

    def _limit(self) -> None:
        if self._is_closing and self._timeout is not None and self._timeout.when() is None:
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._limits.close_timeout)

    def _put(self, message: Message, n_bytes: int) -> None:
        self._queue.append((message, n_bytes))
        self.buffered_bytes += n_bytes
        self._is_full = self._is_full or self.buffered_bytes > self._limits.send_buffer_high
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        try:
            while self._queue:
                message, n_bytes = self._queue.popleft()
                await self._send(message)
                self.buffered_bytes -= n_bytes
                self._tell_room()
        except Exception:  # servers differ in what they raise when the peer is gone; `receive` then says so too
            self._begin_closing()
            self._drop()
        self._writer = None

    def _drop(self) -> None:
        """Let go of what waits and of what is being sent."""
        self._queue.clear()
        self.buffered_bytes = 0
        writer, self._writer = self._writer, None
        if writer is not None and writer is not asyncio.current_task():
            writer.cancel()

    def _tell_room(self) -> None:
        if self._is_full and self._transport is not None and self.buffered_bytes <= self._limits.send_buffer_high:
            self._is_full = False
            self._transport.writing_resumed()


def make_request(scope: Scope, headers: Headers | None = None) -> Request:
    """Read an ASGI scope; `headers` are its headers, where somebody has read them already."""
    if headers is None:
        headers = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    return Request(
        method=scope.get("method", "GET"),
        path=scope["path"],
        query_string=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        is_secure=scope.get("scheme") in ("https", "wss"),
        remote_address=scope.get("client"),
        scope=scope,
    )


def encode_headers(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Write headers as ASGI wants them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def respond(scope: Scope, send: Send, response: Response) -> None:
    """Answer a request, or refuse a WebSocket connection, with an HTTP response."""
    prefix = scope["type"]
    body = response.body
    if prefix == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008, "reason": body.decode()[:120]})
            return
        prefix = "websocket.http"
    # A 304 tells the length of what it spares the client, or nothing (RFC 9110 §8.6).
    length = [] if response.status == HTTPStatus.NOT_MODIFIED else [("content-length", str(len(body)))]
    headers = encode_headers([*response.headers, *length])
    await send({"type": f"{prefix}.response.start", "status": response.status, "headers": headers})
    for start in range(0, len(body) or 1, PIECE_BYTES):
        n_left = max(len(body) - start - PIECE_BYTES, 0)
        if response.delivery is not None:
            response.delivery.leaving(n_left, len(body))
        piece = body[start : start + PIECE_BYTES]
        await send({"type": f"{prefix}.response.body", "body": piece, "more_body": n_left > 0})
