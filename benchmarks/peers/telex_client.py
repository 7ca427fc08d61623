"""Telex's Socket.IO client: `telex_client.py PORT ...` (see `client_work.py`), on asyncio's own loop."""

import asyncio

from client_work import Work

import telex

work = Work()


async def measure() -> None:
    client = telex.Client(work.url, transports=["websocket"])

    @client.on("echo")
    def echo(data: str) -> None:
        client.emit("echo", work.next(data))

    @client.on("flood")
    def flood(data: str) -> None:
        if work.check(data):
            client.emit("flood")

    await client.connect()
    if work.activity == "echo":
        for payload in work.first():
            client.emit("echo", payload)
    else:
        client.emit("flood")
        client.emit("flood")
    await work.measure()


async def open_one() -> telex.Client:
    return await telex.connect(work.url, transports=["websocket"], force_new=True)


asyncio.run(work.hold(open_one) if work.activity == "hold" else measure())
