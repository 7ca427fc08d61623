"""Edit one line: keys in, the line and what to draw out.

Rule of this module: no terminal, no clock; bytes of the keyboard are handed in, and what to draw is asked for.

The keys are those of a shell (Emacs' and the arrows). The line takes one row of the terminal, whatever its length: the
part around the cursor is drawn, so what is printed above never has to know how far the line has run. What is pasted
(xterm's bracketed paste) is taken as it is, newlines too: it is never sent by itself.
"""

from __future__ import annotations

import codecs
import os.path
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

__all__ = ["Entered", "Key", "LineEditor", "Row", "cell", "width"]

MAX_LINE = 1_000_000
"""Characters of a line that is typed or pasted; more are not taken. What is larger is in a file."""
MAX_HISTORY = 1000
"""Lines that are remembered; as many as a shell's."""
MAX_PENDING = 64
"""Bytes of an escape sequence that is not complete; no key's is as long."""


class Key(Enum):
    """What a key is for."""

    ENTER = auto()
    END = auto()
    INTERRUPT = auto()
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


class Entered(NamedTuple):
    """A line that was entered; None as its text: the end of the input was."""

    text: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """Say what to draw: `text` from the left edge on, and the column of the cursor in it."""

    text: str
    column: int


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

# ECMA-48 §5.4: parameters, intermediates, a final byte; or one character after SS3 or Escape.
_SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O[ -~]|[^\[O])", re.DOTALL)
_BEGUN = re.compile(r"\x1b(\[[0-?]*[ -/]*|O)?\Z")
_WORD_LEFT = re.compile(r"\w*\W*\Z")
_WORD_RIGHT = re.compile(r"\W*\w*")
_BLANK_WORD_LEFT = re.compile(r"\S*\s*\Z")


class Keyboard:
    """Turn the bytes of a keyboard into characters and keys."""

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
            character = text[position]
            if character != "\x1b":
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


class LineEditor:
    """Hold the line that is being typed, and those before it.

    Args:
        prompt: What stands before the line.
        history: Lines of earlier times, the oldest first.
        complete: Returns the words that may stand where this beginning of the line's first word does.

    **Limits**: `MAX_LINE`, `MAX_HISTORY`.
    """

    def __init__(
        self, prompt: str, history: Iterable[str] = (), complete: Callable[[str], Iterable[str]] | None = None
    ) -> None:
        self.prompt = prompt
        self.history = list(history)[-MAX_HISTORY:]
        self.text = ""
        self.cursor = 0
        self._keyboard = Keyboard()
        self._complete = complete
        self._is_pasting = False
        self._cut = ""
        self._first = 0  # the character that is drawn first
        self._place: int | None = None  # in the history, while one walks there
        self._typed = ""  # before one went there

    def feed(self, data: bytes) -> list[Entered | Key]:
        """Take what was typed; return what is the program's affair: lines, the end, `INTERRUPT`, `REDRAW`."""
        told: list[Entered | Key] = []
        for typed in self._keyboard.feed(data):
            if self._is_pasting and typed is not Key.PASTED:
                self._paste(typed)
            elif isinstance(typed, str):
                self._insert(typed)
            elif typed is Key.ENTER:
                told.append(Entered(self._enter()))
            elif typed is Key.END and not self.text:
                told.append(Entered(None))
            elif typed in (Key.INTERRUPT, Key.REDRAW):
                told.append(typed)
            else:
                self._press(typed)
        return told

    def drop(self) -> bool:
        """Drop what was typed; say whether there was anything."""
        was = bool(self.text)
        self._set("")
        self._place, self._is_pasting = None, False
        return was

    def row(self, columns: int) -> Row:
        """Return what to draw in a terminal so many columns wide; the last one stays free."""
        room = max(columns - width(self.prompt) - 1, 1)
        self._first = min(self._first, self.cursor)
        while self._first < self.cursor and width(self.text[self._first : self.cursor]) >= room:
            self._first += max((self.cursor - self._first) // 2, 1) if self.cursor - self._first > room else 1
        shown, used = [], 0
        for character in self.text[self._first :]:
            drawn = cell(character)
            used += width(drawn)
            if used > room:
                break
            shown.append(drawn)
        before = "".join(map(cell, self.text[self._first : self.cursor]))
        return Row(self.prompt + "".join(shown), width(self.prompt) + width(before))

    # Inside

    def _press(self, key: Key) -> None:  # noqa: PLR0912  # a table of keys, in its shortest form
        before, after = self.text[: self.cursor], self.text[self.cursor :]
        match key:
            case Key.LEFT:
                self.cursor = len(before.rstrip(_marks_at_end(before))) - 1 if before else 0
                self.cursor = max(self.cursor, 0)
            case Key.RIGHT:
                self.cursor += 1 + _n_marks(after[1:]) if after else 0
            case Key.HOME:
                self.cursor = 0
            case Key.LAST:
                self.cursor = len(self.text)
            case Key.WORD_LEFT:
                self.cursor = _start(_WORD_LEFT, before)
            case Key.WORD_RIGHT:
                self.cursor += _length(_WORD_RIGHT, after)
            case Key.RUB_OUT if before:
                self._set(before[:-1], after)
            case Key.DELETE | Key.END if after:
                self._set(before, after[1 + _n_marks(after[1:]) :])
            case Key.CUT_REST:
                self._cut = after or self._cut
                self._set(before)
            case Key.CUT_START:
                self._cut = before or self._cut
                self._set("", after)
            case Key.CUT_WORD_LEFT:
                start = _start(_BLANK_WORD_LEFT, before)
                self._cut = before[start:] or self._cut
                self._set(before[:start], after)
            case Key.CUT_WORD_RIGHT:
                length = _length(_WORD_RIGHT, after)
                self._cut = after[:length] or self._cut
                self._set(before, after[length:])
            case Key.YANK:
                self._insert(self._cut)
            case Key.SWAP if before and len(self.text) > 1:
                middle = min(self.cursor, len(self.text) - 1)
                one, other = self.text[middle - 1], self.text[middle]
                self._set(self.text[: middle - 1] + other + one, self.text[middle + 1 :])
            case Key.OLDER:
                self._walk(-1)
            case Key.NEWER:
                self._walk(+1)
            case Key.COMPLETE:
                self._finish_word()
            case Key.PASTE:
                self._is_pasting = True
            case Key.PASTED:
                self._is_pasting = False
            case _:
                pass

    def _paste(self, typed: str | Key) -> None:
        if typed is Key.ENTER:
            self._insert("\n")
        elif typed is Key.COMPLETE:
            self._insert("\t")
        elif isinstance(typed, str):
            self._insert(typed)

    def _insert(self, text: str) -> None:
        if len(self.text) + len(text) <= MAX_LINE:
            self._set(self.text[: self.cursor] + text, self.text[self.cursor :])

    def _set(self, before: str, after: str = "") -> None:
        self.text = before + after
        self.cursor = len(before)

    def _enter(self) -> str:
        line = self.text
        # What is told between friends begins with a space, as in a shell.
        if line.strip() and not line.startswith(" ") and self.history[-1:] != [line]:
            self.history.append(line)
            del self.history[:-MAX_HISTORY]
        self.drop()
        return line

    def _walk(self, step: int) -> None:
        """Go to the next line of the history that begins as what was typed does."""
        if self._place is None:
            self._typed = self.text
        place = len(self.history) if self._place is None else self._place
        place += step
        while 0 <= place < len(self.history):
            if self.history[place].startswith(self._typed) and self.history[place] != self.text:
                self._place = place
                self._set(self.history[place])
                return
            place += step
        if step > 0 and self._place is not None:
            self._place = None
            self._set(self._typed)

    def _finish_word(self) -> None:
        before = self.text[: self.cursor]
        if self._complete is None or not before or any(map(str.isspace, before)):
            return
        words = sorted({word for word in self._complete(before) if word.startswith(before)})
        if words:
            end = " " if len(words) == 1 else ""
            self._set(os.path.commonprefix(words) + end, self.text[self.cursor :])


def cell(character: str) -> str:
    """Return how a character of the line is drawn: itself, or `^J` for a control character."""
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    number = ord(character)
    return f"^{chr(number ^ 0x40)}" if number < 0x80 else "?"  # noqa: PLR2004  # ASCII


def width(text: str) -> int:
    """Return how many columns a text takes that is drawn with `cell`."""
    if text.isascii() and text.isprintable():
        return len(text)
    return sum(_columns(drawn) for character in text for drawn in cell(character))


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _n_marks(text: str) -> int:
    """Count the marks at the beginning that belong to the character before."""
    return next((n for n, character in enumerate(text) if _columns(cell(character)[0])), len(text))


def _marks_at_end(text: str) -> str:
    n_marks = _n_marks(text[::-1])
    return text[len(text) - n_marks :]


def _start(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    return len(text) if found is None else found.start()


def _length(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.match(text)
    return 0 if found is None else found.end()
