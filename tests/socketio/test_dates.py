"""A moment as JavaScript counts it, both ways."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.socketio.dates import from_milliseconds, to_milliseconds


@pytest.mark.parametrize(
    ("moment", "milliseconds"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 0),
        (datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), 0),
        (datetime(1969, 12, 31, 23, 59, 59, 999_000, UTC), -1),
        (datetime(1, 1, 1, tzinfo=UTC), -62135596800000),
        (datetime(9999, 12, 31, 23, 59, 59, 999_000, UTC), 253402300799999),
    ],
)
def test_moments(moment: datetime, milliseconds: int) -> None:
    assert to_milliseconds(moment) == milliseconds
    assert from_milliseconds(milliseconds) == moment
    assert from_milliseconds(milliseconds).tzinfo is UTC


def test_without_a_time_zone_there_is_no_moment() -> None:
    with pytest.raises(ValueError, match="time zone"):
        to_milliseconds(datetime(2024, 1, 1))


@pytest.mark.parametrize("milliseconds", [-62135596800001, 253402300800000, 2**63 - 1, -(2**63)])
def test_outside_of_python_s_years_there_is_none(milliseconds: int) -> None:
    with pytest.raises(OverflowError):
        from_milliseconds(milliseconds)


@given(st.integers(-62135596800000, 253402300799999))
def test_a_date_s_milliseconds_go_both_ways(milliseconds: int) -> None:
    assert to_milliseconds(from_milliseconds(milliseconds)) == milliseconds


@given(st.datetimes(timezones=st.timezones()))
def test_a_datetime_is_cut_to_milliseconds(moment: datetime) -> None:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return
    back = from_milliseconds(to_milliseconds(moment))
    assert timedelta(0) <= moment - back < timedelta(milliseconds=1)
