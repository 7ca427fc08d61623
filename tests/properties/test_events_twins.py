"""The compiled fast path against its specification, the pure one: on whatever comes, the same results and effects.

Both are asked the same, and what they answer and do is compared whole: values, their types, and of an exception its
type and its text.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telex.engineio import messages as pure_messages
from telex.engineio.packets import Packet
from telex.limits import Limits
from telex.socketio import events as pure
from telex.socketio.broadcast import SENT, Sent
from telex.socketio.events import MAX_PLAIN_DEPTH, State
from telex.socketio.handlers import Handler
from telex.types import Data
from tests.socketio.texts import BOUNDS, Text, any_texts, data, events, names
from tests.twins import IS_PURE, compiled
from tests.websocket.wire import Wire

if IS_PURE:
    pytest.skip("TELEX_PURE: there is one of each, and nothing to compare it with", allow_module_level=True)

native = compiled("telex.socketio._events")
native_messages = compiled("telex.engineio._messages")

TWINS = (pure, native)
MESSAGES = (pure_messages, native_messages)


def outcome(ask: Callable[[], Any]) -> Any:
    """Return what a call returns, with its type, or what it raises."""
    try:
        found = ask()
    except Exception as error:
        return type(error), str(error)
    return type(found), repr(found)  # in which NaN is itself, and True is not 1


def same(ask: Callable[[Any], Any], twins: Sequence[Any] = TWINS) -> Any:
    """Ask both twins, compare, and return the answer."""
    expected, found = (outcome(lambda twin=twin: ask(twin)) for twin in twins)
    assert found == expected
    return expected[1]


# Functions


@settings(max_examples=1000)
@given(data, st.integers(0, MAX_PLAIN_DEPTH + 2))
def test_data_is_plain_alike(found: Any, depth: int) -> None:
    same(lambda twin: twin.is_plain(found))
    same(lambda twin: twin.is_plain(found, depth))


@settings(max_examples=500)
@given(st.text(alphabet="0123456789a.é☃😀²१\ud800[", max_size=40), st.integers(0, 45) | st.just(10**6))
def test_digits_are_counted_alike(text: str, maximum: int) -> None:
    same(lambda twin: twin.has_digits(text, maximum))


@settings(max_examples=1000)
@given(names | data, st.lists(data, max_size=4))
def test_events_are_written_alike(event: Any, args: list[Any]) -> None:
    same(lambda twin: twin.encode_event(event, tuple(args)))
    same(lambda twin: twin.encode_event(event, args))


@settings(max_examples=2000)
@given(events() | any_texts | st.text(), st.sampled_from(BOUNDS))
def test_texts_are_read_alike(text: str, limits: Limits) -> None:
    same(lambda twin: twin.EventParser(limits).parse(text))


@pytest.mark.parametrize("limits", BOUNDS[:2])
def test_every_short_head_is_read_alike(limits: Limits) -> None:
    pieces = ["2", "0", "/", ",", "a", "[", '["e"]', "1", "é", "\ud800", " ", '"e"]']
    parsers = [twin.EventParser(limits) for twin in TWINS]
    heads = [""]
    for _ in range(4):
        heads = [head + piece for head in heads for piece in pieces]
        for head in heads:
            for text in ("2" + head, "2" + head + '["e",1]'):
                assert parsers[0].parse(text) == parsers[1].parse(text), text


# One client


class Session:
    """A session that keeps what it is given."""

    def __init__(self, done: list[Any], is_clear: bool) -> None:
        self.done = done
        self.is_clear = is_clear

    def send_text(self, head: bytes, body: bytes) -> None:
        self.done.append(("sent", head + body))


class Inbox:
    """An inbox that keeps what it is to begin."""

    def __init__(self, done: list[Any], is_free: bool) -> None:
        self.done = done
        self.is_free = is_free

    def step(self, handler: Handler, args: Sequence[Any], ack_id: int | None, n_bytes: int) -> None:
        self.done.append(("begun", handler.name, args[handler.takes_socket :], ack_id, n_bytes))


def client(twin: Any, options: dict[str, Any], handlers: dict[str, Handler]) -> tuple[Any, Any, list[Any]]:
    """Make a connection and its socket on one of the twins, and the list of all that they do."""
    done: list[Any] = []

    class Connection(twin.EventReceiver):  # type: ignore[misc]  # which of the twins is known when it runs
        def _receive_message(self, data: Data) -> None:
            done.append(("message", data))

    class Socket(twin.Emitter):  # type: ignore[misc]  # which of the twins is known when it runs
        def _emit(self, *what: Any) -> Any:
            done.append(("emit", *what))
            return "left"

        def _receive_event(self, *what: Any) -> None:
            done.append(("event", *what))

        def _await_result(self, handler: Handler, result: Any, *what: Any) -> None:
            done.append(("await", handler.name, type(result), *what))

        def _reply(self, *what: Any) -> None:
            done.append(("reply", *what))

    connection, socket, nsp = Connection(), Socket(), twin.Registry()
    nsp.handlers, nsp.catch_alls = handlers, [None] * options["n_catch_alls"]
    nsp.event_head, nsp.ack_head = b"42", b"43"
    socket.nsp, socket.connection, socket.state = nsp, connection, options["state"]
    socket.is_direct_in, socket.is_direct_out = options["is_direct_in"], options["is_direct_out"]
    socket._inbox = None if options["inbox"] is None else Inbox(done, options["inbox"])
    connection.session, connection.loop = Session(done, options["is_clear"]), None  # no loop runs here
    connection._parser, connection._decoder = twin.EventParser(options["limits"]), options["decoder"]
    connection._root, connection._others = socket, {"/a": socket}
    return connection, socket, done


def often(value: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Draw mostly the one that lets things pass."""
    return st.sampled_from([*[value] * 6, *others])


_options = st.fixed_dictionaries(
    {
        "state": often(State.CONNECTED, *State),
        "is_direct_in": often(True, False),
        "is_direct_out": often(True, False),
        "inbox": often(True, None, False),
        "n_catch_alls": often(0, 1),
        "is_clear": often(True, False),
        "limits": often(*BOUNDS[:2]),
        "decoder": often(None, "awaits attachments"),
    }
)


class Odd:
    """What a handler may do but return data: raise this, or be awaited."""

    def __init__(self, do: Callable[[], Any]) -> None:
        self.do = do

    def __repr__(self) -> str:
        return repr(self.do)


def fail() -> Any:
    raise LookupError("mine")


def give_up() -> Any:
    raise asyncio.CancelledError


_odd_results = st.sampled_from([Odd(Sent), Odd(fail), Odd(give_up), Odd(lambda: SENT), Odd(lambda: (1, "é"))])
_results = st.booleans().flatmap(lambda is_odd: _odd_results if is_odd else data)
_handlers = st.builds(
    lambda *plan: plan,
    _results,
    often(0, 1, 2, 9),
    st.sampled_from([None, 0, 1, 2, 8, 9, None, None]),
    st.booleans(),
    often(False, True),
    st.booleans(),
)


def handler_of(calls: list[Any], name: str, plan: tuple[Any, ...]) -> Handler:
    result, n_min, n_more, is_async, is_concurrent, takes_socket = plan

    def function(*args: Any) -> Any:
        calls.append(args)
        return result.do() if isinstance(result, Odd) else result

    def with_socket(socket: Any, *args: Any) -> Any:
        assert hasattr(socket, "is_direct_in")
        return function(*args)

    return Handler(
        with_socket if takes_socket else function,
        name,
        n_min,
        None if n_more is None else n_min + n_more,
        is_async,
        is_concurrent,
        takes_socket=takes_socket,
    )


_steps = st.lists(
    st.one_of(
        st.tuples(st.just("message"), events() | any_texts | st.sampled_from(['2["chat"]', '2/a,7["chat",1]', "0"])),
        st.tuples(st.just("message"), st.sampled_from([b"bytes", Text('2["chat"]'), ""])),
        st.tuples(
            st.just("event"),
            often("chat", "", "nobody's"),
            st.lists(data, max_size=12),
            st.none() | st.integers(0, 99),
        ),
        st.tuples(st.just("emit"), names | data, st.lists(data, max_size=4), st.sampled_from([None, None, "callback"])),
        st.tuples(st.just("reply"), st.integers(0, 2**53), data),
    ),
    min_size=1,
    max_size=5,
).map(lambda steps: [*steps, ("event", "chat", [1, "é"], 3)])


def serve(twin: Any, options: dict[str, Any], plan: tuple[Any, ...], steps: list[Any]) -> list[Any]:
    """Play a scene with one of the twins; return all that was done, what each step answered, and what handlers got."""
    calls: list[Any] = []
    connection, socket, done = client(twin, options, {name: handler_of(calls, name, plan) for name in ("chat", "")})

    def step(what: str, *given: Any) -> Any:
        match what:
            case "message":
                return connection.message_received(*given)
            case "event":
                event, args, ack_id = given
                return socket.receive_event(event, [*args], ack_id, 5)
            case "emit":
                event, args, callback = given
                sent = socket.emit(event, *args, callback=callback)
                return Sent if type(sent) is Sent else sent
            case _:
                return socket.reply(*given)

    for each in steps:
        done.append(("answered", outcome(partial(step, *each))))
    return [*done, *(("called", args) for args in calls)]


@pytest.fixture(autouse=True, scope="module")
def _failures_of_handlers_are_no_news() -> Iterator[None]:
    logger = logging.getLogger("telex.socketio")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


@settings(max_examples=1000)
@given(_options, _handlers, _steps)
def test_a_client_is_served_alike(options: dict[str, Any], plan: tuple[Any, ...], steps: list[Any]) -> None:
    expected, found = (repr(serve(twin, options, plan, steps)) for twin in TWINS)
    assert found == expected


def test_the_generated_scenes_hold_what_they_should() -> None:
    """A generator that let nothing pass, or all, would prove little."""
    seen: set[str] = set()

    @settings(max_examples=400, database=None)
    @given(_options, _handlers, _steps)
    def look(options: dict[str, Any], plan: tuple[Any, ...], steps: list[Any]) -> None:
        seen.update(entry[0] for entry in serve(native, options, plan, steps))

    look()
    assert seen == {"sent", "begun", "message", "emit", "event", "await", "reply", "called", "answered"}


# One transport and one session


_messages = (
    st.text(max_size=20)
    | st.text(max_size=20).map("4".__add__)
    | st.binary(max_size=20)
    | st.sampled_from(["4" + "é" * 300, "4\U0001f600", Text("4"), Text(""), bytearray(b"4"), None, 4, ["4"]])
)


@settings(max_examples=500)
@given(st.lists(_messages, max_size=5), st.booleans())
def test_messages_go_up_alike(found: list[Any], is_direct: bool) -> None:
    told = []
    for twin in MESSAGES:
        up: list[Any] = []
        left: list[Any] = []

        class Transport(twin.MessageReceiver):  # type: ignore[misc,name-defined]  # known when it runs
            def _receive(self, message: Data, left: list[Any] = left) -> None:
                left.append((type(message), message))

        class Floor:
            def message_received(self, message: Data, up: list[Any] = up) -> None:
                up.append((type(message), message))

        transport = Transport()
        transport.direct, transport.plain, transport.keys = Floor() if is_direct else None, None, None
        for message in found:
            transport.message_received(message)
        told.append((up, left))
    assert told[0] == told[1]


_parts = st.text(max_size=30).map(str.encode) | st.sampled_from([b"\xff", b"x" * 70_000, None])


@settings(max_examples=500)
@given(_parts, _parts, st.sampled_from(["clear", "not clear", "not plain"]), st.integers(0, 200), st.booleans())
def test_texts_are_sent_alike(head: Any, body: Any, state: str, backlog: int, is_receiver: bool) -> None:
    told = []
    for twin in MESSAGES:
        done: list[Any] = []

        class Session(twin.MessageSender):  # type: ignore[misc,name-defined]  # known when it runs
            def send(self, packets: Sequence[Packet], done: list[Any] = done) -> None:
                done.append([(packet.wire, packet.compress) for packet in packets])

            def _begin_lag(self, buffered: int, done: list[Any] = done) -> None:
                done.append(buffered)

        class Other:
            """A transport of another kind."""

        wire = Wire(backlog=backlog)
        session, transport = Session(), twin.MessageReceiver() if is_receiver else Other()
        transport.plain, transport.keys = None if state == "not plain" else wire, None
        session.transport, session.is_clear, session.high_mark = transport, state != "not clear", 100
        kind, text = outcome(lambda session=session: session.send_text(head, body))
        told.append((kind, None if kind is TypeError else text, done, wire.take()))  # whose texts are each one's own
    assert told[0] == told[1]


# Names


@pytest.mark.parametrize("pair", [TWINS, MESSAGES])
def test_the_twins_offer_the_same_names(pair: Sequence[Any]) -> None:
    ours, theirs = pair
    assert set(theirs.__all__) <= set(ours.__all__)
    for name in theirs.__all__:
        if isinstance(getattr(ours, name), type):
            public = [{each for each in dir(getattr(twin, name)) if not each.startswith("_")} for twin in pair]
            assert public[0] == public[1]
