"""A program's functions that block, as the event loop sees them.

Rule of this module: one function, a thread for each of its calls; which of them are called, and when, is the client's.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from telex.socketio.handlers import is_coroutine_function

__all__ = ["InThread", "function_of"]

_at_work_for: ContextVar[object] = ContextVar("the client that a thread is at work for", default=None)


class InThread:
    """Be a coroutine function that calls a function in a thread. It equals that function, so that it can be found.

    Args: `what` names what it is for; `owner` the client that it is at work for; `turn`, where there is one, lets one
    of several be called at a time, in order.
    Raises `TypeError` for what is no plain function: in a thread there is no loop to run anything else.
    """

    __slots__ = ("__wrapped__", "_owner", "_turn")

    def __init__(
        self, function: Callable[..., Any], what: str, owner: object, turn: asyncio.Lock | None = None
    ) -> None:
        if not callable(function):
            raise TypeError(f"what is called for {what} must be callable, not {type(function).__name__}")
        if is_coroutine_function(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"the function for {what} is a coroutine function: telex.sync calls plain functions, in a thread, "
                "where they may block; for coroutines there is telex.Client"
            )
        if inspect.isgeneratorfunction(function):
            raise TypeError(f"the function for {what} is a generator, of which nobody would take the items")
        self.__wrapped__ = function  # its signature is what is looked at
        self._owner = owner
        self._turn = turn

    def __eq__(self, other: object) -> bool:
        return bool(self.__wrapped__ == function_of(other))

    def __hash__(self) -> int:
        return hash(self.__wrapped__)

    async def __call__(self, *args: Any) -> Any:
        if self._turn is None:
            return await asyncio.to_thread(self._run, args)
        async with self._turn:
            return await asyncio.to_thread(self._run, args)

    def _run(self, args: tuple[Any, ...]) -> Any:
        _at_work_for.set(self._owner)  # in the context of this call alone
        return self.__wrapped__(*args)

    @staticmethod
    def is_at_work_for(owner: object) -> bool:
        """Whether the calling thread runs a function for this client."""
        return _at_work_for.get() is owner


def function_of(registered: Any) -> Any:
    """Return the program's own function."""
    return registered.__wrapped__ if isinstance(registered, InThread) else registered
