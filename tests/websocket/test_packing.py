"""A head that is kept as compact bytes is the same when it is needed again; and `Headers` as a whole."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from telex.limits import Limits
from telex.types import Headers
from telex.websocket.handshake import make_key
from telex.websocket.heads import Request, RequestReader, Response

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
field_names = st.sampled_from(
    [
        "Host",
        "host",
        "UPGRADE",
        "Upgrade",
        "connection",
        "Connection",
        "Sec-WebSocket-Key",
        "Cookie",
        "Origin",
        "user-agent",
    ]
) | st.text(TOKEN_CHARACTERS, min_size=1, max_size=12)
field_values = st.sampled_from(
    ["websocket", "Upgrade", "13", "gzip, deflate, br", "http://a:80", "permessage-deflate; client_max_window_bits", ""]
) | st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30).map(
    lambda text: "".join(character for character in text if not 0x7F <= ord(character) < 0xA0).strip(" \t")
)
fields = st.lists(st.tuples(field_names, field_values), max_size=8)
targets = st.sampled_from(["/", "/socket.io/?EIO=4&transport=websocket", "/x?EIO=4&transport=websocket&sid=1", "*"]) | (
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
)


@given(st.sampled_from(["GET", "POST", "!x"]), targets, fields)
@example("GET", "/", [("upgrade", "websocket"), ("Upgrade", "websocketx"), ("X-Upgrade", "websocket")])
@example("GET", "/", [("a", "Upgrade:websocket"), ("b", "\xa0\xff")])
def test_a_request_comes_back_as_it_was(method: str, target: str, items: list[tuple[str, str]]) -> None:
    request = Request(method, target, Headers(items))
    request.encode()
    found = Request.unpack(request.pack())
    assert found == request
    assert list(found.headers) == items


@given(st.integers(100, 599), st.sampled_from(["Switching Protocols", "", "OK", "What: ever"]), fields)
@example(
    101, "Switching Protocols", [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", "x")]
)
def test_a_response_comes_back_as_it_was(status: int, reason: str, items: list[tuple[str, str]]) -> None:
    response = Response(status, reason, Headers(items))
    response.encode()
    found = Response.unpack(response.pack())
    assert found == response
    assert list(found.headers) == items


@given(fields)
def test_what_a_reader_took_from_the_wire_can_be_packed(items: list[tuple[str, str]]) -> None:
    items = [("Host", "a"), *[(name, value) for name, value in items if name.lower() not in SPECIAL]]
    request = RequestReader(Limits()).feed(Request("GET", "/a?b", Headers(items)).encode())
    assert request is not None
    assert Request.unpack(request.pack()) == request


SPECIAL = {"host", "content-length", "transfer-encoding"}


def test_what_a_browser_sends_becomes_small() -> None:
    items = [
        ("Host", "example.org"),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", make_key(bytes)),
        ("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"),
        ("Accept-Encoding", "gzip, deflate, br"),
    ]
    for lower in (False, True):
        headers = Headers((name.lower() if lower else name, value) for name, value in items)
        request = Request("GET", "/socket.io/?EIO=4&transport=websocket", headers)
        assert len(request.pack()) < len(request.encode()) / 2


# Headers


@given(fields)
def test_names_are_found_without_case_and_in_order(items: list[tuple[str, str]]) -> None:
    headers = Headers(items)
    for name in {name for name, _ in items}:
        lines = [value for key, value in items if key.lower() == name.lower()]
        for spelling in (name, name.lower(), name.upper()):
            assert headers.get_all(spelling) == lines
            assert headers.get(spelling) == headers[spelling] == ", ".join(lines)
            assert spelling in headers
    assert list(headers) == items
    assert len(headers) == len(items)


def test_what_is_added_after_a_look_is_found() -> None:
    headers = Headers([("A", "1")])
    assert "b" not in headers
    assert headers.get("b", "none") == "none"
    headers.add("B", "2")
    headers.add("a", "3")
    assert headers["b"] == "2"
    assert headers["A"] == "1, 3"


def test_what_is_handed_out_is_a_copy() -> None:
    items = [("A", "1")]
    headers = Headers(items)
    headers.get_all("a").append("2")
    headers.get_all("none").append("2")
    items.append(("A", "3"))
    assert headers.get_all("a") == ["1"]
    assert headers.get_all("none") == []
    with pytest.raises(KeyError):
        headers["none"]
