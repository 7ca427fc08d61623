"""Run a coroutine at once, and give it a task only if it suspends.

Rule of this module: asyncio's tasks and nothing of Socket.IO.

Theory of operation. Most handlers that are coroutines never suspend, and a task for each would cost more than the
handler. So a coroutine is stepped on the spot, as the current step of a *runner*: a task that is parked and was lent
for this. `asyncio.current_task` is the runner, so `asyncio.timeout`, task groups and cancellation see a task as they
must. A coroutine that ends in that step gives the runner back untouched. One that suspends keeps it: the runner wakes,
takes over what the coroutine has yielded, and drives it from there like any task. Each coroutine has a context of its
own (`contextvars`), as in a task of its own. The first step itself is `pools.py`'s.

A runner that is parked is in nobody's way: `asyncio.all_tasks` does not know it, and it may go with its loop.

`_enter_task`, `_leave_task`, `_register_task` and `_unregister_task` are what asyncio documents for those who write
tasks of their own ("Extending").
"""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from asyncio.tasks import _register_task, _unregister_task
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, cast

__all__ = ["Runner", "Suspended", "go_on"]

MAX_PARKED = 64
"""Runners kept for the next coroutine; more only where so many suspend at once."""


class Runner:
    """Be a task that waits to be lent."""

    __slots__ = ("_parked", "_pool", "_work", "task")

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: list[Runner]) -> None:
        self._pool = pool
        self._parked: asyncio.Future[None] | None = None
        self._work: Coroutine[Any, Any, None] | None = None
        task: Any = loop.create_task(cast("Coroutine[Any, Any, None]", _UnderWay(self._live())))
        task._log_destroy_pending = False
        _unregister_task(task)
        self.task: asyncio.Task[Any] = task

    def resume(self, work: Coroutine[Any, Any, None]) -> None:
        """Wake, and do this work; then park again."""
        self._work = work
        _active.add(self)
        _register_task(self.task)
        if self._parked is not None and not self._parked.done():
            self._parked.set_result(None)

    async def _live(self) -> None:
        while True:
            if self._work is None:
                self._parked = asyncio.get_running_loop().create_future()
                try:
                    await self._parked
                except CancelledError:
                    if self._work is None:  # the loop is ending
                        raise
                    # Meant for the coroutine, which is about to be taken over: it hears of it when it is driven.
                    self.task.uncancel()
                    self.task.cancel()
                self._parked = None
            work, self._work = self._work, None
            if work is not None:
                try:
                    await work
                finally:
                    _active.discard(self)
            if self.task.cancelling() or len(self._pool) >= MAX_PARKED:
                return  # a task that was once cancelled is not lent again
            _unregister_task(self.task)
            self._pool.append(self)


class _UnderWay:
    """Be a coroutine that has begun: a task that is cancelled before its first step would never begin its own."""

    __slots__ = ("_coroutine", "_yielded", "send", "throw")

    send: Callable[[Any], Any]
    throw: Callable[..., Any]

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._yielded: Any = coroutine.send(None)  # the future that it waits for
        self.throw = coroutine.throw
        self.send = self._begin

    def _begin(self, value: None) -> Any:
        """Be the task's first step; those after it go straight to the coroutine."""
        self.send = self._coroutine.send
        yielded, self._yielded = self._yielded, None
        return self.send(value) if yielded.done() else yielded

    def close(self) -> None:
        """End it (see `Coroutine`)."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._coroutine.__await__()


class Suspended:
    """Be a coroutine after its first step: awaiting this in the runner's task goes on with it."""

    __slots__ = ("_context", "_coroutine", "_yielded", "runner")

    def __init__(self, runner: Runner, coroutine: Coroutine[Any, Any, Any], yielded: Any, context: Context) -> None:
        self.runner = runner
        self._coroutine = coroutine
        self._yielded = yielded
        self._context = context
        # A future that was yielded lets nobody else await it before a task has taken it, which may be a turn later.
        if getattr(yielded, "_asyncio_future_blocking", False):
            yielded._asyncio_future_blocking = False

    def __await__(self) -> Generator[Any, Any, Any]:
        run, coroutine = self._context.run, self._coroutine
        return go_on(self._yielded, lambda value: run(coroutine.send, value), lambda error: run(coroutine.throw, error))


def go_on(yielded: Any, send: Callable[[Any], Any], throw: Callable[[BaseException], Any]) -> Generator[Any, Any, Any]:
    """Go on with a coroutine that has been stepped from outside and has yielded: what `__await__` is to return."""
    value: Any = None
    if getattr(yielded, "_asyncio_future_blocking", None) is False:  # it was let go meanwhile (see `Suspended`)
        yielded._asyncio_future_blocking = True
    while True:
        thrown: BaseException | None = None
        try:
            value = yield yielded
        except BaseException as error:
            thrown = error
        try:
            yielded = send(value) if thrown is None else throw(thrown)
        except StopIteration as stop:
            return stop.value


_active: set[Runner] = set()  # those at work: a task that only the loop knows may be collected while it runs
