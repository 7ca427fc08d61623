"""Standard input that is no terminal: a pipe, or a file.

Rule of this module: bytes in, lines out, no faster than they are taken.

A thread reads, because a file can be watched by no event loop, and a loop can watch a pipe only by making it
non-blocking for everybody who shares it. It is left to itself at the end: nothing can wake it from `read`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator

from telex.cli.failures import Failure

__all__ = ["MAX_BYTES", "chunks", "lines", "whole"]

CHUNK = 64 * 1024
"""Bytes of one read: what a pipe holds."""
MAX_BYTES = 64 * 1024 * 1024
"""Bytes of a line, a file or an input that is sent as one message: more than servers take."""


async def chunks(descriptor: int = 0) -> AsyncIterator[bytes]:
    """Yield what comes, until its end. **Cancellation**: the thread reads one chunk more, for nobody."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(1)
    left = threading.Event()

    def read() -> None:
        data = b"anything"
        while data:
            room.acquire()  # whoever takes the chunk releases it
            if left.is_set():
                return
            try:
                data = os.read(descriptor, CHUNK)
            except OSError:  # a terminal that hung up, an input that was closed
                data = b""
            try:
                loop.call_soon_threadsafe(queue.put_nowait, data)
            except RuntimeError:  # the loop is closed, and we are on our way out
                return

    threading.Thread(target=read, name="telex input", daemon=True).start()
    try:
        while data := await queue.get():
            room.release()
            yield data
    finally:
        left.set()
        room.release()


async def lines(descriptor: int = 0) -> AsyncIterator[str]:
    """Yield the lines, without their ends. Raises `Failure` for what is not UTF-8, and for a line over `MAX_BYTES`."""
    number = 0
    rest = bytearray()
    async for data in chunks(descriptor):
        *complete, begun = data.split(b"\n")
        for part in complete:
            number += 1
            yield _text(bytes(rest) + part, number)
            rest.clear()
        rest += begun
        if len(rest) > MAX_BYTES:
            raise Failure(f"line {number + 1} of the input is longer than {MAX_BYTES:,} bytes")
    if rest:
        yield _text(bytes(rest), number + 1)


async def whole(descriptor: int = 0) -> bytes:
    """Return the whole input. Raises `Failure` where it is longer than `MAX_BYTES`."""
    data = bytearray()
    async for chunk in chunks(descriptor):
        data += chunk
        if len(data) > MAX_BYTES:
            raise Failure(f"the input is longer than {MAX_BYTES:,} bytes")
    return bytes(data)


def _text(line: bytes, number: int) -> str:
    try:
        return line.removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise Failure(f"line {number} of the input is not UTF-8") from None
