"""The way from threads into the one event loop that works in the background.

Rule of this module: threads, one loop, and how both end; nothing of a protocol. Whoever calls from a thread is served
by a coroutine on the loop, so there is no second implementation of anything.

Theory of operation. The loop is started with the first use, in a daemon thread, and shared by the whole process. A
thread puts what it wants into a mailbox and rings, unless it has been rung already: so many calls wake the loop once.
Then it waits on a lock, which the coroutine releases when it is done: a call costs two switches between threads, and
what is only posted, one at most.

- **Who waits may be interrupted**: by its timeout, or by Ctrl-C in the main thread. Then the coroutine is cancelled,
  and its end is awaited, so that nothing goes on behind the back of who has given up.
- **On the loop's own thread** a call would wait for itself, so it raises.
- **After a fork** the child has no such thread, and descriptors in common with its parent. It lets them alone, starts
  a loop of its own with the next use, and what was opened before the fork raises there.
- **At the end of the interpreter** what is open is closed politely, within `EXIT_SECONDS`. This happens after all
  threads that are no daemons have ended, as they may still be using it; and nothing there can hang, since the thread
  is a daemon.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from asyncio import CancelledError
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, ParamSpec, TypeVar

from telex.sync.threads import Threads

__all__ = ["Portal", "shared"]

P = ParamSpec("P")
T = TypeVar("T")

EXIT_SECONDS = 2.0
"""How long what is open may take to say goodbye when the interpreter ends. A person waits for the prompt then."""

LAST_WORDS_SECONDS = 0.25
"""How long what is at work then may take to end by itself, and when it is cancelled: a request with a goodbye in it."""

CANCEL_SECONDS = 5.0
"""How long a coroutine that was given up may take to end. None of Telex's needs any; a program's own may."""

MAX_POSTED = 64
"""Things in the mailbox above which the loop is behind: whoever posts had better wait for its turn."""


class Portal:
    """Run coroutines on a loop in a thread of its own. Methods may be called from any thread, unless they say so."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(Threads())
        self._mailbox: deque[Callable[[], object]] = deque()
        self._is_rung = False
        self._is_ending = False
        self._is_lost = False  # in a child of the process whose it is
        self._open: weakref.WeakKeyDictionary[Any, Callable[[Any], Awaitable[object]]] = weakref.WeakKeyDictionary()
        self._thread = threading.Thread(target=self._run, name="telex.sync", daemon=True)
        self._thread.start()

    @property
    def is_behind(self) -> bool:
        """Whether much is waiting for the loop."""
        return len(self._mailbox) >= MAX_POSTED

    def call(self, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a coroutine function on the loop and return what it returns, or raise what it raises.

        **Interruption**: as of `call_within`.
        """
        return self.call_within(None, function, *args, **kwargs)

    def call_within(
        self,
        timeout: float | None,
        function: Callable[P, Coroutine[Any, Any, T]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run a coroutine function on the loop for so many seconds at most.

        **Interruption**, by the timeout or by an exception in the waiting thread, as Ctrl-C raises one: the coroutine
        is cancelled and has ended when this raises. Where it was done all the same, its result is returned; so what
        need not wait needs no time.
        Raises `TimeoutError`; `RuntimeError` on the loop's own thread, at the interpreter's end, and after a fork.
        """
        self.check()
        visit = _Visit(lambda: function(*args, **kwargs))
        try:
            self._put(visit.begin)
            in_time = visit.is_over.acquire(timeout=-1 if timeout is None else max(timeout, 0.0))
        except BaseException:
            self._give_up(visit)
            raise
        if not in_time:
            self._give_up(visit)
            if visit.is_cancelled:
                raise TimeoutError(f"not done within {timeout:g} s")
        return visit.outcome()

    def post(self, function: Callable[[], object]) -> None:
        """Have a plain function called on the loop, soon, in the order of all posts and calls. It must not raise.

        Raises `RuntimeError` as `call_within`.
        """
        self.check()
        self._put(function)

    def check(self) -> None:
        """Raise `RuntimeError` where nobody may wait for the loop."""
        if self._is_lost:
            raise RuntimeError("this was opened before the process forked; the child has to open its own")
        if self._is_ending:
            raise RuntimeError("the interpreter is ending, and with it the background loop of telex.sync")
        if threading.get_ident() == self._thread.ident:
            raise RuntimeError(
                "telex.sync was called on its own event loop's thread, where it would wait for itself for ever; "
                "call it from another thread"
            )

    def keep(self, opened: T, close: Callable[[T], Awaitable[object]]) -> None:
        """Have something closed when the interpreter ends, if it is still there. To be called on the loop."""
        self._open[opened] = close

    def close(self) -> None:
        """Close what is open, and end the loop and its thread. Takes `EXIT_SECONDS` and a little more. Idempotent."""
        if self._is_ending or self._is_lost:
            return
        self._is_ending = True
        self._put(lambda: self._loop.create_task(self._end()))
        self._thread.join(EXIT_SECONDS + 1.0)

    def abandon(self) -> None:
        """Let everything alone: this is a child of the process whose loop it is, and has no such thread."""
        self._is_lost = True

    # Inside

    def _put(self, function: Callable[[], object]) -> None:
        try:
            self._mailbox.append(function)
            if not self._is_rung:  # else the loop has yet to look, and will see this one too
                self._is_rung = True
                self._loop.call_soon_threadsafe(self._empty)
        except BaseException:  # Ctrl-C, perhaps after the flag was set and before the bell was heard
            self._loop.call_soon_threadsafe(self._empty)
            raise

    def _empty(self) -> None:
        self._is_rung = False  # before looking: whoever comes from here on rings again
        for _ in range(len(self._mailbox)):
            function = self._mailbox.popleft()
            try:
                function()
            except Exception as error:
                self._loop.call_exception_handler({"message": "what was posted failed", "exception": error})

    def _give_up(self, visit: _Visit[Any]) -> None:
        self._put(visit.give_up)
        visit.is_over.acquire(timeout=CANCEL_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _end(self) -> None:
        me = asyncio.current_task()
        closing = [asyncio.ensure_future(_as_coroutine(close(opened))) for opened, close in list(self._open.items())]
        if closing:
            await asyncio.wait(closing, timeout=EXIT_SECONDS)
        others = [task for task in asyncio.all_tasks() if task is not me]
        if others:  # the last words of what was closed, perhaps a moment ago
            await asyncio.wait(others, timeout=LAST_WORDS_SECONDS)
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=LAST_WORDS_SECONDS)
        for task in closing:
            if task.done() and not task.cancelled():
                task.exception()  # nobody wants to know: it is over
        self._loop.call_soon(self._loop.stop)


async def _as_coroutine(awaitable: Awaitable[object]) -> None:
    await awaitable


class _Visit(Generic[T]):
    """Be one coroutine on the loop, for one thread that waits. Its methods are for the loop, unless they say so."""

    __slots__ = ("_error", "_has_begun", "_is_given_up", "_make", "_result", "_task", "is_over")

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._make = make
        self._task: asyncio.Task[None] | None = None
        self._has_begun = False
        self._is_given_up = False
        self._error: BaseException | None = None
        self._result: T
        self.is_over = threading.Lock()
        self.is_over.acquire()

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def give_up(self) -> None:
        """Cancel it where it waits. One that has not begun begins yet: with no time at all there may be a message."""
        self._is_given_up = True
        if self._has_begun and self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        self._has_begun = True
        try:
            if self._is_given_up and self._task is not None:
                self._task.cancel()  # takes effect where it would wait
            self._result = await self._make()
        except BaseException as error:
            self._error = error
        finally:
            self.is_over.release()

    # For the thread.

    @property
    def is_cancelled(self) -> bool:
        """Whether it was cancelled, or does not end."""
        return isinstance(self._error, CancelledError) or (self._error is None and not hasattr(self, "_result"))

    def outcome(self) -> T:
        """Return or raise what came of it."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # which refers to this frame
        return self._result


_shared: Portal | None = None
_choosing = threading.Lock()
_abandoned: list[Portal] = []  # never to be collected: they would close descriptors that a parent still watches


def shared() -> Portal:
    """Return the portal of this process, started with the first call. Thread-safe.

    Raises `RuntimeError` when the interpreter is ending.
    """
    global _shared  # noqa: PLW0603  # one per process is the point
    portal = _shared
    if portal is None:
        with _choosing:
            portal = _shared
            if portal is None:
                portal = _shared = Portal()
                atexit.register(portal.close)
    portal.check()
    return portal


def _forked() -> None:
    global _shared, _choosing  # noqa: PLW0603
    _choosing = threading.Lock()  # another thread may have held it
    if _shared is not None:
        _shared.abandon()
        _abandoned.append(_shared)
        _shared = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
