"""The MessagePack parser: what goes over the wire, the catalogue of bad input, and anything at all."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import math
import tracemalloc
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from telex.errors import SocketPacketError
from telex.limits import Limits
from telex.socketio.msgpack import FORMS, MessagePackParser, Special, is_surely_small, parse, parse_closely, scan
from telex.socketio.packets import MAX_ACK_ID, Packet, PacketType

LIMITS = Limits()
PARSER = MessagePackParser()
CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = PacketType

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode


def encode(packet: Packet) -> bytes:
    """Encode a packet, which must be one binary message."""
    [message] = PARSER.encode(packet)
    assert isinstance(message, bytes)
    return message


def decode(message: bytes, limits: Limits = LIMITS) -> Packet:
    return PARSER.decoder(limits).add(message)


def refused(message: str | bytes, limits: Limits = LIMITS) -> str:
    """Feed a message that must be refused; return why."""
    with pytest.raises(SocketPacketError) as caught:
        PARSER.decoder(limits).add(message)
    return str(caught.value)


def event(data: bytes) -> bytes:
    """Write an event whose one argument is given as it is written."""
    return b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa1e" + data


def read(data: bytes, limits: Limits = LIMITS) -> Any:
    """Return the argument of an event."""
    return decode(event(data), limits).data[1]


# Both ways.

# Written by socket.io-msgpack-parser 3.0.2: a packet, and what it is here.
FROM_JAVASCRIPT = {
    "84a47479706500a464617461d40000a36e7370a12fa76f7074696f6e7380": Packet(CONNECT, "/"),
    "83a47479706500a46461746181a5746f6b656ea178a36e7370a22f61": Packet(CONNECT, "/a", {"token": "x"}),
    "82a47479706501a36e7370a12f": Packet(DISCONNECT, "/"),
    "85a47479706502a46461746192a165c40201ffa76f7074696f6e7381a8636f6d7072657373c3a2696407a36e7370a12f": Packet(
        EVENT, "/", ["e", b"\x01\xff"], 7
    ),
    "84a47479706503a2696400a46461746191d700000001869841ef40a36e7370a12f": Packet(
        ACK, "/", [datetime(2023, 2, 28, 13, 41, 43, 360000, UTC)], 0
    ),
    "84a47479706502a46461746193a165c7020000ffc708000102030405060708a36e7370a12fa26964d40000": Packet(
        EVENT, "/", ["e", b"\x00\xff", b"\x01\x02\x03\x04\x05\x06\x07\x08"]
    ),
}


@pytest.mark.parametrize(
    ("packet", "wire"),
    [
        (Packet(CONNECT, "/", {"sid": "x"}), "83a47479706500a36e7370a12fa46461746181a3736964a178"),
        (Packet(DISCONNECT, "/a"), "82a47479706501a36e7370a22f61"),
        (Packet(EVENT, "/", ["e", 1, b"\x02"], 3), "84a47479706502a36e7370a12fa46461746193a16501c40102a2696403"),
        (Packet(ACK, "/", [], 0), "84a47479706503a36e7370a12fa46461746190a2696400"),
        (Packet(CONNECT_ERROR, "/", {"message": "no"}), "83a47479706504a36e7370a12fa46461746181a76d657373616765a26e6f"),
    ],
)
def test_wire(packet: Packet, wire: str) -> None:
    assert encode(packet).hex() == wire
    assert decode(bytes.fromhex(wire)) == packet


@pytest.mark.parametrize("data", [None, {}, {"a": "b"}])
def test_connect(data: Any) -> None:
    assert decode(encode(Packet(CONNECT, "/", data))) == Packet(CONNECT, "/", data)


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    __slots__ = ()


@dataclasses.dataclass
class Point:
    x: int
    at: datetime


MOMENT = datetime(2024, 2, 29, 12, 0, 0, 1500, UTC)


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (MOMENT, MOMENT.replace(microsecond=1000)),
        (MOMENT.astimezone(timezone(timedelta(hours=-5))), MOMENT.replace(microsecond=1000)),
        (
            {"a": [MOMENT, {"b": (MOMENT,)}]},
            {"a": [MOMENT.replace(microsecond=1000), {"b": [MOMENT.replace(microsecond=1000)]}]},
        ),
        (Point(1, datetime(1, 1, 1, tzinfo=UTC)), {"x": 1, "at": datetime(1, 1, 1, tzinfo=UTC)}),
        (date(2024, 2, 29), "2024-02-29"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Text("text"), "text"),
        ([Text("a"), b"b"], ["a", b"b"]),
        ({1: "one"}, {"1": "one"}),
        ((1, (2,)), [1, [2]]),
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"abc"), b"abc"),
        ({"deep": [memoryview(b"a"), bytearray(b"b"), b"c"]}, {"deep": [b"a", b"b", b"c"]}),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (math.inf, math.inf),
        (1.0, 1.0),
        ("Grüße 你好 🙂 \0", "Grüße 你好 🙂 \0"),
    ],
)
def test_what_is_sent(sent: Any, received: Any) -> None:
    assert decode(encode(Packet(EVENT, "/", ["e", sent]))).data == ["e", received]


def test_what_is_none_is_no_undefined_in_an_event() -> None:
    assert encode(Packet(EVENT, "/", ["e", None])).endswith(b"\x92\xa1e\xc0")


def test_bytes_are_copied_when_they_are_sent() -> None:
    data = bytearray(b"before")
    message = encode(Packet(EVENT, "/", ["e", data]))
    data[:] = b"behind"
    assert decode(message).data == ["e", b"before"]


def self_holding() -> list[Any]:
    data: list[Any] = []
    data.append(data)
    return data


def deep(n: int) -> list[Any]:
    data: list[Any] = []
    for _ in range(n):
        data = [data]
    return data


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (object(), TypeError, "object"),
        ({1, "a", object()}, TypeError, "object"),
        (2**64, ValueError, "64 bits"),
        (-(2**63) - 1, ValueError, "64 bits"),
        (datetime(2024, 1, 1), ValueError, "time zone"),
        ([{"a": datetime(2024, 1, 1)}], ValueError, "time zone"),
        ("\ud800", ValueError, "surrogates"),
        (memoryview(b"abcd")[::2], ValueError, "one piece"),
        (self_holding(), ValueError, "nested"),
        (deep(100_000), ValueError, "nested"),
        ([deep(100_000), b""], ValueError, "nested"),
    ],
)
def test_what_cannot_be_sent(data: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        encode(Packet(EVENT, "/", ["e", data]))


# What JavaScript writes, and Python has not.


@pytest.mark.parametrize("milliseconds", [-62135596800001, 253402300800000, 2**63 - 1, -(2**63), 8_640_000_000_000_000])
def test_a_date_that_python_has_not_is_refused(milliseconds: int) -> None:
    assert "not valid MessagePack" in refused(event(b"\xd7\0" + milliseconds.to_bytes(8, "big", signed=True)))


# What JavaScript writes.


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        ("d40000", None),
        ("c0", None),
        ("92d40000c0", [None, None]),
        ("d7000000000000000001", datetime(1970, 1, 1, 0, 0, 0, 1000, UTC)),
        ("d700ffffffffffffffff", datetime(1969, 12, 31, 23, 59, 59, 999000, UTC)),
        ("c70000", b""),
        ("c7010000", b"\0"),
        ("c708000000000000000001", bytes(7) + b"\1"),
        ("c8000100ff", b"\xff"),
        ("c90000000100ff", b"\xff"),
        (
            "95d40000c7010001d7000000000000000000d40000c40102",
            [None, b"\1", datetime(1970, 1, 1, tzinfo=UTC), None, b"\2"],
        ),
        ("cf0020000000000000", 2**53),
        ("d3ffe0000000000000", -(2**53)),
        ("cb3ff8000000000000", 1.5),
        ("d9024142", "AB"),
        ("de0001a161c3", {"a": True}),
        ("dc0001c2", [False]),
    ],
)
def test_what_javascript_writes(wire: str, value: Any) -> None:
    assert read(bytes.fromhex(wire)) == value


@pytest.mark.parametrize("wire", FROM_JAVASCRIPT)
def test_packets_of_the_original(wire: str) -> None:
    assert decode(bytes.fromhex(wire)) == FROM_JAVASCRIPT[wire]


# What is refused.

ENVELOPES = {
    "empty": b"",
    "no map": pack([2, "/", ["e"]]),
    "nil": pack(None),
    "no type": pack({"nsp": "/", "data": ["e"]}),
    "no namespace": pack({"type": 2, "data": ["e"]}),
    "type as text": pack({"type": "2", "nsp": "/", "data": ["e"]}),
    "type as float": pack({"type": 2.0, "nsp": "/", "data": ["e"]}),
    "type as bool": pack({"type": True, "nsp": "/"}),
    "type 5": pack({"type": 5, "nsp": "/", "data": ["e"]}),
    "type -1": pack({"type": -1, "nsp": "/", "data": ["e"]}),
    "huge type": pack({"type": 2**64 - 1, "nsp": "/", "data": ["e"]}),
    "namespace without slash": pack({"type": 2, "nsp": "a", "data": ["e"]}),
    "empty namespace": pack({"type": 2, "nsp": "", "data": ["e"]}),
    "namespace as bytes": pack({"type": 2, "nsp": b"/", "data": ["e"]}),
    "namespace as list": pack({"type": 2, "nsp": ["/"], "data": ["e"]}),
    "id as text": pack({"type": 2, "nsp": "/", "data": ["e"], "id": "1"}),
    "id as bool": pack({"type": 2, "nsp": "/", "data": ["e"], "id": True}),
    "id as float": pack({"type": 2, "nsp": "/", "data": ["e"], "id": 1.0}),
    "negative id": pack({"type": 2, "nsp": "/", "data": ["e"], "id": -1}),
    "large id": pack({"type": 2, "nsp": "/", "data": ["e"], "id": MAX_ACK_ID + 1}),
    "ack without id": pack({"type": 3, "nsp": "/", "data": []}),
    "ack of nothing": pack({"type": 3, "nsp": "/", "id": 1}),
    "ack of a map": pack({"type": 3, "nsp": "/", "id": 1, "data": {}}),
    "event of nothing": pack({"type": 2, "nsp": "/"}),
    "event without name": pack({"type": 2, "nsp": "/", "data": []}),
    "event of a map": pack({"type": 2, "nsp": "/", "data": {"0": "e"}}),
    "event named by bytes": pack({"type": 2, "nsp": "/", "data": [b"e"]}),
    "event named by nil": pack({"type": 2, "nsp": "/", "data": [None]}),
    "event named by a date": pack({"type": 2, "nsp": "/", "data": [Ext(0, bytes(8))]}),
    "reserved event": pack({"type": 2, "nsp": "/", "data": ["disconnect"]}),
    "connect with a list": pack({"type": 0, "nsp": "/", "data": []}),
    "connect with a text": pack({"type": 0, "nsp": "/", "data": "x"}),
    "disconnect with data": pack({"type": 1, "nsp": "/", "data": {}}),
    "something behind": event(b"\xc0") + b"\xc0",
    "cut": event(b"\xc0")[:-1],
    "key as number": event(b"\x81\x01\x02"),
    "key as bytes": event(b"\x81\xc4\x01a\x02"),
    "key as list": event(b"\x81\x90\x02"),
    "key as nil": event(b"\x81\xc0\x02"),
    "key as undefined": event(b"\x81\xd4\0\0\x02"),
    "no use": event(b"\xc1"),
    "half a text": event(b"\xa5abc"),
    "text that is no UTF-8": event(b"\xa2\xc3\x28"),
    "text with a surrogate": event(b"\xa3\xed\xa0\x80"),
    "a key that is no UTF-8": event(b"\x81\xa1\xff\x01"),
    "timestamp 32": event(b"\xd6\xff\0\0\0\0"),
    "timestamp 64": event(b"\xd7\xff\0\0\0\0\0\0\0\0"),
    "timestamp 96": event(b"\xc7\x0c\xff" + bytes(12)),
    "another extension": event(b"\xd4\x01\0"),
    "a negative extension": event(b"\xc7\x01\x80\0"),
    "fixext 2": event(b"\xd5\0\0\0"),
    "fixext 4": event(b"\xd6\0\0\0\0\0"),
    "fixext 16": event(b"\xd8\0" + bytes(16)),
    "extension without type": event(b"\xd4"),
    "large array": event(b"\xdd\xff\xff\xff\xff"),
    "large map": event(b"\xdf\xff\xff\xff\xff"),
    "large text": event(b"\xdb\xff\xff\xff\xff"),
    "large bytes": event(b"\xc6\xff\xff\xff\xff"),
    "large extension": event(b"\xc9\xff\xff\xff\xff\0"),
    "a count that is cut": event(b"\xdd\0"),
    "a length that is cut": event(b"\xc6\0"),
}


@pytest.mark.parametrize("message", ENVELOPES.values(), ids=ENVELOPES)
def test_bad_input_is_refused(message: bytes) -> None:
    assert refused(message)


def test_a_text_message_is_refused_with_a_hint() -> None:
    assert "same parser" in refused('2["e"]')


@pytest.mark.parametrize("n", [2**8, 2**16, 2**28, 2**32 - 1])
@pytest.mark.parametrize("first", [b"\xdd", b"\xdf", b"\xdb", b"\xc6"])
def test_nothing_is_allocated_for_a_length_that_is_only_said(first: bytes, n: int) -> None:
    message = event(first + n.to_bytes(4, "big") + bytes(100))
    tracemalloc.start()
    try:
        refused(message)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


# Bounds: what lies on one is taken, what lies beyond is refused, on the short way and on the long one.

LONG = b"\x92\xc4\x00"  # makes the data of what follows two values, of which the first is looked at closely


@pytest.mark.parametrize("prefix", [b"", LONG], ids=["short", "long"])
def test_max_json_depth(prefix: bytes) -> None:
    limits = Limits(max_json_depth=20)
    depth = 20 - 1 - (prefix != b"")  # within the list of the event's arguments
    assert read(prefix + b"\x91" * (depth - 1) + b"\x90", limits)
    assert "nested" in refused(event(prefix + b"\x91" * depth + b"\x90"), limits)


def test_openings_in_texts_are_not_counted() -> None:
    text = "\u0410" * 500  # whose second byte is that of an empty list
    assert read(b"\xda" + (1000).to_bytes(2, "big") + text.encode()) == text
    assert not is_surely_small(event(b"\xda" + (1000).to_bytes(2, "big") + text.encode()), LIMITS)


@pytest.mark.parametrize("first", ["array", "map"])
def test_max_json_nodes(first: str) -> None:
    limits = Limits(max_json_nodes=1000)
    others = 6  # the packet, its three entries, the name and the argument itself

    def make(n: int) -> bytes:
        if first == "array":
            return event(b"\xdc" + n.to_bytes(2, "big") + b"\xc0" * n)
        return event(b"\xde" + n.to_bytes(2, "big") + b"".join(pack(str(i)) + b"\xc0" for i in range(n)))

    assert len(decode(make(1000 - others), limits).data[1]) == 1000 - others
    assert "too many" in refused(make(1001 - others), limits)


def test_depth_beyond_python_s_own_is_refused_whatever_is_allowed() -> None:
    assert "recursion" in refused(event(b"\x91" * 50_000 + b"\x90"), Limits(max_json_depth=10**6))


def test_max_event_name() -> None:
    limits = Limits(max_event_name=5)
    assert decode(pack({"type": 2, "nsp": "/", "data": ["abcde"]}), limits).data == ["abcde"]
    assert refused(pack({"type": 2, "nsp": "/", "data": ["abcdef"]}), limits)


def test_max_namespace_length() -> None:
    limits = Limits(max_namespace_length=5)
    assert decode(pack({"type": 2, "nsp": "/abcd", "data": ["e"]}), limits).namespace == "/abcd"
    assert "too long" in refused(pack({"type": 2, "nsp": "/abcde", "data": ["e"]}), limits)


def test_max_auth_bytes() -> None:
    message = pack({"type": 0, "nsp": "/", "data": {"token": "x" * 100}})
    assert decode(message, Limits(max_auth_bytes=len(message)))
    assert "auth" in refused(message, Limits(max_auth_bytes=len(message) - 1))


# Anything at all.

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(max_size=300)
    | st.datetimes(timezones=st.just(UTC)).map(
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    )
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=40)


@given(st.lists(VALUES, max_size=5))
def test_what_is_written_can_be_read(args: list[Any]) -> None:
    packet = Packet(EVENT, "/chat", ["event", *args], 1)
    assert decode(encode(packet)) == packet


@given(VALUES)
def test_the_scan_finds_the_dates(data: Any) -> None:
    message = encode(Packet(EVENT, "/", ["e", data]))
    assert scan(message, LIMITS) == [Special.DATE] * repr(data).count("datetime.datetime(")


# Pieces of structure, so that what is tried is often nearly right.
PIECES = (
    st.sampled_from([bytes([n]) for n in range(256)])
    | st.binary(max_size=3)
    | SCALARS.filter(lambda value: not isinstance(value, datetime)).map(pack)
)
WILD = st.binary(max_size=200) | st.lists(PIECES, max_size=40).map(b"".join)


@given(WILD)
def test_the_scan_passes_nothing_that_the_decoder_refuses_but_bad_text(message: bytes) -> None:
    try:
        scan(message, LIMITS)
    except SocketPacketError:
        return
    with contextlib.suppress(UnicodeDecodeError):
        unpack(message, ext_hook=lambda code, data: None)


@given(WILD)
def test_the_scan_refuses_nothing_that_the_decoder_takes_but_by_its_rules(message: bytes) -> None:
    try:
        value = unpack(message, ext_hook=lambda code, data: Ext(code, bytes(data)))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
        return  # TypeError: a key that cannot be one
    try:
        scan(message, LIMITS)
    except SocketPacketError as error:
        words = str(error)
        assert "key" in words or "extension" in words, (value, words)


@given(WILD | VALUES.map(pack))
def test_the_short_way_and_the_long_one_agree(message: bytes) -> None:
    def outcome(read: Callable[[bytes, Limits], Any]) -> str:
        try:
            return repr(read(message, LIMITS))
        except SocketPacketError:
            return "refused"

    assert outcome(parse) == outcome(parse_closely)


@given(WILD | st.lists(PIECES, max_size=40).map(lambda pieces: event(b"".join(pieces))))
def test_nothing_but_a_packet_or_an_error_comes_of_anything(message: bytes) -> None:
    try:
        packet = decode(message)
    except SocketPacketError:
        return
    assert packet.type in (CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR)
    assert packet.namespace.startswith("/")


@pytest.mark.parametrize("filling", [b"\0", b"\1", b"\xa0"])
def test_every_first_byte_is_understood_as_the_decoder_does(filling: bytes) -> None:
    assert len(FORMS) == 256
    n_passed = 0
    for first in range(256):
        for n in range(70):
            message = bytes([first]) + filling * n
            try:
                scan(message, LIMITS)
                passed = True
            except SocketPacketError as error:
                if "extension" in str(error) or "key" in str(error):
                    continue
                passed = False
            try:
                unpack(message, ext_hook=lambda code, data: None)
                decoded = True
            except UnicodeDecodeError:  # what texts hold is left to the decoder
                continue
            except msgspec.DecodeError:
                decoded = False
            assert passed == decoded, message
            n_passed += passed
    assert n_passed > 200
