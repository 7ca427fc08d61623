"""The revisions of the protocol that a client may speak, and what serves each.

Rule of this module: one table. Whoever opens a session or lays a transport asks here once, and nobody asks again.

Source: Engine.IO protocol v4 and v3, "Handshake": `EIO` is the revision, `b64` and `j` are v3's only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from telex.engineio.session import Session
from telex.engineio.transports import PollingTransport, StreamTransport, WebSocketTransport
from telex.engineio.v3.session import SessionV3
from telex.engineio.v3.transports import (
    Base64PollingTransport,
    Base64StreamTransport,
    Base64WebSocketTransport,
    JsonpTransport,
    PollingTransportV3,
    StreamTransportV3,
    WebSocketTransportV3,
)

__all__ = ["V3", "V4", "Revision", "asked_for", "revision_of"]


@dataclass(frozen=True, slots=True)
class Revision:
    """Name the parts that serve one kind of client."""

    session: type[Session]
    polling: type[PollingTransport]
    websocket: type[WebSocketTransport]
    stream: type[StreamTransport]


V4 = Revision(Session, PollingTransport, WebSocketTransport, StreamTransport)
V3 = Revision(SessionV3, PollingTransportV3, WebSocketTransportV3, StreamTransportV3)
V3_BASE64 = Revision(SessionV3, Base64PollingTransport, Base64WebSocketTransport, Base64StreamTransport)
V3_JSONP = replace(V3_BASE64, polling=JsonpTransport)

PROTOCOLS = {"4": 4, "3": 3, None: 3}
"""What `EIO` says; some clients of v3 say nothing."""


def asked_for(query: Mapping[str, str]) -> int:
    """Return which protocol a handshake asks for; 0 for one that is not known."""
    return PROTOCOLS.get(query.get("EIO"), 0)


def revision_of(protocol: int, query: Mapping[str, str]) -> Revision:
    """Return what serves a client of a protocol, by the query of the request that brings the transport."""
    if protocol != V3.session.protocol:
        return V4
    if "j" in query:
        return V3_JSONP
    return V3_BASE64 if query.get("b64") else V3
