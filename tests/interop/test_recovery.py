"""The official JavaScript client is cut off and comes back to a Telex that recovers it; see `recovery.mjs`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.programs import HERE, RUNNERS, start
from tests.support.processes import NodeScript, ServerProgram

SCENES = [
    "all_is_recovered",
    "nothing_was_received",
    "texts_that_are_no_offsets",
    "a_question_waits",
    "too_much",
    "a_retry_runs_once",
    "many_outages",
]


@pytest.fixture(scope="module")
def client() -> Iterator[NodeScript]:
    with NodeScript(HERE / "recovery.mjs") as script:
        yield script


@pytest.fixture(scope="module", params=RUNNERS)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProgram]:
    with start(request.param, "recovery") as program:
        yield program


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize("scene", SCENES)
def test_scene(client: NodeScript, server: ServerProgram, scene: str, transport: str) -> None:
    client.run(scene, url=server.url, transport=transport)
