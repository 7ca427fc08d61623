"""The state machine: two real cores on an in-memory wire, or one and hand-made bytes, and a clock moved by hand."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from telex.errors import ConnectionClosed
from telex.types import Data
from telex.websocket.connection import STALL, Role, State
from telex.websocket.deflate import DeflateOptions, DeflateParameters
from telex.websocket.frames import Frame, Opcode, encode_close
from tests.splitter import SPLITS, noise, split
from tests.websocket.wire import MANY, Core, join, limits

ROLES = list(Role)
DEFLATE = DeflateParameters(options=DeflateOptions(threshold=20))
MESSAGES: list[Data] = [
    "",
    "Hello",
    "κόσμε\0\ufeff\U0010ffff",
    b"",
    b"\x00\xff",
    "x" * 126,
    noise(70_000),
    "ü" * 40_000,
]


def pair(deflate: DeflateParameters | None = None) -> tuple[Core, Core]:
    return Core(Role.SERVER, deflate=deflate), Core(Role.CLIENT, deflate=deflate)


# Messages


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize("deflate", [None, DEFLATE], ids=["plain", "deflate"])
def test_messages_come_out_as_they_went_in(deflate: DeflateParameters | None, how: str) -> None:
    server, client = pair(deflate)
    for message in MESSAGES:
        server.core.send(message)
        client.core.send(message)
    join(server, client, how)
    assert server.events == client.events == MESSAGES
    assert list(map(type, server.events)) == list(map(type, MESSAGES))


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize("role", ROLES)
def test_fragments_are_joined_and_controls_between_them_answered_at_once(role: Role, how: str) -> None:
    end = Core(role)
    parts = "gr\u00fc\u00df".encode()
    for opcode, expected in ((Opcode.TEXT, "gr\u00fc\u00df"), (Opcode.BINARY, parts)):
        data = end.frame(opcode, parts[:3], fin=False) + end.frame(Opcode.PING, b"!")
        data += end.frame(0, parts[3:4], fin=False) + end.frame(0, b"", fin=False) + end.frame(0, parts[4:])
        end.receive(data, how)
        assert end.events == [("ping", b"!"), expected]
        assert end.sent() == [Frame(Opcode.PONG, b"!")]
        end.events.clear()


def test_w33_a_message_is_answered_before_the_next_frame_is_looked_at() -> None:
    server = Core()
    server.on_message = server.core.send
    server.receive(server.frame(1, b"one") + server.frame(2, b"two") + b"\xff\xff")
    assert server.events == ["one", b"two", ("violation", 1002, "a reserved bit is set")]
    assert server.sent() == [Frame(Opcode.TEXT, b"one"), Frame(Opcode.BINARY, b"two")]
    assert server.is_in(State.CLOSE_OWED)
    server.core.send("late answer")
    server.core.finish(server.now)
    assert [frame.opcode for frame in server.sent()] == [Opcode.TEXT, Opcode.CLOSE]
    assert server.wire.calls == ["close"]


@pytest.mark.parametrize(
    "data",
    ["80", "c080", "c3", "eda080", "f4908080", "fffe", "e282"],
)
@pytest.mark.parametrize("cut", ["whole", "fragments", "one frame"])
@pytest.mark.parametrize("role", ROLES)
def test_w22_w23_text_that_is_not_utf8_fails_as_soon_as_that_is_certain(role: Role, cut: str, data: str) -> None:
    end = Core(role)
    bad = b"ok " + bytes.fromhex(data)
    is_decided = data not in ("c3", "e282")  # else only at the end
    if cut == "whole":
        end.receive(end.frame(1, bad))
    elif cut == "fragments":
        for i, byte in enumerate(split(bad, "bytewise")):
            end.receive(end.frame(0 if i else 1, byte, fin=False))
        assert (end.is_in(State.CLOSE_OWED)) is is_decided
        if not is_decided:
            end.receive(end.frame(0))
    else:
        frame = end.frame(1, bad + b"x" * 50)
        end.receive(frame[: len(frame) - 50 + (not is_decided)], "bytewise")
    assert end.is_in(State.CLOSE_OWED)
    assert [event[:2] for event in end.events] == [("violation", 1007)]
    end.core.finish(end.now)
    assert (end.sent_close() or b"")[:2] == (1007).to_bytes(2, "big")


def test_bad_utf8_in_binary_is_nobodys_business() -> None:
    end = Core()
    end.receive(end.frame(2, b"\xff", fin=False) + end.frame(0, b"\xc0"))
    assert end.events == [b"\xff\xc0"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("first", "code"), [(0xC1, 1002), (0x83, 1002), (0x80, 1002), (0x09, 1002), (0xF1, 1002)])
def test_violations_are_answered_with_their_code(first: int, code: int, role: Role) -> None:
    end = Core(role)
    end.receive(bytes([first, 0x80 if role is Role.SERVER else 0]) + b"\0\0\0\0")
    assert end.is_in(State.CLOSE_OWED)
    assert end.sent() == []
    end.core.finish(end.now)
    payload = end.sent_close()
    assert payload is not None
    assert payload[:2] == code.to_bytes(2, "big")
    assert end.core.close_code == code
    assert end.core.close_reason == payload[2:].decode() != ""
    # A server closes TCP; a client waits for the server to do it, though not for ever.
    assert end.wire.calls == (["close"] if role is Role.SERVER else [])
    assert end.core.deadline == end.now + 5


@pytest.mark.parametrize("how", SPLITS)
def test_limits_reach_the_reader(how: str) -> None:
    for bounds, code in ((limits(max_message_size=9), 1009), (limits(max_fragments=2), 1008)):
        end = Core(bounds=bounds)
        end.receive(end.frame(1, b"1234", fin=False) + end.frame(0, b"5678", fin=False) + end.frame(0, b"90"), how)
        assert [event[:2] for event in end.events] == [("violation", code)]


@pytest.mark.parametrize("deflate", [None, DEFLATE], ids=["plain", "deflate"])
def test_what_is_not_a_message_is_not_sent(deflate: DeflateParameters | None) -> None:
    end = Core(deflate=deflate)
    for wrong in (1, None, ["x"]):
        with pytest.raises(TypeError, match="str or bytes"):
            end.core.send(wrong)  # type: ignore[arg-type]  # what a program may do by mistake
    with pytest.raises(ValueError, match="surrogates"):
        end.core.send("w43 \ud800")
    assert end.wire.take() == b""
    end.core.send("fine")
    assert end.sent() == [Frame(Opcode.TEXT, b"fine")]


@pytest.mark.parametrize("deflate", [None, DEFLATE], ids=["plain", "deflate"])
def test_w41_anything_like_bytes_is_binary_and_copied(deflate: DeflateParameters | None) -> None:
    end, peer = pair(deflate)
    data = bytearray(b"bytes" * 10)
    end.core.send(data)
    end.core.send(memoryview(data)[:5:2])
    end.core.send(memoryview(data)[::5])
    data[:] = b"other" * 10
    join(end, peer)
    assert peer.events == [b"bytes" * 10, b"bts", b"b" * 10]


def test_a_stream_that_hands_nothing_straight_up_is_read_as_ever() -> None:
    server = Core()
    server.core.attach(server)
    server.on_message = lambda message: server.events.append(server.core.is_delivering)
    server.receive(server.frame(1, b"one") + server.frame(2, b"two"))
    assert server.events == ["one", False, b"two", False]
    assert server.core.n_delivered == 0
    server.core.connection_lost()
    server.core.attach(server)
    assert not server.core.is_delivering
    assert server.core.n_delivered == 0


def test_w44_every_frame_of_a_client_has_its_own_key() -> None:
    client = Core(Role.CLIENT)
    for _ in range(50):
        client.core.send(b"\0\0\0\0")
    data = client.wire.take()
    keys = [data[i + 2 : i + 6] for i in range(0, len(data), 10)]
    assert len(set(keys)) == 50
    assert all(data[i + 6 : i + 10] == key for i, key in zip(range(0, len(data), 10), keys, strict=True))


def test_an_encoded_frame_is_sent_as_it_is() -> None:
    server, client = pair()
    server.core.send_encoded(b"\x81\x02hi")
    join(server, client)
    assert client.events == ["hi"]
    server.core.close(server.now)
    with pytest.raises(ConnectionClosed):
        server.core.send_encoded(b"\x81\x02hi")


@pytest.mark.parametrize("n_bytes", [0, 19, 20, 5000])
@pytest.mark.parametrize("compress", [None, False, True])
def test_compression_by_threshold_or_by_word(n_bytes: int, compress: bool | None) -> None:
    server, client = pair(DEFLATE)
    server.core.send("x" * n_bytes, compress=compress)
    is_compressed = n_bytes >= 20 if compress is None else compress
    assert bool(server.wire.output[0] & 0x40) is is_compressed
    join(server, client)
    assert client.events == ["x" * n_bytes]
    plain = Core()
    plain.core.send("x" * n_bytes, compress=True)
    assert plain.wire.output[0] == 0x81


def test_a_message_for_many_is_compressed_once_for_all_who_share_their_compression() -> None:
    options = DeflateOptions(threshold=20)
    forgetful, narrow = (
        DeflateParameters(server_no_context_takeover=True, server_max_window_bits=bits, options=options)
        for bits in (15, 10)
    )
    payload = b"for all of you: " + noise(3000) * 2
    ends = [pair(deflate) for deflate in (forgetful, forgetful, narrow)]
    first, second, third = (server.core.shared_compression(payload) for server, _ in ends)
    assert first is not None
    assert first == second
    assert third not in (None, first)
    frame = ends[0][0].core.compress(Opcode.BINARY, payload)
    assert len(frame) < len(payload)
    for server, client in ends[:2]:
        server.core.send(payload)
        server.core.send_encoded(frame)
        join(server, client)
        assert client.events == [payload, payload]


def test_who_shares_its_compression_with_nobody() -> None:
    forgetful = DeflateParameters(
        server_no_context_takeover=True, client_no_context_takeover=True, options=DeflateOptions(threshold=20)
    )
    server, client = pair(forgetful)
    assert server.core.shared_compression(b"x" * 20) is not None
    assert server.core.shared_compression(b"x" * 19) is None  # not worth it
    assert client.core.shared_compression(b"x" * 20) is None  # it masks, each time anew
    assert Core(deflate=DEFLATE).core.shared_compression(b"x" * 20) is None  # it remembers what was before
    assert Core().core.shared_compression(b"x" * 20) is None


@pytest.mark.parametrize("how", SPLITS)
def test_compressed_fragments(how: str) -> None:
    server, client = pair(DEFLATE)
    client.core.send("\u00e4" * 500)
    (frame,) = client.sent()
    assert frame.rsv1
    data = server.frame(1, frame.payload[:1], fin=False, rsv1=True) + server.frame(0, frame.payload[1:], fin=False)
    server.receive(data + server.frame(0) + server.frame(1, b"d08 plain"), how)
    assert server.events == ["\u00e4" * 500, "d08 plain"]


@pytest.mark.parametrize("how", SPLITS)
def test_w22_bad_utf8_inside_compressed_data(how: str) -> None:
    server, client = pair(DEFLATE)
    client.core.send(b"a" * 100 + b"\xed\xa0\x80" + b"a" * 100)
    (frame,) = client.sent()
    server.receive(server.frame(1, frame.payload, rsv1=True), how)
    assert [event[:2] for event in server.events] == [("violation", 1007)]


@pytest.mark.parametrize("spread", [False, True])
def test_d01_d02_a_bomb_costs_the_limit_and_one_piece(spread: bool) -> None:
    limit = 1 << 20
    server = Core(deflate=DEFLATE, bounds=limits(max_message_size=limit))
    client = Core(Role.CLIENT, deflate=DEFLATE)
    client.core.send(bytes(50 * limit))
    (bomb,) = client.sent()
    n = len(bomb.payload) // 20
    parts = [bomb.payload[i : i + n] for i in range(0, len(bomb.payload), n)] if spread else [bomb.payload]
    data = b"".join(server.frame(0 if i else 2, part, fin=False, rsv1=not i) for i, part in enumerate(parts))
    del client, bomb, parts
    tracemalloc.start()
    server.receive(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [event[:2] for event in server.events] == [("violation", 1009)]
    assert peak < limit + 256 * 1024 + 2 * len(data)


# Memory and time of what is unfinished


def test_w17_an_unfinished_message_fed_bytewise_is_kept_once() -> None:
    size, n_bytewise = 1 << 20, 10_000
    end = Core()
    data = end.frame(1, b"x" * size)
    # Most of it comes in larger pieces, for the test is to be quick; a byte costs the same at the end as at any time.
    pieces = [data[:14], *split(data[14:-n_bytewise], "random-1"), *split(data[-n_bytewise:-1], "bytewise")]
    core, now = end.core, end.now
    tracemalloc.start()
    for piece in pieces:
        core.feed(piece)
        core.process(now, MANY)
    retained = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert end.events == []
    assert size - 1 <= retained < 1.2 * size
    end.receive(data[-1:])
    assert end.events == ["x" * size]


def test_w14_an_unfinished_message_of_many_fragments_is_kept_once() -> None:
    n = 20_000
    end = Core(bounds=limits(max_fragments=n))
    first, more = end.frame(2, b"x", fin=False), end.frame(0, b"x", fin=False)
    tracemalloc.start()
    end.receive(first)
    for _ in range(n - 1):
        end.receive(more)
    retained = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert end.events == []
    assert retained < 1.5 * n
    end.receive(more)
    assert [event[:2] for event in end.events] == [("violation", 1008)]


def test_w32_nothing_is_kept_of_a_message_that_never_ends() -> None:
    endings: list[Callable[[Core], None]] = [
        lambda end: end.eof(),
        lambda end: end.core.connection_lost(),
        lambda end: end.core.close(end.now),
    ]
    for ending in endings:
        end = Core(deflate=DEFLATE)
        frame = end.frame(2, bytes(500_000))
        tracemalloc.start()
        end.receive(frame[:400_000])
        del frame
        assert tracemalloc.get_traced_memory()[0] > 400_000
        ending(end)
        assert tracemalloc.get_traced_memory()[0] < 10_000
        tracemalloc.stop()
        assert [event for event in end.events if event[0] != "close"] == []


@pytest.mark.parametrize("begin", ["header byte", "frame", "fragment", "ping"])
def test_w16_what_is_begun_must_end_in_time(begin: str) -> None:
    end = Core()
    data = {
        "header byte": b"\x81",
        "frame": end.frame(1, b"hello")[:-1],
        "fragment": end.frame(1, b"hello", fin=False),
        "ping": end.frame(9, b"hello")[:-1],
    }[begin]
    end.receive(end.frame(1, b"whole"))
    assert end.core.deadline is None
    end.receive(data)
    assert end.core.deadline == end.now + 60
    end.pass_time(30)
    end.receive(b"" if begin != "fragment" else end.frame(0, b"more", fin=False))
    end.pass_time(29.9)
    assert end.is_in(State.OPEN)
    end.pass_time(0.2)
    assert end.events == ["whole", ("violation", 1008, "a message took too long")]
    end.core.finish(end.now)
    assert end.sent_close() == encode_close(1008, "a message took too long")


def test_w16_each_message_has_its_own_time() -> None:
    end = Core()
    for _ in range(10):
        end.receive(end.frame(1, b"a", fin=False))
        end.pass_time(50)
        end.receive(end.frame(0, b"b") + end.frame(1, b"c", fin=False))
        end.pass_time(50)
        end.receive(end.frame(0, b"d"))
        assert end.is_in(State.OPEN)
    end.pass_time(1000)
    assert end.events == ["ab", "cd"] * 10


# Ping and pong


@pytest.mark.parametrize("role", ROLES)
def test_w18_pings_are_answered_in_order_with_their_payload(role: Role) -> None:
    end = Core(role)
    pings = [b"", b"x" * 125, *(str(i).encode() for i in range(150))]
    data = end.frame(1, b"mess", fin=False)
    end.receive(data + b"".join(end.frame(9, ping) for ping in pings) + end.frame(0, b"age"))
    assert end.sent() == [Frame(Opcode.PONG, ping) for ping in pings]
    assert end.events == [*(("ping", ping) for ping in pings), "message"]


def test_w19_a_flood_of_pings_or_pongs_is_a_violation() -> None:
    for opcode in (Opcode.PING, Opcode.PONG):
        end = Core(bounds=limits(max_control_per_second=10, max_control_burst=20))
        flood = end.frame(opcode, b"?")
        for _ in range(5):
            end.receive(flood * 20)
            end.pass_time(2)
        assert end.is_in(State.OPEN)
        end.receive(flood * 21)
        assert end.events[-1] == ("violation", 1008, "too many control frames")
        assert len(end.events) == 5 * 20 + 20 + 1


def test_w19_w20_only_the_newest_pong_waits_for_a_peer_that_does_not_read() -> None:
    end = Core()
    end.wire.backlog = end_high = limits().send_buffer_high
    end.receive(end.frame(9, b"fits"))
    assert end.sent() == [Frame(Opcode.PONG, b"fits")]
    end.wire.backlog = end_high + 1
    for i in range(100):
        end.receive(end.frame(9, str(i).encode()))
    assert end.sent() == []
    end.wire.backlog = 0
    end.core.writing_resumed()
    assert end.sent() == [Frame(Opcode.PONG, b"99")]
    end.core.writing_resumed()
    assert end.sent() == []
    # A ping that can be answered now makes the one that waits superfluous.
    end.wire.backlog = end_high + 1
    end.receive(end.frame(9, b"old"))
    end.wire.backlog = 0
    end.receive(end.frame(9, b"new"))
    end.core.writing_resumed()
    assert end.sent() == [Frame(Opcode.PONG, b"new")]


def test_no_pong_waits_once_the_connection_closes() -> None:
    end = Core()
    end.wire.backlog = limits().send_buffer_high + 1
    end.receive(end.frame(9, b"x"))
    end.core.close(end.now)
    end.wire.backlog = 0
    end.core.writing_resumed()
    assert [frame.opcode for frame in end.sent()] == [Opcode.CLOSE]


def test_a_pong_tells_the_round_trip_time_and_answers_older_pings_too() -> None:
    end = Core()
    first = end.core.ping(end.now)
    end.pass_time(1)
    second = end.core.ping(end.now, b"mine")
    end.pass_time(2)
    third = end.core.ping(end.now)
    assert [frame.payload for frame in end.sent()] == [first, second, third]
    assert second == b"mine"
    assert len({first, second, third}) == 3
    end.receive(end.frame(10, second))
    assert end.events == [("pong", b"mine", 2.0)]
    assert end.core.latency == 2.0
    end.pass_time(0.5)
    end.receive(end.frame(10, first) + end.frame(10, third) + end.frame(10, third))
    assert end.events[1:] == [("pong", first, None), ("pong", third, 0.5), ("pong", third, None)]
    assert end.core.latency == 0.5


@pytest.mark.parametrize("role", ROLES)
def test_w21_a_pong_nobody_asked_for_is_ignored(role: Role) -> None:
    end = Core(role, keepalive=True)
    end.receive(end.frame(10, b"hello"))
    end.pass_time(26)
    end.receive(end.frame(10, b"wrong") + end.frame(10))
    end.pass_time(20)
    assert end.events == [
        ("pong", b"hello", None),
        ("pong", b"wrong", None),
        ("pong", b"", None),
        ("violation", 1011, "keepalive ping timeout"),
    ]
    assert end.core.latency is None


def test_a_ping_awaits_its_answer_until_one_to_it_or_to_a_later_one_comes() -> None:
    end = Core()
    first, second, third = (end.core.ping(end.now) for _ in range(3))
    end.receive(end.frame(Opcode.PONG, second))
    assert [end.core.awaits(payload) for payload in (first, second, third)] == [False, False, True]
    assert not end.core.awaits(b"never sent")


def test_pings_that_cannot_be_sent() -> None:
    end = Core()
    with pytest.raises(ValueError, match="125 bytes"):
        end.core.ping(end.now, b"x" * 126)
    end.core.ping(end.now, b"same")
    with pytest.raises(ValueError, match="still waits"):
        end.core.ping(end.now, b"same")
    assert [frame.payload for frame in end.sent()] == [b"same"]
    end.receive(end.frame(10, b"same"))
    end.core.ping(end.now, b"same")
    end.receive(end.frame(8))
    with pytest.raises(ConnectionClosed):
        end.core.ping(end.now)


def test_w39_a_peer_that_does_not_answer_is_given_up() -> None:
    end = Core(keepalive=True)
    assert end.core.deadline == end.now + 25
    end.pass_time(44.9)
    (ping,) = end.sent()
    assert ping.opcode is Opcode.PING
    assert end.is_in(State.OPEN)
    end.pass_time(0.2)
    assert end.events == [("violation", 1011, "keepalive ping timeout")]
    end.core.finish(end.now)
    assert end.sent_close() == encode_close(1011, "keepalive ping timeout")
    end.pass_time(5)
    assert end.wire.calls == ["close", "abort"]
    assert end.core.deadline is None


@pytest.mark.parametrize("role", ROLES)
def test_a_peer_that_answers_is_kept(role: Role) -> None:
    end = Core(role, keepalive=True)
    for _ in range(100):
        end.pass_time(25)
        (ping,) = end.sent()
        end.pass_time(19)
        end.receive(end.frame(10, ping.payload))
        assert end.events.pop() == ("pong", ping.payload, 19.0)
        end.pass_time(-19 + 0.0)
    assert end.is_in(State.OPEN)


def test_an_answer_is_due_to_the_oldest_ping_that_has_none() -> None:
    end = Core(keepalive=True, bounds=limits(ping_interval=5.0, ping_timeout=8.0))
    end.pass_time(10)  # pings at 5 and 10
    first, second = end.sent()
    end.receive(end.frame(10, first.payload))
    end.pass_time(7)  # one more at 15
    assert end.is_in(State.OPEN)
    end.pass_time(1.1)
    assert end.events[1:] == [("violation", 1011, "keepalive ping timeout")]
    assert second.payload != first.payload


def test_without_keepalive_nothing_is_due() -> None:
    end = Core()
    end.core.ping(end.now)
    assert end.core.deadline is None
    end.pass_time(100_000)
    end.receive(end.frame(10, end.sent()[0].payload))
    assert end.is_in(State.OPEN)
    assert end.core.deadline is None


def test_a_pong_behind_a_long_message_is_waited_for() -> None:
    end = Core(keepalive=True, bounds=limits(message_timeout=200.0))
    end.pass_time(24)
    frame = end.frame(2, b"0123456789")
    end.receive(frame[:-1])
    end.pass_time(100)
    assert end.is_in(State.OPEN)
    pings = end.sent()
    end.receive(frame[-1:] + end.frame(10, pings[0].payload))
    assert end.events[0] == b"0123456789"
    end.pass_time(10)
    assert end.is_in(State.OPEN)
    end.pass_time(40)
    assert end.events[-1] == ("violation", 1011, "keepalive ping timeout")


def test_w40_a_stall_of_ours_is_not_the_peers() -> None:
    end = Core(keepalive=True)
    end.pass_time(25)
    (ping,) = end.sent()
    end.now += 20 + STALL + 30  # the process stood still; what the peer sent is still in the kernel
    end.core.wake(end.now)
    assert end.is_in(State.OPEN)
    assert end.core.deadline is not None
    assert end.core.deadline >= end.now
    end.receive(end.frame(10, ping.payload))
    end.pass_time(20)
    assert end.is_in(State.OPEN)
    # A deadline that is missed by less is one.
    end.pass_time(end.core.deadline - end.now)
    end.now += 20 + STALL
    end.core.wake(end.now)
    assert end.is_in(State.CLOSE_OWED)


def test_waking_too_early_does_nothing() -> None:
    end = Core(keepalive=True)
    end.core.wake(end.now + 24.9)
    assert end.sent() == []
    quiet = Core()
    quiet.core.wake(quiet.now + 1e9)
    assert quiet.sent() == []


# Turns and backpressure


def test_frames_are_read_in_turns_and_the_stream_waits_meanwhile() -> None:
    end = Core()
    end.core.feed(end.frame(1, b"x") * 10)
    assert end.core.process(end.now, 4)
    assert len(end.events) == 4
    assert end.wire.is_paused
    end.core.feed(end.frame(1, b"y"))  # what a stream had on the way
    assert end.core.process(end.now, 4)
    assert end.core.has_input
    assert not end.core.process(end.now, 4)
    assert not end.core.has_input
    assert not end.wire.is_paused
    assert end.events == ["x"] * 10 + ["y"]


def test_a_turn_is_bounded_in_bytes_received() -> None:
    end = Core()
    end.core.feed(end.frame(2, bytes(100)) * 5)
    assert end.core.process(end.now, MANY, 150)
    assert len(end.events) == 2
    assert end.wire.is_paused
    assert end.core.process(end.now, MANY, 100)
    assert len(end.events) == 3
    assert not end.core.process(end.now, MANY, 200), "nothing is left"
    assert len(end.events) == 5
    assert not end.wire.is_paused


def test_a_turn_is_bounded_in_bytes_inflated() -> None:
    end, peer = Core(deflate=DEFLATE), Core(Role.CLIENT, deflate=DEFLATE)
    for _ in range(8):
        peer.core.send(bytes(100_000), compress=True)
    end.core.feed(peer.wire.take())
    for n in (3, 6):
        assert end.core.process(end.now, MANY, 256 * 1024)
        assert len(end.events) == n
    assert not end.core.process(end.now, MANY, 256 * 1024)
    assert len(end.events) == 8


def test_w35_reading_stops_when_the_program_is_behind() -> None:
    end = Core(on_message=lambda _: end.core.pause_reading(end.now))
    end.receive(end.frame(1, b"a") * 3)
    assert end.events == ["a"]
    assert end.wire.is_paused
    assert end.core.has_input
    assert not end.core.process(end.now, MANY)
    for expected in (2, 3):
        end.core.resume_reading(end.now)
        assert not end.wire.is_paused
        end.core.resume_reading(end.now)
        assert not end.core.process(end.now, MANY)
        assert len(end.events) == expected
    assert not end.core.has_input


def test_a_pause_in_the_last_frame_of_a_turn() -> None:
    end = Core(on_message=lambda _: end.core.pause_reading(end.now))
    end.core.feed(end.frame(1, b"a") * 3)
    assert not end.core.process(end.now, 1)
    assert end.wire.is_paused
    end.core.resume_reading(end.now)
    end.on_message = None
    assert end.core.process(end.now, 1)
    end.core.pause_reading(end.now)
    end.core.resume_reading(end.now)
    assert end.wire.is_paused, "the turn is not over"
    assert not end.core.process(end.now, MANY)
    assert not end.wire.is_paused


def test_the_peers_deadlines_stand_still_while_it_is_not_read() -> None:
    end = Core(keepalive=True, bounds=limits(message_timeout=30.0))
    end.pass_time(24)
    end.receive(end.frame(1, b"a", fin=False))
    end.pass_time(2)
    assert len(end.sent()) == 1
    end.core.pause_reading(end.now)
    end.core.pause_reading(end.now + 999)
    end.pass_time(1000)
    assert {(one.opcode, one.payload) for one in end.sent()} == {(Opcode.PONG, b"")}
    end.core.resume_reading(end.now)
    assert end.core.deadline is not None
    assert end.core.deadline - end.now == pytest.approx(19)  # the pong: 20 s, of which one has passed
    end.receive(end.frame(0, b"b") + end.frame(10, b"\0\0\0\1"))
    assert end.events == ["ab", ("pong", b"\0\0\0\1", pytest.approx(1))]


def test_a_peer_that_is_not_read_is_written_to_so_that_its_end_is_noticed() -> None:
    end = Core(keepalive=True)
    end.core.pause_reading(end.now)
    for _ in range(1000):
        end.pass_time(25)
        assert [(one.opcode, one.payload) for one in end.sent()] == [(Opcode.PONG, b"")]
    end.now += 1000  # this process stood still
    end.core.wake(end.now)
    assert len(end.sent()) == 1
    end.core.resume_reading(end.now)
    assert end.core.deadline == pytest.approx(end.now + 25)
    end.pass_time(25)
    assert [one.opcode for one in end.sent()] == [Opcode.PING]
    quiet = Core()
    quiet.core.pause_reading(quiet.now)
    assert quiet.core.deadline is None


def test_a_pause_does_not_hide_the_end() -> None:
    end = Core(on_message=lambda _: end.core.pause_reading(end.now))
    end.receive(end.frame(1, b"a") + end.frame(1, b"b") + end.frame(8, encode_close(1000)))
    assert end.events == ["a"]
    end.core.close(end.now, 1001)
    assert not end.wire.is_paused
    assert end.core.has_input
    end.core.pause_reading(end.now)
    assert not end.wire.is_paused, "only the peer's Close is read now"
    end.core.process(end.now, MANY)
    assert end.events == ["a", ("close", 1000, "")]
    assert end.wire.calls == ["close"]


def test_an_end_behind_a_pause_takes_effect_after_it() -> None:
    end = Core(on_message=lambda _: end.core.pause_reading(end.now))
    end.core.feed(end.frame(1, b"a"))
    end.eof()
    assert end.events == ["a"]
    assert end.core.has_input
    end.core.resume_reading(end.now)
    end.core.process(end.now, MANY)
    assert end.events == ["a", ("close", 1006, "the peer ended the connection without a Close frame")]


def test_an_exception_of_the_program_leaves_everything_readable() -> None:
    end = Core()

    def fail(message: Data) -> None:
        if message == "bad":
            raise ArithmeticError(message)

    end.on_message = fail
    end.core.feed(end.frame(1, b"bad") + end.frame(1, b"good"))
    with pytest.raises(ArithmeticError):
        end.core.process(end.now, MANY)
    assert end.core.has_input
    end.core.process(end.now, MANY)
    assert end.events == ["bad", "good"]
    end.core.close(end.now, 1011)
    assert end.sent_close() == encode_close(1011)


# The closing handshake


@pytest.mark.parametrize("how", SPLITS)
@pytest.mark.parametrize("first", ROLES)
def test_a_closing_handshake(first: Role, how: str) -> None:
    server, client = pair()
    opener, other = (server, client) if first is Role.SERVER else (client, server)
    opener.core.send("last words")
    opener.core.close(opener.now, 4000, "bye")
    assert opener.is_in(State.CLOSE_SENT)
    other.on_message = lambda _: None
    join(opener, other, how)
    assert other.events == ["last words", ("close", 4000, "bye")]
    assert other.is_in(State.CLOSE_OWED)
    assert opener.is_in(State.CLOSE_SENT)
    other.core.send("not heard any more")
    other.core.finish(other.now)
    # RFC 6455 §7.1.1: the server closes TCP first, whoever began.
    if first is Role.CLIENT:
        assert server.wire.calls == ["close"]
        assert client.wire.calls == []
    join(opener, other, how)
    assert opener.events == [("close", 4000, "")]
    assert server.wire.calls == client.wire.calls == ["close"]
    for end in (opener, other):
        assert end.is_in(State.CLOSED)
        assert end.core.close_code == 4000
        assert end.core.deadline is None
    assert (opener.core.close_reason, other.core.close_reason) == ("", "bye")


def test_w30_both_close_at_once() -> None:
    server, client = pair()
    server.core.close(server.now, 1001)
    client.core.close(client.now, 1000)
    join(server, client)
    assert server.events == [("close", 1000, "")]
    assert client.events == [("close", 1001, "")]
    assert server.wire.calls == client.wire.calls == ["close"]


@pytest.mark.parametrize("role", ROLES)
def test_w30_what_comes_after_a_close_is_ignored(role: Role) -> None:
    end = Core(role)
    more = end.frame(1, b"late") + end.frame(9) + end.frame(8, encode_close(4001)) + b"\xff\xff"
    end.receive(end.frame(8, encode_close(1000)) + more)
    end.receive(more)
    end.core.finish(end.now)
    end.receive(more)
    assert end.events == [("close", 1000, "")]
    assert end.sent() == [Frame(Opcode.CLOSE, encode_close(1000))]
    assert not end.core.has_input


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1014, 3000, 4999, None])
@pytest.mark.parametrize("role", ROLES)
def test_w27_the_peers_code_is_echoed(role: Role, code: int | None) -> None:
    end = Core(role)
    end.receive(end.frame(8, encode_close(code, "" if code is None else "why")))
    assert end.events == [("close", code or 1005, "why" if code else "")]
    end.core.finish(end.now)
    assert end.sent() == [Frame(Opcode.CLOSE, encode_close(code))]
    assert end.core.close_code == (code or 1005)


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\x03", 1002), (b"\x03\xed", 1002), (b"\xff\xff", 1002), (b"\0\0", 1002), (b"\x03\xe8\xff", 1007)],
)
@pytest.mark.parametrize("role", ROLES)
def test_w25_w26_w28_a_close_that_is_wrong_is_a_violation(role: Role, payload: bytes, code: int) -> None:
    end = Core(role)
    end.receive(end.frame(8, payload))
    assert [event[:2] for event in end.events] == [("violation", code)]
    end.core.finish(end.now)
    assert (end.sent_close() or b"")[:2] == code.to_bytes(2, "big")


@pytest.mark.parametrize("how", SPLITS)
def test_w29_a_close_inside_an_open_message_is_echoed_and_the_message_dropped(how: str) -> None:
    end = Core()
    end.receive(end.frame(1, b"frag", fin=False) + end.frame(8, encode_close(1000)) + end.frame(0, b"ment"), how)
    assert end.events == [("close", 1000, "")]
    end.core.finish(end.now)
    assert end.sent() == [Frame(Opcode.CLOSE, encode_close(1000))]


@pytest.mark.parametrize("role", ROLES)
def test_messages_that_come_after_our_close_are_dropped_and_pings_not_answered(role: Role) -> None:
    end = Core(role)
    end.core.close(end.now, 1000)
    assert end.sent_close() == encode_close(1000)
    end.receive(end.frame(1, b"late", fin=False) + end.frame(9, b"?") + end.frame(10, b"!") + end.frame(0, b"\xff"))
    assert end.events == []
    assert end.is_in(State.CLOSE_SENT)
    end.receive(end.frame(8, encode_close(1000)))
    assert end.events == [("close", 1000, "")]
    assert end.sent() == []
    assert end.wire.calls == (["close"] if role is Role.SERVER else [])
    end.eof()
    assert end.wire.calls[-1:] == ["close"]
    assert end.is_in(State.ENDING)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("bad", [b"\x83\x80\0\0\0\0", None])
def test_a_violation_after_our_close_ends_the_wait(role: Role, bad: bytes | None) -> None:
    end = Core(role)
    end.core.close(end.now, 1000)
    end.sent()
    end.receive(bad or end.frame(8, b"\x03"))
    assert [event[:2] for event in end.events] == [("violation", 1002)]
    assert end.is_in(State.ENDING)
    assert end.sent() == []
    assert end.wire.calls == ["close"]


@pytest.mark.parametrize("role", ROLES)
def test_w31_a_peer_that_never_answers_our_close(role: Role) -> None:
    end = Core(role)
    end.core.close(end.now, 1000)
    end.pass_time(4.9)
    assert end.wire.calls == []
    end.pass_time(0.2)
    assert end.wire.calls == ["abort"]
    end.core.connection_lost()
    assert (end.core.close_code, end.core.close_reason) == (1006, "the closing handshake took too long")


def test_w31_a_server_that_answers_and_keeps_tcp_open() -> None:
    client = Core(Role.CLIENT)
    client.core.close(client.now, 1000)
    client.pass_time(3)
    client.receive(client.frame(8, encode_close(1000)))
    assert client.core.deadline == client.now + 2, "the closing handshake as a whole has one deadline"
    client.pass_time(2)
    assert client.wire.calls == ["abort"]
    client.core.connection_lost()
    assert client.core.close_code == 1000


def test_a_program_that_never_finishes_is_finished_for() -> None:
    end = Core()
    end.receive(end.frame(8, encode_close(1000)))
    end.pass_time(4.9)
    assert end.is_in(State.CLOSE_OWED)
    end.pass_time(0.2)
    assert end.is_in(State.ENDING)
    assert end.sent_close() == encode_close(1000)
    assert end.core.deadline is not None
    assert end.core.deadline - end.now == pytest.approx(4.9)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("data", [b"", b"\x81", b"\x01\x80\0\0\0\0"])
def test_w32_an_end_without_a_close(role: Role, data: bytes) -> None:
    end = Core(role)
    if role is Role.SERVER or len(data) < 2:
        end.receive(data)
    end.eof()
    sentence = "the peer ended the connection without a Close frame"
    assert end.events == [("close", 1006, sentence)]
    assert end.is_in(State.CLOSE_OWED)
    end.core.send("an answer may still arrive")
    end.core.finish(end.now)
    assert [frame.opcode for frame in end.sent()] == [Opcode.TEXT]
    assert end.wire.calls == ["close"]
    end.core.connection_lost()
    assert (end.core.close_code, end.core.close_reason) == (1006, sentence)


@pytest.mark.parametrize("role", ROLES)
def test_w32_an_end_instead_of_the_answer_to_our_close(role: Role) -> None:
    end = Core(role)
    end.core.close(end.now)
    end.eof()
    assert end.is_in(State.ENDING)
    assert end.wire.calls == ["close"]
    assert end.core.close_code == 1006


def test_an_end_after_the_peers_close_leaves_us_our_say() -> None:
    end = Core(Role.CLIENT)
    end.receive(end.frame(8, encode_close(1001)))
    end.eof()
    assert end.is_in(State.CLOSE_OWED)
    end.core.send("answer")
    end.core.finish(end.now)
    assert [frame.opcode for frame in end.sent()] == [Opcode.TEXT, Opcode.CLOSE]
    assert end.wire.calls == ["close"], "there is no server left to wait for"


def test_messages_before_the_end_come_first() -> None:
    end = Core()
    end.core.feed(end.frame(1, b"a") * 5)
    end.core.receive_eof(end.now)
    assert end.core.process(end.now, 2)
    assert end.core.process(end.now, 2)
    assert not end.core.process(end.now, 2)
    assert end.events == ["a"] * 5 + [("close", 1006, "the peer ended the connection without a Close frame")]


def test_a_lost_connection() -> None:
    end = Core(keepalive=True)
    end.receive(end.frame(1, b"half", fin=False))
    end.core.connection_lost()
    assert (end.core.state, end.core.close_code, end.core.close_reason) == (
        State.CLOSED,
        1006,
        "the connection was lost",
    )
    assert end.core.deadline is None
    assert end.events == []
    end.core.connection_lost()
    end.receive(end.frame(1, b"late"))
    end.eof()
    end.core.finish(end.now)
    end.core.close(end.now)
    end.core.pause_reading(end.now)
    end.core.resume_reading(end.now)
    end.core.writing_resumed()
    end.core.wake(end.now + 1000)
    assert end.events == []
    assert end.wire.output == b""
    assert end.wire.calls == []


def _end(end: Core) -> None:
    STATES[State.CLOSE_OWED](end)
    end.core.finish(end.now)


STATES: dict[State, Callable[[Core], None]] = {
    State.OPEN: lambda end: None,
    State.CLOSE_SENT: lambda end: end.core.close(end.now, 4002, "ours"),
    State.CLOSE_OWED: lambda end: end.receive(end.frame(8, encode_close(4001, "theirs"))),
    State.ENDING: _end,
    State.CLOSED: lambda end: end.core.connection_lost(),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("state", STATES)
def test_what_can_be_sent_in_every_state(state: State, role: Role) -> None:
    end = Core(role)
    STATES[state](end)
    assert end.is_in(state)
    end.sent()
    if state in (State.OPEN, State.CLOSE_OWED):
        end.core.send("x")
        assert [frame.opcode for frame in end.sent()] == [Opcode.TEXT]
    else:
        with pytest.raises(ConnectionClosed) as closed:
            end.core.send("x")
        expected = {
            State.CLOSE_SENT: (4002, "ours"),
            State.ENDING: (4001, "theirs"),
            State.CLOSED: (1006, "the connection was lost"),
        }[state]
        assert (closed.value.code, closed.value.reason) == expected


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("state", STATES)
def test_what_close_does_in_every_state(state: State, role: Role) -> None:
    end = Core(role)
    STATES[state](end)
    end.sent()
    end.core.close(end.now, 4003)
    expected = {State.OPEN: encode_close(4003), State.CLOSE_OWED: encode_close(4001)}.get(state)
    assert end.sent_close() == expected
    for code, reason, error in ((1005, "", ValueError), (1000, "x" * 124, ValueError), (1000, b"x", TypeError)):
        with pytest.raises(error):
            end.core.close(end.now, code, reason)  # type: ignore[arg-type]  # what a program may do by mistake


def test_a_close_without_a_code() -> None:
    server, client = pair()
    server.core.close(server.now, None)
    with pytest.raises(ConnectionClosed) as closed:
        server.core.send("x")
    assert closed.value.code == 1005
    join(server, client)
    assert client.events == [("close", 1005, "")]


def test_w42_frames_of_a_handler_that_sends_while_reading_are_whole_and_in_order() -> None:
    server = Core()

    def answer(message: Data) -> None:
        for _ in range(3):
            server.core.send(message)

    server.on_message = answer
    server.receive(b"".join(server.frame(1, str(i).encode()) + server.frame(9) for i in range(20)))
    sent = [frame for frame in server.sent() if frame.opcode is Opcode.TEXT]
    assert [int(frame.payload) for frame in sent] == [i for i in range(20) for _ in range(3)]


def test_a_handler_may_close_and_the_rest_is_dropped() -> None:
    server = Core(on_message=lambda _: server.core.close(server.now, 4000))
    server.receive(server.frame(1, b"stop") + server.frame(1, b"more") + server.frame(8, encode_close(4000)))
    assert server.events == ["stop", ("close", 4000, "")]
    assert server.wire.calls == ["close"]


def test_a_handler_may_lose_the_connection() -> None:
    server = Core(on_message=lambda _: server.core.connection_lost())
    server.core.feed(server.frame(1, b"stop") * 3)
    assert not server.core.process(server.now, 1)
    assert server.events == ["stop"]
    assert server.is_in(State.CLOSED)


def test_what_a_listener_got_in_another_way_is_counted_too() -> None:
    end = Core()
    assert end.core.n_delivered == 0
    end.core.count_delivered()
    end.core.count_delivered()
    assert end.core.n_delivered == 2
    end.core.connection_lost()
    assert end.core.n_delivered == 2


def test_two_that_part_in_order_end_cleanly() -> None:
    server, client = pair()
    assert not server.core.was_clean
    assert not server.core.has_failed
    client.core.close(client.now)
    server.receive(client.wire.take())
    server.core.finish(server.now)
    join(client, server)
    assert (server.core.was_clean, client.core.was_clean) == (True, True)
    assert (server.core.has_failed, client.core.has_failed) == (False, False)


def test_a_peer_that_breaks_a_rule_is_given_up() -> None:
    end = Core()
    end.receive(b"\xff\xff")
    assert end.core.has_failed
    assert not end.core.was_clean
