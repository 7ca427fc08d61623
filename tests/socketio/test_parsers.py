"""The JSON parser: what goes over the wire, the catalogue of bad input, and anything at all."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import gc
import json
import tracemalloc
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.errors import SocketPacketError
from telex.limits import Limits
from telex.socketio.packets import Packet, PacketType
from telex.socketio.parsers import (
    JSON,
    Decoder,
    check_digits,
    check_structure,
    encode,
    mend_surrogates,
    parse_json,
    strip_strings,
)
from telex.types import Data

LIMITS = Limits()
CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = PacketType


def decode(*messages: Data, limits: Limits = LIMITS) -> Packet:
    """Decode one packet from its messages, none of which may be left over."""
    decoder = Decoder(limits)
    *first, last = messages
    for message in first:
        assert decoder.add(message) is None
        assert decoder.is_waiting
    packet = decoder.add(last)
    assert packet is not None
    assert not decoder.is_waiting
    return packet


def refused(*messages: Data, limits: Limits = LIMITS) -> str:
    """Feed messages of which the last must be refused; return why."""
    decoder = Decoder(limits)
    *first, last = messages
    for message in first:
        decoder.add(message)
    with pytest.raises(SocketPacketError) as caught:
        decoder.add(last)
    return str(caught.value)


# Both ways.

WIRE: list[tuple[Packet, list[Data]]] = [
    (Packet(CONNECT, "/"), ["0"]),
    (Packet(CONNECT, "/admin", {"sid": "x"}), ['0/admin,{"sid":"x"}']),
    (Packet(DISCONNECT, "/admin"), ["1/admin,"]),
    (Packet(EVENT, "/", ["hello", 1]), ['2["hello",1]']),
    (Packet(EVENT, "/admin", ["project:delete", 123], 456), ['2/admin,456["project:delete",123]']),
    (Packet(EVENT, "/", ["a"], 0), ['20["a"]']),
    (Packet(ACK, "/admin", [], 456), ["3/admin,456[]"]),
    (Packet(CONNECT_ERROR, "/", {"message": "no"}), ['4{"message":"no"}']),
    (Packet(CONNECT_ERROR, "/", "no"), ['4"no"']),
    (Packet(EVENT, "/", ["e", b"\x01"]), ['51-["e",{"_placeholder":true,"num":0}]', b"\x01"]),
    (
        Packet(EVENT, "/admin", ["e", {"a": [b"1", {"b": b""}]}], 7),
        [
            '52-/admin,7["e",{"a":[{"_placeholder":true,"num":0},{"b":{"_placeholder":true,"num":1}}]}]',
            b"1",
            b"",
        ],
    ),
    (Packet(ACK, "/", [b"x"], 3), ['61-3[{"_placeholder":true,"num":0}]', b"x"]),
    (Packet(EVENT, "/", ["é☃😀\u0000\u2028", "\\ud800"]), ['2["é☃😀\\u0000\u2028","\\\\ud800"]']),
]


@pytest.mark.parametrize(("packet", "messages"), WIRE)
def test_writes_what_the_original_writes(packet: Packet, messages: list[Data]) -> None:
    assert encode(packet.type, packet.namespace, packet.data, packet.ack_id) == messages


@pytest.mark.parametrize(("packet", "messages"), WIRE)
def test_reads_what_the_original_writes(packet: Packet, messages: list[Data]) -> None:
    assert decode(*messages) == packet


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    SCALARS | TEXTS | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=15,
).filter(lambda value: not (isinstance(value, dict) and value.get("_placeholder") is True))
NAMESPACES = st.sampled_from(["/", "/admin", "/a?b=c", "/1-", "/é"])


@given(NAMESPACES, st.lists(VALUES, max_size=4), st.none() | st.integers(0, 2**53 - 1))
def test_an_event_comes_out_as_it_went_in(namespace: str, args: list[Any], ack_id: int | None) -> None:
    messages = encode(EVENT, namespace, ["event", *args], ack_id)
    assert decode(*messages) == Packet(EVENT, namespace, ["event", *args], ack_id)


@given(NAMESPACES, st.lists(VALUES, max_size=4), st.integers(0, 2**53 - 1))
def test_an_acknowledgement_comes_out_as_it_went_in(namespace: str, args: list[Any], ack_id: int) -> None:
    assert decode(*encode(ACK, namespace, args, ack_id)) == Packet(ACK, namespace, args, ack_id)


# Writing.


class Colour(enum.Enum):
    RED = "red"


class Point(msgspec.Struct):
    x: int
    image: bytes


class Markup(str):
    __slots__ = ()


class Fruit(enum.StrEnum):
    FIG = "fig"


@pytest.mark.parametrize("rest", [(), (b"x",)])
def test_what_is_a_text_is_written_as_one(rest: tuple[bytes, ...]) -> None:
    data = [Markup("e"), Markup("<b>"), {Markup("key"): [Markup("é"), Fruit.FIG]}, *rest]
    decoded = decode(*encode(EVENT, "/", data)).data
    assert decoded == ["e", "<b>", {"key": ["é", "fig"]}, *rest]
    assert encode(CONNECT_ERROR, "/", {"message": Markup("no")}) == ['4{"message":"no"}']


@dataclasses.dataclass
class Photo:
    name: str
    data: bytearray


def test_objects_are_written_and_their_bytes_found() -> None:
    when = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    args = [Point(1, b"p"), Photo("n", bytearray(b"q")), {"view": memoryview(b"r")}, Colour.RED, uuid.UUID(int=1), when]
    text, *attachments = encode(EVENT, "/", ["e", *args])
    assert attachments == [b"p", b"q", b"r"]
    assert isinstance(text, str)
    place = [{"_placeholder": True, "num": n} for n in range(3)]
    assert json.loads(text.removeprefix("53-")) == [
        "e",
        {"x": 1, "image": place[0]},
        {"name": "n", "data": place[1]},
        {"view": place[2]},
        "red",
        "00000000-0000-0000-0000-000000000001",
        "2026-01-02T03:04:05Z",
    ]


def test_tuples_and_sets_become_arrays_and_numbers_keys() -> None:
    assert encode(EVENT, "/", ["e", (1, (2,)), {3}, {4: 5, 1.5: None}]) == ['2["e",[1,[2]],[3],{"4":5,"1.5":null}]']


def test_what_json_has_no_word_for_is_null_as_in_javascript() -> None:
    assert encode(EVENT, "/", ["e", float("nan"), float("inf")]) == ['2["e",null,null]']


def test_bytes_that_may_change_are_copied_and_others_kept() -> None:
    changing, constant = bytearray(b"before"), b"constant"
    _, first, second = encode(EVENT, "/", ["e", changing, constant])
    changing[:] = b"after"
    assert first == b"before"
    assert second is constant


def test_the_caller_keeps_its_data() -> None:
    data = {"a": [b"x", {"b": b"y"}]}
    encode(EVENT, "/", ["e", data])
    assert data == {"a": [b"x", {"b": b"y"}]}


@pytest.mark.parametrize("data", [object(), {b"key": 1}, {None: 1}, (n for n in "a"), 1j, {(1,): 2}, Exception()])
def test_what_cannot_be_sent_is_a_type_error(data: object) -> None:
    with pytest.raises(TypeError):
        encode(EVENT, "/", ["e", data])


def test_bytes_cannot_travel_with_a_connect() -> None:
    for type_ in (CONNECT, CONNECT_ERROR):
        with pytest.raises(TypeError, match="cannot carry bytes"):
            encode(type_, "/", {"a": [b"x"]})


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\udc00\ud800"])
def test_s34_a_lone_surrogate_of_ours_is_a_value_error(text: str) -> None:
    for data in (["e", text], ["e", {text: 1}], [text], ["e", [text], b""]):
        with pytest.raises(ValueError, match="surrogates not allowed"):
            encode(EVENT, "/", data)


def test_data_that_holds_itself_is_a_value_error() -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: list[Any] = [b"x"]
    for _ in range(100_000):
        deep = [deep]
    for data in (loop, deep):
        with pytest.raises(ValueError, match="nested too deeply"):
            encode(EVENT, "/", ["e", data])
        with pytest.raises(ValueError, match="nested too deeply"):
            encode(CONNECT_ERROR, "/", {"data": data})
    while deep and isinstance(deep[0], list):  # or its end would recurse
        deep = deep[0]


PLACEHOLDER = {"_placeholder": True, "num": 0}


def test_s29_data_like_a_placeholder_cannot_be_sent_beside_bytes() -> None:
    for args in ([PLACEHOLDER, b"x"], [b"x", {"a": [PLACEHOLDER]}], [[b"x"], {"_placeholder": True}]):
        with pytest.raises(ValueError, match="_placeholder"):
            encode(EVENT, "/", ["e", *args])
    assert len(encode(EVENT, "/", ["e", PLACEHOLDER])) == 1
    assert len(encode(EVENT, "/", ["e", {"_placeholder": 1}, {"_placeholder": False}, b"x"])) == 2


def test_s28_data_like_a_placeholder_arrives_where_there_are_no_attachments() -> None:
    assert decode('2["e",{"_placeholder":true,"num":0}]').data == ["e", PLACEHOLDER]


# Attachments.


def test_s27_several_placeholders_share_their_attachment() -> None:
    data = b"x" * 1000
    place = '{"_placeholder":true,"num":0}'
    packet = decode(f'52-["e",{",".join([place] * 10_000)}]', data, b"unused")
    assert len(packet.data) == 10_001
    assert all(item is data for item in packet.data[1:])


@pytest.mark.parametrize(
    "index", ["-1", "1", "2", '"0"', "true", "false", "1.0", "0.0", "null", "[]", "{}", "9999999999999999999999"]
)
def test_s26_a_placeholder_names_an_attachment(index: str) -> None:
    for where in ("[%s]", '{"a":%s}', "%s"):
        payload = where % f'{{"_placeholder":true,"num":{index}}}'
        assert "placeholder" in refused(f'51-["e",{payload}]', b"x")


def test_s26_a_placeholder_without_an_index() -> None:
    assert "placeholder" in refused('51-["e",{"_placeholder":true}]', b"x")
    assert "placeholder" in refused('61-0[{"_placeholder":true,"nun":0}]', b"x")


def test_only_a_true_placeholder_is_one() -> None:
    data = ["e", {"_placeholder": 1, "num": 0}, {"_placeholder": False}, {"_placeholder": "true"}]
    assert decode("51-" + json.dumps(data), b"x").data == data


def test_s19_no_attachments_after_a_count_of_zero() -> None:
    decoder = Decoder(LIMITS)
    assert decoder.add('50-["e",1]') == Packet(EVENT, "/", ["e", 1])
    assert decoder.add("60-7[]") == Packet(ACK, "/", [], 7)
    assert decoder.add('2["next"]') == Packet(EVENT, "/", ["next"])
    with pytest.raises(SocketPacketError, match="none was awaited"):
        decoder.add(b"x")
    assert "placeholder" in refused('50-["e",{"_placeholder":true,"num":0}]')


def test_s20_a_binary_message_that_nobody_awaits() -> None:
    assert "none was awaited" in refused(b"")
    assert "none was awaited" in refused('51-["e"]', b"x", b"y")
    assert "none was awaited" in refused('2["e"]', b"x")


@pytest.mark.parametrize("text", ['2["e"]', "0", "1", '51-["e"]', ""])
def test_s21_a_text_while_attachments_are_awaited(text: str) -> None:
    assert "attachment was awaited" in refused('52-["e"]', b"x", text)


def test_an_unfinished_packet_tells_its_namespace() -> None:
    decoder = Decoder(LIMITS)
    assert decoder.namespace == ""
    decoder.add('52-/admin,["e"]')
    assert decoder.is_waiting
    assert decoder.namespace == "/admin"
    decoder.add(b"1")
    assert decoder.is_waiting
    decoder.add(b"2")
    assert not decoder.is_waiting
    assert decoder.namespace == ""


def test_s25_a_reset_forgets_an_unfinished_packet() -> None:
    decoder = Decoder(LIMITS)
    decoder.add('52-["e"]')
    decoder.add(b"1")
    decoder.reset()
    assert not decoder.is_waiting
    assert decoder.add('51-["f",{"_placeholder":true,"num":0}]') is None
    assert decoder.add(b"2") == Packet(EVENT, "/", ["f", b"2"])


def test_max_attachments() -> None:
    limits = Limits(max_attachments=3)
    for n in (2, 3):
        assert decode(f'5{n}-["e"]', *[b"x"] * n, limits=limits).data == ["e"]
    assert "4 is more than 3" in refused('54-["e"]', limits=limits)


def test_max_attachment_bytes_s23() -> None:
    limits = Limits(max_attachment_bytes=10)
    for size in (4, 5):
        assert decode('52-["e"]', b"x" * 5, b"x" * size, limits=limits).data == ["e"]
    assert "too large" in refused('52-["e"]', b"x" * 5, b"x" * 6, limits=limits)
    assert "too large" in refused('53-["e"]', b"x" * 11, limits=limits)
    # Each packet has its own.
    decoder = Decoder(limits)
    for _ in range(3):
        decoder.add('51-["e"]')
        assert decoder.add(b"x" * 10) is not None


# Bounds of the JSON.


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_max_json_depth_s30() -> None:
    limits = Limits(max_json_depth=10)
    for depth in (9, 10):
        assert parse_json(nested(depth), limits) is not None
    for bad in (nested(11), '{"a":' * 11 + "1" + "}" * 11, '[{"a":' * 6 + "1" + "}]" * 6):
        with pytest.raises(SocketPacketError, match="nested too deeply"):
            parse_json(bad, limits)


def test_max_json_depth_counts_what_is_open_and_no_text() -> None:
    limits = Limits(max_json_depth=3)
    assert len(parse_json("[" + ",".join(["[[]]"] * 100) + "]", limits)) == 100
    assert parse_json('["[[[[[[","\\"[[[[[[",{"[[[[":"{{{{\\\\"}]', limits)[0] == "[[[[[["


def test_closing_more_than_was_opened_is_no_json() -> None:
    with pytest.raises(SocketPacketError, match="not valid JSON"):
        parse_json("[]" + "]" * 100 + "[" * 100, Limits(max_json_depth=10))


@pytest.mark.parametrize("depth", [500, 1_000, 10_000, 100_000])
def test_s30_no_depth_overflows_the_stack(depth: int) -> None:
    for limits in (LIMITS, Limits(max_json_depth=10**6, max_json_nodes=10**6)):
        for text in (nested(depth), "[" * depth, '{"a":' * depth, '[{"":' * depth):
            for packet in (f"2{text}", f'2["e",{text}]', f'50-["e",{text}]'):
                decoder = Decoder(limits)
                try:
                    decoder.add(packet)
                except SocketPacketError:
                    continue


def test_max_json_nodes_s31() -> None:
    limits = Limits(max_json_nodes=10)
    for n in (8, 9):  # and the array itself
        assert len(parse_json(json.dumps([1] * n), limits)) == n
    for bad in ([1] * 10, [[]] * 9, {"abcdefghij"[n]: n for n in range(10)}, [{"a": [1, 2, 3]}, {"b": [4, 5, 6, 7]}]):
        with pytest.raises(SocketPacketError, match="too many values"):
            parse_json(json.dumps(bad), limits)


def test_max_json_nodes_leaves_texts_aside() -> None:
    assert parse_json('["' + "," * 100 + '","' + "[{" * 100 + '"]', Limits(max_json_nodes=4))


def test_s31_a_wide_payload_costs_little_before_it_is_refused() -> None:
    text = "2[" + "[]," * 330_000 + "1]"
    decoder = Decoder(LIMITS)
    gc.collect()
    tracemalloc.start()
    try:
        with pytest.raises(SocketPacketError, match="too many values"):
            decoder.add(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(text)


def test_max_number_digits_s32() -> None:
    limits = Limits(max_number_digits=20)
    for n in (19, 20):
        for number in ("1" * n, "-" + "1" * n, "1." + "1" * n, "1" * n + "e5", "0." + "0" * n):
            assert parse_json(f"[{number}]", limits) == [json.loads(number)]
    for number in ("1" * 21, "-" + "1" * 21, "1." + "1" * 21, "1e" + "1" * 21, "0" * 21):
        with pytest.raises(SocketPacketError, match="too many digits"):
            parse_json(f"[{number}]", limits)


def test_max_number_digits_leaves_texts_aside() -> None:
    digits = "1" * 100
    assert parse_json(f'["{digits}","\\"{digits}",{{"{digits}":"{digits}\\\\"}}]', LIMITS)[0] == digits
    for unfinished in (f'["{digits}', f'["\\"{digits}', f'"{digits}\\'):
        with pytest.raises(SocketPacketError, match="not valid JSON"):
            parse_json(unfinished, LIMITS)


@pytest.mark.parametrize("number", ["9" * 10**6, "-" + "9" * 10**6, "1e999", "-1e999", "1" * 5000])
def test_s32_an_enormous_number(number: str) -> None:
    for limits in (LIMITS, Limits(max_number_digits=10**7)):
        refused(f'2["e",{number}]', limits=limits)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "undefined", "01", "+1", "1.", ".5", "0x1", "٣"])
def test_s32_no_number_of_json(text: str) -> None:
    assert "not valid JSON" in refused(f'2["e",{text}]')


@pytest.mark.parametrize(
    "payload",
    [
        '["e"',
        '["e",',
        '["e"]]',
        '["e"]["f"]',
        '["e"]x',
        '\ufeff["e"]',
        "['e']",
        '["e",]',
        '["e" "f"]',
        '["\n"]',
        '["\\x"]',
        '["\\u12"]',
        "{",
        '"',
        "tru",
        "x",
        "-",
    ],
)
def test_s35_truncated_and_garbled(payload: str) -> None:
    assert "not valid JSON" in refused("2" + payload)


@pytest.mark.parametrize("type_", "0123456")
def test_a_payload_of_null_is_none_at_all(type_: str) -> None:
    refused({"5": "50-", "6": "60-1", "3": "31"}.get(type_, type_) + "null")


def test_s33_the_last_of_two_keys_wins_and_no_key_is_special() -> None:
    assert decode('2["e",{"a":1,"a":2}]').data == ["e", {"a": 2}]
    odd = {"__proto__": 1, "constructor": 2, "__class__": 3, "": 4}
    assert decode("2" + json.dumps(["e", odd])).data == ["e", odd]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (r"\ud83d\ude00", "😀"),
        (r"\ud83d", "\ufffd"),
        (r"\uD83D", "\ufffd"),
        (r"\ude00", "\ufffd"),
        (r"\ud83dx", "\ufffdx"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\ud83d\u0041", "\ufffdA"),
        (r"\\ud83d\ud83d", "\\ud83d\ufffd"),
        (r"\\\ud83d", "\\\ufffd"),
        (r"\"\ud83d\"", '"\ufffd"'),
    ],
)
def test_s34_half_an_emoji_becomes_a_replacement_character(text: str, read: str) -> None:
    packet = decode(f'2["e","{text}"]')
    assert packet.data == ["e", read]
    encode(EVENT, "/", packet.data)  # and can be passed on
    assert decode(f'2["e",{{"{text}":[]}}]').data == ["e", {read: []}]


@pytest.mark.parametrize("text", ["\ud800", "x\udfff"])
def test_s34_a_surrogate_that_no_transport_lets_through(text: str) -> None:
    refused(f'2["e","{text}"]')
    refused(f'2["e","{text}","{"long" * 100}"]')
    refused(f'0{{"a":"{text}"}}')


def test_s34_a_half_emoji_mends_nothing_else() -> None:
    assert "not valid JSON" in refused(r'2["e","\ud83d",')
    assert "not valid JSON" in refused(r'2["e","\ud83d\x"]')
    assert "not valid JSON" in refused('2["e","\\ud83d\0"]')


def test_max_auth_bytes_s07() -> None:
    limits = Limits(max_auth_bytes=20)
    for n in (10, 11):
        assert decode("0" + json.dumps({"a": "x" * n}), limits=limits).data == {"a": "x" * n}
    for text in ("x" * 12, "é" * 6):
        assert "auth object is too large" in refused("0" + json.dumps({"a": text}, ensure_ascii=False), limits=limits)
    assert decode("0/ns," + json.dumps({"a": "x" * 11}), limits=limits).data
    assert decode("2" + json.dumps(["e", "x" * 100]), limits=limits).data


def test_limits_of_the_head_hold_in_the_decoder() -> None:
    assert "too long" in refused("0/" + "n" * 300)
    assert "unknown packet type" in refused("")
    assert "not valid" in refused('2["connect"]')


# Anything at all.

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([PLACEHOLDER, "connect"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
HEADS = st.sampled_from(["0", "1", "2", "20", "30", "4", "50-", "51-", "52-/a,", "60-1", "61-1", "2/a,", "0/a,", "2/a"])
PACKET_TEXTS = st.builds(lambda start, value: start + json.dumps(value), HEADS, JSON_VALUES)
MESSAGES = st.lists(st.text(max_size=20) | st.binary(max_size=20) | PACKET_TEXTS | HEADS, max_size=8)
TIGHT = Limits(max_json_depth=2, max_json_nodes=4, max_number_digits=2, max_attachments=2, max_attachment_bytes=20)


@given(MESSAGES, st.sampled_from([LIMITS, TIGHT]))
def test_r08_r12_anything_is_packets_or_a_packet_error(messages: list[Data], limits: Limits) -> None:
    decoder = Decoder(limits)
    for message in messages:
        try:
            packet = decoder.add(message)
        except SocketPacketError:
            return
        if packet is not None:
            assert packet.type not in (BINARY_EVENT, BINARY_ACK)
            # Whatever was let in can be sent on.
            if packet.type is EVENT and "_placeholder" not in str(packet.data):
                encode(EVENT, "/", packet.data)


@given(st.text(st.sampled_from('{}[],:"\\0123456789.eEu-dD8cntrf l'), max_size=80))
def test_r08_anything_like_json_is_json_or_a_packet_error(text: str) -> None:
    for limits in (LIMITS, TIGHT):
        try:
            parse_json(text, limits)
        except SocketPacketError:
            continue


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ('["a","b"]', "[,]"),
        ('["[","]",1]', "[,,1]"),
        (r'["\"[",1]', "[,1]"),
        (r'["\\",[1]]', "[,[1]]"),
        (r'["\\\"[",1]', "[,1]"),
        (r'["\\\\",1]', "[,1]"),
        (r'["\u0022[",1]', "[,1]"),
        ('["never ended [', "["),
        ('["ends with a backslash [\\', "["),
        ('["two\nlines"]', "[]"),
        ('"', ""),
        ("", ""),
    ],
)
def test_r05_strings_are_left_aside(text: str, bare: str) -> None:
    assert strip_strings(text) == bare


@given(JSON_VALUES)
def test_r05_strings_are_left_aside_whatever_they_hold(value: Any) -> None:
    def expected(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(": " + expected(item) for item in value.values()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(expected, value)) + "]"
        return "" if isinstance(value, str) else json.dumps(value)

    assert strip_strings(json.dumps(value)) == expected(value)


# Linear time. None of these scans takes more than some hundredths of a second; a quadratic one would take hours.

HOSTILE = ["[", "]", "{", ",", '"', "\\", '\\"', '"\\', "1", '"1', '1"', "\\u", "\\ud8", "\\ud800", "[]", '{"a":', "a"]


@pytest.mark.parametrize("unit", HOSTILE)
def test_r05_the_scans_are_linear(unit: str) -> None:
    limits = Limits(max_json_nodes=10**9, max_json_depth=10**9)
    text = unit * (2**20 // len(unit))
    with contextlib.suppress(SocketPacketError):
        check_structure(text, limits)
    with contextlib.suppress(SocketPacketError):
        check_digits(text, 64)
    mend_surrogates(text)
    mend_surrogates(text + r"\ud800")
    with pytest.raises(SocketPacketError):
        parse_json(text, LIMITS)


def test_r05_long_runs_just_short_of_the_limit_are_linear() -> None:
    text = "[" + ",".join(["1" * 64] * 15_000) + "]"
    assert len(parse_json(text, LIMITS)) == 15_000
    check_digits(text, 64)


def test_the_parser_of_servers_reads_what_it_writes() -> None:
    limits = Limits(max_attachments=1)
    decoder = JSON.decoder(limits)
    packet = Packet(EVENT, "/admin", ["e", b"1"], 7)
    head, attachment = JSON.encode(packet)
    assert decoder.add(head) is None
    assert decoder.add(attachment) == packet
    with pytest.raises(SocketPacketError, match="attachments"):
        JSON.decoder(limits).add(JSON.encode(Packet(EVENT, "/", ["e", b"1", b"2"]))[0])
