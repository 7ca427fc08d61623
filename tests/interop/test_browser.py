"""The official JavaScript client in headless Chromium: the scenes of `scenes.mjs`, from a page of another origin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.programs import HERE, TRANSPORTS, start
from tests.interop.test_javascript_client import SCENES
from tests.support.processes import NodeScript, ServerProgram, find_browser


@pytest.fixture(scope="module")
def page() -> Iterator[NodeScript]:
    """Start a browser that plays scenes in a page of another origin, which `origin` tells."""
    with NodeScript(HERE / "browser.mjs", find_browser()) as script:
        yield script


@pytest.fixture(scope="module")
def server(page: NodeScript) -> Iterator[ServerProgram]:
    origin = page.wait_for(r"stage at (\S+)")[1]
    with start("telex run", "conversation", CORS_ORIGIN=origin) as program:
        yield program


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("scene", SCENES)
def test_scene(page: NodeScript, server: ServerProgram, scene: str, transport: str) -> None:
    page.run(scene, url=server.url, transport=transport)


def test_nothing_is_lost_while_the_transport_changes(page: NodeScript, server: ServerProgram) -> None:
    page.run("upgrade", url=server.url, transport="upgrade")
