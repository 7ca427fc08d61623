"""The smallest chat server, as in the README. Run it with `telex run chat_six_lines:io --app-dir examples`."""

import telex

io = telex.Server()


@io.on("chat")
async def chat(socket: telex.Socket, text: str) -> str:
    await io.emit("chat", socket.id, text)
    return "delivered"
