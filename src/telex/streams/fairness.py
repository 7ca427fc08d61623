"""Who gets how much of one turn of the loop.

Rule of this module: numbers with their reasons, and the one helper that lets all connections of a loop share a
`call_soon`. A connection that has more to do than its share does the rest in the next turn, after everybody else.
"""

from __future__ import annotations

import weakref
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["BYTES_PER_TURN", "FRAMES_PER_TURN", "Turn", "turn_of"]

FRAMES_PER_TURN = 64
"""Frames of one connection handled in a row. A frame costs some tens of microseconds in pure Python, handler included,
so a flooding peer holds the others up for about a millisecond; and 64 is enough that the turn's own cost vanishes."""

BYTES_PER_TURN = 256 * 1024
"""Payload of one connection handled in a row, counted as received and again as inflated. Unmasking, inflating and
checking so much takes about a millisecond too; and it is what asyncio reads at once, so that ordinary input is one
turn's. A turn may exceed it by the last frame, whose size `max_message_size` bounds."""


class Soon(Protocol):
    """Call back in the next turn; every asyncio event loop does."""

    def call_soon(self, callback: Callable[[], None], /) -> Any:
        """Call after what is ready now."""

    def call_exception_handler(self, context: dict[str, Any], /) -> None:
        """Report what nobody caught."""


class Turn:
    """Gather what many connections want to do at the end of this turn, and do it in one callback of the loop.

    Work comes first and flushes last, so that what the work writes leaves in the same callback.
    """

    __slots__ = ("_call_soon", "_flushes", "_is_scheduled", "_report", "_work")

    def __init__(
        self, call_soon: Callable[[Callable[[], None]], Any], report: Callable[[dict[str, Any]], None]
    ) -> None:
        self._call_soon = call_soon
        self._report = report
        self._work: list[Callable[[], None]] = []
        self._flushes: list[Callable[[], None]] = []
        self._is_scheduled = False

    def after(self, work: Callable[[], None]) -> None:
        """Go on with `work` once the others had their share; work added by work waits for the turn after."""
        self._work.append(work)
        self._schedule()

    def flush(self, flush: Callable[[], None]) -> None:
        """Call `flush` at the end of this turn, after all work."""
        self._flushes.append(flush)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._call_soon(self._run)

    def _run(self) -> None:
        work, self._work = deque(self._work), []
        flushes: deque[Callable[[], None]] = deque()
        try:
            self._run_all(work)
            flushes, self._flushes = deque(self._flushes), []
            self._run_all(flushes)
        finally:
            # What ends the program (KeyboardInterrupt) may leave some; its last words go through here all the same.
            self._work[:0] = work
            self._flushes[:0] = flushes
            self._is_scheduled = False
            if self._work or self._flushes:
                self._schedule()

    def _run_all(self, callbacks: deque[Callable[[], None]]) -> None:
        while callbacks:
            callback = callbacks.popleft()
            try:
                callback()
            except (Exception, CancelledError) as error:  # one connection's trouble is not the others'
                self._report({"message": f"Telex: {callback!r} failed", "exception": error})


_turns: weakref.WeakKeyDictionary[Soon, Turn] = weakref.WeakKeyDictionary()


def turn_of(loop: Soon) -> Turn:
    """Return the loop's one `Turn`."""
    turn = _turns.get(loop)
    if turn is None:
        borrowed = weakref.ref(loop)  # the value of a weak dictionary must not keep its key

        def owner() -> Soon:
            found = borrowed()
            if found is None:
                raise RuntimeError("work was left for an event loop that is gone")
            return found

        turn = _turns[loop] = Turn(
            lambda callback: owner().call_soon(callback), lambda context: owner().call_exception_handler(context)
        )
    return turn
