"""What is typed becomes values, and what has come becomes text that does nothing to a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.cli.values import decode, encode, escape, is_harmless, parse_argument, parse_line, plural


def read(path: str) -> bytes:
    if path == "missing":
        raise ValueError("cannot read missing: no such file")
    return f"bytes of {path}".encode()


@pytest.mark.parametrize(
    ("line", "event", "arguments"),
    [
        ("chat", "chat", []),
        ("  chat  ", "chat", []),
        ("chat hello", "chat", ["hello"]),
        ('chat "hello there" 1 -2.5 1e3 true null', "chat", ["hello there", 1, -2.5, 1000.0, True, None]),
        ('move {"x": 1, "y": [2, 3]} [4]', "move", [{"x": 1, "y": [2, 3]}, [4]]),
        ("move {}[]", "move", None),
        ('"an event" 1', "an event", [1]),
        ('"chat"hello', "chat", None),
        ("up @cat.png note@home @", "up", [b"bytes of cat.png", "note@home", "@"]),
        ('up "@cat.png"', "up", ["@cat.png"]),
        ("what NaN Infinity nan 01 1. .5 ++", "what", ["NaN", "Infinity", "nan", "01", "1.", ".5", "++"]),
        ('chat {\n  "pasted": true\n}', "chat", [{"pasted": True}]),
        ('["chat", "hello", {"a": 1}]', "chat", ["hello", {"a": 1}]),
        ('["up", "@cat.png"]', "up", ["@cat.png"]),
        ('{"event": "chat", "args": ["hello"]}', "chat", ["hello"]),
        ('{"event": "chat"}', "chat", []),
        ('up {"$base64": "AAE="} {"image": {"$base64": ""}}', "up", [b"\0\1", {"image": b""}]),
        ('say {"$base64": "AAE=", "more": 1}', "say", [{"$base64": "AAE=", "more": 1}]),
    ],
)
def test_lines(line: str, event: str, arguments: list[Any] | None) -> None:
    if arguments is None:
        with pytest.raises(ValueError, match="a space is missing before"):
            parse_line(line, read)
    else:
        assert parse_line(line, read) == (event, arguments)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "the name of an event"),
        ("[]", "an event is missing"),
        ("[1]", "the name of an event"),
        ('[""]', "the name of an event"),
        ('["a"] 1', "more than one JSON value: 1 is left over"),
        ("{}", 'is {"event"'),
        ('{"event": "a", "args": 1}', 'is {"event"'),
        ('{"event": 1}', "the name of an event"),
        ('a "b', 'no JSON: "b'),
        ("a [1,", "no JSON: it ends too early"),
        ('a {"b" 1}', r"no JSON: 1} \(expecting ':' delimiter\)"),
        ("a [NaN]", "NaN is no JSON"),
        ("a " + "[" * 100_000, "nested too deeply"),
        ("a " + "[" * 300 + "]" * 300, "nested too deeply"),
        ('a {"$base64": "???"}', "no Base64"),
        ('a {"$base64": 1}', "is a text"),
        ("a @missing", "cannot read missing"),
        ('a "\x1b[2J', r"\\x1b"),
        ("a " + "1" * 5000, None),
    ],
)
def test_what_is_wrong_with_a_line_is_said_in_a_sentence(line: str, why: str | None) -> None:
    if why is None:  # beyond what Python reads as a number it is text like any other word
        assert parse_line(line, read) == ("a", ["1" * 5000])
        return
    with pytest.raises(ValueError, match=why) as told:
        parse_line(line, read)
    assert len(str(told.value)) < 120
    assert str(told.value).isprintable()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("hello there", "hello there"),
        ("", ""),
        ("7", 7),
        (' {"a": [1]} ', {"a": [1]}),
        ('"7"', "7"),
        ("@f", b"bytes of f"),
        ("@", "@"),
        ("1 2", "1 2"),
    ],
)
def test_one_argument_of_a_shell_needs_no_quotes_in_quotes(text: str, value: Any) -> None:
    assert parse_argument(text, read) == value


def test_an_argument_that_begins_as_json_is_json() -> None:
    for text in ('{"a', "[1", '"a', '{"a": 1} x'):
        with pytest.raises(ValueError, match="JSON"):
            parse_argument(text, read)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Half of a pair is what JSON cannot say in UTF-8.
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(JSON)
def test_what_is_shown_can_be_typed(value: Any) -> None:
    text = encode(value)
    assert all(map(is_harmless, text))
    assert decode(text) == value
    json.loads(text)
    assert parse_line(f"event {text}" if text[0] in '{["' else json.dumps(["event", json.loads(text)]), read) == (
        "event",
        [value],
    )


@given(st.text())
def test_no_text_does_anything_to_a_terminal(text: str) -> None:
    shown = escape(text)
    assert all(character == "\n" or is_harmless(character) for character in shown)
    assert shown.count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b2J", r"\x9b2J"),
        ("a\r\tb\x00\x7f", r"a\x0d\x09b\x00\x7f"),
        ("\u202eevil\u2066", r"\u202eevil\u2066"),
        ("\u2028\ud800", r"\u2028\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("ä\u3000漢字 👩\u200d👧", "ä\u3000漢字 👩\u200d👧"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_what_is_escaped(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_what_json_cannot_say_is_an_error() -> None:
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    for value in (object(), {1: object()}, "\ud800", deep):
        with pytest.raises(ValueError, match=r"no JSON|nested"):
            encode(value)


def test_counting() -> None:
    assert [plural(n, "event") for n in (0, 1, 2, 12345)] == ["0 events", "1 event", "2 events", "12,345 events"]
