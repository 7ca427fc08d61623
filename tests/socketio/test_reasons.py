"""Disconnect reasons: the original's texts, and one for every way a session can end."""

from __future__ import annotations

from telex.engineio import CloseReason
from telex.socketio import DisconnectReason


def test_the_texts_are_the_originals() -> None:
    assert [str(reason) for reason in DisconnectReason] == [
        "transport error",
        "transport close",
        "forced close",
        "ping timeout",
        "parse error",
        "server shutting down",
        "forced server close",
        "client namespace disconnect",
        "server namespace disconnect",
        "io server disconnect",
        "io client disconnect",
        "slow consumer",
    ]


def test_a_reason_is_its_text() -> None:
    assert DisconnectReason.PING_TIMEOUT == "ping timeout"
    assert f"{DisconnectReason.PING_TIMEOUT}" == "ping timeout"


def test_every_end_of_a_session_has_its_reason() -> None:
    for reason in CloseReason:
        assert DisconnectReason(reason.value) == reason.value
