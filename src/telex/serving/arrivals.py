"""Accept an HTTP server's connections in the compiled loop, and let uvicorn have those that are plain HTTP.

Rule of this module: it looks at the first bytes of a connection and decides whose it is; it judges no request.

A WebSocket's opening handshake costs uvicorn a transport, a parser and a task, all thrown away a moment later. So here
connections are accepted by `Poll`. One whose first bytes are a whole request for a WebSocket begins its `Conversation`
with the application at once; every other one is given, with the bytes it sent, to uvicorn's own protocol on an
ordinary transport, and stays there: uvicorn then sees to that request, whatever it turns out to be.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from typing import Any

from telex.limits import Limits
from telex.serving.conversation import Conversation
from telex.serving.uvicorn import limits_of
from telex.streams import Listening, Poll, Rota, deadlines_of

__all__ = ["Arrivals"]

FIRST_BYTES_TIMEOUT = Limits().handshake_timeout
"""Seconds until a connection must have said something; an open one costs a descriptor."""

WEBSOCKET = re.compile(
    rb"GET (?=.*?\r\nupgrade:[ \t]*websocket[ \t]*\r\n)(?=.*?\r\nconnection:[^\r\n]*upgrade)", re.I | re.S
)


class Arrivals:
    """Accept the connections of one uvicorn server.

    Args: `make_http` makes uvicorn's protocol; `close_code` is what WebSockets are closed with when it stops; `is_eager`
    says that the application may be run without a task of its own, as ours can.
    """

    def __init__(
        self,
        poll: Poll,
        make_http: Callable[[], asyncio.Protocol],
        *,
        config: Any,
        state: Any,
        app_state: dict[str, Any],
        close_code: int,
        is_eager: bool,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._poll = poll
        self._make_http = make_http
        self._limits = limits_of(config)
        self._silent: Rota = deadlines_of(self._loop).rota(FIRST_BYTES_TIMEOUT)
        self._handing_over: set[asyncio.Task[Any]] = set()
        self._listening: list[Listening] = []
        self._state = state
        self._options = {
            "config": config,
            "state": state,
            "app_state": app_state,
            "close_code": close_code,
            "is_eager": is_eager,
        }

    def listen(self, descriptor: int) -> None:
        """Accept from a socket that is listening; it stays the caller's."""
        self._listening.append(self._poll.listen(descriptor, self._accept))

    def close(self) -> None:
        """Accept no more. Idempotent."""
        for listening in self._listening:
            listening.close()

    def _accept(self, descriptor: int) -> None:
        arrival = _Arrival(self)
        try:
            arrival.stream = self._poll.adopt(descriptor, arrival, high_mark=self._limits.send_buffer_high)
        except OSError:
            socket.close(descriptor)
            raise
        self._silent.put(arrival)
        self._state.connections.add(arrival)

    def forget(self, arrival: _Arrival) -> None:
        """Let a connection go that is somebody else's now, or lost."""
        self._silent.discard(arrival)
        self._state.connections.discard(arrival)

    def converse(self, arrival: _Arrival, data: bytes) -> None:
        """Begin a WebSocket's conversation with the application."""
        self._silent.discard(arrival)
        arrival.conversation = conversation = Conversation(
            arrival.stream, self._limits, left=arrival.leave, **self._options
        )
        arrival.stream.sink = conversation
        conversation.data_received(data)

    def hand_over(self, arrival: _Arrival, data: bytes) -> None:
        """Give a connection, with what it has sent, to uvicorn."""
        self.forget(arrival)
        sock = socket.socket(fileno=arrival.stream.detach())
        protocol = self._make_http()
        connection_made = protocol.connection_made

        def begin(transport: asyncio.BaseTransport) -> None:
            connection_made(transport)
            protocol.data_received(data)  # before the transport reads more

        protocol.connection_made = begin  # type: ignore[method-assign]
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: protocol, sock))
        self._handing_over.add(task)
        task.add_done_callback(self._handing_over.discard)


class _Arrival:
    """Be the sink of a connection until it is known whose it is, and in uvicorn's set of connections until it is lost."""

    __slots__ = ("__weakref__", "_arrivals", "conversation", "stream")

    stream: Any  # a `Stream` of the compiled loop, which can also be detached

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self.conversation: Conversation | None = None

    def data_received(self, data: bytes) -> None:
        if data[-4:] == b"\r\n\r\n" and WEBSOCKET.match(data):
            self._arrivals.converse(self, data)
        else:
            self._arrivals.hand_over(self, data)

    def eof_received(self) -> None:
        self.stream.close()

    def writing_resumed(self) -> None:
        pass

    def connection_lost(self, error: Exception | None) -> None:
        self.leave()

    def leave(self) -> None:
        """Be counted no longer: the connection is lost, or a session's."""
        self.conversation = None
        self._arrivals.forget(self)

    def beat(self) -> None:
        """Give up a peer that has said nothing (see `Rota`)."""
        self.stream.abort()

    def shutdown(self) -> None:
        """Close, for the server stops: what uvicorn asks of each of its connections."""
        if self.conversation is not None:
            self.conversation.shutdown()
        else:
            self.stream.abort()
