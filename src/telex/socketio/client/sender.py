"""What a client sends on the long way: events that ask for an acknowledgement, that must wait, or that are retried.

Rule of this module: which event is sent, kept, sent again or given up. When there is a connection is told from outside.

A client has a `Sender` from the first event on that does not take the short way.

Source: the original's `Socket.emit`, `_addToQueue` and `_clearAcks`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from telex.engineio import Packet
from telex.engineio.sending import weigh
from telex.socketio.acks import Acks, Answer
from telex.socketio.broadcast import DEFAULT_CALL_TIMEOUT
from telex.socketio.client.outbox import Outbox
from telex.socketio.client.retries import Line, Try
from telex.socketio.events import CONNECTED
from telex.socketio.reliable import EXTENSION
from telex.socketio.writing import write_event
from telex.streams.deadlines import Deadline, deadlines_of

if TYPE_CHECKING:
    from telex.socketio.client.socket import Client

__all__ = ["Flags", "Sender"]

logger = logging.getLogger("telex.socketio")


class Flags(NamedTuple):
    """Say how an event is sent; `timeout` is in seconds."""

    volatile: bool = False
    compress: bool = True
    timeout: float | None = None


USUAL = Flags()


class Sender:
    """Send the events of one client.

    Attributes:
        is_numbering: Whether the server understands numbered events.
    """

    __slots__ = ("_acks", "_alarm", "_client", "_line", "_n_acks", "_outbox", "is_numbering")

    def __init__(self, client: Client) -> None:
        limits, retries = client.settings.limits, client.wishes.retries
        self._client = client
        self._acks = Acks(limits.max_pending_acks)
        self._n_acks = 0
        self._outbox = Outbox(limits)
        self._line = Line(retries, limits) if retries else None
        self._alarm: Deadline | None = None  # of the try that is under way
        self.is_numbering = False

    @property
    def is_awaiting_ack(self) -> bool:
        """Whether the server owes an acknowledgement."""
        return len(self._acks) > 0

    @property
    def has_room(self) -> bool:
        """Whether a polite program may emit more, as far as what waits here goes."""
        return self._outbox.has_room and (self._line is None or self._line.has_room)

    @property
    def n_waiting(self) -> int:
        """How many events wait."""
        return len(self._outbox) + (0 if self._line is None else len(self._line))

    # What the program sends.

    def emit(self, event: str, args: Sequence[Any], flags: Flags, answer: Answer | None = None) -> int | None:
        """Send an event as its flags say, or keep it; return the id of its acknowledgement.

        Returns: None where there is none: nobody asks for it, or the event was dropped, and `answer` is not called.
        Raises `TypeError` and `ValueError` for what cannot be sent, `OutboxFull`, `TooManyAcks`; nothing is changed.
        """
        if self._line is not None and not flags.volatile:
            return self._line_up(self._line, event, args, flags, answer)
        if answer is None:
            if self._post(self._write(event, args, None, flags.compress), flags):
                self._client.tell_outgoing(event, args)
            return None
        ack_id = self._next_ack_id()
        packets = self._write(event, args, ack_id, flags.compress)
        self._acks.expect(ack_id, answer)
        try:
            is_sent = self._post(packets, flags, ack_id)
        except BaseException:
            self._acks.forget(ack_id)
            raise
        if not is_sent:
            self._acks.forget(ack_id)
            return None
        self._client.tell_outgoing(event, args)
        self._client.regulate_all()
        return ack_id

    def _write(self, event: str, args: Sequence[Any], ack_id: int | None, compress: bool) -> Sequence[Packet]:
        client = self._client
        return write_event(client.settings.parser, client.nsp, event, args, ack_id=ack_id, compress=compress)

    def _post(self, packets: Sequence[Packet], flags: Flags, ack_id: int | None = None) -> bool:
        """Send packets, or keep them; `False` if they were dropped."""
        client = self._client
        session = client.connection.session if client.state is CONNECTED else None
        if session is not None and not session.has_expired():
            if flags.volatile and not session.is_writable:
                return False
            session.send(packets)
            return True
        if flags.volatile:
            return False
        self._outbox.put(packets, ack_id)
        return True

    def _next_ack_id(self) -> int:
        self._n_acks += 1
        return self._n_acks - 1

    # Acknowledgements.

    def resolve(self, ack_id: int, values: list[Any]) -> None:
        """Take an acknowledgement; one that nobody awaits is ignored."""
        self._acks.resolve(ack_id, values)

    def forget(self, ack_id: int) -> None:
        """Await an acknowledgement no longer; an event that still waits is taken back."""
        self._acks.forget(ack_id)
        self._outbox.withdraw(ack_id)
        entry = None if self._line is None else self._line.find(ack_id)
        if self._line is not None and entry is not None:
            if entry is self._line.head:
                self._cancel_alarm()
            self._line.remove(entry)
            self._go_on()

    # Events that are retried.

    def _line_up(self, line: Line, event: str, args: Sequence[Any], flags: Flags, answer: Answer | None) -> int:
        ack_id = self._next_ack_id()
        n_bytes = weigh(self._write(event, args, ack_id, flags.compress))
        seconds = self._client.wishes.ack_timeout if flags.timeout is None else flags.timeout
        seconds = DEFAULT_CALL_TIMEOUT if seconds is None else seconds
        line.put(Try(event, tuple(args), flags.compress, answer, seconds, ack_id, n_bytes))
        self._go_on()
        return ack_id

    def _go_on(self) -> None:
        """Send the first event of the line, if none is under way and there is a connection."""
        client = self._client
        if self._line is None or client.state is not CONNECTED or client.connection.session.has_expired():
            return
        entry = self._line.begin()
        if entry is None:
            return
        args = [*entry.args, {EXTENSION: {"id": entry.ack_id}}] if self.is_numbering else entry.args
        self._acks.expect(entry.ack_id, partial(self._tried, entry))
        client.connection.session.send(self._write(entry.event, args, entry.ack_id, entry.compress))
        deadlines = deadlines_of(client.connection.loop)
        self._alarm = deadlines.at(deadlines.now() + entry.seconds, partial(self._try_due, entry))
        if entry.n_tries == 1:
            client.tell_outgoing(entry.event, entry.args)

    def _try_due(self, entry: Try) -> None:
        self._acks.forget(entry.ack_id)
        self._tried(entry, None)

    def _tried(self, entry: Try, values: list[Any] | None) -> None:
        """Take the answer to the event that is under way; None where there was none to this try."""
        line = self._line
        if line is None or entry is not line.head:
            return
        self._cancel_alarm()
        if values is not None:
            line.remove(entry)
        elif not line.interrupt(entry):
            self._go_on()  # again, if there is a connection
            return
        self._client.make_room()
        if entry.answer is not None:
            entry.answer(values)
        elif values is None:
            logger.warning("gave up an event %r, sent %d times and not acknowledged", entry.event, entry.n_tries)
        self._go_on()

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    # What the client tells.

    def connected(self) -> None:
        """Hear that the server has let the client in: send what waits."""
        client = self._client
        waiting = self._outbox.take_all()
        for packets in waiting:
            client.connection.session.send(packets)
        self._go_on()

    def disconnected(self) -> None:
        """Hear that the connection is gone: what was sent will not be acknowledged any more."""
        self.is_numbering = False
        for ack_id in self._acks.ids():
            if ack_id not in self._outbox:
                self._acks.fail(ack_id)

    def ended(self) -> None:
        """Hear that there will be no further connection by itself: nothing is awaited any more.

        What asks for no acknowledgement stays, for the next time that the program connects.
        """
        self._cancel_alarm()
        abandoned: list[Callable[[], None]] = []
        if self._line is not None:
            for entry in self._line.take_all():
                if entry.answer is not None:
                    abandoned.append(partial(entry.answer, None))
        for ack_id in self._acks.ids():
            self._outbox.withdraw(ack_id)
            self._acks.fail(ack_id)
        for answer in abandoned:
            answer()
