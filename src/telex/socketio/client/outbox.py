"""What a client has emitted and not sent: while it is away, or behind an event that it retries.

Rule of this module: sans-I/O. It is bounded by count and by bytes, and what does not fit raises; nothing is dropped
without a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from telex.engineio.packets import Packet
from telex.engineio.sending import weigh
from telex.errors import OutboxFull
from telex.limits import Limits

__all__ = ["Outbox"]


class Outbox:
    """Keep events in order, until they can be sent."""

    __slots__ = ("_limits", "_n_bytes", "_tickets", "_waiting")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._n_bytes = 0
        self._tickets = count(-1, -1)  # of those that ask for no acknowledgement
        self._waiting: dict[int, Sequence[Packet]] = {}  # by the id of its acknowledgement, or by ticket

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, ack_id: int) -> bool:
        return ack_id in self._waiting

    @property
    def n_bytes(self) -> int:
        """What waits, in bytes."""
        return self._n_bytes

    @property
    def has_room(self) -> bool:
        """Whether a polite program may emit more: one that waits until it does is never refused a small event."""
        limits = self._limits
        most = min(limits.send_buffer_high, limits.max_offline_bytes)
        return len(self._waiting) < limits.max_offline_events and self._n_bytes <= most

    def put(self, packets: Sequence[Packet], ack_id: int | None = None) -> None:
        """Keep an event. Raises `OutboxFull`; nothing is changed then.

        **Limits**: `max_offline_events`, `max_offline_bytes`.
        """
        n_bytes, limits = weigh(packets), self._limits
        if len(self._waiting) >= limits.max_offline_events or self._n_bytes + n_bytes > limits.max_offline_bytes:
            raise OutboxFull(len(self._waiting), self._n_bytes)
        self._waiting[next(self._tickets) if ack_id is None else ack_id] = packets
        self._n_bytes += n_bytes

    def withdraw(self, ack_id: int) -> None:
        """Take back an event whose acknowledgement is not awaited any more. O(1)."""
        packets = self._waiting.pop(ack_id, None)
        if packets is not None:
            self._n_bytes -= weigh(packets)

    def take_all(self) -> list[Sequence[Packet]]:
        """Take out everything, in order."""
        taken = list(self._waiting.values())
        self._waiting.clear()
        self._n_bytes = 0
        return taken
