"""Programs that users write, run as they stand: servers, what a server can say, namespaces and middleware, classes.

Each program is a text, so that what runs here is what somebody would type; clients in memory talk to its `io`.
"""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

import telex
from tests.socketio.harness import advance, join, open_client, run, settle

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(program: str) -> dict[str, Any]:
    """Run a program and return its names."""
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(textwrap.dedent(program), "program", "exec"), names)  # noqa: S102  # it stands in this file
    return names


def test_the_engine_s_hooks() -> None:
    async def main() -> None:
        io = load((EXAMPLES / "engine_hooks.py").read_text())["io"]
        stranger = telex.Request("GET", "/socket.io/", "EIO=4&transport=websocket", telex.Headers())
        refused = await io.engine.admit_websocket(stranger)
        assert (refused.status, refused.body) == (401, b"Who are you?")
        assert ("strict-transport-security", "max-age=31536000") in refused.headers
        client = await open_client(io, "&token=secret")
        assert await client.receive() == '2["welcome"]'
        await client.connect()

    run(main)


def test_a_server_in_six_lines() -> None:
    program = """
        import telex

        io = telex.Server()

        @io.on("chat")
        async def chat(socket: telex.Socket, text: str) -> str:
            await io.to("lobby").emit("chat", socket.id, text)
            return "delivered"

        @io.on("connect")
        async def connected(socket: telex.Socket):
            socket.join("lobby")

        gone_with = []

        @io.on("disconnect")
        async def gone(socket: telex.Socket, reason: telex.DisconnectReason):
            gone_with.append(reason)
        """

    async def main() -> None:
        names = load(program)
        io: telex.Server = names["io"]
        ann, socket = await join(io)
        bob, _ = await join(io)
        await settle()
        ann.emit("chat", "hello", ack_id=7)
        said = f'2["chat","{socket.id}","hello"]'
        assert await ann.heard() == [said, '37["delivered"]']
        assert await bob.heard() == [said]
        bob.leave()
        await settle()
        assert names["gone_with"] == ["transport close"]

    run(main)


def test_the_example_in_the_readme() -> None:
    async def main() -> None:
        io: telex.Server = load((EXAMPLES / "chat_six_lines.py").read_text())["io"]
        ann, socket = await join(io)
        bob, _ = await join(io)
        ann.emit("chat", "hello", ack_id=1)
        said = f'2["chat","{socket.id}","hello"]'
        assert await ann.heard() == [said, '31["delivered"]']
        assert await bob.heard() == [said]

    run(main)


def test_the_ticker() -> None:
    async def main() -> None:
        source = (EXAMPLES / "ticker.py").read_text()
        assert source.split('"""\n\n')[1] in (EXAMPLES.parent / "docs/streams.md").read_text()
        client, _ = await join(load(source)["io"])
        client.emit("ticker", 2, ack_id=1)
        await advance(1)
        assert await client.heard() == [
            '31[{"stream":"1"}]',
            '20["telex:stream","1","next",0]',
            '21["telex:stream","1","next",1]',
            '2["telex:stream","1","end"]',
        ]

    run(main)


SAYINGS = {
    'io.emit("news", {"n": 1})': ('2["news",{"n":1}]', "ann bob cat"),
    'io.to("room").emit("news", data)': ('2["news",[1,2]]', "ann bob"),
    'io.emit("news", data, to="room")': ('2["news",[1,2]]', "ann bob"),
    'io.to("room", "b").except_("c").emit("news", data)': ('2["news",[1,2]]', "ann bob"),
    'socket.emit("hello", data)': ('2["hello",[1,2]]', "ann"),
    'socket.broadcast.emit("joined", "ann")': ('2["joined","ann"]', "bob cat"),
    'socket.volatile.emit("pos", x, y)': ('2["pos",1.5,2]', "ann"),
}


@pytest.mark.parametrize("line", SAYINGS)
def test_what_a_server_can_say(line: str) -> None:
    message, hearers = SAYINGS[line]

    async def main() -> None:
        io = telex.Server()
        clients = {}
        for name, rooms in {"ann": "room", "bob": "room b", "cat": "c"}.items():
            clients[name], socket = await join(io)
            socket.join(rooms.split())
            if name == "ann":
                ann = socket
        eval(line, {"io": io, "socket": ann, "data": [1, 2], "x": 1.5, "y": 2})  # noqa: S307  # it stands above
        heard = {name: await client.heard() for name, client in clients.items()}
        assert {name: messages for name, messages in heard.items() if messages} == {
            name: [message] for name in hearers.split()
        }

    run(main)


def test_the_page_on_handlers() -> None:
    """The programs of docs/handlers.md, one after the other, are a program."""

    async def main() -> None:
        page = (EXAMPLES.parent / "docs/handlers.md").read_text()
        names = load("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)))
        io: telex.Server = names["io"]
        ann, socket = await join(io, auth={"token": "secret"})
        bob, _ = await join(io)
        for client in (ann, bob):
            client.emit("ready")
            client.emit("ready")
        assert await ann.heard() == [f'2["welcome","{socket.id}"]']
        assert len(await bob.heard()) == 1
        ann.emit("chat", " hello ", ack_id=1)
        assert await ann.heard() == ['2["chat","hello"]', '31["delivered"]']
        ann.emit("chat", "x" * 1001, ack_id=2)
        assert await ann.heard() == ['32[{"error":{"message":"too long","data":{"most":1000}}}]']
        assert names["log"][-2:] == [("in", "chat"), ("stopped", "chat: too long")]
        assert names["log"][-4:-2] == [("out", "chat"), ("out", "chat")]
        await bob.heard()
        bob.emit("announce", "I may not")
        ann.emit("announce", "I may")
        assert await ann.heard() == []
        assert await bob.heard() == ['2["announcement","I may"]']
        for ack_id in range(3):
            bob.emit("search", "tea", ack_id=ack_id)
        assert await bob.heard() == ['30[["tea"]]', '31[["tea"]]']
        assert io.statistics()["dropped_events"] == 1

    run(main)


def test_asking_clients() -> None:
    program = """
        import telex

        io = telex.Server()

        @io.on("begin")
        async def begin(socket):
            answer = await socket.call("confirm", "sure?", timeout=5)
            try:
                answers = await io.to("room").call("vote", timeout=5)
            except telex.AckTimeout as error:
                return answer, "missing", error.responses
            return answer, answers
        """

    async def main() -> None:
        io: telex.Server = load(program)["io"]
        ann, socket = await join(io)
        bob, other = await join(io)
        for someone in (socket, other):
            someone.join("room")
        for attempt, bob_votes in enumerate((True, False)):
            ann.emit("begin", ack_id=attempt)
            first = 2 * attempt
            assert await ann.heard() == [f'2{first}["confirm","sure?"]']
            ann.send(f'3{first}["yes"]')
            assert await ann.heard() == [f'2{first + 1}["vote"]']
            assert await bob.heard() == [f'2{first + 1}["vote"]']
            ann.send(f"3{first + 1}[1]")
            if bob_votes:
                bob.send(f"3{first + 1}[2]")
                assert await ann.heard() == ['30["yes",[1,2]]']
            else:
                await advance(5)
                assert await ann.heard() == ['31["yes","missing",[1]]']

    run(main)


def test_namespaces_middleware_and_classes() -> None:
    program = """
        import telex

        SECRET = "secret"
        io = telex.Server()

        admin = io.of("/admin")

        @admin.use
        async def only_staff(socket):
            if socket.handshake.auth.get("token") != SECRET:
                raise telex.ConnectRefused("not authorized", data={"retry": False})

        class Orders(telex.Namespace):
            async def on_connect(self, socket):
                socket.join("kitchen")

            async def on_order(self, socket, order):
                await self.to("kitchen").emit("cook", order)
                return {"number": 1}

        io.register(Orders("/orders"))
        """

    async def main() -> None:
        io: telex.Server = load(program)["io"]
        client = await open_client(io)
        client.send('0/admin,{"token":"wrong"}')
        assert await client.receive() == '4/admin,{"message":"not authorized","data":{"retry":false}}'
        await client.connect("/admin", {"token": "secret"})
        await client.connect("/orders")
        client.emit("order", {"what": "tea"}, nsp="/orders", ack_id=3)
        assert await client.heard() == ['2/orders,["cook",{"what":"tea"}]', '3/orders,3[{"number":1}]']

    run(main)


def test_what_a_socket_knows() -> None:
    async def main() -> None:
        io = telex.Server()
        client = await open_client(io, "&version=2")
        sid = await client.connect("/", {"token": "x"})
        socket = io.sockets.sockets[sid]
        assert socket.id == sid
        assert socket.nsp is io.of("/")
        assert socket.nsp.name == "/"
        assert socket.rooms == {sid}
        assert socket.data == {}
        assert socket.connected
        assert not socket.recovered
        assert socket.handshake.query["version"] == "2"
        assert socket.handshake.auth == {"token": "x"}
        socket.disconnect(close=True)
        assert not socket.connected

    run(main)


def test_a_blocking_handler_in_a_thread() -> None:
    program = """
        import telex, threading

        io = telex.Server()

        @io.on("report", thread=True)
        def report(socket, n):
            return threading.current_thread() is threading.main_thread(), n * 2
        """

    async def main() -> None:
        io: telex.Server = load(program)["io"]
        client, _ = await join(io)
        client.emit("report", 21, ack_id=0)
        assert await client.receive() == "30[false,42]"

    run(main)


def test_python_socketios_habits_that_work() -> None:
    program = """
        import telex

        io = telex.Server()

        @io.on("*")
        async def any_event(socket, event, *args):
            socket.emit("caught", event, *args)

        @io.on("connection")
        def connected(socket, auth):
            socket.emit("welcome", auth)

        @io.use
        def check(socket):
            if not socket.handshake.auth:
                raise ConnectionRefusedError("authentication failed")
        """

    async def main() -> None:
        io: telex.Server = load(program)["io"]
        client = await open_client(io)
        client.send("0")
        assert await client.receive() == '4{"message":"authentication failed"}'
        await client.connect("/", {"user": "ann"})
        client.emit("what", 1)
        assert await client.heard() == ['2["welcome",{"user":"ann"}]', '2["caught","what",1]']

    run(main)


def test_orders_are_placed_once_and_announcements_recovered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP", str(tmp_path / "shop.db"))

    def serve() -> Any:
        return load((EXAMPLES / "orders.py").read_text())["io"]

    async def order(io: Any, number: str) -> str:
        client, _ = await join(io, auth={"user": "ada"})
        client.emit("order", {"id": number, "what": "tea"}, ack_id=0)
        return str(await client.receive())

    async def main() -> None:
        io = serve()
        stranger = await open_client(io)
        stranger.send("0")
        assert str(await stranger.receive()).startswith('4{"message":"say who you are')
        assert await order(io, "a") == '30[{"number":1}]'
        assert await order(io, "a") == '30[{"number":1}]'
        assert await order(serve(), "a") == '30[{"number":1}]'  # after a crash
        assert await order(io, "b") == '30[{"number":2}]'

        client = await open_client(io)
        client.send('0{"user":"bob"}')
        pid = json.loads(str(await client.receive())[1:])["pid"]
        client.leave(is_clean=False)
        other, _ = await join(io, auth={"user": "ada"})
        other.emit("announce", "tea is here")
        await settle()
        client = await open_client(io)
        client.send("0" + json.dumps({"user": "bob", "pid": pid}))
        _, missed = await client.heard()
        assert str(missed).startswith('2["announcement","tea is here","')

    run(main)


@pytest.mark.parametrize("page", ["recovery.md", "reliable-events.md"])
def test_the_programs_of_a_page_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page shows as a whole program is one: it is run, and its server let a client in."""
    monkeypatch.chdir(tmp_path)
    text = (EXAMPLES.parent / "docs" / page).read_text()
    programs = [found for found in text.split("```python\n")[1:] if "redis" not in found.split("```")[0]]
    assert len(programs) == 2

    async def main(program: str) -> None:
        io = load(program.split("```", maxsplit=1)[0])["io"]
        client, _ = await join(io, auth={"user": "ada"})
        client.emit("order", {"id": "a", "what": "tea"})
        await settle()
        io.emit("all")
        assert any(str(message).startswith('2["all"') for message in await client.heard())

    for program in programs:
        run(lambda program=program: main(program))  # type: ignore[misc]
