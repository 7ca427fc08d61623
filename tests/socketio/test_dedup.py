"""What is kept of events that come again: in its scope, for its time, and no more of it than was agreed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import telex
from telex.socketio.dedup import MAX_KEY_LENGTH, EventKey, Outcomes, check_part


def test_an_outcome_is_kept_for_its_window() -> None:
    outcomes = Outcomes(telex.Dedup(scope=None, window=10))
    outcomes.put(("ada", 1), "a", now=0)
    outcomes.put(("ada", "1"), "b", now=5)
    assert outcomes.get(("bob", 1), now=5) is None
    found = outcomes.get(("ada", 1), now=9.9)
    assert found is not None
    assert found.result == "a"
    assert outcomes.get(("ada", 1), now=10) is None
    assert len(outcomes) == 1
    assert outcomes.get(("ada", "1"), now=15) is None
    assert len(outcomes) == 0
    assert not outcomes._by_scope
    assert outcomes.n_pushed_out == 0


def test_a_scope_pushes_out_its_own_only() -> None:
    outcomes = Outcomes(telex.Dedup(scope=None, max_per_scope=2))
    outcomes.put(("ada", 0), "a", now=0)
    for number in range(5):
        outcomes.put(("bob", number), number, now=1)
    assert outcomes.get(("ada", 0), now=1) is not None
    assert [outcomes.get(("bob", number), now=1) is not None for number in range(5)] == [False] * 3 + [True] * 2
    assert outcomes.n_pushed_out == 3


def test_all_together_push_out_the_oldest() -> None:
    outcomes = Outcomes(telex.Dedup(scope=None, max_events=3))
    for number in range(5):
        outcomes.put((f"scope {number}", 0), number, now=number)
    assert len(outcomes) == 3
    assert outcomes.get(("scope 1", 0), now=5) is None
    assert outcomes.get(("scope 2", 0), now=5) is not None


STEPS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.integers(0, 6)), max_size=60)


@given(STEPS)
def test_against_a_plain_list(steps: list[tuple[str, int, int]]) -> None:
    window, per_scope, in_all = 10, 3, 5
    outcomes = Outcomes(telex.Dedup(scope=None, window=window, max_per_scope=per_scope, max_events=in_all))
    model: list[tuple[EventKey, int, int]] = []
    now = 0
    for scope, number, pause in steps:
        now += pause
        key = (scope, number)
        model = [item for item in model if item[2] > now]
        found = outcomes.get(key, now)
        assert (found.result if found else None) == next((item[1] for item in model if item[0] == key), None)
        outcomes.put(key, now, now)
        model = [item for item in model if item[0] != key] + [(key, now, now + window)]
        own = [item for item in model if item[0][0] == scope]
        if len(own) > per_scope:
            model.remove(own[0])
        elif len(model) > in_all:
            del model[0]
        assert len(outcomes) == len(model)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, TypeError),
        ({"scope": "user"}, TypeError),
        ({"scope": None, "key": "id"}, TypeError),
        ({"scope": None, "window": 0}, ValueError),
        ({"scope": None, "window": float("nan")}, ValueError),
        ({"scope": None, "window": "60"}, TypeError),
        ({"scope": None, "max_events": 1.5}, TypeError),
        ({"scope": None, "max_per_scope": True}, TypeError),
        ({"scope": None, "max_per_scope": -1}, ValueError),
    ],
)
def test_options_are_checked(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        telex.Dedup(**options)


@pytest.mark.parametrize("part", ["", "a", 0, -1, 2**70, "\U0001f642" * MAX_KEY_LENGTH])
def test_a_text_or_an_integer_is_half_a_key(part: str | int) -> None:
    assert check_part(part, "the id") == part


@pytest.mark.parametrize("part", [None, True, 1.0, b"a", ["a"], ("a",)])
def test_nothing_else_is_half_a_key(part: object) -> None:
    with pytest.raises(TypeError, match=f"the id must be a str or an int, not {type(part).__name__}"):
        check_part(part, "the id")


def test_half_a_key_is_bounded() -> None:
    with pytest.raises(ValueError, match="the id can have 256 characters at most, not 257"):
        check_part("x" * (MAX_KEY_LENGTH + 1), "the id")
