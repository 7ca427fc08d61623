"""How the server programs beside this file are started: by `telex run`, and by an ASGI server that knows no Telex."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes import ServerProgram

HERE = Path(__file__).parent

RUNNERS = {
    "telex run": ["-m", "telex", "run"],
    "uvicorn": ["-m", "uvicorn", "--ws", "websockets-sansio"],
}
TRANSPORTS = ["polling", "websocket", "upgrade"]


def start(runner: str, program: str, *, port: int = 0, **env: str) -> ServerProgram:
    """Start `servers/PROGRAM.py` with the environment given, on a free port unless one is named."""
    return ServerProgram(
        [*RUNNERS[runner], f"{program}:io", "--app-dir", HERE / "servers", "--host", "127.0.0.1", "--port", str(port)],
        env=env,
    )
