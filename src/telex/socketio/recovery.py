"""Connection state recovery: who has left and may come back, and what each was sent.

Rule of this module: sans-I/O. It keeps and decides; who sends, and on which connection, is the namespace's and the
connection's business.

Theory of operation. Each event that asks for no acknowledgement ends with an *offset*: its number, counted through the
whole server, and a short code that only this server can make. The client notes the offset of the last event that it
has handled and says it when it comes back, together with the secret `pid` that it was given at first.

Each client in each namespace has a `Seat`. Its `log` holds the numbered events that it was sent, or would have been
had it been there, in order; so what is missed is what stands behind the client's offset, and there is no search. What
leaves the log at its old end moves `trimmed` on. Recovery is sure exactly if the client's offset is not before
`trimmed`: an offset is compared, not looked up, so that of an idle client stays good however old it is.

An event is one `Entry` for all who are sent it, in one queue by age. It leaves the queue, and with it every log, when
nobody can ask for it any more. So the journal is bounded in time, and for each client and as a whole in count and
bytes. A client whose bound is crossed loses its recovery, never a part of its events.

Source: Socket.IO's "Connection state recovery"; docs/recovery.md tells where Telex differs.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from telex.socketio.acks import Answer
from telex.socketio.rooms import Rooms
from telex.streams.deadlines import Deadline, Deadlines

if TYPE_CHECKING:
    from telex.engineio import Packet

__all__ = ["Ask", "Entry", "Journal", "Presence", "Recovery", "Seat"]

KIB = 1024
MIB = 1024 * KIB

KEY_BYTES = 16
CODE_BYTES = 6
"""Of an offset's code: it tells the server's own offsets from any other text, and guards nothing but that."""

MAX_OFFSET_LENGTH = 64
"""Characters of an offset that are worth looking at."""

MAX_NUMBER_DIGITS = 20

ENTRY_BYTES = 256
"""What an event costs beside its packets."""

HOLDER_BYTES = 16
"""What an event costs for each client that was sent it."""

GRAIN = 1.0
"""Seconds by which events may outlast their time, so that they are let go of in heaps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovery:
    """Say how long and how much clients may miss and still be recovered.

    **Units**: seconds, bytes and counts. Raises `TypeError` and `ValueError` for what cannot be.
    """

    max_disconnection_duration: float = 120.0
    """How long a client may be away; two minutes as in the original."""
    skip_middlewares: bool = False
    """Whether who is recovered passes the middlewares by. By default they run: a user may be banned by now."""
    max_sessions: int = 10_000
    """Clients that are away at once; above it the one that left first is given up."""
    max_packets: int = 1000
    """Events kept for one client; one that has missed more is not recovered."""
    max_bytes: int = 1 * MIB
    """The same in bytes: it is sent all at once, and stays well below `Limits.send_buffer_max`."""
    max_journal_bytes: int = 64 * MIB
    """Events kept for all clients together, one that many were sent counted once; above it the oldest go."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kind = type(field.default)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if kind is float and not is_number:
                raise TypeError(f"Recovery.{field.name} must be a number, not {type(value).__name__}")
            if kind is not float and type(value) is not kind:
                raise TypeError(f"Recovery.{field.name} must be of type {kind.__name__}, not {type(value).__name__}")
            if is_number and not value > 0:  # "not" for the sake of NaN
                raise ValueError(f"Recovery.{field.name} must be positive, not {value}")


class Presence(Enum):
    """Name where the client of a seat is."""

    PRESENT = auto()  # it has a socket
    ABSENT = auto()  # it may come back
    CLAIMED = auto()  # it is back, in the hands of the middlewares: what it misses is kept on
    OVER = auto()  # it cannot come back


MOVES = {
    Presence.PRESENT: {Presence.ABSENT, Presence.OVER},
    Presence.ABSENT: {Presence.CLAIMED, Presence.OVER},
    Presence.CLAIMED: {Presence.PRESENT, Presence.ABSENT, Presence.OVER},
    Presence.OVER: set[Presence](),
}

AWAY = (Presence.ABSENT, Presence.CLAIMED)

Occupant = TypeVar("Occupant")


@dataclass(slots=True)
class Ask:
    """Be the acknowledgement that an event asks for, which a client that was away is sent when it is back."""

    ack_id: int
    answer: Answer


@dataclass(slots=True, eq=False)
class Entry:
    """Hold one event for all who are to have it."""

    number: int
    when: float
    packets: Sequence[Packet]
    n_bytes: int
    holders: Sequence[Seat[Any]]
    ask: Ask | None = None


NOTHING: deque[Entry] = deque(maxlen=0)
"""The log of who was sent nothing yet; shared, and never changed."""


class Seat(Generic[Occupant]):
    """Be one client in one namespace, there or away. Made by `Journal.open`.

    `occupant` is its socket, also while it is claimed. `start` is the number of the last event when it was let in,
    `trimmed` that of the last event that its log has lost, `left` that of the last event when it left.
    """

    __slots__ = (
        "data",
        "expires",
        "left",
        "log",
        "n_bytes",
        "namespace",
        "occupant",
        "pid",
        "presence",
        "rooms",
        "sid",
        "start",
        "trimmed",
    )

    def __init__(self, namespace: str, sid: str, pid: str, number: int) -> None:
        self.namespace = namespace
        self.sid = sid
        self.pid = pid
        self.presence = Presence.PRESENT
        self.occupant: Occupant | None = None
        self.start = self.trimmed = self.left = number
        self.expires = 0.0
        self.log: deque[Entry] = NOTHING
        self.n_bytes = 0
        self.rooms: frozenset[str] = frozenset()
        self.data: dict[str, Any] | None = None

    @property
    def present(self) -> Occupant | None:
        """The socket that the client is sent to, while it is there."""
        return self.occupant if self.presence is Presence.PRESENT else None

    def __repr__(self) -> str:  # without the pid, which is a secret
        return f"<Seat of {self.sid} in {self.namespace} {self.presence.name.lower()}>"


class Absent(Generic[Occupant]):
    """Hold who is away from one namespace, by the rooms they are in."""

    __slots__ = ("rooms", "seats")

    def __init__(self) -> None:
        self.seats: dict[str, Seat[Occupant]] = {}
        self.rooms: Rooms[Seat[Occupant]] = Rooms()

    def add(self, seat: Seat[Occupant]) -> None:
        self.seats[seat.sid] = seat
        for room in seat.rooms:
            self.rooms.join(seat, room)

    def remove(self, seat: Seat[Occupant]) -> None:
        self.seats.pop(seat.sid, None)
        self.rooms.leave_all(seat)

    def members_of(self, room: str) -> Iterable[Seat[Occupant]]:
        own = self.seats.get(room)
        return self.rooms.members_of(room) if own is None else (own,)


class Journal(Generic[Occupant]):
    """Keep the seats of one server's clients and the events that they may ask for.

    Args: `deadlines` returns the queue of the loop that runs; `key` is secret, `make_pid` returns a new secret each
    time. `heartbeat` is how long a client that is gone may pass for present: what it was sent meanwhile is missed too.
    `deserted` hears of a namespace from which nobody is away any more.
    **Cost**: an event costs O(those who are sent it or miss it), a return O(what was missed).
    """

    def __init__(
        self,
        options: Recovery,
        *,
        heartbeat: float,
        key: bytes,
        make_pid: Callable[[], str],
        deadlines: Callable[[], Deadlines],
        deserted: Callable[[str], None] = lambda namespace: None,
    ) -> None:
        self.options = options
        self._retention = options.max_disconnection_duration + heartbeat
        self._key = key
        self._make_pid = make_pid
        self._deadlines = deadlines
        self._deserted = deserted
        self._number = 0  # of the last event
        self._seats: dict[str, Seat[Occupant]] = {}  # by pid
        self._absent: dict[str, Absent[Occupant]] = {}  # by namespace
        self._leavers: OrderedDict[Seat[Occupant], None] = OrderedDict()  # who is absent, in order
        self._entries: deque[Entry] = deque()  # by age
        self._n_bytes = 0
        self._alarm: Deadline | None = None

    # Offsets.

    def offset(self, namespace: str, number: int) -> str:
        """Write the offset of an event. It is good in its namespace only."""
        digits = f"{number:x}"
        return f"{digits}.{self._code(namespace, digits)}"

    def read_offset(self, namespace: str, offset: object) -> int | None:
        """Return the number that an offset stands for; None for what this server has not given out there."""
        if not isinstance(offset, str) or len(offset) > MAX_OFFSET_LENGTH or not offset.isascii():
            return None
        digits, _, code = offset.partition(".")
        if not hmac.compare_digest(code, self._code(namespace, digits)) or len(digits) > MAX_NUMBER_DIGITS:
            return None
        number = int(digits, 16)
        return number if number <= self._number else None

    def _code(self, namespace: str, digits: str) -> str:
        text = f"{digits} {namespace}".encode()
        return hashlib.blake2s(text, key=self._key, digest_size=CODE_BYTES).hexdigest()

    # Seats.

    def open(self, namespace: str, sid: str) -> Seat[Occupant]:
        """Give a new client a seat. **Next**: set its `occupant`."""
        seat: Seat[Occupant] = Seat(namespace, sid, self._make_pid(), self._number)
        self._seats[seat.pid] = seat
        return seat

    def find(self, namespace: str, pid: object) -> Seat[Occupant] | None:
        """Return the seat of a client that says this `pid`."""
        seat = self._seats.get(pid) if isinstance(pid, str) else None
        return seat if seat is not None and seat.namespace == namespace else None

    def leave(self, seat: Seat[Occupant], rooms: Iterable[str], data: dict[str, Any] | None) -> None:
        """Note that a client is away. Again, to note other rooms or data."""
        if seat.presence is Presence.OVER:
            return
        if seat.presence is not Presence.ABSENT:
            self._move(seat, Presence.ABSENT)
            seat.occupant, seat.left = None, self._number
            self._await_return(seat)
        seat.rooms, seat.data = frozenset(rooms), data
        absent = self._absent.setdefault(seat.namespace, Absent())
        absent.remove(seat)
        absent.add(seat)

    def claim(self, seat: Seat[Occupant], offset: object) -> int | None:
        """Have an absent client back: return the number of the last event it has; None, and its seat is over, where
        that is not sure or too much was missed.

        **Next**: set its `occupant`; then `restore` or `release`. Until then what it misses is kept on.
        """
        if seat.presence is not Presence.ABSENT:
            return None
        position = self._position(seat, offset)
        if position is None or position < seat.trimmed or self._deadlines().now() >= seat.expires:
            self.forget(seat)
            return None
        self._move(seat, Presence.CLAIMED)
        del self._leavers[seat]
        return position

    def _position(self, seat: Seat[Occupant], offset: object) -> int | None:
        """Return the number of the last event that a client has, by what it says."""
        number = None if offset is None else self.read_offset(seat.namespace, offset)
        if offset is None or number is not None:
            # None at all: it has received nothing with an offset. An older one than its seat is from an earlier one,
            # and says the same of this one.
            return max(number or 0, seat.start)
        # Another text can be of another server's time, which its client has kept since. That is sure only if there was
        # none of ours to take its place.
        has_been_sent_any = seat.trimmed > seat.start or (bool(seat.log) and seat.log[0].number <= seat.left)
        return None if has_been_sent_any else seat.start

    def restore(self, seat: Seat[Occupant], position: int) -> list[Entry] | None:
        """Seat a claimed client again: return what it has missed, in order, for it to be sent at once.

        None, and the seat is over, where its bounds were crossed while it was claimed.
        """
        if seat.presence is not Presence.CLAIMED or position < seat.trimmed:
            self.forget(seat)
            return None
        self._move(seat, Presence.PRESENT)
        self._end_absence(seat)
        missed = [entry for entry in seat.log if entry.number > position]
        # What asks for an acknowledgement is sent once: whether it was handled no offset tells.
        kept = [entry for entry in missed if entry.ask is None]
        seat.log = deque(kept) if kept else NOTHING
        seat.n_bytes = sum(entry.n_bytes for entry in kept)
        seat.trimmed = position
        return missed

    def release(self, seat: Seat[Occupant]) -> None:
        """Note that a claimed client has left again before it was restored."""
        if seat.presence is Presence.CLAIMED:
            self._move(seat, Presence.ABSENT)
            seat.occupant = None
            self._await_return(seat)

    def forget(self, seat: Seat[Occupant]) -> None:
        """Give a client up: it cannot come back. Idempotent."""
        if seat.presence is Presence.OVER:
            return
        was_away = seat.presence in AWAY
        self._move(seat, Presence.OVER)
        del self._seats[seat.pid]
        self._leavers.pop(seat, None)
        if was_away:
            self._end_absence(seat)
        seat.occupant = seat.data = None
        log, seat.log, seat.n_bytes = seat.log, NOTHING, 0
        for entry in log:
            give_up(entry)

    def clear(self) -> None:
        """Give everybody up: the server is closed."""
        for seat in list(self._seats.values()):
            self.forget(seat)
        self._entries.clear()
        self._n_bytes = 0
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _move(self, seat: Seat[Occupant], presence: Presence) -> None:
        if presence not in MOVES[seat.presence]:
            raise RuntimeError(f"{seat!r} cannot become {presence.name}")
        seat.presence = presence

    def _await_return(self, seat: Seat[Occupant]) -> None:
        seat.expires = self._deadlines().now() + self.options.max_disconnection_duration
        self._leavers[seat] = None
        if len(self._leavers) > self.options.max_sessions:
            self.forget(next(iter(self._leavers)))
        self._set_alarm(seat.expires)

    def _end_absence(self, seat: Seat[Occupant]) -> None:
        absent = self._absent[seat.namespace]
        absent.remove(seat)
        if not absent.seats:
            del self._absent[seat.namespace]
            self._deserted(seat.namespace)

    # Events.

    def absent(self, namespace: str, rooms: frozenset[str] | None, excluded: frozenset[str]) -> list[Seat[Occupant]]:
        """Return who is away and would be sent a broadcast: in one of `rooms`, or all if that is `None`."""
        absent = self._absent.get(namespace)
        if absent is None:
            return []
        found: Iterable[Seat[Occupant]]
        found = absent.seats.values() if rooms is None else set().union(*map(absent.members_of, rooms))
        out = set().union(*map(absent.members_of, excluded))
        return [seat for seat in found if seat not in out]

    def is_absent(self, namespace: str, sid: str | None = None) -> bool:
        """Whether this is the id of a client that is away; without an id, whether anybody is away."""
        absent = self._absent.get(namespace)
        return absent is not None and (sid is None or sid in absent.seats)

    def write(
        self, namespace: str, encode: Callable[[str], Sequence[Packet]], seats: Sequence[Seat[Occupant]]
    ) -> Sequence[Packet]:
        """Number an event and keep it for those who are to have it; return its packets.

        Args: `encode` writes the event with its offset, and may raise: nothing is changed then.
        """
        number = self._number + 1
        packets = encode(self.offset(namespace, number))
        self._number = number
        self._record(number, packets, seats, None)
        return packets

    def pass_by(self, namespace: str, encode: Callable[[str], Sequence[Packet]]) -> Sequence[Packet]:
        """Write an event that nobody is to have later: its offset is that of the last event before it."""
        return encode(self.offset(namespace, self._number))

    def ask(self, packets: Sequence[Packet], seats: Sequence[Seat[Occupant]], ask: Ask) -> None:
        """Keep an event that asks for an acknowledgement for those who are away; `answer` hears of each.

        It is sent to those who come back, and `answer` is called with `None` for who does not.
        """
        self._number += 1
        self._record(self._number, packets, seats, ask)

    def forget_ask(self, seat: Seat[Occupant], ack_id: int) -> None:
        """Do not send an event to an absent client any more, for nobody awaits its answer."""
        kept = [entry for entry in seat.log if entry.ask is None or entry.ask.ack_id != ack_id]
        if len(kept) < len(seat.log):
            seat.log = deque(kept) if kept else NOTHING
            seat.n_bytes = sum(entry.n_bytes for entry in kept)

    def statistics(self) -> Mapping[str, int]:
        """Return how many clients are away, how many events are kept for whom there is, and their bytes."""
        return {"absent": len(self._leavers), "events": len(self._entries), "bytes": self._n_bytes}

    def _record(self, number: int, packets: Sequence[Packet], seats: Sequence[Seat[Occupant]], ask: Ask | None) -> None:
        if not seats:
            return
        n_bytes = ENTRY_BYTES + sum(packet.n_bytes for packet in packets)
        entry = Entry(number, self._deadlines().now(), packets, n_bytes, seats, ask)
        self._entries.append(entry)
        self._n_bytes += n_bytes + HOLDER_BYTES * len(seats)
        max_packets, max_bytes = self.options.max_packets, self.options.max_bytes
        for seat in seats:
            if seat.log is NOTHING:
                seat.log = deque()
            seat.log.append(entry)
            seat.n_bytes += n_bytes
            while len(seat.log) > max_packets or seat.n_bytes > max_bytes:
                self._trim(seat)
        while self._n_bytes > self.options.max_journal_bytes and self._entries:
            self._drop_oldest()
        if self._entries:
            self._set_alarm(self._entries[0].when + self._retention + GRAIN)

    def _trim(self, seat: Seat[Occupant]) -> None:
        """Take the oldest event out of a client's log."""
        entry = seat.log.popleft()
        seat.n_bytes -= entry.n_bytes
        seat.trimmed = entry.number
        give_up(entry)
        if seat.presence is Presence.ABSENT and seat.trimmed > seat.left:
            self.forget(seat)  # it has surely missed that one

    def _drop_oldest(self) -> None:
        entry = self._entries.popleft()
        self._n_bytes -= entry.n_bytes + HOLDER_BYTES * len(entry.holders)
        for seat in entry.holders:
            if seat.log and seat.log[0] is entry:
                self._trim(seat)

    # Time.

    def _set_alarm(self, when: float) -> None:
        if self._alarm is None:
            self._alarm = self._deadlines().at(when, self._expire)
        elif when < self._alarm.when:
            self._alarm.move(when)

    def _expire(self) -> None:
        self._alarm = None
        now = self._deadlines().now()
        while self._leavers and (seat := next(iter(self._leavers))).expires <= now:
            self.forget(seat)
        while self._entries and self._entries[0].when + self._retention <= now:
            self._drop_oldest()
        if self._leavers:
            self._set_alarm(next(iter(self._leavers)).expires)
        if self._entries:
            self._set_alarm(self._entries[0].when + self._retention + GRAIN)


def give_up(entry: Entry) -> None:
    """Tell who awaits an acknowledgement that one client will not be asked."""
    if entry.ask is not None:
        entry.ask.answer(None)
