"""One client in one namespace.

Rule of this module: what a program does with a socket, and what the namespace and the connection do with it; how a
client comes to be in a namespace is `connection.py`'s.

Source: Socket.IO protocol v5; the original's `Socket`.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import _get_running_loop  # None in a thread without one, and many times cheaper than an exception
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from time import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from telex.engineio import Packet, Session
from telex.errors import AckTimeout, Disconnected, TooManyAcks
from telex.socketio.acks import Acks, Answer, from_values
from telex.socketio.backlog import Backlog, SlowConsumers, check_key
from telex.socketio.broadcast import BroadcastOperator, Flags, Sent, names
from telex.socketio.events import CONNECTED, SENDING, State
from telex.socketio.fastpath import Emitter
from telex.socketio.handlers import Handler, Inbox, Job, call
from telex.socketio.listeners import LIFECYCLE, AnyEventMiddleware, Listeners, Listening
from telex.socketio.parsers import JSON
from telex.socketio.passage import Arrival, all_listeners, receive
from telex.socketio.rates import Meter
from telex.socketio.reasons import RECOVERABLE, DisconnectReason
from telex.socketio.recovery import Ask, Entry, Presence, Seat
from telex.socketio.remote import RemoteSocket
from telex.socketio.statistics import SocketStatistics, as_dropped
from telex.streams.deadlines import Deadline, deadlines_of
from telex.types import Headers

if TYPE_CHECKING:
    from telex.socketio.connection import Connection
    from telex.socketio.namespace import Namespace

__all__ = ["Handshake", "Socket", "SocketOperator", "Stay"]

logger = logging.getLogger("telex.socketio")


@dataclass(frozen=True, slots=True)
class Handshake:
    """Hold what the client said when it connected.

    `auth` is the client's own object, `address` the peer's IP address, `time` when it connected to this namespace
    (UTC), `xdomain` whether it came from another origin, `scope` the ASGI scope of the Engine.IO handshake, `protocol`
    the version of Engine.IO that it speaks: 4, or 3 for the clients of Socket.IO 2.
    """

    headers: Headers
    query: Mapping[str, str]
    auth: Mapping[str, Any]
    address: str
    time: datetime
    secure: bool
    xdomain: bool
    url: str
    scope: Mapping[str, Any]
    protocol: int = 4


@dataclass(frozen=True, slots=True)
class Stay:
    """Hold one socket's part in a seat: `position` is what its client had received when it came back."""

    seat: Seat[Socket]
    position: int = 0
    is_recovered: bool = False


class Socket(Emitter, Listening):
    """Talk with one client in one namespace.

    `id` is public and new for each connection to a namespace; `state`, `connection` and `listeners` are the library's
    own. What is registered here is this client's alone, beside what its namespace has.
    """

    __slots__ = (
        "__weakref__",
        "_acks",
        "_auth",
        "_data",
        "_handshake",
        "_meter",
        "_reason",
        "_since",
        "id",
        "listeners",
        "stay",
    )

    nsp: Namespace
    connection: Connection

    _lifecycle = MappingProxyType({event: n_given for event, n_given in LIFECYCLE.items() if event != "connect"})

    # An idle socket is to be small: what not every socket needs comes into being when it is first asked for.
    def __init__(
        self,
        sid: str,
        namespace: Namespace,
        connection: Connection,
        auth: Mapping[str, Any],
        stay: Stay | None = None,
    ) -> None:
        self.id = sid
        self.stay = stay
        self.nsp = namespace
        self.state = State.CONNECTING
        self._reason: DisconnectReason | None = None
        self.connection = connection
        self._auth = auth
        self._since = time()
        self._handshake: Handshake | None = None
        self._data: dict[str, Any] | None = None
        self._acks: Acks | None = None
        self._inbox = None
        self.listeners: Listeners | None = None
        self._meter: Meter | None = None
        self._direct()

    def __repr__(self) -> str:
        return f"<Socket {self.id} in {self.nsp.name} {self.state.name.lower()}>"

    @property
    def connected(self) -> bool:
        """Whether the client was let in and has not left."""
        return self.state is CONNECTED

    @property
    def recovered(self) -> bool:
        """Whether this is a client that was away and has missed nothing: with its id, rooms and data, and every event
        that was sent to it meanwhile (see `Recovery`).
        """
        return self.stay is not None and self.stay.is_recovered

    @property
    def data(self) -> dict[str, Any]:
        """Whatever the program wants to keep with this socket."""
        if self._data is None:
            self._data = {}
        return self._data

    @data.setter
    def data(self, data: dict[str, Any]) -> None:
        self._data = data

    @property
    def handshake(self) -> Handshake:
        """What the client said when it connected."""
        if self._handshake is None:
            self._handshake = self.connection.handshake(self._auth, self._since)
        return self._handshake

    @property
    def conn(self) -> Session:
        """The Engine.IO session, which all namespaces of the client share.

        It has `sid`, `protocol` (4, or 3), and `transport.name`: "polling", and "websocket" after the upgrade.
        """
        return self.connection.session

    # What a program registers (see `Listening`).

    def use(self, middleware: AnyEventMiddleware, /) -> AnyEventMiddleware:
        """Register a middleware of this client's events; see `use_event`, which is the same here."""
        return self.use_event(middleware)

    @property
    def _registered(self) -> Listeners:
        if self.listeners is None:
            self.listeners = Listeners()
        return self.listeners

    def listeners_changed(self) -> None:
        """Hear that something was registered here or on the namespace; the library's own."""
        self._direct()

    # Rooms.

    @property
    def rooms(self) -> AbstractSet[str]:
        """The rooms this socket is in, its own id among them; empty once it has left."""
        return frozenset() if self.state is State.DISCONNECTED else {self.id, *self.nsp.rooms.rooms_of(self)}

    def join(self, rooms: str | Iterable[str]) -> None:
        """Join one room or several; a middleware may do so too. After the disconnect nothing happens.

        Raises `ValueError` for another socket's id, which is a private room, for a name longer than
        `Limits.max_room_name`, and past `Limits.max_rooms_per_socket`; no room is joined then.
        """
        self.check_thread()
        self.enter_rooms(self.new_rooms(names(rooms)))

    def leave(self, room: str) -> None:
        """Leave a room; nothing happens if the socket is not in it."""
        self.check_thread()
        self.nsp.rooms.leave(self, room)

    # To this client.

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event to this client and return its acknowledgement.

        Returns: its value; a tuple where there are several, `None` where there is none.
        Raises `AckTimeout` (a `TimeoutError`; at once when the event is dropped), `Disconnected` when the client leaves
        before it answers or was not connected to begin with, and as `emit`.
        **Units**: `timeout` in seconds, 60 by default. **Cancellation**: the event stays sent, the answer is ignored.
        """
        return await SocketOperator(self).call(event, *args, timeout=timeout)

    def send(self, *args: Any) -> Sent:
        """Send an event called "message"."""
        return self.emit("message", *args)

    @property
    def volatile(self) -> SocketOperator:
        """Send only what can leave right now; else drop it."""
        return SocketOperator(self, Flags(volatile=True))

    def latest(self, key: str) -> SocketOperator:
        """Let only the newest unsent event under this key wait: `socket.latest("position").emit("position", x, y)`.

        While the client has no room, an event takes the place in the queue that it is emitted to, at the end, and the
        one that waits under its key is dropped; so what the client gets is in the order in which it was emitted. With
        room it leaves at once. An acknowledgement that the dropped one asked for fails at once.
        Raises `TypeError` for a key that is no text, `ValueError` for one that is too long or with `volatile`.
        **Limits**: `max_latest_keys` keys with values that wait; values under further ones are like any event.
        """
        return SocketOperator(self, Flags(latest=check_key(key)))

    def compress(self, compress: bool) -> SocketOperator:
        """Say whether the next event may be compressed, where compression is on."""
        return SocketOperator(self, Flags(compress=compress))

    def timeout(self, seconds: float) -> SocketOperator:
        """Bound how long the next `call` waits, or the next `callback` may be called."""
        return SocketOperator(self, Flags(timeout=seconds))

    # To others.

    @property
    def broadcast(self) -> BroadcastOperator:
        """Address everyone in the namespace but this client."""
        return BroadcastOperator(self.nsp, excluded=frozenset({self.id}))

    def to(self, *rooms: str) -> BroadcastOperator:
        """Address the members of these rooms but this client."""
        return self.broadcast.to(*rooms)

    def in_(self, *rooms: str) -> BroadcastOperator:
        """Address rooms, as `to` does."""
        return self.broadcast.to(*rooms)

    def except_(self, *rooms: str) -> BroadcastOperator:
        """Address everyone but this client and the members of these rooms."""
        return self.broadcast.except_(*rooms)

    @property
    def local(self) -> BroadcastOperator:
        """Address everyone on this node but this client."""
        return self.broadcast.local

    def disconnect(self, close: bool = False) -> None:
        """Leave the namespace, or end the client's whole connection with `close=True`.

        Events of this client that wait for their turn are dropped. Unless it is connected nothing happens; a middleware
        refuses by raising.
        """
        self.check_thread()
        if not self.connected:
            return
        if close:
            self.connection.disconnect()
        else:
            self.connection.dismiss(self)

    @property
    def has_room(self) -> bool:
        """Whether the client keeps up: at most `Limits.send_buffer_high` bytes wait for it, or it has left."""
        return not self.connected or self.connection.session.has_room

    async def wait_room(self) -> None:
        """Wait until `has_room`, or until the client has left."""
        while not self.has_room:
            await self.connection.wait_room()

    def statistics(self) -> SocketStatistics:
        """Return what waits, and what was dropped."""
        session = self.connection.session
        return SocketStatistics(
            buffered_bytes=session.buffered_bytes if self.connected else 0,
            queued_events=0 if self._inbox is None else len(self._inbox),
            pending_acks=0 if self._acks is None else len(self._acks),
            rooms=len(self.rooms),
            streams=self.nsp.streams.count_of(self),
            is_lagging=self.connected and session.is_lagging,
            is_paused=self._inbox is not None and self._inbox.is_paused,
            dropped=as_dropped([self.nsp.drops_of(self)]),
            delayed_events=0 if self._meter is None else self._meter.throttled.delayed,
            dropped_events=0 if self._meter is None else self._meter.throttled.dropped,
        )

    # What the namespace, the connection and the operators do.

    @property
    def is_connecting(self) -> bool:
        """Whether it is in the hands of the middlewares."""
        return self.state is State.CONNECTING

    @property
    def absence(self) -> str:
        """Why it is not connected: its disconnect reason, if it ever was."""
        return "not connected yet" if self._reason is None else self._reason

    def check_thread(self) -> None:
        """Raise `RuntimeError` outside of the event loop that this client is served on: nothing here takes locks."""
        if _get_running_loop() is not self.connection.loop:
            raise RuntimeError(
                "Telex was called outside of its event loop, from another thread perhaps: call "
                "loop.call_soon_threadsafe(socket.emit, ...) there, or return the value from the handler"
            )

    @property
    def worker(self) -> asyncio.Task[None] | None:
        """The task that its coroutine handlers run in, while there is one."""
        return None if self._inbox is None else self._inbox.worker

    def handlers_done(self) -> asyncio.Future[None] | None:
        """Return what is done when its handlers have ended; None where none is at work."""
        return None if self._inbox is None else self._inbox.done()

    def new_rooms(self, rooms: Iterable[str]) -> set[str]:
        """Return those of these rooms that it would join: none once it has left. Raises as `join`."""
        if self.state is State.DISCONNECTED:
            return set()
        limits, joined = self.nsp.limits, self.nsp.rooms.rooms_of(self)
        new = set(rooms) - joined - {self.id}
        for room in new:
            if self.nsp.is_taken(room):
                raise ValueError(f"{room!r} is the id of another socket, whose private room cannot be joined")
            if len(room) > limits.max_room_name:
                raise ValueError(f"a room's name can have {limits.max_room_name} characters at most, not {len(room)}")
        if len(joined) + len(new) > limits.max_rooms_per_socket:
            raise ValueError(f"a socket can be in {limits.max_rooms_per_socket} rooms at most")
        return new

    def enter_rooms(self, rooms: Iterable[str]) -> None:
        """Join rooms that `new_rooms` has found."""
        for room in rooms:
            if self.state is State.DISCONNECTED:  # who was told of the room before has sent it off
                return
            self.nsp.rooms.join(self, room)

    def as_remote(self) -> RemoteSocket:
        """Return what `fetch_sockets` tells of it. Nothing is made that it does not have yet: it is to stay small."""
        handshake = partial(self.connection.handshake, self._auth, self._since)
        return RemoteSocket(
            self.nsp, self.id, frozenset(self.rooms), {} if self._data is None else self._data, handshake
        )

    def send_packets(self, packets: Sequence[Packet]) -> None:
        """Send packets that belong together, and that nothing may drop but the end."""
        if self.state in SENDING:
            self.connection.session.send(packets)

    def acks_done(self) -> asyncio.Future[None] | None:
        """Return what is done when its client owes no acknowledgement; None where it owes none."""
        if self._acks is None or not len(self._acks):
            return None
        done = asyncio.get_running_loop().create_future()
        self._acks.when_settled(lambda: None if done.done() else done.set_result(None))
        return done

    def post(self, packets: Sequence[Packet], flags: Flags, ack_id: int | None = None) -> bool:
        """Send an event as its flags and the policy for slow consumers say; `False` if it was dropped."""
        if self.state not in SENDING:
            return False
        session, policy = self.connection.session, flags.policy or self.nsp.slow_consumers
        if flags.volatile:
            if not session.is_writable:
                self.nsp.backlog_of(self).drop_volatile()
                return False
        elif flags.latest is not None or policy is not SlowConsumers.CLOSE:
            return self.nsp.backlog_of(self).post(packets, policy, latest=flags.latest, ack_id=ack_id)
        session.send(packets)
        return True

    def make_backlog(self) -> Backlog:
        """Return what posts events to this client that may be dropped: the namespace keeps it."""
        return Backlog(self.connection.session, self.nsp.limits, self._fail_ack, self.nsp.drops)

    def ask(self, packets: Sequence[Packet], ack_id: int, answer: Answer, flags: Flags) -> bool:
        """Send packets and await their acknowledgement; `False` if they were dropped: `answer` is then not called.

        It is called with None when they are dropped later. One that is away, and may be recovered, is asked when it is
        back. Raises `TooManyAcks`; nothing is sent then.
        """
        seat = None if self.stay is None else self.stay.seat
        if seat is None or seat.present is self:
            return self._ask_present(packets, ack_id, answer, flags)
        if seat.present is not None:  # back already, with another socket
            return seat.present.ask(packets, ack_id, answer, flags)
        if flags.volatile or seat.presence is Presence.OVER:
            return False
        self.nsp.recovery.ask(packets, (seat,), Ask(ack_id, answer))
        return True

    def _ask_present(self, packets: Sequence[Packet], ack_id: int, answer: Answer, flags: Flags) -> bool:
        acks = self._awaited
        acks.expect(ack_id, answer)
        if not self.post(packets, flags, ack_id):
            acks.forget(ack_id)
            return False
        self._regulate()
        return True

    def send_event(self, event: str, args: Sequence[Any], flags: Flags) -> bool:
        """Send an event that asks for nothing; `False` if it was dropped, or waits until a client that is away is back.

        Where clients are recovered, every event is numbered, also those that flags or a policy may drop later.
        """
        nsp, stay = self.nsp, self.stay
        if stay is None:
            return self.post(nsp.encode_event(event, args, compress=flags.compress), flags)

        def encode(offset: str) -> Sequence[Packet]:
            return nsp.encode_event(event, (*args, offset), compress=flags.compress)

        seat = stay.seat
        present = seat.present
        if flags.volatile:
            packets = nsp.recovery.pass_by(nsp.name, encode)
        else:
            packets = nsp.recovery.write(nsp.name, encode, () if seat.presence is Presence.OVER else (seat,))
        return present is not None and present.post(packets, flags)

    def forget_ack(self, ack_id: int) -> None:
        """Await it no longer."""
        if self.stay is not None:
            seat = self.stay.seat
            if seat.present is None:
                self.nsp.recovery.forget_ask(seat, ack_id)
            elif seat.present is not self:
                seat.present.forget_ack(ack_id)
        if self._acks is not None:
            self._acks.forget(ack_id)
            self._regulate()

    def _fail_ack(self, ack_id: int) -> None:
        """Hear that the event was dropped: there will be none."""
        if self._acks is not None:
            self._acks.fail(ack_id)
            self._regulate()

    def receive_ack(self, ack_id: int, values: list[Any]) -> None:
        """Take an acknowledgement, at once: it never waits behind handlers."""
        if self._acks is not None:
            self._acks.resolve(ack_id, values)
            self._regulate()

    def _direct(self) -> None:
        """Know whether events may take the short way."""
        own, nsp = self.listeners, self.nsp
        is_heard = nsp.hears_events or self.connection.counts_events or (own is not None and own.hears_events)
        is_overheard = bool(nsp.listeners.outgoing or (own is not None and own.outgoing))
        self.is_direct_in = not is_heard
        is_json = nsp.parser is JSON  # the only one that the short way out can write
        is_plain = is_json and self.stay is None and nsp.slow_consumers is SlowConsumers.CLOSE
        self.is_direct_out = is_plain and not is_overheard
        if is_overheard and self.state is not State.DISCONNECTED:
            nsp.overheard.add(self)
        else:
            nsp.overheard.discard(self)

    def _emit(self, event: str, args: Sequence[Any], callback: Callable[..., Any] | None) -> Sent:
        return SocketOperator(self).emit(event, *args, callback=callback)

    def _receive_event(self, event: str, args: list[Any], ack_id: int | None, n_bytes: int) -> None:
        receive(self, Arrival(event, args, ack_id, n_bytes))

    def _await_result(self, handler: Handler, result: Any, ack_id: int | None, n_bytes: int) -> None:
        waiting = replace(handler, function=lambda _: result, is_async=True)
        reply = None if ack_id is None else partial(self.reply, ack_id)
        self.submit(Job(waiting, (self,), reply, n_bytes, is_event=True))

    def submit(self, job: Job) -> None:
        """Have a handler called, in its turn."""
        self.inbox.submit(job)

    @property
    def inbox(self) -> Inbox:
        """What runs its handlers, made when it is first asked for."""
        if self._inbox is None:
            self._inbox = Inbox(self.nsp.limits, self)
        return self._inbox

    @property
    def _awaited(self) -> Acks:
        """What its client owes, made when it is first asked for something."""
        if self._acks is None:
            self._acks = Acks(self.nsp.limits.max_pending_acks)
        return self._acks

    @property
    def meter(self) -> Meter:
        """What counts its events against rate limits, made when it is first asked for."""
        if self._meter is None:
            self._meter = Meter()
        return self._meter

    def identify(self, handler: Handler, sent_id: str) -> Handler:
        """Return the handler that is told the id which its client has given an event: for those that give any."""
        return handler

    def tell_outgoing(self, event: str, args: Sequence[Any]) -> None:
        """Tell those who want to know of every event that this one was sent."""
        for listeners in all_listeners(self):
            for handler in tuple(listeners.outgoing):
                call(Job(handler, (self, event, *args)))

    def be_overheard(self, event: str, args: Sequence[Any]) -> None:
        """Tell them, if there are any."""
        if self in self.nsp.overheard:
            self.tell_outgoing(event, args)

    @property
    def present(self) -> Socket:
        """The socket that its client has now, if it is back with another one; else itself."""
        return self if self.stay is None else self.stay.seat.present or self

    def enter_namespace(self) -> None:
        """Begin: the middlewares have let it in."""
        self.state = State.CONNECTED
        if self.nsp.middlewares:  # while they ran, the namespace may have changed
            self._direct()
        self.nsp.add(self)

    def return_to(self, seat: Seat[Socket]) -> None:
        """Take over the rooms and the data of a client that is back."""
        self._data = seat.data
        for room in seat.rooms:
            self.nsp.rooms.join(self, room)

    def catch_up(self, missed: Sequence[Entry]) -> list[Packet]:
        """Return the packets of what was missed; those that ask for an acknowledgement are awaited from now on."""
        packets: list[Packet] = []
        for entry in missed:
            if entry.ask is None:
                packets += entry.packets
                continue
            try:
                self._awaited.expect(entry.ask.ack_id, entry.ask.answer)
            except TooManyAcks:
                entry.ask.answer(None)
            else:
                packets += entry.packets
        return packets

    def greet(self) -> None:
        """Run the "connect" handler.

        It comes too late to refuse anybody; but one that does so, as other libraries let it, must not be passed over.
        """
        handler = self.nsp.listeners.take("connect")
        if handler is not None:
            args = (self, self._auth)[: None if handler.n_max is None else handler.n_max + 1]
            self.submit(Job(handler, args, self._check_greeting, refuse=self._send_off))

    def leave_namespace(self, reason: DisconnectReason) -> None:
        """End this socket, in the original's order: `disconnecting`, rooms left, gone, `disconnect`.

        Idempotent, also from within these handlers. One that was still connecting leaves without a word.
        Events that were received before are handled yet, unless it was the server that sent the client off.
        """
        if self.state not in (State.CONNECTING, State.CONNECTED):
            return
        was_connected = self.connected
        self.state, self._reason = State.LEAVING, reason
        if reason is DisconnectReason.SERVER_NAMESPACE_DISCONNECT:
            self.inbox.shut()
        if self._inbox is not None:
            self._inbox.hurry()
        self._leave_seat(reason, was_connected)
        if was_connected:
            for job in self._farewells("disconnecting", reason):
                call(job)
                self._leave_seat(reason, was_connected)  # in other rooms than before, perhaps
        self.state = State.DISCONNECTED
        self.nsp.remove(self)
        self.connection.forget(self)
        if self._acks is not None:
            self._acks.abandon()
        if was_connected:
            for job in self._farewells("disconnect", reason):
                self.submit(job)

    def _leave_seat(self, reason: DisconnectReason, was_let_in: bool) -> None:
        """Keep the seat for when the client is back, or give it up."""
        if self.stay is None:
            return
        seat, recovery = self.stay.seat, self.nsp.recovery
        if reason not in RECOVERABLE or not (was_let_in or self.stay.is_recovered):
            recovery.forget(seat)
        elif was_let_in:
            recovery.leave(seat, self.nsp.rooms.rooms_of(self), self.data)
        else:
            recovery.release(seat)

    def _check_greeting(self, result: Any) -> None:
        if result is False:
            self._send_off()

    def _send_off(self) -> None:
        logger.warning(
            "the 'connect' handler of %s refused a client, which was let in by then and is now sent off: "
            "refuse in a middleware, with `use`",
            self.nsp.name,
        )
        self.disconnect()

    def _reply(self, ack_id: int, values: list[Any]) -> None:
        self.send_packets(self.nsp.encode_ack(ack_id, values))

    def _farewells(self, event: str, reason: DisconnectReason) -> list[Job]:
        """Return the calls of what is to hear that it leaves: the namespace's handler, and its own."""
        handlers = [listeners.take(event) for listeners in all_listeners(self)]
        return [Job(handler, (self, *(reason,)[: handler.n_max])) for handler in handlers if handler is not None]

    # What its inbox asks and does.

    @property
    def is_awaiting_ack(self) -> bool:
        """Whether its client owes an acknowledgement."""
        return self._acks is not None and len(self._acks) > 0

    def regulate(self, is_full: bool) -> None:
        """Stop reading the connection, or go on."""
        self.connection.regulate(self, is_full and self.state is not State.DISCONNECTED)

    def _regulate(self) -> None:
        if self._inbox is not None:
            self._inbox.regulate()


class SocketOperator:
    """Hold how the next event is sent to one client."""

    __slots__ = ("_flags", "_socket")

    def __init__(self, socket: Socket, flags: Flags = Flags()) -> None:  # noqa: B008  # immutable
        self._socket = socket
        self._flags = flags

    @property
    def volatile(self) -> SocketOperator:
        """Send only what can leave right now; else drop it."""
        return self._with(volatile=True)

    def latest(self, key: str) -> SocketOperator:
        """Let only the newest unsent event under this key wait; see `Socket.latest`."""
        return self._with(latest=check_key(key))

    def compress(self, compress: bool) -> SocketOperator:
        """Say whether the event may be compressed, where compression is on."""
        return self._with(compress=compress)

    def timeout(self, seconds: float) -> SocketOperator:
        """Bound how long `call` waits, or `callback` may be called."""
        return self._with(timeout=seconds)

    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> Sent:
        """Send an event, as `Socket.emit` does."""
        socket, flags = self._socket, self._flags
        socket.check_thread()
        if callback is None:
            if socket.send_event(event, args, flags):
                socket.present.be_overheard(event, args)
        else:
            self._ask_back(event, args, callback)
        return Sent(socket)

    def send(self, *args: Any) -> Sent:
        """Send an event called "message", as `emit` does."""
        return self.emit("message", *args)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event and return its acknowledgement, as `Socket.call` does."""
        socket = self._socket
        socket.check_thread()
        if not socket.connected:
            raise Disconnected(socket.absence)
        seconds = self._flags.call_timeout if timeout is None else timeout
        done: asyncio.Future[list[Any] | None] = asyncio.get_running_loop().create_future()

        def answered(values: list[Any] | None) -> None:
            if not done.done():
                done.set_result(values)

        ack_id, is_sent = self.ask(event, args, answered)
        if not is_sent:
            raise AckTimeout(0)
        try:
            async with asyncio.timeout(seconds):
                values = await done
        except TimeoutError:
            raise AckTimeout(seconds) from None
        finally:
            socket.forget_ack(ack_id)
        if values is None:
            if socket.connected:
                raise AckTimeout(0)  # the event was dropped
            raise Disconnected(socket.absence)
        return from_values(values)

    def ask(self, event: str, args: Sequence[Any], answer: Answer) -> tuple[int, bool]:
        """Send an event and await its acknowledgement; return the id of that, and whether the event was not dropped."""
        socket, flags = self._socket, self._flags
        ack_id = socket.nsp.next_ack_id()
        packets = socket.nsp.encode_event(event, args, ack_id=ack_id, compress=flags.compress)
        is_sent = socket.ask(packets, ack_id, answer, flags)
        if is_sent:
            socket.present.be_overheard(event, args)
        return ack_id, is_sent

    def _ask_back(self, event: str, args: Sequence[Any], callback: Callable[..., Any]) -> None:
        alarm: Deadline | None = None

        def answered(values: list[Any] | None) -> None:
            if alarm is not None:
                alarm.cancel()
            if values is not None:
                call(Job(Handler(callback, f"the acknowledgement of {event}", 0, None, False), values))
            elif self._socket.stay is not None and not self._socket.connected:
                # Whoever recovers its clients relies on nothing being lost without a word.
                logger.warning("a client has left without acknowledging the event %r", event)

        ack_id, is_sent = self.ask(event, args, answered)
        if is_sent and self._flags.timeout is not None:
            deadlines = deadlines_of(asyncio.get_running_loop())
            alarm = deadlines.at(deadlines.now() + self._flags.timeout, lambda: self._socket.forget_ack(ack_id))

    def _with(self, **changes: Any) -> SocketOperator:
        return SocketOperator(self._socket, replace(self._flags, **changes))
