"""Begin coroutines at once (see `runners.py`).

Rule of this module: one pool for each event loop, the compiled one where there is one.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from telex.native import load
from telex.socketio import pools
from telex.socketio.runners import Suspended

if TYPE_CHECKING:
    from telex.socketio.pools import Pool, Stepper
else:
    twin = load("pools") or pools
    Pool, Stepper = twin.Pool, twin.Stepper

__all__ = ["Pool", "Stepper", "pool_of", "start"]

_pools: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pool] = weakref.WeakKeyDictionary()


def pool_of(loop: asyncio.AbstractEventLoop) -> Pool:
    """Return the one pool of an event loop."""
    pool = _pools.get(loop)
    if pool is None:
        pool = _pools[loop] = Pool()
    return pool


def start(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
    """Run a coroutine that returns nothing; return the task that goes on with it, None if it has ended.

    Raises what the coroutine raises before it suspends; what it raises afterwards is its task's.
    """
    suspended = pool_of(asyncio.get_running_loop()).step(coroutine)
    if not isinstance(suspended, Suspended):
        return None
    suspended.runner.resume(_finish(suspended))
    task: asyncio.Task[None] = suspended.runner.task
    return task


async def _finish(suspended: Suspended) -> None:
    await suspended
