"""Who is in which room, on this node.

Rule of this module: sans-I/O, and nothing of what is sent to a room. A room exists while somebody is in it.
A socket's own id is a room too, but not one of these: whoever resolves a name looks there first, so the thousand rooms
of one member that a thousand sockets would make are never built.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

__all__ = ["CREATE_ROOM", "DELETE_ROOM", "FIRST_IN", "JOIN_ROOM", "LAST_OUT", "LEAVE_ROOM", "Rooms"]

CREATE_ROOM, JOIN_ROOM, LEAVE_ROOM, DELETE_ROOM = "create-room", "join-room", "leave-room", "delete-room"
"""What can happen to a room, in the original's words."""

FIRST_IN = (CREATE_ROOM, JOIN_ROOM)
LAST_OUT = (LEAVE_ROOM, DELETE_ROOM)

Member = TypeVar("Member", bound=Hashable)


class Rooms(Generic[Member]):
    """Hold the members of rooms, and the rooms of members.

    `watch` is told of each change, once it is made: what happened, in order, the room, and who joined or left it. It
    must not raise, and may change rooms itself.
    """

    __slots__ = ("_members", "_rooms", "watch")

    def __init__(self) -> None:
        self.watch: Callable[[tuple[str, ...], str, Member], None] | None = None
        self._members: dict[str, set[Member]] = {}
        self._rooms: dict[Member, set[str]] = {}

    def join(self, member: Member, room: str) -> None:
        """Put a member into a room; nothing happens if it is there. O(1)."""
        members = self._members.setdefault(room, set())
        if member in members:
            return
        members.add(member)
        self._rooms.setdefault(member, set()).add(room)
        if self.watch is not None:
            self.watch(FIRST_IN if len(members) == 1 else (JOIN_ROOM,), room, member)

    def leave(self, member: Member, room: str) -> None:
        """Take a member out of a room; nothing happens if it is not there. O(1)."""
        rooms = self._rooms.get(member)
        if rooms is None or room not in rooms:
            return
        rooms.discard(room)
        if not rooms:
            del self._rooms[member]
        members = self._members[room]
        members.discard(member)
        is_last = not members
        if is_last:
            del self._members[room]
        if self.watch is not None:
            self.watch(LAST_OUT if is_last else (LEAVE_ROOM,), room, member)

    def leave_all(self, member: Member) -> None:
        """Take a member out of all its rooms. O(its rooms)."""
        for room in list(self._rooms.get(member, ())):
            self.leave(member, room)

    def members_of(self, room: str) -> AbstractSet[Member]:
        """Return the members of a room. **Ownership**: a live view; copy it before rooms change."""
        return self._members.get(room) or frozenset()

    def rooms_of(self, member: Member) -> AbstractSet[str]:
        """Return the rooms of a member. **Ownership**: a live view; copy it before rooms change."""
        return self._rooms.get(member) or frozenset()

    def __len__(self) -> int:
        """Return how many rooms there are."""
        return len(self._members)
