"""A real web server on the loopback, and a client that speaks raw HTTP and WebSocket to it.

Rules: the server runs in the test's own loop, on a port that the system gives; every wait has a deadline that only ends
what hangs; a test asserts what came over the wire.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import socket
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn

from telex.engineio import CloseReason, Engine, Request, Session, message
from telex.limits import Limits
from telex.serving.asgi import serve_http, serve_websocket
from telex.streams import AsyncioStream
from telex.streams.deadlines import deadlines_of
from telex.types import Data
from telex.websocket.frames import FrameReader, Opcode, decode_close, encode_frame
from tests.engineio.loops import settle

SECONDS = 30.0
PATH = "/socket.io/"

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


class EchoFloor:
    """The floor above: it answers each message with the same, and remembers."""

    def __init__(self, session: Session, request: Request) -> None:
        self.session = session
        self.request = request
        self.messages: list[Data] = []
        self.reasons: list[CloseReason] = []
        self.changed = asyncio.Event()

    def message_received(self, data: Data) -> None:
        self.messages.append(data)
        self.session.send([message(data)])
        self.changed.set()

    def session_closed(self, reason: CloseReason) -> None:
        self.reasons.append(reason)
        self.changed.set()

    def writing_resumed(self) -> None:
        self.changed.set()

    async def closed(self) -> CloseReason:
        """Wait for the end."""
        while not self.reasons:
            self.changed.clear()
            await self.changed.wait()
        return self.reasons[0]


class EngineApp:
    """An ASGI application that is an engine and nothing else."""

    def __init__(self, *, limits: Limits | None = None, max_sessions: int = 1000, **options: Any) -> None:
        self.floors: list[EchoFloor] = []
        self.engine = Engine(self._open, limits=limits or Limits(), max_sessions=max_sessions, **options)

    @property
    def floor(self) -> EchoFloor:
        """That of the newest session."""
        return self.floors[-1]

    def _open(self, session: Session, request: Request) -> EchoFloor:
        self.floors.append(EchoFloor(session, request))
        return self.floor

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        assert scope["type"] in ("http", "websocket")
        await (serve_http if scope["type"] == "http" else serve_websocket)(self.engine, scope, receive, send)


class Counted:
    """Tell when a request begins."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.begun = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        self.begun.set()
        await self._app(scope, receive, send)


class TestServer(uvicorn.Server):
    """uvicorn without signals, without waiting in steps of 100 ms, and with an end that does not."""

    __test__ = False

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_ready = asyncio.Event()
        self.is_wanted = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        self.is_ready.set()
        await self.is_wanted.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            if isinstance(connection, AsyncioStream):
                connection.abort()
            elif hasattr(connection, "transport"):
                connection.transport.abort()
        # What is left are connections that a session has taken over. The client has closed them, and to end the engine
        # with them would mean to wait for those who poll.
        while self.server_state.connections:  # noqa: ASYNC110  # there is nothing to wait for but the condition itself
            await asyncio.sleep(0)
        if self.server_state.tasks:
            await asyncio.wait(self.server_state.tasks)
        await self.lifespan.shutdown()


class Site:
    """A server under way, and the means to talk to it."""

    def __init__(self, server: TestServer, counted: Counted, port: int) -> None:
        self.server = server
        self.port = port
        self._counted = counted
        self._open: list[Client] = []

    async def connect(self) -> Client:
        """Open a connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        client = Client(reader, writer, f"127.0.0.1:{self.port}")
        self._open.append(client)
        return client

    async def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> Answer:
        """Send one request on a connection of its own."""
        client = await self.connect()
        client.send_request(method, target, body, headers)
        answer = await client.answer(is_head=method == "HEAD")
        client.close()
        return answer

    async def get(self, query: str, headers: Sequence[tuple[str, str]] = ()) -> Answer:
        """Poll, or whatever the query says."""
        return await self.request("GET", f"{PATH}?{query}", None, headers)

    async def post(self, query: str, body: bytes | str, headers: Sequence[tuple[str, str]] = ()) -> Answer:
        """Post a payload."""
        data = body.encode() if isinstance(body, str) else body
        return await self.request("POST", f"{PATH}?{query}", data, [("Content-Type", "text/plain"), *headers])

    async def handshake(self, query: str = "") -> str:
        """Open a session on polling; return the query of its further requests."""
        answer = await self.get(f"EIO=4&transport=polling{query}")
        assert answer.status == 200, answer
        return f"EIO=4&transport=polling&sid={json.loads(answer.text[1:])['sid']}"

    async def park(self, query: str) -> Client:
        """Send a poll that waits, and see that the server has it."""
        client = await self.connect()
        client.send_request("GET", f"{PATH}?{query}")
        await self.arrives()
        return client

    async def arrives(self) -> None:
        """Wait until the server has begun with a request sent just before, and has come to where it waits."""
        self._counted.begun.clear()
        await self._counted.begun.wait()
        await settle()

    async def websocket(
        self, query: str = "EIO=4&transport=websocket", headers: Sequence[tuple[str, str]] = ()
    ) -> WebSocket:
        """Open a WebSocket, which must succeed."""
        opened = await self.try_websocket(query, headers)
        assert isinstance(opened, WebSocket), opened
        return opened

    async def try_websocket(
        self, query: str, headers: Sequence[tuple[str, str]] = (), path: str = PATH
    ) -> WebSocket | Answer:
        """Ask for a WebSocket; return the answer where it is refused."""
        client = await self.connect()
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", key),
        ]
        client.send_request("GET", f"{path}?{query}", None, [*upgrade, *headers])
        answer = await client.answer()
        if answer.status != 101:
            assert await client.reader.read() == b"", "the socket is closed behind a refusal"
            return answer
        accept = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324  # RFC 6455
        assert answer.header("sec-websocket-accept") == base64.b64encode(accept).decode()
        return WebSocket(client, answer)

    def close(self) -> None:
        """Close what the test left open."""
        for client in self._open:
            client.close()


@dataclass
class Answer:
    """One HTTP response, as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def header(self, name: str) -> str | None:
        """Return the one header of this name, or `None`."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    def own_headers(self) -> dict[str, str]:
        """Return all but what the web server adds itself."""
        return {name: value for name, value in self.headers if name not in {"date", "server"}}


class Client:
    """One TCP connection that speaks HTTP/1.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader = reader
        self.writer = writer
        self.host = host

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def send_request(
        self, method: str, target: str, body: bytes | None = None, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Send a whole request, or only its head where `headers` announce a body and none is given."""
        fields = [("Host", self.host), *headers]
        if body is not None:
            fields.append(("Content-Length", str(len(body))))
        lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in fields], "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + (body or b""))

    async def answer(self, *, is_head: bool = False) -> Answer:
        """Read one response."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip("\r\n").split("\r\n")
        status = int(first.split(" ")[1])
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        answer = Answer(status, headers, b"")
        length = answer.header("content-length")
        if answer.header("transfer-encoding") == "chunked":
            while size := int(await self.reader.readline(), 16):
                answer.body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
        elif length is not None and not is_head:
            answer.body = await self.reader.readexactly(int(length))
        return answer

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()


class WebSocket:
    """An open WebSocket, frame by frame."""

    def __init__(self, client: Client, answer: Answer) -> None:
        self.client = client
        self.answer = answer
        self._frames = FrameReader(
            expect_masked=False, allow_rsv1=False, max_message_size=100_000_000, max_fragments=1000
        )

    def send(self, *messages: Data) -> None:
        """Send messages, all in one segment."""
        frames = [
            encode_frame(Opcode.TEXT, data.encode(), mask=b"mask")
            if isinstance(data, str)
            else encode_frame(Opcode.BINARY, data, mask=b"mask")
            for data in messages
        ]
        self.client.send(b"".join(frames))

    def send_close(self, code: int = 1000) -> None:
        self.client.send(encode_frame(Opcode.CLOSE, code.to_bytes(2, "big"), mask=b"mask"))

    async def receive(self) -> Data | int:
        """Return the next message, or the code of the Close frame; 1006 where the connection ends without."""
        payload = b""
        while True:
            frame = self._frames.read()
            if frame is None:
                data = await self.client.reader.read(65536)
                if not data:
                    return 1006
                self._frames.feed(data)
                continue
            if frame.opcode is Opcode.CLOSE:
                return decode_close(frame.payload)[0]
            if frame.opcode in (Opcode.PING, Opcode.PONG):
                continue
            payload += frame.payload
            if frame.ends and frame.fin:
                return payload.decode() if frame.opcode is Opcode.TEXT else payload

    async def open_packet(self) -> dict[str, Any]:
        """Return what the first packet says."""
        packet = await self.receive()
        assert isinstance(packet, str)
        assert packet.startswith("0")
        found: dict[str, Any] = json.loads(packet[1:])
        return found

    async def ends(self) -> None:
        """See that the server closes the connection, and close our side of it."""
        while await self.client.reader.read(65536):
            pass
        self.client.close()


@contextlib.asynccontextmanager
async def serve(app: Any, *, ws: Any = "websockets-sansio", **options: Any) -> AsyncIterator[Site]:
    """Run uvicorn on a free port; afterwards see that nothing of it, nor of us, is left."""
    before = asyncio.all_tasks()
    settings: dict[str, Any] = {"lifespan": "off", "log_config": None, "access_log": False, "http": "httptools"}
    counted = Counted(app)
    config = uvicorn.Config(counted, ws=ws, **settings | options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # uvicorn's own, for its older class on `websockets`
        config.load()
    server = TestServer(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = asyncio.create_task(server.serve(sockets=[listening]))
        ready = asyncio.create_task(server.is_ready.wait())
        await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        site = Site(server, counted, listening.getsockname()[1])
        try:
            yield site
        finally:
            site.close()
            server.is_wanted.set()
            await running
    await settle()
    assert asyncio.all_tasks() == before


@contextlib.asynccontextmanager
async def serve_engine(*, ws: Any = "websockets-sansio", **options: Any) -> AsyncIterator[tuple[Site, EngineApp]]:
    """Serve a bare engine; afterwards see that every session has ended with its connections, or end it."""
    app = EngineApp(**options)
    async with serve(app, ws=ws) as site:
        yield site, app
    for session in list(app.engine.sessions.values()):
        session.abort()  # what only polled, and would end at its next ping
    check_nothing_is_left(app)
    assert len(deadlines_of(asyncio.get_running_loop())) == 0


def check_nothing_is_left(app: EngineApp) -> None:
    """R13: no session, no place kept."""
    assert app.engine.sessions == {}
    assert app.engine.admissions == set()


def run(program: Coroutine[Any, Any, None]) -> None:
    """Run a test; what hangs is ended."""

    async def limited() -> None:
        async with asyncio.timeout(SECONDS):
            await program

    asyncio.run(limited())
