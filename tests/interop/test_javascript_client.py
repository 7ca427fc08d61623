"""The official JavaScript client talks to Telex, over each transport and on each way to serve.

What is said stands in `client.mjs`; here stands only who plays it, and the restarts that a client cannot do itself.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.interop.programs import HERE, RUNNERS, TRANSPORTS, start
from tests.support.processes import NodeScript, ServerProgram

SCENES = [
    "documented",
    "greeting",
    "json",
    "binary",
    "big_binary",
    "big_text",
    "acknowledgements",
    "calls",
    "timeouts",
    "order",
    "namespaces",
    "unknown_namespace",
    "refusal",
    "rooms",
    "votes",
    "volatile",
    "catch_all",
    "own_listeners",
    "event_middleware",
    "rate_limits",
    "client_leaves",
    "client_closes",
    "server_sends_off",
    "server_closes",
    "nonsense",
    "lost_connection",
]
# So short that a scene can wait for it, and long enough for a busy machine to keep to it.
QUICK_HEARTBEAT = {"PING_INTERVAL": "0.5", "PING_TIMEOUT": "2"}


@pytest.fixture(scope="module")
def client() -> Iterator[NodeScript]:
    with NodeScript(HERE / "client.mjs") as script:
        yield script


@pytest.fixture(scope="module", params=RUNNERS)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProgram]:
    with start(request.param, "conversation") as program:
        yield program


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("scene", SCENES)
def test_scene(client: NodeScript, server: ServerProgram, scene: str, transport: str) -> None:
    client.run(scene, url=server.url, transport=transport)


def test_nothing_is_lost_while_the_transport_changes(client: NodeScript, server: ServerProgram) -> None:
    client.run("upgrade", url=server.url, transport="upgrade")


# uvicorn alone waits for a parked poll before it stops, which `telex run` does not.
ENDS = {
    "telex run, stopped": ("telex run", "stopped"),
    "telex run, killed": ("telex run", "killed"),
    "uvicorn, killed": ("uvicorn", "killed"),
}


@pytest.mark.parametrize(("runner", "end"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_client_comes_back_after_a_restart(client: NodeScript, runner: str, end: str, transport: str) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(start(runner, "conversation"))

        def answer(question: dict[str, Any]) -> None:
            if question["ask"] == "start":
                stack.enter_context(start(runner, "conversation", port=first.port))
            elif end == "stopped":
                assert first.stop() in {0, -signal.SIGTERM}
            else:
                first.kill()

        client.run("restart", url=first.url, transport=transport, answer=answer)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("scene", ["heartbeat", "mute_client", "mute_server"])
def test_heartbeat(client: NodeScript, scene: str, transport: str) -> None:
    with start("telex run", "conversation", **QUICK_HEARTBEAT) as server:

        def answer(question: dict[str, Any]) -> None:
            server.signal(signal.SIGSTOP if question["ask"] == "freeze" else signal.SIGCONT)

        client.run(scene, url=server.url, transport=transport, answer=answer)
