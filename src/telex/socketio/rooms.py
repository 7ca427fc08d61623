"""Who is in which room, on this node.

Rule of this module: sans-I/O, and nothing of what is sent to a room. A room exists while somebody is in it.
A socket's own id is a room too, but not one of these: whoever resolves a name looks there first, so the thousand rooms
of one member that a thousand sockets would make are never built.
"""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Set as AbstractSet
from typing import Generic, TypeVar

__all__ = ["Rooms"]

Member = TypeVar("Member", bound=Hashable)


class Rooms(Generic[Member]):
    """Hold the members of rooms, and the rooms of members."""

    __slots__ = ("_members", "_rooms")

    def __init__(self) -> None:
        self._members: dict[str, set[Member]] = {}
        self._rooms: dict[Member, set[str]] = {}

    def join(self, member: Member, room: str) -> None:
        """Put a member into a room. O(1)."""
        self._members.setdefault(room, set()).add(member)
        self._rooms.setdefault(member, set()).add(room)

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
        if not members:
            del self._members[room]

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
