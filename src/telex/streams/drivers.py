"""Which driver moves a connection's bytes: the compiled loop where it can be had, else asyncio's transports.

Rule of this module: it chooses, and knows nothing of what either does. The compiled loop takes plain sockets by their
descriptor, on Linux, on any event loop that can watch one. TLS stays with asyncio.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, Protocol

from telex.native import load
from telex.streams.base import Stream, StreamSink

__all__ = ["USER_TIMEOUT_SECONDS", "Listening", "Poll", "poll_of", "take_descriptor"]


USER_TIMEOUT_SECONDS = 60
"""TCP gives a peer up that has acknowledged nothing of what it was sent for so long (RFC 5482). Without it the system
would try for a quarter of an hour. The heartbeats of the floors above are quicker wherever the peer is being read."""


class Listening(Protocol):
    """Accept connections until closed."""

    def close(self) -> None:
        """Accept no more. Idempotent."""


class Poll(Protocol):
    """Drive the streams of one event loop: `streams/_epoll.pyx`."""

    def adopt(self, fd: int, sink: StreamSink, *, high_mark: int) -> Stream:
        """Make a connected socket's descriptor a stream. Raises `OSError`, and it is still the caller's then."""
        ...

    def listen(self, fd: int, accepted: Callable[[int], None]) -> Listening:
        """Call `accepted` with the descriptor of each connection that comes to a listening socket."""
        ...

    def __len__(self) -> int:
        """Return how many streams are open."""
        ...


def poll_of(loop: asyncio.AbstractEventLoop) -> Poll | None:
    """Return the compiled loop of the running event loop; None where there is none."""
    compiled = load("epoll")
    if compiled is None:
        return None
    try:
        poll: Poll = compiled.poll_of(loop)
    except NotImplementedError:  # this event loop cannot watch a descriptor
        return None
    return poll


def take_descriptor(transport: asyncio.Transport) -> int | None:
    """Take a connection away from its transport: a descriptor that is the caller's now, or None where that cannot be.

    The transport ends, and tells its protocol so; the connection lives on. It must hold no output, and read nothing
    from now on. TLS cannot be taken, since its state is the transport's.
    """
    sock: Any = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("sslcontext") is not None or transport.get_write_buffer_size():
        return None
    descriptor = os.dup(sock.fileno())  # not inheritable, as `dup` in Python is
    transport.abort()
    return descriptor
