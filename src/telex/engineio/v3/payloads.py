"""Payloads of protocol v3: every packet has its length in front, and there is a binary form beside that of text.

Rule of this module: sans-I/O, and nothing but joining and splitting. Payloads are split lazily, and reading stops at
the bound, as in v4's.

**Shape** of the text form: `<length>:<packet>`, repeated. The length counts UTF-16 code units, since JavaScript wrote
it: "🙂" is 2. Bytes are `b4<base64>`.

**Shape** of the binary form: 0 for a text or 1 for bytes, the length in bytes as decimal digits of one byte each (0 to
9, no ASCII), 255, the packet, repeated. A text is plain UTF-8; bytes have their type, 4, in front.

Source: Engine.IO protocol v3, "Payload"; `engine.io-parser` 2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from telex.engineio.packets import Packet, PacketType, decode
from telex.engineio.v3.packets import BINARY_HEAD, from_wire, text_of
from telex.errors import EnginePacketError
from telex.types import Data

__all__ = ["decode_binary", "decode_text", "encode_binary", "encode_text"]

TEXT, BINARY, END_OF_LENGTH = 0, 1, 255

MAX_LENGTH_DIGITS = 10
"""Digits of a length: as many as any body's own length has, and few enough to be counted at once."""

TWO_UNITS = re.compile("[\U00010000-\U0010ffff]")
"""Characters that JavaScript counts as two."""


def encode_text(packets: Sequence[Packet]) -> str:
    """Write the text form."""
    texts = map(text_of, packets)
    return "".join([f"{count_units(text)}:{text}" for text in texts])


def encode_binary(packets: Sequence[Packet]) -> bytes:
    """Write the binary form."""
    parts: list[bytes] = []
    for packet in packets:
        is_text = isinstance(packet.wire, str)
        data = packet.wire.encode() if isinstance(packet.wire, str) else BINARY_HEAD + packet.wire
        digits = bytes(map(int, str(len(data))))
        parts += (bytes([TEXT if is_text else BINARY]), digits, bytes([END_OF_LENGTH]), data)
    return b"".join(parts)


def count_units(text: str) -> int:
    """Return the length that JavaScript sees."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2


def decode_text(text: str, max_packets: int) -> Iterator[tuple[PacketType, Data]]:
    """Yield the packets of a text form, one by one.

    Raises `EnginePacketError` at the first thing that is not a packet, or past `max_packets`
    (`Limits.max_packets_per_payload`); what was yielded before stays valid.
    """
    if TWO_UNITS.search(text) is None:
        yield from split(text, max_packets, lambda start, end: text[start:end])
        return
    # The lengths count units, so units are what is cut.
    units = text.encode("utf-16-le")
    ruler = TWO_UNITS.sub("..", text)  # where the lengths stand

    def cut(start: int, end: int) -> str:
        try:
            return units[2 * start : 2 * end].decode("utf-16-le")
        except UnicodeDecodeError as error:
            raise EnginePacketError("a length ends within a character") from error

    yield from split(ruler, max_packets, cut)


def split(text: str, max_packets: int, cut: Callable[[int, int], str]) -> Iterator[tuple[PacketType, Data]]:
    """Yield packets whose lengths stand in `text`, and which `cut` cuts out."""
    start = 0
    for _ in range(max_packets):
        colon = text.find(":", start, start + MAX_LENGTH_DIGITS + 1)
        length = read_length(text[start:colon]) if colon > 0 else 0
        start = colon + 1 + length
        if not length or start > len(text):
            raise EnginePacketError("a payload with a packet that has no length, or a wrong one")
        yield decode(from_wire(cut(colon + 1, start)))
        if start == len(text):
            return
    raise EnginePacketError(f"a payload has more than {max_packets} packets")


def read_length(digits: str) -> int:
    """Read ASCII digits without leading zeros; 0 for what is none."""
    return int(digits) if digits.isascii() and digits.isdecimal() and digits[0] != "0" else 0


def decode_binary(body: bytes, max_packets: int) -> Iterator[tuple[PacketType, Data]]:
    """Yield the packets of a binary form, one by one. Raises as `decode_text`."""
    start = 0
    for _ in range(max_packets):
        kind = body[start : start + 1]
        end = body.find(END_OF_LENGTH, start + 1, start + MAX_LENGTH_DIGITS + 2)
        digits = body[start + 1 : end] if end > 0 else b""
        if kind not in (b"\0", b"\1") or not digits or max(digits) > 9 or not digits[0]:  # noqa: PLR2004  # a digit
            raise EnginePacketError("a binary payload with a packet that has no type or no length")
        start = end + 1 + int("".join(map(str, digits)))
        if start > len(body):
            raise EnginePacketError("a binary payload ends within a packet")
        yield decode(from_wire(as_data(body[end + 1 : start], is_text=kind == b"\0")))
        if start == len(body):
            return
    raise EnginePacketError(f"a payload has more than {max_packets} packets")


def as_data(data: bytes, *, is_text: bool) -> Data:
    """Return a packet of a binary form as what it stands for."""
    if not is_text:
        return data
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise EnginePacketError("a payload is not valid UTF-8") from error
