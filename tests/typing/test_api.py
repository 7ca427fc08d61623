"""The public surface as type checkers see it: `check_api.py` is right where it should be and wrong where it says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PROGRAM = Path(__file__).with_name("check_api.py")
PYRIGHT_SETTINGS = Path(__file__).with_name("pyrightconfig.json")  # its strictest, and deaf to comments meant for mypy
PYRIGHT = ROOT / "node_modules" / ".bin" / "pyright"

CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", str(PROGRAM)],
    "pyright": [str(PYRIGHT), "--pythonpath", sys.executable, "--project", str(PYRIGHT_SETTINGS)],
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_users_program_is_well_typed(checker: str) -> None:
    done = subprocess.run(CHECKERS[checker], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
