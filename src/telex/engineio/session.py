"""One Engine.IO session: a client's ordered conversation, whatever carries it.

Rule of this module: sans-I/O. Time and alarms come from the `Deadlines` handed in; bytes go to a `Transport`; what
happens is told to the `SessionSink` that the floor above handed down.

Theory of operation. A session has one transport at a time. While a long-polling session upgrades, a second transport,
the *candidate*, is probed beside it; when the client says "upgrade" on the candidate, that becomes the transport and
the old one is discarded, so order is kept. A client whose probe was answered no longer polls, so the upgrade goes on
even while the session closes. Packets that the transport cannot take now wait in the session's buffer,
which is bounded; what waits there can be taken back, so a polite transport is handed no more than it has room for. The
states and what moves between them stand in `TRANSITIONS`; anything else a peer sends is an
`EnginePacketError` and ends the session with `parse error`.

What protocol v3 does otherwise is in `v3/session.py`.

Source: Engine.IO protocol v4, "Heartbeat" and "Upgrade".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from itertools import count
from typing import TYPE_CHECKING, ClassVar, Protocol

from telex.engineio.fastpath import MessageSender
from telex.engineio.packets import PING, PROBE_ANSWER, Packet, PacketType
from telex.errors import EnginePacketError
from telex.limits import Limits, Quota
from telex.streams.deadlines import Deadline, Deadlines, Slot
from telex.types import Data
from telex.websocket.codec import write_to_all

if TYPE_CHECKING:
    from telex.streams.base import Stream
    from telex.websocket.codec import Keys

__all__ = ["NOOP_INTERVAL", "CloseReason", "Session", "SessionSink", "State", "Transport", "send_to_all"]

NOOP_INTERVAL = 0.1
"""Seconds between the noops that release a parked poll during an upgrade, as in the original."""

MAX_UNREAD_BEATS = 10
"""How often in a row a heartbeat is put off because the pong may lie unread: no floor above lags for ever."""

POLL_LINGER = 30.0
"""Seconds that a closed long-polling session waits for the poll that will carry its last packets."""


PINGS = (PING,)

_tickets = count()  # never twice the same, so an old one finds nothing


class State(Enum):
    """Name what a session is doing."""

    __hash__ = object.__hash__  # a table's key: `Enum` would hash the name, in Python

    OPEN = auto()
    PROBING = auto()  # a candidate is connected and has not spoken
    PROBED = auto()  # the candidate was answered "3probe" and may say "5"
    CLOSING = auto()  # closed for the floor above; the last packets are on their way
    CLOSING_PROBED = auto()  # the same, and the candidate may still say "5" and be given them
    CLOSED = auto()


OPEN_STATES = frozenset({State.OPEN, State.PROBING, State.PROBED})
CLOSING_STATES = frozenset({State.CLOSING, State.CLOSING_PROBED})


class Move(Enum):
    """Name what can happen to a session."""

    __hash__ = object.__hash__

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
    (State.PROBED, Move.CLOSE): State.CLOSING_PROBED,
    (State.CLOSING_PROBED, Move.CANDIDATE_LOST): State.CLOSING,
    (State.CLOSING_PROBED, Move.UPGRADE): State.CLOSING,
    (State.OPEN, Move.END): State.CLOSED,
    (State.CLOSING, Move.END): State.CLOSED,
}


class Beat(Enum):
    """Name what the heartbeat's deadline stands for."""

    RESTING = auto()  # the next ping
    AWAITING = auto()  # the end, if no pong comes
    EXTENDED = auto()  # the same, put off once because the client said something else meanwhile
    LISTENING = auto()  # the end, if no ping comes: in protocol v3 it is the client that pings


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

    plain: Stream | None
    """The stream below, while packets may be written to it as frames; None for all that is not as simple."""

    keys: Keys | None
    """What these frames are masked with: a client's. None for a server."""

    direct: SessionSink | None
    """Who takes messages without more ado: set by the session while it has no say in them, else None."""

    def offer(self, packets: Sequence[Packet]) -> int | None:
        """Take packets if they leave at once: return `buffered_bytes` then; None if they were not taken.

        Asked only while the session is clear: what was taken before has left, but for less than the high mark.
        """
        ...

    def send(self, packets: Sequence[Packet]) -> None:
        """Take packets, in order."""
        ...

    def release(self) -> None:
        """Let go of a request that waits for packets, with a "noop"."""
        ...

    def close(self) -> None:
        """End politely: what was handed over still leaves, then the peer is told. May be called again."""
        ...

    def discard(self) -> None:
        """End at once: the session goes on elsewhere, or is over."""
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


@dataclass(slots=True)
class Probe:
    """Hold a candidate, and what must not outlive its probe."""

    candidate: Transport
    alarm: Deadline
    release_alarm: Deadline | None = None  # of a poll that holds up the upgrade

    def cancel_alarms(self) -> None:
        """Let nothing happen any more."""
        self.alarm.cancel()
        if self.release_alarm is not None:
            self.release_alarm.cancel()


@dataclass(slots=True)
class Lag:
    """Hold what is known of a peer that has no room.

    `left_bytes` is what had not left when it was last looked at, and what was sent since then.
    """

    alarm: Deadline
    left_bytes: int


def weigh(packets: Sequence[Packet]) -> int:
    """Return what packets weigh in a buffer, in bytes."""
    return sum(packet.n_bytes for packet in packets)


def send_to_all(sessions: Sequence[Session], packets: Sequence[Packet], high_mark: int) -> None:
    """Send the same packets to many sessions: encoded once, and in one walk over all that are clear and on a stream.

    Args: `high_mark` is the sessions' `Limits.send_buffer_high`.
    """
    for packet in packets:
        packet.encode_for_many()
    frame = packets[0].frame if len(packets) == 1 else b"".join([packet.frame or b"" for packet in packets])
    clear: list[Session] = []
    streams: list[Stream] = []
    for session in sessions:
        stream = session.transport.plain if session.is_clear else None
        if stream is None:
            session.send(packets)
        else:
            clear.append(session)
            streams.append(stream)
    refused, lagging = write_to_all(streams, frame or b"", high_mark)
    for i in refused:
        clear[i].send(packets)
    for i in lagging:
        clear[i].lag()


class Session(MessageSender):
    """Drive one session.

    `is_clear` tells that it is open, that nothing waits and that the peer keeps up.
    Args: `finished` is called when nothing is left to do for the session, which is after `session_closed`.
    Attributes:
        protocol: The version of the Engine.IO protocol that it speaks.
    """

    protocol: ClassVar[int] = 4

    __slots__ = (
        "_beat",
        "_buffer",
        "_buffer_bytes",
        "_close_alarm",
        "_control",
        "_deadlines",
        "_finished",
        "_is_paused",
        "_lag",
        "_limits",
        "_n_unread_beats",
        "_overflow_alarm",
        "_probe",
        "_sink",
        "_slot",
        "sid",
        "state",
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
        self._sink: SessionSink | None = None
        self._limits = limits
        self._deadlines = deadlines
        self._finished = finished
        self._buffer: dict[int, Sequence[Packet]] | None = None  # what waits, by ticket, in order
        self._buffer_bytes = 0
        self.is_clear = True
        self.high_mark = limits.send_buffer_high
        self._probe: Probe | None = None
        self._close_alarm: Deadline | None = None
        self._is_paused = False
        self._beat = Beat.RESTING
        self._n_unread_beats = 0  # for which the heartbeat was put off since the peer was last read
        self._control: Quota | None = None  # made at the first heartbeat packet that nobody asked for
        self._overflow_alarm: Deadline | None = None  # set when more was sent than may wait
        self._lag: Lag | None = None  # while the peer has no room
        self._slot: Slot | None = None
        self._begin_heartbeat()

    # What the floor above does.

    @property
    def sink(self) -> SessionSink | None:
        """Who hears of the session: None until the floor above has said."""
        return self._sink

    @sink.setter
    def sink(self, sink: SessionSink | None) -> None:
        self._sink = sink
        self._direct()

    @property
    def buffered_bytes(self) -> int:
        """Bytes sent that have not left."""
        return self._buffer_bytes + self.transport.buffered_bytes

    @property
    def is_open(self) -> bool:
        """Whether messages may be sent and are received."""
        return self.state in OPEN_STATES

    @property
    def is_writable(self) -> bool:
        """Whether a packet sent now leaves at once; volatile packets are sent only then."""
        return not self._buffer and self._overflow_alarm is None and self.transport.is_writable

    @property
    def has_room(self) -> bool:
        """Whether the peer keeps up: a polite sender waits until it does."""
        return self.buffered_bytes <= self.high_mark

    @property
    def takes_at_once(self) -> bool:
        """Whether a packet sent now surely does not wait: nothing does, and no poll has to come first."""
        return self.is_clear and self.transport.plain is not None

    @property
    def is_lagging(self) -> bool:
        """Whether the peer has had no room since it was last heard to have some."""
        return self._lag is not None

    def send(self, packets: Sequence[Packet]) -> None:
        """Send packets that belong together, in order and with nothing between them.

        **Limits**: a peer that has no room, and for which more than `send_buffer_max` would wait, is closed with `slow
        consumer` on the loop's next turn: whoever sends to many is not called back from within. A peer that keeps up is
        sent a message of any size: that is the program's own choice.
        From then on, and after the end, packets are dropped.
        """
        if not (self.is_clear and self._offer(packets)):
            self._enqueue(packets)

    def post(self, packets: Sequence[Packet]) -> int | None:
        """Send packets as `send` does, and return the ticket with which `withdraw` takes them back while they wait.

        Returns: `None` when they do not wait: they have left, or were dropped because the session is at its end.
        """
        if self.is_clear and self._offer(packets):
            return None
        ticket = self._enqueue(packets)
        return ticket if ticket is not None and self.is_waiting(ticket) else None

    def is_waiting(self, ticket: int) -> bool:
        """Whether what was posted has not been handed to the transport yet."""
        return self._buffer is not None and ticket in self._buffer

    def withdraw(self, ticket: int) -> bool:
        """Take back what was posted and still waits; `False` if it does not. O(1).

        That is no progress of the peer, and who waits for room is not told of it: a `post` or `flush` follows.
        """
        packets = None if self._buffer is None else self._buffer.pop(ticket, None)
        if packets is None:
            return False
        n_bytes = weigh(packets)
        self._buffer_bytes -= n_bytes
        if self._lag is not None:
            self._lag.left_bytes -= n_bytes
        self._clear()
        return True

    def lag(self) -> None:
        """Hear that what was just written has left the peer without room."""
        if self._lag is None:
            self._begin_lag(self.buffered_bytes)

    def close(self) -> None:
        """End the session: what was sent before still leaves, then the peer is told."""
        if not self.is_open:
            return
        if self.state is State.PROBING:
            self._drop_candidate()
        self._move(Move.CLOSE)
        self._stop_heartbeat()
        linger = POLL_LINGER if self.transport.name == "polling" else self._limits.close_timeout
        self._close_alarm = self._after(linger, self.abort)
        self.transport.resume_reading()  # what still comes is dropped
        self._tell_closed(CloseReason.FORCED_CLOSE)
        self.flush()

    def abort(self) -> None:
        """End the session at once; what was sent and has not left is lost."""
        self._abandon(CloseReason.FORCED_CLOSE)

    def pause_reading(self) -> None:
        """Let the peer wait: the floor above has enough to do."""
        if self.is_open:
            self._is_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take from the peer again."""
        if self._is_paused and self._beat is not Beat.RESTING:
            self._await_client()  # it is among what waits
        self._is_paused = False
        self._n_unread_beats = 0
        self.transport.resume_reading()

    # What a transport does.

    def flush(self) -> None:
        """Hand waiting packets to the transport; a transport calls it whenever it becomes writable."""
        if self._buffer and self.transport.is_writable:
            self._hand_over()
            self._clear()
        if self.state in CLOSING_STATES and not self._buffer:
            self.transport.close()
        elif self._lag is not None and self.has_room:
            self._end_lag()
            if self._sink is not None and self.is_open:
                self._sink.writing_resumed()

    def receive(self, transport: Transport, kind: PacketType, data: Data) -> None:
        """Take one packet from a transport.

        Raises `EnginePacketError` for a packet that this state does not allow; the transport then calls `fail`.
        """
        if self._probe is not None and transport is self._probe.candidate:
            self._receive_on_candidate(self._probe, kind, data)
            return
        if transport is not self.transport or not self.is_open:
            return  # what a discarded transport, or a closed session, still says is nobody's
        if self._beat is Beat.AWAITING and kind is not PacketType.PONG:
            # A client that is heard is alive: its pong may stand behind a large message.
            self._set_beat(Beat.EXTENDED)
            self._await_client()
        if kind is PacketType.MESSAGE:
            if self._sink is not None:
                self._sink.message_received(data)
        elif kind is PacketType.PONG:
            self._receive_pong()
        elif kind is PacketType.CLOSE:
            self.transport.release()  # the client leaves: its parked poll ends without a "close" of ours
            self._abandon(CloseReason.TRANSPORT_CLOSE)
        elif kind is PacketType.PING:
            self._receive_ping()
        else:
            raise EnginePacketError(f"packet type {kind.name} is not allowed now")

    def fail(self, transport: Transport, reason: CloseReason) -> None:
        """End what depends on a transport that has ended or failed: the session, or only a candidate's probe."""
        if self._probe is not None and transport is self._probe.candidate:
            self._drop_candidate()
        elif transport is self.transport:
            self._abandon(reason)

    def add_candidate(self, transport: Transport) -> bool:
        """Start the probe of a second transport; `False` when this session cannot upgrade now (close it then)."""
        if (self.state, Move.CANDIDATE) not in TRANSITIONS or self.transport.name != "polling":
            return False
        self._move(Move.CANDIDATE)
        self._probe = Probe(transport, self._after(self._limits.upgrade_timeout, self._drop_candidate))
        return True

    # The upgrade.

    def _receive_on_candidate(self, probe: Probe, kind: PacketType, data: Data) -> None:
        if self.state is State.PROBING and kind is PacketType.PING and data == "probe":
            self._move(Move.PROBE)
            probe.candidate.send([PROBE_ANSWER])
            probe.release_alarm = self._after(NOOP_INTERVAL, lambda: self._release_poll(probe))
        elif self.state is not State.PROBING and kind is PacketType.UPGRADE:
            self._upgrade(probe)
        else:
            self._drop_candidate()

    def _release_poll(self, probe: Probe) -> None:
        # The client waits for its poll to end before it says "5"; packets in the buffer would have ended it.
        self.transport.release()
        probe.release_alarm = self._after(NOOP_INTERVAL, lambda: self._release_poll(probe))

    def _upgrade(self, probe: Probe) -> None:
        self._move(Move.UPGRADE)
        probe.cancel_alarms()
        old, self.transport, self._probe = self.transport, probe.candidate, None
        self._direct()
        old.release()  # a poll still parked must end, and must not swallow a message
        old.discard()
        if self._is_paused:
            self.transport.pause_reading()
        if self._close_alarm is not None:
            self._close_alarm.move(self._deadlines.now() + self._limits.close_timeout)
        self.flush()

    def _drop_candidate(self) -> None:
        probe, self._probe = self._probe, None
        if probe is not None:
            probe.cancel_alarms()
            self._move(Move.CANDIDATE_LOST)
            probe.candidate.close()

    # The heartbeat.

    def beat(self) -> None:
        """Do what the heartbeat calls for: ping, or give the peer up (see `Rota`)."""
        if self._beat is not Beat.RESTING:
            if self._is_paused and self._n_unread_beats < MAX_UNREAD_BEATS:
                # Its pong may lie unread: that we lag is not the peer's fault.
                self._n_unread_beats += 1
                self._await_client()
            else:
                self._abandon(CloseReason.PING_TIMEOUT)
            return
        self._set_beat(Beat.AWAITING)
        self._await_client()
        if not (self.is_clear and self._offer(PINGS)):
            self._push(PINGS, PING.n_bytes)

    def _await_client(self) -> None:
        """Give the peer `ping_timeout` from now, to send its pong."""
        self._deadlines.rota(self._limits.ping_timeout).put(self)

    def _stop_heartbeat(self) -> None:
        if self._slot is not None:
            self._slot.rota.discard(self)

    def _set_beat(self, beat: Beat) -> None:
        self._beat = beat
        self._direct()

    def _begin_heartbeat(self) -> None:
        self._deadlines.rota(self._limits.ping_interval).put(self)

    def _receive_ping(self) -> None:
        # Protocol v4: the server pings. The original calls this an "invalid heartbeat direction".
        self._abandon(CloseReason.TRANSPORT_ERROR)

    def _receive_pong(self) -> None:
        if self._beat is not Beat.RESTING:
            self._set_beat(Beat.RESTING)
            self._deadlines.rota(self._limits.ping_interval).put(self)
        else:
            self._charge_control()  # one that nobody asked for is harmless, a flood of them is not

    def _charge_control(self) -> None:
        """Count a heartbeat packet that is the client's own idea. Raises `EnginePacketError` for too many."""
        if self._control is None:
            self._control = Quota(self._limits.max_control_per_second, self._limits.max_control_burst)
        if not self._control.take(self._deadlines.now()):
            raise EnginePacketError("too many heartbeat packets")

    # The end.

    def _slow_due(self) -> None:
        # Progress since the last look earns the peer another period.
        lag = self._lag
        if lag is None or self.buffered_bytes >= lag.left_bytes:
            self._abandon(CloseReason.SLOW_CONSUMER)
            return
        self._begin_lag(self.buffered_bytes)

    def _abandon(self, reason: CloseReason) -> None:
        """End at once. The peer of a parked poll is told; what waited is lost."""
        if self.state is State.CLOSED:
            return
        self._drop_candidate()
        self._end_lag()
        self._stop_heartbeat()
        for alarm in (self._close_alarm, self._overflow_alarm):
            if alarm is not None:
                alarm.cancel()
        was_open = self.is_open
        self._move(Move.END)
        self._buffer, self._buffer_bytes = None, 0
        try:
            self.transport.discard()
            if was_open:
                self._tell_closed(reason)
        finally:  # a session that is over stays in no table, whatever a mistake above may raise
            self._finished(self)

    def _tell_closed(self, reason: CloseReason) -> None:
        if self._sink is not None:
            self._sink.session_closed(reason)

    # Small parts.

    def _offer(self, packets: Sequence[Packet]) -> bool:
        """Send packets straight through the transport, if it takes them; while the session is clear."""
        buffered = self.transport.offer(packets)
        if buffered is None:
            return False
        if buffered > self.high_mark:
            self._begin_lag(buffered)
        return True

    def _enqueue(self, packets: Sequence[Packet]) -> int | None:
        """Let packets wait; return their ticket, or None where they are dropped."""
        if not self.is_open or self._overflow_alarm is not None:
            return None
        n_bytes = weigh(packets)
        if not self.has_room and self.buffered_bytes + n_bytes > self._limits.send_buffer_max:
            self._overflow_alarm = self._after(0, lambda: self._abandon(CloseReason.SLOW_CONSUMER))
            self.is_clear = False
            return None
        return self._push(packets, n_bytes)

    def _hand_over(self) -> None:
        """Give the transport what waits: a poll all of it, a WebSocket no more than it has room for."""
        if self.transport.name == "polling":
            waiting, self._buffer, self._buffer_bytes = self._buffer or {}, None, 0
            self.transport.send([packet for packets in waiting.values() for packet in packets])
            return
        while self._buffer and self.transport.is_writable:
            self.transport.send(self._take(self.high_mark))
        if not self._buffer:
            self._buffer = None

    def _take(self, n_bytes: int) -> list[Packet]:
        """Take what waits out of the buffer, in order, until it is so much or more."""
        taken: list[Packet] = []
        tickets: list[int] = []
        buffer = self._buffer or {}
        n_taken = 0
        for ticket, packets in buffer.items():
            taken += packets
            tickets.append(ticket)
            n_taken += weigh(packets)
            if n_taken >= n_bytes:
                break
        for ticket in tickets:
            del buffer[ticket]
        self._buffer_bytes -= n_taken
        return taken

    def _push(self, packets: Sequence[Packet], n_bytes: int) -> int:
        if self._buffer is None:
            self._buffer = {}
        ticket = next(_tickets)
        self._buffer[ticket] = packets
        self._buffer_bytes += n_bytes
        if self._lag is not None:
            self._lag.left_bytes += n_bytes
        self._clear()
        self.flush()
        if self._lag is None and not self.has_room:
            self._begin_lag(self.buffered_bytes)
        return ticket

    def _move(self, move: Move) -> None:
        self.state = TRANSITIONS[self.state, move]
        self._direct()
        self._clear()

    def _direct(self) -> None:
        """Have messages handed straight to the floor above, unless they are of interest here: as signs of life."""
        is_direct = self.state in OPEN_STATES and self._beat is not Beat.AWAITING
        self.transport.direct = self._sink if is_direct else None

    def _clear(self) -> None:
        self.is_clear = (
            self.state in OPEN_STATES and not self._buffer and self._lag is None and self._overflow_alarm is None
        )

    def _begin_lag(self, buffered: int) -> None:
        """Note that the peer has no room, or still none; give it time to take something."""
        self._lag = Lag(self._after(self._limits.slow_consumer_timeout, self._slow_due), buffered)
        self.is_clear = False

    def _after(self, delay: float, callback: Callable[[], None]) -> Deadline:
        return self._deadlines.at(self._deadlines.now() + delay, callback)

    def _end_lag(self) -> None:
        if self._lag is not None:
            self._lag.alarm.cancel()
            self._lag = None
            self._clear()
