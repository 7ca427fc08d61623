"""What is awaited: things that have been done already, and whose end a task may want to wait for.

Rule of this module: futures and generators; nothing of the protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from telex.websocket.fastpath import Acted

if TYPE_CHECKING:
    from telex.websocket.api import Connection

__all__ = ["DONE", "Acted", "Pong", "Waiters"]


class Waiters:
    """Let tasks wait for the same thing. **Cancellation**: a waiter that is cancelled leaves nothing behind."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: set[asyncio.Future[None]] = set()

    async def wait(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._futures.add(future)
        try:
            await future
        finally:
            self._futures.discard(future)

    def wake(self) -> None:
        for future in self._futures:
            if not future.done():
                future.set_result(None)


DONE = Acted(None)
"""What a call returns after which there is nothing to wait for."""


class Pong:
    """Be the answer to a ping: awaiting it gives the round-trip time in seconds, or raises `ConnectionClosed`."""

    __slots__ = ("_connection", "_future")

    def __init__(self, connection: Connection, future: asyncio.Future[float | None]) -> None:
        self._connection = connection
        self._future = future

    def __await__(self) -> Generator[Any, None, float]:
        latency = yield from asyncio.shield(self._future).__await__()
        if latency is None:
            raise self._connection.closed_error()
        return latency
