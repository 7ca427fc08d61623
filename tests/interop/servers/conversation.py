"""What the interoperability tests talk to: every way of saying and hearing something, and nothing else.

`client.mjs`, `old_client.mjs` and `test_python_clients.py` are the other side. The environment can make the heartbeat
quick, and let clients of Socket.IO 2 in.
"""

from __future__ import annotations

import os
from typing import Any

import telex

io = telex.Server(
    ping_interval=float(os.environ.get("PING_INTERVAL", "25")),
    ping_timeout=float(os.environ.get("PING_TIMEOUT", "20")),
    cors_allowed_origins=os.environ.get("CORS_ORIGIN"),
    cors_credentials="CORS_CREDENTIALS" in os.environ,
    allow_eio3="ALLOW_EIO3" in os.environ,
)
second = io.of("/second")
private = io.of("/private")
observer = io.of("/observer")


def pattern(n_bytes: int, seed: int = 0) -> bytes:
    """Make bytes that the other side can make too."""
    period = bytes((i * 31 + seed) % 256 for i in range(256))
    return (period * (n_bytes // 256 + 1))[:n_bytes]


@io.on("connect")
async def connected(socket: telex.Socket) -> None:
    socket.emit("hello", socket.id, dict(socket.handshake.auth))


@io.on_any
def overhear(socket: telex.Socket, event: str, *args: Any) -> None:
    if event == "never heard of":
        socket.emit("caught", event, *args)


@io.on("disconnect")
async def gone(socket: telex.Socket, reason: telex.DisconnectReason) -> None:
    observer.emit("gone", socket.id, reason)


@io.on("echo")
async def echo(socket: telex.Socket, *args: Any) -> None:
    socket.emit("echo", *args)


@io.on("number")
async def number(socket: telex.Socket, *args: Any) -> None:
    socket.emit("numbered", *args)


@io.on("ask")
async def ask(socket: telex.Socket, *args: Any) -> Any:
    return args


@io.on("give")
async def give(socket: telex.Socket, n_bytes: int) -> bytes:
    return pattern(n_bytes)


@io.on("ask me")
async def ask_me(socket: telex.Socket, *args: Any) -> Any:
    answer = await socket.call("question", *args, timeout=20)
    return list(answer) if isinstance(answer, tuple) else answer


@io.on("ask in vain")
async def ask_in_vain(socket: telex.Socket) -> str:
    try:
        await socket.call("nobody answers this", timeout=0.2)
    except telex.AckTimeout:
        return "no answer"
    return "an answer"


@io.on("rooms")
async def rooms(socket: telex.Socket) -> list[str]:
    return sorted(socket.rooms)


@io.on("leave")
async def leave(socket: telex.Socket, room: str) -> str:
    socket.leave(room)
    return "left"


@io.on("tell others")
async def tell_others(socket: telex.Socket, to: list[str], text: Any) -> str:
    socket.to(*to).emit("news", text)
    return "told"


@io.on("broadcast")
async def broadcast(socket: telex.Socket, text: Any) -> str:
    socket.broadcast.emit("news", text)
    return "told"


@io.on("vote")
async def vote(socket: telex.Socket, room: str, timeout: float) -> Any:
    try:
        return list(await io.to(room).call("vote", timeout=timeout))
    except telex.AckTimeout as error:
        return {"missing": True, "responses": error.responses}


@io.on("be quick")
async def be_quick(socket: telex.Socket, *args: Any) -> str:
    socket.volatile.emit("quick", *args)
    return "sent"


@io.on("send me off")
async def send_me_off(socket: telex.Socket, close: bool) -> None:
    socket.disconnect(close=close)


for namespace in (io.of("/"), second, private):

    @namespace.on("where")
    async def where(socket: telex.Socket) -> str:
        return socket.nsp.name

    @namespace.on("join")
    async def join(socket: telex.Socket, room: str) -> str:
        socket.join(room)
        return "joined"

    @namespace.on("tell")
    async def tell(socket: telex.Socket, to: list[str], except_: list[str], text: Any) -> str:
        addressed = socket.nsp.to(*to) if to else socket.nsp
        addressed.except_(*except_).emit("news", text)
        return "told"


@private.use
async def only_with_token(socket: telex.Socket) -> None:
    token = socket.handshake.auth.get("token")
    if token != "right":
        raise telex.ConnectRefused("not authorized", data={"retry": False, "asked": token})
