"""python-socketio as an ASGI application, for uvicorn: `python_socketio:app`."""

import socketio

io = socketio.AsyncServer(async_mode="asgi", http_compression=False)
app = socketio.ASGIApp(io)


@io.event
async def echo(sid: str, data: str) -> None:
    await io.emit("echo", data, to=sid)


@io.event
async def aecho(sid: str, data: str) -> None:
    await io.emit("aecho", data, to=sid)


@io.event
async def ack(sid: str, data: str) -> str:
    return data


@io.event
async def bcast(sid: str, data: str) -> None:
    await io.emit("bcast", data)
