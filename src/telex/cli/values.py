"""Text to values and back: what is typed becomes arguments, what has come becomes JSON.

Rule of this module: functions of data. Files are read by the function that is handed in.

An argument is written as JSON. What is no JSON is text as it stands, so that `telex emit URL chat hello` needs no
quotes in quotes; what begins as an object, an array or a string must be one. `@path` is a file's bytes. Bytes within
JSON, and all bytes that have come, are `{"$base64": "..."}`.
"""

from __future__ import annotations

import binascii
import json
import re
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

__all__ = ["BINARY_KEY", "decode", "encode", "escape", "parse_argument", "parse_arguments", "parse_line", "plural"]

BINARY_KEY = "$base64"
"""The one key of an object that stands for bytes. The dollar is that of MongoDB's extended JSON."""

MAX_DEPTH = 200
"""Nesting of a value that is typed or shown: far beyond what any server takes, far below Python's own bound."""

EXCERPT = 20
"""Characters of a text that an error repeats."""

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"\S+")
_OPENING = ("{", "[", '"')

# Between the letters of many scripts, and in emoji.
_JOINERS = "\u200c\u200d"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)

Read = Callable[[str], bytes]
"""Read a file by its path; raises `ValueError` with a sentence where it cannot."""


def parse_argument(text: str, read: Read) -> Any:
    """Return what one argument of the shell's stands for. Raises `ValueError`."""
    if text.startswith("@") and len(text) > 1:
        return read(text[1:])
    try:
        return decode(text)
    except ValueError:
        if text.lstrip().startswith(_OPENING):
            raise
        return text


def parse_arguments(text: str, read: Read) -> list[Any]:
    """Return what the words of a line stand for: JSON values, files, text without spaces. Raises `ValueError`."""
    values: list[Any] = []
    position = _skip_space(text, 0)
    while position < len(text):
        if text.startswith(_OPENING, position):
            value, end = _scan(text, position)
            values.append(_with_bytes(value))
        else:
            word = _word_at(text, position)
            values.append(parse_argument(word, read))
            end = position + len(word)
        position = _skip_space(text, end)
        if position == end < len(text):
            raise ValueError(f"a space is missing before {_excerpt(text, end)}")
    return values


def parse_line(text: str, read: Read) -> tuple[str, list[Any]]:
    """Return the event and the arguments that a line stands for.

    Three forms: `event argument argument`, `["event", argument]`, and `{"event": "event", "args": [argument]}`, which
    is what `telex listen` prints. Only the first reads files: a program that passes on what strangers say writes JSON.
    Raises `ValueError` with a sentence.
    """
    text = text.strip()
    if text.startswith("["):
        values = decode(text)
        if not values:
            raise ValueError("an event is missing: the array is empty")
        event, arguments = values[0], values[1:]
    elif text.startswith("{"):
        parts = decode(text)
        if "event" not in parts or not isinstance(parts.get("args", []), list):
            raise ValueError('an event as an object is {"event": "name", "args": [...]}')
        event, arguments = parts["event"], parts.get("args", [])
    elif text.startswith('"'):
        event, end = _scan(text, 0)
        if end < len(text) and not text[end].isspace():
            raise ValueError(f"a space is missing before {_excerpt(text, end)}")
        arguments = parse_arguments(text[end:], read)
    else:
        event = _word_at(text, 0)
        arguments = parse_arguments(text[len(event) :], read)
    if not isinstance(event, str) or not event:
        raise ValueError("the name of an event is a text that is not empty")
    return event, arguments


def decode(text: str) -> Any:
    """Return what JSON stands for, with bytes in place of `{"$base64": "..."}`. Raises `ValueError`."""
    position = _skip_space(text, 0)
    value, end = _scan(text, position)
    if _skip_space(text, end) < len(text):
        raise ValueError(f"this is more than one JSON value: {_excerpt(text, end)} is left over")
    return _with_bytes(value)


def encode(value: Any) -> str:
    """Return a value as JSON on one line, with every character escaped that would do something to a terminal.

    Bytes become `{"$base64": "..."}`. Raises `ValueError` for what JSON cannot say.
    """
    try:
        text = msgspec.json.encode(_without_bytes(value)).decode()
    except (TypeError, OverflowError, RecursionError, UnicodeEncodeError, msgspec.MsgspecError) as error:
        raise ValueError(f"this is no JSON: {error}") from None
    return text if text.isprintable() else "".join(map(_escape_json, text))


def escape(text: str) -> str:
    """Return text in which what would do something to a terminal is written out, as in `\\x1b`. Newlines stay."""
    return text if text.isprintable() else "".join(map(_escape_text, text))


def plural(number: int, noun: str) -> str:
    """Return "1 event" or "2 events"."""
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s"


def is_harmless(character: str) -> bool:
    """Say whether a character only shows: no control, no order to write from right to left, no half of a pair."""
    return character.isprintable() or character in _JOINERS or unicodedata.category(character) == "Zs"


def _escape_text(character: str) -> str:
    if character == "\n" or is_harmless(character):
        return character
    number = ord(character)
    if number < 0x100:  # noqa: PLR2004  # two digits
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"  # noqa: PLR2004  # four digits


def _escape_json(character: str) -> str:
    return character if is_harmless(character) else json.dumps(character)[1:-1].replace("\x7f", "\\u007f")


def _skip_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return position if found is None else found.end()


def _word_at(text: str, position: int) -> str:
    found = _WORD.match(text, position)
    return "" if found is None else found[0]


def _scan(text: str, position: int) -> tuple[Any, int]:
    """Return the JSON value that begins here, and where it ends."""
    try:
        return _DECODER.raw_decode(text, position)
    except json.JSONDecodeError as error:
        why = error.msg.removesuffix(" starting at").lower()
        raise ValueError(f"this is no JSON: {_excerpt(text, error.pos)} ({why})") from None
    except RecursionError:
        raise ValueError("this JSON is nested too deeply") from None


def _excerpt(text: str, position: int) -> str:
    rest = text[position:].lstrip()
    if not rest:
        return "it ends too early"
    return escape(rest if len(rest) <= EXCERPT else f"{rest[:EXCERPT]}...")


def _with_bytes(value: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError("this JSON is nested too deeply")
    if isinstance(value, list):
        return [_with_bytes(item, depth + 1) for item in value]
    if isinstance(value, dict):
        if value.keys() == {BINARY_KEY}:
            return _from_base64(value[BINARY_KEY])
        return {key: _with_bytes(item, depth + 1) for key, item in value.items()}
    return value


def _from_base64(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"the value of {BINARY_KEY} is a text")
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f'the value of {BINARY_KEY} is no Base64: "{escape(text[:20])}"') from None


def _without_bytes(value: Any, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise ValueError("this is nested too deeply to be shown")
    if isinstance(value, bytes | bytearray | memoryview):
        return {BINARY_KEY: b64encode(value).decode()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_bytes(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {key: _without_bytes(item, depth + 1) for key, item in value.items()}
    return value
