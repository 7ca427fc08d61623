"""python-socketio's client on aiohttp: `python_socketio_client.py PORT ...` (see `client_work.py`), on uvloop."""

import socketio
import uvloop
from client_work import Work

work = Work()


async def measure() -> None:
    client = socketio.AsyncClient()

    @client.on("echo")
    async def echo(data: str) -> None:
        await client.emit("echo", work.next(data))

    @client.on("flood")
    async def flood(data: str) -> None:
        if work.check(data):
            await client.emit("flood")

    await client.connect(work.url, transports=["websocket"])
    if work.activity == "echo":
        for payload in work.first():
            await client.emit("echo", payload)
    else:
        await client.emit("flood")
        await client.emit("flood")
    await work.measure()


async def open_one() -> socketio.AsyncClient:
    client = socketio.AsyncClient()
    await client.connect(work.url, transports=["websocket"])
    return client


uvloop.run(work.hold(open_one) if work.activity == "hold" else measure())
