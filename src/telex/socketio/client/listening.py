"""What a program registers on a client.

Rule of this module: how handlers are registered; what they are registered in is `listeners.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, overload

from telex.socketio.listeners import Function, Hearing

__all__ = ["LIFECYCLE", "ClientListening"]

LIFECYCLE = {"connect": 0, "disconnect": 1, "connect_error": 1}
"""What the library itself tells handlers, with how many arguments."""


class ClientListening(Hearing):
    """Offer what a program can register on a client: handlers get an event's arguments, and no socket."""

    __slots__ = ()

    _lifecycle = MappingProxyType(LIFECYCLE)
    _aliases: Mapping[str, str] = MappingProxyType({})
    _takes_socket = False

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

    def _why_reserved(self, event: str) -> str:
        return f"{event!r} is reserved: no server can send it"

    def _check_name(self, event: str) -> None:
        """Allow every name: those that are the library's on a server are events like others here."""
