"""python-socketio's clients, asyncio and threads, talk to Telex with no option changed but the transports.

They are another reading of the same protocol, and what most Python programs connect with today.
"""

from __future__ import annotations

import asyncio
import gc
import queue
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import socketio  # type: ignore[import-untyped]

from tests.interop.programs import RUNNERS, start
from tests.support.processes import ServerProgram

SECONDS = 30.0
TRANSPORTS: list[list[str] | None] = [None, ["polling"], ["websocket"]]

pytestmark = [
    pytest.mark.parametrize(
        "transports", TRANSPORTS, ids=lambda transports: "default" if transports is None else transports[0]
    ),
    # These clients leave HTTP connections to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def collect_what_the_clients_left() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module", params=RUNNERS)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProgram]:
    with start(request.param, "conversation") as program:
        yield program


class Heard:
    """Keep what a client hears of some events, in order."""

    def __init__(self, client: Any, *events: str, namespace: str = "/") -> None:
        self._queue: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        for event in events:
            client.on(event, self._hear(event), namespace=namespace)

    def _hear(self, event: str) -> Callable[..., None]:
        def hear(*args: Any) -> None:
            self._queue.put((event, *args))

        return hear

    def next(self) -> tuple[Any, ...]:
        return self._queue.get(timeout=SECONDS)

    async def next_async(self) -> tuple[Any, ...]:
        return await asyncio.to_thread(self.next)


def play(scene: Callable[[Any], Awaitable[None]]) -> None:
    """Play a scene with an asyncio client, and close it behind."""

    async def whole() -> None:
        client = socketio.AsyncClient()
        try:
            await asyncio.wait_for(scene(client), 2 * SECONDS)
        finally:
            await client.shutdown()

    asyncio.run(whole())


@pytest.fixture
def client() -> Iterator[Any]:
    """Make a client for threads, and close it behind the test."""
    made = socketio.Client()
    yield made
    made.shutdown()


def test_asyncio_events_and_acknowledgements(server: ServerProgram, transports: list[str] | None) -> None:
    async def scene(client: Any) -> None:
        heard = Heard(client, "hello", "echo")
        await client.connect(server.url, transports=transports, auth={"name": "Ada"})
        assert await heard.next_async() == ("hello", client.get_sid(), {"name": "Ada"})
        assert client.transport() == ("polling" if transports == ["polling"] else "websocket")
        for args in ((), ("text",), ({"a": [1, None, "ü"]},), (b"\x00\xff",), ([{"file": b"abc"}, "text", b""], 3)):
            await client.emit("echo", args)
            assert await heard.next_async() == ("echo", *args)
        assert await client.call("ask", "how?", timeout=SECONDS) == "how?"
        assert await client.call("ask", (1, b"two"), timeout=SECONDS) == (1, b"two")
        assert await client.call("ask", timeout=SECONDS) is None
        assert await client.call("ask", {"big": b"x" * 500_000}, timeout=SECONDS) == {"big": b"x" * 500_000}

    play(scene)


def test_asyncio_calls_of_the_server(server: ServerProgram, transports: list[str] | None) -> None:
    async def scene(client: Any) -> None:
        async def question(*args: Any) -> Any:
            return args if len(args) > 1 else args[0]

        client.on("question", question)
        await client.connect(server.url, transports=transports)
        assert await client.call("ask me", b"\x01\x02", timeout=SECONDS) == b"\x01\x02"
        assert await client.call("ask me", (1, 2), timeout=SECONDS) == [1, 2]

    play(scene)


def test_asyncio_namespaces_rooms_and_a_refusal(server: ServerProgram, transports: list[str] | None) -> None:
    async def scene(client: Any) -> None:
        heard = Heard(client, "news", namespace="/second")
        refused = Heard(client, "connect_error", namespace="/private")
        await client.connect(server.url, transports=transports, namespaces=["/", "/second"])
        assert client.get_sid("/") != client.get_sid("/second")
        assert await client.call("where", namespace="/second", timeout=SECONDS) == "/second"
        await client.call("join", "room", namespace="/second", timeout=SECONDS)
        await client.call("tell", (["room"], [], b"binary"), namespace="/second", timeout=SECONDS)
        assert await heard.next_async() == ("news", b"binary")
        await client.disconnect()
        with pytest.raises(socketio.exceptions.ConnectionError, match="One or more namespaces failed"):
            await client.connect(server.url, transports=transports, namespaces=["/private"], auth={"token": "wrong"})
        assert await refused.next_async() == (
            "connect_error",
            {"message": "not authorized", "data": {"retry": False, "asked": "wrong"}},
        )

    play(scene)


def test_asyncio_disconnects(server: ServerProgram, transports: list[str] | None) -> None:
    async def scene(client: Any) -> None:
        gone = Heard(client, "disconnect")
        await client.connect(server.url, transports=transports)
        await client.emit("send me off", True)
        assert await gone.next_async() == ("disconnect", client.reason.SERVER_DISCONNECT)
        assert not client.connected

    play(scene)


def test_asyncio_leaves(server: ServerProgram, transports: list[str] | None) -> None:
    async def scene(client: Any) -> None:
        observer = socketio.AsyncClient()
        gone = Heard(observer, "gone", namespace="/observer")
        await observer.connect(server.url, transports=transports, namespaces=["/observer"])
        await client.connect(server.url, transports=transports)
        sid = client.get_sid()
        await client.disconnect()
        while (told := await gone.next_async())[1] != sid:
            pass
        # This client closes its connection before its goodbye has left, more often than not.
        assert told[2] in {"client namespace disconnect", "transport close"}
        await observer.shutdown()

    play(scene)


def test_threads_events_and_acknowledgements(server: ServerProgram, client: Any, transports: list[str] | None) -> None:
    heard = Heard(client, "hello", "echo")
    client.connect(server.url, transports=transports, auth={"name": "Ada"})
    assert heard.next() == ("hello", client.get_sid(), {"name": "Ada"})
    assert client.transport() == ("polling" if transports == ["polling"] else "websocket")
    for args in ((), ("text",), ({"a": [1, None, "ü"]},), (b"\x00\xff",), ([{"file": b"abc"}, "text", b""], 3)):
        client.emit("echo", args)
        assert heard.next() == ("echo", *args)
    assert client.call("ask", "how?", timeout=SECONDS) == "how?"
    assert client.call("ask", (1, b"two"), timeout=SECONDS) == (1, b"two")
    assert client.call("ask", {"big": b"x" * 500_000}, timeout=SECONDS) == {"big": b"x" * 500_000}


def test_threads_calls_namespaces_and_disconnect(
    server: ServerProgram, client: Any, transports: list[str] | None
) -> None:
    gone = Heard(client, "disconnect")
    client.on("question", lambda value: {"answer": value})
    client.connect(server.url, transports=transports, namespaces=["/", "/second"])
    assert client.call("ask me", b"\x01", timeout=SECONDS) == {"answer": b"\x01"}
    assert client.call("where", namespace="/second", timeout=SECONDS) == "/second"
    client.emit("send me off", True)
    assert gone.next() == ("disconnect", client.reason.SERVER_DISCONNECT)
