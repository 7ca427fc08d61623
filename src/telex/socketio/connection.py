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
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from telex.engineio import CloseReason, Opening, Session, is_cross_origin, message
from telex.errors import ConnectRefused, SocketPacketError
from telex.limits import Limits, Quota
from telex.socketio.fastpath import EventReceiver
from telex.socketio.handlers import is_being_cancelled
from telex.socketio.packets import Packet, PacketType, event_name
from telex.socketio.parsers import Decoder, encode
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

NO_AUTH: Mapping[str, Any] = MappingProxyType({})
"""What most clients send as auth."""

NOBODY: frozenset[Any] = frozenset()  # which CPython would make anew each time

UNUSED = Quota(1, 1)
"""Stands for the quota of a client that has sent one CONNECT packet."""

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
        "_message_bytes",
        "_opening",
        "_room",
        "_server",
    )

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
        self._parser = None if limits.max_events_per_second is not None else server.parser
        self._dismissed: frozenset[str] = NOBODY  # namespaces that the server made the client leave
        self._connects: Quota | None = None  # from the second CONNECT packet on
        rate = limits.max_events_per_second
        self._events = None if rate is None else Quota(rate, max(rate, 1))
        self._full: frozenset[Socket] = NOBODY  # those whose handlers lag
        self._room: asyncio.Future[None] | None = None
        self._alarm: Deadline | None = None  # of the first namespace, later of awaited attachments
        self._set_alarm(limits.connect_timeout)

    # What the session tells.

    def _receive_message(self, data: Data) -> None:
        self._message_bytes += size_of(data)
        decoder = self._decoder or Decoder(self._limits)
        try:
            packet = decoder.add(data)
            if packet is not None:
                n_bytes, self._message_bytes = self._message_bytes, 0
                self._decoder = None
                if isinstance(data, bytes):
                    self._cancel_alarm()  # of the attachments, which are complete
                self._receive(packet, n_bytes)
            elif isinstance(data, str):
                self._decoder = decoder
                self._find(decoder.namespace)  # nothing is kept for a namespace that is not joined
                self._set_alarm(self._limits.attachment_timeout)
        except SocketPacketError as error:
            logger.info("closed the connection of %s: %s", self._opening.unpack().remote_address, error)
            self.close(DisconnectReason.FORCED_CLOSE)

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

    def disconnect(self) -> None:
        """Send every socket off, then end the connection; so the client hears that the server wanted it."""
        for socket in self._sockets():
            socket.disconnect()
        self.close()

    def dismiss(self, socket: Socket) -> None:
        """Send one socket off. What its client has sent before it hears of that is on its way, and ignored."""
        self._dismissed |= {socket.nsp.name}
        self.send(encode(PacketType.DISCONNECT, socket.nsp.name))
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
                if self._events is not None and not self._events.take(now()):
                    raise SocketPacketError("too many events")
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
        namespace = self._server.namespaces.get(name)
        if namespace is None:
            self._refuse(name, {"message": "Invalid namespace"})
            return
        if len(self._sockets()) >= self._limits.max_namespaces_per_connection:
            raise SocketPacketError("too many namespaces on one connection")
        if name in self._dismissed:
            self._dismissed = (self._dismissed - {name}) or NOBODY
        socket = Socket(self._new_sid(namespace), namespace, self, auth or NO_AUTH)
        if name == "/":
            self._root = socket
        else:
            if self._others is None:
                self._others = {}
            self._others[name] = socket
        if namespace.middlewares:
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
        socket.enter_namespace()
        self.send(encode(PacketType.CONNECT, namespace.name, self._welcome(socket)))
        socket.greet()

    def _refuse(self, name: str, refusal: dict[str, Any]) -> None:
        try:
            packet = encode(PacketType.CONNECT_ERROR, name, self._explain(refusal))
        except (TypeError, ValueError):
            logger.exception("the refusal of a connection to %s cannot be sent", name)
            packet = encode(PacketType.CONNECT_ERROR, name, self._explain({"message": INTERNAL_ERROR}))
        self.send(packet)

    # What protocol v4 says otherwise (see `connection_v4.py`).

    def _new_sid(self, namespace: Namespace) -> str:
        """Return the id of a new socket."""
        return token_text(SID_BYTES)

    def _welcome(self, socket: Socket) -> dict[str, Any] | None:
        """Return the payload of the answer to a CONNECT packet that is let in."""
        return {"sid": socket.id}

    def _explain(self, refusal: dict[str, Any]) -> Any:
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
