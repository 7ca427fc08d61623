"""A program as a user writes it. It is checked and not run: `test_api.py` gives it to mypy --strict and to pyright."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypedDict, assert_type

import telex

io = telex.Server(ping_interval=25, cors_allowed_origins=["https://example.org"], limits=telex.Limits(max_payload=1))


class Order(TypedDict):
    what: str


# The six lines.


@io.on("chat")
async def chat(socket: telex.Socket, text: str) -> str:
    await io.to("lobby").emit("chat", socket.id, text)
    return "delivered"


@io.on("connect")
async def connected(socket: telex.Socket, auth: dict[str, Any]) -> None:
    socket.join("lobby")
    socket.join(["a", "b"])
    socket.leave("a")


@io.on("disconnect")
async def gone(socket: telex.Socket, reason: telex.DisconnectReason) -> None:
    if reason == "transport close":
        return
    if reason is telex.DisconnectReason.PING_TIMEOUT:
        socket.broadcast.emit("left", socket.id)


# A decorator keeps the type of what it decorates.


@io.on("plain", thread=True)
def plain(socket: telex.Socket, n: int = 0) -> tuple[str, int]:
    return ("a", n)


@io.of("/admin").on("aside", concurrent=True)
async def aside(socket: telex.Socket) -> None: ...


@io.on("ticker")
async def ticker(socket: telex.Socket, n: int) -> AsyncIterator[int]:
    if n < 0:
        raise telex.StreamError("too few")
    for i in range(n):
        yield i


@io.on_any
def any_event(socket: telex.Socket, event: str, *args: Any) -> None: ...


@io.use
async def only_staff(socket: telex.Socket) -> None:
    if socket.handshake.auth.get("token") != "secret":
        raise telex.ConnectRefused("not authorized", data={"retry": False})


@io.use
def plain_middleware(socket: telex.Socket) -> None:
    socket.data["user"] = socket.handshake.headers.get("x-user")


@io.once("first", rate_limit=telex.RateLimit(2, burst=5, policy="drop"))
def first(socket: telex.Socket, n: int) -> int:
    return n


@io.on_any_outgoing
def any_sent(socket: telex.Socket, event: str, *args: Any) -> None: ...


@io.use_event
async def every_event(socket: telex.Socket, event: str, args: list[Any]) -> None:
    args.append(event)
    raise telex.EventRefused("not now", data=[1])


@io.on_middleware_error
def stopped(socket: telex.Socket, error: Exception, event: str, args: list[Any]) -> None: ...


def registered_later(socket: telex.Socket, order: Order) -> None: ...


# A parser of one's own.


class Echo:
    def encode(self, packet: telex.Packet) -> list[str | bytes]:
        return telex.JsonParser().encode(packet)

    def decoder(self, limits: telex.Limits) -> telex.PacketDecoder:
        return telex.MessagePackParser().decoder(limits)


telex.Server(parser="msgpack")
telex.Server(parser=Echo())


async def check_types(socket: telex.Socket) -> None:
    assert_type(await chat(socket, "hi"), str)
    assert_type(plain(socket, 1), tuple[str, int])
    assert_type(await aside(socket), None)
    assert_type(any_event(socket, "e", 1, 2), None)
    assert_type(await only_staff(socket), None)
    assert_type(plain_middleware(socket), None)
    assert_type(io.on("later", registered_later)(socket, {"what": "tea"}), None)
    assert_type(io.on("*", any_event)(socket, "e"), None)

    assert_type(first(socket, 1), int)
    assert_type(socket.on("later", registered_later)(socket, {"what": "tea"}), None)
    assert_type(await socket.use(every_event)(socket, "e", []), None)
    assert_type(socket.listeners_any(), list[Callable[..., Any]])
    socket.off("later", registered_later)
    socket.off_any()
    socket.off_any_outgoing(any_sent)
    assert_type(io.of("/x", rate_limit=telex.RateLimit(1)).rate_limit, telex.RateLimit | None)

    socket.use(only_staff)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    telex.RateLimit(1, policy="ban")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await chat("no socket", "hi")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    io.on("e", 7)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    io.use(lambda: None)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    telex.Server(ping_intervall=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# What a server can say.


async def say(socket: telex.Socket) -> None:
    assert_type(io.emit("news", {"n": 1}), telex.Sent)
    assert_type(await io.emit("news", to="room", except_=["a"]), None)
    assert_type(io.to("a", "b").except_("c"), telex.BroadcastOperator)
    assert_type(io.in_("a").local.volatile.compress(False).timeout(5), telex.BroadcastOperator)
    assert_type(await io.to("room").call("vote", timeout=5), list[Any])
    assert_type(socket.emit("hello", b"bytes", callback=lambda *values: None), telex.Sent)
    assert_type(socket.volatile.compress(True).emit("pos", 1.5, 2), telex.Sent)
    assert_type(socket.to("room").emit("e"), telex.Sent)
    assert_type(socket.broadcast.to("room"), telex.BroadcastOperator)
    answer = await socket.call("confirm", "sure?", timeout=5)
    assert_type(answer, Any)
    try:
        await socket.timeout(5).call("confirm")
    except telex.AckTimeout as error:
        assert_type(error.responses, list[Any])
    except telex.Disconnected as error:
        assert_type(error.reason, str)
    except TimeoutError:
        raise
    socket.disconnect()
    socket.disconnect(close=True)
    io.to(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    io.emit(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def give_way(socket: telex.Socket) -> None:
    await socket.latest("k").emit("price", 1)
    await io.to("room").latest("k").emit("price", 1)
    io.room_policy("ticks", "drop oldest")
    io.of("/a").room_policy("ticks", telex.SlowConsumers.DROP_NEWEST)
    assert_type(io.statistics(), telex.ServerStatistics)
    assert_type(io.statistics()["transports"], dict[str, int])
    assert_type(io.of("/a").statistics(), telex.NamespaceStatistics)
    assert_type(socket.statistics(), telex.SocketStatistics)
    assert_type(socket.statistics()["dropped"]["oldest"], int)
    socket.latest(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def look(socket: telex.Socket) -> None:
    assert_type(socket.id, str)
    assert_type(socket.nsp, telex.Namespace)
    assert_type(socket.nsp.name, str)
    assert_type(socket.data, dict[str, Any])
    assert_type(socket.connected, bool)
    assert_type(socket.handshake, telex.Handshake)
    assert_type(socket.handshake.headers["host"], str)
    assert_type(socket.handshake.query["a"], str)
    assert_type(socket.handshake.address, str)
    assert_type(socket.handshake.secure, bool)
    assert_type(socket.nsp.server.limits, telex.Limits)
    assert_type(io.sockets.sockets, dict[str, telex.Socket])
    for room in socket.rooms:
        assert_type(room, str)
    socket.connected = True  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


# A class with handlers.


class Orders(telex.Namespace):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.on("later", self.later)

    async def on_connect(self, socket: telex.Socket) -> None: ...

    async def on_order(self, socket: telex.Socket, order: Order) -> str:
        await self.to("kitchen").emit("cook", order["what"])
        return "received"

    def later(self, socket: telex.Socket) -> None: ...


orders = io.register(Orders("/orders"))
assert_type(orders, Orders)


@orders.on("more")
async def more(socket: telex.Socket, n: int) -> int:
    return n


handler: Callable[[telex.Socket, int], Awaitable[int]] = more


# Dynamic namespaces, and everyone at once.


async def has_tenant(name: str, auth: Mapping[str, Any]) -> bool:
    return "token" in auth


class Documents(telex.ParentNamespace):
    async def on_read(self, socket: telex.Socket, page: int) -> None: ...


assert_type(io.of("/x"), telex.Namespace)
assert_type(io.of(re.compile("/x")), telex.ParentNamespace)
assert_type(io.of(has_tenant), telex.ParentNamespace)
assert_type(io.of(lambda name, auth: name == "/x"), telex.ParentNamespace)
assert_type(io.register(Documents(re.compile("/doc/.*"))), Documents)


@io.on("new_namespace")
def created(namespace: telex.Namespace) -> None: ...


@io.sockets.adapter.on("join-room")
def joined(room: str, sid: str) -> None: ...


@io.on_server_side("count")
async def count(what: str) -> int:
    return 1


async def everyone() -> None:
    remotes = await io.in_("room").fetch_sockets()
    assert_type(remotes, list[telex.RemoteSocket])
    assert_type(remotes[0].handshake, telex.Handshake)
    assert_type(remotes[0].rooms, frozenset[str])
    await remotes[0].emit("news")
    await io.sockets_join(["a", "b"])
    assert_type(await io.server_side_call("count", "this", timeout=2), list[Any])


# The engine's hooks.


@io.engine.on("headers")
def each_answer(headers: telex.Headers, request: telex.Request) -> None:
    headers.set("x-served", request.path)


@io.engine.on("connection_error")
def refused(error: telex.RefusedRequest) -> None:
    assert_type(error.code, int)
    assert_type(error.request.query, dict[str, str])


@io.engine.use
async def only_known(request: telex.Request) -> telex.Response | None:
    return None if "authorization" in request.headers else telex.Response(401)


hooked = telex.Server(generate_id=lambda request: request.query["me"], initial_packet=b"", serve_client="dist")


async def drain() -> None:
    await io.drain(30)


# WebSockets as browsers have them.


async def as_browsers_have_it() -> None:
    def received(event: telex.websocket.MessageEvent) -> None:
        assert_type(event.data, str | bytes | bytearray)

    def failed(event: telex.websocket.ErrorEvent) -> None:
        assert_type(event.error, BaseException)

    async def closed(event: telex.websocket.CloseEvent) -> None:
        assert_type(event.was_clean, bool)

    ws = telex.websocket.WebSocket("wss://example.org", ["v1"], headers=[("Authorization", "x")], open_timeout=5)
    ws.on_message = received
    ws.on_error = failed
    ws.on_close = closed
    ws.on_open = None
    ws.add_event_listener("message", received, once=True)
    ws.add_event_listener("close", lambda event: event.code)
    ws.send(b"x")
    assert_type(ws.ready_state, telex.websocket.ReadyState)
    await ws.wait_closed()

    wss = telex.websocket.WebSocketStream("wss://example.org", protocols=["v1"], deflate=False)
    info = await wss.opened
    await info.writable.write("x")
    async for message in info.readable:
        assert_type(message, str | bytes)
    assert_type((await wss.closed).close_code, int)


# Threads and scripts.


def script() -> None:
    with telex.sync.connect("http://localhost:8000", auth={"token": "t"}, retry=True) as client:
        assert_type(client, telex.sync.Client)
        assert_type(client.call("chat", "hello", timeout=5), Any)
        assert_type(client.receive(timeout=1), tuple[Any, ...])
        assert_type(client.emit("chat", b"hello", callback=print), None)
        assert_type(client.volatile.compress(False).timeout(5), telex.sync.Operator)
        assert_type(client.reason, telex.DisconnectReason | None)
        assert_type(client.id, str | None)
        for event, *args in client:
            assert_type(args, list[Any])
            client.off(event)
    telex.sync.connect("http://localhost:8000", reconnects=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    later = telex.sync.Client("http://localhost:8000/admin", retries=3, ack_timeout=2.0, auth=lambda: {"token": "t"})

    @later.on("sum")
    def add(a: int, b: int) -> int:
        return a + b

    assert_type(add(1, 2), int)
    assert_type(later.once("sum", add)(1, 2), int)
    later.off("sum", add)
    later.wait(timeout=5)


def plain_script() -> None:
    with telex.sync.websocket.connect("ws://localhost:8765", deflate=True) as ws:
        assert_type(ws, telex.sync.websocket.Connection)
        assert_type(ws.send("hello", compress=True, timeout=5), None)
        assert_type(ws.recv(timeout=5), str | bytes)
        assert_type(ws.ping(), float)
        for message in ws:
            assert_type(message, str | bytes)
    for each in telex.sync.websocket.connect("ws://localhost:8765"):
        assert_type(each, telex.sync.websocket.Connection)
    ws.send(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
