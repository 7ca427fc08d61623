"""websockets' client: `websockets_client.py PORT ...` (see `client_work.py`), on uvloop."""

import asyncio

import uvloop
from client_work import Work
from websockets.asyncio.client import ClientConnection, connect

work = Work()
url = work.url.replace("http", "ws")


async def echo(ws: ClientConnection) -> None:
    async for message in ws:
        await ws.send(work.next(message))


async def measure() -> None:
    ws = await connect(url, compression=None)
    for payload in work.first():
        await ws.send(payload)
    await asyncio.gather(echo(ws), work.measure())


async def open_one() -> ClientConnection:
    return await connect(url, compression=None)


uvloop.run(work.hold(open_one) if work.activity == "hold" else measure())
