"""The programs of docs/sync.md and the example, as they stand but for the servers' addresses."""

from __future__ import annotations

import asyncio
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

import telex
from telex import websocket
from tests.serving.live import until
from tests.support.processes import Program
from tests.sync.serving import serve_events, serve_websockets

ROOT = Path(__file__).parents[2]
SECONDS = 30.0


def program(n: int, address: str, url: str, tmp_path: Path) -> str:
    """Write a program of the page to a file."""
    texts = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/sync.md").read_text(), re.DOTALL | re.MULTILINE)
    assert address in texts[n]
    path = tmp_path / "program.py"
    path.write_text(texts[n].replace(address, url))
    return str(path)


def test_a_client_in_a_block(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    io = telex.Server()

    @io.on("chat")
    async def chat(socket: telex.Socket, text: str) -> str:
        socket.emit("heard", text)
        if text.endswith("?"):
            asyncio.get_running_loop().call_soon(socket.disconnect)  # behind the acknowledgement
        return "yes"

    with serve_events(io) as url:
        runpy.run_path(program(0, "http://localhost:8000", url, tmp_path))
    assert capsys.readouterr().out.splitlines() == ["yes", "heard ['hello']", "heard ['anybody here?']"]


def test_a_client_with_handlers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Any] = []
    io = telex.Server()

    @io.of("/admin").on("connect")
    async def connected(socket: telex.Socket) -> None:
        answers.append(await socket.call("question", "how are you?", timeout=SECONDS))
        socket.disconnect()

    monkeypatch.setattr("builtins.input", lambda prompt: f"{prompt} fine")
    with serve_events(io) as url:
        runpy.run_path(program(1, "http://localhost:8000", url, tmp_path))
    assert answers == ["how are you? fine"]
    assert capsys.readouterr().out.splitlines() in ([], ["gone: io server disconnect"])  # it is told in a thread


def test_a_plain_websocket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def serve(ws: websocket.Connection) -> None:
        await ws.send(f"{await ws.recv()} to you")
        before = ws.statistics().received_bytes
        await until(lambda: ws.statistics().received_bytes > before)  # the ping
        await ws.send("and")
        await ws.send("goodbye")

    with serve_websockets(serve) as url:
        runpy.run_path(program(2, "ws://localhost:8765", url, tmp_path))
    first, latency, *rest = capsys.readouterr().out.splitlines()
    assert (first, rest) == ("hello to you", ["and", "goodbye"])
    assert latency.endswith(" ms")


def test_the_example() -> None:
    io: telex.Server = runpy.run_path(str(ROOT / "examples/chat_six_lines.py"))["io"]
    with (
        serve_events(io) as url,
        telex.sync.connect(url) as other,
        Program([sys.executable, "-W", "error", ROOT / "examples/sync_client.py", url]) as example,
    ):
        example.write_line("good morning")
        event, who, text = other.receive(SECONDS)
        assert (event, text) == ("chat", "good morning")
        assert who != other.id
        example.wait_for(r"delivered|you: good morning")
        other.emit("chat", "morning!")
        example.wait_for(f"^{re.escape(str(other.id))}: morning!$")
        io_client = example._process.stdin
        assert io_client is not None
        io_client.close()  # the end of what is typed
        example.wait_for("io client disconnect")
        assert example.wait() == 0
