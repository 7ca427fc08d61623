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
from telex.socketio.adapter import Adapter
from telex.socketio.backlog import Backlog, Drops, SlowConsumers, least_lossy
from telex.socketio.broadcast import Broadcaster, BroadcastOperator, Sent, names
from telex.socketio.events import CONNECTED
from telex.socketio.fastpath import Registry
from telex.socketio.handlers import Handler, make_handler
from telex.socketio.listeners import ALIASES, NEW_NAMESPACE, Function, Listeners, Listening
from telex.socketio.packets import RESERVED_EVENTS, PacketType, format_head
from telex.socketio.packets import Packet as SocketPacket
from telex.socketio.parsers import JSON
from telex.socketio.rates import RateLimit, Throttled
from telex.socketio.recovery import Journal, Seat
from telex.socketio.rooms import FIRST_IN, LAST_OUT, Rooms
from telex.socketio.socket import Socket
from telex.socketio.statistics import NamespaceStatistics, of_namespace
from telex.socketio.streaming import STOP_EVENT, Streams
from telex.socketio.writing import write_event

if TYPE_CHECKING:
    from telex.socketio.parsing import Parser
    from telex.socketio.server import Server

__all__ = ["AnyMiddleware", "Middleware", "Namespace"]

logger = logging.getLogger("telex.socketio")

Middleware = Callable[[Socket], Awaitable[None] | None]
AnyMiddleware = TypeVar("AnyMiddleware", bound=Middleware)

METHOD_PREFIX = "on_"

SERVER_SIDE_RESERVED = RESERVED_EVENTS | {*ALIASES, NEW_NAMESPACE}
"""Events that no server can send to the others."""

DEFAULT_SERVER_SIDE_TIMEOUT = 5.0
"""How long other servers may take to answer, in seconds, as in the original."""


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
        self.parser: Parser = JSON
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
        self.server_side_handlers: dict[str, Callable[..., Any]] = {}
        self.adapter = Adapter(self)
        self.slow_consumers = SlowConsumers.CLOSE
        self.drops = Drops()
        self.streams = Streams(self.limits)
        self._room_policies: dict[str, SlowConsumers] = {}
        self._backlogs: dict[Socket, Backlog] = {}  # of those that something could be dropped of
        self._server: Server | None = None
        self.journal: Journal[Socket] | None = None
        self._ack_ids = count()
        self._misfits: set[str] = set()
        self._has_warned_of_attachments = False
        self._collect_methods()

    def __repr__(self) -> str:
        return f"<Namespace {self.name} with {len(self.sockets)} sockets>"

    def bind(self, server: Server) -> None:
        """Make this a namespace of a server."""
        if self._server is not None:
            raise ValueError(f"the namespace {self.name!r} belongs to a server already")
        self._server = server
        self.limits = server.limits
        self.slow_consumers = server.slow_consumers
        self.streams = Streams(server.limits)
        self.journal = server.journal
        self.parser = server.parser
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
    def recovery(self) -> Journal[Socket]:
        """What recovers clients. Raises `RuntimeError` where the server does not."""
        if self.journal is None:
            raise RuntimeError("this server does not recover clients: telex.Server(connection_state_recovery=True)")
        return self.journal

    @property
    def server(self) -> Server:
        """The server this namespace belongs to. Raises `RuntimeError` before it is registered."""
        if self._server is None:
            raise RuntimeError(f"the namespace {self.name!r} is not registered: io.register(namespace)")
        return self._server

    @property
    def is_in_use(self) -> bool:
        """Whether anything is registered, or anybody in it."""
        registered = (not self.listeners.is_empty, self.middlewares, self.server_side_handlers, self.rooms.watch)
        has_own_limit = self._server is not None and self._rate_limit is not self._server.rate_limit
        return any(registered) or has_own_limit or bool(self._room_policies or self.sockets)

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

    def inherit(self, parent: Namespace) -> None:
        """Take over what is registered in another namespace by now.

        It comes before what this one has; but of two handlers of one event, the own one stays.
        """
        self.listeners.inherit(parent.listeners)
        self.middlewares = [*parent.middlewares, *self.middlewares]
        self.server_side_handlers = {**parent.server_side_handlers, **self.server_side_handlers}
        self.adapter.inherit(parent.adapter)
        self._room_policies = {**parent._room_policies, **self._room_policies}
        if self.rate_limit is self.server.rate_limit:  # none of its own
            self.rate_limit = parent.rate_limit
        self.listeners_changed()

    # From server to server.

    @overload
    def on_server_side(self, event: str, /) -> Callable[[Function], Function]: ...
    @overload
    def on_server_side(self, event: str, function: Function, /) -> Function: ...
    def on_server_side(self, event: str, function: Callable[..., Any] | None = None, /) -> Any:
        """Register what answers an event that another server of the cluster sends with `server_side_emit` or `_call`.

        It is called with the event's arguments, may be a coroutine function, and what it returns is the answer. A later
        one takes its place. Raises `ValueError` for a reserved name, `TypeError` for what cannot be called.
        """

        def register(found: Function) -> Function:
            if event in SERVER_SIDE_RESERVED:
                raise ValueError(f"{event!r} is a reserved event name")
            if not callable(found):
                raise TypeError(f"the handler for {event!r} must be callable, not {type(found).__name__}")
            self.server_side_handlers[event] = found
            return found

        return register if function is None else register(function)

    def server_side_emit(self, event: str, *args: Any) -> Sent:
        """Tell the *other* servers of the cluster something; this one hears nothing of it.

        Raises `ValueError` for a reserved name, `TypeError` for data that cannot be sent, also while there are no
        others.
        """
        self._check_server_side(event, args)
        return self.adapter.server_side_emit(event, args)

    async def server_side_call(self, event: str, *args: Any, timeout: float = DEFAULT_SERVER_SIDE_TIMEOUT) -> list[Any]:
        """Ask the *other* servers of the cluster; return an answer of each, nothing at once where there are no others.

        Raises as `server_side_emit`, and `AckTimeout` when not all have answered; its `responses` holds those that
        came. **Units**: `timeout` in seconds.
        """
        self._check_server_side(event, args)
        return await self.adapter.server_side_call(event, args, timeout)

    def _check_server_side(self, event: str, args: Sequence[Any]) -> None:
        self.check_thread()
        if event in SERVER_SIDE_RESERVED:
            raise ValueError(f"{event!r} is a reserved event name")
        self.encode_event(event, args)

    def room_policy(self, room: str, policy: SlowConsumers | str | None) -> None:
        """Say what happens to events that are sent to a room, for those of its members that have no room for them.

        The policy is the room's, whoever is in it, and holds for what is sent from now on; `None` takes it away, so
        that the server's holds again. An event to several rooms falls under the least lossy of their policies.
        Raises `ValueError` for an unknown policy, `TypeError` for a room that is no text.
        """
        (name,) = names((room,))
        if policy is None:
            self._room_policies.pop(name, None)
        else:
            self._room_policies[name] = SlowConsumers(policy)

    def statistics(self) -> NamespaceStatistics:
        """Return how many sockets there are, what waits for and of them, and what was dropped. O(sockets)."""
        return of_namespace(self)

    # What the rest of the floor needs.

    def policy_for(self, rooms: frozenset[str] | None) -> SlowConsumers:
        """Return the policy of an event to these rooms, or to all. O(1) while no room has one, else O(rooms)."""
        if not self._room_policies or not rooms:
            return self.slow_consumers
        return least_lossy([self._room_policies.get(room, self.slow_consumers) for room in rooms])

    def backlog_of(self, socket: Socket) -> Backlog:
        """Return what posts a socket's events that may be dropped; it is made with its first use."""
        backlog = self._backlogs.get(socket)
        if backlog is None:
            backlog = self._backlogs[socket] = socket.make_backlog()
        return backlog

    def drops_of(self, socket: Socket) -> Drops:
        """Return the counts of a socket's events that were dropped."""
        backlog = self._backlogs.get(socket)
        return Drops() if backlog is None else backlog.drops

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
        packets = write_event(self.parser, self, event, args, ack_id=ack_id, compress=compress)
        is_json = self.parser is JSON
        if is_json and len(packets) > self.limits.warn_attachments + 1 and not self._has_warned_of_attachments:
            self._has_warned_of_attachments = True
            logger.warning(
                "the event %r has %d attachments; the JavaScript client takes %d at most, unless told otherwise",
                event,
                len(packets) - 1,
                self.limits.warn_attachments,
            )
        return packets

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

    def write_event(
        self,
        event: str,
        args: Sequence[Any],
        rooms: frozenset[str] | None,
        excluded: frozenset[str],
        *,
        volatile: bool,
        compress: bool,
    ) -> tuple[Sequence[Packet], list[Socket]]:
        """Encode a broadcast and select who is sent it; those who are away have it when they come back."""
        sockets = self.select(rooms, excluded)
        journal = self.journal
        if journal is None:
            return self.encode_event(event, args, compress=compress), sockets

        def encode(offset: str) -> Sequence[Packet]:
            return self.encode_event(event, (*args, offset), compress=compress)

        if volatile:
            return journal.pass_by(self.name, encode), sockets
        seats = self._seats_of(sockets)
        seats += journal.absent(self.name, rooms, excluded)
        return journal.write(self.name, encode, seats), sockets

    def _seats_of(self, sockets: Iterable[Socket]) -> list[Seat[Socket]]:
        return [socket.stay.seat for socket in sockets if socket.stay is not None]

    def is_taken(self, room: str) -> bool:
        """Whether a room is the private one of a client, there or away."""
        return room in self.sockets or (self.journal is not None and self.journal.is_absent(self.name, room))

    def _members(self, room: str) -> Iterable[Socket]:
        own = self.sockets.get(room)
        return self.rooms.members_of(room) if own is None else (own,)

    def announce(self) -> None:
        """Hear that a socket is at the door; `remove` is called for each sooner or later, `add` for those let in."""

    def add(self, socket: Socket) -> None:
        """Take in a socket whose connection was let in."""
        self.sockets[socket.id] = socket
        if self.rooms.watch is not None:
            self.rooms.watch(FIRST_IN, socket.id, socket)

    def remove(self, socket: Socket) -> None:
        """Let a socket go, out of all its rooms."""
        self.rooms.leave_all(socket)
        if self.sockets.pop(socket.id, None) is not None and self.rooms.watch is not None:
            self.rooms.watch(LAST_OUT, socket.id, socket)
        self.overheard.discard(socket)
        self._backlogs.pop(socket, None)
        self.streams.close(socket)

    def settle(self) -> None:
        """Hear that nobody is away any more who may come back."""

    def opening(self, handler: Handler) -> Handler:
        """Return the handler that begins a stream (see `streaming`); from now on clients may stop theirs."""
        if STOP_EVENT not in self.handlers:
            self.handlers[STOP_EVENT] = make_handler(self._stop_stream, STOP_EVENT, concurrent=True)
        return self.streams.opening(handler)

    def _stop_stream(self, socket: Socket, stream_id: Any) -> None:
        self.streams.stop(socket, stream_id)

    def log_unasked(self, handler: Handler) -> None:
        """Say, once for each handler, that a client called for a stream and did not ask for its id."""
        self._warn_once(handler, "without an acknowledgement, which a stream needs")

    def log_misfit(self, handler: Handler, n_args: int) -> None:
        """Say, once for each handler, that a client sent an event with too few arguments."""
        self._warn_once(handler, f"with {n_args} arguments, fewer than its handler needs")

    def _warn_once(self, handler: Handler, how: str) -> None:
        if handler.name not in self._misfits:
            self._misfits.add(handler.name)
            logger.warning("an event %r came %s; dropped, as others will be", handler.name, how)

    def _collect_methods(self) -> None:
        for name, _ in inspect.getmembers(type(self), callable):
            if name.startswith(METHOD_PREFIX) and not hasattr(Namespace, name):
                self.on(name.removeprefix(METHOD_PREFIX), getattr(self, name))
