"""What the two measurements of scale share: claims, a table, a file of results, and that one runs at a time."""

# ruff: noqa: T201  # a program for a terminal prints

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.__main__ import processor
from benchmarks.environment import CACHE, EnvironmentMissingError, telex_folder
from benchmarks.measure import MeasurementError

MIB = 1024 * 1024


class ClaimError(Exception):
    """Something that is claimed did not hold; the text says what was found instead."""


def claim(holds: bool, otherwise: str) -> None:
    """Go on where something claimed holds.

    Raises:
        ClaimError: With the sentence, where it does not.
    """
    if not holds:
        raise ClaimError(otherwise)


def show(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print a table of two columns."""
    width = max(len(name) for name, _ in rows)
    print("\n".join(["", title, *(f"  {name:{width}}  {figure:>12}" for name, figure in rows)]), flush=True)


def keep(name: str, figures: Mapping[str, Any]) -> None:
    """Write the figures, with what they depend on, into the folder of results."""
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "n_cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "telex_compiled_modules": sum(1 for _ in telex_folder().rglob("*.so")),
    }
    path = CACHE / f"{name}.json"
    path.write_text(json.dumps({"format": 1, "about": about, **figures}, indent=1) + "\n")
    print(f"results: {path}")


def run(measurement: Callable[[], None]) -> int:
    """Run one measurement; return the exit status: 1 when a claim did not hold, 2 when nothing was measured."""
    # So that a server is stopped too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with _alone():
            measurement()
    except (ClaimError, MeasurementError) as error:
        print(f"telex: {error}", file=sys.stderr)
        return 1
    except EnvironmentMissingError as error:
        print(f"telex: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with Path(CACHE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EnvironmentMissingError(
                "another measurement is under way, and the two would spoil each other's figures"
            ) from None
        yield
