"""Who holds the event loop is named.

What is decided is tested by a watchdog that looks when it is told to, by a clock of the test's own: a real one may see
that the machine was slow. Where its thread runs, what holds the loop does so until it is seen.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

import telex
from telex.limits import Limits
from telex.serving import watchdog
from telex.serving.asgi import servers_in_use
from telex.serving.watchdog import Watchdog, codes_of, frames_of, name_of, outermost, watch
from tests.serving.live import LOOPS, Client, join, run, serving
from tests.support.processes import ServerProgram

ALLOWED = 0.5

SHORT = ALLOWED / 4

ON_EACH_LOOP = pytest.mark.parametrize("loop", LOOPS)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "telex.serving"]


class Looker:
    """A watchdog on the running loop that looks when it is told to, by a clock that is told what time has passed."""

    def __init__(self, servers: Collection[telex.Server] = ()) -> None:
        self.now = 0.0
        self._loop = asyncio.get_running_loop()
        self._dog = Watchdog(self._loop, ALLOWED, servers)
        self._suspect: Any = None

    def look(self, seconds: float = SHORT) -> None:
        self.now += seconds
        self._suspect = self._dog._look(self._loop, self._suspect, self.now)

    def hold(self) -> None:
        """Be seen to hold the loop for 0.75 s."""
        for _ in range(7):
            self.look()


@ON_EACH_LOOP
def test_a_handler_that_holds_the_loop_is_named(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        looker = Looker([io])

        @io.on("plain")
        def plain(socket: telex.Socket) -> int:
            looker.hold()
            return 1

        @io.of("/admin").on("step")
        async def step(socket: telex.Socket) -> int:
            await asyncio.sleep(0)
            looker.hold()
            return 1

        async with serving(io) as live, join(live.url) as client:
            assert await client.call("plain") == [1]
            assert lines(caplog) == []  # nobody has looked since
            looker.look()
            await client.join(nsp="/admin")
            client.say('2/admin,1["step"]')
            assert await client.hear() == "3/admin,1[1]"
            looker.look()

    run(main, loop=loop)
    first, second = lines(caplog)
    assert first.startswith("the handler for 'plain' (test_a_handler_that_holds_the_loop_is_named.<locals>.main.")
    assert "plain, test_watchdog.py:" in first
    assert "held the event loop for 0.75 s or more" in first
    assert "thread=True" in first
    assert second.startswith("the handler for 'step' of /admin (test_a_handler_that_holds_the_loop_is_named.<locals>.")
    assert "held the event loop for 0.75 s or more" in second


@ON_EACH_LOOP
def test_handlers_that_let_others_have_their_turn_are_not(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        looker = Looker([io])
        running = asyncio.get_running_loop()

        @io.on("kind")
        async def kind(socket: telex.Socket) -> int:
            for _ in range(10):
                looker.look()
                looker.look()
                looker.look()
                await asyncio.sleep(0)
            return 1

        @io.on("thread", thread=True)
        def thread(socket: telex.Socket) -> int:
            for _ in range(10):
                looker.look()
                turned = threading.Event()
                running.call_soon_threadsafe(turned.set)
                turned.wait(20)
            return 1

        async with serving(io) as live, join(live.url) as client:
            assert await client.call("kind") == [1]
            assert await client.call("thread") == [1]
            looker.look()

    run(main, loop=loop)
    assert lines(caplog) == []


@ON_EACH_LOOP
def test_many_short_calls_in_one_turn_are_nobody_s_fault(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        looker = Looker()

        def short() -> None:
            looker.look()
            looker.look()

        for _ in range(10):
            asyncio.get_running_loop().call_soon(short)
            asyncio.get_running_loop().call_soon(looker._dog.period.hex)  # which has no frame
        await asyncio.sleep(0)
        looker.look()

    run(main, loop=loop)
    assert lines(caplog) == []


def test_a_call_as_long_as_is_allowed_is_named_and_one_that_is_shorter_is_not(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        looker = Looker()

        def held(looks: int) -> None:
            for _ in range(looks):
                looker.look()

        for looks in (4, 5):
            asyncio.get_running_loop().call_soon(held, looks)
            await asyncio.sleep(0)
            looker.look()

    run(main)
    assert len(lines(caplog)) == 1
    assert "for 0.50 s or more" in lines(caplog)[0]


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
        looker = Looker()

        def hold() -> None:
            looker.hold()

        asyncio.get_running_loop().call_soon(hold)
        await asyncio.sleep(0)
        looker.look()

    run(main)
    assert "a function (test_a_function_that_nobody_registered_is_named_by_its_code." in lines(caplog)[0]
    assert "hold, test_watchdog.py:" in lines(caplog)[0]


class Teller(logging.Handler):
    """Tell of a line in which there is a name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.told = threading.Event()
        self._name = name

    def emit(self, record: logging.LogRecord) -> None:
        if self._name in record.getMessage():
            self.told.set()


@ON_EACH_LOOP
def test_one_that_never_ends_is_named_while_it_goes_on(
    loop: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "LONG", 0.05)
    teller = Teller("'endless'")

    async def main() -> None:
        io = telex.Server(limits=Limits(slow_handler=0.01))

        @io.on("endless")
        def endless(socket: telex.Socket) -> bool:
            return teller.told.wait(20)

        async with serving(io) as live, join(live.url) as client:
            assert await client.call("endless") == [True]

    logging.getLogger("telex.serving").addHandler(teller)
    try:
        run(main, loop=loop)
    finally:
        logging.getLogger("telex.serving").removeHandler(teller)
    # A slow machine may be blamed on others too.
    (line,) = (line for line in lines(caplog) if "goes on: let it await" in line and "'endless'" in line)
    assert line.startswith("the handler for 'endless' (")


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
    assert name_of(lines.__code__, [io]) == "a function"


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
    time.sleep(0.25)

@io.on("next")
async def next_(socket):
    return 1
"""


@pytest.mark.parametrize("arguments", [[], ["--slow-handler", "0"], ["--slow-handler", "20"]], ids=" ".join)
def test_telex_run_looks_unless_told_otherwise(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "chat.py").write_text(PROGRAM)
    with ServerProgram(["-m", "telex", "run", "chat:io", "--app-dir", tmp_path, "--port", "0", *arguments]) as server:

        async def call(client: Client) -> None:
            client.say('2["slow"]')
            assert await client.call("next") == [1]

        async def main() -> None:
            async with join(f"ws://127.0.0.1:{server.port}") as client:
                if arguments:
                    await call(client)
                    return
                line = r"the handler for 'slow' \(slow, chat.py:7\) held the event loop for 0\."
                told = asyncio.ensure_future(asyncio.to_thread(server.wait_for, line))
                while not told.done():  # its thread may come too late to see the first
                    await call(client)
                await told

        run(main)
        server.signal(signal.SIGTERM)
        server.wait()
        assert not arguments or not any("held the event loop" in line for line in server.output)
