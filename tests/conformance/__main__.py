"""Run all cases of the Autobahn test suite against Telex's server and client: `python -m tests.conformance`.

Options: `--only server-coroutine` and so on for one end, `--cases '9.*' ...` for some cases (their number is then not
checked), `--jobs N` for how many ends are tried at once. The reports of the suite, one page per case, stay under
`.cache/conformance`.
"""

# ruff: noqa: T201  # a program for a terminal prints

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import Sequence

from tests.conformance.environment import CACHE, PythonNotFoundError, prepare
from tests.conformance.suite import ENDS, N_CASES, SuiteError, Verdict

REPORTS = CACHE / "conformance"

FULL_ENDS = ["server-coroutine", "server-listener", "client"]
"""What is tried unless `--only` says otherwise. The end under uvicorn is left to `make test`, with its groups: uvicorn
has no setting for the number of fragments, and four cases of group 9 send 65,536."""
BAR = 30


class Progress:
    """Show how far each end is: a bar per end on a terminal, a line now and then elsewhere."""

    def __init__(self, names: Sequence[str], n_cases: int) -> None:
        self._n_cases = n_cases
        self._done = dict.fromkeys(names, 0)
        self._case = dict.fromkeys(names, "")
        self._began = time.monotonic()
        self._is_terminal = sys.stdout.isatty()
        if self._is_terminal:
            print("\n" * len(names), end="")

    def on_case(self, name: str, case: str) -> None:
        self._done[name] += 1
        self._case[name] = case
        if self._is_terminal:
            print(f"\x1b[{len(self._done)}A", end="")
            for each in self._done:
                print(f"\x1b[2K{self._line(each)}")
        elif self._done[name] % 50 == 0:
            print(self._line(name), flush=True)

    def _line(self, name: str) -> str:
        done = min(self._done[name], self._n_cases)
        full = BAR * done // self._n_cases
        seconds = time.monotonic() - self._began
        bar = "#" * full + "." * (BAR - full)
        return f"{name:17} [{bar}] {done:3}/{self._n_cases}  case {self._case[name]:8} {seconds:5.0f} s"


async def run_all(names: Sequence[str], cases: Sequence[str], n_jobs: int) -> bool:
    """Run the suite against these ends; return whether all is good."""
    environment = prepare()
    everything = list(cases) == ["*"]
    progress = Progress(names, N_CASES)
    jobs = asyncio.Semaphore(n_jobs)
    began = time.monotonic()

    async def run_one(name: str) -> Verdict:
        async with jobs:
            folder = REPORTS / name
            shutil.rmtree(folder, ignore_errors=True)
            verdict = await ENDS[name](
                environment, cases, N_CASES, folder, on_case=lambda case: progress.on_case(name, case)
            )
            if not everything:
                verdict.n_expected = verdict.n_cases
            return verdict

    verdicts = await asyncio.gather(*map(run_one, names))
    print()
    for name, verdict in zip(names, verdicts, strict=True):
        print(f"{name}: {verdict}")
    print(f"{time.monotonic() - began:.0f} s; reports: {REPORTS}")
    return all(verdict.is_good and verdict.n_cases for verdict in verdicts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--only", choices=sorted(ENDS), action="append", help="one end; may be repeated")
    parser.add_argument("--cases", nargs="+", default=["*"], help="cases or groups, such as 9.* or 1.1.1")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="ends tried at once")
    options = parser.parse_args()
    try:
        return 0 if asyncio.run(run_all(options.only or FULL_ENDS, options.cases, options.jobs)) else 1
    except (PythonNotFoundError, SuiteError) as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
