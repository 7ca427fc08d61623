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
    EventInProgress,
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
    Dedup,
    DisconnectReason,
    Handshake,
    Namespace,
    Recovery,
    RedisStore,
    Sent,
    Socket,
    SqlStore,
    event_id,
    once,
)
from telex.types import Headers

__all__ = [
    "AckTimeout",
    "BroadcastOperator",
    "ConnectRefused",
    "ConnectionClosed",
    "Cookie",
    "Dedup",
    "DisconnectReason",
    "Disconnected",
    "EventInProgress",
    "Handshake",
    "HandshakeError",
    "Headers",
    "InvalidStatus",
    "Limits",
    "Namespace",
    "ProtocolError",
    "Recovery",
    "RedisStore",
    "Sent",
    "Server",
    "Socket",
    "SqlStore",
    "TelexError",
    "TooManyAcks",
    "event_id",
    "once",
    "run",
    "websocket",
]
