"""The asyncio driver: what is its own beside the contract of every driver (`test_contract.py`)."""

from __future__ import annotations

import asyncio
import socket

import pytest

from telex.streams import AsyncioStream
from tests.streams.ends import Contexts, Peer, Sink, World, turn, worlds

TLS = pytest.mark.parametrize("world", worlds("tls"), ids=str)


class CountingTransport(asyncio.Transport):
    """Take writes and count them; enough of a transport to see what the cork does."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.writes.append(b"(paused)")

    def abort(self) -> None:
        self.writes.append(b"(aborted)")


def test_output_is_corked() -> None:
    async def main() -> None:
        sink = Sink()
        stream = AsyncioStream(sink)
        transport = CountingTransport()
        stream.connection_made(transport)

        def answer(data: bytes) -> None:
            for byte in data:
                stream.write(bytes([byte]))
            stream.write(b"")
            assert stream.buffered_bytes == len(data)
            assert stream.sent_bytes == 0
            assert transport.writes == []

        sink.on_data = answer
        stream.data_received(b"abc")
        assert transport.writes == [b"abc"], "what the batch wrote leaves in one piece, at once"

        transport.writes.clear()
        stream.write(b"1")
        stream.write(b"2")
        assert transport.writes == []
        await turn()
        assert transport.writes == [b"12"], "and what a task wrote at the end of the turn"

        transport.writes.clear()
        one = b"the very object"
        stream.write(one)
        sink.on_data = stream.write
        stream.data_received(b"!")
        assert transport.writes == [b"the very object!"], "input flushes what a task left"
        await turn()
        assert len(transport.writes) == 1

        transport.writes.clear()

        def fail(data: bytes) -> None:
            stream.write(b"said before")
            raise RuntimeError("the sink's own")

        sink.on_data = fail
        with pytest.raises(RuntimeError):
            stream.data_received(b"?")
        assert transport.writes == [b"said before"]

    asyncio.run(main())


def test_written_and_paused_before_the_transport_comes() -> None:
    async def main() -> None:
        sink = Sink()
        stream = AsyncioStream(sink)
        stream.write(b"early")
        stream.pause_reading()
        assert stream.buffered_bytes == 5
        transport = CountingTransport()
        stream.connection_made(transport)
        await turn()
        assert transport.writes == [b"(paused)", b"early"]

    asyncio.run(main())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_ended_before_the_transport_comes(end: str) -> None:
    async def main() -> None:
        stream = AsyncioStream(Sink())
        getattr(stream, end)()
        assert stream.is_closing
        transport = CountingTransport()
        stream.connection_made(transport)
        assert transport.writes == [b"(aborted)"]

    asyncio.run(main())


def test_room_is_told_also_where_a_full_transport_was_taken_over() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        n = 4_000_000
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.setblocking(False)
            await loop.sock_connect(peer, listening.getsockname())
            accepted, _ = listening.accept()
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=accepted)
            transport.write(b"x" * n)
            sink = Sink()
            sink.stream = AsyncioStream(sink)
            transport.set_protocol(sink.stream)
            sink.stream.connection_made(transport)
            sink.stream.write(b"y")
            assert sink.stream.buffered_bytes > 64 * 1024
            assert await Peer(peer).read_exactly(n + 1) == b"x" * n + b"y"
            await sink.until(lambda: "room" in sink.events)
            sink.stream.abort()
            await sink.end()

    asyncio.run(main())


@TLS
def test_over_tls(world: World, contexts: Contexts) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        sink.on_data = lambda data: sink.stream.write(data.upper())
        await peer.send(b"hello")
        assert await peer.read_exactly(5) == b"HELLO"
        sink.stream.write(b"z" * 1_000_000)
        assert await peer.read_exactly(1_000_000) == b"z" * 1_000_000
        await sink.until(lambda: "room" in sink.events)
        assert sink.stream.get_extra_info("ssl_object") is not None
        sink.stream.write(b"last words")
        sink.stream.close()
        assert await peer.read_all() == b"last words"
        peer.end()
        assert await sink.end() is None

    world.run(scene, contexts=contexts, high_mark=1000)


@TLS
@pytest.mark.parametrize("end", ["close", "abort"])
def test_over_tls_what_is_not_taken_is_seen(end: str, world: World, contexts: Contexts) -> None:
    """A large write must not vanish in the transport below, where neither its size nor its progress would be told."""

    async def scene(sink: Sink, peer: Peer) -> None:
        n = 30_000_000
        sink.stream.write(b"x" * n)
        for _ in range(1000):
            sink.stream.write(b"yz")
        seen = []
        while not sink.stream.sent_bytes:
            await turn()
        assert sink.stream.buffered_bytes > n // 2
        n_read = 0
        while n_read < n:
            n_read += len(await peer.read_exactly(1_000_000))
            seen.append(sink.stream.sent_bytes)
            if end == "abort":
                return
        assert seen == sorted(seen)
        assert len(set(seen)) > 5
        sink.stream.write(b"the last")
        sink.stream.close()
        assert await peer.read_all() == b"yz" * 1000 + b"the last"
        assert sink.events.count("room") == 1

    world.run(scene, contexts=contexts)


@TLS
def test_over_tls_the_peer_ends(world: World, contexts: Contexts) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        sink.on_eof = lambda: sink.stream.write(b"bye")
        peer.end()
        assert await sink.end() is None
        assert sink.events == ["eof", "lost"]

    world.run(scene, contexts=contexts)
