"""The official client of Socket.IO 2 talks to Telex, over each transport and on each way to serve.

What is said stands in `old_scenes.mjs`.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.interop.programs import HERE, RUNNERS, start
from tests.interop.test_javascript_client import QUICK_HEARTBEAT
from tests.support.processes import NodeScript, ServerProgram

TRANSPORTS = ["polling", "base64", "websocket", "base64_websocket", "upgrade"]
SCENES = [
    "greeting",
    "json",
    "binary",
    "big_binary",
    "acknowledgements",
    "calls",
    "order",
    "namespaces",
    "query",
    "refusal",
    "unknown_namespace",
    "client_leaves",
    "client_closes",
    "server_sends_off",
    "server_closes",
    "lost_connection",
    "beside",
]


@pytest.fixture(scope="module")
def client() -> Iterator[NodeScript]:
    with NodeScript(HERE / "old_client.mjs") as script:
        yield script


@pytest.fixture(scope="module", params=RUNNERS)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProgram]:
    with start(request.param, "conversation", ALLOW_EIO3="1") as program:
        yield program


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("scene", SCENES)
def test_scene(client: NodeScript, server: ServerProgram, scene: str, transport: str) -> None:
    client.run(scene, url=server.url, transport=transport)


def test_nothing_is_lost_while_the_transport_changes(client: NodeScript, server: ServerProgram) -> None:
    client.run("upgrade", url=server.url, transport="upgrade")


@pytest.mark.parametrize("transport", ["polling", "websocket", "upgrade"])
@pytest.mark.parametrize("scene", ["heartbeat", "mute_client", "mute_server"])
def test_heartbeat(client: NodeScript, scene: str, transport: str) -> None:
    with start("telex run", "conversation", ALLOW_EIO3="1", **QUICK_HEARTBEAT) as server:

        def answer(question: dict[str, Any]) -> None:
            server.signal(signal.SIGSTOP if question["ask"] == "freeze" else signal.SIGCONT)

        client.run(scene, url=server.url, transport=transport, answer=answer)
