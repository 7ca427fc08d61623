"""The long way of an event: middlewares of events, what they raise, and the order of everything on the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import telex
from tests.socketio.harness import join, note, run, settle


def test_a_middleware_sees_every_event_and_may_change_it() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "a", "b")
        client, socket = await join(io)
        other, _ = await join(io)

        @socket.use
        def double(who: telex.Socket, event: str, args: list[Any]) -> None:
            assert who is socket
            if event == "a":
                args[:] = [2 * args[0], "more"]

        @socket.use
        async def later(_: telex.Socket, event: str, args: list[Any]) -> None:
            await asyncio.sleep(0)
            args.append(event)

        client.emit("a", 4)
        client.emit("b")
        client.emit("no handler")
        await settle()
        other.emit("a", 1)
        assert calls == [("a", 8, "more", "a"), ("b", "b"), ("a", 1)]

    run(main)


def test_attachments_pass_too() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        socket.use(lambda _, event, args: args.append(event))
        socket.on("e", lambda _, *args: args)
        client.send('51-7["e",{"_placeholder":true,"num":0}]', b"bytes")
        assert await client.heard() == ['61-7[{"_placeholder":true,"num":0},"e"]', b"bytes"]

    run(main)


def test_the_order_of_everything() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[str] = []
        io.on_any(lambda *_: calls.append("catch-all of the namespace"))
        io.use_event(lambda *_: calls.append("middleware of the namespace"))
        io.on("e", lambda _: calls.append("handler of the namespace"))
        client, socket = await join(io)
        socket.on("e", lambda _: calls.append("own handler"))
        socket.use(lambda *_: calls.append("own middleware"))
        socket.on_any(lambda *_: calls.append("own catch-all"))
        client.emit("e")
        assert calls == [
            "catch-all of the namespace",
            "own catch-all",
            "middleware of the namespace",
            "own middleware",
            "handler of the namespace",
            "own handler",
        ]

    run(main)


def test_plain_middlewares_are_over_at_once() -> None:
    async def main() -> None:
        io = telex.Server()
        io.use_event(lambda *_: None)
        calls = note(io, "e")
        client, socket = await join(io)
        client.emit("e", 1)
        assert calls == [("e", 1)]
        assert socket.worker is None

    run(main)


def test_events_stay_in_order_while_a_middleware_waits() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []
        gate = asyncio.Event()
        client, _ = await join(io)

        @io.use_event
        async def first_waits(_: telex.Socket, event: str, args: list[Any]) -> None:
            if args == [1]:
                await gate.wait()
            calls.append(("seen", *args))

        @io.on("slow")
        async def slow(_: telex.Socket, n: int) -> None:
            await asyncio.sleep(0)
            calls.append(("handled", n))

        io.on("quick", lambda _, n: calls.append(("handled", n)))
        client.emit("slow", 1)
        client.emit("quick", 2)
        client.emit("slow", 3)
        await settle()
        assert calls == []
        gate.set()
        await settle()
        assert calls == [(what, n) for n in (1, 2, 3) for what in ("seen", "handled")]

    run(main)


def test_a_concurrent_handler_runs_beside_behind_a_middleware_too() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(max_inflight_handlers=2))
        gate = asyncio.Event()
        begun: list[int] = []
        client, _ = await join(io)
        io.use_event(lambda *_: None)

        @io.on("wait", concurrent=True)
        async def wait(_: telex.Socket, n: int) -> int:
            begun.append(n)
            await gate.wait()
            return n

        for n in range(4):
            client.emit("wait", n, ack_id=n)
        await settle()
        assert begun == [0, 1, 2]  # the third takes its turn, as there is no room beside
        gate.set()
        assert sorted(await client.heard()) == [f"3{n}[{n}]" for n in range(4)]

    run(main)


# What a middleware raises.


def test_an_event_that_is_refused_has_no_handler_and_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "e", "f")
        client, socket = await join(io)
        caplog.set_level("INFO")

        @socket.use
        def guard(_: telex.Socket, event: str, args: list[Any]) -> None:
            if event == "e":
                raise telex.EventRefused("not allowed", {"need": "admin"} if args else None)

        socket.use(lambda _, event, args: calls.append(("passed", event)))
        client.emit("e")
        client.emit("e", ack_id=1)
        client.emit("e", 1, ack_id=2)
        client.emit("f", ack_id=3)
        assert await client.heard() == [
            '31[{"error":{"message":"not allowed"}}]',
            '32[{"error":{"message":"not allowed","data":{"need":"admin"}}}]',
            "33[]",
        ]
        assert calls == [("passed", "f"), ("f",)]
        assert caplog.text.count(f"a middleware refused an event 'e' of {socket.id}: not allowed") == 3

    run(main)


def test_what_else_it_raises_tells_the_client_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "e")
        client, socket = await join(io)
        socket.use(lambda _, event, args: args[0] + 1)
        client.emit("e", "text", ack_id=1)
        client.emit("e", 1, ack_id=2)
        assert await client.heard() == ["32[]"]
        assert calls == [("e", 1)]
        assert "a middleware of the event 'e' failed" in caplog.text
        assert "TypeError" in caplog.text

    run(main)


def test_errors_go_to_the_sockets_own_function_else_to_the_namespaces(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        told: list[Any] = []
        client, socket = await join(io)

        @io.use_event
        async def refuse(_: telex.Socket, event: str, args: list[Any]) -> None:
            await asyncio.sleep(0)
            raise telex.EventRefused if event == "refused" else ValueError("broken")

        @io.on_middleware_error
        async def of_all(who: telex.Socket, error: Exception, event: str, args: list[Any]) -> None:
            await asyncio.sleep(0)
            told.append((who.id, str(error), event, args))

        client.emit("e", 1)
        client.emit("refused", ack_id=0)
        await settle()
        assert told == [(socket.id, "broken", "e", [1]), (socket.id, "Event refused", "refused", [])]
        assert await client.heard() == ['30[{"error":{"message":"Event refused"}}]']
        socket.on_middleware_error(lambda _, error: told.append(str(error)))
        client.emit("e")
        await settle()
        assert told[2:] == ["broken"]
        socket.on_middleware_error(lambda _: 1 // 0)
        client.emit("e")
        await settle()
        assert caplog.text.count("the handler for 'an error of a middleware' failed") == 1
        with pytest.raises(TypeError, match="gets 3"):
            io.on_middleware_error(lambda socket, error, event, args, more: None)

    run(main)


def test_an_answer_that_cannot_be_sent_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())

        @socket.use
        def refuse(_: telex.Socket, event: str, args: list[Any]) -> None:
            raise telex.EventRefused("no", object())

        client.emit("e", ack_id=1)
        assert await client.heard() == []
        assert "the refusal of an event cannot be sent" in caplog.text

    run(main)


def test_a_middleware_that_cancels_itself_stops_its_event_only(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "e")
        client, socket = await join(io)

        @socket.use
        async def cancel(_: telex.Socket, event: str, args: list[Any]) -> None:
            if args == [1]:
                raise asyncio.CancelledError

        client.emit("e", 1)
        client.emit("e", 2)
        await settle()
        assert calls == [("e", 2)]
        assert "a middleware of the event 'e' cancelled itself" in caplog.text

    run(main)


def test_who_cancels_a_waiting_middleware_does_not_mean_the_events_behind() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "e")
        client, socket = await join(io)

        @socket.use
        async def wait(_: telex.Socket, event: str, args: list[Any]) -> None:
            if args == [1]:
                await asyncio.get_running_loop().create_future()

        client.emit("e", 1)
        client.emit("e", 2)
        await settle()
        assert socket.worker is not None
        socket.worker.cancel()
        await settle()
        assert calls == [("e", 2)]

    run(main)


# Who has left.


def test_nothing_follows_when_a_middleware_sends_the_client_off() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "e", "disconnect")
        client, socket = await join(io)
        socket.use(lambda who, *_: who.disconnect())
        socket.use(lambda *_: calls.append(("second middleware",)))
        socket.on("e", lambda _: calls.append(("own",)))
        client.emit("e", ack_id=1)
        client.emit("e")
        assert await client.heard() == ["1"]
        assert calls == [("disconnect", "server namespace disconnect")]

    run(main)


@pytest.mark.parametrize("is_sent_off", [False, True])
def test_an_event_whose_middleware_waits_while_the_client_leaves(is_sent_off: bool) -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "e", "disconnect")
        gate = asyncio.Event()
        client, socket = await join(io)

        @socket.use
        async def wait(_: telex.Socket, event: str, args: list[Any]) -> None:
            await gate.wait()

        client.emit("e")
        await settle()
        if is_sent_off:
            socket.disconnect()
        else:
            client.send("1")
        gate.set()
        await settle()
        # What a client sent before it left is handled yet; what waits when the server sends it off is not.
        assert [event for event, *_ in calls] == (["disconnect"] if is_sent_off else ["e", "disconnect"])

    run(main)


def test_a_middleware_must_be_callable() -> None:
    with pytest.raises(TypeError, match="must be callable, not int"):
        telex.Server().use_event(7)  # type: ignore[type-var]
