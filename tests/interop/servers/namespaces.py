"""What the interoperability tests of dynamic namespaces talk to; `namespaces.mjs` is the other side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import telex

io = telex.Server(cleanup_empty_child_namespaces=True)
documents = io.of(re.compile(r"/documents/[0-9]+"))
created: list[str] = []


@io.of
async def tenants(name: str, auth: Mapping[str, Any]) -> bool:
    return name.startswith("/tenants/") and auth.get("token") == "secret"


@io.on("new_namespace")
def note(namespace: telex.Namespace) -> None:
    created.append(namespace.name)


@documents.use
async def readers_only(socket: telex.Socket) -> None:
    if socket.handshake.auth.get("name") == "Mallory":
        raise telex.ConnectRefused("readers only", data={"retry": False})
    socket.data["name"] = socket.handshake.auth.get("name", "")


@documents.on("connect")
async def opened(socket: telex.Socket) -> None:
    socket.join("readers")
    socket.emit("opened", socket.nsp.name)


@documents.on("tell")
def tell(socket: telex.Socket, *args: Any) -> None:
    socket.nsp.emit("told", *args)


@documents.on("tell all")
def tell_all(socket: telex.Socket, *args: Any) -> None:
    documents.to("readers").emit("told", *args)


@documents.on("who")
async def who(socket: telex.Socket) -> list[str]:
    return sorted(remote.data["name"] for remote in await socket.nsp.in_("readers").fetch_sockets())


@documents.on("ask the others")
async def ask_the_others(socket: telex.Socket, question: Any) -> list[Any]:
    return [await remote.call("question", question, timeout=20) for remote in await socket.broadcast.fetch_sockets()]


@documents.on("move the others")
def move_the_others(socket: telex.Socket, room: str) -> None:
    socket.broadcast.sockets_join(room)
    socket.broadcast.sockets_leave("readers")
    socket.nsp.to(room).emit("moved", room)


@documents.on("send the others off")
def send_the_others_off(socket: telex.Socket, close: bool) -> None:
    socket.broadcast.disconnect_sockets(close)


@tenants.on("where")
def where(socket: telex.Socket) -> str:
    return socket.nsp.name


@io.on("namespaces")
def namespaces(socket: telex.Socket) -> list[list[str]]:
    return [sorted(io.namespaces), created]
