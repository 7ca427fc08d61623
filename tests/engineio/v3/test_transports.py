"""The websocket transports of protocol v3: bytes have a type, or are base64, both ways."""

from __future__ import annotations

from typing import cast

import pytest

from telex.engineio.packets import message
from telex.engineio.revisions import V3, V4, asked_for, revision_of
from telex.engineio.session import CloseReason, Session, State
from telex.engineio.transports.polling import PollingTransport
from telex.engineio.v3.transports import (
    Base64PollingTransport,
    Base64StreamTransport,
    Base64WebSocketTransport,
    JsonpTransport,
    PollingTransportV3,
    StreamTransportV3,
    WebSocketTransportV3,
)
from telex.streams.deadlines import Deadlines
from telex.types import Data
from tests.engineio.harness import Floor, ManualClock, MemoryPolling
from tests.engineio.transports.test_websocket import LIMITS, MemoryChannel


class Scene:
    """A session of v3 on a channel in memory, or one on polling with that as its candidate."""

    def __init__(self, query: str = "", *, as_candidate: bool = False) -> None:
        revision = revision_of(3, dict([query.split("=")] if query else []))
        self.channel = MemoryChannel()
        self.transport = revision.websocket(self.channel, LIMITS)
        self.floor = Floor()
        self.finished: list[Session] = []
        polling = MemoryPolling()
        self.session = revision.session(
            "sid",
            polling if as_candidate else self.transport,
            limits=LIMITS,
            deadlines=Deadlines(ManualClock()),
            finished=self.finished.append,
        )
        self.session.sink = self.floor
        self.transport.session = polling.session = self.session
        if as_candidate:
            assert self.session.add_candidate(self.transport)


def test_what_asks_for_which_protocol() -> None:
    queries: list[dict[str, str]] = [{"EIO": "4"}, {"EIO": "3"}, {}, {"EIO": ""}, {"EIO": "2"}, {"EIO": "5"}]
    assert [asked_for(query) for query in queries] == [4, 3, 3, 0, 0, 0]


def test_what_serves_whom() -> None:
    assert revision_of(4, {}) is revision_of(4, {"b64": "1", "j": "0"}) is V4
    assert revision_of(3, {}) is V3
    assert (V3.polling, V3.websocket, V3.stream) == (PollingTransportV3, WebSocketTransportV3, StreamTransportV3)
    text = revision_of(3, {"b64": "1"})
    assert (text.polling, text.websocket) == (Base64PollingTransport, Base64WebSocketTransport)
    assert text.stream is Base64StreamTransport
    assert revision_of(3, {"b64": "1", "j": "0"}).polling is JsonpTransport
    assert V4.polling is PollingTransport
    assert not issubclass(V4.session, V3.session)


def test_a_session_of_v4_is_no_larger_for_there_being_another() -> None:
    assert V3.session.__basicsize__ == V4.session.__basicsize__
    assert "protocol" not in cast("tuple[str, ...]", V4.session.__slots__)


@pytest.mark.parametrize(("query", "binary"), [("", b"\4two"), ("b64=1", "b4dHdv")])
def test_each_packet_is_one_message(query: str, binary: Data) -> None:
    scene = Scene(query)
    scene.session.send([message("one"), message(b"two"), message("three", compress=False)])
    assert scene.channel.calls == [("send", "4one", True), ("send", binary, True), ("send", "4three", False)]


@pytest.mark.parametrize("query", ["", "b64=1"])
def test_bytes_are_taken_in_both_forms(query: str) -> None:
    scene = Scene(query)
    for wire in ("4one", b"\4two", "b4dHdv", "4", b"\4", "b4", "2"):
        scene.transport.message_received(wire)
    assert scene.floor.events == ["one", b"two", b"two", "", b"", b""]
    assert scene.channel.calls == [("send", "3", True)]


@pytest.mark.parametrize("wire", ["", "7", b"two", b"", b"\2", "bAAAA", "b4AAA", "b2", "0{}", "5", "6", " 4"])
def test_a_message_that_is_no_packet_now(wire: Data) -> None:
    scene = Scene()
    scene.transport.message_received(wire)
    assert scene.channel.calls == [("close", 1002)]
    assert scene.floor.events == [CloseReason.PARSE_ERROR]
    assert scene.finished == [scene.session]
    for late in ("4late", b"\4late", b"late"):
        scene.transport.message_received(late)
    scene.transport.channel_closed()
    assert scene.floor.events == [CloseReason.PARSE_ERROR]
    assert scene.channel.calls == [("close", 1002)]


@pytest.mark.parametrize("wire", ["4" + "x" * 100, b"\4" + b"x" * 101, "b4" + "AAAA" * 34])
def test_a_message_over_the_bound(wire: Data) -> None:
    scene = Scene()
    scene.transport.message_received(wire)
    assert scene.channel.calls == [("close", 1009)]
    assert scene.floor.events == [CloseReason.TRANSPORT_ERROR]


@pytest.mark.parametrize("wire", ["7", b"binary", b"\4binary", "b4AA", "4hi", "2xyz"])
def test_a_bad_message_on_a_candidate_costs_only_the_candidate(wire: Data) -> None:
    scene = Scene(as_candidate=True)
    scene.transport.message_received(wire)
    scene.transport.channel_closed()
    assert [call[0] for call in scene.channel.calls] == ["close"]
    assert scene.session.state is State.OPEN
    assert scene.floor.events == []
