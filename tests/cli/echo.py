"""A WebSocket server to talk to: `python -m tests.cli.echo [CERTIFICATE]`; it says where it listens."""

from __future__ import annotations

import asyncio
import ssl
import sys

from telex.websocket import Connection, serve


async def talk(ws: Connection) -> None:
    async for message in ws:
        match message:
            case "evil":
                await ws.send("a\x1b[2Jb\u202ec\nsecond row")
            case "bytes":
                await ws.send(bytes(range(40)))
            case "leave":
                await ws.close(4000, "so \x1b[1mlong")
            case "done":
                await ws.close()
            case "cut":
                ws.abort()
            case "ping":
                await ws.ping(b"are you there")
                await ws.send("you are")
            case "who":
                await ws.send(f"{ws.request.headers.get('x-who')} {ws.subprotocol} {ws.request.headers.get('origin')}")
            case "long":
                await ws.send("x" * 100_000)
            case _:
                await ws.send(message)


async def main() -> None:
    context = None
    if len(sys.argv) > 1:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[1])
    async with serve(talk, "127.0.0.1", 0, ssl=context, subprotocols=["v1", "v2"]) as server:
        print(f"listening http://127.0.0.1:{server.port}", flush=True)  # noqa: T201  # the test reads it
        await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main())
