"""What a client must know to be recovered, and being recovered."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import telex
from telex.errors import SocketPacketError
from telex.limits import Limits
from telex.socketio.client.early import Early, EarlyEvents
from telex.socketio.client.recovery import MAX_PID_LENGTH, Place, read_pid
from tests.serving.live import run, until
from tests.socketio.client.scene import FAST, Peer, by_hand, cut, heard, own

WEBSOCKET: dict[str, Any] = {"transports": ["websocket"]}


@pytest.mark.parametrize(
    ("last", "offset", "is_taken"),
    [
        ("1f.0123456789ab", "1f.0123456789ab", True),  # Telex's
        ("PkGb8Xq", "PkGb8Xq", False),  # of the original's adapter in memory
        ("PkGb8Xq.3", "PkGb8Xq.3", False),
        ("1700000000000-0", "1700000000000-0", False),  # of Redis streams
        ("65f1a2b3c4d5e6f708091a2b", "65f1a2b3c4d5e6f708091a2b", False),  # of MongoDB
        ("hello world", None, False),
        ("1f.0123456789AB", None, False),
        ("", None, False),
        (17, None, False),
        (None, None, False),
    ],
)
def test_an_offset_is_what_looks_like_one(last: Any, offset: str | None, is_taken: bool) -> None:
    place = Place("secret")
    args = ["first", last]
    place.take_offset(args)
    assert place.offset == offset
    assert args == (["first"] if is_taken else ["first", last])


def test_an_event_without_arguments_has_no_offset() -> None:
    place = Place("secret")
    place.take_offset([])
    assert place.claim() == {"pid": "secret"}
    place.take_offset(["1.0123456789ab"])
    assert place.claim() == {"pid": "secret", "offset": "1.0123456789ab"}
    assert "secret" not in repr(place)


@pytest.mark.parametrize("said", [None, 1, "", "x" * (MAX_PID_LENGTH + 1), ["a"]])
def test_what_is_no_pid(said: Any) -> None:
    assert read_pid(said) is None


def test_early_events_are_bounded() -> None:
    early = EarlyEvents()
    limits = Limits(max_early_events=2, max_early_bytes=10)
    early.put(Early("a", [], None, 5), limits)
    early.put(Early("b", [], None, 5), limits)
    with pytest.raises(SocketPacketError):
        early.put(Early("c", [], None, 0), limits)
    early = EarlyEvents()
    with pytest.raises(SocketPacketError):
        early.put(Early("c", [], None, 11), limits)


# Against servers.


@pytest.mark.parametrize("parser", ["json", "msgpack"])
def test_what_was_missed_comes_later_and_nothing_twice(parser: str) -> None:
    async def main() -> None:
        io = telex.Server(connection_state_recovery=True, parser=parser)
        sockets: list[telex.Socket] = []

        @io.on("connect")
        def connected(socket: telex.Socket) -> None:
            sockets.append(socket)
            socket.join("room")

        async with own(io) as url, telex.connect(url, parser=parser, **WEBSOCKET, **FAST) as client:
            seen: list[Any] = []
            client.on_any(lambda *args: seen.append(args))
            for number in range(3):  # outages
                first, n_before = client.id, len(seen)
                io.to("room").emit("before", number)
                sockets[-1].volatile.emit("volatile", "PkGb8Xq")
                await until(lambda n=n_before: len(seen) == n + 2)
                cut(sockets[-1])
                await heard(client, "disconnect")
                io.to("room").emit("missed", number)
                await heard(client, "connect")
                assert client.recovered
                assert client.id == first
                io.emit("after")
                await until(lambda n=n_before: len(seen) == n + 4)
            assert seen == [
                event
                for number in range(3)
                for event in (("before", number), ("volatile", "PkGb8Xq"), ("missed", number), ("after",))
            ]
            cut(sockets[-1])
            await heard(client, "disconnect")
            io.emit("idle")
            await heard(client, "connect")  # an idle time, after which nothing was received

    run(main)


def test_with_handlers_and_an_iteration_there_are_no_offsets_to_be_seen() -> None:
    async def main() -> None:
        io = telex.Server(connection_state_recovery=True)
        sockets: list[telex.Socket] = []
        io.on("connect", sockets.append)
        async with own(io) as url, telex.connect(url, **WEBSOCKET) as client:
            io.emit("a", 1)
            assert await client.receive() == ("a", 1)
            client.on("b", lambda *args: [*args, "heard"])
            assert await sockets[0].call("b", 1, "PkGb8Xq") == [1, "PkGb8Xq", "heard"]

    run(main)


def test_a_client_that_was_not_recovered_says_so() -> None:
    async def main() -> None:
        io = telex.Server(connection_state_recovery=telex.Recovery(max_disconnection_duration=0.001))
        sockets: list[telex.Socket] = []
        io.on("connect", sockets.append)
        async with own(io) as url, telex.connect(url, **WEBSOCKET, reconnection_delay=0.2) as client:
            first = client.id
            cut(sockets[-1])
            await heard(client, "connect")
            if client.recovered:
                pytest.skip("it was back before it was forgotten")
            assert client.id != first

    run(main)


def test_the_original_sends_what_was_missed_before_its_answer() -> None:
    asked: list[Any] = []

    async def first(peer: Peer) -> None:
        asked.append(await peer.admit('0{"sid":"x","pid":"p"}'))
        peer.say('2["a",1,"PkGb8Xq"]')
        peer.say('2["volatile","some text"]')
        await peer.hear()

    async def second(peer: Peer) -> None:
        asked.append(await peer.hear())
        peer.say('2["b",2,"PkGb8Xr"]')
        peer.say('27["ask"]')
        peer.say('0{"sid":"x","pid":"p"}')
        asked.append(await peer.hear())
        await peer.hear()

    async def third(peer: Peer) -> None:
        asked.append(await peer.admit('0{"sid":"y","pid":"q"}'))
        await peer.until_gone()

    async def main() -> None:
        async with by_hand(first, second, third) as url:
            client = telex.Client(url, auth={"user": 1}, **WEBSOCKET, **FAST)
            seen: list[Any] = []
            client.on("connect", lambda: seen.append(("connect", client.recovered)))
            client.on("a", lambda number: seen.append(("a", number)))
            client.on("b", lambda number, *rest: seen.append(("b", number, *rest)))
            client.on("ask", lambda: "yes")
            await until(lambda: len(seen) == 2)
            client.emit("go on")
            await until(lambda: len(seen) == 4)
            await until(lambda: len(asked) == 3)
            client.emit("go on")
            await until(lambda: len(asked) == 4 and client.connected)
            assert [json.loads(each[1:]) for each in asked[:2]] == [
                {"user": 1},
                {"user": 1, "pid": "p", "offset": "PkGb8Xq"},
            ]
            assert asked[2] == '37["yes"]'
            assert json.loads(asked[3][1:]) == {"user": 1, "pid": "p", "offset": "PkGb8Xr"}
            assert seen[:4] == [("connect", False), ("a", 1), ("b", 2, "PkGb8Xr"), ("connect", True)]
            assert not client.recovered
            await client.aclose()

    run(main)


def test_an_early_flood_is_left() -> None:
    async def flood(peer: Peer) -> None:
        await peer.hear()
        for _ in range(20):
            peer.say('2["a"]')
        await peer.until_gone()

    async def admit(peer: Peer) -> None:
        await peer.admit()
        await peer.until_gone()

    async def main() -> None:
        async with by_hand(flood, admit) as url:
            client = telex.Client(url, limits=Limits(max_early_events=10), **WEBSOCKET, **FAST)
            await heard(client, "connect")
            await asyncio.sleep(0)
            assert len(client.box) == 0
            await client.aclose()

    run(main)
