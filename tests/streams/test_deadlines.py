"""Deadlines: driven by a manual clock, so nothing waits."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import Callable

import pytest

from telex.streams import Deadlines, deadlines_of
from telex.streams.deadlines import MAX_PER_TURN, STALL_SECONDS, Rota, Slot


class ManualTimer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class ManualClock:
    """A clock that stands until the test moves it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[ManualTimer] = []
        self.n_polls = 0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer(when, callback)
        self.timers.append(timer)
        return timer

    def pending(self) -> list[ManualTimer]:
        self.timers = [timer for timer in self.timers if not timer.is_cancelled]
        return sorted(self.timers, key=lambda timer: timer.when)

    def turn(self) -> None:
        """Run the timers that are due once, as one turn of a loop does."""
        self.n_polls += 1
        for timer in self.pending():
            if timer.when <= self.now:
                self.timers.remove(timer)
                timer.callback()

    def advance_to(self, now: float) -> None:
        """Move in the steps a loop would wake at."""
        while (timers := self.pending()) and timers[0].when <= now:
            self.now = max(self.now, timers[0].when)
            self.turn()
        self.now = now


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def deadlines(clock: ManualClock) -> Deadlines:
    return Deadlines(clock)


def test_fires_in_order_with_one_timer(clock: ManualClock, deadlines: Deadlines) -> None:
    fired: list[tuple[str, float]] = []
    for name, when in [("c", 3.0), ("a", 1.0), ("b", 2.0), ("b2", 2.0)]:
        deadlines.at(when, lambda name=name: fired.append((name, clock.now)))
    assert len(clock.pending()) == 1
    clock.advance_to(10)
    assert fired == [("a", 1.0), ("b", 2.0), ("b2", 2.0), ("c", 3.0)]
    assert clock.pending() == []


def test_the_time_is_the_clock_s(clock: ManualClock, deadlines: Deadlines) -> None:
    assert deadlines.now() == 0.0
    clock.now = 7.5
    assert deadlines.now() == 7.5


def test_moving_later_pushes_nothing_until_due(clock: ManualClock, deadlines: Deadlines) -> None:
    fired: list[float] = []
    deadline = deadlines.at(1.0, lambda: fired.append(clock.now))
    for when in range(2, 1000):
        deadline.move(float(when))
    assert len(deadlines._heap) == 1
    clock.advance_to(998.5)
    assert fired == []
    clock.advance_to(1000)
    assert fired == [999.0]
    assert not deadline.is_pending


def test_moving_earlier_fires_once(clock: ManualClock, deadlines: Deadlines) -> None:
    fired: list[float] = []
    deadline = deadlines.at(10.0, lambda: fired.append(clock.now))
    deadline.move(5.0)
    deadline.move(2.0)
    assert len(deadlines) == 1
    clock.advance_to(20)
    assert fired == [2.0]
    assert len(deadlines) == 0
    deadline.move(30.0)
    clock.advance_to(40)
    assert fired == [2.0]


def test_moving_earlier_then_later_again(clock: ManualClock, deadlines: Deadlines) -> None:
    fired: list[float] = []
    deadline = deadlines.at(10.0, lambda: fired.append(clock.now))
    deadline.move(2.0)
    deadline.move(10.0)
    clock.advance_to(9)
    assert fired == []
    clock.advance_to(20)
    assert fired == [10.0]


def test_cancel(clock: ManualClock, deadlines: Deadlines) -> None:
    deadline = deadlines.at(1.0, lambda: pytest.fail("it was cancelled"))
    deadline.cancel()
    deadline.cancel()
    deadline.move(0.5)
    assert len(deadlines) == 0
    clock.advance_to(5)


def test_cancel_lets_go_of_the_callback(deadlines: Deadlines) -> None:
    class Owner:
        def fire(self) -> None: ...

    owner = Owner()
    known = weakref.ref(owner)
    deadline = deadlines.at(1.0, owner.fire)
    deadline.cancel()
    del owner
    gc.collect()
    assert known() is None


def test_dead_entries_are_swept(clock: ManualClock, deadlines: Deadlines) -> None:
    kept = deadlines.at(1000.0, lambda: None)
    for _ in range(10_000):
        deadlines.at(500.0, lambda: None).cancel()
    assert len(deadlines) == 1
    assert len(deadlines._heap) < 200
    for when in range(999, 0, -1):
        kept.move(float(when))
    assert len(deadlines) == 1
    assert len(deadlines._heap) < 200


def test_new_deadlines_made_while_firing(clock: ManualClock, deadlines: Deadlines) -> None:
    fired: list[float] = []

    def again() -> None:
        fired.append(clock.now)
        if len(fired) < 4:
            deadlines.at(clock.now + 1, again)

    deadlines.at(1.0, again)
    clock.advance_to(100)
    assert fired == [1.0, 2.0, 3.0, 4.0]


def test_a_raising_callback_costs_the_others_nothing(clock: ManualClock, deadlines: Deadlines) -> None:
    fired: list[str] = []

    def fail() -> None:
        raise RuntimeError("mine")

    deadlines.at(1.0, fail)
    deadlines.at(1.0, lambda: fired.append("other"))
    clock.now = 1.0
    with pytest.raises(RuntimeError, match="mine"):
        clock.turn()
    clock.turn()
    assert fired == ["other"]


def test_many_due_at_once_leave_the_loop_room(clock: ManualClock, deadlines: Deadlines) -> None:
    fired: list[int] = []
    n = MAX_PER_TURN * 3
    for number in range(n):
        deadlines.at(1.0, lambda number=number: fired.append(number))
    clock.now = 1.0
    clock.turn()
    assert len(fired) == MAX_PER_TURN
    clock.advance_to(1.0)
    assert fired == list(range(n))


def test_a_stall_of_our_own_lets_the_loop_read_first(clock: ManualClock, deadlines: Deadlines) -> None:
    """A pong that arrived during the stall moves the deadline before it is judged."""
    fired: list[float] = []
    deadline = deadlines.at(1.0, lambda: fired.append(clock.now))
    clock.now = 1.0 + STALL_SECONDS * 2
    clock.turn()
    assert fired == []
    deadline.move(5.0)  # what reading does
    clock.turn()
    assert fired == []
    clock.advance_to(5.0)
    assert fired == [5.0]


def test_after_a_stall_what_is_due_does_fire(clock: ManualClock, deadlines: Deadlines) -> None:
    fired: list[float] = []
    deadlines.at(1.0, lambda: fired.append(clock.now))
    clock.now = 50.0
    clock.turn()
    clock.turn()
    assert fired == [50.0]


def test_against_a_simple_model(clock: ManualClock, deadlines: Deadlines) -> None:
    random_ = random.Random(4)  # noqa: S311  # a test's own dice
    expected: dict[int, float] = {}
    fired: dict[int, float] = {}
    made = {}
    for number in range(500):
        when = random_.uniform(0, 100)
        made[number] = deadlines.at(when, lambda number=number: fired.__setitem__(number, clock.now))
        expected[number] = when
    for step in range(100):
        for number in random_.sample(range(500), 20):
            if number not in expected or expected[number] <= clock.now:
                continue
            if random_.random() < 0.2:
                made[number].cancel()
                del expected[number]
            else:
                expected[number] = random_.uniform(clock.now + 0.001, 120)
                made[number].move(expected[number])
        clock.advance_to(float(step))
    clock.advance_to(121)
    assert fired == expected
    assert len(deadlines) == 0


def test_one_queue_per_loop_that_does_not_keep_the_loop() -> None:
    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        loop = asyncio.get_running_loop()
        fired = asyncio.Event()
        assert deadlines_of(loop) is deadlines_of(loop)
        deadlines_of(loop).at(loop.time(), fired.set)
        await asyncio.wait_for(fired.wait(), 10)
        return weakref.ref(loop)

    loop = asyncio.run(main())
    gc.collect()
    assert loop() is None


def test_a_queue_whose_loop_is_gone_says_so() -> None:
    async def main() -> Deadlines:
        return deadlines_of(asyncio.get_running_loop())

    deadlines = asyncio.run(main())
    gc.collect()
    with pytest.raises(RuntimeError, match="loop that is gone"):
        deadlines.now()


class Member:
    """A member of a rota that goes back in, some times."""

    def __init__(self, rota: Rota, n_rounds: int = 1) -> None:
        self._slot: Slot | None = None
        self._rota = rota
        self._n_rounds = n_rounds
        self.n_beats = 0
        rota.put(self)

    def beat(self) -> None:
        self.n_beats += 1
        if self.n_beats < self._n_rounds:
            self._rota.put(self)


def test_heartbeats_due_at_once_leave_the_loop_room(clock: ManualClock, deadlines: Deadlines) -> None:
    """No turn runs more than `MAX_PER_TURN` callbacks, whether of a rota or not, and none is forgotten."""
    rota = deadlines.rota(1.0)
    members = [Member(rota, n_rounds=2) for _ in range(MAX_PER_TURN * 3)]
    clock.now = 1.0
    n_turns = 0
    while any(not member.n_beats for member in members):
        n_before = sum(member.n_beats for member in members)
        clock.turn()
        n_turns += 1
        assert 0 < sum(member.n_beats for member in members) - n_before <= MAX_PER_TURN
    assert n_turns <= 4  # all in this moment, though each went back in meanwhile
    clock.advance_to(2.0)
    assert [member.n_beats for member in members] == [2] * len(members)
    assert len(rota) == len(deadlines) == 0


def test_a_member_is_in_one_rota(clock: ManualClock, deadlines: Deadlines) -> None:
    soon, late = deadlines.rota(1.0), deadlines.rota(5.0)
    member = Member(soon)
    late.put(member)
    assert (soon.when(member), late.when(member), len(soon), len(late)) == (None, 5.0, 0, 1)
    soon.discard(member)  # it is not there
    clock.advance_to(4.0)
    assert member.n_beats == 0
    clock.advance_to(5.0)
    assert member.n_beats == 1
    assert len(deadlines) == 0


def test_there_is_one_rota_of_each_delay(deadlines: Deadlines) -> None:
    assert deadlines.rota(1.0) is deadlines.rota(1.0)
    assert deadlines.rota(1.0) is not deadlines.rota(2.0)


def test_a_rota_that_nobody_is_in_waits_for_nothing(clock: ManualClock, deadlines: Deadlines) -> None:
    rota = deadlines.rota(1.0)
    for _ in range(100):
        member = Member(rota)
        clock.advance_to(clock.now + 0.5)
        rota.discard(member)
        rota.discard(member)
        assert len(rota) == len(deadlines) == len(rota._slots) == 0
    clock.advance_to(clock.now + 5.0)
    assert member.n_beats == 0


def test_a_heartbeat_may_take_all_others_out(clock: ManualClock, deadlines: Deadlines) -> None:
    """Whoever is left out is not called, and nothing is waited for; whoever then comes in is called."""
    rota = deadlines.rota(1.0)

    class Last(Member):
        def beat(self) -> None:
            super().beat()
            for member in members:
                rota.discard(member)

    members = [Last(rota) for _ in range(3)]
    clock.advance_to(1.0)
    assert sum(member.n_beats for member in members) == 1
    assert len(rota) == len(deadlines) == 0
    assert clock.pending() == []
    member = Member(rota)
    clock.advance_to(2.0)
    assert member.n_beats == 1


def test_a_raising_heartbeat_costs_the_others_nothing(clock: ManualClock, deadlines: Deadlines) -> None:
    rota = deadlines.rota(1.0)

    class Failing(Member):
        def beat(self) -> None:
            super().beat()
            raise RuntimeError("mine")

    members = [Failing(rota) for _ in range(3)]
    clock.now = 1.0
    for n_beats in range(1, 4):
        with pytest.raises(RuntimeError, match="mine"):
            clock.turn()
        assert sum(member.n_beats for member in members) == n_beats
    assert len(rota) == len(deadlines) == 0


def test_a_rota_against_a_simple_model(clock: ManualClock, deadlines: Deadlines) -> None:
    random_ = random.Random(5)  # noqa: S311  # a test's own dice
    rota = deadlines.rota(1.0)
    members = [Member(rota) for _ in range(200)]
    due = dict.fromkeys(members, 1.0)
    n_beats = dict.fromkeys(members, 0)
    for step in range(1, 400):
        clock.advance_to(step * 0.03)
        for member in [member for member, when in due.items() if when <= clock.now]:
            del due[member]
            n_beats[member] += 1
        for member in random_.sample(members, 20):
            if random_.random() < 0.3:
                rota.discard(member)
                due.pop(member, None)
            else:
                rota.put(member)
                due[member] = clock.now + 1.0
        assert len(rota) == len(due)
        assert {member: member.n_beats for member in members} == n_beats
