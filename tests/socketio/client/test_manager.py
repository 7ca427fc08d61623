"""The connection below clients: its life and its events, and servers that do wrong."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import telex
from telex import Client, ConnectError, Headers, Limits
from telex.socketio.client.states import Life
from telex.websocket import Connection, serve
from telex.websocket.handshake import Request, Response
from tests.serving.live import run, until
from tests.socketio.client.scene import FAST, HOST, OPEN, Peer, by_hand, cut, heard, own, told

WEBSOCKET: dict[str, Any] = {"transports": ["websocket"]}


async def admit(peer: Peer) -> None:
    await peer.admit()
    await peer.until_gone()


def test_its_events() -> None:
    async def main() -> None:
        io = telex.Server(ping_interval=0.02)
        sockets: list[telex.Socket] = []
        io.on("connect", sockets.append)
        seen: list[Any] = []
        async with own(io) as url:
            client = Client(url, **WEBSOCKET, **FAST)
            manager = client.manager
            assert manager is not None
            for name in ("open", "close", "reconnect_attempt", "reconnect", "reconnect_error", "error"):
                manager.on(name, lambda *args, name=name: seen.append((name, *args)))
            await told(manager, "ping")
            assert manager.is_open
            assert manager.transport == "websocket"
            cut(sockets[0])
            await heard(client, "connect")
            await told(manager, "ping")
            await client.aclose()
        reason = seen[1][1]
        assert reason in ("transport close", "transport error")
        assert seen == [
            ("open",),
            ("close", reason),
            ("reconnect_attempt", 1),
            ("open",),
            ("reconnect", 1),
            ("close", "io client disconnect"),
        ]
        assert manager.transport is None
        client = Client(url, reconnection_attempts=2, **WEBSOCKET, **FAST)
        manager = client.manager
        assert manager is not None
        seen.clear()
        for name in ("reconnect_attempt", "reconnect_error", "error"):
            manager.on(name, lambda *args, name=name: seen.append((name, type(args[0]))))
        manager.off("open")
        await told(manager, "reconnect_failed")
        assert seen == [
            ("error", ConnectError),
            ("reconnect_attempt", int),
            ("error", ConnectError),
            ("reconnect_error", ConnectError),
            ("reconnect_attempt", int),
            ("error", ConnectError),
            ("reconnect_error", ConnectError),
        ]
        assert manager.life is Life.CLOSED
        assert not client.active

    run(main)


def test_what_is_no_event_of_it() -> None:
    async def main() -> None:
        client = Client("http://127.0.0.1:1", **WEBSOCKET)
        manager = client.manager
        assert manager is not None
        with pytest.raises(ValueError, match="no event of a manager: open, error"):
            manager.on("connect", print)
        with pytest.raises(TypeError, match="takes 1 arguments, but gets 0"):
            manager.on("open", lambda what: None)

        @manager.on("close")
        def closed() -> None:
            pass

        manager.off("close", print)
        manager.off("close", closed)
        manager.off("close")
        client.disconnect()

    run(main)


def test_it_closes_with_its_last_client_whatever_it_does() -> None:
    async def main() -> None:
        async def silent(peer: Peer) -> None:
            await peer.until_gone()

        async with by_hand(silent) as url:
            for moment in ("at once", "opening", "open"):
                client = Client(url, force_new=True, **WEBSOCKET)
                manager = client.manager
                assert manager is not None
                if moment == "opening":
                    await asyncio.sleep(0)
                elif moment == "open":
                    await told(manager, "open")
                client.disconnect()
                assert manager.life is Life.CLOSED
                client.connect()  # and the other way round, in the same turn
                assert manager.life is Life.OPENING
                client.disconnect()
        client = Client(url, **WEBSOCKET)
        await heard(client, "connect_error")
        manager = client.manager
        assert manager is not None
        assert manager.life is Life.WAITING
        client.disconnect()
        assert manager.life is Life.CLOSED

    run(main)


def test_retry_after_is_honoured() -> None:
    async def main() -> None:
        times: list[float] = []
        loop = asyncio.get_running_loop()

        def refuse(request: Request) -> Response | None:
            times.append(loop.time())
            return Response(503, "Busy", Headers([("Retry-After", "1")])) if len(times) == 1 else None

        async def handle(ws: Connection) -> None:
            ws.send("0" + json.dumps(OPEN))
            await admit(Peer(ws))

        async with (
            serve(handle, HOST, 0, process_request=refuse) as server,
            telex.connect(f"http://{HOST}:{server.port}", retry=True, **WEBSOCKET, **FAST),
        ):
            assert times[1] - times[0] >= 1

    run(main)


# Servers that do wrong.

WRONG: dict[str, list[str | bytes]] = {
    "garbage": ["9"],
    "a second answer": ['0{"sid":"y"}'],
    "a refusal after the answer": ['4{"message":"no"}'],
    "a reserved event": ['2["connect"]'],
    "an event without a name": ["2[]"],
    "no JSON": ['2["a"'],
    "an attachment nobody announced": [b"x"],
    "an endless number of attachments": ['51000000000-["a"]'],
    "text in place of an attachment": ['51-["a",{"_placeholder":true,"num":0}]', '2["a"]'],
    "a placeholder of nothing": ['51-["a",{"_placeholder":true,"num":7}]', b"x"],
    "an acknowledgement without an id": ["3[]"],
    "a deep nest": ["2" + "[" * 2000 + "]" * 2000],
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_server_that_breaks_the_protocol_is_left(wrong: list[Any]) -> None:
    said: list[Any] = []

    async def break_it(peer: Peer) -> None:
        await peer.admit()
        peer.say(*wrong)
        said.extend(await peer.until_gone())

    async def main() -> None:
        async with by_hand(break_it, admit) as url:
            client = Client(url, **WEBSOCKET, **FAST)
            reasons: list[str] = []
            client.on("disconnect", reasons.append)
            await heard(client, "connect")
            await heard(client, "connect")
            assert reasons == ["parse error"]
            assert said == []
            await client.aclose()

    run(main)


@pytest.mark.parametrize(
    "answer",
    ["0", "0{}", '0{"sid":5}', '0{"sid":""}', '0{"sid":"%s"}' % ("x" * 300), "4", "0[]"],
)
def test_an_answer_that_is_none(answer: str) -> None:
    async def wrong(peer: Peer) -> None:
        await peer.hear()
        peer.say(answer)
        await peer.until_gone()

    async def main() -> None:
        async with by_hand(wrong, admit) as url:
            client = Client(url, **WEBSOCKET, **FAST)
            seen: list[Any] = []
            client.on("disconnect", seen.append)
            client.on("connect_error", seen.append)
            await heard(client, "connect")
            assert seen == []  # it was not connected before
            await client.aclose()

    run(main)


@pytest.mark.parametrize(
    ("packet", "message", "data"),
    [
        ('4{"message":"no","data":{"a":1}}', "no", {"a": 1}),
        ('4"no"', "no", None),
        ('4{"message":7}', "Connection refused", None),
        ("4{}", "Connection refused", None),
    ],
)
def test_refusals(packet: str, message: str, data: Any) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.hear()
        for _ in range(1000):
            peer.say(packet)
        await peer.until_gone()

    async def main() -> None:
        async with by_hand(refuse) as url:
            with pytest.raises(telex.ConnectRefused) as caught:
                await telex.connect(url, **WEBSOCKET)
            assert (caught.value.message, caught.value.data) == (message, data)

    run(main)


def test_a_server_that_never_answers_is_left() -> None:
    async def silent(peer: Peer) -> None:
        await peer.hear()
        await peer.until_gone()

    async def main() -> None:
        async with by_hand(silent, admit) as url:
            client = Client(url, timeout=0.2, **WEBSOCKET, **FAST)
            await heard(client, "connect")
            await client.aclose()

    run(main)


def test_attachments_that_never_come_are_not_awaited_for_ever() -> None:
    async def silent(peer: Peer) -> None:
        await peer.admit()
        peer.say('51-["a",{"_placeholder":true,"num":0}]')
        await peer.until_gone()

    async def main() -> None:
        async with by_hand(silent, admit) as url:
            client = Client(url, limits=Limits(attachment_timeout=0.05), **WEBSOCKET, **FAST)
            assert await heard(client, "disconnect") == ("parse error",)
            await heard(client, "connect")
            await client.aclose()

    run(main)


def test_packets_for_namespaces_that_nobody_is_in_are_nobody_s() -> None:
    async def chatty(peer: Peer) -> None:
        await peer.admit()
        for number in range(1000):
            peer.say(f'0/{number},{{"sid":"x"}}', f'2/{number},["a"]', f"1/{number},", f'4/{number},{{"message":"no"}}')
        peer.say('2["b"]')
        await peer.until_gone()

    async def main() -> None:
        async with by_hand(chatty) as url, telex.connect(url, **WEBSOCKET) as client:
            assert await client.receive() == ("b",)

    run(main)


def test_what_comes_after_the_client_has_left_is_nobody_s() -> None:
    async def deaf(peer: Peer) -> None:
        await peer.admit()
        assert await peer.admit('0/other,{"sid":"y"}') == "0/other,"
        peer.say('2/other,["a"]')
        assert await peer.hear() == "1/other,"
        peer.say('2/other,["late"]', '3/other,0["late"]', "1/other,", '2["b"]')
        await peer.until_gone()

    async def main() -> None:
        async with by_hand(deaf) as url, telex.connect(url, **WEBSOCKET) as client:
            other = await telex.connect(url + "/other", **WEBSOCKET)
            assert other.manager is client.manager
            await other.receive()
            other.disconnect()
            assert await client.receive() == ("b",)
            with pytest.raises(telex.Disconnected):
                await other.receive()

    run(main)


def test_a_server_that_admits_and_goes_does_not_make_the_client_spin() -> None:
    async def main() -> None:
        n = 0

        async def go(peer: Peer) -> None:
            nonlocal n
            n += 1
            if n > 5:
                await peer.until_gone()

        async with by_hand(go) as url:
            client = Client(url, reconnection_delay=0.001, reconnection_delay_max=0.02, **WEBSOCKET)
            manager = client.manager
            assert manager is not None
            await until(lambda: n == 6)
            assert manager._backoff is not None
            assert manager._backoff.n_attempts >= 5  # an open connection alone has not held
            await client.aclose()

    run(main)


def test_a_parser_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    class Bad:
        def encode(self, packet: telex.Packet) -> list[str]:
            if packet.type is telex.PacketType.DISCONNECT:
                raise RuntimeError("no")
            return list(map(str, telex.JsonParser().encode(packet)))

        def decoder(self, limits: Limits) -> Any:
            return telex.JsonParser().decoder(limits)

    async def main() -> None:
        async with by_hand(admit) as url, telex.connect(url, parser=Bad(), **WEBSOCKET) as client:
            client.emit("a")
            client.disconnect()
            assert client.reason in ("io client disconnect", "parse error")
            assert "could not write a packet of type DISCONNECT" in caplog.text

    run(main)
