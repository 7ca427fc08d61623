"""A moment as JavaScript counts it: milliseconds since 1970, and a `datetime` as Python has it.

Rule of this module: it converts, and asks no clock. In Python a moment is a `datetime` with a time zone; what has none
names no moment, only the hands of some clock.

Source: ECMAScript, "Time Values and Time Range".
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

__all__ = ["datetime", "from_milliseconds", "to_milliseconds"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


def to_milliseconds(moment: datetime) -> int:
    """Count the whole milliseconds until a moment; microseconds are cut off.

    Raises `ValueError` for one without a time zone.
    """
    if moment.utcoffset() is None:
        raise ValueError("a datetime must have a time zone to be sent: which moment it is cannot be told without")
    return (moment - EPOCH) // MILLISECOND


def from_milliseconds(milliseconds: int) -> datetime:
    """Return the moment, in UTC. Raises `OverflowError` outside of the years 1 to 9999."""
    return EPOCH + timedelta(milliseconds=milliseconds)
