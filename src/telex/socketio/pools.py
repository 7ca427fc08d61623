"""The first step of a coroutine, in a task that is lent for it.

Rule of this module: asyncio's tasks and nothing of Socket.IO. It is the specification of its compiled twin,
`_pools.pyx`; `runners.py` tells what it is for.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task
from asyncio.tasks import _enter_task, _leave_task
from collections import deque
from collections.abc import Coroutine, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from telex.socketio.runners import Runner, Suspended

__all__ = ["Pool", "Stepper"]

if TYPE_CHECKING:
    from telex.socketio.handlers import Customer, Handler, Job


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


class Stepper:
    """Begin the coroutine handlers of one socket: the base of its `Inbox`.

    Attributes:
        is_working: Whether a handler is at work, so that events that come wait.
        is_shut: Whether no further event is begun.
    """

    __slots__ = ("_customer", "_pool", "_queue", "is_shut", "is_working")

    is_working: bool
    is_shut: bool
    _customer: Customer
    _pool: Pool
    _queue: deque[Job]

    @property
    def is_free(self) -> bool:
        """Whether an event would be handled at once."""
        return not (self.is_working or self.is_shut)

    def step(self, handler: Handler, args: Sequence[Any], ack_id: int | None, n_bytes: int) -> None:
        """Begin a coroutine function's call for an event, while `is_free`: most end in this step, and need no `Job`."""
        self.is_working = True  # an event that comes meanwhile waits
        try:
            result = self._pool.step(handler.function(*args))
            if type(result) is Suspended:
                self._suspend(handler, args, ack_id, n_bytes, result)
                return
            if ack_id is not None:
                self._customer.reply(ack_id, result)
        except (Exception, asyncio.CancelledError) as error:
            self._fail(handler, args, error)
        self.is_working = False
        if self._queue:
            self._go_on()

    def _suspend(
        self, handler: Handler, args: Sequence[Any], ack_id: int | None, n_bytes: int, suspended: Suspended
    ) -> None:
        """Have the rest of a call done by its runner: the subclass's."""
        raise NotImplementedError

    def _go_on(self) -> None:
        """Do what waits: the subclass's."""
        raise NotImplementedError

    def _fail(self, handler: Handler, args: Sequence[Any], error: BaseException) -> None:
        """Take note of what a handler raised: the subclass's."""
        raise NotImplementedError
