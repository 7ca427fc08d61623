"""Telex's WebSocket client: `telex_websocket_client.py KIND PORT ...`, on asyncio's own loop.

KIND is listener or coroutine; for the rest see `client_work.py`.
"""

import asyncio
import sys

from client_work import Work

from telex import websocket

kind = sys.argv.pop(1)
work = Work()
url = work.url.replace("http", "ws")


class Echo(websocket.Listener):
    def on_message(self, ws: websocket.Connection, message: str | bytes) -> None:
        ws.send(work.next(message))


async def echo(ws: websocket.Connection) -> None:
    async for message in ws:
        await ws.send(work.next(message))


async def measure() -> None:
    listener = Echo() if kind == "listener" else None
    ws = await websocket.connect(url, listener=listener, deflate=None)
    for payload in work.first():
        ws.send(payload)
    if listener is None:
        await asyncio.gather(echo(ws), work.measure())
    await work.measure()


async def open_one() -> websocket.Connection:
    return await websocket.connect(url, listener=Echo(), deflate=None)


asyncio.run(work.hold(open_one) if work.activity == "hold" else measure())
