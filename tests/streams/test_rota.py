"""Rotas: members that are all due after the same delay, driven by a manual clock."""

from __future__ import annotations

from typing import Any

import pytest

from telex.streams import Deadlines
from telex.streams.deadlines import GRAIN, MAX_PER_TURN, Rota
from tests.streams.test_deadlines import ManualClock

DELAY = 10.0


class Member:
    def __init__(self, name: int, beaten: list[tuple[int, float]], clock: ManualClock) -> None:
        self.name = name
        self._slot: Any = None
        self._beaten = beaten
        self._clock = clock

    def beat(self) -> None:
        self._beaten.append((self.name, self._clock.now))


class World:
    """A clock, a rota, and its members."""

    def __init__(self, n: int) -> None:
        self.clock = ManualClock()
        self.deadlines = Deadlines(self.clock)
        self.rota: Rota = self.deadlines.rota(DELAY)
        self.beaten: list[tuple[int, float]] = []
        self.members = [Member(number, self.beaten, self.clock) for number in range(n)]

    @property
    def names(self) -> list[int]:
        return [name for name, _ in self.beaten]


def test_each_is_called_once_after_the_delay_in_order() -> None:
    world = World(3)
    for number, member in enumerate(world.members):
        world.clock.now = number * 2.0
        world.rota.put(member)
    assert len(world.rota) == 3
    assert len(world.clock.pending()) == 1
    world.clock.advance_to(100)
    assert world.beaten == [(0, 10.0), (1, 12.0), (2, 14.0)]
    assert len(world.rota) == 0
    assert len(world.deadlines) == 0
    assert world.clock.pending() == []


def test_one_rota_for_a_delay() -> None:
    deadlines = Deadlines(ManualClock())
    assert deadlines.rota(5) is deadlines.rota(5)
    assert deadlines.rota(5) is not deadlines.rota(6)


def test_putting_one_in_again_moves_it_to_the_end() -> None:
    world = World(3)
    for member in world.members:
        world.rota.put(member)
    world.clock.advance_to(4)
    world.rota.put(world.members[0])
    assert world.rota.when(world.members[0]) == 14.0
    assert world.rota.when(world.members[1]) == 10.0
    world.clock.advance_to(100)
    assert sorted(world.beaten[:2]) == [(1, 10.0), (2, 10.0)]
    assert world.beaten[2:] == [(0, 14.0)]


def test_one_that_is_always_moved_is_never_called() -> None:
    world = World(1)
    for second in range(0, 100, 9):
        world.clock.advance_to(second)
        world.rota.put(world.members[0])
    assert world.beaten == []
    world.clock.advance_to(99 + DELAY)
    assert world.beaten == [(0, 109.0)]


def test_discarding() -> None:
    world = World(3)
    for member in world.members:
        world.rota.put(member)
    for _ in range(2):
        world.rota.discard(world.members[0])
        world.rota.discard(world.members[1])
    assert world.rota.when(world.members[0]) is None
    world.clock.advance_to(100)
    assert world.names == [2]


def test_where_all_are_discarded_nothing_wakes_the_loop() -> None:
    world = World(2)
    for member in world.members:
        world.rota.put(member)
        world.rota.discard(member)
    assert len(world.deadlines) == 0
    world.rota.put(world.members[0])
    world.clock.advance_to(100)
    assert world.names == [0]


def test_those_put_in_together_share_a_time_that_is_hardly_early() -> None:
    world = World(50)
    for number, member in enumerate(world.members):
        world.clock.now = number * GRAIN / 10
        world.rota.put(member)
    whens = [world.rota.when(member) for member in world.members]
    assert len(set(whens)) <= 6
    for number, when in enumerate(whens):
        due = number * GRAIN / 10 + DELAY
        assert when is not None
        assert due - GRAIN <= when <= due
    world.clock.advance_to(100)
    assert sorted(world.names) == list(range(50))
    for number, when in world.beaten:
        assert when >= number * GRAIN / 10 + DELAY - GRAIN


def test_many_that_are_due_at_once_leave_the_loop_room() -> None:
    n = 3 * MAX_PER_TURN + 5
    world = World(n)
    for member in world.members:
        world.rota.put(member)
    world.clock.now = DELAY
    sizes = []
    while world.rota:
        before = len(world.beaten)
        world.clock.turn()
        sizes.append(len(world.beaten) - before)
    assert sorted(world.names) == list(range(n))
    assert max(sizes) <= MAX_PER_TURN


def test_one_that_raises_costs_the_others_nothing() -> None:
    world = World(4)

    class Failing(Member):
        def beat(self) -> None:
            super().beat()
            raise LookupError("mine")

    world.members[1] = Failing(1, world.beaten, world.clock)
    for member in world.members:
        world.rota.put(member)
    with pytest.raises(LookupError, match="mine"):
        world.clock.advance_to(100)
    world.clock.advance_to(101)
    assert sorted(world.names) == [0, 1, 2, 3]


def test_members_change_the_rota_while_it_calls() -> None:
    world = World(4)

    class Changing(Member):
        def beat(self) -> None:
            super().beat()
            world.rota.discard(world.members[1])
            world.rota.put(self)
            if len(world.beaten) > 5:
                world.rota.discard(self)

    world.members[0] = Changing(0, world.beaten, world.clock)
    world.rota.put(world.members[0])
    world.clock.advance_to(1)
    for member in world.members[1:]:
        world.rota.put(member)
    world.clock.advance_to(1000)
    assert world.beaten[0] == (0, 10.0)
    assert sorted(world.beaten[1:3]) == [(2, 11.0), (3, 11.0)]
    assert world.beaten[3:] == [(0, 20.0), (0, 30.0), (0, 40.0)]
    assert len(world.deadlines) == 0


def test_a_member_is_in_one_rota_at_a_time() -> None:
    world = World(2)
    other = world.deadlines.rota(DELAY / 2)
    for member in world.members:
        world.rota.put(member)
    other.put(world.members[0])
    assert (len(world.rota), len(other)) == (1, 1)
    world.rota.discard(world.members[0])  # where it is not
    assert world.rota.when(world.members[0]) is None
    assert other.when(world.members[0]) == DELAY / 2
    world.clock.advance_to(100)
    assert world.beaten == [(0, 5.0), (1, 10.0)]
