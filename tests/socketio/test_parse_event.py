"""`parse_event` against `Decoder`, which is its specification: it may leave a text to that, and never differ."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from telex.errors import SocketPacketError
from telex.limits import Limits
from telex.socketio.packets import PacketType
from telex.socketio.parsers import SMALL_JSON, Decoder, parse_event

LIMITS = [Limits(), Limits(max_json_nodes=SMALL_JSON, max_json_depth=3, max_number_digits=5, max_event_name=4)]

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
)
namespaces = st.sampled_from(["", "/", "/,", "/a,", "/a/b?c=1,", "/a[,", "/ü,", ",", "a,", "/a"]) | st.text(max_size=5)
ack_ids = st.sampled_from(["", "0", "7", "07", "00", "123456789012345", "1234567890123456", "9" * 30, "-1", "१", "1 "])
names = st.sampled_from(["chat", "connect", "disconnect", "disconnecting", "newListener", "x" * 300, ""]) | st.text()


@st.composite
def events(draw: st.DrawFn) -> str:
    """Write what is an event, or nearly."""
    args = draw(st.lists(values, max_size=4))
    first = draw(names | values)
    text = json.dumps([first, *args], ensure_ascii=draw(st.booleans()))
    where = draw(st.integers(0, len(text)))
    change = draw(st.sampled_from(["none"] * 4 + ["cut", "insert", "placeholder"]))
    if change == "cut":
        text = text[:where] + text[where + 1 :]
    elif change == "insert":
        text = text[:where] + draw(st.sampled_from(list('[]{}",:\\0 9e\ud800'))) + text[where:]
    elif change == "placeholder":
        text = json.dumps([first, *args, {"_placeholder": True, "num": 0}])
    return "2" + draw(namespaces) + draw(ack_ids) + text


def check(text: str) -> None:
    for limits in LIMITS:
        found = parse_event(text, limits)
        if found is None:
            continue
        try:
            packet = Decoder(limits).add(text)
        except SocketPacketError as error:
            raise AssertionError(f"{text!r} was read as {found}, and is refused: {error}") from error
        assert packet is not None, text
        namespace, event, args, ack_id = found
        assert packet.type is PacketType.EVENT
        assert (packet.namespace, packet.ack_id) == (namespace, ack_id), text
        assert repr(packet.data) == repr([event, *args]), text


@given(events())
@example('2["a"]')
@example('2/a["a"]')
@example('2/["a"]')
@example("2[]")
@example("2[[[[]]]]")
@example('2["a",123456]')
@example('2["a",1e400]')
@example('2["\\ud800"]')
@example('2["a","\\ud83d"]')
@example('2/a,12["a"]')
@example('2["a"] ')
def test_on_what_is_nearly_an_event(text: str) -> None:
    check(text)


@given(st.text(alphabet='2/,[]{}":\\ae019 _\n\ud800', max_size=30).map(lambda text: "2" + text))
def test_on_any_text(text: str) -> None:
    check(text)


def test_what_is_plain_is_not_left_to_the_decoder() -> None:
    assert parse_event('2["chat","x",1,{"a":[null]}]', LIMITS[0]) == ("/", "chat", ["x", 1, {"a": [None]}], None)
    assert parse_event('2/admin,7["chat"]', LIMITS[0]) == ("/admin", "chat", [], 7)
    assert parse_event('20["chat"]', LIMITS[0]) == ("/", "chat", [], 0)
