"""The fast path in use: the compiled one where there is one, else its pure Python twin.

Rule of this module: names only. What they mean stands in `events.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from telex.native import load
from telex.socketio import events

if TYPE_CHECKING:
    from telex.socketio.events import (
        Emitter,
        EventParser,
        EventReceiver,
        Registry,
        encode_event,
        has_digits,
        is_plain,
    )
else:
    twin = load("events") or events
    Emitter = twin.Emitter
    EventParser = twin.EventParser
    EventReceiver = twin.EventReceiver
    Registry = twin.Registry
    encode_event = twin.encode_event
    has_digits = twin.has_digits
    is_plain = twin.is_plain

__all__ = [
    "Emitter",
    "EventParser",
    "EventReceiver",
    "Registry",
    "encode_event",
    "has_digits",
    "is_plain",
]
