"""The small types of every floor."""

from __future__ import annotations

import pytest

from telex.types import Data, Headers, size_of

LINES = [("Host", "a.example"), ("accept", "x"), ("Accept", "y"), ("empty", "")]


def test_headers_keep_order_case_and_repetition() -> None:
    headers = Headers(LINES)
    headers.add("ACCEPT", "z")
    assert list(headers) == [*LINES, ("ACCEPT", "z")]
    assert len(headers) == 5
    assert headers.get_all("aCCept") == ["x", "y", "z"]


def test_headers_are_found_without_case() -> None:
    headers = Headers(LINES)
    assert headers["HOST"] == "a.example"
    assert headers.get("accept") == "x, y"
    assert headers.get("Empty") == ""
    assert "hOST" in headers
    assert "empty" in headers


def test_what_is_not_there() -> None:
    headers = Headers(LINES)
    assert headers.get("cookie") is None
    assert headers.get("cookie", "none") == "none"
    assert headers.get_all("cookie") == []
    assert "cookie" not in headers
    assert 7 not in headers
    with pytest.raises(KeyError, match="cookie"):
        headers["cookie"]


def test_headers_are_changed_in_place() -> None:
    headers = Headers(LINES)
    assert headers["accept"] == "x, y"
    headers.set("ACCEPT", "z")
    assert list(headers) == [("Host", "a.example"), ("empty", ""), ("ACCEPT", "z")]
    assert headers["accept"] == "z"
    headers.remove("accept")
    headers.remove("accept")
    assert "accept" not in headers
    assert len(headers) == 2


def test_headers_are_compared_by_their_lines() -> None:
    assert Headers(LINES) == Headers(iter(LINES))
    assert Headers(LINES) != Headers(LINES[:-1])
    assert Headers() != []
    assert repr(Headers([("a", "b")])) == "Headers([('a', 'b')])"
    with pytest.raises(TypeError):
        hash(Headers())


def test_headers_do_not_share_their_lines() -> None:
    lines = [("a", "b")]
    headers = Headers(lines)
    headers.add("c", "d")
    assert lines == [("a", "b")]


@pytest.mark.parametrize(("data", "size"), [("", 0), ("abc", 3), ("ä€\U0001f600", 9), (b"", 0), (b"\xff\x00", 2)])
def test_weight_is_counted_in_bytes(data: Data, size: int) -> None:
    assert size_of(data) == size
