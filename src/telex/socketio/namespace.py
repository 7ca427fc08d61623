"""A namespace: a channel of its own over the shared connection, with its own handlers, middleware and rooms.

Rule of this module: who is in the namespace, what is registered, and whom a broadcast reaches.

Source: Socket.IO protocol v5, "Connection to a namespace"; the original's `Namespace`.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, overload

from telex.engineio import MESSAGE_TEXT, Packet, message
from telex.limits import Limits
from telex.socketio.broadcast import Broadcaster, BroadcastOperator
from telex.socketio.events import CONNECTED
from telex.socketio.fastpath import Registry, encode_event
from telex.socketio.handlers import Handler, make_handler
from telex.socketio.packets import RESERVED_EVENTS, PacketType, format_head
from telex.socketio.packets import Packet as SocketPacket
from telex.socketio.parsers import JSON
from telex.socketio.rooms import Rooms
from telex.socketio.socket import Socket

if TYPE_CHECKING:
    from telex.socketio.parsing import Parser
    from telex.socketio.server import Server

__all__ = ["AnyMiddleware", "Function", "Middleware", "Namespace"]

logger = logging.getLogger("telex.socketio")

Function = TypeVar("Function", bound=Callable[..., Any])
Middleware = Callable[[Socket], Awaitable[None] | None]
AnyMiddleware = TypeVar("AnyMiddleware", bound=Middleware)

# What the library itself tells handlers: how many arguments come after the socket.
LIFECYCLE = {"connect": 1, "disconnecting": 1, "disconnect": 1}
# The original's other name. It is not reserved on the wire, so a handler of that name must not be one clients can call.
ALIASES = {"connection": "connect"}
METHOD_PREFIX = "on_"


class Namespace(Registry, Broadcaster):
    """Hold one namespace; `io.of("/name")` makes one, or finds it.

    A subclass may bring handlers as methods: `on_connect`, `on_disconnect` and `on_<event>` become the handlers of
    these events when an instance is given to `Server.register`. They are collected once, then: no name that a peer
    sends is ever looked up on the object.
    """

    def __init__(self, name: str = "/") -> None:
        if not name.startswith("/"):
            name = "/" + name
        if "," in name:
            raise ValueError(f"a namespace's name cannot hold a comma: {name!r}")
        self.name = name
        self.event_head = f"{MESSAGE_TEXT}{format_head(PacketType.EVENT, name, None, 0)}".encode()
        self.ack_head = f"{MESSAGE_TEXT}{format_head(PacketType.ACK, name, None, 0)}".encode()
        self.limits = Limits()
        self.parser: Parser = JSON
        self.sockets: dict[str, Socket] = {}
        self.rooms: Rooms[Socket] = Rooms()
        self.handlers = {}
        self.catch_alls = []
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
        self.parser = server.parser

    @property
    def server(self) -> Server:
        """The server this namespace belongs to. Raises `RuntimeError` before it is registered."""
        if self._server is None:
            raise RuntimeError(f"the namespace {self.name!r} is not registered: io.register(namespace)")
        return self._server

    # What a program registers.

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
        """Register the handler of an event; a later one takes its place. Use it as a decorator, or with the function.

        The handler is called with the socket and the event's arguments, without those that it does not take. An event
        with fewer than it needs is dropped, with a warning for the first, and never acknowledged. What the handler
        returns becomes the acknowledgement: a tuple several values, `None` an empty one.
        "connect" is called with the socket and, if it takes it, the client's auth. It is too late to refuse the client,
        which is for `use`; so a handler that raises `ConnectRefused` or returns `False` sends it off. "disconnecting"
        (a plain function; the rooms are still set) and "disconnect" are called with the reason; "*" is `on_any`.

        Args: a coroutine function runs in order with the socket's other events, which wait until it has ended, or
        beside them with `concurrent=True`, as an endless one must; `thread=True` runs a plain function that blocks in
        a thread, in order. What it returns is acknowledged as ever, but nothing of Telex may be called in a thread:
        `emit` and the like raise `RuntimeError` there, and `loop.call_soon_threadsafe(socket.emit, "progress", 1)` with
        the server's event loop (`asyncio.get_running_loop()` in any other handler) sends from one.
        Raises `TypeError` for a function that cannot be called so, `ValueError` for a reserved name.
        """

        def register(found: Function) -> Function:
            self._register(event, found, concurrent=concurrent, thread=thread)
            return found

        return register if function is None else register(function)

    def _register(self, event: str, function: Callable[..., Any], *, concurrent: bool, thread: bool) -> None:
        if event == "*":
            self.on_any(function, concurrent=concurrent, thread=thread)
            return
        event = ALIASES.get(event, event)
        if event in RESERVED_EVENTS and event not in LIFECYCLE:
            raise ValueError(f"{event!r} is reserved: no client can send it")
        handler = make_handler(function, event, n_given=LIFECYCLE.get(event), concurrent=concurrent, thread=thread)
        if event == "disconnecting" and handler.is_async:
            raise TypeError("a 'disconnecting' handler must be a plain function: it is over before the rooms are left")
        self.handlers[event] = handler

    def on_any(self, function: Function, /, *, concurrent: bool = False, thread: bool = False) -> Function:
        """Register a function called with the socket, the name and the arguments of every event, before its handler.

        Raises `TypeError` for a function that does not take whatever comes, and as `on`.
        """
        handler = make_handler(function, "*", n_given=1, concurrent=concurrent, thread=thread)
        if handler.n_max is not None:
            raise TypeError("a catch-all handler is called with the socket, the event's name and *args")
        self.catch_alls.append(handler)
        return function

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
        is_json = self.parser is JSON
        if ack_id is None and is_json:
            body = encode_event(event, args)
            if body is not None:
                return (Packet((self.event_head + body).decode(), compress),)
        if not isinstance(event, str):
            raise TypeError(f"an event is named by a str, not {type(event).__name__}")
        if event in RESERVED_EVENTS:
            raise ValueError(f"{event!r} is a reserved event name")
        messages = self.parser.encode(SocketPacket(PacketType.EVENT, self.name, [event, *args], ack_id))
        if is_json and len(messages) > self.limits.warn_attachments + 1 and not self._has_warned_of_attachments:
            self._has_warned_of_attachments = True
            logger.warning(
                "the event %r has %d attachments; the JavaScript client takes %d at most, unless told otherwise",
                event,
                len(messages) - 1,
                self.limits.warn_attachments,
            )
        return [message(data, compress) for data in messages]

    def encode_ack(self, ack_id: int, values: list[Any]) -> Sequence[Packet]:
        """Encode an acknowledgement. Raises as the parser."""
        return [message(data) for data in self.parser.encode(SocketPacket(PacketType.ACK, self.name, values, ack_id))]

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
