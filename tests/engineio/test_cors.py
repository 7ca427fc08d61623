"""Who may call from another origin: every kind of `Origin` under every policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.engineio.cors import Cors, is_cross_origin
from telex.engineio.handshake import Request
from telex.types import Headers
from telex.websocket.handshake import parse_origin

ALLOWED = ["https://example.org", "http://localhost:3000", "capacitor://localhost"]
VARY = ("vary", "Origin")


def request(
    origin: str | None, *, method: str = "GET", host: str | None = "server.example:8000", is_secure: bool = False
) -> Request:
    headers = Headers()
    if host is not None:
        headers.add("Host", host)
    if origin is not None:
        headers.add("Origin", origin)
    return Request(method, "/socket.io/", "", headers, is_secure)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://example.org", ("http", "example.org", 80)),
        ("https://example.org", ("https", "example.org", 443)),
        ("HTTPS://Example.ORG:443", ("https", "example.org", 443)),
        ("http://example.org:8000", ("http", "example.org", 8000)),
        ("ws://example.org", ("ws", "example.org", 80)),
        ("http://127.0.0.1:80", ("http", "127.0.0.1", 80)),
        ("http://[::1]:3000", ("http", "[::1]", 3000)),
        ("http://xn--bcher-kva.example", ("http", "xn--bcher-kva.example", 80)),
        ("capacitor://localhost", ("capacitor", "localhost", None)),
        ("chrome-extension://abcdefghij", ("chrome-extension", "abcdefghij", None)),
        ("app://x:1", ("app", "x", 1)),
    ],
)
def test_what_is_an_origin(text: str, origin: tuple[str, str, int | None]) -> None:
    assert parse_origin(text) == origin


NO_ORIGINS = [
    "",
    "null",
    "NULL",
    "*",
    "example.org",
    "//example.org",
    "http:/example.org",
    "http://",
    "http://:80",
    "http://example.org/",
    "http://example.org/path",
    "http://example.org?q",
    "http://example.org?",
    "http://example.org#f",
    "http://user@example.org",
    "http://user:pass@example.org",
    "http://@example.org",
    "http://example.org:",
    "http://example.org:x",
    "http://example.org:-1",
    "http://example.org:+80",
    "http://example.org:٨٠",
    "http://example.org:123456",
    "http://example.org:80:80",
    "http://[::1",
    "http://[::1]x",
    "http://exa\tmple.org",
    "http://example.org\n",
    " http://example.org",
    "http://example.org, http://example.org",
    "http://evil.example\\@example.org",
    "http://bücher.example",
    "file://",
]


@pytest.mark.parametrize("text", NO_ORIGINS)
def test_what_is_no_origin(text: str) -> None:
    assert parse_origin(text) is None


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    parse_origin(text)


LOOK_ALIKES = [
    "http://example.org",  # another scheme
    "https://example.org:8443",
    "https://example.org.evil.example",
    "https://evil-example.org",
    "https://sub.example.org",
    "https://example.orgx",
    "https://example.org:80",
    "http://localhost",
    "http://localhost:3001",
    "https://localhost:3000",
    "http://server.example",
    "http://other.example:8000",
    "https://server.example:8000",
    "http://server.example:80000",
]

POLICIES = {"own": Cors(), "listed": Cors(ALLOWED), "credentials": Cors(ALLOWED, credentials=True)}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("origin", [*NO_ORIGINS, *LOOK_ALIKES])
def test_r20_no_policy_lets_these_in(policy: str, origin: str) -> None:
    cors = POLICIES[policy]
    assert not cors.is_allowed(request(origin))
    assert cors.headers(request(origin)) == [VARY]  # E34: and the refusal varies too


@pytest.mark.parametrize("origin", [*NO_ORIGINS, *LOOK_ALIKES, *ALLOWED])
def test_a_wildcard_lets_everybody_in_and_never_says_whom(origin: str) -> None:
    assert Cors("*").is_allowed(request(origin))
    assert Cors(["*"]).headers(request(origin)) == [("access-control-allow-origin", "*")]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("origin", "host", "is_secure"),
    [
        (None, "server.example:8000", False),  # a program, no browser
        (None, None, False),
        ("http://server.example:8000", "server.example:8000", False),
        ("http://SERVER.example:8000", "server.example:8000", False),
        ("http://server.example", "server.example", False),
        ("https://server.example", "server.example:443", True),
        ("http://[::1]:8000", "[::1]:8000", False),
    ],
)
def test_the_own_origin_may_always_come_in(policy: str, origin: str | None, host: str | None, is_secure: bool) -> None:
    assert POLICIES[policy].is_allowed(request(origin, host=host, is_secure=is_secure))
    assert not is_cross_origin(request(origin, host=host, is_secure=is_secure))


@pytest.mark.parametrize(
    ("origin", "host", "is_secure"),
    [
        ("http://server.example", "server.example", True),
        ("https://server.example", "server.example", False),
        ("http://server.example", None, False),
        ("http://server.example", "", False),
        ("http://server.example", "server.example, server.example", False),
        ("http://a@server.example", "a@server.example", False),
        ("null", "null", False),
    ],
)
def test_another_origin_is_another(origin: str, host: str | None, is_secure: bool) -> None:
    assert is_cross_origin(request(origin, host=host, is_secure=is_secure))
    assert not Cors().is_allowed(request(origin, host=host, is_secure=is_secure))


@pytest.mark.parametrize("origin", ["https://example.org", "https://EXAMPLE.org:443", "capacitor://localhost"])
def test_listed_origins_are_named_not_reflected_wholesale(origin: str) -> None:
    named = ("access-control-allow-origin", origin)
    assert Cors(ALLOWED).headers(request(origin)) == [VARY, named]
    assert Cors(ALLOWED, credentials=True).headers(request(origin)) == [
        VARY,
        named,
        ("access-control-allow-credentials", "true"),
    ]
    assert Cors().headers(request(origin)) == [VARY]


def test_one_origin_may_be_given_as_a_text() -> None:
    assert Cors("https://example.org").is_allowed(request("https://example.org"))


def test_an_empty_list_is_a_policy_too() -> None:
    assert not Cors([]).is_allowed(request("https://example.org"))
    assert Cors([]).preflight(request("https://example.org", method="OPTIONS")) is not None


@pytest.mark.parametrize("name", ["null", "example.org", "https://example.org/", ""])
def test_a_name_that_no_browser_could_send_is_refused_when_it_is_given(name: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        Cors(["https://example.org", name])


@pytest.mark.parametrize("allowed", ["*", ["*"], ["https://example.org", "*"]])
def test_e32_a_wildcard_with_credentials_is_refused(allowed: str | list[str]) -> None:
    with pytest.raises(ValueError, match="cors_credentials"):
        Cors(allowed, credentials=True)


def test_e33_a_preflight_names_what_is_allowed_and_reflects_nothing() -> None:
    asked = request("https://example.org", method="OPTIONS")
    asked.headers.add("Access-Control-Request-Method", "DELETE")
    asked.headers.add("Access-Control-Request-Headers", "x-evil\x01" * 1000)
    response = Cors(ALLOWED, credentials=True, headers=["content-type", "authorization"]).preflight(asked)
    assert response is not None
    assert (response.status, response.body) == (204, b"")
    assert response.headers == [
        VARY,
        ("access-control-allow-origin", "https://example.org"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET,POST"),
        ("access-control-allow-headers", "content-type,authorization"),
    ]


@pytest.mark.parametrize("name", ["x y", "x\r\nset-cookie: a=b", "ä", "x:"])
def test_what_is_no_header_s_name_is_refused(name: str) -> None:
    for headers in (name, ["content-type", name]):
        with pytest.raises(ValueError, match="cors_headers"):
            Cors(ALLOWED, headers=headers)


def test_a_preflight_of_a_stranger_names_no_origin() -> None:
    response = Cors(ALLOWED).preflight(request("https://evil.example", method="OPTIONS"))
    assert response is not None
    assert "access-control-allow-origin" not in dict(response.headers)


def test_preflights_are_answered_only_where_cors_is_configured() -> None:
    assert Cors().preflight(request("https://example.org", method="OPTIONS")) is None
    assert Cors("*").preflight(request("https://example.org", method="GET")) is None


def script_request(referer: str | None, *, origin: str | None = None, host: str | None = "server.example") -> Request:
    asked = request(origin, host=host)
    if referer is not None:
        asked.headers.add("Referer", referer)
    return asked


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("referer", [None, "", "null", "about:blank", "server.example", "http://", "http:///page"])
def test_a_page_that_hides_may_send_no_script(policy: str, referer: str | None) -> None:
    assert not POLICIES[policy].is_script_allowed(script_request(referer))
    assert not POLICIES[policy].is_script_allowed(script_request(referer, host=None))
    assert Cors("*").is_script_allowed(script_request(referer))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("referer", "is_allowed"),
    [
        ("http://server.example/page?q=https://evil.example#x", True),
        ("HTTP://Server.example:80", True),
        ("https://server.example/page", False),
        ("http://server.example:8000/page", False),
        ("http://server.example.evil.example/", False),
        ("http://server.example@evil.example/", False),
    ],
)
def test_a_script_of_the_own_page_may_come_in(policy: str, referer: str, is_allowed: bool) -> None:
    assert POLICIES[policy].is_script_allowed(script_request(referer)) is is_allowed


def test_a_script_of_a_listed_page_may_come_in() -> None:
    asked = script_request("https://example.org/page")
    assert Cors(ALLOWED).is_script_allowed(asked)
    assert not Cors().is_script_allowed(asked)
    assert not Cors(ALLOWED).is_script_allowed(script_request("https://example.org:444/page"))


def test_a_script_that_says_its_origin_is_known_by_that() -> None:
    page = "https://example.org/"
    assert Cors(ALLOWED).is_script_allowed(script_request(None, origin="https://example.org"))
    for origin in ("https://evil.example", "null"):
        assert not Cors(ALLOWED).is_script_allowed(script_request(page, origin=origin))
