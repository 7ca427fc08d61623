"""Packets: what each looks like on the wire, and every text that is none."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.engineio.packets import (
    CLOSE,
    NOOP,
    PING,
    PROBE_ANSWER,
    Packet,
    PacketType,
    decode,
    decode_text,
    message,
)
from telex.errors import EnginePacketError
from telex.types import Data, size_of

# Each packet: in a WebSocket message, in a payload, and what it says.
PACKETS: list[tuple[Data, str, PacketType, Data]] = [
    ('0{"sid":"x"}', '0{"sid":"x"}', PacketType.OPEN, '{"sid":"x"}'),
    ("1", "1", PacketType.CLOSE, ""),
    ("2", "2", PacketType.PING, ""),
    ("2probe", "2probe", PacketType.PING, "probe"),
    ("3", "3", PacketType.PONG, ""),
    ("3probe", "3probe", PacketType.PONG, "probe"),
    ("4", "4", PacketType.MESSAGE, ""),
    ("4hello", "4hello", PacketType.MESSAGE, "hello"),
    ("4b64", "4b64", PacketType.MESSAGE, "b64"),
    ("4€\U0001f600\0", "4€\U0001f600\0", PacketType.MESSAGE, "€\U0001f600\0"),
    (b"", "b", PacketType.MESSAGE, b""),
    (b"\x00", "bAA==", PacketType.MESSAGE, b"\x00"),
    (b"\x01\x02", "bAQI=", PacketType.MESSAGE, b"\x01\x02"),
    (b"\x01\x02\x03\x04", "bAQIDBA==", PacketType.MESSAGE, b"\x01\x02\x03\x04"),
    (b"\xfb\xff\xfe", "b+//+", PacketType.MESSAGE, b"\xfb\xff\xfe"),
    (b"4", "bNA==", PacketType.MESSAGE, b"4"),
    ("5", "5", PacketType.UPGRADE, ""),
    ("6", "6", PacketType.NOOP, ""),
]


@pytest.mark.parametrize(("wire", "text", "kind", "data"), PACKETS)
def test_both_forms(wire: Data, text: str, kind: PacketType, data: Data) -> None:
    packet = Packet(wire)
    assert packet.wire == wire
    assert packet.text() == text
    assert decode(wire) == (kind, data)
    assert decode_text(text) == (kind, data)


@pytest.mark.parametrize(
    ("packet", "wire"), [(CLOSE, "1"), (PING, "2"), (PROBE_ANSWER, "3probe"), (NOOP, "6")], ids=repr
)
def test_the_packets_that_are_always_the_same(packet: Packet, wire: str) -> None:
    assert packet.wire == wire


@pytest.mark.parametrize(("data", "wire"), [("", "4"), ("hi", "4hi"), (b"", b""), (b"hi", b"hi")])
def test_a_message_gets_its_type_unless_it_is_binary(data: Data, wire: Data) -> None:
    assert message(data).wire == wire
    assert message(data).compress
    assert not message(data, compress=False).compress


@pytest.mark.parametrize(("data", "size"), [("", 0), ("abc", 3), ("ä€\U0001f600", 9), (b"", 0), (b"\xff\x00", 2)])
def test_weight_is_counted_in_bytes(data: Data, size: int) -> None:
    assert size_of(data) == size
    assert Packet(data).n_bytes == size


def test_a_packet_keeps_the_bytes_it_was_given() -> None:
    data = b"large"
    assert message(data).wire is data


def test_a_packet_shows_what_it_holds() -> None:
    assert repr(Packet("2probe")) == "Packet('2probe')"


def test_half_a_character_is_the_program_s_mistake() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        message("\ud800")


# No type: empty (E14), unknown (E14), base64 where the wire is binary (E42), digits of other scripts (R06).
@pytest.mark.parametrize("text", ["", "7", "8", "9", "abc", "bAAAA", " 4", "\x1e", "\n2", "²", "٣", "-1", "B"])
def test_e14_e42_what_is_no_packet(text: str) -> None:
    with pytest.raises(EnginePacketError, match="unknown packet type"):
        decode(text)


@pytest.mark.parametrize(
    "text",
    [
        "bA",  # E17: not four characters
        "bAA",
        "bAAA",
        "bAA=",
        "bAQI",
        "b=",
        "b====",
        "bAA==AA==",  # padding in the middle
        "bAA===",
        "bAAAA=",
        "bAA==\n",  # line breaks and blanks
        "bAAAA\r\nAAAA",
        "b AAAA",
        "bAQJ=",  # stray bits behind the last byte
        "bAR==",
        "b-_-_",  # the other alphabet
        "b*AAA",
        "bÄÄÄÄ",
        "b\0AAA",
    ],
)
def test_e17_what_is_no_canonical_base64(text: str) -> None:
    with pytest.raises(EnginePacketError, match="base64"):
        decode_text(text)


@pytest.mark.parametrize("text", ["", "7", "B", "\x1e"])
def test_a_payload_knows_the_same_types(text: str) -> None:
    with pytest.raises(EnginePacketError, match="unknown packet type"):
        decode_text(text)


@given(st.one_of(st.text(), st.binary()))
def test_messages_survive_both_forms(data: Data) -> None:
    packet = message(data)
    assert decode(packet.wire) == (PacketType.MESSAGE, data)
    assert decode_text(packet.text()) == (PacketType.MESSAGE, data)


def test_a_packet_for_many_is_encoded_once() -> None:
    packet = message(b"x" * 1000)
    assert packet.text() is packet.text()


@pytest.mark.parametrize(
    ("data", "frame"), [("h\u00e9", b"\x81\x044h\xc3\xa9"), (b"\xff", b"\x82\x01\xff"), ("", b"\x81\x014")]
)
def test_the_frame_of_a_packet_for_many_is_encoded_once(data: Data, frame: bytes) -> None:
    packet = message(data)
    assert packet.frame is None
    packet.encode_for_many()
    encoded = packet.frame
    assert encoded == frame
    packet.encode_for_many()
    assert packet.frame is encoded


@given(st.text())
def test_a_text_is_a_packet_or_an_engine_packet_error(text: str) -> None:
    for read in (decode, decode_text):
        try:
            kind, data = read(text)
        except EnginePacketError:
            continue
        # What is read is written again as it was.
        assert (Packet(data).text() if isinstance(data, bytes) else f"{int(kind)}{data}") == text


@given(st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=", max_size=12))
def test_base64_has_one_spelling(encoded: str) -> None:
    try:
        _, data = decode_text("b" + encoded)
    except EnginePacketError:
        return
    assert isinstance(data, bytes)
    assert base64.b64encode(data).decode() == encoded
