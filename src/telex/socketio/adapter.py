"""What concerns everyone in a namespace at once, and what happens to its rooms.

Rule of this module: this node only. It is where a cluster will plug in: an adapter of many nodes overrides what is
awaitable here, does the same on the others, and hands what they say to `receive`.

Source: the original's in-memory `Adapter`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from telex.socketio.acks import as_values
from telex.socketio.broadcast import Selection, Sent
from telex.socketio.handlers import is_being_cancelled, is_coroutine_function
from telex.socketio.remote import RemoteSocket
from telex.socketio.rooms import CREATE_ROOM, DELETE_ROOM, JOIN_ROOM, LEAVE_ROOM

if TYPE_CHECKING:
    from telex.socketio.namespace import Namespace
    from telex.socketio.socket import Socket

__all__ = ["Adapter"]

logger = logging.getLogger("telex.socketio")

Listener = TypeVar("Listener", bound=Callable[..., Any])

# What each event's listeners are called with: the room, and the id of who joined or left it.
N_ARGS = {CREATE_ROOM: 1, DELETE_ROOM: 1, JOIN_ROOM: 2, LEAVE_ROOM: 2}


class Adapter:
    """Do for one namespace what concerns many of its sockets; it is `namespace.adapter`."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._listeners: dict[str, tuple[Callable[..., Any], ...]] = {}
        self._untold: deque[tuple[str, str, str]] = deque()
        self._is_telling = False

    # Events of rooms.

    @overload
    def on(self, event: str, /) -> Callable[[Listener], Listener]: ...
    @overload
    def on(self, event: str, function: Listener, /) -> Listener: ...
    def on(self, event: str, function: Callable[..., Any] | None = None, /) -> Any:
        """Register a plain function that hears of rooms. Use it as a decorator, or with the function.

        "create-room" and "delete-room" are told the room, when its first member comes and its last leaves; "join-room"
        and "leave-room" the room and the id of who joined or left. A socket's own id is a room too, created when it
        connects. Events are told in the order in which things happened, once they have; what a listener raises is
        logged. While nobody listens they cost nothing.
        Raises `ValueError` for another event, `TypeError` for a coroutine function: it would come too late.
        """

        def register(found: Listener) -> Listener:
            if event not in N_ARGS:
                raise ValueError(f"{event!r} is no event of an adapter: {', '.join(N_ARGS)}")
            if not callable(found) or is_coroutine_function(found):
                raise TypeError(f"a listener for {event!r} must be a plain function")
            self._listeners[event] = (*self._listeners.get(event, ()), found)
            self._namespace.rooms.watch = self.tell
            return found

        return register if function is None else register(function)

    def off(self, event: str, function: Callable[..., Any] | None = None, /) -> None:
        """Take away one listener of an event, or all; nothing happens if there is none."""
        left = tuple(each for each in self._listeners.pop(event, ()) if function is not None and each != function)
        if left:
            self._listeners[event] = left
        if not self._listeners:
            self._namespace.rooms.watch = None

    def inherit(self, parent: Adapter) -> None:
        """Take over the listeners of a parent namespace's adapter, before its own."""
        for event, listeners in parent._listeners.items():
            self._listeners[event] = (*listeners, *self._listeners.get(event, ()))
            self._namespace.rooms.watch = self.tell

    def tell(self, events: Sequence[str], room: str, socket: Socket) -> None:
        """Tell what happened to a room. What a listener causes is told when all have heard of what was before."""
        self._untold.extend((event, room, socket.id) for event in events if event in self._listeners)
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while self._untold:
                event, *args = self._untold.popleft()
                for listener in self._listeners.get(event, ()):
                    self._call(listener, event, args[: N_ARGS[event]])
        finally:
            self._is_telling = False

    def _call(self, listener: Callable[..., Any], event: str, args: Sequence[str]) -> None:
        try:
            listener(*args)
        except Exception:
            logger.exception("a listener for %r of %s failed", event, self._namespace.name)

    # Sockets.

    async def fetch_sockets(self, selection: Selection) -> list[RemoteSocket]:
        """Return the sockets selected. O(recipients)."""
        return [socket.as_remote() for socket in self._select(selection)]

    def sockets_join(self, selection: Selection, rooms: Sequence[str]) -> Sent:
        """Let those selected join rooms. Raises as `Socket.join`; nobody has joined then."""
        joining = [(socket, socket.new_rooms(rooms)) for socket in self._select(selection)]
        for socket, new in joining:
            socket.enter_rooms(new)
        return Sent()

    def sockets_leave(self, selection: Selection, rooms: Sequence[str]) -> Sent:
        """Let those selected leave rooms."""
        for socket in self._select(selection):
            for room in rooms:
                socket.leave(room)
        return Sent()

    def disconnect_sockets(self, selection: Selection, close: bool) -> Sent:
        """Send off those selected; `close` ends their connections."""
        for socket in self._select(selection):
            socket.disconnect(close)
        return Sent()

    def _select(self, selection: Selection) -> list[Socket]:
        return self._namespace.select(selection.rooms, selection.excluded)

    # Other servers, of which one node has none.

    def server_side_emit(self, event: str, args: Sequence[Any]) -> Sent:
        """Tell the other servers of the cluster something."""
        return Sent()

    async def server_side_call(self, event: str, args: Sequence[Any], timeout: float) -> list[Any]:
        """Ask the other servers of the cluster; return their answers. Raises `AckTimeout`. **Units**: seconds."""
        return []

    async def receive(self, event: str, args: Sequence[Any]) -> list[Any] | None:
        """Take what another server has said with `server_side_emit` or `server_side_call`.

        Returns: the values of the answer, `None` where there is none: nobody here listens, or who does has failed.
        """
        handler = self._namespace.server_side_handlers.get(event)
        if handler is None:
            return None
        try:
            result = handler(*args)
            if inspect.isawaitable(result):
                result = await result
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            logger.warning("the server-side handler for %r cancelled itself", event)
        except Exception:
            logger.exception("the server-side handler for %r failed", event)
        else:
            return as_values(result)
        return None
