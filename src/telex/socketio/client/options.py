"""How a program wants to be connected to a Socket.IO server.

Rule of this module: it checks and keeps what the program said, and does nothing. What cannot be is a `TypeError` or
`ValueError`, raised when the client is made.

What belongs to a connection stands in `Settings`, which the clients of one connection share; what belongs to one
client's namespace in `Wishes`.

Source: the options of the original's `Manager` and `Socket` in Python spelling, times in seconds.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypedDict, Unpack
from urllib.parse import urlsplit, urlunsplit

from telex.engineio.client import DeflateOptions, Options, Way
from telex.limits import Limits
from telex.socketio.packets import NOT_IN_NAMES
from telex.socketio.parsers import JSON
from telex.socketio.parsing import OurParser, Parser, as_parser

__all__ = ["Auth", "ClientOptions", "Plan", "Settings", "Wishes", "read_options"]

Auth = Mapping[str, Any] | Callable[[], Mapping[str, Any] | Awaitable[Mapping[str, Any] | None] | None]
"""What a server's middlewares are told: an object, or a function that is asked for it at every CONNECT packet."""

SCHEMES = ("http", "https", "ws", "wss")

DEFAULT_PATH = "/socket.io"


class ClientOptions(TypedDict, total=False):
    """Name the options of a client; `telex.Client` tells what each is."""

    auth: Auth | None
    auto_connect: bool
    force_new: bool
    multiplex: bool
    retries: int
    ack_timeout: float | None

    parser: str | Parser
    reconnection: bool
    reconnection_attempts: int | None
    reconnection_delay: float
    reconnection_delay_max: float
    timeout: float
    limits: Limits

    path: str
    add_trailing_slash: bool
    query: Mapping[str, str]
    transports: Sequence[str]
    upgrade: bool
    remember_upgrade: bool
    try_all_transports: bool
    headers: Mapping[str, str] | Iterable[tuple[str, str]]
    origin: str | None
    cookies: bool
    subprotocols: Sequence[str]
    deflate: DeflateOptions | bool | None
    request_timeout: float | None
    timestamp_requests: bool | None
    timestamp_param: str
    transport_options: Mapping[str, Mapping[str, Any]]

    ssl: ssl.SSLContext | None
    server_hostname: str | None
    sock: socket.socket | None
    proxy: str | bool | None
    local_address: tuple[str, int] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Say how a connection is made and kept: what a `Manager` works with. `engine` is the floor below's part."""

    engine: Options
    origin: str
    parser: OurParser = JSON
    reconnection: bool = True
    reconnection_attempts: int | None = None
    reconnection_delay: float = 1.0
    reconnection_delay_max: float = 30.0
    timeout: float = 20.0

    def __post_init__(self) -> None:
        check_seconds("timeout", self.timeout)
        check_seconds("reconnection_delay", self.reconnection_delay)
        check_seconds("reconnection_delay_max", self.reconnection_delay_max)
        if self.reconnection_delay > self.reconnection_delay_max:
            raise ValueError("reconnection_delay must not be more than reconnection_delay_max")
        if self.reconnection_attempts is not None:
            check_count("reconnection_attempts", self.reconnection_attempts)

    def is_like(self, other: Settings) -> bool:
        """Whether a connection made so is as good as one made otherwise; what was learned does not count."""
        theirs = replace(other, engine=replace(other.engine, memory=self.engine.memory))
        return self == theirs

    @property
    def reconnects(self) -> bool:
        """Whether a connection that is lost is made again."""
        return self.reconnection and self.reconnection_attempts != 0

    @property
    def limits(self) -> Limits:
        """The bounds of what the server may cost."""
        return self.engine.limits


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """Say what one client wants in its namespace."""

    auth: Auth | None = None
    auto_connect: bool = True
    force_new: bool = False
    multiplex: bool = True
    retries: int = 0
    ack_timeout: float | None = None

    def __post_init__(self) -> None:
        if self.auth is not None and not callable(self.auth) and not isinstance(self.auth, Mapping):
            raise TypeError(f"auth is a mapping, or a function that returns one, not {type(self.auth).__name__}")
        check_count("retries", self.retries)
        if self.ack_timeout is not None:
            check_seconds("ack_timeout", self.ack_timeout)


class Plan(NamedTuple):
    """Be what a client was told, checked."""

    namespace: str
    settings: Settings
    wishes: Wishes


OWN_WISHES = frozenset(field.name for field in fields(Wishes))
OWN_SETTINGS = frozenset(field.name for field in fields(Settings)) - {"engine", "origin"}
WAY_FIELDS = frozenset(field.name for field in fields(Way))
ENGINE_FIELDS = frozenset(field.name for field in fields(Options)) - {"url", "way", "memory", "timeout"}
# `origin` is the engine's: a header.


def read_options(url: str, **options: Unpack[ClientOptions]) -> Plan:
    """Check a URL and options. Raises `ValueError` and `TypeError`."""
    given: dict[str, Any] = dict(options)
    wishes = {name: given.pop(name) for name in OWN_WISHES & given.keys()}
    own = {name: given.pop(name) for name in OWN_SETTINGS & given.keys()}
    way = {name: given.pop(name) for name in WAY_FIELDS & given.keys()}
    engine = {name: given.pop(name) for name in ENGINE_FIELDS & given.keys()}
    if given:
        raise TypeError(f"not an option of a client: {', '.join(sorted(given))}")
    where, origin, namespace = split_url(url)
    if "parser" in own:
        own["parser"] = as_parser(own["parser"])
    timeout = own.get("timeout", Settings.__dataclass_fields__["timeout"].default)
    engine = {"path": DEFAULT_PATH, "timeout": timeout} | engine
    made = Options(url=where, way=Way(**way), **engine)
    return Plan(namespace, Settings(engine=made, origin=origin, **own), Wishes(**wishes))


def split_url(url: str) -> tuple[str, str, str]:
    """Take a URL apart: what the engine connects to, its origin, and the namespace, which is the path."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES or not parts.netloc:
        raise ValueError(f"the URL of a server begins with http:// or https:// and has a host: {url!r}")
    namespace = parts.path or "/"
    if NOT_IN_NAMES.search(namespace) is not None:
        raise ValueError(f"a namespace's name has no comma: {namespace!r}")
    where = urlunsplit((parts.scheme, parts.netloc, "", parts.query, ""))
    return where, f"{parts.scheme}://{parts.netloc}", namespace


def check_seconds(name: str, value: object) -> None:
    """Raise unless a value is a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds, not {type(value).__name__}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, not {value}")


def check_count(name: str, value: object) -> None:
    """Raise unless a value is a whole number from 0 on."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{name} must not be negative: {value}")
