"""Servers for the client: Telex's own behind a real uvicorn, and one that speaks by hand and may do anything.

Rule of this module: it opens, talks and closes, and knows no expectation; every wait has a deadline, and nothing sleeps
to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import telex
from telex.types import Data
from telex.websocket import Connection, ConnectionClosed, serve
from tests.serving.live import serving

__all__ = ["FAST", "HOST", "OPEN", "Peer", "by_hand", "cut", "heard", "own", "told"]

HOST = "127.0.0.1"

FAST: dict[str, Any] = {"reconnection_delay": 0.001, "reconnection_delay_max": 0.01}
"""Options for clients that come back soon."""

OPEN = {"sid": "s1", "upgrades": [], "pingInterval": 25000, "pingTimeout": 20000, "maxPayload": 1000000}


class Peer:
    """One connection of a server that speaks by hand."""

    def __init__(self, ws: Connection) -> None:
        self.ws = ws

    def say(self, *messages: Data) -> None:
        """Say Socket.IO messages."""
        for message in messages:
            self.ws.send(message if isinstance(message, bytes) else "4" + message)

    async def hear(self) -> Data:
        """Return the next Socket.IO message."""
        while True:
            message = await self.ws.recv()
            if isinstance(message, bytes):
                return message
            if message.startswith("4"):
                return message[1:]

    async def admit(self, answer: str = '0{"sid":"x"}') -> str:
        """Take a CONNECT packet, and answer it."""
        asked = await self.hear()
        assert isinstance(asked, str)
        assert asked.startswith("0")
        self.say(answer)
        return asked

    async def until_gone(self) -> list[Data]:
        """Return what is still said, to the end."""
        said: list[Data] = []
        with contextlib.suppress(ConnectionClosed):
            while True:
                said.append(await self.hear())
        return said


@contextlib.asynccontextmanager
async def by_hand(*scripts: Callable[[Peer], Awaitable[object]]) -> AsyncIterator[str]:
    """Serve each connection in turn by a script, the last one for all that follow; what a script raises is raised.

    When its script is over a connection is closed. Yields the URL.
    """
    errors: list[BaseException] = []
    n = 0

    async def handle(ws: Connection) -> None:
        nonlocal n
        script = scripts[min(n, len(scripts) - 1)]
        n += 1
        ws.send("0" + json.dumps(OPEN))
        try:
            await script(Peer(ws))
        except ConnectionClosed:
            pass
        except Exception as error:
            errors.append(error)

    async with serve(handle, HOST, 0) as server:
        yield f"http://{HOST}:{server.port}"
    if errors:
        raise errors[0]


@contextlib.asynccontextmanager
async def own(io: telex.Server, **options: Any) -> AsyncIterator[str]:
    """Serve with Telex's own server. Yields the URL."""
    async with serving(io, **options) as live:
        yield live.url.replace("ws", "http", 1)
    await io.close()


def cut(socket: telex.Socket) -> None:
    """Cut the connection of a client, without a word."""
    socket.conn.abort()


async def heard(client: telex.Client, event: str) -> tuple[Any, ...]:
    """Return the arguments with which a client's handler of this event is called next."""
    future: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()
    client.once(event, lambda *args: future.done() or future.set_result(args))
    return await future


async def told(manager: telex.Manager | None, event: str) -> tuple[Any, ...]:
    """Return the arguments with which a manager's handler of this event is called next."""
    assert manager is not None
    future: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()
    manager.on(event, lambda *args: future.done() or future.set_result(args))
    return await future
