"""Clients of protocol v3 on a real web server: handshake, both transports, JSONP, and what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote_plus

import pytest

from telex.engineio import CloseReason, Cors, message
from telex.engineio.packets import PacketType
from telex.engineio.v3.payloads import decode_binary
from telex.limits import Limits
from telex.serving.uvicorn import Protocol
from tests.engineio.web import Answer, EngineApp, Site, WebSocket, run, serve_engine

POLL = "EIO=3&transport=polling"
SOCKET = "EIO=3&transport=websocket"
WEBSOCKETS = pytest.mark.parametrize("ws", ["websockets-sansio", "wsproto", Protocol], ids=["sansio", "wsproto", "own"])


@asynccontextmanager
async def serve_old(**options: Any) -> AsyncIterator[tuple[Site, EngineApp]]:
    async with serve_engine(allow_eio3=True, **options) as served:
        yield served


def opened(text: str) -> dict[str, Any]:
    """Read the payload that opens a session."""
    length, _, packet = text.partition(":")
    assert int(length) == len(packet)
    assert packet.startswith("0")
    found: dict[str, Any] = json.loads(packet[1:])
    return found


async def handshake(site: Site, query: str = POLL) -> str:
    """Open a session on polling; return the query of its further requests."""
    answer = await site.get(query)
    assert answer.status == 200, answer
    return f"{query}&sid={opened(answer.text)['sid']}"


@pytest.mark.parametrize("query", [POLL, "transport=polling", POLL + "&b64=1"])
def test_the_handshake_over_polling(query: str) -> None:
    async def main() -> None:
        async with serve_old(limits=Limits(ping_interval=5, ping_timeout=3)) as (site, app):
            answer = await site.get(query)
            assert answer.header("content-type") == "text/plain; charset=UTF-8"
            assert answer.header("cache-control") == "no-store"
            packet = opened(answer.text)
            assert packet["sid"] == app.floor.session.sid
            assert packet["upgrades"] == ["websocket"]
            assert (packet["pingInterval"], packet["pingTimeout"]) == (5000, 3000)
            assert app.floor.session.protocol == 3

    run(main())


@WEBSOCKETS
def test_the_handshake_over_websocket(ws: Any) -> None:
    async def main() -> None:
        async with serve_old(ws=ws) as (site, app):
            websocket = await site.websocket(SOCKET)
            packet = await websocket.open_packet()
            assert packet["sid"] == app.floor.session.sid
            assert packet["upgrades"] == []
            assert app.floor.session.protocol == 3
            websocket.send("2")
            assert await websocket.receive() == "3"
            websocket.send("4€", b"\4\0\1", "b4AAE=")
            assert [await websocket.receive() for _ in range(3)] == ["4€", b"\4\0\1", b"\4\0\1"]
            websocket.send_close()
            assert await app.floor.closed() is CloseReason.TRANSPORT_CLOSE

    run(main())


@WEBSOCKETS
def test_a_client_that_takes_only_text_over_websocket(ws: Any) -> None:
    async def main() -> None:
        async with serve_old(ws=ws) as (site, _):
            websocket = await site.websocket(SOCKET + "&b64=1")
            await websocket.open_packet()
            websocket.send("b4AAE=", b"\4\0\1")
            assert [await websocket.receive() for _ in range(2)] == ["b4AAE="] * 2

    run(main())


@WEBSOCKETS
def test_bytes_without_a_type_end_the_session(ws: Any) -> None:
    async def main() -> None:
        async with serve_old(ws=ws) as (site, app):
            websocket = await site.websocket(SOCKET)
            await websocket.open_packet()
            websocket.send(b"\0\1")
            assert await websocket.receive() == 1002
            assert await app.floor.closed() is CloseReason.PARSE_ERROR

    run(main())


def test_payloads_over_polling() -> None:
    async def main() -> None:
        async with serve_old() as (site, app):
            query = await handshake(site)
            assert (await site.post(query, "3:4🙂2:4€1:2")).text == "ok"
            assert app.floor.messages == ["🙂", "€"]
            answer = await site.get(query)
            assert answer.text == "3:4🙂2:4€1:3"
            assert answer.header("content-type") == "text/plain; charset=UTF-8"

    run(main())


def test_a_payload_with_bytes_is_binary() -> None:
    async def main() -> None:
        async with serve_old() as (site, app):
            query = await handshake(site)
            body = b"\0\5\xff4\xf0\x9f\x99\x82\1\3\xff\4\0\xff"
            answer = await site.request(
                "POST", f"/socket.io/?{query}", body, [("Content-Type", "application/octet-stream")]
            )
            assert (answer.status, answer.text) == (200, "ok")
            assert app.floor.messages == ["🙂", b"\0\xff"]
            answer = await site.get(query)
            assert answer.header("content-type") == "application/octet-stream"
            assert answer.body == body

    run(main())


@pytest.mark.parametrize("query", [POLL + "&b64=1", POLL + "&j=0"])
def test_a_payload_with_bytes_is_text_for_a_client_that_takes_only_text(query: str) -> None:
    async def main() -> None:
        async with serve_old(cors=Cors("*")) as (site, app):
            answer = await site.get(query)
            app.floor.session.send([message(b"\0\xff"), message("x")])
            answer = await site.get(f"{query}&sid={app.floor.session.sid}")
            assert "6:b4AP8=2:4x" in answer.text

    run(main())


def test_a_large_answer_is_compressed() -> None:
    async def main() -> None:
        async with serve_old() as (site, app):
            query = await handshake(site)
            app.floor.session.send([message(b"x" * 5000)])
            answer = await site.get(query, [("Accept-Encoding", "gzip")])
            assert answer.header("content-encoding") == "gzip"
            packets = list(decode_binary(gzip.decompress(answer.body), 10))
            assert packets == [(PacketType.MESSAGE, b"x" * 5000)]

    run(main())


@pytest.mark.parametrize("media_type", ["text/plain", "application/octet-stream"])
@pytest.mark.parametrize("body", [b"", b"4hello", b"3:4x", b"1:7", b"\xff\xff", b"1:44:b4A=", b"9:4hello", b"4a\x1e4b"])
def test_a_body_that_is_no_payload(body: bytes, media_type: str) -> None:
    async def main() -> None:
        async with serve_old() as (site, app):
            query = await handshake(site)
            assert (
                await site.request("POST", f"/socket.io/?{query}", body, [("Content-Type", media_type)])
            ).status == 400
            assert await app.floor.closed() is CloseReason.PARSE_ERROR
            assert (await site.get(query)).status == 400

    run(main())


def test_more_packets_than_the_bound_and_more_bytes() -> None:
    async def main() -> None:
        async with serve_old(limits=Limits(max_packets_per_payload=3, max_payload=1000)) as (site, app):
            query = await handshake(site)
            assert (await site.post(query, "1:4" * 3)).status == 200
            assert (await site.post(query, "1001:4" + "x" * 1000)).status == 413
            assert app.floor.session.is_open
            assert (await site.post(query, "1:4" * 4)).status == 400
            assert await app.floor.closed() is CloseReason.PARSE_ERROR

    run(main())


@WEBSOCKETS
def test_the_upgrade(ws: Any) -> None:
    async def main() -> None:
        async with serve_old(ws=ws) as (site, app):
            query = await handshake(site)
            # The session's own protocol counts, whatever this request says.
            websocket = await site.websocket(f"EIO=4&transport=websocket&sid={app.floor.session.sid}")
            websocket.send("2probe")
            assert await websocket.receive() == "3probe"
            parked = await site.park(query)
            assert (await parked.answer()).text == "1:6"
            websocket.send("5", b"\4\1", "2")
            assert [await websocket.receive(), await websocket.receive()] == [b"\4\1", "3"]
            assert app.floor.session.transport.name == "websocket"

    run(main())


@pytest.mark.parametrize("query", ["EIO=3", "", "EIO=2", "EIO=5", "EIO=", "EIO=33"])
@pytest.mark.parametrize("is_allowed", [False, True])
def test_e06_what_is_let_in(query: str, is_allowed: bool) -> None:
    async def main() -> None:
        async with serve_engine(allow_eio3=is_allowed) as (site, app):
            answer = await site.get(f"{query}&transport=polling")
            socket = await site.try_websocket(f"{query}&transport=websocket")
            if is_allowed and query in ("EIO=3", ""):
                assert answer.status == 200
                assert isinstance(socket, WebSocket)
            else:
                assert answer.status == 400
                refusal = json.loads(answer.text)
                assert (refusal["code"], refusal["message"]) == (5, "Unsupported protocol version")
                assert isinstance(socket, Answer)
                assert (socket.status, socket.text) == (400, "Unsupported protocol version")
                assert app.floors == []
            # Today's clients are served beside them, in their own protocol.
            assert (await site.get("EIO=4&transport=polling")).text.startswith("0{")
            assert app.floor.session.protocol == 4

    run(main())


def test_a_client_that_does_not_ping_is_given_up() -> None:
    async def main() -> None:
        async with serve_old(limits=Limits(ping_interval=0.05, ping_timeout=0.05)) as (site, app):
            websocket = await site.websocket(SOCKET)
            await websocket.open_packet()
            assert await app.floor.closed() is CloseReason.PING_TIMEOUT
            assert await websocket.receive() == 1000

    run(main())


# JSONP


def called(answer: Answer, index: str = "3") -> str:
    """Return what a JSONP answer hands to the page's callback."""
    assert answer.status == 200, answer
    assert answer.header("content-type") == "text/javascript; charset=UTF-8"
    head, foot = f"___eio[{index}](", ");"
    assert answer.text.startswith(head)
    assert answer.text.endswith(foot)
    payload: str = json.loads(answer.text.removeprefix(head).removesuffix(foot))
    return payload


def test_jsonp_from_the_handshake_to_the_end() -> None:
    async def main() -> None:
        async with serve_old() as (site, app):
            page = [("Referer", f"http://127.0.0.1:{site.port}/page?x=1#y")]
            query = f"{POLL}&j=3&b64=1"
            sid = opened(called(await site.get(query, page)))["sid"]
            query += f"&sid={sid}"
            form = [("Content-Type", "application/x-www-form-urlencoded"), *page]
            body = "d=" + quote_plus("3:4🙂3:4\u2028x6:b4AAE=5:4a\\\\nb")
            answer = await site.request("POST", f"/socket.io/?{query}", body.encode(), form)
            assert (answer.status, answer.text, answer.header("content-type")) == (200, "ok", "text/html")
            assert app.floor.messages == ["🙂", "\u2028x", b"\0\1", "a\\nb"]
            answer = await site.get(query, page)
            assert "\u2028" not in answer.text
            assert called(answer) == "3:4🙂3:4\u2028x6:b4AAE=5:4a\\nb"
            answer = await site.request("POST", f"/socket.io/?{query}", b"d=1%3A1", form)
            assert answer.text == "ok"
            assert await app.floor.closed() is CloseReason.TRANSPORT_CLOSE

    run(main())


@pytest.mark.parametrize("body", [b"3:4hi", b"d=3:4h", b"e=3:4hi", b"d=2:4&d=2:4", b"d=%FF", b"d"])
def test_a_body_that_is_no_form(body: bytes) -> None:
    async def main() -> None:
        async with serve_old(cors=Cors("*")) as (site, app):
            called(await site.get(f"{POLL}&j=3"))
            assert (await site.post(f"{POLL}&j=3&sid={app.floor.session.sid}", body)).status == 400
            assert await app.floor.closed() is CloseReason.PARSE_ERROR

    run(main())


@pytest.mark.parametrize("index", ["", "alert(1)", "0]", "-1", "1234567890", "%D9%A1", "1%0A"])
def test_e35_what_is_no_index_gets_into_no_script(index: str) -> None:
    async def main() -> None:
        async with serve_old(cors=Cors("*")) as (site, app):
            answer = await site.get(f"{POLL}&j={index}")
            assert (answer.status, json.loads(answer.text)["code"]) == (400, 3)
            called(await site.get(f"{POLL}&j=3"))
            answer = await site.get(f"{POLL}&j={index}&sid={app.floor.session.sid}")
            assert (answer.status, json.loads(answer.text)["code"]) == (400, 3)

    run(main())


@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ([("Referer", "https://friend.example/page?q=https://x.example")], True),
        ([("Referer", "HTTPS://Friend.example")], True),
        ([("Origin", "https://friend.example")], True),
        ([("Referer", "https://friend.example:444/page")], False),
        ([("Referer", "https://friend.example.evil.example/")], False),
        ([("Referer", "https://friend.example@evil.example/")], False),
        ([("Referer", "about:blank")], False),
        ([("Referer", "")], False),
        ([], False),
        ([("Origin", "https://evil.example"), ("Referer", "https://friend.example/")], False),
        ([("Origin", "null")], False),
    ],
)
def test_a_script_is_answered_only_for_a_page_that_is_let_in(headers: list[tuple[str, str]], is_allowed: bool) -> None:
    # Any page may have any script, and the browser sends cookies along; so here nobody is let in for saying nothing.
    async def main() -> None:
        async with serve_old(cors=Cors("https://friend.example")) as (site, app):
            answer = await site.get(f"{POLL}&j=3", headers)
            if is_allowed:
                called(answer)
            else:
                assert (answer.status, json.loads(answer.text)["code"]) == (403, 4)
                assert app.floors == []

    run(main())


def test_jsonp_is_not_for_today_s_clients() -> None:
    async def main() -> None:
        async with serve_old(cors=Cors("*")) as (site, _):
            answer = await site.get("EIO=4&transport=polling&j=0")
            assert (answer.status, json.loads(answer.text)["code"]) == (400, 3)

    run(main())


def test_old_and_new_are_sent_the_same_packets() -> None:
    async def main() -> None:
        async with serve_old(ws=Protocol) as (site, app):
            websockets = [await site.websocket(SOCKET), await site.websocket("EIO=4&transport=websocket")]
            for websocket in websockets:
                await websocket.open_packet()
            packets = [message("€"), message(b"\0\1")]
            for packet in packets:
                packet.encode_for_many()
            for floor in app.floors:
                floor.session.send(packets)
            assert [await websockets[0].receive() for _ in range(2)] == ["4€", b"\4\0\1"]
            assert [await websockets[1].receive() for _ in range(2)] == ["4€", b"\0\1"]

    run(main())
