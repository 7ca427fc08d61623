"""The session: every state against everything that can happen to it, with a clock moved by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from telex.engineio.packets import Packet, PacketType, message
from telex.engineio.session import (
    MAX_UNREAD_BEATS,
    NOOP_INTERVAL,
    POLL_LINGER,
    TRANSITIONS,
    CloseReason,
    Move,
    Session,
    State,
    send_to_all,
)
from telex.errors import EnginePacketError
from telex.limits import Limits
from telex.types import Data
from telex.websocket.frames import FrameReader, Opcode, encode_frame
from tests.engineio.harness import MemoryPolling, MemoryWebSocket, Scene

LIMITS = Limits()
INTERVAL, TIMEOUT = LIMITS.ping_interval, LIMITS.ping_timeout


def on_polling(limits: Limits | None = None) -> tuple[Scene, MemoryPolling]:
    polling = MemoryPolling()
    return Scene(polling, limits), polling


def on_websocket(limits: Limits | None = None) -> tuple[Scene, MemoryWebSocket]:
    websocket = MemoryWebSocket()
    return Scene(websocket, limits), websocket


def send(scene: Scene, *messages: Data) -> None:
    scene.session.send([message(data) for data in messages])


# Every state against every packet

Actors = tuple[Scene, MemoryPolling | MemoryWebSocket, MemoryWebSocket | None]


def make_open() -> Actors:
    return *on_polling(), None


def make_open_on_websocket() -> Actors:
    return *on_websocket(), None


def make_upgraded() -> Actors:
    scene, _ = on_polling()
    candidate = scene.probed()
    scene.receive(candidate, PacketType.UPGRADE)
    return scene, candidate, None


def make_probing() -> Actors:
    scene, polling = on_polling()
    return scene, polling, scene.candidate()


def make_probed() -> Actors:
    scene, polling = on_polling()
    return scene, polling, scene.probed()


def make_closing() -> Actors:
    scene, polling = on_polling()
    scene.session.close()
    return scene, polling, None


def make_closing_probed() -> Actors:
    scene, polling, candidate = make_probed()
    scene.session.close()
    return scene, polling, candidate


def make_closed() -> Actors:
    scene, polling = on_polling()
    scene.session.abort()
    return scene, polling, None


MAKERS: dict[Callable[[], Actors], State] = {
    make_open: State.OPEN,
    make_open_on_websocket: State.OPEN,
    make_upgraded: State.OPEN,
    make_probing: State.PROBING,
    make_probed: State.PROBED,
    make_closing: State.CLOSING,
    make_closing_probed: State.CLOSING_PROBED,
    make_closed: State.CLOSED,
}
STATES = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__.removeprefix("make_"))
OPEN_STATES = {State.OPEN, State.PROBING, State.PROBED}

PACKETS: list[tuple[PacketType, Data]] = [
    (PacketType.OPEN, "{}"),
    (PacketType.CLOSE, ""),
    (PacketType.PING, ""),
    (PacketType.PING, "probe"),
    (PacketType.PONG, ""),
    (PacketType.PONG, "probe"),
    (PacketType.MESSAGE, "text"),
    (PacketType.MESSAGE, b"bytes"),
    (PacketType.UPGRADE, ""),
    (PacketType.NOOP, ""),
]

# What a packet on the session's own transport ends the session with.
ENDS = {
    PacketType.CLOSE: CloseReason.TRANSPORT_CLOSE,
    PacketType.PING: CloseReason.TRANSPORT_ERROR,  # wire.md 2.3: "invalid heartbeat direction"
    PacketType.OPEN: CloseReason.PARSE_ERROR,
    PacketType.UPGRADE: CloseReason.PARSE_ERROR,
    PacketType.NOOP: CloseReason.PARSE_ERROR,
}


def test_every_state_has_its_maker() -> None:
    assert set(MAKERS.values()) == set(State)
    for make, state in MAKERS.items():
        assert make()[0].session.state is state


@STATES
@pytest.mark.parametrize(("kind", "data"), PACKETS)
def test_e18_e21_e42_a_packet_on_the_session_s_transport(
    make: Callable[[], Actors], kind: PacketType, data: Data
) -> None:
    scene, transport, candidate = make()
    told = list(scene.floor.events)
    scene.receive(transport, kind, data)
    state = MAKERS[make]
    if state not in OPEN_STATES:  # E21: what a closed session's client still says is dropped
        assert scene.session.state is state
        assert scene.floor.events == told
    elif kind in ENDS:
        assert scene.floor.events == [ENDS[kind]]
        assert scene.is_over()
        assert transport.is_discarded
        assert candidate is None or candidate.is_closing
    else:
        assert scene.session.state is state
        assert scene.floor.events == ([data] if kind is PacketType.MESSAGE else [])


AFTER_CANDIDATE = {State.PROBING: State.OPEN, State.PROBED: State.OPEN, State.CLOSING_PROBED: State.CLOSING}


@pytest.mark.parametrize("make", [make_probing, make_probed, make_closing_probed])
@pytest.mark.parametrize(("kind", "data"), PACKETS)
def test_e25_a_packet_on_the_candidate(make: Callable[[], Actors], kind: PacketType, data: Data) -> None:
    scene, transport, candidate = make()
    assert candidate is not None
    told = list(scene.floor.events)
    state = MAKERS[make]
    scene.receive(candidate, kind, data)
    assert scene.floor.events == told  # whatever a candidate says, the session goes on
    assert not scene.finished
    if state is State.PROBING and (kind, data) == (PacketType.PING, "probe"):
        assert candidate.sent == ["3probe"]
        assert scene.session.state is State.PROBED
        return
    assert scene.session.state is AFTER_CANDIDATE[state]
    if state is not State.PROBING and kind is PacketType.UPGRADE:
        assert scene.session.transport is candidate
        assert transport.is_discarded
    else:
        assert scene.session.transport is transport
        assert candidate.is_closing


@STATES
@pytest.mark.parametrize(("kind", "data"), PACKETS)
def test_a_packet_on_a_transport_that_is_nobody_s(make: Callable[[], Actors], kind: PacketType, data: Data) -> None:
    scene, _, _ = make()
    told = list(scene.floor.events)
    scene.receive(MemoryWebSocket(), kind, data)
    assert scene.session.state is MAKERS[make]
    assert scene.floor.events == told


# Every state against everything else


@STATES
@pytest.mark.parametrize("reason", CloseReason)
def test_a_transport_fails(make: Callable[[], Actors], reason: CloseReason) -> None:
    scene, transport, candidate = make()
    told = list(scene.floor.events)
    scene.session.fail(transport, reason)
    assert scene.session.state is State.CLOSED
    assert scene.is_over()
    assert scene.floor.events == (told or [reason])  # a session that was closed was told so already
    assert candidate is None or candidate.is_closing


@pytest.mark.parametrize("make", [make_probing, make_probed, make_closing_probed])
def test_a_candidate_fails(make: Callable[[], Actors]) -> None:
    scene, transport, candidate = make()
    assert candidate is not None
    told = list(scene.floor.events)
    scene.session.fail(candidate, CloseReason.TRANSPORT_CLOSE)
    assert scene.session.state is AFTER_CANDIDATE[MAKERS[make]]
    assert scene.session.transport is transport
    assert scene.floor.events == told
    scene.session.fail(candidate, CloseReason.TRANSPORT_CLOSE)  # it is nobody's now
    assert scene.session.state is AFTER_CANDIDATE[MAKERS[make]]


@STATES
def test_close_is_told_once(make: Callable[[], Actors]) -> None:
    scene, _, candidate = make()
    expected = scene.floor.events or [CloseReason.FORCED_CLOSE]
    scene.session.close()
    scene.session.close()
    assert scene.floor.events == expected
    assert not scene.session.is_open
    if candidate is not None:
        # A client whose probe was answered no longer polls: its candidate lives on.
        assert candidate.is_closing == (MAKERS[make] is State.PROBING)


@STATES
def test_abort_ends_everything(make: Callable[[], Actors]) -> None:
    scene, transport, candidate = make()
    expected = scene.floor.events or [CloseReason.FORCED_CLOSE]
    scene.session.abort()
    scene.session.abort()
    assert scene.floor.events == expected
    assert scene.session.state is State.CLOSED
    assert scene.is_over()
    assert transport.is_discarded
    assert candidate is None or candidate.is_closing


@STATES
def test_e26_who_may_start_an_upgrade(make: Callable[[], Actors]) -> None:
    scene, transport, candidate = make()
    late = MemoryWebSocket()
    assert scene.session.add_candidate(late) == (make is make_open)
    assert scene.session.state is (State.PROBING if make is make_open else MAKERS[make])
    assert scene.session.transport is transport
    assert candidate is None or not candidate.is_closing


@STATES
def test_only_an_open_session_sends(make: Callable[[], Actors]) -> None:
    scene, _, _ = make()
    send(scene, "hello")
    assert bool(scene.session.buffered_bytes) == (
        MAKERS[make] in OPEN_STATES and scene.session.transport.name == "polling"
    )
    assert scene.session.is_open == (MAKERS[make] in OPEN_STATES)


@STATES
def test_every_state_ends_when_the_peer_says_nothing_more(make: Callable[[], Actors]) -> None:
    scene, _, _ = make()
    scene.clock.advance(INTERVAL + TIMEOUT + POLL_LINGER)
    assert scene.session.state is State.CLOSED
    assert scene.is_over()


def test_the_table_has_no_way_out_of_the_end_and_one_into_it() -> None:
    assert all(state is not State.CLOSED for state, _ in TRANSITIONS)
    assert {move for (_, move), state in TRANSITIONS.items() if state is State.CLOSED} == {Move.END}


def test_a_session_knows_its_floor_above() -> None:
    scene, _ = on_polling()
    assert scene.session.sink is scene.floor


def test_a_session_without_a_floor_above_is_harmless() -> None:
    for make in MAKERS:
        scene, transport, _ = make()
        scene.session.sink = None
        scene.receive(transport, PacketType.MESSAGE, "nobody listens")
        send(scene, "x" * (LIMITS.send_buffer_high + 1))
        if isinstance(transport, MemoryPolling) and scene.session.is_open:
            transport.poll()
        scene.session.abort()
        assert scene.is_over()


# Sending


def test_packets_wait_for_a_poll_and_leave_in_one_answer() -> None:
    scene, polling = on_polling()
    assert not scene.session.is_writable
    send(scene, "one")
    send(scene, b"two", "three")
    assert scene.session.buffered_bytes == 4 + 3 + 6
    polling.poll()
    assert polling.answers == [["4one", b"two", "4three"]]
    assert scene.session.buffered_bytes == 0


def test_a_parked_poll_takes_packets_at_once() -> None:
    scene, polling = on_polling()
    polling.poll()
    assert scene.session.is_writable
    send(scene, "one")
    send(scene, "two")
    assert polling.answers == [["4one"]]
    assert not scene.session.is_writable
    polling.poll()
    assert polling.answers == [["4one"], ["4two"]]


def test_a_websocket_takes_packets_while_it_has_room() -> None:
    scene, websocket = on_websocket()
    websocket.is_reading = False
    big = "x" * websocket.high
    send(scene, big)
    send(scene, "waits")
    assert websocket.sent == ["4" + big]
    assert not scene.session.is_writable
    websocket.take(1)
    assert websocket.sent == ["4" + big, "4waits"]


def test_nothing_overtakes_what_waits() -> None:
    scene, websocket = on_websocket()
    websocket.is_reading = False
    send(scene, "x" * websocket.high)
    send(scene, "waits")
    websocket.buffered_bytes = 0  # there is room, and the session has not heard of it
    assert not scene.session.is_writable
    send(scene, "behind it")
    assert websocket.sent[1:] == ["4waits", "4behind it"]


def test_what_is_posted_and_does_not_wait_has_no_ticket() -> None:
    scene, polling = on_polling()
    polling.poll()
    assert scene.session.post([message("one")]) is None
    assert polling.answers == [["4one"]]
    scene.session.abort()
    assert scene.session.post([message("two")]) is None
    assert not scene.session.withdraw(0)


def test_what_is_posted_and_finds_room_after_all_has_no_ticket() -> None:
    scene, websocket = on_websocket()
    websocket.is_reading = False
    send(scene, "x" * websocket.high)
    websocket.buffered_bytes = 0  # there is room, and the session has not heard of it
    assert scene.session.post([message("one")]) is None
    assert websocket.sent[1:] == ["4one"]


def test_what_is_posted_and_waits_can_be_taken_back() -> None:
    scene, polling = on_polling()
    first, second, third = (scene.session.post([message(text), message(b"")]) for text in ("one", "two", "three"))
    assert first is not None
    assert second is not None
    assert third is not None
    assert scene.session.is_waiting(second)
    assert scene.session.withdraw(second)
    assert not scene.session.is_waiting(second)
    assert not scene.session.withdraw(second)
    assert scene.session.buffered_bytes == 4 + 6
    polling.poll()
    assert polling.answers == [["4one", b"", "4three", b""]]
    assert not scene.session.is_waiting(first)
    assert not scene.session.withdraw(third)


def test_all_that_waits_can_be_taken_back() -> None:
    scene, polling = on_polling()
    ticket = scene.session.post([message("one")])
    assert ticket is not None
    assert not scene.session.is_clear
    assert scene.session.withdraw(ticket)
    assert scene.session.is_clear
    assert scene.session.buffered_bytes == 0
    polling.poll()
    assert polling.answers == []
    send(scene, "two")
    assert polling.answers == [["4two"]]


def test_who_surely_takes_a_packet_at_once() -> None:
    (one, stream), (two, _), (three, polling) = on_stream(), on_websocket(SMALL), on_polling(SMALL)
    polling.poll()
    assert [scene.session.takes_at_once for scene in (one, two, three)] == [True, False, False]
    stream.is_reading = False
    send(one, b"x" * 200)
    assert not one.session.takes_at_once
    stream.take(stream.buffered_bytes)
    assert one.session.takes_at_once
    one.session.close()
    assert not one.session.takes_at_once


# The heartbeat


def test_a_ping_each_interval_from_the_last_pong() -> None:
    scene, websocket = on_websocket()
    scene.clock.advance(INTERVAL - 0.001)
    assert websocket.sent == []
    scene.clock.advance(0.001)
    assert websocket.sent == ["2"]
    scene.clock.advance(TIMEOUT - 1)
    scene.receive(websocket, PacketType.PONG)
    scene.clock.advance(INTERVAL - 0.001)
    assert websocket.sent == ["2"]
    scene.clock.advance(0.001)
    assert websocket.sent == ["2", "2"]
    assert scene.floor.events == []


def test_an_interval_shorter_than_the_timeout() -> None:
    scene, websocket = on_websocket(Limits(ping_interval=1, ping_timeout=10))
    for n_pings in range(1, 5):
        scene.clock.advance(1)
        assert websocket.sent == ["2"] * n_pings
        scene.receive(websocket, PacketType.PONG)


def test_e20_no_pong_ends_the_session() -> None:
    scene, websocket = on_websocket()
    scene.clock.advance(INTERVAL + TIMEOUT - 0.001)
    assert scene.floor.events == []
    scene.clock.advance(0.001)
    assert scene.floor.events == [CloseReason.PING_TIMEOUT]
    assert scene.is_over()
    assert websocket.is_discarded


def test_a_pong_that_lies_unread_is_not_missed() -> None:
    scene, websocket = on_websocket()
    scene.session.pause_reading()
    scene.clock.advance(INTERVAL + 10 * TIMEOUT)
    assert websocket.sent == ["2"]
    scene.session.resume_reading()
    scene.clock.advance(TIMEOUT - 0.001)
    assert scene.floor.events == []
    scene.clock.advance(0.001)
    assert scene.floor.events == [CloseReason.PING_TIMEOUT]
    assert scene.is_over()


def test_a_pong_that_lies_unread_is_not_missed_for_ever() -> None:
    scene, websocket = on_websocket()
    scene.session.pause_reading()
    scene.clock.advance(INTERVAL + (1 + MAX_UNREAD_BEATS) * TIMEOUT - 0.001)
    assert scene.floor.events == []
    scene.clock.advance(0.001)
    assert scene.floor.events == [CloseReason.PING_TIMEOUT]
    assert scene.is_over()
    assert websocket.sent == ["2"]


def test_a_client_that_is_read_now_and_then_is_not_blamed_for_its_unread_pong() -> None:
    scene, _ = on_websocket()
    for _ in range(3):
        scene.session.pause_reading()
        scene.clock.advance(MAX_UNREAD_BEATS * TIMEOUT)
        scene.session.resume_reading()
    assert scene.session.is_open


def test_reading_again_between_heartbeats_moves_nothing() -> None:
    scene, websocket = on_websocket()
    scene.session.pause_reading()
    scene.clock.advance(1)
    scene.session.resume_reading()
    scene.session.resume_reading()
    scene.clock.advance(INTERVAL - 1)
    assert websocket.sent == ["2"]
    scene.clock.advance(TIMEOUT)
    assert scene.floor.events == [CloseReason.PING_TIMEOUT]


def test_e20_e29_a_client_that_polls_but_never_answers_is_told() -> None:
    scene, polling = on_polling()
    polling.poll()
    scene.clock.advance(INTERVAL)
    assert polling.answers == [["2"]]
    polling.poll()
    scene.clock.advance(TIMEOUT)
    assert polling.answers == [["2"], ["1"]]
    assert scene.floor.events == [CloseReason.PING_TIMEOUT]


def test_what_a_client_says_instead_of_a_pong_puts_the_end_off_once() -> None:
    # As the original since 6.6.9: the pong may stand behind a large message.
    scene, websocket = on_websocket()
    scene.clock.advance(INTERVAL + TIMEOUT - 1)
    scene.receive(websocket, PacketType.MESSAGE, "large")
    scene.clock.advance(TIMEOUT - 1)
    scene.receive(websocket, PacketType.MESSAGE, "and another")
    assert scene.session.is_open
    scene.clock.advance(1)
    assert scene.floor.events == ["large", "and another", CloseReason.PING_TIMEOUT]


def test_a_pong_after_the_extension_counts() -> None:
    scene, websocket = on_websocket()
    scene.clock.advance(INTERVAL + 1)
    scene.receive(websocket, PacketType.MESSAGE, "large")
    scene.receive(websocket, PacketType.PONG)
    scene.clock.advance(INTERVAL)
    assert websocket.sent == ["2", "2"]
    scene.clock.advance(TIMEOUT - 1)
    scene.receive(websocket, PacketType.MESSAGE, "large")  # each ping may be put off once
    scene.clock.advance(TIMEOUT - 1)
    assert scene.session.is_open


def test_a_client_that_is_read_again_has_its_time_for_the_pong() -> None:
    scene, websocket = on_websocket()
    scene.clock.advance(INTERVAL)
    scene.session.pause_reading()
    scene.clock.advance(TIMEOUT - 1)
    scene.session.resume_reading()
    scene.clock.advance(1)
    scene.session.resume_reading()  # nothing was paused, so nothing moves
    scene.clock.advance(TIMEOUT - 1.001)
    assert scene.session.is_open
    scene.clock.advance(0.001)
    assert scene.floor.events == [CloseReason.PING_TIMEOUT]
    assert websocket.sent == ["2"]


def test_a_pause_between_heartbeats_moves_nothing() -> None:
    scene, websocket = on_websocket()
    scene.clock.advance(INTERVAL - 1)
    scene.session.pause_reading()
    scene.session.resume_reading()
    scene.clock.advance(1)
    assert websocket.sent == ["2"]


def test_e19_pongs_that_nobody_asked_for_move_nothing() -> None:
    scene, websocket = on_websocket()
    scene.clock.advance(INTERVAL - 1)
    for _ in range(LIMITS.max_control_burst):
        scene.receive(websocket, PacketType.PONG)
        assert len(scene.deadlines) == 1  # R14
    scene.clock.advance(1)
    assert websocket.sent == ["2"]
    assert scene.floor.events == []


def test_e19_a_flood_of_pongs_ends_the_session() -> None:
    scene, websocket = on_websocket()
    for _ in range(LIMITS.max_control_burst):
        scene.session.receive(websocket, PacketType.PONG, "")
    with pytest.raises(EnginePacketError, match="too many heartbeat packets"):
        scene.session.receive(websocket, PacketType.PONG, "")


def test_e19_pongs_at_the_permitted_rate_never_end_it() -> None:
    limits = Limits(max_control_per_second=10, max_control_burst=2)
    scene, websocket = on_websocket(limits)
    for _ in range(200):
        scene.clock.advance(0.1)
        scene.receive(websocket, PacketType.PONG)
    assert scene.session.is_open


# The upgrade


def test_the_upgrade_step_by_step() -> None:
    scene, polling = on_polling()
    polling.poll()
    candidate = scene.candidate()
    scene.receive(candidate, PacketType.PING, "probe")
    assert candidate.sent == ["3probe"]
    scene.clock.advance(NOOP_INTERVAL - 0.001)
    assert polling.answers == []
    scene.clock.advance(0.001)
    assert polling.answers == [["6"]]
    send(scene, "meanwhile")  # no poll is parked, so it waits
    scene.receive(candidate, PacketType.UPGRADE)
    assert scene.session.transport is candidate
    assert candidate.sent == ["3probe", "4meanwhile"]
    assert polling.is_discarded
    send(scene, "afterwards")
    scene.receive(candidate, PacketType.MESSAGE, "right behind the 5")
    assert candidate.sent[2:] == ["4afterwards"]
    assert scene.floor.events == ["right behind the 5"]


def test_noops_go_on_until_the_upgrade_and_no_longer() -> None:
    scene, polling = on_polling()
    candidate = scene.probed()
    for n_noops in range(1, 4):
        polling.poll()
        scene.clock.advance(NOOP_INTERVAL)
        assert polling.answers == [["6"]] * n_noops
    scene.receive(candidate, PacketType.UPGRADE)
    assert len(scene.deadlines) == 1  # the heartbeat


def test_a_poll_still_parked_at_the_upgrade_gets_a_noop_and_no_message() -> None:
    scene, polling = on_polling()
    polling.poll()
    candidate = scene.probed()
    scene.receive(candidate, PacketType.UPGRADE)
    send(scene, "for the websocket")
    assert polling.answers == [["6"]]
    assert candidate.sent == ["3probe", "4for the websocket"]


def test_messages_travel_on_polling_while_the_probe_goes_on() -> None:
    scene, polling = on_polling()
    polling.poll()
    scene.probed()
    send(scene, "by poll")
    scene.receive(polling, PacketType.MESSAGE, "by post")
    assert polling.answers == [["4by poll"]]
    assert scene.floor.events == ["by post"]


def test_the_heartbeat_does_not_notice_the_upgrade() -> None:
    scene, _ = on_polling()
    scene.clock.advance(INTERVAL - 1)
    candidate = scene.probed()
    scene.receive(candidate, PacketType.UPGRADE)
    scene.clock.advance(1)
    assert candidate.sent == ["3probe", "2"]
    scene.clock.advance(TIMEOUT)
    assert scene.floor.events == [CloseReason.PING_TIMEOUT]


@pytest.mark.parametrize("make", [make_probing, make_probed])
def test_e24_a_probe_that_takes_too_long_is_dropped_and_the_session_goes_on(make: Callable[[], Actors]) -> None:
    scene, polling, candidate = make()
    assert candidate is not None
    scene.clock.advance(LIMITS.upgrade_timeout - 0.001)
    assert not candidate.is_closing
    scene.clock.advance(0.001)
    assert candidate.is_closing
    assert scene.session.state is State.OPEN
    assert scene.session.transport is polling
    assert len(scene.deadlines) == 1
    assert scene.session.add_candidate(MemoryWebSocket())  # it may try again


def test_r14_probes_one_after_the_other_leave_no_alarms() -> None:
    scene, _ = on_polling()
    for _ in range(1000):
        scene.receive(scene.probed(), PacketType.NOOP)
    assert len(scene.deadlines) == 1


def test_r14_a_second_probe_has_one_row_of_noops() -> None:
    scene, polling = on_polling()
    scene.receive(scene.probed(), PacketType.NOOP)
    scene.clock.advance(NOOP_INTERVAL / 2)
    scene.probed()
    polling.poll()
    scene.clock.advance(NOOP_INTERVAL * 0.9)
    assert polling.answers == []
    scene.clock.advance(NOOP_INTERVAL * 0.1)
    assert polling.answers == [["6"]]


def test_a_paused_session_is_paused_on_its_next_transport_too() -> None:
    scene, polling = on_polling()
    candidate = scene.probed()
    scene.session.pause_reading()
    assert polling.is_paused
    scene.receive(candidate, PacketType.UPGRADE)
    assert candidate.is_paused
    scene.session.resume_reading()
    assert not candidate.is_paused


def test_a_session_that_reads_reads_on() -> None:
    scene, polling = on_polling()
    scene.session.pause_reading()
    scene.session.resume_reading()
    assert not polling.is_paused
    candidate = scene.probed()
    scene.receive(candidate, PacketType.UPGRADE)
    assert not candidate.is_paused


# The close


def test_close_answers_a_parked_poll() -> None:
    scene, polling = on_polling()
    polling.poll()
    scene.session.close()
    assert polling.answers == [["1"]]
    assert scene.is_over()


def test_close_waits_for_the_next_poll() -> None:
    scene, polling = on_polling()
    scene.session.close()
    assert scene.floor.events == [CloseReason.FORCED_CLOSE]
    assert not scene.finished
    polling.poll()
    assert polling.answers == [["6", "1"]]
    assert scene.is_over()


def test_close_lets_what_was_sent_leave_first() -> None:
    # In an answer of its own: the JavaScript client drops messages that come together with a "close".
    scene, polling = on_polling()
    send(scene, "farewell")
    scene.session.close()
    polling.poll()
    assert polling.answers == [["4farewell"]]
    polling.poll()
    assert polling.answers == [["4farewell"], ["6", "1"]]
    assert scene.is_over()


def test_a_closed_session_waits_for_its_poll_so_long() -> None:
    scene, polling = on_polling()
    scene.session.close()
    scene.clock.advance(POLL_LINGER - 0.001)
    assert not scene.finished
    scene.clock.advance(0.001)
    assert scene.is_over()
    assert polling.answers == []
    assert scene.floor.events == [CloseReason.FORCED_CLOSE]


def test_close_lets_a_websocket_send_what_waits() -> None:
    scene, websocket = on_websocket()
    websocket.is_reading = False
    send(scene, "x" * 100_000)
    send(scene, "farewell")
    scene.session.close()
    assert not websocket.is_closing
    websocket.take(100_001)
    assert websocket.sent[-1] == "4farewell"
    assert websocket.is_closing
    assert not scene.finished  # until the connection is gone
    scene.session.fail(websocket, CloseReason.TRANSPORT_CLOSE)
    assert scene.is_over()
    assert scene.floor.events == [CloseReason.FORCED_CLOSE]


def test_a_websocket_that_does_not_end_is_cut() -> None:
    scene, websocket = on_websocket()
    scene.session.close()
    scene.clock.advance(LIMITS.close_timeout - 0.001)
    assert not websocket.is_discarded
    scene.clock.advance(0.001)
    assert websocket.is_discarded
    assert scene.is_over()


def test_closing_sends_no_ping() -> None:
    scene, polling = on_polling()
    scene.clock.advance(INTERVAL - 1)
    scene.session.close()
    scene.clock.advance(2)
    polling.poll()
    assert polling.answers == [["6", "1"]]


def test_a_client_s_close_ends_its_parked_poll_with_a_noop() -> None:
    scene, polling = on_polling()
    polling.poll()
    scene.receive(polling, PacketType.CLOSE)
    assert polling.answers == [["6"]]
    assert scene.floor.events == [CloseReason.TRANSPORT_CLOSE]
    assert scene.is_over()


def test_a_client_s_close_without_a_poll() -> None:
    scene, polling = on_polling()
    scene.receive(polling, PacketType.CLOSE)
    assert polling.answers == []
    assert scene.is_over()


def test_e28_a_client_s_close_between_probe_and_upgrade() -> None:
    scene, polling = on_polling()
    candidate = scene.probed()
    scene.receive(polling, PacketType.CLOSE)
    assert scene.floor.events == [CloseReason.TRANSPORT_CLOSE]
    assert scene.is_over()
    assert candidate.is_closing


def test_e28_a_server_s_close_between_probe_and_upgrade_reaches_the_client_on_its_new_transport() -> None:
    scene, polling = on_polling()
    candidate = scene.probed()
    send(scene, "farewell")
    scene.session.close()
    scene.clock.advance(LIMITS.close_timeout + 1)
    scene.receive(candidate, PacketType.UPGRADE)
    assert candidate.sent == ["3probe", "4farewell"]
    assert candidate.is_closing
    assert polling.answers == []
    scene.clock.advance(LIMITS.close_timeout - 0.001)  # a WebSocket's time, from here on
    assert not scene.finished
    scene.clock.advance(0.001)
    assert scene.is_over()
    assert scene.floor.events == [CloseReason.FORCED_CLOSE]


def test_e28_a_server_s_close_between_probe_and_upgrade_reaches_a_client_that_polls() -> None:
    scene, polling = on_polling()
    candidate = scene.probed()
    scene.session.close()
    polling.poll()
    assert polling.answers == [["6", "1"]]
    assert candidate.is_closing
    assert scene.is_over()


def test_the_floor_above_may_end_the_session_from_within_a_message() -> None:
    for end in (Session.close, Session.abort):
        scene, polling = on_polling()
        polling.poll()
        scene.floor.on_message = lambda data, end=end, session=scene.session: end(session)  # type: ignore[misc]
        scene.receive(polling, PacketType.MESSAGE, "go")
        scene.receive(polling, PacketType.MESSAGE, "too late")
        assert scene.floor.events == ["go", CloseReason.FORCED_CLOSE]
        assert polling.answers == [["1"]]
        assert scene.is_over()


def test_a_session_that_closes_is_not_paused_again() -> None:
    scene, polling = on_polling()
    scene.session.pause_reading()
    scene.session.close()
    assert not polling.is_paused  # a POST that waits for room is answered
    scene.session.pause_reading()
    assert not polling.is_paused


# Slow consumers

SMALL = Limits(send_buffer_high=100, send_buffer_max=1000, slow_consumer_timeout=10, ping_interval=1e6)


def filled(n_bytes: int) -> tuple[Scene, MemoryWebSocket]:
    """Make a session whose peer has not taken so much."""
    websocket = MemoryWebSocket(high=SMALL.send_buffer_high)
    websocket.is_reading = False
    scene = Scene(websocket, SMALL)
    send(scene, b"x" * n_bytes)
    return scene, websocket


def test_e31_a_peer_without_room_gets_so_much_and_not_a_byte_more() -> None:
    scene, websocket = filled(500)
    assert not scene.session.has_room
    send(scene, b"x" * 500)
    assert scene.session.is_open
    assert scene.session.buffered_bytes == 1000
    send(scene, b"x")
    assert scene.session.buffered_bytes == 1000
    scene.clock.advance(0)
    assert scene.floor.events == [CloseReason.SLOW_CONSUMER]
    assert scene.is_over()
    assert websocket.is_discarded
    assert websocket.sent == [b"x" * 500]  # the rest was never handed down


def test_e31_a_client_that_does_not_poll_gets_no_more_either() -> None:
    scene, polling = on_polling(SMALL)
    for _ in range(10):
        send(scene, b"x" * 100)
    assert scene.session.is_open
    send(scene, b"x")
    scene.clock.advance(0)
    assert scene.floor.events == [CloseReason.SLOW_CONSUMER]
    assert scene.is_over()
    assert scene.session.buffered_bytes == 0
    assert polling.answers == []


def test_a_peer_with_too_much_waiting_is_ended_on_the_next_turn_and_sent_nothing_more() -> None:
    scene, websocket = filled(500)
    for _ in range(2):
        send(scene, b"x" * 501)
        assert scene.floor.events == []  # whoever sends is not called back from within
        assert scene.session.is_open
    websocket.take(500)
    send(scene, b"x")  # what came between is lost, so nothing may follow it
    assert not scene.session.is_writable
    assert websocket.sent == [b"x" * 500]
    scene.clock.advance(0)
    assert scene.floor.events == ["room", CloseReason.SLOW_CONSUMER]
    assert scene.is_over()


@pytest.mark.parametrize("how", [Session.close, Session.abort])
def test_a_peer_with_too_much_waiting_may_be_closed_before_that_turn(how: Callable[[Session], None]) -> None:
    scene, websocket = filled(500)
    send(scene, b"x" * 501)
    how(scene.session)
    scene.clock.advance(0)
    assert scene.floor.events == [CloseReason.FORCED_CLOSE]
    assert scene.is_over()
    assert websocket.is_discarded


def test_a_session_is_over_whatever_the_floor_above_raises() -> None:
    scene, _ = filled(500)

    def fail(reason: CloseReason) -> None:
        raise LookupError("a mistake above")

    scene.floor.session_closed = fail  # type: ignore[method-assign]
    with pytest.raises(LookupError):
        scene.session.abort()
    assert scene.is_over()


def test_packets_that_belong_together_are_weighed_together() -> None:
    scene, _ = filled(500)
    send(scene, b"x" * 200, b"x" * 200, b"x" * 101)
    scene.clock.advance(0)
    assert scene.floor.events == [CloseReason.SLOW_CONSUMER]


@pytest.mark.parametrize("n_waiting", [0, 1, 100])
def test_a_peer_that_keeps_up_is_sent_a_message_of_any_size(n_waiting: int) -> None:
    scene, websocket = filled(n_waiting)
    assert scene.session.has_room
    send(scene, b"x" * 50_000)
    assert scene.session.is_open
    assert websocket.sent[-1] == b"x" * 50_000


def test_one_message_of_any_size_but_not_a_second() -> None:
    scene, _ = filled(50_000)
    send(scene, b"x")
    scene.clock.advance(0)
    assert scene.floor.events == [CloseReason.SLOW_CONSUMER]


def test_a_peer_that_takes_nothing_is_given_up() -> None:
    scene, _ = filled(101)
    scene.clock.advance(9.999)
    assert scene.session.is_open
    scene.clock.advance(0.001)
    assert scene.floor.events == [CloseReason.SLOW_CONSUMER]
    assert scene.is_over()


def test_what_a_peer_took_before_does_not_count() -> None:
    scene, websocket = filled(100)
    websocket.take(100)
    send(scene, b"x" * 101)
    scene.clock.advance(10)
    assert scene.floor.events == [CloseReason.SLOW_CONSUMER]


def test_each_byte_taken_earns_another_period() -> None:
    scene, websocket = filled(200)
    for _ in range(20):
        scene.clock.advance(9)
        websocket.take(1)
    assert scene.session.is_open
    assert scene.floor.events == []
    scene.clock.advance(20)
    assert scene.floor.events == [CloseReason.SLOW_CONSUMER]


def test_what_is_sent_meanwhile_does_not_hide_that_the_peer_reads() -> None:
    scene, websocket = filled(200)
    for _ in range(20):
        scene.clock.advance(9)
        websocket.take(50)
        send(scene, b"x" * 60)
    assert scene.session.is_open


def test_what_is_sent_meanwhile_does_not_pass_for_reading() -> None:
    scene, _ = filled(200)
    for _ in range(9):
        scene.clock.advance(1)
        send(scene, b"x")
    scene.clock.advance(1)
    assert scene.floor.events == [CloseReason.SLOW_CONSUMER]


def test_what_is_taken_back_does_not_pass_for_reading() -> None:
    scene, _ = filled(200)
    ticket = scene.session.post([message(b"x" * 50)])
    assert ticket is not None
    scene.clock.advance(5)
    assert scene.session.withdraw(ticket)
    assert scene.session.is_lagging
    assert scene.session.buffered_bytes == 200
    scene.clock.advance(5)
    assert scene.floor.events == [CloseReason.SLOW_CONSUMER]


@pytest.mark.parametrize(
    ("n_bytes", "is_lagging"), [(SMALL.send_buffer_high, False), (SMALL.send_buffer_high + 1, True)]
)
def test_a_peer_without_room_lags_until_it_has_some(n_bytes: int, is_lagging: bool) -> None:
    scene, websocket = filled(n_bytes)
    assert scene.session.is_lagging is is_lagging
    websocket.take(1)
    assert not scene.session.is_lagging


def test_a_ping_does_not_pass_for_reading() -> None:
    limits = Limits(send_buffer_high=100, slow_consumer_timeout=10, ping_interval=5, ping_timeout=100)
    websocket = MemoryWebSocket(high=100)
    websocket.is_reading = False
    scene = Scene(websocket, limits)
    send(scene, b"x" * 101)
    scene.clock.advance(10)
    assert scene.floor.events == [CloseReason.SLOW_CONSUMER]


def test_room_is_told_once_and_ends_the_watch() -> None:
    scene, websocket = filled(300)
    websocket.take(199)
    assert scene.floor.events == []
    websocket.take(1)
    assert scene.session.has_room
    assert scene.floor.events == ["room"]
    websocket.take(100)
    scene.clock.advance(100)
    assert scene.floor.events == ["room"]
    assert len(scene.deadlines) == 1


def test_volatile_packets_are_for_a_peer_with_room() -> None:
    scene, websocket = filled(101)
    assert not scene.session.is_writable
    websocket.take(1)
    assert scene.session.is_writable


def test_a_poll_is_progress() -> None:
    scene, polling = on_polling(SMALL)
    send(scene, b"x" * 101)
    scene.clock.advance(9)
    polling.poll()
    assert scene.floor.events == ["room"]
    scene.clock.advance(100)
    assert scene.session.is_open


def test_a_slow_peer_that_is_closed_is_given_up_in_time() -> None:
    scene, _ = filled(500)
    scene.session.close()
    scene.clock.advance(SMALL.close_timeout)
    assert scene.floor.events == [CloseReason.FORCED_CLOSE]
    assert scene.is_over()


def test_a_slow_peer_s_room_is_not_told_to_a_floor_that_has_closed() -> None:
    scene, websocket = filled(500)
    send(scene, b"x" * 80)
    scene.session.close()
    websocket.take(500)
    assert scene.floor.events == [CloseReason.FORCED_CLOSE]
    assert websocket.is_closing


# One message to many


class OnStream(MemoryWebSocket):
    """A WebSocket whose frames are written to a stream as they are, and the stream: `arrived` is what a peer reads."""

    def __init__(self) -> None:
        super().__init__(high=SMALL.send_buffer_high)
        self.plain: Any = self
        self.keys = None
        self._frames = FrameReader(expect_masked=False, allow_rsv1=False, max_message_size=1 << 20, max_fragments=1)

    def write(self, data: bytes) -> None:
        self._frames.feed(data)
        if not self.is_reading:
            self.buffered_bytes += len(data)

    def send(self, packets: Sequence[Packet]) -> None:
        for packet in packets:
            self.write(encode_frame(Opcode.TEXT if isinstance(packet.wire, str) else Opcode.BINARY, as_bytes(packet)))

    def arrived(self) -> list[Data]:
        """Return the messages whose frames came since the last time."""
        found = []
        while (data := self._frames.read_message()) is not None:
            found.append(data)
        assert not self._frames.has_input
        return found


def as_bytes(packet: Packet) -> bytes:
    return packet.wire.encode() if isinstance(packet.wire, str) else packet.wire


def on_stream() -> tuple[Scene, OnStream]:
    stream = OnStream()
    return Scene(stream, SMALL), stream


def send_all(scenes: Sequence[Scene], *messages: Data) -> None:
    send_to_all([scene.session for scene in scenes], [message(data) for data in messages], SMALL.send_buffer_high)


@pytest.mark.parametrize("messages", [("one",), (b"one",), ("one", b"two", "", b"", "thr\u00e9\u00e9")])
def test_one_walk_reaches_sessions_whatever_carries_them(messages: tuple[Data, ...]) -> None:
    wires = [message(data).wire for data in messages]
    (one, first), (two, polling), (three, second), (four, websocket), (five, ended) = (
        on_stream(),
        on_polling(SMALL),
        on_stream(),
        on_websocket(SMALL),
        on_stream(),
    )
    polling.poll()
    five.session.close()
    send_all([one, two, three, four, five], *messages)
    # Each packet came as a frame of its own, in order.
    assert first.arrived() == second.arrived() == websocket.sent == wires
    assert polling.answers == [wires]
    assert ended.arrived() == []
    send_all([])


@pytest.mark.parametrize("text", ["4", "4hello", "4th\u00e9r\u00e9"])
def test_a_text_goes_the_way_of_every_packet(text: str) -> None:
    (one, stream), (two, polling), (three, websocket) = on_stream(), on_polling(SMALL), on_websocket(SMALL)
    for scene in (one, two, three):
        scene.session.send_text(text[:1].encode(), text[1:].encode())
    assert stream.arrived() == websocket.sent == [text]
    polling.poll()
    assert polling.answers == [[text]]
    one.session.close()
    one.session.send_text(text[:1].encode(), text[1:].encode())
    assert stream.arrived() == []


def test_a_text_to_a_peer_that_lags_waits_and_a_peer_that_takes_nothing_is_given_up() -> None:
    scene, stream = on_stream()
    stream.is_reading = False
    scene.session.send_text(b"4", b"x" * SMALL.send_buffer_high)
    assert not scene.session.is_clear
    scene.session.send_text(b"4", b"later")
    assert stream.arrived() == ["4" + "x" * SMALL.send_buffer_high]
    scene.clock.advance(SMALL.slow_consumer_timeout)
    assert scene.floor.events == [CloseReason.SLOW_CONSUMER]


def test_what_is_sent_to_all_waits_for_a_session_that_does_not_poll() -> None:
    (one, stream), (two, polling) = on_stream(), on_polling(SMALL)
    send_all([one, two], "one")
    send_all([one, two], "two")
    assert stream.arrived() == ["4one", "4two"]
    polling.poll()
    assert polling.answers == [["4one", "4two"]]


def test_a_peer_that_begins_to_lag_is_watched() -> None:
    (one, stream), (two, slow) = on_stream(), on_stream()
    slow.is_reading = False
    send_all([one, two], b"x" * 101)
    assert slow.arrived() == stream.arrived() == [b"x" * 101]  # a message of any size, while it kept up
    assert one.session.has_room
    assert not two.session.has_room
    one.clock.advance(SMALL.slow_consumer_timeout)
    two.clock.advance(SMALL.slow_consumer_timeout)
    assert one.floor.events == []
    assert two.floor.events == [CloseReason.SLOW_CONSUMER]
    assert slow.is_discarded
    assert two.is_over()


def test_a_peer_that_lags_is_sent_the_rest_when_it_has_room() -> None:
    scene, stream = on_stream()
    stream.is_reading = False
    for data in (b"x" * 101, "waits", b"too"):
        send_all([scene], data)
    assert stream.arrived() == [b"x" * 101]
    assert scene.session.buffered_bytes == stream.buffered_bytes + len("4waitstoo")
    stream.take(stream.buffered_bytes)
    assert stream.arrived() == ["4waits", b"too"]
    assert scene.floor.events == ["room"]
    stream.take(stream.buffered_bytes)
    send_all([scene], "clear again")
    assert stream.arrived() == ["4clear again"]
    scene.clock.advance(SMALL.slow_consumer_timeout)
    assert scene.session.is_open


def test_a_stream_that_is_full_of_something_else_is_refused_and_nothing_is_lost() -> None:
    (one, full), (two, stream) = on_stream(), on_stream()
    full.buffered_bytes = SMALL.send_buffer_high + 1  # of pongs, say, which no session knows of
    send_all([one, two], "one", "two")
    assert full.arrived() == []
    assert stream.arrived() == ["4one", "4two"]
    assert one.session.buffered_bytes == full.buffered_bytes + len("4one4two")
    full.take(full.buffered_bytes)
    assert full.arrived() == ["4one", "4two"]
    full.buffered_bytes = 0
    # And one that stays full is given up as any other.
    full.buffered_bytes = SMALL.send_buffer_high + 1
    send_all([one], "three")
    one.clock.advance(SMALL.slow_consumer_timeout)
    assert one.floor.events == ["room", CloseReason.SLOW_CONSUMER]


def test_a_session_named_twice_is_sent_everything_twice() -> None:
    scene, stream = on_stream()
    stream.is_reading = False
    send_all([scene, scene], b"x" * 101)
    assert stream.arrived() == [b"x" * 101]
    stream.take(stream.buffered_bytes)
    assert stream.arrived() == [b"x" * 101]
    stream.take(stream.buffered_bytes)
    assert scene.floor.events[0] == "room"
    scene.clock.advance(SMALL.slow_consumer_timeout)
    assert scene.session.is_open


# A client that does what the protocol allows, in any order, against all interleavings of its steps


class Conversation(RuleBasedStateMachine):
    """Both sides send numbered messages while the client polls, probes, fails, tries again, upgrades.

    Nothing is lost, nothing doubled, nothing out of order, whatever happens when.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scene, self.polling = on_polling()
        self.websocket: MemoryWebSocket | None = None
        self.is_pausing = False  # the client polls no more, to send "5" when no poll is parked
        self.is_upgraded = False
        self.probed_at = 0.0
        self.n_answers = self.n_messages = 0  # read by the client
        self.server_said: list[Data] = []
        self.client_heard: list[Data] = []
        self.client_said: list[Data] = []

    @property
    def is_open(self) -> bool:
        return self.scene.session.is_open

    def hear(self, wire: Data) -> None:
        if wire == "2":
            self.say(PacketType.PONG)
        elif wire == "3probe":
            assert not self.is_upgraded
            self.is_pausing = True
        elif isinstance(wire, bytes):
            self.client_heard.append(wire)
        elif wire.startswith("4"):
            self.client_heard.append(wire[1:])
        else:
            assert wire == "6" or (wire == "1" and not self.is_open)

    def say(self, kind: PacketType, data: Data = "") -> None:
        transport = self.websocket if self.is_upgraded else self.polling
        assert transport is not None
        self.scene.receive(transport, kind, data)

    def read(self) -> None:
        """Let the client read what has come."""
        while self.n_answers < len(self.polling.answers):
            self.n_answers += 1
            for wire in self.polling.answers[self.n_answers - 1]:
                self.hear(wire)
        while self.websocket is not None and self.n_messages < len(self.websocket.sent):
            self.n_messages += 1
            self.hear(self.websocket.sent[self.n_messages - 1])
        if self.websocket is not None and self.websocket.is_closing and not self.is_upgraded:
            # A client that was answered no longer polls, so it must not be dropped before its time.
            is_late = self.scene.clock.now - self.probed_at > LIMITS.upgrade_timeout - 0.001
            assert not self.is_pausing or is_late or self.scene.finished
            self.websocket, self.is_pausing = None, False

    @rule(is_binary=st.booleans())
    def server_sends(self, is_binary: bool) -> None:
        data = str(len(self.server_said))
        said: Data = data.encode() if is_binary else data
        if self.is_open:
            self.server_said.append(said)
        send(self.scene, said)

    @rule()
    def client_sends(self) -> None:
        data = str(len(self.client_said))
        if self.is_open:
            self.client_said.append(data)
        self.say(PacketType.MESSAGE, data)

    @precondition(lambda self: not self.is_pausing and not self.is_upgraded and not self.polling.is_writable)
    @rule()
    def client_polls(self) -> None:
        if not self.polling.is_discarded:
            self.polling.poll()

    @rule()
    def client_reads(self) -> None:
        self.read()

    @precondition(lambda self: self.websocket is None and not self.is_upgraded)
    @rule()
    def client_connects(self) -> None:
        candidate = MemoryWebSocket()
        candidate.session = self.scene.session
        if self.scene.session.add_candidate(candidate):
            self.websocket, self.n_messages = candidate, 0
            self.probed_at = self.scene.clock.now

    @precondition(lambda self: self.websocket is not None and not self.is_upgraded and not self.is_pausing)
    @rule()
    def client_probes(self) -> None:
        assert self.websocket is not None
        if not self.websocket.sent:
            self.scene.receive(self.websocket, PacketType.PING, "probe")

    @precondition(lambda self: self.websocket is not None and not self.is_upgraded)
    @rule()
    def client_s_websocket_fails(self) -> None:
        assert self.websocket is not None
        self.scene.session.fail(self.websocket, CloseReason.TRANSPORT_CLOSE)
        self.websocket, self.is_pausing = None, False

    @precondition(lambda self: self.is_pausing and not self.is_upgraded)
    @rule()
    def client_upgrades(self) -> None:
        self.read()  # the poll that ended
        if self.websocket is not None:
            self.scene.receive(self.websocket, PacketType.UPGRADE)
            self.is_upgraded = self.scene.session.transport is self.websocket

    @rule(seconds=st.sampled_from([0.05, NOOP_INTERVAL, 1.0, LIMITS.upgrade_timeout]))
    def time_passes(self, seconds: float) -> None:
        self.read()  # a client that is there answers its pings
        self.scene.clock.advance(seconds)
        if not self.is_pausing and not self.is_upgraded and not self.polling.is_writable:
            self.client_polls()
        self.read()

    @precondition(lambda self: len(self.server_said) > 1)
    @rule()
    def server_closes(self) -> None:
        self.scene.session.close()

    @invariant()
    def nothing_is_lost_doubled_or_out_of_order(self) -> None:
        assert self.client_heard == self.server_said[: len(self.client_heard)]
        assert [event for event in self.scene.floor.events if event in self.client_said] == self.client_said

    def teardown(self) -> None:
        """Let both come to rest: the client gets all that was sent, closed or not."""
        for _ in range(5):
            self.read()
            if self.is_pausing and not self.is_upgraded:
                self.scene.clock.advance(NOOP_INTERVAL)
                assert not self.polling.is_writable
                self.client_upgrades()
            elif not self.is_upgraded and not self.polling.is_writable:
                self.client_polls()
        self.read()
        assert self.client_heard == self.server_said
        self.scene.session.abort()
        assert self.scene.is_over()


Conversation.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestConversation = Conversation.TestCase
