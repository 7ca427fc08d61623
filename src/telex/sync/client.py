"""Socket.IO clients for threads and scripts: `telex.Client` with calls that wait.

Rule of this module: faces. What a call does is done by the `telex.Client` that each face holds, on the portal's loop;
here is only what threads need: who calls a handler, and where.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, Self, TypeVar, Unpack, overload

from telex.errors import Disconnected
from telex.limits import Limits
from telex.socketio.client import Client as AsyncClient
from telex.socketio.client import ClientNamespace, ClientOperator, ClientOptions
from telex.socketio.client import Manager as AsyncManager
from telex.socketio.listeners import Function
from telex.socketio.reasons import DisconnectReason
from telex.sync.handlers import InThread, function_of
from telex.sync.portal import Portal, shared

__all__ = ["Client", "Manager", "Operator", "connect"]

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_LIMITS = Limits()


def connect(url: str, *, retry: bool = False, **options: Unpack[ClientOptions]) -> Client:
    """Return a connected client: `with connect(url) as socket:`, or `socket = connect(url)`.

    Args: as for `Client`; `retry`: go on when the first attempt fails, as the client does later anyway, until one holds
    or there shall be no more.
    Raises `ConnectRefused` when the server's middleware refuses the client, `ConnectError` when the server cannot be
    reached, `ValueError` and `TypeError` for options that cannot be. **Interruption**: the attempt is ended.
    """
    client = Client(url, **options)
    try:
        client.join(persistent=retry)
    except BaseException:
        client.disconnect()
        raise
    return client


class Speaker:
    """Offer what a client and an operator of one can both say to a server."""

    __slots__ = ("_portal", "_speaker")

    def __init__(self, speaker: AsyncClient | ClientOperator, portal: Portal) -> None:
        self._speaker = speaker
        self._portal = portal

    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> None:
        """Send an event, and wait until the server has room: until at most `send_buffer_high` bytes wait for it.

        While the client is away the event is kept, and this returns at once, unless as much is kept already: then it
        waits for the connection. `callback` is called with the acknowledgement, in a thread, beside handlers.
        Raises `OutboxFull`, where many threads emit, and `TypeError` or `ValueError` for what cannot be sent, before
        anything is. **Interruption** of the wait: the event is sent, or kept, all the same.
        """
        called = None if callback is None else InThread(callback, "a callback", self)

        async def emit() -> None:
            await self._speaker.emit(event, *args, callback=called)

        self._portal.call(emit)

    def send(self, *args: Any) -> None:
        """Send an event called "message", as `emit` does."""
        self.emit("message", *args)

    def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event to the server and return its acknowledgement.

        Returns: its value; a tuple where there are several, `None` where there is none.
        Raises `AckTimeout` (a `TimeoutError`; the event is taken back if it still waits), `Disconnected` when the
        connection is lost before the answer or the client has ended, and as `emit`.
        **Units**: `timeout` in seconds; by default `ack_timeout`, else 60. **Interruption**: the event is taken back if
        it still waits.
        """
        return self._portal.call(self._speaker.call, event, *args, timeout=timeout)

    @property
    def volatile(self) -> Operator:
        """Send only what can leave right now; else drop it."""
        return Operator(self._speaker.volatile, self._portal)

    def compress(self, compress: bool) -> Operator:
        """Say whether the next event may be compressed, where compression is on."""
        return Operator(self._speaker.compress(compress), self._portal)

    def timeout(self, seconds: float) -> Operator:
        """Bound how long the next `call` waits, or the next `callback` may be called."""
        return Operator(self._speaker.timeout(seconds), self._portal)


class Operator(Speaker):
    """Hold how the next event is sent to the server."""

    __slots__ = ()


class Client(Speaker):
    """Talk with a server in one of its namespaces. Every method may be called from any thread.

    The client connects with its first use, if `auto_connect` says so, or with `connect`, and then by itself whenever
    the connection is lost; so handlers can be registered before. Handlers run in threads: see `on`.

    Args: those of `telex.Client`, which this is for threads. Where `auth` is a function, it is asked in a thread.
    Raises `ValueError` and `TypeError` for what cannot be. Calls raise `RuntimeError` when the interpreter is ending or
    the process has forked.
    """

    __slots__ = ("_async", "_close_timeout", "_turn")

    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        auth = options.get("auth")
        if callable(auth) and not isinstance(auth, Mapping):
            options["auth"] = InThread(auth, "auth", self)
        self._close_timeout = options.get("limits", DEFAULT_LIMITS).close_timeout
        portal = shared()

        async def make() -> AsyncClient:
            # In a thread that has no loop, so that it waits for its first use, or until it is told to connect.
            client = await asyncio.to_thread(AsyncClient, url, **options)
            portal.keep(client, AsyncClient.aclose)
            return client

        self._async = portal.call(make)
        self._turn: asyncio.Lock | None = None  # of functions that are told what happens, one at a time
        super().__init__(self._async, portal)

    def __repr__(self) -> str:
        return f"<sync {self._async!r}>"

    # What it is

    @property
    def id(self) -> str | None:
        """What the server calls this client; new for each connection, but for one that was recovered."""
        return self._async.id

    @property
    def nsp(self) -> ClientNamespace:
        """The namespace; `nsp.name` is its name."""
        return self._async.nsp

    @property
    def connected(self) -> bool:
        """Whether the server has let the client in, and the connection is there."""
        return self._async.connected

    @property
    def active(self) -> bool:
        """Whether the client is connected or will try to be: not before it begins, nor after its end."""
        return self._async.active

    @property
    def recovered(self) -> bool:
        """Whether the client was away and has missed nothing."""
        return self._async.recovered

    @property
    def reason(self) -> DisconnectReason | None:
        """Why it disconnected last, in the original's words (see `DisconnectReason`); None if it never has."""
        return self._async.reason

    @property
    def has_room(self) -> bool:
        """Whether `emit` would return at once."""
        return self._async.has_room

    @property
    def manager(self) -> Manager | None:
        """What keeps the connection; None as long as the client has not begun."""
        manager: AsyncManager | None = self._async.manager
        return None if manager is None else Manager(manager, self)

    # What a program registers

    @overload
    def on(self, event: str, /, *, concurrent: bool = False) -> Callable[[Function], Function]: ...
    @overload
    def on(self, event: str, function: Function, /, *, concurrent: bool = False) -> Function: ...
    def on(self, event: str, function: Callable[..., Any] | None = None, /, *, concurrent: bool = False) -> Any:
        """Register the handler of an event; a later one takes its place. Use it as a decorator, or with the function.

        The handler is called in a thread, one at a time for each client and in the order of the events, or beside the
        others with `concurrent=True`. So it may block, and call anything of this client and of others. For what it gets
        and what becomes of its result see `telex.Client.on`; "connect", "disconnect" and "connect_error" are there too.
        What it raises is logged. Raises `TypeError` for a coroutine function, and as `telex.Client.on`.
        """
        return self._register(self._async.on, event, function, concurrent)

    @overload
    def once(self, event: str, /, *, concurrent: bool = False) -> Callable[[Function], Function]: ...
    @overload
    def once(self, event: str, function: Function, /, *, concurrent: bool = False) -> Function: ...
    def once(self, event: str, function: Callable[..., Any] | None = None, /, *, concurrent: bool = False) -> Any:
        """Register a handler as `on` does, for one call. Raises as `on`, and `ValueError` for "*"."""
        return self._register(self._async.once, event, function, concurrent)

    def off(self, event: str, function: Callable[..., Any] | None = None, /) -> None:
        """Forget the handler of an event; if it is this function, where one is given. "*" is `off_any`."""
        self.on_loop(self._async.off, event, function)

    def on_any(self, function: Function, /, *, concurrent: bool = False) -> Function:
        """Register a function called with the name and the arguments of every event, as a handler is, and before it.

        Raises `TypeError` for a function that does not take whatever comes, and as `on`.
        """
        self.on_loop(self._async.on_any, InThread(function, "every event", self), concurrent=concurrent)
        return function

    def prepend_any(self, function: Function, /, *, concurrent: bool = False) -> Function:
        """Register a function as `on_any` does, to be called before those that are registered already."""
        self.on_loop(self._async.prepend_any, InThread(function, "every event", self), concurrent=concurrent)
        return function

    def off_any(self, function: Callable[..., Any] | None = None, /) -> None:
        """Forget a function that `on_any` was given, or all of them; the first, where it was given twice."""
        self.on_loop(self._async.off_any, function)

    def listeners_any(self) -> list[Callable[..., Any]]:
        """Return the functions that `on_any` was given, in the order in which they are called."""
        return [function_of(registered) for registered in self.on_loop(self._async.listeners_any)]

    def on_any_outgoing(self, function: Function, /) -> Function:
        """Register a function called with the name and the arguments of every event that was sent.

        It is called in a thread, once for each event in turn, and holds nothing up. Raises as `on_any`.
        """
        self.on_loop(self._async.on_any_outgoing, self.in_turn(function, "every event that is sent"))
        return function

    def prepend_any_outgoing(self, function: Function, /) -> Function:
        """Register a function as `on_any_outgoing` does, to be called before those that are registered already."""
        self.on_loop(self._async.prepend_any_outgoing, self.in_turn(function, "every event that is sent"))
        return function

    def off_any_outgoing(self, function: Callable[..., Any] | None = None, /) -> None:
        """Forget a function that `on_any_outgoing` was given, or all of them; the first, where it was given twice."""
        self.on_loop(self._async.off_any_outgoing, function)

    def listeners_any_outgoing(self) -> list[Callable[..., Any]]:
        """Return the functions that `on_any_outgoing` was given, in the order in which they are called."""
        return [function_of(registered) for registered in self.on_loop(self._async.listeners_any_outgoing)]

    # Connecting and leaving

    def connect(self, *, timeout: float | None = None) -> None:
        """Connect, unless the client is active already, and wait until it is connected.

        Raises `ConnectRefused` when the server's middleware refuses the client, which then does not try again;
        `ConnectError` when the next attempt fails, and `TimeoutError` after so many seconds: then the client goes on
        trying, if it reconnects at all. **Interruption**: only the waiting ends.
        """
        self._portal.call_within(timeout, self._join, persistent=False)

    def join(self, *, persistent: bool) -> None:
        """Connect as `connect` does, also after attempts that fail where it is `persistent`; the library's own."""
        self._portal.call(self._join, persistent=persistent)

    def disconnect(self) -> None:
        """Leave the namespace; the connection is closed behind its last client. `connect` comes back."""
        self.on_loop(self._async.disconnect)

    def close(self) -> None:
        """Leave, and wait for handlers that are at work, for `close_timeout` at most; not for one that calls this."""

        async def close(is_handler: bool) -> None:
            self._async.disconnect()
            if not is_handler:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._close_timeout):
                        await self._async.aclose()

        self._portal.call(close, InThread.is_at_work_for(self))

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the client has ended: not while it is away and tries again. `reason` tells why it has ended.

        It begins if it has not begun yet and `auto_connect` says so. Raises `TimeoutError`. **Interruption**: only the
        waiting ends.
        """
        self._portal.call_within(timeout, self._async.wait)

    def wait_room(self, timeout: float | None = None) -> None:
        """Wait until `has_room`. Raises `TimeoutError`."""
        self._portal.call_within(timeout, self._async.wait_room)

    def __enter__(self) -> Self:
        if not self.connected:
            try:
                self.connect()
            except BaseException:
                self.disconnect()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Receiving

    def receive(self, timeout: float | None = None) -> tuple[Any, ...]:
        """Return the next event that has no handler: its name, and its arguments. See `telex.Client.receive`.

        Raises `Disconnected` when the client has ended and nothing is left, `TimeoutError` after `timeout` seconds.
        **Interruption**: no event is lost.
        """
        return self._portal.call_within(timeout, self._receive)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return self

    def __next__(self) -> tuple[Any, ...]:
        """Return the next event as `receive` does; end where the client has ended."""
        try:
            return self.receive()
        except Disconnected:
            raise StopIteration from None

    # Inside

    def on_loop(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a plain function on the loop; the library's own."""

        async def run() -> T:
            return function(*args, **kwargs)

        return self._portal.call(run)

    def in_turn(self, function: Callable[..., Any], what: str) -> InThread:
        """Wrap a function that is told what happens: one after the other, in order; the library's own."""
        if self._turn is None:
            self._turn = asyncio.Lock()
        return InThread(function, what, self, self._turn)

    def _register(
        self,
        register: Callable[..., Any],
        event: str,
        function: Callable[..., Any] | None,
        concurrent: bool,
    ) -> Any:
        def take(found: Function) -> Function:
            self.on_loop(partial(register, event, InThread(found, repr(event), self), concurrent=concurrent))
            return found

        return take if function is None else take(function)

    async def _join(self, *, persistent: bool) -> None:
        self._async.connect()
        await self._async.joined(persistent=persistent)

    async def _receive(self) -> tuple[Any, ...]:
        return await self._async.receive()


class Manager:
    """See and hear of the connection that keeps one or more clients; `client.manager` is theirs."""

    __slots__ = ("_client", "_manager")

    def __init__(self, manager: AsyncManager, client: Client) -> None:
        self._manager = manager
        self._client = client

    def __repr__(self) -> str:
        return f"<sync {self._manager!r}>"

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._manager.is_open

    @property
    def transport(self) -> str | None:
        """The name of the transport, "polling" or "websocket"; None where there is no connection."""
        return self._manager.transport

    @overload
    def on(self, event: str, /) -> Callable[[Function], Function]: ...
    @overload
    def on(self, event: str, function: Function, /) -> Function: ...
    def on(self, event: str, function: Callable[..., Any] | None = None, /) -> Any:
        """Register the function told of one of the manager's own events, in a thread, one after the other.

        They are those of `telex.Manager.on`. Raises as `telex.Manager.on`, and `TypeError` for a coroutine function.
        """

        def take(found: Function) -> Function:
            told = self._client.in_turn(found, repr(event))
            self._client.on_loop(self._manager.on, event, told)
            return found

        return take if function is None else take(function)

    def off(self, event: str, function: Callable[..., Any] | None = None, /) -> None:
        """Forget the function of an event; if it is this one, where one is given."""
        self._client.on_loop(self._manager.off, event, function)
