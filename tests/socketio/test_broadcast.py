"""Saying one thing to many: whom it reaches, that it is encoded once, and answers from all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import telex
from telex.engineio import Packet
from telex.socketio.broadcast import Broadcaster, names
from tests.socketio.harness import Client, advance, join, open_client, run, settle

Crowd = dict[str, tuple[Client, telex.Socket]]


async def gather(io: telex.Server, **rooms: str) -> Crowd:
    """Let clients in; each joins the rooms named by the letters given."""
    crowd: Crowd = {}
    for name, letters in rooms.items():
        client, socket = await join(io)
        socket.join(list(letters))
        crowd[name] = (client, socket)
    return crowd


async def who_heard(crowd: Crowd) -> list[str]:
    """Return who heard "news", each as often as it did."""
    heard = []
    for name, (client, _) in crowd.items():
        messages = await client.heard()
        assert set(messages) <= {'2["news",1]'}
        heard += [name] * len(messages)
    return heard


ROOMS = {"ann": "ab", "bob": "a", "cat": "b", "dan": ""}

# What is said, and who of them hears it; "ann" is the one whose socket it is.
COMBINATIONS: dict[str, tuple[Callable[[telex.Server, telex.Socket], Any], list[str]]] = {
    "io": (lambda io, s: io.emit("news", 1), ["ann", "bob", "cat", "dan"]),
    "to": (lambda io, s: io.to("a").emit("news", 1), ["ann", "bob"]),
    "in_": (lambda io, s: io.in_("b").emit("news", 1), ["ann", "cat"]),
    "union": (lambda io, s: io.to("a", "b").emit("news", 1), ["ann", "bob", "cat"]),
    "union-chained": (lambda io, s: io.to("a").in_("b").emit("news", 1), ["ann", "bob", "cat"]),
    "to-keyword": (lambda io, s: io.emit("news", 1, to="a"), ["ann", "bob"]),
    "to-keyword-several": (lambda io, s: io.emit("news", 1, to=["a", "b"]), ["ann", "bob", "cat"]),
    "to-keyword-adds": (lambda io, s: io.to("a").emit("news", 1, to="b"), ["ann", "bob", "cat"]),
    "except-keyword": (lambda io, s: io.emit("news", 1, except_="a"), ["cat", "dan"]),
    "except-keyword-several": (lambda io, s: io.emit("news", 1, except_=["a", "b"]), ["dan"]),
    "to-and-except-keywords": (lambda io, s: io.emit("news", 1, to="a", except_="b"), ["bob"]),
    "to-nobody": (lambda io, s: io.to().emit("news", 1), []),
    "to-keyword-nobody": (lambda io, s: io.emit("news", 1, to=[]), []),
    "unknown-room": (lambda io, s: io.to("unknown").emit("news", 1), []),
    "unknown-room-and-another": (lambda io, s: io.to("unknown", "b").emit("news", 1), ["ann", "cat"]),
    "own-id": (lambda io, s: io.to(s.id).emit("news", 1), ["ann"]),
    "own-id-and-room": (lambda io, s: io.to(s.id, "a").emit("news", 1), ["ann", "bob"]),
    "except": (lambda io, s: io.except_("a").emit("news", 1), ["cat", "dan"]),
    "except-two": (lambda io, s: io.except_("a").except_("b").emit("news", 1), ["dan"]),
    "except-id": (lambda io, s: io.except_(s.id).emit("news", 1), ["bob", "cat", "dan"]),
    "except-nobody": (lambda io, s: io.except_().emit("news", 1), ["ann", "bob", "cat", "dan"]),
    "except-unknown": (lambda io, s: io.to("a").except_("unknown").emit("news", 1), ["ann", "bob"]),
    "to-except": (lambda io, s: io.to("a", "b").except_("b").emit("news", 1), ["bob"]),
    "except-to": (lambda io, s: io.except_("b").to("a", "b").emit("news", 1), ["bob"]),
    "local": (lambda io, s: io.local.emit("news", 1), ["ann", "bob", "cat", "dan"]),
    "local-to": (lambda io, s: io.local.to("a").local.emit("news", 1), ["ann", "bob"]),
    "volatile": (lambda io, s: io.volatile.to("a").emit("news", 1), ["ann", "bob"]),
    "compress": (lambda io, s: io.compress(True).to("a").compress(False).emit("news", 1), ["ann", "bob"]),
    "timeout": (lambda io, s: io.timeout(1).emit("news", 1, to="a"), ["ann", "bob"]),
    "namespace": (lambda io, s: s.nsp.to("a").emit("news", 1), ["ann", "bob"]),
    "of": (lambda io, s: io.of("/").emit("news", 1), ["ann", "bob", "cat", "dan"]),
    "sockets": (lambda io, s: io.sockets.except_("a").emit("news", 1), ["cat", "dan"]),
    "other-namespace": (lambda io, s: io.of("/other").emit("news", 1), []),
    "broadcast": (lambda io, s: s.broadcast.emit("news", 1), ["bob", "cat", "dan"]),
    "broadcast-to": (lambda io, s: s.broadcast.to("a").emit("news", 1), ["bob"]),
    "socket-to": (lambda io, s: s.to("a").emit("news", 1), ["bob"]),
    "socket-in_": (lambda io, s: s.in_("a", "b").emit("news", 1), ["bob", "cat"]),
    "socket-to-itself": (lambda io, s: s.to(s.id).emit("news", 1), []),
    "socket-except": (lambda io, s: s.except_("b").emit("news", 1), ["bob", "dan"]),
    "socket-local": (lambda io, s: s.local.emit("news", 1), ["bob", "cat", "dan"]),
    "socket-local-to": (lambda io, s: s.local.to("b").emit("news", 1), ["cat"]),
    "socket": (lambda io, s: s.emit("news", 1), ["ann"]),
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_who_hears_it(name: str) -> None:
    say, hearers = COMBINATIONS[name]

    async def main() -> None:
        io = telex.Server()
        io.of("/other")
        crowd = await gather(io, **ROOMS)
        say(io, crowd["ann"][1])
        assert await who_heard(crowd) == hearers

    run(main)


def test_send_is_emit_of_message() -> None:
    async def main() -> None:
        io = telex.Server()
        crowd = await gather(io, ann="a", bob="")
        ann = crowd["ann"][1]
        io.send("all", 1)
        io.to("a").send("room")
        ann.nsp.except_("a").send("rest")
        ann.compress(False).send("one")
        ann.broadcast.send("others")
        assert await crowd["ann"][0].heard() == ['2["message","all",1]', '2["message","room"]', '2["message","one"]']
        assert await crowd["bob"][0].heard() == [
            '2["message","all",1]', '2["message","rest"]', '2["message","others"]'
        ]  # fmt: skip

    run(main)


def test_an_operator_can_be_kept_and_is_not_changed() -> None:
    async def main() -> None:
        io = telex.Server()
        crowd = await gather(io, **ROOMS)
        room = io.to("a")
        room.to("b")
        room.except_("b")
        assert room.volatile is not room
        for _ in range(2):
            room.emit("news", 1)
        assert await who_heard(crowd) == ["ann", "ann", "bob", "bob"]
        crowd["dan"][1].join("a")
        room.emit("news", 1)
        assert await who_heard(crowd) == ["ann", "bob", "dan"]

    run(main)


def test_who_has_left_hears_nothing() -> None:
    async def main() -> None:
        io = telex.Server()
        crowd = await gather(io, ann="a", bob="a", cat="a")
        crowd["ann"][1].leave("a")
        crowd["bob"][0].leave()
        io.to("a").emit("news", 1)
        assert await who_heard(crowd) == ["cat"]

    run(main)


def test_an_event_is_encoded_once() -> None:
    encoded: list[list[Packet]] = []

    class Counting(telex.Namespace):
        def encode_event(self, *args: Any, **options: Any) -> list[Packet]:
            packets = super().encode_event(*args, **options)
            encoded.append(packets)
            return packets

    async def main() -> None:
        io = telex.Server()
        io.register(Counting("/"))
        crowd = await gather(io, **ROOMS)
        io.emit("news", b"x", b"y")
        (packets,) = encoded
        assert [packet.wire for packet in packets][1:] == [b"x", b"y"]
        for client, _ in crowd.values():
            assert all(wire is packet.wire for wire, packet in zip(client.wires[-3:], packets, strict=True))

    run(main)


@pytest.mark.parametrize("room", [7, None, b"a", ("a", 7)])
def test_a_room_is_named_by_a_text(room: Any) -> None:
    async def main() -> None:
        io = telex.Server()
        for say in (io.to, io.in_, io.except_):
            with pytest.raises(TypeError):
                say(room)
        if room is not None:
            with pytest.raises(TypeError):
                io.emit("e", to=room)

    run(main)


def test_names_are_one_text_or_several() -> None:
    assert names("room") == ("room",)
    assert names("") == ("",)
    assert names(iter(["a", "b"])) == ("a", "b")
    assert names([]) == ()
    with pytest.raises(TypeError, match="not int"):
        names(b"room")  # type: ignore[arg-type]


def test_a_broadcaster_says_whom_it_means() -> None:
    with pytest.raises(TypeError, match="_operator"):
        Broadcaster()  # type: ignore[abstract]


# Room.


def test_awaiting_a_broadcast_waits_for_nobody_but_lets_others_run() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=100))
        crowd = await gather(io, ann="a", bob="a")
        slow, quick = crowd["ann"][0], crowd["bob"][0]
        slow.hold()
        others: list[int] = []
        for number in range(3):
            asyncio.get_running_loop().call_soon(others.append, number)
            await io.emit("e", "x" * 200)
            assert others[-1] == number
        assert len(await quick.heard()) == 3
        assert not crowd["ann"][1].has_room

    run(main)


def test_one_slow_client_is_closed_and_the_others_hear_all() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=100, send_buffer_max=1000))
        crowd = await gather(io, ann="", bob="")
        gone: list[str] = []
        io.on("disconnect", lambda socket, reason: gone.append(reason))
        crowd["ann"][0].hold()
        for _ in range(10):
            io.emit("e", "x" * 200)
        await settle()
        assert gone == ["slow consumer"]
        assert len(crowd["bob"][0].messages) == 10

    run(main)


def test_volatile_passes_by_who_cannot_take_it() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=100))
        crowd = await gather(io, ann="", bob="")
        crowd["ann"][0].hold()
        crowd["ann"][1].emit("e", "x" * 200)
        await settle()
        io.volatile.emit("news", 1)
        assert await crowd["bob"][0].heard() == ['2["news",1]']
        crowd["ann"][0].take()
        assert len(await crowd["ann"][0].heard()) == 1

    run(main)


# Answers from all.


def test_call_returns_all_answers_in_their_order() -> None:
    async def main() -> None:
        io = telex.Server()
        crowd = await gather(io, ann="a", bob="a", cat="")
        call = asyncio.create_task(io.to("a").call("vote", 7))
        assert await crowd["ann"][0].heard() == ['20["vote",7]']
        assert await crowd["bob"][0].heard() == ['20["vote",7]']
        assert await crowd["cat"][0].heard() == []
        crowd["bob"][0].send('30["no"]')
        await settle()
        assert not call.done()
        crowd["cat"][0].send("30[]")
        crowd["bob"][0].send('30["twice"]')
        crowd["ann"][0].send('30["yes",2]')
        assert await call == ["no", ("yes", 2)]
        again = asyncio.create_task(io.to("a").call("vote"))
        assert await crowd["ann"][0].heard() == ['21["vote"]']
        again.cancel()
        await settle()
        assert all(socket.statistics()["pending_acks"] == 0 for _, socket in crowd.values())

    run(main)


def test_call_of_nobody_returns_no_answers() -> None:
    async def main() -> None:
        io = telex.Server()
        assert await io.call("vote") == []
        assert await io.to("nowhere").call("vote", timeout=0) == []

    run(main)


@pytest.mark.parametrize(
    ("call", "seconds"),
    [
        (lambda io: io.call("vote", timeout=5), 5),
        (lambda io: io.timeout(3).call("vote"), 3),
        (lambda io: io.timeout(3).call("vote", timeout=2), 2),
        (lambda io: io.call("vote"), 60),
    ],
)
def test_call_gives_what_came_when_time_is_up(call: Any, seconds: float) -> None:
    async def main() -> None:
        io = telex.Server()
        crowd = await gather(io, ann="", bob="", cat="")
        task = asyncio.create_task(call(io))
        await settle()
        crowd["cat"][0].send("30[3]")
        crowd["ann"][0].send("30[]")
        await advance(seconds - 0.1)
        assert not task.done()
        await advance(0.2)
        with pytest.raises(telex.AckTimeout) as caught:
            await task
        assert caught.value.responses == [3, None]
        assert caught.value.timeout == seconds
        crowd["bob"][0].send("30[2]")
        assert not crowd["bob"][0].is_closed
        assert all(socket.statistics()["pending_acks"] == 0 for _, socket in crowd.values())

    run(main)


def test_call_does_not_wait_for_who_has_left() -> None:
    async def main() -> None:
        io = telex.Server()
        crowd = await gather(io, ann="", bob="")
        task = asyncio.create_task(io.call("vote"))
        await settle()
        crowd["ann"][0].send("30[1]")
        crowd["bob"][0].leave()
        with pytest.raises(telex.AckTimeout) as caught:
            await task
        assert caught.value.responses == [1]

    run(main)


def test_call_does_not_wait_for_who_cannot_be_asked() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(max_pending_acks=1, send_buffer_high=100))
        crowd = await gather(io, ann="", bob="", cat="")
        crowd["bob"][1].emit("never answered", callback=print)
        crowd["cat"][0].hold()
        crowd["cat"][1].emit("e", "x" * 200)
        await settle()
        task = asyncio.create_task(io.volatile.call("vote"))
        await settle()
        crowd["ann"][0].send("31[1]")
        with pytest.raises(telex.AckTimeout) as caught:
            await task
        assert caught.value.responses == [1]
        assert len(await crowd["bob"][0].heard()) == 1
        crowd["cat"][0].take()
        assert len(await crowd["cat"][0].heard()) == 1
        assert crowd["bob"][1].statistics()["pending_acks"] == 1

    run(main)


def test_call_of_nobody_who_can_be_asked() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(max_pending_acks=1))
        crowd = await gather(io, ann="")
        crowd["ann"][1].emit("never answered", callback=print)
        with pytest.raises(telex.AckTimeout) as caught:
            await io.call("vote")
        assert caught.value.responses == []

    run(main)


def test_who_ends_another_while_being_asked_is_no_deadlock() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=10, send_buffer_max=100))
        crowd = await gather(io, ann="", bob="", cat="")
        for client, _ in crowd.values():
            client.hold()
        for _, socket in crowd.values():
            socket.emit("e", "x" * 80)

        @io.on("disconnect")
        def gone(socket: telex.Socket) -> None:
            for other in list(io.sockets.sockets.values()):
                other.disconnect()

        with pytest.raises(telex.AckTimeout) as caught:
            await io.call("vote", "x" * 80)
        assert caught.value.responses == []

    run(main)


def test_a_cancelled_call_and_its_last_answer_in_one_turn() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        task = asyncio.create_task(io.call("vote"))
        await settle()
        task.cancel()
        client.send("30[]")
        with pytest.raises(asyncio.CancelledError):
            await task
        assert socket.statistics()["pending_acks"] == 0

    run(main)


def test_a_broadcast_reaches_who_is_let_in_by_now() -> None:
    async def main() -> None:
        io = telex.Server()
        gate = asyncio.Event()

        @io.use
        async def slow(socket: telex.Socket) -> None:
            socket.join("a")
            await gate.wait()

        client = await open_client(io)
        client.send("0")
        await settle()
        io.emit("news", 1)
        io.to("a").emit("news", 1)
        assert await io.to("a").call("vote") == []
        gate.set()
        assert len(await client.heard()) == 1
        io.to("a").emit("news", 1)
        assert await client.heard() == ['2["news",1]']

    run(main)
