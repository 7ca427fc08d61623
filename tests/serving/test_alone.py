"""A server that stands alone under `telex run` is asked without ASGI: nobody can tell, but for the time it takes.

Each request goes to the same program twice: to the server itself, and to the same behind a layer that does nothing.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ServerProgram
from tests.twins import IS_PURE

PROGRAM = """
import telex

def make(**options):
    io = telex.Server(**options)

    @io.on("tell")
    def tell(socket):
        told = socket.handshake
        scope = {key: repr(value) for key, value in told.scope.items() if key not in ("server", "client", "extensions")}
        return dict(told.headers), dict(told.query), told.url, told.secure, told.xdomain, told.address, scope

    return io

def layer(io):
    async def layered(scope, receive, send):
        await io(scope, receive, send)
    return layered

alone = make(cookie=telex.Cookie())
behind = layer(make(cookie=telex.Cookie()))

def hooked():
    io = make(allow_request=lambda request: request.scope["path"].startswith("/socket.io") or "the scope is missing")
    return io

asked = hooked()
asked_behind = layer(hooked())
"""

pytestmark = pytest.mark.skipif(IS_PURE, reason="uvicorn accepts connections there, and always goes through ASGI")

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SECONDS = 10.0
VARYING = re.compile(rb'(?im)^(date: .*|set-cookie: io=[^;]*)|"sid":"[^"]*"|host: \S+|127\.0\.0\.1:\d+|sid=[\w-]+')
"""What is not the same in two answers."""


def upgrade(target: str, *lines: str, method: str = "GET") -> bytes:
    head = [
        f"{method} {target} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {KEY}",
        *lines,
        "",
        "",
    ]
    return "\r\n".join(head).encode()


def frame(text: str) -> bytes:
    data = text.encode()
    return bytes([0x81, 0x80 | len(data)]) + b"\0\0\0\0" + data


CLOSE = bytes([0x88, 0x80]) + b"\0\0\0\0"
TALK = frame("40") + frame('420["tell"]') + CLOSE

REQUESTS = {
    "usual": upgrade("/socket.io/?EIO=4&transport=websocket&a=b") + TALK,
    "no slash": upgrade("/socket.io?EIO=4&transport=websocket") + TALK,
    "percent": upgrade("/socket%2Eio/?EIO=4&transport=websocket") + TALK,
    "a page of the same origin": upgrade("/socket.io/?EIO=4&transport=websocket", "Origin: http://localhost") + TALK,
    "a page of another origin": upgrade("/socket.io/?EIO=4&transport=websocket", "Origin: http://elsewhere"),
    "a subprotocol": upgrade("/socket.io/?EIO=4&transport=websocket", "Sec-WebSocket-Protocol: a, b") + TALK,
    "a malformed offer": upgrade("/socket.io/?EIO=4&transport=websocket", "Sec-WebSocket-Protocol: a,,b c"),
    "through a proxy": upgrade(
        "/socket.io/?EIO=4&transport=websocket", "X-Forwarded-For: 10.1.2.3", "X-Forwarded-Proto: https"
    )
    + TALK,
    "an old client": upgrade("/socket.io/?EIO=3&transport=websocket"),
    "no version": upgrade("/socket.io/?transport=websocket"),
    "no client of ours": upgrade("/socket.io/"),
    "an unknown session": upgrade("/socket.io/?EIO=4&transport=websocket&sid=nobody"),
    "the wrong transport": upgrade("/socket.io/?EIO=4&transport=polling"),
    "the wrong path": upgrade("/elsewhere/?EIO=4&transport=websocket"),
    "the wrong method": upgrade("/socket.io/?EIO=4&transport=websocket", method="POST"),
    "the wrong version of WebSocket": upgrade("/socket.io/?EIO=4&transport=websocket").replace(b": 13", b": 12"),
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServerProgram]]:
    folder: Path = tmp_path_factory.mktemp("alone")
    (folder / "alone.py").write_text(PROGRAM)
    started: dict[str, ServerProgram] = {}
    try:
        for name in ("alone", "behind", "asked", "asked_behind"):
            started[name] = ServerProgram(
                ["-m", "telex", "run", f"alone:{name}", "--app-dir", folder, "--port", "0", "--loop", "asyncio"]
            )
        yield started
    finally:
        for program in started.values():
            program.kill()


def exchange(program: ServerProgram, data: bytes) -> bytes:
    """Say something and return all that comes until the server has closed."""
    with socket.create_connection(("127.0.0.1", program.port), timeout=SECONDS) as peer:
        peer.sendall(data)
        received = b""
        while piece := peer.recv(65536):
            received += piece
    return VARYING.sub(b"*", received)


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in REQUESTS.items()])
@pytest.mark.parametrize("one", ["alone", "asked"])
def test_what_a_client_sees_is_the_same(programs: dict[str, ServerProgram], one: str, data: bytes) -> None:
    other = {"alone": "behind", "asked": "asked_behind"}[one]
    answer = exchange(programs[one], data)
    assert answer.startswith(b"HTTP/1.1 ")
    assert answer == exchange(programs[other], data)
    if data.endswith(TALK):
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert b'"type":"\'websocket\'"' in answer  # the whole scope is there for who asks for it


def test_a_server_alone_is_not_asked_by_way_of_asgi(tmp_path: Path) -> None:
    (tmp_path / "counted.py").write_text(
        "import telex\n"
        "calls = []\n"
        "serve = telex.Server._serve\n"
        "async def counted(self, *args):\n"
        "    calls.append(args[0]['type'])\n"
        "    await serve(self, *args)\n"
        "telex.Server._serve = counted\n"
        "io = telex.Server()\n"
        "@io.on('tell')\n"
        "def tell(socket):\n"
        "    return calls.count('websocket')\n"
    )
    arguments: list[str | Path] = [
        "-m",
        "telex",
        "run",
        "counted:io",
        "--app-dir",
        tmp_path,
        "--port",
        "0",
        "--loop",
        "asyncio",
    ]
    with ServerProgram(arguments) as program:
        assert b"430[0]" in exchange(program, REQUESTS["usual"])
        assert b"430[1]" in exchange(program, REQUESTS["through a proxy"])
