"""Opening a session: the request, the answers, and what may be refused.

Rule of this module: sans-I/O. It says what to answer; `server.py` and `transports/` do it.
All that Engine.IO ever answers with an error stands in `Refusal`, and the sentences that help in `hints.py`.

Source: Engine.IO protocol v4, "Handshake"; the codes and texts are the original server's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol
from urllib.parse import parse_qsl

import msgspec

from telex.engineio.hints import Hint
from telex.engineio.packets import Packet
from telex.limits import Limits
from telex.types import Headers

__all__ = [
    "Cookie",
    "Delivery",
    "Opening",
    "Refusal",
    "RefusalKind",
    "RefusedRequest",
    "Request",
    "Response",
    "open_packet",
]

MAX_QUERY_FIELDS = 100
"""As many as header lines; the protocol itself uses four."""


PLAIN_QUERY = re.compile(r"[\w-]+=[\w-]*(?:&[\w-]+=[\w-]*){0,9}", re.ASCII)
"""What clients send: a few fields, nothing of which is escaped."""


class RefusalKind(Enum):
    """Name what is wrong: the code, the text and the HTTP status that the original answers with."""

    TRANSPORT_UNKNOWN = (0, "Transport unknown", 400)
    UNKNOWN_SID = (1, "Session ID unknown", 400)
    BAD_HANDSHAKE_METHOD = (2, "Bad handshake method", 400)
    BAD_REQUEST = (3, "Bad request", 400)
    FORBIDDEN = (4, "Forbidden", 403)
    UNSUPPORTED_PROTOCOL_VERSION = (5, "Unsupported protocol version", 400)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Say why a request is refused.

    `hint` is the sentence that helps, `text` what is said in place of the kind's own message. `context` is for those
    who watch over the server: what the original tells there, under its names, with what the client sent in it.
    """

    kind: RefusalKind
    hint: Hint
    text: str | None = None
    context: Mapping[str, str] = field(default_factory=dict)

    @property
    def message(self) -> str:
        """The text the client reads."""
        return self.kind.value[1] if self.text is None else self.text

    def response(self) -> Response:
        """Answer a plain HTTP request.

        **Shape**: `{"code","message","hint"}`; the last is ours, and clients read the first two.
        """
        code, _, status = self.kind.value
        body = msgspec.json.encode({"code": code, "message": self.message, "hint": self.hint.text})
        return Response(status, [("content-type", "application/json")], body)

    def websocket_response(self) -> Response:
        """Answer a WebSocket upgrade request: 400 and the bare text, whatever the code.

        What is no Socket.IO client expects nothing, and is answered the sentence.
        """
        if self.hint is Hint.PLAIN_WEBSOCKET:
            kind, body = "text/plain; charset=utf-8", self.hint.text + "\n"
        else:
            kind, body = "text/html", self.message
        return Response(400, [("connection", "close"), ("content-type", kind)], body.encode())


@dataclass(frozen=True, slots=True)
class RefusedRequest:
    """Tell a program that watches of a request that was refused (the engine's event "connection_error").

    `code` and `message` are what the client is answered, `hint` says what to change, and `context` holds what the
    original tells there, such as `{"name": "INVALID_ORIGIN"}` or `{"sid": ...}`.
    """

    request: Request
    code: int
    message: str
    hint: str
    context: Mapping[str, str]


@dataclass(slots=True)
class Request:
    """Hold the part of an HTTP request that the protocol looks at.

    `query` has the last value of each name; `is_malformed` tells that there are too many, or that one of the protocol's
    own came twice. `scope` is the ASGI scope the request came with.
    """

    method: str
    path: str
    query_string: str
    headers: Headers
    is_secure: bool = False
    remote_address: tuple[str, int] | None = None
    scope: Mapping[str, Any] = field(default_factory=dict)
    query: dict[str, str] = field(init=False)
    is_malformed: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        query = self.query_string
        try:
            if PLAIN_QUERY.fullmatch(query):
                pairs = [(name, value) for name, _, value in [pair.partition("=") for pair in query.split("&")]]
            else:
                pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_FIELDS)
        except ValueError:
            pairs, self.is_malformed = [], True
        self.query = dict(pairs)
        names = [name for name, _ in pairs if name in ("EIO", "sid", "transport")]
        if len(names) != len(set(names)):
            self.is_malformed = True

    @property
    def origin(self) -> str | None:
        """The `Origin` header, where there is one."""
        return self.headers.get("origin")

    @property
    def url(self) -> str:
        """The path with its query."""
        return f"{self.path}?{self.query_string}" if self.query_string else self.path

    def unpack(self) -> Request:
        """Return itself (see `Opening`)."""
        return self


class Opening(Protocol):
    """Keep the request that opened a session for as long as the session lives: as it is, or in a smaller form."""

    def unpack(self) -> Request:
        """Return the request."""
        ...


class Delivery(Protocol):
    """Hear how an answer leaves: sends that wait for the client's room show how far it lags."""

    def leaving(self, n_left: int, n_total: int) -> None:
        """Hear that all but `n_left` of the body's bytes have left, or do so now."""
        ...

    def lost(self) -> None:
        """Hear that the rest of the answer will not leave."""
        ...


@dataclass(slots=True)
class Response:
    """Hold an HTTP answer; `content-length` is added by whoever sends it.

    `may_compress` is set for the answer to a poll that holds a packet which may be compressed, and `delivery` names
    whoever wants to know how the body gets on.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    may_compress: bool = False
    delivery: Delivery | None = None


COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 6265 §4.1.1: a token
COOKIE_ATTRIBUTE = re.compile(r"[!-:<-~]*")  # no blank, no semicolon


@dataclass(frozen=True, kw_only=True, slots=True)
class Cookie:
    """Describe the cookie that carries the session id, for load balancers that keep a client on one server.

    `secure=None` sets `Secure` on TLS connections. `max_age` is in seconds.
    Raises `ValueError` for what a cookie cannot hold.
    """

    name: str = "io"
    path: str = "/"
    domain: str | None = None
    http_only: bool = True
    same_site: str | None = "Lax"
    secure: bool | None = None
    max_age: int | None = None

    def __post_init__(self) -> None:
        if not COOKIE_NAME.fullmatch(self.name):
            raise ValueError(f"a cookie cannot be named {self.name!r}")
        for text in (self.path, self.domain or "", self.same_site or ""):
            if not COOKIE_ATTRIBUTE.fullmatch(text):
                raise ValueError(f"a cookie cannot hold {text!r}")

    def header(self, sid: str, is_secure: bool) -> tuple[str, str]:
        """Return the `Set-Cookie` line for a session (RFC 6265 §4.1)."""
        parts = [f"{self.name}={sid}"]
        if self.max_age is not None:
            parts.append(f"Max-Age={self.max_age}")
        if self.domain:
            parts.append(f"Domain={self.domain}")
        parts.append(f"Path={self.path}")
        if self.http_only:
            parts.append("HttpOnly")
        if self.secure or (self.secure is None and is_secure):
            parts.append("Secure")
        if self.same_site:
            parts.append(f"SameSite={self.same_site}")
        return "set-cookie", "; ".join(parts)


def open_packet(sid: str, upgrades: Sequence[str], limits: Limits) -> Packet:
    """Make the packet that opens a session.

    **Shape**: `0{"sid","upgrades","pingInterval","pingTimeout","maxPayload"}`, exactly these keys in this order.
    **Units**: milliseconds and bytes on the wire.
    """
    fields = {
        "sid": sid,
        "upgrades": list(upgrades),
        "pingInterval": round(limits.ping_interval * 1000),
        "pingTimeout": round(limits.ping_timeout * 1000),
        "maxPayload": limits.max_payload,
    }
    return Packet("0" + msgspec.json.encode(fields).decode())
