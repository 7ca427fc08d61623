"""The asyncio driver over real sockets on the loopback, TCP and TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Callable

import pytest
import trustme

from telex.streams import AsyncioStream

SECONDS = 20.0
"""How long a test waits for what must come."""


class Sink:
    """Record what happens, and let the test wait for it."""

    def __init__(self) -> None:
        self.stream: AsyncioStream
        self.events: list[object] = []
        self.received = bytearray()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.on_data: Callable[[bytes], None] = lambda data: None
        self.on_eof: Callable[[], None] = lambda: None
        self._changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._note("data")
        self.on_data(data)

    def eof_received(self) -> None:
        self._note("eof")
        self.on_eof()

    def connection_lost(self, error: Exception | None) -> None:
        self._note("lost")
        self.lost.set_result(error)

    def writing_resumed(self) -> None:
        self._note("room")

    def _note(self, event: str) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def pair(
    *,
    high_mark: int = 64 * 1024,
    server_ssl: ssl.SSLContext | None = None,
    client_ssl: ssl.SSLContext | None = None,
    receive_buffer: int | None = None,
) -> AsyncIterator[tuple[Sink, socket.socket | asyncio.StreamReader, asyncio.StreamWriter | None]]:
    """Give a server-side stream, and as its peer a plain socket, or reader and writer over TLS."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Sink] = loop.create_future()

    def factory() -> AsyncioStream:
        sink = Sink()
        sink.stream = AsyncioStream(sink, high_mark=high_mark)
        loop.call_soon(made.set_result, sink)
        return sink.stream

    server = await loop.create_server(factory, "127.0.0.1", 0, ssl=server_ssl)
    address = server.sockets[0].getsockname()
    try:
        if client_ssl is None:
            with socket.socket() as peer:
                if receive_buffer is not None:
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
                peer.setblocking(False)
                await loop.sock_connect(peer, address)
                sink = await made
                yield sink, peer, None
                sink.stream.abort()
                await sink.lost
        else:
            reader, writer = await asyncio.open_connection(*address, ssl=client_ssl, server_hostname="localhost")
            sink = await made
            yield sink, reader, writer
            if not writer.transport.is_closing():  # CPython 3.11.2 cannot abort what was closed twice
                writer.transport.abort()
            sink.stream.abort()
            await sink.lost
    finally:
        server.close()
        await server.wait_closed()


async def read_all(peer: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    parts = []
    async with asyncio.timeout(SECONDS):
        while part := await loop.sock_recv(peer, 65536):
            parts.append(part)
    return b"".join(parts)


async def read_exactly(peer: socket.socket, n: int) -> bytes:
    loop = asyncio.get_running_loop()
    parts = bytearray()
    async with asyncio.timeout(SECONDS):
        while len(parts) < n:
            part = await loop.sock_recv(peer, n - len(parts))
            assert part, "the stream ended early"
            parts += part
    return bytes(parts)


def test_reads_writes_and_sees_a_regular_end() -> None:
    async def main() -> None:
        async with pair() as (sink, peer, _):
            loop = asyncio.get_running_loop()
            sink.on_data = lambda data: sink.stream.write(data.upper())
            sink.on_eof = sink.stream.close
            await loop.sock_sendall(peer, b"hello")
            assert await read_exactly(peer, 5) == b"HELLO"
            assert sink.stream.sent_bytes == 5
            assert sink.stream.buffered_bytes == 0
            assert sink.stream.get_extra_info("peername") == peer.getsockname()
            peer.shutdown(socket.SHUT_WR)
            assert await read_all(peer) == b""
            assert await asyncio.wait_for(sink.lost, SECONDS) is None
            assert sink.events == ["data", "eof", "lost"]
            assert sink.stream.is_closing
            assert sink.stream.get_extra_info("peername", "gone") == "gone"

    asyncio.run(main())


def test_nagle_is_off() -> None:
    async def main() -> None:
        async with pair() as (sink, _, _):
            inner = sink.stream.get_extra_info("socket")
            assert inner.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

    asyncio.run(main())


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
        turned = asyncio.Event()
        asyncio.get_running_loop().call_soon(turned.set)
        await turned.wait()
        assert transport.writes == [b"12"], "and what a task wrote at the end of the turn"

        transport.writes.clear()
        one = b"the very object"
        stream.write(one)
        sink.on_data = stream.write
        stream.data_received(b"!")
        assert transport.writes == [b"the very object!"], "input flushes what a task left"
        turned = asyncio.Event()
        asyncio.get_running_loop().call_soon(turned.set)
        await turned.wait()
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
        turned = asyncio.Event()
        asyncio.get_running_loop().call_soon(turned.set)
        await turned.wait()
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


def test_a_half_closed_peer_still_gets_its_answer() -> None:
    async def main() -> None:
        async with pair() as (sink, peer, _):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(peer, b"question")
            peer.shutdown(socket.SHUT_WR)
            await sink.until(lambda: "eof" in sink.events)
            assert not sink.stream.is_closing
            sink.stream.write(b"answer")
            sink.stream.close()
            assert await read_all(peer) == b"answer"
            assert await asyncio.wait_for(sink.lost, SECONDS) is None

    asyncio.run(main())


def test_the_last_words_survive_unread_input() -> None:
    """A close with unread input would send RST, which destroys what the peer has not read yet."""

    async def main() -> None:
        async with pair() as (sink, peer, _):
            loop = asyncio.get_running_loop()

            def refuse(_: bytes) -> None:
                sink.stream.write(b"no, because")
                sink.stream.close()
                sink.stream.close()
                sink.stream.write(b"never sent")
                sink.on_data = lambda data: pytest.fail("what comes after close is dropped")

            sink.on_data = refuse
            await loop.sock_sendall(peer, b"x")
            await sink.until(lambda: sink.stream.is_closing)
            await loop.sock_sendall(peer, b"y" * 500_000)
            assert await read_all(peer) == b"no, because"
            assert not sink.lost.done()
            peer.shutdown(socket.SHUT_WR)
            assert await asyncio.wait_for(sink.lost, SECONDS) is None

    asyncio.run(main())


def test_close_resumes_reading_so_that_the_end_is_seen() -> None:
    async def main() -> None:
        async with pair() as (sink, peer, _):
            sink.stream.pause_reading()
            sink.stream.pause_reading()
            sink.stream.close()
            peer.shutdown(socket.SHUT_WR)
            assert await asyncio.wait_for(sink.lost, SECONDS) is None
            sink.stream.pause_reading()
            sink.stream.resume_reading()
            sink.stream.close()
            sink.stream.abort()

    asyncio.run(main())


def test_a_peer_that_resets() -> None:
    async def main() -> None:
        async with pair() as (sink, peer, _):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            assert isinstance(await asyncio.wait_for(sink.lost, SECONDS), ConnectionResetError)
            assert sink.events == ["lost"]

    asyncio.run(main())


def test_a_peer_that_resets_while_we_do_not_read() -> None:
    async def main() -> None:
        async with pair() as (sink, peer, _):
            sink.stream.pause_reading()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            sink.stream.close()
            await asyncio.wait_for(sink.lost, SECONDS)

    asyncio.run(main())


def test_abort_drops_what_is_corked() -> None:
    async def main() -> None:
        async with pair() as (sink, peer, _):
            sink.stream.write(b"never sent")
            sink.stream.abort()
            assert sink.stream.is_closing
            assert not sink.lost.done(), "connection_lost does not come inside the call"
            assert await asyncio.wait_for(sink.lost, SECONDS) is None
            with contextlib.suppress(ConnectionResetError):
                assert await read_all(peer) == b""

    asyncio.run(main())


def test_room_is_told_once_after_the_high_mark() -> None:
    async def main() -> None:
        async with pair(high_mark=100_000, receive_buffer=4096) as (sink, peer, _):
            n = 8_000_000
            sink.stream.write(b"x" * n)
            assert sink.stream.buffered_bytes == n
            turned = asyncio.Event()
            asyncio.get_running_loop().call_soon(turned.set)
            await turned.wait()
            before = sink.stream.sent_bytes
            assert sink.stream.buffered_bytes > 100_000
            assert "room" not in sink.events
            assert await read_exactly(peer, n) == b"x" * n
            await sink.until(lambda: "room" in sink.events)
            assert sink.stream.buffered_bytes <= 50_000
            assert sink.stream.sent_bytes > before
            assert sink.events.count("room") == 1

            sink.stream.write(b"y" * 100_000)
            assert await read_exactly(peer, 100_000) == b"y" * 100_000
            assert sink.events.count("room") == 1, "the mark was not passed"

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
            assert await read_exactly(peer, n + 1) == b"x" * n + b"y"
            await sink.until(lambda: "room" in sink.events)
            sink.stream.abort()
            await sink.lost

    asyncio.run(main())


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="this system does not tell")
def test_what_the_kernel_holds_is_not_acknowledged() -> None:
    async def main() -> None:
        async with pair(receive_buffer=4096) as (sink, peer, _):
            assert sink.stream.acknowledged_bytes == 0
            sink.stream.write(b"x" * 50_000)
            while not sink.stream.sent_bytes:  # noqa: ASYNC110  # nothing tells when
                await asyncio.sleep(0)
            assert sink.stream.acknowledged_bytes < sink.stream.sent_bytes == 50_000
            await read_exactly(peer, 50_000)
            async with asyncio.timeout(SECONDS):
                while sink.stream.acknowledged_bytes < 50_000:  # noqa: ASYNC110  # nothing tells when
                    await asyncio.sleep(0)
            sink.stream.abort()
            await sink.lost
            assert sink.stream.acknowledged_bytes == sink.stream.sent_bytes

    asyncio.run(main())


def test_room_is_told_also_when_the_kernel_takes_all_at_once() -> None:
    async def main() -> None:
        async with pair(high_mark=1000) as (sink, peer, _):
            sink.stream.write(b"x" * 2000)
            await sink.until(lambda: "room" in sink.events)
            assert await read_exactly(peer, 2000) == b"x" * 2000

    asyncio.run(main())


def test_reading_pauses() -> None:
    async def main() -> None:
        async with pair() as (sink, peer, _):
            loop = asyncio.get_running_loop()
            sink.on_data = lambda data: sink.stream.pause_reading()
            await loop.sock_sendall(peer, b"1")
            await sink.until(lambda: sink.received == b"1")
            await loop.sock_sendall(peer, b"2")
            for _ in range(5):
                turned = asyncio.Event()
                loop.call_soon(turned.set)
                await turned.wait()
            assert sink.received == b"1"
            sink.stream.resume_reading()
            await sink.until(lambda: sink.received == b"12")

    asyncio.run(main())


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def test_over_tls(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def main() -> None:
        async with pair(server_ssl=contexts[0], client_ssl=contexts[1], high_mark=1000) as (sink, reader, writer):
            assert isinstance(reader, asyncio.StreamReader)
            assert writer is not None
            sink.on_data = lambda data: sink.stream.write(data.upper())
            writer.write(b"hello")
            async with asyncio.timeout(SECONDS):
                assert await reader.readexactly(5) == b"HELLO"
                sink.stream.write(b"z" * 1_000_000)
                assert await reader.readexactly(1_000_000) == b"z" * 1_000_000
                await sink.until(lambda: "room" in sink.events)
                sink.stream.write(b"last words")
                sink.stream.close()
                assert await reader.read() == b"last words"
                writer.close()
                assert await sink.lost is None

    asyncio.run(main())


@pytest.mark.parametrize("end", ["close", "abort"])
def test_over_tls_what_is_not_taken_is_seen(end: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """A large write must not vanish in the transport below, where neither its size nor its progress would be told."""

    async def main() -> None:
        async with pair(server_ssl=contexts[0], client_ssl=contexts[1]) as (sink, reader, writer):
            assert isinstance(reader, asyncio.StreamReader)
            assert writer is not None
            n = 30_000_000
            sink.stream.write(b"x" * n)
            for _ in range(1000):
                sink.stream.write(b"yz")
            seen = []
            async with asyncio.timeout(SECONDS):
                while not sink.stream.sent_bytes:  # noqa: ASYNC110  # nothing tells when
                    await asyncio.sleep(0)
                assert sink.stream.buffered_bytes > n // 2
                n_read = 0
                while n_read < n:
                    n_read += len(await reader.readexactly(1_000_000))
                    seen.append(sink.stream.sent_bytes)
                    if end == "abort":
                        return
                assert seen == sorted(seen)
                assert len(set(seen)) > 5
                sink.stream.write(b"the last")
                sink.stream.close()
                assert await reader.read() == b"yz" * 1000 + b"the last"
            assert sink.events.count("room") == 1

    asyncio.run(main())


def test_over_tls_the_peer_ends(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async def main() -> None:
        async with pair(server_ssl=contexts[0], client_ssl=contexts[1]) as (sink, _, writer):
            assert writer is not None
            sink.on_eof = lambda: sink.stream.write(b"bye")
            writer.close()
            assert await asyncio.wait_for(sink.lost, SECONDS) is None
            assert sink.events == ["eof", "lost"]

    asyncio.run(main())
