"""The demonstration chat in headless Chromium, used as people use it, over each transport.

What is done stands in `chat.mjs`. Pictures of the page are left in `.cache/screenshots`, to be looked at.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.interop.programs import HERE, TRANSPORTS
from tests.support.processes import ROOT, NodeScript, ServerProgram, find_browser

PICTURES = ROOT / ".cache" / "screenshots"
MIN_PICTURE_BYTES = 10_000


@pytest.fixture(scope="module")
def chat_page() -> Iterator[NodeScript]:
    with NodeScript(HERE / "chat.mjs", find_browser(), str(PICTURES)) as script:
        yield script


def start_chat(port: int = 0) -> ServerProgram:
    return ServerProgram([ROOT / "scripts" / "demo", "--port", str(port)])


@pytest.fixture
def chat() -> Iterator[ServerProgram]:
    with start_chat() as program:
        yield program


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_people_chat(chat_page: NodeScript, chat: ServerProgram, transport: str) -> None:
    chat_page.run("chat", url=chat.url, transport=transport)
    for screen in ("desk", "phone"):
        assert (PICTURES / f"{transport}-{screen}.png").stat().st_size > MIN_PICTURE_BYTES


def test_the_chat_fits_every_screen(chat_page: NodeScript, chat: ServerProgram) -> None:
    chat_page.run("views", url=chat.url, transport="upgrade")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_chat_comes_back(chat_page: NodeScript, transport: str) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(start_chat())

        def answer(question: dict[str, Any]) -> None:
            if question["ask"] == "start":
                stack.enter_context(start_chat(first.port))
            else:
                first.stop()

        chat_page.run("restart", url=first.url, transport=transport, answer=answer)


def test_the_chat_stops_cleanly_on_ctrl_c() -> None:
    with start_chat() as program:
        program.signal(signal.SIGINT)
        assert program.wait() == 0
        assert not [line for line in program.output if "Traceback" in line]
