"""The client: against servers made by hand, for those that do wrong, and against that of `websockets`."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
import websockets.asyncio.server
import websockets.typing

from telex.limits import Limits
from telex.websocket import Connection, ConnectionClosed, DeflateOptions, HandshakeError, InvalidStatus, State, connect
from telex.websocket.dialing import default_context
from telex.websocket.frames import Opcode
from tests.websocket.raw import ACCEPT, RESPONSE, RawPeer, answer_key, raw_server, run, until

HOST = "127.0.0.1"


def test_with_the_server_of_websockets() -> None:
    async def main() -> None:
        async def echo(ws: websockets.asyncio.server.ServerConnection) -> None:
            async for message in ws:
                await ws.send(message)

        name = websockets.typing.Subprotocol("chat")
        async with websockets.asyncio.server.serve(echo, HOST, 0, subprotocols=[name]) as server:
            url = f"ws://{HOST}:{next(iter(server.sockets)).getsockname()[1]}/path?query"
            for deflate in (None, True, DeflateOptions(client_max_window_bits=10, threshold=0)):
                async with connect(url, subprotocols=["chat"], deflate=deflate) as ws:
                    assert ws.subprotocol == "chat"
                    assert ("sec-websocket-extensions" in ws.response.headers) is (deflate is not None)
                    for message in ["grüße", b"\x00\xff", "x" * 500_000, ""]:
                        await ws.send(message)
                        assert await ws.recv() == message
                    assert await ws.ping() >= 0
                    await ws.close(4001, "bye")
                    assert ws.close_code == 4001

    run(main)


def test_the_request() -> None:
    async def main() -> None:
        heads: list[bytes] = []

        async def answer(peer: RawPeer, head: bytes) -> None:
            heads.append(head)
            await peer.write(answer_key(head))
            await peer.write_frame(Opcode.CLOSE, b"\x03\xe8")

        async with raw_server(answer) as port:
            async with connect(
                f"ws://localhost:{port}/a?b", origin="https://here", headers=[("Authorization", "Bearer x")]
            ) as ws:
                assert ws.request.path == "/a"
                await ws.wait_closed()
            lines = heads[0].split(b"\r\n")
            assert lines[0] == b"GET /a?b HTTP/1.1"
            assert b"Host: localhost:%d" % port in lines
            assert b"Origin: https://here" in lines
            assert b"Authorization: Bearer x" in lines

    run(main)


def test_frames_that_come_with_the_response() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head) + b"\x81\x02hi" + b"\x88\x02\x03\xe8")
            one = await peer.read_frame()
            assert one is not None
            assert (one.opcode, one.payload) == (Opcode.CLOSE, b"\x03\xe8")

        async with raw_server(answer) as port:
            ws = await connect(f"ws://{HOST}:{port}")
            assert [message async for message in ws] == ["hi"]
            await ws.close()

    run(main)


@pytest.mark.parametrize(
    ("response", "sentence"),
    [
        (RESPONSE, "Accept"),
        (RESPONSE.replace(b"Upgrade: websocket", b"Upgrade: h2c"), "switch"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "200"),
        (b"HTTP/1.1 500 Oops\r\n\r\nuntil the end", "500"),
        (b"HTTP/1.1 101 ", "without an answer"),
        (b"", "without an answer"),
    ],
)
def test_answers_that_are_wrong(response: bytes, sentence: str) -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(response)
            peer.end()
            await peer.read_rest()

        async with raw_server(answer) as port:
            with pytest.raises(HandshakeError, match=sentence):
                await connect(f"ws://{HOST}:{port}")

    run(main)


def test_a_refusal_can_be_read() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(b"HTTP/1.1 403 Forbidden\r\nX-Why: because\r\nContent-Length: 3\r\n\r\nno!")
            await peer.read_rest()

        async with raw_server(answer) as port:
            with pytest.raises(InvalidStatus) as refused:
                async with connect(f"ws://{HOST}:{port}"):
                    pytest.fail("it was refused")
            assert (refused.value.status, refused.value.body) == (403, b"no!")
            assert ("X-Why", "because") in refused.value.headers

    run(main)


def test_a_refusal_without_end_is_bounded() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            try:
                while True:
                    await peer.write(b"x" * 10_000)
            except ConnectionError:
                pass

        async with raw_server(answer) as port:
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://{HOST}:{port}")
            assert len(refused.value.body) == Limits().max_error_body

    run(main)


def test_a_server_that_does_not_answer() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            assert await peer.read_rest() == b""

        async with raw_server(answer) as port:
            with pytest.raises(TimeoutError):
                await connect(f"ws://{HOST}:{port}", open_timeout=0.05)
            with pytest.raises(TimeoutError):
                await connect(f"ws://{HOST}:{port}", limits=Limits(handshake_timeout=0.05))

    run(main)


def test_a_server_that_resets_during_the_opening() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            peer.reset()

        async with raw_server(answer) as port:
            with pytest.raises(ConnectionError):
                await connect(f"ws://{HOST}:{port}")

    run(main)


def test_nobody_listens() -> None:
    async def main() -> None:
        with socket.create_server((HOST, 0)) as listening:
            port = listening.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            await connect(f"ws://{HOST}:{port}")

    run(main)


def test_cancelling_cuts_the_connection() -> None:
    async def main() -> None:
        asked = asyncio.Event()
        gone = asyncio.Event()

        async def answer(peer: RawPeer, head: bytes) -> None:
            asked.set()
            assert await peer.read_rest() == b""
            gone.set()

        async def program(port: int) -> None:
            await connect(f"ws://{HOST}:{port}")

        async with raw_server(answer) as port:
            opening = asyncio.create_task(program(port))
            await asked.wait()
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await gone.wait()

    run(main)


def test_a_masked_frame_from_a_server_is_a_violation() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head) + b"\x81\x82\x00\x00\x00\x00hi")
            one = await peer.read_frame()
            assert one is not None
            assert (one.opcode, one.payload[:2]) == (Opcode.CLOSE, b"\x03\xea")

        async with raw_server(answer) as port:
            ws = await connect(f"ws://{HOST}:{port}")
            with pytest.raises(ConnectionClosed, match="1002"):
                await ws.recv()
            await ws.wait_closed()

    run(main)


def test_the_client_waits_for_the_server_to_close_tcp_but_not_for_ever() -> None:
    async def main() -> None:
        connections: list[Connection] = []

        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head))
            one = await peer.read_frame()
            assert one is not None
            await peer.write_frame(Opcode.CLOSE, one.payload)
            await until(lambda: connections[0].state is State.ENDING)
            assert await peer.read_rest() == b""

        async with raw_server(answer) as port:
            ws = await connect(f"ws://{HOST}:{port}", limits=Limits(close_timeout=0.05))
            connections.append(ws)
            await ws.close(1000)
            assert ws.close_code == 1000

    run(main)


def test_a_socket_of_the_programs_own() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            assert b"Host: example.com" in head
            await peer.write(answer_key(head) + b"\x81\x02hi\x88\x00")
            await peer.read_frame()

        async with raw_server(answer) as port:
            sock = socket.create_connection((HOST, port))  # the loopback answers at once
            sock.setblocking(False)
            async with connect("ws://example.com", sock=sock) as ws:
                assert await ws.recv() == "hi"

    run(main)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://localhost", {}),
        ("ws://localhost/#fragment", {}),
        ("ws://user:pass@localhost", {}),
        ("ws://", {}),
        ("ws://localhost", {"headers": [("X", "a\r\nb: c")]}),
        ("ws://localhost", {"headers": [("Upgrade", "x")]}),
        ("ws://localhost", {"subprotocols": ["a b"]}),
        ("ws://localhost", {"ssl": default_context()}),
    ],
)
def test_options_are_checked_at_once(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        connect(url, **options)


def test_unknown_options_are_errors() -> None:
    with pytest.raises(TypeError, match="nonsense"):
        connect("ws://localhost", nonsense=1)  # type: ignore[call-arg]


def test_the_default_context_verifies() -> None:
    context = default_context()
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"
    assert context is default_context()


def test_the_sample_of_the_rfc() -> None:
    """The raw peers of these tests speak by the book (RFC 6455 §1.3)."""
    assert ACCEPT in answer_key(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
