"""A client and its connection: how it is let in, what comes, and how it ends.

Rule of this module: what the manager does with a client. What a program does with it is `socket.py`'s, what moves it
from phase to phase stands in `states.PHASES`.

Source: Socket.IO protocol v5, "Connection to a namespace"; the original's `Socket`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from abc import abstractmethod
from asyncio import _get_running_loop  # None in a thread without one, and many times cheaper than an exception
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from telex.backoff import Backoff
from telex.errors import ConnectError, ConnectRefused, Disconnected, SocketPacketError
from telex.socketio.client.early import Early, EarlyEvents
from telex.socketio.client.listening import LIFECYCLE, ClientListening
from telex.socketio.client.mailbox import Mailbox
from telex.socketio.client.manager import Manager, describe, find_manager
from telex.socketio.client.options import Settings, Wishes
from telex.socketio.client.recovery import Place, read_pid
from telex.socketio.client.registry import ClientNamespace
from telex.socketio.client.states import PHASES, Phase, Step
from telex.socketio.events import CONNECTED, State
from telex.socketio.fastpath import Emitter
from telex.socketio.handlers import Handler, Inbox, Job, call
from telex.socketio.listeners import Listeners
from telex.socketio.packets import Packet, PacketType
from telex.socketio.parsers import JSON
from telex.socketio.reasons import DisconnectReason
from telex.socketio.reliable import EXTENSION, VERSION
from telex.socketio.starting import start
from telex.streams.deadlines import Deadline, deadlines_of
from telex.tokens import chance

__all__ = ["Member"]

logger = logging.getLogger("telex.socketio")

MAX_SID_LENGTH = 256
"""Characters of the id that a server gives; the original's has 20."""


class Asking:
    """Stand for one request for the program's auth. `task` is the one in which it is awaited, if it must be."""

    __slots__ = ("task",)

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None


class Member(Emitter, ClientListening):
    """Be a client as its connection sees it.

    Attributes:
        settings, wishes: What the program said of the connection, and of this client.
        phase: What it is doing; `state` is what the short way of an event looks at, and follows from it.
    """

    __slots__ = (
        "_alarm",
        "_asking",
        "_backoff",
        "_early",
        "_error",
        "_mailbox",
        "_news",
        "_place",
        "_reason",
        "id",
        "listeners",
        "phase",
        "recovered",
        "settings",
        "wishes",
    )

    nsp: ClientNamespace
    connection: Manager

    # An idle client is to be small: what not every client needs comes into being when it is first asked for.
    def __init__(self, namespace: str, settings: Settings, wishes: Wishes) -> None:
        self.settings = settings
        self.wishes = wishes
        self.nsp = ClientNamespace(namespace)
        self.connection = None  # type: ignore[assignment]  # until it begins
        self.id: str | None = None
        self.recovered = False
        self.phase = Phase.IDLE
        self.state = State.DISCONNECTED
        self.listeners: Listeners | None = None
        self._inbox = None
        self._mailbox: Mailbox | None = None
        self._asking: Asking | None = None  # while the auth is awaited
        self._alarm: Deadline | None = None  # of the answer to a CONNECT packet, or of the next one
        self._backoff: Backoff | None = None  # since the auth could not be had
        self._early: EarlyEvents | None = None  # what came before the answer to the CONNECT packet
        self._news: asyncio.Future[Exception | None] | None = None  # while somebody waits for what happens
        self._place: Place | None = None  # where the server recovers its clients
        self._reason: DisconnectReason | None = None  # of the last disconnect
        self._error: Exception | None = None  # why it has ended, where it was not connected then
        self._direct()

    # What the subclass knows.

    @abstractmethod
    def _entered(self, is_numbering: bool) -> None:
        """Hear that the server has let it in: send what waits."""

    @abstractmethod
    def _left(self, for_good: bool) -> None:
        """Hear that it is not connected any more, or will not be by itself."""

    @property
    @abstractmethod
    def is_awaiting_ack(self) -> bool:
        """Whether the server owes an acknowledgement; the library's own."""

    @abstractmethod
    def take_ack(self, ack_id: int, values: list[Any]) -> None:
        """Take an acknowledgement, at once: it never waits behind handlers. The library's own."""

    @abstractmethod
    def client_id(self) -> str:
        """Return what servers that know Telex's extensions know it by."""

    # The way in.

    def want(self) -> None:
        """Be active: take a place at a connection, which tells when it is there."""
        if self.phase is not Phase.IDLE:
            self.check_thread()
            return
        wishes, name, loop = self.wishes, self.nsp.name, asyncio.get_running_loop()
        manager = self.connection
        if manager is None or manager.loop is not loop or manager.has(name):
            is_shared = wishes.multiplex and not wishes.force_new
            self.connection = manager = find_manager(self.settings, name, is_shared=is_shared)
        self._error = None
        self._step(Step.WANT)
        manager.add(self)

    def ask(self) -> None:
        """Hear that there is a connection: ask to be let in."""
        if self.phase is not Phase.AWAY:
            return
        self._cancel_alarm()
        self._step(Step.ASK)
        auth = self.wishes.auth
        if auth is None or isinstance(auth, Mapping):
            self._send_connect(auth)
            return
        self._asking = asking = Asking()
        asking.task = start(self._ask_with(auth, asking))

    async def _ask_with(self, auth: Callable[[], Any], asking: Asking) -> None:
        """Ask the program for its auth, then the server to be let in."""
        try:
            async with asyncio.timeout(self.settings.timeout):
                said = auth()
                if inspect.isawaitable(said):
                    said = await said
            if said is not None and not isinstance(said, Mapping):
                raise TypeError(f"auth must return a mapping or None, not {type(said).__name__}")
        except Exception as error:
            if self._asking is asking:
                self._asking = None
                self._postpone(error)
            return
        if self._asking is asking:
            self._asking = None
            self._send_connect(said)

    def _send_connect(self, auth: Mapping[str, Any] | None) -> None:
        payload: dict[str, Any] = dict(auth or {})
        if self._place is not None:
            payload |= self._place.claim()
        if self.wishes.retries:
            payload[EXTENSION] = {"version": VERSION, "client": self.client_id()}
        self._set_alarm(self.settings.timeout, self._answer_due)
        try:
            self.connection.send(Packet(PacketType.CONNECT, self.nsp.name, payload or None))
        except Exception as error:  # the parser's
            self._postpone(error)

    def _postpone(self, cause: Exception) -> None:
        """Ask again later: the program could not say what it is to be let in with."""
        error = ConnectError(self.settings.origin, f"the auth could not be had: {describe(cause)}")
        error.__cause__ = cause
        settings = self.settings
        if self._backoff is None:
            self._backoff = Backoff(settings.reconnection_delay, settings.reconnection_delay_max, chance)
        most = settings.reconnection_attempts
        if not settings.reconnects or (most is not None and self._backoff.n_attempts >= most):
            self._end(None, error)
            return
        self._step(Step.LOSE)
        self._set_alarm(self._backoff.next_delay(), self.ask)
        self._fail(error)

    def _answer_due(self) -> None:
        self._alarm = None
        self.connection.break_off(f"it did not answer a CONNECT packet for {self.nsp.name} in time")

    # What the server says.

    def take_admission(self, said: Any) -> None:
        """Take the answer to the CONNECT packet. Raises `SocketPacketError`."""
        if self.phase is not Phase.JOINING:
            if self.phase is Phase.JOINED:
                raise SocketPacketError("a second answer to one CONNECT packet")
            return  # to one that was given up
        sid = said.get("sid") if isinstance(said, dict) else None
        if not isinstance(sid, str) or not 0 < len(sid) <= MAX_SID_LENGTH:
            raise SocketPacketError("an answer to a CONNECT packet without an id: the server may be of Socket.IO 2")
        self._cancel_alarm()
        pid = read_pid(said.get("pid"))
        self.recovered = pid is not None and self._place is not None and self._place.pid == pid
        if not self.recovered:
            self._place = None if pid is None else Place(pid)
        self.id = sid
        self._backoff = None
        early, self._early = self._early, None
        self._step(Step.ADMIT)
        self._direct()
        self.connection.has_held()
        self.regulate()
        for event in () if early is None else early.events:
            if self.state is CONNECTED:
                self.receive_event(*event)
        if self.state is CONNECTED:
            self._entered(isinstance(said.get(EXTENSION), dict))
        if self.state is CONNECTED:
            self._submit("connect")
        if self.state is CONNECTED:
            self._announce(None)
        self.make_room()

    def take_refusal(self, said: Any) -> None:
        """Take a CONNECT_ERROR packet. Raises `SocketPacketError`."""
        if self.phase is not Phase.JOINING:
            if self.phase is Phase.JOINED:
                raise SocketPacketError("a refusal of a client that was let in")
            return
        text, data = (said.get("message"), said.get("data")) if isinstance(said, dict) else (said, None)
        self._end(None, ConnectRefused(text if isinstance(text, str) else "Connection refused", data))

    def take_farewell(self) -> None:
        """Take a DISCONNECT packet: the server has sent this client off."""
        if self.phase in (Phase.JOINING, Phase.JOINED):
            self._end(DisconnectReason.IO_SERVER_DISCONNECT, None)

    def take_event(self, event: str, args: list[Any], ack_id: int | None, n_bytes: int) -> None:
        """Take an event, which may come before the answer to the CONNECT packet. Raises `SocketPacketError`."""
        if self.state is CONNECTED:
            self.receive_event(event, args, ack_id, n_bytes)
        elif self.phase is Phase.JOINING:
            if self._early is None:
                self._early = EarlyEvents()
            self._early.put(Early(event, args, ack_id, n_bytes), self.settings.limits)

    # What becomes of the connection.

    def lose(self, reason: DisconnectReason) -> None:
        """Hear that the connection is gone; if it will be made again, wait for that."""
        if not self.settings.reconnects:
            self._end(reason, None)
            return
        was_connected = self.state is CONNECTED
        self._stop_asking()
        if self.phase is not Phase.AWAY:
            self._step(Step.LOSE)
        self._leave(reason if was_connected else None)

    def fail(self, error: ConnectError) -> None:
        """Hear that an attempt to connect has failed, and that there will be another."""
        self._fail(error)

    def give_up(self, error: ConnectError) -> None:
        """Hear that an attempt has failed, and that there will be no other."""
        self._end(None, error)

    def _fail(self, error: Exception) -> None:
        self._submit("connect_error", error)
        self._announce(error)

    def _end(self, reason: DisconnectReason | None, error: Exception | None) -> None:
        """Be active no longer: for a reason that a disconnect has, or because of the error of an attempt."""
        self._stop_asking()
        self._step(Step.END)
        self._error = error
        self.connection.remove(self)
        self._leave(reason, for_good=True)
        if error is not None:
            self._submit("connect_error", error)
        if self.phase is Phase.IDLE:  # else a handler has connected it again
            self._announce(error or Disconnected(self.absence))
            if self._mailbox is not None:
                self._mailbox.end()

    def _leave(self, reason: DisconnectReason | None, *, for_good: bool = False) -> None:
        """Do what is to be done when the client is not connected any more, or has given up to be."""
        was_connected = self.id is not None
        if reason is not None:
            self._reason = reason
        self.id, self._early = None, None
        self._left(for_good)
        if was_connected:
            self._submit("disconnect", reason)
        self.make_room()

    def _stop_asking(self) -> None:
        self._cancel_alarm()
        asking, self._asking = self._asking, None
        if asking is not None and asking.task is not None and asking.task is not asyncio.current_task():
            asking.task.cancel()

    @property
    def absence(self) -> str:
        """Why it is not connected; the library's own."""
        if self._error is not None:
            return str(self._error)
        return "not connected yet" if self._reason is None else self._reason

    # Events that come.

    def _receive_event(self, event: str, args: list[Any], ack_id: int | None, n_bytes: int) -> None:
        """Take an event that does not go the short way."""
        if self._place is not None and ack_id is None:
            self._place.take_offset(args)
        own = self.listeners
        for catch_all in () if own is None else tuple(own.catch_alls):
            self.inbox.submit(Job(catch_all, (event, *args), None, n_bytes, is_event=True))
        handler = None if own is None else own.find(event)
        if own is None or handler is None:
            self._keep((event, *args), n_bytes)
        elif len(args) < handler.n_min:
            logger.warning("dropped an event %r of %d arguments: its handler takes %d", event, len(args), handler.n_min)
        else:
            own.take(event)
            reply = None if ack_id is None else partial(self.reply, ack_id)
            self.inbox.submit(Job(handler, args[: handler.n_max], reply, n_bytes, is_event=True))

    def _keep(self, event: tuple[Any, ...], n_bytes: int) -> None:
        """Keep an event that has no handler for `receive`: not where the program has handlers and never receives."""
        own, box = self.listeners, self._mailbox
        if (box is not None and box.is_read) or own is None or not has_handlers(own):
            self.box.put(event, n_bytes)
            self.regulate()

    def _await_result(self, handler: Handler, result: Any, ack_id: int | None, n_bytes: int) -> None:
        waiting = replace(handler, function=lambda: result, is_async=True)
        reply = None if ack_id is None else partial(self.reply, ack_id)
        self.inbox.submit(Job(waiting, (), reply, n_bytes, is_event=True))

    def _reply(self, ack_id: int, values: list[Any]) -> None:
        if self.state is CONNECTED:
            self.connection.send(Packet(PacketType.ACK, self.nsp.name, values, ack_id))

    def _submit(self, event: str, *args: Any) -> None:
        """Call the handler of what the library itself tells, in its turn."""
        own = self.listeners
        handler = None if own is None else own.take(event)
        if handler is not None:
            self.inbox.submit(Job(handler, args[: handler.n_max]))

    def tell_outgoing(self, event: str, args: Sequence[Any]) -> None:
        """Tell those who want to know of every event that this one was sent; the library's own."""
        own = self.listeners
        for handler in () if own is None else tuple(own.outgoing):
            call(Job(handler, (event, *args)))

    @property
    def inbox(self) -> Inbox:
        """What runs its handlers, made when it is first asked for; the library's own."""
        if self._inbox is None:
            self._inbox = Inbox(self.settings.limits, self)
        return self._inbox

    @property
    def box(self) -> Mailbox:
        """What keeps events without a handler, made when it is first asked for; the library's own."""
        if self._mailbox is None:
            self._mailbox = Mailbox(self.settings.limits)
        return self._mailbox

    def regulate(self, is_full: bool = False) -> None:
        """Stop reading the connection while handlers or receivers lag; the library's own."""
        inbox, box = self._inbox, self._mailbox
        is_full = (inbox is not None and inbox.is_paused) or (
            box is not None and box.is_full(is_awaiting_ack=self.is_awaiting_ack)
        )
        if self.connection is not None:
            self.connection.regulate(self, is_full and self.state is CONNECTED)

    def regulate_all(self) -> None:
        """Do so where acknowledgements are awaited, or are no longer; the library's own."""
        if self._inbox is not None:
            self._inbox.regulate()
        if self._mailbox is not None:
            self.regulate()

    # What is registered.

    @property
    def _registered(self) -> Listeners:
        if self.listeners is None:
            self.listeners = Listeners()
            self.nsp.handlers, self.nsp.catch_alls = self.listeners.handlers, self.listeners.catch_alls
        return self.listeners

    def listeners_changed(self) -> None:
        """Hear that something was registered; the library's own."""
        self._direct()

    def _direct(self) -> None:
        """Know whether events may take the short way."""
        own = self.listeners
        is_overheard = own is not None and bool(own.outgoing)
        self.is_direct_in = self._place is None
        self.is_direct_out = self.settings.parser is JSON and not self.wishes.retries and not is_overheard

    # Small parts.

    def check_thread(self) -> None:
        """Raise `RuntimeError` outside of the event loop that the client lives on; the library's own."""
        if _get_running_loop() is not self.connection.loop:
            raise RuntimeError(
                "Telex was called outside of its event loop, from another thread perhaps: call "
                "loop.call_soon_threadsafe(client.emit, ...) there, return a value from the handler, or use telex.sync"
            )

    def make_room(self) -> None:
        """Let those who wait for room look again; the library's own."""
        if self.connection is not None:
            self.connection.writing_resumed()

    async def _hear_news(self) -> Exception | None:
        """Wait for what happens next: the error of an attempt or of the end, or None for being connected."""
        if self._news is None:
            self._news = self.connection.loop.create_future()
        return await asyncio.shield(self._news)

    def _announce(self, news: Exception | None) -> None:
        """Tell who waits that the client is connected, or why an attempt has failed, or that it has ended."""
        waiting, self._news = self._news, None
        if waiting is not None and not waiting.done():
            waiting.set_result(news)

    def _step(self, step: Step) -> None:
        self.phase = PHASES[self.phase, step]
        self.state = CONNECTED if self.phase is Phase.JOINED else State.DISCONNECTED

    def _set_alarm(self, seconds: float, callback: Callable[[], None]) -> None:
        self._cancel_alarm()
        deadlines = deadlines_of(self.connection.loop)
        self._alarm = deadlines.at(deadlines.now() + seconds, callback)

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


def has_handlers(own: Listeners) -> bool:
    """Whether there are handlers of events, besides those of what the library itself tells."""
    return bool(own.catch_alls) or not own.handlers.keys() | own.particular.keys() <= LIFECYCLE.keys()
