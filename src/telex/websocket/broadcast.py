"""Send one message to many connections.

Rule of this module: a message is encoded once for all who get the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from telex.errors import ConnectionClosed
from telex.types import Data
from telex.websocket.api import Connection
from telex.websocket.codec import encode_frame
from telex.websocket.connection import State
from telex.websocket.frames import Opcode

__all__ = ["broadcast"]


def broadcast(connections: Iterable[Connection], message: Data) -> None:
    """Send one message to many: one encoding, and one frame for all that negotiated no compression.

    Acts at once and waits for nobody: a peer that does not keep up is closed as `Connection.send` says.
    Connections that are closing are left out, also those that close while this runs.
    """
    opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
    frame = encode_frame(opcode, message.encode() if isinstance(message, str) else message)
    for connection in connections:
        if connection.core.state is not State.OPEN:
            continue
        with suppress(ConnectionClosed):  # too slow, and about to be lost
            if connection.plain is not None:
                connection.send_encoded(frame)
            else:
                connection.send(message)
