"""The client's end of Socket.IO.

Source: Socket.IO protocol v5.
"""

from telex.socketio.client.connecting import Connecting, connect
from telex.socketio.client.manager import Manager
from telex.socketio.client.operators import ClientOperator
from telex.socketio.client.options import Auth, ClientOptions
from telex.socketio.client.registry import ClientNamespace
from telex.socketio.client.socket import Client

__all__ = ["Auth", "Client", "ClientNamespace", "ClientOperator", "ClientOptions", "Connecting", "Manager", "connect"]
