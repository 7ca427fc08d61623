"""Floor 3, Socket.IO: events, acknowledgements, namespaces and rooms.

Source: Socket.IO protocol v5.
"""

from telex.socketio.broadcast import BroadcastOperator, Sent
from telex.socketio.msgpack import MessagePackParser
from telex.socketio.namespace import Namespace
from telex.socketio.packets import Packet, PacketType
from telex.socketio.parsers import JsonParser
from telex.socketio.parsing import PacketDecoder, Parser
from telex.socketio.reasons import DisconnectReason
from telex.socketio.server import Server
from telex.socketio.socket import Handshake, Socket, SocketOperator

__all__ = [
    "BroadcastOperator",
    "DisconnectReason",
    "Handshake",
    "JsonParser",
    "MessagePackParser",
    "Namespace",
    "Packet",
    "PacketDecoder",
    "PacketType",
    "Parser",
    "Sent",
    "Server",
    "Socket",
    "SocketOperator",
]
