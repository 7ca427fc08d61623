"""Floor 2, Engine.IO: one ordered session with heartbeat and upgrade, over whatever gets through.

Source: Engine.IO protocol v4.
"""

from .cors import Cors, is_cross_origin
from .handshake import Cookie, Request, Response
from .packets import Packet, message
from .server import AllowRequest, Engine, WebSocketAdmission
from .session import CloseReason, Session, SessionSink
from .transports import Body, Channel, PeerGone, WebSocketTransport

__all__ = [
    "AllowRequest",
    "Body",
    "Channel",
    "CloseReason",
    "Cookie",
    "Cors",
    "Engine",
    "Packet",
    "PeerGone",
    "Request",
    "Response",
    "Session",
    "SessionSink",
    "WebSocketAdmission",
    "WebSocketTransport",
    "is_cross_origin",
    "message",
]
