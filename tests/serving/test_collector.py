"""The collector of a process that serves: sparing, and as it was afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from telex.serving.collector import YOUNG_OBJECTS, at_service


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)


def test_what_is_there_is_spared_and_comes_back() -> None:
    before, n_frozen = gc.get_threshold(), gc.get_freeze_count()
    with at_service():
        assert gc.get_threshold() == (YOUNG_OBJECTS, *before[1:])
        assert gc.get_freeze_count() > n_frozen
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("chosen", [0, YOUNG_OBJECTS, 100_000])
def test_a_program_s_own_choice_is_kept(chosen: int) -> None:
    gc.set_threshold(chosen, 5, 5)
    with at_service():
        assert gc.get_threshold() == (chosen, 5, 5)


def test_a_failure_puts_everything_back() -> None:
    before = gc.get_threshold()
    with pytest.raises(LookupError), at_service():
        raise LookupError
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_cycles_are_still_found() -> None:
    class Node:
        other: Node

    with at_service():
        one, two = Node(), Node()
        one.other, two.other = two, one
        found = gc.get_count()
        del one, two
        assert gc.collect() >= 2, found
