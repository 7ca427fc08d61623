"""Every bound in one table.

Rule of this module: each bound is a named field with its unit, default and reason; the code that enforces a bound
reads it from here and from nowhere else. A limit is checked on the declared size before anything is allocated.
Lowering a default is never a patch release.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Limits", "Quota", "default_max_connections"]

KIB = 1024
MIB = 1024 * KIB
WINDOWS_MAX_CONNECTIONS = 8192
UNLIMITED_MAX_CONNECTIONS = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bound what one peer may cost.

    **Units**: sizes in bytes, times in seconds as `float`, everything else a count.
    Give only the fields that differ: `Limits(max_payload=5_000_000)`.
    Raises `TypeError` for a bound of another type than its default's, and `ValueError` when it is not positive.
    """

    # The opening handshake (floor 1). 8 KiB lines are what web servers commonly take; 100 headers is generous.
    max_request_line: int = 8 * KIB
    """Length of the request line; longer is answered 414."""
    max_header_line: int = 8 * KIB
    """Length of one header line; longer is answered 431."""
    max_headers: int = 100
    """Number of header lines, repeated names counted; more is answered 431."""
    max_header_bytes: int = 32 * KIB
    """Length of all header lines together; more is answered 431."""
    max_error_body: int = 64 * KIB
    """How much of a server's refusal a client reads and keeps."""
    handshake_timeout: float = 10.0
    """From the TCP connection to the end of the opening handshake."""
    max_redirects: int = 10
    """How many redirects a client follows before it gives up."""
    max_retry_after: float = 300.0
    """How long a client lets a server put it off with `Retry-After`; longer is taken for this."""

    # Long-polling request bodies (floor 2).
    body_timeout: float = 30.0
    """From the head of a POST to the end of its body; later is answered 408."""
    min_body_rate: float = 1 * KIB
    """Bytes per second below which a POST body is given up (after a grace of 5 s); answered 408."""

    # Messages (floors 1 and 2).
    max_message_size: int = 1 * MIB
    """One WebSocket message after reassembly and inflation; larger closes 1009."""
    max_payload: int = 1_000_000
    """One Engine.IO payload: a POST body (413) or a WebSocket message (1009); told to the client as `maxPayload`."""
    max_fragments: int = 1024
    """Frames of one message, empty ones counted; more closes 1008."""
    message_timeout: float = 60.0
    """From the first byte of a message to its last; later closes 1008."""
    max_control_per_second: float = 50.0
    """Ping and pong frames, or heartbeat packets, in the long run; more closes 1008."""
    max_control_burst: int = 200
    """The same at once."""

    # Queues and backpressure.
    recv_queue_high: int = 16
    """Messages received and not yet handled, above which the connection is no longer read."""
    recv_queue_high_bytes: int = 256 * KIB
    """The same in bytes."""
    send_buffer_high: int = 64 * KIB
    """Bytes waiting to be sent above which `await send()` waits and volatile events are dropped."""
    send_buffer_max: int = 4 * MIB
    """Bytes waiting to be sent above which the connection is closed."""
    slow_consumer_timeout: float = 10.0
    """How long a peer may keep us above `send_buffer_high` without taking a byte."""
    max_droppable_events: int = 1024
    """Events that wait for one socket under the policy "drop oldest"; from there on the oldest are dropped."""
    max_droppable_bytes: int = 1 * MIB
    """The same in bytes; a quarter of `send_buffer_max`, so that what may not be dropped has room yet."""
    max_latest_keys: int = 64
    """Keys under which `latest` values wait for one socket; values under further ones are sent like any event."""

    # Life and death of a connection.
    close_timeout: float = 5.0
    """How long a closing handshake may take before the connection is cut."""
    ping_interval: float = 25.0
    """From one heartbeat to the next."""
    ping_timeout: float = 20.0
    """How long the answer to a heartbeat may take."""
    max_connections: int | None = None
    """Connections of one server; `None`: 80 % of the descriptors this process may open, computed at start."""
    max_sessions: int | None = None
    """Engine.IO sessions of one server; `None` as above; further handshakes are answered 503."""

    # Engine.IO.
    max_packets_per_payload: int = 1024
    """Packets in one POST; real bursts pass 16 easily."""
    upgrade_timeout: float = 10.0
    """From the probing connection to the end of the upgrade."""
    max_server_payload: int = 16 * MIB
    """One answer to a poll, or one WebSocket message, that a client takes of its server; servers bound only what they
    receive. It has room for `max_attachment_bytes` in base64."""
    max_sid_length: int = 256
    """Characters of the session id that a server gives a client; usual are 20."""
    max_ping_period: float = 3600.0
    """How long a server may have a client wait for a ping, interval and timeout together; longer is taken for this."""
    connect_timeout: float = 45.0
    """From the Engine.IO handshake to the first namespace joined."""

    # Socket.IO.
    max_attachments: int = 100
    """Binary attachments of one received packet. The JavaScript parser takes 10 (see `warn_attachments`)."""
    warn_attachments: int = 10
    """Attachments of one packet sent, above which a warning says that JavaScript clients will refuse it."""
    max_attachment_bytes: int = 10_000_000
    """All attachments of one received packet together."""
    attachment_timeout: float = 30.0
    """From a packet that announces attachments to the last of them."""
    max_json_depth: int = 64
    """Nesting of one received packet."""
    max_json_nodes: int = 100_000
    """Values in one received packet."""
    max_number_digits: int = 64
    """Digits of one number in a received packet."""
    max_event_name: int = 256
    """Characters of an event's name."""
    max_namespace_length: int = 256
    """Characters of a namespace's name."""
    max_auth_bytes: int = 64 * KIB
    """The auth object of a CONNECT packet, as JSON; it is kept for as long as the client is there."""
    max_connects_per_minute: int = 600
    """CONNECT packets of one client, in the long run and at once; each may cost a run of the middlewares."""
    max_namespaces_per_connection: int = 100
    """Namespaces one client may be in at once."""
    max_child_namespaces: int = 10_000
    """Namespaces that clients have made of one parent, by names that it matches; at 3 KB each. More are refused."""
    max_rooms_per_socket: int = 1000
    """Rooms one socket may be in at once, its own not counted."""
    max_room_name: int = 256
    """Characters of a room's name, which programs like to take from clients."""
    max_pending_acks: int = 10_000
    """Acknowledgements awaited from one client."""
    max_offline_events: int = 1000
    """Events that wait in a client while it is away, or behind the one that it retries; `emit` raises at more."""
    max_offline_bytes: int = 4 * MIB
    """The same in bytes."""
    max_early_events: int = 10_000
    """Events that a server may send before it has answered a client's CONNECT packet: what was missed, in recovery."""
    max_early_bytes: int = 4 * MIB
    """The same in bytes."""
    max_streams_per_socket: int = 16
    """Streams of events that one client may have open in a namespace; a further call is answered with an error."""
    stream_window: int = 16
    """Items of one stream that were sent and that its client has not taken; then the generator waits."""
    stream_timeout: float = 30.0
    """How long a stream waits for its client to take an item; then it ends with an error."""
    max_inflight_handlers: int = 64
    """`concurrent=True` handlers of one socket that run at once; ordered handlers run one at a time."""
    slow_handler: float | None = None
    """How long the program may hold the event loop before a warning names the handler; `None`: nobody looks, but `telex
    run` warns at 0.1 s."""
    max_events_per_second: float | None = None
    """Events of one client, in the long run and at once; `None`: as many as its handlers keep up with. 100 is a start
    for a public chat."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.default is None:
                continue
            is_count = str(field.type).startswith("int")
            if isinstance(value, bool) or not isinstance(value, int if is_count else int | float):
                kind = "an int" if is_count else "a number"
                raise TypeError(f"Limits.{field.name} must be {kind}, not {type(value).__name__}")
            if not value > 0:  # "not" for the sake of NaN
                raise ValueError(f"Limits.{field.name} must be positive, not {value}")


def default_max_connections() -> int:
    """Return 80 % of the descriptors that this process may open; the rest is left to files, brokers and accepts."""
    try:
        import resource  # noqa: PLC0415  # POSIX only
    except ImportError:  # pragma: no cover
        return WINDOWS_MAX_CONNECTIONS
    return connections_for(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def connections_for(n_descriptors: int) -> int:
    """Return how many connections so many descriptors allow; "unlimited" is -1, or enormous, by system."""
    if n_descriptors < 0:
        return UNLIMITED_MAX_CONNECTIONS
    return max(min(n_descriptors * 4 // 5, UNLIMITED_MAX_CONNECTIONS), 1)


class Quota:
    """Allow `burst` things at once and `rate` per second in the long run.

    A token bucket whose tokens are counted only when somebody asks, so that an idle one costs nothing.
    **Units**: `now` in seconds of any steady clock.
    """

    __slots__ = ("_burst", "_rate", "_tokens", "_when")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._when: float | None = None

    def take(self, now: float) -> bool:
        """Take one; `False` when there is none."""
        self._fill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def reserve(self, now: float) -> float:
        """Take one in any case, and return how many seconds from now it is due: 0 where there was one."""
        self._fill(now)
        self._tokens -= 1
        return -self._tokens / self._rate if self._tokens < 0 else 0.0

    def _fill(self, now: float) -> None:
        if self._when is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._when) * self._rate)
        self._when = now
