"""What a task waits for, and may have left when it comes true.

Rule of this module: futures, and nothing of the protocol.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["promise"]


def promise() -> asyncio.Future[Any]:
    """Return a future whose exception is no news when nobody waits any more: who waited was cancelled."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.add_done_callback(_look)
    return future


def _look(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
