"""Runners: a coroutine that is stepped at once is, for asyncio and for the program, in a task like any other."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from telex.socketio.runners import MAX_PARKED, Suspended
from telex.socketio.starting import pool_of, start
from tests.serving.live import LOOPS

ON_EACH_LOOP = pytest.mark.parametrize("loop", LOOPS)
SECONDS = 20.0

name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")


def run(main: Callable[[], Coroutine[Any, Any, None]], loop: str) -> None:
    async def limited() -> None:
        async with asyncio.timeout(SECONDS):
            await main()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(limited())


async def turn(n: int = 3) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


@ON_EACH_LOOP
def test_what_does_not_suspend_has_ended_when_start_returns(loop: str) -> None:
    async def main() -> None:
        done = []

        async def work(n: int) -> None:
            done.append(n)

        assert [start(work(n)) for n in range(200)] == [None] * 200
        assert done == list(range(200))
        assert asyncio.all_tasks() == {asyncio.current_task()}, "nobody sees what is parked"

    run(main, loop)


@ON_EACH_LOOP
def test_the_result_and_the_error_of_the_first_step(loop: str) -> None:
    async def main() -> None:
        async def give() -> int:
            return 7

        async def fail() -> None:
            raise LookupError("mine")

        pool = pool_of(asyncio.get_running_loop())
        assert pool.step(give()) == 7
        for _ in range(3):
            with pytest.raises(LookupError, match="mine"):
                pool.step(fail())
        with pytest.raises(LookupError, match="mine"):
            start(fail())
        assert pool.step(give()) == 7

    run(main, loop)


@ON_EACH_LOOP
def test_what_suspends_goes_on_in_a_task_and_is_seen(loop: str) -> None:
    async def main() -> None:
        go = asyncio.Event()
        seen: list[Any] = []

        async def work() -> None:
            seen.append(asyncio.current_task())
            await go.wait()
            seen.append(asyncio.current_task())
            await asyncio.sleep(0)
            seen.append(asyncio.current_task())

        mine = asyncio.current_task()
        task = start(work())
        assert task is not None
        assert asyncio.current_task() is mine, "after a step it is our own turn again"
        await turn()
        assert task in asyncio.all_tasks()
        go.set()
        while len(seen) < 3:
            await turn()
        await turn()
        assert seen == [task] * 3
        assert asyncio.all_tasks() == {mine}

    run(main, loop)


@ON_EACH_LOOP
def test_a_step_inside_a_step(loop: str) -> None:
    async def main() -> None:
        tasks: list[Any] = []

        async def inner(depth: int) -> None:
            tasks.append(asyncio.current_task())
            if depth:
                start(inner(depth - 1))
            assert asyncio.current_task() is tasks[-1 - depth] or depth

        mine = asyncio.current_task()
        start(inner(5))
        assert asyncio.current_task() is mine
        assert len(set(tasks)) == 6, "each has a task of its own while they overlap"

    run(main, loop)


@ON_EACH_LOOP
def test_a_context_is_each_one_s_own_and_stays(loop: str) -> None:
    async def main() -> None:
        seen: list[tuple[str, str]] = []
        go = asyncio.Event()

        async def work(mine: str, *, suspends: bool) -> None:
            before = name.get()
            name.set(mine)
            if suspends:
                await go.wait()
            seen.append((before, name.get()))

        name.set("main")
        for n in range(6):
            start(work(f"worker {n}", suspends=n % 2 == 0))
        assert name.get() == "main"
        go.set()
        while len(seen) < 6:
            await turn()
        assert sorted(seen) == [("main", f"worker {n}") for n in range(6)]
        start(work("again", suspends=False))
        assert seen[-1] == ("main", "again")

    run(main, loop)


@ON_EACH_LOOP
def test_timeouts_and_task_groups(loop: str) -> None:
    async def main() -> None:
        story: list[str] = []

        async def late() -> None:
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.Event().wait()
            except TimeoutError:
                story.append("timeout")
            async with asyncio.timeout(SECONDS):
                await asyncio.sleep(0)
            story.append("in time")

        async def group() -> None:
            async def child(n: int) -> None:
                await asyncio.sleep(0)
                story.append(f"child {n}")

            async with asyncio.TaskGroup() as tasks:
                for n in range(3):
                    tasks.create_task(child(n))
            story.append("group")

        async def failing() -> None:
            async def child() -> None:
                raise LookupError("a child")

            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(child())
                    await asyncio.Event().wait()
            except* LookupError:
                story.append("failed")
            await asyncio.sleep(0)
            story.append("went on")

        for work, n in ((late, 2), (group, 4), (failing, 2)):
            for _ in range(2):  # the second on the same runner
                before = len(story)
                start(work())
                while len(story) < before + n:
                    await turn()
        assert story == 2 * ["timeout", "in time"] + 2 * ["child 0", "child 1", "child 2", "group"] + 2 * [
            "failed",
            "went on",
        ]

    run(main, loop)


@ON_EACH_LOOP
@pytest.mark.parametrize("when", ["at once", "later"])
def test_cancelling_what_has_suspended(loop: str, when: str) -> None:
    async def main() -> None:
        story: list[str] = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                story.append("cancelled")
                raise
            finally:
                story.append("cleaned up")

        task = start(work())
        assert task is not None
        if when == "later":
            await turn()
        assert task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert story == ["cancelled", "cleaned up"]
        assert task.cancelled()

        async def next_one() -> None:
            await asyncio.sleep(0)
            story.append("next")

        start(next_one())
        await turn()
        assert story[-1] == "next", "one that was cancelled is not lent again"

    run(main, loop)


@ON_EACH_LOOP
def test_one_that_cancels_itself(loop: str) -> None:
    async def main() -> None:
        story: list[str] = []

        async def in_its_first_step() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            story.append("went on")
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                story.append("and was cancelled")
                raise

        async def without_suspending() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            story.append("ended")

        async def fine() -> None:
            await asyncio.sleep(0)
            story.append("fine")

        task = start(in_its_first_step())
        assert task is not None
        with pytest.raises(asyncio.CancelledError):
            await task
        assert start(without_suspending()) is None
        start(fine())
        await turn(5)
        assert story == ["went on", "and was cancelled", "ended", "fine"]

    run(main, loop)


@ON_EACH_LOOP
def test_cancelled_and_caught_it_goes_on(loop: str) -> None:
    async def main() -> None:
        story: list[str] = []

        async def stubborn() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
            await asyncio.sleep(0)
            story.append("still there")

        for _ in range(3):
            task = start(stubborn())
            assert task is not None
            await turn()
            task.cancel()
            await turn(5)
        assert story == ["still there"] * 3

    run(main, loop)


@ON_EACH_LOOP
def test_many_that_are_suspended_at_once(loop: str) -> None:
    async def main() -> None:
        go = asyncio.Event()
        n = 5 * MAX_PARKED
        done: list[int] = []

        async def work(number: int) -> None:
            await go.wait()
            done.append(number)

        for number in range(n):
            assert start(work(number)) is not None
        assert len(asyncio.all_tasks()) == n + 1
        gc.collect()  # which must not take one that waits
        go.set()
        while len(done) < n:
            await turn()
        await turn()
        assert sorted(done) == list(range(n))
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert len(pool_of(asyncio.get_running_loop()).parked) <= MAX_PARKED

    run(main, loop)


@ON_EACH_LOOP
def test_an_error_after_suspension_is_the_task_s(loop: str) -> None:
    async def main() -> None:
        async def work() -> None:
            await asyncio.sleep(0)
            raise LookupError("late")

        task = start(work())
        assert task is not None
        with pytest.raises(LookupError, match="late"):
            await task

    run(main, loop)


@ON_EACH_LOOP
def test_a_loop_that_ends_takes_all_along_without_a_word(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    ended: list[int] = []

    async def main() -> None:
        async def quick() -> None:
            pass

        async def slow(n: int) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(n)

        async def nest(depth: int) -> None:
            if depth:
                start(nest(depth - 1))

        start(nest(10))  # so many runners at once, all parked then
        start(quick())
        for n in range(3):
            start(slow(n))

    run(main, loop)
    gc.collect()
    assert sorted(ended) == [0, 1, 2], "what is at work is cancelled with the loop"
    assert not caplog.records


@ON_EACH_LOOP
def test_suspended_can_be_driven_by_another_coroutine(loop: str) -> None:
    async def main() -> None:
        results: list[Any] = []

        async def work() -> str:
            await asyncio.sleep(0)
            return "result"

        found = pool_of(asyncio.get_running_loop()).step(work())
        assert isinstance(found, Suspended)

        async def rest() -> None:
            results.append(await found)

        found.runner.resume(rest())
        while not results:
            await turn()
        assert results == ["result"]

    run(main, loop)
