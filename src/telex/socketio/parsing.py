"""The seam between packets and messages: what a parser is, and what is made sure of one that a program brings.

Rule of this module: sans-I/O, and nothing of any format. A parser of ours keeps the rules by itself; a program's is
watched from here, so that whatever it does of what a peer sends, a peer's fault stays a value and bounds stay bounds.

A parser belongs to a server and writes each packet once for all who get it. So what it writes depends on nothing that
went before, and a decoder need not live longer than from a packet's first message to its last: most of the time a
connection has none.

Source: Socket.IO, "Custom parser".
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from telex.errors import SocketPacketError
from telex.limits import Limits
from telex.socketio.msgpack import MessagePackParser
from telex.socketio.packets import Packet, check_packet
from telex.socketio.parsers import JSON
from telex.types import Data, size_of

__all__ = ["PacketDecoder", "Parser", "as_parser"]

logger = logging.getLogger("telex.socketio")


class PacketDecoder(Protocol):
    """Turn the messages of one packet into the packet."""

    def add(self, message: Data) -> Packet | None:
        """Take one message; return the packet that it completes, `None` while there is more to come.

        Raises whatever it likes, `ValueError` best, for what is no packet: the connection is then closed.
        What it returns is checked by the server: the type, the namespace, the acknowledgement id, what the data must be
        for its type, and names that are reserved or too long. How deep the data may be nested, and how many values it
        may have, is the decoder's to bound, best before it builds them.
        """
        ...


@runtime_checkable
class Parser(Protocol):
    """Say how packets become messages, and messages packets; both ends must have the same one.

    It must have no state but what all connections share: it serves them all.
    """

    def encode(self, packet: Packet) -> Sequence[Data]:
        """Return the messages of a packet, one or several, each a `str` or `bytes`.

        The data of an event is a list of its name and arguments, that of an acknowledgement a list of its values, just
        as the program gave them; `packet.data` is `None` where there is none.
        Raises `TypeError` or `ValueError` for what cannot be sent; `emit` then raises the same.
        """
        ...

    def decoder(self, limits: Limits) -> PacketDecoder:
        """Return what decodes one packet: its first message is added, then the others until it is complete."""
        ...


class OurDecoder(PacketDecoder, Protocol):
    """Be what a connection works with: it raises `SocketPacketError` and nothing else, and keeps every bound."""

    @property
    def namespace(self) -> str:
        """The namespace of the packet that is awaited; empty where it is not known."""
        ...


class OurParser(Parser, Protocol):
    """Be what a server works with: its decoders are."""

    def decoder(self, limits: Limits) -> OurDecoder:
        """Return what decodes one packet."""
        ...


def as_parser(given: str | Parser) -> OurParser:
    """Read the `parser` option. Raises `ValueError` for an unknown name, `TypeError` for what is no parser."""
    if isinstance(given, str):
        try:
            return NAMED[given]
        except KeyError:
            raise ValueError(f"parser must be one of {', '.join(NAMED)}, or an object, not {given!r}") from None
    if isinstance(given, type) or not isinstance(given, Parser):
        name = given.__name__ if isinstance(given, type) else type(given).__name__
        raise TypeError(f"a parser is an object with the methods encode and decoder, which {name} is not")
    for ours in NAMED.values():
        if type(given) is type(ours):
            return ours
    return WatchedParser(given)


NAMED: dict[str, OurParser] = {"json": JSON, "msgpack": MessagePackParser()}


class WatchedParser:
    """Wrap a program's parser."""

    __slots__ = ("_has_failed", "_parser")

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._has_failed = False

    def __repr__(self) -> str:
        return repr(self._parser)

    def encode(self, packet: Packet) -> Sequence[Data]:
        """Return the messages of a packet. Raises `TypeError` for what are no messages, else what the parser raises."""
        messages = self._parser.encode(packet)
        if not isinstance(messages, list | tuple) or not messages:
            raise TypeError(f"encode must return a list of at least one message, not {messages!r:.50}")
        for message in messages:
            if type(message) not in (str, bytes):
                raise TypeError(f"encode must return messages of type str or bytes, not {type(message).__name__}")
        return messages

    def decoder(self, limits: Limits) -> WatchedDecoder:
        """Return what decodes one packet."""
        return WatchedDecoder(self, self._parser, limits)

    def failed(self, error: Exception) -> None:
        """Hear that a decoder raised: a peer's fault as a rule, but the first time the program is shown where."""
        if not self._has_failed:
            self._has_failed = True
            logger.warning("the parser %r refused a message, as it may again", self._parser, exc_info=error)


class WatchedDecoder:
    """Wrap a program's decoder: bound what it is given, and check what it returns."""

    __slots__ = ("_decoder", "_limits", "_messages_left", "_n_bytes", "_parser", "_watched")

    namespace = ""

    def __init__(self, watched: WatchedParser, parser: Parser, limits: Limits) -> None:
        self._watched = watched
        self._parser = parser
        self._limits = limits
        self._decoder: PacketDecoder | None = None  # made where it is guarded
        self._messages_left = 1 + limits.max_attachments
        self._n_bytes = 0

    def add(self, message: Data) -> Packet | None:
        """Take one message; return the packet that it completes, if it does. Raises `SocketPacketError`."""
        self._messages_left -= 1
        self._n_bytes += size_of(message)
        if self._messages_left < 0 or self._n_bytes > self._limits.max_payload + self._limits.max_attachment_bytes:
            raise SocketPacketError("the packet has too many messages, or too large ones")
        try:
            if self._decoder is None:
                self._decoder = self._parser.decoder(self._limits)
            packet = self._decoder.add(message)
        except Exception as error:
            self._watched.failed(error)
            raise SocketPacketError(f"the parser refused a message: {error!r:.200}") from error
        if packet is not None:
            check_packet(packet, self._limits, self._n_bytes)
        return packet
