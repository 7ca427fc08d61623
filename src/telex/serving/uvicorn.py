"""Run the WebSocket routes of any ASGI application on Telex's own floor 1, under uvicorn.

Use it with `uvicorn app:app --ws telex.serving.uvicorn:Protocol`; `telex run` does.

Rule of this module: it obeys the contract that uvicorn has with its protocol classes, which uvicorn does not document;
the rest is `conversation.py`'s. The class is built for one connection with `config`,
`server_state` and `app_state`; `connection_made` and `data_received`, with the request rebuilt, are called **before**
`transport.set_protocol`; it adds and removes itself in `server_state.connections`, keeps its task in
`server_state.tasks`, and offers `shutdown`. Default headers change every second and are read when needed.

Source: the ASGI specification, HTTP & WebSocket 2.5.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any, cast

from telex.limits import Limits
from telex.serving.conversation import NEVER, Conversation
from telex.streams import AsyncioStream, StreamSink

__all__ = ["SERVICE_RESTART", "Protocol", "limits_of"]

SERVICE_RESTART = 1012
"""The close code when the server stops, unless told otherwise: the client may come back."""


class _Nobody:
    """Be the sink of a stream that is lost."""

    def data_received(self, data: bytes) -> None:
        pass

    def eof_received(self) -> None:
        pass

    def connection_lost(self, error: Exception | None) -> None:
        pass

    def writing_resumed(self) -> None:
        pass


NOBODY = _Nobody()


class Protocol(AsyncioStream):
    """Be uvicorn's protocol for one connection that asks to become a WebSocket.

    A subclass may have another `close_code`, which connections are closed with when the server stops.
    """

    close_code = SERVICE_RESTART
    sink: StreamSink

    # `config` is uvicorn's `Config` and `server_state` its `ServerState`: classes it does not publish.
    def __init__(
        self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        if not config.loaded:
            config.load()
        limits = limits_of(config)
        super().__init__(NOBODY, loop=_loop, high_mark=limits.send_buffer_high)
        self._conversation: Conversation | None = Conversation(
            self, limits, config=config, state=server_state, app_state=app_state, close_code=self.close_code
        )
        self.sink = self._conversation
        self._server_state = server_state

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over from uvicorn's HTTP protocol."""
        self._server_state.connections.add(self)
        before = cast("asyncio.Transport", transport).get_protocol()
        super().connection_made(transport)
        # Its parser holds it, and it its parser: thousands of such pairs would wait for the garbage collector.
        self._loop.call_soon(setattr, before, "parser", None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let uvicorn forget the connection."""
        self._server_state.connections.discard(self)
        super().connection_lost(exc)
        self.sink, self._conversation = NOBODY, None  # which held this object

    def shutdown(self) -> None:
        """Close, for the server stops."""
        if self._conversation is not None:
            self._conversation.shutdown()


def limits_of(config: Any) -> Limits:
    """Return the bounds that uvicorn's `ws_*` settings mean."""
    return _limits(config.ws_max_size, config.ws_max_queue, config.ws_ping_interval or None, config.ws_ping_timeout)


@functools.lru_cache
def _limits(max_size: int, max_queue: int, ping_interval: float | None, ping_timeout: float | None) -> Limits:
    defaults = Limits()
    return Limits(
        max_message_size=max_size,
        max_fragments=max(defaults.max_fragments, max_size // 1024),
        recv_queue_high=max_queue,
        ping_interval=NEVER if ping_interval is None else ping_interval,
        ping_timeout=NEVER if ping_timeout is None else ping_timeout,
    )
