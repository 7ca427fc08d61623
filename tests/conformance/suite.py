"""Run cases of the Autobahn test suite against one of Telex's ends, and judge what its report says.

`wstest` exits 0 whatever happened, so only the report counts: it must hold exactly the cases that were asked for, and
each must be OK or INFORMATIONAL in its behaviour and in how the connection was closed. NON-STRICT is a failure here.

Telex runs in this process and the suite in another, so a run of the suite is one `await`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import typing
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from telex.limits import Limits
from telex.serving.uvicorn import Protocol
from telex.types import Data
from telex.websocket import Connection, DeflateOptions, Listener, connect, serve
from tests.conformance.environment import Environment

N_CASES = 517
"""All cases of release 25.10.1."""

QUICK_CASES = ("1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*")
"""Groups 1 to 7 and 10: everything but the large (9) and the compressed messages (12, 13)."""
N_QUICK_CASES = 247

GOOD = frozenset({"OK", "INFORMATIONAL"})

# What the suite needs: messages of 16 MiB, and one of 4 MiB in 65,536 fragments, ended by an empty one.
MIB = 1024 * 1024
LIMITS = Limits(
    max_message_size=16 * MIB,
    max_fragments=65_537,
    send_buffer_max=64 * MIB,
)
DEFLATE = DeflateOptions(threshold=1)

SUITE_OPTIONS = {"openHandshakeTimeout": 30, "closeHandshakeTimeout": 10}
"""Seconds after which the suite loses patience: more than the second it has by default, for busy machines."""

SILENCE_SECONDS = 180.0
"""How long the suite may say nothing before the run is given up. The longest case takes a fraction of that."""

OnCase = Callable[[str], None]


class SuiteError(Exception):
    """Say that the suite did not run to its end."""


@dataclass
class Verdict:
    """What the report of one run says."""

    n_expected: int
    n_cases: int
    bad: dict[str, str] = field(default_factory=dict)
    """The cases that are neither OK nor INFORMATIONAL, and what they are."""

    @property
    def is_good(self) -> bool:
        return self.n_cases == self.n_expected and not self.bad

    def __str__(self) -> str:
        if self.is_good:
            return f"all {self.n_cases} cases OK or INFORMATIONAL"
        lines = [f"{case}: {what}" for case, what in self.bad.items()]
        return "\n".join([f"{self.n_cases} of {self.n_expected} cases ran, {len(self.bad)} failed", *lines])


def judge(folder: Path, agent: str, n_expected: int) -> Verdict:
    """Read the report in `folder` on `agent`."""
    try:
        cases: dict[str, dict[str, Any]] = json.loads((folder / "index.json").read_text())[agent]
    except (OSError, KeyError):
        return Verdict(n_expected, 0)
    verdict = Verdict(n_expected, len(cases))
    for case, result in cases.items():
        if not {result["behavior"], result["behaviorClose"]} <= GOOD:
            report = folder / str(result["reportfile"])
            verdict.bad[case] = f"{result['behavior']}, close {result['behaviorClose']} ({report})"
    return verdict


async def echo(ws: Connection) -> None:
    """Answer each message with itself, as a coroutine."""
    async for message in ws:
        await ws.send(message)


class Echo(Listener):
    """Answer each message with itself, as a listener."""

    def on_message(self, ws: Connection, message: Data) -> None:
        ws.send(message)


async def echo_asgi(scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Answer each message with itself, as an ASGI application."""
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


async def run_coroutine(
    environment: Environment, cases: Sequence[str], n_expected: int, folder: Path, *, on_case: OnCase
) -> Verdict:
    """Let the suite, as a client, try a server whose handler is a coroutine."""
    async with serve(echo, "127.0.0.1", limits=LIMITS, deflate=DEFLATE) as server:
        return await _try_server(environment, server.port, cases, n_expected, folder, on_case=on_case)


async def run_listener(
    environment: Environment, cases: Sequence[str], n_expected: int, folder: Path, *, on_case: OnCase
) -> Verdict:
    """Let the suite, as a client, try a server with a listener."""
    async with serve(Echo, "127.0.0.1", limits=LIMITS, deflate=DEFLATE) as server:
        return await _try_server(environment, server.port, cases, n_expected, folder, on_case=on_case)


async def run_asgi(
    environment: Environment, cases: Sequence[str], n_expected: int, folder: Path, *, on_case: OnCase
) -> Verdict:
    """Let the suite, as a client, try an ASGI application on uvicorn with Telex's protocol class."""
    settings: dict[str, Any] = {"lifespan": "off", "log_config": None, "timeout_graceful_shutdown": 10}
    config = uvicorn.Config(echo_asgi, ws=Protocol, ws_max_size=LIMITS.max_message_size, **settings)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            port = listening.getsockname()[1]
            return await _try_server(environment, port, cases, n_expected, folder, on_case=on_case)
        finally:
            server.should_exit = True
            await serving


async def _try_server(
    environment: Environment, port: int, cases: Sequence[str], n_expected: int, folder: Path, *, on_case: OnCase
) -> Verdict:
    agent = "telex"
    specification = {
        "outdir": str(folder),
        "servers": [{"agent": agent, "url": f"ws://127.0.0.1:{port}"}],
        "options": SUITE_OPTIONS,
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    await _run_suite(environment, "fuzzingclient", specification, folder, on_case=on_case)
    return judge(folder, agent, n_expected)


async def run_client(
    environment: Environment, cases: Sequence[str], n_expected: int, folder: Path, *, on_case: OnCase
) -> Verdict:
    """Let the suite, as a server, try our client."""
    agent = "telex"
    url = f"ws://127.0.0.1:{_free_port()}"
    specification = {
        "outdir": str(folder),
        "url": url,
        "options": SUITE_OPTIONS,
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }

    async def drive() -> None:
        async with connect(f"{url}/getCaseCount", limits=LIMITS) as ws:
            n_cases = int(await ws.recv())
        for number in range(1, n_cases + 1):
            address = f"{url}/runCase?case={number}&agent={agent}"
            async with connect(address, limits=LIMITS, deflate=DEFLATE) as ws:
                # Many cases end a connection badly on purpose; the report tells whether we did right.
                with contextlib.suppress(ConnectionError):
                    await echo(ws)
        async with connect(f"{url}/updateReports?agent={agent}", limits=LIMITS) as ws:
            await ws.wait_closed()

    await _run_suite(environment, "fuzzingserver", specification, folder, on_case=on_case, drive=drive)
    return judge(folder, agent, n_expected)


class Run(typing.Protocol):
    """Run cases against one end."""

    async def __call__(
        self, environment: Environment, cases: Sequence[str], n_expected: int, folder: Path, *, on_case: OnCase
    ) -> Verdict: ...


ENDS: dict[str, Run] = {
    "server-coroutine": run_coroutine,
    "server-listener": run_listener,
    "server-asgi": run_asgi,
    "client": run_client,
}
"""The ends that are put to the test."""


def _write(folder: Path, specification: dict[str, Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "specification.json"
    path.write_text(json.dumps(specification))
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _run_suite(
    environment: Environment,
    mode: str,
    specification: dict[str, Any],
    folder: Path,
    *,
    on_case: OnCase,
    drive: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run `wstest`: a client to its own end; a server until `drive`, begun when it listens, is done."""
    path = _write(folder, specification)
    process = await asyncio.create_subprocess_exec(
        *environment.command(mode, path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=MIB,
    )
    said: list[str] = []
    driving: asyncio.Task[None] | None = None
    reading = asyncio.ensure_future(_next_line(process))
    try:
        while True:
            waiting = {reading} if driving is None else {reading, driving}
            done, _ = await asyncio.wait(waiting, timeout=SILENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise SuiteError(f"{mode} hangs; it said:\n" + "\n".join(said[-20:]))
            if driving in done:
                await driving
                return
            line = reading.result()
            if line is None:
                break
            said.append(line)
            if line.startswith("Running test case ID "):
                on_case(line.split()[4])
            elif line == "wstest: running" and drive is not None:
                driving = asyncio.ensure_future(drive())
            reading = asyncio.ensure_future(_next_line(process))
        status = await process.wait()
        if status != 0 or drive is not None:
            raise SuiteError(f"{mode} ended with {status}; it said:\n" + "\n".join(said[-20:]))
    finally:
        for task in (reading, driving):
            if task is not None:
                task.cancel()
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _next_line(process: asyncio.subprocess.Process) -> str | None:
    assert process.stdout is not None
    line = await process.stdout.readline()
    return line.decode(errors="replace").rstrip("\n") if line else None
