"""Acknowledgements that one client owes.

Rule of this module: sans-I/O; who waits, and how long, is the caller's.
An answer is taken once: one that is unknown, repeated or late is ignored, as the protocol wants.

Source: Socket.IO protocol v5, "Sending and receiving data: Acknowledgement".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from telex.errors import TooManyAcks

__all__ = ["Acks", "Answer", "as_values", "from_values"]

Answer = Callable[[list[Any] | None], None]
"""Take the answer's values, or `None` when there will be none: the client left, or the event was dropped."""


class Acks:
    """Hold what is called when an acknowledgement comes, by its id."""

    __slots__ = ("_maximum", "_pending", "_settled")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._settled: list[Callable[[], None]] | None = None  # while somebody waits for the last of them
        self._pending: dict[int, Answer] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def ids(self) -> list[int]:
        """Return the ids of those that are awaited."""
        return list(self._pending)

    def expect(self, ack_id: int, answer: Answer) -> None:
        """Await an acknowledgement. Raises `TooManyAcks` at `Limits.max_pending_acks`; nothing is then changed."""
        if len(self._pending) >= self._maximum:
            raise TooManyAcks(self._maximum)
        self._pending[ack_id] = answer

    def forget(self, ack_id: int) -> None:
        """Await it no longer."""
        self._pending.pop(ack_id, None)
        self._tell_settled()

    def resolve(self, ack_id: int, values: list[Any]) -> bool:
        """Take an acknowledgement; `False` if nobody awaits it."""
        answer = self._pending.pop(ack_id, None)
        if answer is None:
            return False
        answer(values)
        self._tell_settled()
        return True

    def fail(self, ack_id: int) -> None:
        """Tell who waits for it that there will be no answer: the event was dropped."""
        answer = self._pending.pop(ack_id, None)
        if answer is not None:
            answer(None)
            self._tell_settled()

    def abandon(self) -> None:
        """Tell all who wait that there will be no answer."""
        pending, self._pending = self._pending, {}
        for answer in pending.values():
            answer(None)
        self._tell_settled()

    def when_settled(self, settled: Callable[[], None]) -> None:
        """Have a function called, once, when no acknowledgement is awaited any more."""
        self._settled = [*(self._settled or ()), settled]
        self._tell_settled()

    def _tell_settled(self) -> None:
        if self._settled is not None and not self._pending:
            settled, self._settled = self._settled, None
            for function in settled:
                function()


def as_values(result: Any) -> list[Any]:
    """Turn what a handler returned into an acknowledgement's values: a tuple is several, `None` none."""
    if result is None:
        return []
    return list(result) if isinstance(result, tuple) else [result]


def from_values(values: Sequence[Any]) -> Any:
    """Turn an acknowledgement's values into what `call` returns, the reverse of `as_values`."""
    match values:
        case []:
            return None
        case [value]:
            return value
        case _:
            return tuple(values)
