"""Accept an HTTP server's connections in the compiled loop, and let uvicorn have those that are plain HTTP.

Rule of this module: it looks at the first bytes of a connection and decides whose it is; it judges no request.

A WebSocket's opening handshake costs uvicorn a transport, a parser and a task, all thrown away a moment later. So here
connections are accepted by `Poll`. One whose first bytes are a whole request for a WebSocket begins its `Conversation`
with the application at once. Every other one is given, with the bytes it sent, to uvicorn's own protocol, on a
`HttpTransport`, and stays there: uvicorn then sees to that request, whatever it turns out to be. What uvicorn writes in
several pieces, such as a head and a body, leaves in one.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable
from typing import Any, cast

from telex.limits import Limits
from telex.serving.asgi import Server
from telex.serving.conversation import Conversation
from telex.serving.uvicorn import limits_of
from telex.streams import Deadline, Listening, Poll, Rota, Slot, Stream, deadlines_of

__all__ = ["Arrivals"]

HIGH_MARK = Limits().send_buffer_high
CLOSE_TIMEOUT = Limits().close_timeout

FIRST_BYTES_TIMEOUT = Limits().handshake_timeout
"""Seconds until a connection must have said something; an open one costs a descriptor."""

WEBSOCKET = re.compile(
    rb"GET (?=.*?\r\nupgrade:[ \t]*websocket[ \t]*\r\n)(?=.*?\r\nconnection:[^\r\n]*upgrade)", re.I | re.S
)


class Arrivals:
    """Accept the connections of one uvicorn server.

    Args: `make_http` makes uvicorn's protocol; `close_code` is what WebSockets are closed with when it stops;
    `is_eager` says that the application may be run without a task of its own, as ours can; `alone` is the application,
    where it is a server of ours with nothing around it.
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
        alone: Server | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._poll = poll
        self._make_http = make_http
        self._limits = limits_of(config)
        self._silent: Rota = deadlines_of(self._loop).rota(FIRST_BYTES_TIMEOUT)
        self._listening: list[Listening] = []
        self._state = state
        self._options = {
            "config": config,
            "state": state,
            "app_state": app_state,
            "close_code": close_code,
            "is_eager": is_eager,
            "alone": alone,
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
            os.close(descriptor)
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
        stream, protocol = arrival.stream, self._make_http()
        stream.sink = transport = HttpTransport(stream, protocol, self._loop)
        protocol.connection_made(transport)
        transport.data_received(data)


class HttpTransport(asyncio.Transport):
    """Be the transport of one of uvicorn's protocols on a stream, and the stream's sink.

    Closing it sends what waits, then the end, and gives the peer `close_timeout` to end, too (see `Stream.close`).
    """

    __slots__ = ("_deadline", "_is_full", "_loop", "_protocol", "_stream")

    def __init__(self, stream: Stream, protocol: asyncio.Protocol, loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._protocol: asyncio.Protocol | None = protocol
        self._loop = loop
        self._is_full = False  # and the protocol was told so
        self._deadline: Deadline | None = None

    # What the protocol calls.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, corked."""
        self._stream.write(bytes(data))
        if self._stream.buffered_bytes > HIGH_MARK and not self._is_full and self._protocol is not None:
            self._is_full = True
            self._protocol.pause_writing()

    def close(self) -> None:
        """Send what waits, and end."""
        self._stream.close()
        if self._deadline is None:
            self._deadline = deadlines_of(self._loop).at(self._loop.time() + CLOSE_TIMEOUT, self._stream.abort)

    def abort(self) -> None:
        """End at once."""
        self._stream.abort()

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._stream.is_closing

    def pause_reading(self) -> None:
        """Leave the peer's bytes in the socket."""
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._stream.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait."""
        return self._stream.buffered_bytes

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: the stream has its own."""

    def can_write_eof(self) -> bool:
        """Say no: the stream ends when it closes."""
        return False

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return cast("asyncio.BaseProtocol", self._protocol)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another protocol: uvicorn's, for a WebSocket whose request came in pieces."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the addresses; a socket object, which would be one more descriptor, is not made."""
        return default if name == "socket" else self._stream.get_extra_info(name, default)

    # What the stream calls.

    def data_received(self, data: bytes) -> None:
        """Pass input on (see `StreamSink`)."""
        if self._protocol is not None:
            self._protocol.data_received(data)

    def eof_received(self) -> None:
        """Pass the end of the input on (see `StreamSink`)."""
        if self._protocol is None or not self._protocol.eof_received():
            self.close()

    def writing_resumed(self) -> None:
        """Pass it on that there is room (see `StreamSink`)."""
        if self._is_full and self._protocol is not None:
            self._is_full = False
            self._protocol.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        """Pass the end on (see `StreamSink`)."""
        if self._deadline is not None:
            self._deadline.cancel()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(error)


class _Arrival:
    """Be the sink of a connection until it is known whose it is.

    It stays in uvicorn's set of connections until the connection is lost, or taken by a session.
    """

    __slots__ = ("__weakref__", "_arrivals", "_slot", "conversation", "stream")

    stream: Stream

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self._slot: Slot | None = None
        self.conversation: Conversation | None = None

    def data_received(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n")  # of the head; behind it there may be frames already
        if end >= 0 and WEBSOCKET.match(data, 0, end + 4):
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
