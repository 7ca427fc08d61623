"""Rooms: checked against the plainest model there is."""

from __future__ import annotations

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st

from telex.socketio.rooms import Rooms


class Member:
    """Somebody; may be referred to weakly."""


def test_a_room_exists_while_somebody_is_in_it() -> None:
    rooms: Rooms[str] = Rooms()
    rooms.join("ann", "a")
    rooms.join("ann", "a")
    rooms.join("bob", "a")
    assert rooms.members_of("a") == {"ann", "bob"}
    rooms.leave("ann", "a")
    rooms.leave("ann", "a")
    rooms.leave("ann", "never")
    assert rooms.members_of("a") == {"bob"}
    assert rooms.rooms_of("ann") == set()
    rooms.leave("bob", "a")
    assert len(rooms) == 0


def test_nobody_is_in_an_unknown_room() -> None:
    rooms: Rooms[str] = Rooms()
    assert rooms.members_of("x") == set()
    assert rooms.rooms_of("x") == set()
    rooms.leave_all("x")
    assert len(rooms) == 0


def test_leaving_all_touches_nobody_else() -> None:
    rooms: Rooms[str] = Rooms()
    for room in ("a", "b", "c"):
        rooms.join("ann", room)
    rooms.join("bob", "b")
    rooms.leave_all("ann")
    assert rooms.rooms_of("ann") == set()
    assert rooms.rooms_of("bob") == {"b"}
    assert len(rooms) == 1


def test_r13_a_member_that_left_is_not_kept() -> None:
    rooms: Rooms[Member] = Rooms()
    member = Member()
    gone = weakref.ref(member)
    rooms.join(member, "a")
    rooms.leave_all(member)
    del member
    gc.collect()
    assert gone() is None


STEPS = st.lists(
    st.tuples(st.sampled_from(["join", "leave", "leave_all"]), st.integers(0, 3), st.sampled_from("abcd")), max_size=60
)


@given(STEPS)
def test_rooms_are_a_relation(steps: list[tuple[str, int, str]]) -> None:
    rooms: Rooms[int] = Rooms()
    pairs: set[tuple[int, str]] = set()
    for what, member, room in steps:
        match what:
            case "join":
                rooms.join(member, room)
                pairs.add((member, room))
            case "leave":
                rooms.leave(member, room)
                pairs.discard((member, room))
            case _:
                rooms.leave_all(member)
                pairs = {pair for pair in pairs if pair[0] != member}
        for who in range(4):
            assert rooms.rooms_of(who) == {r for m, r in pairs if m == who}
        for where in "abcd":
            assert rooms.members_of(where) == {m for m, r in pairs if r == where}
        assert len(rooms) == len({r for _, r in pairs})
