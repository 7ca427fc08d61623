"""Events of the WHATWG's WebSocket, and who hears them.

Rule of this module: the DOM's rules of dispatch and nothing of WebSocket. Listeners are called in the order in which
they were added; one that is added meanwhile does not hear the event any more, one that is removed meanwhile does not
either; what one of them raises is logged, and the next is called.

Source: DOM Standard, `EventTarget`; HTML Standard, "event handlers".
"""

from __future__ import annotations

import logging
from asyncio import CancelledError, iscoroutine
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Generic, Literal, TypeVar, overload

from telex.logs import SparingLog
from telex.types import Data

__all__ = ["CloseEvent", "ErrorEvent", "Event", "EventHandler", "EventTarget", "MessageEvent"]

logger = logging.getLogger("telex.websocket")
sparing = SparingLog(logger)  # a peer decides how many messages a program stumbles over

KINDS = frozenset({"open", "message", "error", "close"})


class Event:
    """Be what a listener is called with.

    Attributes:
        type: "open", "message", "error" or "close".
        target: The `WebSocket`.
    """

    __slots__ = ("target", "type")

    def __init__(self, kind: str, target: Any) -> None:
        self.type = kind
        self.target = target


class MessageEvent(Event):
    """Be a message.

    Attributes:
        data: `str` for text; for binary what `WebSocket.binary_type` says.
        origin: The server's: scheme, host and port.
        last_event_id: Always empty; other senders of message events have one.
    """

    __slots__ = ("data", "last_event_id", "origin")

    def __init__(self, target: Any, data: Data | bytearray, origin: str) -> None:
        super().__init__("message", target)
        self.data = data
        self.origin = origin
        self.last_event_id = ""


class ErrorEvent(Event):
    """Say that this end failed the connection; a close event follows.

    Attributes:
        error: Why. Browsers keep that from the page, for it would let any page look around in its user's network.
    """

    __slots__ = ("error",)

    def __init__(self, target: Any, error: BaseException) -> None:
        super().__init__("error", target)
        self.error = error


class CloseEvent(Event):
    """Say that the connection is gone. Comes exactly once, last.

    Attributes:
        was_clean: Whether both ends said Close.
        code: The server's close code; 1005 where its Close had none, 1006 where there was no Close.
        reason: The server's reason.
    """

    __slots__ = ("code", "reason", "was_clean")

    def __init__(self, target: Any, was_clean: bool, code: int, reason: str) -> None:
        super().__init__("close", target)
        self.was_clean = was_clean
        self.code = code
        self.reason = reason


E = TypeVar("E", bound=Event)
Callback = Callable[[E], object]


class _Listener:
    """Be one who hears events of one type."""

    __slots__ = ("callback", "is_handler", "is_once", "is_removed")

    def __init__(self, callback: Callback[Any], *, is_once: bool = False, is_handler: bool = False) -> None:
        self.callback = callback
        self.is_once = is_once
        self.is_handler = is_handler  # it was set as `on_...`
        self.is_removed = False


class EventTarget:
    """Let programs hear events."""

    __slots__ = ("_listeners",)

    def __init__(self) -> None:
        self._listeners: dict[str, list[_Listener]] = {}

    @overload
    def add_event_listener(
        self, kind: Literal["message"], callback: Callback[MessageEvent], *, once: bool = False
    ) -> None: ...
    @overload
    def add_event_listener(
        self, kind: Literal["error"], callback: Callback[ErrorEvent], *, once: bool = False
    ) -> None: ...
    @overload
    def add_event_listener(
        self, kind: Literal["close"], callback: Callback[CloseEvent], *, once: bool = False
    ) -> None: ...
    @overload
    def add_event_listener(self, kind: Literal["open"], callback: Callback[Event], *, once: bool = False) -> None: ...
    def add_event_listener(self, kind: str, callback: Callback[Any], *, once: bool = False) -> None:
        """Call a function or coroutine function for each event of a kind, after those that were added before.

        Does nothing where this callback hears this type already. Args: `once` removes it before its first call.
        Raises `ValueError` for a type that there is not.
        """
        if kind not in KINDS:
            raise ValueError(f"there are no events of type {kind!r}")
        if self._find(kind, callback) is None:
            self._listeners.setdefault(kind, []).append(_Listener(callback, is_once=once))

    def remove_event_listener(self, kind: str, callback: Callback[Any]) -> None:
        """Call it no more, not even for an event that is being dispatched. Does nothing where it is not there."""
        found = self._find(kind, callback)
        if found is not None:
            self._remove(kind, found)

    def _find(self, kind: str, callback: Callback[Any]) -> _Listener | None:
        for listener in self._listeners.get(kind, ()):
            if not listener.is_handler and listener.callback == callback:
                return listener
        return None

    def _remove(self, kind: str, listener: _Listener) -> None:
        listener.is_removed = True
        listeners = self._listeners[kind]
        listeners.remove(listener)
        if not listeners:
            del self._listeners[kind]

    def _handler(self, kind: str) -> _Listener | None:
        return next((each for each in self._listeners.get(kind, ()) if each.is_handler), None)

    def _set_handler(self, kind: str, callback: Callback[Any] | None) -> None:
        """Set `on_...`: a new one takes the place of the one before; None gives the place up."""
        found = self._handler(kind)
        if found is None:
            if callback is not None:
                self._listeners.setdefault(kind, []).append(_Listener(callback, is_handler=True))
        elif callback is None:
            self._remove(kind, found)
        else:
            found.callback = callback

    def _dispatch(self, event: Event) -> None:
        """Call who hears this event."""
        for listener in tuple(self._listeners.get(event.type, ())):
            if listener.is_removed:
                continue
            if listener.is_once:
                self._remove(event.type, listener)
            try:
                result = listener.callback(event)
            except (Exception, CancelledError) as error:  # a plain call is no task, so nobody cancelled it
                self._report(error)
            else:
                if result is not None and iscoroutine(result):
                    self._follow(result, event)

    def _follow(self, work: Coroutine[Any, Any, Any], event: Event) -> None:
        """See to what a coroutine function has begun: the subclass's."""
        raise NotImplementedError

    def _report(self, error: BaseException) -> None:
        """Log what a callback raised."""
        sparing.log(logging.ERROR, "callback", monotonic(), "a callback of %r failed", self, error=error)


class EventHandler(Generic[E]):
    """Be an attribute such as `on_message`: the one function or coroutine function that is set there, or None."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    @overload
    def __get__(self, target: None, owner: type[EventTarget]) -> EventHandler[E]: ...
    @overload
    def __get__(self, target: EventTarget, owner: type[EventTarget]) -> Callback[E] | None: ...
    def __get__(self, target: EventTarget | None, owner: type[EventTarget]) -> EventHandler[E] | Callback[E] | None:
        if target is None:
            return self
        found = target._handler(self._kind)
        return None if found is None else found.callback

    def __set__(self, target: EventTarget, callback: Callback[E] | None) -> None:
        target._set_handler(self._kind, callback)
