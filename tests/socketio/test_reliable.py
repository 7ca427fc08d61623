"""Reliable events from clients: one run of the handler for each event, and the same answer to each retry."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from typing import Any

import pytest

import telex
from tests.socketio.harness import Client, advance, join, open_client, run, settle

CLIENT_ID = "qLrm3MFUx2EnvUx9JYj1-w"


def user(socket: telex.Socket) -> str:
    name: str = socket.handshake.auth.get("user", "")
    return name


def by_id(order: dict[str, Any]) -> Any:
    return order["id"]


BY_USER = telex.Dedup(key=by_id, scope=user)


async def answers(client: Client) -> list[Any]:
    """Return the acknowledgements that have come: id, then values."""
    found = []
    for message in await client.heard():
        assert isinstance(message, str)
        assert message[0] == "3", message
        number, bracket, rest = message[1:].partition("[")
        found.append([int(number), *json.loads(bracket + rest)])
    return found


async def agree(io: telex.Server, nsp: str = "/", client_id: str = CLIENT_ID, **auth: Any) -> Client:
    """Be a client that knows the extension."""
    client = await open_client(io)
    await client.connect(nsp, {**auth, "$telex": {"version": 1, "client": client_id}})
    return client


def numbered(number: Any) -> dict[str, Any]:
    return {"$telex": {"id": number}}


# With an argument that the application names.


def test_a_retry_gets_the_first_answer() -> None:
    async def main() -> None:
        io = telex.Server()
        placed: list[Any] = []

        @io.on("order", dedup=BY_USER)
        async def order(socket: telex.Socket, order: dict[str, Any]) -> tuple[str, int]:
            await asyncio.sleep(0)
            placed.append(order)
            return "placed", len(placed)

        client, _ = await join(io, auth={"user": "ada"})
        client.emit("order", {"id": "a1"}, ack_id=0)
        client.emit("order", {"id": "a1"}, ack_id=1)
        client.emit("order", {"id": "a2"}, ack_id=2)
        client.emit("order", {"id": "a1"})
        assert await answers(client) == [[0, "placed", 1], [1, "placed", 1], [2, "placed", 2]]
        assert placed == [{"id": "a1"}, {"id": "a2"}]

    run(main)


def test_a_retry_after_a_reconnect_gets_the_first_answer_but_not_another_users() -> None:
    async def main() -> None:
        io = telex.Server()
        placed: list[str] = []

        @io.on("order", dedup=BY_USER)
        def order(socket: telex.Socket, order: dict[str, Any]) -> int:
            placed.append(user(socket))
            return len(placed)

        first, _ = await join(io, auth={"user": "ada"})
        first.emit("order", {"id": 1}, ack_id=0)
        first.leave()
        again, _ = await join(io, auth={"user": "ada"})
        again.emit("order", {"id": 1}, ack_id=5)
        assert await answers(again) == [[5, 1]]
        other, _ = await join(io, auth={"user": "bob"})
        other.emit("order", {"id": 1}, ack_id=5)
        assert await answers(other) == [[5, 2]]
        assert placed == ["ada", "bob"]

    run(main)


def test_a_retry_that_comes_while_the_first_runs_waits_for_it() -> None:
    async def main() -> None:
        io = telex.Server()
        gates = [asyncio.Event(), asyncio.Event()]
        runs = 0

        @io.on("order", dedup=BY_USER)
        async def order(socket: telex.Socket, order: dict[str, Any]) -> str:
            nonlocal runs
            runs += 1
            await gates[runs - 1].wait()
            return f"run {runs}"

        first, _ = await join(io, auth={"user": "ada"})
        first.emit("order", {"id": 1}, ack_id=0)
        first.leave()
        second, _ = await join(io, auth={"user": "ada"})
        second.emit("order", {"id": 1}, ack_id=1)
        third, _ = await join(io, auth={"user": "ada"})
        third.emit("order", {"id": 1}, ack_id=2)
        assert await answers(second) == []
        gates[0].set()
        assert await answers(second) == [[1, "run 1"]]
        assert await answers(third) == [[2, "run 1"]]
        assert runs == 1

    run(main)


def test_a_failure_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        runs = 0
        gate = asyncio.Event()

        @io.on("order", dedup=BY_USER)
        async def order(socket: telex.Socket, order: dict[str, Any]) -> str:
            nonlocal runs
            runs += 1
            if runs == 1:
                await gate.wait()
                raise RuntimeError("the database is down")
            return "placed"

        client, _ = await join(io)
        client.emit("order", {"id": 1}, ack_id=0)
        other, _ = await join(io)
        other.emit("order", {"id": 1}, ack_id=1)  # it waits, and then does it itself
        await settle()
        gate.set()
        assert await answers(other) == [[1, "placed"]]
        assert await answers(client) == []
        client.emit("order", {"id": 1}, ack_id=2)
        assert await answers(client) == [[2, "placed"]]
        assert runs == 2
        assert "the database is down" in caplog.text

    run(main)


def test_a_cancelled_handler_leaves_no_outcome() -> None:
    async def main() -> None:
        io = telex.Server()
        tasks: list[asyncio.Task[Any] | None] = []

        @io.on("order", dedup=BY_USER)
        async def order(socket: telex.Socket, order: dict[str, Any]) -> str:
            tasks.append(asyncio.current_task())
            if len(tasks) == 1:
                await asyncio.Event().wait()
            return "placed"

        client, _ = await join(io)
        client.emit("order", {"id": 1}, ack_id=0)
        await settle()
        assert tasks[0] is not None
        tasks[0].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[0]
        client.emit("order", {"id": 1}, ack_id=1)
        assert await answers(client) == [[1, "placed"]]

    run(main)


def test_after_the_window_the_handler_runs_again() -> None:
    async def main() -> None:
        io = telex.Server()
        runs: list[int] = []
        dedup = telex.Dedup(key=lambda number: number, scope=None, window=10)
        io.on("n", lambda socket, number: runs.append(number), dedup=dedup)
        client, _ = await join(io)
        client.emit("n", 1)
        await advance(9)
        client.emit("n", 1)
        await advance(2)
        client.emit("n", 1)
        await settle()
        assert runs == [1, 1]

    run(main)


def test_an_event_without_an_id_runs_each_time() -> None:
    async def main() -> None:
        io = telex.Server()
        ids: list[str | None] = []
        dedup = telex.Dedup(key=lambda *args: args[0] if args else None, scope=None)
        io.on("n", lambda socket, *args: ids.append(telex.event_id()), dedup=dedup)
        client, _ = await join(io)
        client.emit("n")
        client.emit("n")
        client.emit("n", "a")
        await settle()
        assert ids == [None, None, '["/","n","","a"]']

    run(main)


@pytest.mark.parametrize("bad", [{}, {"id": []}, {"id": {"a": 1}}, {"id": True}, {"id": 1.5}, {"id": "x" * 257}])
def test_a_bad_id_is_an_error_of_that_event_alone(bad: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        io.on("order", lambda socket, order: "placed", dedup=BY_USER)
        client, _ = await join(io)
        client.emit("order", bad, ack_id=0)
        client.emit("order", {"id": 1}, ack_id=1)
        assert await answers(client) == [[1, "placed"]]
        assert "the handler for 'order' failed" in caplog.text

    run(main)


def test_each_handler_has_ids_of_its_own() -> None:
    async def main() -> None:
        io = telex.Server()
        dedup = telex.Dedup(key=lambda number: number, scope=None)
        ids: list[str | None] = []

        def handler(socket: telex.Socket, number: int) -> None:
            ids.append(telex.event_id())

        for namespace in (io.of("/"), io.of("/shop")):
            namespace.on("a", handler, dedup=dedup)
            namespace.on("b", handler, dedup=dedup)
        for nsp in ("/", "/shop"):
            client, _ = await join(io, nsp)
            for event in ("a", "b", "a"):
                client.emit(event, 1, nsp=nsp)
        await settle()
        assert ids == ['["/","a","",1]', '["/","b","",1]', '["/shop","a","",1]', '["/shop","b","",1]']
        assert telex.event_id() is None

    run(main)


def test_a_blocking_handler_knows_its_event_too() -> None:
    async def main() -> None:
        io = telex.Server()
        seen: list[tuple[str | None, bool]] = []

        def handler(socket: telex.Socket, number: int) -> str:
            seen.append((telex.event_id(), threading.current_thread() is threading.main_thread()))
            return "done"

        io.on("n", handler, thread=True, dedup=telex.Dedup(key=lambda number: number, scope=None))
        client, _ = await join(io)
        client.emit("n", 7, ack_id=0)
        client.emit("n", 7, ack_id=1)
        assert await client.receive() == '30["done"]'
        assert await client.receive() == '31["done"]'
        assert seen == [('["/","n","",7]', False)]

    run(main)


def test_concurrent_handlers_run_once_too() -> None:
    async def main() -> None:
        io = telex.Server()
        gate = asyncio.Event()
        ids: list[str | None] = []

        @io.on("n", concurrent=True, dedup=telex.Dedup(key=lambda number: number, scope=None))
        async def handler(socket: telex.Socket, number: int) -> int:
            await gate.wait()
            ids.append(telex.event_id())
            return number

        client, _ = await join(io)
        for ack_id, number in enumerate([1, 2, 1]):
            client.emit("n", number, ack_id=ack_id)
        await settle()
        gate.set()
        assert sorted(await answers(client)) == [[0, 1], [1, 2], [2, 1]]
        assert ids == ['["/","n","",1]', '["/","n","",2]']

    run(main)


def test_who_pushes_outcomes_out_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        io.on("n", lambda socket, number: None, dedup=telex.Dedup(key=lambda n: n, scope=None, max_per_scope=2))
        client, _ = await join(io)
        with caplog.at_level(logging.WARNING, "telex.socketio"):
            for number in range(5):
                client.emit("n", number)
            await settle()
        assert caplog.text.count("a late retry may run the handler again") == 1

    run(main)


def test_what_cannot_be_registered() -> None:
    io = telex.Server()
    for event in ("connect", "connection", "disconnect", "*"):
        with pytest.raises(ValueError, match="cannot come again"):
            io.on(event, lambda socket, *args: None, dedup=BY_USER)
    with pytest.raises(TypeError, match=r"telex\.Dedup"):
        io.on("order", lambda socket: None, dedup=True)  # type: ignore[arg-type]


def test_too_few_arguments_are_no_event() -> None:
    async def main() -> None:
        io = telex.Server()
        runs: list[Any] = []
        io.on("n", lambda socket, a, b: runs.append((a, b)), dedup=telex.Dedup(key=lambda a, b: a, scope=None))
        client, _ = await join(io)
        client.emit("n", 1)
        client.emit("n", 1, 2, 3)
        await settle()
        assert runs == [(1, 2)]

    run(main)


# With ids that were agreed.


def test_the_answer_agrees_only_with_who_asked() -> None:
    async def main() -> None:
        io = telex.Server()
        for said, agreed in [
            ({"version": 1, "client": CLIENT_ID}, True),
            ({"version": 7, "client": CLIENT_ID, "more": 1}, True),
            ({"version": 0, "client": CLIENT_ID}, False),
            ({"version": True, "client": CLIENT_ID}, False),
            ({"version": 1, "client": "short"}, False),
            ({"version": 1, "client": "x" * 65}, False),
            ({"version": 1, "client": "é" * 20}, False),
            ({"version": 1, "client": 5}, False),
            ({"version": 1}, False),
            ({}, False),
            (None, False),
            ([], False),
        ]:
            client = await open_client(io)
            client.send("0" + json.dumps({"user": "ada", "$telex": said}))
            answer = json.loads(str(await client.receive())[1:])
            assert answer.get("$telex") == ({"version": 1, "offsets": False} if agreed else None)
            # The client's id is a secret of its own.
            assert io.sockets.sockets[answer["sid"]].handshake.auth == {"user": "ada"}

    run(main)


def test_a_retry_with_an_agreed_number_runs_once() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []

        @io.on("order", dedup=telex.Dedup(scope=user))
        async def order(socket: telex.Socket, *args: Any) -> int:
            await asyncio.sleep(0)
            calls.append((args, telex.event_id()))
            return len(calls)

        client = await agree(io, user="ada")
        client.emit("order", "tea", numbered(0), ack_id=0)
        client.emit("order", "tea", numbered(0), ack_id=1)
        client.emit("order", "tea", ack_id=2)  # no reliable one: nothing to know it by
        client.leave()
        back = await agree(io, user="ada")
        back.emit("order", "tea", numbered(0), ack_id=3)
        back.emit("order", "milk", numbered(1), ack_id=4)
        assert await answers(back) == [[3, 1], [4, 3]]
        name = f'["/","order","ada","{CLIENT_ID}:%d"]'
        assert calls == [(("tea",), name % 0), (("tea",), None), (("milk",), name % 1)]
        another = await agree(io, client_id="x" * 16, user="ada")
        another.emit("order", "tea", numbered(0), ack_id=0)
        assert await answers(another) == [[0, 4]]

    run(main)


def test_the_applications_id_wins_over_the_agreed_one() -> None:
    async def main() -> None:
        io = telex.Server()
        ids: list[str | None] = []
        io.on("order", lambda socket, order: ids.append(telex.event_id()), dedup=BY_USER)
        client = await agree(io)
        client.emit("order", {"id": 1}, numbered(0))
        client.emit("order", {"id": 1}, numbered(1))
        await settle()
        assert ids == ['["/","order","",1]']

    run(main)


def test_without_dedup_the_number_is_taken_out_and_the_id_at_hand() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []
        ids: list[str | None] = []

        @io.on("plain")
        def plain(socket: telex.Socket, *args: Any) -> None:
            calls.append(args)
            ids.append(telex.event_id())

        @io.on("coroutine")
        async def coroutine(socket: telex.Socket, *args: Any) -> None:
            await asyncio.sleep(0)
            calls.append(args)
            ids.append(telex.event_id())

        client = await agree(io)
        client.emit("plain", "a", numbered(5))
        client.emit("coroutine", "b", numbered(6))
        client.emit("coroutine", "c")
        client.emit("plain", "d")
        await settle()
        assert calls == [("a",), ("b",), ("c",), ("d",)]
        assert ids == [f'["/","plain","","{CLIENT_ID}:5"]', f'["/","coroutine","","{CLIENT_ID}:6"]', None, None]

    run(main)


def test_catch_alls_see_no_number() -> None:
    async def main() -> None:
        io = telex.Server()
        seen: list[Any] = []
        io.on_any(lambda socket, event, *args: seen.append((event, args)))
        client = await agree(io)
        client.emit("anything", 1, numbered(0))
        await settle()
        assert seen == [("anything", (1,))]

    run(main)


@pytest.mark.parametrize(
    "last",
    [
        {"$telex": {"id": -1}},
        {"$telex": {"id": 2**53}},
        {"$telex": {"id": True}},
        {"$telex": {"id": "1"}},
        {"$telex": {"id": 1, "more": 1}},
        {"$telex": {"id": 1}, "more": 1},
        {"$telex": 1},
        {"id": 1},
        {},
    ],
)
def test_what_is_no_number_stays_an_argument(last: dict[str, Any]) -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []
        io.on("n", lambda socket, *args: calls.append(args))
        client = await agree(io)
        client.emit("n", last)
        await settle()
        assert calls == [(last,)]

    run(main)


def test_of_a_client_that_has_not_agreed_every_argument_is_its_own() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []
        io.on("n", lambda socket, *args: calls.append((args, telex.event_id())), dedup=telex.Dedup(scope=None))
        client, _ = await join(io)
        client.emit("n", numbered(1))
        client.emit("n", numbered(1))
        await settle()
        assert calls == [((numbered(1),), None)] * 2

    run(main)


def test_agreed_numbers_and_recovery_go_together() -> None:
    async def main() -> None:
        io = telex.Server(connection_state_recovery=True)
        runs: list[Any] = []
        io.on("n", lambda socket: runs.append(socket.id), dedup=telex.Dedup(scope=None))
        said: dict[str, Any] = {"$telex": {"version": 1, "client": CLIENT_ID}}
        for _ in range(2):
            client = await open_client(io)
            client.send("0" + json.dumps(said))
            answer = json.loads(str(await client.receive())[1:])
            assert answer["$telex"] == {"version": 1, "offsets": True}
            said["pid"] = answer["pid"]
            client.emit("n", numbered(0))
            await settle()
            client.leave(is_clean=False)
        assert runs == [answer["sid"]]

    run(main)
