"""An event as the packets of a session: what a server's namespace and a client's write alike.

Rule of this module: sans-I/O. It knows the short form of a usual event, and the parser for all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from telex.engineio import Packet, message
from telex.socketio.fastpath import encode_event
from telex.socketio.packets import RESERVED_EVENTS, PacketType
from telex.socketio.packets import Packet as SocketPacket
from telex.socketio.parsers import JSON
from telex.socketio.parsing import Parser

__all__ = ["Addressee", "write_event"]


class Addressee(Protocol):
    """Be the namespace that an event is written for (see `events.Registry`)."""

    name: str
    event_head: bytes


def write_event(
    parser: Parser,
    nsp: Addressee,
    event: str,
    args: Sequence[Any],
    *,
    ack_id: int | None = None,
    compress: bool = True,
) -> Sequence[Packet]:
    """Encode one event.

    Raises `TypeError` for data that cannot be sent and a name that is no text, `ValueError` for a reserved name.
    """
    if ack_id is None and parser is JSON:
        body = encode_event(event, args)
        if body is not None:
            return (Packet((nsp.event_head + body).decode(), compress),)
    if not isinstance(event, str):
        raise TypeError(f"an event is named by a str, not {type(event).__name__}")
    if event in RESERVED_EVENTS:
        raise ValueError(f"{event!r} is a reserved event name")
    messages = parser.encode(SocketPacket(PacketType.EVENT, nsp.name, [event, *args], ack_id))
    return [message(data, compress) for data in messages]
