"""The take-over: under a real uvicorn, a `telex.Server` has the connection itself, and everything else stays as it was.

What a program and its clients notice is asserted on both event loops and, where it could differ, with middleware.
"""

from __future__ import annotations

import asyncio
import gc
import json
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest
import trustme
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from starlette.websockets import WebSocket

import telex
from telex.limits import Limits
from telex.websocket import connect
from tests.serving.live import LOOPS, SOCKET, Client, Live, count_descriptors, join, run, serving, until

Event = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]

ON_EACH_LOOP = pytest.mark.parametrize("loop", LOOPS)


def make_server(**options: Any) -> tuple[telex.Server, list[telex.Socket], list[str]]:
    """Make a server that echoes; return it, its sockets as they come and the reasons as they go."""
    io = telex.Server(**options)
    sockets: list[telex.Socket] = []
    reasons: list[str] = []

    @io.on("connect")
    def met(socket: telex.Socket) -> None:
        sockets.append(socket)

    @io.on("disconnect")
    def gone(socket: telex.Socket, reason: str) -> None:
        reasons.append(str(reason))

    @io.on("echo")
    def echo(socket: telex.Socket, *args: Any) -> tuple[Any, ...]:
        return args

    return io, sockets, reasons


def spy(app: App, calls: list[str]) -> App:
    """Note which calls of an application have returned."""

    async def spied(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        calls.append(scope["path"])

    return spied


# What comes through


@ON_EACH_LOOP
def test_the_call_of_the_application_ends_and_the_connection_goes_on(loop: str) -> None:
    io, sockets, reasons = make_server()
    calls: list[str] = []

    async def main() -> None:
        async with serving(spy(io, calls)) as live:
            async with join(live.url) as client:
                assert calls == ["/socket.io/"], "the connection does not keep an ASGI call"
                assert await client.call("echo", 1, "zwei", None) == [1, "zwei", None]
                sockets[0].emit("hello", {"a": [1]})
                assert await client.hear() == '2["hello",{"a":[1]}]'
                assert live.connections, "the server knows that somebody is there"
            await until(lambda: reasons)
            await until(lambda: not live.connections)
        assert reasons == ["transport close"]

    run(main, loop=loop)


@ON_EACH_LOOP
@pytest.mark.parametrize("deflate", [False, True])
def test_large_messages_both_ways(loop: str, deflate: bool) -> None:
    io, _, _ = make_server(max_http_buffer_size=8_000_000, per_message_deflate=deflate)

    async def main() -> None:
        limits = Limits(max_message_size=8_000_000)
        async with (
            serving(io, ws_per_message_deflate=deflate) as live,
            join(live.url, deflate=deflate, limits=limits) as client,
        ):
            assert ("Sec-WebSocket-Extensions" in client.ws.response.headers) is deflate
            for size in (0, 1, 125, 126, 65_535, 65_536, 3_000_000):
                text = ("x" * 99 + "é") * (size // 100) + "y" * (size % 100)
                assert await client.call("echo", text) == [text]

    run(main, loop=loop)


@ON_EACH_LOOP
def test_binary_attachments_both_ways(loop: str) -> None:
    io, _, _ = make_server()
    blob = bytes(range(256)) * 400

    async def main() -> None:
        async with serving(io) as live, join(live.url) as client:
            part = '{"_placeholder":true,"num":%d}'
            client.say(f'52-9["echo",{part % 0},{part % 1}]', blob, b"")
            assert await client.hear() == f"62-9[{part % 0},{part % 1}]"
            assert [await client.hear(), await client.hear()] == [blob, b""]

    run(main, loop=loop)


async def open_raw(live: Live, early: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a WebSocket by hand, with `early` in the same segment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(REQUEST + early)
    return reader, writer


REQUEST = (
    f"GET {SOCKET} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
).encode()


def masked(text: str) -> bytes:
    data = text.encode()
    return bytes([0x81, 0x80 | len(data)]) + b"\0\0\0\0" + data


@ON_EACH_LOOP
def test_frames_that_come_before_the_answer_are_not_lost(loop: str) -> None:
    io, sockets, _ = make_server()

    async def main() -> None:
        asked, go = asyncio.Event(), asyncio.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            asked.set()
            await go.wait()
            await io(scope, receive, send)

        async with serving(slow) as live:
            reader, writer = await open_raw(live)
            await asked.wait()
            writer.write(masked("40") + masked('429["echo","early"]'))
            await writer.drain()
            go.set()
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            assert b'439["early"]' in await reader.readuntil(b'439["early"]')
            assert len(sockets) == 1
            writer.close()
            await writer.wait_closed()

    run(main, loop=loop)


@ON_EACH_LOOP
def test_an_upgrade_from_polling(loop: str) -> None:
    io, sockets, reasons = make_server()

    async def main() -> None:
        async with serving(io) as live:

            async def ask(method: str, query: str, body: str = "") -> str:
                reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
                head = (
                    f"{method} /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                )
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                answer = (await reader.read()).decode()
                writer.close()
                await writer.wait_closed()
                assert answer.startswith("HTTP/1.1 200 "), answer
                return answer.partition("\r\n\r\n")[2]

            sid = json.loads((await ask("GET", ""))[1:])["sid"]
            assert await ask("POST", f"&sid={sid}", "40") == "ok"
            assert (await ask("GET", f"&sid={sid}")).startswith("40{")
            assert (sockets[0].conn.sid, sockets[0].conn.transport.name) == (sid, "polling")
            async with connect(f"{live.url}{SOCKET}&sid={sid}") as ws:
                ws.send("2probe")
                assert await ws.recv() == "3probe"
                ws.send("5")
                client = Client(ws)
                assert await client.call("echo", "up") == ["up"]
                assert (sockets[0].conn.sid, sockets[0].conn.transport.name) == (sid, "websocket")
                sockets[0].emit("news", b"\0")
                assert await client.hear() == '51-["news",{"_placeholder":true,"num":0}]'
                assert await client.hear() == b"\0"
                assert sockets[0].handshake.query["transport"] == "polling", "that of the session's opening"
            await until(lambda: reasons)
        assert reasons == ["transport close"]

    run(main, loop=loop)


# Middleware, and what a program is told of the opening handshake


class Database:
    """Be something that an application keeps in its state."""


def with_lifespan(app: App, database: Database) -> App:
    async def served(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        await receive()
        scope["state"]["database"] = database
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return served


def with_cookies(app: App) -> App:
    async def served(scope: Any, receive: Any, send: Any) -> None:
        async def answer(event: Event) -> None:
            if event["type"] == "websocket.accept":
                cookies = [(b"set-cookie", b"seen=1"), (b"set-cookie", b"often=2"), (b"x-trace", b"abc")]
                event = {**event, "headers": [*event.get("headers", ()), *cookies]}
            await send(event)

        await app(scope, receive, answer)

    return served


@ON_EACH_LOOP
def test_headers_and_cookies_of_middleware_arrive(loop: str) -> None:
    io, _, _ = make_server(cookie="io")

    async def main() -> None:
        async with serving(with_cookies(io)) as live, join(live.url) as client:
            headers = client.ws.response.headers
            cookies = headers.get_all("set-cookie")
            assert cookies[0].startswith("io=")
            assert cookies[1:] == ["seen=1", "often=2"]
            assert headers["x-trace"] == "abc"
            assert headers["server"] == "uvicorn"

    run(main, loop=loop)


def in_place(scope: Any) -> Any:
    scope["user"] = "ann"
    return scope


def in_a_copy(scope: Any) -> Any:
    return {**scope, "user": "ann"}


def with_other_headers(scope: Any) -> Any:
    return {**scope, "user": "ann", "headers": [*scope["headers"], (b"x-added", b"yes")]}


def with_state(scope: Any) -> Any:
    scope["state"]["user"] = "ann"
    return scope


@ON_EACH_LOOP
@pytest.mark.parametrize("lifespan", ["on", "off"])
@pytest.mark.parametrize("change", [None, in_place, in_a_copy, with_other_headers, with_state])
def test_the_handshake_is_what_it_was(loop: str, lifespan: str, change: Callable[[Any], Any] | None) -> None:
    io, sockets, _ = make_server()
    database = Database()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await io(scope if change is None else change(scope), receive, send)

    async def main() -> None:
        async with serving(with_lifespan(app, database), lifespan=lifespan) as live:
            query = "&room=caf%C3%A9&x=a%20b"
            headers = [("X-Name", "Jos\xe9"), ("Cookie", "a=1; b=2"), ("User-Agent", "Mozilla/5.0 (X) test")]
            async with connect(
                live.url + SOCKET + query, headers=headers, origin=f"http://127.0.0.1:{live.port}"
            ) as ws:
                client = Client(ws)
                await client.hear()
                await client.join()
                for _ in range(2):  # it is made anew or kept: both times the same
                    handshake = sockets[0].handshake
                    assert handshake.headers["x-name"] == "Jos\xe9"
                    assert handshake.headers["cookie"] == "a=1; b=2"
                    assert handshake.headers["User-Agent"] == "Mozilla/5.0 (X) test"
                    assert handshake.headers["host"] == f"127.0.0.1:{live.port}"
                    assert handshake.headers.get("x-added") == ("yes" if change is with_other_headers else None)
                    assert handshake.query == {"EIO": "4", "transport": "websocket", "room": "café", "x": "a b"}
                    assert handshake.url == SOCKET + query
                    assert handshake.address == "127.0.0.1"
                    assert not handshake.secure
                    assert not handshake.xdomain
                    scope = handshake.scope
                    assert scope["type"] == "websocket"
                    assert scope["path"] == "/socket.io/"
                    assert scope["client"] == ws.local_address
                    assert scope["server"] == ("127.0.0.1", live.port)
                    assert scope.get("user") == ("ann" if change in (in_place, in_a_copy, with_other_headers) else None)
                    assert scope["state"].get("user") == ("ann" if change is with_state else None)
                    assert scope["state"].get("database") is (database if lifespan == "on" else None)
                    assert "telex.stream" not in scope["extensions"], "nothing that is over can be asked for again"

    run(main, loop=loop)


@ON_EACH_LOOP
def test_the_handshake_of_a_connection_that_has_gone(loop: str) -> None:
    io, sockets, reasons = make_server()

    async def main() -> None:
        async with serving(io) as live:
            async with join(live.url) as client:
                address = client.ws.local_address
            await until(lambda: reasons)
            assert address is not None
            assert sockets[0].handshake.address == address[0]
            assert sockets[0].handshake.query["EIO"] == "4"

    run(main, loop=loop)


# Beside other things on the same server


@ON_EACH_LOOP
def test_mounted_beside_a_websocket_of_the_framework(loop: str) -> None:
    io, sockets, _ = make_server()

    async def plain(websocket: WebSocket) -> None:
        await websocket.accept(headers=[(b"x-mine", b"1")])
        async for text in websocket.iter_text():
            await websocket.send_text(text.upper())

    app = Starlette(routes=[WebSocketRoute("/plain/{name}", plain), Mount("/socket.io", io)])

    async def main() -> None:
        async with serving(app) as live, join(live.url) as client, connect(f"{live.url}/plain/x") as other:
            assert other.response.headers["x-mine"] == "1"
            for n in range(3):
                other.send(f"hello {n}")
                assert await client.call("echo", n) == [n]
                assert await other.recv() == f"HELLO {n}"
            handshake = sockets[0].handshake
            assert handshake.scope["app"] is app
            assert handshake.query["EIO"] == "4"
            assert len(live.connections) >= 2

    run(main, loop=loop)


@ON_EACH_LOOP
def test_over_tls_everything_is_the_same(loop: str) -> None:
    io, sockets, reasons = make_server()
    authority = trustme.CA()

    async def main() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(context)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        with authority.issue_cert("localhost").private_key_and_cert_chain_pem.tempfile() as pem:
            async with serving(io, scheme="wss", ssl_keyfile=pem, ssl_certfile=pem) as live:
                async with join(live.url, ssl=trusting) as client:
                    text = "x" * 500_000
                    assert await client.call("echo", text) == [text]
                    assert sockets[0].handshake.secure
                    assert sockets[0].handshake.scope["scheme"] == "wss"
                    assert sockets[0].handshake.address in ("127.0.0.1", "::1")
                await until(lambda: reasons)
                await until(lambda: not live.connections)
        assert reasons == ["transport close"]

    run(main, loop=loop)


# Ends


@ON_EACH_LOOP
def test_how_it_ends_and_what_is_told(loop: str) -> None:
    io, sockets, reasons = make_server(max_http_buffer_size=1000)

    async def main() -> None:
        async with serving(io) as live:

            async def end(act: Callable[[Client, telex.Socket], object]) -> tuple[str, int | None]:
                n = len(reasons)
                async with join(live.url) as client:
                    act(client, sockets[-1])
                    code = await client.close_code()
                await until(lambda: len(reasons) > n)
                return reasons[-1], code

            assert await end(lambda client, _: client.ws.abort()) == ("transport close", 1006)
            assert await end(lambda client, _: client.ws.send("4" + "x" * 1000)) == ("transport error", 1009)
            assert await end(lambda client, _: client.ws.send("9")) == ("parse error", 1002)
            assert (await end(lambda client, _: client.say("2{}")))[0] == "forced close"
            assert (await end(lambda client, _: client.ws.send("1")))[0] == "transport close"
            assert (await end(lambda _, socket: socket.disconnect(close=True)))[0] == "server namespace disconnect"
            await until(lambda: not live.connections)

    run(main, loop=loop)


@ON_EACH_LOOP
def test_a_client_that_does_not_answer_the_heartbeat(loop: str) -> None:
    io, _, reasons = make_server(ping_interval=0.05, ping_timeout=0.05)

    async def main() -> None:
        async with serving(io) as live:
            async with connect(live.url + SOCKET, keepalive=False) as ws:
                assert str(await ws.recv()).startswith("0{")
                ws.send("40")
                heard = [message async for message in ws]
                assert "2" in heard
            await until(lambda: reasons)
        assert reasons == ["ping timeout"]

    run(main, loop=loop)


@ON_EACH_LOOP
def test_the_end_of_the_server(loop: str) -> None:
    io, _, reasons = make_server()

    async def main() -> None:
        async with serving(io) as live, join(live.url) as client, join(live.url) as other:
            live.server.should_exit = True
            assert await client.close_code() == await other.close_code() == 1000
        assert len(reasons) == 2

    run(main, loop=loop)


@ON_EACH_LOOP
def test_a_client_that_does_not_read_is_bounded_and_cut(loop: str) -> None:
    limits = Limits(send_buffer_high=50_000, send_buffer_max=1_000_000, slow_consumer_timeout=0.2, close_timeout=0.2)
    io, sockets, reasons = make_server(limits=limits)

    async def main() -> None:
        async with serving(io) as live:
            reader, writer = await open_raw(live)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(masked("40"))
            await reader.readuntil(b'{"sid":')
            await until(lambda: sockets)
            writer.transport.pause_reading()
            n = 0
            while not reasons:
                if sockets[0].connected:
                    sockets[0].emit("news", "x" * 100_000)
                    n += 1
                await asyncio.sleep(0)
            assert reasons == ["slow consumer"]
            assert n * 100_000 < 100_000_000, "it was given up long before the memory was"
            writer.transport.abort()
            await until(lambda: not live.connections)

    run(main, loop=loop)


@ON_EACH_LOOP
def test_nothing_is_left_of_many_connections(loop: str) -> None:
    io, _, reasons = make_server()

    async def main() -> None:
        async with serving(io) as live:

            async def visit(n: int) -> None:
                async with join(live.url) as client:
                    assert await client.call("echo", n) == [n]
                    if n % 3 == 0:
                        client.ws.abort()

            await visit(0)  # what is made once is there
            await until(lambda: not live.connections)
            before = count_descriptors()
            for _ in range(5):
                await asyncio.gather(*map(visit, range(40)))
            await until(lambda: len(reasons) == 201)
            await until(lambda: not live.connections)
            assert io.engine.sessions == {}
            await until(lambda: count_descriptors() <= before)
            gc.collect()

    run(main, loop=loop)
