"""Clients of Socket.IO 2 on a server that lets them in: the packets of protocol v4, on a clock that stands."""

from __future__ import annotations

import json
from typing import Any

import pytest

import telex
from telex.engineio import Request, Response
from telex.errors import SocketPacketError
from telex.limits import Limits
from telex.socketio.connection_v4 import ConnectionV4, parse_query
from telex.types import Data, Headers
from tests.socketio.harness import Client, advance, note, open_client, run, settle


class OldClient(Client):
    """The same raw messages over Engine.IO v3: bytes have a type in front."""

    def send(self, *messages: Data) -> None:
        super().send(*[message if isinstance(message, str) else b"\4" + message for message in messages])

    def hear(self, packet: Data, compress: bool) -> None:
        if isinstance(packet, bytes):
            assert packet[:1] == b"\4"
            packet = packet[1:]
        super().hear(packet, compress)


def make(**options: Any) -> telex.Server:
    return telex.Server(allow_eio3=True, **options)


async def open_old(io: telex.Server, query: str = "") -> OldClient:
    request = Request(
        "GET", "/socket.io/", f"EIO=3&transport=websocket{query}", Headers([]), scope={"type": "websocket"}
    )
    admission = await io.engine.admit_websocket(request)
    assert not isinstance(admission, Response), admission
    client = OldClient()
    client.transport = admission.start(client.line)
    return client


def sid_of(client: OldClient) -> str:
    return client.transport.session.sid


def test_the_root_is_joined_by_the_server() -> None:
    async def main() -> None:
        io = make()
        calls = note(io, "connect", "hi")
        client = await open_old(io)
        assert await client.heard() == ["0"]
        assert list(io.of("/").sockets) == [sid_of(client)]
        socket = io.of("/").sockets[sid_of(client)]
        assert socket.handshake.auth == {}
        assert socket.handshake.protocol == 3
        client.emit("hi", "é")
        await settle()
        assert calls == [("connect", {}), ("hi", "é")]

    run(main)


def test_today_s_clients_are_served_as_ever() -> None:
    async def main() -> None:
        io = make()
        client = await open_client(io)
        sid = await client.connect("/", {"token": "x"})
        socket = io.of("/").sockets[sid]
        assert sid != client.transport.session.sid
        assert socket.handshake.protocol == 4
        assert socket.handshake.auth == {"token": "x"}
        assert type(client.transport.session.sink) is not ConnectionV4

    run(main)


def test_events_acknowledgements_and_bytes_go_both_ways() -> None:
    async def main() -> None:
        io = make()

        @io.on("ask")
        async def ask(socket: telex.Socket, *args: Any) -> Any:
            return args

        client = await open_old(io)
        assert await client.heard() == ["0"]
        client.send('27["ask","é🙂"]')
        client.send('51-8["ask",{"_placeholder":true,"num":0}]', b"\0\1")
        assert await client.heard() == ['37["é🙂"]', '61-8[{"_placeholder":true,"num":0}]', b"\0\1"]
        socket = io.of("/").sockets[sid_of(client)]
        socket.emit("news", b"\2", "€")
        io.emit("all", "€")
        assert await client.heard() == [
            '51-["news",{"_placeholder":true,"num":0},"€"]',
            b"\2",
            '2["all","€"]',
        ]

    run(main)


def test_the_server_is_sent_an_acknowledgement() -> None:
    async def main() -> None:
        io = make()
        answers: list[Any] = []
        io.on("connect", lambda socket: socket.emit("question", callback=answers.append))
        client = await open_old(io)
        assert await client.heard() == ["0", '20["question"]']
        client.send('30["é"]')
        await settle()
        assert answers == ["é"]

    run(main)


@pytest.mark.parametrize(
    ("query", "auth"),
    [
        ("", {}),
        ("?", {}),
        ("?token=1", {"token": "1"}),
        ("?token=1&room=a%20b&e=%F0%9F%99%82%26", {"token": "1", "room": "a b", "e": "🙂&"}),
        ("?a=1&a=2&a=3&b=", {"a": ["1", "2", "3"], "b": ""}),
        ("?token=" + "x" * 5000, {"token": "x" * 5000}),
        ("?a=1?b", {"a": "1?b"}),
    ],
)
def test_the_query_of_a_namespace_is_its_auth(query: str, auth: dict[str, Any]) -> None:
    async def main() -> None:
        io = make()
        calls = note(io.of("/chat"), "connect", "hi")
        client = await open_old(io, "&room=other")
        client.send(f"0/chat{query},")
        assert await client.heard() == ["0", "0/chat,"]
        (socket,) = io.of("/chat").sockets.values()
        assert socket.id == f"/chat#{sid_of(client)}"
        assert socket.handshake.auth == auth
        assert socket.handshake.query["room"] == "other"
        client.send('2/chat,["hi",1]', f'2/chat{query},["hi",2]')
        await settle()
        assert calls == [("connect", auth), ("hi", 1), ("hi", 2)]

    run(main)


def test_the_name_may_stand_without_a_comma_and_a_payload_says_nothing() -> None:
    async def main() -> None:
        io = make()
        client = await open_old(io)
        io.of("/a")
        io.of("/b")
        client.send("0/a?x=1", '0/b?x=1,{"y":2}')
        assert await client.heard() == ["0", "0/a,", "0/b,"]
        assert [dict(socket.handshake.auth) for nsp in ("/a", "/b") for socket in io.of(nsp).sockets.values()] == [
            {"x": "1"},
            {"x": "1"},
        ]

    run(main)


def test_attachments_for_a_namespace_with_a_query() -> None:
    async def main() -> None:
        io = make()
        calls = note(io.of("/chat"), "file")
        client = await open_old(io)
        client.send("0/chat?t=1,", '51-/chat?t=1,["file",{"_placeholder":true,"num":0}]', b"\0")
        await settle()
        assert calls == [("file", b"\0")]

    run(main)


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (telex.ConnectRefused("not authorized"), "not authorized"),
        (telex.ConnectRefused("no", data="the data"), "the data"),
        (telex.ConnectRefused("no", data={"retry": False, "é": [1]}), {"retry": False, "é": [1]}),
        (ConnectionRefusedError("plain"), "plain"),
        (ValueError("a secret"), "Internal server error"),
        (telex.ConnectRefused("no", data=object()), "Internal server error"),
    ],
)
@pytest.mark.parametrize("nsp", ["/", "/private"])
def test_a_refusal_is_a_bare_value(nsp: str, refusal: Exception, told: Any) -> None:
    async def main() -> None:
        io = make()

        @io.of(nsp).use
        async def refuse(socket: telex.Socket) -> None:
            raise refusal

        client = await open_old(io)
        expected: list[Any] = []
        head = "4"
        if nsp != "/":
            client.send("0/private?token=1,")
            expected, head = ["0"], "4/private,"
        *before, answer = await client.heard()
        assert before == expected
        assert isinstance(answer, str)
        assert answer.startswith(head)
        assert json.loads(answer.removeprefix(head)) == told
        assert io.of(nsp).sockets == {}
        assert not client.is_closed

    run(main)


def test_a_namespace_that_is_not_there() -> None:
    async def main() -> None:
        client = await open_old(make())
        client.send("0/nowhere?token=1,")
        assert await client.heard() == ["0", '4/nowhere,"Invalid namespace"']

    run(main)


def test_a_client_that_is_refused_in_the_root_has_until_connect_timeout_to_join_another() -> None:
    async def main() -> None:
        io = make(connect_timeout=10)
        io.of("/chat")

        @io.use
        def refuse(socket: telex.Socket) -> None:
            raise telex.ConnectRefused("no")

        stays, goes = await open_old(io), await open_old(io)
        stays.send("0/chat,")
        await advance(11)
        assert await stays.heard() == ['4"no"', "0/chat,"]
        assert not stays.is_closed
        assert goes.is_closed

    run(main)


def test_middlewares_run_before_the_root_is_joined() -> None:
    async def main() -> None:
        io = make()
        calls = note(io, "connect")
        seen: list[tuple[str, bool]] = []

        @io.use
        async def look(socket: telex.Socket) -> None:
            seen.append((socket.id, socket.connected))
            socket.join("early")

        client = await open_old(io)
        assert await client.heard() == ["0"]
        assert seen == [(sid_of(client), False)]
        assert calls == [("connect", {})]
        assert io.of("/").sockets[sid_of(client)].rooms == {sid_of(client), "early"}

    run(main)


@pytest.mark.parametrize("close", [False, True])
def test_a_connect_handler_may_send_the_client_off_at_once(close: bool) -> None:
    async def main() -> None:
        io = make()
        reasons: list[str] = []
        io.on("connect", lambda socket: socket.disconnect(close=close))
        io.on("disconnect", lambda socket, reason: reasons.append(reason))
        client = await open_old(io)
        assert await client.heard() == ["0", "1"]
        assert reasons == ["server namespace disconnect"]
        assert client.is_closed is close
        assert io.of("/").sockets == {}
        assert bool(io.engine.sessions) is not close

    run(main)


def test_a_namespace_is_left_and_joined_again_under_the_same_id() -> None:
    async def main() -> None:
        io = make()
        io.of("/chat")
        client = await open_old(io)
        client.send("0/chat,", "1/chat,", "0/chat?again=1,")
        assert await client.heard() == ["0", "0/chat,", "0/chat,"]
        assert list(io.of("/chat").sockets) == [f"/chat#{sid_of(client)}"]
        io.of("/chat").to(f"/chat#{sid_of(client)}").emit("to you")
        assert await client.heard() == ['2/chat,["to you"]']

    run(main)


@pytest.mark.parametrize(
    "message",
    [
        "0",  # a second CONNECT
        "0/?token=1,",
        '2/chat?x=1,["hi"]',  # not joined
        "4",
        "0/" + "x" * 256 + "?a=1,",
        "0/chat?" + "x" * (64 * 1024 + 1) + ",",
        "0/chat?" + "é" * (33 * 1024) + ",",
        "0/chat?" + "&a" * 101 + ",",
        "0/" + "x" * (66 * 1024) + ",",
        '2["connect"]',
        '51-/nowhere?x=1,["hi",{"_placeholder":true,"num":0}]',
    ],
)
def test_what_no_client_sends_ends_the_connection(message: str) -> None:
    async def main() -> None:
        io = make()
        io.of("/chat")
        reasons: list[str] = []
        io.on("disconnect", lambda socket, reason: reasons.append(reason))
        client = await open_old(io)
        client.send(message)
        await settle()
        assert client.is_closed
        assert reasons == ["forced close"]
        assert io.engine.sessions == {}

    run(main)


def test_limits_of_names_and_queries_are_the_server_s() -> None:
    async def main() -> None:
        io = make(limits=Limits(max_namespace_length=8, max_auth_bytes=8, max_namespaces_per_connection=2))
        io.of("/1234567")
        io.of("/b")
        client = await open_old(io)
        client.send("0/1234567?a=123456,")
        assert await client.heard() == ["0", "0/1234567,"]
        client.send("0/b,")
        await settle()
        assert client.is_closed
        for name in ("/12345678", "/b?a=1234567"):
            client = await open_old(io)
            client.send(f"0{name},")
            await settle()
            assert client.is_closed, name

    run(main)


def test_a_server_that_closes_tells_both_kinds_of_client() -> None:
    async def main() -> None:
        io = make()
        reasons: list[str] = []
        io.on("disconnect", lambda socket, reason: reasons.append(reason))
        old, new = await open_old(io), await open_client(io)
        await new.connect()
        await io.close()
        assert old.is_closed
        assert new.is_closed
        assert reasons == ["server shutting down"] * 2

    run(main)


def test_who_is_not_let_in_by_default() -> None:
    async def main() -> None:
        request = Request("GET", "/socket.io/", "EIO=3&transport=websocket", Headers([]))
        answer = await telex.Server().engine.admit_websocket(request)
        assert isinstance(answer, Response)
        assert answer.body == b"Unsupported protocol version"

    run(main)


def test_a_query_of_too_many_fields() -> None:
    assert len(parse_query("&".join(f"f{i}=x" for i in range(100)))) == 100
    with pytest.raises(SocketPacketError):
        parse_query("&".join(f"f{i}=x" for i in range(101)))
