"""The first step of a coroutine: it is its task's own, and leaves everybody else's turn as it was, in both twins.

What becomes of a coroutine after this step is told in `test_runners.py`.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import types
import weakref
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import pytest

from telex.socketio.handlers import Handler
from telex.socketio.runners import MAX_PARKED, Suspended
from tests.memory import ROUNDS, blocks_kept
from tests.serving.live import LOOPS
from tests.twins import IS_PURE, TWINS, twin_of

SECONDS = 20.0

name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")

Main = Callable[[Any], Coroutine[Any, Any, None]]


@pytest.fixture(params=TWINS)
def twin(request: pytest.FixtureRequest) -> Any:
    """Give each of the twins that this run must test."""
    return twin_of("telex.socketio.pools", request.param)


@pytest.fixture(params=LOOPS)
def play(request: pytest.FixtureRequest, twin: Any) -> Callable[[Main], None]:
    """Give what plays a scene with a new pool, on each kind of loop."""

    def play(main: Main) -> None:
        async def limited() -> None:
            async with asyncio.timeout(SECONDS):
                await main(twin.Pool())

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(limited())

    return play


Play = Callable[[Main], None]


def go_on(found: Any) -> asyncio.Future[Any]:
    """Go on with what has suspended; return what will be its result."""
    assert type(found) is Suspended
    result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def rest() -> None:
        try:
            result.set_result(await found)
        except BaseException as error:
            result.set_exception(error)
            if isinstance(error, asyncio.CancelledError):
                raise

    found.runner.resume(rest())
    return result


async def give(result: Any) -> Any:
    return result


async def fail(error: BaseException) -> None:
    raise error


# One that ends in its first step


@pytest.mark.parametrize("result", [None, 0, "text", (), ("a", 1), [], StopIteration(5), Suspended, Exception("mine")])
def test_a_coroutine_that_ends_returns_its_result(play: Play, result: Any) -> None:
    async def main(pool: Any) -> None:
        for _ in range(3):
            assert pool.step(give(result)) is result

    play(main)


@pytest.mark.parametrize(
    "error", [LookupError("mine"), asyncio.CancelledError("mine"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()]
)
def test_what_a_coroutine_raises_comes_out(play: Play, error: BaseException) -> None:
    async def main(pool: Any) -> None:
        mine = asyncio.current_task()
        for _ in range(3):
            with pytest.raises(type(error)) as caught:
                pool.step(fail(error))
            assert caught.value is error
            assert asyncio.current_task() is mine
        assert pool.step(give(7)) == 7
        assert len(pool.parked) == 1

    play(main)


def test_a_coroutine_cannot_raise_stop_iteration(play: Play) -> None:
    async def main(pool: Any) -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            pool.step(fail(StopIteration(5)))

    play(main)


@pytest.mark.parametrize("no_coroutine", [None, 5, "text", object()])
def test_what_is_no_coroutine_is_an_error(play: Play, no_coroutine: Any) -> None:
    async def main(pool: Any) -> None:
        mine = asyncio.current_task()
        with pytest.raises((AttributeError, TypeError)):
            pool.step(no_coroutine)
        assert asyncio.current_task() is mine
        assert pool.step(give(7)) == 7

    play(main)


def test_outside_of_a_loop_nothing_begins(twin: Any) -> None:
    pool = twin.Pool()
    coroutine = give(7)
    with pytest.raises(RuntimeError, match="no running event loop"):
        pool.step(coroutine)
    assert pool.parked == []
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    assert stop.value.value == 7


class Written:
    """A coroutine that is no function, with what a `Coroutine` must have and no more."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)

    def send(self, value: Any) -> Any:
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step

    def throw(self, *error: Any) -> Any:
        raise error[0]

    def close(self) -> None: ...

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError


def test_any_coroutine_will_do(play: Play) -> None:
    @types.coroutine
    def generator(result: Any) -> Generator[Any, Any, Any]:
        yield from ()
        return result

    async def main(pool: Any) -> None:
        assert pool.step(generator(7)) == 7
        assert pool.step(Written(StopIteration())) is None
        assert pool.step(Written(StopIteration(7))) == 7
        assert pool.step(Written(StopIteration((7, 8)))) == (7, 8)
        with pytest.raises(LookupError, match="mine"):
            pool.step(Written(LookupError("mine")))
        assert await go_on(pool.step(Written(None, None, StopIteration(8)))) == 8
        assert len(pool.parked) == 1

    play(main)


# Whose turn it is


def test_a_step_is_a_task_s_own_and_then_it_is_the_caller_s_turn_again(play: Play) -> None:
    async def main(pool: Any) -> None:
        async def work() -> Any:
            return asyncio.current_task()

        mine = asyncio.current_task()
        first = pool.step(work())
        assert isinstance(first, asyncio.Task)
        assert first is not mine
        assert asyncio.current_task() is mine
        assert pool.step(work()) is first, "it was lent again"
        assert [runner.task for runner in pool.parked] == [first]

    play(main)


def test_a_step_from_a_plain_callback(play: Play) -> None:
    async def main(pool: Any) -> None:
        done = asyncio.get_running_loop().create_future()

        async def work() -> Any:
            return asyncio.current_task()

        def callback() -> None:
            try:
                found = [asyncio.current_task(), pool.step(work()), asyncio.current_task()]
                with pytest.raises(LookupError):
                    pool.step(fail(LookupError()))
                done.set_result([*found, asyncio.current_task()])
            except BaseException as error:
                done.set_exception(error)

        asyncio.get_running_loop().call_soon(callback)
        before, task, after, after_failure = await done
        assert before is after is after_failure is None
        assert isinstance(task, asyncio.Task)

    play(main)


def test_steps_within_steps_have_each_their_own_task(play: Play) -> None:
    async def main(pool: Any) -> None:
        async def work(depth: int) -> list[Any]:
            mine = asyncio.current_task()
            inner = pool.step(work(depth - 1)) if depth else []
            assert asyncio.current_task() is mine
            return [mine, *inner]

        mine = asyncio.current_task()
        tasks = pool.step(work(20))
        assert len({mine, *tasks}) == 22
        assert len(pool.parked) == 21
        assert asyncio.current_task() is mine
        assert set(pool.step(work(20))) == set(tasks)

    play(main)


def test_a_failure_within_a_step_within_a_step(play: Play) -> None:
    async def main(pool: Any) -> None:
        async def work(depth: int) -> None:
            mine = asyncio.current_task()
            try:
                if not depth:
                    raise LookupError("deep")
                pool.step(work(depth - 1))
            finally:
                assert asyncio.current_task() is mine

        with pytest.raises(LookupError, match="deep"):
            pool.step(work(10))
        assert len(pool.parked) == 11

    play(main)


def test_a_step_from_one_that_was_stepped_and_goes_on(play: Play) -> None:
    async def main(pool: Any) -> None:
        async def work() -> Any:
            await asyncio.sleep(0)
            mine = asyncio.current_task()
            assert pool.step(give(5)) == 5
            assert asyncio.current_task() is mine
            inner = go_on(pool.step(later("inner")))
            assert asyncio.current_task() is mine
            return await inner

        assert await go_on(pool.step(work())) == "inner"

    play(main)


# One that suspends


async def later(result: Any) -> Any:
    await asyncio.sleep(0)
    return result


def test_what_suspends_goes_on_where_it_was(play: Play) -> None:
    async def main(pool: Any) -> None:
        story: list[Any] = []
        gate = asyncio.get_running_loop().create_future()

        async def work() -> str:
            story.append(asyncio.current_task())
            story.append(await gate)
            story.append(asyncio.current_task())
            return "result"

        found = pool.step(work())
        assert type(found) is Suspended
        assert pool.parked == []
        assert len(story) == 1
        result = go_on(found)
        gate.set_result("value")
        assert await result == "result"
        assert story == [found.runner.task, "value", found.runner.task]
        assert pool.parked == [found.runner]

    play(main)


@pytest.mark.parametrize("when", ["before it goes on", "in the turn after", "later"])
def test_what_was_awaited_may_fail_at_any_time(play: Play, when: str) -> None:
    async def main(pool: Any) -> None:
        gate = asyncio.get_running_loop().create_future()

        async def work() -> Any:
            try:
                await gate
            except LookupError:
                return "caught"

        found = pool.step(work())
        if when == "before it goes on":
            gate.set_exception(LookupError("mine"))
        result = go_on(found)
        for _ in range(["before it goes on", "in the turn after", "later"].index(when)):
            await asyncio.sleep(0)
        if not gate.done():
            gate.set_exception(LookupError("mine"))
        assert await result == "caught"

    play(main)


def test_many_may_await_the_same_future_in_one_turn(play: Play) -> None:
    async def main(pool: Any) -> None:
        gate = asyncio.get_running_loop().create_future()

        async def work() -> Any:
            return await gate

        stepped = [pool.step(work()) for _ in range(3)]
        tasks = [asyncio.create_task(work())]
        for _ in range(2):
            await asyncio.sleep(0)
            stepped.append(pool.step(work()))
            tasks.append(asyncio.create_task(work()))
        results = [*map(go_on, stepped), *tasks]
        await asyncio.sleep(0)
        stepped.append(pool.step(work()))
        results.append(go_on(stepped[-1]))
        gate.set_result("value")
        assert await asyncio.gather(*results) == ["value"] * 9

    play(main)


def test_many_are_suspended_at_once(play: Play) -> None:
    async def main(pool: Any) -> None:
        n = 2 * MAX_PARKED
        found = [pool.step(later(number)) for number in range(n)]
        assert len({each.runner.task for each in found}) == n
        assert await asyncio.gather(*map(go_on, found)) == [*range(n)]
        assert len(pool.parked) == MAX_PARKED

    play(main)


def test_one_that_is_cancelled_while_it_waits(play: Play) -> None:
    async def main(pool: Any) -> None:
        story: list[str] = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                story.append("cleaned up")

        for turns in range(4):
            found = pool.step(work())
            result = go_on(found)
            for _ in range(turns):
                await asyncio.sleep(0)
            assert found.runner.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await result
            await asyncio.wait([found.runner.task])
            assert found.runner.task.cancelled()
        assert story == ["cleaned up"] * 4
        assert pool.parked == [], "one that was cancelled is not lent again"
        assert pool.step(give(7)) == 7

    play(main)


@pytest.mark.parametrize("raises", [False, True])
def test_one_that_cancels_itself_is_not_lent_again(play: Play, raises: bool) -> None:
    async def main(pool: Any) -> None:
        async def work() -> Any:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if raises:
                raise LookupError("mine")
            return task

        async def peaceful() -> Any:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            task.uncancel()
            return task

        if raises:
            with pytest.raises(LookupError, match="mine"):
                pool.step(work())
        else:
            assert pool.step(work()).cancelling() == 1
        assert pool.parked == []
        assert pool.step(peaceful()).cancelling() == 0
        assert len(pool.parked) == 1

    play(main)


# Its context


def test_a_context_is_its_own_from_the_first_step_to_the_last(play: Play) -> None:
    async def main(pool: Any) -> None:
        async def work(mine: str) -> tuple[str, str, str]:
            before = name.get()
            token = name.set(mine)
            await asyncio.sleep(0)
            after = name.get()
            name.reset(token)  # which another context would refuse
            return before, after, name.get()

        async def quick() -> str:
            before = name.get()
            name.set("quick")
            return before

        async def failing() -> None:
            name.set("failing")
            raise LookupError

        name.set("main")
        found = [pool.step(work("one")), pool.step(work("two"))]
        assert [pool.step(quick()), pool.step(quick())] == ["main"] * 2
        with pytest.raises(LookupError):
            pool.step(failing())
        assert name.get() == "main"
        name.set("changed")
        assert await asyncio.gather(*map(go_on, found)) == [("main", "one", "main"), ("main", "two", "main")]
        assert name.get() == "changed"

    play(main)


def test_a_context_within_a_context(play: Play) -> None:
    async def main(pool: Any) -> None:
        async def work(depth: int) -> list[str]:
            seen = name.get()
            name.set(f"depth {depth}")
            inner = pool.step(work(depth - 1)) if depth else []
            assert name.get() == f"depth {depth}"
            return [seen, *inner]

        name.set("main")
        assert pool.step(work(3)) == ["main", "depth 3", "depth 2", "depth 1"]
        assert name.get() == "main"

    play(main)


# Its end


def test_nothing_is_kept_and_nothing_is_given_back_twice(play: Play) -> None:
    async def main(pool: Any) -> None:
        result, error, argument = ["a", "result"], LookupError("mine"), ["an", "argument"]

        class Yielding:
            def __await__(self) -> Generator[Any, Any, Any]:
                yield argument

        async def work(argument: Any) -> Any:
            return result

        async def failing(argument: Any) -> Any:
            raise error

        async def suspending(argument: Any) -> Any:
            await Yielding()

        def work_all() -> None:
            pool.step(work(argument))
            with pytest.raises(LookupError):
                pool.step(failing(argument))
            error.__traceback__ = None
            for coroutine in (Written(argument), suspending(argument)):
                found = pool.step(coroutine)
                assert found._yielded is argument
                coroutine.close()
                pool.parked.append(found.runner)

        work_all()
        task = asyncio.current_task()
        things = (result, error, argument, task, pool, pool.parked, pool.parked[0], pool.parked[0].task)
        before = [sys.getrefcount(thing) for thing in things]
        assert blocks_kept(work_all) < ROUNDS // 10
        assert [sys.getrefcount(thing) for thing in things] == before

    play(main)


def test_a_coroutine_and_what_it_holds_are_gone_when_it_has_ended(play: Play) -> None:
    class Held:
        """What a coroutine holds."""

    async def main(pool: Any) -> None:
        gone: list[weakref.ref[Any]] = []

        async def work(held: Held, error: BaseException | None = None, *, suspends: bool = False) -> None:
            if suspends:
                await asyncio.sleep(0)
            if error is not None:
                raise error

        def coroutine(**options: Any) -> Any:
            held = Held()
            made = work(held, **options)
            gone.extend((weakref.ref(held), weakref.ref(made)))
            return made

        pool.step(coroutine())
        with pytest.raises(LookupError):
            pool.step(coroutine(error=LookupError()))
        await go_on(pool.step(coroutine(suspends=True)))
        await asyncio.sleep(0)
        gc.collect()
        assert [each() for each in gone] == [None] * 6

    play(main)


def test_a_pool_goes_with_its_loop(twin: Any) -> None:
    async def main() -> list[weakref.ref[Any]]:
        pool = twin.Pool()
        for _ in range(3):
            pool.step(give(1))
        await go_on(pool.step(later(2)))
        await asyncio.sleep(0)
        return [weakref.ref(runner.task) for runner in pool.parked]

    gone = asyncio.run(main())
    assert gone
    gc.collect()
    assert {each() for each in gone} == {None}


def test_the_list_of_the_parked_is_the_pool_s_own(twin: Any) -> None:
    pool = twin.Pool()
    assert pool.parked == []
    assert {attribute for attribute in dir(pool) if not attribute.startswith("_")} == {"parked", "step"}
    assert twin.Pool().parked is not pool.parked


# The stepper: the handlers of one socket, one at a time.


class Customer:
    """Whose handlers are run: it keeps what it is told to answer."""

    def __init__(self) -> None:
        self.replies: list[tuple[int, Any]] = []

    def reply(self, ack_id: int, result: Any) -> None:
        self.replies.append((ack_id, result))


def make_stepper(twin: Any, pool: Any) -> Any:
    """Return a stepper that keeps what is left to its subclass."""

    class Kept(twin.Stepper):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            self.is_working = self.is_shut = False
            self._customer, self._pool, self._queue = Customer(), pool, []
            self.kept: list[tuple[Any, ...]] = []

        @property
        def replies(self) -> list[tuple[int, Any]]:
            replies: list[tuple[int, Any]] = self._customer.replies
            return replies

        def wait(self, job: object) -> None:
            self._queue.append(job)

        def _suspend(self, *given: Any) -> None:
            self.kept.append(("suspended", *given))

        def _go_on(self) -> None:
            self.kept.append(("going on", self.is_working, list(self._queue)))

        def _fail(self, handler: Any, args: Any, error: BaseException) -> None:
            self.kept.append(("failed", handler, args, type(error)))

    return Kept()


def handler_of(function: Callable[..., Any]) -> Handler:
    return Handler(function, "event", 0, None, is_async=True)


def test_a_handler_that_ends_in_its_step_is_answered(twin: Any, play: Play) -> None:
    async def main(pool: Any) -> None:
        stepper = make_stepper(twin, pool)
        seen: list[tuple[Any, ...]] = []

        async def double(x: int) -> int:
            seen.append((x, stepper.is_working, stepper.is_free))
            return x * 2

        assert stepper.is_free
        stepper.step(handler_of(double), (4,), 7, 0)
        stepper.step(handler_of(double), (5,), None, 0)
        assert seen == [(4, True, False), (5, True, False)]
        assert stepper.replies == [(7, 8)]
        assert stepper.is_free
        assert stepper.kept == []
        stepper.is_shut = True
        assert not stepper.is_free

    play(main)


@pytest.mark.parametrize("error", [LookupError, asyncio.CancelledError])
def test_a_handler_that_fails_is_told_and_leaves_the_stepper_free(
    twin: Any, play: Play, error: type[BaseException]
) -> None:
    async def main(pool: Any) -> None:
        stepper = make_stepper(twin, pool)

        async def fail() -> None:
            raise error

        handler = handler_of(fail)
        stepper.step(handler, (), 1, 0)
        assert stepper.kept == [("failed", handler, (), error)]
        assert stepper.replies == []
        assert stepper.is_free

    play(main)


def test_what_ends_the_program_passes(twin: Any, play: Play) -> None:
    async def main(pool: Any) -> None:
        stepper = make_stepper(twin, pool)

        async def leave() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stepper.step(handler_of(leave), (), None, 0)
        assert stepper.kept == []

    play(main)


def test_a_handler_that_suspends_is_the_subclass_s(twin: Any, play: Play) -> None:
    async def main(pool: Any) -> None:
        stepper = make_stepper(twin, pool)

        async def wait(x: int) -> int:
            await asyncio.sleep(0)
            return x

        handler = handler_of(wait)
        stepper.step(handler, (3,), 9, 20)
        ((what, *given, suspended),) = stepper.kept
        assert (what, given) == ("suspended", [handler, (3,), 9, 20])
        assert stepper.is_working  # until the subclass says otherwise
        assert stepper.replies == []
        assert await go_on(suspended) == 3

    play(main)


def test_what_came_meanwhile_is_gone_on_with(twin: Any, play: Play) -> None:
    async def main(pool: Any) -> None:
        stepper = make_stepper(twin, pool)

        async def busy() -> None:
            stepper.wait("job")

        stepper.step(handler_of(busy), (), None, 0)
        assert stepper.kept == [("going on", False, ["job"])]

    play(main)


def test_a_stepper_alone_leaves_the_rest_to_its_subclass(twin: Any, play: Play) -> None:
    async def main(pool: Any) -> None:
        async def fail() -> None:
            raise LookupError

        async def wait() -> None:
            await asyncio.sleep(0)

        async def ends() -> None:
            pass

        for function, queue in ((fail, []), (wait, []), (ends, ["job"])):
            stepper = twin.Stepper()
            stepper.is_working = stepper.is_shut = False
            stepper._customer, stepper._pool, stepper._queue = Customer(), pool, queue
            with pytest.raises(NotImplementedError):
                stepper.step(handler_of(function), (), None, 0)

    play(main)


@pytest.mark.skipif(
    IS_PURE or not hasattr(asyncio.tasks, "_current_tasks"),
    reason="the compiled twin looks for asyncio's table, the other asks asyncio",
)
def test_where_asyncio_shows_no_table_of_current_tasks_it_is_asked() -> None:
    """As on CPython 3.14, which keeps it elsewhere."""
    program = """
import asyncio
import asyncio.tasks
table, asyncio.tasks._current_tasks = asyncio.tasks._current_tasks, None
from telex.socketio.starting import pool_of, start
from telex.socketio._pools import Pool
asyncio.tasks._current_tasks = table

seen = []

async def inner():
    seen.append(asyncio.current_task())
    await asyncio.sleep(0)
    seen.append(asyncio.current_task())

async def turns():
    while len(seen) % 3:
        await asyncio.sleep(0)

async def main():
    assert type(pool_of(asyncio.get_running_loop())) is Pool
    start(inner())
    seen.append(asyncio.current_task())
    await turns()

    def begin():
        start(inner())
        seen.append(asyncio.current_task())

    asyncio.get_running_loop().call_soon(begin)
    await asyncio.sleep(0)
    await turns()
    return asyncio.current_task()

me = asyncio.run(main())
first, mine, second, third, none, fourth = seen
assert first is second and third is fourth and None not in (first, third), seen
assert mine is me and none is None, seen
assert me not in (first, third), seen
print("all right")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("all right\n", "")
