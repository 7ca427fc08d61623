"""What happens to rooms, and what concerns everyone at once: on one node, and over the seam that a cluster will use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import telex
from telex.errors import AckTimeout
from telex.socketio.acks import from_values
from telex.socketio.broadcast import Selection, Sent
from tests.socketio.harness import Client, join, note, open_client, run

ROOM_EVENTS = ["create-room", "join-room", "leave-room", "delete-room"]


def watch(namespace: telex.Namespace) -> list[tuple[str, ...]]:
    """Listen to all that happens to rooms."""
    told: list[tuple[str, ...]] = []

    def make(event: str) -> Callable[..., None]:
        return lambda *args: told.append((event, *args))

    for event in ROOM_EVENTS:
        namespace.adapter.on(event, make(event))
    return told


# Events of rooms.


def test_rooms_are_told_of_in_the_original_s_order() -> None:
    async def main() -> None:
        io = telex.Server()
        told = watch(io.sockets)
        client, ann = await join(io)
        assert told == [("create-room", ann.id), ("join-room", ann.id, ann.id)]
        _, bob = await join(io)
        told.clear()
        ann.join("a")
        ann.join("a")
        bob.join("a")
        ann.leave("a")
        ann.leave("a")
        bob.leave("a")
        assert told == [
            ("create-room", "a"),
            ("join-room", "a", ann.id),
            ("join-room", "a", bob.id),
            ("leave-room", "a", ann.id),
            ("leave-room", "a", bob.id),
            ("delete-room", "a"),
        ]
        ann.join("b")
        told.clear()
        client.leave()
        assert told == [
            ("leave-room", "b", ann.id),
            ("delete-room", "b"),
            ("leave-room", ann.id, ann.id),
            ("delete-room", ann.id),
        ]

    run(main)


def test_one_that_is_not_let_in_has_no_room_of_its_own() -> None:
    async def main() -> None:
        io = telex.Server()
        told = watch(io.sockets)

        @io.use
        def refuse(socket: telex.Socket) -> None:
            socket.join("hall")
            raise telex.ConnectRefused("no")

        client = await open_client(io)
        client.send("0")
        assert await client.receive() == '4{"message":"no"}'
        assert [event for event, *_ in told] == ROOM_EVENTS
        assert {room for _, room, *_ in told} == {"hall"}

    run(main)


def test_what_a_listener_does_is_told_after_what_it_was_told() -> None:
    async def main() -> None:
        io = telex.Server()
        _, socket = await join(io)
        adapter = io.sockets.adapter
        adapter.on("create-room", socket.leave)
        told = watch(io.sockets)
        socket.join("a")
        assert told == [
            ("create-room", "a"),
            ("join-room", "a", socket.id),
            ("leave-room", "a", socket.id),
            ("delete-room", "a"),
        ]
        assert socket.rooms == {socket.id}

    run(main)


def test_a_listener_may_send_off_who_is_joining() -> None:
    async def main() -> None:
        io = telex.Server()
        _, socket = await join(io)
        io.sockets.adapter.on("create-room", lambda room: socket.disconnect())
        socket.join(["a", "b", "c"])
        assert not socket.connected
        assert len(io.sockets.rooms) == 0

    run(main)


def test_what_a_listener_raises_is_logged_and_keeps_nobody_from_hearing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        _, socket = await join(io)
        io.sockets.adapter.on("join-room", lambda room, sid: 1 / 0)
        told = watch(io.sockets)
        socket.join("a")
        assert ("join-room", "a", socket.id) in told
        assert socket.rooms == {socket.id, "a"}

    with caplog.at_level(logging.ERROR, "telex.socketio"):
        run(main)
    assert [record.getMessage() for record in caplog.records] == ["a listener for 'join-room' of / failed"]


def test_listeners_are_registered_and_taken_away() -> None:
    async def main() -> None:
        io = telex.Server()
        _, socket = await join(io)
        adapter = io.sockets.adapter
        heard: list[str] = []

        @adapter.on("create-room")
        def first(room: str) -> None:
            heard.append("first")

        @adapter.on("create-room")
        def second(room: str) -> None:
            heard.append("second")

        socket.join("a")
        assert heard == ["first", "second"]
        adapter.off("create-room", first)
        adapter.off("create-room", first)
        adapter.off("delete-room")
        socket.join("b")
        assert heard == ["first", "second", "second"]
        adapter.off("create-room")
        socket.join("c")
        assert len(heard) == 3
        assert io.sockets.rooms.watch is None

    run(main)


def test_listeners_are_plain_functions_of_known_events() -> None:
    adapter = telex.Server().sockets.adapter

    async def late(room: str) -> None: ...

    with pytest.raises(ValueError, match="'joined' is no event of an adapter"):
        adapter.on("joined", print)
    with pytest.raises(TypeError, match="plain function"):
        adapter.on("join-room", late)
    with pytest.raises(TypeError, match="plain function"):
        adapter.on("join-room", 1)  # type: ignore[call-overload]  # pyright: ignore


# Everyone at once.


async def crowd(io: telex.Server) -> dict[str, tuple[Client, telex.Socket]]:
    people = {}
    for name, rooms in {"ann": "ab", "bob": "a", "cat": "b", "dan": ""}.items():
        client, socket = await join(io)
        socket.join(list(rooms))
        socket.data["name"] = name
        people[name] = (client, socket)
    return people


WHOM: dict[str, tuple[Callable[[telex.Server, telex.Socket], Any], str]] = {
    "io": (lambda io, s: io, "ann bob cat dan"),
    "namespace": (lambda io, s: s.nsp, "ann bob cat dan"),
    "other namespace": (lambda io, s: io.of("/other"), ""),
    "room": (lambda io, s: io.in_("a"), "ann bob"),
    "rooms": (lambda io, s: io.in_("a", "b"), "ann bob cat"),
    "except": (lambda io, s: io.except_("a"), "cat dan"),
    "id": (lambda io, s: io.in_(s.id), "ann"),
    "unknown": (lambda io, s: io.in_("x"), ""),
    "nobody": (lambda io, s: io.to(), ""),
    "local": (lambda io, s: io.local.in_("b"), "ann cat"),
    "broadcast": (lambda io, s: s.broadcast, "bob cat dan"),
    "socket-to": (lambda io, s: s.to("a"), "bob"),
}


@pytest.mark.parametrize("whom", WHOM)
def test_whom_it_concerns(whom: str) -> None:
    address, names = WHOM[whom]

    async def main() -> None:
        io = telex.Server()
        people = await crowd(io)
        operator = address(io, people["ann"][1])
        expected = names.split()

        found = await operator.fetch_sockets()
        assert sorted(remote.data["name"] for remote in found) == expected

        await operator.sockets_join(["new", "newer"])
        assert [name for name, (_, socket) in people.items() if {"new", "newer"} <= socket.rooms] == expected
        operator.sockets_leave("new")
        assert not any("new" in socket.rooms for _, socket in people.values())
        assert [name for name, (_, socket) in people.items() if "newer" in socket.rooms] == expected

        operator.disconnect_sockets()
        assert [name for name, (_, socket) in people.items() if not socket.connected] == expected
        for name, (client, _) in people.items():
            assert await client.heard() == (["1"] if name in expected else [])
            assert not client.is_closed

    run(main)


def test_disconnect_sockets_may_end_connections() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        gone = note(io, "disconnect")
        io.disconnect_sockets(close=True)
        assert await client.heard() == ["1"]
        assert client.is_closed
        assert not socket.connected
        assert gone == [("disconnect", "server namespace disconnect")]

    run(main)


def test_if_one_cannot_join_nobody_does() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(max_rooms_per_socket=2, max_room_name=5))
        _, ann = await join(io)
        _, bob = await join(io)
        bob.join(["1", "2"])
        with pytest.raises(ValueError, match="2 rooms at most"):
            io.sockets_join("3")
        with pytest.raises(ValueError, match="5 characters at most"):
            io.in_(ann.id).sockets_join(["3", "longer"])
        with pytest.raises(TypeError, match="named by a str"):
            io.sockets_join([3])  # type: ignore[list-item]
        assert ann.rooms == {ann.id}
        io.sockets_join("1")
        assert ann.rooms == {ann.id, "1"}

    run(main)


def test_only_the_event_loop_s_thread_may() -> None:
    async def main() -> None:
        io = telex.Server()
        await join(io)

        def elsewhere() -> None:
            for act in (lambda: io.sockets_join("a"), lambda: io.sockets_leave("a"), io.disconnect_sockets):
                with pytest.raises(RuntimeError, match="outside of its event loop"):
                    act()
            with pytest.raises(RuntimeError, match="outside of its event loop"):
                asyncio.run(io.fetch_sockets())
            with pytest.raises(RuntimeError, match="outside of its event loop"):
                io.server_side_emit("e")

        await asyncio.to_thread(elsewhere)

    run(main)


# Other servers.


def test_a_server_alone_tells_nobody_and_waits_for_nobody() -> None:
    async def main() -> None:
        io = telex.Server()
        heard: list[Any] = []
        io.on_server_side("news", heard.append)
        await io.server_side_emit("news", 1)
        assert await io.server_side_call("news", 1) == []
        assert await io.of("/x").server_side_call("news", b"\0", timeout=1) == []
        assert heard == []

    run(main)


@pytest.mark.parametrize(
    "event", ["connect", "connect_error", "disconnect", "disconnecting", "connection", "new_namespace", "newListener"]
)
def test_what_no_server_can_say(event: str) -> None:
    async def main() -> None:
        io = telex.Server()
        for say in (io.server_side_emit, io.sockets.server_side_emit):
            with pytest.raises(ValueError, match="reserved"):
                say(event)
        with pytest.raises(ValueError, match="reserved"):
            await io.server_side_call(event)
        with pytest.raises(ValueError, match="reserved"):
            io.on_server_side(event, print)

    run(main)


def test_what_cannot_be_sent_is_said_by_a_server_alone() -> None:
    async def main() -> None:
        io = telex.Server()
        with pytest.raises(TypeError):
            io.server_side_emit("e", object())
        with pytest.raises(TypeError):
            io.server_side_emit(1)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="must be callable"):
            io.on_server_side("e", 1)  # type: ignore[call-overload]  # pyright: ignore

    run(main)


class Linked(telex.Adapter):
    """Be one of two nodes that call each other: the smallest cluster, over what a real one will override."""

    def __init__(self, namespace: telex.Namespace) -> None:
        super().__init__(namespace)
        self.other: Linked | None = None

    @property
    def others(self) -> list[Linked]:
        return [] if self.other is None else [self.other]

    async def fetch_sockets(self, selection: Selection) -> list[telex.RemoteSocket]:
        found = await super().fetch_sockets(selection)
        if not selection.flags.local:
            for other in self.others:
                found += await telex.Adapter.fetch_sockets(other, selection)
        return found

    def sockets_join(self, selection: Selection, rooms: Sequence[str]) -> Sent:
        if not selection.flags.local:
            for other in self.others:
                telex.Adapter.sockets_join(other, selection, rooms)
        return super().sockets_join(selection, rooms)

    def server_side_emit(self, event: str, args: Sequence[Any]) -> Sent:
        for other in self.others:
            self._task = asyncio.ensure_future(other.receive(event, args))
        return Sent()

    async def server_side_call(self, event: str, args: Sequence[Any], timeout: float) -> list[Any]:
        answers = [await other.receive(event, args) for other in self.others]
        came = [from_values(values) for values in answers if values is not None]
        if len(came) < len(answers):
            raise AckTimeout(timeout, came)
        return came


def link() -> tuple[telex.Server, telex.Server]:
    here, there = telex.Server(), telex.Server()
    nodes = [Linked(here.sockets), Linked(there.sockets)]
    nodes[0].other, nodes[1].other = nodes[1], nodes[0]
    here.sockets.adapter, there.sockets.adapter = nodes
    return here, there


def test_two_servers_speak_through_their_adapters(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        here, there = link()

        @there.on_server_side("add")
        async def add(a: int, b: int) -> int:
            await asyncio.sleep(0)
            return a + b

        @there.on_server_side("fail")
        def fail() -> None:
            raise ZeroDivisionError

        @there.on_server_side("give up")
        async def give_up() -> None:
            raise asyncio.CancelledError

        heard: list[tuple[Any, ...]] = []
        here.on_server_side("add", lambda *args: heard.append(("here", *args)))
        there.on_server_side("news", lambda *args: heard.append(("there", *args)))

        assert await here.server_side_call("add", 1, 2) == [3]
        await here.server_side_emit("news", {"n": 1})
        assert heard == [("there", {"n": 1})]
        for event in ("nobody listens", "fail", "give up", "add"):
            with pytest.raises(telex.AckTimeout):
                await here.server_side_call(event, timeout=1)

    with caplog.at_level(logging.WARNING, "telex.socketio"):
        run(main)
    assert [record.getMessage() for record in caplog.records] == [
        "the server-side handler for 'fail' failed",
        "the server-side handler for 'give up' cancelled itself",
        "the server-side handler for 'add' failed",
    ]


def test_two_servers_have_everyone_at_once_unless_it_is_local() -> None:
    async def main() -> None:
        here, there = link()
        _, ann = await join(here)
        _, bob = await join(there)
        here.sockets_join("all")
        assert "all" in ann.rooms & bob.rooms
        here.local.sockets_join("mine")
        assert ("mine" in ann.rooms, "mine" in bob.rooms) == (True, False)
        assert [remote.id for remote in await there.in_("all").fetch_sockets()] == [bob.id, ann.id]
        assert [remote.id for remote in await there.local.fetch_sockets()] == [bob.id]
        assert [remote.id for remote in await bob.local.fetch_sockets()] == []
        assert [remote.id for remote in await bob.broadcast.fetch_sockets()] == [ann.id]

    run(main)
