"""The exchanges of the published protocols, one by one, over real connections that libraries of others made.

What the protocols' documents show and their test suites ask for is here as a test each. Times are the suites' own where
a test is about time (a ping each 0.3 s that must be answered within 0.2 s); else heartbeats are far away.

Source: Engine.IO protocol v4; Socket.IO protocol v5.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import websockets

import telex
from tests.serving.live import run, serving

QUICK: dict[str, Any] = {"ping_interval": 0.3, "ping_timeout": 0.2, "connect_timeout": 1.0}
CALM: dict[str, Any] = {"ping_interval": 60.0, "ping_timeout": 60.0, "connect_timeout": 60.0}


class Peer:
    """Both kinds of requests to one server."""

    def __init__(self, port: int, http: aiohttp.ClientSession) -> None:
        self.path = f"127.0.0.1:{port}/socket.io/"
        self._http = http

    async def ask(self, method: str, query: str, body: str | None = None) -> tuple[int, str]:
        """Make a request; return the status and the text of its answer."""
        async with self._http.request(method, f"http://{self.path}?{query}", data=body) as answer:
            return answer.status, await answer.text()

    async def open_polling(self) -> str:
        """Open a session; return the query that goes on with it."""
        status, text = await self.ask("GET", "EIO=4&transport=polling")
        assert status == 200
        return f"EIO=4&transport=polling&sid={json.loads(text[1:])['sid']}"

    async def poll(self, session: str) -> str:
        """Return what a session has to say."""
        status, text = await self.ask("GET", session)
        assert status == 200
        return text

    async def post(self, session: str, packets: str) -> None:
        """Say packets."""
        assert await self.ask("POST", session, packets) == (200, "ok")

    def websocket(self, query: str = "EIO=4&transport=websocket") -> websockets.connect:
        """Open a WebSocket."""
        return websockets.connect(f"ws://{self.path}?{query}", compression=None)

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[websockets.ClientConnection]:
        """Open a WebSocket and join "/"; what comes next is the server's "auth" event."""
        async with self.websocket() as ws:
            assert str(await ws.recv())[0] == "0"
            await ws.send("40")
            assert str(await ws.recv()).startswith('40{"sid":"')
            assert await ws.recv() == '42["auth",{}]'
            yield ws


def make_server(**options: Any) -> telex.Server:
    """Return the server that the protocol's documents test with: it says what it heard."""
    io = telex.Server(**options)

    def greet(socket: telex.Socket) -> None:
        socket.emit("auth", dict(socket.handshake.auth))

    def repeat(socket: telex.Socket, *args: Any) -> None:
        socket.emit("message-back", *args)

    def acknowledge(_: telex.Socket, *args: Any) -> Any:
        return args

    async def ask(socket: telex.Socket, *args: Any) -> None:
        socket.emit("emit-with-ack", *args, callback=lambda *values: socket.emit("emit-with-ack", *values))

    for namespace in (io.of("/"), io.of("/custom")):
        namespace.on("connect", greet)
        namespace.on("message", repeat)
        namespace.on("message-with-ack", acknowledge)
        namespace.on("emit-with-ack", ask)
    return io


def check(exchange: Callable[[Peer], Awaitable[None]], **options: Any) -> None:
    """Run one exchange."""

    async def main() -> None:
        async with serving(make_server(**options or CALM)) as live, aiohttp.ClientSession() as http:
            await exchange(Peer(live.port, http))

    run(main)


async def closed(ws: websockets.ClientConnection) -> None:
    """See that the server closes, whatever it says before."""
    async for _ in ws:
        pass
    assert ws.close_code is not None


# Engine.IO: handshake.


def check_open_packet(text: str, upgrades: list[str]) -> None:
    assert text[0] == "0"
    opened = json.loads(text[1:])
    assert list(opened) == ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"]
    assert len(opened.pop("sid")) == 20
    assert opened == {"upgrades": upgrades, "pingInterval": 300, "pingTimeout": 200, "maxPayload": 1_000_000}


def test_polling_opens_a_session() -> None:
    async def exchange(peer: Peer) -> None:
        status, text = await peer.ask("GET", "EIO=4&transport=polling")
        assert status == 200
        check_open_packet(text, ["websocket"])

    check(exchange, **QUICK)


def test_a_websocket_opens_a_session() -> None:
    async def exchange(peer: Peer) -> None:
        async with peer.websocket() as ws:
            check_open_packet(str(await ws.recv()), [])

    check(exchange, **QUICK)


@pytest.mark.parametrize(
    ("method", "query", "code"),
    [
        ("GET", "transport=polling", 5),
        ("GET", "EIO=abc&transport=polling", 5),
        ("GET", "EIO=4", 0),
        ("GET", "EIO=4&transport=abc", 0),
        ("POST", "EIO=4&transport=polling", 2),
        ("PUT", "EIO=4&transport=polling", 2),
        ("GET", "EIO=4&transport=polling&sid=unknown", 1),
        ("GET", "EIO=4&transport=websocket", 3),
    ],
)
def test_a_request_that_is_no_handshake(method: str, query: str, code: int) -> None:
    async def exchange(peer: Peer) -> None:
        status, text = await peer.ask(method, query)
        assert status == 400
        assert json.loads(text)["code"] == code

    check(exchange)


@pytest.mark.parametrize(
    "query", ["transport=websocket", "EIO=abc&transport=websocket", "EIO=4", "EIO=4&transport=abc"]
)
def test_an_upgrade_request_that_is_no_handshake(query: str) -> None:
    async def exchange(peer: Peer) -> None:
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with peer.websocket(query):
                pass
        assert caught.value.response.status_code == 400

    check(exchange)


# Engine.IO: heartbeat.


def test_a_polling_client_is_pinged() -> None:
    async def exchange(peer: Peer) -> None:
        session = await peer.open_polling()
        for _ in range(3):
            assert await peer.poll(session) == "2"
            await peer.post(session, "3")

    check(exchange, **QUICK)


def test_a_polling_client_that_does_not_answer_is_given_up() -> None:
    async def exchange(peer: Peer) -> None:
        session = await peer.open_polling()
        assert await peer.poll(session) == "2"
        assert await peer.poll(session) == "1"  # parked until the ping has timed out
        status, _ = await peer.ask("GET", session)
        assert status == 400

    check(exchange, **QUICK)


def test_a_websocket_client_is_pinged_and_given_up() -> None:
    async def exchange(peer: Peer) -> None:
        async with peer.websocket() as ws:
            await ws.recv()
            for _ in range(3):
                assert await ws.recv() == "2"
                await ws.send("3")
            await closed(ws)

    check(exchange, **QUICK)


# Engine.IO: the end.


def test_a_polling_client_leaves() -> None:
    async def exchange(peer: Peer) -> None:
        session = await peer.open_polling()
        polled, _ = await asyncio.gather(peer.poll(session), peer.post(session, "1"))
        assert polled == "6"
        status, _ = await peer.ask("GET", session)
        assert status == 400

    check(exchange)


def test_a_websocket_client_leaves() -> None:
    async def exchange(peer: Peer) -> None:
        async with peer.websocket() as ws:
            await ws.recv()
            await ws.send("1")
            await closed(ws)

    check(exchange)


def test_two_polls_at_once() -> None:
    async def exchange(peer: Peer) -> None:
        session = await peer.open_polling()
        answers = await asyncio.gather(peer.ask("GET", session), peer.ask("GET", session))
        assert sorted(answers)[0] == (200, "1")
        assert sorted(answers)[1][0] == 400

    check(exchange)


@pytest.mark.parametrize("payload", ["", "abc", "\x1e4", "b!", "8"])
def test_a_payload_that_is_none(payload: str) -> None:
    async def exchange(peer: Peer) -> None:
        session = await peer.open_polling()
        status, _ = await peer.ask("POST", session, payload)
        assert status == 400
        status, _ = await peer.ask("GET", session)
        assert status == 400

    check(exchange)


# Engine.IO: upgrade.


def test_an_upgrade() -> None:
    async def exchange(peer: Peer) -> None:
        session = await peer.open_polling()
        await peer.post(session, "40")
        first, second = (await peer.poll(session)).split("\x1e")
        assert first.startswith("40{")
        assert second == '42["auth",{}]'
        async with peer.websocket(session.replace("polling", "websocket")) as ws:
            await ws.send("2probe")
            assert await ws.recv() == "3probe"
            assert await peer.poll(session) == "6"  # a poll that is parked is released
            await ws.send("5")
            await ws.send('42["message","there"]')
            assert await ws.recv() == '42["message-back","there"]'
            status, text = await peer.ask("GET", session)
            assert (status, json.loads(text)["code"]) == (400, 3)
            # A second WebSocket for the session is turned away, and the first is not disturbed by it.
            async with peer.websocket(session.replace("polling", "websocket")) as late:
                await closed(late)
            await ws.send('42["message","still"]')
            assert await ws.recv() == '42["message-back","still"]'

    check(exchange)


# Socket.IO: connection.


@pytest.mark.parametrize("namespace", ["", "/custom,"])
@pytest.mark.parametrize("auth", ["", '{"token":"123"}'])
def test_a_client_joins_a_namespace(namespace: str, auth: str) -> None:
    async def exchange(peer: Peer) -> None:
        async with peer.websocket() as ws:
            await ws.recv()
            await ws.send(f"40{namespace}{auth}")
            answer = str(await ws.recv())
            assert answer.startswith(f"40{namespace}")
            payload = json.loads(answer[2 + len(namespace) :])
            assert list(payload) == ["sid"]
            assert len(payload["sid"]) == 20
            assert await ws.recv() == f'42{namespace}["auth",{auth or "{}"}]'

    check(exchange)


def test_a_namespace_that_is_not_there() -> None:
    async def exchange(peer: Peer) -> None:
        async with peer.joined() as ws:
            await ws.send("40/random")
            assert await ws.recv() == '44/random,{"message":"Invalid namespace"}'
            await ws.send('42["message"]')
            assert await ws.recv() == '42["message-back"]'

    check(exchange)


@pytest.mark.parametrize("packet", ["4abc", "4", '42["message"]', '40"text"', "43[]", "49"])
def test_a_first_packet_that_is_no_connection(packet: str) -> None:
    async def exchange(peer: Peer) -> None:
        async with peer.websocket() as ws:
            await ws.recv()
            await ws.send(packet)
            await closed(ws)

    check(exchange)


def test_a_client_that_joins_nothing_is_given_up() -> None:
    async def exchange(peer: Peer) -> None:
        async with peer.websocket() as ws:
            await ws.recv()
            await closed(ws)

    check(exchange, ping_interval=60.0, connect_timeout=0.3)


# Socket.IO: leaving.


def test_a_client_leaves_one_namespace_and_stays_in_another() -> None:
    async def exchange(peer: Peer) -> None:
        async with peer.joined() as ws:
            await ws.send("40/custom")
            assert str(await ws.recv()).startswith("40/custom,{")
            assert await ws.recv() == '42/custom,["auth",{}]'
            await ws.send("41")
            await ws.send('42/custom,["message"]')
            assert await ws.recv() == '42/custom,["message-back"]'
            await ws.send('42["message"]')  # to a namespace that it has left
            await closed(ws)

    check(exchange)


# Socket.IO: events and acknowledgements.


def test_events_of_text_and_of_bytes() -> None:
    async def exchange(peer: Peer) -> None:
        async with peer.joined() as ws:
            await ws.send('42["message",1,"2",{"3":[true]}]')
            assert await ws.recv() == '42["message-back",1,"2",{"3":[true]}]'
            await ws.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
            await ws.send(b"\x01\x02\x03")
            await ws.send(b"\x04\x05\x06")
            back = '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
            assert [await ws.recv() for _ in range(3)] == [back, b"\x01\x02\x03", b"\x04\x05\x06"]

    check(exchange)


def test_acknowledgements_by_the_server() -> None:
    async def exchange(peer: Peer) -> None:
        async with peer.joined() as ws:
            await ws.send('42456["message-with-ack",1,"2",{"3":[false]}]')
            assert await ws.recv() == '43456[1,"2",{"3":[false]}]'
            await ws.send('451-789["message-with-ack",{"_placeholder":true,"num":0}]')
            await ws.send(b"\x01")
            assert [await ws.recv(), await ws.recv()] == ['461-789[{"_placeholder":true,"num":0}]', b"\x01"]

    check(exchange)


def test_acknowledgements_by_the_client() -> None:
    async def exchange(peer: Peer) -> None:
        async with peer.joined() as ws:
            await ws.send('42["emit-with-ack",1,"2"]')
            assert await ws.recv() == '420["emit-with-ack",1,"2"]'
            await ws.send('430[1,"2",{"3":[false]}]')
            assert await ws.recv() == '42["emit-with-ack",1,"2",{"3":[false]}]'
            await ws.send("430[]")  # again, or unknown: of no effect
            await ws.send("4399[]")
            await ws.send('42["message"]')
            assert await ws.recv() == '42["message-back"]'

    check(exchange)


@pytest.mark.parametrize(
    "packet",
    [
        "4abc",
        "42{}",
        "42",
        "42[]",
        '42[{"toString":"foo"}]',
        '42["connect"]',
        '42["disconnecting"]',
        "42abc",
        "431{}",
        '44{"message":"mine"}',
        "45",
        '45-["message"]',
        '451-["message",{"_placeholder":true,"num":1}]',
        '451-["message",{"_placeholder":true,"num":"splice"}]',
        "40",  # twice
    ],
)
def test_a_packet_that_breaks_the_protocol_ends_the_connection(packet: str) -> None:
    async def exchange(peer: Peer) -> None:
        async with peer.joined() as ws:
            await ws.send(packet)
            if packet.startswith("451"):
                await ws.send(b"")
            await closed(ws)

    check(exchange)


def test_a_text_in_the_place_of_an_attachment_and_an_attachment_of_nothing() -> None:
    async def exchange(peer: Peer) -> None:
        async with peer.joined() as ws:
            await ws.send('451-["message",{"_placeholder":true,"num":0}]')
            await ws.send('42["message"]')
            await closed(ws)
        async with peer.joined() as ws:
            await ws.send(b"alone")
            await closed(ws)

    check(exchange)


def test_the_same_by_polling() -> None:
    async def exchange(peer: Peer) -> None:
        session = await peer.open_polling()
        await peer.post(session, "40")
        await peer.poll(session)
        await peer.post(
            session,
            '42["message","é€😀"]\x1e451-["message",{"_placeholder":true,"num":0}]\x1ebAQIDBA==\x1e427["message-with-ack"]',
        )
        received = ""
        while received.count("\x1e") < 3:
            received += ("\x1e" if received else "") + await peer.poll(session)
        assert received.split("\x1e") == [
            '42["message-back","é€😀"]',
            '451-["message-back",{"_placeholder":true,"num":0}]',
            "bAQIDBA==",
            "437[]",
        ]

    check(exchange)
