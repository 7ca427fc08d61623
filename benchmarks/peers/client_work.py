"""What the clients that are measured have in common: numbered messages, the clock and the report.

    CLIENT PORT echo|flood DEPTH SECONDS WARMUP    prints "begin" after the warm-up and a JSON object in the end
    CLIENT PORT hold N SECONDS 0                   the same, when N connections are there, and when they were held

Every answer is checked: one that is not what is due ends the program with status 1.
"""

# ruff: noqa: T201  # a program that reports prints

import asyncio
import gc
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable

PAYLOADS = [f"{n:064}" for n in range(256)]
"""What is sent, one after the other; the server's flood is the same."""

OPENING = 64
"""Connections that are opened at once."""


class Work:
    """Count and check what comes, and say what is sent next."""

    def __init__(self) -> None:
        port, self.activity, number, seconds, warmup = sys.argv[1:6]
        self.url = f"http://127.0.0.1:{port}"
        self.depth = self.n_clients = int(number)
        self.seconds, self.warmup = float(seconds), float(warmup)
        self.n_received = 0

    def first(self) -> list[str]:
        """Return what is sent first, at once."""
        return PAYLOADS[: self.depth]

    def next(self, data: str) -> str:
        """Check an answer; return what is sent then."""
        n = self.n_received
        if data != PAYLOADS[n & 255]:
            fail(f"message {n} was {data!r}")
        self.n_received = n + 1
        return PAYLOADS[(n + self.depth) & 255]

    def check(self, data: str) -> bool:
        """Check a message of a flood; tell whether it was the last of 256."""
        self.next(data)
        return self.n_received & 255 == 0

    async def measure(self) -> None:
        """Let it run; report, and end the process."""
        await asyncio.sleep(self.warmup)
        n, began, cpu = self.n_received, time.perf_counter(), time.process_time()
        print("begin", flush=True)
        await asyncio.sleep(self.seconds)
        n, seconds, cpu = self.n_received - n, time.perf_counter() - began, time.process_time() - cpu
        report({"messages": n, "seconds": seconds, "cpu_seconds": cpu})

    async def hold(self, open_one: Callable[[], Awaitable[object]]) -> None:
        """Open all connections and keep what `open_one` returns; report what they cost, and end the process."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        gc.collect()
        before, clients = resident_bytes(), []
        began = time.perf_counter()
        while len(clients) < self.n_clients:
            n = min(OPENING, self.n_clients - len(clients))
            clients += await asyncio.gather(*(open_one() for _ in range(n)))
        print("begin", flush=True)
        opening, cpu = time.perf_counter() - began, time.process_time()
        await asyncio.sleep(self.seconds)
        cpu = time.process_time() - cpu
        gc.collect()
        grown = resident_bytes() - before
        report({"bytes": grown, "opening_seconds": opening, "seconds": self.seconds, "cpu_seconds": cpu})


def resident_bytes() -> int:
    """Return the memory that this process has."""
    with open("/proc/self/statm", encoding="ascii") as pages:
        return int(pages.read().split()[1]) * resource.getpagesize()


def report(found: dict[str, float]) -> None:
    """Print what was found; there is nothing to be tidied up."""
    print(json.dumps(found), flush=True)
    os._exit(0)


def fail(why: str) -> None:
    """Say what is wrong, and end."""
    print(why, file=sys.stderr, flush=True)
    os._exit(1)
