"""The Socket.IO server: its namespaces, its options, and the Engine.IO server below.

Rule of this module: options are checked here, when the object is made. How requests come in is `serving`'s.

Source: Socket.IO protocol v5; the options are the original's in Python spelling, times in seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast, overload

from telex.engineio import AllowRequest, Cookie, Cors, Engine, Opening, Session
from telex.limits import Limits, default_max_connections
from telex.socketio.broadcast import Broadcaster, BroadcastOperator
from telex.socketio.connection import Connection
from telex.socketio.connection_v4 import ConnectionV4
from telex.socketio.fastpath import EventParser
from telex.socketio.namespace import AnyMiddleware, Function, Namespace
from telex.socketio.reasons import DisconnectReason

__all__ = ["Server"]

AnyNamespace = TypeVar("AnyNamespace", bound=Namespace)

DEFAULT_COMPRESSION_THRESHOLD = 1024


class Server(Broadcaster):
    """Serve Socket.IO clients. What is registered and said here is registered and said in the namespace "/".

    Args:
        path: where the server answers when it stands alone.
        ping_interval, ping_timeout: of the heartbeat; together they bound how long a dead client goes unnoticed.
        max_http_buffer_size: the largest message a client may send, in bytes.
        connect_timeout: until a client has joined a namespace.
        upgrade_timeout: until a client's probe of a better transport has succeeded.
        transports: some of "polling" and "websocket".
        allow_upgrades: whether clients on polling are offered websocket.
        http_compression: of long-polling answers: `True`, `False`, or the size in bytes from which to compress.
        per_message_deflate: whether WebSocket messages are compressed; `telex run` heeds it, other ASGI servers have
            a setting of their own.
        cookie: `True`, a name or a `Cookie`, to set one with the session id for load balancers.
        cors_allowed_origins: other origins whose pages may connect: one, several, or "*"; by default only pages of
            the server's own origin, and programs that are no browsers.
        cors_credentials: whether those may send cookies.
        cors_headers: request headers that those may set, such as "authorization".
        allow_request: a function that decides on each handshake.
        allow_eio3: whether clients of Socket.IO 2 (Engine.IO protocol v3) are let in too.
        limits: every other bound; the options above that are also bounds win over it.

    Raises `TypeError` for an unknown option, `ValueError` for a bad value.
    """

    def __init__(
        self,
        *,
        path: str = "/socket.io",
        ping_interval: float | None = None,
        ping_timeout: float | None = None,
        max_http_buffer_size: int | None = None,
        connect_timeout: float | None = None,
        upgrade_timeout: float | None = None,
        transports: Sequence[str] = ("polling", "websocket"),
        allow_upgrades: bool = True,
        http_compression: bool | int = True,
        per_message_deflate: bool = False,
        cookie: bool | str | Cookie = False,
        cors_allowed_origins: str | Sequence[str] | None = None,
        cors_credentials: bool = False,
        cors_headers: Sequence[str] = ("content-type",),
        allow_request: AllowRequest | None = None,
        allow_eio3: bool = False,
        limits: Limits | None = None,
    ) -> None:
        if not path.startswith("/"):
            raise ValueError(f"path must start with a slash: {path!r}")
        given = {
            "ping_interval": ping_interval,
            "ping_timeout": ping_timeout,
            "max_payload": max_http_buffer_size,
            "connect_timeout": connect_timeout,
            "upgrade_timeout": upgrade_timeout,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self.limits = replace(limits or Limits(), **changes)
        self.path = path.rstrip("/") or "/"
        self.transports = tuple(transports)
        self.per_message_deflate = per_message_deflate
        self.namespaces: dict[str, Namespace] = {}
        self.parser = EventParser(self.limits)
        self.engine = Engine(
            self._open_session,
            limits=self.limits,
            transports=transports,
            allow_upgrades=allow_upgrades,
            cors=Cors(cors_allowed_origins, credentials=cors_credentials, headers=cors_headers),
            cookie=as_cookie(cookie),
            compression_threshold=as_threshold(http_compression),
            allow_request=allow_request,
            allow_eio3=allow_eio3,
            max_sessions=self.limits.max_sessions or default_max_connections(),
        )
        self._root = self.of("/")

    def of(self, name: str) -> Namespace:
        """Return the namespace of this name, which is made if there is none."""
        namespace = Namespace(name)
        found = self.namespaces.get(namespace.name)
        return found if found is not None else self.register(namespace)

    def register(self, namespace: AnyNamespace) -> AnyNamespace:
        """Add a namespace, such as an instance of a class with handlers.

        Raises `ValueError` when there is one of that name, since nothing would be taken over of it. But "/" is made
        with the server, and one that is still empty gives way.
        """
        old = self.namespaces.get(namespace.name)
        is_in_use = old is not None and (old.handlers or old.catch_alls or old.middlewares or old.sockets)
        if old is not None and (old.name != "/" or is_in_use):
            raise ValueError(f"there is a namespace {namespace.name!r} already")
        namespace.bind(self, self.limits)
        self.namespaces[namespace.name] = namespace
        if namespace.name == "/":
            self._root = namespace
        return namespace

    # In the namespace "/".

    @property
    def _operator(self) -> BroadcastOperator:
        return BroadcastOperator(self._root)

    @property
    def sockets(self) -> Namespace:
        """The namespace "/"."""
        return self._root

    @overload
    def on(
        self, event: str, /, *, concurrent: bool = False, thread: bool = False
    ) -> Callable[[Function], Function]: ...
    @overload
    def on(self, event: str, function: Function, /, *, concurrent: bool = False, thread: bool = False) -> Function: ...
    def on(
        self,
        event: str,
        function: Callable[..., Any] | None = None,
        /,
        *,
        concurrent: bool = False,
        thread: bool = False,
    ) -> Any:
        """Register the handler of an event in "/"; see `Namespace.on`."""
        if function is None:
            return self._root.on(event, concurrent=concurrent, thread=thread)
        return self._root.on(event, function, concurrent=concurrent, thread=thread)

    def on_any(self, function: Function, /, *, concurrent: bool = False, thread: bool = False) -> Function:
        """Register a function that is called with every event in "/"; see `Namespace.on_any`."""
        return self._root.on_any(function, concurrent=concurrent, thread=thread)

    def use(self, middleware: AnyMiddleware, /) -> AnyMiddleware:
        """Register a middleware of "/"; see `Namespace.use`."""
        return self._root.use(middleware)

    def statistics(self) -> dict[str, int]:
        """Return how many sessions are open, and how many sockets in how many namespaces."""
        return {
            "sessions": len(self.engine.sessions),
            "namespaces": len(self.namespaces),
            "sockets": sum(len(namespace.sockets) for namespace in self.namespaces.values()),
        }

    async def close(self, *, drain: float = 0.0) -> None:
        """Disconnect everybody with "server shutting down"; wait until what was sent has left and handlers have ended.

        Args: `drain` is a number of seconds over which the clients are sent off one by one, all of them at once by
        default; that is what to choose where many would else come back in the same second.

        Takes at most `drain` and `Limits.close_timeout`. Clients come back by themselves when they find a server again.
        Raises `RuntimeError` on another event loop than that of the clients; nothing is changed then.
        """
        self.engine.check_loop()
        if drain:
            sessions = list(self.engine.sessions.values())
            for session in sessions:
                if session.is_open:
                    cast("Connection", session.sink).close(DisconnectReason.SERVER_SHUTTING_DOWN)
                    await asyncio.sleep(drain / len(sessions))
        loop = asyncio.get_running_loop()
        end = loop.time() + self.limits.close_timeout
        at_work: set[asyncio.Future[None]] = set()
        for namespace in self.namespaces.values():
            for socket in list(namespace.sockets.values()):
                socket.leave_namespace(DisconnectReason.SERVER_SHUTTING_DOWN)
                done = socket.handlers_done()
                # One without a task is in its first step, which is what calls this.
                if done is not None and socket.worker not in (None, asyncio.current_task()):
                    at_work.add(done)
        await self.engine.close()
        if at_work:
            await asyncio.wait(at_work, timeout=max(end - loop.time(), 0))

    def _open_session(self, session: Session, request: Opening) -> Connection:
        if session.protocol == Session.protocol:
            return Connection(self, session, request, self.limits)
        return ConnectionV4.begin(self, session, request, self.limits)


def as_cookie(cookie: bool | str | Cookie) -> Cookie | None:
    """Read the `cookie` option."""
    if isinstance(cookie, str):
        return Cookie(name=cookie)
    if isinstance(cookie, Cookie):
        return cookie
    return Cookie() if cookie else None


def as_threshold(compression: bool | int) -> int | None:
    """Read the `http_compression` option: bytes from which to compress, or `None` for never."""
    if compression is True:
        return DEFAULT_COMPRESSION_THRESHOLD
    return None if compression is False else compression
