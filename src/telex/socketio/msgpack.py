"""The MessagePack parser: each packet is one binary message, attachments and all.

Rule of this module: sans-I/O. Nothing is decoded whose size, depth and number of values is not bounded before.

**Shape** of a packet: a map `{type, data, nsp, id?}` with the types 0 to 4; other entries, such as the `options` that
JavaScript leaves in, are passed over. What is missing or undefined is `None`.
Three extensions of type 0, told apart by how they are written, carry what JavaScript has and MessagePack has not:

| written as | is |
|---|---|
| fixext 1 | `undefined`, read as `None` |
| fixext 8 | a `Date`, a `datetime` with a time zone: milliseconds since 1970, 64 bits with sign |
| ext 8, 16, 32 | an `ArrayBuffer`, read as `bytes` |

Source: socket.io-msgpack-parser 3 and notepack.io 2.2; the MessagePack specification.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any, NamedTuple

import msgspec
from msgspec.msgpack import Ext

from telex.errors import SocketPacketError
from telex.limits import Limits
from telex.socketio.dates import datetime, from_milliseconds, to_milliseconds
from telex.socketio.fastpath import is_plain
from telex.socketio.packets import Packet, check_packet
from telex.socketio.parsers import BYTES_TYPES, as_builtin
from telex.types import Data

__all__ = ["MessagePackParser", "Special", "parse", "scan"]

EXTENSION_TYPE = 0
DATE_BYTES = 8

UNCONVERTED = (*BYTES_TYPES, datetime)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class MessagePackParser:
    """Speak MessagePack as `socket.io-msgpack-parser` does."""

    __slots__ = ()

    def encode(self, packet: Packet) -> list[Data]:
        """Write one packet.

        Besides what MessagePack knows, bytes among it, the data may hold `datetime` objects with a time zone, each a
        `Date` in JavaScript, and whatever msgspec can turn into these (structs, dataclasses, UUIDs, enums).
        **Ownership**: bytes of any kind are copied now.
        Raises `TypeError` for what cannot be sent, and `ValueError` for integers of more than 64 bits, a `datetime`
        without a time zone, text with a lone surrogate, and data that is nested too deeply or holds itself.
        """
        fields: dict[str, Any] = {"type": int(packet.type), "nsp": packet.namespace}
        try:
            if packet.data is not None:  # and not an entry of nil, which JavaScript's parser would refuse
                fields["data"] = as_sendable(packet.data)
            if packet.ack_id is not None:
                fields["id"] = packet.ack_id
            return [_encode(fields)]
        except RecursionError as error:
            raise ValueError("the data is nested too deeply, or holds itself") from error
        except OverflowError as error:
            raise ValueError("the data has an integer of more than 64 bits") from error
        except BufferError as error:
            raise ValueError("the data has a memoryview that does not lie in one piece") from error

    def decoder(self, limits: Limits) -> MessagePackDecoder:
        """Return what decodes one packet."""
        return MessagePackDecoder(limits)


class MessagePackDecoder:
    """Turn the one message of a packet into the packet."""

    __slots__ = ("_limits",)

    namespace = ""  # no packet is ever unfinished

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def add(self, message: Data) -> Packet:
        """Read a packet.

        Raises `SocketPacketError`; the connection is then beyond repair.
        """
        if isinstance(message, str):
            raise SocketPacketError("a text message came where MessagePack is spoken: has the client the same parser?")
        fields = parse(message, self._limits)
        if not isinstance(fields, dict):
            raise SocketPacketError("a packet must be a map")
        type_, namespace = fields.get("type"), fields.get("nsp")
        packet = Packet(type_, namespace, fields.get("data"), fields.get("id"))  # type: ignore[arg-type]  # until checked
        check_packet(packet, self._limits, len(message))
        return packet


def as_sendable(data: Any) -> Any:
    """Return data of the kinds that can be written; the same object where there is nothing to be converted."""
    if is_plain(data):
        return data
    plain = msgspec.to_builtins(data, builtin_types=UNCONVERTED, str_keys=True, enc_hook=as_builtin)
    return replace_dates(plain) if contains_date(plain) else plain


def contains_date(data: Any) -> bool:
    """Whether there is a `datetime` anywhere."""
    if isinstance(data, dict):
        data = data.values()
    elif not isinstance(data, list | tuple):
        return isinstance(data, datetime)
    return any(map(contains_date, data))


def replace_dates(data: Any) -> Any:
    """Return a copy in which each `datetime` is what JavaScript reads as a `Date`."""
    if isinstance(data, datetime):
        return Ext(EXTENSION_TYPE, to_milliseconds(data).to_bytes(DATE_BYTES, "big", signed=True))
    if isinstance(data, dict):
        return {key: replace_dates(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [replace_dates(item) for item in data]
    return data


# What is read.


class Special(Enum):
    """Name what an extension stands for."""

    UNDEFINED = auto()
    DATE = auto()
    ARRAY_BUFFER = auto()


class Kind(Enum):
    """Name what a first byte begins, and with it what its length counts."""

    SCALAR = auto()  # bytes
    TEXT = auto()  # bytes
    ARRAY = auto()  # values
    MAP = auto()  # pairs
    EXTENSION = auto()  # bytes, behind one of type
    UNKNOWN = auto()


class Form(NamedTuple):
    """Say what a first byte begins: `length` counts what follows, unless it stands in the next `n_bytes` bytes."""

    kind: Kind
    length: int = 0
    n_bytes: int = 0


def make_forms() -> list[Form]:
    """Lay out the specification's table of first bytes."""
    scalar, text, extension, number = Kind.SCALAR, Kind.TEXT, Kind.EXTENSION, [Form(Kind.SCALAR)]
    return [
        *number * 0x80,
        *(Form(Kind.MAP, count) for count in range(16)),
        *(Form(Kind.ARRAY, count) for count in range(16)),
        *(Form(text, length) for length in range(32)),
        *(Form(scalar), Form(Kind.UNKNOWN), Form(scalar), Form(scalar)),  # nil, no use, false, true
        *(Form(scalar, n_bytes=n) for n in (1, 2, 4)),  # bin
        *(Form(extension, n_bytes=n) for n in (1, 2, 4)),
        *(Form(scalar, length) for length in (4, 8)),  # floats
        *[Form(scalar, length) for length in (1, 2, 4, 8)] * 2,  # integers, without sign and with one
        *(Form(extension, length) for length in (1, 2, 4, 8, 16)),
        *(Form(text, n_bytes=n) for n in (1, 2, 4)),
        *(Form(kind, n_bytes=n) for kind in (Kind.ARRAY, Kind.MAP) for n in (2, 4)),
        *number * 0x20,
    ]


FORMS = make_forms()

SIZES = [0 if form.n_bytes or form.kind not in (Kind.SCALAR, Kind.TEXT) else 1 + form.length for form in FORMS]
"""How many bytes a value has that its first byte tells all about; 0 where more must be looked at."""

SHORT_TEXTS = range(0xA0, 0xC0)
"""First bytes of the texts among these."""

SHORT_SPECIALS = {1: Special.UNDEFINED, DATE_BYTES: Special.DATE}
"""What an extension stands for whose length is its form's."""

# Bytes that begin a short map or array where they begin a value; and those that begin a long one, or an extension.
OPENINGS = bytes(n for n, form in enumerate(FORMS) if form.kind in (Kind.ARRAY, Kind.MAP) and not form.n_bytes)
DOUBTFUL = bytes(
    n
    for n, form in enumerate(FORMS)
    if form.kind in (Kind.EXTENSION, Kind.UNKNOWN) or (form.kind in (Kind.ARRAY, Kind.MAP) and form.n_bytes)
)

ENVELOPE_DEPTH = 1
"""How deep a packet's data lies in the packet."""


def parse(message: bytes, limits: Limits) -> Any:
    """Read MessagePack within bounds of depth and number of values.

    The bounds are checked before anything is built. Cheap counts come first: a message with too few bytes that could
    open anything, and none that could be an extension, crosses no bound, and if nothing but plain data comes of it,
    keys that are texts among it, that is all. Any other is scanned.
    Raises `SocketPacketError`.
    """
    if is_surely_small(message, limits):
        data = decode(message)
        if is_plain(data):
            return data
    return parse_closely(message, limits)


def parse_closely(message: bytes, limits: Limits) -> Any:
    """Read MessagePack after its structure was scanned. Raises `SocketPacketError`."""
    specials = scan(message, limits)
    return decode(message, make_reviver(iter(specials)) if specials else None)


def decode(message: bytes, revive: Callable[[int, memoryview], Any] | None = None) -> Any:
    """Read MessagePack; `revive` is called with each extension. Raises `SocketPacketError`."""
    try:
        return _decode(message) if revive is None else msgspec.msgpack.decode(message, ext_hook=revive)
    except (msgspec.MsgspecError, RecursionError, UnicodeError, OverflowError, TypeError) as error:
        raise SocketPacketError(f"the packet is not valid MessagePack: {error}") from error


def is_surely_small(message: bytes, limits: Limits) -> bool:
    """Whether a message can cross no bound, whatever its bytes mean."""
    if len(message) > limits.max_json_nodes or len(message.translate(None, DOUBTFUL)) < len(message):
        return False
    return len(message) - len(message.translate(None, OPENINGS)) <= limits.max_json_depth


def make_reviver(specials: Iterator[Special]) -> Callable[[int, memoryview], Any]:
    """Return what the decoder calls for each extension; it comes to them in the order in which they were scanned."""

    def revive(_: int, data: memoryview) -> Any:
        match next(specials):
            case Special.UNDEFINED:
                return None
            case Special.DATE:
                return from_milliseconds(int.from_bytes(data, "big", signed=True))
            case _:  # Special.ARRAY_BUFFER
                return bytes(data)

    return revive


def scan(message: bytes, limits: Limits) -> list[Special]:
    """Walk the structure of a message that must be one value, and return its extensions in order.

    O(values), and builds nothing. What is passed is safe to decode but for what texts hold: no more values than
    `max_json_nodes` and no more depth than `max_json_depth` allow, no length that goes beyond the message, no key that
    is no text, and no extension but the three.
    Raises `SocketPacketError`.
    """
    specials: list[Special] = []
    end, offset = len(message), 0
    n_values = 1
    max_values, max_depth = limits.max_json_nodes, limits.max_json_depth + ENVELOPE_DEPTH
    array, map_ = Kind.ARRAY, Kind.MAP
    outer: list[tuple[int, bool]] = []  # the next two of all that is open around
    n_left, is_map = 1, False  # values to come in the innermost that is open, keys among them
    while offset < end:
        first = message[offset]
        size = SIZES[first]
        if size and n_left > 1 and (not is_map or n_left & 1 or first in SHORT_TEXTS):  # most are so
            offset += size
            n_left -= 1
            continue
        kind, length, n_bytes = FORMS[first]
        offset += 1
        if n_bytes:
            length = int.from_bytes(message[offset : offset + n_bytes], "big")
            offset += n_bytes
        if is_map and not n_left & 1 and kind is not Kind.TEXT:
            raise SocketPacketError("the packet has a key that is no text")
        n_left -= 1
        if kind is array or kind is map_:
            n_values += length
            outer.append((n_left, is_map))
            is_map = kind is map_
            n_left = 2 * length if is_map else length
            is_cut = n_left > end - offset  # for each takes a byte at least
            if is_cut or n_values > max_values or len(outer) > max_depth:
                raise excess(is_cut=is_cut, is_deep=len(outer) > max_depth)
        else:
            if kind is Kind.EXTENSION:
                specials.append(special_of(message[offset : offset + 1], length, is_short=not n_bytes))
                offset += 1
            elif kind is Kind.UNKNOWN:
                raise SocketPacketError("the packet has a byte that begins nothing")
            offset += length
        while not n_left:
            if not outer:
                if offset != end:
                    raise SocketPacketError("the packet does not end where its message does")
                return specials
            n_left, is_map = outer.pop()
    raise SocketPacketError("the packet is longer than its message")


def excess(*, is_cut: bool, is_deep: bool) -> SocketPacketError:
    """Say what a container has too much of."""
    if is_cut:
        return SocketPacketError("the packet is longer than its message")
    return SocketPacketError("the packet is nested too deeply" if is_deep else "the packet has too many values")


def special_of(type_: bytes, length: int, *, is_short: bool) -> Special:
    """Return what an extension stands for."""
    special = SHORT_SPECIALS.get(length) if is_short else Special.ARRAY_BUFFER
    if special is None or type_ != EXTENSION_TYPE.to_bytes():
        raise SocketPacketError("the packet has an extension that is not JavaScript's")
    return special
