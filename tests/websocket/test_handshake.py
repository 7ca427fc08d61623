"""Opening handshakes: what both roles accept, what they agree on, and what they must refuse."""

from __future__ import annotations

import time
from itertools import product
from typing import Any

import pytest

from telex.errors import HandshakeError, InvalidStatus
from telex.limits import Limits
from telex.types import Headers
from telex.websocket.deflate import DeflateOptions
from telex.websocket.handshake import (
    Negotiated,
    Response,
    accept,
    accept_token,
    build_request,
    check_origin,
    check_request,
    check_response,
    make_key,
    parse_extensions,
    parse_origins,
    parse_url,
    refuse,
    reject,
)
from tests.splitter import SPLITS, noise
from tests.websocket.opening import ACCEPT, KEY, LIMITS, answer, head, read, read_response


def status_of(data: bytes, how: str = "whole", limits: Limits = LIMITS, **options: Any) -> tuple[int, dict[str, str]]:
    """Return the status and the headers with which a server refuses a request."""
    with pytest.raises(HandshakeError) as refused:
        accept(read(data, how, limits), **options)
    assert refused.value.reason.isprintable()
    return refused.value.status, dict(refused.value.headers)


# A request's meaning


@pytest.mark.parametrize("how", SPLITS)
def test_the_example_of_the_rfc(how: str) -> None:
    data = head(Origin="http://example.com", Sec_WebSocket_Protocol="chat, superchat")
    response, negotiated = accept(read(data, how), subprotocols=["superchat", "chat"])
    assert response.encode() == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
    )
    assert negotiated == Negotiated("chat", None)
    assert accept_token(KEY) == ACCEPT


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "get", "OPTIONS", "X"])
def test_h01_other_methods(method: str) -> None:
    assert status_of(head(f"{method} / HTTP/1.1")) == (405, {"Allow": "GET"})


@pytest.mark.parametrize(
    "host",
    [None, "", "a b", "user@host", "a\tb", "host/path", "a,b?", "[::1", "host:80:80", "host:x", "a#b"],
)
def test_h03_hosts_that_are_none(host: str | None) -> None:
    assert status_of(head(Host=host))[0] == 400


def test_h03_one_host() -> None:
    assert status_of(head("GET / HTTP/1.1", "host: server.example.com"))[0] == 400
    for host in ("localhost", "a.example:8080", "127.0.0.1", "[::1]:80", "[fe80::1]", "xn--bcher-kva.example", "a:"):
        assert check_request(read(head(Host=host))) == KEY


@pytest.mark.parametrize(
    "changed",
    [
        {"Upgrade": None, "Connection": None},
        {"Upgrade": None},
        {"Connection": None},
        {"Upgrade": "h2c"},
        {"Upgrade": "websockets"},
        {"Upgrade": ""},
        {"Connection": "keep-alive"},
        {"Connection": "close, xupgrade"},
    ],
)
def test_h04_a_request_that_is_no_websocket_one(changed: dict[str, Any]) -> None:
    assert status_of(head(**changed)) == (426, {"Upgrade": "websocket"})


@pytest.mark.parametrize(
    "connection", ["Upgrade", "keep-alive, Upgrade", "UPGRADE,close", "\tupgrade ,, x", "x,upgrade"]
)
@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "h2c, WEBSOCKET"])
def test_h05_lists_in_any_order_and_case(connection: str, upgrade: str) -> None:
    assert check_request(read(head(Connection=connection, Upgrade=upgrade))) == KEY
    lines = [f"Connection: {part}" for part in connection.split(",")]
    assert check_request(read(head("GET / HTTP/1.1", *lines, Connection=None, Upgrade=upgrade))) == KEY


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "x",
        KEY[:-1],
        KEY + "=",
        KEY[:-2],
        "A" * 24,
        "dGhlIHNhbXBsZSBub25j",
        KEY.replace("=", "-"),
        f"{KEY},{KEY}",
    ],
)
def test_h06_keys_that_are_none(key: str | None) -> None:
    assert status_of(head(Sec_WebSocket_Key=key))[0] == 400


def test_h06_a_repeated_key() -> None:
    assert status_of(head("GET / HTTP/1.1", f"Sec-WebSocket-Key: {KEY}"))[0] == 400


@pytest.mark.parametrize("version", [None, "", "8", "14", "013", "13.0", "13, 8", "1\u00b3"])
def test_h07_other_versions(version: str | None) -> None:
    status, headers = status_of(head(Sec_WebSocket_Version=version))
    assert (status, headers["Sec-WebSocket-Version"]) == (426, "13")
    assert headers["Upgrade"] == "websocket"


def test_h07_a_repeated_version() -> None:
    assert status_of(head("GET / HTTP/1.1", "Sec-WebSocket-Version: 13"))[0] == 426


@pytest.mark.parametrize(
    "length", ["+5", "0x5", "5,5", "-1", "1_0", "", "5 5", "0" * 39 + "1", "9" * 40, "1", "\u00b3"]
)
def test_h16_h17_bodies_and_lengths_nobody_agrees_on(length: str) -> None:
    assert status_of(head(Content_Length=length))[0] == 400


@pytest.mark.parametrize(
    "fields",
    [
        ["Content-Length: 0", "Content-Length: 0"],
        ["Content-Length: 0", "Content-Length: 5"],
        ["Transfer-Encoding: chunked"],
        ["Transfer-Encoding: identity", "Content-Length: 0"],
    ],
)
def test_h16_h17_bodies_that_could_be_framed_in_two_ways(fields: list[str]) -> None:
    assert status_of(head("GET / HTTP/1.1", *fields))[0] == 400


def test_h17_a_body_of_no_bytes_is_none() -> None:
    assert check_request(read(head(Content_Length="0"))) == KEY
    assert check_request(read(head(Content_Length="00"))) == KEY


@pytest.mark.parametrize(
    ("asked", "spoken", "agreed"),
    [
        (None, ["chat"], None),
        ("chat", [], None),
        ("chat", ["superchat"], None),
        ("Chat", ["chat"], None),
        ("a, b", ["b", "a"], "a"),
        ("a,b ,\tc", ["c", "b"], "b"),
        (",, a,", ["a"], "a"),
        (" " * 8000 + "a", ["a"], "a"),
        (" ," * 4000, ["a"], None),
    ],
)
def test_h20_subprotocols(asked: str | None, spoken: list[str], agreed: str | None) -> None:
    response, negotiated = accept(read(head(Sec_WebSocket_Protocol=asked)), subprotocols=spoken)
    assert negotiated.subprotocol == agreed
    assert response.headers.get("Sec-WebSocket-Protocol") == agreed


@pytest.mark.parametrize("asked", ["a, a", '"a"', "a b", "a;b", "a, /", "caf\u00e9", "a@b", "a/b"])
def test_h20_h21_subprotocols_that_are_none(asked: str) -> None:
    assert status_of(head(Sec_WebSocket_Protocol=asked), subprotocols=["a"])[0] == 400


def test_subprotocols_in_several_lines() -> None:
    data = head("GET / HTTP/1.1", "Sec-WebSocket-Protocol: a", "sec-websocket-protocol: b")
    assert accept(read(data), subprotocols=["b"])[1].subprotocol == "b"


# Extensions


@pytest.mark.parametrize(
    ("lines", "extensions"),
    [
        ([], []),
        ([""], []),
        ([" , ,"], []),
        (["a"], [("a", [])]),
        (["a, b;c"], [("a", []), ("b", [("c", None)])]),
        (["a ; b = 1 ;c , ,d"], [("a", [("b", "1"), ("c", None)]), ("d", [])]),
        (["a", "", "a; x"], [("a", []), ("a", [("x", None)])]),
        (['a; b="c"'], [("a", [("b", "c")])]),
        (['a; b="\\c1\\5"; d'], [("a", [("b", "c15"), ("d", None)])]),
        (["a;\tb\t=\tc\t"], [("a", [("b", "c")])]),
        (["a; b; b=1"], [("a", [("b", None), ("b", "1")])]),
    ],
)
def test_extensions_are_read(lines: list[str], extensions: list[Any]) -> None:
    assert parse_extensions(lines) == extensions


@pytest.mark.parametrize(
    "line",
    [
        "a b", "a;", "a;;b", "a; b=", "a; =c", "=", ";a", 'a; b="', 'a; b=""', 'a; b="c d"', 'a; b="c,d"', 'a; b="c"d',
        'a; b="\\', "a/b", "a; b=c=d", "caf\u00e9", "a; b/c", "a\x0b", '"a"', "a; b='\u00e9'",
    ],
)  # fmt: skip
def test_h22_extensions_that_cannot_be_read(line: str) -> None:
    for text in (line, f"ok; x=1, {line}", f"{line}, ok"):
        with pytest.raises(ValueError, match="malformed"):
            parse_extensions([text])
    data = head(Sec_WebSocket_Extensions=line) if line.isprintable() else head(Sec_WebSocket_Extensions="a b")
    assert status_of(data, deflate=DeflateOptions())[0] == 400
    assert accept(read(data))[1].deflate is None  # without permessage-deflate nobody needs to read them


@pytest.mark.parametrize(
    "text",
    ['a; b="' + "x" * 8000, "a; b=" + "\\" * 8000, "a" + ";b" * 4000 + "/", "a, " * 2600 + "/", " " * 8000 + "/",
     "a; b=" + " " * 8000 + "/", "a" + " " * 8000 + "/", 'a; b="' + "\\x" * 4000, "a" * 8000 + "/"],
)  # fmt: skip
def test_h22_reading_extensions_is_linear(text: str) -> None:
    began = time.process_time()
    for _ in range(10):
        with pytest.raises(ValueError, match="malformed"):
            parse_extensions([text])
    assert time.process_time() - began < 1


def test_h22_a_thousand_offers() -> None:
    limits = Limits(max_header_line=100_000, max_header_bytes=100_000)
    offers = ", ".join(["permessage-deflate; server_max_window_bits=7"] * 999 + ["permessage-deflate"])
    data = head(Sec_WebSocket_Extensions=offers)
    assert accept(read(data, limits=limits), deflate=DeflateOptions())[1].deflate is not None


def test_h23_deflate_is_agreed_on_only_where_both_want_it() -> None:
    offer = "x-other, permessage-deflate; client_max_window_bits"
    for header, options in product((None, "constructor, __proto__", offer), (None, DeflateOptions())):
        response, negotiated = accept(read(head(Sec_WebSocket_Extensions=header)), deflate=options)
        agreed = header == offer and options is not None
        assert (negotiated.deflate is not None) is agreed
        assert ("Sec-WebSocket-Extensions" in response.headers) is agreed


# Origins

ALLOWED = parse_origins(
    ["https://a.com", "http://localhost:3000", "HTTPS://B.Example:8443", "app://x", "http://[::1]:5"]
)


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("https://a.com", True),
        ("https://A.COM", True),
        ("HTTPS://a.com", True),
        ("https://a.com:443", True),
        ("http://localhost:3000", True),
        ("https://b.example:8443", True),
        ("app://x", True),
        ("http://[::1]:5", True),
        # h27: look-alikes
        ("https://a.com.evil.tld", False),
        ("https://evil-a.com", False),
        ("https://xa.com", False),
        ("https://a.com:444", False),
        ("http://a.com", False),
        ("https://a.com.", False),
        ("https://www.a.com", False),
        ("https://xn--a-ymb.com", False),
        ("https://a.com/", False),
        ("https://a.com/path", False),
        ("https://user@a.com", False),
        ("https://a.com@evil.tld", False),
        ("https://a.com#x", False),
        ("https://a.com?x", False),
        ("http://localhost", False),
        ("http://localhost:30000", False),
        ("https://b.example", False),
        # h26: no origins
        ("null", False),
        ("file://", False),
        ("a.com", False),
        ("//a.com", False),
        ("https:a.com", False),
        ("", False),
        ("*", False),
        ("https://a.com, https://a.com", False),
        ("https://a.com https://a.com", False),
    ],
)
def test_h25_h26_h27_origins(origin: str, is_allowed: bool) -> None:
    data = head(Origin=origin)
    if is_allowed:
        assert accept(read(data), origins=ALLOWED, require_origin=True)[0].status == 101
    else:
        assert status_of(data, origins=ALLOWED)[0] == 403
    check_origin(read(data), None)


def test_h26_two_origins_and_control_characters() -> None:
    two = head("GET / HTTP/1.1", "Origin: https://a.com", Origin="https://a.com")
    assert status_of(two, origins=ALLOWED)[0] == 403
    assert status_of(two)[0] == 403
    assert status_of(head(Origin="https://a.com\x01"), origins=ALLOWED)[0] == 400


def test_h28_no_origin() -> None:
    assert accept(read(head()), origins=ALLOWED)[0].status == 101
    assert accept(read(head()), origins=frozenset())[0].status == 101
    assert status_of(head(), require_origin=True)[0] == 403
    assert status_of(head(), origins=ALLOWED, require_origin=True)[0] == 403


@pytest.mark.parametrize(
    "text", ["null", "*", "a.com", "https://", "https://a.com/", "https://*.a.com:x", "https://a b"]
)
def test_an_origin_that_could_never_match_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="not an origin"):
        parse_origins(["https://a.com", text])


# Writing


BAD_FIELDS = [("X", "a\r\nSet-Cookie: b"), ("X", "a\n"), ("X", "a\r"), ("X", "\0"), ("X", "\x7f"), ("X", "\u20ac"),
              ("X\r\nY", "a"), ("X:", "a"), ("X ", "a"), ("", "a"), ("\u00e9", "a")]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_FIELDS)
def test_h31_header_fields_that_http_cannot_carry(bad: tuple[str, str]) -> None:
    response, _ = accept(read(head()), headers=[bad])
    with pytest.raises(ValueError):  # noqa: PT011  # the encoder's own for what is not Latin-1
        response.encode()
    with pytest.raises(ValueError):  # noqa: PT011
        reject(403, "no", [bad]).encode()
    with pytest.raises(ValueError):  # noqa: PT011
        build_request(parse_url("ws://a/"), KEY, headers=[bad]).encode()
    with pytest.raises(ValueError):  # noqa: PT011
        build_request(parse_url("ws://a/"), KEY, origin=bad[1] if bad[0] == "X" else "\n").encode()


@pytest.mark.parametrize("name", ["Upgrade", "connection", "Sec-WebSocket-Accept", "SEC-WEBSOCKET-PROTOCOL"])
def test_header_fields_that_belong_to_the_handshake(name: str) -> None:
    with pytest.raises(ValueError, match="belongs to the handshake"):
        accept(read(head()), headers=[(name, "x")])
    with pytest.raises(ValueError, match="belongs to the handshake"):
        build_request(parse_url("ws://a/"), KEY, headers=[(name, "x")])


def test_the_programs_header_fields_are_sent_as_they_are() -> None:
    response, _ = accept(read(head()), headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=\u00e9"), ("X-Empty", "")])
    received = read_response(response.encode())
    assert received is not None
    assert received.headers.get_all("Set-Cookie") == ["a=1", "b=\u00e9"]
    assert received.headers["X-Empty"] == ""


def test_a_refusal_tells_why_and_closes() -> None:
    response = refuse(HandshakeError(426, "Not \u00e9nough.", [("Upgrade", "websocket"), ("Retry-After", "5")]))
    assert response.encode() == (
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nRetry-After: 5\r\nConnection: Upgrade, close\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 12\r\n\r\nNot \xc3\xa9nough."
    )
    json = reject(503, "{}", [("Content-Type", "application/json")])
    assert json.headers.get_all("Content-Type") == ["application/json"]
    assert json.headers["Connection"] == "close"
    assert json.encode().endswith(b"\r\nContent-Length: 2\r\n\r\n{}")


# The client: requests


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ws://example.com", (False, "example.com", 80, "example.com", "/")),
        ("ws://example.com:80/", (False, "example.com", 80, "example.com", "/")),
        ("wss://example.com:443/a/b?c=d&e", (True, "example.com", 443, "example.com", "/a/b?c=d&e")),
        ("wss://Example.COM:8443?x", (True, "example.com", 8443, "example.com:8443", "/?x")),
        ("WS://127.0.0.1:80", (False, "127.0.0.1", 80, "127.0.0.1", "/")),
        ("ws://[::1]:9000/x", (False, "::1", 9000, "[::1]:9000", "/x")),
        ("ws://b\u00fccher.example/\u00e9?\u00fc=%20", (False, "xn--bcher-kva.example", 80, "xn--bcher-kva.example",
                                                        "/%C3%A9?%C3%BC=%20")),
        ("ws://a/%2Fb|c?d=/?e", (False, "a", 80, "a", "/%2Fb%7Cc?d=/?e")),
    ],
)  # fmt: skip
def test_urls(text: str, expected: tuple[bool, str, int, str, str]) -> None:
    url = parse_url(text)
    assert tuple(url) == expected
    assert read(build_request(url, KEY).encode()).target == expected[4]


@pytest.mark.parametrize(
    "text",
    [
        "", "example.com", "//example.com", "http://example.com", "ftp://a", "ws:", "ws://", "ws:///x", "ws://:80",
        "ws://a#b", "ws://a/#", "ws://user@a", "ws://user:pw@a", "ws://a:0", "ws://a:65536", "ws://a:x", "ws://a b",
        "ws://a/ b", "ws://a/\r\nX: y", "ws://a\t", "ws://a/\0", "ws://[::1", "ws://a\"b", "ws://[x]",
        "ws://" + "\u00fc" * 80,
    ],
)  # fmt: skip
def test_urls_that_are_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # some are the standard library's
        parse_url(text)


@pytest.mark.parametrize("how", SPLITS)
def test_a_request_of_ours_is_accepted_by_our_server(how: str) -> None:
    options = DeflateOptions()
    request = build_request(
        parse_url("wss://example.com:9000/chat?room=1"),
        KEY,
        subprotocols=["a", "b"],
        headers=[("Authorization", "Bearer x"), ("Cookie", "c=d")],
        origin="https://example.com",
        deflate=options,
    )
    received = read(request.encode(), how)
    assert received == request
    assert received.headers["Host"] == "example.com:9000"
    assert received.headers["Authorization"] == "Bearer x"
    origins = parse_origins(["https://example.com"])
    response, servers = accept(received, subprotocols=["b"], origins=origins, require_origin=True, deflate=options)
    answered = read_response(response.encode(), how)
    assert answered is not None
    clients = check_response(answered, KEY, subprotocols=["a", "b"], deflate=options)
    assert clients == servers
    assert clients.subprotocol == "b"
    assert clients.deflate is not None


def test_a_plain_request() -> None:
    request = build_request(parse_url("ws://example.com/"), KEY)
    assert request.encode() == (
        b"GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert build_request(parse_url("ws://a/"), KEY, headers=[("host", "b")]).headers.get_all("Host") == ["b"]


@pytest.mark.parametrize("bad", [["a", "a"], ["a b"], [""], ["a,b"], ["\u00e9"], "chat"])
def test_subprotocols_that_cannot_be_offered(bad: Any) -> None:
    with pytest.raises(ValueError, match="subprotocol"):
        build_request(parse_url("ws://a/"), KEY, subprotocols=bad)


def test_keys_are_16_bytes_of_the_generator() -> None:
    asked: list[int] = []

    def token(size: int) -> bytes:
        asked.append(size)
        return noise(size, len(asked))

    first, second = make_key(token), make_key(token)
    assert asked == [16, 16]
    assert first != second
    for key in (first, second):
        assert check_request(read(head(Sec_WebSocket_Key=key))) == key


# The client: responses


@pytest.mark.parametrize(
    "bad",
    [
        answer(Sec_WebSocket_Accept=None),
        answer(Sec_WebSocket_Accept=""),
        answer(Sec_WebSocket_Accept=accept_token(KEY.replace("d", "e"))),
        answer(Sec_WebSocket_Accept=ACCEPT.lower()),
        answer(Sec_WebSocket_Accept=KEY),
        answer(Sec_WebSocket_Accept="caf\u00e9"),
        answer(f"Sec-WebSocket-Accept: {ACCEPT}"),
        answer(Upgrade=None),
        answer(Upgrade="h2c"),
        answer(Upgrade="websocket, h2c"),
        answer(Connection=None),
        answer(Connection="close"),
        answer(Sec_WebSocket_Protocol="unknown"),
        answer(Sec_WebSocket_Protocol=""),
        answer(Sec_WebSocket_Protocol="a, b"),
        answer("Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"),
        answer(Sec_WebSocket_Extensions="x-unknown"),
        answer(Sec_WebSocket_Extensions="permessage-deflate"),
        answer(Sec_WebSocket_Extensions="a b"),
    ],
)
def test_h42_a_101_that_does_not_answer_us(bad: bytes) -> None:
    response = read_response(bad)
    assert response is not None
    with pytest.raises(HandshakeError) as refused:
        check_response(response, KEY, subprotocols=["a", "b"])
    assert refused.value.status == 502


def test_h42_an_extension_is_checked_where_one_was_offered() -> None:
    options = DeflateOptions()
    assert check_response(read_response(answer()) or reject(500), KEY, deflate=options).deflate is None
    sound = "permessage-deflate; server_no_context_takeover; server_max_window_bits=10"
    for text, is_sound in ((sound, True), ("permessage-deflate", False), (f"{sound}; x", False), ("x", False)):
        response = read_response(answer(Sec_WebSocket_Extensions=text))
        assert response is not None
        if is_sound:
            assert check_response(response, KEY, deflate=options).deflate is not None
        else:
            with pytest.raises(HandshakeError):
                check_response(response, KEY, deflate=options)


def test_what_a_server_may_choose() -> None:
    response = read_response(
        answer("X-Other: 1", Upgrade="WebSocket", Connection="x, UPGRADE", Sec_WebSocket_Protocol="b")
    )
    assert response is not None
    assert check_response(response, KEY, subprotocols=["a", "b"]).subprotocol == "b"


def test_h42_any_other_status_is_told_with_its_body() -> None:
    response = Response(503, "Busy", Headers([("Retry-After", "5")]), b"later")
    with pytest.raises(InvalidStatus) as refused:
        check_response(response, KEY)
    assert (refused.value.status, refused.value.body) == (503, b"later")
    assert refused.value.headers == (("Retry-After", "5"),)
    assert str(refused.value) == "the server answered 503 Busy (HTTP 503)"
