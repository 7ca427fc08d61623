"""One namespace of a server, from the client's side.

Rule of this module: what a program does with a client, and what the connection does with it. When there is a connection
is `manager.py`'s, how a client waits for one `joining.py`'s.

Source: Socket.IO protocol v5; the original's `Socket`.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import _get_running_loop  # None in a thread without one, and many times cheaper than an exception
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self, Unpack, overload

from telex.engineio import MESSAGE_TEXT, Packet
from telex.errors import AckTimeout, ConnectError, ConnectRefused, Disconnected, SocketPacketError
from telex.socketio.acks import Acks, Answer, from_values
from telex.socketio.broadcast import DEFAULT_CALL_TIMEOUT, Sent
from telex.socketio.client.mailbox import Mailbox
from telex.socketio.client.manager import Manager, find_manager
from telex.socketio.client.options import ClientOptions, read_options
from telex.socketio.client.outbox import Outbox, weigh
from telex.socketio.client.recovery import Place, read_pid
from telex.socketio.client.retries import Line, Try
from telex.socketio.client.states import PHASES, Phase, Step
from telex.socketio.events import CONNECTED, State
from telex.socketio.fastpath import Emitter, Registry
from telex.socketio.handlers import Handler, Inbox, Job, call
from telex.socketio.listeners import Function, Hearing, Listeners
from telex.socketio.packets import Packet as SocketPacket
from telex.socketio.packets import PacketType, format_head
from telex.socketio.parsers import JSON
from telex.socketio.reasons import DisconnectReason
from telex.socketio.reliable import EXTENSION, VERSION
from telex.socketio.starting import start
from telex.socketio.writing import write_event
from telex.streams.deadlines import Deadline, deadlines_of
from telex.tokens import token_text

__all__ = ["Client", "ClientNamespace", "ClientOperator"]

logger = logging.getLogger("telex.socketio")

LIFECYCLE = {"connect": 0, "disconnect": 1, "connect_error": 1}
"""What the library itself tells handlers, with how many arguments."""

CLIENT_ID_BYTES = 16

# Shared by all clients that nothing is registered on. Nobody writes into them.
NO_HANDLERS: dict[str, Handler] = {}
NO_CATCH_ALLS: list[Handler] = []


class ClientNamespace(Registry):
    """Hold what is looked up for every event of a client. `name` is the namespace's."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name
        self.event_head, self.ack_head = heads(name)
        self.handlers = NO_HANDLERS
        self.catch_alls = NO_CATCH_ALLS

    def __repr__(self) -> str:
        return f"<ClientNamespace {self.name}>"


@lru_cache(maxsize=64)
def heads(name: str) -> tuple[bytes, bytes]:
    """Return what the events and the acknowledgements of a namespace begin with."""
    event = f"{MESSAGE_TEXT}{format_head(PacketType.EVENT, name, None, 0)}".encode()
    return event, f"{MESSAGE_TEXT}{format_head(PacketType.ACK, name, None, 0)}".encode()


class Flags(NamedTuple):
    """Say how an event is sent; `timeout` is in seconds."""

    volatile: bool = False
    compress: bool = True
    timeout: float | None = None


class Early(NamedTuple):
    """Hold an event that came before the answer to the CONNECT packet."""

    event: str
    args: list[Any]
    ack_id: int | None
    n_bytes: int


@dataclass(slots=True)
class Extras:
    """Hold what not every client needs.

    Attributes:
        outbox: What was emitted while away.
        line: What is sent until it is acknowledged.
        line_alarm: Of the try that is under way.
        early: Events that came before the answer to the CONNECT packet, and what they weigh.
        client_id: What a server that knows Telex's extensions knows this client by.
        is_numbering: Whether the server understands numbered events.
        n_failures: Attempts in a row for which the auth could not be had.
    """

    outbox: Outbox
    line: Line | None = None
    line_alarm: Deadline | None = None
    early: list[Early] | None = None
    early_bytes: int = 0
    client_id: str | None = None
    is_numbering: bool = False


class Client(Emitter, Hearing):
    """Talk with a server in one of its namespaces.

    The client connects by itself as soon as an event loop runs, and again whenever the connection is lost, until it
    leaves (`disconnect`, `aclose`), is refused by the server's middleware, or sent off. Everything belongs to one event
    loop, and is called in its thread.

    Args:
        url: `http://`, `https://`, `ws://` or `wss://` with a host; the path is the namespace.
        auth: What the server's middlewares are told: a mapping, or a function, plain or not, that is asked for it at
            every CONNECT packet.
        auto_connect: Connect without being told to: at once where a loop runs, else with the first use.
        multiplex, force_new: Share the connection with the clients of other namespaces, or have one of its own.
        retries: How often each event is sent again until the server acknowledges it, in strict order (docs/client.md).
        ack_timeout: Seconds that `call` waits, and each try where there are `retries`; 60 by default.
        parser: "json", "msgpack" or an object; it must be the server's.
        reconnection: Connect again when the connection is lost or cannot be made.
        reconnection_attempts: How often in a row; None without end.
        reconnection_delay, reconnection_delay_max: Bounds of the delay before each attempt, drawn evenly below one that
            doubles from the first to the second. A server's Retry-After comes on top.
        timeout: Seconds until a connection is open, and until the server has answered a CONNECT packet.
        limits: Bounds of what the server may cost.
        path: Where the server is, "/socket.io" by default.
        query, headers, origin, cookies, subprotocols, transports, upgrade, remember_upgrade, try_all_transports,
            deflate, request_timeout, transport_options, timestamp_requests, timestamp_param, add_trailing_slash: as for
            `telex.engineio.connect`.
        ssl, server_hostname, sock, proxy, local_address: as for `telex.websocket.connect`.

    Raises `ValueError` and `TypeError` for what cannot be.
    Attributes:
        id: What the server calls this client; new for each connection, but for one that was recovered. None while it is
            not connected.
        recovered: Whether the client was away and has missed nothing: it has its former id, and everything that was
            sent to it meanwhile comes.
        nsp: The namespace; `nsp.name` is its name.
        phase, state, listeners: The library's own.
    """

    __slots__ = (
        "__weakref__",
        "_acks",
        "_alarm",
        "_extras",
        "_mailbox",
        "_n_acks",
        "_n_failures",
        "_news",
        "_place",
        "_reason",
        "_settings",
        "_wishes",
        "id",
        "listeners",
        "phase",
        "recovered",
    )

    _lifecycle = MappingProxyType(LIFECYCLE)
    _aliases: Mapping[str, str] = MappingProxyType({})
    _takes_socket = False

    nsp: ClientNamespace
    connection: Manager

    # An idle client is to be small: what not every client needs comes into being when it is first asked for.
    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        namespace, self._settings, self._wishes = read_options(url, **options)
        self.nsp = ClientNamespace(namespace)
        self.id: str | None = None
        self.recovered = False
        self.phase = Phase.IDLE
        self.state = State.DISCONNECTED
        self.connection = None  # type: ignore[assignment]  # until it begins
        self.is_direct_in = self.is_direct_out = False
        self.listeners: Listeners | None = None
        self._inbox = None
        self._acks: Acks | None = None
        self._n_acks = 0
        self._n_failures = 0  # in a row, to have the auth
        self._alarm: Deadline | None = None  # of the answer to a CONNECT packet, or of the next one
        self._extras: Extras | None = None
        self._mailbox: Mailbox | None = None
        self._news: asyncio.Future[Exception | None] | None = None  # while somebody waits for what happens
        self._place: Place | None = None  # where the server recovers its clients
        self._reason: str | None = None  # of the last end
        if self._wishes.auto_connect and _get_running_loop() is not None:
            self._want()

    def __repr__(self) -> str:
        return f"<Client {self.id} in {self.nsp.name} of {self._settings.origin} {self.phase.name.lower()}>"

    # What it is.

    @property
    def connected(self) -> bool:
        """Whether the server has let the client in, and the connection is there."""
        return self.state is CONNECTED

    @property
    def active(self) -> bool:
        """Whether the client is connected or will try to be: not before it begins, nor after its end."""
        return self.phase is not Phase.IDLE

    @property
    def reason(self) -> str | None:
        """Why it disconnected last, in the original's words (see `DisconnectReason`); None if it never has."""
        return self._reason

    @property
    def manager(self) -> Manager | None:
        """What keeps the connection; None as long as the client has not begun."""
        return self.connection

    # What a program registers.

    @overload
    def on(
        self, event: str, /, *, concurrent: bool = False, thread: bool = False
    ) -> Callable[[Function], Function]: ...
    @overload
    def on(self, event: str, function: Function, /, *, concurrent: bool = False, thread: bool = False) -> Function: ...
    def on(
        self,
        event: str,
        function: Callable[..., Any] | None = None,
        /,
        *,
        concurrent: bool = False,
        thread: bool = False,
    ) -> Any:
        """Register the handler of an event; a later one takes its place. Use it as a decorator, or with the function.

        The handler is called with the event's arguments, without those that it does not take. An event with fewer than
        it needs is dropped, with a warning, and never acknowledged. What the handler returns becomes the
        acknowledgement, where the server asks for one: a tuple several values, `None` an empty one.
        "connect" is called without arguments whenever the client is connected, "disconnect" with the reason whenever it
        is so no longer, "connect_error" with the error of an attempt: `ConnectRefused` from the server's middleware,
        `ConnectError` for all others. "*" is `on_any`.

        Args: a coroutine function runs in order with the client's other events, which wait until it has ended, or
        beside them with `concurrent=True`; `thread=True` runs a plain function that blocks in a thread, in order.
        Raises `TypeError` for a function that cannot be called so, `ValueError` for a reserved name.
        """

        def register(found: Function) -> Function:
            self._register(event, found, concurrent=concurrent, thread=thread, rate_limit=None)
            return found

        return register if function is None else register(function)

    @overload
    def once(
        self, event: str, /, *, concurrent: bool = False, thread: bool = False
    ) -> Callable[[Function], Function]: ...
    @overload
    def once(
        self, event: str, function: Function, /, *, concurrent: bool = False, thread: bool = False
    ) -> Function: ...
    def once(
        self,
        event: str,
        function: Callable[..., Any] | None = None,
        /,
        *,
        concurrent: bool = False,
        thread: bool = False,
    ) -> Any:
        """Register a handler as `on` does, for one call. Raises as `on`, and `ValueError` for "*"."""

        def register(found: Function) -> Function:
            self._register(event, found, concurrent=concurrent, thread=thread, rate_limit=None, once=True)
            return found

        return register if function is None else register(function)

    @property
    def _registered(self) -> Listeners:
        if self.listeners is None:
            self.listeners = Listeners()
            self.nsp.handlers, self.nsp.catch_alls = self.listeners.handlers, self.listeners.catch_alls
        return self.listeners

    def _why_reserved(self, event: str) -> str:
        return f"{event!r} is reserved: no server can send it"

    def _check_name(self, event: str) -> None:
        """Allow every name: those that are the library's on a server are events like others here."""

    def listeners_changed(self) -> None:
        """Hear that something was registered; the library's own."""
        self._direct()

    # Connecting and leaving.

    def connect(self) -> Joining:
        """Connect, unless the client is active already; awaiting the result waits until it is connected.

        Awaiting raises `ConnectRefused` when the server's middleware refuses the client, which then does not try again,
        and `ConnectError` when the next attempt fails, after which the client goes on trying, if it reconnects at all.
        **Cancellation**: only the waiting ends.
        """
        self._want()
        return Joining(self)

    def disconnect(self) -> None:
        """Leave the namespace; the connection is closed behind its last client. Nothing happens if it is not active.

        What was emitted before still leaves if the client is connected; what waits for a connection is kept for the
        next `connect`, but for `call`, which raises `Disconnected`.
        """
        if self.phase is Phase.IDLE:
            return
        self._check_thread()
        if self.phase in (Phase.JOINING, Phase.JOINED):
            self.connection.send(SocketPacket(PacketType.DISCONNECT, self.nsp.name))
        self._end(DisconnectReason.IO_CLIENT_DISCONNECT, None)

    async def aclose(self) -> None:
        """Leave, and wait until the handlers that are at work have ended. **Cancellation**: only the waiting ends."""
        self.disconnect()
        done = None if self._inbox is None else self._inbox.done()
        if done is not None and self._inbox is not None and self._inbox.worker is not asyncio.current_task():
            await asyncio.shield(done)

    async def __aenter__(self) -> Self:
        if not self.connected:
            try:
                await self.connect()
            except BaseException:
                self.disconnect()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def wait(self) -> None:
        """Wait until the client has ended: not while it is away and tries again.

        It begins if it has not begun yet and `auto_connect` says so. `reason` tells why it has ended.
        **Cancellation**: only the waiting ends.
        """
        self._begin()
        while self.active:
            await self._hear_news()

    # Sending.

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event to the server and return its acknowledgement.

        While the client is away the event waits, as with `emit`, and the time runs.
        Returns: its value; a tuple where there are several, `None` where there is none.
        Raises `AckTimeout` (a `TimeoutError`; the event is taken back if it still waits), `Disconnected` when the
        connection is lost before the answer or the client has ended, `OutboxFull`, and as `emit`.
        **Units**: `timeout` in seconds; by default `ack_timeout`, else 60. With `retries` it bounds all tries together,
        and by default nothing does but their number. **Cancellation**: the event is taken back if it still waits.
        """
        return await ClientOperator(self).call(event, *args, timeout=timeout)

    def send(self, *args: Any) -> Sent:
        """Send an event called "message"."""
        return self.emit("message", *args)

    @property
    def volatile(self) -> ClientOperator:
        """Send only what can leave right now; else drop it."""
        return ClientOperator(self, Flags(volatile=True))

    def compress(self, compress: bool) -> ClientOperator:
        """Say whether the next event may be compressed, where compression is on."""
        return ClientOperator(self, Flags(compress=compress))

    def timeout(self, seconds: float) -> ClientOperator:
        """Bound how long the next `call` waits, or the next `callback` may be called."""
        return ClientOperator(self, Flags(timeout=seconds))

    @property
    def has_room(self) -> bool:
        """Whether the program may emit more without waiting.

        While connected: at most `Limits.send_buffer_high` bytes wait for the server. While away: at most that waits for
        the connection, and fewer events than `Limits.max_offline_events`. After the end: always.
        """
        if self.phase is Phase.IDLE:
            return True
        extras = self._extras
        if extras is not None and extras.line is not None and not extras.line.has_room:
            return False
        if self.state is CONNECTED:
            return bool(self.connection.session.has_room)
        return extras is None or extras.outbox.has_room

    async def wait_room(self) -> None:
        """Wait until `has_room`. **Cancellation**: only the waiting ends."""
        while not self.has_room:
            await self.connection.wait_room()

    # Receiving.

    async def receive(self, timeout: float | None = None) -> tuple[Any, ...]:
        """Return the next event that has no handler: its name, and its arguments.

        Events are kept from the beginning, the newest of them, unless the client has handlers of events; from the first
        `receive` on all are kept, and when too many wait the connection is not read.
        Raises `Disconnected` when the client has ended and nothing is left, `TimeoutError` after `timeout` seconds.
        **Limits**: `recv_queue_high`, `recv_queue_high_bytes`. **Cancellation**: no event is lost.
        """
        self._begin()
        box = self._box
        box.is_read = True
        async with asyncio.timeout(timeout):
            while True:
                event = box.take()
                if event is not None:
                    self.regulate()
                    return event
                if not self.active:
                    raise Disconnected(self.absence)
                await box.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Any, ...]:
        try:
            return await self.receive()
        except Disconnected:
            raise StopAsyncIteration from None

    # What the operators do.

    @property
    def absence(self) -> str:
        """Why it is not connected."""
        return "not connected yet" if self._reason is None else self._reason

    @property
    def default_timeout(self) -> float:
        """How long `call` waits, and each try of an event that is retried."""
        return DEFAULT_CALL_TIMEOUT if self._wishes.ack_timeout is None else self._wishes.ack_timeout

    @property
    def retries(self) -> int:
        """How often an event is sent again."""
        return self._wishes.retries

    def emit_with(self, event: str, args: Sequence[Any], flags: Flags, answer: Answer | None = None) -> int | None:
        """Send an event as its flags say, or keep it; return the id of its acknowledgement.

        `answer` is not called for an event that was dropped: None is returned then. Raises as `emit`.
        """
        self._begin()
        if self._wishes.retries and not flags.volatile:
            return self._line_up(event, args, flags, answer)
        if answer is None:
            if self._post(self._write(event, args, None, flags), flags, None):
                self._tell_outgoing(event, args)
            return None
        ack_id = self._next_ack_id()
        packets = self._write(event, args, ack_id, flags)
        acks = self._awaited
        acks.expect(ack_id, answer)
        try:
            is_sent = self._post(packets, flags, ack_id)
        except BaseException:
            acks.forget(ack_id)
            raise
        if not is_sent:
            acks.forget(ack_id)
            return None
        self._tell_outgoing(event, args)
        self._regulate_inbox()
        return ack_id

    def begin_call(self) -> None:
        """Begin if need be. Raises `Disconnected` where the client has ended, or does not begin by itself."""
        self._begin()
        if not self.active:
            raise Disconnected(self.absence)

    def forget_ack(self, ack_id: int) -> None:
        """Await it no longer; an event that still waits is taken back."""
        if self._acks is not None:
            self._acks.forget(ack_id)
        if self._extras is not None:
            self._extras.outbox.withdraw(ack_id)
            line = self._extras.line
            if line is not None:
                self._withdraw(line, ack_id)
        self._make_room()
        self._regulate_inbox()

    def _write(self, event: str, args: Sequence[Any], ack_id: int | None, flags: Flags) -> Sequence[Packet]:
        return write_event(self._settings.parser, self.nsp, event, args, ack_id=ack_id, compress=flags.compress)

    def _post(self, packets: Sequence[Packet], flags: Flags, ack_id: int | None) -> bool:
        """Send packets, or keep them; `False` if they were dropped."""
        if self.state is CONNECTED:
            session = self.connection.session
            if flags.volatile and not session.is_writable:
                return False
            session.send(packets)
            return True
        if flags.volatile:
            return False
        self._more.outbox.put(packets, ack_id)
        return True

    def _emit(self, event: str, args: Sequence[Any], callback: Callable[..., Any] | None) -> Sent:
        return ClientOperator(self).emit(event, *args, callback=callback)

    def _reply(self, ack_id: int, values: list[Any]) -> None:
        if self.state is CONNECTED:
            self.connection.send(SocketPacket(PacketType.ACK, self.nsp.name, values, ack_id))

    # Events that are retried.

    def _line_up(self, event: str, args: Sequence[Any], flags: Flags, answer: Answer | None) -> int:
        ack_id = self._next_ack_id()
        n_bytes = weigh(self._write(event, args, ack_id, flags))
        more = self._more
        if more.line is None:
            more.line = Line(self._wishes.retries, self._settings.limits)
        seconds = self.default_timeout if flags.timeout is None else flags.timeout
        more.line.put(Try(event, tuple(args), flags.compress, answer, seconds, ack_id, n_bytes))
        self._go_on()
        return ack_id

    def _go_on(self) -> None:
        """Send the first event of the line, if none is under way."""
        more = self._extras
        if more is None or more.line is None or self.state is not CONNECTED:
            return
        entry = more.line.begin()
        if entry is None:
            return
        args = [*entry.args, {EXTENSION: {"id": entry.ack_id}}] if more.is_numbering else entry.args
        self._awaited.expect(entry.ack_id, partial(self._tried, entry))
        self.connection.session.send(self._write(entry.event, args, entry.ack_id, Flags(compress=entry.compress)))
        deadlines = deadlines_of(self.connection.loop)
        more.line_alarm = deadlines.at(deadlines.now() + entry.seconds, partial(self._try_due, entry))
        self._tell_outgoing(entry.event, entry.args)

    def _try_due(self, entry: Try) -> None:
        if self._acks is not None:
            self._acks.forget(entry.ack_id)
        self._tried(entry, None)

    def _tried(self, entry: Try, values: list[Any] | None) -> None:
        """Take the answer to the event that is under way; None where there was none to this try."""
        more = self._extras
        if more is None or more.line is None:
            return
        if more.line_alarm is not None:
            more.line_alarm.cancel()
            more.line_alarm = None
        if values is not None:
            more.line.remove(entry)
        elif not more.line.interrupt(entry):
            self._go_on()  # again, if it is connected
            return
        self._make_room()
        if entry.answer is not None:
            entry.answer(values)
        elif values is None:
            logger.warning(
                "gave up the event %r, which was sent %d times and never acknowledged", entry.event, entry.n_tries
            )
        self._go_on()

    def _withdraw(self, line: Line, ack_id: int) -> None:
        entry = line.find(ack_id)
        if entry is None:
            return
        if entry is line.head and self._extras is not None and self._extras.line_alarm is not None:
            self._extras.line_alarm.cancel()
            self._extras.line_alarm = None
        line.remove(entry)
        self._go_on()

    # What the connection does.

    def ask(self) -> None:
        """Hear that there is a connection: ask to be let in."""
        if self.phase is not Phase.AWAY:
            return
        self._step(Step.ASK)
        self._set_alarm(self._settings.timeout, self._answer_due)
        auth = self._wishes.auth
        if auth is None or isinstance(auth, Mapping):
            self._send_connect(auth)
        else:
            start(self._ask_with(auth))

    async def _ask_with(self, auth: Callable[[], Any]) -> None:
        """Ask the program for its auth, then the server to be let in."""
        asked = self._alarm
        try:
            said = auth()
            if asyncio.iscoroutine(said) or hasattr(said, "__await__"):
                said = await said
            if said is not None and not isinstance(said, Mapping):
                raise TypeError(f"auth must return a mapping or None, not {type(said).__name__}")
            if self._alarm is asked and self.phase is Phase.JOINING:
                self._send_connect(said)
        except Exception as error:
            if self._alarm is asked and self.phase is Phase.JOINING:
                self._postpone(error)

    def _send_connect(self, auth: Mapping[str, Any] | None) -> None:
        payload = dict(auth or {})
        if self._place is not None:
            payload |= self._place.claim()
        if self._wishes.retries:
            more = self._more
            more.client_id = more.client_id or token_text(CLIENT_ID_BYTES)
            payload[EXTENSION] = {"version": VERSION, "client": more.client_id}
        self.connection.send(SocketPacket(PacketType.CONNECT, self.nsp.name, payload or None))

    def _postpone(self, cause: Exception) -> None:
        """Ask again later: the program could not say what it is to be let in with."""
        error = ConnectError(self._settings.origin, f"the auth could not be had: {cause or type(cause).__name__}")
        error.__cause__ = cause
        self._n_failures += 1
        most = self._settings.reconnection_attempts
        if not self._settings.reconnects or (most is not None and self._n_failures > most):
            self._end(self.absence, error)
            return
        self._step(Step.LOSE)
        self._set_alarm(self.connection.next_delay(), self.ask)
        self._tell_failure(error)

    def _answer_due(self) -> None:
        self._alarm = None
        self.connection.break_off(f"it did not answer a CONNECT packet for {self.nsp.name} in time")

    def take_admission(self, said: Any) -> None:
        """Take the answer to the CONNECT packet. Raises `SocketPacketError`."""
        if self.phase is Phase.AWAY:
            return  # to one that was given up
        if self.phase is not Phase.JOINING:
            raise SocketPacketError("a second answer to one CONNECT packet")
        sid = said.get("sid") if isinstance(said, dict) else None
        if not isinstance(sid, str):
            raise SocketPacketError(
                "an answer to a CONNECT packet without an id: the server may speak an older protocol"
            )
        self._cancel_alarm()
        pid = read_pid(said.get("pid"))
        self.recovered = pid is not None and self._place is not None and self._place.pid == pid
        if not self.recovered:
            self._place = None if pid is None else Place(pid)
        if self._wishes.retries:
            self._more.is_numbering = isinstance(said.get(EXTENSION), dict)
        self.id = sid
        self._n_failures = 0
        self._step(Step.ADMIT)
        self.connection.has_held()
        self._direct()
        self._catch_up()
        self._submit_lifecycle("connect")
        self._announce(None)
        self._make_room()

    def _catch_up(self) -> None:
        """Handle what has come before the answer, and send what has waited for it."""
        more = self._extras
        if more is None:
            return
        early, more.early, more.early_bytes = more.early or [], None, 0
        for event, args, ack_id, n_bytes in early:
            if self.state is CONNECTED:
                self._receive_event(event, args, ack_id, n_bytes)
        for packets in more.outbox.take_all():
            if self.state is CONNECTED:
                self.connection.session.send(packets)
        self._go_on()

    def take_refusal(self, said: Any) -> None:
        """Take a CONNECT_ERROR packet. Raises `SocketPacketError`."""
        if self.phase is Phase.AWAY:
            return
        if self.phase is not Phase.JOINING:
            raise SocketPacketError("a refusal of a client that was let in")
        text, data = said, None
        if isinstance(said, dict):
            text, data = said.get("message"), said.get("data")
        self._end(self.absence, ConnectRefused(text if isinstance(text, str) else "Connection refused", data))

    def take_farewell(self) -> None:
        """Take a DISCONNECT packet: the server has sent this client off."""
        if self.phase is not Phase.AWAY:
            self._end(DisconnectReason.IO_SERVER_DISCONNECT, None)

    def take_event(self, event: str, args: list[Any], ack_id: int | None, n_bytes: int) -> None:
        """Take an event, which may come before the answer to the CONNECT packet. Raises `SocketPacketError`."""
        if self.state is CONNECTED:
            self.receive_event(event, args, ack_id, n_bytes)
        elif self.phase is Phase.JOINING:
            more, limits = self._more, self._settings.limits
            more.early = more.early or []
            more.early.append(Early(event, args, ack_id, n_bytes))
            more.early_bytes += n_bytes
            if len(more.early) > limits.max_early_events or more.early_bytes > limits.max_early_bytes:
                raise SocketPacketError("too many events before the answer to a CONNECT packet")

    def take_ack(self, ack_id: int, values: list[Any]) -> None:
        """Take an acknowledgement, at once: it never waits behind handlers."""
        if self._acks is not None:
            self._acks.resolve(ack_id, values)
            self._regulate_inbox()

    def lose(self, reason: DisconnectReason) -> None:
        """Hear that the connection is gone, and whether it will be made again."""
        if not self._settings.reconnects:
            self._end(reason, None)
            return
        self._cancel_alarm()
        was_connected = self.connected
        if self.phase is not Phase.AWAY:
            self._step(Step.LOSE)
        self._leave(reason, was_connected)

    def fail(self, error: ConnectError) -> None:
        """Hear that an attempt to connect has failed, and that there will be another."""
        self._tell_failure(error)

    def give_up(self, error: ConnectError) -> None:
        """Hear that an attempt has failed, and that there will be no other."""
        self._end(self.absence, error)

    # The end.

    def _end(self, reason: str, error: Exception | None) -> None:
        """Be active no longer; `error` is why an attempt was the last one."""
        was_connected = self.connected
        self._cancel_alarm()
        self._step(Step.END)
        self.connection.remove(self)
        self._leave(reason, was_connected, for_good=True)
        if error is not None:
            self._submit_lifecycle("connect_error", error)
        self._announce(error or Disconnected(self.absence))
        if self._mailbox is not None:
            self._mailbox.end()

    def _leave(self, reason: str, was_connected: bool, *, for_good: bool = False) -> None:
        """Do what is to be done when the client is not connected any more, or has given up to be."""
        if was_connected or for_good:
            self._reason = reason
        self.id = None
        self._direct()
        more = self._extras
        if more is not None:
            more.early, more.early_bytes, more.is_numbering = None, 0, False
        self._abandon_acks(for_good)
        if was_connected:
            self._submit_lifecycle("disconnect", reason)
        self._make_room()

    def _abandon_acks(self, for_good: bool) -> None:
        """Tell who awaits an acknowledgement that it will not come; not for events that have not been sent yet."""
        acks, more = self._acks, self._extras
        if acks is not None:
            waiting = None if more is None or for_good else more.outbox
            for ack_id in acks.ids():
                if waiting is None or ack_id not in waiting:
                    acks.fail(ack_id)
                    if more is not None:
                        more.outbox.withdraw(ack_id)
        if for_good and more is not None and more.line is not None:
            for entry in more.line.take_all():
                if entry.answer is not None:
                    entry.answer(None)

    # Small parts.

    def _begin(self) -> None:
        """Begin, with the first use of a client that was made where no loop ran; check the thread of any other."""
        if self.connection is not None:
            self._check_thread()
        elif self._wishes.auto_connect:
            self._want()

    def _want(self) -> None:
        """Be active."""
        if self.phase is not Phase.IDLE:
            self._check_thread()
            return
        wishes, name = self._wishes, self.nsp.name
        loop = asyncio.get_running_loop()
        manager = self.connection
        if manager is None or manager.loop is not loop or manager.has(name):
            is_shared = wishes.multiplex and not wishes.force_new
            manager = self.connection = find_manager(self._settings, name, is_shared=is_shared)
        self._step(Step.WANT)
        manager.add(self)

    def _check_thread(self) -> None:
        if _get_running_loop() is not self.connection.loop:
            raise RuntimeError(
                "Telex was called outside of its event loop, from another thread perhaps: call "
                "loop.call_soon_threadsafe(client.emit, ...) there, return the value from the handler, or use telex.sync"
            )

    def _step(self, step: Step) -> None:
        self.phase = PHASES[self.phase, step]
        self.state = CONNECTED if self.phase is Phase.JOINED else State.DISCONNECTED

    def _direct(self) -> None:
        """Know whether events may take the short way."""
        own = self.listeners
        self.is_direct_in = self._place is None
        self.is_direct_out = (
            self._settings.parser is JSON and not self._wishes.retries and not (own is not None and own.outgoing)
        )

    def _receive_event(self, event: str, args: list[Any], ack_id: int | None, n_bytes: int) -> None:
        """Take an event that does not go the short way."""
        if self._place is not None and ack_id is None:
            self._place.take_offset(args)
        own = self.listeners
        if own is not None:
            for handler in tuple(own.catch_alls):
                self.inbox.submit(Job(handler, (event, *args), None, n_bytes, is_event=True))
            handler = own.find(event)
            if handler is not None:
                if len(args) < handler.n_min:
                    logger.warning(
                        "the handler for %r takes %d arguments; an event with %d was dropped",
                        event,
                        handler.n_min,
                        len(args),
                    )
                    return
                own.take(event)
                reply = None if ack_id is None else partial(self.reply, ack_id)
                self.inbox.submit(Job(handler, tuple(args[: handler.n_max]), reply, n_bytes, is_event=True))
                return
        box = self._mailbox
        if box is None and (own is None or not self._has_event_handlers(own)):
            box = self._box
        if box is not None:
            box.put((event, *args), n_bytes)
            self.regulate()

    def _has_event_handlers(self, own: Listeners) -> bool:
        return bool(own.catch_alls or not own.handlers.keys() | own.particular.keys() <= LIFECYCLE.keys())

    def _await_result(self, handler: Handler, result: Any, ack_id: int | None, n_bytes: int) -> None:
        waiting = replace(handler, function=lambda: result, is_async=True)
        reply = None if ack_id is None else partial(self.reply, ack_id)
        self.inbox.submit(Job(waiting, (), reply, n_bytes, is_event=True))

    def _submit_lifecycle(self, event: str, *args: Any) -> None:
        own = self.listeners
        handler = None if own is None else own.take(event)
        if handler is not None:
            self.inbox.submit(Job(handler, args[: handler.n_max]))

    def _tell_failure(self, error: Exception) -> None:
        self._submit_lifecycle("connect_error", error)
        self._announce(error)

    def _tell_outgoing(self, event: str, args: Sequence[Any]) -> None:
        own = self.listeners
        if own is not None:
            for handler in tuple(own.outgoing):
                call(Job(handler, (event, *args)))

    @property
    def inbox(self) -> Inbox:
        """What runs its handlers, made when it is first asked for; the library's own."""
        if self._inbox is None:
            self._inbox = Inbox(self._settings.limits, self)
        return self._inbox

    @property
    def _box(self) -> Mailbox:
        if self._mailbox is None:
            self._mailbox = Mailbox(self._settings.limits)
        return self._mailbox

    @property
    def _more(self) -> Extras:
        if self._extras is None:
            self._extras = Extras(Outbox(self._settings.limits))
        return self._extras

    @property
    def _awaited(self) -> Acks:
        if self._acks is None:
            self._acks = Acks(self._settings.limits.max_pending_acks)
        return self._acks

    def _next_ack_id(self) -> int:
        self._n_acks += 1
        return self._n_acks - 1

    @property
    def is_awaiting_ack(self) -> bool:
        """Whether the server owes an acknowledgement; the library's own."""
        return self._acks is not None and len(self._acks) > 0

    def regulate(self, is_full: bool = False) -> None:
        """Stop reading the connection while handlers or receivers lag; the library's own."""
        inbox, box = self._inbox, self._mailbox
        is_full = (inbox is not None and inbox.is_paused) or (
            box is not None and box.is_full(is_awaiting_ack=self.is_awaiting_ack)
        )
        if self.connection is not None:
            self.connection.regulate(self, is_full and self.state is CONNECTED)

    def _regulate_inbox(self) -> None:
        if self._inbox is not None:
            self._inbox.regulate()
        if self._mailbox is not None:
            self.regulate()

    def _make_room(self) -> None:
        if self.connection is not None:
            self.connection.writing_resumed()

    def _announce(self, news: Exception | None) -> None:
        """Tell who waits that the client is connected, or why an attempt has failed, or that it has ended."""
        if self._news is not None and not self._news.done():
            self._news.set_result(news)
        self._news = None

    async def _hear_news(self) -> Exception | None:
        if self._news is None:
            self._news = self.connection.loop.create_future()
        return await asyncio.shield(self._news)

    async def joined(self, *, persistent: bool = False) -> Self:
        """Wait until the client is connected; see `connect`. Args: `persistent`: also after attempts that fail."""
        while not self.connected:
            if not self.active:
                raise Disconnected(self.absence)
            news = await self._hear_news()
            if news is not None and not (persistent and self.active):
                raise news
        return self

    def _set_alarm(self, seconds: float, callback: Callable[[], None]) -> None:
        self._cancel_alarm()
        deadlines = deadlines_of(self.connection.loop)
        self._alarm = deadlines.at(deadlines.now() + seconds, callback)

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None


class Joining:
    """Be what `Client.connect` returns: awaiting it waits until the client is connected."""

    __slots__ = ("_client",)

    def __init__(self, client: Client) -> None:
        self._client = client

    def __await__(self) -> Generator[Any, None, Client]:
        return self._client.joined().__await__()


class ClientOperator:
    """Hold how the next event is sent to the server."""

    __slots__ = ("_client", "_flags")

    def __init__(self, client: Client, flags: Flags = Flags()) -> None:
        self._client = client
        self._flags = flags

    @property
    def volatile(self) -> ClientOperator:
        """Send only what can leave right now; else drop it."""
        return ClientOperator(self._client, self._flags._replace(volatile=True))

    def compress(self, compress: bool) -> ClientOperator:
        """Say whether the event may be compressed, where compression is on."""
        return ClientOperator(self._client, self._flags._replace(compress=compress))

    def timeout(self, seconds: float) -> ClientOperator:
        """Bound how long `call` waits, or `callback` may be called."""
        return ClientOperator(self._client, self._flags._replace(timeout=seconds))

    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> Sent:
        """Send an event, as `Client.emit` does."""
        client, flags = self._client, self._flags
        if callback is None:
            client.emit_with(event, args, flags)
        else:
            self._ask_back(event, args, callback)
        return Sent(client)

    def send(self, *args: Any) -> Sent:
        """Send an event called "message", as `emit` does."""
        return self.emit("message", *args)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event and return its acknowledgement, as `Client.call` does."""
        client = self._client
        client.begin_call()
        given = self._flags.timeout if timeout is None else timeout
        seconds = client.default_timeout if given is None and not client.retries else given
        done: asyncio.Future[list[Any] | None] = asyncio.get_running_loop().create_future()

        def answered(values: list[Any] | None) -> None:
            if not done.done():
                done.set_result(values)

        ack_id = client.emit_with(event, args, self._flags, answered)
        if ack_id is None:
            raise AckTimeout(0)
        try:
            async with asyncio.timeout(seconds):
                values = await done
        except TimeoutError:
            raise AckTimeout(seconds or 0) from None
        finally:
            client.forget_ack(ack_id)
        if values is None:
            if client.retries and client.active:
                raise AckTimeout(client.default_timeout)
            raise Disconnected(client.absence)
        return from_values(values)

    def _ask_back(self, event: str, args: Sequence[Any], callback: Callable[..., Any]) -> None:
        client, flags = self._client, self._flags
        alarm: Deadline | None = None

        def answered(values: list[Any] | None) -> None:
            if alarm is not None:
                alarm.cancel()
            if values is not None:
                call(Job(Handler(callback, f"the acknowledgement of {event}", 0, None, False), values))

        ack_id = client.emit_with(event, args, flags, answered)
        if ack_id is not None and flags.timeout is not None and not client.retries:
            deadlines = deadlines_of(client.connection.loop)
            alarm = deadlines.at(deadlines.now() + flags.timeout, partial(client.forget_ack, ack_id))
