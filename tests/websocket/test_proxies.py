"""Proxies: their URLs, what the environment says of them, and what is said to them."""

from __future__ import annotations

from base64 import b64decode

import pytest

from telex.errors import ProxyError
from telex.types import Headers
from telex.websocket.handshake import Response, parse_url
from telex.websocket.proxies import Proxy, check_answer, connect_request, parse_proxy, proxy_from_environment

SECURE = parse_url("wss://server.example.com/x")
PLAIN = parse_url("ws://server.example.com:8000")


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("http://proxy", Proxy("http", "proxy", 80)),
        ("https://proxy/", Proxy("https", "proxy", 443)),
        ("proxy:3128", Proxy("http", "proxy", 3128)),
        ("HTTP://Proxy:1", Proxy("http", "proxy", 1)),
        ("http://[::1]:3128", Proxy("http", "::1", 3128)),
        ("http://prüfung.example", Proxy("http", "xn--prfung-4ya.example", 80)),
        ("socks5h://proxy", Proxy("socks5h", "proxy", 1080)),
        ("socks4://us%3Aer@proxy", Proxy("socks4", "proxy", 1080, "us:er")),
        ("http://us%40er:p%3Aass%20@proxy", Proxy("http", "proxy", 80, "us@er", "p:ass ")),
        ("http://token:@proxy", Proxy("http", "proxy", 80, "token")),
    ],
)
def test_urls(text: str, proxy: Proxy) -> None:
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize(
    "text",
    [
        *("", "http://", "://proxy", "ftp://proxy", "http://[::1", f"http://{'a' * 64}.example"),
        *("http://proxy:0", "http://proxy:99999", "http://proxy:x"),
        *("http://proxy/path", "http://proxy?query", "http://proxy#x", "http://pro xy", "http://proxy\r\n"),
        "http://us%3Aer:secret@proxy",
    ],
)
def test_what_is_no_proxy_s_url(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as refused:
        parse_proxy(text)
    assert "secret" not in str(refused.value)


def test_a_password_is_shown_nowhere() -> None:
    proxy = parse_proxy("http://user:secret@proxy")
    assert str(proxy) == "http://proxy:80"
    assert "secret" not in repr(proxy)
    assert "user" not in repr(proxy).replace("user=", "")


@pytest.fixture
def _empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wss", "ws", "socks", "https", "http", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)


@pytest.mark.usefixtures("_empty")
def test_the_order_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_from_environment(SECURE) is None
    for name, serves_plain, serves_secure in [
        ("all", True, True),
        ("http", True, False),
        ("HTTPS", True, True),
        ("socks", True, True),
        ("ws", True, False),
        ("wss", False, True),
    ]:
        before = proxy_from_environment(PLAIN), proxy_from_environment(SECURE)
        monkeypatch.setenv(f"{name}_PROXY" if name.isupper() else f"{name}_proxy", f"http://by-{name.lower()}:1")
        found = proxy_from_environment(PLAIN), proxy_from_environment(SECURE)
        scheme = "socks5h" if name == "socks" else "http"
        new = Proxy(scheme, f"by-{name.lower()}", 1)
        assert found == (new if serves_plain else before[0], new if serves_secure else before[1])


@pytest.mark.usefixtures("_empty")
@pytest.mark.parametrize(
    ("no_proxy", "is_direct"),
    [
        ("", False),
        ("*", True),
        ("example.com", True),
        (".example.com", True),
        ("other.com, server.example.com", True),
        ("server.example.com:8000", True),
        ("server.example.com:8001", False),
        ("ver.example.com", False),
        ("localhost", False),
    ],
)
def test_hosts_without(monkeypatch: pytest.MonkeyPatch, no_proxy: str, is_direct: bool) -> None:
    monkeypatch.setenv("http_proxy", "proxy:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert (proxy_from_environment(PLAIN) is None) is is_direct


@pytest.mark.usefixtures("_empty")
def test_the_loopback_is_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "proxy:3128")
    local = [parse_url(url) for url in ("ws://localhost", "ws://127.0.0.1:8000", "ws://[::1]")]
    assert all(map(proxy_from_environment, local))
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1,::1")
    assert not any(map(proxy_from_environment, local))


@pytest.mark.usefixtures("_empty")
def test_a_wrong_url_in_the_environment_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "ftp://user:secret@proxy")
    with pytest.raises(ValueError, match="https_proxy in the environment") as refused:
        proxy_from_environment(SECURE)
    assert "secret" not in str(refused.value)


def test_the_request() -> None:
    assert connect_request(parse_proxy("http://proxy"), SECURE) == (
        b"CONNECT server.example.com:443 HTTP/1.1\r\nHost: server.example.com:443\r\n\r\n"
    )
    assert connect_request(parse_proxy("http://proxy"), parse_url("ws://[::1]")).startswith(b"CONNECT [::1]:80 ")
    request = connect_request(parse_proxy("http://grüße:p%C3%A4ss@proxy"), PLAIN)
    token = request.split(b"\r\nProxy-Authorization: Basic ")[1].split(b"\r\n")[0]
    assert b64decode(token).decode() == "grüße:päss"


@pytest.mark.parametrize("status", [200, 201, 299])
def test_any_success_is_a_tunnel(status: int) -> None:
    check_answer(parse_proxy("proxy"), Response(status, "", Headers()), b"")


@pytest.mark.parametrize("status", [100, 101, 301, 403, 407, 502])
def test_anything_else_is_none(status: int) -> None:
    with pytest.raises(ProxyError, match=f"the proxy http://proxy:80 answered {status} Why") as refused:
        check_answer(parse_proxy("http://user:secret@proxy"), Response(status, "Why", Headers([("A", "b")])), b"")
    assert (refused.value.status, refused.value.headers) == (status, (("A", "b"),))


def test_nobody_speaks_in_the_tunnel_before_we_do() -> None:
    with pytest.raises(ProxyError, match="spoke before it was asked"):
        check_answer(parse_proxy("proxy"), Response(200, "", Headers()), b"x")
