"""Telex for threads and scripts: the clients' names, with calls that wait.

Everything is done by the asyncio clients, on one event loop in a background thread (see `portal`).
"""

from telex.sync import websocket

__all__ = ["websocket"]
