"""Servers on an event loop of their own, in a thread of the test's process: what a sync client talks to.

Rule of this module: it starts and ends; what is served is the test's.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from telex import websocket
from tests.serving.live import serving

T = TypeVar("T")

SECONDS = 30.0


@contextlib.contextmanager
def beside(make: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Enter something on a loop of its own in another thread, and leave it at the end."""
    entered = threading.Event()
    got: list[T] = []
    failure: list[BaseException] = []
    leave: list[Callable[[], object]] = []

    async def main() -> None:
        left = asyncio.Event()
        loop = asyncio.get_running_loop()
        async with make() as thing:
            got.append(thing)
            leave.append(lambda: loop.call_soon_threadsafe(left.set))
            entered.set()
            await left.wait()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            failure.append(error)
        finally:
            entered.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert entered.wait(SECONDS)
        if not got:
            raise failure[0]
        yield got[0]
    finally:
        for each in leave:
            each()
        thread.join(SECONDS)
        assert not thread.is_alive()
    if failure:
        raise failure[0]


def serve_websockets(handler: Any, **options: Any) -> contextlib.AbstractContextManager[str]:
    """Serve plain WebSockets; the value is their URL."""

    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[str]:
        async with websocket.serve(handler, "127.0.0.1", 0, **options) as server:
            yield f"ws://127.0.0.1:{server.port}"

    return beside(make)


def serve_events(io: Any) -> contextlib.AbstractContextManager[str]:
    """Serve Socket.IO; the value is its URL."""

    @contextlib.asynccontextmanager
    async def make() -> AsyncIterator[str]:
        async with serving(io, scheme="http") as live:
            yield live.url

    return beside(make)
