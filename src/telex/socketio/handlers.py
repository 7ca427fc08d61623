"""Event handlers: what they may look like, and running one socket's in order.

Rule of this module: handlers are found in tables that the program filled, never by a name from the wire.

Theory of operation. A plain function is called at once, and so is a coroutine function: it gets a task only when it
suspends (see `runners.py`). What comes meanwhile waits in the socket's queue, which that task then works off, so a
socket's events are handled in order, and an idle socket has neither task nor queue. A queue that grows stops the
reading of its connection; more is read while a handler awaits an acknowledgement of that client, which could otherwise
never come.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec

from telex.limits import Limits
from telex.socketio.rates import RateLimit
from telex.socketio.runners import Suspended
from telex.socketio.starting import Stepper, pool_of, start
from telex.streams.deadlines import deadlines_of

__all__ = ["Customer", "Handler", "Inbox", "Job", "call", "fail", "is_being_cancelled", "make_handler"]

logger = logging.getLogger("telex.socketio")

ACK_WAIT_FACTOR = 16
"""How many times `recv_queue_high` may wait while the socket's handler awaits an acknowledgement."""

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Handler:
    """Hold a handler and what its signature says.

    `n_min` and `n_max` bound the event's arguments; `n_max` is `None` for `*args`. What is more is cut.
    `takes_socket` tells that the socket comes before them: a server's handlers get it, a client's do not.
    `is_stream` tells that it is an async generator function: see `streaming`.
    `given` is what the program registered, where `function` wraps it; `is_once` and `rate_limit` are as in `on`.
    """

    function: Callable[..., Any]
    name: str
    n_min: int
    n_max: int | None
    is_async: bool
    is_concurrent: bool = False
    given: Callable[..., Any] | None = None
    is_once: bool = False
    rate_limit: RateLimit | None = None
    is_stream: bool = False
    takes_socket: bool = True

    @property
    def registered(self) -> Callable[..., Any]:
        """What the program registered."""
        return self.function if self.given is None else self.given

    def arguments(self, socket: Any, args: Sequence[Any]) -> tuple[Any, ...]:
        """Return what the function is called with for such arguments of an event; nothing is cut."""
        return (socket, *args) if self.takes_socket else tuple(args)


def make_handler(
    function: Callable[..., Any],
    name: str,
    *,
    n_given: int | None = None,
    concurrent: bool = False,
    thread: bool = False,
    once: bool = False,
    rate_limit: RateLimit | None = None,
    takes_socket: bool = True,
) -> Handler:
    """Check a handler's signature and wrap it.

    Args: `n_given` is the number of arguments that the library itself will give, after the socket where
    `takes_socket` says that there is one; the function may take fewer.
    Raises `TypeError` when the function cannot be called with a socket that it is to get, or needs what it will not
    get, and for a generator that nobody would hear. A builtin that tells nobody its signature is taken at its word.
    """
    if not callable(function):
        raise TypeError(f"the handler for {name!r} must be callable, not {type(function).__name__}")
    parameters = read_parameters(function)
    required_keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if required_keywords:
        raise TypeError(f"the handler for {name!r} has keyword-only parameters: {', '.join(required_keywords)}")
    positional = [p for p in parameters if p.kind in POSITIONAL]
    takes_rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if takes_socket and not positional and not takes_rest:
        raise TypeError(f"the handler for {name!r} must take the socket as its first argument")
    n_min = max(sum(p.default is p.empty for p in positional) - takes_socket, 0)
    n_max = None if takes_rest else len(positional) - takes_socket
    if n_given is not None and n_min > n_given:
        where = " after the socket" if takes_socket else ""
        raise TypeError(f"the handler for {name!r} takes {n_min} arguments{where}, but gets {n_given}")
    if is_kind(function, inspect.isgeneratorfunction):
        raise TypeError(f"the handler for {name!r} is a plain generator: `async def` makes it a stream of events")
    if is_kind(function, inspect.isasyncgenfunction):
        if n_given is not None:
            raise TypeError(f"the handler for {name!r} cannot be a generator: nobody asks for its items")
        if not takes_socket:
            raise TypeError(f"the handler for {name!r} is an async generator: only a server's clients ask for a stream")
        if thread or concurrent:
            raise TypeError(f"the handler for {name!r} is an async generator, which runs beside others by itself")
        # It is no usual event's handler, and goes the long way.
        return Handler(function, name, n_min, n_max, True, True, None, once, rate_limit, is_stream=True)
    is_async = is_coroutine_function(function)
    given = None
    if thread:
        if is_async:
            raise TypeError(f"the handler for {name!r} is a coroutine function: thread=True is for those that block")
        given, function, is_async = function, in_thread(function), True
    return Handler(
        function, name, n_min, n_max, is_async, concurrent, given, once, rate_limit, takes_socket=takes_socket
    )


def read_parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of anything callable."""
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:
        return [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)]


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether it is known before a call that its result must be awaited."""
    return is_kind(function, inspect.iscoroutinefunction)


def is_kind(function: Callable[..., Any], test: Callable[[Any], bool]) -> bool:
    """Whether a test holds for a function, or for the `__call__` of another object."""
    return test(function) or test(type(function).__call__)


def in_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a blocking function a coroutine function that runs it in a thread."""

    async def run(*args: Any) -> Any:
        return await asyncio.to_thread(function, *args)

    return run


class Job(msgspec.Struct):
    """Hold one call to be made.

    `reply` takes what the handler returned, `n_bytes` is what its arguments weigh, `is_event` whether the client asked
    for the call, and `refuse` is called where the handler raises `ConnectionRefusedError`.
    """

    handler: Handler
    args: Sequence[Any]
    reply: Callable[[Any], None] | None = None
    n_bytes: int = 0
    is_event: bool = False
    refuse: Callable[[], None] | None = None


class Customer(Protocol):
    """Be the socket whose handlers an inbox runs."""

    @property
    def is_awaiting_ack(self) -> bool:
        """Whether its client owes an acknowledgement."""
        ...

    def regulate(self, is_full: bool) -> None:
        """Stop reading the connection, or go on."""

    def reply(self, ack_id: int, result: Any) -> None:
        """Acknowledge an event."""


class Inbox(Stepper):
    """Run the handlers of one socket, in order."""

    __slots__ = (
        "_done",
        "_held",
        "_limits",
        "_n_concurrent",
        "_queued_bytes",
        "is_paused",
        "worker",
    )

    def __init__(self, limits: Limits, customer: Customer) -> None:
        self._limits = limits
        self._customer = customer
        self._done: asyncio.Future[None] | None = None  # while somebody waits for the end of all work
        self._held: asyncio.Future[None] | None = None  # while everything is held up
        self._pool = pool_of(asyncio.get_running_loop())
        self._queue = deque()
        self._queued_bytes = 0
        self.is_working = False
        self.is_paused = False  # the reading of its connection
        self.is_shut = False
        self._n_concurrent = 0
        self.worker: asyncio.Task[None] | None = None  # the task that is at work

    def __len__(self) -> int:
        return len(self._queue)

    def shut(self) -> None:
        """Begin no further event: the server has sent the client off, and does nothing more for it."""
        self.is_shut = True

    def submit(self, job: Job) -> None:
        """Make a call now, or as soon as those before it have ended."""
        if self._starts_beside(job):
            return
        if self.is_working:
            self._queue.append(job)
            self._queued_bytes += job.n_bytes
            self.regulate()
        else:
            self.is_working = True  # what it submits comes after it
            rest = self._begin(job)
            self._go_on(None if rest is None else finish(job, rest))

    async def run(self, job: Job) -> None:
        """Make a call as a part of the one that is being made."""
        if not self._starts_beside(job):
            await finish(job, self._begin(job))

    async def hold(self, seconds: float) -> None:
        """Hold up the call that is being made, and with it all others, for so long or until `hurry`.

        Meanwhile the connection is not read, unless an acknowledgement is awaited that could else not come.
        """
        loop = asyncio.get_running_loop()
        self._held = loop.create_future()
        alarm = deadlines_of(loop).at(loop.time() + seconds, self.hurry)
        self.regulate()
        try:
            await self._held
        finally:
            alarm.cancel()
            self._held = None
            self.regulate()

    def hurry(self) -> None:
        """Hold nothing up any longer."""
        if self._held is not None and not self._held.done():
            self._held.set_result(None)

    def _starts_beside(self, job: Job) -> bool:
        """Start a call beside the others, if its handler wants that and may."""
        if not job.handler.is_concurrent or self._n_concurrent >= self._limits.max_inflight_handlers:
            return False
        self._n_concurrent += 1
        start(self._run_beside(job))
        return True

    def _go_on(self, rest: Coroutine[Any, Any, None] | None = None) -> None:
        """Do the rest of a job, then what waits, if there is anything of either."""
        self.is_working = rest is not None or bool(self._queue)
        if self.is_working:
            self.worker = start(self._work(rest))

    def _suspend(
        self, handler: Handler, args: Sequence[Any], ack_id: int | None, n_bytes: int, suspended: Suspended
    ) -> None:
        reply = None if ack_id is None else partial(self._customer.reply, ack_id)
        self.worker = suspended.runner.task
        suspended.runner.resume(self._work(finish(Job(handler, args, reply, n_bytes), suspended)))

    def _fail(self, handler: Handler, args: Sequence[Any], error: BaseException) -> None:
        fail(Job(handler, args), error)

    def regulate(self) -> None:
        """Pause or resume the reading of the connection, as the queue and awaited acknowledgements demand."""
        limits = self._limits
        n_high, high_bytes = limits.recv_queue_high, limits.recv_queue_high_bytes
        is_held = self._held is not None
        if self._customer.is_awaiting_ack:
            n_high, high_bytes, is_held = n_high * ACK_WAIT_FACTOR, high_bytes * ACK_WAIT_FACTOR, False
        is_full = is_held or len(self._queue) > n_high or self._queued_bytes > high_bytes
        if is_full is not self.is_paused:
            self.is_paused = is_full
            self._customer.regulate(is_full)

    def _begin(self, job: Job) -> Awaitable[Any] | None:
        return None if self.is_shut and job.is_event else begin(job)

    async def _work(self, first: Coroutine[Any, Any, None] | None) -> None:
        try:
            if first is not None:
                await first
            while self._queue:
                job = self._queue.popleft()
                self._queued_bytes -= job.n_bytes
                self.regulate()
                await finish(job, self._begin(job))
        except asyncio.CancelledError:
            self.worker = None
            self._go_on()  # whoever cancelled one handler did not mean the events behind it
            if not self.is_working:
                self._tell_done()
            raise
        self.is_working = False
        self.worker = None
        self._tell_done()

    def done(self) -> asyncio.Future[None] | None:
        """Return what is done when nothing runs or waits any more; None where that is so."""
        if not self.is_working:
            return None
        if self._done is None:
            self._done = asyncio.get_running_loop().create_future()
        return self._done

    def _tell_done(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)
        self._done = None

    async def _run_beside(self, job: Job) -> None:
        try:
            await finish(job, self._begin(job))
        finally:
            self._n_concurrent -= 1


def call(job: Job) -> None:
    """Make a call that nothing waits for: now, and in a task of its own as far as the handler must be awaited."""
    rest = begin(job)
    if rest is not None:
        start(finish(job, rest))


def begin(job: Job) -> Awaitable[Any] | None:
    """Call a handler, which is all that a plain function needs; return what must be awaited yet, for `finish`.

    What the handler raises is logged and ends nothing but itself.
    """
    try:
        result = job.handler.function(*job.args)
        if inspect.isawaitable(result):
            return result
        if job.reply is not None:
            job.reply(result)
    except (Exception, asyncio.CancelledError) as error:
        fail(job, error)
    return None


async def finish(job: Job, rest: Awaitable[Any] | None) -> None:
    """Do what `begin` left to do. **Cancellation**: ends the handler, no acknowledgement is sent."""
    if rest is None:
        return
    try:
        result = await rest
        if job.reply is not None:
            job.reply(result)
    except asyncio.CancelledError:
        if is_being_cancelled():
            raise
        logger.warning("the handler for %r cancelled itself", job.handler.name)
    except Exception as error:
        fail(job, error)


def fail(job: Job, error: BaseException) -> None:
    """Log what a handler raised, unless it is a refusal that the caller asked to hear of."""
    if job.refuse is not None and isinstance(error, ConnectionRefusedError):
        job.refuse()
    else:
        logger.error("the handler for %r failed", job.handler.name, exc_info=error)


def is_being_cancelled() -> bool:
    """Whether it is this task that was cancelled, and not something it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
