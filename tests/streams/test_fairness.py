"""The shared end of a turn."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from telex.streams import Turn, turn_of


class ManualLoop:
    def __init__(self) -> None:
        self.ready: list[Callable[[], None]] = []
        self.reports: list[dict[str, Any]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.ready.append(callback)

    def make_turn(self) -> Turn:
        return Turn(self.call_soon, self.reports.append)

    def turn(self) -> None:
        ready, self.ready = self.ready, []
        for callback in ready:
            callback()


def test_everybody_shares_one_callback_and_flushes_come_last() -> None:
    loop = ManualLoop()
    turn = loop.make_turn()
    said: list[str] = []
    turn.flush(lambda: said.append("flush 1"))
    turn.after(lambda: said.append("work 1"))
    turn.after(lambda: turn.flush(lambda: said.append("flush 2")))
    assert len(loop.ready) == 1
    loop.turn()
    assert said == ["work 1", "flush 1", "flush 2"]
    assert loop.ready == []


def test_work_of_work_waits_for_the_next_turn() -> None:
    loop = ManualLoop()
    turn = loop.make_turn()
    said: list[str] = []

    def greedy() -> None:
        said.append("greedy")
        if said.count("greedy") < 3:
            turn.after(greedy)

    turn.after(greedy)
    turn.after(lambda: said.append("modest"))
    loop.turn()
    assert said == ["greedy", "modest"]
    loop.turn()
    loop.turn()
    assert said == ["greedy", "modest", "greedy", "greedy"]
    assert loop.ready == []


@pytest.mark.parametrize("error", [ValueError("mine"), asyncio.CancelledError()])
def test_one_that_fails_is_reported_and_the_rest_runs(error: BaseException) -> None:
    loop = ManualLoop()
    turn = loop.make_turn()
    said: list[str] = []

    def fail() -> None:
        raise error

    turn.after(fail)
    turn.after(lambda: said.append("other"))
    loop.turn()
    assert said == ["other"]
    assert [report["exception"] for report in loop.reports] == [error]


@pytest.mark.parametrize("add", [Turn.after, Turn.flush])
def test_what_ends_the_program_leaves_the_rest_for_the_next_turn(
    add: Callable[[Turn, Callable[[], None]], None],
) -> None:
    loop = ManualLoop()
    turn = loop.make_turn()
    said: list[str] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    add(turn, interrupt)
    add(turn, lambda: said.append("other"))
    with pytest.raises(KeyboardInterrupt):
        loop.turn()
    assert said == []
    loop.turn()
    assert said == ["other"]
    assert loop.ready == []


def test_one_turn_per_loop_that_does_not_keep_the_loop() -> None:
    reports: list[type[BaseException]] = []

    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reports.append(type(context["exception"])))
        ran = asyncio.Event()
        assert turn_of(loop) is turn_of(loop)
        turn_of(loop).after(lambda: 1 / 0)
        turn_of(loop).flush(ran.set)
        await asyncio.wait_for(ran.wait(), 10)
        return weakref.ref(loop)

    loop = asyncio.run(main())
    assert reports == [ZeroDivisionError]
    gc.collect()
    assert loop() is None
