"""Send one message to many connections.

Rule of this module: a message is encoded once for all who get the same bytes, and compressed once for all whose
compression is the same and remembers nothing of earlier messages (RFC 7692 §7.1.1: no context takeover).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from telex.errors import ConnectionClosed
from telex.types import Data
from telex.websocket.api import Connection
from telex.websocket.codec import encode_frame, send_to_all
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
    frame = encode_frame(opcode, payload)
    others, refused, lagging = send_to_all(connections, frame)
    for connection in refused:
        send_one(connection, frame)
    for connection in lagging:
        connection.lag(len(frame))
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
