"""What is asked of a server to open a session, and what it says first.

Rule of this module: sans-I/O. What a server says is not to be trusted: numbers are brought into their range, names that
are not known are dropped, and what cannot be is an `EnginePacketError`.

Source: Engine.IO protocol v4, "Handshake".
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from telex.errors import EnginePacketError
from telex.limits import Limits
from telex.types import Data

__all__ = ["Welcome", "read_welcome"]

SID = re.compile(r"[!-~]+")
"""A session's id goes into a query, where it is escaped, and into logs: printable ASCII, as every server gives."""

COARSE_SECONDS = 10.0
"""From here on a ping period is a whole number of seconds, below a whole number of tenths: all sessions of a loop with
the same period share one queue, and a stranger is not to make as many queues as there are numbers."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """Be what a server says first.

    Attributes:
        sid: What it calls the session.
        upgrades: The transports it would rather have.
        ping_interval: Seconds from one of its pings to the next.
        ping_timeout: Seconds that it waits for a pong.
        max_payload: Bytes that it takes in one message or POST; None where it has not said.
    """

    sid: str
    upgrades: tuple[str, ...]
    ping_interval: float
    ping_timeout: float
    max_payload: int | None
    ping_period: float
    """Seconds of silence after which it is given up."""


def read_welcome(data: Data, limits: Limits) -> Welcome:
    """Read the data of an "open" packet.

    Raises `EnginePacketError` for what is not JSON, has no sound id or no positive times.
    **Limits**: `max_sid_length`, `max_ping_period`.
    """
    if isinstance(data, bytes) or len(data) > limits.max_sid_length + MAX_WELCOME:
        raise EnginePacketError("the open packet is too long")
    try:
        fields = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise EnginePacketError("the open packet is not JSON") from error
    if not isinstance(fields, dict):
        raise EnginePacketError("the open packet is no object")
    sid = fields.get("sid")
    if not isinstance(sid, str) or len(sid) > limits.max_sid_length or not SID.fullmatch(sid):
        raise EnginePacketError("the open packet has no sound session id")
    interval, timeout = _seconds(fields, "pingInterval"), _seconds(fields, "pingTimeout")
    upgrades = fields.get("upgrades")
    names = upgrades if isinstance(upgrades, list) else []
    return Welcome(
        sid=sid,
        upgrades=tuple(name for name in KNOWN_UPGRADES if name in names),
        ping_interval=interval,
        ping_timeout=timeout,
        max_payload=_max_payload(fields),
        ping_period=_period(interval + timeout, limits.max_ping_period),
    )


MAX_WELCOME = 4096
"""Characters of an open packet besides the id: five short fields."""

KNOWN_UPGRADES = ("websocket",)


def _seconds(fields: dict[str, Any], name: str) -> float:
    """Return a time that is given in milliseconds."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
        raise EnginePacketError(f"the open packet has no positive {name}")
    return min(value, MAX_MILLISECONDS) / 1000


MAX_MILLISECONDS = 1e15
"""More than anybody waits, and few enough digits for a float."""


def _period(seconds: float, maximum: float) -> float:
    """Return a ping period, rounded up and within its bound."""
    rounded = math.ceil(seconds) if seconds > COARSE_SECONDS else math.ceil(seconds * 10) / 10
    return min(rounded, maximum)


def _max_payload(fields: dict[str, Any]) -> int | None:
    value = fields.get("maxPayload")
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        return None
    return value
