"""The client's end of Engine.IO: one session with a server, over whatever gets through.

Source: Engine.IO protocol v4.
"""

from telex.engineio.client.handshake import Welcome
from telex.engineio.client.opening import open_session
from telex.engineio.client.options import TRANSPORTS, Memory, Options
from telex.engineio.client.session import ClientSession, State
from telex.websocket.deflate import DeflateOptions
from telex.websocket.dialing import Way

__all__ = [
    "TRANSPORTS",
    "ClientSession",
    "DeflateOptions",
    "Memory",
    "Options",
    "State",
    "Way",
    "Welcome",
    "open_session",
]
