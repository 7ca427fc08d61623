"""picows' client, with a listener or as `websockets`: `picows_client.py KIND PORT ...`, on uvloop.

KIND is listener or coroutine; for the rest see `client_work.py`.
"""

import asyncio
import sys

import picows
import uvloop
from client_work import Work
from picows.websockets.asyncio.client import ClientConnection, connect

kind = sys.argv.pop(1)
work = Work()
url = work.url.replace("http", "ws")


class Echo(picows.WSListener):
    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        transport.send(picows.WSMsgType.TEXT, work.next(frame.get_payload_as_ascii_text()).encode())


async def echo(ws: ClientConnection) -> None:
    async for message in ws:
        await ws.send(work.next(message))


async def measure() -> None:
    if kind == "listener":
        transport, _ = await picows.ws_connect(Echo, url)
        for payload in work.first():
            transport.send(picows.WSMsgType.TEXT, payload.encode())
        await work.measure()
        return
    ws = await connect(url, compression=None)
    for payload in work.first():
        await ws.send(payload)
    await asyncio.gather(echo(ws), work.measure())


async def open_one() -> object:
    return await picows.ws_connect(Echo, url)


uvloop.run(work.hold(open_one) if work.activity == "hold" else measure())
