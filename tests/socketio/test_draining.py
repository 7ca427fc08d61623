"""Draining a server: who goes when, who is waited for, and who is not let in any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import telex
from telex.engineio import Request, Response, WebSocketAdmission
from telex.streams.deadlines import deadlines_of
from telex.types import Headers
from tests.socketio.harness import Client, advance, join, note, open_client, run, settle, the_loop

REASON = telex.DisconnectReason.SERVER_SHUTTING_DOWN


def handshake(transport: str = "websocket") -> Request:
    return Request("GET", "/socket.io/", f"EIO=4&transport={transport}", Headers([("host", "example.org")]))


class NoBody:
    """The body of a GET, whose client stays."""

    def read_nowait(self) -> bytes | None:
        return b""

    async def read(self) -> bytes | None:
        return None

    async def wait_gone(self) -> None:
        await asyncio.Event().wait()


async def begin(io: telex.Server, seconds: float) -> asyncio.Task[None]:
    """Begin to drain, and let come what comes at once."""
    task = asyncio.create_task(io.drain(seconds))
    await settle()
    return task


def test_clients_go_one_by_one_spread_over_the_time() -> None:
    async def main() -> None:
        io = telex.Server()
        reasons = note(io, "disconnect")
        clients = [(await join(io))[0] for _ in range(10)]
        task = await begin(io, 20)
        for n in range(10):
            assert [client.is_closed for client in clients] == [True] * (n + 1) + [False] * (9 - n)
            assert task.done() is (n == 9), "when the last has gone, there is nothing to wait for"
            await advance(2)
        assert reasons == [("disconnect", REASON)] * 10
        assert len(deadlines_of(the_loop())) == 0

    run(main)


def test_nobody_is_let_in_any_more_and_told_when_to_come_back() -> None:
    async def main() -> None:
        io = telex.Server()
        client, _ = await join(io)
        other, _ = await join(io)
        task = await begin(io, 20)
        await advance(1.5)
        assert client.is_closed
        for later, seconds in ((0, "19"), (18, "1"), (100, "1")):
            await advance(later)
            for response in (
                await io.engine.admit_websocket(handshake()),
                await io.engine.handle(handshake("polling"), NoBody()),
            ):
                assert isinstance(response, Response)
                assert (response.status, response.body) == (503, b"The server is shutting down")
                assert ("retry-after", seconds) in response.headers
        assert other.is_closed
        assert task.done()

    run(main)


def test_who_is_there_goes_on_until_his_turn() -> None:
    async def main() -> None:
        io = telex.Server()
        io.on("echo", lambda socket, value: value)
        await join(io)
        last, _ = await join(io)
        await begin(io, 20)
        await advance(5)
        last.emit("echo", 1, ack_id=7)
        assert await last.receive() == "37[1]"
        await advance(20)
        assert last.is_closed

    run(main)


def test_a_drain_is_over_when_all_have_gone() -> None:
    async def main() -> None:
        io = telex.Server()
        await io.drain(1000)
        assert the_loop().now == 1000.0, "no time has passed"

    run(main)

    async def leaving() -> None:
        io = telex.Server()
        clients = [(await join(io))[0] for _ in range(3)]
        task = await begin(io, 1000)
        for client in clients[1:]:
            client.leave()
        await settle()
        assert task.done()

    run(leaving)


@pytest.mark.parametrize("ends", [True, False])
def test_a_handler_at_work_is_waited_for_within_the_time(ends: bool) -> None:
    async def main() -> None:
        io = telex.Server()
        go_on = asyncio.Event()

        @io.on("work")
        async def work(socket: telex.Socket) -> str:
            await go_on.wait()
            return "done"

        client, _ = await join(io)
        idle, _ = await join(io)
        client.emit("work", ack_id=1)
        task = await begin(io, 20)
        await advance(15)
        assert idle.is_closed
        assert not client.is_closed
        if ends:
            go_on.set()
            assert await client.receive() == '31["done"]'
            await settle()
            assert client.is_closed
            assert task.done()
        else:
            await advance(5)
            assert client.is_closed, "the time is over"
            assert not task.done(), "but as ever, a handler has the time of a close"
            await advance(io.limits.close_timeout)
            assert task.done()
            go_on.set()

    run(main)


@pytest.mark.parametrize("how", ["answer", "timeout", "never"])
def test_an_acknowledgement_is_waited_for_within_the_time(how: str) -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        answers: list[Any] = []
        if how == "timeout":
            with_timeout = asyncio.create_task(socket.call("ask", timeout=5))
            await settle()
        else:
            socket.emit("ask", callback=lambda *values: answers.append(values))
        task = await begin(io, 20)
        await advance(1)
        assert not client.is_closed
        if how == "answer":
            client.send('30["yes"]')
            await settle()
            assert answers == [("yes",)]
        elif how == "timeout":
            await advance(4)
            with pytest.raises(telex.AckTimeout):
                await with_timeout
        else:
            await advance(19)
        await settle()
        assert client.is_closed
        assert task.done()

    run(main)


def test_an_acknowledgement_of_what_was_dropped_is_not_waited_for() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=1000))
        client, socket = await join(io)
        client.hold()
        socket.emit("fills the line", "x" * 2000)
        socket.latest("k").emit("ask", callback=lambda *_: None)
        task = await begin(io, 20)
        await advance(1)
        assert socket.connected
        socket.latest("k").emit("takes its place")
        await settle()
        assert not socket.connected
        assert not task.done(), "what was sent before is still on its way"
        client.take()
        await settle()
        assert client.is_closed
        assert task.done()

    run(main)


def test_many_sessions_in_no_time_and_a_turn_for_the_others() -> None:
    async def main() -> None:
        io = telex.Server()
        clients = [(await join(io))[0] for _ in range(300)]
        turns = 0

        async def others() -> None:
            nonlocal turns
            while not task.done():
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(io.drain(0))
        await others()
        assert all(client.is_closed for client in clients)
        assert turns > 4
        assert the_loop().now == 1000.0

    run(main)


def test_a_websocket_that_was_let_in_just_before() -> None:
    async def main() -> None:
        io = telex.Server()
        admission = await io.engine.admit_websocket(handshake())
        assert isinstance(admission, WebSocketAdmission)
        await io.drain(10)
        client = Client()
        client.transport = admission.start(client.line)
        await settle()
        assert client.is_closed
        assert io.engine.sessions == {}

    run(main)


def test_a_handler_may_drain_the_server() -> None:
    async def main() -> None:
        io = telex.Server()

        @io.on("stop")
        async def stop(socket: telex.Socket) -> None:
            await io.drain(20)

        client, _ = await join(io)
        other, _ = await join(io)
        client.emit("stop")
        await settle()
        assert client.is_closed, "it does not wait for itself"
        await advance(20)
        assert other.is_closed

    run(main)


def test_a_drain_that_is_cancelled_leaves_the_rest_to_close() -> None:
    async def main() -> None:
        io = telex.Server()
        reasons = note(io, "disconnect")
        clients = [(await join(io))[0] for _ in range(3)]
        task = await begin(io, 30)
        task.cancel()
        await settle()
        assert [client.is_closed for client in clients] == [True, False, False]
        refused = await io.engine.admit_websocket(handshake())
        assert isinstance(refused, Response)
        await io.close()
        assert all(client.is_closed for client in clients)
        assert reasons == [("disconnect", REASON)] * 3

    run(main)


def test_two_drains_at_once_both_end() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        socket.emit("ask", callback=print)
        first, second = await begin(io, 20), await begin(io, 10)
        client.send('30["yes"]')
        await settle()
        assert first.done()
        assert second.done()
        assert client.is_closed

    run(main)


def test_clients_without_a_namespace_go_too() -> None:
    async def main() -> None:
        io = telex.Server()
        client = await open_client(io)
        await io.drain(10)
        assert client.is_closed

    run(main)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_what_is_no_time_changes_nothing(seconds: float) -> None:
    async def main() -> None:
        io = telex.Server()
        client, _ = await join(io)
        with pytest.raises(ValueError, match="within a number of seconds"):
            await io.drain(seconds)
        assert not client.is_closed
        await join(io)

    run(main)
