"""Saying one thing to many.

Rule of this module: a broadcast is encoded once, and each recipient gets the same packets. Operators are immutable:
each call returns a new one, so one can be kept and reused.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from telex.engineio import Packet, send_to_all
from telex.errors import AckTimeout, TooManyAcks
from telex.socketio.acks import from_values
from telex.socketio.backlog import SlowConsumers, check_key
from telex.socketio.recovery import Ask

if TYPE_CHECKING:
    from telex.socketio.namespace import Namespace
    from telex.socketio.recovery import Seat
    from telex.socketio.remote import RemoteSocket
    from telex.socketio.socket import Socket

__all__ = ["BroadcastOperator", "Broadcaster", "Flags", "Recipient", "Selection", "Sent", "names"]

DEFAULT_CALL_TIMEOUT = 60.0


def names(given: str | Iterable[str]) -> tuple[str, ...]:
    """Return names given as one or several; raises `TypeError` for anything but texts."""
    found = (given,) if isinstance(given, str) else tuple(given)
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"a room is named by a str, not {type(name).__name__}")
    return found


@dataclass(frozen=True, slots=True)
class Flags:
    """Say how events are sent.

    `timeout` is in seconds and bounds the wait for acknowledgements. `latest` is the key under which only the newest
    waits, `policy` what happens where there is no room, the server's policy where it is `None`.
    """

    volatile: bool = False
    compress: bool = True
    timeout: float | None = None
    local: bool = False
    latest: str | None = None
    policy: SlowConsumers | None = None

    def __post_init__(self) -> None:
        if self.volatile and self.latest is not None:
            raise ValueError("a volatile event never waits, so there is none for latest() to replace: choose one")

    @property
    def call_timeout(self) -> float:
        """How long `call` waits."""
        return DEFAULT_CALL_TIMEOUT if self.timeout is None else self.timeout


@dataclass(frozen=True, slots=True)
class Selection:
    """Say whom something concerns: the members of `rooms`, or everyone if that is `None`, but not of `excluded`.

    Source: the `opts` of the original's adapters.
    """

    rooms: frozenset[str] | None
    excluded: frozenset[str]
    flags: Flags


class Recipient(Protocol):
    """Be who an event was sent to: a socket, or a client's server."""

    @property
    def has_room(self) -> bool:
        """Whether it keeps up."""
        ...

    async def wait_room(self) -> None:
        """Wait until it does, or is gone."""


class Sent:
    """Be what `emit` returns: the event is on its way, and ignoring this is fine.

    Awaiting what an `emit` to one client returns waits until that client has room for more. Awaiting a broadcast only
    lets others run for a turn of the loop: one slow member must not hold up who speaks to all.
    **Cancellation**: only the waiting ends, the event stays sent.
    """

    __slots__ = ("_recipient",)

    def __init__(self, recipient: Recipient | None = None) -> None:
        self._recipient = recipient

    def __await__(self) -> Generator[Any, None, None]:
        if self._recipient is None:
            yield
        elif not self._recipient.has_room:
            yield from self._recipient.wait_room().__await__()


class _SentAndGone(Sent):
    """Be what there is nothing to wait for."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return NOTHING_TO_WAIT_FOR


NOTHING_TO_WAIT_FOR = cast("Generator[Any, None, None]", iter(()))  # exhausted, for whoever steps it

SENT = _SentAndGone()
"""What an `emit` to one client returns that keeps up."""


class Broadcaster(ABC):
    """Offer what a server, a namespace and an operator can all say to many."""

    __slots__ = ()

    @property
    @abstractmethod
    def _operator(self) -> BroadcastOperator:
        """The recipients and flags so far."""

    def to(self, *rooms: str) -> BroadcastOperator:
        """Address the members of these rooms; with earlier ones, the union. Nobody gets an event twice."""
        operator = self._operator
        return operator._with(rooms=(operator._rooms or frozenset()) | set(names(rooms)))

    def in_(self, *rooms: str) -> BroadcastOperator:
        """Address rooms, as `to` does."""
        return self.to(*rooms)

    def except_(self, *rooms: str) -> BroadcastOperator:
        """Leave out the members of these rooms; a socket's id is a room."""
        operator = self._operator
        return operator._with(excluded=operator._excluded | set(names(rooms)))

    @property
    def local(self) -> BroadcastOperator:
        """Address only clients of this node."""
        operator = self._operator
        return operator._with(flags=replace(operator._flags, local=True))

    @property
    def volatile(self) -> BroadcastOperator:
        """Skip whoever cannot take the event right now."""
        operator = self._operator
        return operator._with(flags=replace(operator._flags, volatile=True))

    def latest(self, key: str) -> BroadcastOperator:
        """Let only the newest unsent event under this key wait, for each recipient; see `Socket.latest`."""
        operator = self._operator
        return operator._with(flags=replace(operator._flags, latest=check_key(key)))

    def compress(self, compress: bool) -> BroadcastOperator:
        """Say whether the event may be compressed, where compression is on."""
        operator = self._operator
        return operator._with(flags=replace(operator._flags, compress=compress))

    def timeout(self, seconds: float) -> BroadcastOperator:
        """Bound how long `call` waits."""
        operator = self._operator
        return operator._with(flags=replace(operator._flags, timeout=seconds))

    def emit(
        self, event: str, *args: Any, to: str | Iterable[str] | None = None, except_: str | Iterable[str] | None = None
    ) -> Sent:
        """Send an event to everyone addressed.

        The event is sent when this is called; awaiting the result lets others run and waits for no recipient. Those
        that lag are passed by with `volatile`, and disconnected at `Limits.send_buffer_max`, unless the policy for
        slow consumers says otherwise (`SlowConsumers`).
        Raises `ValueError` for a reserved name, `TypeError` for data that cannot be sent, and `RuntimeError` in another
        thread than the event loop's (`loop.call_soon_threadsafe(io.emit, ...)` is for these); nobody has got it then.
        """
        operator = self._operator
        if to is not None:
            operator = operator.to(*names(to))
        if except_ is not None:
            operator = operator.except_(*names(except_))
        return operator._emit(event, args)

    def send(self, *args: Any) -> Sent:
        """Send an event called "message" to everyone addressed, as `emit` does."""
        return self.emit("message", *args)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """Send an event to everyone addressed and return their answers, in the order in which they come.

        Raises `AckTimeout` when not all have answered in time, or when those that have not never will: they have left,
        owe too many acknowledgements, or were skipped as `volatile` wants. Its `responses` holds the answers that came.
        **Units**: `timeout` in seconds, 60 by default.
        **Cancellation**: the event stays sent, answers are ignored.
        """
        operator = self._operator
        return await operator._call(event, args, operator._flags.call_timeout if timeout is None else timeout)

    # Everyone at once.

    async def fetch_sockets(self) -> list[RemoteSocket]:
        """Return the sockets addressed, as they are now. Awaitable because the other nodes of a cluster are asked.

        Raises `RuntimeError` for a parent namespace, and outside of the event loop's thread. O(recipients).
        """
        return await self._operator._fetch()

    def sockets_join(self, rooms: str | Iterable[str]) -> Sent:
        """Let everyone addressed join one room or several, at once.

        Raises as `Socket.join`, if any one of them cannot; nobody of a namespace has joined then.
        """
        return self._operator._join(names(rooms))

    def sockets_leave(self, rooms: str | Iterable[str]) -> Sent:
        """Let everyone addressed leave one room or several, at once."""
        return self._operator._leave(names(rooms))

    def disconnect_sockets(self, close: bool = False) -> Sent:
        """Send off everyone addressed, at once, as `Socket.disconnect` does; `close` ends their whole connections."""
        return self._operator._disconnect(close)


class BroadcastOperator(Broadcaster):
    """Hold the recipients and flags of a broadcast."""

    __slots__ = ("_excluded", "_flags", "_namespace", "_rooms")

    def __init__(
        self,
        namespace: Namespace,
        rooms: frozenset[str] | None = None,
        excluded: frozenset[str] = frozenset(),
        flags: Flags = Flags(),  # immutable
    ) -> None:
        self._namespace = namespace
        self._rooms = rooms  # `None` is everyone; no room at all is nobody
        self._excluded = excluded
        self._flags = flags

    @property
    def _operator(self) -> BroadcastOperator:
        return self

    def _with(
        self,
        rooms: frozenset[str] | None = None,
        excluded: frozenset[str] | None = None,
        flags: Flags | None = None,
    ) -> BroadcastOperator:
        return type(self)(
            self._namespace,
            self._rooms if rooms is None else rooms,
            self._excluded if excluded is None else excluded,
            self._flags if flags is None else flags,
        )

    @property
    def _selection(self) -> Selection:
        return Selection(self._rooms, self._excluded, self._flags)

    async def _fetch(self) -> list[RemoteSocket]:
        self._namespace.check_thread()
        return await self._namespace.adapter.fetch_sockets(self._selection)

    def _join(self, rooms: Sequence[str]) -> Sent:
        self._namespace.check_thread()
        return self._namespace.adapter.sockets_join(self._selection, rooms)

    def _leave(self, rooms: Sequence[str]) -> Sent:
        self._namespace.check_thread()
        return self._namespace.adapter.sockets_leave(self._selection, rooms)

    def _disconnect(self, close: bool) -> Sent:
        self._namespace.check_thread()
        return self._namespace.adapter.disconnect_sockets(self._selection, close)

    def _emit(self, event: str, args: Sequence[Any]) -> Sent:
        self._namespace.check_thread()
        flags, policy = self._flags, self._namespace.policy_for(self._rooms)
        packets, sockets = self._namespace.write_event(
            event, args, self._rooms, self._excluded, volatile=flags.volatile, compress=flags.compress
        )
        flags = replace(flags, policy=policy)
        if self._namespace.journal is not None:
            # Who cannot be recovered, as a client of Socket.IO 2, is sent no offset.
            others = [socket for socket in sockets if socket.stay is None]
            if others:
                sockets = [socket for socket in sockets if socket.stay is not None]
                bare = self._namespace.encode_event(event, args, compress=flags.compress)
                self._namespace.tell_outgoing(self._deliver(others, bare, flags), event, args)
        self._namespace.tell_outgoing(self._deliver(sockets, packets, flags), event, args)
        return Sent()

    def _deliver(self, sockets: list[Socket], packets: Sequence[Packet], flags: Flags) -> list[Socket]:
        """Send as flags and policy say; return those that did not lose it."""
        if flags.volatile or flags.latest is not None or flags.policy is not SlowConsumers.CLOSE:
            return self._post(sockets, packets, flags)
        self._send(sockets, packets)
        return sockets

    def _send(self, sockets: Sequence[Socket], packets: Sequence[Packet]) -> None:
        """Send to all alike."""
        if sockets:
            sessions = [socket.connection.session for socket in sockets]
            send_to_all(sessions, packets, self._namespace.limits.send_buffer_high)

    def _post(self, sockets: Sequence[Socket], packets: Sequence[Packet], flags: Flags) -> list[Socket]:
        """Send to each as it can take it, those that keep up as one crowd; return those that did not lose it."""
        crowd: list[Socket] = []
        others: list[Socket] = []
        for socket in sockets:
            in_crowd = not flags.volatile and socket.connection.session.takes_at_once
            (crowd if in_crowd else others).append(socket)
        self._send(crowd, packets)
        return crowd + [socket for socket in others if socket.post(packets, flags)]

    async def _call(self, event: str, args: Sequence[Any], timeout: float) -> list[Any]:
        namespace = self._namespace
        namespace.check_thread()
        ack_id, flags = namespace.next_ack_id(), replace(self._flags, policy=namespace.policy_for(self._rooms))
        packets = namespace.encode_event(event, args, ack_id=ack_id, compress=self._flags.compress)
        sockets = namespace.select(self._rooms, self._excluded)
        # Who is away, and may be recovered, is asked when it comes back in time.
        away: Sequence[Seat[Socket]] = ()
        if namespace.journal is not None and not self._flags.volatile:
            away = namespace.journal.absent(namespace.name, self._rooms, self._excluded)
        responses: list[Any] = []
        n_asked = n_open = len(sockets) + len(away)
        done = asyncio.get_running_loop().create_future()

        def ask(socket: Socket) -> bool:
            try:
                return socket.ask(packets, ack_id, answered, flags)
            except TooManyAcks:  # one client that never answers must not keep the others from being asked
                return False

        def answered(values: list[Any] | None) -> None:
            nonlocal n_open
            n_open -= 1
            if values is not None:
                responses.append(from_values(values))
            if not n_open and not done.done():  # the caller may have been cancelled in this very turn
                done.set_result(None)

        def forget() -> None:
            for socket in sockets:
                socket.forget_ack(ack_id)
            for seat in away:
                if seat.present is not None:
                    seat.present.forget_ack(ack_id)
                else:
                    namespace.recovery.forget_ask(seat, ack_id)

        try:
            asked = []
            for socket in sockets:
                if ask(socket):
                    asked.append(socket)
                else:
                    answered(None)
            namespace.tell_outgoing(asked, event, args)
            if away:
                namespace.recovery.ask(packets, away, Ask(ack_id, answered))
            if n_open:
                async with asyncio.timeout(timeout):
                    await done
        except TimeoutError:
            raise AckTimeout(timeout, responses) from None
        finally:
            forget()
        if len(responses) < n_asked:
            raise AckTimeout(timeout, responses)
        return responses
