"""A connection as a program holds it: Telex's server and client joined by a real socket, or a peer made by hand."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from telex.limits import Limits
from telex.types import Data
from telex.websocket import Connection, ConnectionClosed, Listener, State, broadcast, connect, serve
from telex.websocket.frames import Opcode
from tests.websocket.raw import frame, raw_client, run, until

HOST = "127.0.0.1"


async def echo(ws: Connection) -> None:
    async for message in ws:
        await ws.send(message)


class Echo(Listener):
    def on_message(self, ws: Connection, message: Data) -> None:
        ws.send(message)


class Recorder(Listener):
    """Keep what it is told; shared by all connections."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.closed = asyncio.Event()
        self.opened = asyncio.Event()
        self.ws: Connection

    def on_open(self, ws: Connection) -> None:
        self.ws = ws
        self.events.append("open")
        self.opened.set()

    def on_message(self, ws: Connection, message: Data) -> None:
        self.events.append(message)

    def on_ping(self, ws: Connection, payload: bytes) -> None:
        self.events.append(("ping", payload))

    def on_pong(self, ws: Connection, payload: bytes, latency: float | None) -> None:
        self.events.append(("pong", payload, latency is not None))

    def on_close(self, ws: Connection, code: int, reason: str) -> None:
        self.events.append(("close", code, reason))
        self.closed.set()


def url(server: Any) -> str:
    return f"ws://{HOST}:{server.port}"


both_styles = pytest.mark.parametrize("handler", [echo, Echo], ids=["coroutine", "listener"])


@both_styles
@pytest.mark.parametrize("deflate", [None, True])
def test_echo(handler: Any, deflate: bool | None) -> None:
    async def main() -> None:
        async with serve(handler, HOST, deflate=deflate) as server, connect(url(server), deflate=deflate) as ws:
            for message in ["", b"", "text €", b"\x00\xff", "x" * 200_000, b"y" * 200_000]:
                await ws.send(message)
                assert await ws.recv() == message
            for number in range(500):
                ws.send(str(number), compress=True)
            assert [await ws.recv() for _ in range(500)] == [str(number) for number in range(500)]
            ws.send(bytearray(b"array"))
            ws.send(memoryview(b"a view")[2:])
            assert [await ws.recv(), await ws.recv()] == [b"array", b"view"]
        assert ws.close_code == 1000
        assert ws.state is State.CLOSED

    run(main)


@both_styles
def test_what_came_before_a_violation_is_answered_first(handler: Any) -> None:
    async def main() -> None:
        async with serve(handler, HOST) as server, raw_client(server.port) as peer:
            await peer.write(frame(Opcode.TEXT, b"1") + frame(Opcode.TEXT, b"2") + b"\x83\x80\0\0\0\0")
            assert await peer.read_frame() == (Opcode.TEXT, b"1", True, False, True, True)
            assert (await peer.read_frame() or (None,))[0] is Opcode.TEXT
            close = await peer.read_frame()
            assert close is not None
            assert close.payload[:2] == b"\x03\xea"  # 1002
            assert await peer.read_frame() is None

    run(main)


def test_answers_of_a_coroutine_leave_before_its_close() -> None:
    """The peer's Close takes effect when the handler has come back for more."""

    async def main() -> None:
        go = asyncio.Event()

        async def slow(ws: Connection) -> None:
            async for message in ws:
                await go.wait()
                await ws.send(message)

        async with serve(slow, HOST) as server, raw_client(server.port) as peer:
            await peer.write(frame(Opcode.TEXT, b"1") + frame(Opcode.TEXT, b"2") + frame(Opcode.CLOSE, b"\x03\xe8bye"))
            (ws,) = server.connections
            await until(lambda: ws.state is State.CLOSE_OWED)
            go.set()
            assert await peer.read_frames() == [
                (Opcode.TEXT, b"1"),
                (Opcode.TEXT, b"2"),
                (Opcode.CLOSE, b"\x03\xe8"),
            ]
            peer.end()
            await ws.wait_closed()
            assert (ws.close_code, ws.close_reason) == (1000, "bye")

    run(main)


def test_a_handler_that_never_comes_back_cannot_hold_the_close_up() -> None:
    async def main() -> None:
        async def stuck(ws: Connection) -> None:
            await ws.recv()
            await asyncio.Event().wait()

        limits = Limits(close_timeout=0.05)
        async with serve(stuck, HOST, limits=limits) as server, raw_client(server.port) as peer:
            await peer.write(frame(Opcode.TEXT, b"1") + frame(Opcode.CLOSE, b"\x03\xe8"))
            assert await peer.read_frames() == [(Opcode.CLOSE, b"\x03\xe8")]

    run(main)


def test_a_handler_that_only_sends_is_closed_at_once() -> None:
    async def main() -> None:
        ended: list[int] = []

        async def ticker(ws: Connection) -> None:
            try:
                while True:
                    await ws.send("tick")
                    await asyncio.sleep(0)
            except ConnectionClosed as error:
                ended.append(error.code)
                raise

        async with serve(ticker, HOST, limits=Limits(close_timeout=3600)) as server, connect(url(server)) as ws:
            assert await ws.recv() == "tick"
            await ws.close(4000)
            assert ws.close_code == 4000
            await until(lambda: ended)
        assert ended == [4000]

    run(main)


def test_async_for_ends_quietly_only_on_a_regular_end() -> None:
    async def main() -> None:
        code: int | None = None

        async def closing(ws: Connection) -> None:
            ws.send("last")
            await ws.close(code, "" if code is None else "so")

        async with serve(closing, HOST) as server:
            for code in (1000, 1001, None):  # noqa: B007  # read by the handler
                async with connect(url(server)) as ws:
                    assert [message async for message in ws] == ["last"]
            for code in (1011, 4000):
                async with connect(url(server)) as ws:
                    with pytest.raises(ConnectionClosed) as closed:
                        [message async for message in ws]
                    assert (closed.value.code, closed.value.reason) == (code, "so")

    run(main)


def test_recv_and_send_after_the_end() -> None:
    async def main() -> None:
        async with serve(Echo, HOST) as server:
            ws = await connect(url(server))
            await ws.close(4321, "mine")
            for _ in range(2):
                with pytest.raises(ConnectionClosed, match="4321"):
                    await ws.recv()
            with pytest.raises(ConnectionClosed, match="4321"):
                ws.send("x")
            with pytest.raises(ConnectionClosed):
                ws.ping()
            await ws.close()
            ws.abort()
            await ws.wait_closed()

    run(main)


def test_messages_received_can_be_taken_after_the_end() -> None:
    async def main() -> None:
        async def three(ws: Connection) -> None:
            for number in range(3):
                ws.send(str(number))

        async with serve(three, HOST) as server:
            ws = await connect(url(server), limits=Limits(close_timeout=0.05))
            await ws.wait_closed()
            assert ws.statistics().n_waiting == 3
            assert [message async for message in ws] == ["0", "1", "2"]

    run(main)


def test_only_one_task_receives() -> None:
    async def main() -> None:
        async with serve(echo, HOST) as server, connect(url(server)) as ws:
            first = asyncio.create_task(ws.recv())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task"):
                await ws.recv()
            ws.send("x")
            assert await first == "x"

    run(main)


def test_a_cancelled_recv_loses_nothing() -> None:
    async def main() -> None:
        async with serve(echo, HOST) as server, connect(url(server)) as ws:
            for number in range(20):
                waiting = asyncio.create_task(ws.recv())
                ws.send(str(number))
                if number % 2:
                    await asyncio.sleep(0)  # it waits, and the answer may have come or not
                else:
                    await until(lambda task=waiting: ws.statistics().n_waiting or task.done())
                if waiting.cancel():
                    with pytest.raises(asyncio.CancelledError):
                        await waiting
                    assert await ws.recv() == str(number)
                else:
                    assert await waiting == str(number)

    run(main)


def test_a_listener_hears_everything_in_order() -> None:
    async def main() -> None:
        recorder = Recorder()
        async with serve(recorder, HOST) as server, raw_client(server.port) as peer:
            await peer.write(
                frame(Opcode.TEXT, b"text")
                + frame(Opcode.PING, b"p")
                + frame(Opcode.PONG, b"unasked")
                + frame(Opcode.BINARY, b"bin")
                + frame(Opcode.CLOSE, b"\x0f\xa0so")
            )
            assert await peer.read_frames() == [(Opcode.PONG, b"p"), (Opcode.CLOSE, b"\x0f\xa0")]
            peer.end()
            await recorder.closed.wait()
            assert recorder.events == [
                "open",
                "text",
                ("ping", b"p"),
                ("pong", b"unasked", False),
                b"bin",
                ("close", 4000, "so"),
            ]
            with pytest.raises(RuntimeError, match="listener"):
                await recorder.ws.recv()

    run(main)


@pytest.mark.parametrize("end", ["reset", "end", "violation"])
def test_on_close_is_called_once_however_it_ends(end: str) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with serve(recorder, HOST) as server, raw_client(server.port) as peer:
            await recorder.opened.wait()
            if end == "violation":
                await peer.write(b"\xff\xff")
                peer.end()
            else:
                getattr(peer, end)()
            await recorder.closed.wait()
        assert [event[1] for event in recorder.events[1:]] == [1002 if end == "violation" else 1006]

    run(main)


@pytest.mark.parametrize("method", ["on_open", "on_message", "on_close"])
def test_a_listener_that_fails(method: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        class Failing(Listener):
            def on_message(self, ws: Connection, message: Data) -> None:
                ws.send(message)

        def fail(*_: object) -> None:
            raise LookupError("mine")

        setattr(Failing, method, fail)
        async with serve(Failing, HOST) as server, connect(url(server)) as ws:
            if method != "on_open":
                ws.send("x")
            if method == "on_close":
                assert await ws.recv() == "x"
            else:
                with pytest.raises(ConnectionClosed) as closed:
                    await ws.recv()
                assert closed.value.code == 1011
        assert ws.state is State.CLOSED

    run(main)
    assert "LookupError: mine" in caplog.text


def test_a_listener_that_meets_a_cancelled_future_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        class Reading(Listener):
            def on_message(self, ws: Connection, message: Data) -> None:
                if message == "cancelled":
                    future = asyncio.get_running_loop().create_future()
                    future.cancel()
                    future.result()
                ws.send(message)

        async with serve(Reading, HOST) as server, connect(url(server)) as ws, connect(url(server)) as other:
            for _ in range(100):  # more than one turn's share, so that the turn's own callback meets it
                ws.send("x")
            ws.send("cancelled")
            assert [await ws.recv() for _ in range(100)] == ["x"] * 100
            with pytest.raises(ConnectionClosed) as closed:
                await ws.recv()
            assert closed.value.code == 1011
            other.send("y")
            assert await other.recv() == "y"

    run(main)
    assert "CancelledError" in caplog.text


def test_a_listener_of_ones_own_per_connection_or_one_for_all() -> None:
    async def main() -> None:
        class Counter(Listener):
            def __init__(self) -> None:
                self.n = 0

            def on_message(self, ws: Connection, message: Data) -> None:
                self.n += 1
                ws.send(str(self.n))

        for listener, expected in ((Counter, ["1", "1"]), (Counter(), ["1", "2"])):
            answers = []
            async with serve(listener, HOST) as server:
                for _ in range(2):
                    async with connect(url(server)) as ws:
                        ws.send("x")
                        answers.append(await ws.recv())
            assert answers == expected

    run(main)


def test_a_listener_on_the_client() -> None:
    async def main() -> None:
        recorder = Recorder()
        async with serve(Echo, HOST) as server:
            async with connect(url(server), listener=recorder) as ws:
                assert recorder.ws is ws
                ws.send("hi")
                assert await ws.ping(b"mine") >= 0
            assert recorder.events == ["open", "hi", ("pong", b"mine", True), ("close", 1000, "")]

    run(main)


def test_pings_are_answered_in_order_and_measured() -> None:
    async def main() -> None:
        async with serve(Echo, HOST) as server, connect(url(server)) as ws:
            assert ws.latency is None
            pings = [ws.ping() for _ in range(5)]
            latencies = [await ping for ping in pings]
            assert all(latency >= 0 for latency in latencies)
            assert ws.latency is not None
            assert ws.statistics().latency == ws.latency
            assert await pings[0] == latencies[0], "it can be awaited again"
            with pytest.raises(ValueError, match="125"):
                ws.ping(b"x" * 126)

    run(main)


def test_a_pong_answers_older_pings_too_and_an_end_answers_none() -> None:
    async def main() -> None:
        pongs: list[Any] = []

        class Pinging(Listener):
            def on_open(self, ws: Connection) -> None:
                pongs.extend(ws.ping(payload) for payload in (b"a", b"b", b"c"))
                ws.ping(b"ignored")

        async with serve(Pinging, HOST) as server, raw_client(server.port) as peer:
            for payload in (b"a", b"b", b"c", b"ignored"):
                assert (await peer.read_frame() or (None, None))[1] == payload
            await peer.write_frame(Opcode.PONG, b"b")
            await pongs[1]
            await pongs[0]
            waiting = asyncio.create_task(asyncio.wait_for(pongs[2], 10))
            peer.reset()
            with pytest.raises(ConnectionClosed):
                await waiting

    run(main)


def test_a_pong_to_the_keepalive_answers_older_pings_too() -> None:
    async def main() -> None:
        limits = Limits(ping_interval=0.02)
        async with serve(Listener, HOST, limits=limits) as server, raw_client(server.port) as peer:
            (ws,) = server.connections
            waiting = asyncio.ensure_future(ws.ping(b"mine"))
            payloads = [(await peer.read_frame() or (None, b""))[1] for _ in range(2)]
            assert b"mine" in payloads[:1]
            await peer.write_frame(Opcode.PONG, payloads[1])
            assert await waiting >= 0
            assert not ws._know.pongs
            await peer.write_frame(Opcode.PONG, b"to nothing")

    run(main)


def test_keepalive_closes_a_peer_that_does_not_answer() -> None:
    async def main() -> None:
        recorder = Recorder()
        limits = Limits(ping_interval=0.02, ping_timeout=0.05, close_timeout=0.05)
        async with serve(recorder, HOST, limits=limits) as server, raw_client(server.port) as peer:
            frames = await peer.read_frames()
            assert frames[0][0] is Opcode.PING
            assert frames[-1] == (Opcode.CLOSE, b"\x03\xf3keepalive ping timeout")
            await recorder.closed.wait()
        assert recorder.events[-1][:2] == ("close", 1011)

    run(main)


def test_keepalive_keeps_a_peer_that_does() -> None:
    async def main() -> None:
        limits = Limits(ping_interval=0.005, ping_timeout=5)
        recorder = Recorder()
        async with serve(echo, HOST, limits=limits) as server:
            async with connect(url(server), listener=recorder, keepalive=False):
                await until(lambda: len(recorder.events) > 10)
            assert recorder.events[-1] == ("close", 1000, "")

    run(main)


def test_a_full_inbox_stops_reading_by_number_and_by_bytes() -> None:
    async def main() -> None:
        for limits, message, n_full in (
            (Limits(recv_queue_high=4), "x", 4),
            (Limits(recv_queue_high_bytes=1000), "x" * 400, 3),
            (Limits(recv_queue_high_bytes=1000), "\u20ac" * 100, 4),
            (Limits(recv_queue_high_bytes=1000), b"\xff" * 400, 3),
        ):
            go = asyncio.Event()
            received: list[Data] = []

            async def late(ws: Connection, go: asyncio.Event = go, received: list[Data] = received) -> None:
                await go.wait()
                async for message in ws:
                    received.append(message)

            async with serve(late, HOST, limits=limits) as server, connect(url(server)) as ws:
                for _ in range(100):
                    ws.send(message)
                (other,) = server.connections
                await until(lambda other=other, n_full=n_full: other.statistics().n_waiting == n_full)
                for _ in range(10):
                    await asyncio.sleep(0)
                assert other.statistics().n_waiting == n_full
                go.set()
                await ws.close()
            assert received == [message] * 100

    run(main)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_peer_that_leaves_a_full_inbox_behind_is_noticed(end: str) -> None:
    async def main() -> None:
        async def busy(ws: Connection) -> None:
            await asyncio.Event().wait()

        limits = Limits(recv_queue_high=2, ping_interval=0.02, close_timeout=0.05)
        async with serve(busy, HOST, limits=limits) as server, raw_client(server.port) as peer:
            (ws,) = server.connections
            await peer.write(frame(Opcode.TEXT, b"x") * 10)
            await until(lambda: ws.statistics().n_waiting == 2)
            if end == "reset":
                peer.reset()
            else:
                peer.socket.close()
            await ws.wait_closed()
            assert ws.close_code == 1006
            assert [await ws.recv(), await ws.recv()] == ["x", "x"]

    run(main)


@pytest.mark.parametrize("n_taken", [0, 1])
def test_a_handler_that_waits_for_the_end_sees_it_behind_a_full_inbox(n_taken: int) -> None:
    async def main() -> None:
        left: list[Data] = []

        async def waiting(ws: Connection) -> None:
            for _ in range(n_taken):
                await ws.recv()
            await until(lambda: ws.statistics().n_waiting == 2)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await ws.wait_closed()  # and it may think better of it
            await ws.wait_closed()
            for _ in range(2):
                left.append(await ws.recv())
            with pytest.raises(ConnectionClosed):
                await ws.recv()

        limits = Limits(recv_queue_high=2, close_timeout=3600)
        async with serve(waiting, HOST, limits=limits) as server, raw_client(server.port) as peer:
            (ws,) = server.connections
            data = b"".join(frame(Opcode.TEXT, b"%d" % number) for number in range(10_000))
            await peer.write(data + frame(Opcode.CLOSE, b"\x03\xe8"))
            assert await peer.read_frames() == [(Opcode.CLOSE, b"\x03\xe8")]
            peer.end()
            await ws.wait_closed()
        assert left == [str(n_taken), str(n_taken + 1)]

    run(main)


def test_another_task_that_waits_for_the_end_costs_no_message() -> None:
    async def main() -> None:
        received: list[Data] = []

        async def slow(ws: Connection) -> None:
            watching = asyncio.create_task(ws.wait_closed())
            await until(lambda: ws.statistics().n_waiting == 2)
            async for message in ws:
                received.append(message)
                await asyncio.sleep(0)
            await watching

        async with serve(slow, HOST, limits=Limits(recv_queue_high=2)) as server, connect(url(server)) as ws:
            for number in range(100):
                ws.send(str(number))
            await ws.close()
        assert received == [str(number) for number in range(100)]

    run(main)


def test_closing_with_a_full_inbox_still_sees_the_answer() -> None:
    async def main() -> None:
        async with serve(Recorder, HOST, limits=Limits(close_timeout=3600)) as server:
            ws = await connect(url(server), limits=Limits(recv_queue_high=2, close_timeout=3600))
            (other,) = server.connections
            for _ in range(10):
                other.send("x")
            await until(lambda: ws.statistics().n_waiting == 2)
            await ws.close(4000)
            assert (ws.close_code, other.close_code) == (4000, 4000)

    run(main)


def test_send_waits_for_room() -> None:
    async def main() -> None:
        chunk = b"x" * 50_000
        n_sent = 0

        async def flood(ws: Connection) -> None:
            nonlocal n_sent
            for _ in range(400):
                await ws.send(chunk)
                n_sent += 1

        async with serve(flood, HOST) as server, raw_client(server.port, receive_buffer=4096) as peer:
            (ws,) = server.connections
            await until(lambda: ws.buffered_bytes > ws.limits.send_buffer_high)
            assert ws.buffered_bytes < 200_000
            assert n_sent < 400
            n_received = 0
            while n_received < 400:
                one = await peer.read_frame()
                assert one is not None
                n_received += one.ends
            await until(lambda: n_sent == 400)

    run(main)


def test_a_wait_for_room_ends_with_the_connection() -> None:
    async def main() -> None:
        ended: list[BaseException] = []

        async def flood(ws: Connection) -> None:
            try:
                while True:
                    await ws.send(b"x" * 50_000)
            except ConnectionClosed as error:
                ended.append(error)
                raise

        async with serve(flood, HOST) as server, raw_client(server.port, receive_buffer=4096) as peer:
            (ws,) = server.connections
            await until(lambda: ws.buffered_bytes > ws.limits.send_buffer_high)
            peer.reset()
            await until(lambda: ended)

    run(main)


def test_a_wait_for_room_says_that_the_message_is_lost() -> None:
    async def main() -> None:
        limits = Limits(send_buffer_max=100_000_000)
        async with serve(Listener, HOST, limits=limits) as server, raw_client(server.port, receive_buffer=4096) as peer:
            (ws,) = server.connections
            ws.send(b"x" * 20_000_000)
            waiting = asyncio.ensure_future(ws.send("the last"))
            await until(lambda: ws._know.room_waiters._futures)
            peer.reset()
            with pytest.raises(ConnectionClosed) as closed:
                await waiting
            assert closed.value.code == 1006

    run(main)


def test_a_buffer_over_its_maximum_closes_with_1013() -> None:
    async def main() -> None:
        recorder = Recorder()
        limits = Limits(send_buffer_max=1_000_000, close_timeout=0.05)
        async with serve(recorder, HOST, limits=limits) as server, raw_client(server.port, receive_buffer=4096):
            await recorder.opened.wait()
            ws = recorder.ws
            while ws.state is State.OPEN:
                ws.send(b"x" * 100_000)
                assert ws.buffered_bytes < 1_200_000
                await asyncio.sleep(0)
            with pytest.raises(ConnectionClosed, match="too slow"):
                ws.send("more")
            broadcast([ws], "left out")
            await recorder.closed.wait()
            assert recorder.events[-1][:2] == ("close", 1013)
            assert ws.close_code == 1013

    run(main)


@pytest.mark.parametrize("size", [5 << 20, 300_000])
def test_one_message_over_the_maximum_is_let_through_when_the_peer_keeps_up(size: int) -> None:
    async def main() -> None:
        limits = Limits(send_buffer_max=200_000)
        async with serve(Listener, HOST, limits=limits) as server, raw_client(server.port, receive_buffer=4096) as peer:
            (ws,) = server.connections
            ws.send("a word before")
            ws.send(b"x" * size)
            assert ws.state is State.OPEN
            assert (await peer.read_frame() or (None, None))[1] == b"a word before"
            assert (await peer.read_frame() or (None, None))[1] == b"x" * size
            await until(lambda: ws.buffered_bytes == 0)
            broadcast([ws], b"y" * size)
            assert ws.state is State.OPEN
            ws.send("one more than that")
            assert (ws.state, ws.close_code) == (State.CLOSE_SENT, 1013)
            ws.abort()

    run(main)


def test_a_peer_that_takes_nothing_is_cut() -> None:
    async def main() -> None:
        recorder = Recorder()
        limits = Limits(slow_consumer_timeout=0.1)
        async with serve(recorder, HOST, limits=limits) as server, raw_client(server.port, receive_buffer=4096):
            await recorder.opened.wait()
            ws = recorder.ws
            while ws.buffered_bytes <= ws.limits.send_buffer_high:
                ws.send(b"x" * 50_000)
                await asyncio.sleep(0)
            await recorder.closed.wait()
            assert (ws.close_code, ws.close_reason.split(":")[0]) == (1013, "too slow")
            with pytest.raises(ConnectionClosed, match="1013"):
                ws.send("x")

    run(main)


def test_a_peer_that_takes_little_by_little_is_kept() -> None:
    async def main() -> None:
        recorder = Recorder()
        limits = Limits(slow_consumer_timeout=0.1, send_buffer_max=100_000_000)
        async with (
            serve(recorder, HOST, limits=limits) as server,
            raw_client(server.port, receive_buffer=50_000) as peer,
        ):
            await recorder.opened.wait()
            ws = recorder.ws
            ws.send(b"x" * 50_000_000)
            loop = asyncio.get_running_loop()
            end = loop.time() + 5 * limits.slow_consumer_timeout
            while loop.time() < end:
                assert await loop.sock_recv(peer.socket, 50_000), "it was cut"
                await asyncio.sleep(0.005)  # this peer is slow
            assert ws.state is State.OPEN
            assert ws.buffered_bytes > limits.send_buffer_high
            ws.abort()

    run(main)


def test_a_listener_whose_answers_are_not_read_reads_no_more_questions() -> None:
    async def main() -> None:
        limits = Limits(slow_consumer_timeout=3600)
        async with serve(Echo, HOST, limits=limits) as server, raw_client(server.port, receive_buffer=4096) as peer:
            (ws,) = server.connections
            question = frame(Opcode.BINARY, b"x" * 10_000)
            n = 3000
            asking = asyncio.create_task(peer.write(question * n))
            await until(lambda: ws.buffered_bytes > ws.limits.send_buffer_high)
            for _ in range(50):
                await asyncio.sleep(0)
            assert ws.buffered_bytes < 1_000_000
            for _ in range(n):
                one = await peer.read_frame()
                assert one is not None
                assert len(one.payload) == 10_000
            await asking

    run(main)


def test_a_listener_that_is_behind_pauses() -> None:
    async def main() -> None:
        recorder = Recorder()
        async with serve(recorder, HOST, 0) as server, raw_client(server.port) as peer:
            await recorder.opened.wait()
            ws = recorder.ws
            ws.resume_reading()  # it was not paused
            ws.pause_reading()
            ws.pause_reading()
            await peer.write(frame(Opcode.TEXT, b"a") + frame(Opcode.TEXT, b"b"))
            for _ in range(50):
                await asyncio.sleep(0)
            assert recorder.events == ["open"]
            ws.resume_reading()
            await until(lambda: len(recorder.events) == 3)
            assert recorder.events[1:] == ["a", "b"]
            ws.pause_reading()
            ws.close(4000)
            assert await peer.read_frame() is not None
            await peer.write(frame(Opcode.CLOSE, b"\x0f\xa0"))
            await recorder.closed.wait()
            ws.resume_reading()
            assert recorder.events[3:] == [("close", 4000, "")]

    run(main)


def test_a_listener_pauses_from_inside_a_message() -> None:
    class OneByOne(Recorder):
        def on_message(self, ws: Connection, message: Data) -> None:
            super().on_message(ws, message)
            ws.pause_reading()

    async def main() -> None:
        listener = OneByOne()
        async with serve(listener, HOST, 0) as server, raw_client(server.port) as peer:
            await peer.write(b"".join(frame(Opcode.TEXT, b"%d" % number) for number in range(3)))
            for n_events in (2, 3, 4):
                await until(lambda n=n_events: len(listener.events) == n)
                for _ in range(20):
                    await asyncio.sleep(0)
                assert len(listener.events) == n_events
                listener.ws.resume_reading()

    run(main)


def test_who_reads_with_recv_does_not_pause() -> None:
    async def main() -> None:
        async with serve(echo, HOST, 0) as server, connect(f"ws://{HOST}:{server.port}") as ws:
            with pytest.raises(RuntimeError, match="by not reading"):
                ws.pause_reading()
            ws.resume_reading()
            await ws.send("on it goes")
            assert await ws.recv() == "on it goes"

    run(main)


@pytest.mark.parametrize(
    ("last", "was_clean", "has_failed"),
    [(frame(Opcode.CLOSE, b"\x03\xe8"), True, False), (frame(Opcode.CLOSE, b"\x03"), False, True), (b"", False, False)],
    ids=["close", "violation", "loss"],
)
def test_how_it_ended(last: bytes, was_clean: bool, has_failed: bool) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with serve(recorder, HOST, 0) as server, raw_client(server.port) as peer:
            await recorder.opened.wait()
            assert (recorder.ws.was_clean, recorder.ws.has_failed) == (False, False)
            await peer.write(last)
            peer.end()
            await recorder.closed.wait()
            assert (recorder.ws.was_clean, recorder.ws.has_failed) == (was_clean, has_failed)

    run(main)


def test_a_slow_reader_still_gets_its_close() -> None:
    """What is buffered and the Close behind it arrive, although the peer keeps sending."""

    async def main() -> None:
        async def once(ws: Connection) -> None:
            await ws.recv()
            ws.send(b"x" * 1_000_000)

        async with serve(once, HOST) as server, raw_client(server.port, receive_buffer=4096) as peer:
            await peer.write(frame(Opcode.TEXT, b"go") + frame(Opcode.TEXT, b"more" * 10_000) * 3)
            one = await peer.read_frame()
            assert one is not None
            assert one.payload == b"x" * 1_000_000
            await peer.write(frame(Opcode.TEXT, b"still more" * 10_000) + frame(Opcode.CLOSE, b"\x03\xe8"))
            assert await peer.read_frames() == [(Opcode.CLOSE, b"\x03\xe8")]

    run(main)


def test_a_flooding_peer_does_not_starve_the_others() -> None:
    async def main() -> None:
        order: list[str] = []

        class Noting(Listener):
            def on_message(self, ws: Connection, message: Data) -> None:
                order.append(str(message))

        async with serve(Noting, HOST) as server, raw_client(server.port) as flooder, raw_client(server.port) as modest:
            n = 3000
            await flooder.write(frame(Opcode.TEXT, b"flood") * n)
            await modest.write(frame(Opcode.TEXT, b"modest"))
            await until(lambda: len(order) == n + 1)
            assert order.index("modest") < n / 2

    run(main)


def test_broadcast() -> None:
    async def main() -> None:
        async with serve(Listener, HOST, deflate=True) as server:
            clients = [await connect(url(server), deflate=deflate) for deflate in (None, None, True)]
            gone = await connect(url(server))
            await until(lambda: len(server.connections) == 4)
            await gone.close()
            connections = server.connections
            broadcast(connections, "text" * 1000)
            broadcast(connections, b"binary")
            broadcast(clients, "and from the clients, masked")
            for client in clients:
                assert [await client.recv(), await client.recv()] == ["text" * 1000, b"binary"]
                await client.close()

    run(main)


@pytest.mark.parametrize("deflate", [None, True])
def test_broadcast_goes_on_past_one_that_is_about_to_be_lost(deflate: bool | None) -> None:
    async def main() -> None:
        limits = Limits(slow_consumer_timeout=0.05)
        async with (
            serve(Listener, HOST, deflate=deflate, limits=limits) as server,
            raw_client(server.port, receive_buffer=4096),
        ):
            (slow,) = server.connections
            while slow.buffered_bytes <= slow.limits.send_buffer_high:
                slow.send(b"x" * 50_000, compress=False)
                await asyncio.sleep(0)
            async with connect(url(server), deflate=deflate) as ws:
                (other,) = server.connections - {slow}
                await until(lambda: slow.close_code is not None)
                n_sent = slow.n_sent
                broadcast([slow, other], "news")
                assert slow.n_sent == n_sent
                assert await ws.recv() == "news"

    run(main)


def test_what_is_no_message_is_refused_before_anything_is_sent() -> None:
    async def main() -> None:
        async with serve(Echo, HOST) as server, connect(url(server)) as ws:
            for bad, error in ((1, TypeError), (None, TypeError), (["x"], TypeError), ("\ud800", ValueError)):
                with pytest.raises(error):
                    ws.send(bad)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="1005"):
                ws.close(1005)
            with pytest.raises(ValueError, match="reason"):
                ws.close(1000, "x" * 124)
            ws.send("still open")
            assert await ws.recv() == "still open"
            assert ws.statistics().n_sent == 1

    run(main)


def test_statistics_and_representation() -> None:
    async def main() -> None:
        async with serve(Echo, HOST) as server, connect(url(server)) as ws:
            ws.send("abc")
            await ws.recv()
            (other,) = server.connections
            assert (other.statistics().n_received, other.statistics().n_sent) == (1, 1)
            assert other.statistics().received_bytes == len(other.request.encode()) + 9
            assert ws.statistics().received_bytes == other.statistics().sent_bytes
            assert ws.statistics().buffered_bytes == 0
            assert ws.remote_address == other.local_address
            assert ws.local_address == other.remote_address
            assert ws.get_extra_info("socket").family == socket.AF_INET
            assert ws.get_extra_info("nothing", 1) == 1
            assert "OPEN" in repr(other)
            assert ws.close_code is None
            assert ws.close_reason == ""

    run(main)


def test_a_handler_that_is_cancelled_closes_with_1001() -> None:
    async def main() -> None:
        tasks: list[asyncio.Task[Any] | None] = []

        async def waiting(ws: Connection) -> None:
            tasks.append(asyncio.current_task())
            await ws.recv()

        async with serve(waiting, HOST) as server, connect(url(server)) as ws:
            await until(lambda: tasks)
            assert tasks[0] is not None
            tasks[0].cancel()
            await ws.wait_closed()
            assert ws.close_code == 1001

    run(main)


def test_a_program_that_is_cancelled_says_goodbye() -> None:
    """Ctrl-C cancels the main task of `asyncio.run`; leaving `async with serve` then closes with 1001."""

    async def main() -> None:
        ports: list[int] = []

        async def program() -> None:
            async with serve(echo, HOST) as server:
                ports.append(server.port)
                await asyncio.Event().wait()

        running = asyncio.create_task(program())
        await until(lambda: ports)
        async with raw_client(ports[0]) as peer:
            running.cancel()
            assert await peer.read_frame() == (Opcode.CLOSE, b"\x03\xe9", True, False, True, True)
            await peer.write_frame(Opcode.CLOSE, b"\x03\xe9")
            assert await peer.read_frame() is None
        with pytest.raises(asyncio.CancelledError):
            await running

    run(main)


def test_a_connection_that_is_gone_is_not_kept() -> None:
    async def main() -> None:
        async with serve(echo, HOST) as server:
            async with connect(url(server)) as ws:
                ws.send("x")
                await ws.recv()
                kept = weakref.ref(*server.connections)
            await until(lambda: not server.connections)
            await asyncio.sleep(0)
            gc.collect()
            assert kept() is None

    run(main)


def test_no_task_belongs_to_a_listeners_connection() -> None:
    async def main() -> None:
        async with serve(Echo, HOST) as server:
            n_before = len(asyncio.all_tasks())
            clients = [await connect(url(server), listener=Listener()) for _ in range(10)]
            assert len(server.connections) == 10
            assert len(asyncio.all_tasks()) == n_before
            for client in clients:
                await client.close()

    run(main)


def test_a_call_that_waits_can_be_ignored() -> None:
    """Calls act at once, and no coroutine is left unawaited (warnings are errors here)."""

    async def main() -> None:
        async with serve(Echo, HOST) as server:
            ws = await connect(url(server))
            for call in (lambda: ws.send("x"), ws.ping, ws.close):
                action: Callable[[], Awaitable[Any]] = call
                action()
            await until(lambda: ws.state is State.CLOSED)
        gc.collect()

    run(main)
