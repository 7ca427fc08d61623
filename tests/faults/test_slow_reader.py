"""A client that does not read: the server stays within its bounds, drops what is volatile, then lets the client go.

The client is a bare socket with small buffers that opens a session and reads no further; the server is uvicorn, with
each of the WebSocket classes it may have.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvicorn

import telex
from telex.websocket.frames import Opcode, encode_frame

BLOB = "x" * 10_000
SLACK = 100_000  # one blob, and what belongs to it on the wire
LIMITS = telex.Limits(send_buffer_max=1_000_000, slow_consumer_timeout=30.0)
WEBSOCKET_CLASSES = ["telex.serving.uvicorn:Protocol", "websockets-sansio"]


@contextlib.asynccontextmanager
async def serving(io: telex.Server, ws: str) -> AsyncIterator[int]:
    """Serve on a free port, with little room in the kernel, so that what waits waits in the process."""
    listener = sockets.create_server(("127.0.0.1", 0))
    listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 16 * 1024)
    config = uvicorn.Config(io, ws=ws, log_level="critical", ws_per_message_deflate=False, lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        await io.close()
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def deaf_client(port: int) -> AsyncIterator[asyncio.StreamReader]:
    """Open a Socket.IO connection over WebSocket, and read nothing but its opening."""
    sock = sockets.socket()
    sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 16 * 1024)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    writer.write(
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    assert b" 101 " in await reader.readuntil(b"\r\n")
    writer.write(encode_frame(Opcode.TEXT, b"40", mask=b"abcd"))
    try:
        yield reader
    finally:
        writer.transport.abort()


async def run(ws: str, scene: Callable[[telex.Socket], Awaitable[None]], limits: telex.Limits = LIMITS) -> str:
    """Play a scene with a socket whose client does not read; return the reason of its disconnect."""
    io = telex.Server(limits=limits)
    met: asyncio.Future[telex.Socket] = asyncio.get_running_loop().create_future()
    reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    io.room_policy("ticks", "drop oldest")

    @io.on("connect")
    def connected(socket: telex.Socket) -> None:
        socket.join("ticks")
        met.set_result(socket)

    io.on("disconnect", lambda _, why: reason.set_result(why))
    async with serving(io, ws) as port, deaf_client(port), asyncio.timeout(60):
        await scene(await met)
        result = await reason
        assert io.statistics()["sockets"] == 0
        return result


@pytest.mark.parametrize("ws", WEBSOCKET_CLASSES)
def test_w36_the_buffer_is_bounded_and_then_the_client_goes(ws: str) -> None:
    async def scene(socket: telex.Socket) -> None:
        n_sent = 0
        most = 0
        while socket.connected:
            socket.emit("blob", BLOB)
            n_sent += len(BLOB)
            most = max(most, socket.statistics()["buffered_bytes"])
            await asyncio.sleep(0)
        assert LIMITS.send_buffer_max - SLACK <= most <= LIMITS.send_buffer_max
        assert n_sent < LIMITS.send_buffer_max * 4  # the rest lies in the kernel's buffers, which are not endless

    assert asyncio.run(run(ws, scene)) == telex.DisconnectReason.SLOW_CONSUMER


@pytest.mark.parametrize("ws", WEBSOCKET_CLASSES)
def test_w36_volatile_events_are_dropped_while_the_client_lags(ws: str) -> None:
    async def scene(socket: telex.Socket) -> None:
        while socket.has_room:
            socket.emit("blob", BLOB)
            await asyncio.sleep(0)
        before = socket.statistics()["buffered_bytes"]
        for _ in range(1000):
            socket.volatile.emit("blob", BLOB)
        assert socket.statistics()["buffered_bytes"] == before
        assert socket.connected
        socket.disconnect(close=True)

    assert asyncio.run(run(ws, scene)) == telex.DisconnectReason.SERVER_NAMESPACE_DISCONNECT


@pytest.mark.parametrize("ws", WEBSOCKET_CLASSES)
def test_w38_a_client_that_takes_nothing_goes_when_its_time_is_up(ws: str) -> None:
    async def scene(socket: telex.Socket) -> None:
        while socket.has_room:
            socket.emit("blob", BLOB)
            await asyncio.sleep(0)
        await socket.emit("blob", BLOB)  # returns when there is room again, or nobody to have it
        assert not socket.connected

    limits = telex.Limits(slow_consumer_timeout=0.3)
    assert asyncio.run(run(ws, scene, limits)) == telex.DisconnectReason.SLOW_CONSUMER


def test_e31_a_client_that_does_not_poll_is_bounded_too() -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS)
        met: asyncio.Future[telex.Socket] = asyncio.get_running_loop().create_future()
        reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        io.on("connect", met.set_result)
        io.on("disconnect", lambda _, why: reason.set_result(why))
        async with serving(io, WEBSOCKET_CLASSES[0]) as port, asyncio.timeout(60):
            sid = (await ask(port, "GET", "")).split(b'"sid":"')[1][:20].decode()
            assert (await ask(port, "POST", sid, b"40")).endswith(b"ok")
            socket = await met
            most = 0
            while socket.connected:
                socket.emit("blob", BLOB)
                most = max(most, socket.statistics()["buffered_bytes"])
                await asyncio.sleep(0)
            assert LIMITS.send_buffer_max - SLACK <= most <= LIMITS.send_buffer_max
            assert await reason == telex.DisconnectReason.SLOW_CONSUMER
            assert b"Session ID unknown" in await ask(port, "GET", sid)

    asyncio.run(main())


def test_a_client_that_polls_late_gets_the_latest_only() -> None:
    async def main() -> None:
        io = telex.Server()
        met: asyncio.Future[telex.Socket] = asyncio.get_running_loop().create_future()
        io.on("connect", met.set_result)
        async with serving(io, WEBSOCKET_CLASSES[0]) as port, asyncio.timeout(60):
            sid = (await ask(port, "GET", "")).split(b'"sid":"')[1][:20].decode()
            assert (await ask(port, "POST", sid, b"40")).endswith(b"ok")
            socket = await met
            for value in range(1000):
                await socket.latest("price").emit("price", value)
                io.latest("volume").emit("volume", value)
            answer = await ask(port, "GET", sid)
            assert answer.endswith(b'\x1e42["price",999]\x1e42["volume",999]')
            assert answer.count(b"price") == answer.count(b"volume") == 1

    asyncio.run(main())


@pytest.mark.parametrize("ws", WEBSOCKET_CLASSES)
def test_dropping_the_oldest_keeps_within_its_bounds(ws: str) -> None:
    async def scene(socket: telex.Socket) -> None:
        for _ in range(1000):
            socket.nsp.server.to("ticks").emit("blob", BLOB)
            await asyncio.sleep(0)
        found = socket.statistics()
        assert found["dropped"]["oldest"] > 100
        assert found["buffered_bytes"] < LIMITS.send_buffer_high + 200_000 + SLACK
        assert socket.connected
        socket.disconnect(close=True)

    limits = telex.Limits(max_droppable_bytes=200_000, send_buffer_max=1_000_000, slow_consumer_timeout=30.0)
    assert asyncio.run(run(ws, scene, limits)) == telex.DisconnectReason.SERVER_NAMESPACE_DISCONNECT


async def ask(port: int, method: str, sid: str, body: bytes = b"") -> bytes:
    """Make one long-polling request; return the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    target = "/socket.io/?EIO=4&transport=polling" + (f"&sid={sid}" if sid else "")
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    return answer
