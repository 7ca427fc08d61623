"""The client of Socket.IO 2 in headless Chromium, from a page of another origin: JSONP, which only pages speak.

The browser shows what no other test can: that scripts are run, forms are sent and answers of both kinds are taken.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.programs import HERE, start
from tests.support.processes import NodeScript, ServerProgram, find_browser

SCENES = ["greeting", "json", "binary", "acknowledgements", "calls", "order", "namespaces", "query", "refusal"]
ENDS = ["client_leaves", "client_closes", "server_sends_off", "server_closes"]


@pytest.fixture(scope="module")
def page() -> Iterator[NodeScript]:
    """Start a browser that plays scenes in a page of another origin, which `origin` tells."""
    with NodeScript(HERE / "browser.mjs", find_browser(), "old") as script:
        yield script


@pytest.fixture(scope="module")
def server(page: NodeScript) -> Iterator[ServerProgram]:
    origin = page.wait_for(r"stage at (\S+)")[1]
    # This client asks browsers to send cookies along, and they then want to hear that it may.
    with start("telex run", "conversation", CORS_ORIGIN=origin, CORS_CREDENTIALS="1", ALLOW_EIO3="1") as program:
        yield program


@pytest.mark.parametrize("scene", [*SCENES, *ENDS])
def test_jsonp(page: NodeScript, server: ServerProgram, scene: str) -> None:
    page.run(scene, url=server.url, transport="jsonp")


@pytest.mark.parametrize("transport", ["polling", "websocket", "upgrade"])
@pytest.mark.parametrize("scene", ["json", "binary", "acknowledgements"])
def test_scene(page: NodeScript, server: ServerProgram, scene: str, transport: str) -> None:
    page.run(scene, url=server.url, transport=transport)
