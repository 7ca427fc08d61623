"""The server over real HTTP and WebSocket connections: what comes over the wire, to the letter."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import zlib
from typing import Any

import pytest

from telex.engineio import CloseReason, Cookie, Cors, Engine, Request, Response, Session, message
from telex.engineio.handshake import Refusal, RefusalKind
from telex.engineio.hints import Hint
from telex.engineio.session import State
from telex.limits import Limits
from telex.streams.deadlines import deadlines_of
from telex.types import Data, Headers
from tests.engineio.loops import run as run_at_once
from tests.engineio.loops import settle
from tests.engineio.transports.test_polling import MemoryBody
from tests.engineio.transports.test_websocket import MemoryChannel
from tests.engineio.web import (
    PATH,
    Answer,
    EchoFloor,
    EngineApp,
    Site,
    WebSocket,
    check_nothing_is_left,
    run,
    serve_engine,
)

WEBSOCKETS = pytest.mark.parametrize("ws", ["websockets", "websockets-sansio", "telex.serving.uvicorn:Protocol"])
# uvicorn's older class stands on a part of `websockets` that says so at every connection.
pytestmark = pytest.mark.filterwarnings("ignore:remove second argument of ws_handler:DeprecationWarning")
POLL = "EIO=4&transport=polling"
SOCKET = "EIO=4&transport=websocket"


def refused(answer: Answer | WebSocket, code: int, text: str) -> bool:
    """Check that an HTTP request was refused so, with a sentence that helps, and with these headers and no other."""
    assert isinstance(answer, Answer)
    fields = json.loads(answer.text)
    assert list(fields) == ["code", "message", "hint"]
    assert fields["hint"] in {hint.text for hint in Hint}
    return (answer.status, fields["code"], fields["message"], answer.own_headers()) == (
        403 if code == 4 else 400,
        code,
        text,
        {"content-type": "application/json", "content-length": str(len(answer.body)), "vary": "Origin"},
    )


UNKNOWN_SID = (1, "Session ID unknown")
BAD_REQUEST = (3, "Bad request")


# The handshake


def test_the_handshake_on_polling() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            answer = await site.get(f"{POLL}&t=abc")
            assert answer.status == 200
            assert answer.own_headers() == {
                "content-type": "text/plain; charset=UTF-8",
                "cache-control": "no-store",
                "content-length": str(len(answer.body)),
                "vary": "Origin",
            }
            assert answer.text[0] == "0"
            fields = json.loads(answer.text[1:])
            assert list(fields) == ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"]
            assert fields == {
                "sid": app.floor.session.sid,
                "upgrades": ["websocket"],
                "pingInterval": 25000,
                "pingTimeout": 20000,
                "maxPayload": 1000000,
            }
            assert app.floor.request.query == {"EIO": "4", "transport": "polling", "t": "abc"}

    run(main())


@WEBSOCKETS
def test_the_handshake_on_websocket(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws) as (site, app):
            websocket = await site.websocket()
            fields = await websocket.open_packet()
            assert list(fields) == ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"]
            assert (fields["sid"], fields["upgrades"]) == (app.floor.session.sid, [])
            websocket.send("4hello", b"\x00\x01", "4€")
            assert [await websocket.receive() for _ in range(3)] == ["4hello", b"\x00\x01", "4€"]
            websocket.send_close()
            assert await websocket.receive() == 1000
            await websocket.ends()
            assert await app.floor.closed() is CloseReason.TRANSPORT_CLOSE
            check_nothing_is_left(app)

    run(main())


def test_session_ids_have_20_characters_and_never_repeat() -> None:
    async def main() -> None:
        async with serve_engine() as (site, _):
            sids = {(await site.handshake()).rpartition("=")[2] for _ in range(50)}
            assert len(sids) == 50
            assert all(re.fullmatch(r"[A-Za-z0-9_-]{20}", sid) for sid in sids)

    run(main())


@pytest.mark.parametrize(
    ("options", "upgrades"),
    [
        ({}, ["websocket"]),
        ({"allow_upgrades": False}, []),
        ({"transports": ["polling"]}, []),
        ({"transports": ["websocket", "polling"]}, ["websocket"]),
    ],
)
def test_what_is_offered_is_what_can_be_had(options: dict[str, Any], upgrades: list[str]) -> None:
    async def main() -> None:
        async with serve_engine(**options) as (site, _):
            answer = await site.get(POLL)
            assert json.loads(answer.text[1:])["upgrades"] == upgrades
            opened = await site.try_websocket(f"{SOCKET}&sid={json.loads(answer.text[1:])['sid']}")
            assert isinstance(opened, WebSocket) == bool(upgrades)
            if isinstance(opened, Answer):
                text = "Bad request" if "websocket" in options.get("transports", ["websocket"]) else "Transport unknown"
                assert (opened.status, opened.text) == (400, text)

    run(main())


@pytest.mark.parametrize("transports", [[], ["webtransport"], ["polling", "Websocket"]])
def test_transports_are_known_when_the_engine_is_made(transports: list[str]) -> None:
    with pytest.raises(ValueError, match="transports must be some of polling, websocket"):
        EngineApp(transports=transports)


@WEBSOCKETS
def test_e36_the_cookie_comes_with_the_handshake_and_never_again(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws, cookie=Cookie()) as (site, app):
            query = await site.handshake()
            answer = await site.get(POLL)
            assert answer.header("set-cookie") == f"io={app.floor.session.sid}; Path=/; HttpOnly; SameSite=Lax"
            assert (await site.post(query, "4hi")).header("set-cookie") is None
            assert (await site.get(query)).header("set-cookie") is None
            websocket = await site.websocket()
            assert (
                websocket.answer.header("set-cookie") == f"io={app.floor.session.sid}; Path=/; HttpOnly; SameSite=Lax"
            )
            websocket = await site.websocket(query.replace("polling", "websocket"))
            assert websocket.answer.header("set-cookie") is None

    run(main())


# Refusals (wire.md 2.2)

ORIGIN = [("Origin", "https://evil.example")]

# What is asked, with which headers, and how it is refused: over HTTP and over WebSocket alike.
REFUSALS: list[tuple[str, str, list[tuple[str, str]], int, str]] = [
    ("e01_missing", "EIO=4", [], 0, "Transport unknown"),
    ("e01_empty", "EIO=4&transport=", [], 0, "Transport unknown"),
    ("e01_unknown", "EIO=4&transport=tunnel", [], 0, "Transport unknown"),
    ("e01_case", "EIO=4&transport=Polling", [], 0, "Transport unknown"),
    ("e01_webtransport", "EIO=4&transport=webtransport", [], 0, "Transport unknown"),
    ("e01_prototype", "EIO=4&transport=constructor", [], 0, "Transport unknown"),
    ("e01_before_the_rest", "EIO=3&sid=x", ORIGIN, 0, "Transport unknown"),
    ("e02_unknown", "EIO=4&transport={}&sid=0123456789abcdefghij", [], 1, "Session ID unknown"),
    ("e02_empty", "EIO=4&transport={}&sid=", [], 1, "Session ID unknown"),
    ("e02_long", "EIO=4&transport={}&sid=" + "x" * 5000, [], 1, "Session ID unknown"),
    ("e02_escaped", "EIO=4&transport={}&sid=%00%C3%A9", [], 1, "Session ID unknown"),
    ("e02_prototype", "EIO=4&transport={}&sid=__proto__", [], 1, "Session ID unknown"),
    ("e02_constructor", "EIO=4&transport={}&sid=constructor", [], 1, "Session ID unknown"),
    ("e05_origin", "EIO=4&transport={}", ORIGIN, 4, "Forbidden"),
    ("e05_origin_with_sid", "EIO=4&transport={}&sid=x", ORIGIN, 4, "Forbidden"),
    ("e05_null", "EIO=4&transport={}", [("Origin", "null")], 4, "Forbidden"),
    ("e06_old", "EIO=3&transport={}", [], 5, "Unsupported protocol version"),
    ("e06_missing", "transport={}", [], 5, "Unsupported protocol version"),
    ("e06_word", "EIO=abc&transport={}", [], 5, "Unsupported protocol version"),
    ("e06_spelling", "EIO=04&transport={}", [], 5, "Unsupported protocol version"),
    ("e35_jsonp", "EIO=4&transport={}&j=0", [], 3, "Bad request"),
    ("e35_jsonp_script", "EIO=4&transport={}&j=alert(1)", [], 3, "Bad request"),
    ("repeated_key", "EIO=4&EIO=4&transport={}", [], 3, "Bad request"),
    ("too_many_keys", "EIO=4&transport={}" + "&a" * 200, [], 3, "Bad request"),
]
REFUSED = pytest.mark.parametrize(
    ("query", "headers", "code", "text"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS]
)


@REFUSED
def test_refusals_over_http(query: str, headers: list[tuple[str, str]], code: int, text: str) -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            assert refused(await site.get(query.format("polling"), headers), code, text)
            assert app.floors == []
            check_nothing_is_left(app)

    run(main())


@WEBSOCKETS
def test_refusals_over_websocket(ws: str) -> None:
    # The status line says 400 whatever the code, and the body is the bare text.
    async def main() -> None:
        async with serve_engine(ws=ws) as (site, app):
            for name, query, headers, _, text in REFUSALS:
                answer = await site.try_websocket(query.format("websocket"), headers)
                assert isinstance(answer, Answer), name
                assert (answer.status, answer.text) == (400, text), name
                found = answer.own_headers()
                assert found.pop("connection").lower() == "close", name
                assert found == {"content-type": "text/html", "content-length": str(len(text))}, name
            assert app.floors == []
            check_nothing_is_left(app)

    run(main())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_e03_a_handshake_is_a_get(method: str) -> None:
    async def main() -> None:
        async with serve_engine() as (site, _):
            assert refused(await site.request(method, f"{PATH}?{POLL}"), 2, "Bad handshake method")

    run(main())


def test_e03_head_gets_the_head_of_the_same() -> None:
    async def main() -> None:
        async with serve_engine() as (site, _):
            answer = await site.request("HEAD", f"{PATH}?{POLL}")
            assert (answer.status, answer.header("content-type")) == (400, "application/json")

    run(main())


def test_e04_websocket_without_an_upgrade_request() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            assert refused(await site.get(SOCKET), *BAD_REQUEST)
            query = await site.handshake()
            assert refused(await site.get(query.replace("polling", "websocket")), *BAD_REQUEST)
            assert refused(await site.post(query.replace("polling", "websocket"), "4hi"), *BAD_REQUEST)
            assert app.floor.session.is_open
            await site.websocket()
            sid = app.floor.session.sid
            assert refused(await site.get(f"{SOCKET}&sid={sid}"), *BAD_REQUEST)
            assert app.floor.session.is_open

    run(main())


@WEBSOCKETS
def test_an_upgrade_request_that_asks_for_polling(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws) as (site, _):
            answer = await site.try_websocket(POLL)
            assert isinstance(answer, Answer)
            assert (answer.status, answer.text) == (400, "Bad request")

    run(main())


def test_e05_two_origins_are_none() -> None:
    async def main() -> None:
        async with serve_engine() as (site, _):
            own = f"http://127.0.0.1:{site.port}"
            assert refused(await site.get(POLL, [("Origin", own), ("Origin", own)]), 4, "Forbidden")

    run(main())


def test_origin_with_characters_that_no_header_may_have() -> None:
    # Web servers refuse most of them; what gets through is not compared at all.
    async def main() -> None:
        engine = EngineApp().engine
        for origin in ("http://a\x01b", "\x7f", "http://a\r\nb", "http://\u0100"):
            request = Request("GET", PATH, POLL, Headers([("origin", origin)]))
            response = await engine.handle(request, MemoryBody())
            assert response.status == 400
            assert response.body.startswith(b'{"code":3,"message":"Bad request",')

    run_at_once(main())


# The program decides


async def allow_later(request: Request) -> bool:
    await asyncio.sleep(0)
    return True


async def refuse_later(request: Request) -> str:
    await asyncio.sleep(0)
    return "not today"


def fail(request: Request) -> bool:
    raise LookupError("a mistake in the program")


async def fail_later(request: Request) -> bool:
    await asyncio.sleep(0)
    raise LookupError("a mistake in the program")


@pytest.mark.parametrize(
    ("allow_request", "status", "code", "text"),
    [
        (lambda request: True, 200, 0, ""),
        (lambda request: None, 200, 0, ""),
        (allow_later, 200, 0, ""),
        (lambda request: False, 403, 4, "Forbidden"),
        (lambda request: "Überfüllt", 403, 4, "Überfüllt"),
        (lambda request: "", 403, 4, ""),
        (refuse_later, 403, 4, "not today"),
        (fail, 400, 3, "Bad request"),
        (fail_later, 400, 3, "Bad request"),
    ],
)
def test_e05_allow_request(allow_request: Any, status: int, code: int, text: str) -> None:
    async def main() -> None:
        async with serve_engine(allow_request=allow_request) as (site, app):
            answer = await site.get(POLL)
            assert answer.status == status
            opened = await site.try_websocket(SOCKET)
            if status == 200:
                assert isinstance(opened, WebSocket)
                return
            assert json.loads(answer.text) | {"hint": ""} == {"code": code, "message": text, "hint": ""}
            assert isinstance(opened, Answer)
            assert (opened.status, opened.text) == (400, text)
            assert app.floors == []

    run(main())


def test_allow_request_sees_the_request_and_only_handshakes() -> None:
    async def main() -> None:
        seen: list[Request] = []
        async with serve_engine(allow_request=seen.append) as (site, _):
            query = await site.handshake("&token=abc")
            await site.post(query, "4hi")
            await site.get(query)
            assert [request.query.get("token") for request in seen] == ["abc"]
            assert seen[0].remote_address is not None
            assert seen[0].remote_address[0] == "127.0.0.1"
            assert seen[0].headers["host"] == f"127.0.0.1:{site.port}"
            assert seen[0].scope["type"] == "http"

    run(main())


def test_hopeless_handshakes_do_not_reach_the_program() -> None:
    async def main() -> None:
        seen: list[Request] = []
        async with serve_engine(allow_request=seen.append) as (site, _):
            for query in ("EIO=3&transport=polling", "transport=polling", f"{POLL}&j=1", SOCKET, f"{POLL}&sid=x"):
                assert (await site.get(query)).status == 400
            assert seen == []

    run(main())


# Polling


def test_a_conversation_on_polling() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            query = await site.handshake()
            answer = await site.post(query, "4hello\x1ebAAEC\x1e4€")
            assert (answer.status, answer.body) == (200, b"ok")
            assert answer.own_headers() == {"content-type": "text/html", "content-length": "2", "vary": "Origin"}
            assert app.floor.messages == ["hello", b"\0\1\2", "€"]
            answer = await site.get(query)
            assert answer.text == "4hello\x1ebAAEC\x1e4€"
            assert answer.own_headers() == {
                "content-type": "text/plain; charset=UTF-8",
                "cache-control": "no-store",
                "content-length": str(len(answer.body)),
                "vary": "Origin",
            }

    run(main())


def test_a_poll_waits_for_the_server() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            query = await site.handshake()
            poll = await site.park(query)
            app.floor.session.send([message("news")])
            assert (await poll.answer()).text == "4news"

    run(main())


def test_requests_on_one_connection() -> None:
    async def main() -> None:
        async with serve_engine() as (site, _):
            query = await site.handshake()
            client = await site.connect()
            for number in range(3):
                client.send_request("POST", f"{PATH}?{query}", f"4{number}".encode())
                assert (await client.answer()).text == "ok"
                client.send_request("GET", f"{PATH}?{query}")
                assert (await client.answer()).text == f"4{number}"

    run(main())


def test_e07_two_polls_at_once() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            query = await site.handshake()
            first = await site.park(query)
            second = await site.get(query)
            assert (second.status, second.body) == (400, b"")
            answer = await first.answer()
            assert (answer.status, answer.text) == (200, "1")
            assert await app.floor.closed() is CloseReason.TRANSPORT_ERROR
            assert refused(await site.get(query), *UNKNOWN_SID)
            check_nothing_is_left(app)

    run(main())


def test_e08_two_posts_at_once() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            query = await site.handshake()
            first = await site.connect()
            first.send_request("POST", f"{PATH}?{query}", None, [("Content-Length", "100")])
            await site.arrives()
            second = await site.post(query, "4hi")
            assert (second.status, second.body) == (400, b"")
            assert refused(await first.answer(), *UNKNOWN_SID)
            assert await app.floor.closed() is CloseReason.TRANSPORT_ERROR
            assert refused(await site.get(query), *UNKNOWN_SID)
            check_nothing_is_left(app)

    run(main())


def test_e09_a_poll_that_the_client_gives_up() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            for leave in ("close", "abort"):
                query = await site.handshake()
                poll = await site.park(query)
                getattr(poll, leave)()
                assert await app.floor.closed() is CloseReason.TRANSPORT_ERROR
                assert refused(await site.get(query), *UNKNOWN_SID)
            check_nothing_is_left(app)

    run(main())


def test_a_post_that_the_client_gives_up() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            query = await site.handshake()
            client = await site.connect()
            client.send_request("POST", f"{PATH}?{query}", None, [("Content-Length", "100")])
            client.send(b"4some of it")
            await site.arrives()
            client.close()
            assert await app.floor.closed() is CloseReason.TRANSPORT_ERROR
            assert app.floor.messages == []
            check_nothing_is_left(app)

    run(main())


SMALL = Limits(max_payload=100, body_timeout=0.2)


def test_e10_a_declared_length_over_the_bound() -> None:
    async def main() -> None:
        async with serve_engine(limits=SMALL) as (site, app):
            query = await site.handshake()
            client = await site.connect()
            client.send_request("POST", f"{PATH}?{query}", None, [("Content-Length", "10000000000")])
            answer = await client.answer()
            assert (answer.status, answer.body) == (413, b"")
            assert (await site.post(query, "4" + "x" * 99)).text == "ok"  # the session goes on
            assert (await site.post(query, "4" + "x" * 100)).status == 413
            assert app.floor.messages == ["x" * 99]

    run(main())


def test_e11_a_body_without_a_length_over_the_bound() -> None:
    async def main() -> None:
        async with serve_engine(limits=SMALL) as (site, app):
            query = await site.handshake()
            client = await site.connect()
            client.send_request("POST", f"{PATH}?{query}", None, [("Transfer-Encoding", "chunked")])
            client.send(b"32\r\n4" + b"x" * 49 + b"\r\n")
            await site.arrives()
            client.send(b"33\r\n" + b"x" * 51 + b"\r\n")  # and never a last chunk
            answer = await client.answer()
            assert (answer.status, answer.body) == (413, b"")
            assert app.floor.session.is_open
            assert app.floor.messages == []
            client.send(b"0\r\n\r\n")  # R15: the next request on this connection is answered too
            client.send_request("POST", f"{PATH}?{query}", b"4again")
            assert (await client.answer()).text == "ok"

    run(main())


def test_a_body_in_chunks() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            query = await site.handshake()
            client = await site.connect()
            client.send_request("POST", f"{PATH}?{query}", None, [("Transfer-Encoding", "chunked")])
            client.send(b"3\r\n4on\r\n")
            await site.arrives()
            client.send(b"4\r\ne\x1e4t\r\n2\r\nwo\r\n0\r\n\r\n")
            assert (await client.answer()).text == "ok"
            assert app.floor.messages == ["one", "two"]

    run(main())


@pytest.mark.parametrize("sent", [b"", b"4some of it"])
def test_e12_a_body_that_does_not_come(sent: bytes) -> None:
    async def main() -> None:
        async with serve_engine(limits=SMALL) as (site, app):
            query = await site.handshake()
            client = await site.connect()
            client.send_request("POST", f"{PATH}?{query}", None, [("Content-Length", "50")])
            client.send(sent)
            answer = await client.answer()
            assert (answer.status, answer.body) == (408, b"")
            assert await app.floor.closed() is CloseReason.TRANSPORT_ERROR
            check_nothing_is_left(app)

    run(main())


def test_e13_a_binary_post() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            query = await site.handshake()
            answer = await site.request(
                "POST", f"{PATH}?{query}", b"4hi", [("Content-Type", "application/octet-stream")]
            )
            assert (answer.status, answer.body) == (400, b"")
            assert await app.floor.closed() is CloseReason.TRANSPORT_ERROR
            assert refused(await site.get(query), *UNKNOWN_SID)

    run(main())


@pytest.mark.parametrize(
    "body",
    [
        b"abc",
        b"",
        b"7",
        b"8",
        b"9",
        b"4a\x1e\x1e4b",
        b"\x1e" * 1_000_000,
        b"b!",
        b"bQUJ=",
        b"\xff\xfe",
        b"0",
        b"5",
        b"6",
    ],
    ids=lambda body: repr(body[:10]),
)
def test_e14_e15_e17_e18_a_body_that_is_no_payload(body: bytes) -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            query = await site.handshake()
            answer = await site.post(query, body)
            assert (answer.status, answer.body) == (400, b"")
            assert await app.floor.closed() is CloseReason.PARSE_ERROR
            assert refused(await site.get(query), *UNKNOWN_SID)

    run(main())


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD"])
def test_e37_other_methods_on_an_open_session(method: str) -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            query = await site.handshake()
            answer = await site.request(method, f"{PATH}?{query}")
            assert (answer.status, answer.body) == (500, b"")
            assert answer.own_headers() == {"content-length": "0", "vary": "Origin"}
            assert app.floor.session.is_open
            assert (await site.post(query, "4hi")).text == "ok"

    run(main())


# CORS


def test_the_page_s_own_origin_and_programs_may_come_in() -> None:
    async def main() -> None:
        async with serve_engine() as (site, _):
            own = [("Origin", f"http://127.0.0.1:{site.port}")]
            answer = await site.get(POLL, own)
            assert answer.status == 200
            assert answer.header("access-control-allow-origin") is None
            assert isinstance(await site.try_websocket(SOCKET, own), WebSocket)
            assert isinstance(await site.try_websocket(SOCKET), WebSocket)

    run(main())


FRIEND = [("Origin", "https://friend.example")]


@pytest.mark.parametrize(
    ("cors", "expected"),
    [
        (Cors("*"), {"access-control-allow-origin": "*"}),
        (Cors("https://friend.example"), {"vary": "Origin", "access-control-allow-origin": "https://friend.example"}),
        (
            Cors(["https://friend.example"], credentials=True),
            {
                "vary": "Origin",
                "access-control-allow-origin": "https://friend.example",
                "access-control-allow-credentials": "true",
            },
        ),
    ],
)
def test_a_friend_s_page_may_read_every_answer(cors: Cors, expected: dict[str, str]) -> None:
    def cors_headers(answer: Answer) -> dict[str, str]:
        return {name: value for name, value in answer.headers if name == "vary" or name.startswith("access-control-")}

    async def main() -> None:
        async with serve_engine(cors=cors) as (site, app):
            answer = await site.get(POLL, FRIEND)
            assert answer.status == 200
            assert cors_headers(answer) == expected
            query = f"{POLL}&sid={app.floor.session.sid}"
            for answer in (
                await site.post(query, "4hi", FRIEND),
                await site.get(query, FRIEND),
                await site.get("EIO=3&transport=polling", FRIEND),
                await site.request("PUT", f"{PATH}?{query}", None, FRIEND),
            ):
                assert cors_headers(answer) == expected
            answer = await site.request(
                "OPTIONS",
                f"{PATH}?{query}",
                None,
                [*FRIEND, ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "x-evil")],
            )
            assert (answer.status, answer.body) == (204, b"")
            assert cors_headers(answer) == {
                **expected,
                "access-control-allow-methods": "GET,POST",
                "access-control-allow-headers": "content-type",
            }
            assert isinstance(await site.try_websocket(SOCKET, FRIEND), WebSocket)

    run(main())


@pytest.mark.parametrize("cors", [None, Cors(["https://friend.example"], credentials=True)], ids=["own", "listed"])
def test_r20_a_stranger_s_page_is_refused_on_every_request_of_every_transport(cors: Cors | None) -> None:
    async def main() -> None:
        async with serve_engine(cors=cors) as (site, app):
            query = await site.handshake()
            assert refused(await site.get(POLL, ORIGIN), 4, "Forbidden")
            assert refused(await site.get(query, ORIGIN), 4, "Forbidden")
            assert refused(await site.post(query, "4hi", ORIGIN), 4, "Forbidden")
            for target in (SOCKET, query.replace("polling", "websocket")):
                opened = await site.try_websocket(target, ORIGIN)
                assert isinstance(opened, Answer)
                assert (opened.status, opened.text) == (400, "Forbidden")
            assert app.floor.session.state is State.OPEN  # E23: and the session does not suffer
            assert app.floor.messages == []

    run(main())


# Compression


@pytest.mark.parametrize(
    ("accept", "coding", "decompress"),
    [("gzip, deflate, br", "gzip", gzip.decompress), ("deflate", "deflate", zlib.decompress), ("br", None, bytes)],
)
def test_e41_large_answers_are_compressed(accept: str, coding: str | None, decompress: Any) -> None:
    async def main() -> None:
        async with serve_engine(compression_threshold=100) as (site, app):
            query = await site.handshake()
            app.floor.session.send([message("x" * 1000)])
            answer = await site.get(query, [("Accept-Encoding", accept)])
            assert answer.header("content-encoding") == coding
            assert decompress(answer.body) == b"4" + b"x" * 1000
            assert answer.header("content-length") == str(len(answer.body))
            assert answer.all("vary") == ["Origin", "Accept-Encoding"]

    run(main())


@pytest.mark.parametrize(
    ("threshold", "size", "compress", "is_compressed"),
    [(100, 99, True, True), (100, 98, True, False), (100, 1000, False, False), (None, 1000, True, False)],
)
def test_small_answers_and_those_that_should_not_be_are_not(
    threshold: int | None, size: int, compress: bool, is_compressed: bool
) -> None:
    async def main() -> None:
        async with serve_engine(compression_threshold=threshold) as (site, app):
            query = await site.handshake()
            app.floor.session.send([message("x" * size, compress)])
            answer = await site.get(query, [("Accept-Encoding", "gzip")])
            assert (answer.header("content-encoding") == "gzip") == is_compressed

    run(main())


# The upgrade


async def upgrade(site: Site, query: str) -> WebSocket:
    """Upgrade a session as the official client does."""
    poll = await site.park(query)
    websocket = await site.websocket(query.replace("polling", "websocket"))
    websocket.send("2probe")
    assert await websocket.receive() == "3probe"
    assert (await poll.answer()).text == "6"
    websocket.send("5")
    return websocket


@WEBSOCKETS
def test_the_upgrade(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws) as (site, app):
            query = await site.handshake()
            websocket = await upgrade(site, query)
            websocket.send("4hello", b"bytes")
            assert [await websocket.receive(), await websocket.receive()] == ["4hello", b"bytes"]
            # E27: what polls afterwards is refused, and the session does not suffer.
            assert refused(await site.get(query), *BAD_REQUEST)
            assert refused(await site.post(query, "4hi"), *BAD_REQUEST)
            # E26: a second WebSocket is closed.
            second = await site.websocket(query.replace("polling", "websocket"))
            second.send("2probe")
            assert await second.receive() == 1000
            websocket.send("4still here")
            assert await websocket.receive() == "4still here"
            assert app.floor.session.is_open
            websocket.client.abort()
            await app.floor.closed()
            check_nothing_is_left(app)

    run(main())


def test_messages_right_behind_the_5() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            query = await site.handshake()
            websocket = await site.websocket(query.replace("polling", "websocket"))
            app.floor.session.send([message("meanwhile")])
            websocket.send("2probe", "5", "4one", b"two")
            assert [await websocket.receive() for _ in range(4)] == ["3probe", "4meanwhile", "4one", b"two"]

    run(main())


@WEBSOCKETS
def test_e26_a_second_websocket_while_the_first_probes(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws) as (site, app):
            query = await site.handshake()
            first = await site.websocket(query.replace("polling", "websocket"))
            first.send("2probe")
            assert await first.receive() == "3probe"
            second = await site.websocket(query.replace("polling", "websocket"))
            assert await second.receive() == 1000
            first.send("5", "4hi")
            assert await first.receive() == "4hi"
            assert app.floor.session.transport.name == "websocket"

    run(main())


@WEBSOCKETS
@pytest.mark.parametrize("first", ["2xyz", "2", "5", "4hi", b"probe", "", "nonsense"])
def test_e25_a_probe_that_is_none(ws: str, first: str | bytes) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws) as (site, app):
            query = await site.handshake()
            websocket = await site.websocket(query.replace("polling", "websocket"))
            websocket.send(first)
            assert await websocket.receive() in (1000, 1002)
            websocket.send_close()
            await websocket.ends()
            assert (await site.post(query, "4goes on")).text == "ok"
            assert (await site.get(query)).text == "4goes on"
            assert app.floor.session.state is State.OPEN

    run(main())


def test_e24_a_probe_that_takes_too_long() -> None:
    async def main() -> None:
        async with serve_engine(limits=Limits(upgrade_timeout=0.05)) as (site, app):
            query = await site.handshake()
            silent = await site.websocket(query.replace("polling", "websocket"))
            assert await silent.receive() == 1000
            probed = await site.websocket(query.replace("polling", "websocket"))
            probed.send("2probe")
            assert await probed.receive() == "3probe"
            assert await probed.receive() == 1000
            assert app.floor.session.state is State.OPEN
            assert (await site.post(query, "4goes on")).text == "ok"

    run(main())


def test_a_candidate_that_goes_away() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            query = await site.handshake()
            for _ in range(3):
                candidate = await site.websocket(query.replace("polling", "websocket"))
                candidate.send("2probe")
                assert await candidate.receive() == "3probe"
                candidate.client.abort()
                while app.floor.session.state is not State.OPEN:  # until the server has heard of it
                    await settle()
                poll = await site.park(query)
                app.floor.session.send([message("goes on")])
                assert (await poll.answer()).text == "4goes on"

    run(main())


# The end


def test_the_client_closes_on_polling() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            query = await site.handshake()
            poll = await site.park(query)
            assert (await site.post(query, "4last words\x1e1\x1e4ignored")).text == "ok"
            assert (await poll.answer()).text == "4last words"
            assert await app.floor.closed() is CloseReason.TRANSPORT_CLOSE
            assert app.floor.messages == ["last words"]
            query = await site.handshake()
            poll = await site.park(query)
            assert (await site.post(query, "1")).text == "ok"
            assert (await poll.answer()).text == "6"
            assert refused(await site.get(query), *UNKNOWN_SID)
            check_nothing_is_left(app)

    run(main())


# What a client says before its Close frame, the code in that, and how the session ends.
CLOSES: list[tuple[list[Data], int, CloseReason]] = [
    (["1"], 1000, CloseReason.TRANSPORT_CLOSE),
    ([], 1000, CloseReason.TRANSPORT_CLOSE),
    ([], 1001, CloseReason.TRANSPORT_CLOSE),
    ([], 4000, CloseReason.TRANSPORT_CLOSE),
    (["2"], 1000, CloseReason.TRANSPORT_ERROR),
    (["9"], 1000, CloseReason.PARSE_ERROR),
    (["bAAAA"], 1000, CloseReason.PARSE_ERROR),
]


@WEBSOCKETS
def test_the_client_closes_on_websocket(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws) as (site, app):
            for messages, code, reason in CLOSES:
                websocket = await site.websocket()
                await websocket.open_packet()
                websocket.send(*messages)
                websocket.send_close(code)
                await websocket.ends()
                assert await app.floor.closed() is reason
            websocket = await site.websocket()
            await websocket.open_packet()
            websocket.client.close()
            assert await app.floor.closed() is CloseReason.TRANSPORT_CLOSE
            websocket = await site.websocket()
            await websocket.open_packet()
            websocket.client.send(b"\xff\xff")  # no frame
            await websocket.ends()
            # uvicorn's older class does not tell a violation from a connection that was lost.
            lost = CloseReason.TRANSPORT_CLOSE if ws == "websockets" else CloseReason.TRANSPORT_ERROR
            assert await app.floor.closed() is lost
            check_nothing_is_left(app)

    run(main())


def test_the_server_closes_on_polling() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            query = await site.handshake()
            poll = await site.park(query)
            app.floor.session.close()
            assert (await poll.answer()).text == "1"
            assert refused(await site.get(query), *UNKNOWN_SID)
            query = await site.handshake()
            app.floor.session.send([message("farewell")])
            app.floor.session.close()
            assert (await site.post(query, "4too late")).text == "ok"
            assert (await site.get(query)).text == "4farewell"
            assert (await site.get(query)).text == "6\x1e1"
            assert refused(await site.get(query), *UNKNOWN_SID)
            assert app.floor.messages == []
            check_nothing_is_left(app)

    run(main())


@WEBSOCKETS
def test_the_server_closes_on_websocket(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws) as (site, app):
            websocket = await site.websocket()
            await websocket.open_packet()
            app.floor.session.send([message("farewell")])
            app.floor.session.close()
            assert [await websocket.receive(), await websocket.receive()] == ["4farewell", 1000]
            websocket.send_close()
            await websocket.ends()
            await settle()
            assert app.floor.reasons == [CloseReason.FORCED_CLOSE]

    run(main())


@WEBSOCKETS
def test_e20_no_pong(ws: str) -> None:
    async def main() -> None:
        limits = Limits(ping_interval=0.02, ping_timeout=0.05)
        async with serve_engine(ws=ws, limits=limits) as (site, app):
            websocket = await site.websocket()
            await websocket.open_packet()
            assert await websocket.receive() == "2"
            websocket.send("3")
            assert await websocket.receive() == "2"
            assert await websocket.receive() == 1000
            assert app.floor.reasons == [CloseReason.PING_TIMEOUT]
            query = await site.handshake()
            assert (await site.get(query)).text == "2"
            assert (await site.get(query)).text == "1"
            assert app.floor.reasons == [CloseReason.PING_TIMEOUT]

    run(main())


@WEBSOCKETS
def test_a_message_over_the_bound(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws, limits=Limits(max_payload=100)) as (site, app):
            websocket = await site.websocket()
            await websocket.open_packet()
            websocket.send("4" + "x" * 99)
            assert await websocket.receive() == "4" + "x" * 99
            websocket.send("4" + "x" * 100)
            assert await websocket.receive() == 1009
            assert await app.floor.closed() is CloseReason.TRANSPORT_ERROR

    run(main())


def test_e31_a_client_that_stops_polling() -> None:
    async def main() -> None:
        limits = Limits(send_buffer_high=1000, send_buffer_max=10_000)
        async with serve_engine(limits=limits) as (site, app):
            query = await site.handshake()
            session = app.floor.session
            while session.is_open:
                session.send([message(b"x" * 500)])
                assert session.buffered_bytes <= 10_000
                await asyncio.sleep(0)
            assert app.floor.reasons == [CloseReason.SLOW_CONSUMER]
            assert refused(await site.get(query), *UNKNOWN_SID)
            check_nothing_is_left(app)

    run(main())


@WEBSOCKETS
def test_e31_a_client_that_stops_reading(ws: str) -> None:
    async def main() -> None:
        limits = Limits(send_buffer_max=1_000_000, close_timeout=0.1)
        async with serve_engine(ws=ws, limits=limits) as (site, app):
            websocket = await site.websocket()
            await websocket.open_packet()
            session = app.floor.session
            n_sent = 0
            while session.is_open:
                session.send([message(b"x" * 100_000)])
                n_sent += 1
                assert session.buffered_bytes <= 1_100_000
                await settle()
            assert app.floor.reasons == [CloseReason.SLOW_CONSUMER]
            assert n_sent > 10  # what the kernel took, and what we kept
            check_nothing_is_left(app)

    run(main())


# Bounds of the server


@WEBSOCKETS
def test_e29_a_full_server(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws, max_sessions=2) as (site, _):
            query = await site.handshake()
            websocket = await site.websocket()
            await websocket.open_packet()
            for answer in (await site.get(POLL), await site.try_websocket(SOCKET)):
                assert isinstance(answer, Answer)
                assert (answer.status, answer.text) == (503, "Too many sessions")
                assert answer.header("retry-after") == "5"
            # Those that are in stay in, and may upgrade.
            upgraded = await upgrade(site, query)
            upgraded.send("4hi")
            assert await upgraded.receive() == "4hi"
            upgraded.send("1")
            assert await upgraded.receive() == 1000
            await site.handshake()

    run(main())


@WEBSOCKETS
def test_e29_many_websockets_at_once_do_not_slip_through(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws, max_sessions=5) as (site, app):
            opened = await asyncio.gather(*[site.try_websocket(SOCKET) for _ in range(20)])
            assert sum(isinstance(each, WebSocket) for each in opened) == 5
            assert len(app.engine.sessions) == 5

    run(main())


def test_e29_a_place_that_is_kept_can_be_given_back() -> None:
    async def main() -> None:
        engine = EngineApp(max_sessions=1).engine
        request = Request("GET", PATH, SOCKET, Headers())
        admission = await engine.admit_websocket(request)
        assert not isinstance(admission, Response)
        full = await engine.admit_websocket(request)
        assert isinstance(full, Response)
        assert full.status == 503
        assert (await engine.handle(Request("GET", PATH, POLL, Headers()), MemoryBody())).status == 503
        admission.cancel()
        admission.cancel()
        again = await engine.admit_websocket(request)
        assert not isinstance(again, Response)
        again.start(MemoryChannel())
        assert engine.admissions == set()
        assert len(engine.sessions) == 1
        await close_all(engine)

    run_at_once(main())


# R13: whatever happens, nothing stays


@WEBSOCKETS
def test_r13_nothing_stays_behind(ws: str) -> None:
    async def main() -> None:
        async with serve_engine(ws=ws, limits=Limits(max_payload=100)) as (site, app):
            for number in range(15):
                # Refused handshakes.
                assert (await site.get("EIO=3&transport=polling")).status == 400
                assert isinstance(await site.try_websocket(f"{SOCKET}&sid=x"), Answer)
                assert isinstance(await site.try_websocket(SOCKET, ORIGIN), Answer)
                # Polls given up, with a candidate or without.
                query = await site.handshake()
                if number % 2:
                    await site.websocket(query.replace("polling", "websocket"))
                poll = await site.park(query)
                poll.abort()
                await app.floor.closed()
                # Probes that fail.
                query = await site.handshake()
                candidate = await site.websocket(query.replace("polling", "websocket"))
                wrong: list[Data] = ["6", "nonsense", b"binary"]
                candidate.send("2probe", wrong[number % 3])
                assert await candidate.receive() == "3probe"
                assert await candidate.receive() in (1000, 1002)
                # Bad bodies of every kind.
                body, content_type = [
                    ("nonsense", "text/plain"),
                    ("4hi", "application/octet-stream"),
                    ("1", "text/plain"),
                ][number % 3]
                await site.request("POST", f"{PATH}?{query}", body.encode(), [("Content-Type", content_type)])
                await app.floor.closed()
                # WebSockets that end in every way.
                websocket = await site.websocket()
                if number % 4:
                    last: list[list[Data]] = [[], ["nonsense"], [b"x" * 101]]
                    websocket.send(*last[number % 4 - 1])
                    websocket.send_close()
                    await websocket.ends()
                else:
                    websocket.client.abort()
                await app.floor.closed()
                # Upgraded, then gone.
                upgraded = await site.handshake()
                candidate = await site.websocket(upgraded.replace("polling", "websocket"))
                candidate.send("2probe", "5")
                assert await candidate.receive() == "3probe"
                candidate.client.close()
                await app.floor.closed()
            await settle()
            check_nothing_is_left(app)

    run(main())


# The engine's own edges, without a network


async def close_all(engine: Engine) -> None:
    for session in list(engine.sessions.values()):
        session.abort()
    await settle()
    assert len(deadlines_of(asyncio.get_running_loop())) == 0


def handshake() -> Request:
    return Request("GET", PATH, POLL, Headers())


@pytest.mark.parametrize("request_", [POLL, SOCKET])
def test_e30_a_floor_above_that_fails_leaves_nothing(request_: str) -> None:
    def fail(session: Session, request: Request) -> EchoFloor:
        raise LookupError("a mistake above")

    async def main() -> None:
        engine = Engine(fail, limits=Limits(), max_sessions=10)
        if request_ is POLL:
            with pytest.raises(LookupError):
                await engine.handle(handshake(), MemoryBody())
        else:
            admission = await engine.admit_websocket(Request("GET", PATH, SOCKET, Headers()))
            assert not isinstance(admission, Response)
            channel = MemoryChannel()
            with pytest.raises(LookupError):
                admission.start(channel)
            assert channel.calls[-1] == ("abort", 1000)
        assert engine.sessions == {}
        assert engine.admissions == set()
        assert len(deadlines_of(asyncio.get_running_loop())) == 0

    run_at_once(main())


@pytest.mark.parametrize(
    ("end", "body"),
    [(Session.abort, Refusal(RefusalKind.UNKNOWN_SID, Hint.UNKNOWN_SESSION).response().body), (Session.close, None)],
)
def test_e30_a_floor_above_that_refuses_at_once(end: Any, body: bytes | None) -> None:
    def refuse(session: Session, request: Request) -> EchoFloor:
        end(session)
        return EchoFloor(session, request)

    async def main() -> None:
        engine = Engine(refuse, limits=Limits(), max_sessions=10)
        response = await engine.handle(handshake(), MemoryBody())
        if body is not None:
            assert response.body == body
        else:
            assert response.body.startswith(b"0{")
            assert response.delivery is not None
            response.delivery.leaving(0, len(response.body))
            sid = next(iter(engine.sessions))
            response = await engine.handle(Request("GET", PATH, f"{POLL}&sid={sid}", Headers()), MemoryBody())
            assert response.body == b"6\x1e1"
        assert engine.sessions == {}
        assert len(deadlines_of(asyncio.get_running_loop())) == 0

    run_at_once(main())


def test_close_ends_every_session_and_waits_for_what_they_had_to_say() -> None:
    async def main() -> None:
        async with serve_engine() as (site, app):
            polling = await site.handshake()
            parked = await site.handshake()
            poll = await site.park(parked)
            websocket = await site.websocket()
            await websocket.open_packet()
            for floor in app.floors:
                floor.session.send([message("farewell")])
            closing = asyncio.create_task(app.engine.close())
            await settle()
            assert not closing.done()
            assert (await poll.answer()).text == "4farewell"
            assert (await site.get(parked)).text == "6\x1e1"
            assert (await site.get(polling)).text == "4farewell"
            assert (await site.get(polling)).text == "6\x1e1"
            assert [await websocket.receive(), await websocket.receive()] == ["4farewell", 1000]
            websocket.send_close()
            await closing
            assert [floor.reasons for floor in app.floors] == [[CloseReason.FORCED_CLOSE]] * 3
            check_nothing_is_left(app)

    run(main())


def test_close_does_not_wait_for_ever() -> None:
    async def main() -> None:
        engine = EngineApp().engine
        await engine.handle(handshake(), MemoryBody())
        loop = asyncio.get_running_loop()
        start = loop.time()
        await engine.close()
        assert loop.time() - start == pytest.approx(Limits().close_timeout)
        assert engine.sessions == {}
        assert len(deadlines_of(loop)) == 0

    run_at_once(main())


def test_close_may_be_called_by_several() -> None:
    async def main() -> None:
        engine = EngineApp().engine
        await engine.close()
        await engine.handle(handshake(), MemoryBody())
        sid = next(iter(engine.sessions))
        loop = asyncio.get_running_loop()
        start = loop.time()
        closers = [asyncio.create_task(engine.close()) for _ in range(3)]
        await settle()
        await engine.handle(Request("GET", PATH, f"{POLL}&sid={sid}", Headers()), MemoryBody())
        await asyncio.gather(*closers)
        assert loop.time() == start
        # And the engine is as good as new.
        await engine.handle(handshake(), MemoryBody())
        await engine.close()
        assert engine.sessions == {}

    run_at_once(main())


def test_close_belongs_to_the_loop_of_the_sessions() -> None:
    engine = EngineApp().engine

    async def main() -> None:
        await engine.handle(handshake(), MemoryBody())

    run_at_once(main())
    with pytest.raises(RuntimeError, match="event loop that serves them"):
        run_at_once(engine.close())


def test_a_session_that_ends_between_admission_and_start_is_not_upgraded() -> None:
    async def main() -> None:
        engine = EngineApp().engine
        await engine.handle(handshake(), MemoryBody())
        session = next(iter(engine.sessions.values()))
        request = Request("GET", PATH, f"{SOCKET}&sid={session.sid}", Headers())
        admission = await engine.admit_websocket(request)
        assert not isinstance(admission, Response)
        assert engine.admissions == set()  # an upgrade needs no place of its own
        session.abort()
        channel = MemoryChannel()
        admission.start(channel)
        assert channel.calls == [("abort", 1000)]

    run_at_once(main())
