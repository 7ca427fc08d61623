"""A namespace: a channel of its own over the shared connection, with its own handlers, middleware and rooms.

Rule of this module: who is in the namespace, what is registered, and whom a broadcast reaches.

Source: Socket.IO protocol v5, "Connection to a namespace"; the original's `Namespace`.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from telex.engineio import MESSAGE_TEXT, Packet, message
from telex.limits import Limits
from telex.socketio.broadcast import Broadcaster, BroadcastOperator
from telex.socketio.events import CONNECTED
from telex.socketio.fastpath import Registry, encode_event
from telex.socketio.handlers import Handler
from telex.socketio.listeners import Listeners, Listening
from telex.socketio.packets import RESERVED_EVENTS, PacketType, format_head
from telex.socketio.parsers import encode
from telex.socketio.rates import RateLimit, Throttled
from telex.socketio.rooms import Rooms
from telex.socketio.socket import Socket

if TYPE_CHECKING:
    from telex.socketio.server import Server

__all__ = ["AnyMiddleware", "Middleware", "Namespace"]

logger = logging.getLogger("telex.socketio")

Middleware = Callable[[Socket], Awaitable[None] | None]
AnyMiddleware = TypeVar("AnyMiddleware", bound=Middleware)

METHOD_PREFIX = "on_"


class Namespace(Registry, Broadcaster, Listening):
    """Hold one namespace; `io.of("/name")` makes one, or finds it.

    `rate_limit` bounds the events of each of its sockets; by default that is the server's.

    A subclass may bring handlers as methods: `on_connect`, `on_disconnect` and `on_<event>` become the handlers of
    these events when an instance is given to `Server.register`. They are collected once, then: no name that a peer
    sends is ever looked up on the object.
    """

    def __init__(self, name: str = "/", *, rate_limit: RateLimit | None = None) -> None:
        if not name.startswith("/"):
            name = "/" + name
        if "," in name:
            raise ValueError(f"a namespace's name cannot hold a comma: {name!r}")
        self.name = name
        self.event_head = f"{MESSAGE_TEXT}{format_head(PacketType.EVENT, name, None, 0)}".encode()
        self.ack_head = f"{MESSAGE_TEXT}{format_head(PacketType.ACK, name, None, 0)}".encode()
        self.limits = Limits()
        self.sockets: dict[str, Socket] = {}
        self.rooms: Rooms[Socket] = Rooms()
        self.listeners = Listeners()
        self.handlers = self.listeners.handlers
        self.catch_alls = self.listeners.catch_alls
        self.overheard: set[Socket] = set()  # those of which somebody wants to know what is sent to them
        self.throttled = Throttled()
        self._rate_limit = rate_limit
        self._wanted = (rate_limit is not None, False)  # to see the events that come, and those that are sent
        self.middlewares: list[Middleware] = []
        self._server: Server | None = None
        self._ack_ids = count()
        self._misfits: set[str] = set()
        self._has_warned_of_attachments = False
        self._collect_methods()

    def __repr__(self) -> str:
        return f"<Namespace {self.name} with {len(self.sockets)} sockets>"

    def bind(self, server: Server, limits: Limits) -> None:
        """Make this a namespace of a server."""
        if self._server is not None:
            raise ValueError(f"the namespace {self.name!r} belongs to a server already")
        self._server = server
        self.limits = limits
        if self._rate_limit is None:
            self.rate_limit = server.rate_limit

    @property
    def rate_limit(self) -> RateLimit | None:
        """The bound on the events of each socket. What is set holds for those that are connected too."""
        return self._rate_limit

    @rate_limit.setter
    def rate_limit(self, rate_limit: RateLimit | None) -> None:
        self._rate_limit = rate_limit
        self.listeners_changed()

    @property
    def server(self) -> Server:
        """The server this namespace belongs to. Raises `RuntimeError` before it is registered."""
        if self._server is None:
            raise RuntimeError(f"the namespace {self.name!r} is not registered: io.register(namespace)")
        return self._server

    # What a program registers (see `Listening`).

    @property
    def _registered(self) -> Listeners:
        return self.listeners

    def listeners_changed(self) -> None:
        """Hear that something was registered; the library's own."""
        wanted = (self.hears_events, bool(self.listeners.outgoing))
        if wanted != self._wanted:  # a handler more concerns no socket
            self._wanted = wanted
            for socket in self.sockets.values():
                socket.listeners_changed()

    def use(self, middleware: AnyMiddleware, /) -> AnyMiddleware:
        """Register a function that sees each socket before it is connected; raising `ConnectRefused` keeps it out.

        Middlewares run in the order in which they were registered; plain functions and coroutine functions alike.
        What else they raise is logged, and the client is told no more than that there was an error.
        """
        if not callable(middleware):
            raise TypeError(f"a middleware must be callable, not {type(middleware).__name__}")
        self.middlewares.append(middleware)
        return middleware

    # What the rest of the floor needs.

    @property
    def _operator(self) -> BroadcastOperator:
        return BroadcastOperator(self)

    @property
    def hears_events(self) -> bool:
        """Whether there is more than handlers that wants to see the events that come."""
        return self._rate_limit is not None or bool(self.listeners.event_middlewares)

    def tell_outgoing(self, sockets: Iterable[Socket], event: str, args: Sequence[Any]) -> None:
        """Tell those who want to know of every event that this one was sent to these sockets."""
        if self.overheard:
            for socket in sockets:
                if socket in self.overheard:
                    socket.tell_outgoing(event, args)

    def check_thread(self) -> None:
        """Raise `RuntimeError` outside of the event loop that the clients are served on."""
        for socket in self.sockets.values():
            socket.check_thread()
            return

    def next_ack_id(self) -> int:
        """Return a new acknowledgement id. All sockets share the counter, so a broadcast can use one id for all."""
        return next(self._ack_ids)

    def encode_event(
        self, event: str, args: Sequence[Any], *, ack_id: int | None = None, compress: bool = True
    ) -> Sequence[Packet]:
        """Encode one event, once for all who get it. Raises as `Socket.emit` says."""
        if ack_id is None:
            body = encode_event(event, args)
            if body is not None:
                return (Packet((self.event_head + body).decode(), compress),)
        if not isinstance(event, str):
            raise TypeError(f"an event is named by a str, not {type(event).__name__}")
        if event in RESERVED_EVENTS:
            raise ValueError(f"{event!r} is a reserved event name")
        messages = encode(PacketType.EVENT, self.name, [event, *args], ack_id)
        if len(messages) > self.limits.warn_attachments + 1 and not self._has_warned_of_attachments:
            self._has_warned_of_attachments = True
            logger.warning(
                "the event %r has %d attachments; the JavaScript client takes %d at most, unless told otherwise",
                event,
                len(messages) - 1,
                self.limits.warn_attachments,
            )
        return [message(data, compress) for data in messages]

    def encode_ack(self, ack_id: int, values: list[Any]) -> Sequence[Packet]:
        """Encode an acknowledgement. Raises as `encode`."""
        return [message(data) for data in encode(PacketType.ACK, self.name, values, ack_id)]

    def select(self, rooms: frozenset[str] | None, excluded: frozenset[str]) -> list[Socket]:
        """Return the sockets of a broadcast: the union of `rooms`, or all if that is `None`, without `excluded`.

        Only who is connected: a member may still be in the hands of the middlewares, or be leaving.
        O(recipients + members of the excluded rooms).
        """
        found: Iterable[Socket]
        if rooms is None:
            found = self.sockets.values()
        elif len(rooms) == 1:
            found = self._members(next(iter(rooms)))
        else:
            found = set().union(*map(self._members, rooms))
        if not excluded:
            return [socket for socket in found if socket.state is CONNECTED]
        out = set().union(*map(self._members, excluded))
        return [socket for socket in found if socket.state is CONNECTED and socket not in out]

    def _members(self, room: str) -> Iterable[Socket]:
        own = self.sockets.get(room)
        return self.rooms.members_of(room) if own is None else (own,)

    def add(self, socket: Socket) -> None:
        """Take in a socket whose connection was let in."""
        self.sockets[socket.id] = socket

    def remove(self, socket: Socket) -> None:
        """Let a socket go, out of all its rooms."""
        self.rooms.leave_all(socket)
        self.overheard.discard(socket)
        self.sockets.pop(socket.id, None)

    def log_misfit(self, handler: Handler, n_args: int) -> None:
        """Say, once for each handler, that a client sent an event with too few arguments."""
        if handler.name not in self._misfits:
            self._misfits.add(handler.name)
            logger.warning(
                "an event %r came with %d arguments, fewer than its handler needs; dropped, as others will be",
                handler.name,
                n_args,
            )

    def _collect_methods(self) -> None:
        for name, _ in inspect.getmembers(type(self), callable):
            if name.startswith(METHOD_PREFIX) and not hasattr(Namespace, name):
                self.on(name.removeprefix(METHOD_PREFIX), getattr(self, name))
