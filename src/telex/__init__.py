"""Telex: realtime, bidirectional, event-based messaging.

WebSocket (RFC 6455), Engine.IO and Socket.IO, wire-compatible with the JavaScript originals.
The floors have packages of their own: `telex.websocket`, `telex.engineio`, `telex.socketio`; what most programs need
is here.
"""

from telex import websocket
from telex.engineio import Cookie
from telex.errors import (
    AckTimeout,
    ConnectionClosed,
    ConnectRefused,
    Disconnected,
    HandshakeError,
    InvalidStatus,
    ProtocolError,
    TelexError,
    TooManyAcks,
)
from telex.limits import Limits
from telex.serving.asgi import Server
from telex.serving.run import run
from telex.socketio import (
    BroadcastOperator,
    DisconnectReason,
    Handshake,
    JsonParser,
    MessagePackParser,
    Namespace,
    Packet,
    PacketDecoder,
    PacketType,
    Parser,
    Sent,
    Socket,
)
from telex.types import Headers

__all__ = [
    "AckTimeout",
    "BroadcastOperator",
    "ConnectRefused",
    "ConnectionClosed",
    "Cookie",
    "DisconnectReason",
    "Disconnected",
    "Handshake",
    "HandshakeError",
    "Headers",
    "InvalidStatus",
    "JsonParser",
    "Limits",
    "MessagePackParser",
    "Namespace",
    "Packet",
    "PacketDecoder",
    "PacketType",
    "Parser",
    "ProtocolError",
    "Sent",
    "Server",
    "Socket",
    "TelexError",
    "TooManyAcks",
    "run",
    "websocket",
]
