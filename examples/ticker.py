"""A stream of events: each item that the handler yields goes to the client that called (see docs/streams.md)."""

import asyncio
from collections.abc import AsyncIterator

import telex

io = telex.Server()


@io.on("ticker")
async def ticker(socket: telex.Socket, n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i
        await asyncio.sleep(0.1)
