"""What a client must know to be recovered: who it was, and what it had received.

Rule of this module: sans-I/O. An offset is believed only if it looks like one: any other text at the end of an event is
an argument of the program's.

A server that recovers its clients gives a secret `pid` in its answer to the CONNECT packet, and ends events that ask
for no acknowledgement with an offset. Telex's offsets are unmistakable, and are taken out of the arguments. Those of
the original may not be in an event (`volatile` ones have none) and cannot be told from any short text with certainty;
so they stay where they are, as with the original's client, and handlers that do not take them are called without.

Source: Socket.IO, "Connection state recovery"; docs/recovery.md.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["Place"]

MAX_PID_LENGTH = 256
"""Characters of a `pid` that is kept; the original's has 20."""

OWN_OFFSET = re.compile(r"[0-9a-f]{1,14}\.[0-9a-f]{12}")
"""What Telex's servers write: a number and its code."""

OTHER_OFFSETS = re.compile(r"[0-9A-Za-z_-]{7}(?:\.[0-9A-Za-z_-]{1,6})?|[0-9]{13}-[0-9]{1,20}|[0-9a-f]{24}")
"""What the original's adapters write: a time in base 64 (in memory), the id of a stream's entry (Redis), an ObjectId
(MongoDB)."""


class Place:
    """Hold a client's place in its namespace.

    Attributes:
        pid: The secret name of the place.
        offset: The last that came; None before the first.
    """

    __slots__ = ("offset", "pid")

    def __init__(self, pid: str) -> None:
        self.pid = pid
        self.offset: str | None = None

    def __repr__(self) -> str:  # without the pid, which is a secret
        return f"<Place {self.offset}>"

    def take_offset(self, args: list[Any]) -> None:
        """Take note of the offset of an event that asks for no acknowledgement; one of Telex's is taken out."""
        last = args[-1] if args else None
        if not isinstance(last, str):
            return
        if OWN_OFFSET.fullmatch(last) is not None:
            self.offset = args.pop()
        elif OTHER_OFFSETS.fullmatch(last) is not None:
            self.offset = last

    def claim(self) -> dict[str, str]:
        """Return what is added to the auth of a client that comes back."""
        return {"pid": self.pid} if self.offset is None else {"pid": self.pid, "offset": self.offset}


def read_pid(said: object) -> str | None:
    """Return a `pid` that a server has given; None for what is none."""
    return said if isinstance(said, str) and 0 < len(said) <= MAX_PID_LENGTH else None
