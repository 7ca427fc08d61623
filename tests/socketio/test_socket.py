"""One client in one namespace: rooms, events, acknowledgements, backpressure."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import telex
from telex.streams import deadlines_of
from tests.socketio.harness import advance, join, note, open_client, run, settle, the_loop
from tests.socketio.texts import Number, Text

# Rooms.


def test_rooms_hold_the_sockets_own_id() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        assert socket.rooms == {socket.id}
        socket.join("a")
        socket.join(["b", "a"])
        socket.join(socket.id)
        assert socket.rooms == {socket.id, "a", "b"}
        assert socket.statistics()["rooms"] == 3
        socket.leave("a")
        socket.leave("never joined")
        socket.leave(socket.id)
        assert socket.rooms == {socket.id, "b"}
        client.leave()
        assert socket.rooms == set()
        socket.join("c")
        socket.leave("c")
        assert len(io.sockets.rooms) == 0

    run(main)


def test_max_rooms_per_socket_s43() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(max_rooms_per_socket=3))
        _, socket = await join(io)
        socket.join(["a", "b"])
        with pytest.raises(ValueError, match="3 rooms at most"):
            socket.join(["c", "d"])
        assert socket.rooms == {socket.id, "a", "b"}
        socket.join("c")
        socket.join(["a", socket.id])
        with pytest.raises(ValueError, match="3 rooms at most"):
            socket.join("d")
        socket.leave("a")
        socket.join("d")

    run(main)


def test_max_room_name_s43() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(max_room_name=5))
        _, socket = await join(io)
        socket.join(["abcd", "abcde"])
        with pytest.raises(ValueError, match="5 characters at most, not 6"):
            socket.join(["x", "abcdef"])
        assert socket.rooms == {socket.id, "abcd", "abcde"}

    run(main)


@pytest.mark.parametrize("room", [7, None, b"room", ["a", 7], [["a"]], {"a": 1}.items()])
def test_s43_a_room_is_named_by_a_text(room: Any) -> None:
    async def main() -> None:
        _, socket = await join(telex.Server())
        with pytest.raises(TypeError):
            socket.join(room)
        assert socket.rooms == {socket.id}

    run(main)


def test_s42_nobody_joins_another_sockets_private_room() -> None:
    async def main() -> None:
        io = telex.Server()
        _, victim = await join(io)
        _, other = await join(io)
        with pytest.raises(ValueError, match="private room"):
            other.join(["a", victim.id])
        assert other.rooms == {other.id}

    run(main)


# Emitting.


def test_emit_sends_at_once_and_ignoring_it_is_fine() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        socket.emit("e")
        socket.emit("e", 1, "two", {"three": [3, None]})
        socket.send("hello")
        assert list(client.messages) == ['2["e"]', '2["e",1,"two",{"three":[3,null]}]', '2["message","hello"]']
        client.messages.clear()
        socket.emit("e", b"x", [b"y"])
        assert list(client.messages) == [
            '52-["e",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]', b"x", b"y"
        ]  # fmt: skip
        await socket.emit("e")
        await socket.emit("e")

    run(main)


def test_nothing_is_said_from_another_thread(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        refused: list[str] = []

        def refuse(function: Any, *args: Any, **options: Any) -> None:
            with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
                function(*args, **options)
            refused.append(function.__name__)

        def ask(broadcaster: Any) -> None:
            asyncio.run(broadcaster.call("e", timeout=1))

        @io.on("work", thread=True)
        def work(socket: telex.Socket) -> str:
            loop.call_soon_threadsafe(socket.emit, "progress", 1)
            for function in (socket.emit, socket.volatile.emit, io.emit, io.to(socket.id).emit, socket.send):
                refuse(function, "e")
            refuse(socket.emit, "e", callback=print)
            refuse(ask, socket)
            refuse(ask, io)
            refuse(socket.join, "room")
            refuse(socket.leave, "room")
            refuse(socket.disconnect)
            refuse(socket.disconnect, close=True)
            loop.call_soon_threadsafe(over.set)
            return "done"

        client, socket = await join(io)
        client.emit("work", ack_id=7)
        await over.wait()
        assert await client.receive_event() == ["progress", 1]
        assert await client.receive() == '37["done"]'
        assert await client.heard() == []
        assert len(refused) == 12
        assert socket.connected
        assert socket.rooms == {socket.id}
        assert socket.statistics()["pending_acks"] == 0

    run(main)
    assert not caplog.records


def test_emit_names_its_namespace() -> None:
    async def main() -> None:
        io = telex.Server()
        io.of("/admin")
        client, socket = await join(io, "/admin")
        socket.emit("e", 1)
        assert await client.receive() == '2/admin,["e",1]'

    run(main)


@pytest.mark.parametrize(
    "event", ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]
)
def test_r10_a_reserved_event_cannot_be_emitted(event: str) -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        for emit in (socket.emit, socket.volatile.emit, io.emit, io.to("a").emit, socket.broadcast.emit):
            with pytest.raises(ValueError, match="reserved"):
                emit(event)
        for call in (socket.call, io.call):
            with pytest.raises(ValueError, match="reserved"):
                await call(event)
        assert not client.messages
        assert socket.statistics()["pending_acks"] == 0

    run(main)


@pytest.mark.parametrize(("event", "args"), [(7, ()), (None, ()), (b"e", ()), ("e", (object(),)), ("e", ({None: 1},))])
def test_what_cannot_be_sent_is_a_type_error_and_sends_nothing(event: Any, args: tuple[Any, ...]) -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        for emit in (socket.emit, io.emit):
            with pytest.raises(TypeError):
                emit(event, *args)
        with pytest.raises(TypeError):
            socket.emit(event, *args, callback=print)
        for call in (socket.call, io.call):
            with pytest.raises(TypeError):
                await call(event, *args)
        assert not client.messages
        assert socket.statistics()["pending_acks"] == 0

    run(main)


def nested(depth: int, inner: Any = 1) -> Any:
    """Put something into so many lists."""
    for _ in range(depth):
        inner = [inner]
    return inner


knot: list[Any] = []
knot.append(knot)

PLACEHOLDER = '{"_placeholder":true,"num":0}'


@pytest.mark.parametrize(
    ("found", "wire"),
    [
        ({"a": [None, (1.5, {})]}, ['{"a":[null,[1.5,{}]]}']),
        (nested(15), ["[" * 15 + "1" + "]" * 15]),
        (nested(16), ["[" * 16 + "1" + "]" * 16]),
        (nested(60, {"a": ()}), ["[" * 60 + '{"a":[]}' + "]" * 60]),
        (Text("é"), ['"é"']),
        ({Text("a"): Text("b")}, ['{"a":"b"}']),
        (Number.ONE, ["1"]),
        ([{"a": Number.ONE}], ['[{"a":1}]']),
        (type("List", (list,), {})([1]), ["[1]"]),
        (type("Dict", (dict,), {})(a=1), ['{"a":1}']),
        ({1: {2: 3}}, ['{"1":{"2":3}}']),
        (2**64, ["18446744073709551616"]),
        (b"x", [PLACEHOLDER, b"x"]),
        ({"a": [bytearray(b"x")]}, [f'{{"a":[{PLACEHOLDER}]}}', b"x"]),
        (nested(16, b"x"), ["[" * 16 + PLACEHOLDER + "]" * 16, b"x"]),
    ],
)
def test_data_of_every_kind_is_written_alike_wherever_it_goes(found: Any, wire: list[Any]) -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        io.on("ask", lambda socket: found)
        text, *attachments = wire
        kinds = ("51-", "61-") if attachments else ("2", "3")
        for emit in (socket.emit, io.emit, socket.volatile.emit):
            emit("e", found)
            assert await client.heard() == [f'{kinds[0]}["e",{text}]', *attachments]
        client.emit("ask", ack_id=7)
        assert await client.heard() == [f"{kinds[1]}7[{text}]", *attachments]
        socket.emit(Text("e"), found)
        assert await client.heard() == [f'{kinds[0]}["e",{text}]', *attachments]

    run(main)


@pytest.mark.parametrize(
    "found", [knot, nested(100_000), {"a": knot}, "\ud800", [{"\udfff": 1}], {"a": [b"", "\ud800"]}]
)
def test_data_that_no_json_can_hold_is_a_value_error_and_sends_nothing(
    found: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        for emit in (socket.emit, io.emit):
            with pytest.raises(ValueError, match=r"nested too deeply|surrogates"):
                emit("e", found)
        if isinstance(found, str):
            for emit in (socket.emit, io.emit):
                with pytest.raises(ValueError, match="surrogates"):
                    emit(found)
        io.on("ask", lambda socket: found)
        client.emit("ask", ack_id=1)
        assert await client.heard() == []

    run(main)
    assert [record.getMessage() for record in caplog.records] == ["the handler for 'ask' failed"]


def test_compress_goes_down_with_the_packet() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        client.compressed.clear()
        socket.emit("e", b"x")
        socket.compress(False).emit("e", b"x")
        socket.compress(True).emit("e")
        socket.compress(True).timeout(5).volatile.compress(False).emit("e")
        io.compress(False).emit("e")
        socket.broadcast.compress(False).emit("nobody")
        assert client.compressed == [True, True, False, False, True, False, False]

    run(main)


def test_after_the_disconnect_nothing_is_sent() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        client.send("1")
        answers: list[Any] = []
        await socket.emit("e")
        await socket.volatile.emit("e")
        socket.timeout(5).emit("e", callback=answers.append)
        socket.send("e")
        with pytest.raises(ValueError, match="reserved"):
            socket.emit("connect")  # but what is wrong stays wrong
        with pytest.raises(telex.Disconnected, match="client namespace disconnect"):
            await socket.call("e")
        assert await client.heard() == []
        assert not any(value for name, value in socket.statistics().items() if name != "dropped")
        assert answers == []

    run(main)


def test_s49_many_attachments_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client, socket = await join(telex.Server(limits=telex.Limits(warn_attachments=2)))
        socket.emit("e", *[b"x"] * 2)
        assert caplog.records == []
        for _ in range(2):
            socket.emit("e", *[b"x"] * 3)
        assert len(client.messages) == 3 + 4 + 4

    run(main)
    (record,) = caplog.records
    assert "has 3 attachments; the JavaScript client takes 2" in record.getMessage()


# Acknowledgements of the client.


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("[]", None),
        ("[1]", 1),
        ("[null]", None),
        ("[1,2]", (1, 2)),
        ("[[1,2]]", [1, 2]),
        ('["a",{"b":0}]', ("a", {"b": 0})),
    ],
)
def test_call_returns_the_acknowledgement(answer: str, result: Any) -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        call = asyncio.create_task(socket.call("question", 7))
        assert await client.heard() == ['20["question",7]']  # the first id is 0, and an id like any other
        assert socket.statistics()["pending_acks"] == 1
        client.send("30" + answer)
        assert await call == result
        assert socket.statistics()["pending_acks"] == 0
        assert len(deadlines_of(the_loop())) == 1  # the heartbeat's

    run(main)


def test_an_acknowledgement_may_hold_bytes() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        call = asyncio.create_task(socket.call("question", b"x"))
        assert await client.heard() == ['51-0["question",{"_placeholder":true,"num":0}]', b"x"]
        client.send('61-0[{"_placeholder":true,"num":0},2]', b"y")
        assert await call == (b"y", 2)

    run(main)


def test_s15_an_acknowledgement_nobody_awaits_is_ignored() -> None:
    async def main() -> None:
        io = telex.Server()
        io.of("/other")
        client, socket = await join(io)
        await client.connect("/other")
        other, _ = await join(io)
        answers: list[Any] = []
        socket.emit("question", callback=lambda *values: answers.append(values))
        await client.heard()
        client.send("399[]", "3/other,0[1]")
        other.send("30[2]")
        assert answers == []
        client.send("30[3]", "30[4]", "30[5]")
        assert answers == [(3,)]
        await settle()
        assert not client.is_closed
        assert not other.is_closed

    run(main)


def test_s16_call_gives_up_in_time_and_what_comes_late_is_ignored() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        for call, seconds in [
            (socket.call("q", timeout=5), 5),
            (socket.timeout(2).call("q"), 2),
            (socket.timeout(100).call("q", timeout=3), 3),
            (socket.call("q"), 60),
        ]:
            task = asyncio.create_task(call)
            await advance(seconds - 0.1)
            assert not task.done()
            await advance(0.2)
            with pytest.raises(telex.AckTimeout, match=f"within {seconds} s") as caught:
                await task
            assert (caught.value.timeout, caught.value.responses) == (seconds, [])
        await client.heard()
        client.send(*[f"3{n}[]" for n in range(4)])
        assert not client.is_closed
        assert socket.statistics()["pending_acks"] == 0

    run(main)


def test_a_cancelled_call_leaves_nothing_behind() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        task = asyncio.create_task(socket.call("q"))
        await settle()
        task.cancel()
        await settle()
        assert socket.statistics()["pending_acks"] == 0
        client.send("30[]")
        assert not client.is_closed

    run(main)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda client, socket: client.leave(), "transport close"),
        (lambda client, socket: client.send("1"), "client namespace disconnect"),
        (lambda client, socket: socket.disconnect(), "server namespace disconnect"),
    ],
)
def test_call_tells_why_the_client_left(end: Any, reason: str) -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io)
        answers: list[Any] = []
        socket.emit("q", callback=answers.append)
        task = asyncio.create_task(socket.call("q"))
        await settle()
        end(client, socket)
        with pytest.raises(telex.Disconnected) as caught:
            await task
        assert caught.value.reason == reason
        assert answers == []
        assert socket.statistics()["pending_acks"] == 0

    run(main)


def test_an_answer_and_a_goodbye_in_one_go() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        task = asyncio.create_task(socket.call("q"))
        await settle()
        client.send('30["yes"]', "1")
        assert await task == "yes"

    run(main)


def test_an_answer_and_a_cancellation_in_one_turn() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        task = asyncio.create_task(socket.call("q", timeout=1))
        await settle()
        task.cancel()
        client.send("30[]")  # the call has not heard of its cancellation yet
        with pytest.raises(asyncio.CancelledError):
            await task
        assert socket.statistics()["pending_acks"] == 0

    run(main)


def test_a_callback_gets_the_values() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        answers: list[Any] = []

        async def later(*values: Any) -> None:
            await asyncio.sleep(0)
            answers.append(values)

        socket.emit("q", callback=lambda *values: answers.append(values))
        socket.emit("q", callback=later)
        socket.volatile.compress(False).emit("q", callback=later)
        client.send("30[]", '31[1,"b"]', "32[2]")
        await settle()
        assert answers == [(), (1, "b"), (2,)]

    run(main)


def test_a_callback_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        socket.emit("question", callback=lambda: None)
        client.send("30[1,2,3]", '2["e"]')
        await settle()
        assert not client.is_closed

    run(main)
    (record,) = caplog.records
    assert "the acknowledgement of question" in record.getMessage()


def test_a_callback_has_as_long_as_timeout_says() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        answers: list[Any] = []
        socket.timeout(5).emit("q", callback=answers.append)
        socket.timeout(5).emit("q", callback=answers.append)
        socket.emit("q", callback=answers.append)
        client.send("30[0]")
        await advance(5)
        assert socket.statistics()["pending_acks"] == 1
        client.send("31[1]", "32[2]")
        assert answers == [0, 2]
        socket.timeout(5).emit("q", callback=answers.append)
        client.leave()
        assert len(deadlines_of(the_loop())) == 0

    run(main)


def test_max_pending_acks_s17() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(max_pending_acks=2))
        client, socket = await join(io)
        for _ in range(2):
            socket.emit("q", callback=print)
        await client.heard()
        with pytest.raises(telex.TooManyAcks):
            socket.emit("q", callback=print)
        with pytest.raises(telex.TooManyAcks):
            await socket.call("q")
        assert await client.heard() == []
        socket.emit("not asking")
        assert socket.statistics()["pending_acks"] == 2
        client.send("30[]")
        socket.emit("q", callback=print)

    run(main)


# Acknowledgements of ours.


@pytest.mark.parametrize(
    ("result", "answer"),
    [
        (None, "[]"),
        ("delivered", '["delivered"]'),
        (0, "[0]"),
        (("a", 2), '["a",2]'),
        ((), "[]"),
        ([1, 2], "[[1,2]]"),
        ({"a": None}, '[{"a":null}]'),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_handler_returns_is_the_acknowledgement(result: Any, answer: str, is_async: bool) -> None:
    async def main() -> None:
        io = telex.Server()

        async def slow(socket: telex.Socket) -> Any:
            await asyncio.sleep(0)
            return result

        io.on("ask", slow if is_async else lambda socket: result)
        client, _ = await join(io)
        client.emit("ask")
        client.emit("ask", ack_id=0)
        client.emit("ask", ack_id=2**53 - 1)
        assert await client.heard() == [f"30{answer}", f"3{2**53 - 1}{answer}"]

    run(main)


def test_an_acknowledgement_with_bytes() -> None:
    async def main() -> None:
        io = telex.Server()
        io.on("ask", lambda socket, data: data[::-1])
        client, _ = await join(io)
        client.send('51-7["ask",{"_placeholder":true,"num":0}]', b"abc")
        assert await client.heard() == ['61-7[{"_placeholder":true,"num":0}]', b"cba"]

    run(main)


def test_s40_an_acknowledgement_that_cannot_be_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        io.on("ask", lambda socket: object())
        io.on("fail", lambda socket: 1 / 0)
        io.on("fine", lambda socket: "fine")
        client, _ = await join(io)
        for event in ("ask", "fail", "fine"):
            client.emit(event, ack_id=1)
        assert await client.heard() == ['31["fine"]']

    run(main)
    assert [record.getMessage() for record in caplog.records] == [
        "the handler for 'ask' failed",
        "the handler for 'fail' failed",
    ]


def test_an_acknowledgement_after_the_client_left_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        gate = asyncio.Event()
        io.on("ask", lambda socket: gate.wait())
        client, _ = await join(io)
        client.emit("ask", ack_id=1)
        client.send("1")
        gate.set()
        assert await client.heard() == []

    run(main)
    assert caplog.records == []


# Handlers, through the whole floor.


def test_events_of_one_socket_are_handled_in_order_and_others_pass() -> None:
    async def main() -> None:
        io = telex.Server()
        seen: list[Any] = []
        gate = asyncio.Event()

        @io.on("slow")
        async def slow(socket: telex.Socket, n: int) -> None:
            await gate.wait()
            seen.append(n)

        io.on("quick", lambda socket, n: seen.append(n))
        io.on("aside", lambda socket, n: seen.append(n), concurrent=True)
        client, _ = await join(io)
        other, _ = await join(io)
        client.emit("slow", 1)
        client.emit("quick", 2)
        client.emit("aside", 3)
        other.emit("quick", 4)
        await settle()
        assert seen == [3, 4]
        gate.set()
        await settle()
        assert seen == [3, 4, 1, 2]

    run(main)


def test_handlers_of_several_clients_may_await_one_future() -> None:
    async def main() -> None:
        io = telex.Server()
        ready = asyncio.get_running_loop().create_future()

        async def handler(socket: telex.Socket) -> Any:
            return await ready

        io.on("ask", handler)
        (first, socket), (second, _), (third, _) = [await join(io) for _ in range(3)]
        clients = (first, second, third)
        task = asyncio.create_task(handler(socket))
        for client in clients * 2:  # all in one turn of the loop
            client.emit("ask", ack_id=1)
        await settle()
        ready.set_result("ready")
        assert [await client.heard() for client in clients] == [['31["ready"]'] * 2] * 3
        assert await task == "ready"

    run(main)


def test_the_ends_handlers_wait_for_their_turn() -> None:
    async def main() -> None:
        io = telex.Server()
        seen: list[str] = []
        gate = asyncio.Event()

        @io.on("connect")
        async def connect(socket: telex.Socket) -> None:
            await gate.wait()
            seen.append("connect")

        io.on("e", lambda socket: seen.append("e"))
        io.on("disconnect", lambda socket: seen.append("disconnect"))
        client, _ = await join(io)
        client.emit("e")
        client.leave()
        assert seen == []
        gate.set()
        await settle()
        assert seen == ["connect", "e", "disconnect"]

    run(main)


@pytest.mark.parametrize("end", ["leave", "disconnect", "close", "goodbye"])
def test_events_that_wait_are_dropped_when_the_server_sends_the_client_off(end: str) -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "plain", "disconnect")
        gate = asyncio.Event()

        @io.on("slow")
        async def slow(socket: telex.Socket) -> None:
            await gate.wait()
            if end in ("disconnect", "close"):
                socket.disconnect(close=end == "close")

        @io.on("beside", concurrent=True)
        async def beside(socket: telex.Socket) -> None:
            calls.append(("beside",))

        client, socket = await join(io)
        client.send('2["slow"]', '2["plain",1]')
        await settle()
        if end == "leave":
            client.leave()
        elif end == "goodbye":
            client.send('2["beside"]')
            socket.disconnect()  # the concurrent one has run already
        gate.set()
        await settle()
        expected = {"leave": ["plain", "disconnect"], "goodbye": ["beside", "disconnect"]}
        assert [name for name, *_ in calls] == expected.get(end, ["disconnect"])
        assert socket.statistics()["queued_events"] == 0

    run(main)


@pytest.mark.parametrize("is_slow", [False, True])
def test_a_catch_all_that_disconnects_keeps_the_event_from_its_handler(is_slow: bool) -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "evil", "good", "disconnect")

        def guard(socket: telex.Socket, event: str, *args: Any) -> None:
            if event == "evil":
                socket.disconnect()

        async def slow_guard(socket: telex.Socket, event: str, *args: Any) -> None:
            await asyncio.sleep(0)
            guard(socket, event, *args)

        io.on_any(slow_guard if is_slow else guard)
        client, _ = await join(io)
        client.send('2["good"]', '2["evil"]', '2["good"]')
        await settle()
        assert calls == [("good",), ("disconnect", "server namespace disconnect")]

    run(main)


def test_surplus_arguments_are_cut_and_missing_ones_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []
        io.on("two", lambda socket, a, b=None: calls.append((a, b)))
        client, _ = await join(io)
        for args in ([], [1], [1, 2], [1, 2, 3], []):
            client.emit("two", *args, ack_id=1)
        assert calls == [(1, None), (1, 2), (1, 2)]
        assert len(await client.heard()) == 3  # who asked in vain gets no answer
        io.on("none", lambda socket: calls.append("none"))
        io.on("rest", lambda socket, *args: calls.append(args))
        client.emit("none", 1)
        client.emit("rest", 1, 2)
        assert calls[3:] == ["none", (1, 2)]

    run(main)
    (record,) = caplog.records
    assert "an event 'two' came with 0 arguments, fewer than its handler needs" in record.getMessage()


def test_an_event_nobody_handles_is_nothing() -> None:
    async def main() -> None:
        client, _ = await join(telex.Server())
        client.emit("unknown", ack_id=1)
        assert await client.heard() == []
        assert not client.is_closed

    run(main)


def test_sockets_carry_the_programs_data() -> None:
    async def main() -> None:
        io = telex.Server()
        io.on("name", lambda socket, name: socket.data.update(name=name))
        io.on("who", lambda socket: socket.data.get("name"))
        client, socket = await join(io)
        other, _ = await join(io)
        client.emit("name", "ann")
        client.emit("who", ack_id=1)
        other.emit("who", ack_id=1)
        assert await client.heard() == ['31["ann"]']
        assert await other.heard() == ["31[]"]
        assert socket.data == {"name": "ann"}
        assert not socket.recovered

    run(main)


def test_all_sockets_of_a_client_share_its_session() -> None:
    async def main() -> None:
        io = telex.Server()
        io.of("/other")
        client, socket = await join(io)
        other = io.of("/other").sockets[await client.connect("/other")]
        assert socket.conn is other.conn is io.engine.sessions[socket.conn.sid]
        assert (socket.conn.protocol, socket.conn.transport.name) == (4, "websocket")
        assert socket.conn.sid not in (socket.id, other.id)

    run(main)


# Backpressure: a handler that lags.


def test_recv_queue_high() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(recv_queue_high=4))
        gate = asyncio.Event()
        done: list[int] = []

        @io.on("slow")
        async def slow(socket: telex.Socket, n: int) -> None:
            await gate.wait()
            done.append(n)

        client, socket = await join(io)
        client.emit("slow", -1)
        await settle()
        for n in range(4):
            client.emit("slow", n)
        assert not client.line.is_paused
        assert socket.statistics()["queued_events"] == 4
        for n in range(4, 100):
            client.emit("slow", n)
        assert client.line.is_paused
        assert client.n_unsaid == 95
        gate.set()
        await settle()
        assert done == list(range(-1, 100))
        assert not client.line.is_paused

    run(main)


def test_recv_queue_high_bytes() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(recv_queue_high_bytes=1000))
        gate = asyncio.Event()
        io.on("slow", lambda socket, data: gate.wait())
        client, _ = await join(io)
        client.emit("slow", "x" * 5000)
        await settle()
        client.send('51-["slow",{"_placeholder":true,"num":0}]', b"x" * (1000 - 41))
        assert not client.line.is_paused
        client.emit("slow", "")
        assert client.line.is_paused
        gate.set()
        await settle()
        assert not client.line.is_paused

    run(main)


def test_recv_queue_high_bytes_counts_the_bytes_of_text() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(recv_queue_high_bytes=1000))
        gate = asyncio.Event()
        io.on("slow", lambda socket, data: gate.wait())
        client, _ = await join(io)
        client.emit("slow", "")
        await settle()
        client.send(f'2["slow","{chr(0x1F600) * 240}"]')  # four bytes each
        assert not client.line.is_paused
        client.send(f'2["slow","{chr(0x1F600) * 10}"]')
        assert client.line.is_paused
        gate.set()
        await settle()
        assert not client.line.is_paused

    run(main)


def test_one_lagging_namespace_pauses_the_connection_until_it_is_left() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(recv_queue_high=1))
        io.of("/slow").on("e", lambda socket: asyncio.Event().wait())
        calls = note(io, "e")
        client, _ = await join(io)
        sid = await client.connect("/slow")
        client.send(*['2/slow,["e"]'] * 4)
        await settle()
        assert client.line.is_paused
        client.emit("e")
        assert calls == []
        io.of("/slow").sockets[sid].disconnect()
        await settle()
        assert not client.line.is_paused
        assert calls == [("e",)]
        assert not client.is_closed

    run(main)


def test_two_lagging_namespaces_must_both_catch_up() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(recv_queue_high=1))
        gates = {"/a": asyncio.Event(), "/b": asyncio.Event()}
        for name in gates:
            io.of(name).on("e", lambda socket: gates[socket.nsp.name].wait())
        client = await open_client(io)
        await client.connect("/a")
        await client.connect("/b")
        client.send('2/a,["e"]', '2/b,["e"]')
        await settle()
        client.transport.message_received('42/a,["e"]')
        client.transport.message_received('42/b,["e"]')
        client.transport.message_received('42/a,["e"]')
        client.transport.message_received('42/b,["e"]')
        assert client.line.is_paused
        gates["/a"].set()
        await settle()
        assert client.line.is_paused
        gates["/b"].set()
        await settle()
        assert not client.line.is_paused

    run(main)


def test_a_handler_that_lags_for_minutes_is_no_fault_of_its_client() -> None:
    async def main() -> None:
        io = telex.Server(ping_interval=25, ping_timeout=20, limits=telex.Limits(recv_queue_high=2))
        gate = asyncio.Event()
        io.on("slow", lambda socket: gate.wait())
        reasons: list[str] = []
        io.on("disconnect", lambda socket, reason: reasons.append(reason))
        client, _ = await join(io)
        for _ in range(10):
            client.emit("slow")
        await advance(200)  # its answers to the heartbeat lie unread behind its events
        assert client.line.is_paused
        assert client.n_unsaid > 1
        gate.set()
        await advance(300)
        assert client.n_unsaid == 0
        assert not client.is_closed
        client.answers_pings = False
        await advance(45)
        assert reasons == ["ping timeout"]

    run(main)


def test_a_handler_that_asks_its_client_while_the_queue_is_full_gets_its_answer() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(recv_queue_high=4))
        answers: list[Any] = []
        gate = asyncio.Event()

        @io.on("ask me")
        async def ask_me(socket: telex.Socket) -> None:
            await gate.wait()
            answers.append(await socket.call("question"))

        io.on("e", lambda socket: answers.append("e"))
        client, socket = await join(io)
        client.emit("ask me")
        for _ in range(20):
            client.emit("e")
        client.send(
            '30["answer"]'
        )  # the client answers a question before it is asked: the queue decides when it is heard
        assert client.line.is_paused
        assert client.n_unsaid > 1
        gate.set()
        await settle()
        assert answers == ["answer", *["e"] * 20]
        assert not client.line.is_paused
        assert socket.statistics()["queued_events"] == 0

    run(main)


# Backpressure: a client that takes too little.


def test_awaiting_emit_waits_for_room() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=1000))
        client, socket = await join(io)
        client.hold()
        await socket.emit("e", "x" * 900)
        assert socket.has_room
        sent = socket.emit("e", "x" * 900)
        assert not socket.has_room
        assert socket.statistics()["buffered_bytes"] > 1800
        waiters = [asyncio.ensure_future(wait(sent)) for _ in range(3)]
        await settle()
        assert not any(waiter.done() for waiter in waiters)
        waiters[0].cancel()  # only that waiting ends
        await settle()
        client.take()
        await settle()
        assert [waiter.done() for waiter in waiters] == [True, True, True]
        assert len(client.messages) == 2

    async def wait(sent: telex.Sent) -> None:
        await sent

    run(main)


@pytest.mark.parametrize("end", ["leave", "disconnect", "namespace"])
def test_awaiting_emit_ends_with_the_client(end: str) -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=1000))
        io.of("/other")
        client, socket = await join(io)
        await client.connect("/other")
        other = next(iter(io.of("/other").sockets.values()))
        client.hold()
        await settle()
        waiter = asyncio.create_task(wait(socket.emit("e", "x" * 2000)))
        stays = asyncio.create_task(wait(other.emit("e")))
        await settle()
        match end:
            case "leave":
                client.leave()
            case "disconnect":
                socket.disconnect()
            case _:
                client.send("1")
        await settle()
        assert waiter.done()
        assert stays.done() is (end == "leave")
        client.take()
        await stays

    async def wait(sent: telex.Sent) -> None:
        await sent

    run(main)


def test_volatile_is_dropped_when_it_cannot_leave_at_once() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=1000))
        client, socket = await join(io)
        answers: list[Any] = []
        client.hold()
        socket.emit("e", "x" * 2000)
        socket.volatile.emit("dropped", b"with", b"attachments")
        socket.volatile.emit("dropped", callback=answers.append)
        io.volatile.emit("dropped")
        assert socket.statistics()["pending_acks"] == 0
        with pytest.raises(telex.AckTimeout, match="within 0 s"):  # at once
            await socket.volatile.call("dropped", timeout=1)
        assert socket.statistics()["pending_acks"] == 0
        client.take()
        await client.heard()
        socket.volatile.emit("taken")
        assert await client.heard() == ['2["taken"]']

    run(main)


def test_send_buffer_max() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=1000, send_buffer_max=10_000))
        calls = note(io, "disconnect")
        client, socket = await join(io)
        client.hold()
        while io.engine.sessions and socket.statistics()["buffered_bytes"] < 9_000:
            socket.emit("e", "x" * 500)
        assert calls == []
        for _ in range(3):
            socket.emit("e", "x" * 500)
        await settle()
        assert calls == [("disconnect", "slow consumer")]
        assert client.is_closed
        assert not socket.connected

    run(main)


def test_slow_consumer_timeout() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=1000, slow_consumer_timeout=5))
        calls = note(io, "disconnect")
        client, socket = await join(io)
        client.hold()
        socket.emit("e", "x" * 2000)
        await advance(4.9)
        assert calls == []
        await advance(0.2)
        assert calls == [("disconnect", "slow consumer")]
        assert len(deadlines_of(the_loop())) == 0

    run(main)


def test_disconnecting_a_client_that_takes_nothing_happens_once() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=10, send_buffer_max=50))
        calls = note(io, "disconnecting", "disconnect")
        client, socket = await join(io)
        client.hold()
        socket.emit("e", "x" * 40)
        socket.disconnect()  # the goodbye itself is one message too many
        await settle()
        assert client.is_closed
        assert calls == [(name, "server namespace disconnect") for name in ("disconnecting", "disconnect")]

    run(main)
