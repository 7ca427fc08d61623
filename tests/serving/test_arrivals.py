"""How connections come in under `telex run`: whole requests, requests in pieces, and what is none.

The server is a process of its own. Every answer is the same whether the compiled loop accepts ("asyncio"), or the event
loop does ("uvloop", which keeps its listening sockets to itself); how a connection is accepted is nobody's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import telex
import telex.serving.arrivals
from telex.serving.arrivals import Arrivals
from telex.streams import poll_of
from tests.serving.live import LOOPS, run, until
from tests.splitter import SPLITS, split
from tests.support.processes import ServerProgram
from tests.twins import IS_PURE

PROGRAM = """
import json
import os
import telex

io = telex.Server()

@io.on("echo")
def echo(socket, *args):
    return args

async def other(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
        return
    body = b""
    more = True
    while more:
        event = await receive()
        body += event.get("body", b"")
        more = event.get("more_body", False)
    n_fds = len(os.listdir("/proc/self/fd"))
    found = {"path": scope["path"], "body": len(body), "client": scope["client"], "n_fds": n_fds}
    text = json.dumps(found).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text[:5], "more_body": True})
    await send({"type": "http.response.body", "body": text[5:]})

app = io.wrap(other)
"""

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SECONDS = 30.0


def request(path: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *lines, "", ""]).encode()


def upgrade(path: str) -> bytes:
    return request(
        path, "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}"
    )


OURS = "/socket.io/?EIO=4&transport=websocket"


def masked(text: str) -> bytes:
    data = text.encode()
    return bytes([0x81, 0x80 | len(data)]) + b"\0\0\0\0" + data


class Peer:
    """A bare socket to the server."""

    def __init__(self, server: ServerProgram) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, bytes]:
        """Read one response: its status and body."""
        status = int(self.file.readline().split()[1])
        n_bytes = 0
        while (line := self.file.readline()) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "content-length":
                n_bytes = int(value)
        return status, self.file.read(n_bytes)

    def ask(self, path: str) -> dict[str, Any]:
        """Send a plain request, and return what the program saw of it."""
        self.send(request(path))
        status, body = self.answer()
        assert status == 200
        found: dict[str, Any] = json.loads(body)
        return found

    def frame(self) -> str | int:
        """Read one small frame: its text, or the code of a Close."""
        first, n_bytes = self.file.read(2)
        data = self.file.read(n_bytes)
        return struct.unpack("!H", data[:2])[0] if first == 0x88 else data.decode()

    def ends(self) -> bool:
        """Read to the end of what the server sends."""
        with contextlib.suppress(ConnectionError):
            while self.file.read(65536):
                pass
        return True


@pytest.fixture(name="folder", scope="module")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arrivals")
    (folder / "chat.py").write_text(PROGRAM)
    return folder


def serve(folder: Path, name: str, loop: str) -> ServerProgram:
    return ServerProgram(["-m", "telex", "run", name, "--app-dir", folder, "--port", "0", "--loop", loop])


@pytest.fixture(name="servers", scope="module")
def make_servers(folder: Path) -> Iterator[Callable[[str, str], ServerProgram]]:
    """Start each kind of server when it is first wanted; at its end it has nothing to complain of."""
    with contextlib.ExitStack() as stack:
        servers: dict[tuple[str, str], ServerProgram] = {}

        def find(name: str, loop: str) -> ServerProgram:
            if (name, loop) not in servers:
                servers[name, loop] = stack.enter_context(serve(folder, name, loop))
            return servers[name, loop]

        yield find
    for server in servers.values():
        assert not [line for line in server.output if "Traceback" in line or "rror" in line]


@pytest.fixture(name="server", params=LOOPS)
def find_wrapped(servers: Callable[[str, str], ServerProgram], request: pytest.FixtureRequest) -> ServerProgram:
    """A server beside another application."""
    return servers("chat:app", request.param)


@pytest.fixture(name="alone", params=LOOPS)
def find_alone(servers: Callable[[str, str], ServerProgram], request: pytest.FixtureRequest) -> ServerProgram:
    """A server that is the whole application."""
    return servers("chat:io", request.param)


@pytest.fixture(name="either", params=[(name, loop) for name in ("chat:app", "chat:io") for loop in LOOPS])
def find_either(servers: Callable[[str, str], ServerProgram], request: pytest.FixtureRequest) -> ServerProgram:
    """The one or the other."""
    return servers(*request.param)


def converse(peer: Peer) -> None:
    """Play a Socket.IO conversation on an upgraded connection."""
    assert str(peer.frame()).startswith("0{")
    peer.send(masked("40"))
    assert str(peer.frame()).startswith('40{"sid"')
    peer.send(masked('421["echo","x"]'))
    assert peer.frame() == '431["x"]'


@pytest.mark.parametrize("how", SPLITS)
def test_a_websocket_whose_request_comes_in_pieces(either: ServerProgram, how: str) -> None:
    with Peer(either) as peer:
        for piece in split(upgrade(OURS), how):
            peer.send(piece)
        assert peer.answer()[0] == 101
        converse(peer)


def test_headers_in_another_spelling(alone: ServerProgram) -> None:
    head = upgrade(OURS).replace(b"Upgrade: websocket", b"uPGRADE:\tWebSocket")
    with Peer(alone) as peer:
        peer.send(head.replace(b"Connection: Upgrade", b"CONNECTION: keep-alive, UPGRADE"))
        assert peer.answer()[0] == 101
        converse(peer)


@pytest.mark.parametrize("how", SPLITS)
def test_a_websocket_of_the_other_application(server: ServerProgram, how: str) -> None:
    with Peer(server) as peer:
        for piece in split(upgrade("/other"), how):
            peer.send(piece)
        assert peer.answer()[0] == 101
        for text in ("one", "two"):
            peer.send(masked(text))
            assert peer.frame() == text
        peer.send(b"\x88\x82\0\0\0\0\x03\xe8")
        assert peer.frame() == 1000
        assert peer.ends()


@pytest.mark.skipif(IS_PURE, reason="uvicorn reads the request then, and forgets what came with it")
@pytest.mark.parametrize("is_one_segment", [True, False])
@pytest.mark.parametrize("name", ["chat:app", "chat:io"])
def test_frames_sent_before_the_answer_is_read(
    servers: Callable[[str, str], ServerProgram], name: str, is_one_segment: bool
) -> None:
    """Nobody may send them so early (RFC 6455 §4.1), but where we read the request ourselves they are not lost."""
    pieces = [upgrade(OURS), masked("40"), masked('421["echo","early"]')]
    with Peer(servers(name, "asyncio")) as peer:
        for piece in [b"".join(pieces)] if is_one_segment else pieces:
            peer.send(piece)
        assert peer.answer()[0] == 101
        heard = [peer.frame(), peer.frame(), peer.frame()]
        assert heard[2] == '431["early"]'


@pytest.mark.parametrize("how", SPLITS)
def test_plain_requests_on_one_connection(server: ServerProgram, how: str) -> None:
    with Peer(server) as peer:
        address = list(peer.socket.getsockname())
        for n in range(3):
            for piece in split(request(f"/page/{n}"), how):
                peer.send(piece)
            status, body = peer.answer()
            assert status == 200
            found = json.loads(body)
            assert (found["path"], found["client"]) == (f"/page/{n}", address)
        peer.send(upgrade(OURS))  # what was plain may still become a WebSocket
        assert peer.answer()[0] == 101
        converse(peer)


def test_several_requests_at_once_are_answered_in_order(server: ServerProgram) -> None:
    with Peer(server) as peer:
        peer.send(b"".join(request(f"/{n}") for n in range(20)))
        paths = [json.loads(peer.answer()[1])["path"] for _ in range(20)]
        assert paths == [f"/{n}" for n in range(20)]


@pytest.mark.parametrize("how", SPLITS)
def test_a_body_in_pieces(server: ServerProgram, how: str) -> None:
    body = b"\r\n\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n" * 20
    head = f"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with Peer(server) as peer:
        for piece in split(head + body, how):
            peer.send(piece)
        status, answer = peer.answer()
        assert (status, json.loads(answer)["body"]) == (200, len(body))
        assert peer.ask("/next")["path"] == "/next"


def test_a_body_that_is_large(server: ServerProgram) -> None:
    body = b"x" * 5_000_000
    with Peer(server) as peer:
        peer.send(b"POST /form HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert json.loads(peer.answer()[1])["body"] == len(body)


def test_a_client_that_wants_no_more_is_let_go(server: ServerProgram) -> None:
    with Peer(server) as peer:
        peer.send(request("/last", "Connection: close"))
        assert peer.answer()[0] == 200
        assert peer.ends()


def test_a_client_that_has_ended_its_side_still_gets_its_answer(server: ServerProgram) -> None:
    with Peer(server) as peer:
        peer.send(request("/last"))
        peer.socket.shutdown(socket.SHUT_WR)
        assert peer.ends()


@pytest.mark.parametrize(
    "noise", [b"\0\1\2\3" * 50, b"\r\n" * 50 + b"x y z\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\r\n\r\n"]
)
def test_what_is_no_http(either: ServerProgram, noise: bytes) -> None:
    with Peer(either) as peer:
        peer.send(noise)
        assert peer.answer()[0] == 400
        assert peer.ends()
    with Peer(either) as peer:
        peer.send(upgrade(OURS))
        assert peer.answer()[0] == 101


def test_a_websocket_request_that_is_not_sound(alone: ServerProgram) -> None:
    for old, new, status in [
        (b"Version: 13", b"Version: 8", 426),
        (KEY.encode(), b"short", 400),
        (b"Host: a\r\n", b"Host: a\r\nContent-Length: 5\r\n", 400),
    ]:
        with Peer(alone) as peer:
            peer.send(upgrade(OURS).replace(old, new))
            assert peer.answer()[0] == status
            assert peer.ends()


def test_a_wrong_path_is_told_the_right_one(alone: ServerProgram) -> None:
    for head in (request("/wrong"), upgrade("/wrong/?EIO=4&transport=websocket")):
        with Peer(alone) as peer:
            peer.send(head)
            status, body = peer.answer()
            assert status == 404
            assert body == b"There is nothing at this path: the Socket.IO server is at /socket.io/\n"


def test_clients_that_leave_at_once_cost_nothing(server: ServerProgram) -> None:
    linger = struct.pack("ii", 1, 0)
    with Peer(server) as peer:
        before = peer.ask("/")["n_fds"]
        for n in range(60):
            visitor = socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS)
            if n % 3:
                visitor.sendall(upgrade(OURS) if n % 3 == 1 else b"GET / HT")
            if n % 2:
                visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            visitor.close()
        while peer.ask("/")["n_fds"] > before:
            pass


# Directly: what takes long


def make_arrivals(app: Any, make_http: Any) -> tuple[Arrivals, Any]:
    config = uvicorn.Config(app, ws="telex.serving.uvicorn:Protocol", log_config=None, lifespan="off")
    config.load()
    poll = poll_of(asyncio.get_running_loop())
    assert poll is not None
    state = uvicorn.server.ServerState()
    arrivals = Arrivals(poll, make_http, config=config, state=state, app_state={}, close_code=1012, is_eager=True)
    return arrivals, state


@pytest.mark.skipif(IS_PURE, reason="accepting is the compiled loop's")
def test_a_connection_that_says_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telex.serving.arrivals, "FIRST_BYTES_TIMEOUT", 0.05)

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            arrivals, state = make_arrivals(telex.Server(), None)
            arrivals.listen(listening.fileno())
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            await until(lambda: state.connections)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            await until(lambda: not state.connections)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            arrivals.close()
            arrivals.close()

    run(main)


@pytest.mark.skipif(IS_PURE, reason="accepting is the compiled loop's")
def test_a_websocket_is_not_cut_by_what_the_silent_are_cut_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telex.serving.arrivals, "FIRST_BYTES_TIMEOUT", 0.05)

    async def main() -> None:
        async def plain(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await send({"type": "websocket.accept"})
            while (event := await receive())["type"] == "websocket.receive":
                await send({**event, "type": "websocket.send"})

        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            arrivals, state = make_arrivals(plain, None)
            arrivals.listen(listening.fileno())
            reader, writer = await asyncio.open_connection(*listening.getsockname())
            writer.write(upgrade("/"))
            await reader.readuntil(b"\r\n\r\n")
            silent, silent_writer = await asyncio.open_connection(*listening.getsockname())
            with contextlib.suppress(ConnectionError):
                assert await silent.read() == b""  # which came later, and is cut
            writer.write(masked("still there"))
            assert await reader.readexactly(13) == b"\x81\x0bstill there"
            assert len(state.connections) == 1
            for each in (writer, silent_writer):
                each.close()
                with contextlib.suppress(ConnectionError):
                    await each.wait_closed()
            await until(lambda: not state.connections and not state.tasks)
            arrivals.close()

    run(main)
