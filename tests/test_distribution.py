"""What is given away: an archive that holds all that is needed, and that installs where there is no compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.twins import IS_PURE

ROOT = Path(__file__).parent.parent
COMPILED = [
    "websocket/_frames.pyx",
    "websocket/_frames.pxd",
    "websocket/_handover.pyx",
    "streams/_epoll.pyx",
    "streams/native.h",
    "engineio/_messages.pyx",
    "socketio/_events.pyx",
    "socketio/_pools.pyx",
    "socketio/_pools.pxd",
]

pytestmark = pytest.mark.skipif(IS_PURE, reason="TELEX_PURE: building it once is enough")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what is built from, so that nothing of an earlier build is found."""
    copy = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    ignore = shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "src", copy / "src", ignore=ignore)
    return copy


def say(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a program, and return what it printed; what is in `env` is added to the environment."""
    environment = {**os.environ, **env}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    """Build a wheel where the compiler always fails."""
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    say(sys.executable, *build, "--wheel-dir", tree / "wheels", ".", cwd=tree, CC="/bin/false")
    (found,) = (tree / "wheels").glob("telex-*.whl")
    return found


def test_it_installs_and_works_without_a_compiler(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for name in names:
            archive.extract(name, tmp_path)
    assert not [name for name in names if name.endswith((".so", ".c"))]
    assert {f"telex/{name}" for name in ["py.typed", *COMPILED]} <= set(names)
    program = """if True:
        import asyncio
        import telex, telex.native
        from telex.websocket import connect, serve

        async def echo(ws):
            async for message in ws:
                await ws.send(message)

        async def main():
            async with serve(echo, "127.0.0.1", 0) as server:
                port = server.sockets[0].getsockname()[1]
                async with connect(f"ws://127.0.0.1:{port}/") as ws:
                    await ws.send("hello")
                    print(await ws.recv())

        print(telex.__file__)
        print(telex.native.describe(), telex.native.active())
        asyncio.run(main())
    """
    said = say(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(tmp_path)).splitlines()
    assert said == [str(tmp_path / "telex" / "__init__.py"), "pure Python ()", "hello"]


def test_the_source_archive_holds_what_it_is_built_from(tree: Path) -> None:
    say(sys.executable, "setup.py", "-q", "sdist", "--dist-dir", "sdist", cwd=tree)
    (found,) = (tree / "sdist").glob("telex-*.tar.gz")
    with tarfile.open(found) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"setup.py", "pyproject.toml", "README.md", "LICENSE", "src/telex/py.typed"}
    assert needed | {f"src/telex/{name}" for name in COMPILED} <= names
    assert not [name for name in names if name.endswith((".so", ".c"))]
