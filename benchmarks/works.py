"""What is measured: the servers and clients, the works each of them does, and the bars that Telex sets itself.

Rule of this module: data, and nothing that runs. `measure` does the works, `report` judges the bars.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Server:
    """A server program; or a client, which is told what to do as `peers/client_work.py` says."""

    label: str
    command: tuple[str, ...]
    """`{telex}` is this Python, `{python}` the peers', `{node}` and `{limits}` the programs, `{peers}` the folder."""
    variables: dict[str, str] = field(default_factory=dict)
    is_raw: bool = False
    """Speaks no protocol: the load sends it raw bytes of the same size."""


def _telex_websocket(kind: str) -> tuple[str, ...]:
    return "{telex}", "{peers}/telex_websocket.py", "{port}", kind


def _telex_run() -> tuple[str, ...]:
    options = "--app-dir {peers} --host 127.0.0.1 --port {port} --log-level error --loop asyncio"
    return "{telex}", "-m", "telex", "run", "telex_socketio:io", *options.split()


def _uvicorn(application: str) -> tuple[str, ...]:
    options = (
        "--app-dir {peers} --host 127.0.0.1 --port {port} --log-level error --loop uvloop --http httptools "
        "--ws websockets-sansio --ws-per-message-deflate false --backlog 4096"
    )
    return "{python}", "-m", "uvicorn", application, *options.split()


SERVERS = {
    "telex-listener": Server("Telex (Listener)", _telex_websocket("listener")),
    "telex-coroutine": Server("Telex (coroutine)", _telex_websocket("coroutine")),
    "telex-broadcast": Server("Telex", _telex_websocket("broadcast")),
    "telex": Server("Telex (telex run)", _telex_run()),
    "telex-asgi": Server("Telex (uvicorn)", _uvicorn("telex_socketio:io")),
    "telex-pure": Server("Telex (pure Python)", _telex_run(), {"TELEX_PURE": "1"}),
    "picows": Server("picows", ("{python}", "{peers}/picows_listener.py", "{port}", "echo")),
    "picows-broadcast": Server("picows", ("{python}", "{peers}/picows_listener.py", "{port}", "broadcast")),
    "picows-coroutine": Server("picows.websockets", ("{python}", "{peers}/picows_coroutine.py", "{port}")),
    "websockets": Server("websockets", ("{python}", "{peers}/websockets_server.py", "{port}", "echo")),
    "websockets-broadcast": Server("websockets", ("{python}", "{peers}/websockets_server.py", "{port}", "broadcast")),
    "aiohttp": Server("aiohttp", ("{python}", "{peers}/aiohttp_server.py", "{port}")),
    "python-socketio": Server("python-socketio", _uvicorn("python_socketio:app")),
    "node-ws": Server("Node ws", ("{node}", "{peers}/node_ws.cjs", "{port}", "echo")),
    "node-ws-broadcast": Server("Node ws", ("{node}", "{peers}/node_ws.cjs", "{port}", "broadcast")),
    "node-socketio": Server("Node socket.io", ("{node}", "{peers}/node_socketio.cjs", "{port}")),
    "telex-client": Server("Telex", ("{telex}", "{peers}/telex_client.py", "{port}")),
    "python-socketio-client": Server("python-socketio", ("{python}", "{peers}/python_socketio_client.py", "{port}")),
    "node-socketio-client": Server("Node socket.io", ("{node}", "{peers}/node_socketio_client.cjs", "{port}")),
    "telex-listener-client": Server(
        "Telex (Listener)", ("{telex}", "{peers}/telex_websocket_client.py", "listener", "{port}")
    ),
    "telex-coroutine-client": Server(
        "Telex (coroutine)", ("{telex}", "{peers}/telex_websocket_client.py", "coroutine", "{port}")
    ),
    "picows-client": Server("picows", ("{python}", "{peers}/picows_client.py", "listener", "{port}")),
    "picows-coroutine-client": Server(
        "picows.websockets", ("{python}", "{peers}/picows_client.py", "coroutine", "{port}")
    ),
    "websockets-client": Server("websockets", ("{python}", "{peers}/websockets_client.py", "{port}")),
    "c-echo": Server("C (raw bytes)", ("{limits}", "echo", "{port}"), is_raw=True),
    "c-broadcast": Server("C (loop of send)", ("{limits}", "broadcast", "{port}"), is_raw=True),
}


class Unit(StrEnum):
    """What a work's figure is; less is better for each."""

    MESSAGE = "µs per message"
    CONNECTION = "µs per connection"
    MEMORY = "bytes per connection"


@dataclass(frozen=True, slots=True)
class Work:
    """One thing that servers are asked to do. The first server is the one that the others are compared with."""

    name: str
    title: str
    protocol: str
    activity: str
    servers: tuple[str, ...]
    event: str | None = None
    n_connections: int = 64
    depth: int = 1
    n_bytes: int = 64
    unit: Unit = Unit.MESSAGE
    warmups: int = 1
    """Times the usual warm-up. Where a message is a whole handshake there are few in a second, and Node's compiler
    wants thousands before it does its best: connections cost it half as much after four seconds as after one."""
    server: str | None = None
    """Where clients are measured, the server that they all talk with; `servers` are the clients then."""


WEBSOCKET = ("telex-listener", "telex-coroutine", "picows", "picows-coroutine", "websockets", "aiohttp", "node-ws")
SOCKETIO = ("telex", "python-socketio", "node-socketio")
WEBSOCKET_CLIENTS = (
    "telex-listener-client",
    "telex-coroutine-client",
    "picows-client",
    "picows-coroutine-client",
    "websockets-client",
)
SOCKETIO_CLIENTS = ("telex-client", "python-socketio-client", "node-socketio-client")


def _websocket_echo(suffix: str, size: str, n_bytes: int, depth: int, servers: tuple[str, ...]) -> Work:
    title = f"WebSocket echo, {size}" + (f", {depth} in flight" if depth > 1 else "")
    return Work(f"websocket-echo{suffix}", title, "websocket", "echo", servers, depth=depth, n_bytes=n_bytes)


def _socketio_echo(name: str, title: str, event: str, depth: int, servers: tuple[str, ...]) -> Work:
    title += f", {depth} in flight" if depth > 1 else ""
    return Work(name, title, "socketio", "echo", servers, event=event, depth=depth)


def _client(name: str, title: str, protocol: str, activity: str, depth: int = 1) -> Work:
    title += f", {depth} in flight" if depth > 1 else ""
    is_plain = protocol == "websocket"
    clients = WEBSOCKET_CLIENTS if is_plain else SOCKETIO_CLIENTS
    server = "telex-listener" if is_plain else "telex"
    return Work(name, title, protocol, activity, clients, n_connections=1, depth=depth, warmups=2, server=server)


def _held_clients(name: str, title: str, protocol: str, clients: tuple[str, ...], server: str) -> Work:
    return Work(name, title, protocol, "hold", clients, n_connections=10_000, unit=Unit.MEMORY, server=server)


WORKS = [
    _websocket_echo("", "64 B", 64, 1, (*WEBSOCKET, "c-echo")),
    _websocket_echo("-deep", "64 B", 64, 16, (*WEBSOCKET, "c-echo")),
    _websocket_echo("-1k", "1 KiB", 1024, 1, WEBSOCKET),
    _websocket_echo("-1k-deep", "1 KiB", 1024, 16, ("telex-listener", "picows", "websockets", "node-ws")),
    _websocket_echo("-16k", "16 KiB", 16384, 1, WEBSOCKET),
    _websocket_echo("-16k-deep", "16 KiB", 16384, 16, ("telex-listener", "picows", "websockets", "node-ws")),
    Work(
        "websocket-broadcast",
        "WebSocket broadcast to 1,000",
        "websocket",
        "broadcast",
        ("telex-broadcast", "picows-broadcast", "websockets-broadcast", "node-ws-broadcast", "c-broadcast"),
        n_connections=1000,
    ),
    _socketio_echo(
        "socketio-echo",
        "Socket.IO echo, plain handler",
        "echo",
        1,
        ("telex", "telex-asgi", "telex-pure", "python-socketio", "node-socketio", "c-echo"),
    ),
    _socketio_echo("socketio-echo-deep", "Socket.IO echo, plain handler", "echo", 16, (*SOCKETIO, "telex-pure")),
    _socketio_echo("socketio-async-echo", "Socket.IO echo, async handler", "aecho", 1, SOCKETIO),
    _socketio_echo("socketio-async-echo-deep", "Socket.IO echo, async handler", "aecho", 16, SOCKETIO),
    Work("socketio-ack", "Socket.IO acknowledgement", "socketio", "ack", SOCKETIO, event="ack"),
    Work(
        "socketio-broadcast",
        "Socket.IO broadcast to 1,000",
        "socketio",
        "broadcast",
        (*SOCKETIO, "c-broadcast"),
        event="bcast",
        n_connections=1000,
    ),
    Work("polling-echo", "Socket.IO echo, long-polling", "polling", "echo", SOCKETIO, event="echo", warmups=3),
    Work(
        "websocket-connect",
        "WebSocket connections",
        "websocket",
        "connect",
        ("telex-listener", "picows", "websockets", "node-ws"),
        unit=Unit.CONNECTION,
        warmups=4,
    ),
    Work("socketio-connect", "Socket.IO connections", "socketio", "connect", SOCKETIO, unit=Unit.CONNECTION, warmups=4),
    Work(
        "websocket-memory",
        "Memory of idle WebSockets",
        "websocket",
        "hold",
        ("telex-listener", "picows", "websockets", "node-ws"),
        n_connections=10_000,
        unit=Unit.MEMORY,
    ),
    Work(
        "socketio-memory",
        "Memory of idle Socket.IO connections",
        "socketio",
        "hold",
        SOCKETIO,
        n_connections=10_000,
        unit=Unit.MEMORY,
    ),
    _client("websocket-client-echo", "WebSocket client, echo", "websocket", "echo"),
    _client("websocket-client-echo-deep", "WebSocket client, echo", "websocket", "echo", 16),
    _client("socketio-client-echo", "Socket.IO client, echo", "socketio", "echo"),
    _client("socketio-client-echo-deep", "Socket.IO client, echo", "socketio", "echo", 16),
    _client("socketio-client-flood", "Socket.IO client, a flood of events", "socketio", "flood"),
    _held_clients(
        "websocket-client-memory",
        "Memory of idle WebSocket clients",
        "websocket",
        ("telex-listener-client", "picows-client", "websockets-client"),
        "telex-listener",
    ),
    _held_clients("socketio-client-memory", "Memory of idle Socket.IO clients", "socketio", SOCKETIO_CLIENTS, "telex"),
]


@dataclass(frozen=True, slots=True)
class Bar:
    """What is asked of Telex in one work, as a ratio of costs, or as a cost where there is no other to compare with."""

    work: str
    ours: str
    theirs: str | None = None
    at_least: float | None = None
    """Times our cost that theirs is."""
    at_most: float | None = None
    """Times their cost that ours is; without `theirs`, our cost itself, in the work's unit."""


BARS = [
    Bar("websocket-echo", "telex-listener", "picows", at_least=1.3),
    Bar("websocket-echo", "telex-listener", "node-ws", at_least=1.7),
    Bar("websocket-echo", "telex-listener", "websockets", at_least=3.5),
    Bar("websocket-echo", "telex-listener", "c-echo", at_most=1.25),
    Bar("websocket-echo", "telex-coroutine", "picows-coroutine", at_least=1.1),
    Bar("websocket-echo", "telex-coroutine", "websockets", at_least=2.0),
    Bar("websocket-echo", "telex-coroutine", "aiohttp", at_least=1.2),
    Bar("websocket-echo-deep", "telex-listener", "picows", at_least=5.0),
    Bar("websocket-broadcast", "telex-broadcast", "picows-broadcast", at_least=1.2),
    Bar("websocket-broadcast", "telex-broadcast", "websockets-broadcast", at_least=1.8),
    Bar("socketio-echo", "telex", "python-socketio", at_least=10.0),
    Bar("socketio-echo", "telex", "node-socketio", at_least=2.0),
    Bar("socketio-echo", "telex", "c-echo", at_most=1.6),
    Bar("socketio-echo", "telex-asgi", "python-socketio", at_least=2.5),
    Bar("socketio-echo", "telex-pure", "python-socketio", at_least=1.0),
    Bar("socketio-echo-deep", "telex", "python-socketio", at_least=30.0),
    Bar("socketio-echo-deep", "telex", "node-socketio", at_least=4.0),
    Bar("socketio-async-echo", "telex", "python-socketio", at_least=10.0),
    Bar("socketio-async-echo", "telex", "node-socketio", at_least=1.8),
    Bar("socketio-broadcast", "telex", "python-socketio", at_least=8.0),
    Bar("socketio-broadcast", "telex", "node-socketio", at_least=1.8),
    Bar("socketio-broadcast", "telex", "c-broadcast", at_most=1.25),
    Bar("polling-echo", "telex", "python-socketio", at_least=2.0),
    Bar("socketio-connect", "telex", "python-socketio", at_least=5.0),
    Bar("socketio-connect", "telex", "node-socketio", at_least=1.6),
    Bar("websocket-memory", "telex-listener", at_most=1024),
    Bar("socketio-memory", "telex", at_most=2048),
    Bar("websocket-client-echo", "telex-listener-client", "picows-client", at_least=1.2),
    Bar("websocket-client-echo", "telex-coroutine-client", "picows-coroutine-client", at_least=1.1),
    Bar("socketio-client-echo", "telex-client", "python-socketio-client", at_least=4.0),
    Bar("socketio-client-echo", "telex-client", "node-socketio-client", at_least=1.5),
    Bar("socketio-client-echo-deep", "telex-client", "python-socketio-client", at_least=4.0),
    Bar("socketio-client-echo-deep", "telex-client", "node-socketio-client", at_least=1.5),
    Bar("socketio-client-flood", "telex-client", "python-socketio-client", at_least=4.0),
    Bar("socketio-client-flood", "telex-client", "node-socketio-client", at_least=1.5),
    Bar("socketio-client-memory", "telex-client", at_most=6144),
]
