"""websockets: `websockets_server.py PORT echo|broadcast`, on uvloop, without compression."""

import sys
from contextlib import suppress

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

connections: set[ServerConnection] = set()


async def echo(ws: ServerConnection) -> None:
    # The load ends connections with a reset. Left alone that is a traceback in the log, which costs more than the rest.
    with suppress(ConnectionClosed):
        async for message in ws:
            await ws.send(message)


async def to_all(ws: ServerConnection) -> None:
    connections.add(ws)
    with suppress(ConnectionClosed):
        async for message in ws:
            broadcast(connections, message)
    connections.discard(ws)


async def main(port: str, kind: str) -> None:
    handler = {"echo": echo, "broadcast": to_all}[kind]
    async with serve(handler, "127.0.0.1", int(port), compression=None, backlog=4096) as server:
        await server.serve_forever()


uvloop.run(main(*sys.argv[1:]))
