"""Floor 2, Engine.IO: one ordered session with heartbeat and upgrade, over whatever gets through.

Source: Engine.IO protocol v4.
"""

from telex.engineio.cors import Cors, is_cross_origin
from telex.engineio.handshake import Cookie, Opening, RefusedRequest, Request, Response
from telex.engineio.hooks import Middleware
from telex.engineio.packets import MESSAGE_TEXT, Packet, message
from telex.engineio.server import AllowRequest, Engine, GenerateId, WebSocketAdmission
from telex.engineio.session import CloseReason, Session, SessionSink, send_to_all
from telex.engineio.transports import Body, Channel, PeerGone, StreamTransport, WebSocketTransport

__all__ = [
    "MESSAGE_TEXT",
    "AllowRequest",
    "Body",
    "Channel",
    "CloseReason",
    "Cookie",
    "Cors",
    "Engine",
    "GenerateId",
    "Middleware",
    "Opening",
    "Packet",
    "PeerGone",
    "RefusedRequest",
    "Request",
    "Response",
    "Session",
    "SessionSink",
    "StreamTransport",
    "WebSocketAdmission",
    "WebSocketTransport",
    "is_cross_origin",
    "message",
    "send_to_all",
]
