"""Dynamic namespaces: which names become one, what a child takes over, what a parent says, and what goes again."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import telex
from tests.socketio.harness import Client, advance, head, join, note, open_client, run, settle

ROOMS = re.compile(r"/room-[0-9]+")


async def ask(client: Client, nsp: str, auth: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask for a namespace; return the payload of the answer, an id or an error."""
    client.send("0" + head(nsp) + ("" if auth is None else json.dumps(auth)))
    answer = await client.receive()
    assert isinstance(answer, str)
    assert answer.startswith(("0" + head(nsp), "4" + head(nsp)))
    payload: dict[str, Any] = json.loads(answer[1:].removeprefix(head(nsp)))
    return payload


INVALID = {"message": "Invalid namespace"}


# Which names.


def test_a_name_that_the_pattern_matches_becomes_a_namespace() -> None:
    async def main() -> None:
        io = telex.Server()
        parent = io.of(ROOMS)
        assert isinstance(parent, telex.ParentNamespace)
        parent.on("where", lambda socket: socket.nsp.name)
        client = await open_client(io)
        await client.connect("/room-1")
        await client.connect("/room-2")
        client.emit("where", nsp="/room-2", ack_id=0)
        assert await client.receive() == '3/room-2,0["/room-2"]'
        assert io.namespaces.keys() == {"/", "/room-1", "/room-2"}
        assert parent.children.keys() == {"/room-1", "/room-2"}
        assert io.of("/room-1") is parent.children["/room-1"]
        other, socket = await join(io, "/room-1")
        assert socket.nsp is io.of("/room-1")
        assert len(socket.nsp.sockets) == 2
        assert not other.is_closed

    run(main)


@pytest.mark.parametrize("name", ["/room-", "/room-1x", "/x/room-1", "/room-1\\n", "/ROOM-1", "/_0", "/_", "room-1"])
def test_a_pattern_matches_the_whole_name(name: str) -> None:
    async def main() -> None:
        io = telex.Server()
        io.of(ROOMS)
        io.of(re.compile(r"^/room-[0-9]+$"))
        client = await open_client(io)
        client.send(f"0{name},")
        await settle()
        assert client.is_closed or list(client.messages) == [f'4{name},{{"message":"Invalid namespace"}}']
        assert io.namespaces.keys() == {"/"}

    run(main)


def test_a_name_with_a_line_end_does_not_pass_for_one_without() -> None:
    async def main() -> None:
        io = telex.Server()
        io.of(re.compile(r"^/room-[0-9]+$"))
        client = await open_client(io)
        assert await ask(client, "/room-1\n") == INVALID

    run(main)


def plain(name: str, auth: Mapping[str, Any]) -> bool:
    return name.startswith("/own-") and auth.get("token") == "secret"


async def coroutine(name: str, auth: Mapping[str, Any]) -> bool:
    await asyncio.sleep(0)
    return plain(name, auth)


def returns_awaitable(name: str, auth: Mapping[str, Any]) -> Any:
    return coroutine(name, auth)


@pytest.mark.parametrize("predicate", [plain, coroutine, returns_awaitable])
def test_a_predicate_is_asked_with_the_name_and_auth(predicate: Callable[..., Any]) -> None:
    async def main() -> None:
        io = telex.Server()
        parent = io.of(predicate)
        client = await open_client(io)
        assert await ask(client, "/own-1") == INVALID
        assert await ask(client, "/own-1", {"token": "wrong"}) == INVALID
        assert await ask(client, "/other", {"token": "secret"}) == INVALID
        assert "sid" in await ask(client, "/own-1", {"token": "secret"})
        assert parent.children.keys() == {"/own-1"}
        # Once the namespace is there, who may enter is for `use`.
        other = await open_client(io)
        assert "sid" in await ask(other, "/own-1")

    run(main)


def test_the_first_that_matches_is_the_parent() -> None:
    async def main() -> None:
        io = telex.Server()
        never = io.of(lambda name, auth: False)
        first = io.of(re.compile("/a.*"))
        second = io.of(lambda name, auth: True)
        client = await open_client(io)
        await client.connect("/ab")
        await client.connect("/b")
        assert not never.children
        assert first.children.keys() == {"/ab"}
        assert second.children.keys() == {"/b"}

    run(main)


def test_a_predicate_that_fails_has_not_said_yes(caplog: pytest.LogCaptureFixture) -> None:
    def fails(name: str, auth: Mapping[str, Any]) -> bool:
        raise ZeroDivisionError

    async def gives_up(name: str, auth: Mapping[str, Any]) -> bool:
        raise asyncio.CancelledError

    async def main() -> None:
        io = telex.Server()
        io.of(fails)
        io.of(gives_up)
        last = io.of(lambda name, auth: name == "/x")
        client = await open_client(io)
        assert "sid" in await ask(client, "/x")
        assert await ask(client, "/y") == INVALID
        assert last.children.keys() == {"/x"}

    with caplog.at_level(logging.WARNING, "telex.socketio"):
        run(main)
    assert [record.getMessage() for record in caplog.records] == [
        "the predicate of the namespace /_0 failed",
        "the predicate of the namespace /_1 cancelled itself",
    ] * 2


class Predicate:
    """A predicate that can be called and not be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, name: str, auth: Mapping[str, Any]) -> bool:
        return True


def test_the_same_pattern_or_predicate_is_the_same_parent() -> None:
    io = telex.Server()
    assert io.of(re.compile("/a")) is io.of(re.compile("/a"))
    assert io.of(re.compile("/a")) is not io.of(re.compile("/a", re.IGNORECASE))
    assert io.of(plain) is io.of(plain)
    predicate = Predicate()
    assert io.of(predicate) is io.of(predicate)
    assert [io.of(re.compile("/a")).name, io.of(plain).name] == ["/_0", "/_2"]
    assert repr(io.of(plain)) == "<ParentNamespace /_2 with 0 children>"
    assert io.namespaces.keys() == {"/"}
    with pytest.raises(ValueError, match="already"):
        io.register(telex.ParentNamespace(plain))
    with pytest.raises(ValueError, match="belongs to a server already"):
        telex.Server().register(io.of(plain))


@pytest.mark.parametrize("match", [1, None, b"/x", re.compile(b"/x"), lambda: True, lambda name: True])
def test_what_is_no_match_is_refused(match: Any) -> None:
    io = telex.Server()
    with pytest.raises(TypeError):
        io.of(match)
    assert len(io.parents) == 0


# What a child takes over.


def test_what_is_registered_by_then_is_the_child_s() -> None:
    async def main() -> None:
        io = telex.Server()
        parent = io.of(ROOMS)
        calls = note(parent, "connect", "e", "disconnect")
        seen: list[str] = []
        parent.on_any(lambda socket, event, *args: seen.append(event))
        parent.use(lambda socket: seen.append("at the door"))
        parent.adapter.on("join-room", lambda room, sid: seen.append("room"))
        parent.on_server_side("stats", lambda: 7)
        client, socket = await join(io, "/room-1", {"a": 1})
        child = socket.nsp
        parent.on("late", lambda socket: "late")
        parent.on_any(lambda socket, event, *args: seen.append("late"))
        parent.use(lambda socket: seen.append("late"))
        child.on("own", lambda socket: "own")
        for ack_id, event in enumerate(["e", "late", "own"]):
            client.emit(event, nsp="/room-1", ack_id=ack_id)
        await settle()
        assert calls == [("connect", {"a": 1}), ("e",)]
        assert seen == ["at the door", "room", "e", "late", "own"]
        assert await client.heard() == ["3/room-1,0[]", '3/room-1,2["own"]']
        assert await child.adapter.receive("stats", []) == [7]
        assert "own" not in parent.handlers
        client.leave()
        assert calls[-1] == ("disconnect", "transport close")
        # The next child takes over what came later.
        client, _ = await join(io, "/room-2")
        assert seen[-3:] == ["at the door", "late", "room"]

    run(main)


def test_a_middleware_of_the_parent_keeps_out() -> None:
    async def main() -> None:
        io = telex.Server()

        @io.of(ROOMS).use
        async def staff_only(socket: telex.Socket) -> None:
            await asyncio.sleep(0)
            if "token" not in socket.handshake.auth:
                raise telex.ConnectRefused("staff only")

        client = await open_client(io)
        assert await ask(client, "/room-1") == {"message": "staff only"}
        assert "sid" in await ask(client, "/room-1", {"token": 1})

    run(main)


def test_a_namespace_made_by_hand_is_a_child_if_a_pattern_matches() -> None:
    async def main() -> None:
        io = telex.Server()
        before = io.of("/room-0")
        parent = io.of(ROOMS)
        io.of(lambda name, auth: True).on("e", lambda socket: "the predicate's")
        order: list[str] = []
        parent.use(lambda socket: order.append("parent's"))
        parent.on("e", lambda socket: "parent's")
        parent.on("f", lambda socket: "parent's")

        class Room(telex.Namespace):
            def on_e(self, socket: telex.Socket) -> str:
                return "own"

        room = Room("/room-2")
        room.use(lambda socket: order.append("own"))
        io.register(room)
        made = io.of("/room-1")
        assert io.of("/other").handlers == {}
        assert before.handlers == {}
        assert parent.children == {"/room-1": made, "/room-2": room}

        client, _ = await join(io, "/room-2")
        assert order == ["parent's", "own"]
        client.emit("e", nsp="/room-2", ack_id=0)
        client.emit("f", nsp="/room-2", ack_id=1)
        assert await client.heard() == ['3/room-2,0["own"]', '3/room-2,1["parent\'s"]']

    run(main)


def test_the_main_namespace_is_nobody_s_child() -> None:
    io = telex.Server()
    parent = io.of(re.compile(".*"))
    parent.on("e", print)
    io.register(telex.Namespace("/"))
    assert not parent.children
    assert io.sockets.handlers == {}


def test_a_parent_may_be_a_class() -> None:
    class Documents(telex.ParentNamespace):
        async def on_connect(self, socket: telex.Socket) -> None:
            socket.emit("hello", socket.nsp.name, self.name)

        def on_read(self, socket: telex.Socket, page: int) -> str:
            return f"{page} of {socket.nsp.name}"

    async def main() -> None:
        io = telex.Server()
        documents = io.register(Documents(re.compile("/doc/[0-9]+")))
        client, _ = await join(io, "/doc/12")
        assert await client.receive_event("/doc/12") == ["hello", "/doc/12", "/_0"]
        client.emit("read", 3, nsp="/doc/12", ack_id=0)
        assert await client.receive() == '3/doc/12,0["3 of /doc/12"]'
        assert documents.children.keys() == {"/doc/12"}

    run(main)


# The event of a new namespace.


def test_each_new_namespace_is_told_before_anybody_enters() -> None:
    async def main() -> None:
        io = telex.Server()
        made: list[tuple[str, int]] = []

        @io.on("new_namespace")
        def tell(namespace: telex.Namespace) -> None:
            made.append((namespace.name, len(namespace.sockets)))
            namespace.on("e", lambda socket: "registered in time")

        io.of(ROOMS)
        io.of("/by-hand")
        io.of("/by-hand")
        io.register(telex.Namespace("/"))
        client, _ = await join(io, "/room-1")
        await join(io, "/room-1")
        assert made == [("/by-hand", 0), ("/room-1", 0)]
        client.emit("e", nsp="/room-1", ack_id=0)
        assert await client.receive() == '3/room-1,0["registered in time"]'

    run(main)


def test_no_client_can_call_the_handler_of_new_namespaces() -> None:
    async def main() -> None:
        io = telex.Server()
        made: list[Any] = []
        io.on("new_namespace", made.append)
        client, _ = await join(io)
        client.emit("new_namespace", "x")
        await settle()
        assert made == []
        for namespace in (io.sockets, io.of("/x")):
            with pytest.raises(ValueError, match="event of the server"):
                namespace.on("new_namespace", print)

    run(main)


def test_a_handler_of_new_namespaces_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        io.on("new_namespace", lambda namespace: 1 / 0)
        io.of(ROOMS)
        await join(io, "/room-1")

    with caplog.at_level(logging.ERROR, "telex.socketio"):
        run(main)
    assert [record.getMessage() for record in caplog.records] == ["the handler for 'new_namespace' failed"]


async def too_late(namespace: telex.Namespace) -> None: ...


@pytest.mark.parametrize("function", [too_late, 1])
def test_a_handler_of_new_namespaces_is_a_plain_function(function: Any) -> None:
    with pytest.raises(TypeError, match="plain function"):
        telex.Server().on("new_namespace", function)
    for option in ("concurrent", "thread"):
        with pytest.raises(TypeError, match="called at once"):
            telex.Server().on("new_namespace", print, **{option: True})  # type: ignore[call-overload]


# What a parent says.


def test_a_parent_speaks_to_all_its_children() -> None:
    async def main() -> None:
        io = telex.Server()
        parent = io.of(ROOMS)
        await parent.emit("nobody")
        ann, ann_socket = await join(io, "/room-1")
        bob, bob_socket = await join(io, "/room-2")
        cat, _ = await join(io)
        ann_socket.join("a")

        async def heard() -> list[list[Any]]:
            return [await client.heard() for client in (ann, bob, cat)]

        await parent.emit("news", b"\0")
        news = '["news",{"_placeholder":true,"num":0}]'
        assert await heard() == [[f"51-/room-1,{news}", b"\0"], [f"51-/room-2,{news}", b"\0"], []]
        parent.to("a").emit("news", 1)
        assert await heard() == [['2/room-1,["news",1]'], [], []]
        parent.except_("a").volatile.compress(False).emit("news", 1)
        assert await heard() == [[], ['2/room-2,["news",1]'], []]
        parent.emit("news", to=bob_socket.id)
        assert await heard() == [[], ['2/room-2,["news"]'], []]

        parent.sockets_join("b")
        assert "b" in ann_socket.rooms & bob_socket.rooms
        parent.to("a").sockets_leave("b")
        assert ("b" in ann_socket.rooms, "b" in bob_socket.rooms) == (False, True)
        parent.in_("b").disconnect_sockets()
        assert await heard() == [[], ["1/room-2,"], []]
        assert (ann_socket.connected, bob_socket.connected) == (True, False)

    run(main)


def test_a_parent_s_call_is_answered_by_all() -> None:
    async def main() -> None:
        io = telex.Server()
        parent = io.of(ROOMS)
        assert await parent.call("vote") == []
        ann, _ = await join(io, "/room-1")
        bob, bob_socket = await join(io, "/room-2")
        voting = asyncio.ensure_future(parent.call("vote"))
        await settle()
        ann.send('3/room-1,0["yes"]')
        bob.send('3/room-2,1["no"]')
        assert sorted(await voting) == ["no", "yes"]

        voting = asyncio.ensure_future(parent.timeout(3).call("vote"))
        await settle()
        ann.send('3/room-1,2["yes"]')
        await advance(3)
        with pytest.raises(telex.AckTimeout) as caught:
            await voting
        assert caught.value.responses == ["yes"]
        assert bob_socket.statistics()["pending_acks"] == 0

        voting = asyncio.ensure_future(parent.call("vote"))
        await settle()
        voting.cancel()
        await settle()
        assert bob_socket.statistics()["pending_acks"] == 0
        with pytest.raises(TypeError):
            await parent.call("vote", object())

    run(main)


@pytest.mark.parametrize("with_child", [False, True])
def test_what_a_parent_cannot_say(with_child: bool) -> None:
    async def main() -> None:
        io = telex.Server()
        parent = io.of(ROOMS)
        client, _ = await join(io, "/room-1" if with_child else "/")
        for say in (parent.emit, parent.to("a").emit):
            with pytest.raises(ValueError, match="reserved"):
                say("connect")
            with pytest.raises(TypeError):
                say("e", object())
        for wait in (parent.fetch_sockets, parent.in_("a").fetch_sockets, lambda: parent.server_side_call("e")):
            with pytest.raises(RuntimeError, match="ask each of its children"):
                await wait()
        with pytest.raises(RuntimeError, match="ask each of its children"):
            parent.server_side_emit("e")
        assert await client.heard() == []

    run(main)


# What goes again.


def test_an_empty_child_stays_unless_told_otherwise() -> None:
    async def main() -> None:
        io = telex.Server()
        parent = io.of(ROOMS)
        client, _ = await join(io, "/room-1")
        client.leave()
        await settle()
        assert parent.children.keys() == {"/room-1"}

    run(main)


@pytest.mark.parametrize("leave", ["client", "namespace", "server", "all at once"])
def test_an_empty_child_goes_with_its_last_socket(leave: str) -> None:
    async def main() -> None:
        io = telex.Server(cleanup_empty_child_namespaces=True)
        parent = io.of(ROOMS)
        gone = note(parent, "disconnect")
        by_hand = io.of("/room-9")
        first = (await join(io, "/room-1"))[0]
        second, socket = await join(io, "/room-1")
        child = weakref.ref(socket.nsp)
        first.leave()
        await settle()
        assert "/room-1" in parent.children
        if leave == "client":
            second.leave()
        elif leave == "namespace":
            second.send("1/room-1,")
        elif leave == "server":
            socket.disconnect()
        else:
            parent.disconnect_sockets(close=True)
        await settle()
        assert len(gone) == 2
        assert parent.children == {"/room-9": by_hand}
        assert io.namespaces.keys() == {"/", "/room-9"}
        del socket
        second.leave()
        await settle()
        del first, second
        gc.collect()
        assert child() is None
        # The name may come back.
        await join(io, "/room-1")
        assert parent.children.keys() == {"/room-1", "/room-9"}
        # And what was made by hand stays, which the program holds.
        client, _ = await join(io, "/room-9")
        client.leave()
        await settle()
        assert io.of("/room-9") is by_hand

    run(main)


@pytest.mark.parametrize("cleanup", [False, True])
@pytest.mark.parametrize("how", ["refused", "leaves meanwhile"])
def test_a_child_that_nobody_was_let_into_goes(cleanup: bool, how: str) -> None:
    async def main() -> None:
        io = telex.Server(cleanup_empty_child_namespaces=cleanup)
        parent = io.of(ROOMS)
        gate = asyncio.Event()

        @parent.use
        async def refuse(socket: telex.Socket) -> None:
            await gate.wait()
            raise telex.ConnectRefused("no")

        first, second = await open_client(io), await open_client(io)
        first.send("0/room-1,")
        second.send("0/room-1,")
        await settle()
        assert parent.children.keys() == {"/room-1"}
        if how == "refused":
            gate.set()
            await settle()
            assert list(first.messages) == list(second.messages) == ['4/room-1,{"message":"no"}']
        else:
            first.leave()
            await settle()
            assert parent.children.keys() == {"/room-1"}
            second.leave()
            await settle()
        assert not parent.children
        assert io.namespaces.keys() == {"/"}

    run(main)


def test_one_at_the_door_keeps_the_child() -> None:
    async def main() -> None:
        io = telex.Server(cleanup_empty_child_namespaces=True)
        parent = io.of(ROOMS)
        inside, _ = await join(io, "/room-1")
        gate = asyncio.Event()

        async def wait(socket: telex.Socket) -> None:
            await gate.wait()

        parent.children["/room-1"].use(wait)
        waiting = await open_client(io)
        waiting.send("0/room-1,")
        await settle()
        inside.leave()
        await settle()
        gate.set()
        await settle()
        assert len(waiting.messages) == 1
        await parent.emit("news")
        assert (await waiting.heard())[1:] == ['2/room-1,["news"]']

    run(main)


def test_closing_the_server_takes_children_along() -> None:
    async def main() -> None:
        io = telex.Server(cleanup_empty_child_namespaces=True)
        parent = io.of(ROOMS)
        gone = note(parent, "disconnect")
        for i in range(5):
            await join(io, f"/room-{i}")
        await io.close()
        assert gone == [("disconnect", "server shutting down")] * 5
        assert not parent.children

    run(main)


# Clients that ask for much, twice, or leave.


def test_clients_make_no_more_children_than_max_child_namespaces(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server(cleanup_empty_child_namespaces=True, limits=telex.Limits(max_child_namespaces=2))
        io.of(ROOMS)
        other = io.of(re.compile("/other"))
        io.of("/room-100")
        client = await open_client(io)
        await client.connect("/room-1")
        await client.connect("/room-2")
        for _ in range(2):
            assert await ask(client, "/room-3") == {"message": "Too many namespaces"}
        assert not client.is_closed
        # What is there is entered as ever, and other parents have a count of their own.
        for name in ("/room-100", "/other"):
            await client.connect(name)
        assert other.children
        second = await open_client(io)
        await second.connect("/room-1")
        client.send("1/room-2,")
        await client.connect("/room-3")

    with caplog.at_level(logging.WARNING, "telex.socketio"):
        run(main)
    (record,) = caplog.records
    assert "clients have made 2 namespaces of /_0" in record.getMessage()


class Desk:
    """A predicate that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[bool]] = []

    async def __call__(self, name: str, auth: Mapping[str, Any]) -> bool:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]


def test_two_clients_that_ask_at_once_share_the_child() -> None:
    async def main() -> None:
        io, desk = telex.Server(), Desk()
        parent = io.of(desk)
        clients = [await open_client(io), await open_client(io)]
        for client in clients:
            client.send("0/x,")
        await settle()
        desk.asked[1].set_result(True)
        await settle()
        desk.asked[0].set_result(False)  # too late: there is one by now
        await settle()
        assert len(parent.children["/x"].sockets) == 2
        assert [len(client.messages) for client in clients] == [1, 1]

    run(main)


def test_who_has_left_makes_no_namespace() -> None:
    async def main() -> None:
        io, desk = telex.Server(), Desk()
        parent = io.of(desk)
        client = await open_client(io)
        client.send("0/x,")
        await settle()
        client.leave()
        desk.asked[0].set_result(True)
        await settle()
        assert not parent.children
        assert not client.messages

    run(main)


def test_who_asks_again_is_answered_once() -> None:
    async def main() -> None:
        io, desk = telex.Server(), Desk()
        io.of(desk)
        client = await open_client(io)
        client.send('0/x,{"n":1}', '0/x,{"n":2}')
        await settle()
        desk.asked[0].set_result(True)
        await settle()
        assert not client.messages
        desk.asked[1].set_result(True)
        await settle()
        assert len(client.messages) == 1
        (socket,) = io.of("/x").sockets.values()
        assert socket.handshake.auth == {"n": 2}
        # The same, when the namespace has come to be in between.
        client.send("0/y,")
        await settle()
        io.of("/y")
        client.send("0/y,")
        desk.asked[2].set_result(True)
        await settle()
        assert len(client.messages) == 2
        assert len(io.of("/y").sockets) == 1

    run(main)


def test_what_is_asked_for_counts_among_a_client_s_namespaces() -> None:
    async def main() -> None:
        io, desk = telex.Server(limits=telex.Limits(max_namespaces_per_connection=3)), Desk()
        io.of(desk)
        client = await open_client(io)
        await client.connect()
        client.send("0/a,", "0/b,")
        await settle()
        assert not client.is_closed
        client.send("0/c,")
        await settle()
        assert client.is_closed
        assert len(desk.asked) == 2

    run(main)


def test_connect_timeout_ends_a_predicate_that_hangs() -> None:
    async def main() -> None:
        io, desk = telex.Server(connect_timeout=10), Desk()
        io.of(desk)
        client = await open_client(io)
        client.send("0/x,")
        await advance(11)
        assert client.is_closed
        desk.asked[0].set_result(True)
        await settle()
        assert io.namespaces.keys() == {"/"}

    run(main)


def test_packets_before_the_answer_break_the_protocol() -> None:
    async def main() -> None:
        io, desk = telex.Server(), Desk()
        io.of(desk)
        client = await open_client(io)
        client.send("0/x,")
        await settle()
        client.emit("e", nsp="/x")
        await settle()
        assert client.is_closed

    run(main)


def test_a_name_is_no_longer_than_max_namespace_length() -> None:
    async def main() -> None:
        asked: list[str] = []
        io = telex.Server(limits=telex.Limits(max_namespace_length=10))

        @io.of
        def parent(name: str, auth: Mapping[str, Any]) -> bool:
            asked.append(name)
            return False

        client = await open_client(io)
        assert await ask(client, "/" + 9 * "x") == INVALID
        client.send("0/" + 10 * "x" + ",")
        await settle()
        assert client.is_closed
        assert asked == ["/xxxxxxxxx"]

    run(main)
