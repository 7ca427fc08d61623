"""Write opening handshakes by hand, and read them in every split.

Rule of this module: sound by default; a test changes what it is about.
"""

from __future__ import annotations

from telex.limits import Limits
from telex.websocket.heads import Request, RequestReader, Response, ResponseReader
from tests.splitter import split

__all__ = ["ACCEPT", "KEY", "LIMITS", "answer", "head", "read", "read_response"]

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455 §1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
LIMITS = Limits()
BASE = {
    "Host": "server.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def head(line: str = "GET /chat HTTP/1.1", *fields: str, **changed: str | None) -> bytes:
    """Return a sound opening request; `changed` replaces fields (`_` for `-`), None takes one away."""
    changes = {name.replace("_", "-"): value for name, value in changed.items()}
    kept = {name: changes.pop(name, value) for name, value in BASE.items()}
    lines = [line, *(f"{name}: {value}" for name, value in (kept | changes).items() if value is not None), *fields]
    return "".join(f"{text}\r\n" for text in [*lines, ""]).encode("latin-1")


def read(data: bytes, how: str = "whole", limits: Limits = LIMITS) -> Request:
    reader = RequestReader(limits)
    found = [request for piece in split(data, how) if (request := reader.feed(piece)) is not None]
    assert len(found) == 1
    return found[0]


def answer(*fields: str, line: str = "HTTP/1.1 101 Switching Protocols", **changed: str | None) -> bytes:
    """Return a sound answer to `KEY`, changed as in `head`."""
    base = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": ACCEPT}
    changes = {name.replace("_", "-"): value for name, value in changed.items()}
    kept = {name: changes.pop(name, value) for name, value in base.items()}
    lines = [line, *(f"{name}: {value}" for name, value in (kept | changes).items() if value is not None), *fields]
    return "".join(f"{text}\r\n" for text in [*lines, ""]).encode("latin-1")


def read_response(data: bytes, how: str = "whole", limits: Limits = LIMITS) -> Response | None:
    reader = ResponseReader(limits)
    found = [response for piece in split(data, how) if (response := reader.feed(piece)) is not None]
    return found[0] if found else None
