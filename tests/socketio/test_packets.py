"""The head of a packet and the shape of its payload: driven by data, then by anything at all."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.errors import SocketPacketError
from telex.limits import Limits
from telex.socketio.packets import (
    MAX_ACK_ID,
    RESERVED_EVENTS,
    Head,
    Packet,
    PacketType,
    check_packet,
    check_payload,
    event_name,
    format_head,
    parse_head,
)

LIMITS = Limits()
CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = PacketType


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("0", Head(CONNECT, 0, "/", None, 1)),
        ('0{"token":"1"}', Head(CONNECT, 0, "/", None, 1)),
        ("0/admin,", Head(CONNECT, 0, "/admin", None, 8)),
        ("0/admin", Head(CONNECT, 0, "/admin", None, 7)),
        ('0/admin,{"a":","}', Head(CONNECT, 0, "/admin", None, 8)),
        ("0/", Head(CONNECT, 0, "/", None, 2)),
        ("0/?token=1&a=/b,", Head(CONNECT, 0, "/?token=1&a=/b", None, 16)),
        ("1/admin,", Head(DISCONNECT, 0, "/admin", None, 8)),
        ('2["a"]', Head(EVENT, 0, "/", None, 1)),
        ('20["a"]', Head(EVENT, 0, "/", 0, 2)),
        ('2/admin,456["a"]', Head(EVENT, 0, "/admin", 456, 11)),
        ("30[]", Head(ACK, 0, "/", 0, 2)),
        (f"3{MAX_ACK_ID}[]", Head(ACK, 0, "/", MAX_ACK_ID, 17)),
        ('4/x,{"message":"no"}', Head(CONNECT_ERROR, 0, "/x", None, 4)),
        ('50-["a"]', Head(BINARY_EVENT, 0, "/", None, 3)),
        ('51-["a"]', Head(BINARY_EVENT, 1, "/", None, 3)),
        ('5100-/admin,7["a"]', Head(BINARY_EVENT, 100, "/admin", 7, 13)),
        ("61-/admin,0[]", Head(BINARY_ACK, 1, "/admin", 0, 11)),
    ],
)
def test_reads_a_head(text: str, head: Head) -> None:
    assert parse_head(text, LIMITS) == head


@pytest.mark.parametrize("text", ["", "7", "9[]", "a", "٢", "²", " 2", "-1", "/admin,", "\ufeff2", "\n"])
def test_s37_an_unknown_type_is_refused(text: str) -> None:
    with pytest.raises(SocketPacketError, match="unknown packet type"):
        parse_head(text, LIMITS)


ID_DIGITS = ["00", "01", "007", str(MAX_ACK_ID + 1), "9" * 17, "1" * 10_000, "0" * 10_000]


@pytest.mark.parametrize("digits", ID_DIGITS)
def test_s14_a_number_too_large_or_with_leading_zeros_is_no_acknowledgement_id(digits: str) -> None:
    with pytest.raises(SocketPacketError, match="acknowledgement id"):
        parse_head(f'2{digits}["a"]', LIMITS)


@pytest.mark.parametrize("odd", ["-1", "1.5", "²", "٣", " 1", "+1", "1_0", "\uff11"])
def test_s14_what_is_no_ascii_digit_is_left_for_the_json_to_refuse(odd: str) -> None:
    head = parse_head(f'2{odd}["a"]', LIMITS)
    assert head.json_start <= 2
    assert head.ack_id in (None, 1)


def test_an_acknowledgement_needs_an_id() -> None:
    for text in ("3[]", "3/admin,[]", "61-[]"):
        with pytest.raises(SocketPacketError, match="without an id"):
            parse_head(text, LIMITS)


@pytest.mark.parametrize(
    "text",
    ["5x-", "5-", "5--1-", "51.0-", "51e3-", "5", '5["a"]', '51["a"]', '5²-["a"]', "01-", "11-", "21-", "31-", "6[]"],
)
def test_s18_only_binary_types_count_attachments_and_they_must(text: str) -> None:
    with pytest.raises(SocketPacketError, match="count their attachments"):
        parse_head(text, LIMITS)


@pytest.mark.parametrize("count", ["00", "01", "12345678901", "1" * 10_000])
def test_s18_an_attachment_count_has_few_digits_and_no_leading_zeros(count: str) -> None:
    with pytest.raises(SocketPacketError, match="attachments"):
        parse_head(f'5{count}-["a"]', LIMITS)


def test_max_attachments() -> None:
    limits = Limits(max_attachments=7)
    assert [parse_head(f"5{n}-[]", limits).n_attachments for n in (6, 7)] == [6, 7]
    with pytest.raises(SocketPacketError, match="8 is more than 7"):
        parse_head("58-[]", limits)


def test_max_namespace_length_s05() -> None:
    limits = Limits(max_namespace_length=8)
    for name in ("/" + "n" * 6, "/" + "n" * 7):
        assert parse_head(f"0{name},", limits).namespace == name
    with pytest.raises(SocketPacketError, match="too long"):
        parse_head("0/" + "n" * 8 + ",", limits)


@pytest.mark.parametrize("name", ["/%2f", "/*", "/a b", "/\x00\x1f\n", "/a?query", "/é", "//"])
def test_s05_a_namespace_is_taken_verbatim(name: str) -> None:
    assert parse_head(f"0{name},", LIMITS).namespace == name


@pytest.mark.parametrize("unit", ["9", "/", ",", "/n", "-", "5-", "\\", '"', "0", "1,"])
@pytest.mark.parametrize("start", ["5", "2", "2/", "51-/"])
def test_r05_a_head_is_read_in_linear_time(start: str, unit: str) -> None:
    # Backtracking over a megabyte would take hours.
    for exponent in range(10, 21):
        with contextlib.suppress(SocketPacketError):
            parse_head(start + unit * (2**exponent // len(unit)), LIMITS)


@given(st.text())
def test_r08_any_text_is_a_head_or_a_packet_error(text: str) -> None:
    try:
        head = parse_head(text, LIMITS)
    except SocketPacketError:
        return
    assert 1 <= head.json_start <= len(text)
    assert head.namespace.startswith("/")


@given(
    st.sampled_from([EVENT, CONNECT, DISCONNECT, CONNECT_ERROR]),
    st.one_of(st.just("/"), st.text(st.characters(exclude_characters=","), max_size=200).map("/".__add__)),
    st.none() | st.integers(0, MAX_ACK_ID),
)
def test_what_is_written_is_read(type_: PacketType, namespace: str, ack_id: int | None) -> None:
    text = format_head(type_, namespace, ack_id, 0)
    assert parse_head(text + "[", LIMITS) == (type_, 0, namespace, ack_id, len(text))


@given(
    st.sampled_from([BINARY_EVENT, BINARY_ACK]),
    st.integers(1, LIMITS.max_attachments),
    st.sampled_from(["/", "/admin", "/1", "/1-2"]),
    st.integers(0, MAX_ACK_ID),
)
def test_what_is_written_of_attachments_is_read(type_: PacketType, n: int, namespace: str, ack_id: int) -> None:
    text = format_head(type_, namespace, ack_id, n)
    assert parse_head(text + "[", LIMITS) == (type_, n, namespace, ack_id, len(text))


GOOD_PAYLOADS = [
    (CONNECT, [None, {}, {"token": 1}]),
    (DISCONNECT, [None]),
    (EVENT, [["a"], [""], [7], [1.5], ["a", None], ["message"], ["error"], ["ping"], ["__class__"], ["on_x"], ["*"]]),
    (BINARY_EVENT, [["a", {"_placeholder": True, "num": 0}]]),
    (ACK, [[], [None], ["connect"]]),
    (BINARY_ACK, [[]]),
    (CONNECT_ERROR, ["no", {}, {"message": "no"}]),
]
BAD_PAYLOADS = [
    (CONNECT, [[], "token", 1, 0, True, False]),  # S07
    (DISCONNECT, [[], {}, "", 0, False]),  # S38
    (EVENT, [None, {}, [], [None], [{}], [[]], [True], [False], "a", 2, *([name] for name in RESERVED_EVENTS)]),  # S10
    (BINARY_EVENT, [None, {}, [], [None], [{"_placeholder": True, "num": 0}], ["connect"]]),
    (ACK, [None, {}, "a", 0]),
    (BINARY_ACK, [None, {}]),
    (CONNECT_ERROR, [None, [], 1]),
]


@pytest.mark.parametrize(("type_", "data"), [(type_, data) for type_, many in GOOD_PAYLOADS for data in many])
def test_s12_a_payload_that_is_right(type_: PacketType, data: object) -> None:
    check_payload(type_, data, LIMITS)


@pytest.mark.parametrize(("type_", "data"), [(type_, data) for type_, many in BAD_PAYLOADS for data in many])
def test_s10_s11_a_payload_that_is_wrong(type_: PacketType, data: object) -> None:
    with pytest.raises(SocketPacketError):
        check_payload(type_, data, LIMITS)


def test_s11_the_reserved_names_are_the_originals() -> None:
    assert {
        "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener",
    } == RESERVED_EVENTS  # fmt: skip


def test_max_event_name_s13() -> None:
    limits = Limits(max_event_name=5)
    for good in ("abcd", "abcde", 12345, 123.4):
        check_payload(EVENT, [good], limits)
    for bad in ("abcdef", 123456, 123.45):
        with pytest.raises(SocketPacketError):
            check_payload(EVENT, [bad], limits)


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "0"), (7, "7"), (-1, "-1"), (1.0, "1"), (-0.0, "0"), (1.5, "1.5"), (1e20, "1" + "0" * 20), (1e21, "1e+21")],
)
def test_s13_a_number_names_an_event_as_javascript_writes_it(number: float, name: str) -> None:
    assert event_name(number) == name


def test_s13_a_text_is_its_own_name() -> None:
    assert event_name("1.0") == "1.0"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(PacketType), JSON)
def test_r08_any_json_value_is_a_payload_or_a_packet_error(type_: PacketType, data: object) -> None:
    try:
        check_payload(type_, data, LIMITS)
    except SocketPacketError:
        return
    if type_ in (EVENT, BINARY_EVENT):
        assert isinstance(data, list)
        assert event_name(data[0]) not in RESERVED_EVENTS


# What another parser has read


@pytest.mark.parametrize(
    "packet",
    [
        Packet(CONNECT, "/"),
        Packet(CONNECT, "/admin", {"token": "x"}),
        Packet(DISCONNECT, "/"),
        Packet(EVENT, "/", ["a"]),
        Packet(EVENT, "/", ["a", b"bytes"], 0),
        Packet(ACK, "/", [], MAX_ACK_ID),
        Packet(CONNECT_ERROR, "/", {"message": "no"}),
    ],
)
def test_a_packet_that_is_right(packet: Packet) -> None:
    check_packet(packet, LIMITS, 100)


def test_a_type_may_be_its_number() -> None:
    packet = Packet(2, "/", ["a"])  # type: ignore[arg-type]
    check_packet(packet, LIMITS, 10)
    assert packet.type is EVENT


def bad(type_: object = EVENT, namespace: object = "/", data: object = None, ack_id: object = None) -> Packet:
    """Make what a careless parser could return: an event, but for what is given."""
    data = ["a"] if data is None and type_ is EVENT else data
    return Packet(type_, namespace, data, ack_id)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (["a"], "not a packet but a list"),
        (None, "not a packet but a NoneType"),
        (bad(7), "unknown packet type 7"),
        (bad(-1), "unknown packet type -1"),
        (bad(True), "unknown packet type True"),
        (bad("2"), "unknown packet type '2'"),
        (bad([]), "unknown packet type"),
        (bad(None), "unknown packet type None"),
        (bad(BINARY_EVENT, data=["a"]), "unknown packet type"),
        (bad(BINARY_ACK, data=[], ack_id=1), "unknown packet type"),
        (bad(namespace="admin"), "starts with a slash"),
        (bad(namespace=""), "starts with a slash"),
        (bad(namespace=b"/"), "starts with a slash"),
        (bad(namespace=None), "starts with a slash"),
        (bad(namespace="/a,b"), "no comma"),
        (bad(namespace="/a\ud800"), "no half of a character"),
        (bad(ACK, data=[]), "without an id"),
        (bad(ack_id=-1), "acknowledgement id"),
        (bad(ack_id=MAX_ACK_ID + 1), "acknowledgement id"),
        (bad(ack_id="1"), "acknowledgement id"),
        (bad(ack_id=1.0), "acknowledgement id"),
        (bad(ACK, data=[], ack_id=False), "acknowledgement id"),
        (bad(data=["connect"]), "the payload of a packet of type EVENT"),
        (bad(DISCONNECT, data={}), "the payload of a packet of type DISCONNECT"),
    ],
)
def test_a_packet_that_is_wrong(packet: Packet, why: str) -> None:
    with pytest.raises(SocketPacketError, match=why):
        check_packet(packet, LIMITS, 10)


def test_limits_hold_for_a_packet_that_another_parser_has_read() -> None:
    limits = Limits(max_namespace_length=4, max_auth_bytes=50, max_event_name=5)
    check_packet(Packet(CONNECT, "/abc", {}), limits, 50)
    check_packet(Packet(EVENT, "/", ["abcde"]), limits, 51)
    for packet, n_bytes, why in (
        (Packet(CONNECT, "/abcd", {}), 50, "name is too long"),
        (Packet(CONNECT, "/abc", {}), 51, "auth object is too large"),
        (Packet(EVENT, "/", ["abcdef"]), 10, "not valid"),
    ):
        with pytest.raises(SocketPacketError, match=why):
            check_packet(packet, limits, n_bytes)


ANYTHING = JSON | st.binary() | st.sampled_from([*PacketType, "/", "/admin", MAX_ACK_ID])


@given(ANYTHING, ANYTHING, ANYTHING, ANYTHING)
def test_r08_whatever_a_parser_returns_is_a_packet_or_a_packet_error(
    type_: object, namespace: object, data: object, ack_id: object
) -> None:
    packet = Packet(type_, namespace, data, ack_id)  # type: ignore[arg-type]
    with contextlib.suppress(SocketPacketError):
        check_packet(packet, LIMITS, 10)
        assert isinstance(packet.type, PacketType)
        assert packet.namespace[0] == "/"
