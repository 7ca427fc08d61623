"""Edit one line: keys in, the line and what to draw out.

Rule of this module: no terminal, no clock; bytes of the keyboard are handed in, and what to draw is asked for.

The keys are those of a shell (Emacs' and the arrows). The line takes one row of the terminal, whatever its length: the
part around the cursor is drawn, so what is printed above never has to know how far the line has run. What is pasted
(xterm's bracketed paste) is taken as it is, newlines too: it is never sent by itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from telex.cli.keys import Key, Keyboard

__all__ = ["Entered", "LineEditor", "Row", "cell", "width"]

MAX_LINE = 1_000_000
"""Characters of a line that is typed or pasted; more are not taken. What is larger is in a file."""
MAX_HISTORY = 1000
"""Lines that are remembered; as many as a shell's."""


class Entered(NamedTuple):
    """A line that was entered; None as its text: the end of the input was."""

    text: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """Say what to draw: `text` from the left edge on, and the column of the cursor in it."""

    text: str
    column: int


_WORD = re.compile(r"\W*\w*")
_BLANK_WORD = re.compile(r"\s*\S*")


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

    def feed(self, data: bytes) -> Iterator[Entered | Key]:
        """Take what was typed, and yield what is the program's affair.

        That is lines, the end, and the keys `INTERRUPT`, `SUSPEND` and `REDRAW`.
        What was typed after it is taken when the program goes on, so that it can `drop` what came before.
        """
        for typed in self._keyboard.feed(data):
            if self._is_pasting and typed is not Key.PASTED:
                self._paste(typed)
            elif isinstance(typed, str):
                self._insert(typed)
            elif typed is Key.ENTER:
                yield Entered(self._enter())
            elif typed is Key.END and not self.text:
                yield Entered(None)
            elif typed in (Key.INTERRUPT, Key.SUSPEND, Key.REDRAW):
                yield typed
            else:
                self._press(typed)

    def drop(self) -> bool:
        """Drop what was typed; say whether there was anything."""
        was = bool(self.text)
        self._set("")
        self._place, self._is_pasting = None, False
        return was

    def row(self, columns: int) -> Row:
        """Return what to draw in a terminal so many columns wide; the last one stays free."""
        room = max(columns - width(self.prompt) - 1, 1)
        first, used = self.cursor, 0
        while first and used + width(self.text[first - 1]) < room:
            first -= 1
            used += width(self.text[first])
        self._first = min(max(self._first, first), self.cursor)
        column = width(self.text[self._first : self.cursor])
        shown, used, place = [], 0, self._first
        while place < len(self.text) and used + width(self.text[place]) <= room:
            shown.append(cell(self.text[place]))
            used += width(self.text[place])
            place += 1
        return Row(self.prompt + "".join(shown), width(self.prompt) + column)

    # Inside

    def _press(self, key: Key) -> None:
        before, after = self.text[: self.cursor], self.text[self.cursor :]
        if key in EDITS:
            self._set(*EDITS[key](before, after))
        elif key in CUTS:
            before, cut, after = CUTS[key](before, after)
            self._cut = cut or self._cut
            self._set(before, after)
        elif key is Key.YANK:
            self._insert(self._cut)
        elif key in (Key.OLDER, Key.NEWER):
            self._walk(-1 if key is Key.OLDER else 1)
        elif key is Key.COMPLETE:
            self._finish_word()
        elif key in (Key.PASTE, Key.PASTED):
            self._is_pasting = key is Key.PASTE

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
            common = "".join(
                letters[0] for letters in takewhile(lambda some: len(set(some)) == 1, zip(*words, strict=False))
            )
            self._set(common + end, self.text[self.cursor :])


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


# What keys do to a line: the text before the cursor and the text after it, to the same two of the new line.


def _left(before: str, after: str) -> tuple[str, str]:
    n_marks = next((n for n, character in enumerate(reversed(before)) if width(character)), 0)
    place = max(len(before) - n_marks - 1, 0)
    return before[:place], before[place:] + after


def _right(before: str, after: str) -> tuple[str, str]:
    place = _next(after)
    return before + after[:place], after[place:]


def _swap(before: str, after: str) -> tuple[str, str]:
    if not after:  # at the end of the line it is the last two
        return (before[:-2] + before[-1] + before[-2], "") if len(before) > 1 else (before, "")
    return (before[:-1] + after[0] + before[-1], after[1:]) if before else ("", after)


def _word_left(before: str, after: str) -> tuple[str, str]:
    place = len(before) - _length(_WORD, before[::-1])
    return before[:place], before[place:] + after


def _word_right(before: str, after: str) -> tuple[str, str]:
    place = _length(_WORD, after)
    return before + after[:place], after[place:]


def _cut_word_left(before: str, after: str) -> tuple[str, str, str]:
    place = len(before) - _length(_BLANK_WORD, before[::-1])
    return before[:place], before[place:], after


def _cut_word_right(before: str, after: str) -> tuple[str, str, str]:
    place = _length(_WORD, after)
    return before, after[:place], after[place:]


EDITS: dict[Key, Callable[[str, str], tuple[str, str]]] = {
    Key.LEFT: _left,
    Key.RIGHT: _right,
    Key.HOME: lambda before, after: ("", before + after),
    Key.LAST: lambda before, after: (before + after, ""),
    Key.WORD_LEFT: _word_left,
    Key.WORD_RIGHT: _word_right,
    Key.RUB_OUT: lambda before, after: (before[:-1], after),
    Key.DELETE: lambda before, after: (before, after[_next(after) :]),
    Key.END: lambda before, after: (before, after[_next(after) :]),
    Key.SWAP: _swap,
}
"""Keys that move or change; Ctrl-D is `END` on an empty line only."""

CUTS: dict[Key, Callable[[str, str], tuple[str, str, str]]] = {
    Key.CUT_REST: lambda before, after: (before, after, ""),
    Key.CUT_START: lambda before, after: ("", before, after),
    Key.CUT_WORD_LEFT: _cut_word_left,
    Key.CUT_WORD_RIGHT: _cut_word_right,
}
"""Keys that cut; between the two stands what is cut, for `YANK`."""


def _next(text: str) -> int:
    """Return where the second character begins: marks belong to the one before."""
    return next((n for n, character in enumerate(text) if n and width(character)), len(text))


def _length(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.match(text)
    return 0 if found is None else found.end()
