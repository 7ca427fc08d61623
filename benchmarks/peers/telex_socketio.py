"""Telex: `telex run telex_socketio:io`, or any ASGI server."""

import telex

io = telex.Server()


@io.on("echo")
def echo(socket: telex.Socket, data: str) -> None:
    socket.emit("echo", data)


@io.on("aecho")
async def aecho(socket: telex.Socket, data: str) -> None:
    socket.emit("aecho", data)


@io.on("ack")
def ack(socket: telex.Socket, data: str) -> str:
    return data


@io.on("flood")
def flood(socket: telex.Socket) -> None:
    for n in range(256):
        socket.emit("flood", f"{n:064}")


@io.on("bcast")
def bcast(socket: telex.Socket, data: str) -> None:
    io.emit("bcast", data)
