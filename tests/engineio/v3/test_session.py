"""A session of protocol v3: the client pings, and everything else is as in v4."""

from __future__ import annotations

import pytest

from telex.engineio.packets import PacketType, message
from telex.engineio.session import CloseReason
from telex.engineio.v3.session import SessionV3
from telex.limits import Limits
from tests.engineio.harness import MemoryPolling, MemoryWebSocket, Scene

LIMITS = Limits(ping_interval=25, ping_timeout=20)


class OldScene(Scene):
    """A session of v3 in place of the other."""

    def __init__(self, transport: MemoryPolling | MemoryWebSocket, limits: Limits = LIMITS) -> None:
        super().__init__(transport, limits)
        self.session.abort()
        self.finished.clear()
        transport.is_discarded = False
        self.floor.events.clear()
        self.session = SessionV3(
            "sid", transport, limits=limits, deadlines=self.deadlines, finished=self.finished.append
        )
        self.session.sink = self.floor
        transport.session = self.session


def test_the_server_does_not_ping() -> None:
    transport = MemoryWebSocket()
    scene = OldScene(transport)
    scene.clock.advance(44)
    assert transport.sent == []
    assert scene.session.is_open
    assert SessionV3.protocol == 3


@pytest.mark.parametrize("n_pings", [0, 1, 3])
def test_a_ping_is_answered_and_is_what_keeps_a_session(n_pings: int) -> None:
    transport = MemoryWebSocket()
    scene = OldScene(transport)
    for _ in range(n_pings):
        scene.clock.advance(40)
        scene.receive(transport, PacketType.PING)
    assert transport.sent == ["3"] * n_pings
    scene.clock.advance(44)
    assert scene.session.is_open
    scene.clock.advance(1.1)
    assert scene.floor.events == [CloseReason.PING_TIMEOUT]
    assert scene.is_over()


def test_a_message_is_no_ping() -> None:
    transport = MemoryWebSocket()
    scene = OldScene(transport)
    scene.clock.advance(40)
    scene.receive(transport, PacketType.MESSAGE, "hello")
    scene.clock.advance(5.1)
    assert scene.floor.events == ["hello", CloseReason.PING_TIMEOUT]
    assert scene.is_over()


def test_a_ping_of_a_client_that_polls_is_answered_in_its_next_poll() -> None:
    transport = MemoryPolling()
    scene = OldScene(transport)
    scene.receive(transport, PacketType.PING)
    assert transport.answers == []
    transport.poll()
    assert transport.answers == [["3"]]


def test_a_pong_is_in_the_wrong_direction() -> None:
    transport = MemoryWebSocket()
    scene = OldScene(transport)
    scene.receive(transport, PacketType.PONG)
    assert scene.floor.events == [CloseReason.TRANSPORT_ERROR]
    assert scene.is_over()


def test_a_flood_of_pings_ends_the_session() -> None:
    transport = MemoryWebSocket()
    scene = OldScene(transport, Limits(max_control_burst=3, max_control_per_second=1))
    for _ in range(3):
        scene.receive(transport, PacketType.PING)
    assert scene.session.is_open
    scene.receive(transport, PacketType.PING)
    assert scene.floor.events == [CloseReason.PARSE_ERROR]
    assert transport.sent == ["3"] * 3
    assert scene.is_over()


def test_messages_always_go_straight_to_the_floor_above() -> None:
    transport = MemoryWebSocket()
    scene = OldScene(transport)
    assert transport.direct is scene.floor
    scene.receive(transport, PacketType.PING)
    assert transport.direct is scene.floor
    scene.session.close()
    assert transport.direct is None


def test_a_client_whose_ping_may_lie_unread_is_waited_for() -> None:
    transport = MemoryWebSocket()
    scene = OldScene(transport)
    scene.session.pause_reading()
    scene.clock.advance(200)
    assert scene.session.is_open
    scene.session.resume_reading()
    scene.clock.advance(44)
    scene.receive(transport, PacketType.PING)
    scene.clock.advance(44)
    assert scene.session.is_open
    scene.clock.advance(2)
    assert scene.floor.events == [CloseReason.PING_TIMEOUT]


def test_a_floor_that_lags_for_ever_does_not_keep_a_session() -> None:
    scene = OldScene(MemoryWebSocket())
    scene.session.pause_reading()
    scene.clock.advance(45 * 12)
    assert scene.floor.events == [CloseReason.PING_TIMEOUT]
    assert scene.is_over()


def test_the_upgrade_is_that_of_v4() -> None:
    polling = MemoryPolling()
    scene = OldScene(polling)
    candidate = scene.probed()
    assert candidate.sent == ["3probe"]
    polling.poll()
    scene.clock.advance(0.1)
    assert polling.answers == [["6"]]
    scene.session.send([message("after")])
    scene.receive(candidate, PacketType.UPGRADE)
    scene.receive(candidate, PacketType.PING)
    assert candidate.sent == ["3probe", "4after", "3"]
    scene.session.abort()
    assert scene.is_over()


def test_an_end_leaves_no_deadline() -> None:
    for end in (SessionV3.abort, SessionV3.close):
        transport = MemoryWebSocket()
        scene = OldScene(transport)
        end(scene.session)  # type: ignore[arg-type]  # it is one
        scene.session.fail(transport, CloseReason.TRANSPORT_CLOSE)
        assert scene.floor.events == [CloseReason.FORCED_CLOSE]
        assert scene.is_over()
