"""Proxies: which one leads to a server, and what is said to it.

Rule of this module: URLs, the environment, and the words of an HTTP proxy; no I/O. `tunnels.py` speaks them.

Source: RFC 9110 §9.3.6, CONNECT; RFC 7617, Basic; RFC 6455 §4.1, that a client may go through a proxy.
"""

from __future__ import annotations

import os
import sys
from base64 import b64encode
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from telex.errors import ProxyError
from telex.types import Headers
from telex.websocket.handshake import Url
from telex.websocket.heads import CONTROL, Request, Response

__all__ = ["Proxy", "check_answer", "connect_request", "parse_proxy", "proxy_from_environment"]

DEFAULT_PORTS = {"http": 80, "https": 443, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
HAS_SYSTEM_SETTINGS = sys.platform in ("darwin", "win32")
"""Where a user sets proxies for all programs in the system, and not in the environment only."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Be a proxy's URL, taken apart. Its text has no user and password, since it goes into errors and logs."""

    scheme: str
    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    @property
    def is_secure(self) -> bool:
        """Whether TLS is spoken with the proxy itself."""
        return self.scheme == "https"

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS and not HTTP."""
        return self.scheme.startswith("socks")

    @property
    def resolves(self) -> bool:
        """Whether a SOCKS proxy is asked to look names up: with socks4a and socks5h, as in curl."""
        return self.scheme in ("socks4a", "socks5h")

    def __str__(self) -> str:
        return f"{self.scheme}://{authority(self.host, self.port)}"


def authority(host: str, port: int) -> str:
    """Return what CONNECT asks for: a host, in brackets where it is an IPv6 address, and always its port."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_proxy(text: str) -> Proxy:
    """Take a proxy's URL apart: `http`, `https`, `socks4`, `socks4a`, `socks5` or `socks5h`; without a scheme, `http`.

    User and password are percent-decoded. Raises `ValueError`, whose text does not repeat the URL.
    """
    if CONTROL.search(text) or " " in text:
        raise ValueError("a proxy's URL has no spaces or control characters")
    parts = urlsplit(text if "://" in text else f"http://{text}")
    default = DEFAULT_PORTS.get(parts.scheme)
    if default is None:
        raise ValueError(f"a proxy's URL begins with {', '.join(DEFAULT_PORTS)}; not with {parts.scheme!r}")
    try:
        port = default if parts.port is None else parts.port
        host = (parts.hostname or "").encode("idna").decode("ascii")
    except ValueError:  # of which UnicodeError is one
        raise ValueError("the host or the port in a proxy's URL is malformed") from None
    if not host or not port or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("a proxy's URL is a scheme, a host and a port, and perhaps a user and a password")
    user = None if parts.username is None else unquote(parts.username)
    if user is not None and ":" in user and not parts.scheme.startswith("socks"):
        raise ValueError("a proxy's user has no colon")  # RFC 7617 §2
    return Proxy(parts.scheme, host, port, user, unquote(parts.password or ""))


def proxy_from_environment(where: Url) -> Proxy | None:
    """Return the proxy that the environment, or the settings of macOS or Windows, name for a server; None for none.

    The first of these that is set, in either case: for `wss` and `https` servers `wss_proxy`, `socks_proxy`,
    `https_proxy`, `all_proxy`; for others `ws_proxy`, `socks_proxy`, `https_proxy`, `http_proxy`, `all_proxy`. This is
    the order of RFC 6455 §4.1 and of the library `websockets`. `no_proxy` lists hosts that are reached without one; the
    loopback is no exception unless it is listed.
    Raises `ValueError` where what is set is no proxy's URL.
    """
    if not HAS_SYSTEM_SETTINGS and not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415  # a heavy import, and few need it

    if proxy_bypass(authority(where.host, where.port)) or proxy_bypass(where.host):
        return None
    proxies = getproxies()
    order = ("wss", "socks", "https", "all") if where.is_secure else ("ws", "socks", "https", "http", "all")
    name = next((name for name in order if proxies.get(name)), None)
    if name is None:
        return None
    text = proxies[name]
    if name == "socks":  # which macOS gives as http://, and others without a scheme
        text = f"socks5h://{text.removeprefix('http://')}" if not text.startswith("socks") else text
    try:
        return parse_proxy(text)
    except ValueError as error:
        raise ValueError(f"{name}_proxy in the environment: {error}") from None


def connect_request(proxy: Proxy, where: Url) -> bytes:
    """Return what asks an HTTP proxy for a tunnel to a server."""
    target = authority(where.host, where.port)
    headers = Headers([("Host", target)])
    if proxy.user is not None:
        token = b64encode(f"{proxy.user}:{proxy.password}".encode()).decode("ascii")
        headers.add("Proxy-Authorization", f"Basic {token}")
    return Request("CONNECT", target, headers).encode()


def check_answer(proxy: Proxy, response: Response, leftover: bytes) -> None:
    """Raise `ProxyError` unless a proxy's answer says that there is a tunnel now.

    `leftover` is what came with it. Nobody may speak in the tunnel before we have: neither HTTP nor TLS servers do, so
    it would be the proxy's own.
    """
    if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
        sentence = f"the proxy {proxy} answered {response.status} {response.reason}".rstrip()
        raise ProxyError(sentence, response.status, list(response.headers))
    if leftover:
        raise ProxyError(f"the proxy {proxy} spoke before it was asked")
