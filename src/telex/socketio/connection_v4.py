"""A connection of Socket.IO protocol v4, which the clients of Socket.IO 2 speak over Engine.IO v3.

Rule of this module: the difference to `connection.py`, and nothing else.

- The namespace "/" is joined by the server, as soon as the connection is there.
- A namespace's name may carry a query, "/chat?token=1", where a later client sends an auth object; it becomes that.
- A socket's id is not told: both sides make it of the session's, "<sid>" in "/" and "/chat#<sid>" elsewhere.
- A refusal is a bare value: the data where there is any, else the message.

Source: Socket.IO protocol v4; the original's `Client`, `Namespace` and `Socket`, where they ask for protocol 3.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl

from telex.engineio import Opening, Session
from telex.errors import SocketPacketError
from telex.limits import Limits
from telex.socketio.connection import Connection
from telex.socketio.packets import Packet, PacketType
from telex.socketio.socket import Socket

if TYPE_CHECKING:
    from telex.socketio.namespace import Namespace
    from telex.socketio.server import Server

__all__ = ["ConnectionV4", "parse_query"]

ROOT = "/"

MAX_QUERY_FIELDS = 100
"""As many as in the query of a request."""


class ConnectionV4(Connection):
    """Hold the sockets of a client of Socket.IO 2."""

    __slots__ = ("_max_namespace_length",)

    can_return = False

    def __init__(self, server: Server, session: Session, opening: Opening, limits: Limits) -> None:
        self._max_namespace_length = limits.max_namespace_length
        super().__init__(server, session, opening, with_queries(limits))

    @classmethod
    def begin(cls, server: Server, session: Session, opening: Opening, limits: Limits) -> Self:
        """Make the connection of a new session, and join "/" for its client."""
        connection = cls(server, session, opening, limits)
        session.sink = connection  # before a handler runs, which may end it
        connection._connect(ROOT, None)
        return connection

    def _receive(self, packet: Packet, n_bytes: int) -> None:
        packet.namespace, query = self._split(packet.namespace)
        if packet.type is PacketType.CONNECT:
            packet.data = parse_query(query)
        super()._receive(packet, n_bytes)

    def _find(self, name: str) -> Socket | None:
        return super()._find(self._split(name)[0])  # of attachments that are only announced, say

    def _split(self, name: str) -> tuple[str, str]:
        """Part a namespace's name from its query. Raises `SocketPacketError` where either is too long."""
        path, _, query = name.partition("?")
        if len(path) > self._max_namespace_length:
            raise SocketPacketError("the namespace's name is too long")
        if len(query.encode(errors="replace")) > self._limits.max_auth_bytes:
            raise SocketPacketError("the namespace's query is too large")
        return path, query

    def new_sid(self, namespace: Namespace) -> str:
        """Return an id that the client can make for itself."""
        sid = self.session.sid
        return sid if namespace.name == ROOT else f"{namespace.name}#{sid}"

    def welcome(self, socket: Socket) -> dict[str, Any] | None:
        """Return nothing: the answer has no payload."""
        return None

    def explain(self, refusal: dict[str, Any]) -> Any:
        """Return the data of a refusal, else its message, without anything around it."""
        return refusal.get("data", refusal["message"])


@lru_cache(maxsize=16)  # one for each server, and none for each client
def with_queries(limits: Limits) -> Limits:
    """Return limits by which a namespace's name is read with its query, which is auth, and bounded as such."""
    return replace(limits, max_namespace_length=limits.max_namespace_length + 1 + limits.max_auth_bytes)


def parse_query(query: str) -> dict[str, Any]:
    """Read the query of a namespace: a text for each name, a list of them where it comes again.

    Raises `SocketPacketError` for more than `MAX_QUERY_FIELDS`.
    """
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
    except ValueError as error:
        raise SocketPacketError("the namespace's query has too many fields") from error
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found
