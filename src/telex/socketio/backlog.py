"""What waits for one slow client, and what of it gives way.

Rule of this module: sans-I/O. An event waits whole in the session's buffer, in its place among all others; here stand
only the tickets of those that may be taken back. So what a client gets is always what was sent, in order, with the
dropped left out, and never half an event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from telex.engineio import Packet, Session
    from telex.limits import Limits

__all__ = ["MAX_KEY_LENGTH", "Backlog", "Drops", "SlowConsumers", "check_key", "least_lossy"]

MAX_KEY_LENGTH = 256
"""Characters of a key of `latest`, which programs like to take from clients."""


class SlowConsumers(StrEnum):
    """Say what happens to the events for a client that has no room.

    CLOSE: they wait; at `Limits.send_buffer_max` the client is disconnected.
    DROP_NEWEST: they are dropped, those that wait already are kept.
    DROP_OLDEST: they wait; at `Limits.max_droppable_events` or `max_droppable_bytes` the oldest give way.
    """

    CLOSE = "close"
    DROP_NEWEST = "drop newest"
    DROP_OLDEST = "drop oldest"


FROM_THE_LEAST_LOSSY = (SlowConsumers.CLOSE, SlowConsumers.DROP_OLDEST, SlowConsumers.DROP_NEWEST)


def least_lossy(policies: Iterable[SlowConsumers]) -> SlowConsumers:
    """Return the policy of an event that falls under several."""
    return min(policies, key=FROM_THE_LEAST_LOSSY.index)


def check_key(key: str) -> str:
    """Return a key of `latest`. Raises `TypeError` for anything but a text, `ValueError` for one that is too long."""
    if not isinstance(key, str):
        raise TypeError(f"a key of latest() is a str, not {type(key).__name__}")
    if len(key) > MAX_KEY_LENGTH:
        raise ValueError(f"a key of latest() can have {MAX_KEY_LENGTH} characters at most, not {len(key)}")
    return key


@dataclass(slots=True)
class Drops:
    """Count the events that did not reach a client, by why.

    `volatile` could not leave at once, `newest` and `oldest` fell to a policy, `replaced` to a newer `latest` value.
    """

    volatile: int = 0
    newest: int = 0
    oldest: int = 0
    replaced: int = 0


class Parcel(NamedTuple):
    """Hold what is known of an event that waits, and may be taken back."""

    ticket: int
    n_bytes: int
    ack_id: int | None


class Backlog:
    """Post events to one client that may give way to others.

    Args: `fail_ack` hears of the acknowledgement that a dropped event asked for; `total` counts for the namespace.
    Attributes: `drops` counts what was dropped of this client.
    """

    __slots__ = ("_droppable", "_droppable_bytes", "_fail_ack", "_latest", "_limits", "_session", "_total", "drops")

    def __init__(self, session: Session, limits: Limits, fail_ack: Callable[[int], None], total: Drops) -> None:
        self._session = session
        self._limits = limits
        self._fail_ack = fail_ack
        self._total = total
        self._latest: dict[str, Parcel] = {}
        self._droppable: deque[Parcel] = deque()  # under DROP_OLDEST, from the oldest on
        self._droppable_bytes = 0
        self.drops = Drops()

    def post(
        self, packets: Sequence[Packet], policy: SlowConsumers, *, latest: str | None = None, ack_id: int | None = None
    ) -> bool:
        """Send an event, or drop it: `False` then, and its acknowledgement is the caller's.

        Args: `latest` is the key under which only the newest waits. When `Limits.max_latest_keys` values wait under
            other keys, this one goes the way of every event of its policy.
        """
        if latest is not None and self._has_place(latest):
            self._post_latest(packets, latest, ack_id)
            return True
        if policy is SlowConsumers.DROP_OLDEST:
            return self._post_droppable(packets, ack_id)
        if policy is SlowConsumers.DROP_NEWEST and not self._session.has_room:
            self.drops.newest += 1
            self._total.newest += 1
            return False
        self._session.send(packets)
        return True

    def drop_volatile(self) -> None:
        """Count a volatile event that could not leave."""
        self.drops.volatile += 1
        self._total.volatile += 1

    # Of which only the newest counts.

    def _has_place(self, key: str) -> bool:
        """Whether one more value may wait under a key. O(1) as a rule, O(keys) when all seem taken."""
        if key not in self._latest and len(self._latest) >= self._limits.max_latest_keys:
            is_waiting = self._session.is_waiting
            self._latest = {key: parcel for key, parcel in self._latest.items() if is_waiting(parcel.ticket)}
        return key in self._latest or len(self._latest) < self._limits.max_latest_keys

    def _post_latest(self, packets: Sequence[Packet], key: str, ack_id: int | None) -> None:
        former = self._latest.pop(key, None)
        is_replaced = former is not None and self._session.withdraw(former.ticket)
        ticket = self._session.post(packets)
        if ticket is not None:
            self._latest[key] = Parcel(ticket, 0, ack_id)
        if former is not None and is_replaced:
            self.drops.replaced += 1
            self._total.replaced += 1
            self._fail(former)

    # Of which the oldest give way.

    def _post_droppable(self, packets: Sequence[Packet], ack_id: int | None) -> bool:
        session, limits = self._session, self._limits
        n_bytes = sum(packet.n_bytes for packet in packets)
        self._forget_what_left()
        while self._droppable and (
            len(self._droppable) >= limits.max_droppable_events
            or self._droppable_bytes + n_bytes > limits.max_droppable_bytes
            or session.buffered_bytes + n_bytes > limits.send_buffer_max
        ):
            self._drop_oldest()
        if not session.has_room and (
            n_bytes > limits.max_droppable_bytes or session.buffered_bytes + n_bytes > limits.send_buffer_max
        ):
            self._count_oldest()  # not even alone has it a place: it is the oldest, and the only one
            session.flush()  # who waits for room hears of what was dropped before it
            return False
        ticket = session.post(packets)
        if ticket is not None:
            self._droppable.append(Parcel(ticket, n_bytes, ack_id))
            self._droppable_bytes += n_bytes
        return True

    def _forget_what_left(self) -> None:
        """Know no longer of events that were handed to the transport, which takes them in order."""
        while self._droppable and not self._session.is_waiting(self._droppable[0].ticket):
            self._droppable_bytes -= self._droppable.popleft().n_bytes

    def _drop_oldest(self) -> None:
        parcel = self._droppable.popleft()
        self._droppable_bytes -= parcel.n_bytes
        self._session.withdraw(parcel.ticket)
        self._count_oldest()
        self._fail(parcel)

    def _count_oldest(self) -> None:
        self.drops.oldest += 1
        self._total.oldest += 1

    def _fail(self, parcel: Parcel) -> None:
        if parcel.ack_id is not None:
            self._fail_ack(parcel.ack_id)
