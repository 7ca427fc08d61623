"""Events that come again: what was answered to each, for a while.

Rule of this module: sans-I/O. It keeps outcomes and forgets them; who runs handlers is `reliable.py`'s business.

A client that hears no acknowledgement sends its event again. `Outcomes` holds, by the event's id and inside a scope,
what the handler returned the first time. It is bounded in time and count, and each scope for itself: one client that
sends without end pushes out its own outcomes and nobody else's, until all together are too many.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from telex.socketio.socket import Socket

__all__ = ["MAX_KEY_LENGTH", "Dedup", "EventKey", "Outcome", "Outcomes", "check_part"]

MAX_KEY_LENGTH = 256
"""Characters of an id, and of a scope's name."""

EventKey = tuple[str | int, ...]
"""A scope, an id in it, and where that is good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dedup:
    """Say how an event that comes again is known: `io.on("order", dedup=telex.Dedup(...))`.

    Args:
        key: called with the event's arguments, as the handler is but for the socket; returns the id that the client
            gave the event, or `None` for an event that has none and is to run whenever it comes. Without it the ids
            are those that Telex's own client sends.
        scope: called with the socket; returns whose ids these are, such as the user's name. It must stay the same when
            the client comes back, so a socket's id will not do. `None`: ids are good for all clients together. Then
            they must be such as nobody can guess, for who knows an id learns what was answered to it.
        window: how long an outcome is kept, in seconds. A retry that comes later runs the handler again.
        max_per_scope: outcomes kept of one scope; above it the oldest goes.
        max_events: the same of all scopes together.

    Raises `TypeError` and `ValueError` for what cannot be.
    """

    scope: Callable[[Socket], str | int] | None
    key: Callable[..., str | int | None] | None = None
    window: float = 600.0
    max_per_scope: int = 1000
    max_events: int = 100_000

    def __post_init__(self) -> None:
        for name in ("key", "scope"):
            function = getattr(self, name)
            if function is not None and not callable(function):
                raise TypeError(f"Dedup.{name} must be a function, not {type(function).__name__}")
        for name, kind in (("window", int | float), ("max_per_scope", int), ("max_events", int)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kind):
                raise TypeError(f"Dedup.{name} must be a number, not {type(value).__name__}")
            if not value > 0:  # "not" for the sake of NaN
                raise ValueError(f"Dedup.{name} must be positive, not {value}")


def check_part(part: object, what: str) -> str | int:
    """Check a part of an `EventKey`. Raises `TypeError` for anything but texts and integers, `ValueError` for more
    than `MAX_KEY_LENGTH` characters.
    """
    if isinstance(part, bool) or not isinstance(part, str | int):
        raise TypeError(f"{what} must be a str or an int, not {type(part).__name__}")
    if isinstance(part, str) and len(part) > MAX_KEY_LENGTH:
        raise ValueError(f"{what} can have {MAX_KEY_LENGTH} characters at most, not {len(part)}")
    return part


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hold what a handler returned, until `expires`."""

    result: Any
    expires: float


class Outcomes:
    """Hold outcomes, each in its scope.

    What has expired goes when the next one is looked for or put in. **Units**: `now` in seconds of any steady clock.
    """

    __slots__ = ("_by_key", "_by_scope", "_options", "n_pushed_out")

    def __init__(self, options: Dedup) -> None:
        self._options = options
        self._by_key: OrderedDict[EventKey, Outcome] = OrderedDict()  # in the order in which they expire
        self._by_scope: dict[str | int, OrderedDict[EventKey, None]] = {}
        self.n_pushed_out = 0
        """How many went before their time."""

    def __len__(self) -> int:
        return len(self._by_key)

    def get(self, key: EventKey, now: float) -> Outcome | None:
        """Return the outcome of an event, if there was one. O(1), and O(1) for each that has expired."""
        self._expire(now)
        return self._by_key.get(key)

    def put(self, key: EventKey, result: Any, now: float) -> None:
        """Keep an outcome. O(1), as `get`."""
        self._expire(now)
        self._remove(key)
        self._by_key[key] = Outcome(result, now + self._options.window)
        own = self._by_scope.setdefault(key[0], OrderedDict())
        own[key] = None
        if len(own) > self._options.max_per_scope:
            self._push_out(next(iter(own)))
        elif len(self._by_key) > self._options.max_events:
            self._push_out(next(iter(self._by_key)))

    def _push_out(self, key: EventKey) -> None:
        self.n_pushed_out += 1
        self._remove(key)

    def _expire(self, now: float) -> None:
        while self._by_key:
            key, outcome = next(iter(self._by_key.items()))
            if outcome.expires > now:
                return
            self._remove(key)

    def _remove(self, key: EventKey) -> None:
        if self._by_key.pop(key, None) is None:
            return
        own = self._by_scope[key[0]]
        del own[key]
        if not own:
            del self._by_scope[key[0]]
