"""Telex for threads and scripts: the clients' names, with calls that wait.

Everything is done by the asyncio clients, on one event loop in a background thread (see `portal`).
"""

from telex.sync import websocket
from telex.sync.client import Client, Manager, Operator, connect

__all__ = ["Client", "Manager", "Operator", "connect", "websocket"]
