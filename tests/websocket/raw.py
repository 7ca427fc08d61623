"""Peers made by hand, for tests that need to do what Telex's own ends never do.

Rule of this module: bytes and frames over a real socket, and a bound on every wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

from telex.websocket.frames import Frame, FrameReader, Opcode, encode_frame
from telex.websocket.handshake import accept_token

SECONDS = 20.0
"""How long a test waits for what must come."""

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MASK = b"\x37\xfa\x21\x3d"

REQUEST = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: " + ACCEPT + b"\r\n\r\n"
)


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine, for `SECONDS` at most."""

    async def bounded() -> None:
        async with asyncio.timeout(SECONDS):
            await main()

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until this is so; `run` ends what takes too long."""
    while not condition():  # noqa: ASYNC110  # there is nothing to wait for but the condition itself
        await asyncio.sleep(0)


def frame(opcode: Opcode, payload: bytes = b"", *, fin: bool = True, rsv1: bool = False) -> bytes:
    """Return a frame as a client sends it."""
    return encode_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=MASK)


class RawPeer:
    """Be one end of a TCP connection that writes and reads frames as it is told."""

    def __init__(self, sock: socket.socket, *, is_client: bool) -> None:
        self.socket = sock
        self._is_client = is_client
        self._loop = asyncio.get_running_loop()
        self._head = b""
        self._frames = FrameReader(
            expect_masked=not is_client, allow_rsv1=True, max_message_size=1 << 30, max_fragments=1 << 20
        )

    async def write(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.socket, data)

    async def write_frame(self, opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> None:
        mask = MASK if self._is_client else None
        await self.write(encode_frame(opcode, payload, fin=fin, mask=mask))

    async def read_head(self) -> bytes:
        """Return an HTTP head; what follows it is read as frames."""
        while b"\r\n\r\n" not in self._head:
            data = await self._loop.sock_recv(self.socket, 65536)
            if not data:
                return self._head
            self._head += data
        head, self._head = self._head.split(b"\r\n\r\n", 1)
        self._frames.feed(self._head)
        return head

    async def read_rest(self) -> bytes:
        """Return everything up to the end of the stream; a reset is an end too."""
        rest = bytearray(self._head)
        with contextlib.suppress(ConnectionResetError):
            while data := await self._loop.sock_recv(self.socket, 65536):
                rest += data
        return bytes(rest)

    async def read_frame(self) -> Frame | None:
        """Return the next frame, whole; None at the end of the stream."""
        payload = bytearray()
        while True:
            part = self._frames.read()
            if part is not None:
                payload += part.payload
                if part.ends:
                    return part._replace(payload=bytes(payload))
                continue
            data = await self._loop.sock_recv(self.socket, 65536)
            if not data:
                return None
            self._frames.feed(data)

    async def read_frames(self) -> list[tuple[Opcode, bytes]]:
        """Return all frames up to the end of the stream."""
        frames = []
        while (one := await self.read_frame()) is not None:
            frames.append((one.opcode, one.payload))
        return frames

    def end(self) -> None:
        """Send FIN, and go on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Cut the connection with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@contextlib.asynccontextmanager
async def raw_stream(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[RawPeer]:
    """Connect to a server, and say nothing."""
    with socket.socket() as sock:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        yield RawPeer(sock, is_client=True)


@contextlib.asynccontextmanager
async def raw_client(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[RawPeer]:
    """Connect to a server and open a WebSocket connection."""
    async with raw_stream(port, receive_buffer=receive_buffer) as peer:
        await peer.write(REQUEST)
        head = await peer.read_head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield peer


@contextlib.asynccontextmanager
async def raw_server(answer: Callable[[RawPeer, bytes], Awaitable[None]]) -> AsyncIterator[int]:
    """Listen, and let `answer` deal with each connection and the head of its request; gives the port."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def serve_one(sock: socket.socket) -> None:
        with sock:
            peer = RawPeer(sock, is_client=False)
            await answer(peer, await peer.read_head())

    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.setblocking(False)

        def accept() -> None:
            with contextlib.suppress(OSError):  # it has left already
                sock = opened.enter_context(listening.accept()[0])  # its task may be cancelled before it begins
                sock.setblocking(False)
                tasks.add(asyncio.create_task(serve_one(sock)))

        loop.add_reader(listening, accept)
        try:
            yield listening.getsockname()[1]
        finally:
            loop.remove_reader(listening)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


def answer_key(head: bytes) -> bytes:
    """Return the 101 that answers a client's request."""

    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"sec-websocket-key":
            return RESPONSE.replace(ACCEPT, accept_token(value.strip().decode()).encode())
    raise AssertionError(f"no key in {head!r}")
