"""Events that a program takes by itself, one after the other: what `Client.receive` waits for.

Rule of this module: it keeps events in order, within bounds, and knows nothing of connections.

Theory of operation. Nobody knows at first whether a program will ever ask for events. Until it does, the newest are
kept and the oldest give way. From the first `receive` on nothing gives way: a box that is full makes the connection
wait, until the program has taken some.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from telex.limits import Limits
from telex.socketio.handlers import ACK_WAIT_FACTOR

__all__ = ["Mailbox"]

logger = logging.getLogger("telex.socketio")


class Mailbox:
    """Keep the events of one client that it has no handler for.

    Attributes:
        is_read: Whether the program has ever asked for one.
    """

    __slots__ = ("_events", "_has_dropped", "_limits", "_n_bytes", "_waiters", "is_read")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._events: deque[tuple[tuple[Any, ...], int]] = deque()
        self._n_bytes = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._has_dropped = False
        self.is_read = False

    def __len__(self) -> int:
        return len(self._events)

    def is_full(self, *, is_awaiting_ack: bool) -> bool:
        """Whether the connection is to wait: later while an acknowledgement is awaited, which could else not come."""
        factor = ACK_WAIT_FACTOR if is_awaiting_ack else 1
        limits = self._limits
        return self.is_read and (
            len(self._events) > limits.recv_queue_high * factor or self._n_bytes > limits.recv_queue_high_bytes * factor
        )

    def put(self, event: tuple[Any, ...], n_bytes: int) -> None:
        """Keep an event: its name and its arguments."""
        self._events.append((event, n_bytes))
        self._n_bytes += n_bytes
        if not self.is_read:
            limits = self._limits
            most = limits.recv_queue_high * ACK_WAIT_FACTOR
            while len(self._events) > most or (self._n_bytes > limits.recv_queue_high_bytes and len(self._events) > 1):
                self._n_bytes -= self._events.popleft()[1]
                if not self._has_dropped:
                    self._has_dropped = True
                    logger.warning("events have come that have no handler, and that nobody receives: they are dropped")
        self._wake()

    def take(self) -> tuple[Any, ...] | None:
        """Take out the oldest event, if there is one."""
        self.is_read = True
        if not self._events:
            return None
        event, n_bytes = self._events.popleft()
        self._n_bytes -= n_bytes
        if self._events:
            self._wake()
        return event

    async def wait(self) -> None:
        """Wait until there may be an event, or `end` was called. **Cancellation**: nothing is lost."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake()  # the turn that it was given is the next one's
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def end(self) -> None:
        """Let all who wait look again: nothing more will come."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
