"""Telex: realtime, bidirectional, event-based messaging.

WebSocket (RFC 6455), Engine.IO and Socket.IO, wire-compatible with the JavaScript originals.
The floors have packages of their own: `telex.websocket`, `telex.engineio`, `telex.socketio`; what most programs need
is here.
"""

from . import websocket
from .engineio import Cookie
from .errors import (
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
from .limits import Limits
from .serving.asgi import Server
from .serving.run import run
from .socketio import BroadcastOperator, DisconnectReason, Handshake, Namespace, Sent, Socket
from .types import Headers

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
    "Limits",
    "Namespace",
    "ProtocolError",
    "Sent",
    "Server",
    "Socket",
    "TelexError",
    "TooManyAcks",
    "run",
    "websocket",
]
