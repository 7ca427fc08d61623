"""Hold a million sessions in one process: `python -m benchmarks.million`.

Each is a whole one: a session of Engine.IO with its WebSocket and its transport, the Socket.IO connection on it and a
socket in "/", opened as the server opens them, by a handshake's request and a CONNECT packet. Only the bottom differs:
a stream that has no descriptor, whose client answers pings, and an event loop whose clock stands until it is moved.
So what is measured is Telex, and no kernel.

It then lets two intervals of the heartbeat pass, and a third in which the process "stood still", so that all are due at
once. Claimed and checked: each interval every session is pinged once and its pong taken; none is closed; in the end an
event reaches every one.
"""

# ruff: noqa: T201  # a program for a terminal prints

from __future__ import annotations

import argparse
import asyncio
import gc
import heapq
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import telex
from benchmarks.scale import MIB, claim, keep, run, show
from telex.engineio import Request, StreamTransport
from telex.engineio.packets import PING
from telex.streams import StreamSink
from telex.tokens import token_text
from telex.types import Headers
from telex.websocket.codec import encode_frame
from telex.websocket.frames import Opcode
from telex.websocket.heads import Request as Head

N_INTERVALS = 2
OPENED_IN = 0.9
"""Share of an interval in which they are opened, so that each heartbeat lies well inside of one interval."""
REST = 0.05
"""And before the first interval."""
SID_BYTES = 15
MASK = b"\x01\x02\x03\x04"
CONNECT, PONG = (encode_frame(Opcode.TEXT, text, mask=MASK) for text in (b"40", b"3"))

HEAD = Head(
    "GET",
    "/socket.io/?EIO=4&transport=websocket",
    Headers(
        [
            ("Host", "127.0.0.1:8000"),
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ]
    ),
)


class Wire:
    """Be what all streams share: what was written to them."""

    def __init__(self) -> None:
        self.pinged: list[StreamSink] = []  # those whose client has not answered yet
        self.n_pings = self.n_others = self.n_closed = 0

    def answer(self) -> None:
        """Let every client that was pinged answer."""
        pinged, self.pinged = self.pinged, []
        for sink in pinged:
            sink.data_received(PONG)


WIRE = Wire()


class MemoryStream:
    """Be a stream without a descriptor, as small as one can be."""

    __slots__ = ("sink",)
    sink: StreamSink

    buffered_bytes = sent_bytes = received_bytes = acknowledged_bytes = 0
    is_closing = False

    def write(self, data: bytes) -> None:
        if data == PING.frame:
            WIRE.n_pings += 1
            WIRE.pinged.append(self.sink)
        else:
            WIRE.n_others += 1

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None:
        WIRE.n_closed += 1

    def abort(self) -> None:
        WIRE.n_closed += 1

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Opening:
    """Be the request that opened a session, packed as the server keeps it."""

    __slots__ = ("_packed",)

    def __init__(self) -> None:
        self._packed = HEAD.pack()

    def unpack(self) -> Request:
        raise NotImplementedError("nobody here asks for it")


class HandLoop:
    """Be an event loop of turns like asyncio's, whose clock the benchmark moves and whose turns it times."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.longest_turn = self.longest_turn_cpu = 0.0
        self.most_pings = 0  # in a turn
        self.n_turns = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._ready: deque[asyncio.Handle] = deque()
        self._n_made = 0

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, cast("asyncio.AbstractEventLoop", self), context)
        self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, cast("asyncio.AbstractEventLoop", self), context)
        self._n_made += 1
        heapq.heappush(self._timers, (when, self._n_made, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: it is passed over when it is due."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        raise context.get("exception") or RuntimeError(context["message"])

    def turn(self) -> None:
        """Do what one turn of a loop does: what has come is read, then what is due is called."""
        began, cpu_began, n_before = time.perf_counter(), time.thread_time(), WIRE.n_pings
        WIRE.answer()
        while self._timers and self._timers[0][0] <= self.now:
            self._ready.append(heapq.heappop(self._timers)[2])
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()
        self.longest_turn_cpu = max(self.longest_turn_cpu, time.thread_time() - cpu_began)
        self.longest_turn = max(self.longest_turn, time.perf_counter() - began)
        self.most_pings = max(self.most_pings, WIRE.n_pings - n_before)
        self.n_turns += 1

    def advance(self, seconds: float) -> None:
        """Let time pass, from timer to timer."""
        end = self.now + seconds
        while True:
            if WIRE.pinged or self._ready or (self._timers and self._timers[0][0] <= self.now):
                self.turn()
            elif self._timers and self._timers[0][0] <= end:
                self.now = self._timers[0][0]
            else:
                break
        self.now = end


class Collections:
    """Time the garbage collector: what it takes, the loop is late."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._began = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.longest = max(self.longest, time.perf_counter() - self._began)


def rss_bytes() -> int:
    """Return this process's resident memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


def open_sessions(io: telex.Server, n: int, loop: HandLoop) -> None:
    """Open them one after the other, spread over most of an interval of the heartbeat."""
    engine, began = io.engine, loop.now
    for number in range(n):
        loop.now = began + io.limits.ping_interval * OPENED_IN * number / n
        stream = MemoryStream()
        transport = StreamTransport(stream, limits=engine.limits, frame_limits=engine.frame_limits, deflate=None)
        stream.sink = transport
        engine.start_websocket(transport, Opening(), token_text(SID_BYTES), None)
        transport.open(CONNECT)
    loop.now = began + io.limits.ping_interval * (OPENED_IN + REST)


def beat(io: telex.Server, n: int, loop: HandLoop, seconds: float, what: str) -> dict[str, float]:
    """Let every heartbeat of one interval happen, check that, and return what it cost."""
    loop.longest_turn = loop.longest_turn_cpu = 0.0
    loop.most_pings = loop.n_turns = 0
    n_before, began = WIRE.n_pings, time.process_time()
    loop.advance(seconds)
    cpu = time.process_time() - began
    n_pings = WIRE.n_pings - n_before
    claim(n_pings == n, f"{what}, {n_pings:,} pings were sent to {n:,} sessions")
    check_open(io, n, what)
    return {
        "n_pings": n_pings,
        "cpu_us_per_heartbeat": cpu / n_pings * 1e6,
        "longest_turn_ms": loop.longest_turn * 1e3,
        "longest_turn_cpu_ms": loop.longest_turn_cpu * 1e3,
        "most_pings_in_a_turn": loop.most_pings,
        "n_turns": loop.n_turns,
    }


def check_open(io: telex.Server, n: int, what: str) -> None:
    """Check that everybody is there."""
    found = io.statistics()
    n_there = min(found["sessions"], found["sockets"])
    claim(n_there == n and not WIRE.n_closed, f"{what}, {n_there:,} of {n:,} sessions were open with their socket")
    claim(not WIRE.pinged, f"{what}, {len(WIRE.pinged):,} pings were not answered")


def measure(n: int, *, freeze: bool) -> None:
    """Measure everything once, and check every claim."""
    collections, loop, io = Collections(), HandLoop(), telex.Server()
    asyncio._set_running_loop(
        cast("asyncio.AbstractEventLoop", loop)
    )  # for whoever implements one, asyncio's documentation says
    interval = io.limits.ping_interval
    print(f"{n:,} sessions, a heartbeat every {interval:g} s", flush=True)
    gc.collect()
    memory, began = rss_bytes(), time.process_time()
    open_sessions(io, n, loop)
    opening_us = (time.process_time() - began) / n * 1e6
    bytes_each = (rss_bytes() - memory) / n
    check_open(io, n, "after all were opened")
    claim(WIRE.n_others == 2 * n, f"{WIRE.n_others:,} packets answered {n:,} handshakes and CONNECTs, each of them one")
    opening_gc_ms = collections.longest * 1e3
    if freeze:
        gc.collect()
        gc.freeze()
    collections.longest = 0.0
    steady = [beat(io, n, loop, interval, f"in interval {number + 1}") for number in range(N_INTERVALS)]
    steady_gc_ms, collections.longest = collections.longest * 1e3, 0.0
    loop.now += interval
    stalled = beat(io, n, loop, 0.0, "after the process stood still")
    WIRE.n_others, began = 0, time.process_time()
    io.emit("news", "to all")
    broadcast_us = (time.process_time() - began) / n * 1e6
    loop.advance(0)
    claim(WIRE.n_others == n, f"an event to all was written to {WIRE.n_others:,} of {n:,} sessions")
    cpu_us = sum(each["cpu_us_per_heartbeat"] for each in steady) / N_INTERVALS
    longest = {kind: max(each[f"longest_turn_{kind}"] for each in steady) for kind in ("ms", "cpu_ms")}
    show(
        f"{n:,} sessions of Engine.IO, each with a Socket.IO socket, in one process",
        [
            ("bytes per session", f"{bytes_each:,.0f}"),
            ("resident memory", f"{rss_bytes() / MIB:,.0f} MiB"),
            ("CPU to open one, packets and all", f"{opening_us:.1f} µs"),
            ("heartbeats per interval, each answered", f"{n:,}"),
            ("CPU per heartbeat, ping and pong", f"{cpu_us:.2f} µs"),
            (f"share of a core, every {interval:g} s", f"{cpu_us * n / interval / 1e6:.0%}"),
            ("longest turn of the loop, CPU", f"{longest['cpu_ms']:.1f} ms"),
            ("longest turn of the loop, by the clock", f"{longest['ms']:.1f} ms"),
            ("longest turn with all due at once, CPU", f"{stalled['longest_turn_cpu_ms']:.1f} ms"),
            ("longest turn with all due at once, by the clock", f"{stalled['longest_turn_ms']:.1f} ms"),
            ("most pings in a turn", f"{stalled['most_pings_in_a_turn']:,}"),
            ("longest garbage collection, opening", f"{opening_gc_ms:,.0f} ms"),
            ("longest garbage collection, afterwards", f"{max(steady_gc_ms, collections.longest * 1e3):,.1f} ms"),
            ("CPU per session of an event to all", f"{broadcast_us:.2f} µs"),
        ],
    )
    keep(
        "million",
        {
            "n_sessions": n,
            "is_frozen": freeze,
            "bytes_per_session": bytes_each,
            "opening_us": opening_us,
            "steady": steady,
            "stalled": stalled,
            "cpu_us_per_heartbeat": cpu_us,
            "cpu_share": cpu_us * n / interval / 1e6,
            "opening_gc_ms": opening_gc_ms,
            "steady_gc_ms": steady_gc_ms,
            "stalled_gc_ms": collections.longest * 1e3,
            "broadcast_us": broadcast_us,
        },
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.million", description="Hold a million sessions.")
    parser.add_argument("--sessions", type=int, default=1_000_000, help="how many (default: 1000000)")
    parser.add_argument("--freeze", action="store_true", help="call gc.freeze() once they are open")
    options = parser.parse_args(arguments)
    return run(partial(measure, options.sessions, freeze=options.freeze))


if __name__ == "__main__":
    sys.exit(main())
