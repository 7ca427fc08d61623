"""The websocket transport: one packet per message, on a channel in memory."""

from __future__ import annotations

import pytest

from telex.engineio.packets import message
from telex.engineio.session import CloseReason, Session, State
from telex.engineio.transports.websocket import WebSocketTransport
from telex.limits import Limits
from telex.streams.deadlines import Deadlines
from telex.types import Data
from tests.engineio.harness import Floor, ManualClock, MemoryPolling

LIMITS = Limits(max_payload=100, send_buffer_high=50)


class MemoryChannel:
    """Remember what was asked of it."""

    def __init__(self) -> None:
        self.buffered_bytes = 0
        self.calls: list[tuple[object, ...]] = []

    def send(self, message: Data, compress: bool) -> None:
        self.calls.append(("send", message, compress))

    def close(self, code: int, reason: str = "") -> None:
        self.calls.append(("close", code))

    def abort(self, code: int) -> None:
        self.calls.append(("abort", code))

    def pause_reading(self) -> None:
        self.calls.append(("pause",))

    def resume_reading(self) -> None:
        self.calls.append(("resume",))


class Scene:
    """A session on a websocket transport, or one on polling with the transport as its candidate."""

    def __init__(self, *, as_candidate: bool = False) -> None:
        self.channel = MemoryChannel()
        self.transport = WebSocketTransport(self.channel, LIMITS)
        self.floor = Floor()
        self.finished: list[Session] = []
        self.deadlines = Deadlines(ManualClock())
        polling = MemoryPolling()
        self.session = Session(
            "sid",
            polling if as_candidate else self.transport,
            limits=LIMITS,
            deadlines=self.deadlines,
            finished=self.finished.append,
        )
        self.session.sink = self.floor
        self.transport.session = polling.session = self.session
        if as_candidate:
            assert self.session.add_candidate(self.transport)


def test_each_packet_is_one_message() -> None:
    scene = Scene()
    scene.session.send([message("one"), message(b"two"), message("three", compress=False)])
    assert scene.channel.calls == [("send", "4one", True), ("send", b"two", True), ("send", "4three", False)]


def test_each_message_is_one_packet() -> None:
    scene = Scene()
    for wire in ("4one", b"two", "4", b"", "4" + "x" * 99, b"x" * 100, "4" + "€" * 33):
        scene.transport.message_received(wire)
    assert scene.floor.events == ["one", b"two", "", b"", "x" * 99, b"x" * 100, "€" * 33]
    assert scene.channel.calls == []


@pytest.mark.parametrize("wire", ["", "7", "bAAAA", "abc", "0{}", "5", "6", " 4"])
def test_e14_e18_e42_a_message_that_is_no_packet_now(wire: str) -> None:
    scene = Scene()
    scene.transport.message_received(wire)
    assert scene.channel.calls == [("close", 1002)]
    assert scene.floor.events == [CloseReason.PARSE_ERROR]
    assert scene.finished == [scene.session]
    scene.transport.message_received("4too late")
    scene.transport.channel_closed()
    assert scene.floor.events == [CloseReason.PARSE_ERROR]
    assert scene.channel.calls == [("close", 1002)]


@pytest.mark.parametrize("wire", ["4" + "x" * 100, b"x" * 101, "4" + "€" * 34])
def test_a_message_over_the_bound(wire: Data) -> None:
    scene = Scene()
    scene.transport.message_received(wire)
    assert scene.channel.calls == [("close", 1009)]
    assert scene.floor.events == [CloseReason.TRANSPORT_ERROR]
    assert scene.finished == [scene.session]


@pytest.mark.parametrize("wire", ["7", "", b"binary", "4hi", "2xyz", "2", "x" * 1000, b"x" * 1000])
def test_e25_a_bad_message_on_a_candidate_costs_only_the_candidate(wire: Data) -> None:
    scene = Scene(as_candidate=True)
    scene.transport.message_received(wire)
    scene.transport.channel_closed()
    assert [call[0] for call in scene.channel.calls] == ["close"]
    assert scene.session.state is State.OPEN
    assert scene.floor.events == []


@pytest.mark.parametrize(
    ("is_clean", "reason"), [(True, CloseReason.TRANSPORT_CLOSE), (False, CloseReason.TRANSPORT_ERROR)]
)
def test_the_channel_ends(is_clean: bool, reason: CloseReason) -> None:
    scene = Scene()
    scene.transport.channel_closed(is_clean=is_clean)
    scene.transport.channel_closed(is_clean=is_clean)
    assert scene.floor.events == [reason]
    assert scene.finished == [scene.session]
    assert scene.channel.calls == []  # there is nobody to say good-bye to
    assert not scene.transport.is_writable
    scene.transport.writing_resumed()


def test_a_candidate_s_channel_ends() -> None:
    scene = Scene(as_candidate=True)
    scene.transport.channel_closed()
    assert scene.session.state is State.OPEN
    assert scene.channel.calls == []


def test_a_client_s_close_packet() -> None:
    scene = Scene()
    scene.transport.message_received("1")
    assert scene.channel.calls == [("abort", 1000)]  # and no "noop": no poll is parked here
    assert scene.floor.events == [CloseReason.TRANSPORT_CLOSE]


def test_close_says_it_with_the_close_frame() -> None:
    scene = Scene()
    scene.session.send([message("farewell")])
    scene.session.close()
    assert scene.channel.calls == [("send", "4farewell", True), ("resume",), ("close", 1000)]
    scene.transport.message_received("4too late")
    scene.transport.channel_closed()
    assert scene.floor.events == [CloseReason.FORCED_CLOSE]
    assert scene.finished == [scene.session]


def test_abort_cuts() -> None:
    scene = Scene()
    scene.session.abort()
    assert scene.channel.calls == [("abort", 1000)]


def test_packets_wait_while_the_channel_has_no_room() -> None:
    scene = Scene()
    scene.channel.buffered_bytes = 51
    scene.session.send([message("waits")])
    assert scene.channel.calls == []
    assert scene.session.buffered_bytes == 51 + 6
    scene.channel.buffered_bytes = 50
    scene.transport.writing_resumed()
    assert scene.channel.calls == [("send", "4waits", True)]


def test_reading_is_the_channel_s() -> None:
    scene = Scene()
    scene.session.pause_reading()
    scene.session.resume_reading()
    assert scene.channel.calls == [("pause",), ("resume",)]


def test_the_upgrade() -> None:
    scene = Scene(as_candidate=True)
    scene.transport.message_received("2probe")
    scene.transport.message_received("5")
    scene.transport.message_received("4right behind it")
    assert scene.session.transport is scene.transport
    assert scene.channel.calls == [("send", "3probe", True)]
    assert scene.floor.events == ["right behind it"]
    assert scene.session.state is State.OPEN
