"""What `recovery.mjs` talks to: a server that recovers its clients, and one who says what it is to send.

The bound is low, so that it can be crossed.
"""

from __future__ import annotations

import asyncio
from typing import Any

import telex

MAX_PACKETS = 500

io = telex.Server(connection_state_recovery=telex.Recovery(max_packets=MAX_PACKETS))
control = io.of("/control")


@io.on("join")
def join(socket: telex.Socket, room: str) -> bool:
    socket.join(room)
    socket.data["room"] = room
    return True


@io.on("whoami")
def whoami(socket: telex.Socket) -> list[Any]:
    return [socket.recovered, sorted(socket.rooms - {socket.id}), socket.data]


@io.on("disconnect")
def gone(socket: telex.Socket, reason: telex.DisconnectReason) -> None:
    control.emit("gone", socket.id, reason)


@control.on("say")
def say(socket: telex.Socket, room: str, event: str, *args: Any) -> bool:
    io.to(room).emit(event, *args)
    return True


@control.on("say volatile")
def say_volatile(socket: telex.Socket, room: str, event: str, *args: Any) -> bool:
    io.to(room).volatile.emit(event, *args)
    return True


@control.on("count")
async def count(socket: telex.Socket, room: str, n: int) -> bool:
    """Send so many numbers, as fast as the loop turns."""
    for number in range(n):
        io.to(room).emit("number", number)
        await asyncio.sleep(0.001)
    return True


@control.on("ask", concurrent=True)
async def ask(socket: telex.Socket, room: str, *args: Any) -> Any:
    return await io.to(room).call("question", *args, timeout=30)


# Orders, which are sent again: the first try waits until it is let through.
placed: list[str] = []
gate = asyncio.Event()


def order_id(order: dict[str, Any]) -> str:
    name: str = order["id"]
    control.emit("tried", name)
    return name


def user(socket: telex.Socket) -> str:
    name: str = socket.handshake.auth["user"]
    return name


@io.on("order", dedup=telex.Dedup(key=order_id, scope=user))
async def order(socket: telex.Socket, order: dict[str, Any]) -> list[Any]:
    await gate.wait()
    placed.append(order["id"])
    return ["placed", placed.count(order["id"])]


@control.on("open")
def let_through(socket: telex.Socket, is_open: bool) -> bool:
    if is_open:
        gate.set()
    else:
        gate.clear()
    return True
