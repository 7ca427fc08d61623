"""`telex` as a program: with pipes, to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import NamedTuple

from tests.support.processes import ROOT

__all__ = ["Done", "telex"]

SECONDS = 60.0


class Done(NamedTuple):
    """What a program has said, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def telex(*arguments: str, stdin: str | bytes = b"", **env: str) -> Done:
    """Run `telex` with this input, and return what it said; it is bytes in place of text where that is no UTF-8."""
    done = subprocess.run(
        [sys.executable, "-m", "telex", *arguments],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        env=os.environ | {"PYTHONUTF8": "1"} | env,
        cwd=ROOT,
        timeout=SECONDS,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode())
