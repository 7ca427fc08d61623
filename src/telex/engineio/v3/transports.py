"""The transports of protocol v3: those of v4, with the other forms of packets and payloads.

Rule of this module: it translates on the way in and on the way out, and leaves all else to v4's transports. Nothing
takes the fast path here: `plain` is None, and every message passes `message_received`.

Source: Engine.IO protocol v3, "Transports".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from telex.engineio.handshake import Request
from telex.engineio.packets import Packet, PacketType
from telex.engineio.session import CloseReason
from telex.engineio.transports.polling import BINARY_TYPE, TEXT_TYPE, PollingTransport
from telex.engineio.transports.stream import StreamTransport
from telex.engineio.transports.websocket import PROTOCOL_ERROR, WebSocketTransport
from telex.engineio.v3 import jsonp, payloads
from telex.engineio.v3.packets import from_wire, to_wire
from telex.errors import EnginePacketError
from telex.types import Data

__all__ = [
    "Base64PollingTransport",
    "Base64StreamTransport",
    "Base64WebSocketTransport",
    "JsonpTransport",
    "PollingTransportV3",
    "StreamTransportV3",
    "WebSocketTransportV3",
]


class PollingTransportV3(PollingTransport):
    """Carry payloads of v3. The binary form is used only for what holds bytes, as the original does."""

    refused_type: ClassVar[str | None] = None
    takes_binary: ClassVar[bool] = True

    def _encode(self, packets: Sequence[Packet], request: Request) -> tuple[str, bytes]:
        if self.takes_binary and any(isinstance(packet.wire, bytes) for packet in packets):
            return BINARY_TYPE, payloads.encode_binary(packets)
        return TEXT_TYPE, payloads.encode_text(packets).encode()

    def _decode(self, body: bytes, media_type: str) -> Iterator[tuple[PacketType, Data]]:
        most = self._limits.max_packets_per_payload
        if media_type == BINARY_TYPE:
            return payloads.decode_binary(body, most)
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise EnginePacketError("a payload is not valid UTF-8") from error
        return payloads.decode_text(text, most)


class Base64PollingTransport(PollingTransportV3):
    """Send nothing but text, to a client that asked for it (`b64=1`)."""

    takes_binary: ClassVar[bool] = False


class JsonpTransport(Base64PollingTransport):
    """Carry payloads of text as scripts and forms."""

    def _encode(self, packets: Sequence[Packet], request: Request) -> tuple[str, bytes]:
        index = request.query.get("j", "0")  # the page's own number, of which it sends the same with every poll
        return jsonp.MEDIA_TYPE, jsonp.wrap(payloads.encode_text(packets), index)

    def _decode(self, body: bytes, media_type: str) -> Iterator[tuple[PacketType, Data]]:
        return payloads.decode_text(jsonp.unwrap(body), self._limits.max_packets_per_payload)


if TYPE_CHECKING:
    Translated = WebSocketTransport
else:
    Translated = object  # each class below brings the one it is laid over


class Translation(Translated):
    """Translate the packets of a websocket transport."""

    __slots__ = ()

    takes_binary: ClassVar[bool] = True

    def message_received(self, message: Data) -> None:
        """Take one message."""
        if self._is_closed:
            return
        try:
            message = from_wire(message)
        except EnginePacketError:
            self._end(PROTOCOL_ERROR, CloseReason.PARSE_ERROR)
        else:
            super().message_received(message)

    def send(self, packets: Sequence[Packet]) -> None:
        """Send each packet as one message."""
        super().send([to_wire(packet, takes_binary=self.takes_binary) for packet in packets])


class WebSocketTransportV3(Translation, WebSocketTransport):
    """Carry packets of v3 over a channel."""

    __slots__ = ()


class StreamTransportV3(Translation, StreamTransport):
    """Carry packets of v3 straight on a stream."""

    __slots__ = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.plain = None  # packets are not written as they are


class Base64WebSocketTransport(WebSocketTransportV3):
    """Send nothing but text, to a client that asked for it (`b64=1`)."""

    __slots__ = ()

    takes_binary: ClassVar[bool] = False


class Base64StreamTransport(StreamTransportV3):
    """Send nothing but text, to a client that asked for it (`b64=1`)."""

    __slots__ = ()

    takes_binary: ClassVar[bool] = False
