"""Connect to a server: from a host and a port to a stream.

Rule of this module: addresses, TLS and which loop reads the stream; nothing of what is said on it.

Source: RFC 8305, happy eyeballs.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl as ssl_module
from dataclasses import dataclass
from typing import Any, cast

from telex.limits import Limits
from telex.streams import AsyncioStream, Stream, poll_of, take_descriptor
from telex.streams.base import StreamSink
from telex.websocket.handshake import Url

__all__ = ["Way", "dial"]

HAPPY_EYEBALLS_DELAY = 0.25
"""Seconds until the next address is tried beside the one that has not answered yet (RFC 8305 §5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Say how a program wants to get to a server.

    Attributes:
        ssl: Context for TLS; by default the server's certificate and name are verified.
        server_hostname: The name the certificate must be for, where it is not the URL's.
        sock: A connected socket to use, for example to a Unix path.
    """

    ssl: ssl_module.SSLContext | None = None
    server_hostname: str | None = None
    sock: socket.socket | None = None


async def dial(where: Url, sink: StreamSink, way: Way, limits: Limits, *, timeout: float) -> Stream:
    """Connect, and return the stream, which tells `sink` what comes.

    Args: `timeout` in seconds bounds the TLS handshake; the caller bounds the whole.
    Raises `OSError` (of which `ssl.SSLError` is one). **Cancellation**: the connection is cut.
    """
    loop = asyncio.get_running_loop()
    target: dict[str, Any] = {}
    if way.sock is not None:
        target["sock"] = way.sock
    else:
        target |= {"host": where.host, "port": where.port}
        if isinstance(loop, asyncio.BaseEventLoop):  # other loops do not know it
            target["happy_eyeballs_delay"] = HAPPY_EYEBALLS_DELAY
    if where.is_secure:
        target |= {
            "ssl": way.ssl or default_context(),
            "server_hostname": way.server_hostname or where.host,
            "ssl_handshake_timeout": timeout,
        }
    poll = None if where.is_secure else poll_of(loop)
    if poll is None:
        stream = AsyncioStream(sink, loop=loop, high_mark=limits.send_buffer_high)
        await loop.create_connection(lambda: stream, **target)
        return stream
    transport, _ = await loop.create_connection(_Handover, **target)
    descriptor = cast("int", take_descriptor(transport))  # nothing was written, and TLS does not come here
    try:
        return poll.adopt(descriptor, sink, high_mark=limits.send_buffer_high)
    except OSError:
        os.close(descriptor)
        raise


class _Handover(asyncio.Protocol):
    """Hold a transport that is about to be left; it is not to read what is not its own."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).pause_reading()


@functools.cache
def default_context() -> ssl_module.SSLContext:
    """Return the context by default: certificate and host name are verified. Making one is slow, so it is kept."""
    context = ssl_module.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
