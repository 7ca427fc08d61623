"""Packets in the forms of protocol v3: binary ones have a type, and may be base64 over WebSocket too.

Rule of this module: sans-I/O. A packet that is text is the same in both protocols, so only bytes are translated, on
their way out and on their way in.

| | v4 | v3 |
|---|---|---|
| binary over WebSocket | the bytes | 0x04, the bytes |
| binary as text | `b<base64>` | `b4<base64>`, in payloads and, for a client that asked for `b64=1`, over WebSocket |

Only messages are ever binary.

Source: Engine.IO protocol v3, "Encoding".
"""

from __future__ import annotations

from telex.engineio.packets import MESSAGE_TEXT, Packet, PacketType, decode_text
from telex.errors import EnginePacketError
from telex.types import Data

__all__ = ["BINARY_HEAD", "from_wire", "text_of", "to_wire"]

BINARY_HEAD = bytes([PacketType.MESSAGE])
"""What binary data begins with: the packet's type, as a byte."""

BASE64_HEAD = "b" + MESSAGE_TEXT
"""What binary data as text begins with."""


def text_of(packet: Packet) -> str:
    """Return the form that is text."""
    text = packet.text()
    return text if isinstance(packet.wire, str) else BASE64_HEAD + text[1:]


def to_wire(packet: Packet, *, takes_binary: bool) -> Packet:
    """Return a packet whose WebSocket form is that of v3: itself, where it is text.

    **Ownership**: bytes are copied, once for each client that it goes to.
    """
    wire = packet.wire
    if isinstance(wire, str):
        return packet
    return Packet(BINARY_HEAD + wire if takes_binary else text_of(packet), packet.compress)


def from_wire(wire: Data) -> Data:
    """Turn a WebSocket message of v3 into what v4 would have sent.

    Raises `EnginePacketError` for binary data that is no message.
    """
    if isinstance(wire, str):
        return wire if wire[:1] != "b" else from_base64(wire)
    if wire[:1] != BINARY_HEAD:
        raise EnginePacketError("a binary packet that is no message")
    return wire[1:]


def from_base64(text: str) -> Data:
    """Read `b4<base64>`. Raises `EnginePacketError` as `packets.decode_text`, and for another type than a message."""
    if not text.startswith(BASE64_HEAD):
        raise EnginePacketError("a binary packet that is no message")
    return decode_text("b" + text[len(BASE64_HEAD) :])[1]
