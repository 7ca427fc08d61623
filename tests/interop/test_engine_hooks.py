"""The official clients meet what a program hangs into the engine, and the files that the server hands out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.programs import HERE, RUNNERS, start
from tests.support.processes import NodeScript, ServerProgram


@pytest.fixture(scope="module", params=RUNNERS)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProgram]:
    with start(request.param, "hooked") as program:
        yield program


@pytest.fixture(scope="module")
def client() -> Iterator[NodeScript]:
    with NodeScript(HERE / "engine.mjs") as script:
        yield script


def url(server: ServerProgram) -> str:
    return f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]], ids="+".join)
def test_the_id_and_the_first_message_are_the_program_s(
    server: ServerProgram, client: NodeScript, transports: list[str]
) -> None:
    client.run("opening", url=url(server), transports=transports)


def test_the_client_still_understands_a_refusal_and_shows_the_hint(server: ServerProgram, client: NodeScript) -> None:
    client.run("refusals", url=url(server))


@pytest.mark.parametrize("file", ["socket.io.esm.min.js", "socket.io.min.js", "socket.io.js"])
def test_the_served_client_connects(server: ServerProgram, client: NodeScript, file: str) -> None:
    client.run("served", url=url(server), file=file)
