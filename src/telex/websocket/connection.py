"""Hold the state of one WebSocket connection after its opening handshake, for either role, without any I/O.

Rule of this module: no socket, no clock, no tasks. Time comes in as `now` (seconds of a steady clock), randomness as
`token`, bytes through `feed`; what is to be sent goes to the `Stream` below, what was received to the `Events` above,
both by plain calls.

Theory of operation. Three stimuli drive the machine: what the program calls, what the peer sent, and time.

*Received data.* `feed` only takes the bytes; `process` reads them frame by frame and calls `events` on the spot. So a
message is handed up, and may be answered, before the next frame is looked at: a violation later in the same bytes
takes nothing from the messages before it. `process` stops after so many frames or bytes, which is what makes many
connections share one thread fairly; while something is left the stream is paused, so the backlog is at most one chunk.

*State* is one value and one table, below. Both ways of ending lead through `CLOSE_OWED` where the peer began: its
Close (or its violation) has been seen, ours has not been sent, and messages received before it may still be answered.
`finish` sends the Close that is owed. After that, in `ENDING`, nothing is read and nothing is sent.

*Time.* `deadline` says when `wake` wants to be called, and may change in any call. It may be early, never late: `wake`
then finds nothing to do. A wake that comes more than `STALL` late says that this process stood still, so what the peer
sent may not have been read yet: every deadline is moved by as much before anyone is blamed. While the program does not
want more messages the peer is not read, and its deadlines stand still; so that one that is gone is noticed all the
same, we write to it, and TCP tells (see `wake`).

Received text and binary are collected in one `bytearray` while they are incomplete, whatever the number of fragments.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol, cast

from telex.errors import ConnectionClosed, FrameError
from telex.limits import Limits, Quota
from telex.types import Data
from telex.websocket.codec import FrameReader, Utf8Validator, decode_text, encode_frame, write_message
from telex.websocket.frames import MAX_CLOSE_REASON, Frame, Opcode, decode_close, encode_close

if TYPE_CHECKING:
    from telex.streams.base import Stream
    from telex.websocket.deflate import DeflateParameters, Deflator, Inflator

__all__ = ["STALL", "ConnectionCore", "Events", "Role", "State"]

STALL = 1.0
"""Seconds: a wake this late was not a busy moment but a process that stood still (stopped, swapped out, blocked)."""

_NO_BOUND = 1 << 62
"""Bytes that nobody has."""

_PING_BYTES = 4
"""Bytes of a ping that is not the program's: enough that no peer answers it by guessing."""


class Role(Enum):
    """Say which end of the connection this is: who masks, and who closes TCP first."""

    SERVER = auto()
    CLIENT = auto()


class State(Enum):
    """Be the state of a connection."""

    __hash__ = object.__hash__  # a table's key: `Enum` would hash the name, in Python

    OPEN = auto()
    """Messages go both ways."""
    CLOSE_SENT = auto()
    """We began the closing handshake; only the peer's Close is of interest."""
    CLOSE_OWED = auto()
    """The peer's Close, its violation, its silence or its end was seen; our Close has not been sent. We may send."""
    ENDING = auto()
    """Nothing more is read or sent; TCP is being closed."""
    CLOSED = auto()
    """TCP is gone."""


class _Cue(Enum):
    """Be what moves a connection from one state to the next."""

    __hash__ = object.__hash__

    CLOSE = auto()  # the program closes
    PEER_CLOSE = auto()  # a Close frame came
    FAIL = auto()  # the peer broke a rule or let a deadline pass
    EOF = auto()  # the peer sent its last byte, and no Close frame
    FINISH = auto()  # the Close that is owed goes out
    LOST = auto()  # the stream is gone


# RFC 6455 §7.1: the closing handshake. A pair that is missing cannot happen, and a KeyError says where it did.
_NEXT = {
    (State.OPEN, _Cue.CLOSE): State.CLOSE_SENT,
    (State.OPEN, _Cue.PEER_CLOSE): State.CLOSE_OWED,
    (State.OPEN, _Cue.FAIL): State.CLOSE_OWED,
    (State.OPEN, _Cue.EOF): State.CLOSE_OWED,
    (State.OPEN, _Cue.LOST): State.CLOSED,
    (State.CLOSE_SENT, _Cue.PEER_CLOSE): State.ENDING,
    (State.CLOSE_SENT, _Cue.FAIL): State.ENDING,
    (State.CLOSE_SENT, _Cue.EOF): State.ENDING,
    (State.CLOSE_SENT, _Cue.LOST): State.CLOSED,
    (State.CLOSE_OWED, _Cue.FINISH): State.ENDING,
    (State.CLOSE_OWED, _Cue.LOST): State.CLOSED,
    (State.ENDING, _Cue.LOST): State.CLOSED,
}

_CAN_SEND = frozenset({State.OPEN, State.CLOSE_OWED})


class Events(Protocol):
    """Take what a connection received: plain calls, made while `process` (or `wake`) runs.

    What one of them raises leaves `process`; the connection stays usable, with that frame consumed.
    Any method of the core may be called from inside them, except `process` and `wake`.
    """

    def message_received(self, message: Data) -> None:
        """Take one whole message. An empty one is a message."""
        ...

    def ping_received(self, payload: bytes) -> None:
        """Take note of a ping; it has been answered."""
        ...

    def pong_received(self, payload: bytes, latency: float | None) -> None:
        """Take note of a pong; `latency` is None where it answers no ping of ours (RFC 6455 §5.5.3 allows that)."""
        ...

    def close_received(self, code: int, reason: str) -> None:
        """Take note that the peer sends nothing more: its Close, or 1006 when it ended without one.

        **Next**: `finish`, where `state` is `CLOSE_OWED`.
        """
        ...

    def violation(self, error: FrameError) -> None:
        """Take note that the peer broke a rule or let a deadline pass; nothing more is read.

        **Next**: `finish`, where `state` is `CLOSE_OWED`.
        """
        ...

    def program_failed(self) -> None:
        """Take note of what a message that went straight from the stream has raised: the current exception."""
        ...


class _Assembly:
    """Hold what has come of a message that is not complete, and what it is read with."""

    __slots__ = ("inflator", "message", "utf8")

    def __init__(self, inflator: Inflator | None, utf8: Utf8Validator | None) -> None:
        self.message = bytearray()
        self.inflator = inflator  # where it is compressed
        self.utf8 = utf8  # where it is text


class _Beats:
    """Hold what is known of pings and pongs, while there is anything."""

    __slots__ = ("owed_pong", "pings", "pong_due", "quota")

    def __init__(self) -> None:
        self.quota: Quota | None = None  # of the control frames that we did not ask for
        self.pings: dict[bytes, float] = {}  # ours without an answer, oldest first, and when they were sent
        self.pong_due: float | None = None
        self.owed_pong: bytes | None = None


class _Ending:
    """Hold what is known of a connection's end."""

    __slots__ = ("code", "ours", "owed", "reason")

    def __init__(self) -> None:
        self.code: int | None = None
        self.reason = ""
        self.ours: tuple[int, str] = (1006, "")  # what we said in `CLOSE_SENT`
        self.owed: bytes | None = None  # None in `CLOSE_OWED`: TCP has ended, no Close is of use


class ConnectionCore:
    """Be the state machine of one connection.

    Args:
        stream: where output goes and reading is paused; its `data_received` and its end are the caller's to pass on.
        deflate: what the opening handshake negotiated, None for no compression.
        token: gives that many unpredictable bytes (`secrets.token_bytes`).
        keepalive: send a ping every `Limits.ping_interval` and fail with 1011 when it is not answered within
            `Limits.ping_timeout`.
        now: the present moment.

    `close_code` and `close_reason` are None and "" until the end is known, then the peer's; or ours where the peer
    broke a rule; or 1006 and a sentence where the connection was lost (RFC 6455 §7.1.5). `latency` is the last
    round-trip time measured. After any call, look at `deadline`, which may be `ping_due`: the next keepalive ping.

    **Limits**: `max_message_size`, `max_fragments`, `message_timeout`, `max_control_per_second`, `max_control_burst`,
    `close_timeout`, `ping_interval`, `ping_timeout`, `send_buffer_high`.
    """

    __slots__ = (
        "_assembly",
        "_beats",
        "_close_due",
        "_codecs",
        "_ending",
        "_eof",
        "_events",
        "_is_behind",
        "_is_server",
        "_message_due",
        "_n_delivered",
        "_paused_at",
        "_reader",
        "_share",
        "_token",
        "can_send",
        "deadline",
        "latency",
        "limits",
        "ping_due",
        "state",
        "stream",
    )

    def __init__(
        self,
        role: Role,
        events: Events,
        stream: Stream,
        *,
        limits: Limits,
        deflate: DeflateParameters | None,
        token: Callable[[int], bytes],
        keepalive: bool,
        now: float,
    ) -> None:
        self.state = State.OPEN
        self.can_send = True
        self.latency: float | None = None
        self.deadline: float | None = None
        self._is_server = role is Role.SERVER
        self._events = events
        self.stream = stream
        self.limits = limits
        self._token = token
        self._codecs: tuple[Inflator, Deflator] | None = None  # where permessage-deflate was negotiated
        if deflate is not None:
            self._codecs = deflate.make_codecs(is_server=self._is_server, max_message_size=limits.max_message_size)
        # None where nothing is read any more.
        self._reader: FrameReader | None = FrameReader(
            expect_masked=self._is_server,
            allow_rsv1=deflate is not None,
            max_message_size=limits.max_message_size,
            max_fragments=limits.max_fragments,
        )
        self._n_delivered = 0  # messages that went straight to a listener, by readers of before
        self._assembly: _Assembly | None = None  # the message that is open
        self._beats: _Beats | None = None  # from the first ping on, ours or the peer's
        self._ending: _Ending | None = None  # from the first sign of the end on
        self._eof = False  # the peer sent its last byte
        self._share = 0  # bytes that `process` may still handle in this call
        self._is_behind = False  # `process` left something for its next call
        self._paused_at: float | None = None  # since when the program does not want more messages
        self._message_due: float | None = None
        self.ping_due = now + limits.ping_interval if keepalive else None
        self._close_due: float | None = None
        self._rearm()

    def attach(self, listener: Any = None) -> None:
        """Let whole messages go straight up from the stream, where it can do that (see `FrameReader.attach`)."""
        if self._reader is not None:
            self._reader.attach(self.stream, self._events, listener)

    @property
    def close_code(self) -> int | None:
        """How it ended (RFC 6455 §7.1.5); None until that is known."""
        return None if self._ending is None else self._ending.code

    @property
    def close_reason(self) -> str:
        """The reason that belongs to `close_code`."""
        return "" if self._ending is None else self._ending.reason

    # What was received

    @property
    def n_delivered(self) -> int:
        """Messages that went to the listener given to `attach`."""
        return self._n_delivered + (0 if self._reader is None else self._reader.n_delivered)

    def count_delivered(self) -> None:
        """Count a message that went to that listener in another way."""
        self._n_delivered += 1

    @property
    def is_delivering(self) -> bool:
        """Whether a message that went straight up is being handled."""
        return self._reader is not None and self._reader.is_delivering

    @property
    def has_input(self) -> bool:
        """Tell whether something is left for `process`: bytes, or the end after them."""
        return self._reader is not None and (self._eof or self._reader.has_input)

    def feed(self, data: bytes) -> None:
        """Take what was received. **Next**: `process`. **Ownership**: see `FrameReader`."""
        if self._reader is not None:  # RFC 6455 §5.5.1: what comes after a Close frame is ignored
            self._reader.feed(data)

    def receive_eof(self, now: float) -> None:
        """Note that the peer sent its last byte. **Next**: `process`, for what came before takes effect first."""
        self._eof = True
        if self.state is State.ENDING and not self.stream.is_closing:  # a client that waited for the server's end
            self.stream.close()

    def process(self, now: float, max_frames: int, max_bytes: int = _NO_BOUND) -> bool:
        """Read what was fed and tell `events`; return True when more is left: call again in the next turn.

        Returns False while reading is paused: call again after `resume_reading`.

        Args:
            max_bytes: payload to handle, counted as received and again as inflated; exceeded by the last frame.
        """
        self._share = max_bytes
        for _ in range(max_frames):
            reader = self._reader
            if reader is None or self._paused_at is not None:
                return False
            if self._share <= 0 and reader.has_input:
                return self._fall_behind()
            message = reader.read_message()
            if message is not None:  # the usual case; its size in characters will do
                self._share -= len(message)
                self._message_due = None
                if self.state is State.OPEN:  # after our Close, only the peer's is of interest
                    self._events.message_received(message)
                continue
            try:
                frame = reader.read()
                if frame is None:
                    break
                self._share -= len(frame.payload)
                is_control = frame.opcode >= Opcode.CLOSE
                message = None if is_control else self._assemble(frame)
            except FrameError as error:
                self._fail(error, now)
                return False
            if message is not None:
                self._message_due = None
                self._events.message_received(message)
            elif is_control:
                self._control(frame, now)
        else:
            return self._reader is not None and self._paused_at is None and self._fall_behind()
        self._caught_up(reader, now)
        return False

    def pause_reading(self, now: float) -> None:
        """Read nothing more for now: the program is behind. Deadlines of the peer stand still meanwhile.

        With `keepalive`, a peer that ends or resets TCP is noticed after two `ping_interval`; one that is cut off,
        when the operating system gives up sending to it (some 15 minutes).
        """
        if self._paused_at is None and self.state is State.OPEN:
            self._paused_at = now
            self._go_direct(False)
            self.stream.pause_reading()
            self._rearm()

    def resume_reading(self, now: float) -> None:
        """Read on. **Next**: `process`, for something may have been left."""
        if self._paused_at is not None:
            since, self._paused_at = self._paused_at, None
            self._shift(now - since)
            self._go_direct(True)
            if not self._is_behind:
                self.stream.resume_reading()

    def connection_lost(self) -> None:
        """Note that the stream is gone; frees what the connection held. May be called in any state, more than once."""
        if self.state is State.CLOSED:
            return
        self._record(1006, "the connection was lost")
        self._move(_Cue.LOST, None)

    def writing_resumed(self) -> None:
        """Note that the output has drained: send the pong that waited for it."""
        if self._beats is None:
            return
        payload, self._beats.owed_pong = self._beats.owed_pong, None
        if payload is not None and self.state is State.OPEN:
            self._write(Opcode.PONG, payload)

    # What the program does

    def send(self, message: Data | bytearray | memoryview, *, compress: bool | None = None) -> int:
        """Send one message: text for `str`, else binary. Returns the stream's `buffered_bytes` then.

        Args:
            compress: None leaves it to the threshold of the negotiated deflate options; without permessage-deflate
                nothing is compressed.

        Raises `ConnectionClosed` once our Close is out, `ValueError` for text with a lone surrogate, `TypeError` for
        anything that is neither text nor bytes; nothing was sent then. **Ownership**: the message is copied.
        """
        if not self.can_send:
            raise self._closed()
        if self._codecs is None and self._is_server:
            return write_message(self.stream, message)
        opcode = Opcode.TEXT if isinstance(message, str) else Opcode.BINARY
        payload = message.encode() if isinstance(message, str) else message
        if isinstance(payload, memoryview):
            payload = payload.tobytes()
        elif not isinstance(payload, bytes | bytearray):
            raise TypeError(f"a message is str or bytes, not {type(message).__name__}")
        deflator = None if self._codecs is None else self._codecs[1]
        if deflator is not None and (len(payload) >= deflator.threshold if compress is None else compress):
            self._write(opcode, deflator.deflate(payload), rsv1=True)
        else:
            self._write(opcode, payload)
        return self.stream.buffered_bytes

    def shared_compression(self, payload: bytes | bytearray) -> object | None:
        """Return what a message of this end is compressed with, if others compress with the same and get equal bytes.

        None where the message is not compressed, or in the light of messages before it, or where we mask.
        """
        if self._codecs is None or not self._is_server or len(payload) < self._codecs[1].threshold:
            return None
        return self._codecs[1].shared

    def compress(self, opcode: Opcode, payload: bytes | bytearray) -> bytes:
        """Return the compressed frame for all that have the same `shared_compression`."""
        _, deflator = cast("tuple[Inflator, Deflator]", self._codecs)  # or there would be no such thing
        return encode_frame(opcode, deflator.deflate(payload), rsv1=True)

    def send_encoded(self, frame: bytes) -> None:
        """Send a frame that was encoded before, unmasked: what a server sends to many. Raises `ConnectionClosed`."""
        if not self.can_send:
            raise self._closed()
        self.stream.write(frame)

    def ping(self, now: float, payload: bytes | None = None) -> bytes:
        """Send a ping and return its payload; without one given, unpredictable bytes.

        Raises `ConnectionClosed` unless the connection is open, `ValueError` when the payload is longer than 125 bytes
        or the same as of a ping that still waits for its answer.
        """
        if self.state is not State.OPEN:
            raise self._closed()
        if payload is None:
            payload = self._token(_PING_BYTES)
        elif payload in self._beat.pings:
            raise ValueError("a ping with this payload still waits for its pong")
        self._write(Opcode.PING, payload)
        beats = self._beat
        beats.pings[payload] = now
        if self.ping_due is not None and beats.pong_due is None:
            beats.pong_due = now + self.limits.ping_timeout
            self._rearm()
        return payload

    def awaits(self, payload: bytes) -> bool:
        """Tell whether a ping of ours with this payload has no answer yet: its own, or one to a ping after it."""
        return self._beats is not None and payload in self._beats.pings

    def close(self, now: float, code: int | None = 1000, reason: str = "") -> None:
        """Begin the closing handshake; where the peer began it, finish it with the Close that is owed.

        Messages that come after this are dropped. Does nothing when our Close is out already.
        Raises `ValueError` or `TypeError` as `encode_close`, in every state.
        **Next**: where `has_input`, `process`: the peer's Close may be there already, held back by a pause.
        """
        payload = encode_close(code, reason)
        if self.state is State.CLOSE_OWED:
            self.finish(now)
        elif self.state is State.OPEN:
            self._write(Opcode.CLOSE, payload)
            self._end.ours = (1005 if code is None else code, reason)
            self._move(_Cue.CLOSE, now + self.limits.close_timeout)

    def finish(self, now: float) -> None:
        """Send the Close that is owed (the peer's code back, or the violation's) and end; else do nothing.

        A server then closes TCP, a client waits for the server to do so (RFC 6455 §7.1.1).
        """
        if self.state is State.CLOSE_OWED:
            if self._end.owed is not None:
                self._write(Opcode.CLOSE, self._end.owed)
            self._move(_Cue.FINISH, now + self.limits.close_timeout)

    # Time

    def wake(self, now: float) -> None:
        """Do what is due. To be called at `deadline`, or later; earlier it does nothing."""
        if self.deadline is None or now < self.deadline:
            return
        if self._paused_at is not None:
            # Nothing is read, so neither an answer nor the end would be seen, only that TCP gets no more through.
            # RFC 6455 §5.5.3: an unsolicited pong is a heartbeat in one direction. No answers to it pile up.
            self.ping_due = now + self.limits.ping_interval
            self._write(Opcode.PONG, b"")
            self._rearm()
            return
        late = now - self.deadline
        if late > STALL:
            self.ping_due = None if self.ping_due is None else self.ping_due + late
            self._shift(late)
            return
        if _is_due(self._close_due, now):
            if self.state is State.CLOSE_OWED:
                self.finish(now)
            else:
                self._close_due = None
                self._record(1006, "the closing handshake took too long")
                self.stream.abort()
        elif _is_due(self._message_due, now):
            self._fail(FrameError(1008, "a message took too long"), now)
        elif _is_due(self._pong_due, now):
            if self._message_due is None:
                self._fail(FrameError(1011, "keepalive ping timeout"), now)
            else:
                # A pong cannot overtake the frame that is being sent; `message_timeout` bounds how long that may take.
                self._beat.pong_due = now + self.limits.ping_timeout
        elif _is_due(self.ping_due, now):
            self.ping_due = now + self.limits.ping_interval
            self.ping(now)
        self._rearm()

    def _rearm(self) -> None:
        """Find the next deadline."""
        dues = [self.ping_due]
        if self._paused_at is None:
            dues += self._message_due, self._pong_due, self._close_due
        self.deadline = min((due for due in dues if due is not None), default=None)

    def _shift(self, delay: float) -> None:
        """Leave time in which nothing could be read out of every account."""
        self._message_due = None if self._message_due is None else self._message_due + delay
        self._close_due = None if self._close_due is None else self._close_due + delay
        beats = self._beats
        if beats is not None:
            beats.pong_due = None if beats.pong_due is None else beats.pong_due + delay
            beats.pings = {payload: sent + delay for payload, sent in beats.pings.items()}
        self._rearm()

    # Inside

    def _fall_behind(self) -> bool:
        """End a `process` that left something."""
        self._is_behind = True
        self.stream.pause_reading()
        return True

    def _caught_up(self, reader: FrameReader, now: float) -> None:
        """End a `process` that read all there was."""
        if self._is_behind:
            self._is_behind = False
            self.stream.resume_reading()
        if self._eof:
            self._record(1006, "the peer ended the connection without a Close frame")
            self._move(_Cue.EOF, now + self.limits.close_timeout)
            self._events.close_received(1006, self.close_reason)
        elif self.state is State.OPEN and (self._message_due is None) is reader.has_open_message:
            self._message_due = now + self.limits.message_timeout if reader.has_open_message else None
            self._rearm()

    def _assemble(self, frame: Frame) -> Data | None:
        """Add a data frame, or the part of one, to its message; return the message when it is complete.

        Source: RFC 6455 §5.4, §8.1; RFC 7692 §6.
        """
        opcode, payload, fin, rsv1, begins, ends = frame
        if self.state is not State.OPEN:
            return None  # after our Close, only the peer's is of interest
        is_last = fin and ends
        if begins and opcode is not Opcode.CONTINUATION:
            if is_last and not rsv1:  # the usual case: one frame, there as a whole
                return payload if opcode is Opcode.BINARY else decode_text(payload)
            self._assembly = _Assembly(
                self._codecs[0] if rsv1 and self._codecs is not None else None,
                Utf8Validator() if opcode is Opcode.TEXT else None,
            )
        assembly = cast("_Assembly", self._assembly)  # the reader hands out no continuation of nothing
        message, utf8 = assembly.message, assembly.utf8
        if assembly.inflator is not None:
            start = len(message)
            assembly.inflator.inflate(payload, message, final=is_last)
            self._share -= len(message) - start
            if utf8 is not None:
                utf8.validate(message[start:], is_last)
        else:
            message += payload
            if utf8 is not None:
                utf8.validate(payload, is_last)
        if not is_last:
            return None
        self._assembly = None
        return bytes(message) if utf8 is None else message.decode()

    def _control(self, frame: Frame, now: float) -> None:
        """Obey a control frame (RFC 6455 §5.5)."""
        payload = frame.payload
        if frame.opcode is Opcode.CLOSE:
            self._peer_close(payload, now)
        elif not self._may_control(payload if frame.opcode is Opcode.PONG else None, now):
            self._fail(FrameError(1008, "too many control frames"), now)
        elif self.state is not State.OPEN:
            pass  # after our Close, only the peer's is of interest
        elif frame.opcode is Opcode.PING:
            # RFC 6455 §5.5.3: an endpoint that has not answered yet may answer the newest ping only. Where the peer
            # does not read what we send, this keeps its pings from filling our memory.
            if self.stream.buffered_bytes > self.limits.send_buffer_high:
                self._beat.owed_pong = payload
            else:
                self._beat.owed_pong = None
                self._write(Opcode.PONG, payload)
            self._events.ping_received(payload)
        else:
            self._events.pong_received(payload, self._answered(payload, now))

    def _may_control(self, pong: bytes | None, now: float) -> bool:
        """Charge a control frame to the peer's quota; the answer to a ping of ours is free."""
        beats = self._beat
        if pong is not None and pong in beats.pings:
            return True
        if beats.quota is None:
            beats.quota = Quota(self.limits.max_control_per_second, self.limits.max_control_burst)
        return beats.quota.take(now)

    @property
    def _beat(self) -> _Beats:
        """What is known of pings and pongs, which begins with this."""
        if self._beats is None:
            self._beats = _Beats()
        return self._beats

    @property
    def _pong_due(self) -> float | None:
        return None if self._beats is None else self._beats.pong_due

    def _answered(self, payload: bytes, now: float) -> float | None:
        """Strike off the ping that a pong answers, with those before it, and return the round-trip time."""
        beats = self._beat
        sent = beats.pings.get(payload)
        if sent is None:
            return None
        payloads = list(beats.pings)
        for answered in payloads[: payloads.index(payload) + 1]:
            del beats.pings[answered]
        beats.pong_due = now + self.limits.ping_timeout if self.ping_due is not None and beats.pings else None
        if not beats.pings and beats.quota is None:
            self._beats = None  # an idle connection whose keepalive was answered knows nothing more of it
        self._rearm()
        self.latency = now - sent
        return self.latency

    def _peer_close(self, payload: bytes, now: float) -> None:
        """Obey the peer's Close (RFC 6455 §5.5.1, §7.1.5)."""
        try:
            code, reason = decode_close(payload)
        except FrameError as error:
            self._fail(error, now)
            return
        self._record(code, reason)
        self._end.owed = payload[:2]  # "it typically echos the status code it received"; none where there was none
        self._move(_Cue.PEER_CLOSE, now + self.limits.close_timeout)
        self._events.close_received(code, reason)

    def _fail(self, error: FrameError, now: float) -> None:
        """Give the peer up (RFC 6455 §7.1.7)."""
        self._record(error.code, error.reason)
        text = error.reason.encode()[:MAX_CLOSE_REASON].decode(errors="ignore")
        self._end.owed = encode_close(error.code, text)
        self._move(_Cue.FAIL, now + self.limits.close_timeout)
        self._events.violation(error)

    def _record(self, code: int, reason: str) -> None:
        """Keep how the connection ended: the first that is known counts."""
        end = self._end
        if end.code is None:
            end.code, end.reason = code, reason

    @property
    def _end(self) -> _Ending:
        """What is known of the end, which begins with this."""
        if self._ending is None:
            self._ending = _Ending()
        return self._ending

    def _closed(self) -> ConnectionClosed:
        """Return what to raise where nothing can be sent any more."""
        end = self._end
        return ConnectionClosed(*end.ours if end.code is None else (end.code, end.reason))

    def _move(self, cue: _Cue, close_due: float | None) -> None:
        """Enter the next state and do what every change of state brings with it."""
        self.state = state = _NEXT[self.state, cue]
        self.can_send = state in _CAN_SEND
        # An open message never ends now, no ping needs an answer, and only the end itself has a deadline.
        self._assembly = None
        if self._beats is not None:
            self._beats.pings.clear()
            self._beats.pong_due = None
        self._message_due = self.ping_due = None
        if close_due is None or self._close_due is None or cue is _Cue.FINISH:
            self._close_due = close_due
        self._go_direct(False)
        if state is not State.CLOSE_SENT:
            self._n_delivered = self.n_delivered
            self._reader = None
        if state is not State.CLOSED:
            # The end must be seen, whatever the program wants to read.
            self._is_behind, self._paused_at = False, None
            self.stream.resume_reading()
        # RFC 6455 §7.1.1: "the server MUST close the connection first"; a client waits for that, unless there is
        # nothing to wait for.
        if state is State.ENDING and (self._is_server or self._eof or cue is _Cue.FAIL):
            self.stream.close()
        self._rearm()

    def _go_direct(self, is_direct: bool) -> None:
        """Say whether the reader may hand messages straight up: only while nobody here has a say in them."""
        if self._reader is not None:
            self._reader.is_direct = is_direct

    def _write(self, opcode: Opcode, payload: bytes | bytearray, rsv1: bool = False) -> None:
        """Send one frame; what a client sends is masked, each time anew (RFC 6455 §5.3)."""
        mask = None if self._is_server else self._token(4)
        self.stream.write(encode_frame(opcode, payload, rsv1=rsv1, mask=mask))


def _is_due(due: float | None, now: float) -> bool:
    """Tell whether a deadline has come."""
    return due is not None and due <= now
