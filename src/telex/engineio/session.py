"""One Engine.IO session: a client's ordered conversation, whatever carries it.

Rule of this module: sans-I/O. Time and alarms come from the `Deadlines` handed in; bytes go to a `Transport`; what
happens is told to the `SessionSink` that the floor above handed down.

Theory of operation. A session has one transport at a time. While a long-polling session upgrades, a second transport,
the *candidate*, is probed beside it; when the client says "upgrade" on the candidate, that becomes the transport and
the old one is discarded, so order is kept. Packets that the transport cannot take now wait in the session's buffer,
which is bounded. The states and what moves between them stand in `TRANSITIONS`; anything else a peer sends is an
`EnginePacketError` and ends the session with `parse error`.

Source: Engine.IO protocol v4, "Heartbeat" and "Upgrade".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, StrEnum, auto
from typing import Protocol

from ..errors import EnginePacketError
from ..limits import Limits, Quota
from ..streams.deadlines import Deadline, Deadlines
from ..types import Data
from .packets import CLOSE, NOOP, PING, PROBE_ANSWER, Packet, PacketType

__all__ = ["NOOP_INTERVAL", "CloseReason", "Session", "SessionSink", "State", "Transport"]

NOOP_INTERVAL = 0.1
"""Seconds between the noops that release a parked poll during an upgrade, as in the original."""

POLL_LINGER = 30.0
"""Seconds that a closed long-polling session waits for the poll that will carry its last packets."""


class State(Enum):
    """Name what a session is doing."""

    OPEN = auto()
    PROBING = auto()  # a candidate is connected and has not spoken
    PROBED = auto()  # the candidate was answered "3probe" and may say "5"
    CLOSING = auto()  # closed for the floor above; the last packets are on their way
    CLOSED = auto()


class Move(Enum):
    """Name what can happen to a session."""

    CANDIDATE = auto()  # a second transport came
    PROBE = auto()  # it said "2probe"
    UPGRADE = auto()  # it said "5"
    CANDIDATE_LOST = auto()  # it failed, or took too long
    CLOSE = auto()  # the server closes
    END = auto()  # the transport is gone


TRANSITIONS: dict[tuple[State, Move], State] = {
    (State.OPEN, Move.CANDIDATE): State.PROBING,
    (State.PROBING, Move.PROBE): State.PROBED,
    (State.PROBING, Move.CANDIDATE_LOST): State.OPEN,
    (State.PROBED, Move.CANDIDATE_LOST): State.OPEN,
    (State.PROBED, Move.UPGRADE): State.OPEN,
    (State.OPEN, Move.CLOSE): State.CLOSING,
    (State.OPEN, Move.END): State.CLOSED,
    (State.CLOSING, Move.END): State.CLOSED,
}


class CloseReason(StrEnum):
    """Say why a session ended; the texts are the original's, but for the last."""

    TRANSPORT_ERROR = "transport error"
    TRANSPORT_CLOSE = "transport close"
    FORCED_CLOSE = "forced close"
    PING_TIMEOUT = "ping timeout"
    PARSE_ERROR = "parse error"
    SLOW_CONSUMER = "slow consumer"


class Transport(Protocol):
    """Carry a session's packets; polling and websocket are its two kinds."""

    @property
    def name(self) -> str:
        """The name in the query: "polling" or "websocket"."""
        ...

    @property
    def is_writable(self) -> bool:
        """Whether packets handed over now leave at once."""
        ...

    @property
    def buffered_bytes(self) -> int:
        """Bytes handed over that have not left."""
        ...

    def send(self, packets: Sequence[Packet]) -> None:
        """Take packets, in order."""
        ...

    def close(self) -> None:
        """End politely: what was handed over still leaves."""
        ...

    def discard(self) -> None:
        """End at once: the session goes on elsewhere, or is lost."""
        ...

    def pause_reading(self) -> None:
        """Take nothing more from the peer until `resume_reading`."""
        ...

    def resume_reading(self) -> None:
        """Take from the peer again."""
        ...


class SessionSink(Protocol):
    """Hear of a session; the floor above hands one down. None of its methods may raise."""

    def message_received(self, data: Data) -> None:
        """Take one message."""
        ...

    def session_closed(self, reason: CloseReason) -> None:
        """Hear, exactly once and last, that the session is over."""
        ...

    def writing_resumed(self) -> None:
        """Hear that the peer has room again after it had none."""
        ...


class Session:
    """Drive one session.

    Args: `finished` is called when nothing is left to do for the session, which is after `session_closed`.
    """

    __slots__ = (
        "_alarm",
        "_buffer",
        "_buffer_bytes",
        "_candidate",
        "_control",
        "_deadlines",
        "_finished",
        "_heartbeat",
        "_is_awaiting_pong",
        "_is_congested",
        "_limits",
        "_sent_bytes",
        "_slow_alarm",
        "_slow_bytes",
        "is_upgraded",
        "sid",
        "sink",
        "state",
        "transport",
    )

    def __init__(
        self,
        sid: str,
        transport: Transport,
        *,
        limits: Limits,
        deadlines: Deadlines,
        finished: Callable[[Session], None],
    ) -> None:
        self.sid = sid
        self.transport = transport
        self.state = State.OPEN
        self.is_upgraded = False
        self.sink: SessionSink | None = None
        self._limits = limits
        self._deadlines = deadlines
        self._finished = finished
        self._buffer: list[Packet] = []
        self._buffer_bytes = 0
        self._candidate: Transport | None = None
        self._alarm: Deadline | None = None  # of the upgrade, later of the close
        self._is_awaiting_pong = False
        self._heartbeat: Deadline = deadlines.at(deadlines.now() + limits.ping_interval, self._heartbeat_due)
        self._control: Quota | None = None  # made at the first heartbeat packet that nobody asked for
        self._is_congested = False
        self._slow_alarm: Deadline | None = None
        self._sent_bytes = 0  # all that was ever sent
        self._slow_bytes = 0  # how much of it the peer had taken when it was last looked at

    # What the floor above does.

    @property
    def buffered_bytes(self) -> int:
        """Bytes sent that have not left."""
        return self._buffer_bytes + self.transport.buffered_bytes

    @property
    def is_open(self) -> bool:
        """Whether messages may be sent and are received."""
        return self.state not in (State.CLOSING, State.CLOSED)

    @property
    def is_writable(self) -> bool:
        """Whether a packet sent now leaves at once; volatile packets are sent only then."""
        return not self._buffer and self.transport.is_writable

    @property
    def has_room(self) -> bool:
        """Whether the peer keeps up: a polite sender waits until it does."""
        return self.buffered_bytes <= self._limits.send_buffer_high

    def send(self, packets: Sequence[Packet]) -> None:
        """Send packets that belong together, in order and with nothing between them.

        **Limits**: a peer for which more than `send_buffer_max` would wait is closed with `slow consumer`. One
        message larger than the bound is let through when nothing else waits: it is the program's own choice.
        After the end packets are dropped.
        """
        if not self.is_open:
            return
        n_bytes = sum(packet.n_bytes for packet in packets)
        waiting = self.buffered_bytes
        if waiting and waiting + n_bytes > self._limits.send_buffer_max:
            self._abandon(CloseReason.SLOW_CONSUMER)
            return
        self._buffer.extend(packets)
        self._buffer_bytes += n_bytes
        self._sent_bytes += n_bytes
        self.flush()
        if not self._is_congested and not self.has_room:
            self._is_congested = True
            self._slow_bytes = self._sent_bytes - self.buffered_bytes
            self._slow_alarm = self._after(self._limits.slow_consumer_timeout, self._slow_due)

    def close(self) -> None:
        """End the session: what was sent before still leaves, then the peer is told."""
        if not self.is_open:
            return
        self._drop_candidate()
        self._move(Move.CLOSE)
        self._buffer.append(CLOSE)
        self._heartbeat.cancel()
        linger = POLL_LINGER if self.transport.name == "polling" else self._limits.close_timeout
        self._alarm = self._after(linger, self.abort)
        self._tell_closed(CloseReason.FORCED_CLOSE)
        self.flush()

    def abort(self) -> None:
        """End the session at once; what was sent and has not left is lost."""
        self._abandon(CloseReason.FORCED_CLOSE)

    def pause_reading(self) -> None:
        """Let the peer wait: the floor above has enough to do."""
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take from the peer again."""
        self.transport.resume_reading()

    # What a transport does.

    def flush(self) -> None:
        """Hand waiting packets to the transport; a transport calls it whenever it becomes writable."""
        if self._buffer and self.transport.is_writable:
            packets, self._buffer, self._buffer_bytes = self._buffer, [], 0
            if packets[-1] is CLOSE and self.transport.name != "polling":
                packets.pop()  # a WebSocket says it with a Close frame
            if packets:
                self.transport.send(packets)
        if self.state is State.CLOSING and not self._buffer:
            self.transport.close()
        elif self._is_congested and self.has_room:
            self._is_congested = False
            self._cancel_slow_alarm()
            if self.sink is not None and self.is_open:
                self.sink.writing_resumed()

    def receive(self, transport: Transport, kind: PacketType, data: Data) -> None:
        """Take one packet from a transport.

        Raises `EnginePacketError` for a packet that this state does not allow; the transport then calls `fail`.
        """
        if transport is self._candidate:
            self._receive_on_candidate(transport, kind, data)
        elif transport is not self.transport or not self.is_open:
            return  # what a discarded transport, or a closed session, still says is nobody's
        elif kind is PacketType.MESSAGE:
            if self.sink is not None:
                self.sink.message_received(data)
        elif kind is PacketType.PONG:
            self._receive_pong()
        elif kind is PacketType.CLOSE:
            if self.transport.is_writable:
                self.transport.send([NOOP])  # the client leaves: its parked poll ends without a "close" of ours
            self._abandon(CloseReason.TRANSPORT_CLOSE)
        elif kind is PacketType.PING:
            # Protocol v4: the server pings. The original calls this an "invalid heartbeat direction".
            self._abandon(CloseReason.TRANSPORT_ERROR)
        else:
            raise EnginePacketError(f"packet type {kind.name} is not allowed now")

    def fail(self, transport: Transport, reason: CloseReason) -> None:
        """End what depends on a transport that has ended or failed: the session, or only a candidate's probe."""
        if transport is self._candidate:
            self._drop_candidate()
        elif transport is self.transport:
            self._abandon(reason)

    def add_candidate(self, transport: Transport) -> bool:
        """Start the probe of a second transport; `False` when this session cannot upgrade now (close it then)."""
        if (self.state, Move.CANDIDATE) not in TRANSITIONS or self.is_upgraded or self.transport.name != "polling":
            return False
        self._move(Move.CANDIDATE)
        self._candidate = transport
        self._alarm = self._after(self._limits.upgrade_timeout, self._drop_candidate)
        return True

    # The upgrade.

    def _receive_on_candidate(self, candidate: Transport, kind: PacketType, data: Data) -> None:
        if kind is PacketType.PING and data == "probe" and self.state is State.PROBING:
            self._move(Move.PROBE)
            candidate.send([PROBE_ANSWER])
            self._after(NOOP_INTERVAL, self._release_poll)
        elif kind is PacketType.UPGRADE and self.state is State.PROBED:
            self._upgrade(candidate)
        else:
            self._drop_candidate()

    def _release_poll(self) -> None:
        # The client waits for its poll to end before it says "5"; packets in the buffer would have ended it.
        if self.state is State.PROBED:
            if self.transport.is_writable:
                self.transport.send([NOOP])
            self._after(NOOP_INTERVAL, self._release_poll)

    def _upgrade(self, candidate: Transport) -> None:
        self._move(Move.UPGRADE)
        self._cancel_alarm()
        old, self.transport, self._candidate = self.transport, candidate, None
        self.is_upgraded = True
        if old.is_writable:
            old.send([NOOP])  # a poll still parked must end, and must not swallow a message
        old.discard()
        self.flush()

    def _drop_candidate(self) -> None:
        if self._candidate is None:
            return
        candidate, self._candidate = self._candidate, None
        self._cancel_alarm()
        self._move(Move.CANDIDATE_LOST)
        candidate.close()

    # The heartbeat.

    def _heartbeat_due(self) -> None:
        if self._is_awaiting_pong:
            self._abandon(CloseReason.PING_TIMEOUT)
            return
        self._is_awaiting_pong = True
        self._heartbeat = self._after(self._limits.ping_timeout, self._heartbeat_due)
        self._buffer.append(PING)
        self._buffer_bytes += PING.n_bytes
        self.flush()

    def _receive_pong(self) -> None:
        if self._is_awaiting_pong:
            self._is_awaiting_pong = False
            self._heartbeat.move(self._deadlines.now() + self._limits.ping_interval)
            return
        # A pong that nobody asked for is harmless, a flood of them is not.
        if self._control is None:
            self._control = Quota(self._limits.max_control_per_second, self._limits.max_control_burst)
        if not self._control.take(self._deadlines.now()):
            raise EnginePacketError("too many heartbeat packets")

    # The end.

    def _slow_due(self) -> None:
        # Progress since the last look earns the peer another period.
        taken_bytes = self._sent_bytes - self.buffered_bytes
        if taken_bytes <= self._slow_bytes:
            self._abandon(CloseReason.SLOW_CONSUMER)
            return
        self._slow_bytes = taken_bytes
        self._slow_alarm = self._after(self._limits.slow_consumer_timeout, self._slow_due)

    def _abandon(self, reason: CloseReason) -> None:
        """End at once. The peer of a parked poll is told; what waited is lost."""
        if self.state is State.CLOSED:
            return
        self._drop_candidate()
        self._cancel_alarm()
        self._cancel_slow_alarm()
        self._heartbeat.cancel()
        was_open = self.is_open
        self._move(Move.END)
        self._buffer, self._buffer_bytes = [], 0
        if self.transport.name == "polling" and self.transport.is_writable:
            self.transport.send([CLOSE])
        self.transport.discard()
        if was_open:
            self._tell_closed(reason)
        self._finished(self)

    def _tell_closed(self, reason: CloseReason) -> None:
        if self.sink is not None:
            self.sink.session_closed(reason)

    # Small parts.

    def _move(self, move: Move) -> None:
        self.state = TRANSITIONS[self.state, move]

    def _after(self, delay: float, callback: Callable[[], None]) -> Deadline:
        return self._deadlines.at(self._deadlines.now() + delay, callback)

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _cancel_slow_alarm(self) -> None:
        if self._slow_alarm is not None:
            self._slow_alarm.cancel()
            self._slow_alarm = None
