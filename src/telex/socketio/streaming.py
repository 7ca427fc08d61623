"""Streams of events: what a handler that is an async generator yields, an event each, to the client that asked.

Rule of this module: a stream is never further ahead of its client than its window, and never outlives it.

Theory of operation. The client calls such a handler like any other, with an acknowledgement, and is answered with the
stream's id, or with an error. Each item is an event `telex:stream` with the id, "next" and the value, and asks for an
acknowledgement, which the client sends when it has taken the item: that is all the backpressure there is, and needs no
packet of its own. With `Limits.stream_window` of them open the generator is not asked for more. "end", or "error" with
a text, comes last. A client that wants no more says `telex:stop` with the id; the generator is then cancelled, as it is
when the client leaves. All of this is plain events, so that any client can do it (docs/streams.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from telex.errors import StreamError
from telex.limits import Limits
from telex.socketio.backlog import SlowConsumers
from telex.socketio.broadcast import Flags
from telex.socketio.handlers import is_being_cancelled
from telex.socketio.socket import SocketOperator

if TYPE_CHECKING:
    from telex.socketio.handlers import Handler
    from telex.socketio.socket import Socket

__all__ = ["ITEM_EVENT", "STOP_EVENT", "Streams"]

logger = logging.getLogger("telex.socketio")

ITEM_EVENT = "telex:stream"
STOP_EVENT = "telex:stop"

INTERNAL_ERROR = "Internal server error"
"""What a client hears of a generator that failed: nothing of why."""

UNDROPPABLE = Flags(policy=SlowConsumers.CLOSE)


class Streams:
    """Hold the open streams of a namespace."""

    __slots__ = ("_ids", "_limits", "_open")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._ids = count(1)
        self._open: dict[Socket, dict[str, Stream]] = {}  # only of sockets that have any

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def count_of(self, socket: Socket) -> int:
        """Return how many streams a socket has."""
        return len(self._open.get(socket, ()))

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """What is done when its streams are."""
        return {stream.task for streams in self._open.values() for stream in streams.values()}

    def opening(self, handler: Handler) -> Handler:
        """Return the handler that begins a stream, in its turn among the socket's events."""
        return replace(handler, function=partial(self.open, handler), is_async=False, is_concurrent=False)

    def open(self, handler: Handler, socket: Socket, *args: Any) -> dict[str, str]:
        """Begin a stream, and return what its caller is answered: the id or an error.

        Its first item is sent in a later turn of the loop, after that answer.
        """
        if not socket.connected:
            return {"error": "disconnected"}
        own = self._open.setdefault(socket, {})
        if len(own) >= self._limits.max_streams_per_socket:
            return {"error": "too many streams"}
        stream_id = str(next(self._ids))
        items = handler.function(socket, *args)
        own[stream_id] = stream = Stream(stream_id, handler.name, items, socket, self._limits)
        stream.task.add_done_callback(lambda _: self._forget(socket, stream_id))
        return {"stream": stream_id}

    def stop(self, socket: Socket, stream_id: Any) -> None:
        """End a stream because its client says so; one that it does not have is none of its business."""
        if isinstance(stream_id, str):
            stream = self._open.get(socket, {}).get(stream_id)
            if stream is not None:
                stream.stop()

    def close(self, socket: Socket) -> None:
        """End all streams of a socket that has left."""
        for stream in self._open.get(socket, {}).values():
            stream.stop()

    def _forget(self, socket: Socket, stream_id: str) -> None:
        own = self._open[socket]
        del own[stream_id]
        if not own:
            del self._open[socket]


class Stream:
    """Send what a generator yields, as fast as the client takes it. Its life is its task's."""

    __slots__ = (
        "_id",
        "_is_stopped",
        "_items",
        "_limits",
        "_name",
        "_operator",
        "_socket",
        "_taken",
        "_untaken",
        "task",
    )

    def __init__(
        self, stream_id: str, name: str, items: AsyncGenerator[Any, None], socket: Socket, limits: Limits
    ) -> None:
        self._id = stream_id
        self._name = name
        self._items = items
        self._socket = socket
        self._operator = SocketOperator(socket, UNDROPPABLE)
        self._limits = limits
        self._untaken: set[int] = set()  # acknowledgement ids of items that were sent
        self._taken: asyncio.Future[None] | None = None  # while the window is full
        self._is_stopped = False
        self.task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Cancel the generator; nothing more is sent."""
        if not self._is_stopped:
            self._is_stopped = True
            self.task.cancel()

    async def _run(self) -> None:
        await asyncio.sleep(0)  # the answer with the id goes first, whatever the loop's way to begin tasks
        try:
            async with aclosing(self._items) as items:
                async for item in items:
                    if self._is_stopped:  # it would not be cancelled
                        break
                    self._send(item)
                    await self._wait_for_client()
            self._end("end")
        except StreamError as error:
            self._end("error", error.message)
        except asyncio.CancelledError:
            if is_being_cancelled():
                raise
            logger.warning("the handler for %r cancelled itself", self._name)
            self._end("error", INTERNAL_ERROR)
        except Exception:
            logger.exception("the handler for %r failed", self._name)
            self._end("error", INTERNAL_ERROR)
        finally:
            for ack_id in self._untaken:
                self._socket.forget_ack(ack_id)

    def _send(self, item: Any) -> None:
        def take(_: Any) -> None:
            self._untaken.discard(ack_id)
            if self._taken is not None and not self._taken.done():
                self._taken.set_result(None)

        ack_id, is_sent = self._operator.ask(ITEM_EVENT, (self._id, "next", item), take)
        if is_sent:
            self._untaken.add(ack_id)

    async def _wait_for_client(self) -> None:
        """Wait until the client may be sent the next item. Raises `StreamError` when it takes none for too long."""
        await self._socket.wait_room()
        while len(self._untaken) >= self._limits.stream_window:
            self._taken = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(self._limits.stream_timeout):
                    await self._taken
            except TimeoutError:
                if not self._socket.connection.is_paused:  # else it may lie unread: that we lag is not its fault
                    raise StreamError("no item was taken in time") from None

    def _end(self, *last: str) -> None:
        """Tell the client how it ended, unless that does not want to know."""
        if not self._is_stopped:
            self._operator.emit(ITEM_EVENT, self._id, *last)
