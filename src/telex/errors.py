"""Every exception Telex raises, in one tree.

Rule of this module: it imports nothing of Telex, and each class holds data and builds its text in `__str__`.
A class that describes what a built-in describes inherits it, so `except TimeoutError` works as expected.

What a *peer* does wrong is a `ProtocolError`; each carries the one answer that its protocol prescribes
(an HTTP status or a close code), and nothing else may leave a parser.
What the *program* does wrong is a plain `TypeError` or `ValueError`, raised before anything is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "AckTimeout",
    "ConnectError",
    "ConnectRefused",
    "ConnectionClosed",
    "Disconnected",
    "EnginePacketError",
    "EventInProgress",
    "EventRefused",
    "FrameError",
    "HandshakeError",
    "InvalidStatus",
    "OutboxFull",
    "ProtocolError",
    "ProxyError",
    "SocketPacketError",
    "StreamError",
    "TelexError",
    "TooManyAcks",
]


class TelexError(Exception):
    """Be the common ancestor of all that Telex raises on purpose."""


class ProtocolError(TelexError):
    """Say that the peer broke the protocol."""


class FrameError(ProtocolError):
    """Say that the peer broke RFC 6455 or RFC 7692 after the opening handshake.

    `code` is the close code to answer with (RFC 6455 §7.4.1), `reason` one sentence for the log and the Close frame.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.reason} (close code {self.code})"


class HandshakeError(ProtocolError):
    """Say that an opening handshake failed; a server answers with `status`, `headers` and `reason` as the body.

    Source: RFC 6455 §4.
    """

    def __init__(self, status: int, reason: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
        self.headers = tuple(headers)

    def __str__(self) -> str:
        return f"{self.reason} (HTTP {self.status})"


class InvalidStatus(HandshakeError):
    """Say that a server answered a client's opening handshake with something else than 101.

    `body` holds what the server said, cut at `Limits.max_error_body`.
    """

    def __init__(self, status: int, reason: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b"") -> None:
        super().__init__(status, reason, headers)
        self.body = body


class ProxyError(TelexError, ConnectionError):
    """Say that a proxy does not lead to the server.

    `status` and `headers` are of its HTTP answer; None and empty where it gave none, as SOCKS proxies do not.
    """

    def __init__(self, reason: str, status: int | None = None, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(reason, status)
        self.reason = reason
        self.status = status
        self.headers = tuple(headers)

    def __str__(self) -> str:
        return self.reason if self.status is None else f"{self.reason} (HTTP {self.status})"


class EnginePacketError(ProtocolError):
    """Say that an Engine.IO packet or payload cannot be decoded, or is not allowed in this state."""


class SocketPacketError(ProtocolError):
    """Say that a Socket.IO packet cannot be decoded, or is not allowed in this state."""


class ConnectionClosed(TelexError, ConnectionError):
    """Say that a WebSocket connection is closed.

    `code` and `reason` are the peer's, or 1006 and a sentence when the connection was lost (RFC 6455 §7.1.5).
    """

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"the connection is closed: {self.code} {self.reason}".rstrip()


class Disconnected(TelexError, ConnectionError):
    """Say that a Socket.IO socket disconnected before it answered; `reason` is its disconnect reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the socket disconnected: {self.reason}"


class ConnectError(TelexError, ConnectionError):
    """Say that a client could not connect to a server; `__cause__` tells why, `url` where."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url = url
        self.reason = reason

    def __str__(self) -> str:
        return f"could not connect to {self.url}: {self.reason}"


class OutboxFull(TelexError):
    """Say that a client that is away, or behind with its retries, keeps as many events as it may: this one is not sent.

    `n_events` and `n_bytes` are what waits (`Limits.max_offline_events`, `Limits.max_offline_bytes`).
    """

    def __init__(self, n_events: int, n_bytes: int) -> None:
        super().__init__(n_events, n_bytes)
        self.n_events = n_events
        self.n_bytes = n_bytes

    def __str__(self) -> str:
        return (
            f"{self.n_events} events of {self.n_bytes} bytes wait already: await what emit returns, or raise the limit"
        )


class AckTimeout(TelexError, TimeoutError):
    """Say that not every acknowledgement came in time; `responses` holds those that did."""

    def __init__(self, timeout: float, responses: Sequence[Any] = ()) -> None:
        super().__init__(timeout)
        self.timeout = timeout
        self.responses = list(responses)

    def __str__(self) -> str:
        return f"no acknowledgement within {self.timeout:g} s"


class TooManyAcks(TelexError):
    """Say that a client owes `Limits.max_pending_acks` acknowledgements, so that no further one can be asked for."""

    def __init__(self, maximum: int) -> None:
        super().__init__(maximum)
        self.maximum = maximum

    def __str__(self) -> str:
        return f"the client already owes {self.maximum} acknowledgements"


class StreamError(TelexError):
    """End a stream of events: raised by a handler that is an async generator, and `message` is what its client hears.

    What else a generator raises is logged, and the client hears no more than that there was an error.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class EventInProgress(TelexError):
    """Say that somebody else is at work on an event that has come again (see `telex.once`); its client will retry."""

    def __init__(self, event_id: str) -> None:
        super().__init__(event_id)
        self.event_id = event_id

    def __str__(self) -> str:
        return f"somebody else is at work on the event {self.event_id}"


class ConnectRefused(TelexError, ConnectionRefusedError):
    """Refuse a connection to a namespace: raised by a middleware, read by the client as `connect_error`.

    `message` becomes `err.message` and `data`, where given, `err.data` in the JavaScript client.
    """

    def __init__(self, message: str = "Connection refused", data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return self.message


class EventRefused(TelexError):
    """Stop an event: raised by a middleware of events, so that no handler gets it.

    Where the client awaits an acknowledgement it gets `{"error": {"message": ..., "data": ...}}`, `data` only where it
    was given.
    """

    def __init__(self, message: str = "Event refused", data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return self.message
