"""Opening a session: the request as it is read, the refusals to the letter, the cookie, the first packet."""

from __future__ import annotations

import json

import pytest

from telex.engineio.handshake import (
    MAX_QUERY_FIELDS,
    Cookie,
    Refusal,
    RefusalKind,
    Request,
    Response,
    open_packet,
)
from telex.engineio.hints import Hint
from telex.limits import Limits
from telex.types import Headers


def request(query: str, headers: list[tuple[str, str]] | None = None) -> Request:
    return Request("GET", "/socket.io/", query, Headers(headers or []))


# wire.md 2.2, word for word.
REFUSALS = [
    (RefusalKind.TRANSPORT_UNKNOWN, 400, b'{"code":0,"message":"Transport unknown"}'),
    (RefusalKind.UNKNOWN_SID, 400, b'{"code":1,"message":"Session ID unknown"}'),
    (RefusalKind.BAD_HANDSHAKE_METHOD, 400, b'{"code":2,"message":"Bad handshake method"}'),
    (RefusalKind.BAD_REQUEST, 400, b'{"code":3,"message":"Bad request"}'),
    (RefusalKind.FORBIDDEN, 403, b'{"code":4,"message":"Forbidden"}'),
    (RefusalKind.UNSUPPORTED_PROTOCOL_VERSION, 400, b'{"code":5,"message":"Unsupported protocol version"}'),
]


def test_every_refusal_is_in_the_table() -> None:
    assert [kind for kind, _, _ in REFUSALS] == list(RefusalKind)


@pytest.mark.parametrize(("kind", "status", "body"), REFUSALS)
def test_refusals(kind: RefusalKind, status: int, body: bytes) -> None:
    refusal = Refusal(kind, Hint.METHOD)
    with_hint = body[:-1] + b',"hint":"A session is opened with GET."}'
    assert refusal.response() == Response(status, [("content-type", "application/json")], with_hint)
    # A WebSocket upgrade request reads the bare text, and 400 even where HTTP says 403.
    text = json.loads(body)["message"].encode()
    headers = [("connection", "close"), ("content-type", "text/html")]
    assert refusal.websocket_response() == Response(400, headers, text)


def test_the_text_of_allow_request_takes_the_place_of_forbidden() -> None:
    refusal = Refusal(RefusalKind.FORBIDDEN, Hint.NOT_ALLOWED, 'no "way"')
    assert refusal.response().body.startswith(b'{"code":4,"message":"no \\"way\\"",')
    assert refusal.websocket_response().body == b'no "way"'
    assert Refusal(RefusalKind.FORBIDDEN, Hint.NOT_ALLOWED, "").message == ""


def test_who_is_no_socket_io_client_is_answered_what_to_change() -> None:
    response = Refusal(RefusalKind.UNSUPPORTED_PROTOCOL_VERSION, Hint.PLAIN_WEBSOCKET).websocket_response()
    headers = [("connection", "close"), ("content-type", "text/plain; charset=utf-8")]
    assert response == Response(400, headers, Hint.PLAIN_WEBSOCKET.text.encode() + b"\n")


@pytest.mark.parametrize(
    ("query", "fields", "is_malformed"),
    [
        ("", {}, False),
        ("EIO=4&transport=polling", {"EIO": "4", "transport": "polling"}, False),
        ("EIO=4&transport=polling&t=abc&b64=1", {"EIO": "4", "transport": "polling", "t": "abc", "b64": "1"}, False),
        ("sid=", {"sid": ""}, False),
        ("sid", {"sid": ""}, False),
        ("sid=a%20b+c%", {"sid": "a b c%"}, False),
        ("sid=%ff%00", {"sid": "\ufffd\0"}, False),
        ("t=1&t=2", {"t": "2"}, False),
        ("sid=a&sid=b", {"sid": "b"}, True),
        ("sid=a&sid=a", {"sid": "a"}, True),
        ("EIO=3&EIO=4", {"EIO": "4"}, True),
        ("transport=polling&t=1&transport=websocket", {"transport": "websocket", "t": "1"}, True),
        ("&".join(f"a{n}=" for n in range(MAX_QUERY_FIELDS)), {f"a{n}": "" for n in range(MAX_QUERY_FIELDS)}, False),
        ("&".join(f"a{n}=" for n in range(MAX_QUERY_FIELDS + 1)), {}, True),
        ("a&" * 100_000, {}, True),
    ],
)
def test_a_query_is_read_once_and_bounded(query: str, fields: dict[str, str], is_malformed: bool) -> None:
    found = request(query)
    assert found.query == fields
    assert found.is_malformed == is_malformed


def test_a_request_knows_its_origin_and_url() -> None:
    found = request("EIO=4", [("Origin", "https://example.org")])
    assert found.origin == "https://example.org"
    assert found.url == "/socket.io/?EIO=4"
    assert request("").origin is None
    assert request("").url == "/socket.io/"


def test_a_request_kept_as_it_is_needs_no_unpacking() -> None:
    found = request("EIO=4&transport=polling")
    assert found.unpack() is found


SID = "0123456789abcdefghij"


@pytest.mark.parametrize(
    ("cookie", "is_secure", "value"),
    [
        (Cookie(), False, f"io={SID}; Path=/; HttpOnly; SameSite=Lax"),
        (Cookie(), True, f"io={SID}; Path=/; HttpOnly; Secure; SameSite=Lax"),
        (Cookie(secure=True), False, f"io={SID}; Path=/; HttpOnly; Secure; SameSite=Lax"),
        (Cookie(secure=False), True, f"io={SID}; Path=/; HttpOnly; SameSite=Lax"),
        (
            Cookie(name="sticky", path="/app", domain="example.org", max_age=0, http_only=False, same_site=None),
            False,
            f"sticky={SID}; Max-Age=0; Domain=example.org; Path=/app",
        ),
        (Cookie(same_site="Strict", max_age=60), False, f"io={SID}; Max-Age=60; Path=/; HttpOnly; SameSite=Strict"),
    ],
)
def test_e36_the_cookie_is_guarded(cookie: Cookie, is_secure: bool, value: str) -> None:
    assert cookie.header(SID, is_secure) == ("set-cookie", value)


@pytest.mark.parametrize(
    "options",
    [
        {"name": ""},
        {"name": "a=b"},
        {"name": "a;b"},
        {"name": "a b"},
        {"name": "ä"},
        {"path": "/a;b"},
        {"path": "/\r\n"},
        {"path": "/ä"},
        {"domain": "a\x7fb"},
        {"domain": "a b"},
        {"same_site": "Lax\n"},
    ],
)
def test_a_cookie_that_could_not_be_sent_is_refused_when_it_is_made(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="a cookie cannot"):
        Cookie(**options)  # type: ignore[arg-type]


def test_the_open_packet_has_these_keys_in_this_order() -> None:
    limits = Limits(ping_interval=0.3, ping_timeout=20.0004, max_payload=1_000_000)
    packet = open_packet(SID, ["websocket"], limits)
    expected = (
        f'0{{"sid":"{SID}","upgrades":["websocket"],"pingInterval":300,"pingTimeout":20000,"maxPayload":1000000}}'
    )
    assert packet.wire == expected
    assert open_packet(SID, (), Limits()).wire == (
        f'0{{"sid":"{SID}","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}'
    )
