"""Texts that are events, or nearly, and data that is plain, or nearly: for what must agree on them.

Rule of this module: it draws, and knows no expectation.
"""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any

from hypothesis import strategies as st

from telex.limits import Limits
from telex.socketio.events import SMALL_JSON

__all__ = ["BOUNDS", "Number", "Text", "any_texts", "data", "events", "names"]

BOUNDS = [
    Limits(),
    Limits(max_json_nodes=SMALL_JSON, max_json_depth=3, max_number_digits=5, max_event_name=4, max_namespace_length=6),
    Limits(max_json_nodes=SMALL_JSON - 1),
    Limits(max_json_depth=10**30, max_number_digits=10**30, max_event_name=10**30, max_namespace_length=10**30),
]
"""Limits of every kind: those that a server has, tight ones, those under which nothing is small, and no limits."""


class Text(str):
    """Be text all the same."""

    __slots__ = ()


class Number(IntEnum):
    """Be a number all the same."""

    ONE = 1


_scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)
_namespaces = st.sampled_from(["", "/", "/,", "/a,", "/a/b?c=1,", "/a[,", "/ü,", ",", "a,", "/a"]) | st.text(max_size=5)
_ack_ids = st.sampled_from(
    ["", "0", "7", "07", "00", "123456789012345", "1234567890123456", "9" * 30, "-1", "१", "²", "1 "]
)
names = st.sampled_from(["chat", "connect", "disconnect", "disconnecting", "newListener", "x" * 300, ""]) | st.text()


@st.composite
def events(draw: st.DrawFn) -> str:
    """Write what is an event, or nearly."""
    args = draw(st.lists(_values, max_size=4))
    first = draw(names | _values)
    text = json.dumps([first, *args], ensure_ascii=draw(st.booleans()))
    where = draw(st.integers(0, len(text)))
    change = draw(st.sampled_from(["none"] * 4 + ["cut", "insert", "placeholder", "long"]))
    if change == "cut":
        text = text[:where] + text[where + 1 :]
    elif change == "insert":
        text = text[:where] + draw(st.sampled_from(list('[]{}",:\\0 9e\ud800'))) + text[where:]
    elif change == "placeholder":
        text = json.dumps([first, *args, {"_placeholder": True, "num": 0}])
    elif change == "long":  # as long as a small one may be, or a little shorter or longer
        text = json.dumps([first, *args, ""])
        text = text[:-2] + "x" * (SMALL_JSON - len(text) - draw(st.integers(-2, 12))) + text[-2:]
    return draw(st.sampled_from(["2"] * 9 + ["3"])) + draw(_namespaces) + draw(_ack_ids) + text


any_texts = st.text(alphabet='2/,[]{}":\\ae019 _\n\ud800', max_size=30).map(lambda text: "2" + text)
"""Texts of what events are made of."""

_odd = st.sampled_from([b"bytes", Text("text"), Number.ONE, object(), {1}, frozenset(), bytearray(), memoryview(b"")])
_keys = st.text(max_size=4) | st.sampled_from([1, None, Text("key"), "\ud800"])


def _nested(depth: int) -> Any:
    found: Any = 1
    for n in range(depth):
        found = ([found], (found,), {"a": found})[n % 3]
    return found


data = st.recursive(
    _scalars | _odd | st.integers(12, 20).map(_nested) | st.just(2**64) | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        | st.dictionaries(_keys, inner, max_size=2)
    ),
    max_leaves=6,
)
"""Data that JSON can hold, and what it cannot, at any place."""
