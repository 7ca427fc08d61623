"""The lines typed in earlier sessions, in a file of the user's own.

Rule of this module: it never stands in the way; where there can be no file, nothing is remembered.

`$XDG_STATE_HOME/telex/NAME-history`, `~/.local/state` by default, readable for its owner only, for what is typed may be
a secret. `TELEX_HISTORY=off` keeps none.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from telex.cli.editing import MAX_HISTORY

__all__ = ["History"]

MAX_FILE = 4_000_000
"""Bytes of the file that are looked at, from its end."""


class History:
    """Remember lines under a name."""

    def __init__(self, name: str) -> None:
        self._path: Path | None = None
        if os.environ.get("TELEX_HISTORY") != "off":
            with contextlib.suppress(RuntimeError):  # nobody's home
                home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
                self._path = Path(home) / "telex" / f"{name}-history"

    def load(self) -> list[str]:
        """Return the lines, the oldest first; cut the file where it has become long."""
        if self._path is None:
            return []
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - MAX_FILE, 0))
                lines = file.read(MAX_FILE).decode(errors="replace").split("\n")
        except OSError:
            return []
        lines = [line for line in lines[bool(size > MAX_FILE) :] if line]
        if len(lines) > 2 * MAX_HISTORY or size > MAX_FILE:
            self._write(lines[-MAX_HISTORY:], os.O_TRUNC)
        return lines[-MAX_HISTORY:]

    def add(self, line: str) -> None:
        """Remember a line; one of several rows is not kept, nor one that begins with a space."""
        if line.strip() and not line.startswith(" ") and "\n" not in line:
            self._write([line], os.O_APPEND)

    def _write(self, lines: list[str], how: int) -> None:
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | how, 0o600)
            with open(descriptor, "wb") as file:
                file.write("".join(f"{line}\n" for line in lines).encode(errors="replace"))
