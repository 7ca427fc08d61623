"""Messages on their way to the coroutine that waits for them: both twins, and both alike."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telex.types import Data
from tests.memory import ROUNDS, blocks_kept
from tests.twins import IS_PURE, TWINS, twin_of

MODULE = "telex.websocket.handover"


@pytest.fixture(scope="module", params=TWINS)
def twin(request: pytest.FixtureRequest) -> Any:
    """Give each of the twins that this run must test."""
    return twin_of(MODULE, request.param)


class Closed(Exception):
    """The end."""


def handover(twin: Any) -> Any:
    """Make one that keeps what it is left with; called in a loop."""

    class Inbox(twin.Handover):  # type: ignore[misc]  # which of the twins is known when it runs
        def _keep(self, message: Data) -> None:
            self.messages.append(message)
            self.n_received += 1
            self.wake()

        def _first(self) -> Any:
            return self.messages.popleft()

        def _put_back(self, message: Data) -> None:
            self.messages.appendleft(message)

        def _end_of(self, is_iterating: bool) -> Exception:
            return StopAsyncIteration() if is_iterating else Closed("over")

    return Inbox()


def end(inbox: Any) -> None:
    inbox.is_ended = True
    inbox.wake()


async def outside(*calls: Callable[[], object]) -> None:
    """Make calls where no task runs, as the stream does."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def run() -> None:
        try:
            for call in calls:
                call()
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)

    loop.call_soon(run)
    await done


async def settle() -> None:
    """Let everything run that is about to."""
    for _ in range(5):
        await asyncio.sleep(0)


def play(scene: Callable[[Any], Awaitable[None]], twin: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            await scene(handover(twin))

    asyncio.run(main())


def test_who_waits_is_stepped_on_the_spot(twin: Any) -> None:
    async def scene(inbox: Any) -> None:
        got: list[Any] = []

        async def read() -> None:
            async for message in inbox:
                assert asyncio.current_task() is task
                assert asyncio.get_running_loop() is inbox.get_loop()
                got.append(message)

        task = asyncio.create_task(read())
        await settle()
        steps: list[list[Any]] = []
        await outside(*(lambda m=m: (inbox.message_received(m), steps.append([*got])) for m in ("a", b"b", "", b"")))
        assert steps == [["a"], ["a", b"b"], ["a", b"b", ""], ["a", b"b", "", b""]]
        assert (inbox.n_received, inbox.is_busy, [*inbox.messages]) == (4, False, [])
        end(inbox)
        await task

    play(scene, twin)


def test_where_a_task_runs_the_other_is_woken_in_the_next_turn(twin: Any) -> None:
    async def scene(inbox: Any) -> None:
        task = asyncio.create_task(first(inbox))
        await settle()
        inbox.message_received("a")
        inbox.message_received("b")
        assert [*inbox.messages] == ["a", "b"]
        assert not task.done()
        assert await task == "a"
        assert [*inbox.messages] == ["b"]

    async def first(inbox: Any) -> Any:
        return await inbox.take()

    play(scene, twin)


def test_what_waits_is_taken_at_once(twin: Any) -> None:
    async def scene(inbox: Any) -> None:
        for message in ("a", "b", "c"):
            inbox.message_received(message)
        assert await inbox.take() == "a"
        assert inbox.is_busy
        assert await anext(inbox) == "b"
        end(inbox)
        assert await inbox.take() == "c", "what came before the end"
        with pytest.raises(Closed, match="over"):
            await inbox.take()
        with pytest.raises(StopAsyncIteration):
            await anext(inbox)
        assert [message async for message in inbox] == []
        assert not inbox.is_busy

    play(scene, twin)


def test_the_end_wakes_who_waits(twin: Any) -> None:
    async def scene(inbox: Any) -> None:
        async def read() -> list[Any]:
            return [message async for message in inbox]

        async def receive() -> Any:
            return await inbox.take()

        task = asyncio.create_task(read())
        await settle()
        end(inbox)
        assert await task == []
        inbox.is_ended = False
        task = asyncio.create_task(receive())
        await settle()
        end(inbox)
        with pytest.raises(Closed):
            await task

    play(scene, twin)


def test_only_one_may_wait(twin: Any) -> None:
    async def scene(inbox: Any) -> None:
        async def receive() -> Any:
            return await inbox.take()

        task = asyncio.create_task(receive())
        await settle()
        with pytest.raises(RuntimeError, match="another task waits"):
            await inbox.take()
        await outside(lambda: inbox.message_received("for the first"))
        assert await task == "for the first"

    play(scene, twin)


@pytest.mark.parametrize("when", ["before", "after", "together"])
def test_a_wait_that_is_cancelled_loses_nothing(twin: Any, when: str) -> None:
    async def scene(inbox: Any) -> None:
        async def receive() -> Any:
            return await inbox.take()

        task = asyncio.create_task(receive())
        await settle()
        if when == "before":
            task.cancel()
            await settle()
            assert task.cancelled()
            await outside(lambda: inbox.message_received("a"))
            assert await inbox.take() == "a"
        elif when == "after":
            await outside(lambda: inbox.message_received("a"), task.cancel)
            assert await task == "a"
        else:
            await outside(task.cancel, lambda: inbox.message_received("a"))
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await inbox.take() == "a"
        assert inbox.n_received == 1
        assert [*inbox.messages] == []

    play(scene, twin)


def test_a_task_that_must_be_cancelled_when_it_is_stepped_puts_the_message_back(twin: Any) -> None:
    async def scene(inbox: Any) -> None:
        async def receive() -> Any:
            return await inbox.take()

        task = asyncio.create_task(receive())
        await settle()
        inbox._handed = "a"  # as if it had been handed over, and the step then raised
        with pytest.raises(Closed):
            task.get_coro().throw(Closed("thrown"))  # type: ignore[union-attr]
        assert [*inbox.messages] == ["a"]
        assert await inbox.take() == "a"
        task.cancel()

    play(scene, twin)


def test_a_coroutine_that_is_closed_waits_no_longer(twin: Any) -> None:
    async def scene(inbox: Any) -> None:
        async def receive() -> Any:
            return await inbox.take()

        async def receive_once() -> None:
            coroutine = receive()
            assert coroutine.send(None) is inbox
            inbox.add_done_callback(lambda _: None)
            coroutine.close()

        await receive_once()
        await receive_once()
        inbox.message_received("a")
        assert await inbox.take() == "a"

    play(scene, twin)


@pytest.mark.parametrize("thrown", [ValueError, ValueError("a"), (ValueError, "a"), (ValueError, ValueError("a"))])
def test_what_is_thrown_is_raised_where_it_waits(twin: Any, thrown: Any) -> None:
    async def scene(inbox: Any) -> None:
        for waits in (False, True):
            taking = inbox.take()
            steps = taking.__await__() if hasattr(taking, "__await__") else taking
            if waits:
                assert steps.send(None) is inbox
            with pytest.raises(ValueError, match=r"^$" if thrown is ValueError else "a"):
                steps.throw(*thrown) if isinstance(thrown, tuple) else steps.throw(thrown)
            inbox.message_received("b")
            assert await inbox.take() == "b"

    play(scene, twin)


def test_the_task_goes_on_in_its_context(twin: Any) -> None:
    async def scene(inbox: Any) -> None:
        who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
        seen: list[str] = []

        async def read() -> None:
            who.set("the reader")
            async for _ in inbox:
                seen.append(who.get())

        task = asyncio.create_task(read())
        await settle()
        who.set("the stream")
        await outside(lambda: inbox.message_received("a"))
        assert seen == ["the reader"]
        end(inbox)
        await task

    play(scene, twin)


def test_it_is_the_same_where_somebody_traces(twin: Any) -> None:
    """A debugger or a coverage tool has the interpreter ask in another way."""

    async def scene(inbox: Any) -> None:
        lines: list[int] = []

        def trace(frame: Any, event: str, arg: Any) -> Any:
            lines.append(frame.f_lineno)
            return trace

        async def read() -> list[Any]:
            return [message async for message in inbox]

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            task = asyncio.create_task(read())
            await settle()
            await outside(lambda: inbox.message_received("a"), lambda: inbox.message_received(b"b"))
            inbox.message_received("c")
            await settle()
            end(inbox)
            assert await task == ["a", b"b", "c"]
        finally:
            sys.settrace(before)
        assert lines

    play(scene, twin)


def test_what_the_subclass_must_do_is_said(twin: Any) -> None:
    async def scene(_: Any) -> None:
        bare = twin.Handover()
        for call in (
            lambda: bare._keep("a"),
            bare._first,
            lambda: bare._put_back("a"),
            lambda: bare._end_of(False),
        ):
            with pytest.raises(NotImplementedError):
                call()
        assert bare.cancel() is False, "nobody waits"
        bare.wake()
        bare.result()

    play(scene, twin)


def test_what_has_acted_is_awaited(twin: Any) -> None:
    async def scene(_: Any) -> None:
        assert await twin.Acted(None) is None
        future = asyncio.get_running_loop().create_future()
        future.get_loop().call_soon(future.set_result, "waited")
        assert await twin.Acted(future.__await__) == "waited"

        def fail() -> Iterator[None]:
            raise Closed("no room")

        acted = twin.Acted(fail)  # ignored, it does nothing
        with pytest.raises(Closed, match="no room"):
            await acted

    play(scene, twin)


def test_nothing_is_kept(twin: Any) -> None:
    async def scene(inbox: Any) -> None:
        async def read() -> None:
            async for message in inbox:
                await twin.Acted(None)
                del message

        task = asyncio.create_task(read())
        await settle()
        kept: list[int] = []

        def work() -> None:
            inbox.message_received("text" * 20)
            inbox.message_received(b"bytes" * 20)

        await outside(lambda: kept.append(blocks_kept(work)))
        assert kept[0] < ROUNDS // 10
        end(inbox)
        await task

    play(scene, twin)


def test_all_goes_when_task_and_inbox_hold_each_other(twin: Any) -> None:
    gone: list[weakref.ref[Any]] = []

    class Token:
        pass

    async def scene(inbox: Any) -> None:
        async def read(token: Token) -> None:
            gone.append(weakref.ref(token))
            async for _ in inbox:
                pass

        task = asyncio.create_task(read(Token()))
        await settle()
        task.cancel()
        await settle()

    play(scene, twin)
    gc.collect()
    assert gone[0]() is None


# Both alike


_steps = st.lists(
    st.sampled_from(["message", "message from a task", "cancel", "read", "read once", "turn", "end", "put", "two"]),
    max_size=12,
)


async def run_steps(twin: Any, steps: list[str]) -> list[Any]:
    """Play a script; return all that readers saw, in order, and what is left."""
    inbox = handover(twin)
    log: list[Any] = []
    tasks: list[asyncio.Task[None]] = []

    async def read() -> None:
        try:
            async for message in inbox:
                log.append(("iterated", message, inbox.is_busy))
            log.append("done")
        except (RuntimeError, asyncio.CancelledError) as error:
            log.append(type(error))
            raise

    async def read_once() -> None:
        try:
            log.append(("got", await inbox.take(), inbox.is_busy))
        except (Closed, RuntimeError, asyncio.CancelledError) as error:
            log.append(type(error))
            raise

    for n, step in enumerate(steps):
        match step:
            case "message":
                await outside(lambda n=n: inbox.message_received(str(n)))
            case "two":
                await outside(lambda n=n: inbox.message_received(f"{n}a"), lambda n=n: inbox.message_received(f"{n}b"))
            case "message from a task":
                inbox.message_received(bytes([n]))
            case "cancel" if tasks:
                tasks[-1].cancel()
            case "put" if tasks:
                await outside(tasks[-1].cancel, lambda n=n: inbox.message_received(f"{n}p"))
            case "read":
                tasks.append(asyncio.create_task(read()))
            case "read once":
                tasks.append(asyncio.create_task(read_once()))
            case "turn":
                await asyncio.sleep(0)
            case "end":
                end(inbox)
        log.append((step, inbox.n_received, [*inbox.messages], inbox.is_busy))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return [*log, [*inbox.messages], inbox.n_received]


@pytest.mark.skipif(IS_PURE, reason="TELEX_PURE: there is one, and nothing to compare it with")
@settings(max_examples=500)
@given(_steps)
def test_both_do_the_same(steps: list[str]) -> None:
    async def main() -> tuple[list[Any], list[Any]]:
        return await run_steps(twin_of(MODULE, "pure"), steps), await run_steps(twin_of(MODULE, "compiled"), steps)

    expected, found = asyncio.run(main())
    assert found == expected


@pytest.mark.skipif(IS_PURE, reason="TELEX_PURE: there is one, and nothing to compare it with")
def test_the_twins_offer_the_same_names() -> None:
    ours, theirs = twin_of(MODULE, "pure"), twin_of(MODULE, "compiled")
    assert theirs.__all__ == ours.__all__
    for name in ours.__all__:
        public = [
            {each for each in dir(getattr(module, name)) if not each.startswith("_")} for module in (ours, theirs)
        ]
        assert public[0] == public[1]
