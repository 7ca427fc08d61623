"""One Engine.IO session: a client's ordered conversation, whatever carries it.

Rule of this module: sans-I/O. Time and alarms come from the `Deadlines` handed in; bytes go to a `Transport`; what
happens is told to the `SessionSink` that the floor above handed down.

Theory of operation. A session has one transport at a time. While a long-polling session upgrades, a second transport,
the *candidate*, is probed beside it; when the client says "upgrade" on the candidate, that becomes the transport and
the old one is discarded, so order is kept. A client whose probe was answered no longer polls, so the upgrade goes on
even while the session closes. What waits to be sent is `sending.py`'s. The states and what moves between them stand in
`TRANSITIONS`; anything else a peer sends is an `EnginePacketError` and ends the session with `parse error`.

What protocol v3 does otherwise is in `v3/session.py`.

Source: Engine.IO protocol v4, "Heartbeat" and "Upgrade".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, ClassVar

from telex.engineio.interfaces import CloseReason, SessionSink, Transport
from telex.engineio.packets import PING, PROBE_ANSWER, Packet, PacketType
from telex.engineio.sending import BufferedSender
from telex.errors import EnginePacketError
from telex.limits import Limits
from telex.streams.deadlines import Deadline, Deadlines, Slot
from telex.types import Data
from telex.websocket.codec import write_to_all

if TYPE_CHECKING:
    from telex.streams.base import Stream

__all__ = ["NOOP_INTERVAL", "CloseReason", "Session", "SessionSink", "State", "Transport", "send_to_all"]

NOOP_INTERVAL = 0.1
"""Seconds between the noops that release a parked poll during an upgrade, as in the original."""

MAX_UNREAD_BEATS = 10
"""How often in a row a heartbeat is put off because the pong may lie unread: no floor above lags for ever."""

POLL_LINGER = 30.0
"""Seconds that a closed long-polling session waits for the poll that will carry its last packets."""


PINGS = (PING,)


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


class Session(BufferedSender):
    """Drive one session.

    Args: `finished` is called when nothing is left to do for the session, which is after `session_closed`.
    Attributes:
        protocol: The version of the Engine.IO protocol that it speaks.
    """

    protocol: ClassVar[int] = 4
    open_states = OPEN_STATES
    sending_states = OPEN_STATES | CLOSING_STATES
    closing_states = CLOSING_STATES

    state: State

    __slots__ = (
        "_beat",
        "_close_alarm",
        "_finished",
        "_is_paused",
        "_n_unread_beats",
        "_probe",
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
        super().__init__(transport, limits, deadlines)
        self.sid = sid
        self.state = State.OPEN
        self._finished = finished
        self._probe: Probe | None = None
        self._close_alarm: Deadline | None = None
        self._is_paused = False
        self._beat = Beat.RESTING
        self._n_unread_beats = 0  # for which the heartbeat was put off since the peer was last read
        self._slot: Slot | None = None
        self._begin_heartbeat()

    # What the floor above does.

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

    # The end.

    def _abandon(self, reason: CloseReason) -> None:
        """End at once. The peer of a parked poll is told; what waited is lost."""
        if self.state is State.CLOSED:
            return
        self._drop_candidate()
        self._stop_heartbeat()
        if self._close_alarm is not None:
            self._close_alarm.cancel()
        was_open = self.is_open
        self._move(Move.END)
        self._drop_waiting()
        try:
            self.transport.discard()
            if was_open:
                self._tell_closed(reason)
        finally:  # a session that is over stays in no table, whatever a mistake above may raise
            self._finished(self)

    # Small parts.

    def _move(self, move: Move) -> None:
        self.state = TRANSITIONS[self.state, move]
        self._direct()
        self._clear()

    def _direct(self) -> None:
        """Have messages handed straight to the floor above, unless they are of interest here: as signs of life."""
        is_direct = self.state in OPEN_STATES and self._beat is not Beat.AWAITING
        self.transport.direct = self._sink if is_direct else None
