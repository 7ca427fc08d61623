"""What waits in a session is handed over no faster than the transport has room, and can be taken back until then."""

from __future__ import annotations

from telex.engineio.packets import PacketType, message
from telex.limits import Limits
from telex.types import Data
from tests.engineio.harness import MemoryPolling, MemoryWebSocket, Scene

HIGH = 100
LIMITS = Limits(send_buffer_high=HIGH, send_buffer_max=1000)


def on_websocket() -> tuple[Scene, MemoryWebSocket]:
    websocket = MemoryWebSocket(HIGH)
    websocket.is_reading = False
    return Scene(websocket, LIMITS), websocket


def post(scene: Scene, *messages: Data) -> int | None:
    return scene.session.post([message(data) for data in messages])


def waiting(scene: Scene, *messages: Data) -> int:
    ticket = post(scene, *messages)
    assert ticket is not None
    return ticket


def test_what_leaves_at_once_has_no_ticket() -> None:
    scene, websocket = on_websocket()
    assert post(scene, "one") is None
    assert websocket.sent == ["4one"]


def test_what_waits_can_be_taken_back_whole() -> None:
    scene, websocket = on_websocket()
    post(scene, "x" * HIGH)
    first, second, third = waiting(scene, "1", b"1"), waiting(scene, "2", b"2"), waiting(scene, "3")
    before = scene.session.buffered_bytes
    assert scene.session.withdraw(second)
    assert not scene.session.withdraw(second)
    assert scene.session.buffered_bytes < before
    assert [scene.session.is_waiting(ticket) for ticket in (first, second, third)] == [True, False, True]
    websocket.take(websocket.buffered_bytes)
    assert websocket.sent[1:] == ["41", b"1", "43"]
    assert not scene.session.withdraw(first)
    assert scene.session.is_clear


def test_a_websocket_is_handed_no_more_than_it_has_room_for() -> None:
    scene, websocket = on_websocket()
    post(scene, "x" * HIGH)
    tickets = [waiting(scene, str(n) * 49) for n in range(9)]
    websocket.take(websocket.buffered_bytes)
    n_waiting = sum(map(scene.session.is_waiting, tickets))
    assert 0 < n_waiting < 9
    assert len(websocket.sent) == 1 + 9 - n_waiting
    assert HIGH < websocket.buffered_bytes <= HIGH * 2
    while scene.session.buffered_bytes:
        websocket.take(websocket.buffered_bytes)
    assert websocket.sent[1:] == ["4" + str(n) * 49 for n in range(9)]


def test_a_poll_is_answered_with_all_that_waits() -> None:
    polling = MemoryPolling()
    scene = Scene(polling, LIMITS)
    tickets = [waiting(scene, str(n) * 49) for n in range(9)]
    assert scene.session.withdraw(tickets[4])
    polling.poll()
    assert polling.answers == [["4" + str(n) * 49 for n in range(9) if n != 4]]


def test_what_is_taken_back_is_no_progress_of_the_peer() -> None:
    scene, _ = on_websocket()
    post(scene, "x" * HIGH * 2)
    for _ in range(10):
        ticket = waiting(scene, "1")
        scene.clock.advance(1)
        scene.session.withdraw(ticket)
    assert not scene.session.is_open


def test_room_that_taking_back_makes_is_told_with_the_next_flush() -> None:
    polling = MemoryPolling()
    scene = Scene(polling, LIMITS)
    ticket = waiting(scene, "x" * HIGH)
    assert scene.session.is_lagging
    scene.session.withdraw(ticket)
    assert "room" not in scene.floor.events
    scene.session.flush()
    assert scene.floor.events.count("room") == 1
    assert not scene.session.is_lagging
    assert scene.session.is_clear


def test_tickets_outlive_an_upgrade() -> None:
    polling = MemoryPolling()
    scene = Scene(polling, LIMITS)
    candidate = scene.probed()
    first, second = waiting(scene, "1"), waiting(scene, "2")
    scene.session.withdraw(first)
    scene.receive(candidate, PacketType.UPGRADE)
    assert candidate.sent[1:] == ["42"]
    assert not scene.session.is_waiting(second)


def test_after_the_end_nothing_waits() -> None:
    scene, _ = on_websocket()
    post(scene, "x" * HIGH)
    ticket = waiting(scene, "1")
    scene.session.abort()
    assert not scene.session.is_waiting(ticket)
    assert not scene.session.withdraw(ticket)
    assert post(scene, "2") is None


def test_what_finds_no_room_at_all_has_no_ticket_and_ends_the_session() -> None:
    scene, _ = on_websocket()
    post(scene, "x" * HIGH)
    waiting(scene, "1")
    assert post(scene, "x" * 1000) is None
    scene.clock.advance(0)
    assert not scene.session.is_open


def test_a_session_that_closes_hands_over_all_of_it() -> None:
    scene, websocket = on_websocket()
    post(scene, "x" * HIGH)
    for n in range(5):
        waiting(scene, str(n) * 90)
    scene.session.close()
    while scene.session.buffered_bytes:
        websocket.take(websocket.buffered_bytes)
    assert websocket.sent[1:] == ["4" + str(n) * 90 for n in range(5)]
