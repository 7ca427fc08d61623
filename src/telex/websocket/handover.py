"""A message's way to the coroutine that waits for it: stepped on the spot, where that can be.

Rule of this module: it passes on and decides nothing. What is to be done with a message that nobody waits for, and when
the end takes effect, are its subclass's. It is the specification of its compiled twin, `_handover.pyx`.

Theory of operation. A task that waits for a message waits for the `Handover` itself, which is to it what a future is.
When a message comes straight from the stream, that task is stepped on the spot: a future would have it wait for the
loop's next turn, and its answer with it. Where another task is running it is woken in the next turn, as by a future.
"""

from __future__ import annotations

import asyncio
import types
from asyncio import current_task
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from typing import Any

from telex.types import Data

__all__ = ["Acted", "Handover"]


class Handover:
    """Hand messages to one task: what an `Inbox` does for each.

    Attributes:
        messages: Those that wait.
        n_received: Messages that came.
        is_busy: Whether the program took a message and has not come back for the next.
        is_ended: Whether no more will come.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_context",
        "_handed",
        "_is_cancelled",
        "_loop",
        "_reader",
        "_wakeup",
        "is_busy",
        "is_ended",
        "messages",
        "n_received",
    )

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wakeup: Callable[[Any], object] | None = None  # of the task that waits
        self._context: Context | None = None  # in which it is called
        self._is_cancelled = False  # that task
        self._handed: Data | None = None  # the message for which it is being stepped
        self._asyncio_future_blocking = False
        self._reader: asyncio.Task[Any] | None = None  # who took a message last
        self.messages: deque[Data] = deque()
        self.n_received = 0
        self.is_busy = False
        self.is_ended = False

    def message_received(self, message: Data) -> None:
        """Take a message (see `Events`)."""
        wakeup, context = self._wakeup, self._context
        if wakeup is not None and context is not None and current_task(self._loop) is None:
            self.n_received += 1
            self._handed, self._wakeup, self._context = message, None, None
            context.run(wakeup, self)
        else:
            self._keep(message)

    def wake(self) -> None:
        """Let the task that waits go on, in the next turn."""
        wakeup, context = self._wakeup, self._context
        self._wakeup = self._context = None
        if wakeup is not None:
            self._loop.call_soon(wakeup, self, context=context)

    @types.coroutine
    def take(self, is_iterating: bool = False) -> Generator[Any, None, Data]:
        """Return the next message. **Cancellation**: loses nothing.

        Args: `is_iterating` says that a regular end is the end of an iteration.
        Raises what `_end_of` returns; `RuntimeError` when another task waits here already.
        """
        self._reader = current_task(self._loop)
        while not self.messages:
            self.is_busy = False
            if self.is_ended:
                raise self._end_of(is_iterating)
            if self._wakeup is not None:
                raise RuntimeError("another task waits in recv() already")
            self._asyncio_future_blocking = True
            try:
                yield self
            except BaseException:
                if self._handed is not None:  # it was for nothing
                    self._put_back(self._handed)
                raise
            finally:
                handed, self._handed = self._handed, None
                self._wakeup = self._context = None
            if handed is not None:
                self.is_busy = True
                return handed
        self.is_busy = True
        return self._first()

    def __aiter__(self) -> Handover:
        return self

    def __anext__(self) -> Awaitable[Data]:
        """Return the next message; end quietly where the peer is done (1000, 1001 or no code)."""
        return self.take(True)

    # What a task asks of what it waits for.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that it belongs to."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Take note of what steps the task."""
        self._wakeup, self._context = callback, context

    def cancel(self, msg: object = None) -> bool:
        """Wake the task, which is to be cancelled; `False` if it has been woken already, and will hear of it then."""
        if self._wakeup is None:
            return False
        self._is_cancelled = True
        self.wake()
        return True

    def result(self) -> None:
        """Let the task go on, or raise its cancellation."""
        if self._is_cancelled:
            self._is_cancelled = False
            raise asyncio.CancelledError

    # What the subclass does.

    def _keep(self, message: Data) -> None:
        """Take a message that cannot be handed over now."""
        raise NotImplementedError

    def _first(self) -> Data:
        """Return the first of the messages that wait, which are one less then."""
        raise NotImplementedError

    def _put_back(self, message: Data) -> None:
        """Let a message wait, before all others, that was handed over in vain."""
        raise NotImplementedError

    def _end_of(self, is_iterating: bool) -> Exception:
        """Return what tells the program that no more comes, the end having taken effect."""
        raise NotImplementedError


class Acted:
    """Be what a call returns that has acted already: awaiting it waits, ignoring it is fine.

    Args: `wait` makes what is awaited; None where there is nothing to wait for.
    """

    __slots__ = ("_wait",)

    def __init__(self, wait: Callable[[], Generator[Any, None, None]] | None) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        return _NOTHING_TO_WAIT_FOR if self._wait is None else self._wait()


_NOTHING_TO_WAIT_FOR: Any = iter(())  # exhausted, for whoever steps it
