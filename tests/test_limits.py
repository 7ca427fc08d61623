"""The table of bounds: what may be put in, and that each has its reason."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import math

import pytest

from telex import limits
from telex.limits import Limits, Quota, connections_for, default_max_connections

FIELDS = dataclasses.fields(Limits)
COUNTS = [field.name for field in FIELDS if str(field.type).startswith("int")]
MEASURES = [field.name for field in FIELDS if not str(field.type).startswith("int")]
OPTIONAL = [field.name for field in FIELDS if field.default is None]


def test_the_defaults_are_bounds_themselves() -> None:
    defaults = {name: value for name, value in dataclasses.asdict(Limits()).items() if value is not None}
    assert Limits(**defaults) == Limits()


def test_every_bound_says_its_unit_and_reason() -> None:
    body = next(node for node in ast.parse(inspect.getsource(limits)).body if isinstance(node, ast.ClassDef)).body
    documented = {
        statement.target.id
        for statement, text in itertools.pairwise(body)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }
    assert documented == {field.name for field in FIELDS}


NOT_POSITIVE = [(name, value) for name in COUNTS for value in (0, -1)]
NOT_POSITIVE += [(name, value) for name in MEASURES for value in (0.0, -1, -math.inf, math.nan)]


@pytest.mark.parametrize(("name", "value"), NOT_POSITIVE)
def test_a_bound_is_positive(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"Limits\.{name} must be positive"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", [field.name for field in FIELDS])
@pytest.mark.parametrize("value", ["1", True, [], 1j])
def test_a_bound_is_a_number(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=rf"Limits\.{name} must be"):
        Limits(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", COUNTS)
def test_a_count_is_whole(name: str) -> None:
    assert getattr(Limits(**{name: 1}), name) == 1
    with pytest.raises(TypeError, match=rf"Limits\.{name} must be an int, not float"):
        Limits(**{name: 1e6})


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_may_be_whole_or_endless(name: str) -> None:
    for value in (1, 0.001, math.inf):
        assert getattr(Limits(**{name: value}), name) == value


@pytest.mark.parametrize("name", [field.name for field in FIELDS])
def test_only_what_is_optional_may_be_none(name: str) -> None:
    if name in OPTIONAL:
        assert getattr(Limits(**{name: None}), name) is None
    else:
        with pytest.raises(TypeError):
            Limits(**{name: None})  # type: ignore[arg-type]


def test_cannot_be_changed_misspelt_or_given_by_position() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().max_payload = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        Limits(max_paylod=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Limits(1)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("n_descriptors", "n_connections"), [(-1, 1_000_000), (2**63 - 1, 1_000_000), (1000, 800), (1, 1), (0, 1)]
)
def test_four_descriptors_in_five_are_for_connections(n_descriptors: int, n_connections: int) -> None:
    assert connections_for(n_descriptors) == n_connections


def test_this_process_may_open_some() -> None:
    assert default_max_connections() >= 1


def test_a_quota_allows_a_burst_and_then_a_rate() -> None:
    quota = Quota(rate=2, burst=3)
    assert [quota.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [quota.take(10.5), quota.take(10.5)] == [True, False]
    assert not quota.take(10.75)
    assert quota.take(11.0)


def test_a_quota_saves_up_no_more_than_its_burst() -> None:
    quota = Quota(rate=1, burst=2)
    assert quota.take(0.0)
    assert [quota.take(1e9) for _ in range(3)] == [True, True, False]


def test_a_quota_asked_too_often_is_not_put_off() -> None:
    quota = Quota(rate=1, burst=1)
    assert quota.take(0.0)
    allowed = sum(quota.take(step / 10) for step in range(1, 101))
    assert allowed == 10


def test_a_reservation_says_when_its_turn_is() -> None:
    quota = Quota(rate=2, burst=2)
    assert [quota.reserve(10.0) for _ in range(4)] == [0, 0, 0.5, 1.0]
    assert not quota.take(10.5), "that one is promised"
    assert quota.reserve(10.5) == 1.0
    assert quota.reserve(1e9) == 0


@pytest.mark.parametrize("burst", [1, 3])
def test_reservations_are_due_at_the_rate(burst: int) -> None:
    quota = Quota(rate=4, burst=burst)
    due = [step / 100 + quota.reserve(step / 100) for step in range(50)]
    spread = [later - earlier for earlier, later in itertools.pairwise(due[burst:])]
    assert spread == pytest.approx([0.25] * len(spread))
