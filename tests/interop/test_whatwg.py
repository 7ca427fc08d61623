"""The WHATWG's interfaces beside Chromium's: the same scenes against the same server, and the same logs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from telex.errors import DOMException, WebSocketError
from telex.websocket import CloseEvent, ErrorEvent, Event, MessageEvent, WebSocket, WebSocketStream
from tests.interop.programs import HERE
from tests.support.processes import NodeScript, find_browser
from tests.websocket.raw import SECONDS

URLS = [
    "ws://127.0.0.1:1",
    "http://127.0.0.1:1/a",
    "HTTPS://LOCALHOST:443/a/./b/../c?x=1",
    " ws://localhost:80 ",
    "ws://localhost/a/..",
    "ws://localhost/../../%2E%2e/a/%2e",
    "ws://localhost/é?é",
    "ws://localhost/#",
    "ws://localhost/#x",
    "ftp://localhost/",
    "ws://",
    "ws://localhost:70000/",
    "ws://[::1]:80/",
]

# Where, with which subprotocols, and what to do when.
SCENES: dict[str, tuple[str, list[str], dict[str, list[list[Any]]]]] = {
    "refused": ("/refuse", [], {}),
    "redirected": ("/redirect", [], {}),
    "dropped": ("/drop", [], {}),
    "violated": ("/violate", [], {}),
    "closed by the server": ("/close", [], {}),
    "closed by the server without a code": ("/close-empty", [], {}),
    "a subprotocol": ("/tell?chat", ["other", "chat"], {"open": [["close"]]}),
    "no subprotocol where one was asked for": ("/tell", ["chat"], {}),
    "a subprotocol that nobody asked for": ("/tell?chat", [], {}),
    "closed at once": ("/tell", [], {"constructed": [["close", 3000, "x"], ["close"]]}),
    "too early and too late": ("/never", [], {"constructed": [["send", "x"], ["close"], ["send", "abcé"]]}),
    "bad codes": (
        "/tell",
        [],
        {"open": [["close", 1001], ["close", 2999], ["close", 5000], ["close", 0], ["close", 4999, "z"]]},
    ),
    "bad reasons": ("/tell", [], {"open": [["close", 1000, "é" * 62], ["close", 1000, "é" * 61], ["close", 1]]}),
    "bad codes count in every state": ("/tell", [], {"open": [["close"]], "close": [["close", 1001], ["close"]]}),
    "what is sent": (
        "/tell",
        [],
        {
            "open": [["send", ""], ["send", "aé😀"], ["send", "\ud800x"], ["close", 1000, "\udc00"], ["send", "late"]],
            "close": [["send", "later"]],
        },
    ),
    "echo": ("/tell", [], {"open": [["send", "a"]], "message": [["close", 4000]]}),
    "nothing is heard after close": ("/three", [], {"message": [["close", 1000, "enough"]]}),
}
STREAMS: dict[str, tuple[str, list[str], str]] = {
    "refused": ("/refuse", [], ""),
    "dropped": ("/drop", [], ""),
    "violated": ("/violate", [], ""),
    "closed by the server": ("/close", [], ""),
    "closed by the server without a code": ("/close-empty", [], ""),
    "a subprotocol": ("/close?chat", ["chat"], ""),
    "no subprotocol where one was asked for": ("/tell", ["chat"], ""),
    "closed at once": ("/never", [], "close at once"),
    "close": ("/tell", [], "close"),
    "abort": ("/tell", [], "abort"),
    "cancel": ("/three", [], "cancel"),
    "write": ("/tell", [], "write"),
}


@pytest.fixture(scope="module")
def page() -> Iterator[NodeScript]:
    with NodeScript(HERE / "whatwg.mjs", find_browser()) as script:
        yield script


@pytest.fixture(scope="module")
def origin(page: NodeScript) -> str:
    return page.wait_for(r"stage at http(\S+)")[1]


def name_of(error: Exception) -> str:
    assert isinstance(error, DOMException)
    return error.name


async def urls() -> list[str]:
    log = []
    for url in URLS:
        try:
            ws = WebSocket(url)
        except ValueError as error:
            log.append(name_of(error))
        else:
            ws.close()
            log.append(ws.url)
            await ws.wait_closed()
    return log


async def events(url: str, protocols: list[str], when: dict[str, list[list[Any]]]) -> list[Any]:
    log: list[Any] = []
    ws = WebSocket(url, protocols, deflate=False)

    def act(moment: str) -> None:
        for name, *values in when.get(moment, []):
            try:
                getattr(ws, name)(*values)
                log.append([name, ws.ready_state, ws.buffered_amount])
            except (ValueError, RuntimeError) as error:
                log.append([name, name_of(error)])

    def note(event: Event, *details: object) -> None:
        log.append([event.type, ws.ready_state, ws.buffered_amount, *details])
        act(event.type)

    def on_message(event: MessageEvent) -> None:
        note(event, event.data, event.origin, event.last_event_id)

    def on_error(event: ErrorEvent) -> None:
        note(event)

    def on_close(event: CloseEvent) -> None:
        note(event, event.was_clean, event.code, event.reason)

    ws.on_open = lambda event: note(event, ws.protocol, ws.extensions)
    ws.on_message = on_message
    ws.on_error = on_error
    ws.on_close = on_close
    act("constructed")
    await ws.wait_closed()
    return log


async def stream(url: str, protocols: list[str], then: str) -> list[Any]:
    log: list[Any] = []
    wss = WebSocketStream(url, protocols=protocols, deflate=False)
    if then == "close at once":
        wss.close(4000)
    try:
        info = await wss.opened
        log.append(["opened", info.protocol, info.extensions])
        if then == "close":
            wss.close(reason="why")
        elif then == "abort":
            await info.writable.abort(WebSocketError("enough", 4001, "no"))
        elif then == "cancel":
            await info.readable.cancel(WebSocketError("enough", reason="no"))
        elif then == "write":
            await info.writable.write("hé")
            log.append(["read", await anext(info.readable)])
            wss.close()
        else:
            async for message in info.readable:
                log.append(["read", message])
            log.append(["done"])
    except WebSocketError as error:
        log.append(["failed", error.name, error.close_code, error.reason])
    try:
        end = await wss.closed
        log.append(["closed", end.close_code, end.reason])
    except WebSocketError as error:
        log.append(["closed", error.name, error.close_code, error.reason])
    return log


def run(scene: Any) -> Any:
    return asyncio.run(asyncio.wait_for(scene, SECONDS))


def test_urls(page: NodeScript, origin: str) -> None:
    assert origin
    assert run(urls()) == page.run("urls", urls=URLS)


@pytest.mark.parametrize("scene", SCENES)
def test_events(page: NodeScript, origin: str, scene: str) -> None:
    path, protocols, when = SCENES[scene]
    url = f"ws{origin}{path}"
    assert run(events(url, protocols, when)) == page.run("events", url=url, protocols=protocols, when=when)


@pytest.mark.parametrize("scene", STREAMS)
def test_streams(page: NodeScript, origin: str, scene: str) -> None:
    path, protocols, then = STREAMS[scene]
    url = f"ws{origin}{path}"
    assert run(stream(url, protocols, then)) == page.run("stream", url=url, protocols=protocols, then=then)
