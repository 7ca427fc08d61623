"""The websocket transport: one packet per message.

Rule of this module: no I/O of its own. A `Channel` is what lies below, an ASGI connection or one of floor 1.

Source: Engine.IO protocol v4, "WebSocket".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from telex.engineio.fastpath import MessageReceiver
from telex.engineio.interfaces import CloseReason, SessionSink
from telex.engineio.packets import Packet, decode
from telex.engineio.sending import BufferedSender
from telex.errors import EnginePacketError
from telex.limits import Limits
from telex.types import Data, size_of

if TYPE_CHECKING:
    from telex.streams.base import Stream
    from telex.websocket.codec import Keys

__all__ = ["Channel", "WebSocketTransport"]

NORMAL_CLOSURE = 1000
PROTOCOL_ERROR = 1002
MESSAGE_TOO_BIG = 1009


class Channel(Protocol):
    """Carry messages: an open WebSocket, seen from above."""

    @property
    def buffered_bytes(self) -> int:
        """Bytes sent that have not left."""
        ...

    def send(self, message: Data, compress: bool) -> None:
        """Send one message."""
        ...

    def close(self, code: int, reason: str = "") -> None:
        """Send what waits, then the Close frame."""
        ...

    def abort(self, code: int) -> None:
        """End without waiting for the peer to take what waits."""
        ...

    def pause_reading(self) -> None:
        """Take nothing more from the peer until `resume_reading`."""
        ...

    def resume_reading(self) -> None:
        """Take from the peer again."""
        ...


class WebSocketTransport(MessageReceiver):
    """Carry packets over a channel; whoever drives the channel calls the methods named after what it hears."""

    __slots__ = ("_channel", "_is_closed", "_limits", "session")

    name = "websocket"
    session: BufferedSender  # set by who opens it, before the first message

    def __init__(self, channel: Channel, limits: Limits) -> None:
        self._channel = channel
        self._limits = limits
        self._is_closed = False
        self.direct: SessionSink | None = None
        self.plain: Stream | None = None
        self.keys: Keys | None = None

    # What the channel tells.

    def message_received(self, message: Data) -> None:
        """Take one message."""
        if size_of(message) > self._limits.max_payload:
            if not self._is_closed:
                self._end(MESSAGE_TOO_BIG, CloseReason.TRANSPORT_ERROR)
            return
        super().message_received(message)

    def _receive(self, message: Data) -> None:
        if self._is_closed:
            return
        try:
            kind, data = decode(message)
            self.session.receive(self, kind, data)
        except EnginePacketError:
            self._end(PROTOCOL_ERROR, CloseReason.PARSE_ERROR)

    def channel_closed(self, *, is_clean: bool = True) -> None:
        """Hear that the channel is gone."""
        if not self._is_closed:
            self._is_closed = True
            self.session.fail(self, CloseReason.TRANSPORT_CLOSE if is_clean else CloseReason.TRANSPORT_ERROR)

    def writing_resumed(self) -> None:
        """Hear that the channel has room again."""
        if not self._is_closed:
            self.session.flush()

    # What the session does.

    @property
    def is_writable(self) -> bool:
        """Whether packets handed over now leave at once."""
        return not self._is_closed and self._channel.buffered_bytes <= self._limits.send_buffer_high

    @property
    def buffered_bytes(self) -> int:
        """Bytes handed over that have not left."""
        return self._channel.buffered_bytes

    def offer(self, packets: Sequence[Packet]) -> int | None:
        """Send packets if there is room (see `Transport`)."""
        if not self.is_writable:
            return None
        self.send(packets)
        return self.buffered_bytes

    def send(self, packets: Sequence[Packet]) -> None:
        """Send each packet as one message."""
        for packet in packets:
            self._channel.send(packet.wire, packet.compress)

    def release(self) -> None:
        """Do nothing: no request waits here."""

    def close(self) -> None:
        """Send what waits, then the Close frame; `channel_closed` follows."""
        if not self._is_closed:
            self._close(NORMAL_CLOSURE)

    def discard(self) -> None:
        """End at once."""
        if not self._is_closed:
            self._is_closed = True
            self._channel.abort(NORMAL_CLOSURE)

    def pause_reading(self) -> None:
        """Take nothing more from the peer until `resume_reading`."""
        self._channel.pause_reading()

    def resume_reading(self) -> None:
        """Take from the peer again."""
        self._channel.resume_reading()

    def _close(self, code: int) -> None:
        self._channel.close(code)

    def _end(self, code: int, reason: CloseReason) -> None:
        self._is_closed = True
        self._close(code)
        self.session.fail(self, reason)
