"""Packets of protocol v3: only bytes are written otherwise than in v4."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telex.engineio.packets import PING, message
from telex.engineio.v3.packets import from_wire, text_of, to_wire
from telex.errors import EnginePacketError
from telex.types import Data


def test_a_text_is_the_same_packet() -> None:
    packet = message("€")
    assert to_wire(packet, takes_binary=True) is packet
    assert to_wire(packet, takes_binary=False) is packet
    assert text_of(packet) == "4€"
    assert text_of(PING) == "2"


@pytest.mark.parametrize("compress", [True, False])
def test_bytes_have_a_type_in_front(compress: bool) -> None:
    packet = message(b"\1\2\3\4", compress)
    sent = to_wire(packet, takes_binary=True)
    assert (sent.wire, sent.compress) == (b"\4\1\2\3\4", compress)
    sent = to_wire(packet, takes_binary=False)
    assert (sent.wire, sent.compress) == ("b4AQIDBA==", compress)
    assert packet.text() == "bAQIDBA=="  # and what v4 clients are sent is what it was


@given(st.one_of(st.text(), st.binary()), st.booleans())
def test_messages_survive(data: Data, takes_binary: bool) -> None:
    packet = message(data)
    assert from_wire(to_wire(packet, takes_binary=takes_binary).wire) == packet.wire


@pytest.mark.parametrize("wire", [b"", b"\2probe", b"\x344", b"\xff", "b", "b2", "bAQIDBA==", "b4AQI", "b4 AQIDBA=="])
def test_what_is_no_message_in_binary(wire: Data) -> None:
    with pytest.raises(EnginePacketError):
        from_wire(wire)
