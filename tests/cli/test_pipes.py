"""Lines of pipes and files, no faster than they are taken."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from telex.cli import pipes
from telex.cli.failures import Failure


@pytest.fixture(name="pipe")
def make_pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(descriptor)


async def take(descriptor: int) -> list[str]:
    return [line async for line in pipes.lines(descriptor)]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"one", ["one"]),
        (b"one\n", ["one"]),
        (b"one\ntwo", ["one", "two"]),
        (b"one\r\n\n\r\nzw\xc3\xb6lf\n", ["one", "", "", "zwölf"]),
        (b"x" * 200_000 + b"\n" + b"y\n" * 3, ["x" * 200_000, "y", "y", "y"]),
    ],
)
def test_lines_of_a_file(tmp_path: Path, data: bytes, lines: list[str]) -> None:
    path = tmp_path / "input"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert asyncio.run(take(file.fileno())) == lines


def test_a_line_comes_when_it_is_complete(pipe: tuple[int, int]) -> None:
    async def main() -> None:
        lines = pipes.lines(pipe[0])
        os.write(pipe[1], b"one\ntw")
        assert await anext(lines) == "one"
        os.write(pipe[1], b"o\n")
        assert await anext(lines) == "two"
        os.close(pipe[1])
        with pytest.raises(StopAsyncIteration):
            await anext(lines)

    asyncio.run(main())


def test_what_nobody_takes_is_not_read(pipe: tuple[int, int]) -> None:
    written = 0

    def write() -> None:
        nonlocal written
        with contextlib.suppress(OSError):
            while True:
                written += os.write(pipe[1], b"a line\n" * 1000)

    async def main() -> None:
        lines = pipes.lines(pipe[0])
        assert await anext(lines) == "a line"
        writing = threading.Thread(target=write, daemon=True)
        writing.start()
        seen = -1
        while seen != written or not written:  # until the pipe is full, and stays so
            seen = written
            await asyncio.sleep(0.1)
        assert written < 8 * pipes.CHUNK
        async for _ in lines:  # it goes on as soon as somebody takes
            if written > 16 * pipes.CHUNK:
                break
        await lines.aclose()

    os.write(pipe[1], b"a line\n")
    asyncio.run(main())


def test_the_end_of_the_loop_is_the_end_of_the_reading(pipe: tuple[int, int]) -> None:
    async def main() -> None:
        os.write(pipe[1], b"one\n")
        assert await anext(pipes.lines(pipe[0])) == "one"

    before = threading.enumerate()
    asyncio.run(main())
    os.write(pipe[1], b"two\n")
    readers = [thread for thread in threading.enumerate() if thread not in before]
    for thread in readers:
        thread.join(10)
    assert not any(thread.is_alive() for thread in readers)


def test_what_is_not_utf_8_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"one\nt\xffo\n")
    with path.open("rb") as file, pytest.raises(Failure, match="line 2 of the input is not UTF-8"):
        asyncio.run(take(file.fileno()))


def test_a_line_and_an_input_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "MAX_BYTES", 100_000)
    path = tmp_path / "input"
    path.write_bytes(b"one\n" + b"x" * 300_000)
    with path.open("rb") as file, pytest.raises(Failure, match="line 2 of the input is longer than 100,000 bytes"):
        asyncio.run(take(file.fileno()))
    with path.open("rb") as file, pytest.raises(Failure, match="the input is longer"):
        asyncio.run(pipes.whole(file.fileno()))
    path.write_bytes(b"\0" * 100_000)
    with path.open("rb") as file:
        assert asyncio.run(pipes.whole(file.fileno())) == b"\0" * 100_000


def test_an_input_that_is_closed_is_an_empty_one() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    assert asyncio.run(take(reading)) == []
