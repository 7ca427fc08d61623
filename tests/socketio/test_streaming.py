"""Streams of events: items as fast as the client takes them, and an end for every way to end."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import telex
from telex.socketio.streaming import STOP_EVENT

from .harness import Client, advance, join, run, settle

LIMITS = telex.Limits(stream_window=3, stream_timeout=30.0, max_streams_per_socket=2, ping_interval=1000)


class Listener:
    """A client's side of streams: what came of each, and the acknowledgements that it owes."""

    def __init__(self, client: Client, nsp: str = "/") -> None:
        self.client = client
        self.head = "" if nsp == "/" else nsp + ","
        self.answers: list[dict[str, str]] = []
        self.came: dict[str, list[list[Any]]] = {}
        self.owed: dict[str, list[int]] = {}

    async def hear(self) -> None:
        for message in await self.client.heard():
            text = str(message)
            kind, rest = text[0], text[1:].removeprefix(self.head)
            start = rest.index("[")
            number, values = rest[:start], json.loads(rest[start:])
            if kind == "3":
                self.answers += values
                continue
            event, stream_id, *item = values
            assert event == "telex:stream"
            self.came.setdefault(stream_id, []).append(item)
            if number:
                assert item[0] == "next"
                self.owed.setdefault(stream_id, []).append(int(number))

    async def open(self, event: str, *args: Any) -> str:
        """Call a handler that streams; return the stream's id."""
        self.client.send(f"2{self.head}7" + json.dumps([event, *args]))
        await self.hear()
        return self.answers[-1]["stream"]

    async def take(self, stream_id: str, n_items: int = 1) -> None:
        """Acknowledge the items that came first."""
        for _ in range(n_items):
            self.client.send(f"3{self.head}{self.owed[stream_id].pop(0)}[]")
        await self.hear()

    async def stop(self, stream_id: Any) -> None:
        self.client.send(f"2{self.head}" + json.dumps([STOP_EVENT, stream_id]))
        await self.hear()

    def items(self, stream_id: str) -> list[Any]:
        return [value for kind, *rest in self.came.get(stream_id, []) if kind == "next" for value in rest]

    def last(self, stream_id: str) -> list[Any]:
        return self.came[stream_id][-1]


def serve(limits: telex.Limits = LIMITS, nsp: str = "/", **options: Any) -> tuple[telex.Server, list[str]]:
    """Make a server with a handler that counts, and the notes that it takes."""
    io = telex.Server(limits=limits, **options)
    notes: list[str] = []

    @io.of(nsp).on("count")
    async def count(socket: telex.Socket, n: int = 1_000_000) -> AsyncIterator[int]:
        try:
            for i in range(n):
                notes.append(f"made {i}")
                yield i
        finally:
            notes.append("closed")

    return io, notes


def test_a_stream_from_its_beginning_to_its_end() -> None:
    async def main() -> None:
        io, notes = serve()
        client, socket = await join(io)
        client.send('27["count",2]')
        assert await client.heard() == [
            '37[{"stream":"1"}]',
            '20["telex:stream","1","next",0]',
            '21["telex:stream","1","next",1]',
            '2["telex:stream","1","end"]',
        ]
        assert notes == ["made 0", "made 1", "closed"]
        assert socket.statistics()["streams"] == socket.statistics()["pending_acks"] == 0
        client.send("30[]", "31[]")  # late, and harmless
        assert socket.connected

    run(main)


def test_the_generator_waits_while_its_client_takes_nothing() -> None:
    async def main() -> None:
        io, notes = serve()
        client, socket = await join(io)
        listener = Listener(client)
        stream = await listener.open("count")
        assert listener.items(stream) == [0, 1, 2]
        assert notes == ["made 0", "made 1", "made 2"]
        await listener.take(stream)
        assert listener.items(stream) == [0, 1, 2, 3]
        await listener.take(stream, 3)
        assert listener.items(stream) == list(range(7))
        assert socket.statistics()["pending_acks"] == 3

    run(main)


def test_the_generator_waits_for_room_too() -> None:
    async def main() -> None:
        io, notes = serve(telex.Limits(send_buffer_high=100, stream_window=1000))
        client, _ = await join(io)
        client.hold()
        client.send('27["count"]')
        await settle()
        assert 0 < len(notes) < 10
        client.leave()

    run(main)


def test_a_client_that_takes_nothing_for_too_long_is_told_so() -> None:
    async def main() -> None:
        io, notes = serve()
        client, socket = await join(io)
        listener = Listener(client)
        stream = await listener.open("count")
        await advance(29)
        await listener.take(stream)  # one is enough
        await advance(29)
        await listener.hear()
        assert listener.last(stream) == ["next", 3]
        await advance(2)
        await listener.hear()
        assert listener.last(stream) == ["error", "no item was taken in time"]
        assert notes[-1] == "closed"
        assert socket.statistics()["pending_acks"] == 0
        assert socket.connected

    run(main)


def test_that_the_server_lags_is_not_the_client_s_fault() -> None:
    async def main() -> None:
        limits = telex.Limits(stream_window=1, recv_queue_high=1, ping_interval=1000)
        io, _ = serve(limits)
        release = asyncio.Event()

        @io.of("/busy").on("lag")
        async def lag(socket: telex.Socket) -> None:
            await release.wait()

        client, _ = await join(io)
        await client.connect("/busy")
        listener = Listener(client)
        stream = await listener.open("count")
        for _ in range(4):
            client.emit("lag", nsp="/busy")
        await listener.take(stream)  # is not read
        await advance(100)
        assert client.n_unsaid == 2
        release.set()
        await listener.hear()
        assert listener.items(stream) == [0, 1]

    run(main)


def test_a_generator_may_take_its_time() -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS)

        @io.on("clock")
        async def clock(socket: telex.Socket) -> AsyncIterator[str]:
            while True:
                await asyncio.sleep(300)
                yield "tick"

        client, _ = await join(io)
        listener = Listener(client)
        stream = await listener.open("clock")
        for _ in range(3):
            await advance(300)
        await listener.hear()
        assert listener.items(stream) == ["tick"] * 3

    run(main)


def test_the_client_says_stop() -> None:
    async def main() -> None:
        io, notes = serve()
        client, socket = await join(io)
        listener = Listener(client)
        stream = await listener.open("count")
        await listener.stop("of nobody")
        await listener.stop(["no", "text"])
        assert notes[-1] == "made 2"
        await listener.stop(stream)
        assert notes[-1] == "closed"
        assert listener.last(stream) == ["next", 2]  # it is told nothing more
        assert socket.statistics()["streams"] == socket.statistics()["pending_acks"] == 0
        await listener.stop(stream)

    run(main)


def test_stop_does_not_wait_behind_a_handler() -> None:
    async def main() -> None:
        io, notes = serve()
        release = asyncio.Event()

        @io.on("lag")
        async def lag(socket: telex.Socket) -> None:
            await release.wait()

        client, _ = await join(io)
        listener = Listener(client)
        stream = await listener.open("count")
        client.emit("lag")
        await listener.stop(stream)
        assert notes[-1] == "closed"
        release.set()

    run(main)


def test_a_stream_begins_in_its_turn() -> None:
    async def main() -> None:
        io, notes = serve()
        release = asyncio.Event()

        @io.on("login")
        async def login(socket: telex.Socket) -> None:
            await release.wait()
            notes.append("logged in")

        client, _ = await join(io)
        client.emit("login")
        client.emit("count", 1, ack_id=7)
        await settle()
        assert notes == []
        release.set()
        await settle()
        assert notes == ["logged in", "made 0", "closed"]

    run(main)


def test_events_are_handled_while_a_stream_is_open() -> None:
    async def main() -> None:
        io, _ = serve()
        io.on("echo", lambda socket, value: value)
        client, _ = await join(io)
        listener = Listener(client)
        await listener.open("count")
        client.emit("echo", "hello", ack_id=8)
        assert await client.heard() == ['38["hello"]']

    run(main)


def test_one_client_cannot_stop_the_stream_of_another() -> None:
    async def main() -> None:
        io, _ = serve()
        ann, _ = await join(io)
        bob, _ = await join(io)
        stream = await Listener(ann).open("count")
        await Listener(bob).stop(stream)
        assert io.statistics()["streams"] == 1

    run(main)


@pytest.mark.parametrize("way", ["leave", "disconnect", "namespace", "close", "server"])
def test_a_client_that_is_gone_closes_its_streams(way: str) -> None:
    async def main() -> None:
        io, notes = serve()
        client, socket = await join(io)
        listener = Listener(client)
        await listener.open("count")
        await listener.open("count")
        match way:
            case "leave":
                client.leave()
            case "disconnect":
                socket.disconnect()
            case "namespace":
                client.send("1")
            case "close":
                socket.disconnect(close=True)
            case "server":
                await io.close()
                assert notes.count("closed") == 2  # it waits for them
        await settle()
        assert notes.count("closed") == 2
        assert io.statistics()["streams"] == 0
        assert not io.sockets.streams._open

    run(main)


def test_a_generator_that_waits_is_cancelled() -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS)
        notes: list[str] = []

        @io.on("wait")
        async def wait(socket: telex.Socket) -> AsyncIterator[int]:
            try:
                await asyncio.get_running_loop().create_future()
                yield 1
            finally:
                await asyncio.sleep(1)  # it may take its leave
                notes.append("closed")

        client, _ = await join(io)
        listener = Listener(client)
        stream = await listener.open("wait")
        await listener.stop(stream)
        assert notes == []
        assert io.statistics()["streams"] == 1  # it counts until it has ended
        await advance(1)
        assert notes == ["closed"]
        assert io.statistics()["streams"] == 0

    run(main)


def test_a_generator_that_would_not_be_cancelled_is_closed() -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS)
        notes: list[str] = []

        @io.on("deaf")
        async def deaf(socket: telex.Socket) -> AsyncIterator[int]:
            try:
                while True:
                    try:
                        await asyncio.get_running_loop().create_future()
                    except asyncio.CancelledError:
                        notes.append("cancelled")
                    yield 1
            finally:
                notes.append("closed")

        client, socket = await join(io)
        listener = Listener(client)
        await listener.stop(await listener.open("deaf"))
        assert notes == ["cancelled", "closed"]
        assert listener.came == {}
        assert socket.statistics()["streams"] == 0

    run(main)


def test_too_many_streams_of_one_client() -> None:
    async def main() -> None:
        io, _ = serve()
        client, _ = await join(io)
        listener = Listener(client)
        first = await listener.open("count")
        await listener.open("count")
        client.emit("count", ack_id=9)
        assert await client.heard() == ['39[{"error":"too many streams"}]']
        await listener.stop(first)
        await listener.open("count")
        other, _ = await join(io)
        await Listener(other).open("count")

    run(main)


def test_a_call_without_an_acknowledgement_begins_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io, notes = serve()
        client, _ = await join(io)
        client.emit("count")
        client.emit("count")
        assert await client.heard() == []
        assert notes == []

    run(main)
    assert [record.message for record in caplog.records] == [
        "an event 'count' came without an acknowledgement, which a stream needs; dropped, as others will be"
    ]


def test_errors_reach_the_client_without_internals(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS)

        @io.on("fail")
        async def fail(socket: telex.Socket, how: str) -> AsyncIterator[Any]:
            yield 1
            if how == "on purpose":
                raise telex.StreamError("there is no such thing")
            if how == "cancel":
                raise asyncio.CancelledError
            if how == "data":
                yield object()
            raise RuntimeError("secret")

        client, socket = await join(io)
        listener = Listener(client)
        for how in ("by accident", "cancel", "data"):
            stream = await listener.open("fail", how)
            assert listener.came[stream] == [["next", 1], ["error", "Internal server error"]]
        assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 2
        caplog.clear()
        stream = await listener.open("fail", "on purpose")
        assert listener.came[stream] == [["next", 1], ["error", "there is no such thing"]]
        assert not caplog.records
        assert socket.connected
        assert socket.statistics()["streams"] == 0

    run(main)


def test_an_error_while_it_closes_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS)

        @io.on("fail")
        async def fail(socket: telex.Socket) -> AsyncIterator[int]:
            try:
                while True:
                    yield 1
            finally:
                raise RuntimeError("late")

        client, _ = await join(io)
        listener = Listener(client)
        stream = await listener.open("fail")
        await listener.stop(stream)
        assert listener.last(stream) == ["next", 1]

    run(main)
    assert [record.message for record in caplog.records] == ["the handler for 'fail' failed"]


def test_items_are_not_dropped_by_a_policy() -> None:
    async def main() -> None:
        limits = telex.Limits(send_buffer_high=100, max_droppable_events=1, stream_window=5)
        io, _ = serve(limits, slow_consumers="drop oldest")
        client, socket = await join(io)
        listener = Listener(client)
        stream = await listener.open("count", 50)
        client.hold()
        for _ in range(5):
            socket.emit("filler", "x" * 100)
        await listener.take(stream, 3)
        for _ in range(5):
            socket.emit("filler", "x" * 100)
        client.take()
        client.messages = type(client.messages)(m for m in client.messages if "filler" not in str(m))
        for _ in range(60):
            await listener.hear()
            if listener.owed[stream]:
                await listener.take(stream)
        assert listener.items(stream) == list(range(50))
        assert listener.last(stream) == ["end"]

    run(main)


def test_streams_in_a_namespace_with_bytes_and_rooms() -> None:
    async def main() -> None:
        io = telex.Server()

        class Files(telex.Namespace):
            async def on_parts(self, socket: telex.Socket, *sizes: int) -> AsyncIterator[bytes]:
                socket.join("readers")
                for size in sizes:
                    yield bytes(size)

        io.register(Files("/files"))
        client, socket = await join(io, "/files")
        client.send('2/files,7["parts",1,2]')
        assert await client.heard() == [
            '3/files,7[{"stream":"1"}]',
            '51-/files,0["telex:stream","1","next",{"_placeholder":true,"num":0}]',
            b"\x00",
            '51-/files,1["telex:stream","1","next",{"_placeholder":true,"num":0}]',
            b"\x00\x00",
            '2/files,["telex:stream","1","end"]',
        ]
        assert "readers" in socket.rooms

    run(main)


def test_nothing_stays_behind() -> None:
    async def main() -> None:
        io, _ = serve()
        client, _ = await join(io)
        listener = Listener(client)
        for _ in range(20):
            await listener.open("count", 2)
        assert not io.sockets.streams._open
        gc.collect()
        assert not [task for task in asyncio.all_tasks() if "Stream._run" in repr(task)]

    run(main)


# What may be registered.


def plain_generator(socket: telex.Socket) -> Iterator[int]:
    yield 1


async def generator(socket: telex.Socket, *args: Any) -> AsyncIterator[int]:
    yield 1


class GeneratorCall:
    async def __call__(self, socket: telex.Socket) -> AsyncIterator[int]:
        yield 1


def test_a_generator_in_a_callable_object() -> None:
    async def main() -> None:
        io = telex.Server()
        io.on("count", GeneratorCall())
        client, _ = await join(io)
        listener = Listener(client)
        assert listener.items(await listener.open("count")) == [1]

    run(main)


def test_what_generators_cannot_be() -> None:
    io = telex.Server()
    with pytest.raises(TypeError, match="plain generator"):
        io.on("count", plain_generator)
    with pytest.raises(TypeError, match="beside others by itself"):
        io.on("count", generator, thread=True)
    with pytest.raises(TypeError, match="beside others by itself"):
        io.on("count", generator, concurrent=True)
    for event in ("connect", "disconnect", "disconnecting", "*"):
        with pytest.raises(TypeError, match="nobody asks"):
            io.on(event, generator)


def test_the_library_s_own_names_are_reserved() -> None:
    with pytest.raises(ValueError, match="reserved"):
        telex.Server().on("telex:stop", print)
