"""Errors that help: each wrong request is told what to change, and so is the log, which a flood does not fill."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from telex.engineio.hints import Hint
from telex.logs import BURST
from tests.engineio.web import Answer, run, serve_engine

POLL = "EIO=4&transport=polling"
SOCKET = "EIO=4&transport=websocket"
STRANGER = [("Origin", "https://evil.example")]

# What is asked over HTTP, with which headers and of which engine; the sentence, and a word for who changes what.
OVER_HTTP: list[tuple[str, list[tuple[str, str]], dict[str, Any], Hint, str]] = [
    ("", [], {}, Hint.NO_CLIENT, "Socket.IO client"),
    ("t=abc", [], {}, Hint.NO_CLIENT, "Socket.IO client"),
    ("EIO=4", [], {}, Hint.TRANSPORT_UNKNOWN, "transports"),
    (POLL, [], {"transports": ["websocket"]}, Hint.TRANSPORT_UNKNOWN, "transports"),
    ("transport=polling", [], {}, Hint.NO_VERSION, "EIO=4"),
    ("EIO=3&transport=polling", [], {}, Hint.OLD_CLIENT, "version 3 or 4"),
    (POLL, STRANGER, {}, Hint.ORIGIN, "cors_allowed_origins"),
    (f"{POLL}&sid=abc", [], {}, Hint.UNKNOWN_SESSION, "sticky"),
    (SOCKET, [], {}, Hint.NO_UPGRADE, "proxy"),
    (f"{POLL}&j=0", [], {}, Hint.JSONP, "Socket.IO 2"),
    (f"{POLL}&EIO=4", [], {}, Hint.MALFORMED, "repeats"),
    (POLL, [], {"allow_request": lambda request: False}, Hint.NOT_ALLOWED, "allow_request"),
]


@pytest.mark.parametrize(("query", "headers", "options", "hint", "word"), OVER_HTTP)
def test_the_answer_says_what_to_change(
    query: str, headers: list[tuple[str, str]], options: dict[str, Any], hint: Hint, word: str
) -> None:
    async def main() -> None:
        async with serve_engine(**options) as (site, _):
            answer = await site.get(query, headers)
            assert json.loads(answer.text)["hint"] == hint.text
            assert word in hint.text
            assert "evil" not in answer.text, "nothing of what a client sent"

    run(main())


@pytest.mark.parametrize("ws", ["websockets-sansio", "telex.serving.uvicorn:Protocol"])
def test_a_plain_websocket_client_reads_a_sentence(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws) as (site, _):
            answer = await site.try_websocket("")
            assert isinstance(answer, Answer)
            assert (answer.status, answer.text) == (400, Hint.PLAIN_WEBSOCKET.text + "\n")
            assert answer.header("content-type") == "text/plain; charset=utf-8"

    run(main())


def test_the_log_names_the_setting_and_what_came(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        caplog.set_level(logging.INFO, "telex.engineio")
        async with serve_engine() as (site, _):
            await site.get(POLL, STRANGER)
            await site.get(f"{POLL}&EIO=4")
            await site.get(f"{POLL}&sid={'x' * 5000}")
        stranger, malformed, unknown = caplog.records
        assert stranger.levelno == unknown.levelno == logging.WARNING, "settings may be wrong"
        assert malformed.levelno == logging.INFO, "only a client can be"
        text = stranger.getMessage()
        assert "127.0.0.1" in text
        assert "Forbidden, origin 'https://evil.example'" in text
        assert "cors_allowed_origins" in text
        assert len(unknown.getMessage()) < 500, "what came is cut"

    run(main())


def test_r26_a_flood_of_wrong_requests_is_a_handful_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        caplog.set_level(logging.INFO, "telex.engineio")
        async with serve_engine() as (site, _):
            for n in range(4 * BURST):
                await site.get(POLL, [("Origin", f"https://evil{n}.example")])
                await site.get(f"{POLL}&sid={n}")
        assert len(caplog.records) == 2 * BURST

    run(main())
