"""Hold 19,000 idle Socket.IO connections in one `telex run`: `python -m benchmarks.crowd`.

The heartbeat is short, so that there are thousands a second; the load generator answers. Claimed and checked: every
connection is opened, every one is pinged as often as it should be and none is lost, in the end an event reaches every
one, and while they are held the server's event loop is never late by more than 50 ms. The server watches that itself.
"""

# ruff: noqa: S603, T201  # it starts the project's own program, by list and without a shell, and prints

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from benchmarks.environment import Environment, prepare
from benchmarks.measure import LOG, Cores, MeasurementError, allow_connections, pinned, running
from benchmarks.scale import claim, keep, run, show
from benchmarks.works import Server
from telex import websocket

N_CONNECTIONS = 19_000
"""What 20,000 descriptors, a common limit, leave room for."""
HOLD_SECONDS = 30.0
PING_INTERVAL, PING_TIMEOUT = 5.0, 4.0
PING_SLACK = 0.25
"""Seconds from a ping's due time until its pong was read, amply; the next is due an interval after that."""
MAX_LATE_MS = 50.0
N_SOURCES = 8
"""Loopback addresses that the connections come from."""
N_SHOUTS = 3
LOAD_SECONDS = 150.0
"""What the load takes at most besides holding."""

OPTIONS = "--app-dir {peers} --host 127.0.0.1 --port {port} --log-level error --loop asyncio"


def server(n: int) -> Server:
    """Return the server for so many connections."""
    command = ("{telex}", "-m", "telex", "run", "telex_crowd:io", *OPTIONS.split())
    return Server("Telex (telex run)", command, {"CROWD": str(n), "CROWD_PING": f"{PING_INTERVAL} {PING_TIMEOUT}"})


def put_load(environment: Environment, n: int, seconds: float, *, port: int, pids: Sequence[int], cores: Cores) -> Any:
    """Let the load open, hold and hear; return what it reports. It checks every answer itself."""
    options = {
        "port": port,
        "connections": n,
        "seconds": seconds,
        "sources": N_SOURCES,
        "event": "shout",
        "shouts": N_SHOUTS,
    }
    command = [str(environment.load), "socketio", "hold"]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    if not cores.is_shared:
        command += ["--core", str(cores.server)]
    for pid in pids:
        command += ["--pid", str(pid)]
    with pinned(cores.load):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + LOAD_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise MeasurementError("the load did not end") from error
    if done.returncode:
        raise MeasurementError(done.stderr.strip() or f"the load ended with status {done.returncode}")
    return json.loads(done.stdout)


async def ask(port: int) -> Any:
    """Ask the server for its report, as a client of its own."""
    url = f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"
    async with asyncio.timeout(20), websocket.connect(url) as ws:
        await ws.recv()  # open
        await ws.send("40")
        await ws.recv()  # connected
        await ws.send('420["report"]')
        answer = await ws.recv()
        while answer == "2":
            answer = await ws.recv()
    return json.loads(str(answer).removeprefix("430"))[0]


def measure(n_wanted: int, seconds: float) -> None:
    """Measure everything once, and check every claim."""
    environment = prepare(lambda text: print(f"telex: {text}", flush=True), peers=False)
    n = allow_connections(n_wanted)
    if n < n_wanted:
        print(f"{n:,} connections instead of {n_wanted:,}: this machine's limit on open files allows no more")
    cores = Cores.choose()
    if cores.is_shared:
        print("THERE IS ONLY ONE CORE: the server and the load share it, and hold each other up")
    print(f"{n:,} connections, held for {seconds:g} s with a heartbeat every {PING_INTERVAL:g} s", flush=True)
    LOG.unlink(missing_ok=True)
    with running(environment, server(n), cores.server) as (port, pids):
        load = put_load(environment, n, seconds, port=port, pids=pids, cores=cores)
        report = asyncio.run(ask(port))
    show(f"{n:,} idle Socket.IO connections in one process", table(load, report["phases"]))
    keep("crowd", {"n_connections": n, "ping_interval": PING_INTERVAL, "load": load, "server": report})
    check(load, report, seconds)


def table(load: Any, phases: Any) -> list[tuple[str, str]]:
    """Return the rows."""
    rows = [
        ("opened per second", f"{load['connections'] / load['opening_seconds']:,.0f}"),
        ("resident bytes per connection", f"{load['bytes_per_connection']:,.0f}"),
        ("heartbeats per second, each answered", f"{load['held_heartbeats'] / load['seconds']:,.0f}"),
        ("share of a core while idle", f"{load['server_busy']:.1%}"),
        ("taken of that core by others", f"{load['others_busy']:.1%}"),
        (
            "CPU per heartbeat, kernel and all",
            f"{load['server_busy'] * load['seconds'] / load['held_heartbeats'] * 1e6:.1f} µs",
        ),
        ("slowest event to all, until the last has it", f"{load['slowest_shout_seconds'] * 1e3:.0f} ms"),
    ]
    for phase in ("holding", "opening", "shouting"):
        found = phases.get(phase)
        if found is not None:
            rows += [
                (f"latest the loop was, {phase}", f"{found['max_ms']:.1f} ms"),
                (f"late by less, 99.9 % of the time, {phase}", f"{found['p999_ms']:.1f} ms"),
            ]
    return rows


def check(load: Any, report: Any, seconds: float) -> None:
    """Check what is claimed; that all were opened, and heard each event, the load has."""
    n_due = int(seconds / (PING_INTERVAL + PING_SLACK))
    claim(report["n_lost"] == 0, f"the server lost {report['n_lost']:,} connections")
    claim(
        load["least_heartbeats"] >= n_due,
        f"some connection had {load['least_heartbeats']} heartbeats where {n_due} were due",
    )
    late = report["phases"]["holding"]["max_ms"]
    claim(late <= MAX_LATE_MS, f"the event loop was late by {late:.1f} ms; at most {MAX_LATE_MS:g} ms is claimed")
    print(f"nothing was lost, and the loop was never late by more than {MAX_LATE_MS:g} ms while they were held")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd", description="Hold idle connections.")
    parser.add_argument("--connections", type=int, default=N_CONNECTIONS, help="how many (default: 19000)")
    parser.add_argument("--seconds", type=float, default=HOLD_SECONDS, help="how long (default: 30)")
    options = parser.parse_args(arguments)
    return run(partial(measure, options.connections, options.seconds))


if __name__ == "__main__":
    sys.exit(main())
