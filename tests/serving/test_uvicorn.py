"""The protocol class under a real uvicorn, with Telex's own client and with that of `websockets`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import websockets.asyncio.client
import websockets.exceptions

from telex.limits import Limits
from telex.serving.uvicorn import Protocol
from telex.websocket import Connection, ConnectionClosed, DeflateOptions, InvalidStatus, Listener, connect

SECONDS = 20.0

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Event, Receive, Send], Awaitable[Any]]


class Running:
    def __init__(self, server: uvicorn.Server, port: int) -> None:
        self.server = server
        self.port = port
        self.url = f"ws://127.0.0.1:{port}"

    @property
    def state(self) -> Any:
        return self.server.server_state


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until this is so; `running` ends what takes too long."""
    while not condition():  # noqa: ASYNC110  # there is nothing to wait for but the condition itself
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(app: App, **options: Any) -> AsyncIterator[Running]:
    """Run uvicorn in this loop on a free port until the block ends."""
    settings: dict[str, Any] = {"ws": Protocol, "lifespan": "off", "log_config": None, "access_log": False}
    server = uvicorn.Server(uvicorn.Config(app, **settings | options))  # type: ignore[arg-type]  # its own event types
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            async with asyncio.timeout(SECONDS):
                yield Running(server, listening.getsockname()[1])
        finally:
            server.should_exit = True
            async with asyncio.timeout(SECONDS):
                await task
                await until(lambda: not server.server_state.tasks)
    assert server.server_state.connections == set()


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def wrapped() -> None:
        await main()

    asyncio.run(wrapped())


async def echo(scope: Event, receive: Receive, send: Send) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


def recording(events: list[Event], *answers: Event) -> App:
    """Make an application that gives these answers and then records what it receives until the end."""

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await receive()
        for answer in answers:
            await send(answer)
        while True:
            event = await receive()
            events.append(event)
            if event["type"] == "websocket.disconnect":
                break

    return app


ACCEPT: Event = {"type": "websocket.accept"}


@pytest.mark.parametrize("deflate", [None, True])
def test_echo_with_our_client(deflate: bool | None) -> None:
    async def main() -> None:
        async with running(echo) as served, connect(served.url, deflate=deflate) as ws:
            assert ("Sec-WebSocket-Extensions" in ws.response.headers) is bool(deflate)
            for message in ["", b"", "grüße", bytes(range(256)), "x" * 100_000]:
                await ws.send(message)
                assert await ws.recv() == message
            assert await ws.ping() >= 0
            assert len(served.state.connections) == 1

    run(main)


def test_echo_with_the_websockets_client() -> None:
    async def main() -> None:
        async with running(echo) as served, websockets.asyncio.client.connect(served.url) as ws:
            assert "permessage-deflate" in ws.response.headers["Sec-WebSocket-Extensions"]  # type: ignore[union-attr]
            for message in ["hello", b"\x00\xff", "x" * 300_000]:
                await ws.send(message)
                assert await ws.recv() == message
            await (await ws.ping())
            await ws.close(4000, "enough")
            assert ws.close_code == 4000

    run(main)


def test_deflate_follows_the_setting() -> None:
    async def main() -> None:
        async with (
            running(echo, ws_per_message_deflate=False) as served,
            connect(served.url, deflate=DeflateOptions()) as ws,
        ):
            assert "Sec-WebSocket-Extensions" not in ws.response.headers

    run(main)


def test_the_scope() -> None:
    scopes: list[Event] = []
    shared: Event = {"a list": []}

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"].update(shared)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        scopes.append(scope)
        scope["state"]["mine"] = True
        await echo(scope, receive, send)

    async def main() -> None:
        async with running(app, root_path="/mounted", lifespan="on") as served:
            url = f"{served.url}/caf%C3%A9/x%2Fy?q=a%20b&r"
            headers = [("X-Name", "Jos\xe9"), ("X-Twice", "1"), ("X-Twice", "2")]
            for _ in range(2):
                async with connect(url, headers=headers, subprotocols=["a", "b"], origin="http://here") as ws:
                    address = ws.local_address
                    await ws.send("x")
                    await ws.recv()
        assert len(scopes) == 2
        scope = scopes[1]
        assert scope["type"] == "websocket"
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.5"}
        assert scope["http_version"] == "1.1"
        assert scope["scheme"] == "ws"
        assert scope["server"] == ("127.0.0.1", served.port)
        assert scope["client"] == address
        assert scope["root_path"] == "/mounted"
        assert scope["path"] == "/mounted/café/x/y"
        assert scope["raw_path"] == b"/mounted/caf%C3%A9/x%2Fy"
        assert scope["query_string"] == b"q=a%20b&r"
        assert scope["subprotocols"] == ["a", "b"]
        assert scope["extensions"].keys() == {"websocket.http.response", "telex.stream"}
        assert (b"x-name", b"Jos\xe9") in scope["headers"]
        assert [value for name, value in scope["headers"] if name == b"x-twice"] == [b"1", b"2"]
        assert (b"origin", b"http://here") in scope["headers"]
        assert scope["state"] == {**shared, "mine": True}
        assert scope["state"]["a list"] is shared["a list"], "a shallow copy"
        assert scopes[0]["state"] is not scope["state"]

    run(main)


def test_accept_with_subprotocol_and_headers() -> None:
    answer = {**ACCEPT, "subprotocol": "b", "headers": [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]}

    async def main() -> None:
        async with running(recording([], answer)) as served, connect(served.url, subprotocols=["a", "b"]) as ws:
            assert ws.subprotocol == "b"
            assert ws.response.headers.get_all("set-cookie") == ["a=1", "b=2"]
            assert ws.response.headers["server"] == "uvicorn"
            assert "date" in ws.response.headers

    run(main)


def test_a_subprotocol_that_was_not_offered_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with (
            running(recording([], {**ACCEPT, "subprotocol": "other"})) as served,
            connect(served.url, subprotocols=["a"]) as ws,
        ):
            assert ws.subprotocol is None

    run(main)
    assert "'other'" in caplog.text


def test_accept_with_a_header_that_http_cannot_carry(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with running(recording([], {**ACCEPT, "headers": [(b"x", b"a\r\nb: c")]})) as served:
            with pytest.raises(InvalidStatus) as refused:
                await connect(served.url)
            assert refused.value.status == 500

    run(main)
    assert "ValueError" in caplog.text


async def refusal(url: str) -> InvalidStatus:
    with pytest.raises(InvalidStatus) as refused:
        await connect(url)
    return refused.value


def test_refusing() -> None:
    events: list[Event] = []

    async def main() -> None:
        async with running(recording(events, {"type": "websocket.close"})) as served:
            refused = await refusal(served.url)
            assert refused.status == 403
        assert events == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]

    run(main)


def test_refusing_with_a_response() -> None:
    answers: list[Event] = [
        {"type": "websocket.http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Basic")]},
        {"type": "websocket.http.response.body", "body": b"who ", "more_body": True},
        {"type": "websocket.http.response.body", "body": b"are you?"},
    ]

    async def main() -> None:
        async with running(recording([], *answers)) as served:
            refused = await refusal(served.url)
            assert (refused.status, refused.body) == (401, b"who are you?")
            headers = dict(refused.headers)
            assert headers["www-authenticate"] == "Basic"
            assert headers["content-length"] == "12"
            assert headers["server"] == "uvicorn"
            with pytest.raises(websockets.exceptions.InvalidStatus):
                await websockets.asyncio.client.connect(served.url)

    run(main)


def test_an_application_that_gives_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def nothing(scope: Event, receive: Receive, send: Send) -> None:
        await receive()

    async def half(scope: Event, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.http.response.start", "status": 418, "headers": []})

    async def failing(scope: Event, receive: Receive, send: Send) -> None:
        raise LookupError("mine")

    async def main() -> None:
        for app in (nothing, half, failing):
            async with running(app) as served:
                assert (await refusal(served.url)).status == 500

    run(main)
    assert caplog.text.count("without completing handshake") == 2
    assert "LookupError: mine" in caplog.text


def test_how_an_application_ends(caplog: pytest.LogCaptureFixture) -> None:
    async def returning(scope: Event, receive: Receive, send: Send) -> str:
        await send(ACCEPT)
        return "not None"

    async def failing(scope: Event, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.send", "text": "before"})
        raise LookupError("mine")

    async def closing(scope: Event, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.close", "code": 4001, "reason": "why not"})

    async def main() -> None:
        ends = []
        for app in (returning, failing, closing):
            async with running(app) as served, connect(served.url) as ws:
                with contextlib.suppress(ConnectionClosed):
                    while True:
                        await ws.recv()
                ends.append((ws.close_code, ws.close_reason, ws.statistics().n_received))
        assert ends == [(1000, "", 0), (1011, "", 1), (4001, "why not", 0)]

    run(main)
    assert "LookupError: mine" in caplog.text
    assert "should return None" in caplog.text


def test_how_the_peer_ends() -> None:
    events: list[Event] = []

    async def main() -> None:
        async with running(recording(events, ACCEPT)) as served:
            async with connect(served.url) as ws:
                ws.send("first")
                await ws.close(3000, "done")
            async with connect(served.url) as ws:
                await ws.close(None)
            ws = await connect(served.url)
            ws.abort()
            await ws.wait_closed()
        assert events == [
            {"type": "websocket.receive", "text": "first"},
            {"type": "websocket.disconnect", "code": 3000, "reason": "done"},
            {"type": "websocket.disconnect", "code": 1005, "reason": ""},
            {"type": "websocket.disconnect", "code": 1006, "reason": events[-1]["reason"]},
        ]

    run(main)


def test_the_peer_gives_up_before_it_is_answered() -> None:
    told = []

    async def main() -> None:
        done = asyncio.Event()

        async def app(scope: Event, receive: Receive, send: Send) -> None:
            told.append(await receive())
            told.append(await receive())
            with pytest.raises(OSError, match="gone"):
                await send(ACCEPT)
            done.set()

        async with running(app) as served:
            waiting = asyncio.create_task(connect(served.url).__aenter__())
            await until(lambda: told)
            waiting.cancel()
            await done.wait()
            assert [event["type"] for event in told] == ["websocket.connect", "websocket.disconnect"]

    run(main)


def test_what_an_application_may_say_when(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        with pytest.raises(RuntimeError, match="Unexpected"):
            await send({"type": "websocket.send", "text": "too early"})
        with pytest.raises(ValueError, match="9"):
            await send({"type": "websocket.http.response.start", "status": 999, "headers": []})
        await send(ACCEPT)
        with pytest.raises(RuntimeError, match="Unexpected"):
            await send(ACCEPT)
        with pytest.raises(RuntimeError, match="'text' or 'bytes'"):
            await send({"type": "websocket.send"})
        with pytest.raises(ValueError, match="1005"):
            await send({"type": "websocket.close", "code": 1005})
        await send({"type": "websocket.send", "text": None, "bytes": b""})
        await send({"type": "websocket.close"})
        with pytest.raises(RuntimeError, match="after"):
            await send({"type": "websocket.send", "text": "too late"})

    async def main() -> None:
        async with running(app) as served, connect(served.url) as ws:
            assert [message async for message in ws] == [b""]
            assert ws.close_code == 1000

    run(main)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_sending_to_a_peer_that_has_gone_is_an_os_error(caplog: pytest.LogCaptureFixture) -> None:
    raised = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        while (await receive())["type"] != "websocket.disconnect":
            pass
        try:
            await send({"type": "websocket.send", "text": "anyone?"})
        except OSError as error:
            raised.append(error)
            raise

    async def main() -> None:
        async with running(app) as served, connect(served.url):
            pass
        assert isinstance(raised[0], ConnectionClosed)

    run(main)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_send_waits_while_the_peer_does_not_read() -> None:
    sent = []
    chunk = b"x" * 100_000

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        for number in range(300):
            await send({"type": "websocket.send", "bytes": chunk})
            sent.append(number)

    async def main() -> None:
        async with (
            running(app, ws_per_message_deflate=False) as served,
            connect(served.url, limits=Limits(recv_queue_high=1)) as ws,
        ):
            (protocol,) = served.state.connections
            await until(lambda: protocol.buffered_bytes > 64 * 1024)
            assert protocol.buffered_bytes < 200_000
            assert len(sent) < 300
            n_received = 0
            async for message in ws:
                assert message == chunk
                n_received += 1
            assert n_received == len(sent) == 300

    run(main)


def test_one_large_message() -> None:
    message = b"x" * (2 * Limits().send_buffer_max)

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await send({"type": "websocket.send", "bytes": message})

    async def main() -> None:
        limits = Limits(max_message_size=len(message))
        async with (
            running(app, ws_per_message_deflate=False) as served,
            connect(served.url, limits=limits) as ws,
        ):
            assert await ws.recv() == message
            await ws.wait_closed()
            assert ws.close_code == 1000

    run(main)


def test_a_peer_is_not_read_while_the_application_is_behind() -> None:
    received = []

    async def main() -> None:
        go, go_on = asyncio.Event(), asyncio.Event()

        async def app(scope: Event, receive: Receive, send: Send) -> None:
            await receive()
            await send(ACCEPT)
            await go.wait()
            while (event := await receive())["type"] == "websocket.receive":
                received.append(event["bytes"])
                await go_on.wait()

        limits = Limits(send_buffer_max=100_000_000)
        async with running(app, ws_max_queue=4) as served, connect(served.url, limits=limits) as ws:
            (protocol,) = served.state.connections
            for _ in range(300):
                ws.send(b"x" * 60_000)
            conversation = protocol._conversation
            await until(lambda: not protocol._is_reading)
            assert conversation._connection is None, "it has not asked yet, so nothing of it is read"
            assert sum(map(len, conversation._early)) < 1_000_000
            go.set()
            await until(lambda: received)
            connection = conversation._connection
            await until(lambda: connection.statistics().n_waiting == 4)
            await until(lambda: not protocol._is_reading)
            assert connection.statistics().n_waiting == 4
            go_on.set()
            await ws.close()

    run(main)
    assert received == [b"x" * 60_000] * 300


def test_max_size() -> None:
    events: list[Event] = []

    async def main() -> None:
        async with running(recording(events, ACCEPT), ws_max_size=1000) as served, connect(served.url) as ws:
            ws.send("x" * 1001)
            await ws.wait_closed()
            assert ws.close_code == 1009

    run(main)
    assert [event.get("code") for event in events] == [1009]


def test_keepalive_settings() -> None:
    async def main() -> None:
        pinged = asyncio.Event()

        class Pinged(Listener):
            def on_ping(self, ws: Connection, payload: bytes) -> None:
                pinged.set()

        async with (
            running(echo, ws_ping_interval=0.01, ws_ping_timeout=None) as served,
            connect(served.url, listener=Pinged()),
        ):
            await pinged.wait()
        async with running(echo, ws_ping_interval=None) as served, connect(served.url):
            (protocol,) = served.state.connections
            assert protocol._conversation._connection.core.deadline is None

    run(main)


def test_the_server_stops() -> None:
    """Every connection is told 1012, applications learn of it, and uvicorn's stop is not held up."""
    events: list[Event] = []

    async def main() -> None:
        async with running(recording(events, ACCEPT)) as served:
            first = await connect(served.url)
            second = await websockets.asyncio.client.connect(served.url)
            served.server.should_exit = True
            await first.wait_closed()
            await second.wait_closed()
            assert first.close_code == second.close_code == 1012

    run(main)
    assert [event["code"] for event in events] == [1012, 1012]


def test_the_server_stops_while_a_request_waits() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def app(scope: Event, receive: Receive, send: Send) -> None:
            await receive()
            asked.set()
            assert (await receive())["type"] == "websocket.disconnect"

        async with running(app) as served:
            waiting = asyncio.create_task(refusal(served.url))
            await asked.wait()
            served.server.should_exit = True
            assert (await waiting).status == 503

    run(main)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"426"),
        (b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n", b"400"),
    ],
)
def test_a_request_that_is_not_sound_never_reaches_the_application(line: bytes, status: bytes) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        pytest.fail("it was called")

    async def main() -> None:
        async with running(app) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + line + b"\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 " + status)
            writer.close()
            await writer.wait_closed()

    run(main)


def test_frames_sent_in_a_hurry() -> None:
    """Frames that arrive while the application has not answered are kept and delivered after the 101."""
    received: list[Event] = []

    async def main() -> None:
        asked = asyncio.Event()
        go = asyncio.Event()

        async def app(scope: Event, receive: Receive, send: Send) -> None:
            await receive()
            asked.set()
            await go.wait()
            await send(ACCEPT)
            received.append(await receive())

        async with running(app) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(
                b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            await asked.wait()
            writer.write(b"\x81\x82\x00\x00\x00\x00hi")
            await writer.drain()
            go.set()
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
            writer.close()
            await writer.wait_closed()
        assert received == [{"type": "websocket.receive", "text": "hi"}]

    run(main)


HEAD = (
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def test_a_list_of_extensions_that_is_malformed() -> None:
    events: list[Event] = []

    async def main() -> None:
        async with running(recording(events, ACCEPT)) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(HEAD + b'Sec-WebSocket-Extensions: x; y="\r\n\r\n')
            assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
            await reader.read()
            writer.close()
            await writer.wait_closed()

    run(main)
    assert [event["type"] for event in events] == ["websocket.disconnect"]


def test_too_much_in_a_hurry() -> None:
    events: list[Event] = []

    async def main() -> None:
        asked = asyncio.Event()

        async def app(scope: Event, receive: Receive, send: Send) -> None:
            await receive()
            asked.set()
            events.append(await receive())

        async with running(app) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(HEAD + b"\r\n")
            await asked.wait()
            writer.write(b"x" * 100_000)
            assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    run(main)
    assert [event["type"] for event in events] == ["websocket.disconnect"]


def test_an_application_that_does_not_end_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Event, receive: Receive, send: Send) -> None:
        await send(ACCEPT)
        await asyncio.Event().wait()

    async def main() -> None:
        async with running(app, timeout_graceful_shutdown=0.05) as served, connect(served.url) as ws:
            served.server.should_exit = True
            await ws.wait_closed()
            assert ws.close_code == 1012

    run(main)
    assert "Cancel 1 running task" in caplog.text


def test_a_status_without_a_name() -> None:
    answers: list[Event] = [
        {"type": "websocket.http.response.start", "status": 499, "headers": [(b"content-length", b"2")]},
        {"type": "websocket.http.response.body", "body": b"no"},
    ]

    async def main() -> None:
        async with running(recording([], *answers)) as served:
            refused = await refusal(served.url)
            assert (refused.status, refused.body) == (499, b"no")

    run(main)


def test_on_a_unix_socket(tmp_path: Path) -> None:
    scopes: list[Event] = []

    async def app(scope: Event, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    async def main() -> None:
        path = str(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as sock:
            listening.bind(path)
            config = uvicorn.Config(app, ws=Protocol, lifespan="off", log_config=None)
            server = uvicorn.Server(config)
            task = asyncio.create_task(server.serve(sockets=[listening]))
            await until(lambda: server.started)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, path)
            async with connect("ws://localhost", sock=sock) as ws:
                await ws.send("x")
                assert await ws.recv() == "x"
            server.should_exit = True
            await task
        assert scopes[0]["client"] is None
        assert scopes[0]["server"] == (path, None)

    run(main)
