"""How long to wait before the next attempt to connect.

Rule of this module: numbers in, numbers out; no clock, no timer, and chance is handed in.

Theory of operation. Whoever connects again after failures asks `next_delay` before each further attempt and calls
`reset` when one has held. The delay is drawn evenly between nothing and a bound that doubles (full jitter), at every
attempt, so those who lost their server in the same moment come back evenly spread. A delay with a fixed part would
bring them back as a wave, again and again.

Source: RFC 9110 §10.2.3, Retry-After.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from email.utils import mktime_tz, parsedate_tz

from telex.limits import Limits
from telex.types import Headers

__all__ = ["Backoff", "retry_after"]

MAX_DOUBLINGS = 60
"""Where the exponent stops: every bound has been reached by then, and a float holds it."""
DEFAULTS = Limits()


class Backoff:
    """Say how long each attempt after a failure has to wait.

    Args:
        minimum: Bound of the first delay, in seconds; it doubles with each attempt.
        maximum: What it doubles up to.
        chance: Gives numbers from 0 up to 1, evenly spread: `telex.tokens.chance`, or a test's.

    Raises `ValueError` where not 0 < `minimum` <= `maximum` < infinity.
    """

    __slots__ = ("_chance", "_maximum", "minimum", "n_attempts")

    minimum: float
    """Bound of the first delay."""
    n_attempts: int
    """How many delays were handed out since the beginning, or since `reset`."""

    def __init__(self, minimum: float, maximum: float, chance: Callable[[], float]) -> None:
        if not 0 < minimum <= maximum < math.inf:
            raise ValueError(f"a delay must lie between 0 and a finite maximum, not {minimum} and {maximum}")
        self.minimum = minimum
        self._maximum = maximum
        self._chance = chance
        self.n_attempts = 0

    def next_delay(self, hint: float | None = None) -> float:
        """Return the seconds to wait before the next attempt.

        Args: `hint` is what the server asked for (see `retry_after`). It is waited for in full, and the draw comes on
        top: those who were told the same are not to come back in the same moment either.
        """
        bound = min(self._maximum, self.minimum * 2.0 ** min(self.n_attempts, MAX_DOUBLINGS))
        self.n_attempts += 1
        return (hint or 0.0) + bound * self._chance()

    def reset(self) -> None:
        """Begin again: an attempt has held."""
        self.n_attempts = 0


def retry_after(headers: Iterable[tuple[str, str]], limits: Limits = DEFAULTS) -> float | None:
    """Return the seconds after which a server wants to see its client again; None where it has not said so.

    A date is taken relative to the answer's own `Date`, so that a wrong clock on this side does no harm; without one
    it says nothing. **Limits**: `max_retry_after`.
    """
    fields = Headers(headers)
    text = fields.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)  # "inf" for absurdly many digits
    else:
        then, now = _parse_date(text), _parse_date(fields.get("Date", ""))
        if then is None or now is None:
            return None
        seconds = float(then - now)
    return min(max(seconds, 0.0), limits.max_retry_after)


def _parse_date(text: str) -> int | None:
    """Return seconds since an epoch; None for what is no date."""
    parts = parsedate_tz(text)
    try:
        return None if parts is None else mktime_tz(parts)
    except (ValueError, OverflowError):  # fields of a date, but of none that there is
        return None
