"""What a CONNECT packet says beside the program's auth: who comes back, and who knows Telex's extensions.

Rule of this module: it makes the socket and writes the answer. Whether the client is let in is the connection's
business.

Source: Socket.IO's "Connection state recovery" (`pid` and `offset`); docs/protocol-extensions.md (`$telex`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from telex.socketio.handlers import Handler
from telex.socketio.passage import Arrival, receive
from telex.socketio.reasons import DisconnectReason
from telex.socketio.reliable import EXTENSION, VERSION, identify, read_client, take_number
from telex.socketio.socket import Socket, Stay

if TYPE_CHECKING:
    from telex.socketio.connection import Connection
    from telex.socketio.namespace import Namespace

__all__ = ["ReliableSocket", "connect_answer", "make_socket"]

NO_AUTH: Mapping[str, Any] = MappingProxyType({})
"""What most clients send as auth."""

RECOVERY_KEYS = frozenset({"pid", "offset"})
"""What a client that wants to be recovered adds to its auth."""


class ReliableSocket(Socket):
    """Be the socket of a client that numbers its reliable events. `client_id` is what it said in its CONNECT packet."""

    __slots__ = ("client_id",)

    client_id: str

    def _direct(self) -> None:
        super()._direct()
        self.is_direct_in = False

    def _receive_event(self, event: str, args: list[Any], ack_id: int | None, n_bytes: int) -> None:
        number = take_number(args)
        sent_id = None if number is None else f"{self.client_id}:{number}"
        receive(self, Arrival(event, args, ack_id, n_bytes, sent_id))

    def identify(self, handler: Handler, sent_id: str) -> Handler:
        """Return the handler that is told the id which its client has given an event."""
        return identify(handler, self.nsp.name, sent_id)


def make_socket(connection: Connection, namespace: Namespace, said: Mapping[str, Any] | None) -> Socket:
    """Make the socket of a new client, or of one that was away and has all it needs to be recovered.

    What the client's library has added to the auth is taken out: it is none of the program's business, and the `pid`
    and the client's id are secrets.
    """
    if said is None:
        return make(connection, namespace, NO_AUTH, None)
    client_id = None
    if EXTENSION in said:
        client_id = read_client(said)
        said = {key: value for key, value in said.items() if key != EXTENSION}
    if namespace.journal is None or not connection.can_return:
        return make(connection, namespace, said or NO_AUTH, client_id)
    auth = {key: value for key, value in said.items() if key not in RECOVERY_KEYS} or NO_AUTH
    stay = find_stay(namespace, said)
    return make(connection, namespace, auth, client_id, stay)


def find_stay(namespace: Namespace, said: Mapping[str, Any]) -> Stay | None:
    """Claim the seat of a client that is back; None where it cannot be recovered."""
    recovery = namespace.recovery
    seat = recovery.find(namespace.name, said.get("pid"))
    if seat is None:
        return None
    if seat.occupant is not None:  # its old connection is dead, and only we do not know it yet
        seat.occupant.connection.close(DisconnectReason.TRANSPORT_CLOSE)
    position = recovery.claim(seat, said.get("offset"))
    return None if position is None else Stay(seat, position, is_recovered=True)


def make(
    connection: Connection,
    namespace: Namespace,
    auth: Mapping[str, Any],
    client_id: str | None,
    stay: Stay | None = None,
) -> Socket:
    """Make a socket, on the seat that was found or on a new one."""
    sid = connection.new_sid(namespace) if stay is None else stay.seat.sid
    if stay is None and namespace.journal is not None and connection.can_return:
        stay = Stay(namespace.journal.open(namespace.name, sid))
    if client_id is None:
        socket = Socket(sid, namespace, connection, auth, stay)
    else:
        socket = reliable = ReliableSocket(sid, namespace, connection, auth, stay)
        reliable.client_id = client_id
    if stay is not None:
        stay.seat.occupant = socket
        if stay.is_recovered:
            socket.return_to(stay.seat)
    return socket


def connect_answer(socket: Socket) -> dict[str, Any]:
    """Return what a client that is let in is told."""
    answer: dict[str, Any] = {"sid": socket.id}
    if socket.stay is not None:
        answer["pid"] = socket.stay.seat.pid
    if isinstance(socket, ReliableSocket):
        answer[EXTENSION] = {"version": VERSION, "offsets": socket.stay is not None}
    return answer
