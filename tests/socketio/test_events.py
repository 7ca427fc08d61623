"""What a usual event runs through: what passes, and what is left to those who know every rule, in both twins."""

from __future__ import annotations

import asyncio
import functools
import gc
import json
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from telex.errors import SocketPacketError
from telex.limits import Limits
from telex.socketio.broadcast import SENT, Sent
from telex.socketio.events import MAX_PLAIN_DEPTH, SMALL_JSON, State
from telex.socketio.handlers import Handler, make_handler
from telex.socketio.packets import RESERVED_EVENTS, PacketType
from telex.socketio.parsers import Decoder, contains_bytes, encode
from telex.types import Data
from tests.memory import ROUNDS, blocks_kept
from tests.socketio.texts import BOUNDS, Number, Text, any_texts, data, events, names
from tests.twins import TWINS, twin_of


@pytest.fixture(scope="module", params=TWINS)
def twin(request: pytest.FixtureRequest) -> Any:
    """Give each of the twins that this run must test."""
    return twin_of("telex.socketio.events", request.param)


# What is plain


def nested(depth: int, inner: Any = 1) -> Any:
    """Put something into so many containers."""
    for n in range(depth):
        inner = ([inner], (inner,), {"a": inner})[n % 3]
    return inner


class Point(NamedTuple):
    """A tuple of some other type."""

    x: int = 1


PLAIN = [None, True, False, 0, -1, 2**64, 1.5, float("nan"), "", "é", "\ud800", [], (), {}, [[], ({"": ()},)], {"a": 1}]
ODD = [
    b"",
    bytearray(),
    memoryview(b""),
    object(),
    {1, 2},
    Text("a"),
    Number.ONE,
    Point(),
    type("List", (list,), {})(),
    type("Dict", (dict,), {})(),
    type("Float", (float,), {})(),
    {1: "a"},
    {None: "a"},
    {b"a": "a"},
    {Text("a"): "a"},
    {(): "a"},
]


@pytest.mark.parametrize("found", PLAIN)
def test_what_json_has_is_plain(twin: Any, found: Any) -> None:
    assert twin.is_plain(found) is True
    for place in ([found], (found,), {"a": found}, [1, [found], 2], {"a": 1, "b": {"c": (found,)}}):
        assert twin.is_plain(place) is True


@pytest.mark.parametrize("found", ODD)
def test_all_else_is_not_plain_wherever_it_lies(twin: Any, found: Any) -> None:
    assert twin.is_plain(found) is False
    for place in ([found], (found,), {"a": found}, [1, [found], 2], {"a": 1, "b": {"c": (found,)}}):
        assert twin.is_plain(place) is False


def test_what_lies_deep_is_not_plain(twin: Any) -> None:
    assert twin.is_plain(nested(MAX_PLAIN_DEPTH))
    assert twin.is_plain(nested(MAX_PLAIN_DEPTH - 1, []))
    for inner in (1, []):
        assert not twin.is_plain(nested(MAX_PLAIN_DEPTH + 1, inner))
    for depth in range(20):
        assert twin.is_plain(nested(depth), depth)
        assert not twin.is_plain(nested(depth + 1), depth)
    assert not twin.is_plain(nested(5000))


def test_what_holds_itself_is_not_plain(twin: Any) -> None:
    knot: list[Any] = [1]
    knot.append(({"a": knot},))
    assert not twin.is_plain(knot)
    knot.clear()


@given(data)
def test_what_is_plain_holds_no_bytes_and_needs_no_help(twin: Any, found: Any) -> None:
    if twin.is_plain(found):
        assert not contains_bytes(found)
        try:
            written = msgspec.json.encode(found)
        except (UnicodeEncodeError, OverflowError):
            return
        assert written == msgspec.json.encode(msgspec.to_builtins(found))


def test_looking_at_data_runs_nothing_of_the_programs(twin: Any) -> None:
    class Nosy:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

        __eq__ = __hash__ = __bool__ = __iter__ = __len__ = __getattribute__  # type: ignore[assignment]

    assert not twin.is_plain([Nosy()])
    assert twin.encode_event("e", ({"a": Nosy()},)) is None


# Digits


@pytest.mark.parametrize(
    ("text", "longest"),
    [
        ("", 0),
        ("a", 0),
        ("1", 1),
        ("12", 2),
        ("a12", 2),
        ("12a", 2),
        ("1a2", 1),
        ("1.5e10", 2),
        ("123 4567 89", 4),
        ("é12☃345😀6", 3),
        ("\ud80012", 2),
        ("١٢٣²", 0),
        ("0" * 1000, 1000),
        ("/:" + "09" * 3, 6),
    ],
)
def test_digits_in_a_row_are_counted(twin: Any, text: str, longest: int) -> None:
    for maximum in {0, 1, 2, longest - 1, longest, longest + 1, 10_000} - {-1}:
        assert twin.has_digits(text, maximum) is (longest > maximum)


# Writing


@pytest.mark.parametrize(
    ("event", "args", "written"),
    [
        ("e", (), '["e"]'),
        ("", ("",), '["",""]'),
        ("é", (1, "a", None, True, 1.5), '["é",1,"a",null,true,1.5]'),
        ("e", ([1, (2,)], {"a": {"b": []}}), '["e",[1,[2]],{"a":{"b":[]}}]'),
        ("e", [1], '["e",1]'),
        ("e", (float("nan"), float("inf")), '["e",null,null]'),
        ("e", ({"_placeholder": True},), '["e",{"_placeholder":true}]'),
        ("message", tuple(range(20)), '["message",' + ",".join(map(str, range(20))) + "]"),
    ],
)
def test_plain_events_are_written(twin: Any, event: str, args: Sequence[Any], written: str) -> None:
    assert twin.encode_event(event, args) == written.encode()


@pytest.mark.parametrize("event", [*sorted(RESERVED_EVENTS), Text("e"), Number.ONE, 1, None, b"e", ["e"], object()])
def test_reserved_and_odd_names_are_not_written(twin: Any, event: Any) -> None:
    assert twin.encode_event(event, ()) is None


@pytest.mark.parametrize("found", [*ODD, nested(MAX_PLAIN_DEPTH)])
def test_odd_and_deep_data_is_not_written(twin: Any, found: Any) -> None:
    assert twin.encode_event("e", (found,)) is None
    assert twin.encode_event("e", (1, {"a": [found]})) is None


@pytest.mark.parametrize(
    ("event", "args"), [("\ud800", ()), ("e", ("\udfff",)), ("e", ({"\ud800": 1},)), ("e", ([{"a": "x\ud800"}],))]
)
def test_a_lone_surrogate_cannot_be_written(twin: Any, event: str, args: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        twin.encode_event(event, args)


@given(names, st.lists(data, max_size=3))
def test_what_is_written_is_what_every_event_is_written_as(twin: Any, event: str, args: list[Any]) -> None:
    try:
        written = twin.encode_event(event, tuple(args))
    except (ValueError, OverflowError) as error:
        with pytest.raises(type(error)):
            encode(PacketType.EVENT, "/", [event, *args])
        return
    if written is not None:
        assert encode(PacketType.EVENT, "/", [event, *args]) == ["2" + written.decode()]


# Reading


SMALL = Limits(max_json_depth=2, max_number_digits=2, max_event_name=4, max_namespace_length=8)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ('2["e"]', ("/", "e", [], None)),
        ('2["e",1,"a",{"b":null}]', ("/", "e", [1, "a", {"b": None}], None)),
        ('2/admin,["e"]', ("/admin", "e", [], None)),
        ('2/admin,456["e","a"]', ("/admin", "e", ["a"], 456)),
        ('20["e"]', ("/", "e", [], 0)),
        ('2999999999999999["e"]', ("/", "e", [], 999999999999999)),
        ('2/,7["e"]', ("/", "e", [], 7)),
        ('2["é☃😀\u2028"]', ("/", "é☃😀\u2028", [], None)),
        ('2["e","1111","[[[["]', ("/", "e", ["1111", "[[[["], None)),  # text has neither depth nor digits
        ('2["e",12]', ("/", "e", [12], None)),
        ('2["e",[1]]', ("/", "e", [[1]], None)),
        ('2["four"]', ("/", "four", [], None)),
        ('2/seventh,["e"]', ("/seventh", "e", [], None)),
        ('2["e","%s"]' % ("x" * (SMALL_JSON - 9)), ("/", "e", ["x" * (SMALL_JSON - 9)], None)),
    ],
)
def test_small_events_are_read(twin: Any, text: str, event: tuple[Any, ...]) -> None:
    packet = Decoder(SMALL).add(text)
    assert packet is not None
    assert (
        twin.EventParser(SMALL).parse(text)
        == event
        == (packet.namespace, packet.data[0], packet.data[1:], packet.ack_id)
    )


@pytest.mark.parametrize(
    "text",
    [
        "2",
        "2/admin,",
        '2"e"',
        '2{"e":1}',
        '2["e","%s"]' % ("x" * (SMALL_JSON - 8)),  # not small
        # the head
        '2/admin["e"]',
        '2/ninth___,["e"]',  # a longer name than allowed
        '2/a,,["e"]',
        '2/a,b["e"]',
        '2a["e"]',
        '2 ["e"]',
        '2-1["e"]',
        '2+1["e"]',
        '21-["e"]',
        '200["e"]',
        '201["e"]',
        '2/a,01["e"]',
        '21_0["e"]',
        '2\u00b2["e"]',
        '2\u0663["e"]',
        '21000000000000000["e"]',  # too many digits to be sure of
        '29007199254740992["e"]',
        # the JSON
        "2[",
        "2[]",
        '2["e"',
        '2["e"]x',
        '2["e",]',
        "2['e']",
        '2["e\n"]',
        r'2["e","\ud83d"]',
        '2["e","\ud83d"]',
        '2["e",%s]' % ("[" * 500 + "]" * 500),
        # the event
        "2[1]",
        "2[true]",
        "2[null]",
        '2[["e"]]',
        '2["connect"]',
        '2["disconnect"]',
        '2["longer"]',
        # depth and digits
        '2["e",[[1]]]',
        '2["e",[{}]]',
        '2["e",[],[]]',  # not plainly within the bound
        '2["e",123]',
        '2["e",1.123]',
        '2["e","123",1]',
    ],
)
def test_all_else_is_left_to_the_decoder(twin: Any, text: str) -> None:
    assert twin.EventParser(SMALL).parse(text) is None


@pytest.mark.parametrize("text", ['2["e"]', '2["e",1]', '2/a,7["e",{}]'])
def test_nothing_is_small_where_few_values_are_allowed(twin: Any, text: str) -> None:
    assert twin.EventParser(Limits(max_json_nodes=SMALL_JSON - 1)).parse(text) is None
    assert twin.EventParser(Limits(max_json_nodes=SMALL_JSON)).parse(text) is not None


@pytest.mark.parametrize("text", ["", "2", "0", '0{"a":1}', "1", '3["e"]', '32["e"]', '5["e"]', '51-["e"]', "é[", "[]"])
def test_packets_of_other_types_are_left_to_the_decoder(twin: Any, text: str) -> None:
    assert twin.EventParser(Limits()).parse(text) is None


# `Decoder` is the specification of what is read: a text may be left to it, and is never read as anything else.


def check(twin: Any, text: str) -> bool:
    """Compare on one text; return whether it was read at all."""
    is_read = False
    for limits in BOUNDS:
        found = twin.EventParser(limits).parse(text)
        if found is None:
            continue
        is_read = True
        try:
            packet = Decoder(limits).add(text)
        except SocketPacketError as error:
            raise AssertionError(f"{text!r} was read as {found}, and is refused: {error}") from error
        assert packet is not None, text
        namespace, event, args, ack_id = found
        assert packet.type is PacketType.EVENT
        assert (packet.namespace, packet.ack_id) == (namespace, ack_id), text
        assert repr(packet.data) == repr([event, *args]), text
    return is_read


@given(events())
@example('2["a"]')
@example('2/a["a"]')
@example('2/["a"]')
@example("2[]")
@example("2[[[[]]]]")
@example('2["a",123456]')
@example('2["a",1e400]')
@example('2["\\ud800"]')
@example('2["a","\\ud83d"]')
@example('2/a,12["a"]')
@example('2["a"] ')
def test_what_is_nearly_an_event_is_read_as_the_decoder_reads_it(twin: Any, text: str) -> None:
    check(twin, text)


@given(any_texts)
def test_any_text_is_read_as_the_decoder_reads_it(twin: Any, text: str) -> None:
    check(twin, text)


def test_not_everything_is_left_to_the_decoder(twin: Any) -> None:
    n_read = n_left = 0

    @given(events())
    def look(text: str) -> None:
        nonlocal n_read, n_left
        is_read = check(twin, text)
        n_read += is_read
        n_left += not is_read

    look()
    assert n_read > 10
    assert n_left > 10


# One client


class Session:
    """A session that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.is_clear = True

    def send_text(self, head: bytes, body: bytes) -> None:
        assert type(head) is type(body) is bytes
        self.sent.append((head + body).decode())


class Inbox:
    """An inbox that keeps what it is to begin."""

    def __init__(self) -> None:
        self.is_free = True
        self.begun: list[tuple[Any, ...]] = []

    def step(self, handler: Handler, args: Sequence[Any], ack_id: int | None, n_bytes: int) -> None:
        self.begun.append((handler, args, ack_id, n_bytes))


LEFT = object()


class Client:
    """One client's connection, in the namespace "/": `left` is what these two leave to their subclasses."""

    def __init__(self, twin: Any, limits: Limits | None = None) -> None:
        self.left: list[Any] = []
        self.session = Session()
        self.nsp = self.namespace(twin, "")
        self.connection = connection_type(twin)(self.left)
        self.connection.session = self.session
        self.connection.loop = None  # no loop runs here, so that is what runs
        self.connection._parser = twin.EventParser(limits or Limits())
        self.connection._decoder = self.connection._others = None
        self.socket = self.connection._root = self.join(twin, self.nsp)

    def namespace(self, twin: Any, name: str) -> Any:
        nsp = twin.Registry()
        nsp.handlers, nsp.catch_alls = {}, []
        nsp.event_head, nsp.ack_head = f"42{name}".encode(), f"43{name}".encode()
        return nsp

    def join(self, twin: Any, nsp: Any) -> Any:
        socket = socket_type(twin)(self.left)
        socket.nsp, socket.connection, socket.state = nsp, self.connection, State.CONNECTED
        socket.is_direct_in = socket.is_direct_out = True
        socket._inbox = None
        return socket

    def on(self, function: Callable[..., Any], event: str = "e", **options: Any) -> Handler:
        handler = self.nsp.handlers[event] = make_handler(function, event, **options)
        return handler

    def receive(self, *args: Any, event: str = "e", ack_id: int | None = None, n_bytes: int = 0) -> None:
        self.socket.receive_event(event, list(args), ack_id, n_bytes)

    def take(self) -> list[str]:
        """Return what was sent since the last time."""
        sent, self.session.sent = self.session.sent, []
        return sent


@functools.cache
def connection_type(twin: Any) -> Any:
    class Connection(twin.EventReceiver):  # type: ignore[misc]  # which of the twins is known when it runs
        def __init__(self, left: list[Any]) -> None:
            self.left = left

        def _receive_message(self, data: Data) -> None:
            self.left.append(data)

    return Connection


@functools.cache
def socket_type(twin: Any) -> Any:
    class Socket(twin.Emitter):  # type: ignore[misc]  # which of the twins is known when it runs
        def __init__(self, left: list[Any]) -> None:
            self.left = left

        def _emit(self, event: str, args: Sequence[Any], callback: Callable[..., Any] | None) -> Any:
            self.left.append(("emit", event, args, callback))
            return LEFT

        def _receive_event(self, event: str, args: list[Any], ack_id: int | None, n_bytes: int) -> None:
            self.left.append(("event", event, args, ack_id, n_bytes))

        def _await_result(self, handler: Handler, result: Any, ack_id: int | None, n_bytes: int) -> None:
            self.left.append(("await", handler, result, ack_id, n_bytes))

        def _reply(self, ack_id: int, values: list[Any]) -> None:
            self.left.append(("reply", ack_id, values))

    return Socket


@pytest.fixture
def client(twin: Any) -> Client:
    """Give a client of each twin."""
    return Client(twin)


# Sending to it


@pytest.mark.parametrize("args", [(), ("a",), (1, [2, {"a": None}]), tuple(range(20)), ("é☃😀",)])
def test_a_plain_event_is_sent_at_once(client: Client, args: tuple[Any, ...]) -> None:
    for client.socket.state in (State.CONNECTED, State.CONNECTING):
        assert client.socket.emit("e", *args) is SENT
        assert client.take() == ["42" + json.dumps(["e", *args], ensure_ascii=False, separators=(",", ":"))]
    assert client.socket.emit(event="e", callback=None) is SENT
    assert client.take() == ['42["e"]']
    assert client.left == []


def test_who_emits_to_a_peer_that_lags_may_wait(client: Client) -> None:
    client.session.is_clear = False
    sent = client.socket.emit("e", 1)
    assert type(sent) is Sent
    assert sent._recipient is client.socket
    assert client.take() == ['42["e",1]']


def test_a_namespace_is_written_before_its_events(twin: Any) -> None:
    client = Client(twin)
    socket = client.join(twin, client.namespace(twin, "/admin,"))
    socket.emit("e")
    socket.reply(7, "yes")
    assert client.take() == ['42/admin,["e"]', '43/admin,7["yes"]']


knot: list[Any] = []
knot.append(knot)


@pytest.mark.parametrize(
    ("event", "args"),
    [
        *((event, ()) for event in sorted(RESERVED_EVENTS)),
        (Text("e"), ()),
        (7, ()),
        (None, ()),
        (["e"], ()),
        *(("e", (1, [found])) for found in ODD),
        ("e", (nested(MAX_PLAIN_DEPTH),)),
        ("e", (knot,)),
    ],
)
def test_what_is_not_plain_is_left_as_it_is(client: Client, event: Any, args: tuple[Any, ...]) -> None:
    assert client.socket.emit(event, *args) is LEFT
    ((_, left_event, left_args, callback),) = client.left
    assert left_event is event
    assert [*map(id, left_args)] == [*map(id, args)]
    assert callback is None
    assert client.take() == []


def test_an_event_that_asks_for_an_answer_is_left(client: Client) -> None:
    assert client.socket.emit("e", 1, callback=print) is LEFT
    assert client.left == [("emit", "e", (1,), print)]


@pytest.mark.parametrize("state", [State.LEAVING, State.DISCONNECTED])
def test_what_is_sent_to_nobody_is_left(client: Client, state: State) -> None:
    client.socket.state = state
    assert client.socket.emit("e", 1) is LEFT
    client.socket.reply(1, "yes")
    assert client.left == [("emit", "e", (1,), None), ("reply", 1, ["yes"])]
    assert client.take() == []


def test_what_others_want_to_see_is_left(client: Client) -> None:
    client.socket.is_direct_out = False
    assert client.socket.emit("e", 1) is LEFT
    client.socket.reply(1, "yes")
    assert client.left == [("emit", "e", (1,), None), ("reply", 1, ["yes"])]
    assert client.take() == []


def test_what_is_said_outside_of_the_loop_is_left(client: Client) -> None:
    async def main() -> None:
        loop = client.connection.loop = asyncio.get_running_loop()
        assert client.socket.emit("in it") is SENT
        assert await asyncio.to_thread(client.socket.emit, "thread") is LEFT
        thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
        thread.start()
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0)
        assert asyncio.get_running_loop() is loop

    async def elsewhere() -> None:
        assert client.socket.emit("other loop") is LEFT

    asyncio.run(main())
    assert client.socket.emit("no loop") is LEFT
    assert [event for _, event, _, _ in client.left] == ["thread", "other loop", "no loop"]
    assert client.take() == ['42["in it"]']


@pytest.mark.parametrize(("event", "args"), [("\ud800", ()), ("e", ("\udfff",)), ("e", ({"\ud800": 1},))])
def test_a_lone_surrogate_is_an_error_and_sends_nothing(client: Client, event: str, args: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        client.socket.emit(event, *args)
    with pytest.raises(ValueError, match="surrogates not allowed"):
        client.socket.reply(1, (event, *args))
    assert client.take() == client.left == []


def test_what_the_session_raises_comes_out(client: Client) -> None:
    def fail(head: bytes, body: bytes) -> None:
        raise OSError("broken")

    client.session.send_text = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="broken"):
        client.socket.emit("e")
    with pytest.raises(OSError, match="broken"):
        client.socket.reply(1, None)


# Answering it


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        (None, "[]"),
        ("yes", '["yes"]'),
        (0, "[0]"),
        (False, "[false]"),
        (1.5, "[1.5]"),
        ((), "[]"),
        (("a", 2), '["a",2]'),
        ((None,), "[null]"),
        (Point(5), "[5]"),
        ([1, 2], "[[1,2]]"),
        ({"a": [None]}, '[{"a":[null]}]'),
        (nested(MAX_PLAIN_DEPTH - 1), None),
    ],
)
def test_a_plain_answer_is_sent_at_once(client: Client, result: Any, answer: str | None) -> None:
    written = answer or json.dumps([result], separators=(",", ":"))
    client.on(lambda socket: result)
    for ack_id in (0, 1, 2**53 - 1):
        client.socket.reply(ack_id, result)
        client.receive(ack_id=ack_id)
        assert client.take() == [f"43{ack_id}{written}"] * 2
    assert client.left == []


@pytest.mark.parametrize("result", [*(each for each in ODD if not isinstance(each, tuple)), nested(MAX_PLAIN_DEPTH)])
def test_an_answer_that_is_not_plain_is_left(client: Client, result: Any) -> None:
    client.on(lambda socket: result)
    client.socket.reply(0, result)
    client.receive(ack_id=0)
    assert [(what, ack_id) for what, ack_id, _ in client.left] == [("reply", 0)] * 2
    assert all(values[0] is result for _, _, values in client.left)
    assert client.take() == []


# Calling its handlers


@pytest.mark.parametrize("n_args", range(14))
def test_a_handler_gets_the_socket_and_the_arguments(client: Client, n_args: int) -> None:
    calls: list[Any] = []
    client.on(lambda socket, *args: calls.append((socket, *args)))
    args = [[n] for n in range(n_args)]
    client.receive(*args, ack_id=1)
    assert calls == [(client.socket, *args)]
    assert client.take() == ["431[]"]


@pytest.mark.parametrize("n_args", range(14))
def test_a_clients_handler_gets_the_arguments_alone(client: Client, n_args: int) -> None:
    calls: list[Any] = []
    client.on(lambda *args: calls.append(args), takes_socket=False)
    args = [[n] for n in range(n_args)]
    client.receive(*args, ack_id=1)
    assert calls == [tuple(args)]
    assert client.take() == ["431[]"]


def test_a_clients_handler_is_cut_and_missed_as_any(client: Client) -> None:
    calls: list[Any] = []
    client.on(lambda a, b=0: calls.append((a, b)), takes_socket=False)
    for n_args in range(4):
        client.receive(*range(n_args))
    assert calls == [(0, 0), (0, 1), (0, 1)]
    assert client.left == [("event", "e", [], None, 0)]


def test_a_clients_coroutine_begins_with_the_arguments_alone(client: Client) -> None:
    async def function(*args: Any) -> None: ...

    handler = client.on(function, takes_socket=False)
    inbox = client.socket._inbox = Inbox()
    client.receive(1, 2, ack_id=3, n_bytes=4)
    assert inbox.begun == [(handler, (1, 2), 3, 4)]


@pytest.mark.parametrize("n_max", range(12))
def test_arguments_that_a_handler_does_not_take_are_cut(client: Client, n_max: int) -> None:
    calls: list[Any] = []
    client.nsp.handlers["e"] = Handler(lambda socket, *args: calls.append(args), "e", 0, n_max, False)
    for n_args in range(14):
        client.receive(*range(n_args))
    assert calls == [tuple(range(min(n_args, n_max))) for n_args in range(14)]


@pytest.mark.parametrize("n_min", range(1, 12))
def test_an_event_with_too_few_arguments_is_left(client: Client, n_min: int) -> None:
    calls: list[Any] = []
    client.nsp.handlers["e"] = Handler(lambda socket, *args: calls.append(len(args)), "e", n_min, None, False)
    for n_args in range(14):
        client.receive(*range(n_args), ack_id=n_args, n_bytes=5)
    assert calls == [*range(n_min, 14)]
    assert client.left == [("event", "e", [*range(n_args)], n_args, 5) for n_args in range(n_min)]


class Callables:
    """Functions of every kind, but for those that are coroutine functions."""

    def method(self, *args: Any) -> Any:
        return args[1:]

    @classmethod
    def class_method(cls, *args: Any) -> Any:
        return args[1:]

    @staticmethod
    def static_method(*args: Any) -> Any:
        return args[1:]

    def __call__(self, *args: Any) -> Any:
        return args[1:]


def with_first(first: int, *args: Any) -> Any:
    return args[1:]


@pytest.mark.parametrize(
    "function",
    [
        Callables().method,
        Callables.class_method,
        Callables.static_method,
        Callables(),
        functools.partial(with_first, 1),
        functools.lru_cache(lambda *args: args[1:]),
    ],
)
@pytest.mark.parametrize("n_args", [0, 1, 8, 9])
def test_anything_callable_is_called(client: Client, function: Callable[..., Any], n_args: int) -> None:
    client.on(function)
    client.receive(*range(n_args), ack_id=1)
    assert client.take() == [f"431{json.dumps([*range(n_args)], separators=(',', ':'))}"]


def test_a_builtin_is_called(client: Client) -> None:
    found: list[Any] = []
    client.on(found.append)
    client.receive("cut")
    assert found == [client.socket]


@pytest.mark.parametrize("why", ["no handler", "a catch-all", "a busy inbox", "others want to see it"])
def test_an_event_to_think_about_is_left_as_it_is(client: Client, why: str) -> None:
    client.on(lambda socket: pytest.fail("called"))
    client.socket._inbox = inbox = Inbox()
    match why:
        case "no handler":
            client.nsp.handlers.clear()
        case "a catch-all":
            client.nsp.catch_alls.append(make_handler(lambda socket, *args: None, "*"))
        case "a busy inbox":
            inbox.is_free = False
        case "others want to see it":
            client.socket.is_direct_in = False
    client.receive("surplus", ["too"], ack_id=0, n_bytes=70)
    assert client.left == [("event", "e", ["surplus", ["too"]], 0, 70)]
    assert (client.take(), inbox.begun) == ([], [])


def test_a_plain_handler_needs_no_inbox_and_minds_no_free_one(client: Client) -> None:
    calls: list[Any] = []
    client.on(lambda socket, n: calls.append(n))
    client.receive(1)
    client.socket._inbox = Inbox()
    client.receive(2)
    assert (calls, client.left) == ([1, 2], [])


def test_a_coroutine_function_is_begun_by_the_inbox(client: Client) -> None:
    async def handler(socket: Any, first: Any, *rest: Any) -> None: ...
    async def narrow(socket: Any, first: Any) -> None: ...

    client.socket._inbox = inbox = Inbox()
    wide_one, narrow_one = client.on(handler), client.on(narrow, "narrow")
    client.receive(*range(12), ack_id=0, n_bytes=30)
    client.receive(1, 2, event="narrow")
    assert inbox.begun == [
        (wide_one, (client.socket, *range(12)), 0, 30),
        (narrow_one, (client.socket, 1), None, 0),
    ]
    assert client.left == []


def test_a_coroutine_function_without_an_inbox_or_beside_others_is_left(client: Client) -> None:
    async def handler(socket: Any, *args: Any) -> None: ...

    client.on(handler)
    client.receive(1, ack_id=2, n_bytes=3)
    client.socket._inbox = inbox = Inbox()
    client.on(handler, "beside", concurrent=True)
    client.receive(1, event="beside", n_bytes=3)
    assert client.left == [("event", "e", [1], 2, 3), ("event", "beside", [1], None, 3)]
    assert inbox.begun == []


class Awaitable:
    """Something to be awaited that is no coroutine."""

    def __await__(self) -> Generator[Any, None, None]:
        yield


async def coroutine() -> None: ...


@pytest.mark.parametrize("make", [coroutine, Awaitable, Sent])
@pytest.mark.parametrize("ack_id", [None, 0])
def test_what_a_plain_function_returns_to_be_awaited_is_left(
    client: Client, make: Callable[[], Any], ack_id: int | None
) -> None:
    result = make()
    handler = client.on(lambda socket: result)
    client.receive("surplus", ack_id=ack_id, n_bytes=9)
    assert client.left == [("await", handler, result, ack_id, 9)]
    assert client.take() == []
    if isinstance(result, Coroutine):
        result.close()


def test_a_handler_that_returns_what_emit_returned_is_acknowledged_with_nothing(client: Client) -> None:
    client.on(lambda socket: socket.emit("news", 1))
    client.receive()
    client.receive(ack_id=0)
    assert client.take() == ['42["news",1]', '42["news",1]', "430[]"]
    assert client.left == []


def test_no_answer_is_sent_where_none_was_asked_for(client: Client) -> None:
    client.on(lambda socket: "yes")
    client.receive()
    assert client.take() == client.left == []


@pytest.mark.parametrize("error", [LookupError("mine"), asyncio.CancelledError("mine"), ConnectionRefusedError("mine")])
@pytest.mark.parametrize("n_args", [0, 10])
def test_a_handler_that_fails_is_logged_and_ends_nothing(
    client: Client, error: BaseException, n_args: int, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(socket: Any, *args: Any) -> None:
        raise error

    client.on(fail)
    client.receive(*range(n_args), ack_id=1)
    assert [record.getMessage() for record in caplog.records] == ["the handler for 'e' failed"]
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[1] is error
    assert client.take() == client.left == []


@pytest.mark.parametrize("result", ["\ud800", {"\ud800": 1}, ("a", "\udfff")])
def test_an_answer_that_cannot_be_written_is_the_handlers_failure(
    client: Client, result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client.on(lambda socket: result)
    client.receive(ack_id=1)
    assert [record.getMessage() for record in caplog.records] == ["the handler for 'e' failed"]
    assert client.take() == client.left == []


def test_what_ends_the_program_comes_out(client: Client) -> None:
    def stop(socket: Any) -> None:
        raise KeyboardInterrupt

    client.on(stop)
    with pytest.raises(KeyboardInterrupt):
        client.receive()
    with pytest.raises(KeyboardInterrupt):
        client.connection.message_received('2["e"]')


def test_a_handler_may_replace_itself_and_leave_meanwhile(client: Client) -> None:
    story: list[str] = []

    def first(socket: Any) -> str:
        client.on(lambda socket: story.append("second"))
        client.connection._root = None
        gc.collect()
        story.append("first")
        return "yes"

    client.on(first)
    client.connection.message_received('27["e"]')
    client.receive()
    assert story == ["first", "second"]
    assert client.take() == ['437["yes"]']


def test_a_handler_may_receive_within(client: Client) -> None:
    story: list[int] = []

    def handler(socket: Any, n: int) -> int:
        if n:
            client.connection.message_received(f'2{n - 1}["e",{n - 1}]')
        story.append(n)
        return n

    client.on(handler)
    client.connection.message_received('25["e",5]')
    assert story == [0, 1, 2, 3, 4, 5]
    assert client.take() == [f"43{n}[{n}]" for n in range(6)]


# From message to handler


def note(client: Client) -> list[Any]:
    calls: list[Any] = []
    client.on(lambda socket, *args: calls.append((socket, *args)))
    return calls


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ('2["e"]', []),
        ('2["e","a",1,[null],{"b":[]}]', ["a", 1, [None], {"b": []}]),
        ('2/,["e","é☃😀"]', ["é☃😀"]),
        ('2["\\u0065",1,2,3,4,5,6,7,8,9,10]', [*range(1, 11)]),
    ],
)
def test_a_message_reaches_its_handler(client: Client, text: str, args: list[Any]) -> None:
    calls = note(client)
    client.connection.message_received(text)
    client.connection.message_received(text.replace("[", "9[", 1))
    assert calls == [(client.socket, *args)] * 2
    assert client.take() == ["439[]"]
    assert client.left == []


def test_a_message_reaches_the_socket_of_its_namespace(twin: Any) -> None:
    client = Client(twin)
    others = {name: client.join(twin, client.namespace(twin, name + ",")) for name in ("/a", "/b", "/é")}
    client.connection._others = others
    calls = note(client)
    for other in others.values():
        other.nsp.handlers = client.nsp.handlers
    for name in ("/a", "/b", "/é", "/"):
        client.connection.message_received(f'2{name},5["e","{name}"]')
    assert calls == [(others[name], name) for name in others] + [(client.socket, "/")]
    assert client.take() == ["43/a,5[]", "43/b,5[]", "43/é,5[]", "435[]"]


@pytest.mark.parametrize("text", ['2["e"]', '2/a,["e"]', '2/b,["e"]'])
@pytest.mark.parametrize("state", [State.CONNECTING, State.LEAVING, State.DISCONNECTED, None])
def test_a_message_for_who_is_not_there_is_left(twin: Any, text: str, state: State | None) -> None:
    client = Client(twin)
    calls = note(client)
    if state is None:
        client.connection._root = None
    else:
        client.socket.state = state
        other = client.join(twin, client.nsp)
        other.state = state
        client.connection._others = {"/a": other}
    client.connection.message_received(text)
    assert client.left == [text]
    assert calls == client.take() == []


@pytest.mark.parametrize(
    "message",
    [b'2["e"]', b"", Text('2["e"]'), "", "2", "1", '0{"a":1}', '2["connect"]', '51-["e",{}]', '2["e",]', "2[1]", None],
)
def test_a_message_that_is_no_usual_event_is_left_as_it_is(client: Client, message: Any) -> None:
    calls = note(client)
    client.connection.message_received(message)
    assert len(client.left) == 1
    assert client.left[0] is message
    assert calls == client.take() == []


def test_all_is_left_while_attachments_are_awaited_or_events_are_counted(client: Client) -> None:
    calls = note(client)
    client.connection._decoder = Decoder(Limits())
    client.connection.message_received('2["e"]')
    client.connection._decoder = client.connection._parser = None
    client.connection.message_received('2["e"]')
    assert client.left == ['2["e"]'] * 2
    assert calls == []


@pytest.mark.parametrize("text", ["", "plain", "é", "☃☃", "😀", "\x7f\x80\xff"])
def test_an_event_weighs_what_its_message_weighs(client: Client, text: str) -> None:
    async def handler(socket: Any, text: str) -> None: ...

    client.on(handler)
    wire = f'212["e","{text}"]'
    client.connection.message_received(wire)
    client.socket._inbox = inbox = Inbox()
    client.connection.message_received(wire)
    assert client.left == [("event", "e", [text], 12, len(wire.encode()))]
    assert inbox.begun == [(client.nsp.handlers["e"], (client.socket, text), 12, len(wire.encode()))]


# The whole


def test_they_decide_nothing_themselves(twin: Any) -> None:
    socket, connection = twin.Emitter(), twin.EventReceiver()
    connection._parser = connection.loop = socket._inbox = None
    socket.nsp = Client(twin).nsp
    socket.state, socket.connection, socket.is_direct_in, socket.is_direct_out = State.LEAVING, connection, True, True
    handler = Handler(lambda socket: Sent(), "sent", 0, None, False)
    socket.nsp.handlers["sent"] = handler
    with pytest.raises(NotImplementedError):
        connection.message_received('2["e"]')
    with pytest.raises(NotImplementedError):
        socket.emit("e")
    with pytest.raises(NotImplementedError):
        socket.receive_event("e", [], None, 0)
    with pytest.raises(NotImplementedError):
        socket.reply(1, None)
    with pytest.raises(NotImplementedError):
        socket._await_result(handler, Sent(), None, 0)


def test_the_twins_offer_the_same_names(twin: Any) -> None:
    pure = twin_of("telex.socketio.events", "pure")
    assert set(twin.__all__) <= set(pure.__all__)
    for name in twin.__all__:
        ours, theirs = getattr(pure, name), getattr(twin, name)
        if isinstance(ours, type):
            public = {attribute for attribute in dir(ours) if not attribute.startswith("_")}
            assert public == {attribute for attribute in dir(theirs) if not attribute.startswith("_")}


def test_nothing_is_kept_and_nothing_is_given_back_twice(client: Client) -> None:
    given = [["an", "argument"], "text " * 5]
    result = {"a": "result"}
    odd = object()
    client.on(lambda socket, *args: result)
    client.on(lambda socket, *args: 1 / 0 if args else odd, "odd")
    client.on(lambda socket, *args: socket.emit("news", result), "emits")
    handler = client.nsp.handlers["e"]
    things = (*given, result, odd, handler, handler.function, client.socket, client.connection, client.nsp, given)
    before = [sys.getrefcount(thing) for thing in things]

    def work() -> None:
        client.receive(*given, ack_id=1)
        client.receive(*given * 5, ack_id=100_000)
        client.receive(event="odd", ack_id=1)
        client.receive(event="emits", ack_id=1)
        client.receive(event="nobody's")
        client.socket.emit("e", *given)
        client.socket.emit("e", odd, odd)
        client.socket.reply(1, (result, given))
        client.connection.message_received('212345["e",["a",{"b":"c"}],1.5,"text"]')
        client.connection.message_received('2/elsewhere,["e",["a",{"b":"c"}]]')
        client.connection.message_received('2["e",["a",{"b":"c"]]')
        client.left.clear()
        client.session.sent.clear()

    assert blocks_kept(work) < ROUNDS // 10
    assert [sys.getrefcount(thing) for thing in things] == before


def test_failures_leave_nothing_behind(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    argument = ["an", "argument"]
    client.on(lambda socket, *args: args[1000])
    client.on(lambda socket: "\ud800", "surrogate")
    before = sys.getrefcount(argument)
    caplog.set_level(logging.CRITICAL, "telex.socketio")  # for what is logged is kept

    def work() -> None:
        client.receive(argument)
        client.receive(*[argument] * 9)
        client.receive(event="surrogate", ack_id=1)
        with pytest.raises(ValueError, match="surrogates"):
            client.socket.emit("e", argument, "\ud800")

    assert blocks_kept(work) < ROUNDS // 10
    assert sys.getrefcount(argument) == before


def test_a_client_that_is_gone_is_gone(twin: Any) -> None:
    gone = []
    for _ in range(3):
        client = Client(twin)
        client.connection._others = {"/a": client.join(twin, client.nsp)}
        client.on(functools.partial(lambda own, socket: None, client))
        gone += [weakref.ref(client), weakref.ref(client.socket), weakref.ref(client.connection)]
    del client
    gc.collect()
    assert {each() for each in gone} == {None}
