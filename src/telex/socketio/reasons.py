"""Why a socket disconnected.

Rule of this module: the one table of disconnect reasons. The texts are the original's: programs compare them.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["DisconnectReason"]


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
    SLOW_CONSUMER = "slow consumer"
    """The client took too little for too long (`Limits.send_buffer_max`, `Limits.slow_consumer_timeout`)."""
