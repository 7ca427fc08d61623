"""One client in one namespace.

Rule of this module: what a program does with a socket, and what the namespace and the connection do with it; how a
client comes to be in a namespace is `connection.py`'s.

Source: Socket.IO protocol v5; the original's `Socket`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..engineio import Packet, message
from ..errors import AckTimeout, Disconnected
from ..types import Headers
from .acks import Acks, Answer, as_values, from_values
from .broadcast import BroadcastOperator, Flags, Sent, names
from .handlers import Handler, Inbox, Job, call, call_back
from .packets import PacketType
from .parsers import encode
from .reasons import DisconnectReason

if TYPE_CHECKING:
    from .connection import Connection
    from .namespace import Namespace

__all__ = ["Handshake", "Socket", "SocketOperator"]


@dataclass(frozen=True, slots=True)
class Handshake:
    """Hold what the client said when it connected.

    `auth` is the client's own object, `address` the peer's IP address, `time` when it connected to this namespace
    (UTC), `xdomain` whether it came from another origin, `scope` the ASGI scope of the Engine.IO handshake.
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


class Socket:
    """Talk with one client in one namespace.

    `id` is public and new for each connection to a namespace; `data` is the program's own; `recovered` tells whether
    missed events were replayed, which this server does not do yet.
    """

    __slots__ = (
        "_acks",
        "_connection",
        "_inbox",
        "connected",
        "data",
        "handshake",
        "id",
        "nsp",
        "recovered",
    )

    def __init__(self, sid: str, namespace: Namespace, connection: Connection, handshake: Handshake) -> None:
        limits = namespace.limits
        self.id = sid
        self.nsp = namespace
        self.handshake = handshake
        self.data: dict[str, Any] = {}
        self.connected = False
        self.recovered = False
        self._connection = connection
        self._acks = Acks(limits.max_pending_acks)
        self._inbox = Inbox(limits, self._regulate, lambda: len(self._acks) > 0)

    def __repr__(self) -> str:
        return f"<Socket {self.id} in {self.nsp.name} {'connected' if self.connected else 'disconnected'}>"

    # Rooms.

    @property
    def rooms(self) -> AbstractSet[str]:
        """The rooms this socket is in, its own id among them; empty once it has left."""
        return {self.id, *self.nsp.rooms.rooms_of(self)} if self.connected else frozenset()

    def join(self, rooms: str | Iterable[str]) -> None:
        """Join one room or several. After the disconnect nothing happens.

        Raises `ValueError` for another socket's id, which is a private room, and past `Limits.max_rooms_per_socket`.
        """
        if not self.connected:
            return
        for room in names(rooms):
            if room == self.id:
                continue
            if room in self.nsp.sockets:
                raise ValueError(f"{room!r} is the id of another socket, whose private room cannot be joined")
            joined = self.nsp.rooms.rooms_of(self)
            if room not in joined and len(joined) >= self.nsp.limits.max_rooms_per_socket:
                raise ValueError(f"a socket can be in {self.nsp.limits.max_rooms_per_socket} rooms at most")
            self.nsp.rooms.join(self, room)

    def leave(self, room: str) -> None:
        """Leave a room; nothing happens if the socket is not in it."""
        self.nsp.rooms.leave(self, room)

    # To this client.

    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> Sent:
        """Send an event to this client.

        The event is sent when this is called; awaiting the result waits until the client has room for more.
        After the disconnect nothing is sent.
        Args: `callback` is called with the values of the client's acknowledgement, if one comes.
        Raises `ValueError` for a reserved name, `TypeError` for data that cannot be sent, and `TooManyAcks`.
        """
        return SocketOperator(self).emit(event, *args, callback=callback)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event to this client and return its acknowledgement.

        Returns: its value; a tuple where there are several, `None` where there is none.
        Raises `AckTimeout` (a `TimeoutError`), `Disconnected` when the client leaves before it answers, and as `emit`.
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
        """Bound how long the next `call` waits."""
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
        """Leave the namespace, or end the client's whole connection with `close=True`."""
        if not self.connected:
            return
        if close:
            self._connection.disconnect()
        else:
            self._connection.send(encode(PacketType.DISCONNECT, self.nsp.name))
            self.leave_namespace(DisconnectReason.SERVER_NAMESPACE_DISCONNECT)

    @property
    def has_room(self) -> bool:
        """Whether the client keeps up: at most `Limits.send_buffer_high` bytes wait for it."""
        return not self.connected or self._connection.session.has_room

    async def wait_room(self) -> None:
        """Wait until `has_room`, or until the client has left."""
        while not self.has_room:
            await self._connection.wait_room()

    def statistics(self) -> dict[str, int]:
        """Return what waits: bytes to be sent, events to be handled, acknowledgements to come, and rooms joined."""
        return {
            "buffered_bytes": self._connection.session.buffered_bytes if self.connected else 0,
            "queued_events": len(self._inbox),
            "pending_acks": len(self._acks),
            "rooms": len(self.rooms),
        }

    # What the namespace, the connection and the operators do.

    def send_packets(self, packets: Sequence[Packet], *, volatile: bool = False) -> None:
        """Send packets that belong together, if connected; volatile ones only if they leave at once."""
        if self.connected and not (volatile and not self._connection.session.is_writable):
            self._connection.session.send(packets)

    def expect_ack(self, ack_id: int, answer: Answer) -> None:
        """Await an acknowledgement. Raises `TooManyAcks`."""
        self._acks.expect(ack_id, answer)
        self._inbox.regulate()

    def forget_ack(self, ack_id: int) -> None:
        """Await it no longer."""
        self._acks.forget(ack_id)
        self._inbox.regulate()

    def receive_ack(self, ack_id: int, values: list[Any]) -> None:
        """Take an acknowledgement, at once: it never waits behind handlers."""
        self._acks.resolve(ack_id, values)
        self._inbox.regulate()

    def receive_event(self, event: str, args: list[Any], ack_id: int | None, n_bytes: int) -> None:
        """Take an event: hand it to the catch-all handlers, then to its own."""
        for catch_all in self.nsp.catch_alls:
            self._inbox.submit(Job(catch_all, (self, event, *args), None, n_bytes))
        handler = self.nsp.handlers.get(event)
        if handler is None:
            return
        if not handler.accepts(len(args)):
            self.nsp.log_misfit(handler, len(args))
            return
        reply = None if ack_id is None else self._replier(ack_id)
        self._inbox.submit(Job(handler, (self, *args), reply, n_bytes))

    def run(self, handler: Handler | None, *args: Any) -> None:
        """Run one of the library's own handlers in its turn, with as many arguments as it takes."""
        if handler is not None:
            self._inbox.submit(self._job(handler, *args))

    def leave_namespace(self, reason: DisconnectReason) -> None:
        """End this socket, in the original's order: `disconnecting`, rooms left, gone, `disconnect`."""
        handlers = self.nsp.handlers
        disconnecting = handlers.get("disconnecting")
        if disconnecting is not None:
            call(self._job(disconnecting, reason))
        self.connected = False
        self.nsp.remove(self)
        self._connection.forget(self)
        self._acks.abandon()
        self.run(handlers.get("disconnect"), reason)

    def _replier(self, ack_id: int) -> Callable[[Any], None]:
        def reply(result: Any) -> None:
            packets = encode(PacketType.ACK, self.nsp.name, as_values(result), ack_id)
            self.send_packets([message(data) for data in packets])

        return reply

    def _job(self, handler: Handler, *args: Any) -> Job:
        return Job(handler, (self, *args[: handler.n_max]))

    def _regulate(self, is_full: bool) -> None:
        self._connection.regulate(self, is_full)


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
        """Bound how long `call` waits."""
        return self._with(timeout=seconds)

    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> Sent:
        """Send an event, as `Socket.emit` does."""
        if callback is None:
            self._send(event, args, None)
        else:
            self._send(event, args, self._expect(callback_answer(callback)))
        return Sent((self._socket,))

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event and return its acknowledgement, as `Socket.call` does."""
        socket = self._socket
        if not socket.connected:
            raise Disconnected("the socket has left before")
        seconds = self._flags.timeout if timeout is None else timeout
        done: asyncio.Future[list[Any] | None] = asyncio.get_running_loop().create_future()

        def answered(values: list[Any] | None) -> None:
            if not done.done():
                done.set_result(values)

        ack_id = self._expect(answered)
        try:
            self._send(event, args, ack_id)
            async with asyncio.timeout(seconds):
                values = await done
        except TimeoutError:
            raise AckTimeout(seconds) from None
        finally:
            socket.forget_ack(ack_id)
        if values is None:
            raise Disconnected("the socket left before it answered")
        return from_values(values)

    def _send(self, event: str, args: Sequence[Any], ack_id: int | None) -> None:
        socket, flags = self._socket, self._flags
        packets = socket.nsp.encode_event(event, args, ack_id=ack_id, compress=flags.compress)
        socket.send_packets(packets, volatile=flags.volatile)

    def _expect(self, answer: Answer) -> int:
        ack_id = self._socket.nsp.next_ack_id()
        self._socket.expect_ack(ack_id, answer)
        return ack_id

    def _with(self, **changes: Any) -> SocketOperator:
        return SocketOperator(self._socket, replace(self._flags, **changes))


def callback_answer(callback: Callable[..., Any]) -> Answer:
    """Call back with an acknowledgement's values; never, if the client leaves before."""

    def answered(values: list[Any] | None) -> None:
        if values is not None:
            call_back(callback, values)

    return answered
