"""Payloads of protocol v3 against the parser that the client of Socket.IO 2 has: each reads what the other wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from telex.engineio.packets import PacketType, message
from telex.engineio.v3.payloads import decode_binary, decode_text, encode_binary, encode_text
from telex.types import Data
from tests.interop.programs import HERE
from tests.support.processes import NodeScript

MANY = 1024
MESSAGES = st.lists(st.one_of(st.text(), st.binary()), min_size=1, max_size=8)
TRAPS: list[Data] = ["🙂", "é", "", "3:4x", "\u2028\x00\x1e\n", b"", b"\xff\x00", "ä€🙂x" * 50]


@pytest.fixture(scope="module")
def parser() -> Iterator[NodeScript]:
    with NodeScript(HERE / "old_parser.mjs") as script:
        yield script


def as_json(data: Data) -> Any:
    return data if isinstance(data, str) else {"hex": data.hex()}


@settings(max_examples=60)
@given(MESSAGES)
@example(TRAPS)
def test_the_client_reads_what_we_write(parser: NodeScript, messages: list[Data]) -> None:
    packets = [message(data) for data in messages]
    expected = [["message", as_json(data)] for data in messages]
    assert parser.run("decode", text=encode_text(packets)) == expected
    assert parser.run("decode", binary=encode_binary(packets).hex()) == expected


@settings(max_examples=60)
@given(MESSAGES, st.booleans())
@example(TRAPS, True)
@example(TRAPS, False)
def test_we_read_what_the_client_writes(parser: NodeScript, messages: list[Data], takes_binary: bool) -> None:
    payload = parser.run("encode", messages=[as_json(data) for data in messages], takesBinary=takes_binary)
    has_bytes = any(isinstance(data, bytes) for data in messages)
    assert ("binary" in payload) == (takes_binary and has_bytes)
    if "binary" in payload:
        found = decode_binary(bytes.fromhex(payload["binary"]), MANY)
    else:
        found = decode_text(payload["text"], MANY)
    assert list(found) == [(PacketType.MESSAGE, data) for data in messages]
