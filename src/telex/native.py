"""Which parts of Telex run compiled.

Rule of this module: it imports nothing of Telex. `load` is the one place that decides between a compiled module and its
pure Python twin: the twin is taken where `TELEX_PURE=1` is in the environment when Telex is imported, and where the
compiled one was not built or is not for this platform.
"""

from __future__ import annotations

import contextlib
import os
from asyncio import tasks
from importlib import import_module
from typing import Any

__all__ = ["active", "current_tasks", "describe", "load"]

COMPILED = {
    "frames": "telex.websocket._frames",
    "handover": "telex.websocket._handover",
    "epoll": "telex.streams._epoll",
    "messages": "telex.engineio._messages",
    "events": "telex.socketio._events",
    "pools": "telex.socketio._pools",
}
"""The compiled modules, by the names under which `active` tells of them."""

_is_pure = os.environ.get("TELEX_PURE", "") not in ("", "0")
_loaded: dict[str, Any] = {}


def load(name: str) -> Any:
    """Return the compiled module of this short name, or None where its twin is to be used."""
    if name not in _loaded:
        found = None
        if not _is_pure:
            with contextlib.suppress(ImportError):  # not built, or not for this platform
                found = import_module(COMPILED[name])
        _loaded[name] = found
    return _loaded[name]


def active() -> tuple[str, ...]:
    """Return the compiled modules in use.

    "frames" is WebSocket's codec, "handover" steps the coroutine that waits for a message, "epoll" is the stream loop,
    "messages" and "events" are what every message runs through in Engine.IO and in Socket.IO, "pools" begins coroutine
    handlers.
    """
    return tuple(name for name in COMPILED if load(name) is not None)


def describe() -> str:
    """Say in a few words what runs compiled, for a banner or a report of a bug."""
    names = active()
    if len(names) == len(COMPILED):
        return "native"
    if names:
        return f"native but for {' and '.join(name for name in COMPILED if name not in names)}"
    return "pure Python (TELEX_PURE)" if _is_pure else "pure Python"


def current_tasks() -> dict[Any, Any] | None:
    """Return the table of the current task of each event loop, which `asyncio.current_task` reads; None if hidden.

    To read and write it as asyncio does spares compiled modules a call for each of these. CPython 3.14 keeps it
    elsewhere, so it is tried whether what asyncio writes is found there.
    """
    table: dict[Any, Any] | None = getattr(tasks, "_current_tasks", None)
    loop: Any = object()
    task: Any = object()
    if not isinstance(table, dict):
        return None
    try:
        tasks._enter_task(loop, task)
    except Exception:
        return None
    is_read = table.get(loop) is task
    tasks._leave_task(loop, task)
    return table if is_read and loop not in table else None
