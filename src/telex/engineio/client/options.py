"""How a program wants to be connected to an Engine.IO server.

Rule of this module: it checks and keeps what the program said, and does nothing. What cannot be is a `TypeError` or
`ValueError`, raised when the options are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from telex.engineio.client.cookies import CookieJar
from telex.limits import Limits
from telex.types import Headers
from telex.websocket.deflate import DeflateOptions
from telex.websocket.dialing import Way
from telex.websocket.handshake import Url, build_request, parse_url

__all__ = ["TRANSPORTS", "Memory", "Options"]

TRANSPORTS = ("polling", "websocket")
"""The transports that there are, in the order in which the original tries them."""

DEFAULT_PATH = "/engine.io"

SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}

OWN_FIELDS = frozenset({"EIO", "transport", "sid"})
"""Fields of the query that the protocol itself uses."""

STAMP_BYTES = 6
"""Of randomness in the field that tells requests apart: eight characters."""

FRAMING = frozenset({"connection", "content-encoding", "content-length", "expect", "te", "transfer-encoding"})
"""Header fields that say where a request ends and what becomes of the connection."""

PER_TRANSPORT = frozenset({"headers", "query", "path", "deflate", "subprotocols", "origin", "request_timeout"})
"""Options that may be given for one transport alone."""


@dataclass(slots=True)
class Memory:
    """Keep what one session learns for the next: of one server, and of one program's connections to it.

    Attributes:
        websocket_worked: Whether the last WebSocket that was tried was opened (see `Options.remember_upgrade`).
    """

    websocket_worked: bool = False
    jar: CookieJar = field(default_factory=CookieJar)
    """The server's cookies."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Say how to connect.

    Attributes:
        url: `http://`, `https://`, `ws://` or `wss://`, with a host, and perhaps a port and a query.
        path: Where the server is; by default the URL's own path, or `/engine.io` where it has none.
        add_trailing_slash: End the path with a slash, as servers expect it.
        query: Further fields of the query, besides those in the URL.
        transports: Those to use, in order: the first one opens the session.
        upgrade: Go on to a better transport when the session is open.
        remember_upgrade: Begin with websocket when it has worked before.
        try_all_transports: Begin with the next transport when one cannot open the session.
        headers: Further header fields of every request.
        origin: The value of `Origin`, which browsers send and other programs need not.
        cookies: Send back the cookies that the server sets, as load balancers with sticky sessions want it.
        subprotocols: Those of WebSocket that the program speaks.
        deflate: Offer permessage-deflate: options, True for the default ones, None or False for none.
        way: TLS, proxies and the like (see `Way`).
        timeout: Seconds until the session is open; by default `Limits.handshake_timeout`.
        request_timeout: Seconds that one request of polling may take, besides the poll itself, which waits for the
            server's next ping; by default `Limits.body_timeout`.
        timestamp_requests: Tell requests apart by a field of the query, so that no cache answers them: True for all,
            False for none, None for those of polling.
        timestamp_param: The name of that field.
        transport_options: Options for one transport alone, by its name: `{"websocket": {"headers": {...}}}`.
        memory: What earlier sessions have learned.
    """

    url: str
    path: str | None = None
    add_trailing_slash: bool = True
    query: Mapping[str, str] = field(default_factory=dict)
    transports: Sequence[str] = TRANSPORTS
    upgrade: bool = True
    remember_upgrade: bool = False
    try_all_transports: bool = False
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    origin: str | None = None
    cookies: bool = True
    subprotocols: Sequence[str] = ()
    deflate: DeflateOptions | bool | None = None
    way: Way = field(default_factory=Way)
    timeout: float | None = None
    request_timeout: float | None = None
    timestamp_requests: bool | None = None
    timestamp_param: str = "t"
    transport_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        if isinstance(self.transports, str) or not self.transports:
            raise ValueError('transports are a list of names: ["polling", "websocket"]')
        _check_names(self.transports)
        _check_names(self.transport_options)
        items = self.headers.items() if isinstance(self.headers, Mapping) else self.headers
        object.__setattr__(self, "headers", tuple(items))  # read more than once
        wrong = [name for name, _ in self.header_items if name.lower() in FRAMING]
        if wrong:
            raise ValueError(f"the header field {wrong[0]} belongs to HTTP itself")
        if self.way.sock is not None and tuple(self.transports) != ("websocket",):
            raise ValueError('a socket carries one connection: give transports=["websocket"] with it')
        for name in self.transports:
            self.for_transport(name).check(name)

    @property
    def header_items(self) -> tuple[tuple[str, str], ...]:
        """The program's header fields."""
        return self.headers  # type: ignore[return-value]  # made one when the options were

    @property
    def open_timeout(self) -> float:
        """Seconds until the session is open."""
        return self.limits.handshake_timeout if self.timeout is None else self.timeout

    @property
    def deflate_options(self) -> DeflateOptions | None:
        """What to offer."""
        return DeflateOptions() if self.deflate is True else self.deflate or None

    @cached_property
    def frame_limits(self) -> Limits:
        """The limits of WebSockets, on which a message may be as large as an answer to a poll."""
        return replace(self.limits, max_message_size=self.limits.max_server_payload)

    def check(self, transport: str) -> None:
        """Raise `ValueError` for what a transport's requests cannot hold."""
        build_request(
            self.address(transport),
            "",
            subprotocols=self.subprotocols,
            headers=self.header_items,
            origin=self.origin,
            deflate=self.deflate_options,
        ).encode()

    def for_transport(self, name: str) -> Options:
        """Return the options for one transport. Raises `ValueError` for those that cannot differ by transport."""
        own = self.transport_options.get(name)
        if not own:
            return self
        wrong = set(own) - PER_TRANSPORT
        if wrong:
            raise ValueError(f"not an option of one transport: {', '.join(sorted(wrong))}")
        return replace(self, **own, transport_options={})

    def fields_for(self, where: Url, now: float) -> list[tuple[str, str]]:
        """Return the program's header fields for a request, with the cookies that go with it.

        Args: `now` is in seconds since 1970.
        """
        cookies = self.memory.jar.header(where, now) if self.cookies else None
        if cookies is None:
            return list(self.header_items)
        own = [value for name, value in self.header_items if name.lower() == "cookie"]
        others = [(name, value) for name, value in self.header_items if name.lower() != "cookie"]
        return [*others, ("Cookie", "; ".join([*own, cookies]))]

    def learn(self, where: Url, headers: Headers, now: float) -> None:
        """Keep the cookies that an answer sets."""
        if self.cookies:
            self.memory.jar.take(where, headers.get_all("Set-Cookie"), now)

    def address(self, transport: str, sid: str | None = None, stamp: str | None = None) -> Url:
        """Return where a transport's requests go.

        Args:
            sid: The session's, once it has one.
            stamp: A text that no request has had before.

        Raises `ValueError`.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in SCHEMES:
            raise ValueError(f"the URL of an Engine.IO server begins with http:// or https://, not {parts.scheme}://")
        fields = {**dict(parse_qsl(parts.query, keep_blank_values=True)), **self.query}
        wrong = OWN_FIELDS & fields.keys()
        if wrong:
            raise ValueError(f"the query field {min(wrong)} belongs to the protocol")
        fields |= {"EIO": "4", "transport": transport}
        if sid is not None:
            fields["sid"] = sid
        if stamp is not None:
            fields[self.timestamp_param] = stamp
        path = self.path if self.path is not None else parts.path if parts.path.strip("/") else DEFAULT_PATH
        path = "/" + path.strip("/")
        if self.add_trailing_slash and path != "/":
            path += "/"
        return parse_url(f"{SCHEMES[parts.scheme]}://{parts.netloc}{path}?{urlencode(fields)}")


def _check_names(transports: Iterable[str]) -> None:
    for name in transports:
        if name not in TRANSPORTS:
            raise ValueError(f"there is no transport {name!r}; there are {' and '.join(TRANSPORTS)}")
