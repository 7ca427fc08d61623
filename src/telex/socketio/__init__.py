"""Floor 3, Socket.IO: events, acknowledgements, namespaces and rooms.

Source: Socket.IO protocol v5.
"""

from telex.socketio.adapter import Adapter
from telex.socketio.backlog import SlowConsumers
from telex.socketio.broadcast import BroadcastOperator, Sent
from telex.socketio.client import Client, ClientNamespace, ClientOperator, ClientOptions, Manager, connect
from telex.socketio.dedup import Dedup
from telex.socketio.msgpack import MessagePackParser
from telex.socketio.namespace import Namespace
from telex.socketio.packets import Packet, PacketType
from telex.socketio.parents import ParentNamespace
from telex.socketio.parsers import JsonParser
from telex.socketio.parsing import PacketDecoder, Parser
from telex.socketio.rates import RateLimit
from telex.socketio.reasons import DisconnectReason
from telex.socketio.recovery import Recovery
from telex.socketio.reliable import event_id
from telex.socketio.remote import RemoteSocket
from telex.socketio.server import Server
from telex.socketio.socket import Handshake, Socket, SocketOperator
from telex.socketio.statistics import NamespaceStatistics, ServerStatistics, SocketStatistics
from telex.socketio.stores import RedisStore, SqlStore, Store, once

__all__ = [
    "Adapter",
    "BroadcastOperator",
    "Client",
    "ClientNamespace",
    "ClientOperator",
    "ClientOptions",
    "Dedup",
    "DisconnectReason",
    "Handshake",
    "JsonParser",
    "Manager",
    "MessagePackParser",
    "Namespace",
    "NamespaceStatistics",
    "Packet",
    "PacketDecoder",
    "PacketType",
    "ParentNamespace",
    "Parser",
    "RateLimit",
    "Recovery",
    "RedisStore",
    "RemoteSocket",
    "Sent",
    "Server",
    "ServerStatistics",
    "SlowConsumers",
    "Socket",
    "SocketOperator",
    "SocketStatistics",
    "SqlStore",
    "Store",
    "connect",
    "event_id",
    "once",
]
