"""Which parser a server has, what it makes sure of one that a program brings, and that all of the floor goes by it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

import telex
from telex.socketio.parsers import JSON
from telex.socketio.parsing import WatchedParser, as_parser
from telex.types import Data
from tests.socketio.harness import Client, advance, note, open_client, run, settle

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR = list(telex.PacketType)[:5]


def pack(type_: int, data: Any = None, nsp: str = "/", id_: int | None = None) -> bytes:
    """Write a packet as JavaScript's parser does."""
    fields = {"type": type_, "nsp": nsp, "data": data, "id": id_}
    return msgspec.msgpack.encode({name: value for name, value in fields.items() if value is not None})


async def receive(client: Client) -> dict[str, Any]:
    """Return the next packet, which is one binary message."""
    message = await client.receive()
    assert isinstance(message, bytes)
    packet: dict[str, Any] = msgspec.msgpack.decode(message)
    return packet


async def join(io: telex.Server, nsp: str = "/", auth: Any = None) -> tuple[Client, telex.Socket]:
    """Open a session that speaks MessagePack and join a namespace; return both ends."""
    client = await open_client(io)
    client.send(pack(CONNECT, auth, nsp))
    answer = await receive(client)
    assert set(answer) == {"type", "nsp", "data"}
    assert (answer["type"], answer["nsp"]) == (CONNECT, nsp)
    return client, io.of(nsp).sockets[answer["data"]["sid"]]


class LinesDecoder:
    """Take a packet in two messages: what it is, and its data."""

    def __init__(self) -> None:
        self.head: list[Any] | None = None

    def add(self, message: Data) -> telex.Packet | None:
        if not isinstance(message, str):
            raise TypeError("bytes")
        if self.head is None:
            self.head = json.loads(message)
            return None
        return telex.Packet(*self.head[:2], json.loads(message), *self.head[2:])


class Lines:
    """Write a packet as two texts of JSON."""

    def encode(self, packet: telex.Packet) -> Sequence[Data]:
        head = [int(packet.type), packet.namespace, *([] if packet.ack_id is None else [packet.ack_id])]
        return [json.dumps(head), json.dumps(packet.data)]

    def decoder(self, limits: telex.Limits) -> telex.PacketDecoder:
        return LinesDecoder()


def say(client: Client, type_: int, data: Any = None, nsp: str = "/", *more: Any) -> None:
    """Send a packet to a server that speaks lines."""
    client.send(json.dumps([type_, nsp, *more]), json.dumps(data))


async def join_in_lines(io: telex.Server) -> Client:
    client = await open_client(io)
    say(client, CONNECT)
    assert await client.receive() == '[0, "/"]'
    assert "sid" in json.loads(str(await client.receive()))
    return client


class Fixed:
    """Decode whatever comes as one packet, and encode whatever is sent as the messages given."""

    def __init__(self, packet: Any = None, messages: Any = None) -> None:
        self.packet = packet
        self.messages = messages

    def encode(self, packet: telex.Packet) -> Sequence[Data]:
        if isinstance(self.messages, Exception):
            raise self.messages
        messages: Sequence[Data] = self.messages
        return messages

    def decoder(self, limits: telex.Limits) -> telex.PacketDecoder:
        return self

    def add(self, message: Data) -> telex.Packet | None:
        if isinstance(self.packet, Exception):
            raise self.packet
        packet: telex.Packet | None = self.packet
        return packet


# The option.


def test_json_is_the_default_and_has_the_short_way() -> None:
    for io in (telex.Server(), telex.Server(parser="json"), telex.Server(parser=telex.JsonParser())):
        assert io.parser is JSON
        assert io.event_parser is not None


def test_others_are_found_by_name_or_given() -> None:
    assert isinstance(telex.Server(parser="msgpack").parser, telex.MessagePackParser)
    assert isinstance(telex.Server(parser=telex.MessagePackParser()).parser, telex.MessagePackParser)
    assert isinstance(telex.Server(parser=Lines()).parser, WatchedParser)
    assert telex.Server(parser="msgpack").event_parser is None
    assert telex.Server(parser=Lines()).event_parser is None


def test_a_given_parser_shows_itself() -> None:
    class Named(Lines):
        def __repr__(self) -> str:
            return "<a parser of mine>"

    assert repr(telex.Server(parser=Named()).parser) == "<a parser of mine>"


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("yaml", ValueError, "json, msgpack"),
        (Lines, TypeError, "Lines is not"),
        (object(), TypeError, "object is not"),
        (None, TypeError, "NoneType is not"),
        (json, TypeError, "module is not"),
    ],
)
def test_anything_else_is_an_error(given: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        telex.Server(parser=given)


def test_namespaces_of_every_kind_have_the_server_s() -> None:
    io = telex.Server(parser="msgpack")
    registered = io.register(telex.Namespace("/registered"))
    assert {namespace.parser for namespace in (io.of("/"), io.of("/made"), registered)} == {io.parser}


# MessagePack through the whole floor.


def test_only_sockets_of_json_send_on_the_short_way() -> None:
    async def main() -> None:
        for parser, expected in (("json", True), ("msgpack", False)):
            io = telex.Server(parser=parser)
            client = await open_client(io)
            client.send(pack(CONNECT) if parser == "msgpack" else "0")
            await client.receive()
            [socket] = io.sockets.sockets.values()
            assert socket.is_direct_out is expected
            assert socket.is_direct_in

    run(main)


def test_events_both_ways() -> None:
    async def main() -> None:
        io = telex.Server(parser="msgpack")
        calls = note(io, "hello", "7")
        client, socket = await join(io, auth={"token": b"x"})
        assert socket.handshake.auth == {"token": b"x"}
        client.send(pack(EVENT, ["hello", 1, b"2", {"deep": [b"3"]}]), pack(EVENT, [7, None]))
        await settle()
        assert calls == [("hello", 1, b"2", {"deep": [b"3"]}), ("7", None)]
        socket.emit("plain", 1, "two")
        socket.emit("binary", {"deep": [b"3"]})
        assert await receive(client) == {"type": EVENT, "nsp": "/", "data": ["plain", 1, "two"]}
        assert await receive(client) == {"type": EVENT, "nsp": "/", "data": ["binary", {"deep": [b"3"]}]}

    run(main)


def test_acknowledgements_both_ways() -> None:
    async def main() -> None:
        io = telex.Server(parser="msgpack")

        @io.on("ask")
        async def ask(socket: telex.Socket, *args: Any) -> Any:
            return args

        @io.on("plainly")
        def plainly(socket: telex.Socket) -> bytes:
            return b"answer"

        client, socket = await join(io)
        client.send(pack(EVENT, ["ask", 1, b"2"], id_=5), pack(EVENT, ["plainly"], id_=6), pack(EVENT, ["ask"], id_=0))
        assert await receive(client) == {"type": ACK, "nsp": "/", "data": [1, b"2"], "id": 5}
        assert await receive(client) == {"type": ACK, "nsp": "/", "data": [b"answer"], "id": 6}
        assert await receive(client) == {"type": ACK, "nsp": "/", "data": [], "id": 0}
        answer = asyncio.ensure_future(socket.call("question", b"?"))
        question = await receive(client)
        assert question["data"] == ["question", b"?"]
        client.send(pack(ACK, [b"!"], id_=question["id"]))
        assert await answer == b"!"

    run(main)


def test_a_broadcast_is_encoded_once() -> None:
    async def main() -> None:
        io = telex.Server(parser="msgpack")
        clients = [(await join(io))[0] for _ in range(3)]
        io.emit("news", {"at": datetime(2024, 1, 1, tzinfo=UTC)}, b"x")
        for client in clients:
            await receive(client)
        wires = [client.wires[-1] for client in clients]
        assert all(wire is wires[0] for wire in wires)

    run(main)


def test_a_broadcast_asks_and_is_answered() -> None:
    async def main() -> None:
        io = telex.Server(parser="msgpack")
        clients = [(await join(io))[0] for _ in range(2)]
        answers = asyncio.ensure_future(io.call("vote"))
        for client in clients:
            client.send(pack(ACK, ["yes"], id_=(await receive(client))["id"]))
        assert await answers == ["yes", "yes"]

    run(main)


def test_namespaces_refusals_and_ends() -> None:
    async def main() -> None:
        io = telex.Server(parser="msgpack")
        io.of("/chat")

        @io.of("/private").use
        def refuse(socket: telex.Socket) -> None:
            raise telex.ConnectRefused("no", data={"why": b"\1"})

        client, socket = await join(io, "/chat")
        client.send(pack(CONNECT, nsp="/nowhere"), pack(CONNECT, nsp="/private"))
        assert await receive(client) == {"type": 4, "nsp": "/nowhere", "data": {"message": "Invalid namespace"}}
        refusal = {"message": "no", "data": {"why": b"\1"}}
        assert await receive(client) == {"type": 4, "nsp": "/private", "data": refusal}
        socket.disconnect()
        assert await receive(client) == {"type": 1, "nsp": "/chat"}
        client.send(pack(CONNECT, nsp="/chat"))
        assert (await receive(client))["type"] == CONNECT
        client.send(pack(DISCONNECT, nsp="/chat"))
        await settle()
        assert not io.of("/chat").sockets
        assert not client.is_closed

    run(main)


def test_a_refusal_that_cannot_be_sent_says_less() -> None:
    async def main() -> None:
        io = telex.Server(parser="msgpack")

        @io.use
        def refuse(socket: telex.Socket) -> None:
            raise telex.ConnectRefused("no", data=object())

        client = await open_client(io)
        client.send(pack(CONNECT))
        assert (await receive(client))["data"] == {"message": "Internal server error"}

    run(main)


@pytest.mark.parametrize(
    "message", ["0", '2["e"]', b"", b"\xc1", pack(EVENT, ["e"], "/other"), pack(CONNECT_ERROR, {}), pack(CONNECT)]
)
def test_what_is_no_packet_ends_the_connection(message: Data) -> None:
    async def main() -> None:
        io = telex.Server(parser="msgpack")
        reasons = note(io, "disconnect")
        client, _ = await join(io)
        client.send(message)
        await settle()
        assert client.is_closed
        assert reasons == [("disconnect", telex.DisconnectReason.FORCED_CLOSE)]

    run(main)


def test_a_client_with_json_s_parser_is_closed() -> None:
    async def main() -> None:
        client = await open_client(telex.Server(parser="msgpack"))
        client.send("0")
        await settle()
        assert client.is_closed

    run(main)


def test_connect_timeout_and_max_events_per_second() -> None:
    async def main() -> None:
        io = telex.Server(parser="msgpack", limits=telex.Limits(connect_timeout=3, max_events_per_second=2))
        mute = await open_client(io)
        client, _ = await join(io)
        await advance(4)
        assert mute.is_closed
        assert not client.is_closed
        for _ in range(3):
            client.send(pack(EVENT, ["e"]))
        await settle()
        assert client.is_closed

    run(main)


def test_what_cannot_be_sent_is_an_error_and_nothing_is_sent() -> None:
    async def main() -> None:
        io = telex.Server(parser="msgpack")
        client, socket = await join(io)
        with pytest.raises(ValueError, match="64 bits"):
            socket.emit("e", 2**64)
        with pytest.raises(ValueError, match="reserved"):
            io.emit("connect")
        with pytest.raises(TypeError, match="named by a str"):
            io.emit(1)  # type: ignore[arg-type]
        assert await client.heard() == []

    run(main)


def test_the_warning_of_many_attachments_is_json_s(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server(parser="msgpack", limits=telex.Limits(warn_attachments=1))
        client, socket = await join(io)
        socket.emit("e", *[b"x"] * 20)
        await receive(client)

    run(main)
    assert not caplog.records


# A program's own.


def test_a_parser_of_several_messages() -> None:
    async def main() -> None:
        io = telex.Server(parser=Lines())

        @io.on("ask")
        async def ask(socket: telex.Socket, *args: Any) -> Any:
            return args

        client = await join_in_lines(io)
        say(client, EVENT, ["ask", "a", 1], "/", 9)
        assert await client.heard() == ['[3, "/", 9]', '["a", 1]']
        io.emit("news", "x")
        assert await client.heard() == ['[2, "/"]', '["news", "x"]']

    run(main)


def test_an_unfinished_packet_has_a_deadline() -> None:
    async def main() -> None:
        io = telex.Server(parser=Lines(), limits=telex.Limits(attachment_timeout=5))
        client = await join_in_lines(io)
        client.send('[2, "/"]', '["e"]')
        await advance(1000)
        assert not client.is_closed  # the packet was whole
        client.send('[2, "/"]')
        await advance(4)
        assert not client.is_closed
        await advance(2)
        assert client.is_closed

    run(main)


def test_a_first_packet_in_parts_does_not_end_the_wait_for_a_namespace() -> None:
    async def main() -> None:
        io = telex.Server(parser=Lines(), limits=telex.Limits(connect_timeout=10))
        client = await open_client(io)
        say(client, CONNECT, None, "/nowhere")
        assert len(await client.heard()) == 2
        await advance(9)
        assert not client.is_closed
        await advance(2)
        assert client.is_closed

    run(main)


class Endless(Lines):
    """Never have enough."""

    def decoder(self, limits: telex.Limits) -> telex.PacketDecoder:
        return self

    def add(self, message: Data) -> telex.Packet | None:
        return None


@pytest.mark.parametrize(
    ("limits", "n_taken"),
    [
        (telex.Limits(max_attachments=5), 6),
        (telex.Limits(max_payload=100, max_attachment_bytes=50), 3),
    ],
)
def test_a_packet_in_too_many_parts_ends_the_connection(limits: telex.Limits, n_taken: int) -> None:
    async def main() -> None:
        client = await open_client(telex.Server(parser=Endless(), limits=limits))
        for _ in range(n_taken):
            client.send("x" * 50)
        await settle()
        assert not client.is_closed
        client.send("x" * 50)
        await settle()
        assert client.is_closed

    run(main)


BAD_PACKETS: dict[str, Any] = {
    "no packet": {"type": 2},
    "a text": "packet",
    "an unknown type": telex.Packet(9, "/", []),  # type: ignore[arg-type]
    "a type of attachments": telex.Packet(telex.PacketType.BINARY_EVENT, "/", ["e"]),
    "a type as text": telex.Packet("2", "/", ["e"]),  # type: ignore[arg-type]
    "an unhashable type": telex.Packet([], "/", ["e"]),  # type: ignore[arg-type]
    "no namespace": telex.Packet(EVENT, None, ["e"]),  # type: ignore[arg-type]
    "a reserved event": telex.Packet(EVENT, "/", ["connect"]),
    "an event of nothing": telex.Packet(EVENT, "/"),
    "an event of a tuple": telex.Packet(EVENT, "/", ("e",)),
    "a bad id": telex.Packet(EVENT, "/", ["e"], "1"),  # type: ignore[arg-type]
    "an ack without id": telex.Packet(ACK, "/", []),
    "an error": KeyError("type"),
    "another error": telex.ProtocolError("no"),
    "too deep": RecursionError(),
}


@pytest.mark.parametrize("packet", BAD_PACKETS.values(), ids=BAD_PACKETS)
def test_what_a_decoder_returns_is_checked(packet: Any) -> None:
    async def main() -> None:
        client = await open_client(telex.Server(parser=Fixed(packet)))
        client.send("x")
        await settle()
        assert client.is_closed

    run(main)


def test_a_type_may_be_a_number() -> None:
    async def main() -> None:
        packet = telex.Packet(0, "/")  # type: ignore[arg-type]
        client = await open_client(telex.Server(parser=Fixed(packet, ["welcome"])))
        client.send("x")
        assert await client.heard() == ["welcome"]
        assert packet.type is telex.PacketType.CONNECT

    run(main)


def test_a_decoder_that_cannot_be_made_ends_the_connection() -> None:
    class Broken(Lines):
        def decoder(self, limits: telex.Limits) -> telex.PacketDecoder:
            raise OSError("no")

    async def main() -> None:
        client = await open_client(telex.Server(parser=Broken()))
        client.send("x")
        await settle()
        assert client.is_closed

    run(main)


def test_the_first_failure_is_shown_with_its_place_and_later_ones_in_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        io = telex.Server(parser=Fixed(KeyError("type")))
        for _ in range(3):
            client = await open_client(io)
            client.send("x")
            await settle()

    run(main)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO", "INFO"]
    assert [record.exc_info is not None for record in caplog.records] == [True, False, False, False]


def test_the_auth_object_is_bounded() -> None:
    async def main() -> None:
        io = telex.Server(parser=Lines(), limits=telex.Limits(max_auth_bytes=100))
        client = await open_client(io)
        say(client, CONNECT, {"token": "x" * 100})
        await settle()
        assert client.is_closed

    run(main)


@pytest.mark.parametrize("messages", [[], "text", b"bytes", None, [1], [bytearray(b"x")], iter(["x"])])
def test_what_a_parser_encodes_is_checked(messages: Any) -> None:
    with pytest.raises(TypeError, match="encode must return"):
        as_parser(Fixed(messages=messages)).encode(telex.Packet(EVENT, "/", ["e"]))


@pytest.mark.parametrize("act", [lambda io: io.emit("e"), lambda io: io.of("/").emit("e", 1)])
def test_what_a_parser_raises_is_raised_where_it_was_sent(act: Callable[[telex.Server], Any]) -> None:
    with pytest.raises(KeyError, match="cannot"):
        act(telex.Server(parser=Fixed(messages=KeyError("cannot"))))


def test_a_parser_that_cannot_greet_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = telex.Server(parser=Fixed(telex.Packet(CONNECT, "/"), KeyError("cannot")))
        calls = note(io, "connect")
        client = await open_client(io)
        client.send("x")
        await settle()
        assert client.is_closed
        assert not io.sockets.sockets
        assert calls == []

    run(main)
    assert "could not write a packet of type CONNECT" in caplog.text


def test_a_parser_that_cannot_refuse_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        client = await open_client(telex.Server(parser=Fixed(telex.Packet(CONNECT, "/nowhere"), KeyError("cannot"))))
        client.send("x")
        await settle()
        assert client.is_closed

    run(main)
    assert "could not write a packet of type CONNECT_ERROR" in caplog.text


def test_a_parser_that_cannot_say_goodbye_ends_the_connection() -> None:
    async def main() -> None:
        parser = Fixed(telex.Packet(CONNECT, "/"), ["welcome"])
        io = telex.Server(parser=parser)
        reasons = note(io, "disconnect")
        client = await open_client(io)
        client.send("x")
        await settle()
        parser.messages = KeyError("cannot")
        next(iter(io.sockets.sockets.values())).disconnect()
        await settle()
        assert client.is_closed
        assert len(reasons) == 1

    run(main)


def test_json_s_parser_can_be_built_upon() -> None:
    class Louder(telex.JsonParser):
        def encode(self, packet: telex.Packet) -> list[Data]:
            return [str(message).upper() for message in super().encode(packet)]

    async def main() -> None:
        io = telex.Server(parser=Louder())
        assert io.event_parser is None
        calls = note(io, "e")
        client = await open_client(io)
        client.send("0", '2["e",1]')
        await client.receive()
        io.emit("news", "x")
        assert await client.heard() == ['2["NEWS","X"]']
        assert calls == [("e", 1)]

    run(main)
