"""Events that come before a client knows that it was let in.

Rule of this module: sans-I/O, and bounded.

Servers of the original send what a recovered client has missed before the answer to its CONNECT packet.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from telex.errors import SocketPacketError
from telex.limits import Limits

__all__ = ["Early", "EarlyEvents"]


class Early(NamedTuple):
    """Hold one event: what `Emitter.receive_event` is called with."""

    event: str
    args: list[Any]
    ack_id: int | None
    n_bytes: int


class EarlyEvents:
    """Keep events in order, until the answer is there."""

    __slots__ = ("_n_bytes", "events")

    def __init__(self) -> None:
        self.events: list[Early] = []
        self._n_bytes = 0

    def put(self, event: Early, limits: Limits) -> None:
        """Keep an event. Raises `SocketPacketError` for one too many (`max_early_events`, `max_early_bytes`)."""
        self._n_bytes += event.n_bytes
        if len(self.events) >= limits.max_early_events or self._n_bytes > limits.max_early_bytes:
            raise SocketPacketError("too many events before the answer to a CONNECT packet")
        self.events.append(event)
