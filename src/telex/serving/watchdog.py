"""Who holds the event loop: a warning that names the handler.

Rule of this module: it looks and tells, and touches nothing of what it watches.

Theory of operation. A plain function, or a step of a coroutine, that takes long makes every client wait, and nothing
shows which it was. So a thread looks at the stack of the loop's thread twice within the time that is allowed. Mostly
the loop waits for something to do, or is at work of its own. Where a function of the program runs, the thread notes the
outermost one, behind the loop's own frames and ours, and asks the loop for a sign: a callback that comes in its next
turn. The same call seen again and again, with no sign between, has held the loop for at least as long as from the first
look to the last. So nobody is blamed wrongly, not even a handler of which many short calls fill a turn, or one that is
resumed again and again; and one that takes three times as long as allowed is named for certain. The line comes when
the call is over, and tells how long it took.

Handlers and idle loops pay nothing for this: twenty times in a second, where 0.1 s are allowed, the thread wakes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import os
import selectors
import sys
import threading
import time
import weakref
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

from telex.logs import SparingLog

if TYPE_CHECKING:
    from telex.socketio import Server

__all__ = ["Watchdog", "watch"]

logger = logging.getLogger("telex.serving")

LOOKS = 2
"""How often the thread looks within the time that is allowed."""

MIN_PERIOD = 0.005
"""Seconds between two looks at least: a thread that always looks would be what holds the loop."""

LONG = 5.0
"""Seconds after which a call that goes on is named before it ends: it may never."""

ASYNCIO = os.path.dirname(asyncio.__file__) + os.sep  # strings, which is what code objects hold

OWN = (os.path.dirname(os.path.dirname(__file__)) + os.sep, ASYNCIO, selectors.__file__)
"""Where frames are never the program's."""

OTHERS = ("uvicorn", "starlette", "fastapi")
"""Packages that call the program: a frame of theirs is passed over while there is one of the program's behind it."""


@dataclass(slots=True)
class _Suspect:
    """Hold a call that was seen to hold the loop: `since` and `last` are the first and the last look."""

    frame: FrameType
    where: str
    since: float
    last: float
    is_told: bool = False
    is_over: bool = False  # the loop has given its sign

    def end(self) -> None:
        """Hear from the loop that its turn is over."""
        self.is_over = True


class Watchdog:
    """Watch over one event loop. **Next**: `start`; it ends with the loop.

    Args: `servers` are those whose handlers it can name.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, allowed: float, servers: Collection[Server]) -> None:
        self.allowed = allowed
        self._loop = weakref.ref(loop)
        self._thread_id = threading.get_ident()
        self._servers = servers
        self._log = SparingLog(logger)

    @property
    def period(self) -> float:
        """Seconds from one look to the next."""
        return max(self.allowed / LOOKS, MIN_PERIOD)

    def start(self) -> None:
        """Begin. To be called on the loop."""
        threading.Thread(target=self._look_on, name="telex-watchdog", daemon=True).start()

    def _look_on(self) -> None:
        suspect: _Suspect | None = None
        while True:
            time.sleep(self.period)
            loop = self._loop()
            if loop is None or loop.is_closed():
                return
            suspect = self._look(loop, suspect, time.monotonic())
            del loop

    def _look(self, loop: asyncio.AbstractEventLoop, suspect: _Suspect | None, now: float) -> _Suspect | None:
        """Look once, with what was seen before; return what is seen now."""
        frame = outermost(frames_of(sys._current_frames().get(self._thread_id)))
        if suspect is not None and frame is suspect.frame and not suspect.is_over:
            suspect.last = now
            if now - suspect.since > LONG and not suspect.is_told:
                suspect.is_told = True
                self._tell(suspect, "has held the event loop for %.0f s and goes on: ", now)
            return suspect
        if suspect is not None and suspect.last - suspect.since >= self.allowed:
            self._tell(suspect, "held the event loop for %.2f s or more, while all clients waited: ", now)
        if frame is None:
            return None
        suspect = _Suspect(frame, place_of(frame), now, now)
        with contextlib.suppress(RuntimeError):  # closed just now
            loop.call_soon_threadsafe(suspect.end)
        return suspect

    def _tell(self, suspect: _Suspect, what: str, now: float) -> None:
        name = name_of(suspect.frame.f_code, self._servers)
        text = f"%s (%s) {what}let it await what it waits for, or register it with thread=True"
        self._log.log(logging.WARNING, suspect.where, now, text, name, suspect.where, suspect.last - suspect.since)


def frames_of(innermost: FrameType | None) -> list[FrameType]:
    """Return a stack from the outside in."""
    found = []
    while innermost is not None:
        found.append(innermost)
        innermost = innermost.f_back
    return found[::-1]


def outermost(stack: list[FrameType]) -> FrameType | None:
    """Return the program's outermost call behind the loop's own frames."""
    last = max((at for at, frame in enumerate(stack) if is_loop(frame.f_code)), default=None)
    if last is None:
        return None
    program = [frame for frame in stack[last + 1 :] if not frame.f_code.co_filename.startswith(OWN)]
    named = [frame for frame in program if package_of(frame) not in OTHERS]
    return next(iter(named or program), None)


def is_loop(code: CodeType) -> bool:
    """Whether it is a function of asyncio's that runs the loop, or a callback of it."""
    return code.co_filename.startswith(ASYNCIO) and code.co_name in ("run", "run_until_complete", "run_forever", "_run")


def package_of(frame: FrameType) -> str:
    """Return the package that a call belongs to."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def place_of(frame: FrameType) -> str:
    """Say where a function is."""
    code = frame.f_code
    return f"{code.co_qualname}, {os.path.basename(code.co_filename)}:{code.co_firstlineno}"


def name_of(code: CodeType, servers: Iterable[Server]) -> str:
    """Name a function as the program registered it, or else as its code does."""
    with contextlib.suppress(RuntimeError):  # the tables may change under our eyes
        for what, function in registered(servers):
            if code in codes_of(function):
                return what
    return "a function"


def registered(servers: Iterable[Server]) -> Iterator[tuple[str, Any]]:
    """Yield what programs have registered, by the names that they know it by."""
    for server in servers:
        for namespace in list(server.namespaces.values()):
            where = "" if namespace.name == "/" else f" of {namespace.name}"
            own = [socket.listeners for socket in list(namespace.sockets.values()) if socket.listeners is not None]
            for listeners in (namespace.listeners, *own):
                for handler in (*listeners.handlers.values(), *listeners.particular.values()):
                    yield f"the handler for {handler.name!r}{where}", handler.registered
                for handler in (*listeners.catch_alls, *listeners.outgoing):
                    yield f"a catch-all handler{where}", handler.registered
                for event_middleware in list(listeners.event_middlewares):
                    yield f"a middleware of events{where}", event_middleware
            for middleware in list(namespace.middlewares):
                yield f"a middleware{where}", middleware
            for event, function in list(namespace.server_side_handlers.items()):
                yield f"the server-side handler for {event!r}{where}", function


def codes_of(function: Any) -> set[CodeType]:
    """Return the code of a function, be it wrapped, partial, a method or an object that can be called."""
    found: set[CodeType] = set()
    for each in (function, inspect.unwrap(function)):
        while isinstance(each, functools.partial):
            each = each.func  # noqa: PLW2901  # peeled
        code = getattr(each, "__code__", None) or getattr(type(each).__call__, "__code__", None)
        if code is not None:
            found.add(code)
    return found


_watchdogs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Watchdog] = weakref.WeakKeyDictionary()


def watch(allowed: float, servers: Collection[Server]) -> None:
    """See that the running event loop has a watchdog; the strictest of several settings counts."""
    loop = asyncio.get_running_loop()
    watchdog = _watchdogs.get(loop)
    if watchdog is None:
        watchdog = _watchdogs[loop] = Watchdog(loop, allowed, servers)
        watchdog.start()
    watchdog.allowed = min(watchdog.allowed, allowed)
