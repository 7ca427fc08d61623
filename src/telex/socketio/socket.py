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
from typing import TYPE_CHECKING, Any

from telex.engineio import Packet
from telex.errors import AckTimeout, Disconnected
from telex.socketio.acks import Acks, Answer, from_values
from telex.socketio.broadcast import BroadcastOperator, Flags, Sent, names
from telex.socketio.events import CONNECTED, SENDING, State
from telex.socketio.fastpath import Emitter
from telex.socketio.handlers import Handler, Inbox, Job, call
from telex.socketio.reasons import DisconnectReason
from telex.streams.deadlines import Deadline, deadlines_of
from telex.types import Headers

if TYPE_CHECKING:
    from telex.socketio.connection import Connection
    from telex.socketio.namespace import Namespace

__all__ = ["Handshake", "Socket", "SocketOperator"]

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


class Socket(Emitter):
    """Talk with one client in one namespace.

    `id` is public and new for each connection to a namespace; `state` and `connection` are the library's own.
    """

    __slots__ = (
        "__weakref__",
        "_acks",
        "_auth",
        "_data",
        "_handshake",
        "_reason",
        "_since",
        "id",
    )

    # An idle socket is to be small: what not every socket needs comes into being when it is first asked for.
    def __init__(self, sid: str, namespace: Namespace, connection: Connection, auth: Mapping[str, Any]) -> None:
        self.id = sid
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
        self._direct()

    def __repr__(self) -> str:
        return f"<Socket {self.id} in {self.nsp.name} {self.state.name.lower()}>"

    @property
    def connected(self) -> bool:
        """Whether the client was let in and has not left."""
        return self.state is CONNECTED

    @property
    def recovered(self) -> bool:
        """Whether missed events were replayed, which this server does not do yet."""
        return False

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
        if self.state is State.DISCONNECTED:
            return
        limits, joined = self.nsp.limits, self.nsp.rooms.rooms_of(self)
        new = set(names(rooms)) - joined - {self.id}
        for room in new:
            if room in self.nsp.sockets:
                raise ValueError(f"{room!r} is the id of another socket, whose private room cannot be joined")
            if len(room) > limits.max_room_name:
                raise ValueError(f"a room's name can have {limits.max_room_name} characters at most, not {len(room)}")
        if len(joined) + len(new) > limits.max_rooms_per_socket:
            raise ValueError(f"a socket can be in {limits.max_rooms_per_socket} rooms at most")
        for room in new:
            self.nsp.rooms.join(self, room)

    def leave(self, room: str) -> None:
        """Leave a room; nothing happens if the socket is not in it."""
        self.check_thread()
        self.nsp.rooms.leave(self, room)

    # To this client.

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event to this client and return its acknowledgement.

        Returns: its value; a tuple where there are several, `None` where there is none.
        Raises `AckTimeout` (a `TimeoutError`; at once for a `volatile` event that was dropped), `Disconnected` when the
        client leaves before it answers or was not connected to begin with, and as `emit`.
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
        return self.broadcast

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

    def statistics(self) -> dict[str, int]:
        """Return what waits: bytes to be sent, events to be handled, acknowledgements to come, and rooms joined."""
        return {
            "buffered_bytes": self.connection.session.buffered_bytes if self.connected else 0,
            "queued_events": 0 if self._inbox is None else len(self._inbox),
            "pending_acks": 0 if self._acks is None else len(self._acks),
            "rooms": len(self.rooms),
        }

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

    def send_packets(self, packets: Sequence[Packet], *, volatile: bool = False) -> bool:
        """Send packets that belong together, volatile ones only if they leave at once; `False` if they were dropped."""
        session = self.connection.session
        if self.state not in SENDING or (volatile and not session.is_writable):
            return False
        session.send(packets)
        return True

    def ask(self, packets: Sequence[Packet], ack_id: int, answer: Answer, *, volatile: bool = False) -> bool:
        """Send packets and await their acknowledgement; `False` if they were dropped: `answer` is then not called.

        Raises `TooManyAcks`; nothing is sent then.
        """
        if self._acks is None:
            self._acks = Acks(self.nsp.limits.max_pending_acks)
        self._acks.expect(ack_id, answer)
        if not self.send_packets(packets, volatile=volatile):
            self._acks.forget(ack_id)
            return False
        self._regulate()
        return True

    def forget_ack(self, ack_id: int) -> None:
        """Await it no longer."""
        if self._acks is not None:
            self._acks.forget(ack_id)
            self._regulate()

    def receive_ack(self, ack_id: int, values: list[Any]) -> None:
        """Take an acknowledgement, at once: it never waits behind handlers."""
        if self._acks is not None:
            self._acks.resolve(ack_id, values)
            self._regulate()

    def _direct(self) -> None:
        """Know whether events may take the short way."""
        self.is_direct_in = self.is_direct_out = True

    def _emit(self, event: str, args: Sequence[Any], callback: Callable[..., Any] | None) -> Sent:
        return SocketOperator(self).emit(event, *args, callback=callback)

    def _receive_event(self, event: str, args: list[Any], ack_id: int | None, n_bytes: int) -> None:
        """Take an event: hand it to the catch-all handlers, then to its own."""
        for catch_all in self.nsp.catch_alls:
            self._submit(Job(catch_all, (self, event, *args), None, n_bytes, is_event=True))
        handler = self.nsp.handlers.get(event)
        if handler is None:
            return
        if len(args) < handler.n_min:
            self.nsp.log_misfit(handler, len(args))
            return
        reply = None if ack_id is None else partial(self.reply, ack_id)
        self._submit(Job(handler, (self, *args[: handler.n_max]), reply, n_bytes, is_event=True))

    def _await_result(self, handler: Handler, result: Any, ack_id: int | None, n_bytes: int) -> None:
        waiting = replace(handler, function=lambda _: result, is_async=True)
        reply = None if ack_id is None else partial(self.reply, ack_id)
        self._submit(Job(waiting, (self,), reply, n_bytes, is_event=True))

    def _submit(self, job: Job) -> None:
        if self._inbox is None:
            self._inbox = Inbox(self.nsp.limits, self)
        self._inbox.submit(job)

    def enter_namespace(self) -> None:
        """Begin: the middlewares have let it in."""
        self.state = State.CONNECTED
        self.nsp.add(self)

    def greet(self) -> None:
        """Run the "connect" handler.

        It comes too late to refuse anybody; but one that does so, as other libraries let it, must not be passed over.
        """
        handler = self.nsp.handlers.get("connect")
        if handler is not None:
            args = (self, self._auth)[: None if handler.n_max is None else handler.n_max + 1]
            self._submit(Job(handler, args, self._check_greeting, refuse=self._send_off))

    def leave_namespace(self, reason: DisconnectReason) -> None:
        """End this socket, in the original's order: `disconnecting`, rooms left, gone, `disconnect`.

        Idempotent, also from within these handlers. One that was still connecting leaves without a word.
        Events that were received before are handled yet, unless it was the server that sent the client off.
        """
        if self.state not in (State.CONNECTING, State.CONNECTED):
            return
        handlers = self.nsp.handlers if self.connected else {}
        self.state, self._reason = State.LEAVING, reason
        if reason is DisconnectReason.SERVER_NAMESPACE_DISCONNECT:
            if self._inbox is None:
                self._inbox = Inbox(self.nsp.limits, self)
            self._inbox.shut()
        disconnecting = handlers.get("disconnecting")
        if disconnecting is not None:
            call(self._job(disconnecting, reason))
        self.state = State.DISCONNECTED
        self.nsp.remove(self)
        self.connection.forget(self)
        if self._acks is not None:
            self._acks.abandon()
        if "disconnect" in handlers:
            self._submit(self._job(handlers["disconnect"], reason))

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

    def _job(self, handler: Handler, *args: Any) -> Job:
        return Job(handler, (self, *args[: handler.n_max]))

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
            packets = socket.nsp.encode_event(event, args, compress=flags.compress)
            socket.send_packets(packets, volatile=flags.volatile)
        else:
            self._ask_back(event, args, callback)
        return Sent(socket)

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

        ack_id, is_sent = self._ask(event, args, answered)
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
            raise Disconnected(socket.absence)
        return from_values(values)

    def _ask(self, event: str, args: Sequence[Any], answer: Answer) -> tuple[int, bool]:
        socket, flags = self._socket, self._flags
        ack_id = socket.nsp.next_ack_id()
        packets = socket.nsp.encode_event(event, args, ack_id=ack_id, compress=flags.compress)
        return ack_id, socket.ask(packets, ack_id, answer, volatile=flags.volatile)

    def _ask_back(self, event: str, args: Sequence[Any], callback: Callable[..., Any]) -> None:
        alarm: Deadline | None = None

        def answered(values: list[Any] | None) -> None:
            if alarm is not None:
                alarm.cancel()
            if values is not None:
                call(Job(Handler(callback, f"the acknowledgement of {event}", 0, None, False), values))

        ack_id, is_sent = self._ask(event, args, answered)
        if is_sent and self._flags.timeout is not None:
            deadlines = deadlines_of(asyncio.get_running_loop())
            alarm = deadlines.at(deadlines.now() + self._flags.timeout, lambda: self._socket.forget_ack(ack_id))

    def _with(self, **changes: Any) -> SocketOperator:
        return SocketOperator(self._socket, replace(self._flags, **changes))
