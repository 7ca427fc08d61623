"""One client's connection: who is let in, what packet reaches whom, and every way it ends."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import telex
from telex.streams import deadlines_of
from telex.types import Data
from tests.socketio.harness import Client, advance, head, join, note, open_client, run, settle, the_loop

RIGHT_SID_LENGTH = 20


# Joining a namespace.


def test_a_client_joins_with_what_it_says_of_itself() -> None:
    async def main() -> None:
        io = telex.Server()
        auths: list[Any] = []
        io.on("connect", lambda socket, auth: auths.append(auth))
        client, socket = await join(io, auth={"token": "é"})
        assert auths == [{"token": "é"}]
        assert socket.connected
        assert len(socket.id) == RIGHT_SID_LENGTH
        assert socket.id not in io.engine.sessions
        assert io.sockets.sockets == {socket.id: socket}
        handshake = socket.handshake
        assert handshake.auth == {"token": "é"}
        assert handshake.address == "192.0.2.7"
        assert handshake.url == "/socket.io/?EIO=4&transport=websocket"
        assert handshake.query == {"EIO": "4", "transport": "websocket"}
        assert handshake.headers["host"] == "example.org"
        assert handshake.scope == {"type": "websocket"}
        assert (handshake.secure, handshake.xdomain) == (False, False)
        assert handshake.time.tzinfo is not None
        assert repr(socket) == f"<Socket {socket.id} in / connected>"
        client.leave()
        assert repr(socket) == f"<Socket {socket.id} in / disconnected>"

    run(main)


def test_a_client_without_auth_says_nothing() -> None:
    async def main() -> None:
        _, socket = await join(telex.Server())
        assert socket.handshake.auth == {}

    run(main)


def test_s03_an_unknown_namespace_is_refused_and_the_connection_stays() -> None:
    async def main() -> None:
        io = telex.Server()
        client = await open_client(io)
        for name in ("/unknown", "/?query", "/%2f", "/a b\x00", "/*", "/" + "n" * 255):
            client.send(f"0{name},")
            assert await client.receive() == f'4{name},{{"message":"Invalid namespace"}}'
        await client.connect()
        assert not client.is_closed

    run(main)


def test_one_connection_has_a_socket_in_each_namespace() -> None:
    async def main() -> None:
        io = telex.Server()
        io.of("/admin").on("where", lambda socket: socket.nsp.name)
        io.on("where", lambda socket: socket.nsp.name)
        client = await open_client(io)
        first, second = await client.connect(), await client.connect("/admin")
        assert first != second
        client.emit("where", nsp="/admin", ack_id=1)
        client.emit("where", ack_id=1)
        assert await client.heard() == ['3/admin,1["/admin"]', '31["/"]']
        client.send("1/admin,")
        assert io.of("/admin").sockets == {}
        client.emit("where", ack_id=2)
        assert await client.heard() == ['32["/"]']
        assert await client.connect("/admin") not in (first, second)

    run(main)


def test_max_namespaces_per_connection() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(max_namespaces_per_connection=3))
        for n in range(4):
            io.of(f"/{n}")
        client = await open_client(io)
        for n in range(3):
            await client.connect(f"/{n}")
        client.send("1/0,")
        await client.connect("/0")
        assert not client.is_closed
        client.send("0/3,")
        await settle()
        assert client.is_closed

    run(main)


def test_a_hundred_namespaces_by_default() -> None:
    async def main() -> None:
        io = telex.Server()
        for n in range(101):
            io.of(f"/{n}")
        client = await open_client(io)
        for n in range(100):
            await client.connect(f"/{n}")
        assert io.statistics().items() >= {"sessions": 1, "namespaces": 102, "sockets": 100}.items()
        client.send("0/100,")
        await settle()
        assert client.is_closed
        assert io.statistics().items() >= {"sessions": 0, "namespaces": 102, "sockets": 0}.items()

    run(main)


def test_max_connects_per_minute_s04() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(max_connects_per_minute=6))
        client = await open_client(io)
        for _ in range(3):
            await client.connect()
            client.send("1")
        for _ in range(2):
            client.send("0/unknown,")
        await advance(10)
        await client.heard()
        await client.connect()
        await advance(0)
        assert not client.is_closed
        client.send("1", "0")
        assert len(await client.heard()) == 1
        client.send("1", "0")
        await settle()
        assert client.is_closed

    run(main)


# What ends the connection: whatever no client that keeps to the protocol says.

CASES: dict[str, tuple[Data, ...]] = {
    "s07-auth-array": ("0[]",),
    "s07-auth-text": ('0"token"',),
    "s07-auth-number": ("01",),
    "s07-auth-1-mb": ('0{"a":"' + "x" * 900_000 + '"}',),
    "s08-second-connect": ("0",),
    "s05-no-leading-slash": ("0admin,",),
    "s05-too-long": ("0/" + "n" * 900_000,),
    "s09-event": ('2/admin,["e"]',),
    "s09-event-unknown": ('2/unknown,["e"]',),
    "s09-ack": ("3/admin,1[]",),
    "s09-disconnect": ("1/admin,",),
    "s10-none": ("2",),
    "s10-object": ("2{}",),
    "s10-empty": ("2[]",),
    "s10-null": ("2[null]",),
    "s10-nested-object": ("2[{}]",),
    "s10-nested-array": ("2[[]]",),
    "s10-true": ("2[true]",),
    **{
        f"s11-{name}": (f'2["{name}"]',)
        for name in ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
    },
    "s11-binary": ('51-["disconnect",{"_placeholder":true,"num":0}]', b"x"),
    "s13-name-1-mb": ('2["' + "x" * 900_000 + '"]',),
    "s14-17-digits": ('212345678901234567["e"]',),
    "s14-10000-digits": ("2" + "1" * 10_000 + '["e"]',),
    "s14-too-large": ('29007199254740992["e"]',),
    "s14-leading-zero": ('200["e"]',),
    "s14-negative": ('2-1["e"]',),
    "s14-fraction": ('21.5["e"]',),
    "s14-superscript": ('2²["e"]',),
    "s14-arabic": ('2٣["e"]',),
    "s14-space": ('2 1["e"]',),
    "s15-no-id": ("3[]",),
    "s18-x": ('5x-["e"]',),
    "s18-empty": ('5-["e"]',),
    "s18-negative": ('5-1-["e"]',),
    "s18-fraction": ('51.0-["e"]',),
    "s18-exponent": ('51e3-["e"]',),
    "s18-11-digits": ('512345678901-["e"]',),
    "s18-over-the-cap": ('5101-["e"]',),
    "s19-binary-after-zero": ('50-["e"]', b"x"),
    "s20-stray": (b"x",),
    "s21-text": ('51-["e"]', '2["e"]'),
    "s23-bytes": ('5100-["e"]', *[b"x" * 900_000] * 12),
    "s24-not-joined": ('51-/admin,["e"]',),
    "s26-placeholder": ('51-["e",{"_placeholder":true,"num":1}]', b"x"),
    "s30-depth": ('2["e",' + "[" * 100_000 + "]" * 100_000 + "]",),
    "s31-wide": ('2["e"' + ",[]" * 300_000 + "]",),
    "s32-digits": ('2["e",' + "9" * 900_000 + "]",),
    "s32-infinite": ('2["e",1e999]',),
    "s32-nan": ('2["e",NaN]',),
    "s35-truncated": ('2["e"',),
    "s35-garbage": ('2["e"]x',),
    "s35-bom": ('2\ufeff["e"]',),
    "s37-7": ("7",),
    "s37-9": ("9[]",),
    "s37-a": ("a",),
    "s37-empty": ("",),
    "s38-connect-error": ('4{"message":"no"}',),
    "s38-connect-error-text": ('4"no"',),
    "s38-disconnect-with-data": ('1["e"]',),
}


@pytest.mark.parametrize("messages", CASES.values(), ids=CASES.keys())
def test_catalogue(messages: tuple[Data, ...], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def main() -> None:
        io = telex.Server()
        io.of("/admin")
        calls = note(io, "disconnecting", "disconnect", "next")
        io.on_any(lambda socket, event, *args: calls.append(("any", event)))  # S52
        client, socket = await join(io)
        client.send(*messages, '2["next"]')
        await settle()
        assert client.is_closed
        assert not socket.connected
        assert [call for call in calls if call != ("any", "e")] == [
            ("disconnecting", "forced close"),
            ("disconnect", "forced close"),
        ]
        assert io.engine.sessions == {}
        assert len(deadlines_of(the_loop())) == 0

    run(main)
    assert caplog.records == []  # a peer's fault is worth an "info"


@pytest.mark.parametrize(
    "message",
    ['2["e"]', "30[]", "1", "1/unknown,", '51-["e"]', '50-["e"]', "4{}", b"x", "7", "61-0[]", '2/unknown,["e"]'],
)
def test_s01_s24_the_first_packet_is_a_connect(message: Data) -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "e", "connect", "disconnect")
        client = await open_client(io)
        client.send(message)
        await settle()
        assert client.is_closed
        assert calls == []
        assert len(deadlines_of(the_loop())) == 0

    run(main)


@pytest.mark.parametrize(
    "name", ["__class__", "__init__", "on_connect", "_private", "*", "%s", "{0}", "error", "ping", ""]
)
def test_s12_r09_a_name_from_the_wire_is_a_key_and_nothing_else(name: str, caplog: pytest.LogCaptureFixture) -> None:
    called: list[str] = []

    class Orders(telex.Namespace):
        def on_connect(self, socket: telex.Socket) -> None:
            called.append("connect")

        def _private(self, socket: telex.Socket) -> None:
            called.append("private")

    async def main() -> None:
        io = telex.Server()
        orders = io.register(Orders("/orders"))
        client, socket = await join(io, "/orders")
        assert called == ["connect"]
        client.emit(name, "%s", nsp="/orders", ack_id=0)
        assert await client.heard() == []
        assert not client.is_closed
        caught: list[Any] = []
        orders.on("*", lambda socket, event, *args: caught.append((event, *args)))
        client.emit(name, "%s", nsp="/orders")
        assert caught == [(name, "%s")]
        assert called == ["connect"]
        assert socket.connected

    run(main)
    assert caplog.records == []


@pytest.mark.parametrize("name", ["connection", "connect"])
def test_r10_no_client_calls_the_handler_of_a_connection(name: str) -> None:
    async def main() -> None:
        io = telex.Server()
        connected: list[Any] = []
        io.on(name, connected.append)
        client, socket = await join(io)
        client.emit("connection")
        await settle()
        assert connected == [socket]
        assert not client.is_closed

    run(main)


def test_s13_a_numeric_event_name_is_a_key() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "7", "1.5")
        client, _ = await join(io)
        client.send("2[7,1]", "2[7.0,2]", "2[1.5,3]", '2["7",4]')
        assert calls == [("7", 1), ("7", 2), ("1.5", 3), ("7", 4)]

    run(main)


def test_max_events_per_second_s39() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(max_events_per_second=10))
        calls = note(io, "e")
        client, _ = await join(io)
        client.send(*['2["e"]'] * 10)
        await advance(0.1)
        client.send('2["e"]')
        assert not client.is_closed
        client.send('2["e"]', '2["e"]')
        await settle()
        assert client.is_closed
        assert len(calls) == 11

    run(main)


def test_less_than_one_event_per_second() -> None:
    async def main() -> None:
        client, _ = await join(telex.Server(limits=telex.Limits(max_events_per_second=0.1)))
        client.emit("e")
        await advance(10)
        client.emit("e")
        assert not client.is_closed
        client.emit("e")
        await settle()
        assert client.is_closed

    run(main)


# Middleware.


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_middlewares_run_in_order_before_the_answer(kind: str) -> None:
    async def main() -> None:
        io = telex.Server()
        seen: list[Any] = []
        gate = asyncio.Event()

        def first(socket: telex.Socket) -> None:
            seen.append(("first", socket.handshake.auth, socket.connected))
            socket.data["name"] = "ann"

        @io.use
        async def second(socket: telex.Socket) -> None:
            await gate.wait()
            seen.append(("second", socket.data["name"]))

        if kind == "plain":
            io.sockets.middlewares.clear()
            io.use(first)
        else:
            io.sockets.middlewares.insert(0, first)
        calls = note(io, "connect")
        client = await open_client(io)
        client.send('0{"a":1}')
        await settle()
        if kind == "coroutine":
            assert not client.messages
            assert calls == []
            assert io.sockets.sockets == {}
            gate.set()
        assert len(await client.heard()) == 1
        assert seen[0] == ("first", {"a": 1}, False)
        assert seen[1:] == ([] if kind == "plain" else [("second", "ann")])
        assert calls == [("connect", {"a": 1})]

    run(main)


REFUSALS: list[tuple[Callable[[], BaseException], str]] = [
    (telex.ConnectRefused, '{"message":"Connection refused"}'),
    (lambda: telex.ConnectRefused("not authorized"), '{"message":"not authorized"}'),
    (
        lambda: telex.ConnectRefused("no", data={"retry": False}),
        '{"message":"no","data":{"retry":false}}',
    ),
    (lambda: telex.ConnectRefused("no", data=0), '{"message":"no","data":0}'),
    (lambda: ConnectionRefusedError("no"), '{"message":"no"}'),
    (lambda: ConnectionRefusedError("no", {"retry": False}), '{"message":"no","data":{"retry":false}}'),
    (ConnectionRefusedError, '{"message":"Connection refused"}'),
]


@pytest.mark.parametrize(("make", "payload"), REFUSALS)
def test_a_refusal_is_told(make: Callable[[], BaseException], payload: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        admin = io.of("/admin")
        calls = note(admin, "connect", "disconnecting", "disconnect", "never")
        gone: list[weakref.ref[telex.Socket]] = []

        @admin.use
        async def only_staff(socket: telex.Socket) -> None:
            gone.append(weakref.ref(socket))
            socket.join("room")
            raise make()

        @admin.use
        def never(socket: telex.Socket) -> None:
            calls.append(("never",))

        client = await open_client(io)
        for _ in range(2):  # a client may try again
            client.send("0/admin,")
            assert await client.receive() == f"4/admin,{payload}"
        assert not client.is_closed
        assert calls == []
        gc.collect()
        assert [ref() for ref in gone] == [None, None]
        assert admin.select(frozenset({"room"}), frozenset()) == []
        await client.connect()

    run(main)
    assert caplog.records == []


FAILURES: list[Callable[[], BaseException]] = [
    lambda: RuntimeError("password=secret"),
    lambda: ConnectionRefusedError(111, "Connect call failed ('10.0.0.5', 5432)"),
    lambda: asyncio.CancelledError("secret"),
    lambda: telex.ConnectRefused("secret", data=object()),
    lambda: telex.ConnectRefused("secret\ud800"),
    lambda: telex.ConnectRefused("secret", data=b"bytes"),
]


@pytest.mark.parametrize("make", FAILURES)
@pytest.mark.parametrize("is_async", [False, True])
def test_s41_a_failure_tells_the_client_nothing(
    make: Callable[[], BaseException], is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(socket: telex.Socket) -> None:
        raise make()

    async def fail_later(socket: telex.Socket) -> None:
        await asyncio.sleep(0)
        raise make()

    async def main() -> None:
        io = telex.Server()
        io.use(fail_later if is_async else fail)
        client = await open_client(io)
        client.send("0")
        assert await client.receive() == '4{"message":"Internal server error"}'
        assert not client.is_closed

    run(main)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("outcome", ["accepts", "refuses", "fails"])
def test_a_client_that_leaves_meanwhile_was_never_there(outcome: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server()
        gate = asyncio.Event()
        calls = note(io, "connect", "disconnecting", "disconnect")

        @io.use
        async def slow(socket: telex.Socket) -> None:
            socket.join("room")
            await gate.wait()
            socket.join("another")
            socket.emit("nobody hears")
            assert not socket.connected
            assert socket.rooms == set()
            if outcome != "accepts":
                raise (telex.ConnectRefused("no") if outcome == "refuses" else RuntimeError)

        client = await open_client(io)
        client.send("0")
        await settle()
        client.leave()
        gate.set()
        await settle()
        assert calls == []
        assert not client.messages
        assert len(io.sockets.rooms) == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)
    assert len(caplog.records) == (outcome == "fails")


@pytest.mark.parametrize("message", ['2["e"]', "1", "30[]", '51-["e"]'])
def test_nothing_is_said_before_the_answer(message: str) -> None:
    async def main() -> None:
        io = telex.Server()
        io.use(lambda socket: asyncio.Event().wait())  # type: ignore[arg-type, return-value]
        client = await open_client(io)
        client.send("0")
        await settle()
        client.send(message)
        await settle()
        assert client.is_closed

    run(main)


def test_a_second_connect_takes_the_place_of_one_that_is_not_answered_yet() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "connect", "disconnect")
        gates: list[asyncio.Future[None]] = []

        @io.use
        async def gate(socket: telex.Socket) -> None:
            gates.append(asyncio.get_running_loop().create_future())
            await gates[-1]

        client = await open_client(io)
        client.send('0{"n":1}')
        await settle()
        client.send('0{"n":2}')
        await settle()
        client.send('0{"n":3}')
        await settle()
        gates[0].set_result(None)
        gates[1].set_exception(telex.ConnectRefused("no"))
        assert await client.heard() == []
        assert calls == []
        gates[2].set_result(None)
        (answer,) = await client.heard()
        (sid,) = io.sockets.sockets
        assert answer == f'0{{"sid":"{sid}"}}'
        assert calls == [("connect", {"n": 3})]
        client.send("0")
        await settle()
        assert client.is_closed  # a second one to a namespace that is joined

    run(main)


def test_a_middleware_may_join_rooms_and_speak() -> None:
    async def main() -> None:
        io = telex.Server()
        answers: list[Any] = []

        @io.use
        async def welcome(socket: telex.Socket) -> None:
            socket.join("members")
            assert socket.rooms == {socket.id, "members"}
            io.to("members").emit("not for those who are not in yet")
            socket.emit("early", 1, callback=answers.append)
            socket.disconnect()
            socket.disconnect(close=True)  # not connected: neither does anything
            with pytest.raises(telex.Disconnected, match="not connected yet"):
                await socket.call("deadlock")

        client = await open_client(io)
        client.send("0")
        early, accepted = await client.heard()
        assert early == '20["early",1]'
        assert isinstance(accepted, str)
        assert accepted.startswith('0{"sid":')
        client.send('30["yes"]')
        assert answers == ["yes"]
        io.to("members").emit("now")
        assert await client.heard() == ['2["now"]']

    run(main)


def test_a_refused_client_owes_nothing() -> None:
    async def main() -> None:
        io = telex.Server()
        answers: list[Any] = []

        @io.use
        def refuse(socket: telex.Socket) -> None:
            socket.timeout(5).emit("early", callback=answers.append)
            raise telex.ConnectRefused

        client = await open_client(io)
        client.send("0")
        assert len(await client.heard()) == 2
        assert len(deadlines_of(the_loop())) == 2  # the heartbeat's, and the first namespace's
        await advance(10)
        assert answers == []

    run(main)


def test_two_namespaces_are_joined_at_their_own_speed() -> None:
    async def main() -> None:
        io = telex.Server()
        gate = asyncio.Event()
        io.of("/slow").use(lambda socket: gate.wait())  # type: ignore[arg-type, return-value]
        client = await open_client(io)
        client.send("0/slow,", "0")
        (answer,) = await client.heard()
        assert str(answer).startswith('0{"sid"')
        gate.set()
        (answer,) = await client.heard()
        assert str(answer).startswith('0/slow,{"sid"')

    run(main)


def test_a_middleware_registered_meanwhile_is_for_the_next() -> None:
    async def main() -> None:
        io = telex.Server()

        @io.use
        def grow(socket: telex.Socket) -> None:
            if len(io.sockets.middlewares) > 2:
                raise AssertionError("ran on and on")
            io.use(grow)

        await join(io)

    run(main)


# Deadlines.


def test_connect_timeout_s02() -> None:
    async def main() -> None:
        io = telex.Server(connect_timeout=10)
        patient, quick, refused = [await open_client(io) for _ in range(3)]
        refused.send("0/unknown,")
        await advance(9.9)
        await quick.connect()
        assert not patient.is_closed
        await advance(0.2)
        assert patient.is_closed
        assert refused.is_closed
        assert not quick.is_closed
        await advance(100)
        assert not quick.is_closed

    run(main)


def test_connect_timeout_ends_a_middleware_that_hangs() -> None:
    async def main() -> None:
        io = telex.Server(connect_timeout=10)
        io.use(lambda socket: asyncio.Event().wait())  # type: ignore[arg-type, return-value]
        client = await open_client(io)
        client.send("0")
        await advance(10)
        assert client.is_closed

    run(main)


def test_a_client_that_left_all_namespaces_may_come_back() -> None:
    async def main() -> None:
        io = telex.Server(connect_timeout=10)
        client, _ = await join(io)
        client.send("1")
        await advance(100)
        await client.connect()
        assert not client.is_closed

    run(main)


def test_attachment_timeout_s22() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(attachment_timeout=5))
        calls = note(io, "e", "disconnect")
        client, _ = await join(io)
        client.send('52-["e"]', b"1")
        await advance(4.9)
        client.send(b"2")
        assert calls == [("e",)]
        await advance(60)
        assert not client.is_closed
        client.send('52-["e"]')
        await advance(4)
        client.send(b"1")  # one more does not buy more time
        await advance(0.9)
        assert not client.is_closed
        await advance(0.2)
        assert client.is_closed
        assert calls[1:] == [("disconnect", "forced close")]
        assert len(deadlines_of(the_loop())) == 0

    run(main)


def test_s22_another_namespace_takes_no_deadline_away() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(attachment_timeout=5))
        gate = asyncio.Event()
        io.of("/slow").use(lambda socket: gate.wait())  # type: ignore[arg-type, return-value]
        client, _ = await join(io)
        client.send("0/slow,", '51-["e"]')
        await settle()
        gate.set()
        await settle()
        assert len(client.messages) == 1
        await advance(5)
        assert client.is_closed

    run(main)


# Ends.


def test_a_client_leaves_one_namespace() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []

        @io.on("disconnecting")
        def leaving(socket: telex.Socket, reason: telex.DisconnectReason) -> None:
            calls.append(("disconnecting", reason, sorted(socket.rooms - {socket.id}), socket.connected))

        @io.on("disconnect")
        def gone(socket: telex.Socket, reason: telex.DisconnectReason) -> None:
            calls.append(("disconnect", reason, sorted(socket.rooms), socket.connected))

        client, socket = await join(io)
        socket.join(["a", "b"])
        client.send("1")
        reason = telex.DisconnectReason.CLIENT_NAMESPACE_DISCONNECT
        assert calls == [("disconnecting", reason, ["a", "b"], False), ("disconnect", reason, [], False)]
        assert await client.heard() == []
        assert not client.is_closed

    run(main)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda client: client.leave(), "transport close"),
        (lambda client: client.leave(is_clean=False), "transport error"),
        (lambda client: client.transport.message_received("1"), "transport close"),
        (lambda client: client.transport.message_received("x"), "parse error"),
        (lambda client: client.transport.message_received("2"), "transport error"),
        (lambda client: client.send("1/"), "client namespace disconnect"),
        (lambda client: client.send("x"), "forced close"),
    ],
)
def test_every_socket_of_a_connection_hears_why(end: Callable[[Client], None], reason: str) -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "disconnecting", "disconnect")
        others = note(io.of("/admin"), "disconnecting", "disconnect")
        client, _ = await join(io)
        await client.connect("/admin")
        end(client)
        await settle()
        both = [("disconnecting", reason), ("disconnect", reason)]
        assert calls == both
        assert others == ([] if "namespace" in reason else both)
        assert all(isinstance(call[1], telex.DisconnectReason) for call in calls)

    run(main)


def test_a_client_that_does_not_answer_the_heartbeat() -> None:
    async def main() -> None:
        io = telex.Server(ping_interval=10, ping_timeout=5)
        calls = note(io, "disconnect")
        client, _ = await join(io)
        await advance(100)
        assert calls == []
        client.answers_pings = False
        await advance(15)
        assert calls == [("disconnect", "ping timeout")]

    run(main)


def test_packets_on_their_way_when_the_server_said_goodbye_are_ignored() -> None:
    async def main() -> None:
        io = telex.Server()
        admin = io.of("/admin")
        calls = note(admin, "e", "disconnect")
        client, _ = await join(io)
        sid = await client.connect("/admin")
        client.send('52-/admin,["e"]', b"1")
        admin.sockets[sid].disconnect()
        assert await client.heard() == ["1/admin,"]
        client.send(b"2", '2/admin,["e"]', "3/admin,5[]", '51-/admin,["e"]', b"3", "1/admin,")
        await advance(60)
        assert calls == [("disconnect", "server namespace disconnect")]
        assert not client.is_closed
        await client.connect("/admin")
        client.send('2/admin,["e"]')
        assert calls[1:] == [("e",)]
        client.send("1/admin,", '2/admin,["e"]')  # but what a client says after its own goodbye is a fault
        await settle()
        assert client.is_closed

    run(main)


def test_s25_attachments_still_to_come_keep_their_deadline_after_a_goodbye() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(attachment_timeout=5))
        client, socket = await join(io)
        client.send('52-["e"]', b"1")
        socket.disconnect()
        await advance(5)
        assert client.is_closed

    run(main)


def test_disconnect_with_close_sends_every_socket_off() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "disconnect")
        others = note(io.of("/admin"), "disconnect")
        client, socket = await join(io)
        await client.connect("/admin")
        socket.disconnect(close=True)
        assert await client.heard() == ["1", "1/admin,"]
        assert client.is_closed
        assert calls == others == [("disconnect", "server namespace disconnect")]
        socket.disconnect(close=True)
        socket.disconnect()
        assert await client.heard() == []

    run(main)


# Reentrancy.


def test_handlers_of_the_end_may_end_it_again() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[str] = []

        @io.on("disconnecting")
        def leaving(socket: telex.Socket) -> None:
            calls.append("disconnecting")
            socket.disconnect()
            socket.disconnect(close=True)
            socket.emit("to itself")
            socket.broadcast.emit("left", 1)
            io.emit("left", 2)

        @io.on("disconnect")
        def gone(socket: telex.Socket) -> None:
            calls.append("disconnect")
            socket.disconnect(close=True)
            socket.emit("to itself")
            socket.join("nowhere")
            io.emit("left", 3)

        client, _ = await join(io)
        other, _ = await join(io)
        client.send("1")
        assert calls == ["disconnecting", "disconnect"]
        assert await client.heard() == []
        assert not client.is_closed
        assert await other.heard() == ['2["left",1]', '2["left",2]', '2["left",3]']
        assert len(io.sockets.rooms) == 0

    run(main)


def test_one_socket_may_end_its_neighbours_while_ending() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[str] = []
        for name in ("/a", "/b", "/c"):

            @io.of(name).on("disconnect")
            def gone(socket: telex.Socket, reason: str) -> None:
                calls.append(f"{socket.nsp.name} {reason}")
                for namespace in list(io.namespaces.values()):
                    for neighbour in list(namespace.sockets.values()):
                        neighbour.disconnect()

        client = await open_client(io)
        for name in ("/a", "/b", "/c"):
            await client.connect(name)
        client.leave()
        assert calls[0] == "/a transport close"
        assert sorted(calls[1:]) == ["/b server namespace disconnect", "/c server namespace disconnect"]

    run(main)


def test_a_handler_may_disconnect_and_what_follows_is_ignored() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "after", "disconnect")

        @io.on("bye")
        def bye(socket: telex.Socket, close: bool) -> str:
            socket.disconnect(close)
            return "never told"

        client, _ = await join(io)
        client.send('21["bye",false]', '2["after"]')
        assert await client.heard() == ["1"]
        assert calls == [("disconnect", "server namespace disconnect")]
        await client.connect()
        client.send('21["bye",true]', '2["after"]')
        assert await client.heard() == ["1"]
        assert client.is_closed
        assert len(calls) == 2

    run(main)


def test_a_connect_handler_may_disconnect() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "disconnect")
        io.on("connect", lambda socket: socket.disconnect())
        client = await open_client(io)
        client.send("0")
        first, second = await client.heard()
        assert str(first).startswith('0{"sid"')
        assert second == "1"
        assert calls == [("disconnect", "server namespace disconnect")]

    run(main)


def false(socket: telex.Socket) -> bool:
    return False


async def slow_false(socket: telex.Socket) -> bool:
    await asyncio.sleep(0)
    return False


def refuse(socket: telex.Socket) -> None:
    raise telex.ConnectRefused("no")


async def slow_refuse(socket: telex.Socket) -> None:
    await asyncio.sleep(0)
    raise ConnectionRefusedError("no")


@pytest.mark.parametrize("function", [false, slow_false, refuse, slow_refuse, lambda *args: slow_refuse(args[0])])
def test_a_refusal_in_a_connect_handler_sends_the_client_off(
    function: Callable[[telex.Socket], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "secret", "disconnect")
        io.on("connect", function)
        client = await open_client(io)
        client.send("0", '21["secret"]')
        joined, *rest = await client.heard()
        assert str(joined).startswith('0{"sid"')
        assert rest == ["1"]
        assert calls == [("disconnect", "server namespace disconnect")]
        assert io.statistics()["sockets"] == 0

    run(main)
    (record,) = caplog.records
    assert "refuse in a middleware" in record.getMessage()


@pytest.mark.parametrize("result", [None, True, 0, ""])
def test_a_connect_handler_may_return_anything_else(result: Any) -> None:
    async def main() -> None:
        io = telex.Server()
        io.on("connect", lambda socket: result)
        _, socket = await join(io)
        assert socket.connected

    run(main)


def test_a_client_that_has_no_room_to_be_let_in_is_a_slow_consumer() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(send_buffer_high=10, send_buffer_max=990))
        calls = note(io, "connect", "disconnect")
        client = await open_client(io)
        client.hold()
        client.send(*["0/unknown,"] * 23)  # until there is hardly any room
        assert not client.is_closed
        client.send("0")
        await settle()
        assert client.is_closed
        assert calls == [("connect", {}), ("disconnect", "slow consumer")]

    run(main)


# What is left.


def collect() -> None:
    for _ in range(3):
        gc.collect()


@pytest.mark.parametrize(
    "end",
    ["leave", "error", "disconnect", "close", "forced", "half attachments", "server closes", "pending ack", "lagging"],
)
def test_r13_nothing_is_left(end: str) -> None:
    async def main() -> None:
        io = telex.Server()
        gate = asyncio.Event()
        io.on("slow", lambda socket: gate.wait())
        io.on("ask", lambda socket: socket.emit("question", callback=lambda *_: socket))
        refs: list[weakref.ref[Any]] = []

        async def conversation() -> None:
            client, socket = await join(io)
            socket.join(["a", "b"])
            socket.data["self"] = socket
            refs.append(weakref.ref(socket))
            client.emit("ask")
            match end:
                case "leave":
                    client.leave()
                case "error":
                    client.leave(is_clean=False)
                case "disconnect":
                    socket.disconnect()
                    client.leave()
                case "close":
                    socket.disconnect(close=True)
                case "forced":
                    client.send("x")
                case "half attachments":
                    client.send('52-["e"]', b"x" * 1000)
                    client.leave()
                case "server closes":
                    await io.close()
                case "pending ack":
                    call = asyncio.create_task(socket.call("question"))
                    await settle()
                    client.leave()
                    with pytest.raises(telex.Disconnected, match="transport close"):
                        await call
                case "lagging":
                    client.send(*['2["slow"]'] * 100)
                    await settle()
                    client.leave()
                    gate.set()
            await settle()

        for _ in range(3):
            await conversation()
        collect()
        assert [ref() for ref in refs] == [None] * 3
        assert io.statistics().items() >= {"sessions": 0, "namespaces": 1, "sockets": 0}.items()
        assert len(io.sockets.rooms) == 0
        assert len(deadlines_of(the_loop())) == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


# All packets in all states, against the plainest model there is.

NAMESPACES = ("/", "/a", "/gated", "/unknown")
NAMES = st.sampled_from(NAMESPACES)
PACKETS: dict[str, Callable[[str], tuple[Data, ...]]] = {
    "connect": lambda nsp: (f"0{head(nsp)}",),
    "disconnect": lambda nsp: (f"1{head(nsp)}",),
    "event": lambda nsp: (f'2{head(nsp)}["e"]',),
    "event asking": lambda nsp: (f'2{head(nsp)}0["e"]',),
    "reserved event": lambda nsp: (f'2{head(nsp)}["disconnect"]',),
    "ack": lambda nsp: (f"3{head(nsp)}7[]",),
    "connect error": lambda nsp: (f"4{head(nsp)}{{}}",),
    "binary event": lambda nsp: (f'51-{head(nsp)}["e",{{"_placeholder":true,"num":0}}]', b"x"),
    "binary ack": lambda nsp: (f'61-{head(nsp)}7[{{"_placeholder":true,"num":0}}]', b"x"),
    "stray": lambda nsp: (b"x",),
}
STEPS = st.lists(
    st.tuples(
        st.sampled_from([*PACKETS, *["connect"] * 6, "dismiss", "dismiss", "let in", "let in", "keep out"]), NAMES
    ),
    max_size=12,
)


class Model:
    """What a connection should be: the state of each namespace, `None` where nothing is known of one."""

    def __init__(self) -> None:
        self.states: dict[str, str | None] = dict.fromkeys(NAMESPACES)
        self.is_closed = False

    def take(self, what: str, nsp: str) -> None:
        state = self.states[nsp]
        match what, state:
            case "connect", None | "dismissed" | "connecting":
                self.states[nsp] = {"/unknown": None, "/gated": "connecting"}.get(nsp, "connected")
            case "disconnect", "connected":
                self.states[nsp] = None
            case (("event" | "event asking" | "ack" | "binary event" | "binary ack"), "connected"):
                pass
            case (("stray" | "reserved event" | "connect"), _):
                self.is_closed = True
            case _, "dismissed":
                pass
            case _:
                self.is_closed = True

    def act(self, what: str, nsp: str) -> None:
        if what == "dismiss":
            if self.states[nsp] == "connected":
                self.states[nsp] = "dismissed"
        elif self.states["/gated"] == "connecting":
            self.states["/gated"] = "connected" if what == "let in" else None


@given(STEPS)
def test_r11_every_packet_in_every_state(steps: list[tuple[str, str]]) -> None:
    async def main() -> None:
        io = telex.Server()
        io.of("/a")
        gates: list[asyncio.Future[None]] = []

        @io.of("/gated").use
        async def gate(socket: telex.Socket) -> None:
            gates.append(asyncio.get_running_loop().create_future())
            await gates[-1]

        client, model = await open_client(io), Model()
        for what, nsp in steps:
            if what in PACKETS:
                client.send(*PACKETS[what](nsp))
                model.take(what, nsp)
            else:
                model.act(what, nsp)
                if what == "dismiss":
                    for socket in [] if nsp == "/unknown" else list(io.of(nsp).sockets.values()):
                        socket.disconnect()
                elif gates:
                    waiting = gates.pop()
                    waiting.set_result(None) if what == "let in" else waiting.set_exception(telex.ConnectRefused())
            await settle()
            assert client.is_closed is model.is_closed
            if model.is_closed:
                assert io.statistics()["sockets"] == io.statistics()["sessions"] == 0
                return
            joined = {nsp for nsp, namespace in io.namespaces.items() if namespace.sockets}
            assert joined == {nsp for nsp, state in model.states.items() if state == "connected"}
        client.leave()

    run(main)


# Anything at all.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just({"_placeholder": True, "num": 0}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)
HEADS = st.sampled_from(["0", "1", "2", "20", "2/a,", "30", "4", "50-", "51-", "52-/a,1", "61-0", "6/a,", "0/a,", "2/"])
MESSAGES = st.builds(lambda start, value: start + json.dumps(value), HEADS, JSON) | HEADS | st.text(max_size=20)


@given(st.lists(MESSAGES | st.just('2["ask"]') | st.binary(max_size=5), max_size=12))
def test_r12_whatever_a_client_says_it_is_served_or_closed(messages: list[Data]) -> None:
    async def main() -> None:
        io = telex.Server()
        io.of("/a").on("*", lambda socket, event, *args: args)
        io.on("ask", lambda socket: socket.emit("question", callback=lambda *values: values))
        io.on("", lambda socket, *args: args)
        client, socket = await join(io)
        client.send(*messages)
        await settle()
        assert socket.connected is (socket.id in io.sockets.sockets)
        if not client.is_closed:
            client.leave()
        assert io.statistics()["sockets"] == io.statistics()["sessions"] == 0
        assert len(deadlines_of(the_loop())) == 0

    run(main)
