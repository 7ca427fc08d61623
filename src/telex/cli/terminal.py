"""Standard input and output of a command that talks.

Rule of this module: it knows terminals and pipes, and nothing of what is said through them.

Somebody at a terminal has a prompt, at which a line is being edited while messages come: they are printed above it.
Otherwise lines are read as they are, results go to standard output and what happens to standard error, and colours and
control sequences stay away.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from importlib import import_module
from typing import Any

from telex.cli import pipes
from telex.cli.editing import Entered, LineEditor
from telex.cli.failures import Interrupted, OutputClosed
from telex.cli.history import History
from telex.cli.keys import Key
from telex.cli.values import escape

termios: Any  # None where there is none: on Windows
try:
    termios = import_module("termios")
except ImportError:
    termios = None

__all__ = ["Console", "Style", "until_first"]

PROMPT = "> "
MAX_SHOWN = 20_000
"""Characters of one message that are shown on a terminal; a pipe gets all of it."""

ERASE = "\r\x1b[K"
PASTING, NOT_PASTING = "\x1b[?2004h", "\x1b[?2004l"
CLEAR = "\x1b[H\x1b[2J"


class Style(Enum):
    """Say how a text looks, in ECMA-48's numbers."""

    DIM = "2"
    BAD = "31"
    GOOD = "32"
    BOLD = "1"
    ASIDE = "36"


class Console:
    """Be the two ends of a command. `show` what it is asked for, `note` what happens, `complain` of a line.

    What is shown must be safe for a terminal already (`values.encode`, `values.escape`).
    Raises `OutputClosed` where nobody reads any more.

    Attributes:
        is_terminal: Somebody looks at the output.
        is_interactive: And types.
    """

    def __init__(self) -> None:
        self.is_terminal = sys.stdout.isatty()
        self.is_interactive = self.is_terminal and sys.stdin.isatty() and termios is not None
        self.n_complaints = 0
        self._is_coloured = self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._prompt: Prompt | None = None
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # where it is not UTF-8

    def paint(self, text: str, style: Style) -> str:
        """Return the text in a style, where there are colours."""
        return f"\x1b[{style.value}m{text}\x1b[0m" if self._is_coloured else text

    def show(self, text: str) -> None:
        """Print a result on lines of its own."""
        if self.is_terminal and len(text) > MAX_SHOWN:
            text = f"{text[:MAX_SHOWN]}... ({len(text) - MAX_SHOWN:,} characters more)"
        if self._prompt is None:
            self._write(f"{text}\n")
        else:
            self._prompt.print_above(text)

    def show_bytes(self, data: bytes) -> None:
        """Write bytes as they are; not for a terminal."""
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except OSError:
            raise OutputClosed from None

    def note(self, text: str) -> None:
        """Tell what happens."""
        self._tell(text, Style.DIM)

    def complain(self, text: str) -> None:
        """Tell what is wrong with what was typed, or read."""
        self.n_complaints += 1
        self._tell(text, Style.BAD)

    @contextmanager
    def prompting(self, name: str, words: Callable[[], Iterable[str]]) -> Iterator[AsyncIterator[str]]:
        """Read lines: those typed at a prompt, with a history of this name, or those of the input.

        Args:
            words: Returns what the first word of a line may be, for completion.

        The iterator ends with the input, raises `Interrupted` where Ctrl-C is typed on an empty line, and `Failure` as
        `pipes.lines` does. **Cancellation**: a line that is being typed is lost.
        """
        if not self.is_interactive:
            yield pipes.lines()
            return
        with Prompt(self._write, History(name), words) as prompt:
            self._prompt = prompt
            try:
                yield prompt.lines()
            finally:
                self._prompt = None

    def _tell(self, text: str, style: Style) -> None:
        if self.is_interactive:
            self.show(self.paint(text, style))
        else:
            sys.stderr.write(f"telex: {text}\n")
            sys.stderr.flush()

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError:
            raise OutputClosed from None


class Prompt:
    """Edit lines at the foot of a terminal. A context manager: the terminal is its user's again afterwards."""

    def __init__(self, write: Callable[[str], None], history: History, words: Callable[[], Iterable[str]]) -> None:
        self._write = write
        self._history = history
        self._editor = LineEditor(PROMPT, history.load(), lambda _: words())
        self._told: asyncio.Queue[Entered | Interrupted] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._descriptor = sys.stdin.fileno()
        self._modes = termios.tcgetattr(self._descriptor)
        self._task = asyncio.current_task()

    def __enter__(self) -> Prompt:
        self._begin()
        self._loop.add_reader(self._descriptor, self._read)
        self._loop.add_signal_handler(signal.SIGCONT, self._begin)
        self._loop.add_signal_handler(signal.SIGWINCH, self._draw)
        self._loop.add_signal_handler(signal.SIGTERM, self._terminate)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGCONT, signal.SIGWINCH, signal.SIGTERM):
            self._loop.remove_signal_handler(number)
        self._loop.remove_reader(self._descriptor)
        self._end()

    async def lines(self) -> AsyncIterator[str]:
        """Yield the lines that are entered."""
        while True:
            told = await self._told.get()
            if isinstance(told, Interrupted):
                raise told
            if told.text is None:
                return
            yield told.text

    def print_above(self, text: str) -> None:
        """Print lines above the one that is being edited."""
        self._write(f"{ERASE}{text}\n{self._drawn()}")

    def _begin(self) -> None:
        """Take the terminal: no echo, no lines, no signals from keys; output stays as it is."""
        modes = termios.tcgetattr(self._descriptor)
        modes[0] &= ~(termios.IXON | termios.ICRNL | termios.INLCR)
        modes[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
        modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, modes)
        self._write(PASTING + self._drawn())

    def _end(self) -> None:
        try:
            self._write(ERASE + NOT_PASTING)
        finally:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._modes)

    def _terminate(self) -> None:
        """End by the signal, as without us, but with the terminal given back."""
        self._end()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, pipes.CHUNK)
        except OSError:
            data = b""
        told = self._editor.feed(data) if data else iter([Entered(None)])
        for what in told:
            if isinstance(what, Entered):
                self._enter(what)
            elif what is Key.INTERRUPT:
                if not self._editor.drop():
                    self._told.put_nowait(Interrupted())
            elif what is Key.SUSPEND:
                self._end()
                os.kill(0, signal.SIGTSTP)  # all of the job, as the terminal would
                self._begin()
            else:
                self._write(CLEAR)
        self._draw()

    def _enter(self, line: Entered) -> None:
        if line.text is None:
            self._loop.remove_reader(self._descriptor)
        else:
            self._history.add(line.text)
            self._write(f"{ERASE}{PROMPT}{escape(line.text)}\n")
        self._told.put_nowait(line)

    def _drawn(self) -> str:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns or 80
        row = self._editor.row(columns)
        return f"{ERASE}{row.text}" + (f"\r\x1b[{row.column}C" if row.column else "\r")

    def _draw(self) -> None:
        self._write(self._drawn())


async def until_first(*activities: Coroutine[Any, Any, Any]) -> None:
    """Run several things until one of them ends, and raise what it raised; the others are cancelled.

    Where several end at once, the first of the arguments has its say first.
    """
    tasks = [asyncio.ensure_future(activity) for activity in activities]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
