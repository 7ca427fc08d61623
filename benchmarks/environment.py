"""Build what the benchmarks need, all of it under `.cache/bench`: the C programs and the peers' own environments.

Each part keeps a stamp with a digest of what it was made from, so that it is made again only when that has changed.
"""

# ruff: noqa: S603  # it starts compilers and installers, by list and without a shell

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = ROOT / ".cache" / "bench"
PEERS = HERE / "peers"
LIMITS = HERE / "limits.c"

FLAGS = ["-std=gnu11", "-O3", "-Wall", "-Wextra", "-Werror"]


class EnvironmentMissingError(Exception):
    """Something that only the user can bring is missing; the text says what."""


def telex_folder() -> Path:
    """Return where the Telex that is measured lies, without running any of it."""
    spec = importlib.util.find_spec("telex")
    if spec is None or spec.origin is None:
        raise EnvironmentMissingError("Telex is not installed for this Python; `make bench` installs it")
    return Path(spec.origin).resolve().parent


@dataclass(frozen=True, slots=True)
class Environment:
    """Where the programs are."""

    load: Path
    limits: Path
    python: Path
    """Of the peers' virtual environment."""
    node: str
    node_modules: Path

    def command(self, template: Sequence[str], port: int) -> list[str]:
        """Fill in a server's command line; `works.SERVERS` says what the names stand for."""
        names = {
            "telex": sys.executable,
            "python": str(self.python),
            "node": self.node,
            "limits": str(self.limits),
            "peers": str(PEERS),
            "port": str(port),
        }
        return [word.format_map(names) for word in template]

    def variables(self, extra: dict[str, str]) -> dict[str, str]:
        """Return a server's environment: this process's, with the paths where peers find their modules."""
        # Telex under the peers' uvicorn is this very source tree, not another installation.
        paths = {"PYTHONPATH": str(telex_folder().parent), "NODE_PATH": str(self.node_modules)}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TELEX_")}
        return {**inherited, **paths, **extra}


def prepare(say: Callable[[str], None], *, peers: bool = True) -> Environment:
    """Build what is missing; without `peers`, only what Telex alone is measured with.

    Raises:
        EnvironmentMissingError: If there is no C compiler, or no Node.js, or an installation failed.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    environment = Environment(
        load=CACHE / "load",
        limits=CACHE / "limits",
        python=CACHE / "venv" / "bin" / "python",
        node=_find("node", "Node.js 18 or newer", "nodejs npm") if peers else "node",
        node_modules=CACHE / "node" / "node_modules",
    )
    _build_c(environment, say)
    if peers:
        _build_python(environment, say)
        _build_node(say)
    return environment


def _build_c(environment: Environment, say: Callable[[str], None]) -> None:
    compiler = _find(os.environ.get("CC", "cc"), "a C compiler", "gcc libc6-dev")
    for program, sources in ((environment.load, sorted((HERE / "load").glob("*.c"))), (environment.limits, [LIMITS])):
        headers = sorted((HERE / "load").glob("*.h"))
        stamp = _Stamp(program.with_suffix(".stamp"), [*FLAGS, compiler], [*sources, *headers])
        if stamp.is_current and program.exists():
            continue
        say(f"compiling {program.name}")
        _run([compiler, *FLAGS, "-o", str(program), *map(str, sources)])
        stamp.write()


def _build_python(environment: Environment, say: Callable[[str], None]) -> None:
    requirements = HERE / "requirements.txt"
    stamp = _Stamp(CACHE / "venv" / "telex-stamp", [sys.version], [requirements])
    if stamp.is_current and environment.python.exists():
        return
    say("installing the Python peers")
    _run([sys.executable, "-m", "venv", "--clear", str(CACHE / "venv")])
    pip = [str(environment.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    _run([*pip, "--requirement", str(requirements)])
    stamp.write()


def _build_node(say: Callable[[str], None]) -> None:
    folder = CACHE / "node"
    sources = [HERE / "package.json", HERE / "package-lock.json", ROOT / ".npmrc"]
    npm = _find("npm", "npm", "nodejs npm")
    stamp = _Stamp(folder / "telex-stamp", [npm], sources)
    if stamp.is_current:
        return
    say("installing the Node.js peers")
    folder.mkdir(exist_ok=True)
    for source in sources:
        shutil.copy(source, folder)
    # The scripts would only compile what bufferutil ships compiled.
    _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)], cwd=folder)
    stamp.write()


class _Stamp:
    """Remember what something was made from."""

    def __init__(self, path: Path, words: Iterable[str], files: Iterable[Path]) -> None:
        digest = hashlib.sha256("\0".join(words).encode())
        for file in files:
            digest.update(file.read_bytes())
        self._path = path
        self._digest = digest.hexdigest()

    @property
    def is_current(self) -> bool:
        return self._path.exists() and self._path.read_text() == self._digest

    def write(self) -> None:
        self._path.write_text(self._digest)


def _find(program: str, what: str, packages: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise EnvironmentMissingError(f"{what} is needed; Debian has it in: {packages}")
    return path


def _run(command: Sequence[str], cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        end = (done.stdout + done.stderr)[-3000:]
        raise EnvironmentMissingError(f"this failed: {' '.join(command)}\n{end}")
