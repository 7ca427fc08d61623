"""Floor 3, Socket.IO: events, acknowledgements, namespaces and rooms.

Source: Socket.IO protocol v5.
"""

from telex.socketio.backlog import SlowConsumers
from telex.socketio.broadcast import BroadcastOperator, Sent
from telex.socketio.namespace import Namespace
from telex.socketio.reasons import DisconnectReason
from telex.socketio.server import Server
from telex.socketio.socket import Handshake, Socket, SocketOperator
from telex.socketio.statistics import NamespaceStatistics, ServerStatistics, SocketStatistics

__all__ = [
    "BroadcastOperator",
    "DisconnectReason",
    "Handshake",
    "Namespace",
    "NamespaceStatistics",
    "Sent",
    "Server",
    "ServerStatistics",
    "SlowConsumers",
    "Socket",
    "SocketOperator",
    "SocketStatistics",
]
