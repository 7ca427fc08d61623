"""JSONP: answers that are scripts, and posts that are forms."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from telex.engineio.v3.jsonp import is_index, unwrap, wrap
from telex.errors import EnginePacketError


def as_the_client_writes(payload: str) -> str:
    """Do what `doWrite` of the client's `polling-jsonp.js` does."""
    return payload.replace("\\n", "\\\n").replace("\n", "\\n")


@pytest.mark.parametrize(
    ("payload", "script"),
    [
        ("1:2", b'___eio[7]("1:2");'),
        ('9:4{"a":"€"}', '___eio[7]("9:4{\\"a\\":\\"€\\"}");'.encode()),
        ("3:4\u2028\u2029", b'___eio[7]("3:4\\u2028\\u2029");'),
        ("a\nb\0", b'___eio[7]("a\\nb\\u0000");'),
    ],
)
def test_an_answer_is_a_call(payload: str, script: bytes) -> None:
    assert wrap(payload, "7") == script


@given(st.text())
def test_a_payload_survives_the_script(payload: str) -> None:
    script = wrap(payload, "0").decode()
    assert not {"\n", "\r", "\u2028", "\u2029"} & set(script)
    assert json.loads(script.removeprefix("___eio[0](").removesuffix(");")) == payload


@pytest.mark.parametrize("text", ["", "x", "0x1", "-1", "1]", "alert(1)", "1234567890", "\u0661", "0\n"])
def test_what_is_no_index(text: str) -> None:
    assert not is_index(text)


@pytest.mark.parametrize("text", ["0", "17", "999999999"])
def test_an_index(text: str) -> None:
    assert is_index(text)


@pytest.mark.parametrize("escape", [quote, quote_plus])
@pytest.mark.parametrize(
    "payload", ["6:4hello", "1:2", "4:4a b", "2:4+", "4:4\nx", "6:4\\nx", "8:4\\\\nx", "3:4🙂", "5:4é&=;%"]
)
def test_a_form_is_read(payload: str, escape: Callable[[str], str]) -> None:
    assert unwrap(f"d={escape(as_the_client_writes(payload))}".encode()) == payload


# A backslash before a real line end is one thing that the client itself cannot write; JSON has no real line ends.
@given(st.text("\\n\nx🙂", max_size=8).filter(lambda text: "\\\n" not in text))
@example("\\\\n\n\\n")
def test_line_ends_survive(payload: str) -> None:
    assert unwrap(f"d={quote_plus(as_the_client_writes(payload))}".encode()) == payload


@pytest.mark.parametrize("body", [b"", b"x", b"x=1", b"d=1&d=2", b"d=1&x=2", b"d=%ff", b"d=\xc3\xa9", b"&" * 100_000])
def test_what_is_no_form(body: bytes) -> None:
    with pytest.raises(EnginePacketError, match="JSONP"):
        unwrap(body)
