"""The line that is being typed: keys in, a line and a row out."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.cli.editing import MAX_HISTORY, MAX_LINE, Entered, LineEditor, cell, width
from telex.cli.keys import Key

KEYS = {
    "<left>": "\x1b[D",
    "<right>": "\x1b[C",
    "<up>": "\x1b[A",
    "<down>": "\x1b[B",
    "<home>": "\x01",
    "<end>": "\x05",
    "<rub>": "\x7f",
    "<del>": "\x1b[3~",
    "<word left>": "\x1bb",
    "<word right>": "\x1bf",
    "<cut word>": "\x17",
    "<cut next>": "\x1bd",
    "<cut start>": "\x15",
    "<cut rest>": "\x0b",
    "<yank>": "\x19",
    "<swap>": "\x14",
    "<tab>": "\t",
    "<enter>": "\r",
    "<eof>": "\x04",
    "<paste>": "\x1b[200~",
    "<pasted>": "\x1b[201~",
}


def press(editor: LineEditor, keys: str) -> list[Entered | Key]:
    for name, sequence in KEYS.items():
        keys = keys.replace(name, sequence)
    return list(editor.feed(keys.encode()))


def after(keys: str, **more: object) -> str:
    """Return the line after these keys, with a bar where the cursor is."""
    editor = LineEditor("> ", **more)  # type: ignore[arg-type]
    assert press(editor, keys) == []
    return f"{editor.text[: editor.cursor]}|{editor.text[editor.cursor :]}"


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("abc", "abc|"),
        ("abc<left><left>X", "aX|bc"),
        ("abc<home>X<end>Y", "XabcY|"),
        ("<left><rub><right><del><swap><cut word><word left><word right>", "|"),
        ("abc<left><rub>", "a|c"),
        ("abc<home><del>", "|bc"),
        ("abc<home><eof>", "|bc"),
        ("one two  three<word left><word left>", "one |two  three"),
        ("one two<home><word right><word right>", "one two|"),
        ("one two/three<cut word>", "one |"),
        ("one two<cut word><cut word><yank>", "one |"),
        ("one two<home><cut next><end><yank>", " twoone|"),
        ("one two<left><left><cut start><yank><yank>", "one tone t|wo"),
        ("one two<home><right><cut rest><home><yank>", "ne two|o"),
        ("ab<swap>", "ba|"),
        ("abc<left><swap>", "acb|"),
        ("a<swap>", "a|"),
        ("e\u0301x<left><left>", "|e\u0301x"),
        ("e\u0301x<home><right>", "e\u0301|x"),
        ("e\u0301x<home><del>", "|x"),
        ("e\u0301<rub>", "e|"),
        ("漢字<left>", "漢|字"),
        ("<paste>a\rb\tc<up>\x03<pasted>d", "a\nb\tcd|"),
    ],
)
def test_keys(keys: str, line: str) -> None:
    assert after(keys) == line


def test_enter_gives_the_line_and_begins_anew() -> None:
    editor = LineEditor("> ")
    assert press(editor, "one<enter><enter>two") == [Entered("one"), Entered("")]
    assert editor.text == "two"


def test_what_is_pasted_is_not_sent_by_itself() -> None:
    editor = LineEditor("> ")
    assert press(editor, "<paste>one\rtwo<pasted>") == []
    assert press(editor, "<enter>") == [Entered("one\ntwo")]


def test_the_end_is_the_end_of_an_empty_line_only() -> None:
    editor = LineEditor("> ")
    assert press(editor, "a<eof>") == []
    assert press(editor, "<rub><eof>") == [Entered(None)]


def test_what_is_typed_behind_an_interrupt_is_a_new_line() -> None:
    editor = LineEditor("> ")
    for told in editor.feed(b"half\x03whole\r"):
        if told is Key.INTERRUPT:
            assert editor.drop()
        else:
            assert told == Entered("whole")
    assert not editor.drop()


HISTORY = ["chat one", "sum 1", "chat two"]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("<up>", "chat two|"),
        ("<up><up>", "sum 1|"),
        ("<up><up><up><up>", "chat one|"),
        ("<up><up><down>", "chat two|"),
        ("<up><down>", "|"),
        ("<down>", "|"),
        ("chat<up>", "chat two|"),
        ("chat<up><up>", "chat one|"),
        ("chat<up><down>", "chat|"),
        ("none<up>", "none|"),
    ],
)
def test_the_history_is_walked_among_what_begins_as_what_was_typed(keys: str, line: str) -> None:
    assert after(keys, history=HISTORY) == line


def test_what_is_remembered() -> None:
    editor = LineEditor("> ", [str(n) for n in range(2 * MAX_HISTORY)])
    assert len(editor.history) == MAX_HISTORY
    press(editor, "new<enter>new<enter> secret<enter>  <enter><enter>")
    assert editor.history[-2:] == [str(2 * MAX_HISTORY - 1), "new"]
    assert len(editor.history) == MAX_HISTORY


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("t<tab>", "tick|"),
        ("ti<tab>", "tick|"),
        ("tick-<tab>", "tick-tock |"),
        ("x<tab>", "x|"),
        ("<tab>", "|"),
        ("say t<tab>", "say t|"),
        ("/h<tab>", "/help |"),
    ],
)
def test_the_first_word_is_completed(keys: str, line: str) -> None:
    assert after(keys, complete=lambda _: ["tick-tock", "tick", "/help", "evil"]) == line


@pytest.mark.parametrize(
    ("keys", "columns", "text", "column"),
    [
        ("abc", 80, "> abc", 5),
        ("abc<home>", 80, "> abc", 2),
        ("0123456789", 10, "> 456789", 8),
        ("0123456789<left><left><left><left><left>", 10, "> 0123456", 7),
        ("0123456789<home>", 10, "> 0123456", 2),
        ("漢字漢字漢字", 10, "> 字漢字", 8),
        ("a\x0bb", 80, "> ab", 4),
        ("<paste>a\rb\t<pasted>", 80, "> a^Jb^I", 8),
        ("abc", 2, "> ", 2),
        ("e\u0301", 80, "> e\u0301", 3),
    ],
)
def test_a_line_takes_one_row(keys: str, columns: int, text: str, column: int) -> None:
    editor = LineEditor("> ")
    press(editor, keys)
    row = editor.row(columns)
    assert (row.text, row.column) == (text, column)


def test_the_row_moves_only_as_far_as_it_must() -> None:
    editor = LineEditor("> ")
    rows = []
    for keys in ("0123456789", "<left>" * 5, "<left>" * 2, "<end>"):
        press(editor, keys)
        rows.append(editor.row(10))
    assert [(row.text, row.column) for row in rows] == [
        ("> 456789", 8),
        ("> 456789", 3),
        ("> 3456789", 2),
        ("> 456789", 8),
    ]


@given(st.lists(st.sampled_from([*KEYS.values(), "a", "漢", "e\u0301", "\n", " ", "word "])), st.integers(1, 30))
def test_the_row_never_runs_over(keys: list[str], columns: int) -> None:
    editor = LineEditor("> ", ["a longer line of the history", "漢字"], lambda _: ["aa", "ab"])
    for key in keys:
        list(editor.feed(key.encode()))
        row = editor.row(columns)
        assert 0 <= editor.cursor <= len(editor.text)
        assert width(row.text) <= max(columns - 1, width("> ") + 1)
        assert row.column <= max(columns - 1, width("> ") + 1)
        assert row.text.startswith("> ")


def test_a_huge_paste_is_bounded_and_quick() -> None:
    editor = LineEditor("> ")
    begun = time.process_time()
    press(editor, "<paste>" + "a b " * (MAX_LINE // 4) + "<pasted>")
    press(editor, "more than fits<word left><word right><cut word><yank><home><end>")
    assert editor.row(80).column < 80
    assert len(editor.text) <= MAX_LINE
    assert time.process_time() - begun < 20  # not the square of its length


def test_how_characters_are_drawn() -> None:
    assert [cell(character) for character in "a\n\x1b\x9b\u202e\u3000"] == ["a", "^J", "^[", "?", "?", "\u3000"]
    assert [width(text) for text in ("a", "漢", "e\u0301", "\n", "")] == [1, 2, 1, 2, 0]
