"""Where features meet: what one of them registers or sends must hold for the others too."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

import telex
from telex.socketio.packets import Packet, PacketType

from .harness import advance, join, note, open_client, run, settle
from .test_recovery import WINDOW, make_server, someone
from .test_streaming import Listener


def test_a_child_namespace_takes_over_every_kind_of_listener() -> None:
    async def main() -> None:
        io = telex.Server()
        parent = io.of(re.compile("/room-[0-9]+"), rate_limit=telex.RateLimit(1000))
        seen: list[tuple[Any, ...]] = []
        parent.on_any(lambda socket, event, *args: seen.append(("any", event)))
        parent.on_any_outgoing(lambda socket, event, *args: seen.append(("out", event)))
        parent.use_event(lambda socket, event, args: seen.append(("middleware", event)))
        parent.once("first", lambda socket: seen.append(("once", "first")))
        parent.on("limited", lambda socket: seen.append(("limited",)), rate_limit=telex.RateLimit(1, policy="drop"))
        client, socket = await join(io, "/room-1")
        assert socket.nsp.rate_limit is parent.rate_limit
        for event in ("first", "first", "limited", "limited"):
            client.emit(event, nsp="/room-1")
        await settle()
        parent.emit("news")
        before = [("any", "first"), ("middleware", "first")]
        assert seen == [
            *before,
            ("once", "first"),
            *before,
            ("any", "limited"),
            ("middleware", "limited"),
            ("limited",),
            ("out", "news"),
        ]
        assert io.statistics()["dropped_events"] == 1

    run(main)


def test_a_namespace_by_hand_keeps_its_own_rate_limit_under_a_parent() -> None:
    io = telex.Server(rate_limit=telex.RateLimit(100))
    parent = io.of(re.compile("/room-[0-9]+"), rate_limit=telex.RateLimit(10))
    own = telex.RateLimit(1)
    assert io.of("/room-1", rate_limit=own).rate_limit is own
    assert io.of("/room-2").rate_limit is parent.rate_limit
    assert io.of("/other").rate_limit is io.rate_limit


def test_a_socket_s_own_handler_may_be_a_stream_and_be_stopped() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(stream_window=2))
        client, socket = await join(io)
        ended: list[str] = []

        async def count(socket: telex.Socket, n: int) -> AsyncIterator[int]:
            try:
                for i in range(n):
                    yield i
            finally:
                ended.append("yes")

        socket.once("count", count)
        listener = Listener(client)
        stream = await listener.open("count", 5)
        await listener.take(stream)
        assert listener.items(stream) == [0, 1, 2]
        await listener.stop(stream)
        await settle()
        assert ended == ["yes"]
        client.emit("count", 5, ack_id=9)  # it was for one call
        assert await client.heard() == []

    run(main)


def test_outgoing_listeners_hear_what_was_sent_and_nothing_that_was_dropped() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=100), slow_consumers="drop newest")
        seen: list[Any] = []
        client, socket = await join(io)
        io.on_any_outgoing(lambda socket, event, *args: seen.append(event))
        client.hold()
        socket.emit("large", "x" * 200)
        socket.emit("lost")
        io.emit("lost too")
        socket.volatile.emit("volatile")
        io.volatile.emit("volatile")
        socket.latest("k").emit("latest")
        assert seen == ["large", "latest"]
        client.take()
        await settle()
        io.emit("all")
        assert seen == ["large", "latest", "all"]

    run(main)


def test_remote_sockets_and_operators_tell_outgoing_listeners() -> None:
    async def main() -> None:
        io = telex.Server()
        seen: list[Any] = []
        await join(io)
        io.on_any_outgoing(lambda socket, event, *args: seen.append(event))
        (remote,) = await io.fetch_sockets()
        remote.emit("one")
        io.to(remote.id).emit("two")
        assert seen == ["one", "two"]

    run(main)


def test_a_stream_for_one_call_is_not_spent_on_a_call_that_asks_for_none() -> None:
    async def main() -> None:
        io = telex.Server()

        async def count(socket: telex.Socket) -> AsyncIterator[int]:
            yield 1

        io.once("count", count)
        client, _ = await join(io)
        client.emit("count")
        await settle()
        listener = Listener(client)
        stream = await listener.open("count")
        assert listener.items(stream) == [1]

    run(main)


# Recovery, and namespaces that go.


def make_cleaning_server() -> tuple[telex.Server, telex.ParentNamespace]:
    io = telex.Server(connection_state_recovery=True, cleanup_empty_child_namespaces=True)
    return io, io.of(re.compile("/room-[0-9]+"))


def test_a_child_that_goes_stays_for_who_may_come_back() -> None:
    async def main() -> None:
        io, parent = make_cleaning_server()
        person = await someone(io, "/room-1")
        person.cut()
        await settle()
        parent.emit("news", 1)
        await person.come()
        assert person.recovered
        assert person.events == [["news", 1]]
        person.cut()
        await advance(WINDOW / 2)
        assert "/room-1" in io.namespaces
        await advance(WINDOW)
        assert "/room-1" not in io.namespaces, "nobody can come back any more"
        assert not parent.children

    run(main)


def test_a_child_goes_with_who_leaves_it_and_with_the_server() -> None:
    async def main() -> None:
        io, parent = make_cleaning_server()
        leaver, away = await someone(io, "/room-1"), await someone(io, "/room-2")
        leaver.client.send("1/room-1,")
        away.cut()
        await settle()
        assert list(parent.children) == ["/room-2"]
        await io.close()
        assert not parent.children

    run(main)


def test_a_child_made_again_does_not_take_answers_to_the_former() -> None:
    async def main() -> None:
        io = telex.Server(cleanup_empty_child_namespaces=True)
        io.of(re.compile("/room-[0-9]+"))
        answers: list[Any] = []
        client, socket = await join(io, "/room-1")
        socket.emit("ask", callback=answers.append)
        (asked,) = await client.heard()
        client.leave()
        await settle()
        assert "/room-1" not in io.namespaces
        client, socket = await join(io, "/room-1")
        socket.emit("ask", callback=answers.append)
        client.send(str(asked).replace("2/room-1", "3/room-1").replace("ask", "late"))
        await settle()
        assert answers == []

    run(main)


def test_a_client_cut_off_by_the_return_of_another_is_not_let_in() -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        client = await open_client(io)

        @io.on("disconnect")
        def disconnect(socket: telex.Socket) -> None:
            for session in list(io.engine.sessions.values()):
                session.close()

        client.send(f'0{{"pid":"{person.pid}"}}')
        assert await client.heard() == []
        assert client.is_closed
        assert not io.sockets.sockets

    run(main)


def test_what_a_farewell_keeps_is_there_when_its_client_is_back() -> None:
    async def main() -> None:
        io = make_server()

        @io.on("disconnect")
        def disconnect(socket: telex.Socket) -> None:
            socket.data["left"] = True

        person = await someone(io)
        person.cut()
        await settle()
        await person.come()
        assert person.socket.data == {"left": True}

    run(main)


def test_names_of_namespaces_that_a_client_was_sent_off_from_do_not_add_up() -> None:
    async def main() -> None:
        limits = telex.Limits(max_namespaces_per_connection=3)
        io = telex.Server(cleanup_empty_child_namespaces=True, limits=limits)
        io.of(re.compile("/room-[0-9]+")).on("connect", lambda socket: socket.disconnect())
        client, socket = await join(io)
        for number in range(6):
            client.send(f"0/room-{number},")
            assert len(await client.heard()) == 2
        for number in (3, 4, 5):
            client.emit("on its way", nsp=f"/room-{number}")
        await settle()
        assert socket.connected
        client.emit("too old", nsp="/room-2")
        await settle()
        assert client.is_closed

    run(main)


# Dedup, and children of one parent.


def test_an_id_is_good_in_its_namespace_only() -> None:
    async def main() -> None:
        io = telex.Server()
        parent = io.of(re.compile("/room-[0-9]+"))
        seen: list[tuple[str, str | None]] = []

        @parent.on("order", dedup=telex.Dedup(scope=None, key=lambda order: order))
        async def order(socket: telex.Socket, order: str) -> str:
            seen.append((socket.nsp.name, telex.event_id()))
            return socket.nsp.name

        client = await open_client(io)
        for name in ("/room-1", "/room-2"):
            await client.connect(name)
        for name in ("/room-1", "/room-2", "/room-1"):
            client.emit("order", "x", nsp=name, ack_id=1)
        assert await client.heard() == [f'3{name},1["{name}"]' for name in ("/room-1", "/room-2", "/room-1")]
        assert seen == [(name, f'["{name}","order","","x"]') for name in ("/room-1", "/room-2")]

    run(main)


# Parsers, and namespaces that clients name.


@pytest.mark.parametrize("name", ["/room,1", "/room\ud800"])
def test_a_name_that_no_namespace_can_have_makes_none(name: str) -> None:
    class Loose:
        """Be a parser that lets everything pass."""

        def encode(self, packet: Packet) -> list[str]:
            return [f"{packet.type}{packet.namespace}"]

        def decoder(self, limits: telex.Limits) -> Loose:
            return self

        def add(self, message: Any) -> Packet:
            return Packet(PacketType.CONNECT, json.loads(message))

    async def main() -> None:
        io = telex.Server(parser=Loose(), limits=telex.Limits(max_child_namespaces=2))
        io.of(lambda name, auth: True)
        for _ in range(3):
            client = await open_client(io)
            client.send(json.dumps(name))
            await settle()
            assert client.is_closed
        client = await open_client(io)
        client.send(json.dumps("/room"))
        await settle()
        assert "/room" in io.namespaces

    run(main)


# Drain, and what else is under way.


def test_a_drain_does_not_wait_for_the_answer_to_what_was_dropped() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=1000))
        client, socket = await join(io)
        client.hold()
        socket.emit("fill", "x" * 2000)
        socket.latest("key").emit("ask", 1, callback=print)
        task = asyncio.create_task(io.drain(20))
        await settle()
        assert not client.is_closed
        socket.latest("key").emit("tell", 2)
        await settle()
        assert not io.sockets.sockets, "nothing is awaited any more"
        client.take()
        await settle()
        assert task.done()

    run(main)


@pytest.mark.parametrize("seconds", [0, 20])
def test_a_drain_waits_for_the_last_handlers_as_a_close_does(seconds: float) -> None:
    async def main() -> None:
        io = telex.Server()
        gone: list[str] = []

        @io.on("disconnect")
        async def disconnect(socket: telex.Socket) -> None:
            await asyncio.sleep(1)
            gone.append(socket.id)

        sockets = [(await join(io))[1] for _ in range(2)]
        at_end: list[str] = []
        task = asyncio.create_task(io.drain(seconds))
        task.add_done_callback(lambda _: at_end.extend(gone))
        await advance(seconds + 2)
        assert at_end == [socket.id for socket in sockets]

    run(main)


def test_a_drain_ends_without_the_handler_that_called_it_and_its_farewell() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "disconnect")
        ended: list[float] = []

        @io.on("stop")
        async def stop(socket: telex.Socket) -> None:
            await io.drain(20)
            ended.append(asyncio.get_running_loop().time())

        client, _ = await join(io)
        begun = asyncio.get_running_loop().time()
        client.emit("stop")
        await settle()
        assert ended == [begun]
        assert calls == [("disconnect", "server shutting down")]

    run(main)


# What a program does from within.


def test_a_room_s_policy_keeps_the_root_from_giving_way() -> None:
    io = telex.Server()
    io.room_policy("ticker", "drop newest")
    with pytest.raises(ValueError, match="already"):
        io.register(telex.Namespace("/"))


def test_who_is_sent_off_by_a_listener_of_rooms_is_not_greeted() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "connect", "disconnect")
        io.sockets.adapter.on("create-room", lambda room: io.in_(room).disconnect_sockets() and None)
        client = await open_client(io)
        client.send("0")
        assert await client.heard() == ["1"]
        assert calls == [("disconnect", "server namespace disconnect")]

    run(main)


def test_what_a_former_socket_sends_is_overheard_where_it_goes() -> None:
    async def main() -> None:
        io = make_server()
        heard: list[tuple[Any, ...]] = []
        io.on_any_outgoing(lambda socket, event, *args: heard.append((socket, event, *args)))
        person = await someone(io)
        former = person.socket
        person.cut()
        await settle()
        former.emit("to nobody yet")
        await person.come()
        former.emit("late", 1)
        former.emit("ask", callback=print)
        assert heard == [(person.socket, "late", 1), (person.socket, "ask")]

    run(main)


def test_an_event_that_gives_way_is_not_told_as_a_client_that_left(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=100), connection_state_recovery=True)
        client, socket = await join(io)
        client.hold()
        socket.emit("large", "x" * 200)
        socket.latest("k").emit("ask", 1, callback=print)
        socket.latest("k").emit("ask", 2, callback=print)
        assert "without acknowledging" not in caplog.text
        client.leave()
        await settle()
        assert caplog.text.count("without acknowledging the event 'ask'") == 1  # the one that was not replaced

    run(main)
