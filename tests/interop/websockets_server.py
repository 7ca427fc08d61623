"""The server of `websockets`, as other programs use it: the Python twin of `ws_server.mjs`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol


async def answer(ws: ServerConnection) -> None:
    async for message in ws:
        if message == "close":
            await ws.close(4001, "as you like")
        elif message == "terminate":
            ws.transport.abort()
        elif message == "headers":
            assert ws.request is not None
            fields = {name.lower(): value for name, value in ws.request.headers.raw_items()}
            await ws.send(json.dumps(fields))
        else:
            await ws.send(message)


def look_at(ws: ServerConnection, request: Request) -> Response | None:
    if request.path == "/redirect":
        fields = Headers([("Location", "/"), ("Content-Length", "0"), ("Connection", "close")])
        return Response(HTTPStatus.TEMPORARY_REDIRECT, "Temporary Redirect", fields)
    return ws.respond(HTTPStatus.UNAUTHORIZED, "no!") if request.path == "/refuse" else None


def choose(ws: ServerConnection, names: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol("chat") if "chat" in names else None


async def main() -> None:
    async with serve(
        answer, "127.0.0.1", 0, select_subprotocol=choose, process_request=look_at, max_size=2**25
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        print(f"listening http://127.0.0.1:{port}", flush=True)  # noqa: T201  # the test reads it
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
