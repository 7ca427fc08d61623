"""Lines of earlier sessions, in a file that is its owner's only and never in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from telex.cli import history as module
from telex.cli.editing import MAX_HISTORY
from telex.cli.history import History


@pytest.fixture(name="home", autouse=True)
def make_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("TELEX_HISTORY", raising=False)
    return tmp_path


def test_lines_are_there_the_next_time() -> None:
    assert History("ws").load() == []
    for line in ("one", "zwei ä", " a secret", "", "   ", "of two\nrows", "three"):
        History("ws").add(line)
    assert History("ws").load() == ["one", "zwei ä", "three"]
    assert History("connect").load() == []


def test_only_its_owner_can_read_it(home: Path) -> None:
    History("ws").add("one")
    assert (home / "telex/ws-history").stat().st_mode & 0o777 == 0o600
    assert (home / "telex").stat().st_mode & 0o077 == 0


def test_a_long_file_is_cut(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE", 100_000)
    path = home / "telex/ws-history"
    path.parent.mkdir()
    path.write_text("".join(f"{n}\n" for n in range(3 * MAX_HISTORY)))
    assert History("ws").load()[-1] == str(3 * MAX_HISTORY - 1)
    assert len(path.read_text().splitlines()) == MAX_HISTORY
    path.write_bytes(b"x" * 200_000 + b"\nlast\n")
    assert History("ws").load() == ["last"]
    assert path.read_text() == "last\n"


def test_what_is_no_file_of_text_is_no_obstacle(home: Path) -> None:
    path = home / "telex/ws-history"
    path.parent.mkdir()
    path.write_bytes(b"a\xff\nb")
    assert History("ws").load() == ["a�", "b"]
    path.unlink()
    path.mkdir()
    History("ws").add("one")
    assert History("ws").load() == []


def test_none_is_kept_where_none_is_wanted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEX_HISTORY", "off")
    History("ws").add("one")
    assert History("ws").load() == []
    assert os.listdir(home) == []


def test_without_a_setting_it_is_at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(home))
    History("ws").add("one")
    assert (home / ".local/state/telex/ws-history").read_text() == "one\n"
