"""The Socket.IO server: its namespaces, its options, and the Engine.IO server below.

Rule of this module: options are checked here, when the object is made. How requests come in is `serving`'s.

Source: Socket.IO protocol v5; the options are the original's in Python spelling, times in seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, overload

from telex.engineio import AllowRequest, Cookie, Cors, Engine, GenerateId, Opening, Session
from telex.limits import Limits, default_max_connections
from telex.socketio.backlog import SlowConsumers
from telex.socketio.broadcast import Broadcaster, BroadcastOperator, Sent
from telex.socketio.clientfiles import ClientFiles
from telex.socketio.connection import Connection
from telex.socketio.connection_v4 import ConnectionV4
from telex.socketio.draining import drain
from telex.socketio.fastpath import EventParser
from telex.socketio.handlers import is_coroutine_function
from telex.socketio.listeners import NEW_NAMESPACE, Function, Listeners, Listening
from telex.socketio.namespace import DEFAULT_SERVER_SIDE_TIMEOUT, AnyMiddleware, Namespace
from telex.socketio.parents import Match, ParentNamespace, Parents, Predicate
from telex.socketio.parsers import JSON
from telex.socketio.parsing import Parser, as_parser
from telex.socketio.rates import RateLimit
from telex.socketio.reasons import DisconnectReason
from telex.socketio.recovery import KEY_BYTES, Journal, Recovery
from telex.socketio.socket import Socket
from telex.socketio.statistics import ServerStatistics, of_server
from telex.streams.deadlines import deadlines_of
from telex.tokens import token_bytes, token_text

__all__ = ["Server"]

logger = logging.getLogger("telex.socketio")

AnyNamespace = TypeVar("AnyNamespace", bound=Namespace)

DEFAULT_COMPRESSION_THRESHOLD = 1024

PID_BYTES = 18


class Server(Broadcaster, Listening):
    """Serve Socket.IO clients. What is registered and said here is registered and said in the namespace "/".

    `on("new_namespace", function)` is the server's own: a plain function, called at once with each namespace that is
    made from then on, before anybody is in it.

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
        cleanup_empty_child_namespaces: whether a namespace that a client has made of a parent's pattern or predicate
            goes when its last socket has left.
        slow_consumers: what happens to events for a client that has no room: "close", "drop newest" or "drop oldest"
            (`SlowConsumers`); `room_policy` says it for the events to one room.
        rate_limit: how many events each socket may send, and what happens past that; a namespace may have its own.
        generate_id: a function of the request, plain or not, that chooses the id of each Engine.IO session: 1 to 64
            URL-safe characters that no session has and nobody can guess. A socket's id is another one.
        initial_packet: an Engine.IO message that each client is sent first.
        serve_client: a folder with the JavaScript client's files (`socket.io.js` and the like), to be served below
            `path`. They are read once, when the server is made.
        connection_state_recovery: `True`, or a `Recovery` with bounds of one's own: clients that lose their connection
            and come back keep id, rooms and data, and are sent what they have missed.
        parser: "json", "msgpack" or a `Parser` of the program's own; the clients must have the same.
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
        cleanup_empty_child_namespaces: bool = False,
        slow_consumers: SlowConsumers | str = SlowConsumers.CLOSE,
        rate_limit: RateLimit | None = None,
        generate_id: GenerateId | None = None,
        initial_packet: str | bytes | None = None,
        serve_client: str | os.PathLike[str] | None = None,
        connection_state_recovery: bool | Recovery = False,
        parser: str | Parser = "json",
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
        self.slow_consumers = SlowConsumers(slow_consumers)
        self.per_message_deflate = per_message_deflate
        self.cleanup_empty_child_namespaces = cleanup_empty_child_namespaces
        self.namespaces: dict[str, Namespace] = {}
        self.parents = Parents()
        self._new_namespace: Callable[[Namespace], Any] | None = None
        self.rate_limit = rate_limit
        most = self.limits.max_events_per_second  # of all sockets of a client together
        self.client_limit = None if most is None else RateLimit(most, policy="close")
        cors = Cors(cors_allowed_origins, credentials=cors_credentials, headers=cors_headers)
        self.client_files = None if serve_client is None else ClientFiles(serve_client, cors)
        self.journal = make_journal(connection_state_recovery, self.limits, self._deserted)
        self.parser = as_parser(parser)
        # Of the short way in, which knows the JSON parser's text only.
        self.event_parser = EventParser(self.limits) if self.parser is JSON else None
        self.engine = Engine(
            self._open_session,
            limits=self.limits,
            transports=transports,
            allow_upgrades=allow_upgrades,
            cors=cors,
            cookie=as_cookie(cookie),
            compression_threshold=as_threshold(http_compression),
            allow_request=allow_request,
            generate_id=generate_id,
            initial_packet=initial_packet,
            allow_eio3=allow_eio3,
            max_sessions=self.limits.max_sessions or default_max_connections(),
        )
        self._root = self.of("/")

    @overload
    def of(self, name: str, *, rate_limit: RateLimit | None = None) -> Namespace: ...
    @overload
    def of(self, name: re.Pattern[str] | Predicate, *, rate_limit: RateLimit | None = None) -> ParentNamespace: ...
    def of(self, name: str | Match, *, rate_limit: RateLimit | None = None) -> Namespace:
        """Return the namespace of this name, which is made if there is none.

        A compiled pattern or a predicate gives the parent of all namespaces whose names it matches; see
        `ParentNamespace`. A name that a parent's pattern matches becomes its child.
        Args: `rate_limit` is set as its `Namespace.rate_limit`, where one is given.
        """
        made: Namespace
        found: Namespace | None
        if isinstance(name, str):
            made = Namespace(name, rate_limit=rate_limit)
            found = self.namespaces.get(made.name)
        else:
            made = ParentNamespace(name, rate_limit=rate_limit)
            found = self.parents.get(name)
        if found is None:
            return self.register(made)
        if rate_limit is not None:
            found.rate_limit = rate_limit
        return found

    def register(self, namespace: AnyNamespace) -> AnyNamespace:
        """Add a namespace, such as an instance of a class with handlers, or a parent of namespaces.

        Raises `ValueError` when there is one of that name, since nothing would be taken over of it. But "/" is made
        with the server, and one that is still empty gives way.
        """
        if isinstance(namespace, ParentNamespace):
            if self.parents.get(namespace.match) is not None:
                raise ValueError("there is a parent namespace of this pattern or predicate already")
            namespace.bind(self)
            self.parents.add(namespace)
            return namespace
        old = self.namespaces.get(namespace.name)
        if old is not None and (old.name != "/" or old.is_in_use):
            raise ValueError(f"there is a namespace {namespace.name!r} already")
        is_root = namespace.name == "/"
        self.take_in(namespace, None if is_root else self.parents.find_by_pattern(namespace.name))
        if is_root:
            self._root = namespace
        return namespace

    def take_in(self, namespace: AnyNamespace, parent: ParentNamespace | None) -> AnyNamespace:
        """Make a namespace one of this server's, below the parent that its name belongs to, and tell of it."""
        namespace.bind(self)
        if parent is not None:
            parent.adopt(namespace)
        self.namespaces[namespace.name] = namespace
        if self._new_namespace is not None and namespace.name != "/":
            try:
                self._new_namespace(namespace)
            except Exception:
                logger.exception("the handler for %r failed", NEW_NAMESPACE)
        return namespace

    # In the namespace "/".

    @property
    def _operator(self) -> BroadcastOperator:
        return BroadcastOperator(self._root)

    @property
    def sockets(self) -> Namespace:
        """The namespace "/"."""
        return self._root

    @property
    def _registered(self) -> Listeners:
        return self._root.listeners

    def listeners_changed(self) -> None:
        """Hear that something was registered; the library's own."""
        self._root.listeners_changed()

    def _register(self, event: str, function: Callable[..., Any], **options: Any) -> None:
        if event != NEW_NAMESPACE:
            super()._register(event, function, **options)
        elif any(options.values()):
            raise TypeError(f"the handler for {NEW_NAMESPACE!r} is called at once, each time, and by the server")
        else:
            self._on_new_namespace(function)

    def use(self, middleware: AnyMiddleware, /) -> AnyMiddleware:
        """Register a middleware of "/"; see `Namespace.use`."""
        return self._root.use(middleware)

    @overload
    def on_server_side(self, event: str, /) -> Callable[[Function], Function]: ...
    @overload
    def on_server_side(self, event: str, function: Function, /) -> Function: ...
    def on_server_side(self, event: str, function: Callable[..., Any] | None = None, /) -> Any:
        """Register what answers an event of another server in "/"; see `Namespace.on_server_side`."""
        return self._root.on_server_side(event) if function is None else self._root.on_server_side(event, function)

    def server_side_emit(self, event: str, *args: Any) -> Sent:
        """Tell the other servers of the cluster something, in "/"; see `Namespace.server_side_emit`."""
        return self._root.server_side_emit(event, *args)

    async def server_side_call(self, event: str, *args: Any, timeout: float = DEFAULT_SERVER_SIDE_TIMEOUT) -> list[Any]:
        """Ask the other servers of the cluster, in "/"; see `Namespace.server_side_call`."""
        return await self._root.server_side_call(event, *args, timeout=timeout)

    def room_policy(self, room: str, policy: SlowConsumers | str | None) -> None:
        """Say what happens to events to a room of "/" for slow consumers; see `Namespace.room_policy`."""
        self._root.room_policy(room, policy)

    def statistics(self) -> ServerStatistics:
        """Return how many there are of everything, what waits, and what was dropped. O(sessions + sockets)."""
        return of_server(self)

    async def drain(self, seconds: float) -> None:
        """Send everybody off within so many seconds, as gently as they allow; then `close`.

        From now on handshakes are answered 503 with `Retry-After`, and the server takes nobody in any more. Those who
        are there go on: their connections are closed one after the other, spread evenly over the time, so that not all
        come back in the same second. One whose handlers are at work, or whose acknowledgement is awaited, is closed
        when that has ended, or when the time is over. Returns sooner when all have gone.

        **Cancellation**: stops the draining, and nobody new is let in; what is still there is `close`'s.
        Raises `ValueError` for what is no number of seconds, `RuntimeError` as `close`; nothing is changed then.
        """
        await self._close(await drain(self, seconds))

    async def close(self) -> None:
        """Disconnect everybody with "server shutting down"; wait until what was sent has left and handlers have ended.

        Takes at most `Limits.close_timeout`. Clients come back by themselves when they find a server again; where many
        would do so in the same second, `drain` is kinder.
        Raises `RuntimeError` on another event loop than that of the clients; nothing is changed then.
        """
        await self._close(set())

    async def _close(self, farewells: set[asyncio.Future[None]]) -> None:
        """Close, and wait also for the handlers that hear of clients who were sent off before."""
        self.engine.check_loop()
        loop = asyncio.get_running_loop()
        end = loop.time() + self.limits.close_timeout
        at_work = set(farewells)
        for namespace in list(self.namespaces.values()):  # children go with their last socket
            for socket in list(namespace.sockets.values()):
                socket.leave_namespace(DisconnectReason.SERVER_SHUTTING_DOWN)
                done = socket.handlers_done()
                # One without a task is in its first step, which is what calls this.
                if done is not None and socket.worker not in (None, asyncio.current_task()):
                    at_work.add(done)
            at_work |= namespace.streams.tasks - {asyncio.current_task()}
        await self.engine.close()
        if at_work:
            await asyncio.wait(at_work, timeout=max(end - loop.time(), 0))
        if self.journal is not None:
            self.journal.clear()

    def _on_new_namespace(self, function: Function) -> Function:
        if not callable(function) or is_coroutine_function(function):
            raise TypeError(
                f"the handler for {NEW_NAMESPACE!r} must be a plain function: it is over before anybody enters"
            )
        self._new_namespace = function
        return function

    def _deserted(self, name: str) -> None:
        namespace = self.namespaces.get(name)
        if namespace is not None:
            namespace.settle()

    def _open_session(self, session: Session, request: Opening) -> Connection:
        if session.protocol == Session.protocol:
            return Connection(self, session, request, self.limits)
        return ConnectionV4.begin(self, session, request, self.limits)


def make_journal(recovery: bool | Recovery, limits: Limits, deserted: Callable[[str], None]) -> Journal[Socket] | None:
    """Read the `connection_state_recovery` option."""
    if recovery is False:
        return None
    options = Recovery() if recovery is True else recovery
    if not isinstance(options, Recovery):
        raise TypeError(f"connection_state_recovery must be a bool or a Recovery, not {type(recovery).__name__}")
    return Journal(
        options,
        heartbeat=limits.ping_interval + limits.ping_timeout,
        key=token_bytes(KEY_BYTES),
        make_pid=lambda: token_text(PID_BYTES),
        deadlines=lambda: deadlines_of(asyncio.get_running_loop()),
        deserted=deserted,
    )


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
