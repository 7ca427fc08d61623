"""The ASGI application: which requests are ours, the lifespan, answers in pieces, and a WebSocket as ASGI has it.

What is about ASGI itself runs against servers in memory that do what the specification lets servers do, on a loop whose
clock jumps; what is about mounting runs under a real uvicorn.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, MutableMapping
from itertools import pairwise
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from telex.engineio import CloseReason, Request, Response, message
from telex.limits import Limits
from telex.logs import BURST
from telex.serving.asgi import (
    PIECE_BYTES,
    HttpBody,
    Server,
    WebSocketChannel,
    make_request,
    respond,
    serve_websocket,
    servers_in_use,
)
from telex.streams.deadlines import deadlines_of
from telex.streams.fairness import FRAMES_PER_TURN
from tests.engineio.loops import run as run_at_once
from tests.engineio.loops import settle
from tests.engineio.web import Answer, EngineApp, Site, WebSocket, run, serve

Event = MutableMapping[str, Any]
POLL = "EIO=4&transport=polling"
SOCKET = "EIO=4&transport=websocket"


# Which requests are ours


async def other(scope: Any, receive: Any, send: Any) -> None:
    """Be the application that is wrapped."""
    if scope["type"] == "lifespan":
        raise AssertionError("this one has no lifespan")
    await respond(scope, send, Response(200, [("content-type", "text/plain")], b"the other application"))


class Recorder:
    """A server in memory for one call: what it is told, and what it heard."""

    def __init__(self, *events: Event) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.sent: list[Event] = []
        for event in events:
            self.events.put_nowait(event)

    async def receive(self) -> Event:
        return await self.events.get()

    async def send(self, event: Event) -> None:
        self.sent.append(event)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(event["body"] for event in self.sent[1:])


def http_scope(path: str, query: str = POLL, **more: Any) -> Event:
    return {"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "headers": [], **more}


def websocket_scope(path: str = "/socket.io/", query: str = SOCKET, **more: Any) -> Event:
    more |= {"type": "websocket", "extensions": {"websocket.http.response": {}}}
    return {key: value for key, value in http_scope(path, query, **more).items() if key != "method"}


async def ask(app: Any, scope: Event) -> Recorder:
    recorder = Recorder({"type": "http.request", "body": b"", "more_body": False})
    await app(scope, recorder.receive, recorder.send)
    return recorder


OURS, OTHERS, NOBODYS = "ours", "others", "nobody's"
FRONT = Server()
APPS: dict[str, Any] = {
    "alone": FRONT,
    "wrapping": FRONT.wrap(other),
    "at the root": Server(path="/"),
    "elsewhere": Server(path="/a/b/"),
}


@pytest.mark.parametrize(
    ("app", "root_path", "path", "whose"),
    [
        ("alone", "", "/socket.io/", OURS),
        ("alone", "", "/socket.io", OURS),
        ("alone", "", "/", NOBODYS),
        ("alone", "", "", NOBODYS),
        ("alone", "", "/socket.iox/", NOBODYS),
        ("alone", "", "/socket.io/more", NOBODYS),
        ("alone", "", "/x/socket.io/", NOBODYS),
        ("alone", "", "/SOCKET.IO/", NOBODYS),
        # Behind a proxy that serves us below /api, or mounted at /api: servers since ASGI 2.2 leave it in the path.
        ("alone", "/api", "/api/socket.io/", OURS),
        ("alone", "/api/", "/api/socket.io", OURS),
        ("alone", "/api", "/socket.io/", OURS),
        ("alone", "/api", "/apisocket.io/", NOBODYS),
        ("alone", "/api", "/", NOBODYS),
        ("alone", "/api", "/apis/socket.io/", NOBODYS),
        # Mounted at the very path.
        ("alone", "/socket.io", "/socket.io/", OURS),
        ("alone", "/socket.io", "/socket.io", OURS),
        ("alone", "/ws", "/ws/", OURS),
        ("alone", "/ws", "/ws/more", NOBODYS),
        ("wrapping", "", "/socket.io/", OURS),
        ("wrapping", "", "/", OTHERS),
        ("wrapping", "", "/socket.io/more", OTHERS),
        ("wrapping", "/api", "/api/socket.io/", OURS),
        ("wrapping", "/api", "/api/", OTHERS),  # the other's front page, though we could be mounted there
        ("wrapping", "/api", "/api", OTHERS),
        ("at the root", "", "/", OURS),
        ("at the root", "", "/more", NOBODYS),
        ("at the root", "/api", "/api/", OURS),
        ("elsewhere", "", "/a/b/", OURS),
        ("elsewhere", "", "/a/b", OURS),
        ("elsewhere", "", "/socket.io/", NOBODYS),
        ("elsewhere", "/api", "/api/a/b/", OURS),
    ],
)
def test_which_requests_are_ours(app: str, root_path: str, path: str, whose: str) -> None:
    async def main() -> None:
        recorder = await ask(APPS[app], http_scope(path, "EIO=3&transport=polling", root_path=root_path))
        if whose is OURS:
            assert json.loads(recorder.body)["code"] == 5
        elif whose is OTHERS:
            assert recorder.body == b"the other application"
        else:
            assert recorder.status == 404

    run_at_once(main())


@pytest.mark.parametrize(
    ("server", "root_path", "right"),
    [
        (Server(), "", "/socket.io/"),
        (Server(), "/api", "/api/socket.io/"),
        (Server(path="/a/b/"), "/api/", "/api/a/b/"),
        (Server(path="/"), "", "/"),
    ],
)
def test_a_wrong_path_is_told_the_right_one(server: Server, root_path: str, right: str) -> None:
    async def main() -> None:
        for scope in (http_scope("/wrong", root_path=root_path), websocket_scope("/wrong", root_path=root_path)):
            recorder = await ask(server, scope)
            assert recorder.status == 404
            text = f"There is nothing at this path: the Socket.IO server is at {right}\n"
            assert recorder.body.decode() == text
            assert recorder.sent[0]["headers"] == [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", str(len(text)).encode()),
            ]

    run_at_once(main())


def test_a_wrong_path_is_logged_but_a_flood_is_not(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = Server()
        for n in range(100):
            await ask(server, http_scope(f"/wrong{n}"))
        assert caplog.messages[0] == (
            "a request for '/wrong0', where there is nothing: the Socket.IO server is at '/socket.io/' "
            "(the option path, on both ends)"
        )
        assert len(caplog.messages) == BURST

    run_at_once(main())


def test_a_scope_of_a_kind_that_we_do_not_know() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="'carrier pigeon' is not known"):
            await ask(Server(), {"type": "carrier pigeon"})
        with pytest.raises(AssertionError, match="no lifespan"):  # the wrapped application's affair
            await ask(Server().wrap(other), {"type": "lifespan"})

    run_at_once(main())


def test_a_server_that_was_asked_is_known_to_be_in_use() -> None:
    async def main() -> None:
        server = Server()
        assert server not in servers_in_use
        await ask(server, http_scope("/wrong"))
        assert server in servers_in_use

    run_at_once(main())


def hello(request: StarletteRequest) -> PlainTextResponse:
    return PlainTextResponse("hello from the framework")


async def check_conversation(site: Site, path: str) -> None:
    """Open a session on polling at this path, and one on websocket."""
    answer = await site.request("GET", f"{path}?{POLL}")
    assert answer.status == 200, answer
    assert answer.text.startswith("0{")
    query = f"{POLL}&sid={json.loads(answer.text[1:])['sid']}"
    assert (await site.request("POST", f"{path}?{query}", b"40")).text == "ok"
    assert (await site.request("GET", f"{path}?{query}")).text.startswith('40{"sid":"')
    assert (await site.request("POST", f"{path}?{query}", b"1")).text == "ok"
    opened = await site.try_websocket(SOCKET, path=path)
    assert isinstance(opened, WebSocket), opened
    await opened.open_packet()
    opened.send("40")
    connected = await opened.receive()
    assert isinstance(connected, str)
    assert connected.startswith('40{"sid":"')
    opened.send("1")
    assert await opened.receive() == 1000


def mounted(server: Server) -> Starlette:
    app = Starlette(routes=[Route("/", hello)])
    app.mount("/socket.io", server)
    return app


def mounted_deep(server: Server) -> Starlette:
    return Starlette(routes=[Mount("/outer", Starlette(routes=[Route("/", hello), Mount("/inner", server)]))])


@pytest.mark.parametrize("ws", ["websockets-sansio", "telex.serving.uvicorn:Protocol"])
@pytest.mark.parametrize(
    ("build", "root_path", "ours", "theirs"),
    [
        (lambda server: server, "", "/socket.io/", None),
        (lambda server: server.wrap(Starlette(routes=[Route("/", hello)])), "", "/socket.io/", "/"),
        (mounted, "", "/socket.io/", "/"),
        (mounted_deep, "", "/outer/inner/", "/outer/"),
        (mounted_deep, "", "/outer/inner/socket.io/", "/outer/"),
    ],
    ids=["alone", "wrapping", "mounted", "mounted at a path", "mounted above the path"],
)
def test_in_a_framework(build: Callable[[Server], Any], root_path: str, ours: str, theirs: str | None, ws: str) -> None:
    async def main() -> None:
        server = Server()
        async with serve(build(server), ws=ws, root_path=root_path) as site:
            await check_conversation(site, ours)
            if theirs is not None:
                assert (await site.request("GET", theirs)).text == "hello from the framework"
        assert server.engine.sessions == {}

    run(main())


def test_behind_a_proxy_that_strips_its_prefix() -> None:
    async def main() -> None:
        server = Server()
        async with serve(server.wrap(Starlette(routes=[Route("/", hello)])), root_path="/api") as site:
            await check_conversation(site, "/socket.io/")
            assert (await site.request("GET", "/")).text == "hello from the framework"

    run(main())


@pytest.mark.parametrize("ws", ["websockets-sansio", "telex.serving.uvicorn:Protocol"])
def test_a_websocket_at_a_wrong_path(ws: str) -> None:
    async def main() -> None:
        async with serve(Server(), ws=ws) as site:
            answer = await site.try_websocket(SOCKET, path="/wrong/")
            assert isinstance(answer, Answer)
            assert answer.status == 404
            assert answer.text == "There is nothing at this path: the Socket.IO server is at /socket.io/\n"

    run(main())


# The lifespan


async def live(app: Any, *, during: Callable[[], Coroutine[Any, Any, None]] | None = None) -> Recorder:
    """Let an application live: start it, do something, shut it down."""
    recorder = Recorder({"type": "lifespan.startup"})
    task = asyncio.create_task(app({"type": "lifespan"}, recorder.receive, recorder.send))
    await settle()
    if during is not None:
        await during()
    recorder.events.put_nowait({"type": "lifespan.shutdown"})
    await task
    return recorder


STARTED = {"type": "lifespan.startup.complete"}
STOPPED = {"type": "lifespan.shutdown.complete"}


def test_the_lifespan_alone_closes_every_session() -> None:
    async def main() -> None:
        server = Server()

        async def open_session() -> None:
            await ask(server, http_scope("/socket.io/"))
            assert len(server.engine.sessions) == 1

        assert (await live(server, during=open_session)).sent == [STARTED, STOPPED]
        assert server.engine.sessions == {}
        assert len(deadlines_of(asyncio.get_running_loop())) == 0

    run_at_once(main())


def test_sessions_are_closed_while_the_wrapped_application_still_stands() -> None:
    async def main() -> None:
        server = Server()
        story: list[str] = []

        @contextlib.asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            story.append("database open")
            yield
            story.append(f"database closed with {len(server.engine.sessions)} sessions")

        @server.on("disconnect")
        def gone(socket: Any, reason: str) -> None:
            story.append(reason)

        app = server.wrap(Starlette(lifespan=lifespan))

        async def join() -> None:
            recorder = await ask(server, http_scope("/socket.io/"))
            query = f"{POLL}&sid={json.loads(recorder.body[1:])['sid']}"
            post = Recorder({"type": "http.request", "body": b"40"})
            await app(http_scope("/socket.io/", query, method="POST"), post.receive, post.send)
            assert post.body == b"ok"

        assert (await live(app, during=join)).sent == [STARTED, STOPPED]
        assert story == ["database open", "server shutting down", "database closed with 0 sessions"]

    run_at_once(main())


def test_a_lifespan_on_a_real_server() -> None:
    async def main() -> None:
        server = Server()
        async with serve(server, lifespan="on") as site:
            await check_conversation(site, "/socket.io/")
        assert server.engine.sessions == {}

    run(main())


# Answers


def parts(recorder: Recorder) -> list[tuple[int, bool]]:
    return [(len(event["body"]), event["more_body"]) for event in recorder.sent[1:]]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (0, [(0, False)]),
        (1, [(1, False)]),
        (PIECE_BYTES, [(PIECE_BYTES, False)]),
        (PIECE_BYTES + 1, [(PIECE_BYTES, True), (1, False)]),
        (3 * PIECE_BYTES, [(PIECE_BYTES, True), (PIECE_BYTES, True), (PIECE_BYTES, False)]),
    ],
)
def test_an_answer_leaves_in_pieces(size: int, expected: list[tuple[int, bool]]) -> None:
    async def main() -> None:
        recorder = Recorder()
        await respond(http_scope("/"), recorder.send, Response(200, [("a", "b")], b"x" * size))
        assert recorder.sent[0] == {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"a", b"b"), (b"content-length", str(size).encode())],
        }
        assert parts(recorder) == expected

    run_at_once(main())


def test_an_answer_tells_how_it_gets_on() -> None:
    # What is left is told before each piece: when the last one goes, the client may already send its next request.
    class Delivery:
        def __init__(self) -> None:
            self.story: list[object] = []

        def leaving(self, n_left: int, n_total: int) -> None:
            self.story.append((n_left, n_total))

        def lost(self) -> None:
            raise AssertionError("nothing was lost")

    async def main() -> None:
        delivery = Delivery()
        total = 2 * PIECE_BYTES + 10

        async def send(event: Event) -> None:
            delivery.story.append(event["type"])

        await respond(http_scope("/"), send, Response(200, [], b"x" * total, delivery=delivery))
        piece = "http.response.body"
        left = [(PIECE_BYTES + 10, total), piece, (10, total), piece, (0, total), piece]
        assert delivery.story == ["http.response.start", *left]

    run_at_once(main())


def test_a_websocket_is_refused_with_a_response_where_the_server_can() -> None:
    async def main() -> None:
        recorder = Recorder()
        await respond(websocket_scope(), recorder.send, Response(400, [], b"no"))
        assert [event["type"] for event in recorder.sent] == [
            "websocket.http.response.start",
            "websocket.http.response.body",
        ]

    run_at_once(main())


@pytest.mark.parametrize("extensions", [None, {}, {"tls": {}}])
def test_and_with_a_close_where_it_cannot(extensions: Any) -> None:
    async def main() -> None:
        recorder = Recorder({"type": "websocket.connect"})
        scope = {**websocket_scope(query="EIO=3&transport=websocket"), "extensions": extensions}
        await Server()(scope, recorder.receive, recorder.send)
        assert recorder.sent == [{"type": "websocket.close", "code": 1008, "reason": "Unsupported protocol version"}]

    run_at_once(main())


class Refusing:
    """A server whose `send` fails from some event on, as each server has its own way to."""

    def __init__(self, error: BaseException, first: int = 0) -> None:
        self.error = error
        self.n_left = first
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    async def receive(self) -> Event:
        return await self.events.get()

    async def send(self, event: Event) -> None:
        if self.n_left == 0:
            raise self.error
        self.n_left -= 1


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("a mistake"), asyncio.CancelledError()], ids=repr)
def test_an_answer_that_does_not_leave_ends_its_session(error: BaseException, first: int) -> None:
    async def main() -> None:
        app = EngineApp(limits=Limits(ping_interval=1e6))
        recorder = Recorder({"type": "http.request"})
        await app(http_scope("/"), recorder.receive, recorder.send)
        floor = app.floor
        floor.session.send([message("x" * PIECE_BYTES)])
        server = Refusing(error, first)
        server.events.put_nowait({"type": "http.request"})
        call = app(http_scope("/", f"{POLL}&sid={floor.session.sid}"), server.receive, server.send)
        if isinstance(error, OSError):
            await call  # says only that the client has left
        else:
            with pytest.raises(type(error)):
                await call
        assert floor.reasons == [CloseReason.TRANSPORT_ERROR]
        assert app.engine.sessions == {}

    run_at_once(main())


def test_a_refusal_that_does_not_leave_harms_nobody() -> None:
    async def main() -> None:
        app = EngineApp()
        for scope in (http_scope("/", "EIO=3"), websocket_scope(query="EIO=3")):
            server = Refusing(OSError("gone"))
            server.events.put_nowait({"type": "http.request"})
            await app(scope, server.receive, server.send)

    run_at_once(main())


def test_a_client_that_leaves_its_poll() -> None:
    async def main() -> None:
        app = EngineApp()
        recorder = Recorder({"type": "http.request"})
        await app(http_scope("/"), recorder.receive, recorder.send)
        gone = Recorder(
            {"type": "http.request", "more_body": True}, {"type": "http.request"}, {"type": "http.disconnect"}
        )
        await app(http_scope("/", f"{POLL}&sid={app.floor.session.sid}"), gone.receive, gone.send)
        assert gone.sent == []
        assert app.floor.reasons == [CloseReason.TRANSPORT_ERROR]

    run_at_once(main())


def test_a_body_is_read_to_its_end_and_no_further() -> None:
    async def main() -> None:
        recorder = Recorder(
            {"type": "http.request", "body": b"one", "more_body": True},
            {"type": "http.request", "more_body": True},
            {"type": "http.request", "body": b"two"},
            {"type": "http.disconnect"},
        )
        body = HttpBody(recorder.receive)
        assert [await body.read() for _ in range(5)] == [b"one", b"", b"two", None, None]
        assert recorder.events.qsize() == 1

    run_at_once(main())


def test_a_client_that_leaves_its_post() -> None:
    async def main() -> None:
        app = EngineApp()
        recorder = Recorder({"type": "http.request"})
        await app(http_scope("/"), recorder.receive, recorder.send)
        query = f"{POLL}&sid={app.floor.session.sid}"
        gone = Recorder({"type": "http.request", "body": b"4un", "more_body": True}, {"type": "http.disconnect"})
        await app(http_scope("/", query, method="POST"), gone.receive, gone.send)
        assert gone.sent == []
        assert app.floor.reasons == [CloseReason.TRANSPORT_ERROR]

    run_at_once(main())


def test_e31_a_client_that_does_not_read_its_answer() -> None:
    async def main() -> None:
        app = EngineApp(limits=Limits(slow_consumer_timeout=0.2))
        async with serve(app) as site:
            answer = await site.request("GET", f"/?{POLL}")
            query = f"{POLL}&sid={json.loads(answer.text[1:])['sid']}"
            client = await site.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a read transport too
            app.floor.session.send([message("x" * 30_000_000)])
            client.send_request("GET", f"/?{query}")
            assert await app.floor.closed() is CloseReason.SLOW_CONSUMER
            client.abort()
        assert app.engine.sessions == {}

    run(main())


def test_a_client_that_reads_its_answer_in_time() -> None:
    async def main() -> None:
        app = EngineApp(limits=Limits(slow_consumer_timeout=0.5))
        async with serve(app) as site:
            answer = await site.request("GET", f"/?{POLL}")
            query = f"{POLL}&sid={json.loads(answer.text[1:])['sid']}"
            app.floor.session.send([message("x" * 10_000_000)])
            assert len((await site.request("GET", f"/?{query}")).body) == 10_000_001
            assert app.floor.session.is_open
            app.floor.session.abort()

    run(main())


# A WebSocket, as ASGI has it


class Line:
    """An ASGI server for one WebSocket: `room` says how many events its `send` takes before it waits."""

    def __init__(self, limits: Limits | None = None, **options: Any) -> None:
        self.app = EngineApp(limits=limits or Limits(ping_interval=1e6), **options)
        self.incoming: asyncio.Queue[Event] = asyncio.Queue()
        self.sent: list[Event] = []
        self.room = asyncio.Semaphore(1_000_000)
        self.error: Exception | None = None
        self.incoming.put_nowait({"type": "websocket.connect"})
        self.call = asyncio.create_task(self.app(websocket_scope(), self.receive, self.send))

    async def receive(self) -> Event:
        return await self.incoming.get()

    async def send(self, event: Event) -> None:
        await self.room.acquire()
        if self.error is not None:
            raise self.error
        self.sent.append(event)

    def stop_reading(self) -> None:
        """Be a peer that takes nothing more."""
        self.room = asyncio.Semaphore(0)

    def say(self, *messages: str | bytes) -> None:
        for data in messages:
            kind, missing = ("text", "bytes") if isinstance(data, str) else ("bytes", "text")
            self.incoming.put_nowait({"type": "websocket.receive", kind: data, missing: None})

    def hang_up(self, code: int | None = 1000) -> None:
        event: Event = {"type": "websocket.disconnect"}
        self.incoming.put_nowait(event if code is None else {**event, "code": code})

    @property
    def reasons(self) -> list[CloseReason]:
        return self.app.floor.reasons

    def said(self) -> list[str | bytes | int]:
        """Return the messages sent after the first packet, and the code of a close."""
        assert self.sent[0]["type"] == "websocket.accept"
        return [event[next(kind for kind in ("code", "text", "bytes") if kind in event)] for event in self.sent[2:]]

    async def is_over(self) -> None:
        """See that the call ended in order, and that nothing is left of it."""
        await self.call
        await settle()
        assert self.app.engine.sessions == {}
        assert self.app.engine.admissions == set()
        assert len(deadlines_of(asyncio.get_running_loop())) == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def opened(limits: Limits | None = None) -> Line:
    line = Line(limits)
    await settle()
    assert [event["type"] for event in line.sent] == ["websocket.accept", "websocket.send"]
    return line


def test_messages_go_out_in_order_and_come_in_in_order() -> None:
    async def main() -> None:
        line = await opened()
        line.app.floor.session.send([message("first")])
        line.say(*[f"4{n}" for n in range(500)], b"last")
        await settle()
        assert line.said() == ["4first", *[f"4{n}" for n in range(500)], b"last"]
        line.hang_up()
        await line.is_over()
        assert line.reasons == [CloseReason.TRANSPORT_CLOSE]

    run_at_once(main())


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        *[(code, CloseReason.TRANSPORT_CLOSE) for code in (None, 1000, 1001, 1005, 1006, 1011, 1012, 4000)],
        *[(code, CloseReason.TRANSPORT_ERROR) for code in (1002, 1007, 1009)],
    ],
)
def test_what_a_disconnect_means(code: int | None, reason: CloseReason) -> None:
    async def main() -> None:
        line = await opened()
        line.hang_up(code)
        await line.is_over()
        assert line.reasons == [reason]
        assert line.said() == []

    run_at_once(main())


def test_bytes_that_wait_are_counted_and_room_is_told() -> None:
    async def main() -> None:
        line = await opened(Limits(send_buffer_high=100, ping_interval=1e6))
        session = line.app.floor.session
        line.stop_reading()
        session.send([message("€" * 50)])
        session.send([message("waits above")])
        assert session.buffered_bytes == 151 + 12
        await settle()
        assert session.buffered_bytes == 151 + 12  # the one being sent counts until it has left
        line.room.release()
        await settle()
        assert session.buffered_bytes == 12
        line.room.release()
        await settle()
        assert session.buffered_bytes == 0
        assert line.said() == ["4" + "€" * 50, "4waits above"]
        await asyncio.sleep(1000)  # the watch on a slow consumer has ended
        assert session.is_open
        line.hang_up()
        await line.is_over()

    run_at_once(main())


def test_close_lets_what_waits_leave_first() -> None:
    async def main() -> None:
        line = await opened()
        session = line.app.floor.session
        session.send([message("one"), message(b"two")])
        session.close()
        session.send([message("too late")])
        await settle()
        assert line.said() == ["4one", b"two", 1000]
        line.say("4too late as well")
        line.hang_up()
        await line.is_over()
        assert line.app.floor.messages == []

    run_at_once(main())


def test_close_to_a_peer_that_does_not_read() -> None:
    async def main() -> None:
        line = await opened()
        session = line.app.floor.session
        line.stop_reading()
        session.send([message("stuck")])
        await settle()
        session.close()
        start = asyncio.get_running_loop().time()
        await line.is_over()  # though the server never says that the connection has ended
        assert asyncio.get_running_loop().time() - start == pytest.approx(Limits().close_timeout)
        assert line.said() == []
        assert line.reasons == [CloseReason.FORCED_CLOSE]

    run_at_once(main())


def test_abort_does_not_wait_for_what_is_being_sent() -> None:
    async def main() -> None:
        line = await opened()
        session = line.app.floor.session
        line.stop_reading()
        session.send([message("stuck"), message("waits")])
        await settle()
        session.abort()
        assert session.buffered_bytes == 0
        assert line.reasons == [CloseReason.FORCED_CLOSE]
        line.room.release()
        await settle()
        assert line.said() == [1000]
        line.hang_up()
        await line.is_over()

    run_at_once(main())


def test_abort_after_close_drops_what_waits() -> None:
    async def main() -> None:
        line = await opened()
        session = line.app.floor.session
        line.stop_reading()
        session.send([message("stuck"), message("waits")])
        await settle()
        session.close()
        session.abort()
        line.room.release()
        await settle()
        assert line.said() == [1000]
        line.hang_up()
        await line.is_over()

    run_at_once(main())


def test_abort_after_the_close_frame_has_left_says_nothing_more() -> None:
    async def main() -> None:
        line = await opened()
        session = line.app.floor.session
        session.close()
        await settle()
        session.abort()
        await settle()
        assert line.said() == [1000]
        start = asyncio.get_running_loop().time()
        await line.is_over()
        assert asyncio.get_running_loop().time() - start == pytest.approx(Limits().close_timeout)

    run_at_once(main())


def test_a_message_in_the_same_turn_as_an_abort_does_not_leave() -> None:
    async def main() -> None:
        line = await opened()
        session = line.app.floor.session
        session.send([message("dropped")])
        session.abort()
        await settle()
        assert line.said() == [1000]
        line.hang_up()
        await line.is_over()

    run_at_once(main())


ERRORS = [OSError("gone"), RuntimeError("Unexpected ASGI message"), ValueError("closed"), KeyError("state")]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_send_that_fails_and_a_server_that_says_why(error: Exception) -> None:
    async def main() -> None:
        line = await opened()
        line.error = error
        line.app.floor.session.send([message("nobody is there")])
        await settle()
        assert line.app.floor.session.is_open  # the reason is still to come
        assert line.app.floor.session.buffered_bytes == 0
        line.app.floor.session.send([message("nor now")])
        line.hang_up(1001)
        await line.is_over()
        assert line.reasons == [CloseReason.TRANSPORT_CLOSE]

    run_at_once(main())


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("is_paused", [False, True])
def test_a_send_that_fails_and_a_server_that_never_says_so(error: Exception, is_paused: bool) -> None:
    async def main() -> None:
        line = await opened()
        if is_paused:
            line.say("4before")
            line.app.floor.session.pause_reading()
            await settle()
        line.error = error
        line.app.floor.session.send([message("nobody is there")])
        await line.is_over()
        assert line.reasons == [CloseReason.TRANSPORT_ERROR]

    run_at_once(main())


def test_a_close_that_fails() -> None:
    async def main() -> None:
        line = await opened()
        line.error = RuntimeError("closed already")
        line.app.floor.session.close()
        await line.is_over()
        assert line.reasons == [CloseReason.FORCED_CLOSE]

    run_at_once(main())


def test_a_call_that_is_cancelled() -> None:
    async def main() -> None:
        for is_writing in (False, True):
            line = await opened()
            if is_writing:
                line.stop_reading()
                line.app.floor.session.send([message("stuck")])
                await settle()
            line.call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await line.is_over()
            assert line.reasons == [CloseReason.TRANSPORT_ERROR]
            await settle()
            assert line.app.engine.sessions == {}
            assert asyncio.all_tasks() == {asyncio.current_task()}

    run_at_once(main())


def test_a_paused_session_is_not_read() -> None:
    async def main() -> None:
        line = await opened()
        session = line.app.floor.session
        session.pause_reading()
        line.say("4one", "4two", "4three")
        await settle()
        assert line.app.floor.messages == []
        assert line.incoming.qsize() == 2  # one is held back: only who asks for it hears that the client has left
        session.resume_reading()
        await settle()
        assert line.app.floor.messages == ["one", "two", "three"]
        line.hang_up()
        await line.is_over()

    run_at_once(main())


@pytest.mark.parametrize("n_messages", [0, 1])
def test_a_client_that_leaves_a_paused_session_is_missed(n_messages: int) -> None:
    async def main() -> None:
        line = await opened()
        line.app.floor.session.pause_reading()
        line.say(*["4unread"] * n_messages)
        await settle()
        line.hang_up()
        await settle()
        if n_messages:  # the end stands behind it, and is heard as soon as there is reading
            line.app.floor.session.resume_reading()
        await line.is_over()
        assert line.reasons == [CloseReason.TRANSPORT_CLOSE]
        assert line.app.floor.messages == ["unread"] * n_messages

    run_at_once(main())


def test_a_client_that_leaves_behind_unread_messages_is_missed_in_the_end() -> None:
    async def main() -> None:
        line = await opened(Limits())
        line.app.floor.session.pause_reading()
        line.say("4unread", "4unread")
        line.hang_up()
        await line.is_over()
        assert line.reasons == [CloseReason.PING_TIMEOUT]
        assert line.app.floor.messages == []

    run_at_once(main())


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_client_that_leaves_its_post_while_that_waits_for_room(is_gone: bool) -> None:
    async def main() -> None:
        app = EngineApp()
        recorder = Recorder({"type": "http.request"})
        await app(http_scope("/"), recorder.receive, recorder.send)
        session = app.floor.session
        session.pause_reading()
        post = Recorder({"type": "http.request", "body": b"4un"})
        scope = http_scope("/", f"{POLL}&sid={session.sid}", method="POST")
        call = asyncio.create_task(app(scope, post.receive, post.send))
        await settle()
        assert post.sent == []
        if is_gone:
            post.events.put_nowait({"type": "http.disconnect"})
        else:
            session.resume_reading()
        await call
        await settle()
        assert app.floor.messages == ["un"]
        assert app.floor.reasons == ([CloseReason.TRANSPORT_ERROR] if is_gone else [])
        assert post.body == (b"" if is_gone else b"ok")
        assert session.is_open is not is_gone
        session.abort()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run_at_once(main())


def test_a_paused_session_that_closes_hears_the_end() -> None:
    async def main() -> None:
        line = await opened()
        session = line.app.floor.session
        line.say("4one")
        session.pause_reading()
        await settle()
        session.close()
        session.pause_reading()
        line.hang_up()
        start = asyncio.get_running_loop().time()
        await line.is_over()
        assert asyncio.get_running_loop().time() == start

    run_at_once(main())


def test_pausing_a_channel_that_closes_does_nothing() -> None:
    async def main() -> None:
        recorder = Recorder({"type": "websocket.disconnect"})
        app = EngineApp()
        channel = WebSocketChannel(recorder.receive, recorder.send, Limits())
        admission = await app.engine.admit_websocket(make_handshake())
        assert not isinstance(admission, Response)
        channel.close(1000)
        channel.pause_reading()
        await channel.serve(admission.start(channel))
        assert recorder.sent in ([], [{"type": "websocket.close", "code": 1000, "reason": ""}])

    run_at_once(main())


def make_handshake() -> Request:
    return make_request(websocket_scope())


def test_a_session_that_ends_before_its_channel_is_read() -> None:
    async def main() -> None:
        recorder = Recorder()
        app = EngineApp()
        channel = WebSocketChannel(recorder.receive, recorder.send, Limits())
        admission = await app.engine.admit_websocket(make_handshake())
        assert not isinstance(admission, Response)
        transport = admission.start(channel)
        app.floor.session.close()
        start = asyncio.get_running_loop().time()
        await channel.serve(transport)  # the peer never answers
        assert asyncio.get_running_loop().time() - start == pytest.approx(Limits().close_timeout)
        assert [event["type"] for event in recorder.sent] == ["websocket.send", "websocket.close"]
        assert app.engine.sessions == {}

    run_at_once(main())


def test_a_channel_that_closes_takes_no_more() -> None:
    async def main() -> None:
        recorder = Recorder()
        channel = WebSocketChannel(recorder.receive, recorder.send, Limits())
        channel.send("one", compress=True)
        channel.close(1000, "enough")
        channel.send("two", compress=True)
        channel.close(1001)
        await settle()
        assert recorder.sent == [
            {"type": "websocket.send", "text": "one"},
            {"type": "websocket.close", "code": 1000, "reason": "enough"},
        ]

    run_at_once(main())


def test_a_flood_does_not_hold_up_the_others() -> None:
    async def main() -> None:
        line = await opened()
        line.say(*["4x"] * 10 * FRAMES_PER_TURN)
        n_heard = []
        while len(line.app.floor.messages) < 10 * FRAMES_PER_TURN:
            n_heard.append(len(line.app.floor.messages))
            await asyncio.sleep(0)
        assert max(b - a for a, b in pairwise(n_heard)) <= FRAMES_PER_TURN
        line.hang_up()
        await line.is_over()

    run_at_once(main())


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("a mistake"), asyncio.CancelledError()], ids=repr)
def test_an_accept_that_fails_gives_the_place_back(error: BaseException) -> None:
    async def main() -> None:
        app = EngineApp()
        server = Refusing(error)
        server.events.put_nowait({"type": "websocket.connect"})
        call = serve_websocket(app.engine, websocket_scope(), server.receive, server.send)
        if isinstance(error, OSError):
            await call
        else:
            with pytest.raises(type(error)):
                await call
        assert app.engine.admissions == set()
        assert app.floors == []

    run_at_once(main())


def test_a_mistake_above_is_the_server_s_to_report() -> None:
    async def main() -> None:
        line = await opened()

        def fail(data: object) -> None:
            raise LookupError("a mistake above")

        line.app.floor.message_received = fail  # type: ignore[method-assign]
        line.say("4hi")
        with pytest.raises(LookupError):
            await line.call
        assert line.reasons == [CloseReason.TRANSPORT_ERROR]
        assert line.app.engine.sessions == {}

    run_at_once(main())
