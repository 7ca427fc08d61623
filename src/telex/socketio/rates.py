"""How many events a client may send.

Rule of this module: sans-I/O; numbers, and what is done past them. When an event is counted is `passage.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from telex.limits import Quota

__all__ = ["Meter", "Policy", "RateLimit", "Throttled"]

Policy = Literal["delay", "drop", "close"]
"""What happens to an event past its limit."""

POLICIES: tuple[str, ...] = get_args(Policy)


@dataclass(frozen=True, eq=False, slots=True)
class RateLimit:
    """Bound the events of each socket: `rate` per second in the long run, `burst` at once.

    Past it, by `policy`: "delay" handles the event later, in order, and does not read the connection meanwhile; "drop"
    passes it by, without an acknowledgement; "close" ends the connection ("forced close").
    `burst` is `rate` where it is not given, and at least 1. Each socket has a count of its own for each object of this
    class, so an object that is given for several events bounds them together.
    Raises `ValueError` for a rate that is not positive, a burst under 1, or an unknown policy; `TypeError` for what is
    no number.
    """

    rate: float
    burst: float | None = None
    policy: Policy = "delay"

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("burst", 1 if self.burst is None else self.burst)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"the {name} of a rate limit must be a number, not {type(value).__name__}")
        if not self.rate > 0:  # "not" for the sake of NaN
            raise ValueError(f"the rate of a rate limit must be positive, not {self.rate}")
        if self.burst is not None and not self.burst >= 1:
            raise ValueError(f"the burst of a rate limit must be 1 at least, not {self.burst}")
        if self.policy not in POLICIES:
            raise ValueError(f"the policy of a rate limit is one of {', '.join(POLICIES)}, not {self.policy!r}")

    def quota(self) -> Quota:
        """Return a new count."""
        return Quota(self.rate, max(self.rate, 1) if self.burst is None else self.burst)


@dataclass(slots=True)
class Throttled:
    """Count what came too fast: events delayed, events dropped, connections closed."""

    delayed: int = 0
    dropped: int = 0
    closed: int = 0


class Meter:
    """Count one socket's events, for each `RateLimit` apart. **Limits**: as many as the program has made."""

    __slots__ = ("_quotas", "throttled")

    def __init__(self) -> None:
        self._quotas: dict[RateLimit, Quota] = {}
        self.throttled = Throttled()

    def take(self, limit: RateLimit, now: float) -> bool:
        """Count an event; `False` if it is one too many, and not counted then."""
        return self._quota(limit).take(now)

    def reserve(self, limit: RateLimit, now: float) -> float:
        """Count an event in any case; return how many seconds from now it is due."""
        return self._quota(limit).reserve(now)

    def _quota(self, limit: RateLimit) -> Quota:
        quota = self._quotas.get(limit)
        if quota is None:
            quota = self._quotas[limit] = limit.quota()
        return quota
