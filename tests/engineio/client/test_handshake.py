"""What a server says first, and what of it is believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from telex.engineio.client.handshake import Welcome, read_welcome
from telex.errors import EnginePacketError
from telex.limits import Limits

SOUND: dict[str, Any] = {
    "sid": "abc",
    "upgrades": ["websocket", "webtransport"],
    "pingInterval": 25000,
    "pingTimeout": 20000,
    "maxPayload": 1000,
}


def read(limits: Limits | None = None, **changes: Any) -> Welcome:
    fields = {key: value for key, value in (SOUND | changes).items() if value is not ...}
    return read_welcome(json.dumps(fields), limits or Limits())


def test_a_sound_one() -> None:
    assert read() == Welcome("abc", ("websocket",), 25.0, 20.0, 1000, 45.0)


@pytest.mark.parametrize("sid", [..., None, 1, "", "a b", "a\n", "\u00e9", "x" * 257])
def test_an_id_that_is_not_sound(sid: object) -> None:
    with pytest.raises(EnginePacketError, match="session id"):
        read(sid=sid)


def test_how_long_an_id_may_be() -> None:
    assert read(Limits(max_sid_length=5), sid="12345").sid == "12345"
    with pytest.raises(EnginePacketError, match="session id"):
        read(Limits(max_sid_length=5), sid="123456")


@pytest.mark.parametrize("name", ["pingInterval", "pingTimeout"])
@pytest.mark.parametrize("value", [..., None, True, 0, -1, "1", [], {}])
def test_times_that_cannot_be(name: str, value: object) -> None:
    with pytest.raises(EnginePacketError, match=name):
        read(**{name: value})


@pytest.mark.parametrize(
    ("interval", "timeout", "period"),
    [
        (25000, 20000, 45.0),
        (25000, 20001, 46.0),  # whole seconds, so that many sessions share one queue
        (1000, 1010, 2.1),  # whole tenths
        (1, 1, 0.1),  # no busy loop
        (1e12, 1e12, 60.0),
        (10**300, 1, 60.0),
    ],
)
def test_how_long_a_server_may_be_silent(interval: float, timeout: float, period: float) -> None:
    welcome = read(Limits(max_ping_period=60.0), pingInterval=interval, pingTimeout=timeout)
    assert welcome.ping_period == pytest.approx(period)


@pytest.mark.parametrize("value", [..., None, True, 0, -1, 1.5, "9"])
def test_a_payload_bound_that_is_none(value: object) -> None:
    assert read(maxPayload=value).max_payload is None


@pytest.mark.parametrize("value", [..., None, "websocket", {}, [["websocket"]], ["polling"]])
def test_upgrades_that_are_not_known(value: object) -> None:
    assert read(upgrades=value).upgrades == ()


@pytest.mark.parametrize("data", ["", "[]", "1", "{", "[" * 4000, b"{}", "x" * 5000])
def test_what_is_no_open_packet(data: str | bytes) -> None:
    with pytest.raises(EnginePacketError):
        read_welcome(data, Limits())
