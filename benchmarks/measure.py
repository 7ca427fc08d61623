"""Do one work with one server: start it, put the load on it, stop it. Or with one client, of a server that is given.

What is measured has one core for itself and the load, or the server of clients, another; each measurement has fresh
processes.
"""

# ruff: noqa: S603  # it starts the project's own programs, by list and without a shell

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from benchmarks.environment import CACHE, Environment
from benchmarks.works import SERVERS, Server, Unit, Work

LOG = CACHE / "servers.log"
START_SECONDS = 20.0
STOP_SECONDS = 3.0
LOAD_SECONDS = 300.0
"""The load ends by itself long before; this is for a load that does not."""
SPARE_DESCRIPTORS = 512
"""What a process needs besides its connections, amply."""
PORTS_PER_SOURCE = 20_000
CONNECT_SOURCES = 8
"""Loopback addresses that connections come from when they are opened by the ten thousand each second."""


class MeasurementError(Exception):
    """A server did not start, or did not do what was asked; the text says what happened."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement."""

    figure: float
    """In the work's unit."""
    per_second: float | None
    """Messages or connections per second; None where they are held."""
    busy: float
    """Share of the time in which the server's core worked for it. Below one, the load set the pace."""
    disturbed: float
    """Share of the time in which the server's core worked for anything else: it was not alone on the machine."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores are used."""

    server: int
    load: int

    @classmethod
    def choose(cls) -> Cores:
        """Take the first two that this process may use; with one, both share it."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(allowed[0], allowed[min(1, len(allowed) - 1)])

    @property
    def is_shared(self) -> bool:
        return self.server == self.load


def allow_connections(n: int) -> int:
    """Raise the limit on descriptors, for what is started from here too; return how many connections it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = n + SPARE_DESCRIPTORS
    if hard != resource.RLIM_INFINITY and hard < needed:
        with contextlib.suppress(ValueError, OSError):  # only root may
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, needed))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(n, soft - SPARE_DESCRIPTORS)


def measure(
    environment: Environment, work: Work, server: Server, *, cores: Cores, seconds: float, warmup: float
) -> Sample:
    """Measure once.

    Raises:
        MeasurementError: If the server does not start or gives a wrong answer. It is stopped then too.
    """
    if work.server is not None:
        return _measure_client(environment, work, server, cores=cores, seconds=seconds, warmup=warmup)
    with running(environment, server, cores.server) as (port, pids):
        command = [str(environment.load), *_load_options(work, server), f"--port={port}"]
        if not cores.is_shared:
            command.append(f"--core={cores.server}")
        command += [f"--seconds={seconds}", f"--warmup={warmup}", *(f"--pid={pid}" for pid in pids)]
        command = [part for word in command for part in word.split("=", 1)]
        with pinned(cores.load):
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=LOAD_SECONDS, check=False)
            except subprocess.TimeoutExpired as error:
                raise MeasurementError("the load did not end") from error
        if done.returncode:
            raise MeasurementError(done.stderr.strip() or f"the load ended with status {done.returncode}")
        result = json.loads(done.stdout)
    key = "bytes_per_connection" if work.unit == Unit.MEMORY else "cpu_us"
    return Sample(result[key], result.get("per_second"), result["server_busy"], result["others_busy"])


def _measure_client(
    environment: Environment, work: Work, client: Server, *, cores: Cores, seconds: float, warmup: float
) -> Sample:
    """Measure a client once: it counts its own CPU time and memory."""
    is_held = work.unit == Unit.MEMORY
    with running(environment, SERVERS[work.server or ""], cores.load) as (port, _):
        command = [*environment.command(client.command, port), work.activity]
        command += (
            [str(work.n_connections), str(seconds), "0"] if is_held else [str(work.depth), str(seconds), str(warmup)]
        )
        with LOG.open("ab") as log, pinned(cores.server):
            began = log.tell()
            process = subprocess.Popen(
                command,
                env=environment.variables(client.variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                text=True,
            )
        timer = threading.Timer(LOAD_SECONDS, process.kill)
        timer.start()
        try:
            told = cast("IO[str]", process.stdout)
            has_begun = told.readline() == "begin\n"
            busy = _busy_seconds(cores.server)
            last = told.readline()
            busy = _busy_seconds(cores.server) - busy
            if not has_begun or not last:
                raise MeasurementError(f"the client ended: {_last_words(began) or 'it said nothing'}")
            result = json.loads(last)
        finally:
            timer.cancel()
            _stop(process)
            told.close()
    share = result["cpu_seconds"] / result["seconds"]
    others = max(busy / result["seconds"] - share, 0.0)
    if is_held:
        return Sample(result["bytes"] / work.n_connections, None, share, others)
    if not result["messages"]:
        raise MeasurementError("the client got nothing")
    figure = result["cpu_seconds"] / result["messages"] * 1e6
    return Sample(figure, result["messages"] / result["seconds"], share, others)


def _busy_seconds(core: int) -> float:
    """Return how long a core has worked since it was started."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _, _, interrupts, soft, *_ = map(int, line.split()[1:])
            return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _last_words(log_began: int) -> str:
    """Return the last line that was logged since then."""
    with LOG.open("rb") as log:
        log.seek(log_began)
        return log.read().decode(errors="replace").strip().rpartition("\n")[2]


def _load_options(work: Work, server: Server) -> list[str]:
    options = ["raw" if server.is_raw else work.protocol, work.activity]
    options += [f"--connections={work.n_connections}", f"--depth={work.depth}", f"--bytes={work.n_bytes}"]
    if work.event is not None and not server.is_raw:
        options.append(f"--event={work.event}")
    n_sources = 1 + work.n_connections // PORTS_PER_SOURCE
    options.append(f"--sources={CONNECT_SOURCES if work.unit == Unit.CONNECTION else n_sources}")
    return options


@contextlib.contextmanager
def running(environment: Environment, server: Server, core: int) -> Iterator[tuple[int, list[int]]]:
    """Run a server; yield its port and its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with LOG.open("ab") as log, pinned(core):
        began = log.tell()
        process = subprocess.Popen(
            environment.command(server.command, port),
            env=environment.variables(server.variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_until_it_listens(process, port, began)
        yield port, _with_children(process.pid)
    finally:
        _stop(process)


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log_began: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise MeasurementError(f"the server did not start: {_last_words(log_began) or 'it said nothing'}")


def _with_children(pid: int) -> list[int]:
    pids = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            pids += _with_children(int(child))
    return pids


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server's own process group, politely first."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, ending)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            return


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this process on one core, so that what it starts meanwhile is born there and stays."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
