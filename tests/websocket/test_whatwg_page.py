"""The programs of docs/whatwg.md, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/whatwg.md"


def test_the_programs_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    programs = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    said = []
    for program in programs:
        exec(compile(program, PAGE.name, "exec"), {"__name__": "program"})  # noqa: S102  # our own document
        said.append(capsys.readouterr().out.splitlines())
    assert said == [["hello", "True 1000"], ["0", "1", "2", "1000"]]
