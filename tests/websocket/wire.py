"""Run a WebSocket core, or two joined ones, without a network and without a clock.

Rule of this module: `Wire` is a stream that keeps what was written; nothing here knows frames beyond writing them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from telex.errors import FrameError
from telex.limits import Limits
from telex.types import Data
from telex.websocket.connection import ConnectionCore, Role, State
from telex.websocket.deflate import DeflateParameters
from telex.websocket.frames import Frame, FrameReader, Opcode, encode_frame
from tests.splitter import split

__all__ = ["KEY", "MANY", "Core", "Wire", "join", "limits"]

KEY = b"\x37\xfa\x21\x3d"
MANY = 1_000_000
START = 1000.0


def limits(**given: Any) -> Limits:
    """Return round numbers for deadlines, and what is given."""
    defaults: dict[str, Any] = {
        "message_timeout": 60.0,
        "close_timeout": 5.0,
        "ping_interval": 25.0,
        "ping_timeout": 20.0,
    }
    return Limits(**(defaults | given))


@dataclass
class Wire:
    """Be a stream below a core: output is kept, and `backlog` says how much of it the peer did not take."""

    output: bytearray = field(default_factory=bytearray)
    calls: list[str] = field(default_factory=list)
    is_paused: bool = False
    backlog: int = 0

    @property
    def buffered_bytes(self) -> int:
        return self.backlog

    @property
    def sent_bytes(self) -> int:
        return len(self.output)

    @property
    def received_bytes(self) -> int:
        return 0

    @property
    def acknowledged_bytes(self) -> int:
        return len(self.output)

    @property
    def is_closing(self) -> bool:
        return bool(self.calls)

    def write(self, data: bytes) -> None:
        assert not self.calls, "nothing may be written to a closed stream"
        assert type(data) is bytes, "a stream keeps what it is given, so it must not change"
        self.output += data

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def take(self) -> bytes:
        """Return what was written since the last time."""
        data = bytes(self.output)
        self.output.clear()
        return data


class Core:
    """Be one end: a core on a wire, its events in a list, a clock that moves by hand.

    `on_message` is called with each message, as a program would be.
    """

    def __init__(
        self,
        role: Role = Role.SERVER,
        *,
        bounds: Limits | None = None,
        deflate: DeflateParameters | None = None,
        keepalive: bool = False,
        on_message: Callable[[Data], None] | None = None,
    ) -> None:
        self.role = role
        self.now = START
        self.events: list[Any] = []
        self.wire = Wire()
        self.on_message = on_message
        self._serial = count(1)
        self.core = ConnectionCore(
            role,
            self,
            self.wire,
            limits=bounds or limits(),
            deflate=deflate,
            token=self.token,
            keepalive=keepalive,
            now=self.now,
        )
        self._sent = FrameReader(
            expect_masked=role is Role.CLIENT, allow_rsv1=deflate is not None, max_message_size=1 << 30, max_fragments=1
        )

    def token(self, size: int) -> bytes:
        """Give bytes that are never the same twice."""
        return next(self._serial).to_bytes(size, "big")

    # Events

    def message_received(self, message: Data) -> None:
        self.events.append(message)
        if self.on_message is not None:
            self.on_message(message)

    def ping_received(self, payload: bytes) -> None:
        self.events.append(("ping", payload))

    def pong_received(self, payload: bytes, latency: float | None) -> None:
        self.events.append(("pong", payload, latency))

    def close_received(self, code: int, reason: str) -> None:
        self.events.append(("close", code, reason))

    def violation(self, error: FrameError) -> None:
        self.events.append(("violation", error.code, error.reason))

    def program_failed(self) -> None:
        raise AssertionError("nothing goes straight up from this wire")

    # Driving

    def frame(self, opcode: int, payload: bytes = b"", **bits: bool) -> bytes:
        """Encode a frame as the peer of this core would."""
        return encode_frame(opcode, payload, mask=KEY if self.role is Role.SERVER else None, **bits)

    def receive(self, data: bytes, how: str = "whole") -> None:
        """Let bytes come in, and read them."""
        for piece in split(data, how):
            self.core.feed(piece)
            while self.core.process(self.now, 3):
                pass

    def eof(self) -> None:
        """Let the peer's last byte have come."""
        self.core.receive_eof(self.now)
        self.core.process(self.now, MANY)

    def pass_time(self, seconds: float) -> None:
        """Move the clock, waking the core whenever it wants."""
        end = self.now + seconds
        while self.core.deadline is not None and self.core.deadline <= end:
            self.now = max(self.now, self.core.deadline)
            self.core.wake(self.now)
        self.now = end

    def sent(self) -> list[Frame]:
        """Return the frames written since the last time; checks that they are masked as they must be."""
        self._sent.feed(self.wire.take())
        frames = []
        while (frame := self._sent.read()) is not None:
            frames.append(frame)
        assert not self._sent.has_open_message
        return frames

    def sent_close(self) -> bytes | None:
        """Return the payload of the Close among the frames written since the last time."""
        closes = [frame.payload for frame in self.sent() if frame.opcode is Opcode.CLOSE]
        assert len(closes) <= 1
        return closes[0] if closes else None

    def is_in(self, state: State) -> bool:
        """Tell whether the core is in this state."""
        return self.core.state is state


def join(left: Core, right: Core, how: str = "whole") -> None:
    """Carry bytes both ways until nothing moves, and tell each end when the other closed."""
    closed: set[int] = set()
    while True:
        moved = False
        for source, target in ((left, right), (right, left)):
            data = source.wire.take()
            if data:
                moved = True
                target.receive(data, how)
            if source.wire.calls and id(source) not in closed:
                closed.add(id(source))
                moved = True
                target.eof()
        if not moved:
            break
    for end in (left, right):
        if end.wire.calls:
            end.core.connection_lost()
