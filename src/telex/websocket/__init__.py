"""WebSocket (RFC 6455, RFC 7692), server and client.

`serve` and `connect` are for asyncio programs; `WebSocket` and `WebSocketStream` are the WHATWG's interfaces. Below
them stand the parts without I/O: `frames`, `deflate`, `handshake` and `connection`.
"""

from telex.errors import (
    ConnectionClosed,
    DOMException,
    DOMSyntaxError,
    FrameError,
    HandshakeError,
    InvalidAccessError,
    InvalidStateError,
    InvalidStatus,
    ProxyError,
    WebSocketError,
)
from telex.websocket.api import Connection, Statistics
from telex.websocket.broadcast import broadcast
from telex.websocket.client import Connecting, connect, is_transient
from telex.websocket.connection import State
from telex.websocket.deflate import DeflateOptions
from telex.websocket.handshake import Request, Response, reject
from telex.websocket.receivers import Listener
from telex.websocket.server import Server, serve
from telex.websocket.whatwg import WebSocket
from telex.websocket.whatwg_events import CloseEvent, ErrorEvent, Event, MessageEvent
from telex.websocket.whatwg_rules import ReadyState
from telex.websocket.whatwg_stream import CloseInfo, OpenInfo, Readable, WebSocketStream, Writable

__all__ = [
    "CloseEvent",
    "CloseInfo",
    "Connecting",
    "Connection",
    "ConnectionClosed",
    "DOMException",
    "DOMSyntaxError",
    "DeflateOptions",
    "ErrorEvent",
    "Event",
    "FrameError",
    "HandshakeError",
    "InvalidAccessError",
    "InvalidStateError",
    "InvalidStatus",
    "Listener",
    "MessageEvent",
    "OpenInfo",
    "ProxyError",
    "Readable",
    "ReadyState",
    "Request",
    "Response",
    "Server",
    "State",
    "Statistics",
    "WebSocket",
    "WebSocketError",
    "WebSocketStream",
    "Writable",
    "broadcast",
    "connect",
    "is_transient",
    "reject",
    "serve",
]
