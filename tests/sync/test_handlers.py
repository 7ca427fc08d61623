"""Functions that block, as the event loop sees them."""

from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import pytest

from telex.sync.handlers import InThread, function_of


def plain(a: int, b: int = 2) -> tuple[int, int, int]:
    return a, b, threading.get_ident()


def test_a_function_is_called_in_a_thread() -> None:
    a, b, ident = asyncio.run(InThread(plain, "a test", None)(1))
    assert (a, b) == (1, 2)
    assert ident != threading.get_ident()


def test_it_looks_like_the_function() -> None:
    wrapped = InThread(plain, "a test", None)
    assert inspect.signature(wrapped) == inspect.signature(plain)
    assert wrapped == plain
    assert wrapped == InThread(plain, "another", None)
    assert wrapped != len
    assert hash(wrapped) == hash(plain)
    assert function_of(wrapped) is function_of(plain) is plain


def test_one_after_the_other_where_they_share_a_turn() -> None:
    async def main() -> list[Any]:
        turn = asyncio.Lock()
        log: list[Any] = []

        def note(i: int) -> None:
            log.append(("begin", i))
            threading.Event().wait(0.001)
            log.append(("end", i))

        await asyncio.gather(*(InThread(note, "a test", None, turn)(i) for i in range(10)))
        return log

    assert asyncio.run(main()) == [(what, i) for i in range(10) for what in ("begin", "end")]


def test_a_thread_knows_for_whom_it_is_at_work() -> None:
    me, other = object(), object()

    def ask() -> tuple[bool, bool]:
        return InThread.is_at_work_for(me), InThread.is_at_work_for(other)

    assert asyncio.run(InThread(ask, "a test", me)()) == (True, False)
    assert ask() == (False, False)


def test_only_plain_functions_will_do() -> None:
    class Callable:
        async def __call__(self) -> None: ...

    async def coroutine() -> None: ...

    def generator() -> Any:
        yield

    for wrong in (Callable(), coroutine, generator, 7):
        with pytest.raises(TypeError, match="a test"):
            InThread(wrong, "a test", None)  # type: ignore[arg-type]
