"""A real uvicorn in the test's own loop, and a client that speaks Socket.IO by hand.

Rule of this module: it opens, talks and closes, and knows no expectation; every wait has a deadline, and nothing sleeps
to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from telex.serving.uvicorn import Protocol
from telex.types import Data
from telex.websocket import Connection, ConnectionClosed, connect

__all__ = ["LOOPS", "SECONDS", "SOCKET", "Client", "Live", "count_descriptors", "join", "run", "serving", "until"]

SECONDS = 30.0
SOCKET = "/socket.io/?EIO=4&transport=websocket"

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Live:
    """A server under way."""

    def __init__(self, server: uvicorn.Server, port: int, scheme: str) -> None:
        self.server = server
        self.port = port
        self.url = f"{scheme}://localhost:{port}" if scheme == "wss" else f"{scheme}://127.0.0.1:{port}"

    @property
    def connections(self) -> set[Any]:
        return self.server.server_state.connections


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until this is so; whoever runs the test ends what takes too long."""
    while not condition():  # noqa: ASYNC110  # there is nothing to wait for but the condition itself
        await asyncio.sleep(0)


def run(main: Callable[[], Awaitable[None]], *, loop: str = "asyncio") -> None:
    """Run a test on a loop of this kind; what hangs is ended."""

    async def limited() -> None:
        async with asyncio.timeout(SECONDS):
            await main()

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(limited())


@contextlib.asynccontextmanager
async def serving(app: Any, *, scheme: str = "ws", **options: Any) -> AsyncIterator[Live]:
    """Run uvicorn in this loop on a free port; afterwards see that it counts no connection and no task."""
    settings: dict[str, Any] = {"ws": Protocol, "lifespan": "off", "log_config": None, "access_log": False}
    server = uvicorn.Server(uvicorn.Config(app, **settings | options))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        await until(lambda: server.started or task.done())
        try:
            yield Live(server, listening.getsockname()[1], scheme)
        finally:
            server.should_exit = True
            async with asyncio.timeout(SECONDS):
                await task
                await until(lambda: not server.server_state.tasks)
    assert server.server_state.connections == set()


class Client:
    """A Socket.IO client on an open WebSocket."""

    def __init__(self, ws: Connection) -> None:
        self.ws = ws

    def say(self, *messages: Data) -> None:
        """Say Socket.IO messages."""
        for message in messages:
            self.ws.send(message if isinstance(message, bytes) else "4" + message)

    async def hear(self) -> Data:
        """Return the next Socket.IO message, or Engine.IO packet of another type; heartbeats are answered."""
        while True:
            message = await self.ws.recv()
            if message == "2":
                self.ws.send("3")
            elif isinstance(message, str) and message[0] == "4":
                return message[1:]
            else:
                return message

    async def join(self, *, nsp: str = "/") -> str:
        """Join a namespace."""
        head = "" if nsp == "/" else f"{nsp},"
        self.say("0" + head)
        answer = await self.hear()
        assert isinstance(answer, str)
        assert answer.startswith("0" + head), answer
        sid: str = json.loads(answer[1 + len(head) :])["sid"]
        return sid

    async def call(self, event: str, *args: Any) -> Any:
        """Emit an event and return what its acknowledgement says."""
        self.say("27" + json.dumps([event, *args]))
        answer = await self.hear()
        assert isinstance(answer, str)
        assert answer.startswith("37"), answer
        return json.loads(answer[2:])

    async def close_code(self) -> int | None:
        """Read on to the end, and return how it came."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self.hear()
        await self.ws.wait_closed()
        return self.ws.close_code


@contextlib.asynccontextmanager
async def join(url: str, **options: Any) -> AsyncIterator[Client]:
    """Open a WebSocket and join "/"."""
    async with connect(url + SOCKET, **options) as ws:
        client = Client(ws)
        assert str(await client.hear()).startswith("0{")
        await client.join()
        yield client


def count_descriptors() -> int:
    return len(os.listdir(Path("/proc/self/fd")))
