"""A program as a user writes it. It is checked and not run: `test_api.py` gives it to mypy --strict and to pyright."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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


@io.on_any
def any_event(socket: telex.Socket, event: str, *args: Any) -> None: ...


@io.use
async def only_staff(socket: telex.Socket) -> None:
    if socket.handshake.auth.get("token") != "secret":
        raise telex.ConnectRefused("not authorized", data={"retry": False})


@io.use
def plain_middleware(socket: telex.Socket) -> None:
    socket.data["user"] = socket.handshake.headers.get("x-user")


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
