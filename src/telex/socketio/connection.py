"""One client's connection: from session messages to the sockets of its namespaces.

Rule of this module: who is let into a namespace and what packet reaches which socket. Any packet that cannot be
decoded, or that this state does not allow, ends the whole connection: a peer that breaks the protocol is not reasoned
with.

Source: Socket.IO protocol v5, "Connection to a namespace"; the original's `Client`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from telex.engineio import CloseReason, Opening, Session, is_cross_origin, message
from telex.errors import ConnectRefused, SocketPacketError
from telex.limits import Limits, Quota
from telex.socketio.fastpath import EventReceiver
from telex.socketio.handlers import is_being_cancelled
from telex.socketio.joining import connect_answer, make_socket
from telex.socketio.packets import Packet, PacketType, event_name
from telex.socketio.reasons import DisconnectReason
from telex.socketio.socket import Handshake, Socket
from telex.socketio.starting import start
from telex.streams.deadlines import Deadline, deadlines_of
from telex.tokens import token_text
from telex.types import Data, size_of

if TYPE_CHECKING:
    from telex.socketio.namespace import Namespace
    from telex.socketio.server import Server

__all__ = ["Connection"]

logger = logging.getLogger("telex.socketio")

SID_BYTES = 15

NOBODY: frozenset[Any] = frozenset()  # which CPython would make anew each time

UNUSED = Quota(1, 1)
"""Stands for the quota of a client that has sent one CONNECT packet."""

INVALID_NAMESPACE = "Invalid namespace"
"""What a client hears of a namespace that there is not."""

TOO_MANY_NAMESPACES = "Too many namespaces"
"""What a client hears whose name would make one more child namespace than there may be."""

INTERNAL_ERROR = "Internal server error"
"""What a client hears of a middleware that failed: nothing of why."""


class Connection(EventReceiver):
    """Hold one client's sockets; it is what hears of the client's Engine.IO session."""

    __slots__ = (
        "_alarm",
        "_connects",
        "_dismissed",
        "_events",
        "_full",
        "_limits",
        "_lookups",
        "_message_bytes",
        "_opening",
        "_room",
        "_server",
    )

    session: Session
    _root: Socket | None
    _others: dict[str, Socket] | None

    # An idle client is to be small: what only some need comes into being with its first use.
    def __init__(self, server: Server, session: Session, opening: Opening, limits: Limits) -> None:
        self.loop = asyncio.get_running_loop()
        self.session = session
        self._server = server
        self._opening = opening
        self._limits = limits
        self._decoder = None
        self._message_bytes = 0
        # Sockets, those still in the hands of middlewares too: most clients have the one of the namespace "/".
        self._root = self._others = None
        self._parser = server.event_parser
        self._dismissed: tuple[str, ...] = ()  # namespaces that the server made the client leave, of late
        self._lookups: dict[str, object] | None = None  # of namespaces that a parent may have to make, by name
        self._connects: Quota | None = None  # from the second CONNECT packet on
        self._events = None if server.client_limit is None else server.client_limit.quota()
        self._full: frozenset[Socket] = NOBODY  # those whose handlers lag
        self._room: asyncio.Future[None] | None = None
        self._alarm: Deadline | None = None  # of the first namespace, later of awaited attachments
        self._set_alarm(limits.connect_timeout)

    # What the session tells.

    def _receive_message(self, data: Data) -> None:
        self._message_bytes += size_of(data)
        try:
            decoder = self._decoder or self._server.parser.decoder(self._limits)
            packet = decoder.add(data)
            if packet is not None:
                n_bytes, self._message_bytes = self._message_bytes, 0
                if self._decoder is not None:
                    self._decoder = None
                    self._cancel_alarm()  # of the rest of the packet, which is complete
                    if packet.type is PacketType.CONNECT and not self._sockets():
                        self._set_alarm(self._limits.connect_timeout)
                self._receive(packet, n_bytes)
            elif self._decoder is None:
                self._decoder = decoder
                if decoder.namespace:
                    self._find(decoder.namespace)  # nothing is kept for a namespace that is not joined
                self._set_alarm(self._limits.attachment_timeout)
        except SocketPacketError as error:
            self.expel(error)

    def session_closed(self, reason: CloseReason) -> None:
        """Hear that the session is over."""
        self._end(DisconnectReason(reason.value))

    def writing_resumed(self) -> None:
        """Hear that the client has room again."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # What sockets do.

    def send(self, messages: Sequence[Data]) -> None:
        """Send the messages of one packet."""
        self.session.send([message(data) for data in messages])

    def close(self, reason: DisconnectReason = DisconnectReason.FORCED_SERVER_CLOSE) -> None:
        """End the whole connection; every socket hears `reason`."""
        self._end(reason)
        self.session.close()

    def expel(self, why: object) -> None:
        """End the connection of a client that does what it must not; `why` is for the log."""
        logger.info("closed the connection of %s: %s", self._opening.unpack().remote_address, why)
        self.close(DisconnectReason.FORCED_CLOSE)

    @property
    def counts_events(self) -> bool:
        """Whether the client's events are counted, those of all its sockets together."""
        return self._events is not None

    def may_send_event(self) -> bool:
        """Count an event; at one too many the connection ends."""
        if self._events is None or self._events.take(now()):
            return True
        self.expel("too many events")
        return False

    def disconnect(self) -> None:
        """Send every socket off, then end the connection; so the client hears that the server wanted it."""
        for socket in self._sockets():
            socket.disconnect()
        self.close()

    def shut_down(self, but_not: asyncio.Task[Any] | None = None) -> list[asyncio.Future[None]]:
        """Close because the server does; return what is done when the handlers that hear of it have ended.

        Args: `but_not` as in `at_work`.
        """
        sockets = self._sockets()
        self.close(DisconnectReason.SERVER_SHUTTING_DOWN)
        return [done for socket in not_run_by(but_not, sockets) if (done := socket.handlers_done()) is not None]

    def at_work(self, but_not: asyncio.Task[Any] | None = None) -> list[asyncio.Future[None]]:
        """Return what is done when the handlers of its sockets have ended and no acknowledgement is awaited.

        Args: `but_not` is a task that is not waited for: a handler that asks this itself.
        """
        found: list[asyncio.Future[None]] = []
        for socket in not_run_by(but_not, self._sockets()):
            found += filter(None, (socket.handlers_done(), socket.acks_done()))
        return found

    def dismiss(self, socket: Socket) -> None:
        """Send one socket off. What its client has sent before it hears of that is on its way, and ignored."""
        self._dismissed = (*self._dismissed, socket.nsp.name)[-self._limits.max_namespaces_per_connection :]
        self._send(Packet(PacketType.DISCONNECT, socket.nsp.name))
        socket.leave_namespace(DisconnectReason.SERVER_NAMESPACE_DISCONNECT)

    def forget(self, socket: Socket) -> None:
        """Hear that a socket has left its namespace."""
        if socket is self._root:
            self._root = None
        elif self._others is not None:
            del self._others[socket.nsp.name]
        self.regulate(socket, is_full=False)
        self.writing_resumed()  # who waits for room for this socket need not any longer

    def regulate(self, socket: Socket, is_full: bool) -> None:
        """Stop reading while any socket's handlers lag."""
        was_full = bool(self._full)
        if is_full or was_full:
            self._full = (self._full | {socket} if is_full else self._full - {socket}) or NOBODY
        if not was_full and self._full:
            self.session.pause_reading()
        elif was_full and not self._full:
            self.session.resume_reading()

    @property
    def is_paused(self) -> bool:
        """Whether nothing is read, because some socket's handlers lag."""
        return bool(self._full)

    async def wait_room(self) -> None:
        """Wait until the session says that there is room again, or is over."""
        if self._room is None or self._room.done():
            self._room = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._room)

    # Packets.

    def _receive(self, packet: Packet, n_bytes: int) -> None:
        if packet.type is PacketType.CONNECT:
            self._connect(packet.namespace, packet.data)
            return
        socket = self._find(packet.namespace)
        if socket is None:
            return
        match packet.type:
            case PacketType.EVENT:
                event, *args = packet.data
                socket.receive_event(event_name(event), args, packet.ack_id, n_bytes)
            case PacketType.ACK if packet.ack_id is not None:
                socket.receive_ack(packet.ack_id, packet.data)
            case PacketType.DISCONNECT:
                socket.leave_namespace(DisconnectReason.CLIENT_NAMESPACE_DISCONNECT)
            case _:
                raise SocketPacketError(f"a client cannot send a packet of type {packet.type.name}")

    def _find(self, name: str) -> Socket | None:
        """Return the socket that a packet is for, `None` where the server has just sent it off."""
        socket = self._socket(name)
        if socket is not None and socket.connected:
            return socket
        if name in self._dismissed:
            return None
        raise SocketPacketError("a packet for a namespace that is not joined")

    def _connect(self, name: str, auth: dict[str, Any] | None) -> None:
        former = self._socket(name)
        if former is not None and not former.is_connecting:
            raise SocketPacketError("a second CONNECT to one namespace")
        if not self._may_connect():
            raise SocketPacketError("too many CONNECT packets")
        if former is not None:  # its client has left and come back without a word: nothing was answered yet
            former.leave_namespace(DisconnectReason.CLIENT_NAMESPACE_DISCONNECT)
        if self._lookups is not None:
            self._lookups.pop(name, None)  # likewise: who has asked a parent for it is not answered any more
        namespace = self._server.namespaces.get(name)
        if namespace is None and not self._server.parents:
            self._refuse(name, {"message": INVALID_NAMESPACE})
            return
        if len(self._sockets()) + len(self._lookups or ()) >= self._limits.max_namespaces_per_connection:
            raise SocketPacketError("too many namespaces on one connection")
        if namespace is None:
            start(self._look_up(name, auth or {}))
        else:
            self._enter(namespace, auth or {})

    async def _look_up(self, name: str, auth: Mapping[str, Any]) -> None:
        """Ask the parent namespaces for one of this name."""
        if self._lookups is None:
            self._lookups = {}
        lookup = self._lookups[name] = object()
        parent = await self._server.parents.find(name, auth)
        if self._lookups.get(name) is not lookup:
            return  # the client has left meanwhile, or asked anew
        del self._lookups[name]
        namespace = self._server.namespaces.get(name)  # another client's may have made it
        if namespace is None and parent is not None:
            namespace = parent.make_child(name)
        if namespace is not None:
            self._enter(namespace, auth)
        else:
            self._refuse(name, {"message": INVALID_NAMESPACE if parent is None else TOO_MANY_NAMESPACES})

    def _enter(self, namespace: Namespace, auth: Mapping[str, Any]) -> None:
        """Bring a client to a namespace's door."""
        name = namespace.name
        if name in self._dismissed:
            self._dismissed = tuple(each for each in self._dismissed if each != name)
        namespace.announce()
        socket = make_socket(self, namespace, auth)
        if name == "/":
            self._root = socket
        else:
            if self._others is None:
                self._others = {}
            self._others[name] = socket
        if not self.session.is_open:  # ended by who heard that the former connection of this client is gone
            socket.leave_namespace(DisconnectReason.FORCED_SERVER_CLOSE)
        elif namespace.middlewares and not (socket.recovered and namespace.recovery.options.skip_middlewares):
            start(self._admit(socket))
        else:
            self._accept(socket)

    async def _admit(self, socket: Socket) -> None:
        """Run the middlewares of a namespace on a socket, then accept or refuse it."""
        refusal = await run_middlewares(socket)
        if not socket.is_connecting:
            return  # the client has left meanwhile
        if refusal is None:
            self._accept(socket)
        else:
            socket.leave_namespace(DisconnectReason.SERVER_NAMESPACE_DISCONNECT)
            self._refuse(socket.nsp.name, refusal)

    def _accept(self, socket: Socket) -> None:
        namespace = socket.nsp
        if self._decoder is None:
            self._cancel_alarm()  # of the first namespace
        stay, missed = socket.stay, None
        if stay is not None and stay.is_recovered:
            missed = namespace.recovery.restore(stay.seat, stay.position)
            if missed is None:  # too much, since it came: it begins anew when it comes again
                self.close(DisconnectReason.TRANSPORT_CLOSE)
                return
        socket.enter_namespace()
        if not socket.connected:
            return  # who was told of its room has sent it off
        if not self._send(Packet(PacketType.CONNECT, namespace.name, self.welcome(socket))):
            return
        if missed:
            self.session.send(socket.catch_up(missed))  # at once: so much is not held against one that keeps up
        socket.greet()

    def _refuse(self, name: str, refusal: dict[str, Any]) -> None:
        try:
            messages = self._server.parser.encode(Packet(PacketType.CONNECT_ERROR, name, self.explain(refusal)))
        except Exception:
            logger.exception("the refusal of a connection to %s cannot be sent", name)
            self._send(Packet(PacketType.CONNECT_ERROR, name, self.explain({"message": INTERNAL_ERROR})))
        else:
            self.send(messages)

    def _send(self, packet: Packet) -> bool:
        """Send a packet of the library's own; a program's parser that cannot write it ends the connection."""
        try:
            messages = self._server.parser.encode(packet)
        except Exception:
            logger.exception("the parser could not write a packet of type %s", packet.type.name)
            self.close(DisconnectReason.FORCED_CLOSE)
            return False
        self.send(messages)
        return True

    # What protocol v4 says otherwise (see `connection_v4.py`).

    can_return = True
    """Whether its clients know how to come back and be recovered."""

    def new_sid(self, namespace: Namespace) -> str:
        """Return the id of a new socket."""
        return token_text(SID_BYTES)

    def welcome(self, socket: Socket) -> dict[str, Any] | None:
        """Return the payload of the answer to a CONNECT packet that is let in."""
        return connect_answer(socket)

    def explain(self, refusal: dict[str, Any]) -> Any:
        """Return the payload of a CONNECT_ERROR packet, from a message and perhaps data."""
        return refusal

    def handshake(self, auth: Mapping[str, Any], since: float) -> Handshake:
        """Return what a socket's program is told of its opening; `since` is the time of day."""
        request = self._opening.unpack()
        return Handshake(
            headers=request.headers,
            query=request.query,
            auth=auth,
            address=request.remote_address[0] if request.remote_address else "",
            time=datetime.fromtimestamp(since, UTC),
            secure=request.is_secure,
            xdomain=is_cross_origin(request),
            url=request.url,
            scope=request.scope,
            protocol=self.session.protocol,
        )

    def _socket(self, name: str) -> Socket | None:
        """Return the socket of a namespace."""
        if name == "/":
            return self._root
        return None if self._others is None else self._others.get(name)

    def _sockets(self) -> list[Socket]:
        """Return all sockets."""
        found = [] if self._root is None else [self._root]
        return found if self._others is None else [*found, *self._others.values()]

    def _may_connect(self) -> bool:
        """Charge a CONNECT packet to the client's quota, which is not kept for those that send only one."""
        if self._connects is None:
            self._connects = UNUSED
            return True
        if self._connects is UNUSED:
            most = self._limits.max_connects_per_minute
            self._connects = Quota(most / 60, most)
            self._connects.take(now())  # the first
        return self._connects.take(now())

    # The end.

    def _end(self, reason: DisconnectReason) -> None:
        self._cancel_alarm()
        self._decoder = None
        if self._lookups is not None:
            self._lookups.clear()
        for socket in self._sockets():
            socket.leave_namespace(reason)
        self.writing_resumed()

    def _set_alarm(self, seconds: float) -> None:
        self._cancel_alarm()
        self._alarm = deadlines_of(asyncio.get_running_loop()).at(now() + seconds, self._overdue)

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _overdue(self) -> None:
        what = "attachments" if self._decoder is not None else "a CONNECT packet"
        logger.info("closed the connection of %s: %s did not come in time", self._opening.unpack().remote_address, what)
        self.close(DisconnectReason.FORCED_CLOSE)


def not_run_by(task: asyncio.Task[Any] | None, sockets: Sequence[Socket]) -> list[Socket]:
    """Return the sockets whose handlers another task runs than this one, if it is one."""
    return [socket for socket in sockets if task is None or socket.worker is not task]


async def run_middlewares(socket: Socket) -> dict[str, Any] | None:
    """Run the middlewares of a socket's namespace; return what its client is told, if one refuses it or fails."""
    try:
        for middleware in tuple(socket.nsp.middlewares):
            result = middleware(socket)
            if inspect.isawaitable(result):
                await result
    except ConnectionRefusedError as error:
        # The system's own has a number: a database that is down, say, and that is nobody's business.
        if not isinstance(error.errno, int):
            return describe(error)
        logger.exception("a middleware of %s failed", socket.nsp.name)
    except Exception:
        logger.exception("a middleware of %s failed", socket.nsp.name)
    except asyncio.CancelledError:
        if is_being_cancelled():
            raise
        logger.warning("a middleware of %s cancelled itself", socket.nsp.name)
    else:
        return None
    return {"message": INTERNAL_ERROR}


def describe(refusal: ConnectionRefusedError) -> dict[str, Any]:
    """Write what a client is told of a refusal: the message, and the data where there is any."""
    message, data = (*refusal.args, None)[:2] if refusal.args else ("Connection refused", None)
    if isinstance(refusal, ConnectRefused):
        data = refusal.data
    return {"message": str(message)} if data is None else {"message": str(message), "data": data}


def now() -> float:
    """Return the time of the running loop."""
    return asyncio.get_running_loop().time()
