"""One queue for all deadlines of a loop.

Rule of this module: sans-I/O. The clock and its one timer come in as a `Clock` (an event loop is one).

Why not a timer per connection: deadlines of connections move all the time (every pong, every message) and almost never
fire. Moving one to later costs O(1) here: the heap keeps the old entry, and only when that comes up is the deadline
pushed again to where it now belongs. A cancelled deadline stays as an entry without its callback until it comes up,
or until such entries are the majority and the heap is swept, so each costs O(log n) in all.

Heartbeats, of which every connection has one, all lie the same interval ahead when they are set. So they are in order
as they come, and a `Rota` keeps them in a queue of slots, one for each hundredth of a second: an entry of its slot's
dictionary each, with no deadline and no callback of its own, put in, moved and taken out in O(1). Only the first slot
has a `Deadline`. (One dictionary of all would not do: who asks it for its first entry passes all that were deleted.)
"""

from __future__ import annotations

import heapq
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Clock", "Deadline", "Deadlines", "Member", "Rota", "deadlines_of"]

MAX_PER_TURN = 256
"""Callbacks run in a row, heartbeats counted; when thousands of connections have one due the loop must breathe."""

STALL_SECONDS = 0.1
"""A timer later than this means that the loop itself was held up; peers' bytes are then read before they are judged."""

GRAIN = 0.01
"""Seconds by which a member of a rota may be called early, so that those put in together share one number."""

MIN_SWEEP = 64
"""Dead entries that are never worth sweeping."""


class Clock(Protocol):
    """Tell the time and call back once; every asyncio event loop does."""

    def time(self) -> float:
        """Return seconds of a steady clock."""
        ...

    def call_at(self, when: float, callback: Callable[[], None], /) -> Any:
        """Call at this time; the object returned has `cancel()`."""


class Deadline:
    """Call back at a time that can still be moved. Made by `Deadlines.at`."""

    __slots__ = ("_callback", "_entry", "_queue", "when")

    def __init__(self, queue: Deadlines, when: float, callback: Callable[[], None]) -> None:
        self._queue = queue
        self._callback: Callable[[], None] | None = callback
        self._entry = 0  # the number of this deadline's one valid heap entry
        self.when = when

    @property
    def is_pending(self) -> bool:
        """Whether it is still to fire."""
        return self._callback is not None

    def move(self, when: float) -> None:
        """Fire at another time instead: O(1) when that is later, O(log n) when earlier. Not after it has fired."""
        if self._callback is None:
            return
        earlier = when < self.when
        self.when = when
        if earlier:
            self._queue._push(self)

    def cancel(self) -> None:
        """Never fire. The callback is let go of at once. Idempotent."""
        if self._callback is not None:
            self._callback = None
            self._queue._forget()


class Deadlines:
    """Keep any number of deadlines with one timer of the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Deadline]] = []
        self._n_entries = 0  # ever made: breaks ties in the heap, in order of making
        self._n_dead = 0  # entries in the heap that will not fire
        self._timer: Any = None
        self._timer_when = 0.0
        self._is_running = False
        self._n_left = 0  # callbacks that this turn may still run
        self._has_yielded = False  # to the loop, since a late timer
        self._rotas: dict[float, Rota] = {}

    def __len__(self) -> int:
        """Return how many deadlines are pending."""
        return len(self._heap) - self._n_dead

    def now(self) -> float:
        """Return the clock's time."""
        return self._clock.time()

    def at(self, when: float, callback: Callable[[], None]) -> Deadline:
        """Call `callback` at `when` on the clock."""
        deadline = Deadline(self, when, callback)
        self._push(deadline)
        return deadline

    def rota(self, delay: float) -> Rota:
        """Return the one rota of this delay."""
        rota = self._rotas.get(delay)
        if rota is None:
            rota = self._rotas[delay] = Rota(self, delay)
        return rota

    def _push(self, deadline: Deadline) -> None:
        if deadline._entry:
            self._n_dead += 1  # the older, later entry
        self._n_entries += 1
        deadline._entry = self._n_entries
        heapq.heappush(self._heap, (deadline.when, self._n_entries, deadline))
        self._sweep()
        if not self._is_running:
            self._arm()

    def _forget(self) -> None:
        self._n_dead += 1
        self._sweep()

    def _sweep(self) -> None:
        if self._n_dead > MIN_SWEEP and self._n_dead * 2 > len(self._heap):
            self._heap = [
                entry for entry in self._heap if entry[2]._callback is not None and entry[2]._entry == entry[1]
            ]
            heapq.heapify(self._heap)
            self._n_dead = 0

    def _arm(self) -> None:
        if not self._heap:
            return
        when = self._heap[0][0]
        if self._timer is not None:
            if self._timer_when <= when:
                return
            self._timer.cancel()
        self._timer_when = when
        self._timer = self._clock.call_at(when, self._run)

    def _run(self) -> None:
        now = self._clock.time()
        late = now - self._timer_when > STALL_SECONDS
        self._timer = None
        if late and not self._has_yielded:
            # Our own stall is not the peer's fault: its answer may lie in the socket. Loops poll between two timers.
            self._has_yielded = True
            self._timer_when = now
            self._timer = self._clock.call_at(now, self._run)
            return
        self._has_yielded = False
        self._is_running = True
        try:
            self._fire(now)
        finally:  # a callback that raises must not cost the others their deadline
            self._is_running = False
            self._arm()

    def _fire(self, now: float) -> None:
        self._n_left = MAX_PER_TURN
        while self._n_left and self._heap and self._heap[0][0] <= now:
            _, entry, deadline = heapq.heappop(self._heap)
            callback = deadline._callback
            if callback is None or deadline._entry != entry:
                self._n_dead -= 1
                continue
            deadline._entry = 0
            if deadline.when > now:  # it was moved meanwhile
                self._push(deadline)
                continue
            deadline._callback = None
            self._n_left -= 1
            callback()


class Member(Protocol):
    """Be called back by a `Rota`."""

    _slot: Slot | None
    """Where it stands in a rota: None to begin with, then the rota's to change."""

    def beat(self) -> None:
        """Do what is due."""


class Slot:
    """Hold the members of a rota that are due together."""

    __slots__ = ("is_up", "members", "rota", "when")

    def __init__(self, rota: Rota, when: float) -> None:
        self.rota = rota
        self.when = when
        self.members: dict[Member, None] = {}
        self.is_up = False  # and its members stand with the first at the end, whence they are taken in O(1)

    def take(self) -> Member:
        """Remove the member that was put in first."""
        if not self.is_up:
            self.is_up = True
            self.members = dict.fromkeys(reversed(self.members))
        member, _ = self.members.popitem()
        member._slot = None
        return member


class Rota:
    """Call members back, each `delay` seconds after it was put in (`GRAIN` less at most), and once.

    A member is in one rota at a time. Made by `Deadlines.rota`.
    """

    __slots__ = ("_deadline", "_deadlines", "_delay", "_n_members", "_slots")

    def __init__(self, deadlines: Deadlines, delay: float) -> None:
        self._deadlines = deadlines
        self._delay = delay
        self._n_members = 0
        self._slots: deque[Slot] = deque()  # in the order of their times; some may be empty
        self._deadline: Deadline | None = None  # the first member's, or one before it

    def __len__(self) -> int:
        """Return how many members there are."""
        return self._n_members

    def when(self, member: Member) -> float | None:
        """Return when a member is due; None if it is not in."""
        slot = member._slot
        return slot.when if slot is not None and slot.rota is self else None

    def put(self, member: Member) -> None:
        """Call a member back after the delay. One that is in already, or in another rota, is moved. O(1)."""
        if member._slot is not None:
            member._slot.rota.discard(member)
        when = self._deadlines.now() + self._delay
        slots = self._slots
        if not slots or when - slots[-1].when >= GRAIN:
            slots.append(Slot(self, when))
        member._slot = slot = slots[-1]
        slot.members[member] = None
        self._n_members += 1
        if self._deadline is None:
            self._wait(slot.when)

    def discard(self, member: Member) -> None:
        """Do not call a member back. Idempotent. O(1)."""
        slot = member._slot
        if slot is None or slot.rota is not self:
            return
        member._slot = None
        del slot.members[member]
        self._n_members -= 1
        if not slot.members:
            slot.members.clear()  # which gives back the memory that deletions leave with a dictionary
        if not self._n_members:
            self._slots.clear()
            self._wait(None)

    def _run(self) -> None:
        deadlines, slots = self._deadlines, self._slots
        now = deadlines.now()
        deadlines._n_left += 1  # for this call, which is none of a member
        try:
            while slots and slots[0].when <= now:
                if not slots[0].members:
                    slots.popleft()
                    continue
                if not deadlines._n_left:
                    break
                deadlines._n_left -= 1
                self._n_members -= 1
                slots[0].take().beat()
        finally:
            # What was put in meanwhile is due later than what is left.
            while slots and not slots[0].members:
                slots.popleft()
            self._wait(slots[0].when if slots else None)

    def _wait(self, when: float | None) -> None:
        """Have the one deadline at this time, or none."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if when is None else self._deadlines.at(when, self._run)


class _LoopClock:
    """Be the clock of a loop without keeping the loop alive."""

    def __init__(self, loop: Clock) -> None:
        self._loop = weakref.ref(loop)

    def _get(self) -> Clock:
        loop = self._loop()
        if loop is None:
            raise RuntimeError("a deadline was set on an event loop that is gone")
        return loop

    def time(self) -> float:
        return self._get().time()

    def call_at(self, when: float, callback: Callable[[], None], /) -> Any:
        return self._get().call_at(when, callback)


_queues: weakref.WeakKeyDictionary[Clock, Deadlines] = weakref.WeakKeyDictionary()


def deadlines_of(loop: Clock) -> Deadlines:
    """Return the loop's one queue of deadlines."""
    queue = _queues.get(loop)
    if queue is None:
        queue = _queues[loop] = Deadlines(_LoopClock(loop))
    return queue
