"""Events that are sent again until they are acknowledged.

Rule of this module: sans-I/O. Strict order: one event is under way at a time, and those behind it wait.

Each has one acknowledgement id for all its tries, so an answer to any of them is the answer. With a server that knows
Telex's extensions each has a number too, by which a handler with `Dedup` runs once for it.

Source: the `retries` option of the original's `Socket`; docs/protocol-extensions.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from telex.errors import OutboxFull
from telex.limits import Limits
from telex.socketio.acks import Answer

__all__ = ["Line", "Try"]


@dataclass(slots=True, eq=False)
class Try:
    """Hold one event of the line.

    Attributes:
        answer: Called with the values of the acknowledgement, or with None where it was given up.
        seconds: How long one try waits.
        ack_id: The id of its acknowledgement, and its number.
        n_bytes: What it weighs.
        n_tries: How often it was sent.
    """

    event: str
    args: Sequence[Any]
    compress: bool
    answer: Answer | None
    seconds: float
    ack_id: int
    n_bytes: int
    n_tries: int = 0


class Line:
    """Keep the events that are retried, in order."""

    __slots__ = ("_limits", "_n_bytes", "_n_retries", "_waiting", "is_busy")

    def __init__(self, n_retries: int, limits: Limits) -> None:
        self._n_retries = n_retries
        self._limits = limits
        self._waiting: deque[Try] = deque()
        self._n_bytes = 0
        self.is_busy = False
        """Whether the first is under way."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def head(self) -> Try | None:
        """The first event."""
        return self._waiting[0] if self._waiting else None

    @property
    def has_room(self) -> bool:
        """Whether a polite program may emit more."""
        limits = self._limits
        most = min(limits.send_buffer_high, limits.max_offline_bytes)
        return len(self._waiting) < limits.max_offline_events and self._n_bytes <= most

    def put(self, entry: Try) -> None:
        """Keep an event. Raises `OutboxFull`. **Limits**: `max_offline_events`, `max_offline_bytes`."""
        limits = self._limits
        if len(self._waiting) >= limits.max_offline_events or self._n_bytes + entry.n_bytes > limits.max_offline_bytes:
            raise OutboxFull(len(self._waiting), self._n_bytes)
        self._waiting.append(entry)
        self._n_bytes += entry.n_bytes

    def begin(self) -> Try | None:
        """Return the event to be sent now; None where there is none, or one is under way."""
        if self.is_busy or not self._waiting:
            return None
        self.is_busy = True
        entry = self._waiting[0]
        entry.n_tries += 1
        return entry

    def interrupt(self, entry: Try) -> bool:
        """Hear that a try has failed; return whether it was the last one, so that the event is out."""
        if entry is not self.head:
            return False
        self.is_busy = False
        if entry.n_tries <= self._n_retries:
            return False
        self.remove(entry)
        return True

    def remove(self, entry: Try) -> None:
        """Take out an event that was answered, or that nobody wants any more. O(n) where it is not the first."""
        if entry is self.head:
            self.is_busy = False
            self._waiting.popleft()
        else:
            try:
                self._waiting.remove(entry)
            except ValueError:
                return
        self._n_bytes -= entry.n_bytes

    def find(self, ack_id: int) -> Try | None:
        """Return the event that awaits this acknowledgement. O(n)."""
        return next((entry for entry in self._waiting if entry.ack_id == ack_id), None)

    def take_all(self) -> list[Try]:
        """Take out everything."""
        taken = list(self._waiting)
        self._waiting.clear()
        self._n_bytes = 0
        self.is_busy = False
        return taken
