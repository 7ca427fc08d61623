"""What drives a session in tests: a clock moved by hand, transports in memory, and a sink that remembers.

The transports are whole transports, with the rules of the real ones and no I/O: what they were given stands in lists.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from telex.engineio.packets import CLOSE, NOOP, Packet, PacketType
from telex.engineio.session import CloseReason, Session, SessionSink, Transport
from telex.errors import EnginePacketError
from telex.limits import Limits
from telex.streams.deadlines import Deadlines
from telex.types import Data


class ManualTimer:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class ManualClock:
    """A clock that stands until the test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._timers: list[ManualTimer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> ManualTimer:
        timer = ManualTimer(when, callback)
        self._timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Move on, waking as a loop would."""
        end = self.now + seconds
        while True:
            self._timers = [timer for timer in self._timers if not timer.is_cancelled]
            timer = min(self._timers, key=lambda timer: timer.when, default=None)
            if timer is None or timer.when > end:
                break
            self.now = max(self.now, timer.when)
            self._timers.remove(timer)
            timer.callback()
        self.now = end


class RecordingTransport:
    """What both kinds remember."""

    name = ""
    plain = None
    is_writable: bool
    send: Callable[[Sequence[Packet]], None]

    def __init__(self) -> None:
        self.session: Session | None = None
        self.buffered_bytes = 0
        self.is_paused = False
        self.is_discarded = False
        self.is_closing = False

        self.direct: SessionSink | None = None

    def offer(self, packets: Sequence[Packet]) -> int | None:
        if not self.is_writable:
            return None
        self.send(packets)
        return self.buffered_bytes

    def discard(self) -> None:
        self.is_discarded = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class MemoryPolling(RecordingTransport):
    """Polls without HTTP: `poll` parks one, `answers` are what came."""

    name = "polling"

    def __init__(self) -> None:
        super().__init__()
        self.is_writable = False
        self.answers: list[list[Data]] = []

    def poll(self) -> None:
        assert self.session is not None
        assert not self.is_writable
        self.is_writable = True
        self.session.flush()

    def send(self, packets: Sequence[Packet]) -> None:
        assert self.is_writable
        self.is_writable = False
        self.answers.append([packet.wire for packet in packets])

    def release(self) -> None:
        if self.is_writable:
            self.send([NOOP])

    def close(self) -> None:
        assert self.session is not None
        if not self.is_writable:
            self.is_closing = True
            return
        self.send([NOOP, CLOSE] if self.is_closing else [CLOSE])
        self.session.fail(self, CloseReason.FORCED_CLOSE)

    def discard(self) -> None:
        if self.is_writable:
            self.send([CLOSE])
        super().discard()


class MemoryWebSocket(RecordingTransport):
    """A WebSocket without a network: `sent` is all that it was given, `take` is the peer reading."""

    name = "websocket"

    def __init__(self, high: int = 64 * 1024) -> None:
        super().__init__()
        self.high = high
        self.is_reading = True  # the peer
        self.sent: list[Data] = []

    @property
    def is_writable(self) -> bool:
        return not self.is_discarded and self.buffered_bytes <= self.high

    def send(self, packets: Sequence[Packet]) -> None:
        assert not self.is_discarded
        self.sent += [packet.wire for packet in packets]
        if not self.is_reading:
            self.buffered_bytes += sum(packet.n_bytes for packet in packets)

    def take(self, n_bytes: int) -> None:
        assert self.session is not None
        self.buffered_bytes -= n_bytes
        self.session.flush()

    def release(self) -> None:
        pass

    def close(self) -> None:
        self.is_closing = True


class Floor:
    """The floor above: it remembers, and does what the test wants when a message comes."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.on_message: Callable[[Data], None] = lambda data: None

    def message_received(self, data: Data) -> None:
        self.events.append(data)
        self.on_message(data)

    def session_closed(self, reason: CloseReason) -> None:
        self.events.append(reason)

    def writing_resumed(self) -> None:
        self.events.append("room")


class Scene:
    """One session on a transport, its clock and its floor."""

    def __init__(self, transport: MemoryPolling | MemoryWebSocket, limits: Limits | None = None) -> None:
        self.clock = ManualClock()
        self.deadlines = Deadlines(self.clock)
        self.floor = Floor()
        self.finished: list[Session] = []
        self.session = Session(
            "sid", transport, limits=limits or Limits(), deadlines=self.deadlines, finished=self.finished.append
        )
        self.session.sink = self.floor
        transport.session = self.session

    def candidate(self) -> MemoryWebSocket:
        """Start a probe."""
        candidate = MemoryWebSocket()
        candidate.session = self.session
        assert self.session.add_candidate(candidate)
        return candidate

    def probed(self) -> MemoryWebSocket:
        """Start a probe and get it answered."""
        candidate = self.candidate()
        self.receive(candidate, PacketType.PING, "probe")
        return candidate

    def receive(self, transport: Transport, kind: PacketType, data: Data = "") -> None:
        """Let a transport hand over a packet, as the real ones do."""
        try:
            self.session.receive(transport, kind, data)
        except EnginePacketError:
            self.session.fail(transport, CloseReason.PARSE_ERROR)

    def is_over(self) -> bool:
        """Whether nothing is left: told once, and no alarm pending."""
        return self.finished == [self.session] and len(self.deadlines) == 0
