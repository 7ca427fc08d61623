"""What every floor stands on: a stream of bytes, and the sink that hears from it.

Rule of this module: interfaces only. Floors above are written against `Stream` and never against a driver, so that
the asyncio driver, a native one and the fake wire of a test are interchangeable.

How a stream lives: the driver is made, is given its sink, and calls `data_received` any number of times,
`eof_received` at most once, and `connection_lost` exactly once, last. The sink may call the stream at any time,
from inside those calls too; after `connection_lost` every call is harmless and does nothing.
"""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Stream", "StreamSink"]


class StreamSink(Protocol):
    """Hear what happens to a stream. Plain calls on the loop's thread; none may block."""

    def data_received(self, data: bytes) -> None:
        """Take the next bytes. What is written to the same stream meanwhile leaves in one piece afterwards."""

    def eof_received(self) -> None:
        """Learn that the peer sends no more. The stream can still be written to; **Next**: close it in time."""

    def connection_lost(self, error: Exception | None) -> None:
        """Learn that the stream is gone; `error` is None after a regular end. Called exactly once, last."""

    def writing_resumed(self) -> None:
        """Learn that `buffered_bytes` fell to the low mark after having been over the high mark."""


class Stream(Protocol):
    """Move bytes to and from one peer.

    `sink` may be replaced at any time, for example when an opening handshake is over.
    """

    sink: StreamSink

    @property
    def buffered_bytes(self) -> int:
        """Bytes written and not yet taken by the operating system."""
        ...

    @property
    def sent_bytes(self) -> int:
        """Bytes that the operating system has taken, all in all."""
        ...

    @property
    def received_bytes(self) -> int:
        """Bytes received, all in all."""
        ...

    @property
    def acknowledged_bytes(self) -> int:
        """Bytes that have reached the peer, all in all: only that this grows shows that it still reads.

        The operating system may hold megabytes, and asks for more only when a good part of them is gone. Where it does
        not tell, this is `sent_bytes`.
        """
        ...

    @property
    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the stream is lost."""
        ...

    def write(self, data: bytes) -> None:
        """Send bytes, corked: they leave when the current batch of input is handled, else at the end of this turn.

        **Ownership**: kept by reference until sent, and never changed. Does nothing on a closing stream.
        """

    def pause_reading(self) -> None:
        """Stop taking bytes from the peer, so that it feels backpressure. Idempotent."""

    def resume_reading(self) -> None:
        """Take bytes again. Idempotent."""

    def close(self) -> None:
        """Send what is buffered, then the end of the stream; what still comes from the peer is dropped.

        **Next**: the caller keeps a deadline and calls `abort` when `connection_lost` has not come by then.
        """

    def abort(self) -> None:
        """Drop what is buffered and end at once; `connection_lost` comes soon after, not inside this call."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport knows: `peername`, `sockname`, `ssl_object`, `socket` and so on."""
