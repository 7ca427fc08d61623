"""Engine.IO packets: one character of type, then data.

Rule of this module: sans-I/O, and nothing that depends on a session's state.

A packet travels in two forms. Over WebSocket, text is `<type><data>` and a binary message is the bare bytes, with no
type at all. Inside a long-polling payload everything is text, so a binary message is `b<base64>`.
A `Packet` is immutable and knows both forms, so a broadcast builds it once and hands the same object to every session.

Source: Engine.IO protocol v4, "Packet encoding".
"""

from __future__ import annotations

import binascii
from enum import IntEnum

import msgspec

from telex.errors import EnginePacketError
from telex.types import Data, size_of
from telex.websocket.codec import encode_frame
from telex.websocket.frames import Opcode

__all__ = [
    "CLOSE",
    "MESSAGE_TEXT",
    "NOOP",
    "PING",
    "PONG",
    "PROBE",
    "PROBE_ANSWER",
    "UPGRADE",
    "Packet",
    "PacketType",
    "decode",
    "decode_text",
    "message",
]


class PacketType(IntEnum):
    """Name the seven types; the value is the character on the wire."""

    OPEN = 0
    CLOSE = 1
    PING = 2
    PONG = 3
    MESSAGE = 4
    UPGRADE = 5
    NOOP = 6


MESSAGE_TEXT = str(int(PacketType.MESSAGE))
"""What a message of text begins with, for those who write many."""

TYPES = {str(int(kind)): kind for kind in PacketType}


class Packet(msgspec.Struct, gc=False, eq=False):
    """Hold one encoded packet.

    `wire` is the WebSocket form, `n_bytes` what it weighs in a buffer, `compress` whether it may be compressed.
    **Ownership**: bytes are kept by reference; whoever hands them in must not change them.
    """

    wire: Data
    compress: bool = True
    _base64: str | None = None  # once a polling client has asked for it
    frame: bytes | None = None  # that of a server which does not compress, once it was to go to many

    @property
    def n_bytes(self) -> int:
        """What it weighs in a buffer."""
        return size_of(self.wire)

    def text(self) -> str:
        """Return the form used inside a long-polling payload."""
        if isinstance(self.wire, str):
            return self.wire
        if self._base64 is None:  # many clients may be sent the same packet
            self._base64 = "b" + binascii.b2a_base64(self.wire, newline=False).decode("ascii")
        return self._base64

    def encode_for_many(self) -> None:
        """Encode the frame now, for it will be sent more than once."""
        if self.frame is None:
            wire = self.wire
            if isinstance(wire, str):
                self.frame = encode_frame(Opcode.TEXT, wire.encode())
            else:
                self.frame = encode_frame(Opcode.BINARY, wire)

    def __repr__(self) -> str:
        return f"Packet({self.wire!r})"


CLOSE = Packet("1")
PING = Packet("2")
PONG = Packet("3")
NOOP = Packet("6")
PROBE = Packet("2probe")
PROBE_ANSWER = Packet("3probe")
UPGRADE = Packet("5")
PING.encode_for_many()


def message(data: Data, compress: bool = True) -> Packet:
    """Make a message packet of text or bytes.

    A text that holds U+001E arrives as several packets where the client polls, since that character separates them and
    the protocol has no escape for it; JSON never holds one. Raises `ValueError` for a text with a lone surrogate.
    """
    if isinstance(data, str) and not data.isascii():
        data.encode()  # what cannot be sent is found out now, and not when some client polls
    return Packet(MESSAGE_TEXT + data if isinstance(data, str) else data, compress)


def decode(wire: Data) -> tuple[PacketType, Data]:
    """Read one packet in its WebSocket form.

    Raises `EnginePacketError` for an empty text or an unknown type.
    """
    if isinstance(wire, bytes):
        return PacketType.MESSAGE, wire
    kind = TYPES.get(wire[:1])
    if kind is None:
        raise EnginePacketError(f"unknown packet type {wire[:1]!r}")
    return kind, wire[1:]


def decode_text(text: str) -> tuple[PacketType, Data]:
    """Read one packet in its long-polling form.

    Base64 must be canonical: the standard alphabet, padded, no line breaks, no stray bits.
    Raises `EnginePacketError` as `decode` does, and for bad base64.
    """
    if not text.startswith("b"):
        return decode(text)
    encoded = text[1:]
    try:
        data = binascii.a2b_base64(encoded, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise EnginePacketError("a binary packet is not valid base64") from error
    if binascii.b2a_base64(data, newline=False).decode("ascii") != encoded:
        raise EnginePacketError("a binary packet is not canonical base64")
    return PacketType.MESSAGE, data
