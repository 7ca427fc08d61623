"""Programs that a test starts: a Python server, a script in Node.

Rules of this module: what is started is ended, by its own id and whatever the test did; nothing sleeps to wait, since
a reader thread hands over each line as it comes; every wait has a deadline, and one that is missed shows what the
program said. Deadlines are generous: they end what hangs and measure nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent.parent

START_SECONDS = 60.0
STOP_SECONDS = 20.0
SCRIPT_SECONDS = 120.0


class ProgramError(AssertionError):
    """Say that a program did not do what the test expects of it; the text ends with what the program printed."""


class Program:
    """Run a program and read it line by line; a context manager that ends it.

    Standard output and standard error arrive in one stream of lines, kept in `output`.
    The program gets its own process group, so that its children end with it.
    """

    def __init__(
        self, arguments: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        self.arguments = [str(argument) for argument in arguments]
        self.output: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            self.arguments,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"reader of {self.pid}", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def read_line(self, deadline: float) -> str | None:
        """Return the next line, or None when the program has ended; `deadline` is on the monotonic clock."""
        try:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise ProgramError(self.story("said nothing more in time")) from None
        if line is None:
            self._lines.put(None)
        else:
            self.output.append(line)
        return line

    def wait_for(self, pattern: str, *, seconds: float = START_SECONDS) -> re.Match[str]:
        """Read on until a line matches, and return the match."""
        deadline = time.monotonic() + seconds
        while (line := self.read_line(deadline)) is not None:
            if match := re.search(pattern, line):
                return match
        raise ProgramError(self.story(f"ended without a line like {pattern!r}"))

    def write_line(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ProgramError(self.story("no longer reads")) from None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, *, seconds: float = STOP_SECONDS) -> int:
        """Wait until the program has ended by itself, and return its exit status."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProgramError(self.story("did not end in time")) from None
        self._reader.join(STOP_SECONDS)
        with contextlib.suppress(queue.Empty):
            while (line := self._lines.get_nowait()) is not None:
                self.output.append(line)
        return status

    def stop(self) -> int:
        """Ask the program to end, end its whole group if it does not, and return its exit status."""
        if self.returncode is None:
            self.signal(signal.SIGTERM)
        try:
            return self.wait()
        except ProgramError:
            return self.kill()
        finally:
            self._close()

    def kill(self) -> int:
        """End the program's group at once, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        status = self.wait()
        self._close()
        return status

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def story(self, what: str) -> str:
        said = "\n".join(self.output[-60:])
        return f"{' '.join(self.arguments)}\n{what}; it printed:\n{said}"


class ServerProgram(Program):
    """Run a Python server from `-m ...`, wait until it listens, and know its port.

    The server chooses a free port itself (`--port 0`) and prints its URL once it listens.
    """

    def __init__(
        self, arguments: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> None:
        super().__init__([sys.executable, *arguments], env=env, cwd=cwd)
        try:
            self.port = int(self.wait_for(r"(?:listening|running on)\s+https?://127\.0\.0\.1:(\d+)")[1])
        except BaseException:
            self.kill()
            raise
        self.url = f"http://127.0.0.1:{self.port}"


class NodeScript(Program):
    """Run a script in Node that is told what to do, and tells how it went, in lines of JSON.

    To the script:   {"run": name, ...options}, then {"reply": value} or {"error": text} for each question
    From the script: {"ask": what, ...details}, and at last {"passed": value} or {"failed": text}
    Every other line is for a person who reads a failure.
    """

    def __init__(self, script: Path, *arguments: str) -> None:
        node = shutil.which("node")
        if node is None:
            raise ProgramError("Node.js is missing; `scripts/setup node` brings it")
        super().__init__([node, script, *arguments])

    def run(
        self,
        name: str,
        *,
        answer: Callable[[dict[str, Any]], Any] | None = None,
        seconds: float = SCRIPT_SECONDS,
        **options: Any,
    ) -> Any:
        """Let the script play one scene and return its value; `answer` replies to what the script asks meanwhile."""
        deadline = time.monotonic() + seconds
        self.output.clear()
        self.write_line(json.dumps({"run": name, **options}))
        unanswered: Exception | None = None
        while (line := self.read_line(deadline)) is not None:
            if not line.startswith("{"):
                continue
            message: dict[str, Any] = json.loads(line)
            if unanswered is not None and "ask" not in message:
                raise unanswered
            if "failed" in message:
                raise ProgramError(f"{name}: {message['failed']}")
            if "passed" in message:
                return message["passed"]
            try:
                reply = {"reply": self._answer(message, answer)}
            except Exception as error:  # the scene is ended in order before the test fails
                unanswered = error
                reply = {"error": str(error)}
            self.write_line(json.dumps(reply))
        raise ProgramError(self.story(f"ended while playing {name}"))

    def _answer(self, question: dict[str, Any], answer: Callable[[dict[str, Any]], Any] | None) -> Any:
        if answer is None:
            raise ProgramError(self.story(f"asked {question}, and nobody was there to answer"))
        return answer(question)


def find_browser() -> str:
    """Return the path of a Chromium."""
    for name in (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        if name and (path := shutil.which(name)):
            return path
    raise ProgramError("no Chromium was found; `scripts/setup browser` brings one")
