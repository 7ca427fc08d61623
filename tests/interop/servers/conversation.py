"""What the interoperability tests talk to: every way of saying and hearing something, and nothing else.

`client.mjs`, `old_client.mjs` and `test_python_clients.py` are the other side. The environment can make the heartbeat
quick, choose the parser, and let clients of Socket.IO 2 in.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import telex


def own_parser() -> telex.Parser:
    """Return the parser of the example."""
    spec = spec_from_file_location("own_parser", Path(__file__).parents[3] / "examples/own_parser.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    parser: telex.Parser = module.DeflatedParser()
    return parser


PARSERS: dict[str, Callable[[], str | telex.Parser]] = {
    "json": lambda: "json",
    "msgpack": lambda: "msgpack",
    "own": own_parser,
}

io = telex.Server(
    ping_interval=float(os.environ.get("PING_INTERVAL", "25")),
    ping_timeout=float(os.environ.get("PING_TIMEOUT", "20")),
    cors_allowed_origins=os.environ.get("CORS_ORIGIN"),
    parser=PARSERS[os.environ.get("PARSER", "json")](),
    cors_credentials="CORS_CREDENTIALS" in os.environ,
    allow_eio3="ALLOW_EIO3" in os.environ,
)
second = io.of("/second")
private = io.of("/private")
listening = io.of("/listening")
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


@io.on("what is")
async def what_is(socket: telex.Socket, value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)


@io.on("large numbers")
async def large_numbers(socket: telex.Socket) -> list[int]:
    return [2**53, -(2**53), 2**63, 2**64 - 1, -(2**63)]


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


@listening.on("connect")
async def listen(socket: telex.Socket) -> None:
    heard: list[str] = []
    sent: list[str] = []

    @socket.on("own")
    async def own(_: telex.Socket, *args: Any) -> Any:
        return args

    @socket.once("first")
    async def first(_: telex.Socket) -> None:
        socket.emit("firsts", "only one")

    @socket.on_any
    def hear(_: telex.Socket, event: str, *args: Any) -> None:
        heard.append(event)

    @socket.on_any_outgoing
    def overhear(_: telex.Socket, event: str, *args: Any) -> None:
        sent.append(event)

    @socket.on("report")
    async def report(_: telex.Socket) -> Any:
        return [heard, sent]

    @socket.use
    async def guard(_: telex.Socket, event: str, args: list[Any]) -> None:
        if event == "forbidden":
            raise telex.EventRefused("not allowed", {"asked": args})
        if event == "own":
            args.append("checked")


@listening.on("seldom", rate_limit=telex.RateLimit(0.001, policy="drop"))
async def seldom(socket: telex.Socket) -> str:
    return "once"


@listening.on("paced", rate_limit=telex.RateLimit(20, burst=1))
async def paced(socket: telex.Socket, n: int) -> int:
    return n


@listening.on("counted")
async def counted(socket: telex.Socket) -> Any:
    counts = socket.statistics()
    return counts["dropped_events"], counts["delayed_events"]


@private.use
async def only_with_token(socket: telex.Socket) -> None:
    token = socket.handshake.auth.get("token")
    if token != "right":
        raise telex.ConnectRefused("not authorized", data={"retry": False, "asked": token})
