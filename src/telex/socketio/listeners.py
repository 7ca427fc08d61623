"""What a program registers on a server, a namespace or a socket: handlers, catch-alls, middlewares of events.

Rule of this module: tables that the program fills, and how it fills them. In which order they are gone through is
`passage.py`'s; how a handler is run is `handlers.py`'s.

Source: the original's `EventEmitter` methods of a socket, with one handler for an event in each place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from telex.socketio.handlers import Handler, make_handler
from telex.socketio.packets import RESERVED_EVENTS
from telex.socketio.rates import RateLimit
from telex.socketio.reliable import deduplicate

if TYPE_CHECKING:
    from telex.socketio.dedup import Dedup
    from telex.socketio.socket import Socket

__all__ = ["AnyEventMiddleware", "EventMiddleware", "Function", "Hearing", "Listeners", "Listening"]

Function = TypeVar("Function", bound=Callable[..., Any])
EventMiddleware = Callable[["Socket", str, list[Any]], Awaitable[None] | None]
AnyEventMiddleware = TypeVar("AnyEventMiddleware", bound=EventMiddleware)

LIFECYCLE = {"connect": 1, "disconnecting": 1, "disconnect": 1}
"""What the library itself tells handlers: how many arguments come after the socket."""

ALIASES = {"connection": "connect"}
"""The original's other name. It is not reserved on the wire, so a handler of that name must not be one clients can
call."""

NEW_NAMESPACE = "new_namespace"
"""What a server tells itself; not reserved on the wire either, so only `Server.on` takes it."""

OWN_PREFIX = "telex:"
"""What the names of the library's own events begin with."""

EVERY_EVENT = "*"


class Listeners:
    """Hold what is registered in one place.

    Attributes:
        handlers: By the event's name. A namespace's are what the fast path calls.
        particular: Handlers too, of which something must be known before they are called: those that are called once,
            and those with a rate limit. They are kept apart so that the fast path does not find them.
        catch_alls, outgoing: Called with every event that comes, and with every event that is sent.
        event_middlewares: Called before the handlers.
        middleware_error: Called with what these raise.
    """

    __slots__ = ("catch_alls", "event_middlewares", "handlers", "middleware_error", "outgoing", "particular")

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}
        self.particular: dict[str, Handler] = {}
        self.catch_alls: list[Handler] = []
        self.outgoing: list[Handler] = []
        self.event_middlewares: list[EventMiddleware] = []
        self.middleware_error: Handler | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is registered."""
        return not (self.hears_events or self.handlers or self.particular or self.outgoing or self.middleware_error)

    @property
    def hears_events(self) -> bool:
        """Whether there is anything that wants to see events that come."""
        return bool(
            self.catch_alls
            or self.event_middlewares
            or not self.handlers.keys() | self.particular.keys() <= LIFECYCLE.keys()
        )

    def put(self, handler: Handler) -> None:
        """Take in the handler of an event, in place of a former one."""
        self.drop(handler.name)
        is_usual = not handler.is_once and handler.rate_limit is None
        (self.handlers if is_usual else self.particular)[handler.name] = handler

    def inherit(self, parent: Listeners) -> None:
        """Take over what is registered elsewhere, before what is here; of two handlers of one event the own one stays.

        The tables stay the same objects: the fast path holds them too.
        """
        for handler in (*parent.handlers.values(), *parent.particular.values()):
            if self.find(handler.name) is None:
                self.put(handler)
        self.catch_alls[:0] = parent.catch_alls
        self.outgoing[:0] = parent.outgoing
        self.event_middlewares[:0] = parent.event_middlewares
        self.middleware_error = self.middleware_error or parent.middleware_error

    def find(self, event: str) -> Handler | None:
        """Return the handler of an event."""
        return self.handlers.get(event) or self.particular.get(event)

    def take(self, event: str) -> Handler | None:
        """Return the handler of an event, to be called now: one that is called once is gone then."""
        handler = self.find(event)
        if handler is not None and handler.is_once:
            del self.particular[event]
        return handler

    def drop(self, event: str, function: Callable[..., Any] | None = None) -> None:
        """Forget the handler of an event; only if it is this function, where one is given."""
        handler = self.find(event)
        if handler is not None and (function is None or handler.registered == function):
            self.handlers.pop(event, None)
            self.particular.pop(event, None)


class Hearing(ABC):
    """Offer what a program can register wherever there are events: on a server's objects, and on a client."""

    __slots__ = ()

    _lifecycle: Mapping[str, int] = MappingProxyType(LIFECYCLE)
    _aliases: Mapping[str, str] = MappingProxyType(ALIASES)
    _takes_socket = True  # whether handlers are told which socket an event is of

    @property
    @abstractmethod
    def _registered(self) -> Listeners:
        """The tables, made when they are first asked for."""

    @abstractmethod
    def listeners_changed(self) -> None:
        """Hear that something was registered, or is so no longer; the library's own."""

    def off(self, event: str, function: Callable[..., Any] | None = None, /) -> None:
        """Forget the handler of an event; if it is this function, where one is given. "*" is `off_any`."""
        if event == EVERY_EVENT:
            self.off_any(function)
            return
        self._registered.drop(self._aliases.get(event, event), function)
        self.listeners_changed()

    def _register(
        self,
        event: str,
        function: Callable[..., Any],
        *,
        concurrent: bool,
        thread: bool,
        rate_limit: RateLimit | None,
        once: bool = False,
        dedup: Dedup | None = None,
    ) -> None:
        if dedup is not None and (event == EVERY_EVENT or event in LIFECYCLE or event in ALIASES):
            raise ValueError(f"{event!r} cannot come again: dedup is for the events of clients")
        if event == EVERY_EVENT:
            if once or rate_limit is not None:
                raise ValueError("a catch-all handler is called with every event: neither once nor with a rate limit")
            self.on_any(function, concurrent=concurrent, thread=thread)
            return
        event = self._aliases.get(event, event)
        n_given = self._lifecycle.get(event)
        if event in RESERVED_EVENTS:
            if n_given is None:
                raise ValueError(self._why_reserved(event))
            if rate_limit is not None:
                raise ValueError(f"{event!r} is no event of the client's: it has no rate limit")
        self._check_name(event)
        handler = make_handler(
            function,
            event,
            n_given=n_given,
            concurrent=concurrent,
            thread=thread,
            once=once,
            rate_limit=rate_limit,
            takes_socket=self._takes_socket,
        )
        if event == "disconnecting" and handler.is_async:
            raise TypeError("a 'disconnecting' handler must be a plain function: it is over before the rooms are left")
        self._registered.put(handler if dedup is None else deduplicate(handler, dedup))
        self.listeners_changed()

    def _why_reserved(self, event: str) -> str:
        """Say why there is no handler of an event by this name."""
        if event in LIFECYCLE:
            return f"{event!r} comes before a socket is there: register its handler on the namespace"
        return f"{event!r} is reserved: no client can send it"

    def _check_name(self, event: str) -> None:
        """Raise `ValueError` for a name that is the library's own, though it is not reserved on the wire."""
        if event == NEW_NAMESPACE:
            raise ValueError(f"{event!r} is an event of the server, for io.on({event!r}), and no client's")
        if event.startswith(OWN_PREFIX):
            raise ValueError(f"{event!r} is reserved: names that begin with {OWN_PREFIX!r} are the library's")

    def _catch_all(self, function: Callable[..., Any], *, concurrent: bool = False, thread: bool = False) -> Handler:
        """Check and wrap what is called with every event. Raises `TypeError` if it does not take whatever comes."""
        handler = make_handler(
            function, EVERY_EVENT, n_given=1, concurrent=concurrent, thread=thread, takes_socket=self._takes_socket
        )
        if handler.n_max is not None:
            whose = "the socket, " if self._takes_socket else ""
            raise TypeError(f"a catch-all handler is called with {whose}the event's name and *args")
        return handler

    # Every event that comes.

    def on_any(self, function: Function, /, *, concurrent: bool = False, thread: bool = False) -> Function:
        """Register a function called with the socket, the name and the arguments of every event, before its handler.

        Raises `TypeError` for a function that does not take whatever comes, and as `on`.
        """
        self._registered.catch_alls.append(self._catch_all(function, concurrent=concurrent, thread=thread))
        self.listeners_changed()
        return function

    def prepend_any(self, function: Function, /, *, concurrent: bool = False, thread: bool = False) -> Function:
        """Register a function as `on_any` does, to be called before those that are registered here already."""
        self._registered.catch_alls.insert(0, self._catch_all(function, concurrent=concurrent, thread=thread))
        self.listeners_changed()
        return function

    def off_any(self, function: Callable[..., Any] | None = None, /) -> None:
        """Forget a function that `on_any` was given, or all of them; the first, where it was given twice."""
        forget(self._registered.catch_alls, function)
        self.listeners_changed()

    def listeners_any(self) -> list[Callable[..., Any]]:
        """Return the functions that `on_any` was given, in the order in which they are called."""
        return [handler.registered for handler in self._registered.catch_alls]

    # Every event that is sent.

    def on_any_outgoing(self, function: Function, /) -> Function:
        """Register a function called with the socket, the name and the arguments of every event sent to a client.

        It is called when the event has been sent, for each recipient of a broadcast too; not for acknowledgements, nor
        for what a client that is not there, or a `volatile` event, did not get. A coroutine function begins at once and
        holds nothing up. The arguments are those that were given to `emit`, and are not to be changed.
        Raises as `on_any`.
        """
        self._registered.outgoing.append(self._catch_all(function))
        self.listeners_changed()
        return function

    def prepend_any_outgoing(self, function: Function, /) -> Function:
        """Register a function as `on_any_outgoing` does, to be called before those that are registered already."""
        self._registered.outgoing.insert(0, self._catch_all(function))
        self.listeners_changed()
        return function

    def off_any_outgoing(self, function: Callable[..., Any] | None = None, /) -> None:
        """Forget a function that `on_any_outgoing` was given, or all of them; the first, where it was given twice."""
        forget(self._registered.outgoing, function)
        self.listeners_changed()

    def listeners_any_outgoing(self) -> list[Callable[..., Any]]:
        """Return the functions that `on_any_outgoing` was given, in the order in which they are called."""
        return [handler.registered for handler in self._registered.outgoing]


class Listening(Hearing):
    """Offer what a program can register on a server, a namespace and a socket alike."""

    __slots__ = ()

    @overload
    def on(
        self,
        event: str,
        /,
        *,
        concurrent: bool = False,
        thread: bool = False,
        rate_limit: RateLimit | None = None,
        dedup: Dedup | None = None,
    ) -> Callable[[Function], Function]: ...
    @overload
    def on(
        self,
        event: str,
        function: Function,
        /,
        *,
        concurrent: bool = False,
        thread: bool = False,
        rate_limit: RateLimit | None = None,
        dedup: Dedup | None = None,
    ) -> Function: ...
    def on(
        self,
        event: str,
        function: Callable[..., Any] | None = None,
        /,
        *,
        concurrent: bool = False,
        thread: bool = False,
        rate_limit: RateLimit | None = None,
        dedup: Dedup | None = None,
    ) -> Any:
        """Register the handler of an event; a later one takes its place. Use it as a decorator, or with the function.

        The handler is called with the socket and the event's arguments, without those that it does not take. An event
        with fewer than it needs is dropped, with a warning for the first, and never acknowledged. What the handler
        returns becomes the acknowledgement: a tuple several values, `None` an empty one.
        "connect" is called with the socket and, if it takes it, the client's auth. It is too late to refuse the client,
        which is for `use`; so a handler that raises `ConnectRefused` or returns `False` sends it off. "disconnecting"
        (a plain function; the rooms are still set) and "disconnect" are called with the reason; "*" is `on_any`.
        A namespace and a socket may each have a handler of the same event: both are called, the namespace's first, and
        only the first acknowledges. A socket has no "connect" handler: it is there by then.
        What an async generator function yields goes to the client as a stream of events (docs/streams.md).

        Args: a coroutine function runs in order with the socket's other events, which wait until it has ended, or
        beside them with `concurrent=True`, as an endless one must; `thread=True` runs a plain function that blocks in
        a thread, in order. What it returns is acknowledged as ever, but nothing of Telex may be called in a thread:
        `emit` and the like raise `RuntimeError` there, and `loop.call_soon_threadsafe(socket.emit, "progress", 1)` with
        the server's event loop (`asyncio.get_running_loop()` in any other handler) sends from one.
        `rate_limit` bounds how often each socket may have this event. `dedup` makes the handler run once for an event
        that its client sends again (see `Dedup`); what it returns is kept, so it must not be changed afterwards.
        Raises `TypeError` for a function that cannot be called so, `ValueError` for a reserved name, and for a rate
        limit of what the library itself tells.
        """

        def register(found: Function) -> Function:
            self._register(event, found, concurrent=concurrent, thread=thread, rate_limit=rate_limit, dedup=dedup)
            return found

        return register if function is None else register(function)

    @overload
    def once(
        self,
        event: str,
        /,
        *,
        concurrent: bool = False,
        thread: bool = False,
        rate_limit: RateLimit | None = None,
    ) -> Callable[[Function], Function]: ...
    @overload
    def once(
        self,
        event: str,
        function: Function,
        /,
        *,
        concurrent: bool = False,
        thread: bool = False,
        rate_limit: RateLimit | None = None,
    ) -> Function: ...
    def once(
        self,
        event: str,
        function: Callable[..., Any] | None = None,
        /,
        *,
        concurrent: bool = False,
        thread: bool = False,
        rate_limit: RateLimit | None = None,
    ) -> Any:
        """Register a handler as `on` does, for one call: the socket's next such event, or the next of any client.

        Raises as `on`, and `ValueError` for "*".
        """

        def register(found: Function) -> Function:
            self._register(event, found, concurrent=concurrent, thread=thread, rate_limit=rate_limit, once=True)
            return found

        return register if function is None else register(function)

    # Middlewares of events.

    def use_event(self, middleware: AnyEventMiddleware, /) -> AnyEventMiddleware:
        """Register a function that sees each event before its handlers, and may change or stop it.

        It is called with the socket, the event's name and the list of its arguments, which it may change in place; a
        coroutine function is awaited, in order with the socket's other events. Raising stops the event: `EventRefused`
        tells a client that awaits an acknowledgement why. Middlewares run in the order in which they were registered, a
        namespace's before a socket's own.
        Raises `TypeError` for what is not callable.
        """
        if not callable(middleware):
            raise TypeError(f"a middleware must be callable, not {type(middleware).__name__}")
        self._registered.event_middlewares.append(middleware)
        self.listeners_changed()
        return middleware

    def on_middleware_error(self, function: Function, /) -> Function:
        """Register the function called with what a middleware of events raises; a later one takes its place.

        It is called with the socket, the error, the event's name and the list of its arguments, or as many of these as
        it takes; a socket's own in place of the namespace's. Where there is none the error is logged.
        Raises as `on`.
        """
        self._registered.middleware_error = make_handler(function, "an error of a middleware", n_given=3)
        return function


def forget(handlers: list[Handler], function: Callable[..., Any] | None) -> None:
    """Take a function out of handlers, or all of them. The list stays the same object: the fast path holds it too."""
    if function is None:
        handlers.clear()
        return
    for i, handler in enumerate(handlers):
        if handler.registered == function:
            del handlers[i]
            return
