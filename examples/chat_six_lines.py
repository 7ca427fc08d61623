"""The smallest chat server. Run it with `telex run chat_six_lines:io --app-dir examples`."""

import telex

io = telex.Server()


@io.on("chat")
async def chat(socket: telex.Socket, text: str) -> str:
    await io.to("lobby").emit("chat", socket.id, text)
    return "delivered"  # becomes the acknowledgement; a tuple is several values


@io.on("connect")
async def connected(socket: telex.Socket) -> None:
    socket.join("lobby")


@io.on("disconnect")
async def gone(socket: telex.Socket, reason: telex.DisconnectReason) -> None:
    print(socket.id, "is gone:", reason)  # noqa: T201  # an example may speak
