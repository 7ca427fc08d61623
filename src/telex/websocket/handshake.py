"""Open a WebSocket connection: what the request and the response mean, for both roles.

Rule of this module: RFC 6455 §4, on heads that `heads.py` has read; no I/O, no clock, no randomness. What a peer does
wrong is a `HandshakeError` with the status to answer; what the program does wrong is a `ValueError`, raised before a
byte is written.

Theory of operation. A server calls `accept`, which checks the request and its origin and negotiates subprotocol and
permessage-deflate; a refusal is `refuse(error)`. A client sends what `build_request` gives and hands the answer to
`check_response`. Both then hold a `Negotiated`, and frames follow.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha1
from hmac import compare_digest
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from telex.errors import HandshakeError, InvalidStatus
from telex.types import Headers
from telex.websocket.deflate import (
    DeflateOptions,
    DeflateParameters,
    Extension,
    accept_offer,
    accept_response,
    make_offer,
)
from telex.websocket.heads import (
    CONTROL,
    DIGITS,
    TCHAR,
    TOKEN,
    Request,
    RequestReader,
    Response,
    ResponseReader,
    elements,
)

__all__ = [
    "Negotiated",
    "Origin",
    "Request",
    "RequestReader",
    "Response",
    "ResponseReader",
    "Url",
    "accept",
    "accept_token",
    "build_request",
    "check_origin",
    "check_request",
    "check_response",
    "make_key",
    "parse_extensions",
    "parse_origin",
    "parse_origins",
    "parse_url",
    "refuse",
    "reject",
]

# Possessive quantifiers keep every pattern linear in what a peer sends. They stand on single characters only: a
# possessive group matches wrongly in CPython before 3.11.5.
_HOST = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]*+)?")
_KEY = re.compile(r"[0-9A-Za-z+/]{22}==")  # base64 of 16 bytes
_PARAMETER = re.compile(rf';[ \t]*+({TCHAR}++)[ \t]*+(?:=[ \t]*+({TCHAR}++|"(?:\\?{TCHAR})+")[ \t]*+)?')
_EXTENSION = re.compile(rf"({TCHAR}++)[ \t]*+((?:{_PARAMETER.pattern})*)(?=,|\Z)")
_GAP = re.compile(r"[ \t,]*+")  # RFC 9110 §5.6.1.2: a recipient ignores empty elements of a list
_ORIGIN = re.compile(r"([a-z][a-z0-9+.\-]*+)://([a-z0-9\-._~!$&'()*+,;=%]++|\[[0-9a-f:.]++\])(?::([0-9]{1,5}))?")

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_VERSION = "13"
_DEFAULT_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}
_OURS = frozenset(
    {
        "connection",
        "upgrade",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
    }
)


class Negotiated(NamedTuple):
    """Be what an opening handshake agreed on."""

    subprotocol: str | None
    deflate: DeflateParameters | None


def _own_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the program's header fields; raise `ValueError` for one that belongs to the handshake."""
    items = list(headers)
    for name, _ in items:
        if name.lower() in _OURS:
            raise ValueError(f"the header field {name} belongs to the handshake")
    return items


def reject(status: int, body: str = "", headers: Iterable[tuple[str, str]] = ()) -> Response:
    """Return a response that refuses the handshake, with a sentence as its body. **Next**: close the connection."""
    encoded = body.encode()
    fields = Headers(headers)
    # RFC 9110 §7.8: whoever sends Upgrade names it in Connection.
    fields.add("Connection", "Upgrade, close" if "Upgrade" in fields else "close")
    if "Content-Type" not in fields:
        fields.add("Content-Type", "text/plain; charset=utf-8")
    fields.add("Content-Length", str(len(encoded)))
    return Response(status, HTTPStatus(status).phrase, fields, encoded)


def refuse(error: HandshakeError) -> Response:
    """Return the response that an error calls for."""
    return reject(error.status, error.reason, error.headers)


# The pieces both roles need


def make_key(token: Callable[[int], bytes]) -> str:
    """Return a new `Sec-WebSocket-Key`; `token` gives unpredictable bytes (RFC 6455 §4.1)."""
    return b64encode(token(16)).decode("ascii")


def accept_token(key: str) -> str:
    """Return the `Sec-WebSocket-Accept` that answers a key (RFC 6455 §4.2.2)."""
    return b64encode(sha1((key + _GUID).encode("ascii"), usedforsecurity=False).digest()).decode("ascii")


def parse_extensions(lines: Iterable[str]) -> list[Extension]:
    """Return the extensions that lines of `Sec-WebSocket-Extensions` name, in order.

    Raises `ValueError` where they do not follow the grammar. Cost: linear.
    Source: RFC 6455 §9.1.
    """
    extensions: list[Extension] = []
    text = ",".join(lines)
    position = _GAP.match(text).end()  # type: ignore[union-attr]  # matches the empty string too
    while position < len(text):
        match = _EXTENSION.match(text, position)
        if match is None:
            raise ValueError("Sec-WebSocket-Extensions is malformed")
        # "When using the quoted-string syntax variant, the value after quoted-string unescaping MUST conform to the
        # 'token' ABNF", in which neither a quote nor a backslash can stand.
        parameters = [
            (name, value.replace('"', "").replace("\\", "") if value else None)
            for name, value in _PARAMETER.findall(match[2])
        ]
        extensions.append((match[1], parameters))
        position = _GAP.match(text, match.end()).end()  # type: ignore[union-attr]
    return extensions


def _parse_subprotocols(headers: Headers) -> list[str]:
    """Return the subprotocols a client asks for, in its order of preference (RFC 6455 §4.1)."""
    names = [name for part in headers.get("Sec-WebSocket-Protocol", "").split(",") if (name := part.strip(" \t"))]
    if len(set(names)) < len(names) or not all(map(TOKEN.fullmatch, names)):
        raise HandshakeError(400, "Sec-WebSocket-Protocol is malformed.")
    return names


# The server's side

Origin = tuple[str, str, int | None]
"""Scheme, host and port of a web origin (RFC 6454 §4), in lower case, the port filled in where the scheme has one."""


def parse_origin(text: str) -> Origin | None:
    """Return the origin a text stands for; None for `null` and whatever else is none."""
    match = _ORIGIN.fullmatch(text.lower())
    if match is None:
        return None
    scheme, host, port = match.groups()
    return scheme, host, int(port) if port else _DEFAULT_PORTS.get(scheme)


def parse_origins(origins: Iterable[str]) -> frozenset[Origin]:
    """Return a policy for `check_origin`. Raises `ValueError` for a text that is no origin, such as `null` or `*`."""
    parsed: set[Origin] = set()
    for text in origins:
        origin = parse_origin(text)
        if origin is None:
            raise ValueError(f"not an origin: {text!r}; write it as https://example.com")
        parsed.add(origin)
    return frozenset(parsed)


def check_origin(request: Request, origins: frozenset[Origin] | None, *, require_origin: bool = False) -> None:
    """Refuse a request that a browser sends on behalf of a page that is not allowed to.

    Args:
        origins: exact matches only, so no look-alike passes; None allows every page.
        require_origin: refuse a request without `Origin` too. Browsers always send it, other programs rarely.

    Raises `HandshakeError` 403. Source: RFC 6455 §4.2.2, §10.2.
    """
    values = request.headers.get_all("Origin")
    if not values:
        if require_origin:
            raise HandshakeError(403, "An Origin is needed.")
    elif len(values) > 1 or (origins is not None and parse_origin(values[0]) not in origins):
        raise HandshakeError(403, "This origin is not allowed.")


def check_request(request: Request) -> str:
    """Return the key of a request that opens a WebSocket connection.

    Raises `HandshakeError` 400, 405 or 426. Source: RFC 6455 §4.2.1, RFC 9110 §7.2, RFC 9112 §6.
    """
    headers = request.headers
    hosts = headers.get_all("Host")
    if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
        raise HandshakeError(400, "There must be one Host.")
    lengths = headers.get_all("Content-Length")
    # A request that could be framed in two ways is how requests are smuggled; a chunked body has no place here at all.
    if "Transfer-Encoding" in headers or len(lengths) > 1 or not all(map(DIGITS.fullmatch, lengths)):
        raise HandshakeError(400, "The length of the body is not clear.")
    if request.method != "GET":
        raise HandshakeError(405, "Open a WebSocket connection with GET.", [("Allow", "GET")])
    if "websocket" not in elements(headers, "Upgrade") or "upgrade" not in elements(headers, "Connection"):
        raise HandshakeError(426, "This is a WebSocket server.", [("Upgrade", "websocket")])
    if lengths and lengths[0].strip("0"):
        raise HandshakeError(400, "An opening handshake has no body.")
    if headers.get("Sec-WebSocket-Version") != _VERSION:
        raise HandshakeError(
            426,
            "WebSocket version 13 is needed.",
            [("Upgrade", "websocket"), ("Sec-WebSocket-Version", _VERSION)],
        )
    keys = headers.get_all("Sec-WebSocket-Key")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise HandshakeError(400, "Sec-WebSocket-Key must be the base64 of 16 bytes.")
    return keys[0]


def accept(
    request: Request,
    *,
    subprotocols: Sequence[str] = (),
    origins: frozenset[Origin] | None = None,
    require_origin: bool = False,
    deflate: DeflateOptions | None = None,
    headers: Iterable[tuple[str, str]] = (),
    key: str | None = None,
) -> tuple[Response, Negotiated]:
    """Accept a request: return the 101 and what was agreed on.

    Args:
        subprotocols: those the server speaks; the first of the client's that is among them is agreed on, else none.
        deflate: None refuses compression.
        headers: further fields of the response.
        key: what `check_request` has said of this request, where it was asked before.

    Raises `HandshakeError` 400, 403, 405 or 426; `ValueError` for a header field that belongs to the handshake.
    Source: RFC 6455 §4.2.2.
    """
    fields = _own_headers(headers)
    key = key or check_request(request)
    check_origin(request, origins, require_origin=require_origin)
    response = Headers(
        [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept_token(key))]
    )
    subprotocol = next((name for name in _parse_subprotocols(request.headers) if name in subprotocols), None)
    if subprotocol is not None:
        response.add("Sec-WebSocket-Protocol", subprotocol)
    parameters = None
    if deflate is not None:
        try:
            offers = parse_extensions(request.headers.get_all("Sec-WebSocket-Extensions"))
        except ValueError as error:
            raise HandshakeError(400, f"{error}.") from None
        agreed = accept_offer(offers, deflate)
        if agreed is not None:
            value, parameters = agreed
            response.add("Sec-WebSocket-Extensions", value)
    for name, value in fields:
        response.add(name, value)
    return Response(101, "Switching Protocols", response), Negotiated(subprotocol, parameters)


# The client's side


class Url(NamedTuple):
    """Be a WebSocket URL, taken apart: `authority` is what stands in `Host`, `target` what is requested."""

    is_secure: bool
    host: str
    port: int
    authority: str
    target: str


def parse_url(text: str) -> Url:
    """Take a `ws://` or `wss://` URL apart. Raises `ValueError`.

    Names beyond ASCII are encoded (IDNA, percent). A user and password in the URL are refused: they end up in logs;
    give an `Authorization` header instead.
    Source: RFC 6455 §3.
    """
    if CONTROL.search(text) or " " in text:
        raise ValueError("a URL has no spaces or control characters")
    if "#" in text:
        raise ValueError("a WebSocket URL has no fragment")
    parts = urlsplit(text)
    if parts.scheme not in ("ws", "wss"):
        raise ValueError(f"a WebSocket URL begins with ws:// or wss://, not {parts.scheme}://")
    if "@" in parts.netloc:
        raise ValueError("a WebSocket URL has no user or password")
    host = (parts.hostname or "").encode("idna").decode("ascii")
    shown = f"[{host}]" if ":" in host else host
    default = _DEFAULT_PORTS[parts.scheme]
    port = default if parts.port is None else parts.port
    if not _HOST.fullmatch(shown) or not port:
        raise ValueError("a WebSocket URL needs a host")
    safe = "/%:@!$&'()*+,;=~"
    target = quote(parts.path, safe=safe) or "/"
    if parts.query:
        target += "?" + quote(parts.query, safe=safe + "?")
    return Url(parts.scheme == "wss", host, port, shown if port == default else f"{shown}:{port}", target)


def build_request(
    url: Url,
    key: str,
    *,
    subprotocols: Sequence[str] = (),
    headers: Iterable[tuple[str, str]] = (),
    origin: str | None = None,
    deflate: DeflateOptions | None = None,
) -> Request:
    """Return a client's opening handshake.

    Raises `ValueError` for subprotocols that are no tokens or repeated, and for header fields that belong to the
    handshake; what else HTTP cannot carry is refused by `Request.encode`.
    Source: RFC 6455 §4.1.
    """
    fields = _own_headers(headers)
    if isinstance(subprotocols, str) or len(set(subprotocols)) < len(subprotocols):
        raise ValueError("subprotocols are a list of different names")
    for name in subprotocols:
        if not TOKEN.fullmatch(name):
            raise ValueError(f"not a subprotocol: {name!r}")
    request = Headers()
    if not any(name.lower() == "host" for name, _ in fields):
        request.add("Host", url.authority)
    request.add("Upgrade", "websocket")
    request.add("Connection", "Upgrade")
    request.add("Sec-WebSocket-Key", key)
    request.add("Sec-WebSocket-Version", _VERSION)
    if origin is not None:
        request.add("Origin", origin)
    if subprotocols:
        request.add("Sec-WebSocket-Protocol", ", ".join(subprotocols))
    if deflate is not None:
        request.add("Sec-WebSocket-Extensions", make_offer(deflate))
    for name, value in fields:
        request.add(name, value)
    return Request("GET", url.target, request)


def check_response(
    response: Response,
    key: str,
    *,
    subprotocols: Sequence[str] = (),
    deflate: DeflateOptions | None = None,
) -> Negotiated:
    """Return what the server agreed on; the arguments are those of `build_request`.

    Raises `InvalidStatus` for anything but 101, `HandshakeError` 502 for a 101 that is not the answer to our request.
    Source: RFC 6455 §4.1.
    """
    headers = response.headers
    if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
        sentence = f"the server answered {response.status} {response.reason}".rstrip()
        raise InvalidStatus(response.status, sentence, list(headers), response.body)
    if elements(headers, "Upgrade") != ["websocket"] or "upgrade" not in elements(headers, "Connection"):
        raise HandshakeError(502, "the server did not switch to WebSocket")
    answers = headers.get_all("Sec-WebSocket-Accept")
    if len(answers) != 1 or not compare_digest(answers[0].encode(), accept_token(key).encode()):
        raise HandshakeError(502, "the server's Sec-WebSocket-Accept does not answer our key")
    chosen = headers.get_all("Sec-WebSocket-Protocol")
    if chosen and (len(chosen) > 1 or chosen[0] not in subprotocols):
        raise HandshakeError(502, "the server chose a subprotocol that was not offered")
    try:
        extensions = parse_extensions(headers.get_all("Sec-WebSocket-Extensions"))
    except ValueError as error:
        raise HandshakeError(502, f"the server's {error}") from None
    if deflate is None:
        if extensions:
            raise HandshakeError(502, "the server chose an extension that was not offered")
        return Negotiated(chosen[0] if chosen else None, None)
    return Negotiated(chosen[0] if chosen else None, accept_response(extensions, deflate))
