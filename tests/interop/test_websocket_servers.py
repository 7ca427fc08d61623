"""Telex's WebSocket client with the servers of others: `ws` on Node, and `websockets`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from telex.websocket import Connection, ConnectionClosed, DeflateOptions, InvalidStatus, connect
from tests.interop.programs import HERE
from tests.support.processes import NodeScript, Program
from tests.websocket.raw import run

MESSAGES = [
    "grüße 🙂",
    "",
    "\0\ufeff",
    b"",
    b"\x00\xff",
    "x" * 125,
    "x" * 126,
    b"y" * 65_535,
    b"y" * 65_536,
    "z" * 900_000,
]


LISTENING = r"listening http://127\.0\.0\.1:(\d+)"


@pytest.fixture(scope="module", params=["ws", "websockets"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "ws":
        program: Program = NodeScript(HERE / "ws_server.mjs")
    else:
        program = Program([sys.executable, "-m", "tests.interop.websockets_server"])
    with program:
        yield f"ws://127.0.0.1:{program.wait_for(LISTENING)[1]}"


async def echo(ws: Connection, *, compress: bool | None = None) -> None:
    for message in MESSAGES:
        await ws.send(message, compress=compress)
        assert await ws.recv() == message


@pytest.mark.parametrize(
    "deflate",
    [
        None,
        True,
        DeflateOptions(threshold=0),
        DeflateOptions(client_max_window_bits=9, threshold=0),
        DeflateOptions(server_max_window_bits=10),
        DeflateOptions(client_no_context_takeover=True, server_no_context_takeover=True, threshold=0),
    ],
    ids=["plain", "deflate", "all", "small window", "server's window", "no takeover"],
)
def test_messages(url: str, deflate: DeflateOptions | bool | None) -> None:
    async def main() -> None:
        async with connect(url, deflate=deflate, subprotocols=["other", "chat"]) as ws:
            assert ws.subprotocol == "chat"
            assert ("sec-websocket-extensions" in ws.response.headers) is (deflate is not None)
            for compress in (None, True, False):
                await echo(ws, compress=compress)

    run(main)


def test_each_message_may_be_compressed_or_not(url: str) -> None:
    async def main() -> None:
        async with connect(url, deflate=True) as ws:
            sizes = []
            for compress in (True, False):
                before = ws.statistics().sent_bytes
                await ws.send("x" * 10_000, compress=compress)
                assert await ws.recv() == "x" * 10_000
                sizes.append(ws.statistics().sent_bytes - before)
            assert sizes[0] < 200
            assert sizes[1] > 10_000

    run(main)


def test_latency(url: str) -> None:
    async def main() -> None:
        async with connect(url) as ws:
            assert ws.latency is None
            latency = await ws.ping(b"hello")
            assert 0 <= latency < 10
            assert ws.latency == latency

    run(main)


def test_what_the_server_sees(url: str) -> None:
    async def main() -> None:
        async with connect(url, headers=[("X-Mine", "a, b")], origin="https://here.example") as ws:
            await ws.send("headers")
            seen = json.loads(await ws.recv())
            assert (seen["x-mine"], seen["origin"]) == ("a, b", "https://here.example")
            assert seen["user-agent"].startswith("telex/")

    run(main)


def test_redirects_and_refusals(url: str) -> None:
    async def main() -> None:
        async with connect(f"{url}/redirect") as ws:
            await echo(ws)
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{url}/refuse")
        assert (refused.value.status, refused.value.body) == (401, b"no!")

    run(main)


def test_ends(url: str) -> None:
    async def main() -> None:
        async with connect(url) as ws:
            await ws.send("close")
            with pytest.raises(ConnectionClosed, match="4001 as you like"):
                await ws.recv()
        async with connect(url) as ws:
            await ws.send("terminate")
            with pytest.raises(ConnectionClosed, match="1006"):
                await ws.recv()
        ws = await connect(url)
        await ws.close(4002, "enough")
        assert (ws.close_code, ws.close_reason) == (4002, "enough")

    run(main)


def test_the_next_connection_after_one_that_was_cut(url: str) -> None:
    async def main() -> None:
        n = 0
        async for ws in connect(url, reconnection_delay=0.001, reconnection_delay_max=0.002):
            n += 1
            await echo(ws)
            if n == 3:
                break
            await ws.send("terminate")
            with pytest.raises(ConnectionClosed):
                await ws.recv()

    run(main)
