"""The bytes of a keyboard, however they are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.cli.keys import CONTROLS, MAX_PENDING, SEQUENCES, Key, Keyboard


def keys(*parts: bytes) -> list[str | Key]:
    keyboard = Keyboard()
    typed: list[str | Key] = []
    for part in parts:
        for key in keyboard.feed(part):
            if isinstance(key, str) and typed and isinstance(typed[-1], str):
                typed[-1] += key
            else:
                typed.append(key)
    return typed


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_every_sequence_is_known_whole_and_bytewise(sequence: str) -> None:
    data = f"a\x1b{sequence}z".encode()
    assert keys(data) == ["a", SEQUENCES[sequence], "z"]
    assert keys(*(data[n : n + 1] for n in range(len(data)))) == ["a", SEQUENCES[sequence], "z"]


@pytest.mark.parametrize("control", CONTROLS)
def test_every_control_character_is_a_key(control: str) -> None:
    assert keys(f"a{control}z".encode()) == ["a", CONTROLS[control], "z"]


def test_unknown_sequences_are_dropped_and_what_follows_is_not() -> None:
    assert keys(b"a\x1b[15~b\x1b[1;2Pc\x1bOPd\x1bxe") == ["abcde"]


def test_characters_of_several_bytes_may_come_in_parts() -> None:
    data = "ä漢👩".encode()
    assert keys(*(data[n : n + 1] for n in range(len(data)))) == ["ä漢👩"]
    assert keys(b"a\xffz") == ["a�z"]


def test_a_sequence_without_an_end_is_given_up() -> None:
    assert keys(b"\x1b[" + b"1" * (2 * MAX_PENDING), b"z") == ["[" + "1" * 2 * MAX_PENDING + "z"]
    assert keys(b"\x1b[1", b"1" * 10, b"\nz") == ["[" + "1" * 11, Key.ENTER, "z"]


@given(st.binary(max_size=200), st.data())
def test_cuts_change_nothing(data: bytes, draw: st.DataObject) -> None:
    cut = draw.draw(st.integers(0, len(data)))
    assert keys(data[:cut], data[cut:]) == keys(data) or b"\x1b" in data  # a sequence may be given up by its length
