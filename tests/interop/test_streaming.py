"""The official JavaScript client consumes streams of events, with the function that docs/streams.md gives to users."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.programs import HERE, RUNNERS, TRANSPORTS, start
from tests.support.processes import NodeScript, ServerProgram

SCENES = ["whole", "several", "pace", "leaving_the_loop", "disconnect", "errors", "too_many", "binary"]


@pytest.fixture(scope="module")
def client() -> Iterator[NodeScript]:
    with NodeScript(HERE / "streaming.mjs") as script:
        yield script


@pytest.fixture(scope="module", params=RUNNERS)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProgram]:
    with start(request.param, "streaming") as program:
        yield program


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("scene", SCENES)
def test_scene(client: NodeScript, server: ServerProgram, scene: str, transport: str) -> None:
    client.run(scene, url=server.url, transport=transport)
