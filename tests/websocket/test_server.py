"""The server: openings and refusals, its bounds, TLS, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from typing import Any

import pytest
import trustme
import websockets.asyncio.client
import websockets.typing

from telex.limits import Limits
from telex.types import Data
from telex.websocket import (
    Connection,
    ConnectionClosed,
    DeflateOptions,
    HandshakeError,
    InvalidStatus,
    Listener,
    Request,
    Response,
    State,
    connect,
    reject,
    serve,
)
from telex.websocket.frames import Opcode
from telex.websocket.server import default_max_connections
from tests.websocket.raw import REQUEST, frame, raw_client, raw_stream, run, until

HOST = "127.0.0.1"


async def echo(ws: Connection) -> None:
    async for message in ws:
        await ws.send(message)


class Echo(Listener):
    def on_message(self, ws: Connection, message: Data) -> None:
        ws.send(message)


def url(server: Any) -> str:
    return f"ws://{HOST}:{server.port}"


async def ask(port: int, data: bytes) -> bytes:
    """Send bytes to a server and return all it says."""
    async with raw_stream(port) as peer:
        await peer.write(data)
        return await peer.read_rest()


@pytest.mark.parametrize("handler", [echo, Echo], ids=["coroutine", "listener"])
def test_with_the_client_of_websockets(handler: Any) -> None:
    async def main() -> None:
        name = websockets.typing.Subprotocol("chat")
        async with (
            serve(handler, HOST, subprotocols=["chat"], deflate=True) as server,
            websockets.asyncio.client.connect(url(server), subprotocols=[name]) as ws,
        ):
            assert ws.subprotocol == "chat"
            for message in ["grüße", b"\x00\xff", "x" * 500_000]:
                await ws.send(message)
                assert await ws.recv() == message
            await (await ws.ping())
            await ws.close(4001, "bye")
            assert ws.close_code == 4001

    run(main)


def test_awaited_and_entered() -> None:
    async def main() -> None:
        server = await serve(echo, HOST, 0)
        assert server.port == server.sockets[0].getsockname()[1]
        async with connect(url(server)) as ws:
            await ws.send("x")
            assert await ws.recv() == "x"
        server.close()
        server.close()
        await server.wait_closed()
        assert server.sockets == ()
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await connect(f"ws://{HOST}:{port_of(ws)}")

    def port_of(ws: Connection) -> int:
        port: int = ws.remote_address[1]
        return port

    run(main)


def test_a_socket_of_the_programs_own() -> None:
    async def main() -> None:
        with socket.create_server((HOST, 0)) as listening:
            async with serve(echo, sock=listening) as server, connect(url(server)) as ws:
                await ws.send("x")
                assert await ws.recv() == "x"

    run(main)


def test_what_the_handler_learns_of_the_opening() -> None:
    async def main() -> None:
        seen: list[Connection] = []

        async def look(ws: Connection) -> None:
            seen.append(ws)
            await ws.recv()

        async with serve(look, HOST, subprotocols=["a", "b"], headers=[("X-Server", "telex")]) as server:
            address = f"{url(server)}/pa%20th?q=1"
            async with connect(address, subprotocols=["c", "b", "a"], headers=[("Cookie", "k=v")]) as ws:
                assert ws.response.headers["x-server"] == "telex"
                await until(lambda: seen)
                (other,) = seen
                assert (other.subprotocol, ws.subprotocol) == ("b", "b")
                assert other.request.path == "/pa th"
                assert other.request.query == "q=1"
                assert other.request.headers["cookie"] == "k=v"
                assert other.response.status == 101
                assert server.connections == {other}
                ws.send("done")

    run(main)


@pytest.mark.parametrize(
    ("request_head", "status", "in_answer"),
    [
        (REQUEST.replace(b"GET", b"POST"), 405, b"Allow: GET"),
        (REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"), 505, b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426, b"Upgrade: websocket"),
        (REQUEST.replace(b"Version: 13", b"Version: 8"), 426, b"Sec-WebSocket-Version: 13"),
        (REQUEST.replace(b"Host: localhost\r\n", b""), 400, b""),
        (REQUEST.replace(b"Host", b"Ho st"), 400, b""),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n", 414, b""),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, 431, b""),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, b""),
    ],
)
def test_refusals_are_http(request_head: bytes, status: int, in_answer: bytes) -> None:
    async def main() -> None:
        async with serve(echo, HOST) as server:
            answer = await ask(server.port, request_head)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert in_answer in head
            assert b"close" in head
            assert f"Content-Length: {len(body)}".encode() in head
            assert body.endswith(b".")
            await until(lambda: not server._openings)

    run(main)


def test_an_opening_in_pieces_with_frames_behind_it() -> None:
    async def main() -> None:
        async with serve(Echo, HOST) as server:
            for size in (1, 7, 10_000):
                async with raw_stream(server.port) as peer:
                    data = REQUEST + frame(Opcode.TEXT, b"early") + frame(Opcode.TEXT, b"bird")
                    for start in range(0, len(data), size):
                        await peer.write(data[start : start + size])
                    assert (await peer.read_head()).startswith(b"HTTP/1.1 101 ")
                    for expected in (b"early", b"bird"):
                        one = await peer.read_frame()
                        assert one is not None
                        assert one.payload == expected

    run(main)


def test_a_peer_that_says_nothing_and_one_that_does_not_finish() -> None:
    async def main() -> None:
        async with (
            serve(echo, HOST, limits=Limits(handshake_timeout=0.05)) as server,
            raw_stream(server.port) as silent,
            raw_stream(server.port) as slow,
        ):
            await slow.write(b"GET / HTT")
            assert await silent.read_rest() == b""
            assert (await slow.read_rest()).startswith(b"HTTP/1.1 408 ")

    run(main)


def test_a_refused_peer_that_lingers_is_cut() -> None:
    async def main() -> None:
        async with serve(echo, HOST, limits=Limits(close_timeout=0.05)) as server, raw_stream(server.port) as peer:
            await peer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await peer.read_rest()).startswith(b"HTTP/1.1 400 ")
            await until(lambda: not server._openings)  # although the peer has not closed

    run(main)


@pytest.mark.parametrize("end", ["end", "reset"])
def test_a_peer_that_leaves_during_its_opening(end: str) -> None:
    async def main() -> None:
        async with serve(echo, HOST) as server, raw_stream(server.port) as peer:
            await peer.write(b"GET / HTTP/1.1\r\n")
            await until(lambda: server._openings)
            getattr(peer, end)()
            await until(lambda: not server._openings)

    run(main)


def test_origins() -> None:
    async def main() -> None:
        async with serve(echo, HOST, origins=["https://a.com"]) as server:
            async with connect(url(server), origin="https://A.com") as ws:
                assert ws.state is State.OPEN
            async with connect(url(server)) as ws:
                assert ws.state is State.OPEN
            for origin in ("https://a.com.evil.tld", "http://a.com", "https://a.com:444", "null"):
                with pytest.raises(InvalidStatus) as refused:
                    await connect(url(server), origin=origin)
                assert refused.value.status == 403
        async with serve(echo, HOST, require_origin=True) as server:
            with pytest.raises(InvalidStatus) as refused:
                await connect(url(server))
            assert refused.value.status == 403

    run(main)


@pytest.mark.parametrize("is_async", [False, True])
def test_process_request(is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    def decide(request: Request) -> Response | None:
        if request.path == "/failing":
            raise LookupError("mine")
        if request.path == "/teapot":
            raise HandshakeError(418, "I am one.")
        if request.path != "/secret":
            return None
        return reject(401, "Who are you?", [("WWW-Authenticate", "Basic")])

    async def decide_later(request: Request) -> Response | None:
        await asyncio.sleep(0)
        return decide(request)

    async def main() -> None:
        async with serve(Echo, HOST, process_request=decide_later if is_async else decide) as server:
            for path, status, body in (
                ("/secret", 401, b"Who are you?"),
                ("/failing", 500, b"Internal server error."),
                ("/teapot", 418, b"I am one."),
            ):
                with pytest.raises(InvalidStatus) as refused:
                    await connect(url(server) + path)
                assert (refused.value.status, refused.value.body) == (status, body)
            async with raw_stream(server.port) as peer:
                await peer.write(REQUEST + frame(Opcode.TEXT, b"early"))
                await peer.read_head()
                one = await peer.read_frame()
                assert one is not None
                assert one.payload == b"early"

    run(main)
    assert "LookupError: mine" in caplog.text


@pytest.mark.parametrize("is_async", [False, True])
def test_a_listener_that_cannot_be_made(is_async: bool, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Listener):
        def __init__(self) -> None:
            raise LookupError("mine")

    async def think(request: Request) -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        async with serve(Failing, HOST, process_request=think if is_async else None) as server:
            with pytest.raises(InvalidStatus) as refused:
                await connect(url(server))
            assert refused.value.status == 500
            await until(lambda: not server._openings)
            assert server.connections == frozenset()

    run(main)
    assert "LookupError: mine" in caplog.text


def test_a_peer_that_leaves_while_process_request_thinks() -> None:
    async def main() -> None:
        asked = asyncio.Event()
        go = asyncio.Event()

        async def think(request: Request) -> None:
            asked.set()
            await go.wait()

        async with serve(Echo, HOST, process_request=think, limits=Limits(handshake_timeout=0.05)) as server:
            async with raw_stream(server.port) as peer:
                await peer.write(REQUEST)
                await asked.wait()
                assert (await peer.read_rest()).startswith(b"HTTP/1.1 408 "), "thinking is bounded too"
            go.set()
            await until(lambda: not server._openings)
            assert server.connections == frozenset()

    run(main)


def test_a_full_server_says_so() -> None:
    async def main() -> None:
        async with serve(Echo, HOST, limits=Limits(max_connections=2)) as server:
            first = await connect(url(server))
            second = await connect(url(server))
            answer = await ask(server.port, REQUEST)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: " in answer
            await first.close()
            await until(lambda: len(server.connections) == 1)
            third = await connect(url(server))
            await second.close()
            await third.close()

    run(main)


def test_a_server_overrun_cuts_without_a_word() -> None:
    async def main() -> None:
        async with (
            serve(Echo, HOST, limits=Limits(max_connections=1)) as server,
            connect(url(server)),
            raw_stream(server.port) as silent,
            raw_stream(server.port) as beyond,
        ):
            assert await beyond.read_rest() == b""
            await silent.write(REQUEST)
            assert (await silent.read_rest()).startswith(b"HTTP/1.1 503 ")

    run(main)


def test_the_default_bound_leaves_descriptors_for_others() -> None:
    resource = pytest.importorskip("resource")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        assert 0 < default_max_connections() < soft


def test_a_handlers_end_closes(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def behave(ws: Connection) -> None:
            if ws.request.path == "/fail":
                raise LookupError("mine")
            if ws.request.path == "/other":
                async with connect(f"{url(server)}/gone") as other:
                    await other.recv()

        async with serve(behave, HOST) as server:
            codes = {}
            for path in ("/", "/fail", "/other"):
                async with connect(url(server) + path) as ws:
                    await ws.wait_closed()
                    codes[path] = ws.close_code
            assert codes == {"/": 1000, "/fail": 1011, "/other": 1011}

    run(main)
    assert "LookupError: mine" in caplog.text
    assert "ConnectionClosed" in caplog.text


def test_a_peer_that_disappears_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def talk(ws: Connection) -> None:
            while True:
                await ws.recv()

        async with serve(talk, HOST) as server:
            async with raw_client(server.port) as peer:
                peer.reset()
            await until(lambda: not server.connections)

    with caplog.at_level(logging.INFO):
        run(main)
    assert not caplog.records


def test_closing_waits_for_connections_and_handlers() -> None:
    async def main() -> None:
        done = []

        async def tidy(ws: Connection) -> None:
            with contextlib.suppress(ConnectionClosed):
                await ws.recv()
            await asyncio.sleep(0)
            done.append(ws.close_code)

        async with serve(tidy, HOST) as server:
            clients = [await connect(url(server)) for _ in range(3)]
            waiting = asyncio.create_task(server.wait_closed())
            await asyncio.sleep(0)
            server.close(1012, "restart")
            await waiting
            assert done == [1012] * 3
            assert server.connections == frozenset()
            for client in clients:
                await client.wait_closed()
                assert (client.close_code, client.close_reason) == (1012, "restart")

    run(main)


def test_closing_with_a_code_that_must_not_be_sent_closes_nothing() -> None:
    async def main() -> None:
        async with serve(Echo, HOST) as server, connect(url(server)) as ws:
            for code, reason in ((1005, ""), (1001, "x" * 124)):
                with pytest.raises(ValueError, match=r"."):
                    server.close(code, reason)
            ws.send("still here")
            assert await ws.recv() == "still here"

    run(main)


def test_closing_is_bounded_whatever_peers_and_handlers_do() -> None:
    async def main() -> None:
        cancelled = []

        async def stubborn(ws: Connection) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(ws)
                raise

        limits = Limits(close_timeout=0.05)
        async with (
            serve(stubborn, HOST, limits=limits) as server,
            raw_client(server.port),
            raw_stream(server.port) as opening,
        ):
            await until(lambda: server._openings)
            server.close()
            await server.wait_closed()
            assert len(cancelled) == 1
            assert (await opening.read_rest()).startswith(b"HTTP/1.1 503 ")

    run(main)


def test_who_connects_while_the_server_closes_is_not_kept() -> None:
    async def main() -> None:
        with socket.create_server((HOST, 0)) as listening:
            async with serve(echo, sock=listening) as server, raw_stream(server.port) as peer:
                server.close()  # a loop may have accepted the stream already, or not
                answer = await peer.read_rest()
                assert not answer or answer.startswith(b"HTTP/1.1 503 ")

    run(main)


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.mark.parametrize("handler", [echo, Echo], ids=["coroutine", "listener"])
def test_tls(handler: Any, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def main() -> None:
        async with serve(handler, HOST, ssl=contexts[0]) as server:
            address = f"wss://localhost:{server.port}"
            async with connect(address, ssl=contexts[1]) as ws:
                for message in ["x", b"y" * 1_000_000]:
                    await ws.send(message)
                    assert await ws.recv() == message
                assert ws.get_extra_info("ssl_object") is not None
                await ws.close(4000)
                assert ws.close_code == 4000
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(address)
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(f"wss://{HOST}:{server.port}", ssl=contexts[1])
            async with connect(f"wss://{HOST}:{server.port}", ssl=contexts[1], server_hostname="localhost") as ws:
                await ws.send("x")
                assert await ws.recv() == "x"
            # The server closes, and the client sees a clean end.
            ws = await connect(address, ssl=contexts[1])
            await until(lambda: server.connections)
            server.close(1012)
            await ws.wait_closed()
            assert ws.close_code == 1012

    run(main)


def test_options_are_checked_at_once() -> None:
    wrong: list[tuple[type[Exception], dict[str, Any]]] = [
        (TypeError, {"handler": 1}),
        (TypeError, {"handler": int}),
        (TypeError, {"subprotocols": "chat"}),
        (TypeError, {"origins": "https://a.com"}),
        (ValueError, {"origins": ["null"]}),
        (ValueError, {"headers": [("X", "a\r\nb")]}),
        (ValueError, {"headers": [("Sec-WebSocket-Accept", "x")]}),
        (TypeError, {"nonsense": 1}),
    ]
    for error, options in wrong:
        with pytest.raises(error):
            serve(options.pop("handler", echo), HOST, **options)


def test_deflate_options_are_used() -> None:
    async def main() -> None:
        options = DeflateOptions(server_max_window_bits=10, threshold=0)
        async with serve(Echo, HOST, deflate=options) as server, connect(url(server), deflate=True) as ws:
            assert "server_max_window_bits=10" in ws.response.headers["sec-websocket-extensions"]
            before = ws.statistics().received_bytes
            await ws.send("x" * 10_000)
            assert await ws.recv() == "x" * 10_000
            assert ws.statistics().received_bytes - before < 1000

    run(main)
