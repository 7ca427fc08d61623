"""What every message runs through: what passes, and what is left to the subclass, in both twins."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from collections.abc import Sequence
from typing import Any

import pytest

from telex.engineio.packets import Packet
from telex.types import Data
from telex.websocket.codec import Keys
from telex.websocket.frames import Opcode, encode_frame
from tests.memory import ROUNDS, blocks_kept
from tests.twins import TWINS, twin_of
from tests.websocket.wire import Wire


@pytest.fixture(scope="module", params=TWINS)
def twin(request: pytest.FixtureRequest) -> Any:
    """Give each of the twins that this run must test."""
    return twin_of("telex.engineio.messages", request.param)


class Floor:
    """The floor above."""

    def __init__(self) -> None:
        self.heard: list[Data] = []

    def message_received(self, data: Data) -> None:
        self.heard.append(data)


def receiver(twin: Any, direct: Any = None) -> Any:
    """Make a transport that keeps in `left` what does not simply pass."""

    class Receiver(twin.MessageReceiver):  # type: ignore[misc]  # which of the twins is known when it runs
        def __init__(self) -> None:
            self.left: list[Data] = []
            self.direct, self.plain, self.keys = direct, None, None

        def _receive(self, message: Data) -> None:
            self.left.append(message)

    return Receiver()


# Receiving


@pytest.mark.parametrize("text", ["", "hello", "é", "☃", "😀", "4", "x" * 70_000, "nul\0"])
def test_a_message_of_text_goes_straight_up(twin: Any, text: str) -> None:
    floor = Floor()
    transport = receiver(twin, floor)
    transport.message_received("4" + text)
    assert (floor.heard, transport.left) == ([text], [])
    assert type(floor.heard[0]) is str


@pytest.mark.parametrize("data", [b"", b"4", b"bytes"])
def test_a_message_of_bytes_goes_straight_up_as_it_is(twin: Any, data: bytes) -> None:
    floor = Floor()
    transport = receiver(twin, floor)
    transport.message_received(data)
    assert floor.heard[0] is data
    assert transport.left == []


class Text(str):
    """Be text all the same."""

    __slots__ = ()


class Blob(bytes):
    """Be bytes all the same."""


@pytest.mark.parametrize(
    "message", ["", "2", "3probe", "x4", "é4", "😀", " 4", Text("4text"), Blob(b"bytes"), bytearray(b"4"), 4, None]
)
def test_all_else_is_left_to_the_subclass(twin: Any, message: Any) -> None:
    floor = Floor()
    transport = receiver(twin, floor)
    transport.message_received(message)
    assert floor.heard == []
    assert len(transport.left) == 1
    assert transport.left[0] is message


@pytest.mark.parametrize("message", ["4hello", b"bytes", "2", ""])
def test_everything_is_left_while_the_session_has_a_say(twin: Any, message: Data) -> None:
    floor = Floor()
    transport = receiver(twin)
    transport.message_received(message)
    transport.direct = floor
    transport.direct = None
    transport.message_received(message)
    assert (floor.heard, transport.left) == ([], [message] * 2)


@pytest.mark.parametrize("message", ["4hello", b"bytes"])
def test_whoever_is_told_may_go_meanwhile(twin: Any, message: Data) -> None:
    told: list[tuple[str, Data]] = []

    class Leaving:
        name = "leaving"

        def message_received(self, data: Data) -> None:
            transport.direct = None
            gc.collect()
            told.append((self.name, data))

    transport = receiver(twin)
    transport.direct = Leaving()
    gone = weakref.ref(transport.direct)
    transport.message_received(message)
    transport.message_received(message)
    assert told == [("leaving", message[1:] if isinstance(message, str) else message)]
    assert transport.left == [message]
    assert gone() is None


def test_what_is_raised_above_comes_out(twin: Any) -> None:
    class Failing:
        def message_received(self, data: Data) -> None:
            raise LookupError(data)

    transport = receiver(twin, Failing())
    for message in ("4text", b"text"):
        with pytest.raises(LookupError, match="text"):
            transport.message_received(message)
    transport.direct = object()
    with pytest.raises(AttributeError):
        transport.message_received("4text")
    assert transport.left == []


# Sending


def sender(twin: Any, transport: Any, *, is_clear: bool = True, high_mark: int = 100) -> Any:
    """Make a session that keeps in `left` what it is to send with care, and in `lags` what it is told of lagging."""

    class Sender(twin.MessageSender):  # type: ignore[misc]  # which of the twins is known when it runs
        def __init__(self) -> None:
            self.left: list[Data] = []
            self.lags: list[int] = []
            self.transport, self.is_clear, self.high_mark = transport, is_clear, high_mark

        def send(self, packets: Sequence[Packet]) -> None:
            self.left += [packet.wire for packet in packets]

        def _begin_lag(self, buffered: int) -> None:
            self.lags.append(buffered)

    return Sender()


class Other:
    """A transport of some other kind."""

    def __init__(self, plain: Any) -> None:
        self.plain, self.keys = plain, None


@pytest.fixture(params=["a receiver", "another"])
def on(request: pytest.FixtureRequest, twin: Any) -> Any:
    """Give what makes a transport on a stream: the usual one, or one of another kind."""

    def make(stream: Any) -> Any:
        if request.param == "another":
            return Other(stream)
        transport = receiver(twin)
        transport.plain = stream
        return transport

    return make


@pytest.mark.parametrize("body", ["", "hello", "é☃😀", "x" * 126, "x" * 70_000])
def test_a_text_is_written_as_one_frame(twin: Any, on: Any, body: str) -> None:
    wire = Wire()
    session = sender(twin, on(wire))
    session.send_text(b"42", body.encode())
    session.send_text(b"4", b"")
    assert wire.take() == encode_frame(Opcode.TEXT, f"42{body}".encode()) + encode_frame(Opcode.TEXT, b"4")
    assert (session.left, session.lags) == ([], [])


def test_a_client_masks_what_it_writes(twin: Any, on: Any) -> None:
    wire, given = Wire(), []

    def token(n: int) -> bytes:
        given.append(os.urandom(n))
        return given[-1]

    transport = on(wire)
    transport.keys = Keys(token)
    session = sender(twin, transport)
    session.send_text(b"42", b'["chat"]')
    session.send_text(b"42", b'["chat"]')
    keys = b"".join(given)
    texts = [encode_frame(Opcode.TEXT, b'42["chat"]', mask=keys[pos : pos + 4]) for pos in (0, 4)]
    assert wire.take() == b"".join(texts)


@pytest.mark.parametrize("body", ["", "hello", "é☃😀", "x" * 70_000])
def test_a_text_is_sent_with_care_where_it_cannot_be_written(twin: Any, on: Any, body: str) -> None:
    wire = Wire()
    for session in (sender(twin, on(wire), is_clear=False), sender(twin, on(None))):
        session.send_text(b"42", body.encode())
        assert session.left == ["42" + body]
        assert session.lags == []
    assert wire.take() == b""


def test_a_peer_lags_from_the_byte_above_the_high_mark_on(twin: Any, on: Any) -> None:
    wire = Wire()
    session = sender(twin, on(wire), high_mark=100)
    for wire.backlog in (0, 99, 100, 101, 1 << 40):
        session.send_text(b"4", b"x")
    assert session.lags == [101, 1 << 40]
    assert wire.take() == encode_frame(Opcode.TEXT, b"4x") * 5


def test_what_a_stream_raises_comes_out_and_is_no_lag(twin: Any, on: Any) -> None:
    class Broken(Wire):
        def write(self, data: bytes) -> None:
            raise OSError("broken")

    session = sender(twin, on(Broken(backlog=1000)))
    with pytest.raises(OSError, match="broken"):
        session.send_text(b"4", b"x")
    assert (session.left, session.lags) == ([], [])


def test_what_the_subclass_raises_comes_out(twin: Any, on: Any) -> None:
    class Sender(twin.MessageSender):  # type: ignore[misc]  # which of the twins is known when it runs
        def send(self, packets: Sequence[Packet]) -> None:
            raise LookupError("sent")

        def _begin_lag(self, buffered: int) -> None:
            raise LookupError("lagging")

    session = Sender()
    session.is_clear, session.transport, session.high_mark = True, on(Wire(backlog=1)), 0
    with pytest.raises(LookupError, match="lagging"):
        session.send_text(b"4", b"x")
    session.is_clear = False
    with pytest.raises(LookupError, match="sent"):
        session.send_text(b"4", b"x")


@pytest.mark.parametrize("is_clear", [False, True])
def test_text_is_given_as_bytes(twin: Any, on: Any, is_clear: bool) -> None:
    wire = Wire()
    session = sender(twin, on(wire), is_clear=is_clear)
    for head, body in (("4", b"x"), (b"4", "x"), (None, b"x"), (b"4", None)):
        with pytest.raises(TypeError):
            session.send_text(head, body)
    assert (wire.take(), session.left) == (b"", [])


# Both


def test_they_decide_nothing_themselves(twin: Any) -> None:
    transport, session = twin.MessageReceiver(), twin.MessageSender()
    transport.direct = transport.plain = transport.keys = None
    session.transport, session.is_clear, session.high_mark = Other(Wire(backlog=1)), False, 0
    for call in (lambda: transport.message_received("4"), lambda: session.send_text(b"4", b"")):
        with pytest.raises(NotImplementedError):
            call()
    session.is_clear = True
    with pytest.raises(NotImplementedError):
        session.send_text(b"4", b"")


def test_nothing_is_kept_and_nothing_is_given_back_twice(twin: Any) -> None:
    class Nowhere(Wire):
        def write(self, data: bytes) -> None:
            pass

    class Deaf:
        def message_received(self, data: Data) -> None:
            pass

    data, head, body = b"x" * 50, b"4" * 50, b"y" * 50
    floor = Deaf()
    transport = receiver(twin, floor)
    transport.plain = Nowhere()
    session = sender(twin, transport)
    held = [sys.getrefcount(thing) for thing in (floor, data, head, body, transport, transport.plain)]

    def work() -> None:
        transport.message_received("4" + "text" * 20)
        transport.message_received(data)
        transport.message_received("2")
        transport.left.clear()
        session.send_text(head, body)
        session.is_clear = False
        session.send_text(head, body)
        session.is_clear = True
        session.left.clear()

    assert blocks_kept(work) < ROUNDS // 10
    assert [sys.getrefcount(thing) for thing in (floor, data, head, body, transport, transport.plain)] == held


def test_transport_and_session_go_when_they_hold_each_other(twin: Any) -> None:
    transport = receiver(twin)
    session = sender(twin, transport)
    transport.direct = session
    gone = [weakref.ref(transport), weakref.ref(session)]
    del transport, session
    gc.collect()
    assert [each() for each in gone] == [None, None]
