"""Threads for what blocks: handlers of a sync client, lookups of names.

Rule of this module: threads and functions; nothing of a protocol, nothing of an event loop.

Theory of operation. The executors of the standard library have a fixed number of threads and join them before the
interpreter ends. A handler may block for as long as it likes, for example in a `call` that only another handler will
answer, so neither is good here: these threads are made when they are needed, end after a while without work, and are
daemons, which nobody waits for.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

__all__ = ["Threads"]

P = ParamSpec("P")
T = TypeVar("T")

IDLE_SECONDS = 5.0
"""How long a thread waits for more before it ends: a busy client keeps its own, an idle one has none."""

MAX_THREADS = 1024
"""Threads at once; what comes beyond waits for one. So many clients would have to be in a handler at the same time, and
their stacks are 8 GiB of address space by then."""


class Threads(ThreadPoolExecutor):
    """Be an executor whose threads come and go. Thread-safe.

    It is a `ThreadPoolExecutor` by name only, since a loop takes nothing else for its default one: not one method that
    makes or joins threads is inherited.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=1)
        self._changed = threading.Condition(threading.Lock())
        self._jobs: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._n_idle = 0
        self._n_threads = 0

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in a thread."""
        future: Future[T] = Future()
        with self._changed:
            self._jobs.append((future, lambda: function(*args, **kwargs)))
            if self._n_idle >= len(self._jobs):
                self._changed.notify()
            elif self._n_threads < MAX_THREADS:
                threading.Thread(target=self._work, name="telex.sync worker", daemon=True).start()
                self._n_threads += 1
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Do nothing: the threads end by themselves, and none is waited for."""

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    self._n_idle += 1
                    is_called = self._changed.wait(IDLE_SECONDS)
                    self._n_idle -= 1
                    if not is_called and not self._jobs:
                        self._n_threads -= 1
                        return
                future, call = self._jobs.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except (SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration) as error:
                    # None of them means anything to who hears of it: an event loop would end, or never hear at all.
                    told = RuntimeError(f"a function raised {type(error).__name__} in a thread, where it ends nothing")
                    told.__cause__ = error
                    future.set_exception(told)
                except BaseException as error:
                    future.set_exception(error)
            del future, call  # an idle thread keeps nothing alive
