"""The page about WebSockets: its programs run, and its loop does what it says."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import telex
from tests.websocket.raw import run, until

PAGE = (Path(__file__).parents[2] / "docs/websockets.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_whole_program() -> None:
    (program,) = [program for program in PROGRAMS if "asyncio.run(" in program]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert re.fullmatch(r"hello\n\d+\.\d\d ms there and back\n", done.stdout)
    assert done.stderr == ""


def test_the_loop_goes_on_after_a_loss() -> None:
    (program,) = [program for program in PROGRAMS if program.startswith("async for ws in")]

    async def main() -> None:
        said: list[str] = []
        heard = asyncio.Event()

        async def feed(ws: telex.websocket.Connection) -> None:
            assert await ws.recv() == "subscribe"
            n = len(said)
            await ws.send(f"news {n}")
            await until(lambda: len(said) > n)
            ws.abort()

        def note(text: str) -> None:
            said.append(text)
            if len(said) == 2:
                heard.set()

        async with telex.websocket.serve(feed, "127.0.0.1", 0) as server:
            program_here = program.replace("wss://example.org/feed", f"ws://127.0.0.1:{server.port}")
            names = {"telex": telex, "print": note}
            exec(f"async def read() -> None:\n{textwrap.indent(program_here, '    ')}", names)  # noqa: S102  # our page
            reading = asyncio.create_task(names["read"]())  # type: ignore[operator]
            await heard.wait()
            reading.cancel()
        assert said == ["news 0", "news 1"]

    run(main)


def test_the_listener() -> None:
    (program,) = [program for program in PROGRAMS if program.startswith("class Echo")]
    names = {"telex": telex}
    exec(program.split("\n\n\n")[0], names)  # noqa: S102  # our page

    async def main() -> None:
        async with (
            telex.websocket.serve(names["Echo"], "127.0.0.1", 0) as server,  # type: ignore[arg-type]
            telex.websocket.connect(f"ws://127.0.0.1:{server.port}") as ws,
        ):
            await ws.send("x")
            assert await ws.recv() == "x"

    run(main)


def test_what_is_worth_another_attempt() -> None:
    (program,) = [program for program in PROGRAMS if program.startswith("def is_worth_it")]
    names = {"telex": telex}
    exec(program, names)  # noqa: S102  # our page
    is_worth_it = names["is_worth_it"]
    assert is_worth_it(telex.InvalidStatus(404, "Not Found"))  # type: ignore[operator]
    assert not is_worth_it(telex.InvalidStatus(403, "Forbidden"))  # type: ignore[operator]
