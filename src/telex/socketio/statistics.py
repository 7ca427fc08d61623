"""What a program may ask about a server at work.

Rule of this module: it only looks. Everything here is counted anyway or can be counted when somebody asks; a number
that would cost each event something is not among them (docs/backpressure.md says which, and why).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from telex.engineio import Session
    from telex.socketio.backlog import Drops
    from telex.socketio.namespace import Namespace
    from telex.socketio.server import Server

__all__ = [
    "Dropped",
    "NamespaceStatistics",
    "ServerStatistics",
    "SocketStatistics",
    "as_dropped",
    "of_namespace",
    "of_server",
]


class Dropped(TypedDict):
    """Count the events that did not reach a client, by why.

    `volatile` could not leave at once, `newest` and `oldest` fell to a policy for slow consumers, `replaced` to a newer
    `latest` value.
    """

    volatile: int
    newest: int
    oldest: int
    replaced: int


class SocketStatistics(TypedDict):
    """Say what waits for and of one client in one namespace.

    buffered_bytes: sent and not left; of the whole connection, which all its namespaces share.
    queued_events: received and waiting for their turn.
    pending_acks: acknowledgements that the client owes.
    rooms: joined, its own among them.
    streams: of events, open.
    is_lagging: whether the client has no room (`Limits.send_buffer_high`).
    is_paused: whether its handlers lag, so that its connection is not read.
    dropped: events that did not reach it.
    delayed_events, dropped_events: events of its client that a rate limit has put off, or dropped.
    """

    buffered_bytes: int
    queued_events: int
    pending_acks: int
    rooms: int
    streams: int
    is_lagging: bool
    is_paused: bool
    dropped: Dropped
    delayed_events: int
    dropped_events: int


class NamespaceStatistics(TypedDict):
    """Say what waits in one namespace: the sums over its sockets.

    buffered_bytes: of the connections of its sockets, which other namespaces may share.
    rooms: with at least one member, the sockets' own not counted.
    lagging, paused: sockets whose client has no room, and sockets whose handlers lag.
    dropped: since the namespace was made, those of sockets that have left included.
    delayed_events, dropped_events, closed_for_rate: what rate limits did since then, the last to connections.
    """

    sockets: int
    buffered_bytes: int
    queued_events: int
    pending_acks: int
    rooms: int
    streams: int
    lagging: int
    paused: int
    dropped: Dropped
    delayed_events: int
    dropped_events: int
    closed_for_rate: int


class ServerStatistics(NamespaceStatistics):
    """Say how many there are, and what waits: the sums over all connections and namespaces.

    sessions: Engine.IO sessions, each a client's connection; `transports` counts them by what carries them now.
    lagging: connections whose client has no room.
    recovery_absent, recovery_events, recovery_bytes: clients that are away and may be recovered, and what is kept for
        them and for the others; 0 where no client is recovered. The rest is as in `NamespaceStatistics`.
    """

    sessions: int
    transports: dict[str, int]
    namespaces: int
    recovery_absent: int
    recovery_events: int
    recovery_bytes: int


def as_dropped(drops: Iterable[Drops]) -> Dropped:
    """Add up what was dropped."""
    total = Dropped(volatile=0, newest=0, oldest=0, replaced=0)
    for counts in drops:
        total["volatile"] += counts.volatile
        total["newest"] += counts.newest
        total["oldest"] += counts.oldest
        total["replaced"] += counts.replaced
    return total


def of_namespace(namespace: Namespace) -> NamespaceStatistics:
    """Look at a namespace. O(sockets)."""
    each = [socket.statistics() for socket in namespace.sockets.values()]
    return NamespaceStatistics(
        sockets=len(each),
        buffered_bytes=sum(socket["buffered_bytes"] for socket in each),
        queued_events=sum(socket["queued_events"] for socket in each),
        pending_acks=sum(socket["pending_acks"] for socket in each),
        rooms=len(namespace.rooms),
        streams=len(namespace.streams),
        lagging=sum(socket["is_lagging"] for socket in each),
        paused=sum(socket["is_paused"] for socket in each),
        dropped=as_dropped([namespace.drops]),
        delayed_events=namespace.throttled.delayed,
        dropped_events=namespace.throttled.dropped,
        closed_for_rate=namespace.throttled.closed,
    )


def of_server(server: Server) -> ServerStatistics:
    """Look at a server. O(sessions + sockets)."""
    namespaces = [of_namespace(namespace) for namespace in server.namespaces.values()]
    sessions: list[Session] = list(server.engine.sessions.values())
    kept = {"absent": 0, "events": 0, "bytes": 0} if server.journal is None else server.journal.statistics()
    return ServerStatistics(
        sessions=len(sessions),
        transports={"polling": 0, "websocket": 0} | Counter(session.transport.name for session in sessions),
        namespaces=len(namespaces),
        sockets=sum(each["sockets"] for each in namespaces),
        buffered_bytes=sum(session.buffered_bytes for session in sessions),
        queued_events=sum(each["queued_events"] for each in namespaces),
        pending_acks=sum(each["pending_acks"] for each in namespaces),
        rooms=sum(each["rooms"] for each in namespaces),
        streams=sum(each["streams"] for each in namespaces),
        lagging=sum(session.is_lagging for session in sessions),
        paused=sum(each["paused"] for each in namespaces),
        dropped=as_dropped(namespace.drops for namespace in server.namespaces.values()),
        delayed_events=sum(each["delayed_events"] for each in namespaces),
        dropped_events=sum(each["dropped_events"] for each in namespaces),
        closed_for_rate=sum(each["closed_for_rate"] for each in namespaces),
        recovery_absent=kept["absent"],
        recovery_events=kept["events"],
        recovery_bytes=kept["bytes"],
    )
