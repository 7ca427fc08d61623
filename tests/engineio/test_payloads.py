"""Payloads: packets joined and split, whole and with anything around them."""

from __future__ import annotations

import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.engineio.packets import Packet, PacketType, message
from telex.engineio.payloads import SEPARATOR, decode, encode, split
from telex.errors import EnginePacketError
from telex.types import Data

MESSAGE = PacketType.MESSAGE
MANY = 1024


@pytest.mark.parametrize(
    ("packets", "payload"),
    [
        ([Packet("2")], b"2"),
        ([message("hello"), message("€")], b"4hello\x1e4\xe2\x82\xac"),
        ([message("hello"), Packet("2"), message("world")], b"4hello\x1e2\x1e4world"),
        ([message("hello"), message(b"\x01\x02\x03\x04")], b"4hello\x1ebAQIDBA=="),
        ([message(""), message(b"")], b"4\x1eb"),
    ],
)
def test_packets_are_joined_without_a_trailing_separator(packets: list[Packet], payload: bytes) -> None:
    assert encode(packets) == payload


def test_nothing_is_an_empty_payload() -> None:
    assert encode([]) == b""


@pytest.mark.parametrize(
    ("payload", "packets"),
    [
        (b"4", [(MESSAGE, "")]),
        (b"4hello\x1e2\x1e4world", [(MESSAGE, "hello"), (PacketType.PING, ""), (MESSAGE, "world")]),
        (b"4\xe2\x82\xac\x1ebAQIDBA==\x1eb", [(MESSAGE, "€"), (MESSAGE, b"\1\2\3\4"), (MESSAGE, b"")]),
    ],
)
def test_a_payload_is_read_whole(payload: bytes, packets: list[tuple[PacketType, Data]]) -> None:
    assert list(decode(payload, MANY)) == packets


@pytest.mark.parametrize("trailing", [b"\x1e", b"\x1e\x1e", b"\x1e7", b"\x1ex", b"\x1e4a\x1e", b"\x1ebA"])
def test_e14_packets_before_a_bad_one_stand(trailing: bytes) -> None:
    packets = decode(b"4one" + trailing, MANY)
    assert next(packets) == (MESSAGE, "one")
    with pytest.raises(EnginePacketError):
        list(packets)


@pytest.mark.parametrize("payload", [b"", b"abc", b"7", b"9", b"\x1e", b"\x1e4a", b"4a\x1e\x1e4b", b"b!", b"\n4"])
def test_e14_what_is_no_payload(payload: bytes) -> None:
    with pytest.raises(EnginePacketError):
        list(decode(payload, MANY))


@pytest.mark.parametrize("payload", [b"\xff", b"4\xe2\x82", b"4\xc0\x80", b"4\xed\xa0\x80", b"4ok\x1e4\xf8"])
def test_invalid_utf_8_spoils_the_whole_payload(payload: bytes) -> None:
    with pytest.raises(EnginePacketError, match="UTF-8"):
        next(decode(payload, MANY))


@pytest.mark.parametrize("n_packets", [1, 2, MANY - 1, MANY])
def test_e16_as_many_packets_as_the_bound(n_packets: int) -> None:
    assert len(list(decode(SEPARATOR.join(["4"] * n_packets).encode(), MANY))) == n_packets


def test_e15_one_packet_more_than_the_bound() -> None:
    packets = decode(SEPARATOR.join(["4"] * 4).encode(), 3)
    assert [next(packets) for _ in range(3)] == [(MESSAGE, "")] * 3
    with pytest.raises(EnginePacketError, match="more than 3 packets"):
        next(packets)


def test_e15_a_million_separators_cost_no_more_than_they_weigh() -> None:
    flood = b"4" + b"\x1e4" * 1_000_000
    tracemalloc.start()
    with pytest.raises(EnginePacketError):
        for _ in decode(flood, MANY):
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(flood) * 1.1  # the text, and nothing per packet


@given(st.lists(st.one_of(st.text().filter(lambda text: SEPARATOR not in text), st.binary()), min_size=1, max_size=20))
def test_messages_survive(messages: list[Data]) -> None:
    payload = encode([message(data) for data in messages])
    assert list(decode(payload, len(messages))) == [(MESSAGE, data) for data in messages]


@given(st.binary(max_size=40))
def test_any_bytes_are_packets_or_an_engine_packet_error(body: bytes) -> None:
    try:
        packets = list(decode(body, MANY))
    except EnginePacketError:
        return
    assert len(packets) == body.count(b"\x1e") + 1


def test_a_payload_is_split_by_bytes_and_by_packets() -> None:
    packets = [message(text) for text in ("a", "bc", "\u00e9", "x" * 30, "d")]

    def payloads(max_bytes: float, max_packets: int) -> list[bytes]:
        return [encode(run) for run in split(packets, max_bytes, max_packets)]

    whole = encode(packets)
    assert payloads(math.inf, 5) == [whole]
    assert payloads(len(whole), 9) == [whole]
    assert [len(run.split(b"\x1e")) for run in payloads(math.inf, 2)] == [2, 2, 1]
    assert [run.count(b"4") for run in payloads(6, 9)] == [2, 1, 1, 1]  # the large one is alone
    assert payloads(1, 9) == [encode([packet]) for packet in packets]
    assert b"\x1e".join(payloads(6, 2)) == whole
    assert list(split([], 1, 1)) == []
    binary = [message(b"\0" * n) for n in (1, 2, 3, 4)]  # 5, 5, 5 and 9 bytes
    assert [len(run) for run in split(binary, 11, 9)] == [2, 1, 1]
    assert [len(run) for run in split(binary, 27, 9)] == [4]
    assert [len(run) for run in split(binary, 26, 9)] == [3, 1]
