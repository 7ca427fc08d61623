"""What a client and its connection are doing.

Rule of this module: sans-I/O, enums and tables. What is not in a table does not happen.
"""

from __future__ import annotations

from enum import Enum, auto

__all__ = ["LIFE", "PHASES", "Life", "Phase", "Step", "Turn"]


class Life(Enum):
    """Name what a manager is doing."""

    CLOSED = auto()  # nobody wants a connection
    OPENING = auto()
    OPEN = auto()
    WAITING = auto()  # until it tries again


class Turn(Enum):
    """Name what can happen to a manager."""

    BEGIN = auto()  # a client wants a connection, or it is time to try again
    OPENED = auto()
    LOST = auto()  # there is no connection, or none any more, and there shall be one
    END = auto()  # nobody wants it any more, or it was tried often enough


LIFE: dict[tuple[Life, Turn], Life] = {
    (Life.CLOSED, Turn.BEGIN): Life.OPENING,
    (Life.OPENING, Turn.OPENED): Life.OPEN,
    (Life.OPENING, Turn.LOST): Life.WAITING,
    (Life.OPEN, Turn.LOST): Life.WAITING,
    (Life.WAITING, Turn.BEGIN): Life.OPENING,
    (Life.OPENING, Turn.END): Life.CLOSED,
    (Life.OPEN, Turn.END): Life.CLOSED,
    (Life.WAITING, Turn.END): Life.CLOSED,
}


class Phase(Enum):
    """Name what a client is doing."""

    IDLE = auto()  # it wants no connection: not yet, or not any more
    AWAY = auto()  # it waits for one
    JOINING = auto()  # its auth is being asked for, or its CONNECT packet is not answered yet
    JOINED = auto()


class Step(Enum):
    """Name what can happen to a client."""

    WANT = auto()  # the program wants to be connected
    ASK = auto()  # there is a connection
    ADMIT = auto()  # the server has let it in
    LOSE = auto()  # the connection is gone, and will be made again
    END = auto()  # it was refused, sent off or has left, or no further connection is tried


PHASES: dict[tuple[Phase, Step], Phase] = {
    (Phase.IDLE, Step.WANT): Phase.AWAY,
    (Phase.AWAY, Step.ASK): Phase.JOINING,
    (Phase.JOINING, Step.ADMIT): Phase.JOINED,
    (Phase.JOINING, Step.LOSE): Phase.AWAY,
    (Phase.JOINED, Step.LOSE): Phase.AWAY,
    (Phase.AWAY, Step.END): Phase.IDLE,
    (Phase.JOINING, Step.END): Phase.IDLE,
    (Phase.JOINED, Step.END): Phase.IDLE,
}
