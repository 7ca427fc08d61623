"""The official JavaScript client talks to Telex with another parser than JSON's: MessagePack, and one of our own.

What is said to all stands in `scenes.mjs`, what only these can say in `parsers.mjs`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.interop.programs import HERE, RUNNERS, TRANSPORTS, start
from tests.support.processes import ROOT, NodeScript, ServerProgram

SCENES = [
    "greeting",
    "json",
    "binary",
    "big_binary",
    "big_text",
    "acknowledgements",
    "calls",
    "order",
    "namespaces",
    "unknown_namespace",
    "refusal",
    "rooms",
    "votes",
    "volatile",
    "catch_all",
    "client_leaves",
    "server_sends_off",
    "server_closes",
    "lost_connection",
    "dates",
    "undefined_and_null",
    "numbers",
    "array_buffers",
    "many_attachments",
    "nonsense",
    "another_parser",
]


@pytest.fixture(scope="module")
def client() -> Iterator[NodeScript]:
    with NodeScript(HERE / "parsers.mjs") as script:
        yield script


@pytest.fixture(scope="module", params=RUNNERS)
def msgpack_server(request: pytest.FixtureRequest) -> Iterator[ServerProgram]:
    with start(request.param, "conversation", PARSER="msgpack") as program:
        yield program


@pytest.fixture(scope="module")
def own_server() -> Iterator[ServerProgram]:
    with start("telex run", "conversation", PARSER="own") as program:
        yield program


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("scene", SCENES)
def test_messagepack(client: NodeScript, msgpack_server: ServerProgram, scene: str, transport: str) -> None:
    client.run(scene, url=msgpack_server.url, transport=transport, parser="msgpack")


def test_nothing_is_lost_while_the_transport_changes(client: NodeScript, msgpack_server: ServerProgram) -> None:
    client.run("upgrade", url=msgpack_server.url, transport="upgrade", parser="msgpack")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("scene", SCENES)
def test_a_parser_of_our_own(client: NodeScript, own_server: ServerProgram, scene: str, transport: str) -> None:
    client.run(scene, url=own_server.url, transport=transport, parser="own")


def test_the_page_shows_what_plays_here() -> None:
    page = (ROOT / "docs/parsers.md").read_text()
    python = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[-1]
    assert python.strip() in (ROOT / "examples/own_parser.py").read_text()
    javascript = re.findall(r"```js\n(.*?)```", page, re.DOTALL)[-1]
    classes = re.findall(r"^class .*?^}\n", javascript, re.DOTALL | re.MULTILINE)
    assert len(classes) == 2
    script = (HERE / "parsers.mjs").read_text()
    assert all(text in script for text in classes)
