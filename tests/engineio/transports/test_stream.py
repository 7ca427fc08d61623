"""The websocket transport straight on a stream of each driver, over a real socket, under a real session."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from telex.engineio import CloseReason, Engine, Request, Session, StreamTransport, message
from telex.limits import Limits
from telex.streams import AsyncioStream
from telex.types import Data, Headers
from telex.websocket.connection import Role
from telex.websocket.frames import FrameReader, Opcode, decode_close, encode_frame
from tests.engineio.web import EngineApp
from tests.streams.ends import World, connect, run, worlds
from tests.twins import compiled

SECONDS = 20.0
WORLDS = worlds("tcp", "unix")

pytestmark = pytest.mark.parametrize("world", WORLDS, ids=str)


class Peer:
    """The client: a bare socket that speaks frames."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._loop = asyncio.get_running_loop()
        self._frames = FrameReader(
            expect_masked=False, allow_rsv1=False, max_message_size=100_000_000, max_fragments=100_000
        )

    async def send(self, *messages: Data) -> None:
        await self.send_raw(
            b"".join(
                encode_frame(Opcode.TEXT, data.encode(), mask=b"mask")
                if isinstance(data, str)
                else encode_frame(Opcode.BINARY, data, mask=b"mask")
                for data in messages
            )
        )

    async def send_raw(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def receive(self) -> Data | int:
        """Return the next message, or the code of a Close; 1006 for an end without one."""
        payload = b""
        while True:
            frame = self._frames.read()
            if frame is None:
                try:
                    data = await self._loop.sock_recv(self.sock, 65536)
                except ConnectionError:
                    return 1006
                if not data:
                    return 1006
                self._frames.feed(data)
            elif frame.opcode is Opcode.CLOSE:
                return decode_close(frame.payload)[0]
            elif frame.opcode is Opcode.PONG:
                return b"pong " + frame.payload
            else:
                payload += frame.payload
                if frame.ends and frame.fin:
                    return payload.decode() if frame.opcode is Opcode.TEXT else payload


class Scene:
    """One session on one stream."""

    def __init__(self, app: EngineApp, transport: StreamTransport, stream: Any, peer: Peer, ended: list[int]) -> None:
        self.app = app
        self.transport = transport
        self.stream = stream
        self.peer = peer
        self.ended = ended

    @property
    def session(self) -> Session:
        return self.app.floor.session


class Owner:
    def __init__(self) -> None:
        self.ended: list[int] = []

    def connection_ended(self) -> None:
        self.ended.append(1)


@contextlib.asynccontextmanager
async def playing(
    world: World, *, limits: Limits | None = None, early: bytes = b"", kernel_buffers: int | None = None
) -> AsyncIterator[Scene]:
    app = EngineApp(limits=limits or Limits())
    ours, theirs = await connect(world.kind, receive_buffer=kernel_buffers)
    if kernel_buffers is not None:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kernel_buffers)
    request = Request(
        method="GET",
        path="/socket.io/",
        query_string="EIO=4&transport=websocket",
        headers=Headers([("host", "a")]),
        scope={"type": "websocket"},
    )
    admission: Any = await app.engine.admit_websocket(request)
    owner, loop = Owner(), asyncio.get_running_loop()
    engine: Engine = app.engine
    stream: Any
    placeholder: Any = None
    if world.driver == "epoll":
        poll = compiled("telex.streams._epoll").poll_of(loop)
        stream = poll.adopt(ours.detach(), placeholder, high_mark=engine.limits.send_buffer_high)
    else:
        stream = AsyncioStream(placeholder, high_mark=engine.limits.send_buffer_high)
        await loop.connect_accepted_socket(lambda: stream, ours)
    transport = StreamTransport(
        stream, limits=engine.limits, frame_limits=engine.frame_limits, deflate=None, owner=owner
    )
    stream.sink = transport
    admission.start_on(transport, request)
    transport.open(early)
    peer = Peer(theirs)
    try:
        async with asyncio.timeout(SECONDS):
            yield Scene(app, transport, stream, peer, owner.ended)
    finally:
        theirs.close()
        async with asyncio.timeout(SECONDS):
            while not owner.ended:  # noqa: ASYNC110  # there is nothing to wait for but the condition itself
                await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.sleep(0)
        assert owner.ended == [1], "the owner hears of the end once"
        for session in list(engine.sessions.values()):
            session.abort()
        assert engine.sessions == {}


def play(world: World, act: Callable[[Scene], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        async with playing(world, **options) as scene:
            await act(scene)

    run(world.loop, main)


def test_packets_both_ways(world: World) -> None:
    async def act(scene: Scene) -> None:
        assert str(await scene.peer.receive()).startswith("0{")
        for data in ("", "x", "é" * 1000, b"", bytes(range(256)) * 100):
            await scene.peer.send(data if isinstance(data, bytes) else "4" + data)
            assert await scene.peer.receive() == (data if isinstance(data, bytes) else "4" + data)
        await scene.peer.send("4a", b"b", "4c")
        assert [await scene.peer.receive() for _ in range(3)] == ["4a", b"b", "4c"]
        await scene.peer.send_raw(encode_frame(Opcode.PING, b"hi", mask=b"mask"))
        assert await scene.peer.receive() == b"pong hi"

    play(world, act)


def test_a_client_masks_all_that_it_writes(world: World) -> None:
    async def main() -> None:
        loop, (ours, theirs) = asyncio.get_running_loop(), await connect(world.kind)
        stream: Any
        placeholder: Any = None
        if world.driver == "epoll":
            stream = compiled("telex.streams._epoll").poll_of(loop).adopt(ours.detach(), placeholder, high_mark=1000)
        else:
            stream = AsyncioStream(placeholder, high_mark=1000)
            await loop.connect_accepted_socket(lambda: stream, ours)
        limits = Limits()
        transport = StreamTransport(stream, limits=limits, frame_limits=limits, deflate=None, role=Role.CLIENT)
        stream.sink = transport
        many = message("to many")
        many.encode_for_many()  # as a server would: this frame is not for us
        transport.offer([message("text"), message(b"bytes"), many])
        transport.send([message("text"), many])
        stream.close()
        data = b""
        with theirs:
            async with asyncio.timeout(SECONDS):
                while more := await loop.sock_recv(theirs, 65536):
                    data += more
        frames = FrameReader(expect_masked=True, allow_rsv1=False, max_message_size=1000, max_fragments=1)
        frames.feed(data)
        keys, at = set(), 0
        for payload in (b"4text", b"bytes", b"4to many", b"4text", b"4to many"):
            frame = frames.read()
            assert frame is not None
            assert frame.payload == payload
            keys.add(data[at + 2 : at + 6])
            at += 6 + len(payload)
        assert at == len(data)
        assert len(keys) == 5, "each frame has a key of its own"

    run(world.loop, main)


def test_a_frame_byte_by_byte_and_in_fragments(world: World) -> None:
    async def act(scene: Scene) -> None:
        await scene.peer.receive()
        for byte in encode_frame(Opcode.TEXT, b"4slow", mask=b"mask"):
            await scene.peer.send_raw(bytes([byte]))
        assert await scene.peer.receive() == "4slow"
        await scene.peer.send_raw(
            encode_frame(Opcode.TEXT, b"4o", mask=b"mask", fin=False)
            + encode_frame(Opcode.CONTINUATION, b"n", mask=b"mask", fin=False)
            + encode_frame(Opcode.CONTINUATION, b"e", mask=b"mask")
        )
        assert await scene.peer.receive() == "4one"

    play(world, act)


def test_what_came_with_the_opening_handshake(world: World) -> None:
    async def act(scene: Scene) -> None:
        assert str(await scene.peer.receive()).startswith("0{")
        await scene.peer.send("4later")
        assert await scene.peer.receive() == "4early"
        assert await scene.peer.receive() == "4later"

    play(world, act, early=encode_frame(Opcode.TEXT, b"4early", mask=b"mask"))


def test_half_a_frame_came_with_the_opening_handshake(world: World) -> None:
    frame = encode_frame(Opcode.TEXT, b"4early", mask=b"mask")

    async def act(scene: Scene) -> None:
        await scene.peer.receive()
        await scene.peer.send_raw(frame[3:])
        assert await scene.peer.receive() == "4early"

    play(world, act, early=frame[:3])


def test_while_it_is_paused_nothing_is_taken(world: World) -> None:
    async def act(scene: Scene) -> None:
        await scene.peer.receive()
        await scene.peer.send("4first")
        assert await scene.peer.receive() == "4first"
        scene.transport.pause_reading()
        await scene.peer.send("4second", "4third")
        for _ in range(20):
            await asyncio.sleep(0)
        assert scene.app.floor.messages == ["first"]
        scene.transport.resume_reading()
        assert await scene.peer.receive() == "4second"
        assert await scene.peer.receive() == "4third"

    play(world, act)


def test_paused_in_the_middle_of_a_batch(world: World) -> None:
    async def act(scene: Scene) -> None:
        await scene.peer.receive()
        floor = scene.app.floor
        receive = floor.message_received

        def pause(data: Data) -> None:
            receive(data)
            scene.transport.pause_reading()

        floor.message_received = pause  # type: ignore[method-assign]  # the session looks it up for each message
        await scene.peer.send(*[f"4{n}" for n in range(5)])
        for n in range(5):
            assert await scene.peer.receive() == f"4{n}"
            assert floor.messages == [str(each) for each in range(n + 1)]
            scene.transport.resume_reading()

    play(world, act)


def test_the_client_closes(world: World) -> None:
    async def act(scene: Scene) -> None:
        await scene.peer.receive()
        await scene.peer.send_raw(encode_frame(Opcode.CLOSE, (1000).to_bytes(2, "big"), mask=b"mask"))
        assert await scene.peer.receive() == 1000
        assert await scene.peer.receive() == 1006
        scene.peer.sock.close()
        assert await scene.app.floor.closed() is CloseReason.TRANSPORT_CLOSE

    play(world, act)


@pytest.mark.parametrize("how", ["end", "close"])
def test_the_client_is_gone(world: World, how: str) -> None:
    async def act(scene: Scene) -> None:
        await scene.peer.receive()
        if how == "end":
            scene.peer.sock.shutdown(socket.SHUT_WR)
            assert await scene.peer.receive() == 1006
        scene.peer.sock.close()
        assert await scene.app.floor.closed() is CloseReason.TRANSPORT_CLOSE

    play(world, act)


def test_the_session_closes_after_what_it_had_to_say(world: World) -> None:
    async def act(scene: Scene) -> None:
        await scene.peer.receive()
        large = "x" * 3_000_000
        scene.session.send([message(large)])
        scene.session.close()
        assert await scene.peer.receive() == "4" + large
        found = await scene.peer.receive()
        while isinstance(found, str):
            found = await scene.peer.receive()
        assert found == 1000
        await scene.peer.send_raw(encode_frame(Opcode.CLOSE, (1000).to_bytes(2, "big"), mask=b"mask"))
        assert await scene.peer.receive() == 1006

    play(world, act)


def test_a_close_that_is_not_answered_is_cut(world: World) -> None:
    async def act(scene: Scene) -> None:
        await scene.peer.receive()
        scene.session.close()
        while (found := await scene.peer.receive()) != 1006:
            assert found in ("1", 1000)
        assert scene.app.floor.reasons

    play(world, act, limits=Limits(close_timeout=0.05))


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (encode_frame(Opcode.TEXT, b"9", mask=b"mask"), 1002, CloseReason.PARSE_ERROR),
        (encode_frame(Opcode.TEXT, b"", mask=b"mask"), 1002, CloseReason.PARSE_ERROR),
        (encode_frame(Opcode.TEXT, b"4\xff", mask=b"mask"), 1007, CloseReason.TRANSPORT_ERROR),
        (encode_frame(Opcode.TEXT, b"4unmasked"), 1002, CloseReason.TRANSPORT_ERROR),
        (b"\x83\x80mask", 1002, CloseReason.TRANSPORT_ERROR),
        (encode_frame(Opcode.TEXT, b"4" + b"x" * 1000, mask=b"mask"), 1009, CloseReason.TRANSPORT_ERROR),
    ],
)
def test_what_breaks_the_rules(world: World, data: bytes, code: int, reason: CloseReason) -> None:
    async def act(scene: Scene) -> None:
        await scene.peer.receive()
        await scene.peer.send_raw(data)
        assert await scene.peer.receive() == code
        scene.peer.sock.close()
        assert await scene.app.floor.closed() is reason

    play(world, act, limits=Limits(max_payload=1000))


def test_discarding_tells_an_idle_peer_and_cuts_one_that_lags(world: World) -> None:
    async def tell(scene: Scene) -> None:
        await scene.peer.receive()
        scene.session.abort()
        assert await scene.peer.receive() == 1000
        scene.peer.sock.close()

    async def cut(scene: Scene) -> None:
        scene.session.send([message("x" * 4_000_000)])
        for _ in range(5):
            await asyncio.sleep(0)
        assert scene.transport.buffered_bytes > 64 * 1024, "the kernel has no room for it all"
        assert not scene.transport.is_writable
        scene.session.abort()
        while not scene.ended:  # noqa: ASYNC110  # without waiting for the peer
            await asyncio.sleep(0)
        assert scene.app.floor.reasons == [CloseReason.FORCED_CLOSE]

    limits = Limits(send_buffer_max=10_000_000)
    play(world, tell)
    play(world, cut, limits=limits, kernel_buffers=65536)  # else they grow, and with luck take it all


def test_after_the_end_every_call_is_harmless(world: World) -> None:
    async def act(scene: Scene) -> None:
        scene.peer.sock.close()
        await scene.app.floor.closed()
        while not scene.ended:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
        scene.transport.send([message("nobody")])
        scene.transport.pause_reading()
        scene.transport.resume_reading()
        scene.transport.close()
        scene.transport.discard()
        scene.transport.writing_resumed()
        assert not scene.transport.is_writable

    play(world, act)


def test_what_the_program_does_wrong_ends_the_connection(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def act(scene: Scene) -> None:
        await scene.peer.receive()

        def fail(data: Data) -> None:
            raise LookupError("mine")

        scene.app.floor.message_received = fail  # type: ignore[method-assign]  # looked up for each message
        await scene.peer.send("4x")
        assert await scene.peer.receive() == 1011
        scene.peer.sock.close()
        await scene.app.floor.closed()

    play(world, act)
    assert "LookupError: mine" in caplog.text
