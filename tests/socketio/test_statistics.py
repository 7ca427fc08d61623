"""Statistics: what waits and for whom, on a socket, in a namespace and on a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import telex

from .harness import join, run, settle

LIMITS = telex.Limits(send_buffer_high=1000, recv_queue_high=2)
NOTHING_DROPPED = {"volatile": 0, "newest": 0, "oldest": 0, "replaced": 0}
UNRECOVERED = {"recovery_absent": 0, "recovery_events": 0, "recovery_bytes": 0}
UNLIMITED = {"delayed_events": 0, "dropped_events": 0}  # there is no rate limit


def test_of_a_server_at_rest() -> None:
    assert telex.Server().statistics() == {
        "sessions": 0,
        "transports": {"polling": 0, "websocket": 0},
        "namespaces": 1,
        "sockets": 0,
        "buffered_bytes": 0,
        "queued_events": 0,
        "pending_acks": 0,
        "rooms": 0,
        "streams": 0,
        "lagging": 0,
        "paused": 0,
        "dropped": NOTHING_DROPPED,
        **UNLIMITED,
        **UNRECOVERED,
        "closed_for_rate": 0,
    }


def test_of_a_server_at_work() -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS)
        chat = io.of("/chat")
        release = asyncio.Event()

        @io.on("lag")
        async def lag(socket: telex.Socket) -> None:
            await release.wait()

        @chat.on("count")
        async def count(socket: telex.Socket) -> AsyncIterator[int]:
            yield 1
            await release.wait()

        busy, lagging = await join(io)
        for _ in range(5):
            busy.emit("lag")
        client, socket = await join(io, "/chat")
        await client.connect("/")
        client.emit("count", nsp="/chat", ack_id=1)
        await settle()
        socket.join(["a", "b"])
        for room in ("a", "c"):
            other = (await join(io, "/chat"))[1]
            other.join(room)
        client.hold()
        socket.emit("event", "x" * 2000, callback=print)
        socket.latest("k").emit("event", 1)
        socket.latest("k").emit("event", 2)
        socket.volatile.emit("event")

        dropped = {"volatile": 1, "newest": 0, "oldest": 0, "replaced": 1}
        n_bytes = client.line.buffered_bytes + len('42/chat,["event",2]')
        assert socket.statistics() == {
            "buffered_bytes": n_bytes,
            "queued_events": 0,
            "pending_acks": 2,  # of the event, and of the stream's item
            "rooms": 3,
            "streams": 1,
            "is_lagging": True,
            "is_paused": False,
            "dropped": dropped,
            **UNLIMITED,
        }
        assert lagging.statistics()["queued_events"] == 3  # one is at work, and one was not read any more
        assert lagging.statistics()["is_paused"]
        assert busy.n_unsaid == 1
        assert chat.statistics() == {
            "sockets": 3,
            "buffered_bytes": n_bytes,
            "queued_events": 0,
            "pending_acks": 2,
            "rooms": 3,
            "streams": 1,
            "lagging": 1,
            "paused": 0,
            "dropped": dropped,
            **UNLIMITED,
            "closed_for_rate": 0,
        }
        assert io.statistics() == {
            "sessions": 4,
            "transports": {"polling": 0, "websocket": 4},
            "namespaces": 2,
            "sockets": 5,
            "buffered_bytes": n_bytes,  # once, though two sockets share the connection
            "queued_events": 3,
            "pending_acks": 2,
            "rooms": 3,
            "streams": 1,
            "lagging": 1,
            "paused": 1,
            "dropped": dropped,
            **UNLIMITED,
            **UNRECOVERED,
            "closed_for_rate": 0,
        }
        release.set()
        client.take()
        await settle()
        assert not socket.statistics()["is_lagging"]
        assert lagging.statistics()["queued_events"] == socket.statistics()["streams"] == 0
        assert not lagging.statistics()["is_paused"]

        client.leave()
        await settle()
        assert not any(value for name, value in socket.statistics().items() if name != "dropped")
        assert chat.statistics()["dropped"] == dropped  # those that have left still count

    run(main)
