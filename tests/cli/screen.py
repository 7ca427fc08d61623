"""A terminal that can be looked at: a program on a real pseudo-terminal, and what its user would see.

Rules of this module: `Screen` knows the few control sequences that the command line uses and fails on any other, so
that one which comes from a server is noticed; nothing sleeps to wait.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pexpect

__all__ = ["SECONDS", "Screen", "Terminal", "telex_on_terminal"]

T = TypeVar("T")

SECONDS = 20.0
SEQUENCE = re.compile(r"\x1b\[(\?2004[hl]|[0-9;]*m|K|\d+C|H|2J)")


class Screen:
    """Show rows of text, as a terminal of so many columns does."""

    def __init__(self, columns: int = 80) -> None:
        self.columns = columns
        self.rows = [""]
        self.row = self.column = 0
        self.is_pasting_known = False
        self.styles: list[str] = []
        self._begun = ""

    def feed(self, text: str) -> None:
        """Take what a program writes."""
        text = self._begun + text
        self._begun = ""
        position = 0
        while position < len(text):
            character = text[position]
            if character == "\x1b":
                found = SEQUENCE.match(text, position)
                if found is None:
                    assert len(text) - position < 8, f"no such sequence: {text[position : position + 20]!r}"
                    self._begun = text[position:]
                    return
                self._obey(found[1])
                position = found.end()
                continue
            position += 1
            if character == "\r":
                self.column = 0
            elif character == "\n":
                self._go_down()
            else:
                assert character.isprintable(), f"a control character: {character!r}"
                self._put(character)

    @property
    def text(self) -> str:
        """What is seen."""
        return "\n".join(row.rstrip() for row in self.rows).rstrip("\n")

    def _put(self, character: str) -> None:
        if self.column == self.columns:
            self.column = 0
            self._go_down()
        row = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = row[: self.column] + character + row[self.column + 1 :]
        self.column += 1

    def _go_down(self) -> None:
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append("")

    def _obey(self, sequence: str) -> None:
        if sequence == "K":
            self.rows[self.row] = self.rows[self.row][: self.column]
        elif sequence.endswith("C"):
            self.column += int(sequence[:-1])
        elif sequence == "2J":
            self.rows, self.row, self.column = [""], 0, 0
        elif sequence.endswith("m"):
            self.styles.append(sequence)
        elif sequence.startswith("?2004"):
            self.is_pasting_known = sequence == "?2004h"


class Terminal:
    """Be a person at a terminal: type, and wait until something is to be seen."""

    def __init__(self, program: pexpect.spawn[str], columns: int) -> None:
        self.program = program
        self.screen = Screen(columns)

    def type(self, keys: str) -> None:
        """Press keys."""
        self.program.send(keys)

    def enter(self, line: str) -> None:
        """Type a line, and Enter."""
        self.type(f"{line}\r")

    def wait(self, pattern: str) -> re.Match[str]:
        """Read on until the screen shows this; return the match."""
        return self._read_until(lambda: re.search(pattern, self.screen.text, re.MULTILINE))

    def wait_for_cursor(self, column: int) -> None:
        """Read on until the cursor is there."""
        self._read_until(lambda: self.screen.column == column)

    def end(self) -> int:
        """Read to the end, and return the exit status, negative for a signal."""
        with contextlib.suppress(pexpect.EOF):
            while True:
                self.screen.feed(self.program.read_nonblocking(4096, SECONDS))
        self.program.close()
        signal = self.program.signalstatus
        return -signal if signal is not None else self.program.exitstatus or 0

    def _read_until(self, condition: Callable[[], T]) -> T:
        while not (met := condition()):
            try:
                self.screen.feed(self.program.read_nonblocking(4096, SECONDS))
            except (pexpect.EOF, pexpect.TIMEOUT) as error:
                raise AssertionError(f"{type(error).__name__}; the screen shows:\n{self.screen.text}") from None
        return met


@contextlib.contextmanager
def telex_on_terminal(*arguments: str, home: Path, columns: int = 80, **env: str) -> Iterator[Terminal]:
    """Run `telex` on a pseudo-terminal; afterwards it is ended."""
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TELEX_HISTORY")}
    program = pexpect.spawn(
        sys.executable,
        ["-m", "telex", *arguments],
        encoding="utf-8",
        dimensions=(24, columns),
        env=clean | {"XDG_STATE_HOME": str(home), "TERM": "xterm", "PYTHONUTF8": "1"} | env,
        timeout=SECONDS,
    )
    program.delaybeforesend = None
    try:
        yield Terminal(program, columns)
    finally:
        program.close(force=True)
