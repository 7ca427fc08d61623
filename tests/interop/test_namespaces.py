"""Dynamic namespaces and everyone at once, with the official JavaScript client; the scenes are in `namespaces.mjs`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.programs import HERE, TRANSPORTS, start
from tests.support.processes import NodeScript, ServerProgram

SCENES = ["pattern", "one_connection", "refusals", "predicate", "cleanup", "everyone"]


@pytest.fixture(scope="module")
def client() -> Iterator[NodeScript]:
    with NodeScript(HERE / "namespaces.mjs") as script:
        yield script


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProgram]:
    with start("telex run", "namespaces") as program:
        yield program


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("scene", SCENES)
def test_scene(client: NodeScript, server: ServerProgram, scene: str, transport: str) -> None:
    client.run(scene, url=server.url, transport=transport)
