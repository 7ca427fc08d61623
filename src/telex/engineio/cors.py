"""Who may call from another origin.

Rule of this module: sans-I/O. One policy per server, checked on every request of every transport.

Browsers enforce CORS for long-polling but not for WebSocket, so the server checks `Origin` itself: without
configuration only the page's own origin is let in, and programs that send no `Origin`. Allowed names are listed, never
reflected, and a wildcard never goes together with credentials.

Source: WHATWG Fetch, "CORS protocol"; RFC 6454; RFC 6455 §10.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from telex.engineio.handshake import Request, Response
from telex.websocket.handshake import Origin, parse_origin

__all__ = ["Cors", "is_cross_origin"]

ALLOWED_METHODS = "GET,POST"

PAGE_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)  # of its URL


class Cors:
    """Decide by `Origin`, and write the headers that tell the browser.

    Args: `allowed` is `None` (same origin only), `"*"` (any), or origins such as "https://example.org".
    `headers` are those that a page may set.
    Raises `ValueError` for an origin or a header's name that is none, and for "*" with credentials.
    """

    def __init__(
        self,
        allowed: str | Sequence[str] | None = None,
        *,
        credentials: bool = False,
        headers: Sequence[str] = ("content-type",),
    ) -> None:
        names = [allowed] if isinstance(allowed, str) else list(allowed or ())
        self._any = "*" in names
        self._is_configured = allowed is not None
        self._credentials = credentials
        self._headers = ",".join([headers] if isinstance(headers, str) else headers)
        if not re.fullmatch(r"[-!#$%&'*+.^_`|~0-9A-Za-z,]*", self._headers):
            raise ValueError(f"cors_headers holds what is no header's name: {self._headers!r}")
        if self._any and credentials:
            raise ValueError('cors_credentials needs a list of origins: "*" would let any site act for your users')
        self._allowed: set[Origin] = set()
        for name in names:
            origin = parse_origin(name)
            if origin is not None:
                self._allowed.add(origin)
            elif name != "*":
                raise ValueError(f"{name!r} is not an origin such as 'https://example.org'")

    def is_allowed(self, request: Request) -> bool:
        """Whether the request's origin may come in; a request without one is no browser's and may."""
        text = request.origin
        if text is None or self._any:
            return True
        origin = parse_origin(text)
        return origin in self._allowed or not is_cross_origin(request)

    def is_script_allowed(self, request: Request) -> bool:
        """Whether the page that sends a request by `<script>` or `<form>` (JSONP) may come in.

        Browsers let every page send these, and send cookies along, but with a script no `Origin`. So the page is known
        by its `Referer`, and one that hides is let in only where any is.
        """
        if request.origin is not None or self._any:
            return self.is_allowed(request)
        page = PAGE_ORIGIN.match(request.headers.get("referer", ""))
        origin = None if page is None else parse_origin(page[0])
        return origin is not None and (origin in self._allowed or origin == own_origin(request))

    def headers(self, request: Request) -> list[tuple[str, str]]:
        """Return the headers that an answer carries; other origins are let in only where CORS is configured."""
        if self._any:
            return [("access-control-allow-origin", "*")]
        found = [("vary", "Origin")]  # even where CORS is not configured: other origins are refused
        if self._is_configured and request.origin is not None and self.is_allowed(request):
            found.append(("access-control-allow-origin", request.origin))
            if self._credentials:
                found.append(("access-control-allow-credentials", "true"))
        return found

    def preflight(self, request: Request) -> Response | None:
        """Answer an `OPTIONS` request; `None` where CORS is not configured."""
        if not self._is_configured or request.method != "OPTIONS":
            return None
        allowed = [
            ("access-control-allow-methods", ALLOWED_METHODS),
            ("access-control-allow-headers", self._headers),
        ]
        return Response(204, self.headers(request) + allowed)


def is_cross_origin(request: Request) -> bool:
    """Whether the request comes from a page of another origin than the one it was sent to."""
    if request.origin is None:
        return False
    own = own_origin(request)
    return own is None or parse_origin(request.origin) != own


def own_origin(request: Request) -> Origin | None:
    """Return the origin that a request was sent to; None where its `Host` header is no host."""
    host = request.headers.get("host", "")
    return parse_origin(f"{'https' if request.is_secure else 'http'}://{host}")
