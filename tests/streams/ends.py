"""A stream of any driver over a real socket, its sink, and its peer.

Rule of this module: it opens and closes, and knows no expectation. Every wait has a deadline, and nothing sleeps.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import uvloop

from telex.streams import AsyncioStream, Stream
from tests.twins import IS_PURE, compiled

__all__ = ["LOOPS", "SECONDS", "Peer", "Sink", "World", "pair", "run", "turn", "worlds"]

SECONDS = 20.0
"""How long a test waits for what must come."""

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def run(loop: str, main: Callable[[], Awaitable[Any]]) -> Any:
    """Run a program as `asyncio.run` does, on a loop of this kind."""

    async def call() -> Any:
        return await main()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        return runner.run(call())


async def turn(n: int = 1) -> None:
    """Let the loop go round."""
    for _ in range(n):
        turned = asyncio.Event()
        asyncio.get_running_loop().call_soon(turned.set)
        await turned.wait()


class Sink:
    """Record what happens, and let the test wait for it.

    `connection_lost` is held to its promise: once, last, and never inside another call of sink or stream.
    """

    def __init__(self) -> None:
        self.stream: Any
        self.events: list[str] = []
        self.received = bytearray()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.on_data: Callable[[bytes], Any] = lambda data: None
        self.on_eof: Callable[[], Any] = lambda: None
        self.on_room: Callable[[], Any] = lambda: None
        self.on_lost: Callable[[], Any] = lambda: None
        self._depth = 0
        self._changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.received += data
        with self.calling("data"):
            self.on_data(data)

    def eof_received(self) -> None:
        with self.calling("eof"):
            self.on_eof()

    def writing_resumed(self) -> None:
        with self.calling("room"):
            self.on_room()

    def connection_lost(self, error: Exception | None) -> None:
        assert self._depth == 0, "connection_lost inside a call"
        with self.calling("lost"):
            self.lost.set_result(error)  # raises where it was called before
            self.on_lost()

    @contextlib.contextmanager
    def calling(self, event: str | None = None) -> Any:
        """Note that somebody is inside a call to or from the stream."""
        assert event is None or "lost" not in self.events
        if event is not None:
            self.events.append(event)
            self._changed.set()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def end(self) -> Exception | None:
        """Wait for the end, and return its error."""
        async with asyncio.timeout(SECONDS):
            return await asyncio.shield(self.lost)


class Peer:
    """Be the other end: a bare socket, or over TLS a reader and a writer."""

    def __init__(
        self,
        sock: socket.socket | None,
        reader: asyncio.StreamReader | None = None,
        writer: asyncio.StreamWriter | None = None,
    ) -> None:
        self.sock = sock
        self.reader = reader
        self.writer = writer
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(SECONDS):
            if self.writer is not None:
                self.writer.write(data)
                await self.writer.drain()
            else:
                assert self.sock is not None
                await self._loop.sock_sendall(self.sock, data)

    async def read(self, n: int) -> bytes:
        """Return what there is, at most `n` bytes; nothing at the end."""
        async with asyncio.timeout(SECONDS):
            if self.reader is not None:
                return await self.reader.read(n)
            assert self.sock is not None
            return await self._loop.sock_recv(self.sock, n)

    async def read_exactly(self, n: int) -> bytes:
        parts = bytearray()
        while len(parts) < n:
            part = await self.read(n - len(parts))
            assert part, "the stream ended early"
            parts += part
        return bytes(parts)

    async def read_all(self) -> bytes:
        parts = []
        while part := await self.read(1 << 16):
            parts.append(part)
        return b"".join(parts)

    def end(self) -> None:
        """Send the end; over TLS that ends both directions."""
        if self.writer is not None:
            self.writer.close()
        else:
            assert self.sock is not None
            self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        assert self.sock is not None
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        if self.writer is not None:
            if not self.writer.transport.is_closing():  # CPython 3.11.2 cannot abort what was closed twice
                self.writer.transport.abort()
        else:
            assert self.sock is not None
            self.sock.close()


@dataclass(frozen=True)
class World:
    """A driver, over a kind of socket, on a kind of event loop."""

    driver: str
    kind: str
    loop: str

    def __str__(self) -> str:
        return f"{self.driver}-{self.kind}-{self.loop}"

    def run(self, scene: Callable[[Sink, Peer], Awaitable[None]], **options: Any) -> None:
        """Play a scene, given the stream's sink and its peer; close both afterwards."""

        async def main() -> None:
            async with pair(self.driver, self.kind, **options) as (sink, peer):
                await scene(sink, peer)

        run(self.loop, main)


def worlds(*kinds: str, driver: str | None = None) -> list[World]:
    """Return what this run must test, of these kinds of sockets: "tcp", "unix", "tls"."""
    drivers = ["asyncio"] if IS_PURE else ["asyncio", "epoll"]
    return [
        World(each, kind, loop)
        for each in drivers
        for kind in kinds
        for loop in LOOPS
        if driver in (None, each) and (each, kind) != ("epoll", "tls")
    ]


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


@contextlib.asynccontextmanager
async def pair(
    driver: str,
    kind: str,
    *,
    high_mark: int = 64 * 1024,
    contexts: Contexts | None = None,
    receive_buffer: int | None = None,
    send_buffer: int | None = None,
) -> AsyncIterator[tuple[Sink, Peer]]:
    """Give the sink of a stream, and the stream's peer."""
    ours, theirs = await connect(kind, receive_buffer=receive_buffer)
    if send_buffer is not None:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    sink = Sink()
    peer = Peer(theirs)
    try:
        if kind == "tls":
            assert contexts is not None
            opening = asyncio.open_connection(sock=theirs, ssl=contexts[1], server_hostname="localhost")
            _, (reader, writer) = await asyncio.gather(
                open_stream(driver, sink, ours, high_mark=high_mark, ssl=contexts[0]), opening
            )
            peer = Peer(None, reader, writer)
        else:
            await open_stream(driver, sink, ours, high_mark=high_mark)
        yield sink, peer
    finally:
        peer.close()
        if hasattr(sink, "stream"):
            sink.stream.abort()
            await sink.end()


async def connect(kind: str, *, receive_buffer: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets, both non-blocking."""
    if kind == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            theirs = socket.socket()
            if receive_buffer is not None:
                theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            theirs.connect(listening.getsockname())
            # An object that asks what it is: asyncio judges by its protocol number, which `accept` does not tell.
            ours = socket.socket(fileno=listening.accept()[0].detach())
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


async def open_stream(
    driver: str, sink: Sink, ours: socket.socket, *, high_mark: int, ssl: ssl.SSLContext | None = None
) -> Stream:
    """Make a stream of a socket, which is the stream's then."""
    loop = asyncio.get_running_loop()
    if driver == "epoll":
        poll = compiled("telex.streams._epoll").poll_of(loop)
        sink.stream = poll.adopt(ours.detach(), sink, high_mark=high_mark)
    else:
        sink.stream = AsyncioStream(sink, high_mark=high_mark)
        await loop.connect_accepted_socket(lambda: sink.stream, ours, ssl=ssl)
    stream: Stream = sink.stream
    return stream
