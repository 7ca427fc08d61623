"""A Socket.IO server to talk to, served by `telex run tests.cli.chat:io`."""

from __future__ import annotations

import asyncio
from typing import Any

import telex

io = telex.Server()
counted: list[Any] = []


@io.on("echo")
def echo(socket: telex.Socket, *args: Any) -> tuple[Any, ...]:
    socket.emit("echo", *args)
    return args


@io.on("sum")
def add(socket: telex.Socket, *numbers: float) -> float:
    return sum(numbers)


@io.on("length")
def length(socket: telex.Socket, data: bytes) -> int:
    return len(data)


@io.on("quiet")
def quiet(socket: telex.Socket) -> None:
    """Be acknowledged without a value."""


@io.on("slow")
async def slow(socket: telex.Socket, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@io.on("ticks")
def ticks(socket: telex.Socket, number: int) -> None:
    for n in range(number):
        socket.emit("tick", n)
        socket.emit("tock", n, b"\0\1")


@io.on("evil")
def evil(socket: telex.Socket) -> None:
    socket.emit("e\x1b[2J", "\x9b2J\u202e", {"\x07": "\x1b]0;title\x07"})


@io.on("kick")
def kick(socket: telex.Socket) -> None:
    socket.disconnect()


@io.on("cut")
def cut(socket: telex.Socket) -> None:
    socket.conn.abort()


@io.on("count")
def count(socket: telex.Socket, what: Any) -> None:
    counted.append(what)
    io.emit("counted", what)


@io.on("counts")
def counts(socket: telex.Socket) -> list[Any]:
    return counted


admin = io.of("/admin")


@admin.use
async def only_staff(socket: telex.Socket) -> None:
    if socket.handshake.auth.get("token") != "secret":
        raise telex.ConnectRefused("not \x1b[1mauthorized", data={"retry": False})


@admin.on("who")
def who(socket: telex.Socket) -> tuple[str | None, str | None, str]:
    handshake = socket.handshake
    return handshake.headers.get("x-who"), handshake.query.get("room"), socket.conn.transport.name


packed = telex.Server(path="/packed", parser="msgpack")


@packed.on("echo")
def echo_packed(socket: telex.Socket, *args: Any) -> tuple[Any, ...]:
    return args


app = packed.wrap(io)
