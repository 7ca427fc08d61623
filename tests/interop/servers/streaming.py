"""What `streaming.mjs` talks to: handlers that stream, and what became of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import telex

io = telex.Server()
made: Counter[str] = Counter()
closed: dict[str, asyncio.Event] = {}


@io.on("count")
@io.of("/other").on("count")
async def count(socket: telex.Socket, name: str, n: int) -> AsyncIterator[int]:
    closed[name] = asyncio.Event()
    try:
        for i in range(n):
            made[name] += 1
            yield i
    finally:
        closed[name].set()


@io.on("idle")
async def idle(socket: telex.Socket, name: str) -> AsyncIterator[str]:
    closed[name] = asyncio.Event()
    try:
        yield "ready"
        await asyncio.get_running_loop().create_future()
    finally:
        closed[name].set()


@io.on("parts")
async def parts(socket: telex.Socket, *sizes: int) -> AsyncIterator[bytes]:
    for size in sizes:
        yield bytes(size)


@io.on("fail")
async def fail(socket: telex.Socket, message: str | None) -> AsyncIterator[int]:
    yield 1
    if message is None:
        raise RuntimeError("secret")
    raise telex.StreamError(message)


@io.on("made")
async def how_many(socket: telex.Socket, name: str) -> int:
    return made[name]


@io.on("closed", concurrent=True)
async def wait_closed(socket: telex.Socket, name: str) -> None:
    await closed[name].wait()
