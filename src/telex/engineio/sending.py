"""The sending half of a session, of either end: what waits, what may be taken back, and who has no room.

Rule of this module: sans-I/O. It knows that a session has states, and not which: the subclass says in which of them
what may happen.

Packets that the transport cannot take now wait in the session's buffer, which is bounded; what waits there can be taken
back, so a polite transport is handed no more than it has room for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import Any, ClassVar

from telex.engineio.fastpath import MessageSender
from telex.engineio.interfaces import CloseReason, SessionSink, Transport
from telex.engineio.packets import Packet, PacketType
from telex.errors import EnginePacketError
from telex.limits import Limits, Quota
from telex.streams.deadlines import Deadline, Deadlines
from telex.types import Data

__all__ = ["BufferedSender", "weigh"]

_tickets = count()  # never twice the same, so an old one finds nothing


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


class BufferedSender(MessageSender):
    """Send as a session, and keep what cannot be sent yet.

    `is_clear` tells that it is open, that nothing waits and that the peer keeps up.

    Attributes:
        open_states: Those in which messages may be sent and are received.
        sending_states: Those in which packets may be handed to the transport.
        closing_states: Those in which what was sent before still leaves, and then the transport is closed.
    """

    open_states: ClassVar[frozenset[Enum]]
    sending_states: ClassVar[frozenset[Enum]]
    closing_states: ClassVar[frozenset[Enum]]

    __slots__ = ("_buffer", "_buffer_bytes", "_control", "_deadlines", "_lag", "_limits", "_overflow_alarm", "_sink")

    state: Any

    def __init__(self, transport: Transport, limits: Limits, deadlines: Deadlines) -> None:
        self.transport = transport
        self._sink: SessionSink | None = None
        self._limits = limits
        self._deadlines = deadlines
        self._buffer: dict[int, Sequence[Packet]] | None = None  # what waits, by ticket, in order
        self._buffer_bytes = 0
        self.is_clear = True
        self.high_mark = limits.send_buffer_high
        self._overflow_alarm: Deadline | None = None  # set when more was sent than may wait
        self._lag: Lag | None = None  # while the peer has no room
        self._control: Quota | None = None  # made at the first heartbeat packet that nobody asked for

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
        return self.state in self.open_states

    @property
    def is_writable(self) -> bool:
        """Whether a packet sent now leaves at once; volatile packets are sent only then."""
        return (
            not self._buffer
            and self._overflow_alarm is None
            and self.state in self.sending_states
            and self.transport.is_writable
        )

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

    # What a transport does.

    def flush(self) -> None:
        """Hand waiting packets to the transport; a transport calls it whenever it becomes writable."""
        if self._buffer and self.state in self.sending_states and self.transport.is_writable:
            self._hand_over()
            self._clear()
        if self.state in self.closing_states and not self._buffer:
            self.transport.close()
        elif self._lag is not None and self.has_room:
            self._end_lag()
            if self._sink is not None and self.is_open:
                self._sink.writing_resumed()

    def receive(self, transport: Transport, kind: PacketType, data: Data) -> None:
        """Take one packet from a transport: the subclass's.

        Raises `EnginePacketError` for a packet that this state does not allow; the transport then calls `fail`.
        """
        raise NotImplementedError

    def fail(self, transport: Transport, reason: CloseReason) -> None:
        """End what depends on a transport that has ended or failed: the subclass's."""
        raise NotImplementedError

    # What the subclass does.

    def _abandon(self, reason: CloseReason) -> None:
        """End at once; what waited is lost."""
        raise NotImplementedError

    def _direct(self) -> None:
        """Have messages handed straight to the floor above, unless the session has a say in them."""
        raise NotImplementedError

    # The heartbeat.

    def _charge_control(self) -> None:
        """Count a heartbeat packet that is the peer's own idea. Raises `EnginePacketError` for too many."""
        if self._control is None:
            self._control = Quota(self._limits.max_control_per_second, self._limits.max_control_burst)
        if not self._control.take(self._deadlines.now()):
            raise EnginePacketError("too many heartbeat packets")

    # The end.

    def _drop_waiting(self) -> None:
        """Forget what waits, and who is waited for."""
        self._end_lag()
        if self._overflow_alarm is not None:
            self._overflow_alarm.cancel()
        self._buffer, self._buffer_bytes = None, 0

    def _slow_due(self) -> None:
        # Progress since the last look earns the peer another period.
        lag = self._lag
        if lag is None or self.buffered_bytes >= lag.left_bytes:
            self._abandon(CloseReason.SLOW_CONSUMER)
            return
        self._begin_lag(self.buffered_bytes)

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

    def _clear(self) -> None:
        self.is_clear = (
            self.state in self.open_states
            and self.state in self.sending_states
            and not self._buffer
            and self._lag is None
            and self._overflow_alarm is None
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
