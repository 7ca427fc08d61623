"""Floor 3, Socket.IO: events, acknowledgements, namespaces and rooms.

Source: Socket.IO protocol v5.
"""

from .broadcast import BroadcastOperator, Sent
from .namespace import Namespace
from .reasons import DisconnectReason
from .server import Server
from .socket import Handshake, Socket, SocketOperator

__all__ = [
    "BroadcastOperator",
    "DisconnectReason",
    "Handshake",
    "Namespace",
    "Sent",
    "Server",
    "Socket",
    "SocketOperator",
]
