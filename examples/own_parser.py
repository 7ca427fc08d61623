"""A parser of one's own: MessagePack, deflated. What goes with it in JavaScript stands in docs/parsers.md."""

import zlib

import telex

INNER = telex.MessagePackParser()


class DeflatedParser:
    """Deflate what the MessagePack parser writes."""

    def encode(self, packet: telex.Packet) -> list[str | bytes]:
        return [zlib.compress(message) for message in INNER.encode(packet) if isinstance(message, bytes)]

    def decoder(self, limits: telex.Limits) -> telex.PacketDecoder:
        return InflatingDecoder(limits)


class InflatingDecoder:
    """Inflate one packet, never to more than one message may have."""

    def __init__(self, limits: telex.Limits) -> None:
        self.inner = INNER.decoder(limits)
        self.max_bytes = limits.max_payload

    def add(self, message: str | bytes) -> telex.Packet | None:
        if isinstance(message, str):
            raise ValueError("a text message")
        inflater = zlib.decompressobj()
        data = inflater.decompress(message, self.max_bytes)
        if not inflater.eof:
            raise ValueError("a message that is too large, or not whole")
        return self.inner.add(data)


io = telex.Server(parser=DeflatedParser())


@io.on("chat")
async def chat(socket: telex.Socket, text: str) -> str:
    await io.emit("chat", socket.id, text)
    return "delivered"
