"""Sockets as `fetch_sockets` tells of them: what they know, and what can be done with them."""

from __future__ import annotations

import asyncio
import sys

import pytest

import telex
from tests.socketio.harness import Client, advance, join, note, run, settle


async def fetch_one(io: telex.Server) -> tuple[Client, telex.Socket, telex.RemoteSocket]:
    client, socket = await join(io, auth={"name": "Ada"})
    (remote,) = await io.in_(socket.id).fetch_sockets()
    return client, socket, remote


def test_it_knows_what_was_so() -> None:
    async def main() -> None:
        io = telex.Server()
        client, socket = await join(io, auth={"name": "Ada"})
        socket.join("a")
        socket.data["score"] = 7
        (remote,) = await io.fetch_sockets()
        assert remote.id == socket.id
        assert remote.nsp is io.sockets
        assert remote.rooms == {socket.id, "a"}
        assert remote.data == {"score": 7}
        assert remote.handshake.auth == {"name": "Ada"}
        assert remote.handshake == socket.handshake
        assert repr(remote) == f"<RemoteSocket {socket.id} in />"
        socket.leave("a")
        client.leave()
        await settle()
        assert remote.rooms == {socket.id, "a"}
        assert remote.handshake.headers["host"] == "example.org"

    run(main)


def test_telling_of_a_socket_makes_it_no_larger() -> None:
    async def main() -> None:
        _, socket, remote = await fetch_one(telex.Server())
        assert remote.data == {}
        assert remote.handshake.auth == {"name": "Ada"}
        assert socket._handshake is None
        assert socket._data is None
        assert sys.getsizeof(remote) < 100

    run(main)


def test_it_joins_and_leaves() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(max_rooms_per_socket=2))
        _, socket, remote = await fetch_one(io)
        _, other = await join(io)
        remote.join("a")
        await remote.join(["a", "b"])
        assert socket.rooms == {socket.id, "a", "b"}
        with pytest.raises(ValueError, match="2 rooms at most"):
            remote.join("c")
        remote.leave("a")
        await remote.leave(["b", "never"])
        assert socket.rooms == {socket.id}
        with pytest.raises(ValueError, match="id of another socket"):
            remote.join(other.id)
        assert other.rooms == {other.id}

    run(main)


def test_it_is_sent_to_alone() -> None:
    async def main() -> None:
        io = telex.Server()
        client, _, remote = await fetch_one(io)
        other, _ = await join(io)
        await remote.emit("news", 1, b"\0")
        assert await client.heard() == ['51-["news",1,{"_placeholder":true,"num":0}]', b"\0"]
        assert await other.heard() == []
        with pytest.raises(ValueError, match="reserved"):
            remote.emit("connect")

    run(main)


@pytest.mark.parametrize(("said", "answer"), [("[]", None), ("[1]", 1), ("[1,2]", (1, 2)), ("[[1,2]]", [1, 2])])
def test_its_call_has_one_answer(said: str, answer: object) -> None:
    async def main() -> None:
        io = telex.Server()
        client, _, remote = await fetch_one(io)
        client.messages.clear()

        async def client_answers() -> None:
            message = await client.receive()
            assert message == '20["ask"]'
            client.send("30" + said)

        answering = asyncio.ensure_future(client_answers())
        assert await remote.call("ask") == answer
        await answering

    run(main)


def test_its_call_waits_as_long_as_it_is_told() -> None:
    async def main() -> None:
        io = telex.Server()
        _, socket, remote = await fetch_one(io)

        for call in (
            remote.timeout(2).call("ask"),
            remote.call("ask", timeout=2),
            remote.timeout(9).call("a", timeout=2),
        ):
            asking = asyncio.ensure_future(call)
            await advance(1.9)
            assert not asking.done()
            await advance(0.2)
            with pytest.raises(telex.AckTimeout, match="within 2 s"):
                await asking
        asking = asyncio.ensure_future(remote.call("ask"))
        await settle()
        socket.disconnect()
        with pytest.raises(telex.AckTimeout):
            await asking
        with pytest.raises(telex.Disconnected):
            await remote.call("ask")

    run(main)


@pytest.mark.parametrize("close", [False, True])
def test_it_is_sent_off(close: bool) -> None:
    async def main() -> None:
        io = telex.Server()
        gone = note(io, "disconnect")
        client, socket, remote = await fetch_one(io)
        remote.disconnect(close)
        assert not socket.connected
        assert await client.heard() == ["1"]
        assert client.is_closed is close
        assert gone == [("disconnect", "server namespace disconnect")]

    run(main)


def test_one_that_has_left_is_left_alone() -> None:
    async def main() -> None:
        io = telex.Server()
        client, _, remote = await fetch_one(io)
        client.leave()
        await settle()
        client.messages.clear()
        await remote.emit("news")
        await remote.join("a")
        await remote.leave("a")
        await remote.disconnect()
        assert not client.messages
        assert len(io.sockets.rooms) == 0

    run(main)
