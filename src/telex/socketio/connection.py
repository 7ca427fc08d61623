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
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..engineio import CloseReason, Request, Session, is_cross_origin, message
from ..errors import SocketPacketError
from ..limits import Limits
from ..streams.deadlines import Deadline, deadlines_of
from ..types import Data
from .handlers import start
from .packets import Packet, PacketType
from .parsers import Decoder, encode
from .reasons import DisconnectReason
from .socket import Handshake, Socket

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Connection"]

logger = logging.getLogger("telex.socketio")

SID_BYTES = 15


class Connection:
    """Hold one client's sockets; it is what hears of the client's Engine.IO session."""

    __slots__ = (
        "_alarm",
        "_connecting",
        "_decoder",
        "_full",
        "_limits",
        "_message_bytes",
        "_request",
        "_room",
        "_server",
        "_sockets",
        "session",
    )

    def __init__(self, server: Server, session: Session, request: Request, limits: Limits) -> None:
        self.session = session
        self._server = server
        self._request = request
        self._limits = limits
        self._decoder = Decoder(limits)
        self._message_bytes = 0
        self._sockets: dict[str, Socket] = {}
        self._connecting: set[str] = set()
        self._full: set[Socket] = set()
        self._room: asyncio.Future[None] | None = None
        self._alarm: Deadline | None = None  # of the first namespace, later of awaited attachments
        self._set_alarm(limits.connect_timeout)

    # What the session tells.

    def message_received(self, data: Data) -> None:
        """Take one message of the client."""
        self._message_bytes += len(data)
        try:
            packet = self._decoder.add(data)
            if packet is not None:
                n_bytes, self._message_bytes = self._message_bytes, 0
                if self._sockets:
                    self._cancel_alarm()  # of the attachments: the first namespace was joined long ago
                self._receive(packet, n_bytes)
            elif self._decoder.namespace not in self._sockets:
                raise SocketPacketError("a binary packet for a namespace that is not joined")
            elif isinstance(data, str):
                self._set_alarm(self._limits.attachment_timeout)
        except SocketPacketError as error:
            logger.info("closed the connection of %s: %s", self._request.remote_address, error)
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
        for socket in list(self._sockets.values()):
            socket.disconnect()
        self.session.close()

    def forget(self, socket: Socket) -> None:
        """Hear that a socket has left its namespace."""
        if self._sockets.get(socket.nsp.name) is socket:
            del self._sockets[socket.nsp.name]
        if self._decoder.namespace == socket.nsp.name:
            self._decoder.reset()

    def regulate(self, socket: Socket, is_full: bool) -> None:
        """Stop reading while any socket's handlers lag."""
        was_full = bool(self._full)
        if is_full:
            self._full.add(socket)
        else:
            self._full.discard(socket)
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
            self._connect(packet.namespace, packet.data or {})
            return
        socket = self._sockets.get(packet.namespace)
        if socket is None:
            raise SocketPacketError(f"a packet of type {packet.type.name} for a namespace that is not joined")
        match packet.type:
            case PacketType.EVENT:
                event, *args = packet.data
                socket.receive_event(str(event), args, packet.ack_id, n_bytes)
            case PacketType.ACK if packet.ack_id is not None:
                socket.receive_ack(packet.ack_id, packet.data)
            case PacketType.DISCONNECT:
                socket.leave_namespace(DisconnectReason.CLIENT_NAMESPACE_DISCONNECT)
            case _:
                raise SocketPacketError(f"a client cannot send a packet of type {packet.type.name}")

    def _connect(self, name: str, auth: dict[str, Any]) -> None:
        if name in self._sockets or name in self._connecting:
            raise SocketPacketError("a second CONNECT to one namespace")
        namespace = self._server.namespaces.get(name)
        if namespace is None:
            self._refuse(name, "Invalid namespace")
            return
        if len(self._sockets) + len(self._connecting) >= self._limits.max_namespaces_per_connection:
            raise SocketPacketError("too many namespaces on one connection")
        socket = Socket(secrets.token_urlsafe(SID_BYTES), namespace, self, self._handshake(auth))
        if namespace.middlewares:
            self._connecting.add(name)
            start(self._admit(socket))
        else:
            self._accept(socket)

    async def _admit(self, socket: Socket) -> None:
        """Run the middlewares of a namespace on a socket, then accept or refuse it."""
        namespace = socket.nsp
        try:
            for middleware in namespace.middlewares:
                result = middleware(socket)
                if inspect.isawaitable(result):
                    await result
        except ConnectionRefusedError as refusal:
            self._refuse(namespace.name, str(refusal), getattr(refusal, "data", None))
        except Exception:
            logger.exception("a middleware of %s failed", namespace.name)
            self._refuse(namespace.name, "Internal server error")
        else:
            if self.session.is_open:
                self._accept(socket)
        finally:
            self._connecting.discard(namespace.name)

    def _accept(self, socket: Socket) -> None:
        namespace = socket.nsp
        self._cancel_alarm()
        self._sockets[namespace.name] = socket
        socket.connected = True
        namespace.add(socket)
        self.send(encode(PacketType.CONNECT, namespace.name, {"sid": socket.id}))
        socket.run(namespace.handlers.get("connect"), socket.handshake.auth)

    def _refuse(self, name: str, text: str, data: Any = None) -> None:
        payload = {"message": text} if data is None else {"message": text, "data": data}
        self.send(encode(PacketType.CONNECT_ERROR, name, payload))

    def _handshake(self, auth: dict[str, Any]) -> Handshake:
        request = self._request
        return Handshake(
            headers=request.headers,
            query=request.query,
            auth=auth,
            address=request.remote_address[0] if request.remote_address else "",
            time=datetime.now(UTC),
            secure=request.is_secure,
            xdomain=is_cross_origin(request),
            url=request.url,
            scope=request.scope,
        )

    # The end.

    def _end(self, reason: DisconnectReason) -> None:
        self._cancel_alarm()
        self._decoder.reset()
        for socket in list(self._sockets.values()):
            socket.leave_namespace(reason)
        self.writing_resumed()

    def _set_alarm(self, seconds: float) -> None:
        self._cancel_alarm()
        deadlines = deadlines_of(asyncio.get_running_loop())
        self._alarm = deadlines.at(deadlines.now() + seconds, self._overdue)

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _overdue(self) -> None:
        what = "attachments" if self._decoder.is_waiting else "a CONNECT packet"
        logger.info("closed the connection of %s: %s did not come in time", self._request.remote_address, what)
        self.close(DisconnectReason.FORCED_CLOSE)
