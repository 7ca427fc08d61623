"""One Engine.IO session, seen from the client: what the server may say when, and what is said to it.

Rule of this module: sans-I/O, as the server's `session.py`; what waits to be sent is `sending.py`'s, the same for both.

Theory of operation. A session begins with a transport and no id: the server's first packet, "open", gives it that. From
then on the server pings, and each ping is answered at once; a server that is silent for its interval and its timeout
together is given up. A polling session may *probe* a candidate beside its transport. When the server has answered the
probe, polling is *held*: the requests in flight end, nothing new is sent, and what is to be sent waits. Then "upgrade"
is said on the candidate, which is the transport from there on; so order is kept in both directions. A session that is
closed while polling is held upgrades first, for the server takes nothing else. The states and what moves between them
stand in `TRANSITIONS`; anything else a server says is an `EnginePacketError` and ends the session with `parse error`.

Source: Engine.IO protocol v4, "Handshake", "Heartbeat" and "Upgrade".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from telex.engineio.client.handshake import Welcome, read_welcome
from telex.engineio.interfaces import CloseReason, Transport
from telex.engineio.packets import PONG, PROBE, UPGRADE, Packet, PacketType
from telex.engineio.payloads import measure
from telex.engineio.sending import BufferedSender, weigh
from telex.errors import EnginePacketError
from telex.limits import Limits
from telex.streams.deadlines import Deadline, Deadlines, Slot
from telex.types import Data

__all__ = ["ClientSession", "Owner", "PausableTransport", "State"]

MAX_UNREAD_BEATS = 10
"""How often in a row the end is put off because the ping may lie unread: no floor above lags for ever."""

PONGS = (PONG,)


class State(Enum):
    """Name what a session is doing."""

    __hash__ = object.__hash__  # a table's key: `Enum` would hash the name, in Python

    OPENING = auto()  # the server has not said "open"
    OPEN = auto()
    PROBING = auto()  # a candidate was asked "2probe" and has not answered
    HOLDING = auto()  # it has answered; the requests of the polling transport are to end
    CLOSING = auto()  # closed for the floor above; the last packets are on their way
    CLOSING_HOLDING = auto()  # the same, and they will leave on the candidate
    CLOSED = auto()


class Move(Enum):
    """Name what can happen to a session."""

    __hash__ = object.__hash__

    WELCOME = auto()  # the server said "open"
    PROBE = auto()  # a second transport came
    ANSWER = auto()  # it said "3probe"
    UPGRADE = auto()  # polling has come to rest, and "5" is said on the other
    CANDIDATE_LOST = auto()  # it failed, or took too long
    CLOSE = auto()  # the client closes
    END = auto()  # the transport is gone


TRANSITIONS: dict[tuple[State, Move], State] = {
    (State.OPENING, Move.WELCOME): State.OPEN,
    (State.OPEN, Move.PROBE): State.PROBING,
    (State.PROBING, Move.ANSWER): State.HOLDING,
    (State.PROBING, Move.CANDIDATE_LOST): State.OPEN,
    (State.HOLDING, Move.CANDIDATE_LOST): State.OPEN,
    (State.HOLDING, Move.UPGRADE): State.OPEN,
    (State.OPEN, Move.CLOSE): State.CLOSING,
    (State.HOLDING, Move.CLOSE): State.CLOSING_HOLDING,
    (State.CLOSING_HOLDING, Move.CANDIDATE_LOST): State.CLOSING,
    (State.CLOSING_HOLDING, Move.UPGRADE): State.CLOSING,
    (State.OPENING, Move.END): State.CLOSED,
    (State.OPEN, Move.END): State.CLOSED,
    (State.CLOSING, Move.END): State.CLOSED,
}


class Owner(Protocol):
    """Hear of a session's beginning and end; whoever opens it is one. None of its methods may raise."""

    def session_opened(self, welcome: Welcome) -> None:
        """Hear what the server said first. Reading is paused: **next**, `resume_reading`."""
        ...

    def session_refused(self, error: EnginePacketError) -> None:
        """Hear what is wrong with it; `session_finished` follows."""
        ...

    def session_upgraded(self) -> None:
        """Hear that the session has another transport."""
        ...

    def session_finished(self, reason: CloseReason) -> None:
        """Hear, once and last, that nothing is left to do for the session."""
        ...


class PausableTransport(Transport, Protocol):
    """Carry packets until a better transport is found; polling is the one that there is."""

    def hold(self) -> None:
        """Let the requests in flight end, and make no more: the session's `held` is called then, or at once."""
        ...

    def go_on(self) -> None:
        """Make requests again."""
        ...


@dataclass(slots=True)
class Probe:
    """Hold a candidate, what it is better than, and until when it may show that."""

    candidate: Transport
    current: PausableTransport
    alarm: Deadline


class ClientSession(BufferedSender):
    """Drive one session.

    Args: `owner` hears of its beginning and its end; it may be let go of after `session_opened`.
    Attributes:
        sid: What the server calls it; empty before `session_opened`.
        max_payload: Bytes that the server takes in one message or POST; None where it has not said.
        ping_period: Seconds of silence after which the server is given up.
        heard_ping: Called for each ping of the server, where somebody wants to know.
    """

    open_states = frozenset({State.OPEN, State.PROBING, State.HOLDING})
    sending_states = frozenset({State.OPEN, State.PROBING, State.CLOSING})
    closing_states = frozenset({State.CLOSING})

    __slots__ = (
        "_close_alarm",
        "_is_paused",
        "_n_unread_beats",
        "_probe",
        "_slot",
        "heard_ping",
        "max_payload",
        "owner",
        "ping_period",
        "sid",
        "state",
    )

    state: State

    def __init__(self, transport: Transport, *, limits: Limits, deadlines: Deadlines, owner: Owner | None) -> None:
        super().__init__(transport, limits, deadlines)
        self.sid = ""
        self.max_payload: int | None = None
        self.ping_period = 0.0
        self.state = State.OPENING
        self.owner = owner
        self.heard_ping: Callable[[], None] | None = None
        self.is_clear = False
        self._probe: Probe | None = None
        self._close_alarm: Deadline | None = None
        self._is_paused = False
        self._n_unread_beats = 0  # for which the end was put off since the server was last read
        self._slot: Slot | None = None

    # What the floor above does.

    def has_expired(self) -> bool:
        """Tell whether the server's ping is overdue, and end the session on the next turn if it is.

        That comes to light before the heartbeat's own deadline where this process stood still: what is sent now would
        be lost, so whoever keeps packets for the next session asks first. O(1).
        """
        slot = self._slot
        if slot is None or self._is_paused or self._deadlines.now() <= slot.when:
            return not self.is_open
        self._after(0, lambda: self._abandon(CloseReason.PING_TIMEOUT))
        return True

    def close(self) -> None:
        """End the session: what was sent before still leaves, then the server is told. Idempotent.

        The sink is told at once, with the reason "forced close".
        """
        if not self.is_open:
            return
        if self.state is State.PROBING:
            self._drop_candidate()
        self._move(Move.CLOSE)
        self._stop_heartbeat()
        self._close_alarm = self._after(self._limits.close_timeout, self.abort)
        self.transport.resume_reading()  # what still comes is dropped
        self._tell_closed(CloseReason.FORCED_CLOSE)
        self.flush()

    def abort(self) -> None:
        """End the session at once; what was sent and has not left is lost."""
        self._abandon(CloseReason.FORCED_CLOSE)

    def pause_reading(self) -> None:
        """Let the server wait: the floor above has enough to do."""
        if self.is_open:
            self._is_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take from the server again."""
        if self._is_paused and self.is_open:
            self._await_ping()  # it may be among what waits
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
        if transport is not self.transport:
            return  # what a discarded transport still says is nobody's
        if self.state is State.OPENING:
            self._receive_welcome(kind, data)
        elif not self.is_open:
            return
        elif kind is PacketType.MESSAGE:
            if self._sink is not None:
                self._sink.message_received(data)
        elif kind is PacketType.PING:
            self._receive_ping()
        elif kind is PacketType.CLOSE:
            self._abandon(CloseReason.TRANSPORT_CLOSE)
        elif kind is PacketType.NOOP or kind is PacketType.PONG:
            self._charge_control()  # harmless, but for a flood of them
        else:
            raise EnginePacketError(f"packet type {kind.name} is not allowed now")

    def fail(self, transport: Transport, reason: CloseReason) -> None:
        """End what depends on a transport that has ended or failed: the session, or only a candidate's probe."""
        if self._probe is not None and transport is self._probe.candidate:
            self._drop_candidate()
        elif transport is self.transport:
            self._abandon(reason)

    def held(self, transport: Transport) -> None:
        """Hear that a transport has come to rest, as `hold` asked."""
        probe = self._probe
        if probe is not None and transport is probe.current:
            self._upgrade(probe)

    # The beginning.

    def _receive_welcome(self, kind: PacketType, data: Data) -> None:
        try:
            if kind is not PacketType.OPEN:
                raise EnginePacketError(f"the server began with packet type {kind.name}")
            welcome = read_welcome(data, self._limits)
        except EnginePacketError as error:
            if self.owner is not None:
                self.owner.session_refused(error)
            raise
        self.sid, self.max_payload, self.ping_period = welcome.sid, welcome.max_payload, welcome.ping_period
        self._move(Move.WELCOME)
        self._await_ping()
        self.pause_reading()  # what comes behind it is for a sink that has been told of the session
        if self.owner is not None:
            self.owner.session_opened(welcome)

    # The upgrade.

    def add_candidate(self, transport: Transport, current: PausableTransport) -> bool:
        """Probe a second transport; `False` when this session cannot upgrade now (close it then)."""
        if (self.state, Move.PROBE) not in TRANSITIONS or self.transport is not current:
            return False
        self._move(Move.PROBE)
        self._probe = Probe(transport, current, self._after(self._limits.upgrade_timeout, self._drop_candidate))
        transport.send([PROBE])
        return True

    def _receive_on_candidate(self, probe: Probe, kind: PacketType, data: Data) -> None:
        if self.state is State.PROBING and kind is PacketType.PONG and data == "probe":
            self._move(Move.ANSWER)
            probe.current.hold()
        else:
            self._drop_candidate()

    def _upgrade(self, probe: Probe) -> None:
        self._move(Move.UPGRADE)
        probe.alarm.cancel()
        self._probe = None
        probe.candidate.send([UPGRADE])
        self.transport = probe.candidate
        self._direct()
        probe.current.discard()
        if self._is_paused:
            self.transport.pause_reading()
        if self.owner is not None:
            self.owner.session_upgraded()
        self.flush()

    def _drop_candidate(self) -> None:
        probe, self._probe = self._probe, None
        if probe is None:
            return
        probe.alarm.cancel()
        was_holding = self.state is not State.PROBING
        self._move(Move.CANDIDATE_LOST)
        probe.candidate.close()
        if was_holding:
            probe.current.go_on()
            self.flush()

    # The heartbeat.

    def beat(self) -> None:
        """Give the server up, for its ping is overdue (see `Rota`)."""
        if self._is_paused and self._n_unread_beats < MAX_UNREAD_BEATS:
            # Its ping may lie unread: that we lag is not the server's fault.
            self._n_unread_beats += 1
            self._await_ping()
        else:
            self._abandon(CloseReason.PING_TIMEOUT)

    def _await_ping(self) -> None:
        self._deadlines.rota(self.ping_period).put(self)

    def _stop_heartbeat(self) -> None:
        if self._slot is not None:
            self._slot.rota.discard(self)

    def _receive_ping(self) -> None:
        self._charge_control()
        self._await_ping()
        if not (self.is_clear and self._offer(PONGS)):
            self._push(PONGS, PONG.n_bytes)
        if self.heard_ping is not None:
            self.heard_ping()

    # The end.

    def _abandon(self, reason: CloseReason) -> None:
        """End at once; what waited is lost."""
        if self.state is State.CLOSED:
            return
        self._drop_candidate()
        self._stop_heartbeat()
        if self._close_alarm is not None:
            self._close_alarm.cancel()
        was_open = self.is_open
        self._move(Move.END)
        self._drop_waiting()
        owner, self.owner = self.owner, None
        try:
            self.transport.discard()
            if was_open:
                self._tell_closed(reason)
        finally:
            if owner is not None:
                owner.session_finished(reason)

    # Small parts.

    def _move(self, move: Move) -> None:
        self.state = TRANSITIONS[self.state, move]
        self._direct()
        self._clear()

    def _direct(self) -> None:
        """Have messages handed straight to the floor above: all other packets come here."""
        self.transport.direct = self._sink if self.is_open else None

    def _hand_over(self) -> None:
        """Give the transport what waits: a POST as much as the server takes, a WebSocket what it has room for."""
        if self.transport.name != "polling":
            super()._hand_over()
            return
        self.transport.send(self._take_payload(self.max_payload or self._limits.max_payload))
        if not self._buffer:
            self._buffer = None

    def _take_payload(self, max_bytes: int) -> list[Packet]:
        """Take what waits out of the buffer, in order, for as long as it fits a payload; the first in any case."""
        taken: list[Packet] = []
        buffer = self._buffer or {}
        n_bytes = -1  # no separator follows the last
        for ticket, packets in list(buffer.items()):
            n_bytes += sum(map(measure, packets))
            if taken and n_bytes > max_bytes:
                break
            taken += packets
            self._buffer_bytes -= weigh(packets)
            del buffer[ticket]
        return taken
