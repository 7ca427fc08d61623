"""Telex: realtime, bidirectional, event-based messaging.

WebSocket (RFC 6455), Engine.IO and Socket.IO, wire-compatible with the JavaScript originals.
The floors have packages of their own: `telex.websocket`, `telex.engineio`, `telex.socketio`; what most programs need
is here.
"""

from telex import websocket
from telex.engineio import Cookie, RefusedRequest, Request, Response
from telex.errors import (
    AckTimeout,
    ConnectionClosed,
    ConnectRefused,
    Disconnected,
    EventInProgress,
    EventRefused,
    HandshakeError,
    InvalidStatus,
    ProtocolError,
    StreamError,
    TelexError,
    TooManyAcks,
)
from telex.limits import Limits
from telex.serving.asgi import Server
from telex.serving.run import run
from telex.socketio import (
    Adapter,
    BroadcastOperator,
    Dedup,
    DisconnectReason,
    Handshake,
    Namespace,
    NamespaceStatistics,
    ParentNamespace,
    RateLimit,
    Recovery,
    RedisStore,
    RemoteSocket,
    Sent,
    ServerStatistics,
    SlowConsumers,
    Socket,
    SocketStatistics,
    SqlStore,
    event_id,
    once,
)
from telex.types import Headers

__all__ = [
    "AckTimeout",
    "Adapter",
    "BroadcastOperator",
    "ConnectRefused",
    "ConnectionClosed",
    "Cookie",
    "Dedup",
    "DisconnectReason",
    "Disconnected",
    "EventInProgress",
    "EventRefused",
    "Handshake",
    "HandshakeError",
    "Headers",
    "InvalidStatus",
    "Limits",
    "Namespace",
    "NamespaceStatistics",
    "ParentNamespace",
    "ProtocolError",
    "RateLimit",
    "Recovery",
    "RedisStore",
    "RefusedRequest",
    "RemoteSocket",
    "Request",
    "Response",
    "Sent",
    "Server",
    "ServerStatistics",
    "SlowConsumers",
    "Socket",
    "SocketStatistics",
    "SqlStore",
    "StreamError",
    "TelexError",
    "TooManyAcks",
    "event_id",
    "once",
    "run",
    "websocket",
]
