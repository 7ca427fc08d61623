"""WebSocket (RFC 6455, RFC 7692), server and client.

`serve` and `connect` are for asyncio programs. Below them stand the parts without I/O: `frames`, `deflate`,
`handshake` and `connection`.
"""

from telex.errors import ConnectionClosed, FrameError, HandshakeError, InvalidStatus, ProxyError
from telex.websocket.api import Connection, Statistics
from telex.websocket.broadcast import broadcast
from telex.websocket.client import Connecting, connect, is_transient
from telex.websocket.connection import State
from telex.websocket.deflate import DeflateOptions
from telex.websocket.handshake import Request, Response, reject
from telex.websocket.receivers import Listener
from telex.websocket.server import Server, serve

__all__ = [
    "Connecting",
    "Connection",
    "ConnectionClosed",
    "DeflateOptions",
    "FrameError",
    "HandshakeError",
    "InvalidStatus",
    "Listener",
    "ProxyError",
    "Request",
    "Response",
    "Server",
    "State",
    "Statistics",
    "broadcast",
    "connect",
    "is_transient",
    "reject",
    "serve",
]
