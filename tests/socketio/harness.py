"""A real server with clients in memory: raw Socket.IO messages in, messages out, on a clock that the test moves.

What is under test is everything from the Engine.IO session upwards. Below it stands a `Channel` that holds what was
sent until the client takes it, so a peer that reads slowly is one that does not take.

Time stands still until `Clock.advance`. "Idle" is exact, and nothing sleeps: a loop is idle when it asks its selector
to wait, and that is where `settle` is answered. A test that awaits what never comes fails with `Stuck`.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import selectors
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

import telex
from telex.engineio import Request, Response, WebSocketTransport
from telex.types import Data, Headers

Result = TypeVar("Result")

STUCK_SECONDS = 20.0
"""How long a loop may wait for what comes from outside (a thread) before the test is called stuck."""


class Stuck(AssertionError):
    """Say that everything waits and nothing will happen."""


class IdleSelector(selectors.DefaultSelector):
    """Tell when the loop has nothing left to do."""

    def __init__(self) -> None:
        super().__init__()
        self.waiters: list[Callable[[], None]] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.waiters:
            waiters, self.waiters = self.waiters, []
            for waiter in waiters:
                waiter()
            return []
        ready = super().select(STUCK_SECONDS)
        if not ready:
            raise Stuck("everything waits and nothing will happen")
        return ready


class ManualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time the test moves."""

    def __init__(self) -> None:
        self.idle = IdleSelector()
        self.now = 1000.0
        self.alarms: list[float] = []
        super().__init__(self.idle)

    def time(self) -> float:
        return self.now

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        heapq.heappush(self.alarms, when)
        return super().call_at(when, callback, *args, context=context)


def run(main: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a test to its end on a loop of its own."""
    with asyncio.Runner(loop_factory=ManualLoop) as runner:
        return runner.run(main())


def the_loop() -> ManualLoop:
    """Return the loop the test runs on."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, ManualLoop)
    return loop


async def settle() -> None:
    """Wait until nothing can happen any more without time or the outside."""
    loop = the_loop()
    done = loop.create_future()
    loop.idle.waiters.append(lambda: done.set_result(None))
    await done


async def advance(seconds: float) -> None:
    """Let time pass, from alarm to alarm."""
    loop = the_loop()
    await settle()
    end = loop.now + seconds
    while loop.alarms and loop.alarms[0] <= end:
        loop.now = max(loop.now, heapq.heappop(loop.alarms))
        await settle()
    loop.now = end
    await settle()


class Line:
    """The `Channel` between a session and a client; it holds what was sent until the client takes it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._held: deque[tuple[Data, bool]] = deque()
        self.is_held = False
        self.is_paused = False
        self.close_code: int | None = None

    @property
    def buffered_bytes(self) -> int:
        return sum(len(data) for data, _ in self._held)

    def send(self, message: Data, compress: bool) -> None:
        if self.close_code is None:
            self._held.append((message, compress))
            if not self.is_held:
                self.release()

    def release(self) -> None:
        while self._held:
            self._client.hear(*self._held.popleft())

    def close(self, code: int, reason: str = "") -> None:
        if self.close_code is None:
            self.release()
            self.close_code = code
            asyncio.get_running_loop().call_soon(self._client.leave)

    def abort(self, code: int) -> None:
        if self.close_code is None:
            self._held.clear()
            self.close_code = code

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False
        self._client.go_on()


class Client:
    """A client that says and hears raw Socket.IO messages over the websocket transport.

    `messages` holds what came and was not yet received, `compressed` their flags, `wires` the objects that all
    messages came as; heartbeats are answered while `answers_pings`.
    """

    transport: WebSocketTransport

    def __init__(self) -> None:
        self.line = Line(self)
        self.messages: deque[Data] = deque()
        self.wires: list[Data] = []
        self.compressed: list[bool] = []
        self.answers_pings = True
        self._unsaid: deque[Data] = deque()
        self._news: asyncio.Future[None] | None = None

    # What the client does.

    def send(self, *messages: Data) -> None:
        """Say Socket.IO messages; what the server does not read now waits."""
        self._unsaid.extend("4" + message if isinstance(message, str) else message for message in messages)
        self.go_on()

    def emit(self, event: str, *args: Any, nsp: str = "/", ack_id: int | None = None) -> None:
        """Say an event without attachments."""
        self.send("2" + head(nsp) + ("" if ack_id is None else str(ack_id)) + json.dumps([event, *args]))

    async def connect(self, nsp: str = "/", auth: dict[str, Any] | None = None) -> str:
        """Join a namespace and return the socket's id."""
        self.send("0" + head(nsp) + ("" if auth is None else json.dumps(auth)))
        answer = await self.receive()
        assert isinstance(answer, str)
        assert answer.startswith("0" + head(nsp)), answer
        sid: str = json.loads(answer.removeprefix("0" + head(nsp)))["sid"]
        return sid

    async def receive(self) -> Data:
        """Return the next message."""
        while not self.messages:
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        return self.messages.popleft()

    async def receive_event(self, nsp: str = "/") -> list[Any]:
        """Return the next message, which is an event that asks for no acknowledgement: its name and arguments."""
        message = await self.receive()
        assert isinstance(message, str)
        assert message.startswith("2" + head(nsp) + "["), message
        event: list[Any] = json.loads(message.removeprefix("2" + head(nsp)))
        return event

    async def heard(self) -> list[Data]:
        """Return what came, once nothing more comes."""
        await settle()
        heard = list(self.messages)
        self.messages.clear()
        return heard

    def leave(self, *, is_clean: bool = True) -> None:
        """Be gone."""
        self.line.close_code = self.line.close_code or 1001
        self.transport.channel_closed(is_clean=is_clean)

    @property
    def is_closed(self) -> bool:
        """Whether the server has closed the connection."""
        return self.line.close_code is not None

    def hold(self) -> None:
        """Take nothing more."""
        self.line.is_held = True

    def take(self) -> None:
        """Take what waits, and what comes."""
        self.line.is_held = False
        self.line.release()
        self.transport.writing_resumed()

    # What it is told.

    def hear(self, packet: Data, compress: bool) -> None:
        self.wires.append(packet)
        if packet == "2":
            if self.answers_pings:
                self._unsaid.append("3")
                asyncio.get_running_loop().call_soon(self.go_on)
        elif isinstance(packet, bytes) or packet.startswith("4"):
            self.messages.append(packet if isinstance(packet, bytes) else packet[1:])
            self.compressed.append(compress)
            if self._news is not None and not self._news.done():
                self._news.set_result(None)

    def go_on(self) -> None:
        while self._unsaid and not self.line.is_paused and not self.is_closed:
            self.transport.message_received(self._unsaid.popleft())

    @property
    def n_unsaid(self) -> int:
        """How many messages the server has not read."""
        return len(self._unsaid)


def head(nsp: str) -> str:
    """Write a namespace as a packet does."""
    return "" if nsp == "/" else nsp + ","


async def open_client(io: telex.Server, query: str = "", headers: Headers | None = None) -> Client:
    """Open an Engine.IO session; no namespace is joined yet."""
    request = Request(
        method="GET",
        path="/socket.io/",
        query_string="EIO=4&transport=websocket" + query,
        headers=headers or Headers([("host", "example.org")]),
        remote_address=("192.0.2.7", 50000),
        scope={"type": "websocket"},
    )
    admission = await io.engine.admit_websocket(request)
    assert not isinstance(admission, Response), admission
    client = Client()
    client.transport = admission.start(client.line)
    return client


async def join(io: telex.Server, nsp: str = "/", auth: dict[str, Any] | None = None) -> tuple[Client, telex.Socket]:
    """Open a session and join a namespace; return both ends."""
    client = await open_client(io)
    sid = await client.connect(nsp, auth)
    return client, io.of(nsp).sockets[sid]


def note(io: telex.Server | telex.Namespace, *events: str) -> list[tuple[Any, ...]]:
    """Register handlers that only note what they are called with."""
    calls: list[tuple[Any, ...]] = []

    def make(event: str) -> Callable[..., None]:
        def handler(socket: telex.Socket, *args: Any) -> None:
            calls.append((event, *args))

        return handler

    for event in events:
        io.on(event, make(event))
    return calls


def counts(io: telex.Server) -> dict[str, int]:
    """Return how many there are of what lives."""
    found = io.statistics()
    return {"sessions": found["sessions"], "namespaces": found["namespaces"], "sockets": found["sockets"]}
