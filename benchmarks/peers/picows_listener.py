"""picows as its own documentation uses it: `picows_listener.py PORT echo|broadcast`, on uvloop."""

import sys

import picows
import uvloop

transports: set[picows.WSTransport] = set()


class Echo(picows.WSListener):
    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_bytes())


class Broadcast(picows.WSListener):
    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        transports.add(transport)

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        transports.discard(transport)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.CLOSE:
            transport.disconnect()
            return
        payload = frame.get_payload_as_bytes()
        for each in transports:
            each.send(frame.msg_type, payload)


async def main(port: str, kind: str) -> None:
    listener = {"echo": Echo, "broadcast": Broadcast}[kind]
    server = await picows.ws_create_server(lambda _: listener(), "127.0.0.1", int(port), backlog=4096)
    await server.serve_forever()


uvloop.run(main(*sys.argv[1:]))
