"""The compiled driver in the event loop's place: it waits there, and nobody notices but by what it costs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from telex.streams import poll_of
from tests.streams.ends import LOOPS, SECONDS, Sink, run
from tests.twins import IS_PURE

if sys.platform != "linux":
    pytest.skip("epoll is Linux's", allow_module_level=True)

if IS_PURE:
    pytest.skip("TELEX_PURE: there is no compiled loop", allow_module_level=True)

N = 500
LOOP = pytest.mark.parametrize("loop", LOOPS)


@contextlib.asynccontextmanager
async def echoing(on_data: Callable[[bytes], object] = lambda data: None) -> AsyncIterator[tuple[Sink, socket.socket]]:
    """Give a stream that sends back what comes, and its peer, which blocks: it is for another thread."""
    ours, peer = socket.socketpair()
    poll: Any = poll_of(asyncio.get_running_loop())
    sink = Sink()
    sink.stream = poll.adopt(ours.detach(), sink, high_mark=65536)

    def answer(data: bytes) -> None:
        on_data(data)
        sink.stream.write(data)

    sink.on_data = answer
    peer.settimeout(SECONDS)
    with peer:
        yield sink, peer
        sink.stream.abort()
        await sink.end()


def ping(peer: socket.socket, n: int = N) -> None:
    """Send a byte and wait for it, so often."""
    for i in range(n):
        peer.send(bytes([i & 255]))
        assert peer.recv(1) == bytes([i & 255])


async def elsewhere(work: Callable[[], object]) -> None:
    """Do something in a thread."""
    async with asyncio.timeout(SECONDS):
        await asyncio.to_thread(work)


def count_selects() -> list[float]:
    """Note each time that the event loop itself waits."""
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    select, times = selector.select, []

    def counted(timeout: float | None = None) -> Any:
        times.append(time.monotonic())
        return select(timeout)

    selector.select = counted
    return times


def test_while_there_is_nothing_else_the_loop_is_not_asked() -> None:
    async def main() -> None:
        async with echoing() as (_, peer):
            selects = count_selects()
            await elsewhere(lambda: ping(peer))
            assert len(selects) < N / 10

    run("asyncio", main)


def test_a_loop_in_debug_mode_makes_each_turn_itself() -> None:
    """There it measures how long a callback takes, and waiting is not what it means."""

    async def main() -> None:
        asyncio.get_running_loop().set_debug(True)
        async with echoing() as (_, peer):
            selects = count_selects()
            await elsewhere(lambda: ping(peer))
            assert len(selects) >= N

    run("asyncio", main)


@LOOP
def test_timers_are_not_late(loop: str) -> None:
    async def main() -> None:
        here = asyncio.get_running_loop()
        async with echoing() as (_, peer):
            late: list[float] = []

            def tick(due: float) -> None:
                late.append(here.time() - due)
                here.call_at(here.time() + 0.002, tick, here.time() + 0.002)

            tick(here.time())
            await elsewhere(lambda: ping(peer, 5000))
            assert len(late) > 10
            assert sorted(late)[len(late) // 2] < 0.5  # and not only when the streams rest

    run(loop, main)


@LOOP
def test_a_timer_comes_when_no_stream_has_anything(loop: str) -> None:
    async def main() -> None:
        async with echoing() as (_, peer), asyncio.timeout(SECONDS):
            await elsewhere(lambda: ping(peer, 3))
            began = time.monotonic()
            await asyncio.sleep(0.05)
            assert time.monotonic() - began >= 0.049

    run(loop, main)


@LOOP
def test_what_a_handler_schedules_runs_before_more_is_read(loop: str) -> None:
    async def main() -> None:
        here, order = asyncio.get_running_loop(), []

        def note(data: bytes) -> None:
            order.append(data)
            here.call_soon(order.append, b"soon after " + data)

        async with echoing(note) as (_, peer):
            await elsewhere(lambda: ping(peer, 50))
        assert order == [each for i in range(50) for each in (bytes([i]), b"soon after " + bytes([i]))]

    run(loop, main)


@LOOP
def test_a_task_that_a_handler_wakes_goes_on(loop: str) -> None:
    async def main() -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        async with echoing(queue.put_nowait) as (_, peer), asyncio.timeout(SECONDS):
            task = asyncio.create_task(elsewhere(lambda: ping(peer, 20)))
            assert [await queue.get() for _ in range(20)] == [bytes([i]) for i in range(20)]
            await task

    run(loop, main)


@LOOP
def test_another_thread_is_heard(loop: str) -> None:
    async def main() -> None:
        here = asyncio.get_running_loop()
        async with echoing() as (_, peer), asyncio.timeout(SECONDS):
            heard = asyncio.Event()

            def work() -> None:
                ping(peer, 5)
                here.call_soon_threadsafe(heard.set)  # with no stream that has anything, and no timer near

            thread = threading.Thread(target=work)
            thread.start()
            await heard.wait()
            thread.join()

    run(loop, main)


@LOOP
def test_other_descriptors_of_the_loop_have_their_turn(loop: str) -> None:
    async def main() -> None:
        here = asyncio.get_running_loop()
        reader, writer = os.pipe()
        got: list[bytes] = []
        here.add_reader(reader, lambda: got.append(os.read(reader, 1)))

        def both(peer: socket.socket) -> None:
            for i in range(50):
                ping(peer, 1)
                os.write(writer, bytes([i]))
                ping(peer, 3)

        try:
            async with echoing() as (_, peer):
                await elsewhere(lambda: both(peer))
                assert got == [bytes([i]) for i in range(50)]
        finally:
            here.remove_reader(reader)
            os.close(reader)
            os.close(writer)

    run(loop, main)


@LOOP
@pytest.mark.parametrize("how", ["signal.signal", "add_signal_handler"])
def test_a_signal_is_handled_while_nothing_else_happens(loop: str, how: str) -> None:
    async def main() -> None:
        here, heard = asyncio.get_running_loop(), asyncio.Event()
        former = signal.getsignal(signal.SIGUSR1)
        if how == "signal.signal":
            signal.signal(signal.SIGUSR1, lambda *_: here.call_soon_threadsafe(heard.set))
        else:
            here.add_signal_handler(signal.SIGUSR1, heard.set)
        try:
            async with echoing() as (_, peer), asyncio.timeout(SECONDS):

                def work() -> None:
                    ping(peer, 5)
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

                thread = threading.Thread(target=work)
                thread.start()
                await heard.wait()
                thread.join()
        finally:
            if how == "add_signal_handler":
                here.remove_signal_handler(signal.SIGUSR1)
            signal.signal(signal.SIGUSR1, former)

    run(loop, main)


@LOOP
def test_a_handler_can_stop_the_loop(loop: str) -> None:
    here = LOOPS[loop]()
    try:
        ours, peer = socket.socketpair()

        async def begin() -> Sink:
            sink = Sink()
            poll: Any = poll_of(asyncio.get_running_loop())
            sink.stream = poll.adopt(ours.detach(), sink, high_mark=65536)
            sink.on_data = lambda _: here.stop()
            return sink

        sink = here.run_until_complete(begin())
        with peer:
            peer.send(b"stop")
            alarm = here.call_later(SECONDS, here.stop)
            here.run_forever()
            assert not alarm.cancelled()
            assert alarm.when() > here.time(), "it was the handler"
            assert bytes(sink.received) == b"stop"
            sink.stream.abort()
            here.run_until_complete(sink.end())
        here.run_until_complete(here.shutdown_asyncgens())
    finally:
        here.close()


@LOOP
def test_what_ends_the_program_comes_out_of_the_loop(loop: str) -> None:
    class EndError(SystemExit):
        pass

    async def main() -> None:
        def end(_: bytes) -> None:
            raise EndError

        async with echoing(end) as (_, peer):
            peer.send(b"x")
            await asyncio.sleep(SECONDS)

    with pytest.raises(EndError):
        run(loop, main)
