"""Telex: `telex_websocket.py PORT listener|coroutine|broadcast`, on asyncio's own loop."""

import asyncio
import sys
from collections.abc import Iterable

from telex import websocket

connections: set[websocket.Connection] = set()


class Echo(websocket.Listener):
    def on_message(self, ws: websocket.Connection, message: str | bytes) -> None:
        ws.send(message)


class Broadcast(websocket.Listener):
    def on_open(self, ws: websocket.Connection) -> None:
        connections.add(ws)

    def on_message(self, ws: websocket.Connection, message: str | bytes) -> None:
        websocket.broadcast(connections, message)

    def on_close(self, ws: websocket.Connection, code: int, reason: str) -> None:
        connections.discard(ws)


async def echo(ws: websocket.Connection) -> None:
    async for message in ws:
        await ws.send(message)


HANDLERS = {"listener": Echo, "coroutine": echo, "broadcast": Broadcast}


async def main(arguments: Iterable[str]) -> None:
    port, kind = arguments
    async with websocket.serve(HANDLERS[kind], "127.0.0.1", int(port)) as server:
        await server.wait_closed()


asyncio.run(main(sys.argv[1:]))
