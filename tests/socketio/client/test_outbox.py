"""What waits while a client is away: in order, bounded, and with places that can be given up."""

from __future__ import annotations

import pytest

from telex.engineio import Packet
from telex.errors import OutboxFull
from telex.limits import Limits
from telex.socketio.client.outbox import Outbox


def packet(text: str) -> list[Packet]:
    return [Packet(text)]


def test_events_leave_in_order() -> None:
    outbox = Outbox(Limits())
    events = [packet(text) for text in "abc"]
    outbox.put(events[0])
    outbox.put(events[1], 7)
    outbox.put(events[2])
    assert len(outbox) == 3
    assert outbox.n_bytes == 3
    assert 7 in outbox
    assert outbox.take_all() == events
    assert (len(outbox), outbox.n_bytes, outbox.take_all()) == (0, 0, [])


def test_an_event_is_taken_back() -> None:
    outbox = Outbox(Limits())
    outbox.put(packet("a"), 0)
    outbox.put(last := packet("bc"))
    outbox.withdraw(0)
    outbox.withdraw(0)
    assert outbox.n_bytes == 2
    assert outbox.take_all() == [last]


def test_the_bounds() -> None:
    outbox = Outbox(Limits(max_offline_events=2, max_offline_bytes=10))
    outbox.put(packet("x" * 9))
    with pytest.raises(OutboxFull) as caught:
        outbox.put(packet("yy"))
    assert (caught.value.n_events, caught.value.n_bytes) == (1, 9)
    outbox.put(packet("z"))
    with pytest.raises(OutboxFull):
        outbox.put(packet(""))
    assert [packets[0].wire for packets in outbox.take_all()] == ["x" * 9, "z"]


def test_who_waits_for_room_is_never_refused() -> None:
    outbox = Outbox(Limits(max_offline_events=2, send_buffer_high=5))
    assert outbox.has_room
    outbox.put(packet("xxxxxx"), 0)
    assert not outbox.has_room  # by bytes
    outbox.withdraw(0)
    outbox.put(packet("a"))
    assert outbox.has_room
    outbox.put(packet("b"))
    assert not outbox.has_room  # by count
