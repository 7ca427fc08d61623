"""The client's end of Socket.IO.

Source: Socket.IO protocol v5.
"""

from telex.socketio.client.connecting import Connecting, connect
from telex.socketio.client.manager import Manager
from telex.socketio.client.options import Auth, ClientOptions
from telex.socketio.client.socket import Client, ClientNamespace, ClientOperator

__all__ = ["Auth", "Client", "ClientNamespace", "ClientOperator", "ClientOptions", "Connecting", "Manager", "connect"]
