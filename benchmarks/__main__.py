"""Measure Telex beside its peers: `python -m benchmarks [WORK...]`; `make bench` measures everything.

README.md beside this file says what the figures mean.
"""

# ruff: noqa: T201  # a program for a terminal prints

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from benchmarks.environment import CACHE, HERE, Environment, EnvironmentMissingError, prepare, telex_folder
from benchmarks.measure import LOG, Cores, MeasurementError, allow_connections, measure
from benchmarks.report import Result, Row, summary, to_json
from benchmarks.works import SERVERS, WORKS, Unit, Work

RESULTS = CACHE / "benchmark.json"
PART = CACHE / "part.json"
"""Where the results of a run go that was asked for less than everything, so that it leaves the whole's alone."""

START_STOP_SECONDS = 1.0
"""What a measurement takes besides its own time, about."""
OPENING_SECONDS = 6.0
"""And what 10,000 connections take to open and to close."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long and how often things are measured."""

    rounds: int
    seconds: float
    warmup: float
    hold_seconds: float
    n_held: int

    def rounds_of(self, work: Work) -> int:
        """Memory is the same each time, and long to measure."""
        return 1 if work.unit == Unit.MEMORY else self.rounds

    def seconds_of(self, work: Work) -> float:
        if work.unit == Unit.MEMORY:
            return self.hold_seconds + OPENING_SECONDS
        return self.seconds + self.warmup * work.warmups + START_STOP_SECONDS


# Node's compiler needs a second to warm up, or several (`Work.warmups`).
# Connections are held past one heartbeat, which comes after 25 s.
FULL = Pace(rounds=3, seconds=2.0, warmup=1.0, hold_seconds=30.0, n_held=10_000)
QUICK = Pace(rounds=1, seconds=0.6, warmup=0.4, hold_seconds=1.0, n_held=2_000)


class Progress:
    """Say how far the run is, on one line that is written again and again; nothing where there is no terminal."""

    def __init__(self, expected_seconds: float) -> None:
        self.expected = expected_seconds
        self._planned = 0.0
        self._began = time.monotonic()
        self._is_terminal = sys.stdout.isatty()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def show(self, text: str) -> None:
        if not self._is_terminal:
            return
        # What was planned for the work done so far, and what it took, tell what the rest will take.
        pace = self.seconds / self._planned if self._planned else 1.0
        left = duration((self.expected - self._planned) * pace)
        print(f"\r\x1b[2K{self._planned / self.expected:4.0%}  {text}  ({left} left)", end="", flush=True)

    def count(self, planned_seconds: float) -> None:
        self._planned += planned_seconds

    def clear(self) -> None:
        if self._is_terminal:
            print("\r\x1b[2K", end="", flush=True)


def duration(seconds: float) -> str:
    """Return a time for a reader: `41 s` or `19 min`."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"  # noqa: PLR2004


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status: 1 when a server failed in its work, 2 when nothing was measured."""
    options = read_options(arguments)
    if options.list:
        for work in WORKS:
            print(f"{work.name:26} {work.title:40} {', '.join(work.servers)}")
        return 0
    pace = QUICK if options.quick else FULL
    pace = replace(
        pace,
        rounds=options.rounds or pace.rounds,
        seconds=options.seconds or pace.seconds,
        hold_seconds=options.hold_seconds or pace.hold_seconds,
        n_held=options.held or pace.n_held,
    )
    try:
        works = choose(options.works, options.servers)
        environment = prepare(lambda text: print(f"telex: {text}", flush=True))
        about = describe(environment, pace)
    except (EnvironmentMissingError, LookupError) as error:
        print(f"telex: {error.args[0]}", file=sys.stderr)
        return 2
    cores = Cores.choose()
    print_head(about, cores, pace)
    with (CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("telex: another run is under way, and the two would spoil each other's figures", file=sys.stderr)
            return 2
        results = run(environment, works, pace, cores)
    print(f"\n{summary(results)}")
    is_whole = not (options.works or options.servers or options.quick)
    write(to_json(results, about), options.json or (RESULTS if is_whole else PART), environment)
    has_failed = any(row.failure for result in results for row in result.rows)
    has_missed = any(not verdict.is_met for result in results for verdict in result.verdicts())
    return int(has_failed or (options.check and has_missed))


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Telex beside its peers.")
    parser.add_argument(
        "works", nargs="*", metavar="WORK", help="names or patterns, such as 'socketio-*'; default: all"
    )
    parser.add_argument("--servers", nargs="+", metavar="NAME", help="only these servers; names or patterns")
    parser.add_argument("--rounds", type=int, help="how often each server is measured (default: 3)")
    parser.add_argument("--seconds", type=float, help="how long a measurement lasts (default: 2)")
    parser.add_argument("--hold-seconds", type=float, help="how long idle connections are held (default: 30)")
    parser.add_argument("--held", type=int, help="how many idle connections are held (default: 10000)")
    parser.add_argument("--quick", action="store_true", help="one short round, for a look; its figures are rough")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where results go, and the plot beside (default: .cache/bench)"
    )
    parser.add_argument("--check", action="store_true", help="exit with status 1 if a bar is not met")
    parser.add_argument("--list", action="store_true", help="list the works and their servers")
    return parser.parse_args(arguments)


def choose(names: Sequence[str], servers: Sequence[str] | None) -> list[Work]:
    """Return the works and servers that these names or patterns select.

    Raises:
        LookupError: If a name selects nothing.
    """
    for pattern, known in [(n, [w.name for w in WORKS]) for n in names] + [(n, list(SERVERS)) for n in servers or []]:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise LookupError(f"nothing is called {pattern}; there are: {', '.join(known)}")
    works = [work for work in WORKS if not names or any(fnmatchcase(work.name, pattern) for pattern in names)]
    if servers:
        works = [
            replace(work, servers=tuple(s for s in work.servers if any(fnmatchcase(s, p) for p in servers)))
            for work in works
        ]
    return [work for work in works if work.servers]


def run(environment: Environment, works: Sequence[Work], pace: Pace, cores: Cores) -> list[Result]:
    """Measure all works, printing each when it is done."""
    LOG.unlink(missing_ok=True)
    progress = Progress(sum(pace.seconds_of(w) * pace.rounds_of(w) * len(w.servers) for w in works))
    print(f"about {duration(progress.expected)}, the servers taking turns in each round", flush=True)
    results = []
    for work in works:
        result = run_work(environment, work, pace, cores, progress)
        progress.clear()
        print(result.table(), flush=True)
        results.append(result)
    print(f"\nthis took {duration(progress.seconds)}")
    return results


def run_work(environment: Environment, work: Work, pace: Pace, cores: Cores, progress: Progress) -> Result:
    """Let each server do the work once in each round."""
    note = ""
    if work.unit == Unit.MEMORY:
        n_allowed = allow_connections(pace.n_held)
        if n_allowed < work.n_connections:
            why = "as asked" if n_allowed == pace.n_held else "for this machine's limit on open files allows no more"
            note = f"{n_allowed:,} connections instead of {work.n_connections:,}, {why}; the bar is not judged"
            work = replace(work, n_connections=n_allowed)
    rows = [Row(server) for server in work.servers]
    seconds = pace.hold_seconds if work.unit == Unit.MEMORY else pace.seconds
    n_rounds = pace.rounds_of(work)
    for number in range(1, n_rounds + 1):
        for row in rows:
            progress.show(f"{work.title}, round {number} of {n_rounds}: {row.label}")
            try:
                if row.failure is None:
                    server = SERVERS[row.server]
                    warmup = pace.warmup * work.warmups
                    sample = measure(environment, work, server, cores=cores, seconds=seconds, warmup=warmup)
                    row.samples.append(sample)
            except MeasurementError as error:
                row.failure = str(error)
            progress.count(pace.seconds_of(work))
    return Result(work, rows, note)


def describe(environment: Environment, pace: Pace) -> dict[str, Any]:
    """Return what the figures depend on."""
    pins = dict(line.split("==") for line in (HERE / "requirements.txt").read_text().split() if "==" in line)
    packages = json.loads((HERE / "package.json").read_text())["dependencies"]
    telex = telex_folder()
    node = subprocess.run([environment.node, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "n_cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "node": node.stdout.strip(),
        "telex_compiled_modules": sum(1 for _ in telex.rglob("*.so")),
        "peers": {name: pins[name] for name in PEERS} | packages,
        "rounds": pace.rounds,
        "seconds": pace.seconds,
        "warmup": pace.warmup,
    }


PEERS = ["picows", "websockets", "aiohttp", "python-socketio", "uvicorn", "uvloop", "httptools"]
"""Those of requirements.txt that do the work; the rest are what these need."""


def processor() -> str:
    """Return the processor's name, as far as the kernel tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def print_head(about: dict[str, Any], cores: Cores, pace: Pace) -> None:
    n_compiled = about["telex_compiled_modules"]
    print(f"{about['processor']}, {about['n_cores']} cores; CPython {about['python']}, Node.js {about['node']}")
    print("; ".join(f"{name} {version}" for name, version in about["peers"].items()))
    print(f"Telex: {f'{n_compiled} compiled modules' if n_compiled else 'pure Python, nothing is compiled'}")
    if cores.is_shared:
        print("THERE IS ONLY ONE CORE: servers and load share it, so rates mean little and costs are rough")
    else:
        print(
            f"servers on core {cores.server}, load on core {cores.load}; rounds: {pace.rounds}, {pace.seconds:g} s each"
        )


def write(found: dict[str, Any], path: Path, environment: Environment) -> None:
    """Keep the results, and draw them beside."""
    plot = path.with_suffix(".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    command = [str(environment.python), str(HERE / "plot.py"), str(path), str(plot)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    print(f"results: {path}" + (f"; plot: {plot}" if done.returncode == 0 else ""))
    if done.returncode:
        print(f"telex: the plot could not be drawn: {done.stderr.strip()[-500:]}", file=sys.stderr)


if __name__ == "__main__":
    # So that the server of the moment is stopped too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
