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


# One step: who, which room, and whether in or out.
STEPS = st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("ab"), st.booleans()))


@given(STEPS)
def test_who_is_told_of_every_change_knows_the_rooms(steps: list[tuple[str, str, bool]]) -> None:
    rooms: Rooms[str] = Rooms()
    model: dict[str, set[str]] = {}

    def watch(events: tuple[str, ...], room: str, member: str) -> None:
        for event in events:
            if event == "create-room":
                assert room not in model
                model[room] = set()
            elif event == "join-room":
                assert member not in model[room]
                model[room].add(member)
            elif event == "leave-room":
                model[room].remove(member)
            else:
                assert event == "delete-room"
                assert model.pop(room) == set()
        assert rooms.members_of(room) == model.get(room, set())

    rooms.watch = watch
    for member, room, is_in in steps:
        (rooms.join if is_in else rooms.leave)(member, room)
    assert {room: rooms.members_of(room) for room in "ab" if rooms.members_of(room)} == model
    for member in "xyz":
        rooms.leave_all(member)
    assert model == {}
