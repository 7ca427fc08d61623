"""Where features meet: what one of them registers or sends must hold for the others too."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import telex

from .harness import join, run, settle
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
