"""The ways a session's packets travel."""

from .polling import Body, PeerGone, PollingTransport
from .websocket import Channel, WebSocketTransport

__all__ = ["Body", "Channel", "PeerGone", "PollingTransport", "WebSocketTransport"]
