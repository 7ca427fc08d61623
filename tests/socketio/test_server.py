"""The server: its options, several in one process, and its end."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from typing import Any

import pytest

import telex
from telex.streams import deadlines_of
from tests.socketio.harness import advance, join, note, open_client, run, settle, the_loop


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"path": "socket.io"}, ValueError),
        ({"transports": ()}, ValueError),
        ({"transports": ["smoke"]}, ValueError),
        ({"ping_interval": 0}, ValueError),
        ({"ping_timeout": -1}, ValueError),
        ({"max_http_buffer_size": 0}, ValueError),
        ({"max_http_buffer_size": 1e6}, TypeError),
        ({"connect_timeout": "45"}, TypeError),
        ({"upgrade_timeout": float("nan")}, ValueError),
        ({"pingInterval": 25000}, TypeError),
        ({"cookie": "a;b"}, ValueError),
    ],
)
def test_a_bad_option_is_refused_when_the_server_is_made(options: dict[str, Any], why: type[Exception]) -> None:
    with pytest.raises(why):
        telex.Server(**options)


def test_options_that_are_bounds_win_over_limits() -> None:
    limits = telex.Limits(ping_interval=1, ping_timeout=2, max_rooms_per_socket=3)
    io = telex.Server(ping_interval=10, max_http_buffer_size=5, connect_timeout=6, upgrade_timeout=7, limits=limits)
    assert io.limits == telex.Limits(
        ping_interval=10, ping_timeout=2, max_payload=5, connect_timeout=6, upgrade_timeout=7, max_rooms_per_socket=3
    )
    assert limits.ping_interval == 1
    assert telex.Server().limits == telex.Limits()


@pytest.mark.parametrize(("path", "kept"), [("/socket.io", "/socket.io"), ("/socket.io/", "/socket.io"), ("/", "/")])
def test_a_path_ends_without_a_slash(path: str, kept: str) -> None:
    assert telex.Server(path=path).path == kept


@pytest.mark.parametrize("cookie", [False, True, "sid", telex.Cookie(name="sid")])
def test_a_cookie_is_set_when_it_is_wanted(cookie: Any) -> None:
    from telex.socketio.server import as_cookie  # noqa: PLC0415

    made = as_cookie(cookie)
    if cookie is False:
        assert made is None
    else:
        assert made == telex.Cookie(name="io" if cookie is True else "sid")


@pytest.mark.parametrize(("option", "threshold"), [(True, 1024), (False, None), (0, 0), (500, 500)])
def test_compression_is_a_threshold(option: Any, threshold: int | None) -> None:
    from telex.socketio.server import as_threshold  # noqa: PLC0415

    assert as_threshold(option) == threshold


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, b"content-type"),
        ({"cors_headers": ("content-type", "authorization")}, b"content-type,authorization"),
        ({"cors_headers": "authorization"}, b"authorization"),
    ],
)
def test_a_preflight_names_the_headers_that_a_page_may_set(options: dict[str, Any], names: bytes) -> None:
    async def main() -> None:
        io = telex.Server(cors_allowed_origins="https://example.org", **options)
        headers = [(b"origin", b"https://example.org"), (b"access-control-request-headers", b"authorization")]
        scope = {"type": "http", "method": "OPTIONS", "path": "/socket.io/", "headers": headers}
        sent: list[Any] = []

        async def receive() -> dict[str, str]:
            return {"type": "http.request"}

        async def send(event: Any) -> None:
            sent.append(event)

        await io(scope, receive, send)
        assert sent[0]["status"] == 204
        assert (b"access-control-allow-headers", names) in sent[0]["headers"]

    run(main)


def test_the_handshake_tells_the_clients_what_it_must_know() -> None:
    async def main() -> None:
        client = await open_client(telex.Server(ping_interval=0.3, ping_timeout=20, max_http_buffer_size=5000))
        opening = json.loads(str(client.wires[0])[1:])
        del opening["sid"]
        assert opening == {"upgrades": [], "pingInterval": 300, "pingTimeout": 20000, "maxPayload": 5000}

    run(main)


def test_two_servers_in_one_process_know_nothing_of_each_other() -> None:
    async def main() -> None:
        one, two = telex.Server(), telex.Server()
        calls_of_one, calls_of_two = note(one, "e"), note(two, "e", "disconnect")
        first, socket = await join(one)
        second, _ = await join(two)
        socket.join("room")
        two.emit("news")
        two.to("room").emit("news")
        assert await first.heard() == []
        assert await second.heard() == ['2["news"]']
        first.emit("e")
        assert (calls_of_one, calls_of_two) == ([("e",)], [])
        await one.close()
        assert first.is_closed
        assert not second.is_closed
        assert calls_of_two == []
        assert two.statistics().items() >= {"sessions": 1, "namespaces": 1, "sockets": 1}.items()

    run(main)


def test_close_tells_everybody_in_order() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []
        for name in ("/", "/admin"):
            namespace = io.of(name)
            namespace.on(
                "disconnecting", lambda socket, reason: calls.append((socket.nsp.name, reason, len(socket.rooms)))
            )
            namespace.on(
                "disconnect", lambda socket, reason: calls.append((socket.nsp.name, reason, len(socket.rooms)))
            )
        clients = [await open_client(io) for _ in range(3)]
        for client in clients[:2]:
            await client.connect()
            await client.connect("/admin")
        await io.close()
        reason = telex.DisconnectReason.SERVER_SHUTTING_DOWN
        assert calls == [
            *[("/", reason, 1), ("/", reason, 0)] * 2,
            *[("/admin", reason, 1), ("/admin", reason, 0)] * 2,
        ]
        assert all(client.is_closed for client in clients)
        assert io.statistics().items() >= {"sessions": 0, "namespaces": 2, "sockets": 0}.items()
        assert len(deadlines_of(the_loop())) == 0
        await io.close()
        assert len(calls) == 8

    run(main)


def test_what_was_said_before_the_close_still_arrives() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        socket.emit("last words")
        await io.close()
        assert await client.heard() == ['2["last words"]']

    run(main)


def test_close_waits_for_who_takes_slowly_but_not_for_ever() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(close_timeout=5, send_buffer_high=10))
        client, socket = await join(io)
        client.hold()
        socket.emit("e", "x" * 100)
        socket.emit("e", "x" * 100)
        closing = asyncio.create_task(io.close())
        await advance(4)
        assert not closing.done()
        await advance(2)
        assert closing.done()
        assert io.engine.sessions == {}

    run(main)


def test_close_waits_for_disconnect_handlers_but_not_for_ever() -> None:
    async def main() -> None:
        for seconds, is_done in ((4, True), (6, False)):
            io = telex.Server(limits=telex.Limits(close_timeout=5))
            cleaned: list[str] = []

            @io.on("disconnect")
            async def clean(
                socket: telex.Socket, reason: str, *, seconds: int = seconds, ids: list[str] = cleaned
            ) -> None:
                await asyncio.sleep(seconds)
                ids.append(socket.id)

            _, socket = await join(io)
            closing = asyncio.create_task(io.close())
            await advance(seconds - 1 if is_done else 4)
            assert not closing.done()
            await advance(1)
            assert closing.done()
            assert cleaned == ([socket.id] if is_done else [])
            await advance(1)
            assert cleaned == [socket.id]

    run(main)


def test_a_handler_may_close_the_server() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "disconnect")

        @io.on("stop")
        async def stop(socket: telex.Socket) -> None:
            await io.close()

        client, _ = await join(io)
        client.emit("stop")
        await settle()
        assert client.is_closed
        assert calls == [("disconnect", "server shutting down")]

    run(main)


def test_clients_in_the_hands_of_middlewares_go_too() -> None:
    async def main() -> None:
        io = telex.Server()
        io.use(lambda socket: asyncio.Event().wait())  # type: ignore[arg-type, return-value]
        calls = note(io, "connect", "disconnect")
        client = await open_client(io)
        client.send("0")
        await settle()
        await io.close()
        assert client.is_closed
        assert calls == []

    run(main)


def test_r13_a_server_that_nobody_keeps_is_gone() -> None:
    async def main() -> weakref.ref[telex.Server]:
        io = telex.Server()
        io.on("e", lambda socket: io.emit("e"))
        client, socket = await join(io)
        socket.join("room")
        client.emit("e")
        await io.close()
        return weakref.ref(io)

    gone = run(main)
    gc.collect()
    assert gone() is None


def test_close_on_another_loop_changes_nothing() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "disconnect")
        client, socket = await join(io)
        with pytest.raises(RuntimeError, match="event loop that serves them"):
            await asyncio.to_thread(asyncio.run, io.close())
        assert calls == []
        assert socket.connected
        await io.close()
        assert client.is_closed
        await asyncio.to_thread(asyncio.run, io.close())  # there is nobody left

    run(main)


def test_a_server_is_used_on_one_loop_after_another() -> None:
    io = telex.Server()
    io.on("ask", lambda socket: "answer")

    async def main() -> None:
        client, _ = await join(io)
        client.emit("ask", ack_id=1)
        assert await client.heard() == ['31["answer"]']
        await io.close()

    run(main)
    run(main)


def test_many_laggards_are_closed_though_each_end_is_broadcast() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=100, send_buffer_max=1000))
        reasons: list[str] = []

        @io.on("disconnect")
        def left(socket: telex.Socket, reason: str) -> None:
            reasons.append(reason)
            io.emit("left", socket.id)

        for _ in range(300):
            client, _ = await join(io)
            client.hold()
        for _ in range(6):
            io.emit("e", "x" * 200)
        assert reasons == []
        await settle()
        assert reasons == ["slow consumer"] * 300
        assert io.statistics()["sessions"] == 0

    run(main)
