"""Where the messages of a connection go: into an inbox, or to a listener.

Rule of this module: it knows who wants the messages and when the end may take effect, and nothing of the protocol. The
inbox is the `Events` of a `ConnectionCore`; for a listener, `Connection` itself is, which has nothing to decide.
"""

from __future__ import annotations

import asyncio
import logging
import types
from asyncio import current_task
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import TYPE_CHECKING, Any

from telex.errors import FrameError
from telex.limits import Limits
from telex.types import Data, size_of

if TYPE_CHECKING:
    from telex.websocket.api import Connection

__all__ = ["Inbox", "Listener"]

logger = logging.getLogger("telex.websocket")


QUIET_CODES = frozenset({1000, 1001, 1005})
"""Ends that are nobody's fault: done, going away, and a Close without a code, which is what browsers send."""


class Listener:
    """Be called for what happens to a connection: plain calls, no task, so none may block.

    Give `serve` the class to have one object per connection, or an object to share it among all.
    An exception closes the connection with 1011 and is logged. A subclass that holds nothing per connection, or that
    names it in `__slots__`, keeps idle connections small.
    """

    __slots__ = ()

    def on_open(self, ws: Connection) -> None:
        """Learn that the connection is open."""

    def on_message(self, ws: Connection, message: Data) -> None:
        """Take a message."""

    def on_ping(self, ws: Connection, payload: bytes) -> None:
        """Take note of a ping; it has been answered."""

    def on_pong(self, ws: Connection, payload: bytes, latency: float | None) -> None:
        """Take note of a pong; `latency` is None where it answers no ping of ours."""

    def on_close(self, ws: Connection, code: int, reason: str) -> None:
        """Learn that the connection is over. Called exactly once, last."""


class Inbox:
    """Keep messages for a coroutine: the `Events` of a connection that is read with `recv`.

    A task that waits for a message waits for the inbox itself, which is to it what a future is. When a message comes
    straight from the stream, that task is stepped on the spot: a future would have it wait for the loop's next turn,
    and its answer with it. Where another task is running it is woken in the next turn, as by a future.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_connection",
        "_handed",
        "_is_cancelled",
        "_is_full",
        "_left_by",
        "_loop",
        "_n_bytes",
        "_n_high",
        "_n_high_bytes",
        "_reader",
        "_wakeup",
        "is_busy",
        "is_ended",
        "messages",
        "n_received",
    )

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._n_high = limits.recv_queue_high
        self._n_high_bytes = limits.recv_queue_high_bytes
        self._n_bytes = 0
        self._is_full = False  # and the peer is not read
        self._wakeup: tuple[Callable[[Any], object], Context | None] | None = None  # of the task that waits
        self._is_cancelled = False  # that task
        self._handed: Data | None = None  # the message for which it is being stepped
        self._asyncio_future_blocking = False
        self._reader: asyncio.Task[Any] | None = None  # who took a message last
        self._left_by: asyncio.Task[Any] | None = None  # where it waits for the end instead
        self.messages: deque[Data] = deque()
        self.n_received = 0
        self.is_busy = False  # the program took a message and has not come back for the next
        self.is_ended = False

    # Called by the core.

    def message_received(self, message: Data) -> None:
        if self._is_full:
            return  # it was left: else nothing is read meanwhile
        wakeup = self._wakeup
        if wakeup is not None and wakeup[1] is not None and current_task(self._loop) is None:
            self.n_received += 1
            self._handed, self._wakeup = message, None
            wakeup[1].run(wakeup[0], self)
            return
        self.messages.append(message)
        self._n_bytes += len(message) if type(message) is bytes else size_of(message)
        self.n_received += 1
        if len(self.messages) >= self._n_high or self._n_bytes >= self._n_high_bytes:
            self._is_full = True
            if not self._is_left():
                self._connection.core.pause_reading(self._connection.now())
        self.wake()

    def ping_received(self, payload: bytes) -> None:
        pass

    def pong_received(self, payload: bytes, latency: float | None) -> None:
        self._connection.answer_pings(latency)

    def close_received(self, code: int, reason: str) -> None:
        self.end()

    def violation(self, error: FrameError) -> None:
        logger.debug("%s: %s", self._connection.remote_address, error)
        self.end()

    def program_failed(self) -> None:
        self._connection.program_failed()

    # Called by the connection.

    def end(self) -> None:
        """Note that no more messages come; finish at once where the program owes no answer."""
        self.is_ended = True
        if self._is_left() or (not self.messages and not self.is_busy):
            self._connection.finish()
        self.wake()

    def wake(self) -> None:
        """Let the task that waits go on, in the next turn."""
        wakeup, self._wakeup = self._wakeup, None
        if wakeup is not None:
            self._loop.call_soon(wakeup[0], self, context=wakeup[1])

    def adopt(self) -> None:
        """Note that the running task is the one that receives."""
        self._reader = asyncio.current_task()

    @contextmanager
    def left(self) -> Iterator[None]:
        """Note that the running task waits for the end: where it is the one that receives, nobody does meanwhile.

        Then the peer is read on, so that its Close is seen, and messages that find the inbox full are dropped.
        """
        task = asyncio.current_task()
        if task is not self._reader:
            yield
            return
        self._left_by = task
        if self.is_ended:
            self._connection.finish()
        if self._is_full:
            self._connection.read_on()
        try:
            yield
        finally:
            self._left_by = None
            if self._is_full:
                self._connection.core.pause_reading(self._connection.now())

    def _is_left(self) -> bool:
        return self._left_by is not None and self._left_by is self._reader

    @types.coroutine
    def take(self, is_iterating: bool = False) -> Generator[Any, None, Data]:
        """Return the next message. **Cancellation**: loses nothing.

        Args: `is_iterating` says that a regular end is the end of an iteration.
        """
        self._reader = current_task(self._loop)
        while not self.messages:
            self.is_busy = False
            if self.is_ended:
                self._connection.finish()
                error = self._connection.closed_error()
                if is_iterating and error.code in QUIET_CODES:
                    raise StopAsyncIteration
                raise error
            if self._wakeup is not None:
                raise RuntimeError("another task waits in recv() already")
            self._asyncio_future_blocking = True
            try:
                yield self
            except BaseException:
                if self._handed is not None:  # it was for nothing
                    self.messages.appendleft(self._handed)
                    self._n_bytes += size_of(self._handed)
                raise
            finally:
                handed, self._handed, self._wakeup = self._handed, None, None
            if handed is not None:
                self.is_busy = True
                return handed
        message = self.messages.popleft()
        self._n_bytes -= len(message) if type(message) is bytes else size_of(message)
        self.is_busy = True
        if self._is_full and len(self.messages) * 2 <= self._n_high and self._n_bytes * 2 <= self._n_high_bytes:
            self._is_full = False
            self._connection.read_on()
        return message

    # What a task asks of what it waits for.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        self._wakeup = callback, context

    def cancel(self, msg: object = None) -> bool:
        if self._wakeup is None:
            return False  # it has been woken already, and will hear of it then
        self._is_cancelled = True
        self.wake()
        return True

    def result(self) -> None:
        if self._is_cancelled:
            self._is_cancelled = False
            raise asyncio.CancelledError
