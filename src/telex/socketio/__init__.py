"""Floor 3, Socket.IO: events, acknowledgements, namespaces and rooms.

Source: Socket.IO protocol v5.
"""

from telex.socketio.broadcast import BroadcastOperator, Sent
from telex.socketio.dedup import Dedup
from telex.socketio.namespace import Namespace
from telex.socketio.reasons import DisconnectReason
from telex.socketio.recovery import Recovery
from telex.socketio.reliable import event_id
from telex.socketio.server import Server
from telex.socketio.socket import Handshake, Socket, SocketOperator
from telex.socketio.stores import RedisStore, SqlStore, Store, once

__all__ = [
    "BroadcastOperator",
    "Dedup",
    "DisconnectReason",
    "Handshake",
    "Namespace",
    "Recovery",
    "RedisStore",
    "Sent",
    "Server",
    "Socket",
    "SocketOperator",
    "SqlStore",
    "Store",
    "event_id",
    "once",
]
