"""Redirects: where a server sends a client that wanted a WebSocket, and what may go along.

Rule of this module: URLs and header fields; no I/O. How often one is followed is the caller's to count.

Source: RFC 6455 §4.1, item 1 of what to do with an answer; RFC 9110 §10.2.2, Location, and §15.4.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urldefrag, urljoin

from telex.errors import HandshakeError, InvalidStatus
from telex.types import Headers
from telex.websocket.handshake import Url, parse_url

__all__ = ["follow", "is_same_origin", "without_credentials"]

STATUSES = frozenset({301, 302, 303, 307, 308})
CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})
"""What one server must not learn of what the program has said to another."""


def follow(where: Url, refusal: InvalidStatus) -> Url | None:
    """Return where a refusal redirects to; None where it is no redirect.

    Raises `HandshakeError` where it leads out of TLS, or to what is no WebSocket server. A fragment is dropped.
    """
    locations = Headers(refusal.headers).get_all("Location")
    if refusal.status not in STATUSES or len(locations) != 1:
        return None
    here = f"{'https' if where.is_secure else 'http'}://{where.authority}{where.target}"
    try:
        scheme, colon, rest = urldefrag(urljoin(here, _as_http(locations[0]))).url.partition(":")
        target = parse_url({"http": "ws", "https": "wss"}.get(scheme, scheme) + colon + rest)
    except ValueError:
        raise HandshakeError(502, "the server redirects to what is no WebSocket URL") from refusal
    if where.is_secure and not target.is_secure:
        raise HandshakeError(502, "the server redirects out of TLS") from refusal
    return target


def _as_http(location: str) -> str:
    """Return a location in the scheme of its origin; HTTP and WebSocket have the same (RFC 6455 §3)."""
    scheme, colon, rest = location.partition(":")
    return {"ws": "http", "wss": "https"}.get(scheme.lower(), scheme) + colon + rest


def is_same_origin(one: Url, other: Url) -> bool:
    """Tell whether two URLs have scheme, host and port in common."""
    return (one.is_secure, one.host, one.port) == (other.is_secure, other.host, other.port)


def without_credentials(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the program's header fields for a server of another origin: without credentials, and without `Host`."""
    return [(name, value) for name, value in headers if name.lower() not in CREDENTIALS and name.lower() != "host"]
