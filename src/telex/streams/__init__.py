"""The ground: bytes in, bytes out, backpressure, deadlines, and a fair share of the loop for everybody."""

from telex.streams.asyncio import AsyncioStream
from telex.streams.base import Stream, StreamSink
from telex.streams.deadlines import Deadline, Deadlines, Rota, Slot, deadlines_of
from telex.streams.drivers import Listening, Poll, poll_of, take_descriptor
from telex.streams.fairness import BYTES_PER_TURN, FRAMES_PER_TURN, Turn, turn_of

__all__ = [
    "BYTES_PER_TURN",
    "FRAMES_PER_TURN",
    "AsyncioStream",
    "Deadline",
    "Deadlines",
    "Listening",
    "Poll",
    "Rota",
    "Slot",
    "Stream",
    "StreamSink",
    "Turn",
    "deadlines_of",
    "poll_of",
    "take_descriptor",
    "turn_of",
]
