"""A client as a program uses it, against Telex's own server."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import telex
from telex import AckTimeout, Client, ConnectError, ConnectRefused, Disconnected, Limits, OutboxFull
from tests.serving.live import LOOPS, run, until
from tests.socketio.client.scene import FAST, HOST, Peer, by_hand, cut, heard, own

WEBSOCKET: dict[str, Any] = {"transports": ["websocket"]}
TRANSPORTS: dict[str, dict[str, Any]] = {
    "polling": {"transports": ["polling"]},
    "websocket": WEBSOCKET,
    "upgrade": {},
}


def echo_server(**options: Any) -> telex.Server:
    io = telex.Server(**options)

    @io.on("echo")
    def echo(socket: telex.Socket, *args: Any) -> Any:
        return args

    @io.on("say")
    def say(socket: telex.Socket, event: str, *args: Any) -> None:
        socket.emit(event, *args)

    @io.on("ask")
    async def ask(socket: telex.Socket, event: str, *args: Any) -> Any:
        return await socket.call(event, *args)

    return io


# The usual things.


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_conversation(transport: str, loop: str) -> None:
    async def main() -> None:
        async with own(echo_server()) as url, telex.connect(url, **TRANSPORTS[transport]) as client:
            assert client.connected
            assert client.active
            assert client.id
            assert not client.recovered
            assert client.reason is None
            assert client.nsp.name == "/"
            assert await client.call("echo", 1, "grüße", {"a": [None, 2.5]}) == (1, "grüße", {"a": [None, 2.5]})
            assert await client.call("echo", b"\x00\xff", {"b": bytearray(b"x")}) == (b"\x00\xff", {"b": b"x"})
            assert await client.call("echo") is None
            client.emit("say", "news", 1, b"2")
            assert await client.receive() == ("news", 1, b"2")

            @client.on("confirm")
            async def confirm(number: int) -> tuple[int, str]:
                await asyncio.sleep(0)
                return number + 1, "yes"

            assert await client.call("ask", "confirm", 1) == (2, "yes")
            answers: list[Any] = []
            client.emit("echo", "back", callback=answers.append)
            await until(lambda: answers)
            assert answers == ["back"]
            if transport != "polling":
                await until(lambda: client.manager is not None and client.manager.transport == "websocket")
        assert not client.connected
        assert not client.active
        assert client.id is None
        assert client.reason == "io client disconnect"

    run(main, loop=loop)


def test_events_come_one_after_the_other_and_the_iteration_ends_with_the_client() -> None:
    async def main() -> None:
        async with own(echo_server()) as url, telex.connect(url, **WEBSOCKET) as client:
            for number in range(100):
                client.emit("say", "n", number)
            seen = []
            async for event, *args in client:
                seen.append((event, *args))
                if len(seen) == 100:
                    client.disconnect()
            assert seen == [("n", number) for number in range(100)]
            with pytest.raises(Disconnected, match="io client disconnect"):
                await client.receive()

    run(main)


def test_handlers() -> None:
    async def main() -> None:
        seen: list[Any] = []
        async with own(echo_server()) as url, telex.connect(url, **WEBSOCKET) as client:

            @client.on("cut")
            def cut_off(first: int) -> None:
                seen.append(("cut", first))

            @client.on_any
            def every(event: str, *args: Any) -> None:
                seen.append(("any", event, *args))

            @client.on_any_outgoing
            def outgoing(event: str, *args: Any) -> None:
                seen.append(("out", event, *args))

            client.once("one", lambda *args: seen.append(("one", *args)))
            await client.call("say", "cut", 1, 2)
            await client.call("say", "one", 1)
            await client.call("say", "one", 2)
            assert client.listeners_any() == [every]
            assert seen == [
                ("out", "say", "cut", 1, 2),
                ("any", "cut", 1, 2),
                ("cut", 1),
                ("out", "say", "one", 1),
                ("any", "one", 1),
                ("one", 1),
                ("out", "say", "one", 2),
                ("any", "one", 2),
            ]
            client.off_any()
            client.off_any_outgoing(outgoing)
            client.off("cut", cut_off)
            seen.clear()
            await client.call("say", "cut", 1, 2)
            assert seen == []
            assert await client.receive() == ("cut", 1, 2)  # it has no handler any more

    run(main)


def test_what_cannot_be_registered() -> None:
    client = Client(f"http://{HOST}:1")
    with pytest.raises(ValueError, match="no server can send it"):
        client.on("newListener", print)
    with pytest.raises(ValueError, match="no server can send it"):
        client.once("disconnecting", print)
    with pytest.raises(TypeError, match="takes 1 arguments, but gets 0"):
        client.on("connect", lambda socket: None)
    with pytest.raises(TypeError, match="event's name and"):
        client.on_any(lambda event: None)
    with pytest.raises(TypeError, match="only a server's clients"):

        @client.on("stream")
        async def stream():  # type: ignore[no-untyped-def]
            yield 1

    client.on("connection", lambda whatever: None)  # an event like others
    client.on("telex:stream", lambda *args: None)
    assert not client.active


def test_an_event_with_too_few_arguments_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with own(echo_server()) as url, telex.connect(url, **WEBSOCKET) as client:
            seen = []
            client.on("pair", lambda a, b: seen.append((a, b)))
            client.emit("say", "pair", 1)
            await client.call("say", "pair", 1, 2)
            assert seen == [(1, 2)]
            assert "dropped an event 'pair' of 1 arguments: its handler takes 2" in caplog.text

    run(main)


def test_coroutine_handlers_run_in_order_and_acknowledgements_do_not_wait() -> None:
    async def main() -> None:
        async with own(echo_server()) as url, telex.connect(url, **WEBSOCKET) as client:
            seen: list[Any] = []

            @client.on("n")
            async def handle(number: int) -> None:
                seen.append(await client.call("echo", number))

            for number in range(5):
                client.emit("say", "n", number)
            await until(lambda: len(seen) == 5)
            assert seen == [0, 1, 2, 3, 4]

    run(main)


def test_a_plain_function_may_return_a_coroutine() -> None:
    async def main() -> None:
        async with own(echo_server()) as url, telex.connect(url, **WEBSOCKET) as client:

            async def later(number: int) -> int:
                await asyncio.sleep(0)
                return number * 2

            client.on("double", lambda number: later(number))  # noqa: PLW0108  # a plain function
            assert await client.call("ask", "double", 4) == 8
            assert await client.call("ask", "double", 5) == 10

    run(main)


def test_a_handler_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with own(echo_server()) as url, telex.connect(url, **WEBSOCKET) as client:
            client.on("bad", lambda: 1 / 0)
            await client.call("say", "bad")
            assert await client.call("echo", 1) == 1
            assert "the handler for 'bad' failed" in caplog.text

    run(main)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_with_msgpack(transport: str) -> None:
    async def main() -> None:
        io = echo_server(parser="msgpack")
        async with own(io) as url, telex.connect(url, parser="msgpack", **TRANSPORTS[transport]) as client:
            assert await client.call("echo", {"a": b"x"}, 1.5) == ({"a": b"x"}, 1.5)
            client.emit("say", "news", b"y")
            assert await client.receive() == ("news", b"y")

            @client.on("confirm")
            def confirm(data: bytes) -> bytes:
                return data * 2

            assert await client.call("ask", "confirm", b"z") == b"zz"

    run(main)


# Namespaces.


def test_namespaces_share_a_connection() -> None:
    async def main() -> None:
        io = echo_server()
        io.of("/admin").on("who", lambda socket: "admin")
        async with own(io) as url, telex.connect(url, **WEBSOCKET) as client:
            admin = Client(url + "/admin", **WEBSOCKET)
            assert await admin.call("who") == "admin"
            assert admin.manager is client.manager
            assert len(io.engine.sessions) == 1
            admin.disconnect()
            assert await client.call("echo", 1) == 1  # the connection stays for the other
            await admin.connect()
            assert await admin.call("who") == "admin"
            assert len(io.engine.sessions) == 1
            await admin.aclose()
        await until(lambda: not io.engine.sessions)

    run(main)


@pytest.mark.parametrize("options", [{}, {"force_new": True}, {"multiplex": False}, {"headers": {"X-Other": "1"}}])
def test_who_gets_a_connection_of_its_own(options: Any) -> None:
    async def main() -> None:
        io = echo_server()
        io.of("/admin")
        async with own(io) as url, telex.connect(url, **WEBSOCKET) as client:
            path = "/admin" if options else "/"  # a second client of one namespace
            async with telex.connect(url + path, **WEBSOCKET, **options) as other:
                assert other.manager is not client.manager
                assert len(io.engine.sessions) == 2

    run(main)


def test_one_namespace_may_be_refused_without_the_others() -> None:
    async def main() -> None:
        io = echo_server()

        @io.of("/admin").use
        async def refuse(socket: telex.Socket) -> None:
            raise ConnectRefused("not authorized", data={"retry": False})

        async with own(io) as url, telex.connect(url, **WEBSOCKET) as client:
            admin = Client(url + "/admin", **WEBSOCKET)
            errors: list[Exception] = []
            admin.on("connect_error", errors.append)
            with pytest.raises(ConnectRefused, match="not authorized") as caught:
                await admin.connect()
            assert caught.value.data == {"retry": False}
            await admin.wait()
            assert errors == [caught.value]
            assert not admin.active
            assert admin.reason is None  # it has never been connected
            with pytest.raises(ConnectRefused):
                await telex.connect(url + "/admin", **WEBSOCKET)
            with pytest.raises(Disconnected, match="not authorized"):
                await admin.receive()
            with pytest.raises(Disconnected, match="not authorized"):
                await admin.call("who")
            assert await client.call("echo", 1) == 1

    run(main)


# Auth.


@pytest.mark.parametrize("kind", ["mapping", "function", "coroutine function"])
def test_auth(kind: str) -> None:
    async def main() -> None:
        io = echo_server()
        told: list[Any] = []
        sockets: list[telex.Socket] = []

        @io.on("connect")
        def connected(socket: telex.Socket, auth: dict[str, Any]) -> None:
            told.append(auth)
            sockets.append(socket)

        n_asked = 0

        def say() -> dict[str, Any]:
            nonlocal n_asked
            n_asked += 1
            return {"token": n_asked}

        async def say_later() -> dict[str, Any]:
            await asyncio.sleep(0)
            return say()

        auth: Any = {"mapping": {"token": 0}, "function": say, "coroutine function": say_later}[kind]
        async with own(io) as url, telex.connect(url, auth=auth, **WEBSOCKET, **FAST) as client:
            cut(sockets[0])
            await heard(client, "connect")
            assert told == ([{"token": 0}] * 2 if kind == "mapping" else [{"token": 1}, {"token": 2}])

    run(main)


def test_auth_that_cannot_be_had_is_asked_for_again() -> None:
    async def main() -> None:
        async with own(echo_server()) as url:
            n_asked = 0

            async def auth() -> Any:
                nonlocal n_asked
                n_asked += 1
                if n_asked == 1:
                    raise LookupError("no token yet")
                return 5 if n_asked == 2 else {"token": 1}

            client = Client(url, auth=auth, **WEBSOCKET, **FAST)
            errors: list[Exception] = []
            client.on("connect_error", errors.append)
            await heard(client, "connect")
            assert [type(error.__cause__) for error in errors] == [LookupError, TypeError]
            assert "no token yet" in str(errors[0])
            await client.aclose()

    run(main)


def test_auth_that_can_never_be_had_ends_the_client() -> None:
    async def main() -> None:
        async with own(echo_server()) as url, telex.connect(url, **WEBSOCKET) as other:
            with pytest.raises(ConnectError, match="could not be had"):
                await telex.connect(
                    url + "/x", auth={"token": object()}, reconnection_attempts=2, retry=True, **WEBSOCKET, **FAST
                )
            assert await other.call("echo", 1) == 1

    run(main)


def test_auth_that_takes_too_long_is_given_up() -> None:
    async def main() -> None:
        async with own(echo_server()) as url:
            begun, cancelled = asyncio.Event(), asyncio.Event()

            async def auth() -> Any:
                begun.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    cancelled.set()

            with pytest.raises(ConnectError) as caught:
                await telex.connect(url, auth=auth, timeout=0.5, **WEBSOCKET)
            assert isinstance(caught.value.__cause__, TimeoutError)
            assert cancelled.is_set() is begun.is_set()  # on a slow machine it may not have come to that

    run(main)


def test_who_leaves_while_the_auth_is_awaited_cancels_it() -> None:
    async def main() -> None:
        async with own(echo_server()) as url:
            begun, cancelled = asyncio.Event(), asyncio.Event()

            async def auth() -> Any:
                begun.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    cancelled.set()

            client = Client(url, auth=auth, **WEBSOCKET)
            await begun.wait()
            await client.aclose()
            await cancelled.wait()

    run(main)


# The end, and coming back.


def test_the_server_sends_a_client_off() -> None:
    async def main() -> None:
        io = echo_server()
        io.on("leave", lambda socket: socket.disconnect())
        async with own(io) as url, telex.connect(url, **WEBSOCKET) as client:
            reasons: list[Any] = []
            client.on("disconnect", reasons.append)
            with pytest.raises(Disconnected, match="io server disconnect"):
                await client.call("leave")
            await client.wait()
            assert reasons == [telex.DisconnectReason.IO_SERVER_DISCONNECT]
            assert client.reason == "io server disconnect"
            await client.connect()  # when it is told to
            assert await client.call("echo", 1) == 1

    run(main)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_connection_that_is_lost_is_made_again(transport: str, loop: str) -> None:
    async def main() -> None:
        io = echo_server()
        sockets: list[telex.Socket] = []
        io.on("connect", sockets.append)
        async with own(io) as url, telex.connect(url, **TRANSPORTS[transport], **FAST) as client:
            seen: list[Any] = []
            client.on("disconnect", lambda reason: seen.append(("disconnect", reason, client.connected, client.active)))
            client.on("connect", lambda: seen.append("connect"))
            first = client.id
            asked = asyncio.ensure_future(client.call("ask", "nobody answers"))
            await client.call("echo")
            cut(sockets[0])
            with pytest.raises(Disconnected, match="transport"):
                await asked
            await until(lambda: client.connected)
            assert client.id != first
            assert await client.call("echo", 1) == 1
            assert [seen[0][0], *seen[0][2:], seen[1]] == ["disconnect", False, True, "connect"]
            assert seen[0][1] in ("transport close", "transport error")

    run(main, loop=loop)


def test_a_client_that_does_not_reconnect_has_ended() -> None:
    async def main() -> None:
        io = echo_server()
        sockets: list[telex.Socket] = []
        io.on("connect", sockets.append)
        async with own(io) as url, telex.connect(url, reconnection=False, **WEBSOCKET) as client:
            cut(sockets[0])
            await client.wait()
            assert client.reason in ("transport close", "transport error")
            assert [event async for event in client] == []

    run(main)


def test_nobody_there() -> None:
    async def main() -> None:
        async with own(echo_server()) as url:
            pass
        with pytest.raises(ConnectError) as caught:
            await telex.connect(url, **WEBSOCKET)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        assert caught.value.url == url
        assert str(caught.value).startswith(f"could not connect to {url}: ")
        client = Client(url, reconnection_attempts=3, **WEBSOCKET, **FAST)
        seen: list[Any] = []
        client.on("connect_error", seen.append)
        with pytest.raises(ConnectError):
            await client.connect()
        assert client.active
        await client.wait()
        assert len(seen) == 4
        assert not client.active
        with pytest.raises(ConnectError):  # the last one
            await client.joined()

    run(main)


def test_connect_may_go_on_until_it_succeeds() -> None:
    async def main() -> None:
        io = echo_server()
        n_refused = 0

        def admit(request: telex.Request) -> bool:
            nonlocal n_refused
            n_refused += 1
            return n_refused > 3

        io = echo_server(allow_request=admit)
        async with own(io) as url:
            with pytest.raises(ConnectError) as caught:
                await telex.connect(url, **WEBSOCKET, **FAST)
            assert isinstance(caught.value.__cause__, telex.InvalidStatus)
            async with telex.connect(url, retry=True, **WEBSOCKET, **FAST) as client:
                assert await client.call("echo", 1) == 1
            assert n_refused == 4

    run(main)


# While away.


def test_what_is_emitted_while_away_comes_in_order() -> None:
    async def main() -> None:
        io = echo_server()
        said: list[Any] = []
        sockets: list[telex.Socket] = []
        io.on("connect", sockets.append)
        io.on("note", lambda socket, number: said.append(number))
        async with own(io) as url:
            client = Client(url, **WEBSOCKET, **FAST)
            client.emit("note", 0)
            answer = asyncio.ensure_future(client.call("echo", b"bytes"))
            client.emit("note", 1)
            client.volatile.emit("note", "volatile")
            assert await answer == b"bytes"
            cut(sockets[0])
            await heard(client, "disconnect")
            client.emit("note", 2)
            client.emit("note", 3)
            assert await client.call("echo", 4) == 4
            assert said == [0, 1, 2, 3]
            await client.aclose()

    run(main)


def test_what_waits_is_bounded() -> None:
    async def main() -> None:
        io = echo_server()
        said: list[Any] = []
        io.on("note", lambda socket, number, *rest: said.append(number))
        async with own(io) as url:
            limits = Limits(max_offline_events=3, max_offline_bytes=1000)
            client = Client(url, limits=limits, auto_connect=False, **WEBSOCKET)
            assert client.has_room
            client.emit("note", 0)
            with pytest.raises(OutboxFull) as caught:
                client.emit("note", 1, "x" * 1000)
            assert (caught.value.n_events, caught.value.n_bytes) == (1, len('42["note",0]'))
            client.emit("note", 2)
            client.emit("note", 3)
            with pytest.raises(OutboxFull, match="3 events of 36 bytes wait already"):
                client.emit("note", 4)
            with pytest.raises(Disconnected, match="not connected yet"):
                await client.call("echo", 5)
            client.connect()
            assert not client.has_room
            await client.wait_room()
            assert await client.call("echo", 6) == 6
            assert said == [0, 2, 3]
            await client.aclose()

    run(main)


def test_who_awaits_emit_is_never_refused() -> None:
    async def main() -> None:
        io = echo_server()
        said: list[Any] = []
        io.on("note", lambda socket, number: said.append(number))
        async with own(io) as url:
            client = Client(url, limits=Limits(max_offline_events=2), **WEBSOCKET)
            for number in range(10):
                await client.emit("note", number)
            await client.call("echo")
            assert said == list(range(10))
            await client.aclose()

    run(main)


def test_an_event_whose_acknowledgement_is_not_awaited_any_more_is_taken_back() -> None:
    async def main() -> None:
        io = echo_server()
        said: list[Any] = []
        io.on("note", lambda socket, number: said.append(number))
        async with own(io) as url:
            pass
        client = Client(url, limits=Limits(max_offline_events=1), **WEBSOCKET)
        with pytest.raises(AckTimeout, match=r"0\.01 s"):
            await client.call("note", 1, timeout=0.01)
        with pytest.raises(AckTimeout):
            await client.timeout(0.01).call("note", 2)
        task = asyncio.ensure_future(client.call("note", 3))
        await asyncio.sleep(0)
        with pytest.raises(OutboxFull):
            client.emit("note", 4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        client.timeout(0.01).emit("note", 5, callback=said.append)
        await until(lambda: client.has_room)
        client.emit("note", 6)
        with pytest.raises(AckTimeout):
            await client.volatile.call("note", 7)
        await client.aclose()
        assert said == []

    run(main)


def test_a_call_that_waits_fails_when_the_client_ends() -> None:
    async def main() -> None:
        async with own(echo_server()) as url:
            pass
        client = Client(url, **WEBSOCKET)
        task = asyncio.ensure_future(client.call("echo", 3))
        await asyncio.sleep(0)
        client.disconnect()
        with pytest.raises(Disconnected, match="io client disconnect"):
            await task

    run(main)


# Backpressure.


def test_a_client_whose_handlers_lag_is_not_read() -> None:
    async def main() -> None:
        io = echo_server()
        sockets: list[telex.Socket] = []
        io.on("connect", sockets.append)
        async with own(io) as url, telex.connect(url, **WEBSOCKET) as client:
            going = asyncio.Event()
            seen = []

            @client.on("n")
            async def handle(number: int) -> None:
                await going.wait()
                seen.append(number)

            for number in range(1000):
                sockets[0].emit("n", number, "x" * 1000)
            await until(lambda: client.inbox.is_paused)
            manager = client.manager
            assert manager is not None
            assert manager._full == {client}
            assert len(client.inbox) < 1000
            going.set()
            await until(lambda: len(seen) == 1000)
            assert seen == list(range(1000))
            assert not manager._full

    run(main)


def test_a_client_that_is_read_slowly_is_not_read_ahead() -> None:
    async def main() -> None:
        io = echo_server()
        sockets: list[telex.Socket] = []
        io.on("connect", sockets.append)
        async with own(io) as url, telex.connect(url, **WEBSOCKET) as client:
            for number in range(1000):
                sockets[0].emit("n", number, "x" * 1000)
            first = await client.receive(timeout=10)
            manager = client.manager
            assert manager is not None
            await until(lambda: manager._full)
            assert len(client.box) < 1000
            seen = [first[1]]
            async for _, number, _ in client:
                seen.append(number)
                if number == 999:
                    break
            assert seen == list(range(1000))

    run(main)


def test_of_events_that_nobody_ever_receives_the_newest_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = echo_server()
        sockets: list[telex.Socket] = []
        io.on("connect", sockets.append)
        async with own(io) as url, telex.connect(url, limits=Limits(recv_queue_high=1), **WEBSOCKET) as client:
            for number in range(40):
                sockets[0].emit("n", number)
            assert await client.call("echo", 1) == 1
            assert await client.receive() == ("n", 24)
            assert caplog.text.count("nobody receives") == 1
        io = echo_server()
        io.on("connect", sockets.append)
        async with own(io) as url, telex.connect(url, **WEBSOCKET) as client:
            client.on("other", print)  # a client with handlers keeps nothing for those who never ask
            sockets[1].emit("n", 1)
            await client.call("echo")
            with pytest.raises(TimeoutError):
                await client.receive(timeout=0.01)

    run(main)


def test_who_emits_more_than_the_server_takes_waits() -> None:
    async def main() -> None:
        io = telex.Server()
        going = asyncio.Event()

        @io.on("n")
        async def handle(socket: telex.Socket, number: int, rest: str) -> None:
            await going.wait()

        async with own(io) as url, telex.connect(url, **WEBSOCKET) as client:
            number = 0
            while client.has_room:
                client.emit("n", number, "x" * 10_000)
                number += 1
                await asyncio.sleep(0)
            client.volatile.emit("n", -1, "x")
            waiting = asyncio.ensure_future(_await(client.emit("n", number, "x")))
            await asyncio.sleep(0)
            assert not waiting.done()
            going.set()
            await waiting
            assert client.has_room

    async def _await(sent: telex.Sent) -> None:
        await sent

    run(main)


# Cancellation, threads, the loop.


def test_who_is_cancelled_leaves_no_harm() -> None:
    async def main() -> None:
        io = echo_server()
        async with own(io) as url:
            for wait in WAITS.values():
                async with telex.connect(url, **WEBSOCKET) as client:
                    task = asyncio.ensure_future(wait(client))
                    await asyncio.sleep(0)
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    assert await client.call("echo", 1) == 1
                    client.emit("say", "news", 1)
                    assert await client.receive() == ("news", 1)

    run(main)


WAITS: dict[str, Callable[[Client], Any]] = {
    "wait": Client.wait,
    "receive": Client.receive,
    "call": lambda client: client.call("nobody answers"),
    "anext": Client.__anext__,
}


def test_a_connect_that_is_cancelled_leaves_nothing() -> None:
    async def main() -> None:
        async def silence(peer: Peer) -> None:
            await peer.until_gone()

        async with by_hand(silence) as url:
            task = asyncio.ensure_future(_connect(url))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def _connect(url: str) -> None:
        async with telex.connect(url, **WEBSOCKET):
            pass

    run(main)


def test_a_connect_that_is_cancelled_goes_on() -> None:
    async def main() -> None:
        async with own(echo_server()) as url:
            client = Client(url, auto_connect=False, **WEBSOCKET)
            task = asyncio.ensure_future(client.joined()) if client.connect() else None
            assert task is not None
            await asyncio.sleep(0)
            task.cancel()
            await heard(client, "connect")
            assert await client.connect() is client
            await client.aclose()

    run(main)


def test_another_thread_is_told_so() -> None:
    async def main() -> None:
        async with own(echo_server()) as url, telex.connect(url, **WEBSOCKET) as client:
            errors: list[BaseException] = []

            def elsewhere() -> None:
                for use in (lambda: client.emit("echo"), client.disconnect, lambda: client.volatile.emit("echo")):
                    try:
                        use()
                    except RuntimeError as error:
                        errors.append(error)

            thread = threading.Thread(target=elsewhere)
            thread.start()
            await asyncio.to_thread(thread.join)
            assert len(errors) == 3
            assert "another thread" in str(errors[0])

    run(main)


def test_a_client_made_where_no_loop_runs_begins_with_its_first_use() -> None:
    async def main() -> None:
        async with own(echo_server()) as url:
            client = await asyncio.to_thread(Client, url, **WEBSOCKET)
            assert not client.active
            assert client.manager is None
            assert await client.call("echo", 1) == 1
            await client.aclose()

    run(main)


def test_a_client_that_has_left_is_let_go_of() -> None:
    async def main() -> None:
        async with own(echo_server()) as url:
            async with telex.connect(url, **WEBSOCKET) as client:
                gone = weakref.ref(client)
                manager = weakref.ref(client.manager)  # type: ignore[arg-type]
            del client
            await until(lambda: gc.collect() and gone() is None and manager() is None)

    run(main)


def test_aclose_waits_for_handlers() -> None:
    async def main() -> None:
        async with own(echo_server()) as url, telex.connect(url, **WEBSOCKET) as client:
            begun, going, ended = asyncio.Event(), asyncio.Event(), []

            @client.on("news")
            async def handle() -> None:
                begun.set()
                await going.wait()
                ended.append("news")

            @client.on("disconnect")
            async def left(reason: str) -> None:
                await asyncio.sleep(0)
                ended.append(reason)
                await client.aclose()  # not for itself

            client.emit("say", "news")
            await begun.wait()
            asyncio.get_running_loop().call_soon(going.set)
            await client.aclose()
            assert ended == ["news", "io client disconnect"]

    run(main)


def test_handlers_may_leave_and_connect() -> None:
    async def main() -> None:
        async with own(echo_server()) as url, telex.connect(url, **WEBSOCKET) as client:
            ids = [client.id]
            client.on("disconnect", lambda: client.connect())  # noqa: PLW0108  # not its own method
            client.on("connect", lambda: ids.append(client.id))
            client.disconnect()
            assert client.active
            await client.connect()
            assert await client.call("echo", 1) == 1
            assert len(set(ids)) == 2
            client.off("disconnect")

    run(main)
