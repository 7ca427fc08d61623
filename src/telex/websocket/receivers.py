"""Where the messages of a connection go: into an inbox, or to a listener.

Rule of this module: it knows who wants the messages and when the end may take effect, and nothing of the protocol. The
inbox is the `Events` of a `ConnectionCore`; for a listener, `Connection` itself is, which has nothing to decide.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from telex.errors import FrameError
from telex.limits import Limits
from telex.types import Data, size_of
from telex.websocket.fastpath import Handover

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


class Inbox(Handover):
    """Keep messages for a coroutine: the `Events` of a connection that is read with `recv`."""

    __slots__ = ("_connection", "_is_full", "_left_by", "_n_bytes", "_n_high", "_n_high_bytes")

    def __init__(self, connection: Connection, limits: Limits) -> None:
        super().__init__()
        self._connection = connection
        self._n_high = limits.recv_queue_high
        self._n_high_bytes = limits.recv_queue_high_bytes
        self._n_bytes = 0
        self._is_full = False  # and the peer is not read
        self._left_by: asyncio.Task[Any] | None = None  # where the reader waits for the end instead

    # Called by the core, but for `message_received`.

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

    # Called by what hands over.

    def _keep(self, message: Data) -> None:
        if self._is_full:
            return  # it was left: else nothing is read meanwhile
        self.messages.append(message)
        self._n_bytes += len(message) if type(message) is bytes else size_of(message)
        self.n_received += 1
        if len(self.messages) >= self._n_high or self._n_bytes >= self._n_high_bytes:
            self._is_full = True
            if not self._is_left():
                self._connection.core.pause_reading(self._connection.now())
        self.wake()

    def _first(self) -> Data:
        message = self.messages.popleft()
        self._n_bytes -= len(message) if type(message) is bytes else size_of(message)
        if self._is_full and len(self.messages) * 2 <= self._n_high and self._n_bytes * 2 <= self._n_high_bytes:
            self._is_full = False
            self._connection.read_on()
        return message

    def _put_back(self, message: Data) -> None:
        self.messages.appendleft(message)
        self._n_bytes += size_of(message)

    def _end_of(self, is_iterating: bool) -> Exception:
        self._connection.finish()
        error = self._connection.closed_error()
        return StopAsyncIteration() if is_iterating and error.code in QUIET_CODES else error
