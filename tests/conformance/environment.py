"""Find a CPython 2.7 and give it the Autobahn test suite, once.

The suite runs on CPython 2.7 only. Nothing of that interpreter is needed but itself: the wheels are installed by this
Python's pip into a folder under `.cache/`, named after the pins, so that the second run finds it at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".cache"
REQUIREMENTS = HERE / "requirements-py27.txt"
LAUNCHER = HERE / "wstest_py27.py"

NOT_FOUND = (
    "NO CPYTHON 2.7 FOUND, SO THE AUTOBAHN CONFORMANCE SUITE DID NOT RUN. "
    "Put python2.7 on the PATH, install one with `pyenv install 2.7.18`, or name one in PYTHON27."
)


class PythonNotFoundError(Exception):
    """Say that this machine has no CPython 2.7 that works."""


@dataclass(frozen=True)
class Environment:
    """A CPython 2.7 and the folder of packages for it."""

    python: Path
    site: Path

    def command(self, mode: str, specification: Path) -> list[str]:
        """Return the command line that starts `wstest` headless."""
        options = ["-m", mode, "-s", str(specification)]
        if mode == "fuzzingserver":
            options += ["-u", "0"]
        return [str(self.python), "-u", str(LAUNCHER), str(self.site), *options]


def candidates() -> Iterator[Path]:
    """Yield where a CPython 2.7 may be: named, on the PATH, among pyenv's versions."""
    if named := os.environ.get("PYTHON27"):
        yield Path(named)
    if on_path := shutil.which("python2.7"):
        yield Path(on_path)
    versions = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    yield from sorted(versions.glob("2.7*/bin/python"), reverse=True)


def find_python27() -> Path:
    """Return the first candidate that really is a CPython 2.7; a shim may exist and still not run."""
    program = "import platform, zlib; print(platform.python_implementation() + platform.python_version())"
    for python in candidates():
        try:
            answer = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if answer.returncode == 0 and answer.stdout.startswith("CPython2.7"):
            return python
    raise PythonNotFoundError(NOT_FOUND)


def prepare() -> Environment:
    """Return the environment, installed first where it is not in the cache.

    Raises `PythonNotFoundError`; and `RuntimeError` with pip's words when the wheels cannot be installed.
    """
    python = find_python27()
    pins = REQUIREMENTS.read_bytes()
    site = CACHE / f"autobahn-py27-{hashlib.sha256(pins).hexdigest()[:12]}"
    if not site.is_dir():
        install(site)
    return Environment(python, site)


def install(site: Path) -> None:
    """Install the pinned wheels, and put the folder in its place only when it is complete."""
    site.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=site.parent, prefix=site.name) as unfinished:
        target = Path(unfinished) / "site"
        # The compiled parts of these wheels are optional: elsewhere than on Linux x86-64 their pure twins are used.
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(target)]
        command += ["--no-deps", "--only-binary=:all:", "--implementation=cp", "--python-version=2.7"]
        command += ["--abi=cp27mu", "--abi=none", "--platform=manylinux1_x86_64", "--platform=any"]
        command += ["--requirement", str(REQUIREMENTS)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise RuntimeError(f"pip could not install the Autobahn test suite:\n{answer.stdout}{answer.stderr}")
        try:
            target.rename(site)
        except OSError:  # somebody else was quicker
            if not site.is_dir():
                raise
