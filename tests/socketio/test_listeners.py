"""What may be registered on a socket, a namespace and a server, what is forgotten again, and who is called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import telex
from tests.socketio.harness import join, note, open_client, run, settle

Call = Callable[..., Any]


def noting(calls: list[Any], name: str) -> Call:
    """Make a catch-all that notes its name, the event and the arguments."""

    def listen(socket: telex.Socket, event: str, *args: Any) -> None:
        calls.append((name, event, *args))

    return listen


# A socket's own handlers.


def test_a_socket_has_handlers_of_its_own() -> None:
    async def main() -> None:
        io = telex.Server()
        ann, socket = await join(io)
        bob, _ = await join(io)
        given = []

        @socket.on("add")
        def add(who: telex.Socket, a: int, b: int) -> int:
            given.append(who)
            return a + b

        for client in (ann, bob):
            client.emit("add", 1, 2, "more than it takes", ack_id=1)
        assert await ann.heard() == ["31[3]"]
        assert await bob.heard() == []
        assert given == [socket]

    run(main)


@pytest.mark.parametrize("kind", ["coroutine", "concurrent", "thread"])
def test_a_sockets_handler_may_be_of_any_kind(kind: str) -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())

        async def double(_: telex.Socket, n: int) -> int:
            await asyncio.sleep(0)
            return 2 * n

        if kind == "thread":
            socket.on("double", lambda _, n: 2 * n, thread=True)
        else:
            socket.on("double", double, concurrent=kind == "concurrent")
        client.emit("double", 4, ack_id=0)
        assert await client.receive() == "30[8]"

    run(main)


def test_the_namespaces_handler_is_first_and_acknowledges() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = []
        client, socket = await join(io)
        socket.on("e", lambda _, n: calls.append(("own", n)) or "own")
        client.emit("e", 1, ack_id=1)
        io.on("e", lambda _, n: calls.append(("nsp", n)) or "nsp")
        client.emit("e", 2, ack_id=2)
        assert calls == [("own", 1), ("nsp", 2), ("own", 2)]
        assert await client.heard() == ['31["own"]', '32["nsp"]']

    run(main)


def test_one_that_needs_more_leaves_the_acknowledgement_to_the_other() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        io.on("e", lambda _, a, b: "two")
        socket.on("e", lambda _, *args: len(args))
        client.emit("e", "x", ack_id=1)
        client.emit("e", "x", "y", ack_id=2)
        assert await client.heard() == ["31[1]", '32["two"]']

    run(main)


def test_events_stay_in_order_between_both_handlers() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        calls: list[Any] = []

        @io.on("e")
        async def slow(_: telex.Socket, n: int) -> None:
            calls.append(("begins", n))
            await asyncio.sleep(0)
            calls.append(("ends", n))

        socket.on("e", lambda _, n: calls.append(("own", n)))
        client.emit("e", 1)
        client.emit("e", 2)
        await settle()
        assert calls == [(what, n) for n in (1, 2) for what in ("begins", "ends", "own")]

    run(main)


def test_a_later_handler_takes_the_place_of_an_earlier() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        for register, name in ((socket.on, "a"), (socket.once, "b"), (socket.on, "c")):
            register("e", lambda _, name=name: name)
        for ack_id in range(2):
            client.emit("e", ack_id=ack_id)
        assert await client.heard() == ['30["c"]', '31["c"]']

    run(main)


def test_farewells_reach_the_namespaces_handler_then_the_sockets_own() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []
        for event in ("disconnecting", "disconnect"):
            io.on(event, lambda socket, reason, event=event: calls.append((event, reason, len(socket.rooms))))
        client, socket = await join(io)
        socket.once("disconnecting", lambda who: calls.append(("own disconnecting", len(who.rooms))))
        socket.on("disconnect", lambda _, reason: calls.append(("own disconnect", reason)))
        assert socket.is_direct_in  # its events keep to the short way
        client.send("1")
        reason = "client namespace disconnect"
        assert calls == [
            ("disconnecting", reason, 1),
            ("own disconnecting", 1),
            ("disconnect", reason, 0),
            ("own disconnect", reason),
        ]

    run(main)


def test_who_was_refused_hears_no_farewell() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []

        @io.use
        def refuse(socket: telex.Socket) -> None:
            socket.on("disconnect", lambda _: calls.append("gone"))
            raise telex.ConnectRefused("no")

        client = await open_client(io)
        client.send("0")
        assert await client.heard() == ['4{"message":"no"}']
        assert calls == []

    run(main)


def test_what_a_socket_cannot_have() -> None:
    async def main() -> None:
        _, socket = await join(telex.Server())
        for event in ("connect", "connection"):
            with pytest.raises(ValueError, match="'connect' comes before a socket is there"):
                socket.on(event, print)
        with pytest.raises(ValueError, match="reserved"):
            socket.on("newListener", print)
        with pytest.raises(TypeError, match="plain function"):
            socket.on("disconnecting", asyncio.sleep)
        with pytest.raises(TypeError, match="must be callable"):
            socket.on("e", 7)  # type: ignore[call-overload]
        assert socket.listeners is None or socket.listeners.is_empty
        assert socket.is_direct_in

    run(main)


# Once, and no longer.


def test_once_is_for_one_call() -> None:
    async def main() -> None:
        io = telex.Server()
        ann, socket = await join(io)
        bob, _ = await join(io)
        calls: list[Any] = []
        io.once("e", lambda who: calls.append("of the namespace"))

        @socket.once("e")
        async def own(_: telex.Socket) -> None:
            calls.append("of the socket")

        for client in (bob, ann, ann, bob):
            client.emit("e")
        assert calls == ["of the namespace", "of the socket"]
        assert socket.is_direct_in

    run(main)


def test_once_waits_for_an_event_that_its_handler_can_take() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        calls: list[Any] = []
        socket.once("e", lambda _, n: calls.append(n))
        client.emit("e")
        client.emit("e", 1)
        client.emit("e", 2)
        assert calls == [1]

    run(main)


def test_once_for_the_first_client() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[str] = []
        io.once("connect", lambda socket: calls.append(socket.id))
        _, first = await join(io)
        await join(io)
        assert calls == [first.id]

    run(main)


def test_off() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        calls = note(io, "e")

        def own(_: telex.Socket) -> None:
            calls.append(("own",))

        socket.on("e", own)
        socket.off("e", print)  # another's
        socket.off("never heard of")
        client.emit("e")
        socket.off("e", own)
        assert socket.is_direct_in
        client.emit("e")
        io.off("e")
        client.emit("e")
        assert calls == [("e",), ("own",), ("e",)]
        io.once("e", own)
        io.off("e", own)
        io.on("connection", own)
        io.off("connection")
        client.emit("e")
        await join(io)
        assert len(calls) == 3
        assert io.of("/").listeners.is_empty

    run(main)


def test_off_finds_what_runs_in_a_thread() -> None:
    io = telex.Server()
    io.on("e", print, thread=True)
    io.off("e", print)
    assert io.of("/").listeners.is_empty


# Every event that comes.


def test_catch_alls_in_their_order() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        calls: list[Any] = []
        io.on_any(noting(calls, "nsp"))
        io.prepend_any(noting(calls, "first of nsp"))
        socket.on("*", noting(calls, "own"))
        socket.prepend_any(noting(calls, "first of own"))
        socket.on("e", lambda _, *args: calls.append(("handler", *args)))
        client.emit("e", 1)
        assert calls == [
            ("first of nsp", "e", 1),
            ("nsp", "e", 1),
            ("first of own", "e", 1),
            ("own", "e", 1),
            ("handler", 1),
        ]
        client.emit("no handler", ack_id=1)
        assert len(calls) == 9
        assert await client.heard() == []

    run(main)


def test_catch_alls_can_be_listed_and_forgotten() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        calls: list[Any] = []
        a, b, c = (noting(calls, name) for name in "abc")
        for place in (io, socket):
            place.on_any(a)
            place.on_any(b, thread=True)
            place.prepend_any(c)
            place.on_any(a)
            assert place.listeners_any() == [c, a, b, a]
            place.off_any(print)
            place.off_any(a)
            place.off_any(b)
            assert place.listeners_any() == [c, a]
        client.emit("e")
        assert [name for name, _ in calls] == ["c", "a"] * 2
        io.off_any()
        socket.off("*")
        assert io.listeners_any() == socket.listeners_any() == []
        client.emit("e")
        assert len(calls) == 4
        assert socket.is_direct_in

    run(main)


def test_a_catch_all_that_registers_another_does_not_hear_itself_anew() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        calls: list[Any] = []

        @socket.on_any
        def more(_: telex.Socket, event: str, *args: Any) -> None:
            calls.append(event)
            socket.on_any(more)

        client.emit("e")
        assert calls == ["e"]
        client.emit("f")
        assert calls == ["e", "f", "f"]

    run(main)


def test_a_catch_all_takes_whatever_comes() -> None:
    async def main() -> None:
        _, socket = await join(telex.Server())
        for register in (socket.on_any, socket.prepend_any, socket.on_any_outgoing, socket.prepend_any_outgoing):
            with pytest.raises(TypeError, match=r"\*args"):
                register(lambda socket, event: None)
        with pytest.raises(ValueError, match="every event"):
            socket.once("*", print)
        with pytest.raises(ValueError, match="every event"):
            socket.on("*", print, rate_limit=telex.RateLimit(1))

    run(main)


# Every event that is sent.


def test_what_is_sent_is_overheard() -> None:
    async def main() -> None:
        io = telex.Server()
        ann, socket = await join(io)
        _, other = await join(io)
        calls: list[Any] = []
        heard_of: list[str] = []
        socket.on_any_outgoing(noting(calls, "own"))
        socket.prepend_any_outgoing(noting(calls, "first"))
        io.on_any_outgoing(noting(calls, "nsp"))
        io.on_any_outgoing(lambda who, event, *args: heard_of.append(who.id))

        def expect(*said: Any) -> None:
            assert calls == [(name, *said) for name in ("nsp", "first", "own")]
            assert heard_of == [socket.id]
            calls.clear()
            heard_of.clear()

        socket.emit("a", 1, {"deep": [b"bytes"]})
        expect("a", 1, {"deep": [b"bytes"]})
        socket.emit("b", callback=lambda: None)
        expect("b")
        asking = asyncio.ensure_future(socket.call("c", 3))
        await asyncio.sleep(0)
        expect("c", 3)
        asking.cancel()
        io.to(socket.id).emit("d", 4)
        expect("d", 4)
        io.to(socket.id).volatile.emit("e")
        expect("e")
        asking = asyncio.ensure_future(io.to(socket.id).call("f", 6))
        await asyncio.sleep(0)
        expect("f", 6)
        asking.cancel()
        io.emit("g")
        assert heard_of == [socket.id, other.id]
        assert calls == [("nsp", "g"), ("first", "g"), ("own", "g"), ("nsp", "g")]
        assert len(await ann.heard()) == 8  # one of them brought bytes

    run(main)


def test_what_is_not_sent_is_not_overheard() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        io.on("ask", lambda _: "an acknowledgement")
        calls: list[Any] = []
        socket.on_any_outgoing(noting(calls, "own"))
        client.emit("ask", ack_id=0)
        assert await client.heard() == ['30["an acknowledgement"]']
        with pytest.raises(TypeError):
            socket.emit("bad", object())
        client.hold()
        socket.emit("fill", "x" * 70_000)
        socket.volatile.emit("dropped")
        io.volatile.emit("dropped")
        assert [call[1] for call in calls] == ["fill"]
        client.leave()
        socket.emit("too late")
        assert len(calls) == 1
        assert io.of("/").overheard == set()

    run(main)


def test_what_overhears_can_be_listed_and_forgotten() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        calls: list[Any] = []
        a, b = noting(calls, "a"), noting(calls, "b")
        for place in (io, socket):
            place.on_any_outgoing(a)
            place.prepend_any_outgoing(b)
            assert place.listeners_any_outgoing() == [b, a]
            place.off_any_outgoing(a)
            assert place.listeners_any_outgoing() == [b]
        assert not socket.is_direct_out
        socket.emit("e")
        assert calls == [("b", "e"), ("b", "e")]
        io.off_any_outgoing()
        socket.off_any_outgoing(b)
        assert io.listeners_any_outgoing() == socket.listeners_any_outgoing() == []
        assert socket.is_direct_out
        socket.emit("e")
        io.emit("e")
        assert len(calls) == 2
        assert await client.heard() == ['2["e"]'] * 3

    run(main)


def test_who_is_still_in_the_hands_of_middlewares_is_overheard_too() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []

        @io.use
        async def greet(socket: telex.Socket) -> None:
            socket.on_any_outgoing(noting(calls, "own"))
            socket.emit("hello")
            await asyncio.sleep(0)
            io.on_any_outgoing(noting(calls, "nsp"))

        client = await open_client(io)
        client.send("0")
        await settle()
        io.emit("news")
        assert calls == [("own", "hello"), ("nsp", "news"), ("own", "news")]

    run(main)


def test_one_that_fails_or_waits_keeps_nothing_from_being_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        gate = asyncio.Event()
        socket.on_any_outgoing(lambda who, event, *args: 1 // 0)

        @socket.on_any_outgoing
        async def slow(who: telex.Socket, event: str, *args: Any) -> None:
            await gate.wait()

        socket.emit("a")
        socket.emit("b")
        assert await client.heard() == ['2["a"]', '2["b"]']
        assert caplog.text.count("ZeroDivisionError") == 2
        gate.set()
        await settle()

    run(main)


# What it costs those who do not use it.


def test_a_class_with_handlers_takes_these_names_for_nothing() -> None:
    class Orders(telex.Namespace):
        def on_error(self, socket: telex.Socket) -> None: ...

    assert set(Orders("/orders").handlers) == {"error"}


def test_only_who_registers_something_leaves_the_short_way() -> None:
    async def main() -> None:
        io = telex.Server()
        io.on("usual", lambda _: None)
        io.once("seldom", lambda _: None)
        io.on("bounded", lambda _: None, rate_limit=telex.RateLimit(1))
        _, ann = await join(io)
        _, bob = await join(io)
        assert bob.listeners is None
        ann.on("e", lambda _: None)
        ann.on_any_outgoing(lambda *_: None)
        assert (ann.is_direct_in, ann.is_direct_out) == (False, False)
        assert (bob.is_direct_in, bob.is_direct_out) == (True, True)
        assert set(io.of("/").handlers) == {"usual"}
        io.use_event(lambda *_: None)
        assert not bob.is_direct_in
        _, cid = await join(io)
        assert not cid.is_direct_in

    run(main)
