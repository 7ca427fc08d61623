"""What stands above and below a session, of either end: interfaces, and the reasons for which one ends.

Rule of this module: sans-I/O, and no behaviour.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from telex.engineio.packets import Packet
from telex.types import Data

if TYPE_CHECKING:
    from telex.streams.base import Stream
    from telex.websocket.codec import Keys

__all__ = ["CloseReason", "SessionSink", "Transport"]


class CloseReason(StrEnum):
    """Say why a session ended; the texts are the original's, but for the last."""

    TRANSPORT_ERROR = "transport error"
    TRANSPORT_CLOSE = "transport close"
    FORCED_CLOSE = "forced close"
    PING_TIMEOUT = "ping timeout"
    PARSE_ERROR = "parse error"
    SLOW_CONSUMER = "slow consumer"


class Transport(Protocol):
    """Carry a session's packets; polling and websocket are its two kinds."""

    @property
    def name(self) -> str:
        """The name in the query: "polling" or "websocket"."""
        ...

    @property
    def is_writable(self) -> bool:
        """Whether packets handed over now leave at once."""
        ...

    @property
    def buffered_bytes(self) -> int:
        """Bytes handed over that have not left."""
        ...

    plain: Stream | None
    """The stream below, while packets may be written to it as frames; None for all that is not as simple."""

    keys: Keys | None
    """What these frames are masked with: a client's. None for a server."""

    direct: SessionSink | None
    """Who takes messages without more ado: set by the session while it has no say in them, else None."""

    def offer(self, packets: Sequence[Packet]) -> int | None:
        """Take packets if they leave at once: return `buffered_bytes` then; None if they were not taken.

        Asked only while the session is clear: what was taken before has left, but for less than the high mark.
        """
        ...

    def send(self, packets: Sequence[Packet]) -> None:
        """Take packets, in order."""
        ...

    def release(self) -> None:
        """Let go of a request that waits for packets, with a "noop"."""
        ...

    def close(self) -> None:
        """End politely: what was handed over still leaves, then the peer is told. May be called again."""
        ...

    def discard(self) -> None:
        """End at once: the session goes on elsewhere, or is over."""
        ...

    def pause_reading(self) -> None:
        """Take nothing more from the peer until `resume_reading`."""
        ...

    def resume_reading(self) -> None:
        """Take from the peer again."""
        ...


class SessionSink(Protocol):
    """Hear of a session; the floor above hands one down. None of its methods may raise."""

    def message_received(self, data: Data) -> None:
        """Take one message."""
        ...

    def session_closed(self, reason: CloseReason) -> None:
        """Hear, exactly once and last, that the session is over."""
        ...

    def writing_resumed(self) -> None:
        """Hear that the peer has room again after it had none."""
        ...
