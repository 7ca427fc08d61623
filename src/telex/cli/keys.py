"""What the bytes of a keyboard mean.

Rule of this module: bytes in, text and keys out; no terminal, no clock.

The keys are those of a shell (Emacs' and the arrows), the sequences those of xterm and of all who follow it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from enum import Enum, auto

__all__ = ["Key", "Keyboard"]

MAX_PENDING = 64
"""Characters of an escape sequence that is not complete; no key's is as long."""


class Key(Enum):
    """What a key is for."""

    ENTER = auto()
    END = auto()
    INTERRUPT = auto()
    SUSPEND = auto()
    REDRAW = auto()
    LEFT = auto()
    RIGHT = auto()
    WORD_LEFT = auto()
    WORD_RIGHT = auto()
    HOME = auto()
    LAST = auto()
    OLDER = auto()
    NEWER = auto()
    RUB_OUT = auto()
    DELETE = auto()
    CUT_REST = auto()
    CUT_START = auto()
    CUT_WORD_LEFT = auto()
    CUT_WORD_RIGHT = auto()
    YANK = auto()
    SWAP = auto()
    COMPLETE = auto()
    PASTE = auto()
    PASTED = auto()


CONTROLS = {
    "\x01": Key.HOME,
    "\x02": Key.LEFT,
    "\x03": Key.INTERRUPT,
    "\x04": Key.END,
    "\x05": Key.LAST,
    "\x06": Key.RIGHT,
    "\x08": Key.RUB_OUT,
    "\x09": Key.COMPLETE,
    "\x0a": Key.ENTER,
    "\x0b": Key.CUT_REST,
    "\x0c": Key.REDRAW,
    "\x0d": Key.ENTER,
    "\x0e": Key.NEWER,
    "\x10": Key.OLDER,
    "\x14": Key.SWAP,
    "\x15": Key.CUT_START,
    "\x17": Key.CUT_WORD_LEFT,
    "\x19": Key.YANK,
    "\x1a": Key.SUSPEND,
    "\x7f": Key.RUB_OUT,
}

SEQUENCES = {
    "[A": Key.OLDER,
    "[B": Key.NEWER,
    "[C": Key.RIGHT,
    "[D": Key.LEFT,
    "[H": Key.HOME,
    "[F": Key.LAST,
    "OA": Key.OLDER,
    "OB": Key.NEWER,
    "OC": Key.RIGHT,
    "OD": Key.LEFT,
    "OH": Key.HOME,
    "OF": Key.LAST,
    "[1~": Key.HOME,
    "[3~": Key.DELETE,
    "[4~": Key.LAST,
    "[7~": Key.HOME,
    "[8~": Key.LAST,
    "[1;5C": Key.WORD_RIGHT,
    "[1;5D": Key.WORD_LEFT,
    "[1;3C": Key.WORD_RIGHT,
    "[1;3D": Key.WORD_LEFT,
    "[200~": Key.PASTE,
    "[201~": Key.PASTED,
    "b": Key.WORD_LEFT,
    "f": Key.WORD_RIGHT,
    "d": Key.CUT_WORD_RIGHT,
    "\x7f": Key.CUT_WORD_LEFT,
    "\x08": Key.CUT_WORD_LEFT,
}
"""What follows an Escape."""

_PLAIN = re.compile(r"[^\x00-\x1f\x7f]+")
# ECMA-48 §5.4: parameters, intermediates, a final byte; or one character after SS3 or Escape.
_SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O[ -~]|[^\[O])", re.DOTALL)
_BEGUN = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?\Z")


class Keyboard:
    """Turn the bytes of a keyboard into text and keys."""

    __slots__ = ("_decode", "_pending")

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._pending = ""

    def feed(self, data: bytes) -> Iterator[str | Key]:
        """Yield what was typed. A sequence that is not complete waits for its rest, one nobody knows is dropped."""
        text = self._pending + self._decode(data)
        self._pending = ""
        position = 0
        while position < len(text):
            if plain := _PLAIN.match(text, position):
                yield plain[0]
                position = plain.end()
            elif (character := text[position]) != "\x1b":
                yield CONTROLS.get(character, character)
                position += 1
            elif found := _SEQUENCE.match(text, position):
                position = found.end()
                if found[1] in SEQUENCES:
                    yield SEQUENCES[found[1]]
            elif _BEGUN.match(text, position) and len(text) - position < MAX_PENDING:
                self._pending = text[position:]
                return
            else:  # no sequence: the Escape alone is dropped
                position += 1
