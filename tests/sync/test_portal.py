"""The way into the background loop: calls, interruptions, and how it begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from telex.sync import portal as portal_module
from telex.sync.portal import Portal, shared
from tests.support.processes import Program

SECONDS = 30.0


@pytest.fixture
def portal() -> Iterator[Portal]:
    made = Portal()
    yield made
    made.close()
    assert not made._thread.is_alive()


async def add(a: int, b: int) -> int:
    await asyncio.sleep(0)
    return a + b


async def sleep_for_ever() -> None:
    await asyncio.Event().wait()


def test_a_call_returns_what_the_coroutine_returns(portal: Portal) -> None:
    assert portal.call(add, 1, b=2) == 3


def test_a_call_raises_what_the_coroutine_raises(portal: Portal) -> None:
    async def fail() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError, match="k"):
        portal.call(fail)


def test_everything_runs_on_one_thread_that_is_not_ours(portal: Portal) -> None:
    async def where() -> int:
        return threading.get_ident()

    assert portal.call(where) == portal.call(where) != threading.get_ident()


def test_posts_and_calls_keep_their_order(portal: Portal) -> None:
    seen: list[int] = []

    async def note(i: int) -> None:
        seen.append(i)

    for i in range(0, 200, 2):
        portal.post(lambda i=i: seen.append(i))  # type: ignore[misc]
        portal.call(note, i + 1)
    assert seen == list(range(200))


def test_many_threads_call_at_once(portal: Portal) -> None:
    results: list[list[int]] = [[] for _ in range(16)]

    def work(mine: list[int], n: int) -> None:
        mine.extend(portal.call(add, n, i) for i in range(100))

    threads = [threading.Thread(target=work, args=(mine, n)) for n, mine in enumerate(results)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert results == [[n + i for i in range(100)] for n in range(16)]


def test_a_timeout_cancels_the_coroutine_before_it_raises(portal: Portal) -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await sleep_for_ever()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            ended.append("cancelled")
            raise

    with pytest.raises(TimeoutError, match=r"0\.01 s"):
        portal.call_within(0.01, wait)
    assert ended == ["cancelled"]


def test_no_time_at_all_is_a_timeout_too(portal: Portal) -> None:
    for timeout in (0, -1):
        with pytest.raises(TimeoutError):
            portal.call_within(timeout, sleep_for_ever)


def test_what_need_not_wait_needs_no_time(portal: Portal) -> None:
    async def at_once() -> str:
        return "done"

    assert [portal.call_within(0, at_once) for _ in range(100)] == ["done"] * 100


def test_what_is_done_just_before_it_is_cancelled_counts(portal: Portal) -> None:
    async def almost() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await sleep_for_ever()
        return "done"

    assert portal.call_within(0.01, almost) == "done"


def test_a_coroutine_that_does_not_end_is_left(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal_module, "CANCEL_SECONDS", 0.01)
    release = threading.Event()

    async def deaf() -> None:
        try:
            await sleep_for_ever()
        except asyncio.CancelledError:
            while not release.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0)

    with pytest.raises(TimeoutError):
        portal.call_within(0.01, deaf)
    release.set()


def test_a_call_from_the_loop_s_own_thread_is_refused(portal: Portal) -> None:
    async def call_again() -> int:
        return portal.call(add, 1, 2)

    with pytest.raises(RuntimeError, match="its own event loop's thread"):
        portal.call(call_again)


def test_a_call_where_another_loop_runs_works(portal: Portal) -> None:
    async def main() -> int:
        return portal.call(add, 1, 2)

    assert asyncio.run(main()) == 3


def test_a_post_that_fails_harms_nobody(portal: Portal, caplog: pytest.LogCaptureFixture) -> None:
    portal.post(lambda: 1 / 0)
    assert portal.call(add, 1, 2) == 3
    assert "division by zero" in caplog.text


def test_many_threads_get_the_same_portal() -> None:
    found: list[Portal] = []
    threads = [threading.Thread(target=lambda: found.append(shared())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert set(found) == {shared()}


def test_what_is_open_is_closed_at_the_end_and_the_rest_cancelled() -> None:
    portal = Portal()
    told: list[str] = []

    class Thing:
        pass

    async def close(_: Thing) -> None:
        await asyncio.sleep(0)
        told.append("closed")

    async def fail(_: Thing) -> None:
        raise OSError

    things = [Thing(), Thing(), Thing()]
    portal.post(lambda: portal.keep(things[0], close))
    portal.post(lambda: portal.keep(things[1], fail))
    portal.post(lambda: portal.keep(things.pop(), close))  # nobody holds this one
    portal.call(asyncio.sleep, 0)
    portal.close()
    assert told == ["closed"]
    with pytest.raises(RuntimeError, match="the interpreter is ending"):
        portal.call(add, 1, 2)
    portal.close()


def test_the_end_waits_for_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal_module, "EXIT_SECONDS", 0.05)
    portal = Portal()

    async def never(_: object) -> None:
        await sleep_for_ever()

    class Thing:
        pass

    thing = Thing()
    portal.post(lambda: portal.keep(thing, never))
    began = time.monotonic()
    portal.close()
    assert not portal._thread.is_alive()
    assert time.monotonic() - began < SECONDS


# What needs a process of its own.


def run_program(tmp_path: Path, text: str) -> Program:
    path = tmp_path / "program.py"
    path.write_text(text)
    return Program([sys.executable, "-W", "error", str(path)])


WAIT = """
import asyncio, threading
from telex.sync.portal import shared
cancelled = threading.Event()
async def wait():
    print("waiting", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        cancelled.set()
async def answer():
    return 42
"""


def test_ctrl_c_cancels_what_is_waited_for_and_leaves_the_rest_at_work(tmp_path: Path) -> None:
    text = (
        WAIT
        + """
try:
    shared().call(wait)
except KeyboardInterrupt:
    print("interrupted", cancelled.is_set(), shared().call(answer))
"""
    )
    with run_program(tmp_path, text) as program:
        program.wait_for("waiting")
        program.signal(signal.SIGINT)
        program.wait_for("interrupted True 42")
        assert program.wait() == 0


def test_the_interpreter_ends_though_a_thread_waits_for_ever(tmp_path: Path) -> None:
    text = (
        WAIT
        + """
threading.Thread(target=shared().call, args=(wait,), daemon=True).start()
shared().call(answer)
"""
    )
    with run_program(tmp_path, text) as program:
        assert program.wait() == 0, program.output


def test_threads_that_outlive_the_main_one_go_on(tmp_path: Path) -> None:
    text = (
        WAIT
        + """
import time
def later():
    threading.main_thread().join()
    print("still", shared().call(answer), flush=True)
threading.Thread(target=later).start()
shared()
"""
    )
    with run_program(tmp_path, text) as program:
        program.wait_for("still 42")
        assert program.wait() == 0


def test_a_blocking_lookup_does_not_hold_up_the_end(tmp_path: Path) -> None:
    text = (
        WAIT
        + """
async def look_up():
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
shared().call(look_up)
"""
    )
    with run_program(tmp_path, text) as program:
        assert program.wait() == 0


def test_a_child_has_a_loop_of_its_own_and_lets_its_parent_s_alone(tmp_path: Path) -> None:
    text = (
        WAIT
        + """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forking where threads are
before = shared()
assert before.call(answer) == 42
child = os.fork()
try:
    before.call(answer)
    print("parent", shared() is before, flush=True)
except RuntimeError as error:
    print("child:", error, shared().call(answer), shared() is before, flush=True)
if child:
    status = os.waitpid(child, 0)[1]
    print("status", status, shared().call(answer))
"""
    )
    with run_program(tmp_path, text) as program:
        program.wait_for("status 0 42")
        assert program.wait() == 0
    assert "parent True" in program.output
    assert "child: this was opened before the process forked; the child has to open its own 42 False" in program.output
