"""Who holds the event loop is named. What is slow here holds it on purpose, and much longer than is allowed."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import telex
from telex.limits import Limits
from telex.serving import watchdog
from telex.serving.asgi import servers_in_use
from telex.serving.watchdog import codes_of, frames_of, name_of, outermost, watch
from tests.serving.live import LOOPS, join, run, serving, until
from tests.support.processes import ServerProgram

ALLOWED = 0.05
HELD = 0.5
SHORT = 0.001

PATIENT = 0.3
"""What is allowed where nobody is to be blamed: the machine itself may stop for a while."""

MANY = int(3 * PATIENT / SHORT)

ON_EACH_LOOP = pytest.mark.parametrize("loop", LOOPS)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "telex.serving"]


def hold() -> None:
    time.sleep(HELD)


def make_server(allowed: float = ALLOWED) -> telex.Server:
    io = telex.Server(limits=Limits(slow_handler=allowed))

    @io.on("plain")
    def plain(socket: telex.Socket) -> int:
        hold()
        return 1

    @io.of("/admin").on("step")
    async def step(socket: telex.Socket) -> int:
        await asyncio.sleep(0)
        end = time.monotonic() + HELD
        while time.monotonic() < end:
            pass
        return 1

    @io.on("kind")
    async def kind(socket: telex.Socket) -> int:
        for _ in range(MANY):
            time.sleep(SHORT)  # noqa: ASYNC251  # it is what is looked at
            await asyncio.sleep(0)
        return 1

    @io.on("thread", thread=True)
    def thread(socket: telex.Socket) -> int:
        hold()
        return 1

    return io


@ON_EACH_LOOP
def test_a_handler_that_holds_the_loop_is_named(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving(make_server()) as live, join(live.url) as client:
            assert await client.call("plain") == [1]
            await client.call("kind")  # by then the line is written
            await client.join(nsp="/admin")
            client.say('2/admin,1["step"]')
            assert await client.hear() == "3/admin,1[1]"
            await client.call("kind")

    run(main, loop=loop)
    first, second = lines(caplog)
    assert first.startswith("the handler for 'plain' (make_server.<locals>.plain, test_watchdog.py:")
    assert "held the event loop for 0." in first
    assert "thread=True" in first
    assert second.startswith("the handler for 'step' of /admin (make_server.<locals>.step, test_watchdog.py:")


@ON_EACH_LOOP
def test_handlers_that_let_others_have_their_turn_are_not(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving(make_server(PATIENT)) as live, join(live.url) as client:
            assert await client.call("kind") == [1]
            assert await client.call("thread") == [1]
            assert await client.call("kind") == [1]

    run(main, loop=loop)
    assert lines(caplog) == []


@ON_EACH_LOOP
def test_many_short_calls_in_one_turn_are_nobody_s_fault(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        watch(PATIENT, servers_in_use)
        for _ in range(MANY):
            asyncio.get_running_loop().call_soon(time.sleep, SHORT)
            asyncio.get_running_loop().call_soon(short)
        await asyncio.sleep(0)
        await asyncio.sleep(PATIENT)  # for the thread to look again

    run(main, loop=loop)
    assert lines(caplog) == []


def short() -> None:
    time.sleep(SHORT)


@ON_EACH_LOOP
def test_a_loop_that_waits_is_seen_to_wait(loop: str) -> None:
    async def main() -> None:
        me = threading.get_ident()
        waits = asyncio.Event()
        running = asyncio.get_running_loop()

        def look() -> object:
            # By the second sign at the latest the loop has come to where it waits for this thread.
            for _ in range(2):
                sign = threading.Event()
                running.call_soon_threadsafe(sign.set)
                sign.wait(20)
            while (frame := outermost(frames_of(sys._current_frames()[me]))) is not None:
                assert frame.f_code.co_filename == __file__, frame
            running.call_soon_threadsafe(waits.set)
            return frame

        assert await asyncio.to_thread(look) is None
        await waits.wait()

    run(main, loop=loop)


def test_a_function_that_nobody_registered_is_named_by_its_code(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        watch(ALLOWED, servers_in_use)
        asyncio.get_running_loop().call_soon(hold)
        await asyncio.sleep(0)
        await until(lambda: lines(caplog))

    run(main)
    assert lines(caplog)[0].startswith("a function (hold, test_watchdog.py:")


def test_one_that_never_ends_is_named_while_it_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "LONG", 4 * ALLOWED)
    told = threading.Event()

    class Teller(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.set()

    def endless() -> None:
        assert told.wait(20)

    async def main() -> None:
        watch(ALLOWED, servers_in_use)
        asyncio.get_running_loop().call_soon(endless)
        await asyncio.sleep(0)

    teller = Teller()
    logging.getLogger("telex.serving").addHandler(teller)
    try:
        run(main)
    finally:
        logging.getLogger("telex.serving").removeHandler(teller)
    assert "goes on: let it await" in lines(caplog)[0]


def test_the_strictest_of_several_settings_counts_and_one_thread_looks() -> None:
    async def main() -> None:
        before = {thread for thread in threading.enumerate() if thread.name == "telex-watchdog"}
        for allowed in (0.3, 0.1, 0.2):
            watch(allowed, servers_in_use)
        found = watchdog._watchdogs[asyncio.get_running_loop()]
        assert found.allowed == 0.1
        now = {thread for thread in threading.enumerate() if thread.name == "telex-watchdog"}
        assert len(now - before) == 1

    run(main)


def test_it_ends_with_its_loop_and_keeps_nothing_alive() -> None:
    loop = asyncio.new_event_loop()
    gone = weakref.ref(loop)
    before = set(threading.enumerate())

    async def main() -> None:
        watch(ALLOWED, servers_in_use)

    loop.run_until_complete(main())
    (thread,) = set(threading.enumerate()) - before
    loop.close()
    thread.join(20)
    assert not thread.is_alive()
    del loop
    assert gone() is None or gone().is_closed()  # type: ignore[union-attr]


def test_nobody_looks_unless_it_is_asked_for() -> None:
    async def main() -> None:
        async with serving(telex.Server()) as live, join(live.url):
            assert asyncio.get_running_loop() not in watchdog._watchdogs

    run(main)


class Handlers:
    def __call__(self, socket: telex.Socket) -> None: ...

    def method(self, socket: telex.Socket) -> None: ...


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


def handler(socket: telex.Socket) -> None: ...


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (handler, handler.__code__),
        (wrapped(handler), handler.__code__),
        (functools.partial(handler), handler.__code__),
        (Handlers(), Handlers.__call__.__code__),
        (Handlers().method, Handlers.method.__code__),
    ],
)
def test_whatever_can_be_registered_is_found_by_its_code(function: Any, code: Any) -> None:
    io = telex.Server()
    io.on("event", function)
    assert code in codes_of(function)
    assert name_of(code, [io]) == "the handler for 'event'"
    assert name_of(hold.__code__, [io]) == "a function"


def test_catch_alls_and_middlewares_have_names() -> None:
    def catch(socket: telex.Socket, event: str, *args: Any) -> None: ...

    async def middle(socket: telex.Socket) -> None: ...

    io = telex.Server()
    io.on_any(catch)
    io.of("/admin").use(middle)
    assert name_of(catch.__code__, [io]) == "a catch-all handler"
    assert name_of(middle.__code__, [io]) == "a middleware of /admin"


def test_builtins_have_no_code() -> None:
    assert codes_of(print) == set()


PROGRAM = """
import time
import telex

io = telex.Server()

@io.on("slow")
def slow(socket):
    time.sleep(0.5)

@io.on("next")
async def next_(socket):
    return 1
"""


@pytest.mark.parametrize("arguments", [[], ["--slow-handler", "0"], ["--slow-handler", "20"]], ids=" ".join)
def test_telex_run_looks_unless_told_otherwise(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "chat.py").write_text(PROGRAM)
    with ServerProgram(["-m", "telex", "run", "chat:io", "--app-dir", tmp_path, "--port", "0", *arguments]) as server:

        async def main() -> None:
            async with join(f"ws://127.0.0.1:{server.port}") as client:
                client.say('2["slow"]')
                assert await client.call("next") == [1]

        run(main)
        if not arguments:
            server.wait_for(r"the handler for 'slow' \(slow, chat.py:7\) held the event loop for 0\.")
        server.signal(signal.SIGTERM)
        server.wait()
        assert sum("held the event loop" in line for line in server.output) == (0 if arguments else 1)
