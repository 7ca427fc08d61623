"""WebSockets for threads and scripts: `telex.websocket.connect` with calls that wait.

Rule of this module: names only; they are made in `connections.py`.
"""

from telex.sync.connections import Connecting, Connection, connect

__all__ = ["Connecting", "Connection", "connect"]
