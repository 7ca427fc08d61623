"""Sentences that help: what is wrong with a request, and what to change.

Rule of this module: texts only, and none of what a client sent. A refused client is told the sentence and the log gets
it too, where it is also the kind by which lines are counted (see `telex.logs`).
"""

from __future__ import annotations

from enum import Enum

__all__ = ["Hint"]


class Hint(Enum):
    """Say what is wrong with a request, and which setting or program to change."""

    NO_CLIENT = (
        "This is the path of a Socket.IO server: connect with a Socket.IO client, which sends EIO=4 and transport in "
        "the query, and not with a browser's address bar or a plain HTTP request."
    )
    PLAIN_WEBSOCKET = (
        "This is the path of a Socket.IO server, and a plain WebSocket client does not speak its protocol: connect "
        "with a Socket.IO client, or serve plain WebSockets at another path."
    )
    TRANSPORT_UNKNOWN = "This transport is not enabled: name it in the server's option transports."
    MALFORMED = "The query is malformed, or repeats EIO, sid or transport."
    MALFORMED_ORIGIN = "The Origin header holds characters that no header may have."
    ORIGIN = (
        "Pages of this origin may not connect: name it in the server's option cors_allowed_origins; behind a proxy "
        "that ends TLS, let the server believe its X-Forwarded-Proto header (--forwarded-allow-ips)."
    )
    WRONG_UPGRADE = "A WebSocket upgrade request must ask for the transport websocket."
    NO_UPGRADE = (
        "The transport websocket needs a WebSocket upgrade request: let the proxy in front pass on the headers Upgrade "
        "and Connection."
    )
    METHOD = "A session is opened with GET."
    UNKNOWN_SESSION = (
        "The session has ended, or lives in another process: several processes need sticky sessions in front of them "
        "(the server's option cookie helps there), or clients with transports: ['websocket']."
    )
    LEFT_POLLING = "The session has left polling for websocket."
    UPGRADES_OFF = "Upgrades are switched off: see the server's option allow_upgrades."
    NO_VERSION = (
        "The query names no protocol version: a Socket.IO client sends EIO=4; some of Socket.IO 2 send none, and the "
        "server's option allow_eio3 lets them in."
    )
    OLD_CLIENT = (
        "The client speaks another version of the protocol than 4: use a Socket.IO client of version 3 or 4, such as "
        "socket.io-client 4, or let those of Socket.IO 2 in with the server's option allow_eio3."
    )
    JSONP = "JSONP polling is for clients of Socket.IO 2 alone, where the server's option allow_eio3 lets them in."
    JSONP_INDEX = "The number of a JSONP callback is none."
    NOT_ALLOWED = "The server's option allow_request refused the client."
    ALLOW_FAILED = "The server's option allow_request failed."
    ID_FAILED = "The server's option generate_id failed."
    MIDDLEWARE_FAILED = "A middleware of the engine failed."

    @property
    def text(self) -> str:
        """The sentence."""
        return str(self.value)
