"""What a usual event runs through, in as few steps as can be: from a message to its handler, and out again.

Rule of this module: it decides nothing. A *usual* event is small, whole and plainly right, goes to a socket that is
free, and what is sent holds nothing but plain JSON. Everything else is left, unchanged, to the subclass or the parser,
which know every rule. It is the specification of its compiled twin, `_events.pyx`.

Source: Socket.IO protocol v5, "Packet encoding"; RFC 8259.
"""

from __future__ import annotations

import asyncio
import inspect
from asyncio import _get_running_loop  # None in a thread without one, and many times cheaper than an exception
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

import msgspec

from telex.limits import Limits
from telex.socketio.acks import as_values
from telex.socketio.broadcast import SENT, Sent
from telex.socketio.handlers import Handler, Inbox, Job, fail
from telex.socketio.packets import RESERVED_EVENTS, PacketType
from telex.types import Data, size_of

if TYPE_CHECKING:
    from telex.socketio.broadcast import Recipient
    from telex.socketio.parsing import OurDecoder

__all__ = [
    "SMALL_JSON",
    "Emitter",
    "EventParser",
    "EventReceiver",
    "Registry",
    "State",
    "encode_event",
    "has_digits",
    "is_plain",
]

EVENT = str(int(PacketType.EVENT))

SCALAR_TYPES = frozenset({str, int, float, bool, type(None)})

SMALL_JSON = 1024
"""Characters of an event that may be decoded before it is measured."""

MAX_PLAIN_DIGITS = 15
"""Digits that are surely no more than `MAX_ACK_ID`."""

MAX_PLAIN_DEPTH = 16
"""How deep data is looked at here; what is deeper, or holds itself, is looked at closely."""

# Every digit as "0" and every other byte as a space, so that a long number is a run of one byte.
DIGITS = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

PlainEvent = tuple[str, str, list[Any], int | None]


class State(Enum):
    """Name what a socket is doing; it goes down this list, and from `CONNECTING` to the end if it is refused."""

    CONNECTING = auto()  # in the hands of the middlewares: it may join rooms and be sent to, broadcasts pass it by
    CONNECTED = auto()
    LEAVING = auto()  # its "disconnecting" handler runs: it is still in its rooms, and no longer sent to
    DISCONNECTED = auto()


CONNECTED = State.CONNECTED  # looked up for every event

SENDING = (State.CONNECTED, State.CONNECTING)
"""States in which a socket is sent to."""


def is_plain(data: Any, depth: int = MAX_PLAIN_DEPTH) -> bool:
    """Whether data is just what JSON has, in exactly these types: nothing to be converted, and no bytes anywhere.

    O(values). Data that is nested deeper than `depth` is not.
    """
    kind = type(data)
    if kind in SCALAR_TYPES:
        return True
    if kind is dict:
        for key in data:
            if type(key) is not str:
                return False
        data = data.values()
    elif kind is not list and kind is not tuple:
        return False
    if not depth:
        return False
    for value in data:  # noqa: SIM110  # a generator takes twice as long
        if type(value) not in SCALAR_TYPES and not is_plain(value, depth - 1):
            return False
    return True


def has_digits(text: str, maximum: int) -> bool:
    """Whether there are more than `maximum` ASCII digits in a row."""
    return len(text) > maximum and b"0" * (maximum + 1) in text.encode(errors="replace").translate(DIGITS)


def encode_event(event: str, args: Sequence[Any]) -> bytes | None:
    """Return the JSON of an event whose data is plain; None for every other, and for a name that is reserved.

    Raises `ValueError` for text with a lone surrogate.
    """
    if type(event) is not str or event in RESERVED_EVENTS or not is_plain(args):
        return None
    return _encode([event, *args])


class EventParser:
    """Read the small events that have no attachments.

    Where `max_json_nodes` is lower than `SMALL_JSON` it reads none, for it does not count values.
    """

    __slots__ = ("_limits",)

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def parse(self, text: str) -> PlainEvent | None:  # noqa: PLR0911  # each says what is not plainly right
        """Read one.

        For what is not plainly right, or crosses a bound, None: `Decoder` then looks at it closely.
        Such a text costs nothing worth mentioning to decode, so here the bounds come last, and only where there is
        something to count: text in text has neither depth nor digits.
        **Shape**: namespace, name, arguments, acknowledgement id.
        """
        limits = self._limits
        start = text.find("[")
        if text[:1] != EVENT or start < 0 or len(text) > SMALL_JSON or limits.max_json_nodes < SMALL_JSON:
            return None
        namespace, ack_id = "/", None
        if start > 1:
            head = text[1:start]
            if head[0] == "/":
                namespace, comma, head = head.partition(",")
                if not comma or len(namespace) > limits.max_namespace_length:
                    return None
            if head:
                if len(head) > MAX_PLAIN_DIGITS or not (head.isascii() and head.isdecimal()) or head[0] == "0" != head:
                    return None
                ack_id = int(head)
        json = text[start:]
        try:
            args: list[Any] = _decode(json)
            event = args.pop(0)
        except (msgspec.MsgspecError, RecursionError, UnicodeError, IndexError):
            return None
        if type(event) is not str or event in RESERVED_EVENTS or len(event) > limits.max_event_name:
            return None
        for arg in args:
            if type(arg) is not str:
                n_openings = json.count("[") + json.count("{")
                if n_openings > limits.max_json_depth or has_digits(json, limits.max_number_digits):
                    return None
                break
        return namespace, event, args, ack_id


class Registry:
    """Hold what a namespace looks up for every event.

    Attributes:
        handlers: By the event's name.
        catch_alls: Called with every event.
        event_head, ack_head: What its events and acknowledgements begin with, as an Engine.IO packet.
    """

    __slots__ = ("ack_head", "catch_alls", "event_head", "handlers")

    handlers: dict[str, Handler]
    catch_alls: list[Handler]
    event_head: bytes
    ack_head: bytes


class EventReceiver:
    """Receive as a connection.

    Attributes:
        session: The client's Engine.IO session.
        loop: The event loop that it is served on.
    """

    __slots__ = ("_decoder", "_others", "_parser", "_root", "loop", "session")

    session: Any  # of the server or of the client
    loop: asyncio.AbstractEventLoop
    _parser: EventParser | None  # None where every event must be looked at closely, or is not JSON's
    _decoder: OurDecoder | None  # while the rest of a packet is awaited
    _root: Any  # of the namespace "/", in the hands of its middlewares too
    _others: dict[str, Any] | None  # those of other namespaces

    def message_received(self, data: Data) -> None:
        """Take one message of the client."""
        if self._parser is not None and type(data) is str and self._decoder is None:
            plain = self._parser.parse(data)
            if plain is not None:
                namespace, event, args, ack_id = plain
                socket = self._root
                if namespace != "/":
                    socket = None if self._others is None else self._others.get(namespace)
                if socket is not None and socket.state is CONNECTED:
                    socket.receive_event(event, args, ack_id, size_of(data))
                    return
        self._receive_message(data)

    def _receive_message(self, data: Data) -> None:
        """Take what is no usual event: the subclass's."""
        raise NotImplementedError


class Emitter:
    """Send and receive events as a socket.

    Attributes:
        nsp: The namespace.
        connection: The client's connection; the library's own.
        state: What it is doing; the library's own.
        is_direct_in, is_direct_out: Whether nothing but handlers wants to see the events that come, and nothing those
            that are sent; the library's own.
    """

    __slots__ = ("_inbox", "connection", "is_direct_in", "is_direct_out", "nsp", "state")

    nsp: Any  # a `Registry`: of the server or of the client
    connection: Any  # an `EventReceiver`, likewise
    state: State
    is_direct_in: bool
    is_direct_out: bool
    _inbox: Inbox | None  # of its handlers, from the first that needs one

    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> Sent:
        """Send an event to this client.

        The event is sent when this is called; awaiting the result waits until the client has room for more.
        After the disconnect nothing is sent.
        Args: `callback` is called with the values of the client's acknowledgement, if one comes before the disconnect
        (and within the time that `timeout` says).
        Raises `ValueError` for a reserved name, `TypeError` for data that cannot be sent, `TooManyAcks`, and
        `RuntimeError` in another thread than the event loop's: `loop.call_soon_threadsafe(socket.emit, ...)`.
        """
        connection = self.connection
        if callback is None and self.is_direct_out and self.state in SENDING and _get_running_loop() is connection.loop:
            body = encode_event(event, args)
            if body is not None:
                session = connection.session
                session.send_text(self.nsp.event_head, body)
                return SENT if session.is_clear else Sent(cast("Recipient", self))
        return self._emit(event, args, callback)

    def receive_event(self, event: str, args: list[Any], ack_id: int | None, n_bytes: int) -> None:
        """Take an event: call its handler, if there is nothing to think about.

        Args: `n_bytes` is what it weighs, where it must wait.
        """
        nsp, inbox = self.nsp, self._inbox
        handler = nsp.handlers.get(event)
        is_free = self.is_direct_in and (inbox is None or inbox.is_free)
        if not is_free or handler is None or nsp.catch_alls or len(args) < handler.n_min:
            self._receive_event(event, args, ack_id, n_bytes)
            return
        n_max = handler.n_max
        if n_max is not None and len(args) > n_max:
            del args[n_max:]
        if handler.is_async:
            if inbox is None or handler.is_concurrent:
                self._receive_event(event, args, ack_id, n_bytes)
            else:
                inbox.step(handler, handler.arguments(self, args), ack_id, n_bytes)
            return
        try:
            result = handler.function(self, *args) if handler.takes_socket else handler.function(*args)
            if result is SENT:  # what a lambda returns that emits: there is nothing to wait for
                result = None
            if type(result) not in SCALAR_TYPES and inspect.isawaitable(result):
                self._await_result(handler, result, ack_id, n_bytes)  # a plain function returned a coroutine
            elif ack_id is not None:
                self.reply(ack_id, result)
        except (Exception, asyncio.CancelledError) as error:
            fail(Job(handler, ()), error)

    def reply(self, ack_id: int, result: Any) -> None:
        """Acknowledge an event with what its handler returned. Raises as `parsers.encode`."""
        values = as_values(result)
        if self.is_direct_out and self.state in SENDING and is_plain(values):
            self.connection.session.send_text(b"%b%d" % (self.nsp.ack_head, ack_id), _encode(values))
        else:
            self._reply(ack_id, values)

    def _emit(self, event: str, args: Sequence[Any], callback: Callable[..., Any] | None) -> Sent:
        """Send what is not plain, or cannot be sent: the subclass's."""
        raise NotImplementedError

    def _receive_event(self, event: str, args: list[Any], ack_id: int | None, n_bytes: int) -> None:
        """Take an event that is not handled at once: the subclass's."""
        raise NotImplementedError

    def _await_result(self, handler: Handler, result: Any, ack_id: int | None, n_bytes: int) -> None:
        """Await what a plain function has returned: the subclass's."""
        raise NotImplementedError

    def _reply(self, ack_id: int, values: list[Any]) -> None:
        """Acknowledge with values that are not plain, or cannot be sent: the subclass's."""
        raise NotImplementedError
