"""Reliable events from clients: a handler runs once for an event, however often it comes.

Rule of this module: who an event is, and that its handler runs once; what is kept of it is `dedup.py`'s.

Two kinds of clients send an event again. The official one (`retries`) gives it no id: the application names an argument
as the id, with `Dedup.key`. Telex's own agrees on ids when it connects (docs/protocol-extensions.md): it says who it is
in the CONNECT packet, and ends each reliable event with a number. Such a socket is a `joining.ReliableSocket`, which
takes the number out before anybody sees the arguments.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from telex.socketio.dedup import Dedup, EventKey, Outcomes, check_part
from telex.socketio.handlers import Handler
from telex.socketio.packets import MAX_ACK_ID

if TYPE_CHECKING:
    from telex.socketio.socket import Socket

__all__ = [
    "EXTENSION",
    "VERSION",
    "Deduplicated",
    "deduplicate",
    "event_id",
    "identify",
    "read_client",
    "take_number",
]

logger = logging.getLogger("telex.socketio")

EXTENSION = "$telex"
"""The one key by which Telex's extensions are known, in a CONNECT packet, in its answer and in events."""

VERSION = 1

CLIENT = re.compile(r"[A-Za-z0-9_-]{16,64}")

_event_id: ContextVar[str | None] = ContextVar("telex.event_id", default=None)


def event_id() -> str | None:
    """Return the id of the event whose handler runs: the same when it comes again, and no other's in this application.

    `None` outside of handlers, and for an event that has none. It is a text that names namespace, event, scope and id,
    and is good as a key in a database.
    """
    return _event_id.get()


def write_event_id(namespace: str, event: str, scope: str | int, sent_id: str | int) -> str:
    """Write an event's id, such that no two are the same."""
    return json.dumps([namespace, event, scope, sent_id], ensure_ascii=False, separators=(",", ":"))


def read_client(auth: Mapping[str, Any]) -> str | None:
    """Return who a client says it is, if it knows this extension; see docs/protocol-extensions.md."""
    said = auth.get(EXTENSION)
    if not isinstance(said, dict):
        return None
    version, client = said.get("version"), said.get("client")
    if isinstance(version, bool) or not isinstance(version, int) or version < VERSION:
        return None
    return client if isinstance(client, str) and CLIENT.fullmatch(client) else None


def take_number(args: list[Any]) -> int | None:
    """Take the number out of a reliable event's arguments; None, and nothing is changed, where there is none."""
    last = args[-1] if args else None
    if not isinstance(last, dict) or len(last) != 1:
        return None
    said = last.get(EXTENSION)
    if not isinstance(said, dict) or len(said) != 1:
        return None
    number = said.get("id")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= MAX_ACK_ID:
        return None
    args.pop()
    return number


def identify(handler: Handler, namespace: str, sent_id: str) -> Handler:
    """Return a handler that is told the id which its client has given an event."""
    function = handler.function
    if isinstance(function, Deduplicated):
        return replace(handler, function=partial(function.run, sent_id))
    return replace(handler, function=with_id(function, write_event_id(namespace, handler.name, "", sent_id)))


def with_id(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Make a handler that finds `event_id` set."""

    async def run(rest: Any) -> Any:
        # Each step of a handler is made in the same context, but a worker's is that of the next handler too.
        former = _event_id.get()
        _event_id.set(name)
        try:
            return await rest
        finally:
            _event_id.set(former)

    def call(*args: Any) -> Any:
        token = _event_id.set(name)
        try:
            result = function(*args)
        finally:
            _event_id.reset(token)
        return run(result) if inspect.isawaitable(result) else result

    return call


class Deduplicated:
    """Be a handler that runs once for each event, and answers each retry as it answered the first."""

    __slots__ = ("_function", "_has_warned", "_is_running", "_name", "_options", "_outcomes")

    def __init__(self, handler: Handler, options: Dedup) -> None:
        self._function = handler.function
        self._name = handler.name
        self._options = options
        self._outcomes = Outcomes(options)
        self._is_running: dict[EventKey, asyncio.Future[None]] = {}
        self._has_warned = False

    async def __call__(self, socket: Socket, *args: Any) -> Any:
        """Handle an event whose client sends no ids."""
        return await self.run(None, socket, *args)

    async def run(self, sent_id: str | None, socket: Socket, *args: Any) -> Any:
        """Handle an event; `sent_id` is the id that its client sent.

        One that comes while the first still runs waits for it. A handler that fails or is cancelled has no outcome: the
        retry that comes next, or waits, runs it.
        """
        key = self._key(sent_id, socket, args)
        if key is None:
            return await self._call(socket, args)
        loop = asyncio.get_running_loop()
        while (outcome := self._outcomes.get(key, loop.time())) is None:
            under_way = self._is_running.get(key)
            if under_way is None:
                return await self._run_first(key, socket, args)
            await asyncio.wait((under_way,))
        return outcome.result

    async def _run_first(self, key: EventKey, socket: Socket, args: tuple[Any, ...]) -> Any:
        loop = asyncio.get_running_loop()
        done = self._is_running[key] = loop.create_future()
        former = _event_id.get()
        _event_id.set(write_event_id(socket.nsp.name, self._name, *key[:2]))
        try:
            result = await self._call(socket, args)
            self._outcomes.put(key, result, loop.time())
        finally:
            _event_id.set(former)
            del self._is_running[key]
            done.set_result(None)
        if self._outcomes.n_pushed_out and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "more events %r came inside their window than Dedup keeps (max_per_scope=%d, max_events=%d): "
                "a late retry may run the handler again",
                self._name,
                self._options.max_per_scope,
                self._options.max_events,
            )
        return result

    async def _call(self, socket: Socket, args: tuple[Any, ...]) -> Any:
        result = self._function(socket, *args)
        return await result if inspect.isawaitable(result) else result

    def _key(self, sent_id: str | None, socket: Socket, args: tuple[Any, ...]) -> EventKey | None:
        """Return what an event is known by; None if it has no id. Raises what the application's functions raise."""
        options = self._options
        found = sent_id if options.key is None else options.key(*args)
        if found is None:
            return None
        scope = "" if options.scope is None else options.scope(socket)
        # A parent's handler is one for all its children.
        return check_part(scope, "the scope of an event"), check_part(found, "the id of an event"), socket.nsp.name


def deduplicate(handler: Handler, options: Dedup) -> Handler:
    """Return a handler that runs once for each event. Raises `TypeError` for anything but a `Dedup`."""
    if not isinstance(options, Dedup):
        raise TypeError(f"dedup must be a telex.Dedup, not {type(options).__name__}")
    if handler.is_stream:
        raise TypeError("a stream of events cannot be kept, so its handler has no dedup")
    return replace(handler, function=Deduplicated(handler, options), is_async=True, given=handler.registered)
