"""Redirects: where they lead, and what goes along."""

from __future__ import annotations

import pytest

from telex.errors import HandshakeError, InvalidStatus
from telex.websocket.handshake import parse_url
from telex.websocket.redirects import follow, is_same_origin, without_credentials

HERE = "ws://a.example:8000/chat/room?x=1"


def to(location: str, status: int = 302) -> InvalidStatus:
    return InvalidStatus(status, "Found", [("location", location)])


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/other", "ws://a.example:8000/other"),
        ("other?y", "ws://a.example:8000/chat/other?y"),
        ("?y=2", "ws://a.example:8000/chat/room?y=2"),
        ("..", "ws://a.example:8000/"),
        ("", "ws://a.example:8000/chat/room?x=1"),
        ("//b.example/x", "ws://b.example/x"),
        ("ws://b.example", "ws://b.example/"),
        ("http://b.example:8000/x", "ws://b.example:8000/x"),
        ("https://a.example/x", "wss://a.example/x"),
        ("WSS://A.example:443/x#fragment", "wss://a.example/x"),
        ("/über", "ws://a.example:8000/%C3%BCber"),
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_targets(location: str, target: str, status: int) -> None:
    assert follow(parse_url(HERE), to(location, status)) == parse_url(target)


@pytest.mark.parametrize("status", [200, 300, 304, 305, 400, 503])
def test_other_statuses_are_no_redirects(status: int) -> None:
    assert follow(parse_url(HERE), to("/x", status)) is None


def test_a_redirect_says_where_once() -> None:
    assert follow(parse_url(HERE), InvalidStatus(302, "Found")) is None
    assert follow(parse_url(HERE), InvalidStatus(302, "Found", [("Location", "/a"), ("Location", "/b")])) is None


@pytest.mark.parametrize(
    "location",
    [
        *("unix:/run/x.sock", "file:///etc/passwd", "ftp://b.example", "javascript:x", "data:,x"),
        *("http://[::1", "http://b.example:99999", "http://b.example:x", f"http://{'a' * 64}.example"),
        *("/a b", "http://user:secret@b.example"),
    ],
)
def test_what_is_no_server(location: str) -> None:
    with pytest.raises(HandshakeError, match="no WebSocket URL") as refused:
        follow(parse_url(HERE), to(location))
    assert "secret" not in str(refused.value)
    assert isinstance(refused.value.__cause__, InvalidStatus)


@pytest.mark.parametrize("location", ["ws://a.example/", "http://a.example/", "ws://a.example:443/"])
def test_nothing_leads_out_of_tls(location: str) -> None:
    with pytest.raises(HandshakeError, match="out of TLS"):
        follow(parse_url("wss://a.example"), to(location))


def test_an_origin_is_scheme_host_and_port() -> None:
    here = parse_url("ws://a.example/x")
    assert is_same_origin(here, parse_url("ws://A.example:80/y?z"))
    for other in ("wss://a.example/x", "ws://b.example/x", "ws://a.example:81/x", "ws://x.a.example/x"):
        assert not is_same_origin(here, parse_url(other))


def test_credentials_stay_behind() -> None:
    headers = [("authorization", "a"), ("COOKIE", "b"), ("Proxy-Authorization", "c"), ("Host", "d"), ("X", "e")]
    assert without_credentials(headers) == [("X", "e")]
