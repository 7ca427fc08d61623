"""What a program hangs into the engine, over real HTTP and WebSocket connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from telex.engineio import Cookie, Cors, RefusedRequest, Request, Response, Session, message
from telex.engineio.hints import Hint
from telex.types import Data, Headers
from tests.engineio import web
from tests.engineio.test_server import POLL, SOCKET, refused, upgrade
from tests.engineio.web import Answer, EngineApp, Site, WebSocket, run


@contextlib.asynccontextmanager
async def serve_engine(**options: Any) -> AsyncIterator[tuple[Site, EngineApp]]:
    """Serve a bare engine, whose sessions on polling end with the test."""
    async with web.serve_engine(**options) as (site, app):
        yield site, app
        for session in list(app.engine.sessions.values()):
            session.abort()


WEBSOCKETS = pytest.mark.parametrize("ws", ["websockets-sansio", "telex.serving.uvicorn:Protocol"])
STRANGER = [("Origin", "https://evil.example")]


def test_an_event_that_there_is_not_and_what_is_no_plain_function() -> None:
    async def main() -> None:
        async def later(headers: Headers, request: Request) -> None: ...

        async with serve_engine() as (_, app):
            with pytest.raises(ValueError, match="connection_error, and not 'upgrade'"):
                app.engine.on("upgrade", print)  # type: ignore[call-overload]
            for function in (later, "headers"):
                with pytest.raises(TypeError, match="'headers' must be a plain function"):
                    app.engine.on("headers", function)
            with pytest.raises(TypeError, match="must be callable"):
                app.engine.use(None)  # type: ignore[type-var]

    run(main())


# Headers


@WEBSOCKETS
def test_headers_of_every_answer_and_of_the_first(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws, cookie=Cookie(), cors=Cors("https://friend.example")) as (site, app):
            seen: list[tuple[str, str, str]] = []

            @app.engine.on("initial_headers")
            def first(headers: Headers, request: Request) -> None:
                seen.append(("initial", request.method, request.query.get("transport", "")))
                headers.set("Set-Cookie", headers["set-cookie"] + "; Partitioned")

            @app.engine.on("headers")
            def each(headers: Headers, request: Request) -> None:
                seen.append(("each", request.method, request.query.get("transport", "")))
                headers.add("x-each", "1")

            opened = await site.get(POLL)
            query = f"{POLL}&sid={app.floor.session.sid}"
            posted = await site.post(query, "3")
            upgraded = await upgrade(site, query)
            fresh = await site.websocket()
            wrong = await site.get("EIO=3&transport=polling")
            preflight = await site.request(
                "OPTIONS", f"/socket.io/?{POLL}", None, [("Origin", "https://friend.example")]
            )
            no_websocket = await site.try_websocket("EIO=3&transport=websocket")
            assert isinstance(no_websocket, Answer)
            answers = [opened, posted, upgraded.answer, fresh.answer, wrong, preflight, no_websocket]
            assert [answer.header("x-each") for answer in answers] == ["1"] * len(answers)
            cookies = [answer.header("set-cookie") for answer in answers]
            assert [bool(cookie and cookie.endswith("; Partitioned")) for cookie in cookies] == [
                True, False, False, True, False, False, False,
            ]  # fmt: skip
            assert seen[:3] == [("initial", "GET", "polling"), ("each", "GET", "polling"), ("each", "POST", "polling")]
            assert seen.count(("initial", "GET", "websocket")) == 1

    run(main())


@WEBSOCKETS
@pytest.mark.parametrize(
    ("name", "value"), [("x-bad", "a\r\nx-injected: 1"), ("x bad", "a"), ("", "a"), ("x-bad", "\u0100"), ("x-bad", 1)]
)
def test_r19_headers_that_http_cannot_hold_are_left_out(
    ws: str, name: Any, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws) as (site, app):

            @app.engine.on("headers")
            def bad(headers: Headers, request: Request) -> None:
                headers.add(name, value)
                headers.add("x-good", "1")

            websocket = await site.websocket()
            for answer in (await site.get(POLL), websocket.answer):
                assert answer.header("x-good") == "1"
                assert answer.header("x-injected") is answer.header("x-bad") is None
        assert "no HTTP header can hold" in caplog.text

    run(main())


def test_a_hook_that_fails_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):

            def fail(*args: Any) -> None:
                raise LookupError("a mistake in the program")

            app.engine.on("initial_headers", fail)
            app.engine.on("headers", fail)
            app.engine.on("connection", fail)
            app.engine.on("connection_error", fail)
            app.engine.on("headers", lambda headers, request: headers.add("x-next", "1"))
            answer = await site.get(POLL)
            assert (answer.status, answer.header("x-next")) == (200, "1")
            assert (await site.get("")).status == 400
        assert caplog.text.count("LookupError: a mistake in the program") == 5

    run(main())


# Sessions and refusals


def test_connection_tells_of_each_session() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            seen: list[tuple[Session, Request]] = []

            @app.engine.on("connection")
            def met(session: Session, request: Request) -> None:
                seen.append((session, request))
                session.send([message("welcome")])

            assert app.engine.clients_count == 0
            answer = await site.get(f"{POLL}&who=me")
            assert answer.text.endswith("\x1e4welcome")
            websocket = await site.websocket()
            await websocket.open_packet()
            assert await websocket.receive() == "4welcome"
            assert [session for session, _ in seen] == [floor.session for floor in app.floors]
            assert [session.transport.name for session, _ in seen] == ["polling", "websocket"]
            assert seen[0][1].query["who"] == "me"
            assert app.engine.clients_count == 2

    run(main())


CONTEXTS: list[tuple[str, list[tuple[str, str]], int, str, Hint, dict[str, str]]] = [
    ("EIO=4&transport=tunnel", [], 0, "Transport unknown", Hint.TRANSPORT_UNKNOWN, {"transport": "tunnel"}),
    ("EIO=4&transport={}&sid=abc", [], 1, "Session ID unknown", Hint.UNKNOWN_SESSION, {"sid": "abc"}),
    ("EIO=4&transport={}", STRANGER, 4, "Forbidden", Hint.ORIGIN, {"origin": "https://evil.example"}),
    ("EIO=3&transport={}", [], 5, "Unsupported protocol version", Hint.OLD_CLIENT, {"protocol": "3"}),
]


@WEBSOCKETS
def test_connection_error_tells_of_each_refusal(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws) as (site, app):
            seen: list[RefusedRequest] = []
            app.engine.on("connection_error", seen.append)
            for query, headers, code, text, hint, context in CONTEXTS:
                await site.get(query.format("polling"), headers)
                await site.try_websocket(query.format("websocket"), headers)
                for each in seen:
                    assert each.request.query["EIO"] == query[4]
                    assert (each.code, each.message, each.hint, each.context) == (code, text, hint.text, context)
                assert len(seen) == 2
                seen.clear()
            await site.post(POLL, "")
            await site.get(SOCKET)
            assert [(each.code, each.context) for each in seen] == [
                (2, {"method": "POST"}),
                (3, {"name": "TRANSPORT_HANDSHAKE_ERROR"}),
            ]
            await site.handshake()
            assert len(seen) == 2

    run(main())


# Middlewares


@WEBSOCKETS
def test_middlewares_see_every_request_in_order(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws, cors=Cors("https://friend.example")) as (site, app):
            seen: list[str] = []

            @app.engine.use
            async def one(request: Request) -> None:
                await asyncio.sleep(0)
                seen.append(f"one {request.method} {request.query.get('transport')} {request.scope['type']}")

            @app.engine.use
            def two(request: Request) -> Response | None:
                seen.append("two")
                return None

            query = await site.handshake()
            await site.post(query, "3")
            await upgrade(site, query)
            await site.get("")
            await site.request("OPTIONS", f"/socket.io/?{POLL}", None, [("Origin", "https://friend.example")])
            assert seen[::2] == [
                "one GET polling http",
                "one POST polling http",
                "one GET polling http",
                "one GET websocket websocket",
                "one GET None http",
            ]
            assert seen[1::2] == ["two"] * 5

    run(main())


@WEBSOCKETS
def test_a_middleware_may_answer(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws, cors=Cors("https://friend.example")) as (site, app):
            answer = Response(401, [("www-authenticate", "Bearer"), ("content-type", "text/plain")], b"who are you?")
            called: list[Request] = []

            @app.engine.use
            def only_known(request: Request) -> Response | None:
                return None if request.headers.get("authorization") == "Bearer me" else answer

            app.engine.use(called.append)
            friend = ("Origin", "https://friend.example")
            for _ in range(2):  # the same object, again and again
                over_http = await site.get(POLL, [friend])
                over_websocket = await site.try_websocket(SOCKET)
                assert isinstance(over_websocket, Answer)
                for each in (over_http, over_websocket):
                    assert (each.status, each.text, each.header("www-authenticate")) == (401, "who are you?", "Bearer")
                assert over_http.all("access-control-allow-origin") == ["https://friend.example"], "it may be read"
            assert called == []
            assert app.floors == []
            known = [("Authorization", "Bearer me")]
            assert (await site.get(POLL, known)).status == 200
            await site.websocket(headers=known)

    run(main())


def returns(value: Any) -> Callable[[Request], Any]:
    return lambda request: value


def fail(request: Request) -> Response:
    raise LookupError("a mistake in the program")


async def fail_later(request: Request) -> Response:
    await asyncio.sleep(0)
    raise LookupError("a mistake in the program")


@WEBSOCKETS
@pytest.mark.parametrize(
    "middleware",
    [
        fail,
        fail_later,
        returns("no"),
        returns(False),
        returns(Response(101)),
        returns(Response(1000)),
        returns(Response(200, [("x", "a\r\nb: c")])),
        returns(Response(200, [], "text")),  # type: ignore[arg-type]
    ],
)
def test_a_middleware_that_fails_refuses(ws: str, middleware: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws) as (site, app):
            seen: list[RefusedRequest] = []
            app.engine.on("connection_error", seen.append)
            app.engine.use(middleware)
            assert refused(await site.get(POLL), 3, "Bad request")
            answer = await site.try_websocket(SOCKET)
            assert isinstance(answer, Answer)
            assert (answer.status, answer.text) == (400, "Bad request")
            assert [each.context for each in seen] == [{"name": "MIDDLEWARE_FAILURE"}] * 2
            assert app.floors == []
        said = [record.getMessage() for record in caplog.records if record.name == "telex.engineio"]
        assert said == [Hint.MIDDLEWARE_FAILED.text] * 2

    run(main())


# The id and the first message


async def later(request: Request) -> str:
    await asyncio.sleep(0)
    return request.query["me"]


@WEBSOCKETS
@pytest.mark.parametrize("generate_id", [lambda request: request.query["me"], later])
def test_generate_id_chooses_the_id(ws: str, generate_id: Any) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws, generate_id=generate_id, cookie=Cookie()) as (site, app):
            answer = await site.get(f"{POLL}&me=node-1_a")
            assert json.loads(answer.text[1:])["sid"] == "node-1_a"
            assert str(answer.header("set-cookie")).startswith("io=node-1_a;")
            websocket = await site.websocket(f"{SOCKET}&me={'x' * 64}")
            assert (await websocket.open_packet())["sid"] == "x" * 64
            assert list(app.engine.sessions) == ["node-1_a", "x" * 64]
            upgraded = await upgrade(site, f"{POLL}&sid=node-1_a")
            upgraded.send("4hi")
            assert await upgraded.receive() == "4hi"

    run(main())


@WEBSOCKETS
@pytest.mark.parametrize(
    "generate_id",
    [fail, fail_later, returns(""), returns("x" * 65), returns("a b"), returns("a\r\nb"), returns("é"), returns(7)],
)
def test_an_id_that_cannot_be_is_code_3(ws: str, generate_id: Any) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws, generate_id=generate_id) as (site, app):
            seen: list[RefusedRequest] = []
            app.engine.on("connection_error", seen.append)
            assert refused(await site.get(POLL), 3, "Bad request")
            answer = await site.try_websocket(SOCKET)
            assert isinstance(answer, Answer)
            assert (answer.status, answer.text) == (400, "Bad request")
            assert [each.context for each in seen] == [{"name": "ID_GENERATION_ERROR"}] * 2
            assert app.engine.sessions == {}

    run(main())


@WEBSOCKETS
def test_an_id_is_given_once(ws: str) -> None:
    # One id for all: of twenty that come at once by either transport, one gets it, and the others harm it not.
    async def main() -> None:
        async with serve_engine(ws=ws, generate_id=later) as (site, app):
            opened = await asyncio.gather(
                *[site.try_websocket(f"{SOCKET}&me=one") for _ in range(10)],
                *[site.get(f"{POLL}&me=one") for _ in range(10)],
            )
            taken = [each for each in opened if isinstance(each, WebSocket) or each.status == 200]
            assert len(taken) == len(app.engine.sessions) == len(app.floors) == 1
            if isinstance(taken[0], WebSocket):
                await taken[0].open_packet()
                taken[0].send("4hi")
                assert await taken[0].receive() == "4hi"

    run(main())


@WEBSOCKETS
@pytest.mark.parametrize(("packet", "polled"), [("hi", "4hi"), ("", "4"), (b"\x00\xff", "bAP8=")])
def test_the_initial_packet_comes_right_behind_the_open_packet(ws: str, packet: Data, polled: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws, initial_packet=packet) as (site, _):
            for _ in range(2):
                opening, first = (await site.get(POLL)).text.split("\x1e")
                assert (opening[0], first) == ("0", polled)
                websocket = await site.websocket()
                await websocket.open_packet()
                assert await websocket.receive() == ("4" + packet if isinstance(packet, str) else packet)

    run(main())
