"""One connection to a server, which the clients of several namespaces share.

Rule of this module: when there is a connection, and what packet reaches which client. What a client does with it is
`socket.py`'s.

Theory of operation. The connection is wanted while any client is active: it is opened with the first, and closed behind
the last. What moves a manager from state to state stands in `states.LIFE`. Only while it connects there is a task; a
manager that waits to try again has a deadline, one that is connected nothing. A server that breaks the protocol is not
reasoned with: the connection ends with "parse error".

Source: Socket.IO protocol v5; the original's `Manager`.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from telex.backoff import Backoff, retry_after
from telex.engineio import CloseReason, message
from telex.engineio.client import ClientSession, open_session
from telex.errors import ConnectError, HandshakeError, SocketPacketError, TelexError
from telex.socketio.client.options import Settings
from telex.socketio.client.states import LIFE, Life, Turn
from telex.socketio.fastpath import EventParser, EventReceiver
from telex.socketio.handlers import Handler, Job, call, make_handler
from telex.socketio.listeners import Function
from telex.socketio.packets import Packet as SocketPacket
from telex.socketio.packets import PacketType, event_name
from telex.socketio.parsers import JSON
from telex.socketio.reasons import DisconnectReason
from telex.socketio.starting import start
from telex.streams.deadlines import Deadline, deadlines_of
from telex.tokens import chance
from telex.types import Data, size_of

if TYPE_CHECKING:
    from telex.socketio.client.member import Member

__all__ = ["MANAGER_EVENTS", "Manager", "find_manager"]

logger = logging.getLogger("telex.socketio")

MANAGER_EVENTS = {
    "open": 0,
    "error": 1,
    "ping": 0,
    "close": 1,
    "reconnect_attempt": 1,
    "reconnect": 1,
    "reconnect_error": 1,
    "reconnect_failed": 0,
}
"""What a manager tells, and with how many arguments."""

NOBODY: frozenset[Any] = frozenset()


class Manager(EventReceiver):
    """Keep one connection for the clients of its namespaces; `client.manager` is theirs.

    It is made by the clients, and a program seldom needs it: to learn of the connection, with `on`, and to see
    `session`.
    Attributes:
        settings: What it was told.
        life: What it is doing.
        loop: The event loop that it lives on.
        session: The Engine.IO session: there while the manager is open.
    """

    __slots__ = (
        "__weakref__",
        "_alarm",
        "_backoff",
        "_full",
        "_handlers",
        "_message_bytes",
        "_room",
        "_task",
        "life",
        "settings",
    )

    session: Any  # a `ClientSession` while the manager is open, else None
    _root: Member | None
    _others: dict[str, Member] | None

    # An idle client is to be small: what not every one needs comes into being with its first use.
    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        self.loop = loop
        self.life = Life.CLOSED
        self.session = None
        self._root = self._others = None
        self._parser = parser_of(settings)
        self._decoder = None
        self._message_bytes = 0
        self._alarm: Deadline | None = None  # of the next attempt, or of awaited attachments
        self._backoff: Backoff | None = None  # since an attempt has failed or the connection was lost
        self._full: frozenset[Member] = NOBODY  # those whose handlers lag
        self._handlers: dict[str, Handler] | None = None
        self._room: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None  # while it connects

    def __repr__(self) -> str:
        return f"<Manager of {self.settings.origin} {self.life.name.lower()}>"

    # What a program may do.

    def on(self, event: str, function: Function | None = None, /) -> Any:
        """Register the handler of one of the manager's own events; a later one takes its place. Also a decorator.

        "open", "close" (reason), "error" (error), "ping" (the server's heartbeat), "reconnect_attempt" (number),
        "reconnect" (number), "reconnect_error" (error), "reconnect_failed".
        Raises `ValueError` for any other name, `TypeError` for a function that needs more arguments than there are.
        """
        n_given = MANAGER_EVENTS.get(event)
        if n_given is None:
            raise ValueError(f"{event!r} is no event of a manager: {', '.join(MANAGER_EVENTS)}")

        def register(found: Function) -> Function:
            handler = make_handler(found, event, n_given=n_given, takes_socket=False)
            if self._handlers is None:
                self._handlers = {}
            self._handlers[event] = handler
            self._hear_pings()
            return found

        return register if function is None else register(function)

    def off(self, event: str, function: Callable[..., Any] | None = None, /) -> None:
        """Forget the handler of an event; if it is this function, where one is given."""
        handler = None if self._handlers is None else self._handlers.get(event)
        if self._handlers is not None and handler is not None and function in (None, handler.registered):
            del self._handlers[event]

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self.life is Life.OPEN

    @property
    def transport(self) -> str | None:
        """The name of the transport, "polling" or "websocket"; None where there is no connection."""
        session = self.session
        return None if session is None else session.transport.name

    # What clients do.

    def has(self, namespace: str) -> bool:
        """Whether a client of this namespace is here."""
        return self._client(namespace) is not None

    def add(self, client: Member) -> None:
        """Take in a client; it is told when there is a connection."""
        name = client.nsp.name
        if name == "/":
            self._root = client
        else:
            if self._others is None:
                self._others = {}
            self._others[name] = client
        if self.life is Life.CLOSED:
            self._turn(Turn.BEGIN)
            self.loop.call_soon(self._begin)
        elif self.life is Life.OPEN:
            client.ask()

    def remove(self, client: Member) -> None:
        """Let a client go. Behind the last one the connection is closed."""
        name = client.nsp.name
        if self._client(name) is not client:
            return
        if name == "/":
            self._root = None
        elif self._others is not None:
            del self._others[name]
        self.regulate(client, is_full=False)
        self.writing_resumed()
        if self._root is None and not self._others and self.life is not Life.CLOSED:
            self._close(DisconnectReason.IO_CLIENT_DISCONNECT)

    def send(self, packet: SocketPacket) -> None:
        """Send a packet of the library's own. Raises what the parser raises."""
        session = self.session
        if session is not None:
            session.send([message(data) for data in self.settings.parser.encode(packet)])

    def send_own(self, packet: SocketPacket) -> None:
        """Send such a packet; a program's parser that cannot write it ends the connection."""
        try:
            self.send(packet)
        except Exception:
            logger.exception("the parser could not write a packet of type %s", packet.type.name)
            self._end_session(DisconnectReason.PARSE_ERROR)

    def regulate(self, client: Member, is_full: bool) -> None:
        """Stop reading while any client's handlers lag."""
        was_full = bool(self._full)
        if is_full or was_full:
            self._full = (self._full | {client} if is_full else self._full - {client}) or NOBODY
        session = self.session
        if session is None:
            return
        if not was_full and self._full:
            session.pause_reading()
        elif was_full and not self._full:
            session.resume_reading()

    async def wait_room(self) -> None:
        """Wait until the session says that there is room again, or something has changed."""
        if self._room is None or self._room.done():
            self._room = self.loop.create_future()
        await asyncio.shield(self._room)

    def has_held(self) -> None:
        """Hear that the server has let a client in: the next attempt begins anew with short delays."""
        self._backoff = None

    def break_off(self, why: str) -> None:
        """End a connection on which the server does not do what it must; it is made again."""
        logger.info("left the server %s: %s", self.settings.origin, why)
        self._end_session(DisconnectReason.PARSE_ERROR)

    # What the session tells.

    def _receive_message(self, data: Data) -> None:
        if self.life is not Life.OPEN:
            return
        self._message_bytes += size_of(data)
        try:
            decoder = self._decoder or self.settings.parser.decoder(self.settings.limits)
            packet = decoder.add(data)
            if packet is not None:
                n_bytes, self._message_bytes = self._message_bytes, 0
                if self._decoder is not None:
                    self._decoder = None
                    self._cancel_alarm()
                self._receive(packet, n_bytes)
            elif self._decoder is None:
                self._decoder = decoder
                self._set_alarm(self.settings.limits.attachment_timeout, self._attachments_due)
        except SocketPacketError as error:
            self.break_off(str(error))

    def session_closed(self, reason: CloseReason) -> None:
        """Hear that the session is over."""
        if self.life is Life.OPEN:
            self._lost(DisconnectReason(reason.value))

    def writing_resumed(self) -> None:
        """Hear that the server has room again."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    # Packets.

    def _receive(self, packet: SocketPacket, n_bytes: int) -> None:
        client = self._client(packet.namespace)
        if client is None:
            return  # one that has left: what was on its way is nobody's
        match packet.type:
            case PacketType.EVENT:
                event, *args = packet.data
                client.take_event(event_name(event), args, packet.ack_id, n_bytes)
            case PacketType.ACK if packet.ack_id is not None:
                client.take_ack(packet.ack_id, packet.data)
            case PacketType.CONNECT:
                client.take_admission(packet.data)
            case PacketType.CONNECT_ERROR:
                client.take_refusal(packet.data)
            case PacketType.DISCONNECT:
                client.take_farewell()
            case _:
                raise SocketPacketError(f"a packet of type {packet.type.name} without its attachments")

    # The life of the connection.

    def _begin(self) -> None:
        if self.life is Life.OPENING and self._task is None:
            self._task = start(self._connect())

    async def _connect(self) -> None:
        try:
            session = await open_session(self.settings.engine, self)
        except (OSError, TelexError) as error:  # a `TimeoutError` is an `OSError`
            self._task = None
            self._failed(error)
        except Exception as error:
            self._task = None
            logger.exception("the attempt to connect to %s failed", self.settings.origin)
            self._failed(error)
        else:
            self._task = None
            self._opened(session)

    def _opened(self, session: ClientSession) -> None:
        if self.life is not Life.OPENING:
            session.abort()
            return
        self.session = session
        self._turn(Turn.OPENED)
        self._hear_pings()
        if self._full:
            session.pause_reading()
        backoff = self._backoff
        self._tell("open")
        if backoff is not None and backoff.n_attempts:
            self._tell("reconnect", backoff.n_attempts)
        for client in self._clients():
            if self.session is session and session.is_open:
                client.ask()
        if not session.is_open and self.session is session:
            self._lost(DisconnectReason.TRANSPORT_CLOSE)

    def _failed(self, cause: Exception) -> None:
        """Hear that an attempt has failed."""
        if self.life is not Life.OPENING:
            return
        error = ConnectError(self.settings.origin, describe(cause))
        error.__cause__ = cause
        was_again = self._backoff is not None and self._backoff.n_attempts > 0
        self._tell("error", error)
        if was_again:
            self._tell("reconnect_error", error)
        hint = retry_after(cause.headers, self.settings.limits) if isinstance(cause, HandshakeError) else None
        self._try_again(hint, error)

    def _try_again(self, hint: float | None, error: ConnectError) -> None:
        """Wait for the next attempt, if there shall be one; else it is over for all clients."""
        if self.life is not Life.OPENING:
            return  # a handler has ended it
        most, failures = self.settings.reconnection_attempts, self._failures
        if not self.settings.reconnects:
            self._give_up(error)
        elif most is not None and failures.n_attempts >= most:
            self._give_up(error)
            self._tell("reconnect_failed")
        else:
            self._turn(Turn.LOST)
            self._set_alarm(failures.next_delay(hint), self._retry)
            for client in self._clients():
                client.fail(error)

    def _retry(self) -> None:
        self._alarm = None
        if self.life is not Life.WAITING:
            return
        self._turn(Turn.BEGIN)
        self._tell("reconnect_attempt", self._failures.n_attempts)
        self._begin()

    def _give_up(self, error: ConnectError) -> None:
        self._turn(Turn.END)
        self._backoff = None
        for client in self._clients():
            client.give_up(error)

    def _lost(self, reason: DisconnectReason) -> None:
        """Hear that the connection is gone."""
        self._forget_session()
        if self.settings.reconnects:
            self._turn(Turn.LOST)
            self._set_alarm(self._failures.next_delay(), self._retry)
        else:
            self._turn(Turn.END)
        self._tell("close", reason)
        for client in self._clients():
            client.lose(reason)

    def _end_session(self, reason: DisconnectReason) -> None:
        """End the connection because of what the server does; it will be made again."""
        session = self.session
        if session is None or self.life is not Life.OPEN:
            return
        self._lost(reason)
        session.close()

    def _close(self, reason: DisconnectReason) -> None:
        """End everything: nobody wants a connection any more."""
        session, task = self.session, self._task
        was_open = self.life is Life.OPEN
        self._turn(Turn.END)
        self._forget_session()
        self._backoff, self._task = None, None
        if task is not None:
            task.cancel()
        if was_open:
            self._tell("close", reason)
        if session is not None:
            session.close()

    def _forget_session(self) -> None:
        self._cancel_alarm()
        self._decoder = None
        self._message_bytes = 0
        self._full = NOBODY
        self.session = None
        self.writing_resumed()

    # Small parts.

    @property
    def _failures(self) -> Backoff:
        if self._backoff is None:
            settings = self.settings
            self._backoff = Backoff(settings.reconnection_delay, settings.reconnection_delay_max, chance)
        return self._backoff

    def _client(self, namespace: str) -> Member | None:
        if namespace == "/":
            return self._root
        return None if self._others is None else self._others.get(namespace)

    def _clients(self) -> list[Member]:
        found = [] if self._root is None else [self._root]
        return found if self._others is None else [*found, *self._others.values()]

    def _hear_pings(self) -> None:
        if self.session is not None and self._handlers is not None and "ping" in self._handlers:
            self.session.heard_ping = partial(self._tell, "ping")

    def _tell(self, event: str, *args: Any) -> None:
        handler = None if self._handlers is None else self._handlers.get(event)
        if handler is not None:
            call(Job(handler, args[: handler.n_max]))

    def _turn(self, turn: Turn) -> None:
        self.life = LIFE[self.life, turn]

    def _set_alarm(self, seconds: float, callback: Callable[[], None]) -> None:
        self._cancel_alarm()
        deadlines = deadlines_of(self.loop)
        self._alarm = deadlines.at(deadlines.now() + seconds, callback)

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _attachments_due(self) -> None:
        self._alarm = None
        self.break_off("attachments did not come in time")


def describe(error: Exception) -> str:
    """Return what there is to say of an error, which is seldom nothing."""
    return str(error) or type(error).__name__


def parser_of(settings: Settings) -> EventParser | None:
    """Return what reads small events; None where another parser than JSON does."""
    return EventParser(settings.limits) if settings.parser is JSON else None


Shared = weakref.WeakValueDictionary[tuple[str, str | None], Manager]
_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Shared] = weakref.WeakKeyDictionary()


def find_manager(settings: Settings, namespace: str, *, is_shared: bool) -> Manager:
    """Return the manager of a connection for a client of this namespace.

    It is one that is there already, for the same origin and path and with the same settings, unless a client of this
    namespace has it already.
    """
    loop = asyncio.get_running_loop()
    if not is_shared:
        return Manager(settings, loop)
    managers = _shared.get(loop)
    if managers is None:
        managers = _shared[loop] = weakref.WeakValueDictionary()
    key = (settings.origin, settings.engine.path)
    manager = managers.get(key)
    if manager is None:
        manager = managers[key] = Manager(settings, loop)
    elif not manager.settings.is_like(settings) or manager.has(namespace):
        return Manager(settings, loop)
    return manager
