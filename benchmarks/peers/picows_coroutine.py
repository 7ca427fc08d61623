"""picows through its drop-in for `websockets`: `picows_coroutine.py PORT`, on uvloop."""

import sys

import uvloop
from picows.websockets.asyncio.server import ServerConnection, serve


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


async def main(port: str) -> None:
    async with serve(echo, "127.0.0.1", int(port), compression=None, backlog=4096) as server:
        await server.serve_forever()


uvloop.run(main(*sys.argv[1:]))
