"""Log lines that a stranger can cause, in a number that he cannot choose.

Rule of this module: sans-I/O but for the logger handed in; time comes in as `now`. A *kind* is a text of the program,
never of the wire, so there are as many as the program has.

What a peer does wrong is worth a line, for it is mostly a setting that is wrong; a million of them are worth no more.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from telex.limits import Quota

__all__ = ["SparingLog"]

BURST = 5
"""Lines of one kind at once: enough to see that it is not one client alone."""

INTERVAL = 30.0
"""Seconds from one line of a kind to the next in the long run."""


@dataclass(slots=True)
class _Kind:
    quota: Quota
    n_held_back: int = 0


class SparingLog:
    """Write to a logger, but of each kind of line only so many; what was held back is counted in the next line."""

    __slots__ = ("_kinds", "_logger")

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._kinds: dict[str, _Kind] = {}

    def log(self, level: int, kind: str, now: float, text: str, *args: Any, error: BaseException | None = None) -> bool:
        """Write a line of a kind, unless there were too many; return whether it was written.

        Args: `text` and `args` are the logger's; `error` is shown with its traceback. **Units**: `now` in seconds of
        any steady clock.
        """
        if not self._logger.isEnabledFor(level):
            return False
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = _Kind(Quota(1 / INTERVAL, BURST))
        if not found.quota.take(now):
            found.n_held_back += 1
            return False
        n, found.n_held_back = found.n_held_back, 0
        if n:
            text, args = text + " (and %d times before, since the last such line)", (*args, n)
        self._logger.log(level, text, *args, exc_info=error)
        return True
