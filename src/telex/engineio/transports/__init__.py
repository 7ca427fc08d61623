"""The ways a session's packets travel."""

from telex.engineio.transports.polling import Body, PeerGone, PollingTransport
from telex.engineio.transports.stream import StreamTransport
from telex.engineio.transports.websocket import Channel, WebSocketTransport

__all__ = ["Body", "Channel", "PeerGone", "PollingTransport", "StreamTransport", "WebSocketTransport"]
