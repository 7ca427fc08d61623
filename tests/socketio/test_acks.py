"""Acknowledgements: each is taken once, or given up."""

from __future__ import annotations

from typing import Any

import pytest

from telex.errors import TooManyAcks
from telex.socketio.acks import Acks, as_values, from_values


def test_an_answer_is_taken_once_s15() -> None:
    acks = Acks(10)
    answers: list[Any] = []
    acks.expect(0, answers.append)
    assert len(acks) == 1
    assert acks.resolve(0, ["yes"])
    assert not acks.resolve(0, ["again"])
    assert not acks.resolve(1, ["unknown"])
    assert answers == [["yes"]]
    assert len(acks) == 0


def test_a_forgotten_one_is_late_s16() -> None:
    acks = Acks(10)
    answers: list[Any] = []
    acks.expect(5, answers.append)
    assert acks.ids() == [5]
    acks.forget(5)
    assert acks.ids() == []
    acks.forget(5)
    assert not acks.resolve(5, [])
    assert answers == []


def test_max_pending_acks_s17() -> None:
    acks = Acks(2)
    for ack_id in (0, 1):
        acks.expect(ack_id, lambda _: None)
    with pytest.raises(TooManyAcks, match="already owes 2"):
        acks.expect(2, lambda _: None)
    assert len(acks) == 2
    acks.resolve(0, [])
    acks.expect(2, lambda _: None)


def test_who_waits_is_told_when_the_client_leaves() -> None:
    acks = Acks(10)
    answers: list[Any] = []
    acks.expect(1, answers.append)
    acks.expect(2, answers.append)
    acks.abandon()
    assert answers == [None, None]
    assert len(acks) == 0
    acks.abandon()
    assert answers == [None, None]


def test_who_waits_is_told_once_when_the_event_was_dropped() -> None:
    acks = Acks(10)
    answers: list[Any] = []
    acks.expect(1, answers.append)
    acks.fail(2)  # nobody awaits it
    assert answers == []
    acks.fail(1)
    acks.fail(1)
    assert answers == [None]
    assert not acks.resolve(1, ["late"])
    assert answers == [None]


def test_an_answer_may_ask_again() -> None:
    acks = Acks(1)
    answers: list[Any] = []
    acks.expect(1, lambda values: acks.expect(2, answers.append))
    acks.resolve(1, [])
    acks.resolve(2, ["second"])
    assert answers == [["second"]]


@pytest.mark.parametrize(
    ("result", "values"),
    [
        (None, []),
        ((), []),
        (1, [1]),
        ("text", ["text"]),
        ([1, 2], [[1, 2]]),
        ((1, 2), [1, 2]),
        ((None,), [None]),
        (0, [0]),
        ("", [""]),
        (False, [False]),
        ({}, [{}]),
    ],
)
def test_what_a_handler_returns_becomes_values(result: Any, values: list[Any]) -> None:
    assert as_values(result) == values


@pytest.mark.parametrize(
    ("values", "result"), [([], None), ([1], 1), ([None], None), ([1, 2], (1, 2)), ([[1, 2]], [1, 2]), ([0], 0)]
)
def test_values_become_what_call_returns(values: list[Any], result: Any) -> None:
    assert from_values(values) == result


def test_who_waits_for_the_last_is_told_once() -> None:
    acks = Acks(10)
    told: list[str] = []
    acks.when_settled(lambda: told.append("none was awaited"))
    assert told == ["none was awaited"]
    for ends in (lambda: acks.resolve(1, []), lambda: acks.forget(1), lambda: acks.fail(1), acks.abandon):
        told.clear()
        acks.expect(0, lambda _: None)
        acks.expect(1, lambda _: None)
        acks.when_settled(lambda: told.append("first"))
        acks.when_settled(lambda: told.append("second"))
        if ends != acks.abandon:
            acks.resolve(0, [])
            acks.resolve(0, [])
        assert told == []
        ends()
        assert told == ["first", "second"]
        acks.resolve(1, [])
        assert told == ["first", "second"]
