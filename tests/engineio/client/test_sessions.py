"""A client's session with a real server, over every transport; and with servers that send too much."""

from __future__ import annotations

import json
from typing import Any

import pytest

import telex
from telex.websocket import Connection, ConnectionClosed, serve
from tests.serving.live import run, serving, until

HOST = "127.0.0.1"
WAYS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": ["polling", "websocket"]}


def make_server() -> telex.Server:
    io = telex.Server()

    @io.on("echo")
    def echo(_: telex.Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @io.on("transport")
    def transport(socket: telex.Socket) -> str:
        return socket.conn.transport.name

    return io


@pytest.mark.parametrize("transports", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_is_sent_comes_back(transports: list[str], loop: str) -> None:
    async def main() -> None:
        async with (
            serving(make_server()) as live,
            telex.connect(f"http://{HOST}:{live.port}", transports=transports) as client,
        ):
            values = ["text", "\u00e9\u4e16\U0001f600", {"a": [1, None, 2.5]}, b"\x00\xff" * 10]
            assert list(await client.call("echo", *values, timeout=20)) == values
            if len(transports) > 1:
                while await client.call("transport", timeout=20) != "websocket":
                    pass  # the upgrade is under way; each call is answered meanwhile
            else:
                assert await client.call("transport", timeout=20) == transports[0]
            large = "x" * 300_000
            assert await client.call("echo", large, timeout=20) == large

    run(main, loop=loop)


@pytest.mark.parametrize("transports", WAYS.values(), ids=WAYS)
def test_events_arrive_in_order(transports: list[str]) -> None:
    async def main() -> None:
        io = make_server()
        numbers: list[int] = []

        @io.on("number")
        def number(_: telex.Socket, n: int) -> None:
            numbers.append(n)

        async with (
            serving(io) as live,
            telex.connect(f"http://{HOST}:{live.port}", transports=transports) as client,
        ):
            for n in range(2000):
                client.emit("number", n)
            await until(lambda: len(numbers) == 2000)
            assert numbers == list(range(2000))

    run(main)


def test_a_message_that_is_too_large_ends_the_connection() -> None:
    async def main() -> None:
        codes: list[int] = []

        async def handle(ws: Connection) -> None:
            ws.send("0" + json.dumps({"sid": "a", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000}))
            assert await ws.recv() == "40"
            ws.send('40{"sid":"b"}')
            assert await ws.recv() == '42["go"]'
            ws.send("42" + json.dumps(["large", "x" * 2000]))
            with pytest.raises(ConnectionClosed) as closed:
                await ws.recv()
            codes.append(closed.value.code)

        async with serve(handle, HOST, 0) as server:
            limits = telex.Limits(max_server_payload=1000)
            url = f"http://{HOST}:{server.port}"
            client = await telex.connect(url, transports=["websocket"], reconnection=False, limits=limits)
            client.emit("go")
            await client.wait()
            await until(lambda: codes)
            assert codes == [1009]

    run(main)


def test_a_poll_that_is_too_large_ends_the_connection() -> None:
    async def main() -> None:
        io = make_server()

        @io.on("connect")
        def connect(socket: telex.Socket) -> None:
            socket.emit("large", "x" * 2000)

        async with serving(io) as live:
            limits = telex.Limits(max_server_payload=1000)
            url = f"http://{HOST}:{live.port}"
            client = telex.Client(url, transports=["polling"], reconnection=False, limits=limits)
            heard: list[str] = []
            client.on("large", heard.append)
            await client.wait()
            assert not heard
            assert not client.connected

    run(main)
