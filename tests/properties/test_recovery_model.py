"""Whatever happens: a client that is recovered has every event, once and in order; else it has begun anew.

The model is three clients in one room. Each has a line that holds what is under way, and loses it when it is cut; each
keeps the last offset that it has heard, from one session to the next, as the official client does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from telex.engineio import Packet, message
from telex.socketio.recovery import Ask, Journal, Presence, Recovery, Seat
from telex.streams import Deadlines

ROOM = frozenset({"room"})
NOBODY: frozenset[str] = frozenset()
MAX_PACKETS = 6
MAX_JOURNAL_BYTES = 9000
CLIENTS = st.integers(0, 2)


class StillClock:
    """A clock whose one timer is the test."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None], /) -> StillClock:
        return self

    def cancel(self) -> None:
        pass


@dataclass
class Person:
    seat: Seat[str]
    offset: str | None = None
    line: list[tuple[int | None, str]] = field(default_factory=list)  # events, None for volatile ones, and offsets
    owed: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    @property
    def is_here(self) -> bool:
        return self.seat.presence is Presence.PRESENT


class Recovering(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = StillClock()
        self.deadlines = Deadlines(self.clock)
        pids = map(str, itertools.count())
        self.journal: Journal[str] = Journal(
            Recovery(max_packets=MAX_PACKETS, max_journal_bytes=MAX_JOURNAL_BYTES, max_sessions=2),
            heartbeat=45.0,
            key=b"key",
            make_pid=lambda: next(pids),
            deadlines=lambda: self.deadlines,
        )
        self.events = itertools.count(1)
        self.asks = itertools.count(1)
        self.open_asks: dict[int, int] = {}  # how many are still to answer, by acknowledgement id
        self.people = [Person(self.sit_down()) for _ in range(3)]

    def sit_down(self) -> Seat[str]:
        seat = self.journal.open("/", "sid")
        seat.sid = seat.pid
        seat.occupant = seat.pid
        return seat

    def away(self) -> list[Seat[str]]:
        return self.journal.absent("/", ROOM, NOBODY)

    @rule(size=st.sampled_from([1, 2000]))
    def emit(self, size: int) -> None:
        event = next(self.events)
        offsets: list[str] = []

        def encode(offset: str) -> Sequence[Packet]:
            offsets.append(offset)
            return [message(f"{event} {offset}".ljust(size))]

        seats = [person.seat for person in self.people if person.is_here] + self.away()
        self.journal.write("/", encode, seats)
        for person in self.people:
            person.owed.append(event)
            if person.is_here:
                person.line.append((event, offsets[0]))

    @rule()
    def emit_volatile(self) -> None:
        (packet,) = self.journal.pass_by("/", lambda offset: [message(offset)])
        for person in self.people:
            if person.is_here:
                person.line.append((None, str(packet.wire)[1:]))

    @rule()
    def ask(self) -> None:
        ack_id, away = next(self.asks), self.away()

        def answer(values: Any) -> None:
            assert values is None  # nobody answers here
            self.open_asks[ack_id] -= 1

        self.open_asks[ack_id] = len(away)
        self.journal.ask([message(str(ack_id))], away, Ask(ack_id, answer))

    @rule(who=CLIENTS)
    def hear_one(self, who: int) -> None:
        person = self.people[who]
        if person.line:
            event, person.offset = person.line.pop(0)
            if event is not None:
                assert event == person.owed.pop(0)

    @rule(who=CLIENTS)
    def cut(self, who: int) -> None:
        person = self.people[who]
        if person.is_here:
            person.line.clear()
            self.journal.leave(person.seat, ROOM, None)

    @rule(who=CLIENTS, gets_through=st.booleans())
    def come(self, who: int, gets_through: bool) -> None:
        person = self.people[who]
        if person.is_here:
            return
        journal, seat = self.journal, person.seat
        position = journal.claim(seat, person.offset)
        if position is not None and not gets_through:
            journal.release(seat)
            return
        missed = None if position is None else journal.restore(seat, position)
        if missed is None:
            person.seat = self.sit_down()
            person.owed.clear()
            return
        seat.occupant = seat.pid
        replayed = [str(entry.packets[0].wire)[1:].split() for entry in missed if entry.ask is None]
        assert [int(event) for event, _ in replayed] == person.owed
        person.line += [(int(event), offset) for event, offset in replayed]
        for entry in missed:
            if entry.ask is not None:
                assert entry.ask.ack_id not in person.asked
                person.asked.append(entry.ask.ack_id)
                self.open_asks[entry.ask.ack_id] -= 1

    @rule(who=CLIENTS)
    def leave_for_good(self, who: int) -> None:
        self.journal.forget(self.people[who].seat)
        self.people[who] = Person(self.sit_down(), self.people[who].offset)

    @rule(seconds=st.sampled_from([1.0, 60.0, 121.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.deadlines._run()
        self.deadlines._run()  # the first only notes that it is late

    @invariant()
    def bounds_hold(self) -> None:
        kept = self.journal.statistics()
        assert kept["bytes"] <= MAX_JOURNAL_BYTES
        assert kept["absent"] <= 2
        for person in self.people:
            seat = person.seat
            assert len(seat.log) <= MAX_PACKETS
            assert seat.n_bytes == sum(entry.n_bytes for entry in seat.log)

    def teardown(self) -> None:
        for _ in range(2):  # everything has its end, without anybody doing anything
            for person in self.people:
                if person.is_here:
                    self.journal.leave(person.seat, ROOM, None)
            self.wait(200.0)
        assert self.journal.statistics() == {"absent": 0, "events": 0, "bytes": 0}
        assert not any(self.open_asks.values())
        assert not self.journal._seats
        assert not self.journal._absent


Recovering.TestCase.settings = settings(deadline=None, max_examples=100, stateful_step_count=60)
TestRecovering = Recovering.TestCase
