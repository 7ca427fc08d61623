"""How the server programs beside this file are started: by `telex run`, and by an ASGI server that knows no Telex."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import ServerProgram

HERE = Path(__file__).parent

RUNNERS = {
    "telex run": ["-m", "telex", "run"],
    "uvicorn": ["-m", "uvicorn", "--ws", "websockets-sansio"],
}
TRANSPORTS = ["polling", "websocket", "upgrade"]


@contextlib.contextmanager
def start(runner: str, program: str, *, port: int = 0, **env: str) -> Iterator[ServerProgram]:
    """Run `servers/PROGRAM.py` with the environment given, on a free port unless one is named.

    In the end it is killed, unless it has ended before: it would wait for clients that a scene cut off for good.
    """
    arguments = [f"{program}:io", "--app-dir", HERE / "servers", "--host", "127.0.0.1", "--port", str(port)]
    with ServerProgram([*RUNNERS[runner], *arguments], env=env) as server:
        yield server
        if server.returncode is None:
            server.kill()
