"""What the short way of an event looks up at a client.

Rule of this module: tables and bytes, and as few of them for a client as can be.
"""

from __future__ import annotations

from functools import lru_cache

from telex.engineio import MESSAGE_TEXT
from telex.socketio.fastpath import Registry
from telex.socketio.handlers import Handler
from telex.socketio.packets import PacketType, format_head

__all__ = ["ClientNamespace"]

# Shared by all clients that nothing is registered on. Nobody writes into them.
NO_HANDLERS: dict[str, Handler] = {}
NO_CATCH_ALLS: list[Handler] = []


class ClientNamespace(Registry):
    """Be the namespace of a client: `name` is what it is called."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name
        self.event_head, self.ack_head = heads(name)
        self.handlers = NO_HANDLERS
        self.catch_alls = NO_CATCH_ALLS

    def __repr__(self) -> str:
        return f"<ClientNamespace {self.name}>"


@lru_cache(maxsize=64)
def heads(name: str) -> tuple[bytes, bytes]:
    """Return what the events and the acknowledgements of a namespace begin with."""
    event = f"{MESSAGE_TEXT}{format_head(PacketType.EVENT, name, None, 0)}".encode()
    return event, f"{MESSAGE_TEXT}{format_head(PacketType.ACK, name, None, 0)}".encode()
