"""The line of events that are retried, and such events against servers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import telex
from telex import AckTimeout, Disconnected, Limits, OutboxFull
from telex.socketio.client.retries import Line, Try
from tests.serving.live import run, until
from tests.socketio.client.scene import FAST, Peer, by_hand, cut, heard, own

WEBSOCKET: dict[str, Any] = {"transports": ["websocket"]}


def entry(number: int, n_bytes: int = 1) -> Try:
    return Try("event", (number,), True, None, 1.0, number, n_bytes)


def test_one_event_is_under_way_at_a_time() -> None:
    line = Line(2, Limits())
    first, second = entry(1), entry(2)
    line.put(first)
    line.put(second)
    assert line.begin() is first
    assert line.is_busy
    assert line.begin() is None
    line.remove(first)
    assert line.begin() is second
    line.remove(second)
    assert line.begin() is None
    assert len(line) == 0
    assert line.has_room


def test_an_event_is_tried_so_often_and_once_more() -> None:
    line = Line(2, Limits())
    first, second = entry(1), entry(2)
    line.put(first)
    line.put(second)
    gone = []
    for _ in range(3):
        assert line.begin() is first
        gone.append(line.interrupt(first))
    assert gone == [False, False, True]
    assert first.n_tries == 3
    assert not line.interrupt(first)  # it is out
    assert line.begin() is second


def test_an_event_in_the_middle_is_taken_back() -> None:
    line = Line(0, Limits())
    entries = [entry(number, 10) for number in range(3)]
    for each in entries:
        line.put(each)
    assert line.begin() is entries[0]
    assert line.find(1) is entries[1]
    line.remove(entries[1])
    line.remove(entries[1])
    assert line.find(1) is None
    assert line.is_busy
    assert line.take_all() == [entries[0], entries[2]]
    assert not line.is_busy


def test_the_line_is_bounded() -> None:
    line = Line(1, Limits(max_offline_events=2, max_offline_bytes=10))
    line.put(entry(1, 9))
    with pytest.raises(OutboxFull):
        line.put(entry(2, 2))
    line.put(entry(3, 1))
    assert not line.has_room
    with pytest.raises(OutboxFull):
        line.put(entry(4, 0))


# Against servers.


def test_events_are_sent_again_until_they_are_acknowledged_and_stay_in_order() -> None:
    said: list[Any] = []

    async def deaf(peer: Peer) -> None:
        await peer.admit()
        said.append(await peer.hear())
        said.append(await peer.hear())  # the same again, for want of an answer
        peer.say('30["late"]')
        said.append(await peer.hear())
        # and gone

    async def better(peer: Peer) -> None:
        await peer.admit()
        for number in (1, 2):
            said.append(await peer.hear())
            peer.say(f'3{number}["ok"]')
        await peer.until_gone()

    async def main() -> None:
        async with by_hand(deaf, better) as url:
            client = telex.Client(url, retries=3, ack_timeout=0.05, **WEBSOCKET, **FAST)
            first = asyncio.ensure_future(client.call("a"))
            second = asyncio.ensure_future(client.call("b", timeout=20))
            await asyncio.sleep(0)  # these two are first
            answers: list[Any] = []
            client.emit("c", callback=answers.append)
            assert await first == "late"
            assert await second == "ok"
            await until(lambda: answers == ["ok"])
            assert said == ['20["a"]', '20["a"]', '21["b"]', '21["b"]', '22["c"]']
            await client.aclose()

    run(main)


def test_an_event_that_is_never_acknowledged_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    said: list[Any] = []

    async def deaf(peer: Peer) -> None:
        await peer.admit()
        while True:
            message = await peer.hear()
            said.append(message)
            if message == '22["c"]':
                peer.say("32[]")

    async def main() -> None:
        async with by_hand(deaf) as url, telex.connect(url, retries=1, ack_timeout=0.02, **WEBSOCKET) as client:
            client.emit("a")
            with pytest.raises(AckTimeout, match=r"0\.02 s"):
                await client.call("b")
            assert await client.call("c") is None
            assert said == ['20["a"]', '20["a"]', '21["b"]', '21["b"]', '22["c"]']
            assert "gave up an event 'a', sent 2 times" in caplog.text

    run(main)


def test_a_call_may_be_bounded_as_a_whole_and_makes_room_for_the_next() -> None:
    async def deaf(peer: Peer) -> None:
        await peer.admit()
        while True:
            message = await peer.hear()
            if message == '21["b"]':
                peer.say("31[]")

    async def main() -> None:
        async with by_hand(deaf) as url, telex.connect(url, retries=100, **WEBSOCKET) as client:
            with pytest.raises(AckTimeout):
                await client.call("a", timeout=0.02)
            assert await client.call("b") is None
            asked = asyncio.ensure_future(client.call("c"))
            await asyncio.sleep(0)
            client.disconnect()
            with pytest.raises(Disconnected):
                await asked

    run(main)


def test_volatile_events_are_not_retried() -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            await peer.admit()
            assert await peer.hear() == '2["v"]'
            assert await peer.hear() == '20["a"]'
            peer.say("30[]")
            await peer.until_gone()

        async with by_hand(script) as url, telex.connect(url, retries=1, **WEBSOCKET) as client:
            client.volatile.emit("v")
            await client.call("a")

    run(main)


def test_a_handler_with_dedup_runs_once_for_an_event_that_comes_again() -> None:
    async def main() -> None:
        io = telex.Server()
        runs: list[Any] = []
        ids: list[Any] = []
        sockets: list[telex.Socket] = []
        io.on("connect", sockets.append)

        @io.on("order", dedup=telex.Dedup(scope=None))
        def order(socket: telex.Socket, what: str) -> str:
            runs.append(what)
            ids.append(telex.event_id())
            if len(runs) == 1:
                cut(socket)  # the answer never arrives
            return what.upper()

        async with own(io) as url, telex.connect(url, retries=5, **WEBSOCKET, **FAST) as client:
            assert await client.call("order", "tea") == "TEA"
            assert await client.call("order", "tea") == "TEA"  # another one
            assert runs == ["tea", "tea"]
            assert len(sockets) == 2
            assert len(set(ids)) == 2
            first, second = (json.loads(each) for each in ids)
            assert first[:2] == second[:2] == ["/", "order"]

    run(main)


def test_a_server_that_knows_nothing_of_numbers_gets_none() -> None:
    async def main() -> None:
        async def script(peer: Peer) -> None:
            asked = await peer.admit()
            assert list(json.loads(asked[1:])) == ["user", "$telex"]
            assert await peer.hear() == '20["a"]'
            peer.say("30[]")
            await peer.until_gone()

        async with by_hand(script) as url, telex.connect(url, retries=1, auth={"user": 1}, **WEBSOCKET) as client:
            await client.call("a")

    run(main)


def test_who_awaits_emit_waits_for_the_line() -> None:
    async def main() -> None:
        io = telex.Server()
        said: list[int] = []
        io.on("n", lambda socket, number: said.append(number))
        limits = Limits(max_offline_events=2)
        async with own(io) as url, telex.connect(url, retries=1, limits=limits, **WEBSOCKET) as client:
            for number in range(20):
                await client.emit("n", number)
            await client.call("n", 20)
            assert said == list(range(21))

    run(main)


def test_what_cannot_be_sent_raises_at_once() -> None:
    async def main() -> None:
        client = telex.Client("http://127.0.0.1:1", retries=1, auto_connect=False)
        with pytest.raises(TypeError):
            client.emit("a", object())
        with pytest.raises(ValueError, match="reserved"):
            client.emit("connect")

    run(main)


def test_the_connection_is_lost_under_an_event() -> None:
    async def main() -> None:
        io = telex.Server()
        sockets: list[telex.Socket] = []
        io.on("connect", sockets.append)
        io.on("hang", lambda socket: asyncio.sleep(60))
        async with own(io) as url, telex.connect(url, retries=1, **WEBSOCKET, **FAST) as client:
            asked = asyncio.ensure_future(client.call("hang"))
            await until(lambda: client.is_awaiting_ack)
            for _ in range(2):
                cut(sockets[-1])
                await heard(client, "disconnect")
                if not asked.done():
                    await heard(client, "connect")
            with pytest.raises(AckTimeout):  # each connection that was lost was a try
                await asked

    run(main)
