"""Payloads of protocol v3: lengths in front, in UTF-16 code units or in bytes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.engineio.packets import Packet, PacketType, message
from telex.engineio.v3.payloads import decode_binary, decode_text, encode_binary, encode_text
from telex.errors import EnginePacketError
from telex.types import Data

MESSAGE, PING = PacketType.MESSAGE, PacketType.PING
MANY = 1024

FORMS: list[tuple[list[Packet], str, bytes]] = [
    ([Packet("2")], "1:2", b"\0\1\xff2"),
    ([message("hello"), message("€")], "6:4hello2:4€", b"\0\6\xff4hello\0\4\xff4\xe2\x82\xac"),
    (
        [message("🙂"), message("é"), Packet("2")],
        "3:4🙂2:4é1:2",
        b"\0\5\xff4\xf0\x9f\x99\x82\0\3\xff4\xc3\xa9\0\1\xff2",
    ),
    ([message(b"\1\2\3\4"), message("x")], "10:b4AQIDBA==2:4x", b"\1\5\xff\4\1\2\3\4\0\2\xff4x"),
    ([message("x" * 99)], "100:4" + "x" * 99, b"\0\1\0\0\xff4" + b"x" * 99),
    ([message(""), message(b"")], "1:42:b4", b"\0\1\xff4\1\1\xff\4"),
]


@pytest.mark.parametrize(("packets", "text", "binary"), FORMS)
def test_packets_have_their_lengths_in_front(packets: list[Packet], text: str, binary: bytes) -> None:
    assert encode_text(packets) == text
    assert encode_binary(packets) == binary


@pytest.mark.parametrize(("packets", "text", "binary"), FORMS)
def test_both_forms_are_read(packets: list[Packet], text: str, binary: bytes) -> None:
    expected = [
        (MESSAGE, packet.wire) if isinstance(packet.wire, bytes) else (PacketType(int(packet.wire[0])), packet.wire[1:])
        for packet in packets
    ]
    assert list(decode_text(text, MANY)) == expected
    assert list(decode_binary(binary, MANY)) == expected


def test_a_binary_form_may_hold_base64() -> None:
    assert list(decode_binary(b"\0\6\xffb4AQI=", MANY)) == [(MESSAGE, b"\1\2")]


BAD_TEXTS = [
    "",
    "2",
    ":2",
    "0:",
    "0:2",
    "01:2",
    "2:2",
    "1:22",
    "1:2x",
    "1:2:",
    "-1:2",
    "1.0:2",
    "1e0:2",
    " 1:2",
    "+1:2",
    "\u0661:2",
    "1:7",
    "1:x",
    "2:b2",
    "4:b4A=",
    "9" * 5000 + ":4",
    "99999999999:4",
    "4hello\x1e4world",
    "1:4🙂",
    "2:4🙂",  # within a character
    "3:4🙂2:4🙂",
]


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_what_is_no_text_form(text: str) -> None:
    with pytest.raises(EnginePacketError):
        list(decode_text(text, MANY))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"\0\1",
        b"\0\xff",
        b"\0\xff2",
        b"\0\0\xff",
        b"\0\0\1\xff2",
        b"\2\1\xff2",
        b"01\xff2",
        b"\0001\xff2",
        b"\0\x0a\xff2",
        b"\0\2\xff2",
        b"\0\1\xff22",
        b"\0\1\xff7",
        b"\0\2\xff4\xff",
        b"\1\2\xff42",
        b"\1\1\xff\2",
        b"\0" + b"\1" * 5000 + b"\xff2",
        b"\0" + b"\x09" * 11 + b"\xff2",
    ],
)
def test_what_is_no_binary_form(body: bytes) -> None:
    with pytest.raises(EnginePacketError):
        list(decode_binary(body, MANY))


@pytest.mark.parametrize(
    ("decode", "payload", "trailing"),
    [
        (decode_text, "4:4one", ["1", "1:", "x", "1:7", "5:4two"]),
        (decode_binary, b"\0\4\xff4one", [b"\0", b"\0\2\xff4"]),
    ],
)
def test_packets_before_a_bad_one_stand(
    decode: Callable[..., Iterator[tuple[PacketType, Data]]], payload: Data, trailing: list[Data]
) -> None:
    for rest in trailing:
        packets = decode(payload + rest, MANY)  # type: ignore[operator]  # both are texts, or both bytes
        assert next(packets) == (MESSAGE, "one")
        with pytest.raises(EnginePacketError):
            list(packets)


@pytest.mark.parametrize("n_packets", [1, 2, MANY])
def test_as_many_packets_as_the_bound(n_packets: int) -> None:
    assert len(list(decode_text("1:4" * n_packets, MANY))) == n_packets
    assert len(list(decode_binary(b"\0\1\xff4" * n_packets, MANY))) == n_packets


def test_one_packet_more_than_the_bound() -> None:
    for packets in (decode_text("1:4" * 4, 3), decode_binary(b"\0\1\xff4" * 4, 3)):
        assert [next(packets) for _ in range(3)] == [(MESSAGE, "")] * 3
        with pytest.raises(EnginePacketError, match="more than 3 packets"):
            next(packets)


@pytest.mark.parametrize("character", ["x", "é", "🙂"])
def test_a_flood_costs_no_more_than_it_weighs(character: str) -> None:
    flood = "1:4" * 100_000 + character
    tracemalloc.start()
    with pytest.raises(EnginePacketError, match="more than"):
        list(decode_text(flood, MANY))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(flood) * 2.5  # as text of four bytes each, and as units of two


@given(st.lists(st.one_of(st.text(), st.binary()), min_size=1, max_size=20))
def test_messages_survive(messages: list[Data]) -> None:
    packets = [message(data) for data in messages]
    expected = [(MESSAGE, data) for data in messages]
    assert list(decode_text(encode_text(packets), len(messages))) == expected
    assert list(decode_binary(encode_binary(packets), len(messages))) == expected


@given(st.one_of(st.text(), st.text("0123456789:b4🙂é", max_size=12)))
def test_any_text_is_packets_or_an_engine_packet_error(text: str) -> None:
    try:
        packets = list(decode_text(text, MANY))
    except EnginePacketError:
        return
    assert packets


@given(st.one_of(st.binary(), st.lists(st.sampled_from([0, 1, 2, 9, 52, 98, 255]), max_size=12).map(bytes)))
def test_any_bytes_are_packets_or_an_engine_packet_error(body: bytes) -> None:
    try:
        packets = list(decode_binary(body, MANY))
    except EnginePacketError:
        return
    assert packets
