"""Servers that do wrong: none can crash a client, make it grow, or keep it waiting.

The rules themselves are tested on the state machine, in both roles (`test_connection.py`); here the whole client meets
raw servers, on a real socket. The names of the cases are those of the catalogue of bad inputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from typing import Any

import pytest

from telex.limits import Limits
from telex.websocket import (
    Connection,
    ConnectionClosed,
    HandshakeError,
    InvalidStatus,
    Listener,
    connect,
)
from telex.websocket.frames import Opcode
from tests.websocket.raw import RawPeer, answer_key, raw_server, run

HOST = "127.0.0.1"


def changed(head: bytes, *fields: bytes, **replaced: bytes) -> bytes:
    """Return the right 101, with fields added or texts replaced."""
    response = answer_key(head)
    for old, new in replaced.items():
        before = response
        response = response.replace(old.encode().replace(b"_", b"-"), new)
        assert response != before
    return response[:-2] + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


@pytest.mark.parametrize(
    ("fields", "replaced", "sentence"),
    [
        ([], {"Accept": b"Accept: x\r\nX"}, "Accept"),
        ([b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="], {}, "Accept"),
        ([], {"Upgrade: websocket\r\n": b""}, "switch"),
        ([], {"Upgrade: websocket": b"Upgrade: websocket, h2c"}, "switch"),
        ([], {"Connection: Upgrade": b"Connection: close"}, "switch"),
        ([], {"HTTP/1.1": b"HTTP/1.0"}, "HTTP/1.0"),
        ([], {"HTTP/1.1": b"HTTP/2.0"}, "malformed"),
        ([b"Sec-WebSocket-Protocol: unasked"], {}, "subprotocol"),
        ([b"Sec-WebSocket-Protocol: chat", b"Sec-WebSocket-Protocol: chat"], {}, "subprotocol"),
        ([b"Sec-WebSocket-Extensions: x-unknown"], {}, "extension"),
        ([b"Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate"], {}, "ermessage-deflate|extension"),
        ([b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7"], {}, "deflate|window"),
        ([b"Sec-WebSocket-Extensions: permessage-deflate; x=1"], {}, "deflate|parameter"),
        (
            [b"Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=15; server_max_window_bits=15"],
            {},
            "d",
        ),
        ([b"Sec-WebSocket-Extensions: ;;;"], {}, "malformed"),
        ([b"X: a\x00b"], {}, "malformed"),
        ([b" folded: x"], {}, "malformed"),
    ],
)
def test_h42_d11_an_answer_that_is_wrong_fails_and_delivers_nothing(
    fields: list[bytes], replaced: dict[str, bytes], sentence: str
) -> None:
    class Never(Listener):
        def on_open(self, ws: Connection) -> None:
            pytest.fail("it is not open")

        def on_message(self, ws: Connection, message: Any) -> None:
            pytest.fail("nothing may come")

    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(changed(head, *fields, **replaced) + b"\x81\x02hi")
            await peer.read_rest()

        async with raw_server(answer) as port:
            with pytest.raises(HandshakeError, match=sentence):
                await connect(f"ws://{HOST}:{port}", listener=Never(), subprotocols=["chat"], deflate=True)

    run(main)


def test_h42_an_extension_that_was_not_offered() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(changed(head, b"Sec-WebSocket-Extensions: permessage-deflate"))
            await peer.read_rest()

        async with raw_server(answer) as port:
            with pytest.raises(HandshakeError, match="not offered"):
                await connect(f"ws://{HOST}:{port}")

    run(main)


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"HTTP/1.1 101 ", b"x" * 1000),
        (b"HTTP/1.1 101 Switching Protocols\r\nX: ", b"x" * 1000),
        (b"HTTP/1.1 101 Switching Protocols\r\n", b"X: x\r\n" * 100),
    ],
    ids=["status line", "header line", "headers"],
)
def test_h44_a_head_without_end(begin: bytes, more: bytes) -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            with contextlib.suppress(ConnectionError):
                await peer.write(begin)
                while True:
                    await peer.write(more)

        async with raw_server(answer) as port:
            with pytest.raises(HandshakeError, match="malformed"):
                await connect(f"ws://{HOST}:{port}")

    run(main)


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"Content-Length: 1000000000\r\n\r\n", b"x" * 10_000),
        (b"Content-Length: 9" + b"9" * 5000 + b"\r\n\r\n", b"x" * 10_000),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"2710\r\n" + b"x" * 10_000 + b"\r\n"),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 10_000),
        (b"\r\n", b"x" * 10_000),
    ],
)
@pytest.mark.parametrize("maximum", [1000, None])
def test_h44_a_body_without_end(head: bytes, part: bytes, maximum: int | None) -> None:
    limits = Limits() if maximum is None else Limits(max_error_body=maximum)

    async def main() -> None:
        async def answer(peer: RawPeer, _: bytes) -> None:
            with contextlib.suppress(ConnectionError):
                await peer.write(b"HTTP/1.1 500 Oops\r\n" + head)
                while True:
                    await peer.write(part)

        async with raw_server(answer) as port:
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://{HOST}:{port}", limits=limits)
            assert refused.value.status == 500
            assert len(refused.value.body) <= limits.max_error_body

    run(main)


def test_h44_a_body_that_never_comes_ends_at_the_deadline() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 10\r\n\r\nhal")
            await peer.read_rest()

        async with raw_server(answer) as port:
            with pytest.raises(TimeoutError):
                await connect(f"ws://{HOST}:{port}", open_timeout=0.05)

    run(main)


FRAMES = [
    ("w02 masked", b"\x81\x82\x00\x00\x00\x00hi", 1002),
    ("w02 masked and empty", b"\x82\x80\x00\x00\x00\x00", 1002),
    ("w02 a masked control frame", b"\x89\x80\x00\x00\x00\x00", 1002),
    ("w03 rsv1", b"\xc1\x00", 1002),
    ("w03 rsv2", b"\xa1\x00", 1002),
    ("w03 rsv3", b"\x91\x00", 1002),
    ("w04 rsv1 on a ping", b"\xc9\x00", 1002),
    ("w05 opcode 3", b"\x83\x00", 1002),
    ("w05 opcode 15", b"\x8f\x00", 1002),
    ("w06 a long ping", b"\x89\x7e\x00\x7e" + b"x" * 126, 1002),
    ("w07 a fragmented ping", b"\x09\x00", 1002),
    ("w08 nothing to continue", b"\x80\x00", 1002),
    ("w09 text inside a message", b"\x01\x01a\x81\x01b", 1002),
    ("w10 the top bit", b"\x82\x7f\xff" + b"\xff" * 7, 1002),
    ("w10 2^63 - 1", b"\x82\x7f\x7f" + b"\xff" * 7, 1009),
    ("w11 a long form for a short length", b"\x82\x7e\x00\x05hello", 1002),
    ("w12 over the limit, from the header alone", b"\x82\x7f\x00\x00\x00\x00\x00\x20\x00\x00", 1009),
    ("w13 fragments over the limit", b"\x02\x7e\x04\x00" + b"x" * 1024 + b"\x80\x7f" + b"\0" * 4 + b"\0\x10\0\0", 1009),
    ("w14 fragments without end", b"\x02\x01x" + b"\x00\x01x" * 1024, 1008),
    ("w15 empty fragments without end", b"\x02\x00" + b"\x00\x00" * 1024, 1008),
    ("w19 pings without end", b"\x89\x00" * 300, 1008),
    ("w22 not UTF-8", b"\x81\x01\xff", 1007),
    ("w25 a close of one byte", b"\x88\x01\x03", 1002),
    ("w26 a close with 1005", b"\x88\x02\x03\xed", 1002),
    ("w28 a reason that is not UTF-8", b"\x88\x03\x03\xe8\xff", 1007),
]


@pytest.mark.parametrize("how", ["one piece", "bytewise"])
@pytest.mark.parametrize(("name", "data", "code"), FRAMES, ids=[name for name, _, _ in FRAMES])
def test_frames_that_no_server_may_send(name: str, data: bytes, code: int, how: str) -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head) + b"\x81\x02hi")
            with contextlib.suppress(ConnectionError):
                for piece in [data] if how == "one piece" else [data[i : i + 1] for i in range(len(data))]:
                    await peer.write(piece)
            closed = [frame for frame in await closing_frames(peer) if frame[0] is Opcode.CLOSE]
            assert [payload[:2] for _, payload in closed] == [code.to_bytes(2, "big")]

        async with raw_server(answer) as port:
            ws = await connect(f"ws://{HOST}:{port}")
            assert await ws.recv() == "hi", "what came before is delivered"
            with pytest.raises(ConnectionClosed) as over:
                await ws.recv()
            assert over.value.code == code
            await ws.wait_closed()

    run(main)


async def closing_frames(peer: RawPeer) -> list[tuple[Opcode, bytes]]:
    """Return the client's frames up to its Close."""
    frames: list[tuple[Opcode, bytes]] = []
    while (one := await peer.read_frame()) is not None:
        frames.append((one.opcode, one.payload))
        if one.opcode is Opcode.CLOSE:
            break
    return frames


def test_d01_a_bomb() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            compressor = zlib.compressobj(wbits=-12)
            bomb = compressor.compress(b"\0" * 50_000_000) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]
            accepted = b"permessage-deflate; server_no_context_takeover; server_max_window_bits=12"
            await peer.write(changed(head, b"Sec-WebSocket-Extensions: " + accepted))
            await peer.write(b"\xc2\x7e" + len(bomb).to_bytes(2, "big") + bomb)
            assert (await closing_frames(peer))[-1][1][:2] == b"\x03\xf1"  # 1009

        async with raw_server(answer) as port:
            ws = await connect(f"ws://{HOST}:{port}", deflate=True)
            with pytest.raises(ConnectionClosed, match="1009"):
                await ws.recv()
            await ws.wait_closed()

    run(main)


@pytest.mark.parametrize("when", ["before the request", "with the answer"])
def test_a_server_that_floods_before_its_time(when: str) -> None:
    async def main() -> None:
        flood = b"\x81\x7e\x10\x00" + b"x" * 4096

        async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                if when == "with the answer":
                    writer.write(answer_key(await reader.readuntil(b"\r\n\r\n")))
                while True:
                    writer.write(flood)
                    await writer.drain()

        async with await asyncio.start_server(serve_one, HOST, 0) as listening:
            url = f"ws://{HOST}:{listening.sockets[0].getsockname()[1]}"
            if when == "before the request":
                with pytest.raises((HandshakeError, ConnectionError)):
                    await connect(url)
            else:
                ws = await connect(url)
                for _ in range(100):
                    assert await ws.recv() == "x" * 4096
                    assert ws.statistics().n_waiting <= ws.limits.recv_queue_high
                ws.abort()
                await ws.wait_closed()

    run(main)
