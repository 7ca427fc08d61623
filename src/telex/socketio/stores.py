"""At the point of effect: what an event does is done once, in a store that outlives this process.

Rule of this module: small stores behind one protocol; what they hold is text. It knows nothing of sockets but
`event_id`.

`Dedup` remembers in memory. A process that dies between an effect and its acknowledgement has forgotten, and the retry
has the effect again, unless the store that holds the effect also holds the event's id: a row written in the same
transaction (`SqlStore`), or a key that others respect (`RedisStore`).
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Awaitable, Callable
from functools import wraps
from time import time
from typing import Any, Protocol, TypeVar, cast

import msgspec

from telex.errors import EventInProgress
from telex.socketio.acks import as_values, from_values
from telex.socketio.parsers import contains_bytes
from telex.socketio.reliable import event_id
from telex.tokens import token_text

__all__ = ["RedisStore", "SqlStore", "Store", "once"]

logger = logging.getLogger("telex.socketio")

Function = TypeVar("Function", bound=Callable[..., Any])

TOKEN_BYTES = 9

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Store(Protocol):
    """Remember which events have had their effect. Each method may be a coroutine function or a plain one."""

    def claim(self, event_id: str, /) -> str | Awaitable[str | None] | None:
        """Begin an event: return `None` for one that is new, or what `complete` was given for one that is done.

        Raises `EventInProgress` for one that somebody else has begun.
        """
        ...

    def complete(self, event_id: str, result: str, /) -> Awaitable[None] | None:
        """Note that an event is done, and what came of it."""
        ...

    def release(self, event_id: str, /) -> Awaitable[None] | None:
        """Note that an event has failed: it may be begun again."""
        ...


def once(store: Store) -> Callable[[Function], Function]:
    """Make a function have its effect once for each event, however often and wherever the event comes.

    Use it as a decorator, or at the place of effect: `once(SqlStore(db))(place)(db, order)`. The event is that whose
    handler runs (`event_id`). What the function returned the first time is returned again; it is kept as JSON, so
    structs come back as dictionaries. A coroutine function takes any store, a plain one a store with plain methods.

    The function raises `EventInProgress` while another retry of the event runs elsewhere, and `LookupError` where there
    is no event id: register the handler with `dedup`. An event that raises is not acknowledged; its client sends it
    again. Where the function itself raises, the event is released, and no effect must be left: see each store.
    """

    def decorate(function: Function) -> Function:
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def run(*args: Any, **kwargs: Any) -> Any:
                name = current_event()
                stored = await settled(store.claim(name))
                if stored is not None:
                    return read(stored)
                try:
                    result = await function(*args, **kwargs)
                    text = write(result)
                except BaseException:
                    await settled(store.release(name))
                    raise
                await settled(store.complete(name, text))
                return result

            return cast("Function", run)

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            name = current_event()
            stored = plain(store.claim(name))
            if stored is not None:
                return read(stored)
            try:
                result = function(*args, **kwargs)
                if inspect.isawaitable(result):
                    raise TypeError("once: a plain function has returned an awaitable; decorate a coroutine function")
                text = write(result)
            except BaseException:
                plain(store.release(name))
                raise
            plain(store.complete(name, text))
            return result

        return cast("Function", call)

    return decorate


def current_event() -> str:
    """Return the id of the event whose handler runs."""
    name = event_id()
    if name is None:
        raise LookupError("there is no event id here: register the handler with dedup=telex.Dedup(...)")
    return name


async def settled(value: Any) -> Any:
    """Return what a store's method returns, whichever way."""
    return await value if inspect.isawaitable(value) else value


def plain(value: Any) -> Any:
    """Return what a store's plain method returns; raises `TypeError` for a coroutine function's."""
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise TypeError("once: this store must be awaited, so it is for coroutine functions only")
    return value


def write(result: Any) -> str:
    """Write a handler's result. Raises `TypeError` for what JSON cannot hold."""
    values = as_values(result)
    if contains_bytes(values):
        raise TypeError("once: a result with bytes cannot be kept")
    return _encode(values).decode()


def read(stored: str) -> Any:
    """Read what `write` wrote: a tuple where there were several values."""
    return from_values(_decode(stored))


PARAMETERS = {"qmark": "?, ?, ?", "format": "%s, %s, %s"}


class SqlStore:
    """Keep events in a table, by any connection of the DB-API (PEP 249) whose database knows `ON CONFLICT`.

    It neither commits nor rolls back: effect and event are one transaction, which is the caller's, so that both happen
    or neither. On an error the caller rolls back, and the claim goes with the effect. Such a call blocks; in a handler
    it belongs into a thread (`thread=True`).

    Args: `table` is a name without quotes, with its schema perhaps; `paramstyle` is the driver's: "qmark" (sqlite3)
    or "format" (psycopg). Raises `ValueError` for others.
    """

    def __init__(self, connection: Any, *, table: str = "telex_events", paramstyle: str = "qmark") -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?", table):
            raise ValueError(f"not the name of a table: {table!r}")
        if paramstyle not in PARAMETERS:
            raise ValueError(f"paramstyle must be one of {', '.join(PARAMETERS)}, not {paramstyle!r}")
        self._connection = connection
        three = PARAMETERS[paramstyle]
        first, second, _ = three.split(", ")
        # The table's name was checked above; everything else is a parameter.
        self._create = (
            f"CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY, result TEXT, made DOUBLE PRECISION NOT NULL)"
        )
        self._insert = f"INSERT INTO {table} (id, result, made) VALUES ({three}) ON CONFLICT (id) DO NOTHING"  # noqa: S608
        self._select = f"SELECT result FROM {table} WHERE id = {first}"  # noqa: S608
        self._update = f"UPDATE {table} SET result = {first} WHERE id = {second}"  # noqa: S608
        self._delete = f"DELETE FROM {table} WHERE made < {first}"  # noqa: S608

    def create(self) -> None:
        """Make the table, if there is none."""
        self._execute(self._create)

    def prune(self, age: float) -> int:
        """Forget events that were begun more than `age` seconds ago; return how many. Nothing else does."""
        return int(self._execute(self._delete, time() - age).rowcount)

    def claim(self, event_id: str, /) -> str | None:
        """Begin an event; see `Store`. Another transaction that has begun it is waited for, where the database does."""
        made = self._execute(self._insert, event_id, None, time())
        if made.rowcount == 1:
            return None
        row = self._execute(self._select, event_id).fetchone()
        if row is None or row[0] is None:
            raise EventInProgress(event_id)
        return str(row[0])

    def complete(self, event_id: str, result: str, /) -> None:
        """Note what came of an event, in the same transaction."""
        self._execute(self._update, result, event_id)

    def release(self, event_id: str, /) -> None:
        """Do nothing: the caller rolls back."""

    def _execute(self, statement: str, *values: Any) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(statement, values)
        return cursor


CLAIM = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return false end
return redis.call('GET', KEYS[1])
"""
COMPLETE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""
RUNNING, DONE = "?", "="


class RedisStore:
    """Keep events in Redis, by a client of redis-py: `redis.asyncio.Redis` for coroutine functions, else `redis.Redis`.

    An event that has begun is locked for `lease` seconds, so its function must take less: a process that dies holds it
    for no longer, and one that takes longer may see it done twice, of which a warning tells. A result is kept for
    `window` seconds. Redis and the effect are not one transaction: a crash right between the two repeats the effect.

    Raises `ValueError` for times that are not positive.
    """

    def __init__(
        self, client: Any, *, window: float = 86_400.0, lease: float = 60.0, prefix: str = "telex:once:"
    ) -> None:
        if not window > 0 or not lease > 0:
            raise ValueError(f"window and lease must be positive, not {window} and {lease}")
        self._client = client
        self._window = max(int(window * 1000), 1)
        self._lease = max(int(lease * 1000), 1)
        self._prefix = prefix
        self._tokens: dict[str, str] = {}  # of those that this store has begun

    def claim(self, event_id: str, /) -> Any:
        """Begin an event; see `Store`."""
        token = RUNNING + token_text(TOKEN_BYTES)

        def judge(found: Any) -> str | None:
            if found is None:
                self._tokens[event_id] = token
                return None
            text = found.decode() if isinstance(found, bytes) else str(found)
            if text.startswith(DONE):
                return text.removeprefix(DONE)
            raise EventInProgress(event_id)

        return then(self._client.eval(CLAIM, 1, self._prefix + event_id, token, self._lease), judge)

    def complete(self, event_id: str, result: str, /) -> Any:
        """Note what came of an event, if its lease still holds."""

        def judge(has_held: Any) -> None:
            if not has_held:
                logger.warning("an event took longer than RedisStore's lease of %g s: %s", self._lease / 1000, event_id)

        token = self._tokens.pop(event_id, RUNNING)
        key = self._prefix + event_id
        return then(self._client.eval(COMPLETE, 1, key, token, DONE + result, self._window), judge)

    def release(self, event_id: str, /) -> Any:
        """Let others begin an event."""
        token = self._tokens.pop(event_id, RUNNING)
        return then(self._client.eval(RELEASE, 1, self._prefix + event_id, token), lambda _: None)


def then(value: Any, function: Callable[[Any], Any]) -> Any:
    """Apply a function to what a client returns: at once, or once it is awaited."""
    if not inspect.isawaitable(value):
        return function(value)

    async def follow() -> Any:
        return function(await value)

    return follow()
