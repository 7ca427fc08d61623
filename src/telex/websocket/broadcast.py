"""Send one message to many connections.

Rule of this module: a message is encoded once for all who get the same bytes, and compressed once for all whose
compression is the same and remembers nothing of earlier messages (RFC 7692 §7.1.1: no context takeover).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby

from telex.errors import ConnectionClosed
from telex.types import Data
from telex.websocket.api import Connection
from telex.websocket.codec import encode_frame, write_to_all
from telex.websocket.connection import State
from telex.websocket.frames import Opcode

__all__ = ["broadcast"]


def broadcast(connections: Iterable[Connection], message: Data) -> None:
    """Send one message to many: one encoding, and one frame for all that negotiated the same.

    Acts at once and waits for nobody: a peer that does not keep up is closed as `Connection.send` says.
    Connections that are closing are left out, also those that close while this runs.
    """
    opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
    payload = message.encode() if isinstance(message, str) else message
    plain: list[Connection] = []
    others: list[Connection] = []
    for connection in connections:
        (others if connection.plain is None else plain).append(connection)
    frame = encode_frame(opcode, payload)
    # As a rule all are one server's, with one high mark.
    for high_mark, group in groupby(plain, lambda connection: connection.high_mark):
        members = list(group)
        refused, lagging = write_to_all([member.plain for member in members], frame, high_mark)
        for i in refused:
            send_one(members[i], frame)
        for i in lagging:
            members[i].lag(len(frame))
    frames: dict[object, bytes] = {}  # compressed, by what it was compressed with
    for connection in others:
        if connection.core.state is not State.OPEN:
            continue
        key = connection.core.shared_compression(payload)
        if key is None:
            with suppress(ConnectionClosed):
                connection.send(message)
        else:
            if key not in frames:
                frames[key] = connection.core.compress(opcode, payload)
            send_one(connection, frames[key])


def send_one(connection: Connection, frame: bytes) -> None:
    """Send an encoded frame, unless the peer is too slow, and about to be lost."""
    if connection.core.state is State.OPEN:
        with suppress(ConnectionClosed):
            connection.send_encoded(frame)
