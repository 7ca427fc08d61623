"""The first step of a coroutine, in a task that is lent for it.

Rule of this module: asyncio's tasks and nothing of Socket.IO. It is the specification of its compiled twin,
`_pools.pyx`; `runners.py` tells what it is for.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

from telex.socketio.runners import Runner, Suspended

__all__ = ["Pool"]


class Pool:
    """Lend the runners of one event loop. Made by `starting.pool_of`."""

    __slots__ = ("parked",)

    def __init__(self) -> None:
        self.parked: list[Runner] = []

    def step(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end or to its first suspension: return its result, or what is `Suspended`.

        Raises what the coroutine raises. **Next**: whoever gets a `Suspended` has its runner `resume` a coroutine that
        awaits it.
        """
        loop = asyncio.get_running_loop()
        runner = self.parked.pop() if self.parked else Runner(loop, self.parked)
        task, context = runner.task, copy_context()
        interrupted = current_task(loop)
        if interrupted is not None:  # whose turn it is again afterwards
            _leave_task(loop, interrupted)
        _enter_task(loop, task)
        try:
            yielded = context.run(coroutine.send, None)
        except StopIteration as stop:
            result = stop.value
        except BaseException:
            if not task.cancelling():
                self.parked.append(runner)
            raise
        else:
            return Suspended(runner, coroutine, yielded, context)
        finally:
            _leave_task(loop, task)
            if interrupted is not None:
                _enter_task(loop, interrupted)
        if not task.cancelling():  # else it ends when it wakes
            self.parked.append(runner)
        return result
