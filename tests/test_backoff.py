"""When to try again: never all at once, never too soon, never out of bounds."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from telex.backoff import Backoff, retry_after
from telex.limits import Limits
from telex.tokens import chance

DATE = ("Date", "Wed, 21 Oct 2015 07:28:00 GMT")


def test_the_bound_doubles_up_to_the_maximum() -> None:
    backoff = Backoff(1, 5, lambda: 1.0)
    assert [backoff.next_delay() for _ in range(5)] == [1, 2, 4, 5, 5]
    assert backoff.n_attempts == 5


def test_the_delay_is_drawn_from_all_of_it() -> None:
    numbers = iter([0.0, 0.5, 0.25])
    backoff = Backoff(1, 30, lambda: next(numbers))
    assert [backoff.next_delay() for _ in range(3)] == [0, 1, 1]


def test_begins_again_when_an_attempt_has_held() -> None:
    backoff = Backoff(1, 30, lambda: 1.0)
    for _ in range(4):
        backoff.next_delay()
    backoff.reset()
    assert backoff.n_attempts == 0
    assert backoff.next_delay() == 1


def test_what_the_server_asks_for_is_waited_for_and_the_draw_comes_on_top() -> None:
    backoff = Backoff(2, 30, lambda: 0.5)
    assert [backoff.next_delay(7), backoff.next_delay(0), backoff.next_delay()] == [8, 2, 4]


def test_endless_failure_overflows_nothing() -> None:
    backoff = Backoff(1e-9, 1e9, lambda: 1.0)
    delays = [backoff.next_delay() for _ in range(3000)]
    assert delays[-1] == 1e9
    assert delays == sorted(delays)


@pytest.mark.parametrize(("minimum", "maximum"), [(0, 1), (-1, 1), (2, 1), (1, math.inf), (math.nan, 1), (1, math.nan)])
def test_bounds_that_cannot_be(minimum: float, maximum: float) -> None:
    with pytest.raises(ValueError, match="a delay must lie between"):
        Backoff(minimum, maximum, chance)


@pytest.mark.parametrize("attempt", range(7))
def test_ten_thousand_clients_come_back_spread_at_every_attempt(attempt: int) -> None:
    delays = []
    for _ in range(10_000):
        backoff = Backoff(1, 5, chance)
        backoff.n_attempts = attempt
        delays.append(backoff.next_delay(hint=3))
    slots = Counter(int(delay * 10) for delay in delays)
    mean = len(delays) / (10 * min(5, 2**attempt))
    assert max(slots.values()) <= 2 * mean


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("301", 300),
        ("9" * 5000, 300),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30),
        ("Wednesday, 21-Oct-15 07:29:00 GMT", 60),
        ("Wed Oct 21 07:28:01 2015", 1),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300),
    ],
)
def test_the_server_says_when(value: str, seconds: float) -> None:
    assert retry_after([DATE, ("retry-after", value)]) == seconds


@pytest.mark.parametrize("value", ["", "-1", "1.5", "1e3", "soon", "inf", "nan", "²", "٣", "Wed, 21 Oct", "(" * 8000])
def test_what_says_nothing(value: str) -> None:
    assert retry_after([DATE, ("Retry-After", value)]) is None


@pytest.mark.parametrize("date", ["Wed, 99 Foo 2015 07:28:00 GMT", "Wed, 21 Oct 99999999 07:28:00 GMT", "99:99:99"])
def test_dates_that_are_none_break_nothing(date: str) -> None:
    for fields in ([("Date", date), ("Retry-After", DATE[1])], [DATE, ("Retry-After", date)]):
        seconds = retry_after(fields)
        assert seconds is None or 0 <= seconds <= 300


def test_says_nothing_without_the_field_or_for_a_date_without_a_date() -> None:
    assert retry_after([]) is None
    assert retry_after([DATE]) is None
    assert retry_after([("Retry-After", DATE[1])]) is None


def test_how_long_a_server_may_put_us_off_is_a_limit() -> None:
    assert retry_after([("Retry-After", "60")], Limits(max_retry_after=10)) == 10
