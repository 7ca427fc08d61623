"""What every message runs through, in as few steps as can be: from a WebSocket to the floor above, and back.

Rule of this module: it decides nothing. Whatever is not a message that simply passes is left to the subclass, and so
is everything that a message has effects on. It is the specification of its compiled twin, `_messages.pyx`.

Source: Engine.IO protocol v4, "WebSocket": a message of text is the packet's type, "4", and the text; a message of
bytes is just these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from telex.engineio.packets import MESSAGE_TEXT, Packet
from telex.types import Data
from telex.websocket.codec import write_text

if TYPE_CHECKING:
    from telex.engineio.session import SessionSink, Transport
    from telex.streams.base import Stream
    from telex.websocket.codec import Keys

__all__ = ["MessageReceiver", "MessageSender"]


class MessageReceiver:
    """Receive as a transport.

    Attributes:
        direct: Who takes messages without more ado: set by the session while it has no say in them, else None.
        plain: The stream below, while packets may be written to it as frames; None for all that is not as simple.
        keys: What these frames are masked with: a client's. None for a server.
    """

    __slots__ = ("direct", "keys", "plain")

    direct: SessionSink | None
    plain: Stream | None
    keys: Keys | None

    def message_received(self, message: Data) -> None:
        """Take one WebSocket message."""
        direct = self.direct
        if direct is not None:
            if type(message) is bytes:
                direct.message_received(message)
                return
            if type(message) is str and message and message[0] == MESSAGE_TEXT:
                direct.message_received(message[1:])
                return
        self._receive(message)

    def _receive(self, message: Data) -> None:
        """Take what does not simply pass: the subclass's."""
        raise NotImplementedError


class MessageSender:
    """Send as a session.

    Attributes:
        is_clear: Whether a packet goes straight to the transport.
        transport: What carries the session.
        high_mark: Its `buffered_bytes` above which the peer lags (`Limits.send_buffer_high`).
    """

    __slots__ = ("high_mark", "is_clear", "transport")

    is_clear: bool
    transport: Transport
    high_mark: int

    def send_text(self, head: bytes, body: bytes) -> None:
        """Send one message of text, given in two parts of UTF-8: what `send` does, for the usual case.

        Args: `head` begins with the packet's type (`MESSAGE_TEXT`).
        **Limits**: as `send`.
        """
        transport = self.transport
        stream = transport.plain if self.is_clear else None
        if stream is None:
            self.send((Packet((head + body).decode()),))
            return
        buffered = write_text(stream, head, body, transport.keys)
        if buffered > self.high_mark:
            self._begin_lag(buffered)

    def send(self, packets: Sequence[Packet]) -> None:
        """Send packets (see `Session.send`): the subclass's."""
        raise NotImplementedError

    def _begin_lag(self, buffered: int) -> None:
        """Note that the peer has no room: the subclass's."""
        raise NotImplementedError
