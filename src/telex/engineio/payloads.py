"""Long-polling payloads: packets joined by the record separator.

Rule of this module: sans-I/O, and nothing but joining and splitting, at both ends: what a server writes a client reads.
A payload is split lazily, and reading stops at the bound: a body of a million separators costs as much as it may.

Source: Engine.IO protocol v4, "Payload encoding" (`0x1E` between packets, none at the end).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from telex.engineio.packets import Packet, PacketType, decode_text
from telex.errors import EnginePacketError
from telex.types import Data

__all__ = ["SEPARATOR", "decode", "encode", "measure", "split"]

SEPARATOR = "\x1e"


def encode(packets: Iterable[Packet]) -> bytes:
    """Join packets into the body of a poll's answer."""
    return SEPARATOR.join([packet.text() for packet in packets]).encode()


def measure(packet: Packet) -> int:
    """Return how many bytes a packet takes in a payload, with the separator that may follow it."""
    if isinstance(packet.wire, str):
        return packet.n_bytes + 1
    return 2 + (len(packet.wire) + 2) // 3 * 4  # "b" and base64


def split(packets: Iterable[Packet], max_bytes: float, max_packets: int) -> Iterator[Sequence[Packet]]:
    """Yield runs of packets that are one payload each: what a client sends must not be refused.

    A packet that is too large by itself is a run by itself.
    """
    run: list[Packet] = []
    n_bytes = 0
    for packet in packets:
        size = measure(packet)
        if run and (n_bytes + size - 1 > max_bytes or len(run) == max_packets):
            yield run
            run, n_bytes = [], 0
        run.append(packet)
        n_bytes += size
    if run:
        yield run


def decode(body: bytes, max_packets: int) -> Iterator[tuple[PacketType, Data]]:
    """Yield the packets of a POST's body, one by one.

    Raises `EnginePacketError` at the first thing that is not a packet, or past `max_packets`
    (`Limits.max_packets_per_payload`); what was yielded before stays valid.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise EnginePacketError("a payload is not valid UTF-8") from error
    start = 0
    for _ in range(max_packets):
        end = text.find(SEPARATOR, start)
        if end < 0:
            yield decode_text(text[start:])
            return
        yield decode_text(text[start:end])
        start = end + 1
    raise EnginePacketError(f"a payload has more than {max_packets} packets")
