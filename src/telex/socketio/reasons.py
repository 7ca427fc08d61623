"""Why a socket disconnected.

Rule of this module: the one table of disconnect reasons. The texts are the original's: programs compare them.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["RECOVERABLE", "DisconnectReason"]


class DisconnectReason(StrEnum):
    """Say why a socket disconnected, in the original's words, but for `SLOW_CONSUMER`, which is Telex's own."""

    TRANSPORT_ERROR = "transport error"
    TRANSPORT_CLOSE = "transport close"
    FORCED_CLOSE = "forced close"
    PING_TIMEOUT = "ping timeout"
    PARSE_ERROR = "parse error"
    SERVER_SHUTTING_DOWN = "server shutting down"
    FORCED_SERVER_CLOSE = "forced server close"
    CLIENT_NAMESPACE_DISCONNECT = "client namespace disconnect"
    SERVER_NAMESPACE_DISCONNECT = "server namespace disconnect"
    IO_SERVER_DISCONNECT = "io server disconnect"
    """At a client: the server sent it off."""
    IO_CLIENT_DISCONNECT = "io client disconnect"
    """At a client: its program left."""
    SLOW_CONSUMER = "slow consumer"
    """The client took too little for too long (`Limits.send_buffer_max`, `Limits.slow_consumer_timeout`)."""


RECOVERABLE = frozenset(
    {
        DisconnectReason.TRANSPORT_ERROR,
        DisconnectReason.TRANSPORT_CLOSE,
        DisconnectReason.FORCED_CLOSE,
        DisconnectReason.PING_TIMEOUT,
        DisconnectReason.SERVER_SHUTTING_DOWN,
        DisconnectReason.FORCED_SERVER_CLOSE,
        DisconnectReason.SLOW_CONSUMER,
    }
)
"""After these a client may come back and be recovered: the original's, and `SLOW_CONSUMER`."""
