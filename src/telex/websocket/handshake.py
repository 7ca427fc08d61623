"""Open a WebSocket connection: the HTTP/1.1 request and response of both roles.

Rule of this module: the syntax and the rules of RFC 6455 §4 and as much of RFC 9110 and 9112 as they need; no I/O, no
clock, no randomness. What a peer does wrong is a `HandshakeError` with the status to answer; what the program does
wrong is a `ValueError`, raised before a byte is written.

Theory of operation. A reader takes bytes until it has a head, judging line by line: a line or a head that is too long
is refused as soon as that is certain, and every byte is looked at once. Syntax is strict where leniency has been a way
to smuggle requests past somebody: line ends are CR LF, nothing is folded, no control characters, no space before the
colon. `check_request` and `check_response` then judge the meaning. A server calls `accept`, which does all of that and
negotiates subprotocol and permessage-deflate; a refusal is `refuse(error)`.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha1
from hmac import compare_digest
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from telex.errors import HandshakeError, InvalidStatus
from telex.limits import Limits
from telex.types import Headers
from telex.websocket.deflate import (
    DeflateOptions,
    DeflateParameters,
    Extension,
    accept_offer,
    accept_response,
    make_offer,
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
    "parse_origins",
    "parse_url",
    "refuse",
    "reject",
]

# Syntax. Possessive quantifiers keep every pattern linear in what a peer sends.
_TCHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # RFC 9110 §5.6.2
_TOKEN = re.compile(rf"{_TCHAR}++")
_FIELD_NAME = re.compile(_TOKEN.pattern.encode())
_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+")  # RFC 9110 §5.5, without control characters
_C1_CONTROL = re.compile(r"[\x80-\x9f]")
_REQUEST_LINE = re.compile(rf"({_TCHAR}++) ([!-~]++) HTTP/([0-9])\.([0-9])")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*+))?")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]*+)?")
_KEY = re.compile(r"[0-9A-Za-z+/]{22}==")  # base64 of 16 bytes
_DIGITS = re.compile(r"[0-9]++")
_PARAMETER = re.compile(rf';[ \t]*+({_TCHAR}++)[ \t]*+(?:=[ \t]*+({_TCHAR}++|"(?:\\?{_TCHAR})++")[ \t]*+)?+')
_EXTENSION = re.compile(rf"({_TCHAR}++)[ \t]*+((?:{_PARAMETER.pattern})*+)(?=,|\Z)")
_GAP = re.compile(r"[ \t,]*+")  # RFC 9110 §5.6.1.2: a recipient ignores empty elements of a list
_ORIGIN = re.compile(r"([a-z][a-z0-9+.\-]*+)://([a-z0-9\-._~!$&'()*+,;=%]++|\[[0-9a-f:.]++\])(?::([0-9]{1,5}))?")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t;][^\r\n]*+)?\r\n")

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


@dataclass(frozen=True, slots=True)
class Request:
    """Be the head of a request. `target` is as it was sent: path and query, still escaped."""

    method: str
    target: str
    headers: Headers

    @property
    def path(self) -> str:
        """Return the path, unescaped. It may hold `..` and `//`: compare it, do not resolve it."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> str:
        """Return what follows the question mark, still escaped."""
        return self.target.partition("?")[2]

    def encode(self) -> bytes:
        """Return the request as it goes on the wire; raises `ValueError` for anything HTTP cannot carry."""
        line = f"{self.method} {self.target} HTTP/1.1"
        if not _REQUEST_LINE.fullmatch(line):
            raise ValueError(f"not a request line: {line!r}")
        return _encode_head(line, self.headers)


@dataclass(frozen=True, slots=True)
class Response:
    """Be a response."""

    status: int
    reason: str
    headers: Headers
    body: bytes = b""

    def encode(self) -> bytes:
        """Return the response as it goes on the wire; raises `ValueError` for anything HTTP cannot carry."""
        line = f"HTTP/1.1 {self.status} {self.reason}"
        if not _STATUS_LINE.fullmatch(line):
            raise ValueError(f"not a status line: {line!r}")
        return _encode_head(line, self.headers) + self.body


class Negotiated(NamedTuple):
    """Be what an opening handshake agreed on."""

    subprotocol: str | None
    deflate: DeflateParameters | None


# Reading


@dataclass(slots=True)
class _Head:
    """Be a start line and header fields whose syntax is sound."""

    start: str
    headers: Headers = field(default_factory=Headers)


class _HeadReader:
    """Read a head line by line.

    **Limits**: `max_request_line`, `max_header_line`, `max_headers`, `max_header_bytes`. Cost: linear, in any split.
    Source: RFC 9112 §2.2, §5.
    """

    __slots__ = ("_buffer", "_head", "_limits", "_n_bytes", "leftover")

    def __init__(self, limits: Limits) -> None:
        self.leftover = b""
        self._limits = limits
        self._buffer = bytearray()  # the line that is not complete
        self._head: _Head | None = None  # what is complete
        self._n_bytes = 0  # of the header lines that are complete

    def read_head(self, data: bytes) -> _Head | None:
        """Take bytes; return the head when it is complete, and leave what follows it in `leftover`."""
        buffer = self._buffer
        unseen = len(buffer)
        buffer += data
        begin = 0
        while (end := buffer.find(b"\n", unseen)) >= 0:
            line = bytes(buffer[begin : end + 1])
            begin = unseen = end + 1
            self._check_length(len(line) - 2)
            if not line.endswith(b"\r\n"):
                raise HandshakeError(400, "A line does not end with CR LF.")
            if self._head is None:
                self._head = _Head(line[:-2].decode("latin-1"))
            elif line == b"\r\n":
                self.leftover = bytes(buffer[begin:])
                self._buffer = bytearray()
                return self._head
            else:
                self._add_field(self._head.headers, line[:-2])
        del buffer[:begin]
        if buffer:
            if self._head is None and not buffer[:1].isalpha():
                # A TLS client, or anything else that will never send a line: no need to wait for one.
                raise HandshakeError(400, "This is not HTTP.")
            self._check_length(len(buffer) - buffer.endswith(b"\r"))
        return None

    def _check_length(self, size: int) -> None:
        """Refuse a line of this size, complete or not."""
        limits = self._limits
        if self._head is None:
            if size > limits.max_request_line:
                raise HandshakeError(414, f"The request line is longer than {limits.max_request_line} bytes.")
        elif size > limits.max_header_line:
            raise HandshakeError(431, f"A header line is longer than {limits.max_header_line} bytes.")
        elif self._n_bytes + size > limits.max_header_bytes:
            raise HandshakeError(431, f"The header is longer than {limits.max_header_bytes} bytes.")

    def _add_field(self, headers: Headers, line: bytes) -> None:
        """Add one header field (RFC 9112 §5)."""
        self._n_bytes += len(line) + 2
        if len(headers) >= self._limits.max_headers:
            raise HandshakeError(431, f"There are more than {self._limits.max_headers} header lines.")
        name, colon, value = line.partition(b":")
        if not colon or not _FIELD_NAME.fullmatch(name):
            raise HandshakeError(400, "A header line has no proper name.")
        text = value.strip(b" \t")
        if not _FIELD_VALUE.fullmatch(text) or (not text.isascii() and _has_c1_control(text)):
            raise HandshakeError(400, "A header value has a control character.")
        headers.add(name.decode("ascii"), text.decode("latin-1"))


def _has_c1_control(value: bytes) -> bool:
    """Tell whether a value beyond ASCII holds U+0080 to U+009F, read as UTF-8 where it is that.

    Some of them end a line for careless code further up; in UTF-8 the same bytes are parts of ordinary letters.
    """
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return _C1_CONTROL.search(text) is not None


class RequestReader:
    """Read the request that opens a connection.

    `leftover` holds what came after it: the beginning of the peer's frames, if it is in a hurry. It becomes input of
    the connection after the 101 and is never read as another request.
    """

    __slots__ = ("_head", "_is_done", "_limits")

    def __init__(self, limits: Limits) -> None:
        self._head = _HeadReader(limits)
        self._limits = limits
        self._is_done = False

    @property
    def leftover(self) -> bytes:
        """Return the bytes that came after the request."""
        return self._head.leftover

    def feed(self, data: bytes) -> Request | None:
        """Take bytes and return the request when it is complete; after that only collect `leftover`.

        Raises `HandshakeError` 400, 414, 431 or 505, after which the reader must not be used.
        **Limits**: those of the head; `max_header_bytes` bounds `leftover`.
        """
        if self._is_done:
            self._head.leftover += data
            self._check_leftover()
            return None
        head = self._head.read_head(data)
        if head is None:
            return None
        self._is_done = True
        self._check_leftover()
        return _parse_request(head)

    def _check_leftover(self) -> None:
        if len(self.leftover) > self._limits.max_header_bytes:
            raise HandshakeError(400, "Too much was sent before the handshake was answered.")


def _parse_request(head: _Head) -> Request:
    """Return the request a head stands for (RFC 9112 §3)."""
    match = _REQUEST_LINE.fullmatch(head.start)
    if match is None:
        raise HandshakeError(400, "The request line is malformed.")
    method, target, major, minor = match.groups()
    if (major, minor) < ("1", "1") or major > "1":  # RFC 6455 §4.1: "HTTP version MUST be at least 1.1"
        raise HandshakeError(505, "HTTP/1.1 is needed.")
    # What a proxy would be sent (absolute and authority form) and `*` do not belong here.
    if not target.startswith("/") or "#" in target or _BAD_ESCAPE.search(target):
        raise HandshakeError(400, "The request target is malformed.")
    try:
        path = unquote(target.partition("?")[0], errors="strict")
        unquote(target.partition("?")[2], errors="strict")
    except UnicodeDecodeError:
        raise HandshakeError(400, "The request target is not UTF-8.") from None
    if _CONTROL.search(path):
        raise HandshakeError(400, "The request target has a control character.")
    return Request(method, target, head.headers)


class ResponseReader:
    """Read the response to a client's opening handshake.

    A 101 is complete with its head, and `leftover` holds the server's first frames. Any other response is read with
    its body, as far as it helps to understand the refusal.
    **Limits**: those of the head, and `max_error_body`.
    """

    __slots__ = ("_body", "_expected", "_head", "_is_chunked", "_limits", "_response")

    def __init__(self, limits: Limits) -> None:
        self._head = _HeadReader(limits)
        self._limits = limits
        self._response: Response | None = None  # its head, while the body is read
        self._body = bytearray()
        self._expected = limits.max_error_body
        self._is_chunked = False

    @property
    def leftover(self) -> bytes:
        """Return the bytes that came after a 101."""
        return self._head.leftover

    def feed(self, data: bytes) -> Response | None:
        """Take bytes and return the response when it is complete. Raises `HandshakeError` 502 where it is no HTTP."""
        if self._response is None:
            try:
                head = self._head.read_head(data)
            except HandshakeError as error:
                raise HandshakeError(502, f"The server's response is malformed: {error.reason}") from None
            if head is None:
                return None
            self._response = _parse_response(head)
            if self._response.status == HTTPStatus.SWITCHING_PROTOCOLS:
                return self._response
            self._measure_body(self._response)
            data, self._head.leftover = self._head.leftover, b""
        self._body += data
        if len(self._body) >= self._expected or (self._is_chunked and self._body.endswith(b"0\r\n\r\n")):
            return self._complete(self._response)
        return None

    def receive_eof(self) -> Response:
        """Return the response that ends here. Raises `HandshakeError` 502 where its head is not complete."""
        if self._response is None:
            raise HandshakeError(502, "The server ended the connection without an answer.")
        return self._complete(self._response)

    def _measure_body(self, response: Response) -> None:
        """Find out how the body ends (RFC 9112 §6.3): by length, by a last chunk, or with the connection."""
        length = response.headers.get("Content-Length", "")
        if response.status < HTTPStatus.OK or response.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            self._expected = 0
        elif "Transfer-Encoding" in response.headers:
            self._is_chunked = "chunked" in _tokens(response.headers, "Transfer-Encoding")
        elif _DIGITS.fullmatch(length) and len(length) <= len(str(self._expected)):
            self._expected = min(int(length), self._expected)

    def _complete(self, response: Response) -> Response:
        body = bytes(self._body[: self._expected])
        if self._is_chunked:
            body = _join_chunks(body)
        return Response(response.status, response.reason, response.headers, body)


def _parse_response(head: _Head) -> Response:
    """Return the response a head stands for (RFC 9112 §4)."""
    match = _STATUS_LINE.fullmatch(head.start)
    if match is None:
        raise HandshakeError(502, "The server's response is malformed: it has no status line.")
    minor, status, reason = match.groups()
    if int(status) == HTTPStatus.SWITCHING_PROTOCOLS and minor == "0":
        raise HandshakeError(502, "The server switched protocols in HTTP/1.0.")
    return Response(int(status), reason or "", head.headers)


def _join_chunks(data: bytes) -> bytes:
    """Return what of a chunked body is there (RFC 9112 §7.1); it may be cut off, and nothing depends on it."""
    chunks: list[bytes] = []
    position = 0
    while (match := _CHUNK_SIZE.match(data, position)) and (size := int(match[1], 16)):
        chunks.append(data[match.end() : match.end() + size])
        position = match.end() + size + 2
    return b"".join(chunks)


# Writing


def _encode_head(line: str, headers: Headers) -> bytes:
    """Return a head; raise `ValueError` for a field that would not come out as one line with that name and value."""
    lines = [line.encode("latin-1")]
    for name, value in headers:
        # Beyond Latin-1 there is no way to write it (RFC 9110 §5.5); the error is a ValueError.
        encoded = value.encode("latin-1")
        if not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(encoded):
            raise ValueError(f"not a header field: {name!r}: {value!r}")
        lines.append(b"%s: %s" % (name.encode("ascii"), encoded))
    return b"\r\n".join(lines) + b"\r\n\r\n"


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


def _tokens(headers: Headers, name: str) -> list[str]:
    """Return the elements of a list field, in lower case; several lines are one list (RFC 9110 §5.3)."""
    return [item for part in headers.get(name, "").split(",") if (item := part.strip(" \t").lower())]


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
    if len(set(names)) < len(names) or not all(map(_TOKEN.fullmatch, names)):
        raise HandshakeError(400, "Sec-WebSocket-Protocol is malformed.")
    return names


# The server's side

Origin = tuple[str, str, int | None]
"""Scheme, host and port of a web origin (RFC 6454 §4), in lower case, the port filled in where the scheme has one."""


def _parse_origin(text: str) -> Origin | None:
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
        origin = _parse_origin(text)
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
    elif len(values) > 1 or (origins is not None and _parse_origin(values[0]) not in origins):
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
    if "Transfer-Encoding" in headers or len(lengths) > 1 or not all(map(_DIGITS.fullmatch, lengths)):
        raise HandshakeError(400, "The length of the body is not clear.")
    if request.method != "GET":
        raise HandshakeError(405, "Open a WebSocket connection with GET.", [("Allow", "GET")])
    if "websocket" not in _tokens(headers, "Upgrade") or "upgrade" not in _tokens(headers, "Connection"):
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
) -> tuple[Response, Negotiated]:
    """Accept a request: return the 101 and what was agreed on.

    Args:
        subprotocols: those the server speaks; the first of the client's that is among them is agreed on, else none.
        deflate: None refuses compression.
        headers: further fields of the response.

    Raises `HandshakeError` 400, 403, 405 or 426; `ValueError` for a header field that belongs to the handshake.
    Source: RFC 6455 §4.2.2.
    """
    fields = _own_headers(headers)
    key = check_request(request)
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
    if _CONTROL.search(text) or " " in text:
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
        if not _TOKEN.fullmatch(name):
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
    if _tokens(headers, "Upgrade") != ["websocket"] or "upgrade" not in _tokens(headers, "Connection"):
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
