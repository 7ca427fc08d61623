"""Compress messages: permessage-deflate, its negotiation and its two kernels.

Rule of this module: RFC 7692 and zlib, no state of a connection, no header syntax (that is `handshake.py`), no I/O.

Theory of operation. The client offers, the server accepts one offer and says with which parameters, and both then know
for each direction whether the compression window lives on from message to message ("context takeover") and how large
it is. A message is compressed as a whole; the four bytes that every flush ends with are cut off by the sender and put
back by the receiver (RFC 7692 §7.2). The kernels make their zlib object when they first need it and, without context
takeover, drop it after each message, so an idle connection holds none.

Inflation is where a peer can spend our memory a thousand times faster than its own. `Inflator` therefore asks zlib for
at most `_PIECE` bytes at a time and stops as soon as they are too many, so a bomb costs the limit and one piece.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from telex.errors import FrameError, HandshakeError

__all__ = [
    "EXTENSION",
    "DeflateOptions",
    "DeflateParameters",
    "Deflator",
    "Extension",
    "Inflator",
    "accept_offer",
    "accept_response",
    "make_offer",
]

EXTENSION = "permessage-deflate"

Extension = tuple[str, Sequence[tuple[str, str | None]]]
"""One extension as `Sec-WebSocket-Extensions` names it: its name and its parameters in order."""

_MIN_BITS, _MAX_BITS = 8, 15
_MAX_LEVEL = 9
_TAIL = b"\x00\x00\xff\xff"
_FINAL_BLOCK = b"\x03\x00"  # an empty block with BFINAL set
_PIECE = 16 * 1024
"""How much zlib may inflate in one step: what a bomb costs beyond the limit."""
_MAX_STREAM_ENDS = 1024
"""Blocks with BFINAL in one message. Each costs a new zlib object, and whoever compresses so needs one for a message
or for a fragment; so the bound is that of the fragments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeflateOptions:
    """Say what permessage-deflate may cost; the names are those of RFC 7692 §7.1, whichever end we are.

    A server without context takeover keeps no compressor per connection; a window of 12 bits and a `mem_level` of 5
    cost 32 KiB while a message is compressed, against 256 KiB of zlib's defaults, for nearly the same ratio on the
    short messages WebSocket carries.
    Raises `ValueError` when a value is out of range.
    """

    server_no_context_takeover: bool = True
    """The server starts each message with an empty window."""
    client_no_context_takeover: bool = False
    """The client starts each message with an empty window."""
    server_max_window_bits: int = 12
    """The server's window is at most 2 to this power, 8 to 15."""
    client_max_window_bits: int = 12
    """The client's window is at most 2 to this power, 8 to 15, where it can be told so."""
    level: int = 6
    """zlib's effort, 0 to 9."""
    mem_level: int = 5
    """zlib's memory for compression, 1 to 9."""
    threshold: int = 1024
    """Bytes below which a message is sent as it is."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("server_max_window_bits", _MIN_BITS, _MAX_BITS),
            ("client_max_window_bits", _MIN_BITS, _MAX_BITS),
            ("level", 0, _MAX_LEVEL),
            ("mem_level", 1, _MAX_LEVEL),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"DeflateOptions.{name} is {low} to {high}, not {getattr(self, name)}")
        if self.threshold < 0:
            raise ValueError(f"DeflateOptions.threshold is not negative, but {self.threshold} is")


@dataclass(frozen=True, kw_only=True, slots=True)
class DeflateParameters:
    """Be what one connection negotiated (RFC 7692 §7.1)."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = _MAX_BITS
    client_max_window_bits: int = _MAX_BITS
    options: DeflateOptions = field(default_factory=DeflateOptions)
    """Ours: level, memory and threshold are nobody else's business."""

    def make_codecs(self, *, is_server: bool, max_message_size: int) -> tuple[Inflator, Deflator]:
        """Return what one end of a connection needs: the peer's direction, then ours."""
        server = self.server_max_window_bits, not self.server_no_context_takeover
        client = self.client_max_window_bits, not self.client_no_context_takeover
        (peer_bits, peer_takeover), (our_bits, our_takeover) = (client, server) if is_server else (server, client)
        return (
            Inflator(peer_bits, takeover=peer_takeover, max_message_size=max_message_size),
            Deflator(our_bits, takeover=our_takeover, options=self.options),
        )


# Negotiation

_WINDOW_BITS = re.compile(r"[89]|1[0-5]")  # "without leading zeroes"


@dataclass(slots=True)
class _Asked:
    """Be the parameters of one offer or response; 0: the bits were not named, None: named without a value."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 0
    client_max_window_bits: int | None = 0


def _read_parameters(extension: Extension, *, is_offer: bool) -> _Asked:
    """Return the parameters of permessage-deflate; raise `ValueError` where RFC 7692 §7.1 allows them not.

    It asks to decline (an offer) or fail (a response) for a parameter that is unknown, repeated or has a bad value.
    """
    asked = _Asked()
    seen = set[str]()
    for name, value in extension[1]:
        if name in seen:
            raise ValueError(f"the parameter {name} is repeated")
        seen.add(name)
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                raise ValueError(f"the parameter {name} has a value")
            setattr(asked, name, True)
        elif name in ("server_max_window_bits", "client_max_window_bits"):
            # RFC 7692 §7.1.2.2: only in an offer, and only here, the value may be left out.
            if value is None and is_offer and name == "client_max_window_bits":
                asked.client_max_window_bits = None
            elif value is not None and _WINDOW_BITS.fullmatch(value):
                setattr(asked, name, int(value))
            else:
                raise ValueError(f"the parameter {name} has a bad value")
        else:
            raise ValueError("a parameter is unknown")
    return asked


def _header(parameters: DeflateParameters, server_bits: bool, client_bits: str) -> str:
    """Return a header value that names the parameters."""
    parts = [EXTENSION]
    if parameters.server_no_context_takeover:
        parts.append("server_no_context_takeover")
    if parameters.client_no_context_takeover:
        parts.append("client_no_context_takeover")
    if server_bits:
        parts.append(f"server_max_window_bits={parameters.server_max_window_bits}")
    if client_bits:
        parts.append(client_bits)
    return "; ".join(parts)


def accept_offer(offers: Sequence[Extension], options: DeflateOptions) -> tuple[str, DeflateParameters] | None:
    """Accept the first offer of permessage-deflate that is sound: return the answer's header value and its meaning.

    None where there is none; other extensions and unsound offers are declined by silence, as RFC 7692 §5.1 asks.
    A window of 8 bits is accepted; `Deflator` says how.
    Source: RFC 7692 §5, §7.1.
    """
    for offer in offers:
        if offer[0] != EXTENSION:
            continue
        try:
            asked = _read_parameters(offer, is_offer=True)
        except ValueError:
            continue
        # The client's window can be limited only where the client said that it understands that (§7.1.2.2).
        can_limit_client = asked.client_max_window_bits != 0
        parameters = DeflateParameters(
            server_no_context_takeover=options.server_no_context_takeover or asked.server_no_context_takeover,
            client_no_context_takeover=options.client_no_context_takeover or asked.client_no_context_takeover,
            server_max_window_bits=min(options.server_max_window_bits, asked.server_max_window_bits or _MAX_BITS),
            client_max_window_bits=min(options.client_max_window_bits, asked.client_max_window_bits or _MAX_BITS)
            if can_limit_client
            else _MAX_BITS,
            options=options,
        )
        # §7.1.2.1: the server's bits must be answered where they were asked for, and may be told anyway.
        tells_bits = asked.server_max_window_bits > 0 or parameters.server_max_window_bits < _MAX_BITS
        client_bits = f"client_max_window_bits={parameters.client_max_window_bits}" if can_limit_client else ""
        return _header(parameters, tells_bits, client_bits), parameters
    return None


def make_offer(options: DeflateOptions) -> str:
    """Return a client's offer as a header value (RFC 7692 §7.1)."""
    parameters = DeflateParameters(
        server_no_context_takeover=options.server_no_context_takeover,
        client_no_context_takeover=options.client_no_context_takeover,
        server_max_window_bits=options.server_max_window_bits,
    )
    bits = options.client_max_window_bits
    client_bits = "client_max_window_bits" if bits == _MAX_BITS else f"client_max_window_bits={bits}"
    return _header(parameters, options.server_max_window_bits < _MAX_BITS, client_bits)


def accept_response(extensions: Sequence[Extension], options: DeflateOptions) -> DeflateParameters | None:
    """Return what a server made of our offer, None where it declined.

    Raises `HandshakeError` for an extension or a parameter that the offer does not allow.
    Source: RFC 6455 §4.1, RFC 7692 §5.1, §7.1.
    """
    if not extensions:
        return None
    try:
        if len(extensions) > 1 or extensions[0][0] != EXTENSION:
            raise ValueError("an extension was not offered")
        asked = _read_parameters(extensions[0], is_offer=False)
        # §7.1.1.1: the server accepts by repeating the parameter; without it, it has not accepted.
        if options.server_no_context_takeover and not asked.server_no_context_takeover:
            raise ValueError("server_no_context_takeover is missing")
        if options.server_max_window_bits < (asked.server_max_window_bits or _MAX_BITS):
            raise ValueError("server_max_window_bits is missing or larger than offered")
    except ValueError as error:
        raise HandshakeError(502, f"the server's Sec-WebSocket-Extensions are wrong: {error}") from None
    return DeflateParameters(
        server_no_context_takeover=asked.server_no_context_takeover,
        # §7.1.1.2: ours to do, whether the server asks for it or not.
        client_no_context_takeover=options.client_no_context_takeover or asked.client_no_context_takeover,
        server_max_window_bits=asked.server_max_window_bits or _MAX_BITS,
        client_max_window_bits=min(options.client_max_window_bits, asked.client_max_window_bits or _MAX_BITS),
        options=options,
    )


# The kernels


class Inflator:
    """Inflate the messages of one direction of one connection.

    Args:
        bits: the size of the sender's window, as a power of 2.
        takeover: whether the window lives on from message to message.
        max_message_size: bytes a message may have after inflation.
    """

    __slots__ = ("_bits", "_has_data", "_max_message_size", "_n_ends", "_takeover", "_zlib")

    def __init__(self, bits: int, *, takeover: bool, max_message_size: int) -> None:
        self._bits = bits
        self._takeover = takeover
        self._max_message_size = max_message_size
        self._has_data = False  # compressed bytes have come of this message
        self._n_ends = 0  # blocks with BFINAL in this message
        self._zlib: zlib._Decompress | None = None

    def inflate(self, data: bytes, into: bytearray, *, final: bool) -> None:
        """Append to `into`, which holds what came of this message before, what the next part of it inflates to.

        Args:
            data: compressed bytes, in any split.
            final: whether the message ends here.

        Raises `FrameError` 1007 when the data are not deflate, are cut off, or refer to what the window cannot hold;
        1009 when the message becomes too large; 1008 when it is made of too many streams.
        Source: RFC 7692 §7.2.2.
        """
        self._has_data = self._has_data or bool(data)
        # A message without a single compressed byte is no stream at all, and so lacks the block that the tail ends.
        try:
            self._inflate(data + _TAIL if final and self._has_data else data, into, final)
            if final:
                self._end_message()
        except zlib.error:
            raise FrameError(1007, "a message is not valid deflate data") from None

    def _inflate(self, data: bytes, into: bytearray, final: bool) -> None:
        while True:
            if self._zlib is None:
                if not data or (final and data == _TAIL and self._n_ends):
                    return  # a sender that ends its stream with the message need not add the block the tail belongs to
                self._zlib = zlib.decompressobj(-self._bits)
            into += self._zlib.decompress(data, _PIECE)
            if len(into) > self._max_message_size:
                raise FrameError(1009, f"a message inflates to more than {self._max_message_size} bytes")
            data = self._zlib.unconsumed_tail
            if self._zlib.eof:
                # RFC 7692 §7.2.3.4: a block with BFINAL ends a stream, not the message. What follows starts another
                # one, with an empty window, which is what senders that end their streams do.
                data = self._zlib.unused_data
                self._zlib = None
                self._n_ends += 1
                if self._n_ends > _MAX_STREAM_ENDS:
                    raise FrameError(1008, f"a message has more than {_MAX_STREAM_ENDS} deflate streams")
            elif not data:
                return  # what zlib may still hold back comes with the next input: at the end, with the tail

    def _end_message(self) -> None:
        """See that the message ends where a block ends, then keep the window or drop it.

        zlib does not say where it stands, but an empty final block ends the stream exactly there. Where the window is
        still needed, a copy is asked (under 1 µs).
        """
        self._n_ends = 0
        self._has_data = False
        if self._zlib is None:
            return
        probe = self._zlib.copy() if self._takeover else self._zlib
        if probe.decompress(_FINAL_BLOCK, 1) or not probe.eof:
            raise FrameError(1007, "a compressed message is cut off")
        if not self._takeover:
            self._zlib = None


class Deflator:
    """Deflate the messages of one direction of one connection.

    Args:
        bits: the largest window allowed, as a power of 2. zlib cannot compress with 8; it is given 9 then, with which
            it never refers back more than 250 bytes, for it keeps 262 of its window for looking ahead.
        takeover: whether the window lives on from message to message.
        options: level, memory and threshold.
    """

    __slots__ = ("_bits", "_options", "_takeover", "_zlib", "threshold")

    def __init__(self, bits: int, *, takeover: bool, options: DeflateOptions) -> None:
        self.threshold = options.threshold
        self._bits = max(bits, 9)
        self._takeover = takeover
        self._options = options
        self._zlib: zlib._Compress | None = None

    @property
    def shared(self) -> object | None:
        """What the output of equal messages depends on; None where it depends on those before, too."""
        options = self._options
        return None if self._takeover else (self._bits, options.level, options.mem_level)

    def deflate(self, data: bytes | bytearray) -> bytes:
        """Return the payload of the compressed message.

        Source: RFC 7692 §7.2.1, §7.2.3.6 (an empty message is one byte).
        """
        if not data:
            return b"\x00"
        deflate = self._zlib or zlib.compressobj(
            self._options.level, zlib.DEFLATED, -self._bits, self._options.mem_level
        )
        if self._takeover:
            self._zlib = deflate
        return (deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]
