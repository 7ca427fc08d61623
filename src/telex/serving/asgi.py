"""`telex.Server`: the Socket.IO server as an ASGI application.

Rule of this module: ASGI in, Engine.IO requests and channels out. It runs on every ASGI server, needs no lifespan and
uses one when it gets one.

Which requests are ours: standing alone or wrapped around another application, those to the server's `path`; mounted
in a framework, those to the mount point itself, or to `path` below it. Whatever the server's root path is (ASGI
`root_path`), it is left aside.

Source: ASGI 3.0, "HTTP & WebSocket ASGI Message Format" 2.5 and the "Websocket Denial Response" extension.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..engineio import PeerGone, Request, Response, WebSocketTransport
from ..limits import Limits
from ..socketio import Server as SocketServer
from ..types import Data, Headers

__all__ = ["App", "Server", "servers_in_use"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CLEAN_CODES = (1000, 1001, 1005, 1006)  # a connection that just went away is "transport close", as in the original
GOING_AWAY = 1001
PIECE_BYTES = 64 * 1024

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

    async def _serve(self, scope: Scope, receive: Receive, send: Send, other: App | None) -> None:
        servers_in_use.add(self)
        kind = scope["type"]
        if kind == "lifespan":
            await self._serve_lifespan(scope, receive, send, other)
        elif kind in ("http", "websocket") and self._is_ours(scope):
            await (self._serve_http if kind == "http" else self._serve_websocket)(scope, receive, send)
        elif other is not None:
            await other(scope, receive, send)
        elif kind in ("http", "websocket"):
            await respond(scope, receive, send, self._wrong_path(scope))
        else:
            raise ValueError(f"an ASGI scope of type {kind!r} is not known")

    def _is_ours(self, scope: Scope) -> bool:
        root: str = scope.get("root_path", "").rstrip("/")
        path: str = scope["path"]
        local = path.removeprefix(root).rstrip("/")
        is_mount_point = bool(root) and path.startswith(root) and local == ""
        return is_mount_point or local == self.path.rstrip("/")

    def _wrong_path(self, scope: Scope) -> Response:
        right = scope.get("root_path", "").rstrip("/") + self.path.rstrip("/") + "/"
        text = f"There is nothing at this path: the Socket.IO server is at {right}\n"
        return Response(404, [("content-type", "text/plain; charset=utf-8")], text.encode())

    async def _serve_lifespan(self, scope: Scope, receive: Receive, send: Send, other: App | None) -> None:
        if other is not None:
            try:
                await other(scope, receive, send)
            finally:
                await self.close()
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(PeerGone):
            response = await self.engine.handle(make_request(scope), HttpBody(receive))
            await respond(scope, receive, send, response)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # "websocket.connect"
        admission = await self.engine.admit_websocket(make_request(scope))
        if isinstance(admission, Response):
            await respond(scope, receive, send, admission)
            return
        await send({"type": "websocket.accept", "headers": encode_headers(admission.headers)})
        channel = WebSocketChannel(receive, send, self.limits)
        await channel.serve(admission.start(channel))


class HttpBody:
    """Read the body of an ASGI request."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_more = True

    async def read(self) -> bytes | None:
        """Return the next piece, or `None` after the last. Raises `PeerGone`."""
        if not self._has_more:
            return None
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise PeerGone
        self._has_more = message.get("more_body", False)
        body: bytes = message.get("body", b"")
        return body

    async def wait_gone(self) -> None:
        """Return when the client has left."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


class WebSocketChannel:
    """Carry messages over an ASGI WebSocket connection.

    What is sent waits in a queue while the server's own `send` waits for room, so `buffered_bytes` tells how far the
    peer lags; the task that empties the queue lives only while there is something in it.
    """

    def __init__(self, receive: Receive, send: Send, limits: Limits) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._transport: WebSocketTransport | None = None
        self._queue: deque[Data] = deque()
        self._close_code: int | None = None
        self._writer: asyncio.Task[None] | None = None
        self._reading = asyncio.Event()
        self._reading.set()
        self._was_full = False
        self.buffered_bytes = 0

    async def serve(self, transport: WebSocketTransport) -> None:
        """Hand what comes to the transport until the connection ends."""
        self._transport = transport
        is_clean = False
        try:
            while True:
                message = await self._receive()
                if message["type"] == "websocket.disconnect":
                    is_clean = message.get("code", 1005) in CLEAN_CODES
                    break
                text = message.get("text")
                transport.message_received(message["bytes"] if text is None else text)
                if not self._reading.is_set():
                    await self._reading.wait()
        finally:
            transport.channel_closed(is_clean=is_clean)
            self._queue.clear()
            if self._writer is not None:
                self._writer.cancel()

    def send(self, message: Data, compress: bool) -> None:
        """Send one message; ASGI has no word for compression, so `compress` is the server's affair."""
        if self._close_code is None:
            self._queue.append(message)
            self.buffered_bytes += len(message)
            self._write()

    def close(self, code: int, reason: str = "") -> None:
        """Send what waits, then the Close frame."""
        if self._close_code is None:
            self._close_code = code
            self._reading.set()
            self._write()

    def abort(self, code: int) -> None:
        """Send the Close frame at once."""
        self._queue.clear()
        self.buffered_bytes = 0
        self.close(code)

    def pause_reading(self) -> None:
        """Take nothing more from the peer until `resume_reading`."""
        if self._close_code is None:
            self._reading.clear()

    def resume_reading(self) -> None:
        """Take from the peer again."""
        self._reading.set()

    def _write(self) -> None:
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        try:
            while self._queue:
                message = self._queue.popleft()
                kind = "bytes" if isinstance(message, bytes) else "text"
                await self._send({"type": "websocket.send", kind: message})
                self.buffered_bytes = max(self.buffered_bytes - len(message), 0)
                self._tell_room()
            if self._close_code is not None:
                await self._send({"type": "websocket.close", "code": self._close_code})
        except OSError:  # the peer is gone: `receive` says so too
            self._queue.clear()
        finally:
            self._writer = None

    def _tell_room(self) -> None:
        is_full = self.buffered_bytes > self._limits.send_buffer_high
        if self._was_full and not is_full and self._transport is not None:
            self._transport.writing_resumed()
        self._was_full = is_full


def make_request(scope: Scope) -> Request:
    """Read an ASGI scope."""
    return Request(
        method=scope.get("method", "GET"),
        path=scope["path"],
        query_string=scope.get("query_string", b"").decode("latin-1"),
        headers=Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]),
        is_secure=scope.get("scheme") in ("https", "wss"),
        remote_address=scope.get("client"),
        scope=scope,
    )


def encode_headers(headers: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Write headers as ASGI wants them."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


async def respond(scope: Scope, receive: Receive, send: Send, response: Response) -> None:
    """Answer a request, or refuse a WebSocket connection, with an HTTP response."""
    prefix = scope["type"]
    if prefix == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 1008, "reason": response.body.decode()[:120]})
            return
        prefix = "websocket.http"
    headers = [*response.headers, ("content-length", str(len(response.body)))]
    await send({"type": f"{prefix}.response.start", "status": response.status, "headers": encode_headers(headers)})
    await send({"type": f"{prefix}.response.body", "body": response.body})
