"""How the next event is sent to a server.

Rule of this module: flags, and what waits for an acknowledgement. Operators are immutable: each call returns a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from telex.errors import AckTimeout, Disconnected
from telex.socketio.acks import from_values
from telex.socketio.broadcast import DEFAULT_CALL_TIMEOUT, Sent
from telex.socketio.client.sender import USUAL, Flags
from telex.socketio.handlers import Handler, Job, call
from telex.streams.deadlines import Deadline, deadlines_of

if TYPE_CHECKING:
    from telex.socketio.client.socket import Client

__all__ = ["ClientOperator"]


class ClientOperator:
    """Hold how the next event is sent to the server."""

    __slots__ = ("_client", "_flags")

    def __init__(self, client: Client, flags: Flags = USUAL) -> None:
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
        """Bound how long `call` waits, or `callback` may be called; with `retries`, how long each try waits."""
        return ClientOperator(self._client, self._flags._replace(timeout=seconds))

    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> Sent:
        """Send an event, as `Client.emit` does."""
        if callback is None:
            self._client.ready_sender().emit(event, args, self._flags)
        else:
            self._ask_back(event, args, callback)
        return Sent(self._client)

    def send(self, *args: Any) -> Sent:
        """Send an event called "message", as `emit` does."""
        return self.emit("message", *args)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event and return its acknowledgement, as `Client.call` does."""
        client = self._client
        sender = client.ready_sender()
        if not client.active:
            raise Disconnected(client.absence)
        seconds = self._bound(timeout)
        done: asyncio.Future[list[Any] | None] = asyncio.get_running_loop().create_future()

        def answered(values: list[Any] | None) -> None:
            if not done.done():
                done.set_result(values)

        ack_id = sender.emit(event, args, self._flags, answered)
        if ack_id is None:
            raise AckTimeout(0)
        try:
            async with asyncio.timeout(seconds):
                values = await done
        except TimeoutError:
            raise AckTimeout(seconds or 0.0) from None
        finally:
            client.forget_ack(ack_id)
        if values is not None:
            return from_values(values)
        if client.wishes.retries and client.active:
            raise AckTimeout(self._bound_of_try())
        raise Disconnected(client.absence)

    def _bound(self, timeout: float | None) -> float | None:
        """Return how long `call` waits: None where the number of tries bounds it."""
        if timeout is not None:
            return timeout
        return None if self._client.wishes.retries and not self._flags.volatile else self._bound_of_try()

    def _bound_of_try(self) -> float:
        seconds = self._client.wishes.ack_timeout if self._flags.timeout is None else self._flags.timeout
        return DEFAULT_CALL_TIMEOUT if seconds is None else seconds

    def _ask_back(self, event: str, args: Sequence[Any], callback: Callable[..., Any]) -> None:
        client, seconds = self._client, self._flags.timeout
        alarm: Deadline | None = None

        def answered(values: list[Any] | None) -> None:
            if alarm is not None:
                alarm.cancel()
            if values is not None:
                call(Job(Handler(callback, f"the acknowledgement of {event}", 0, None, False), values))

        ack_id = client.ready_sender().emit(event, args, self._flags, answered)
        if ack_id is not None and seconds is not None and not client.wishes.retries:
            deadlines = deadlines_of(client.connection.loop)
            alarm = deadlines.at(deadlines.now() + seconds, partial(client.forget_ack, ack_id))
