"""Socket.IO packets and the head of their text form.

Rule of this module: sans-I/O, and nothing of JSON or attachments, which are the parser's.

**Shape** of the text form: `<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]`; the namespace is left out when it
is "/". What the JSON of each type must be is checked here too, since every parser has to.

Source: Socket.IO protocol v5, "Packet encoding".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from telex.errors import SocketPacketError
from telex.limits import Limits

__all__ = [
    "MAX_ACK_ID",
    "RESERVED_EVENTS",
    "Head",
    "Packet",
    "PacketType",
    "check_packet",
    "check_payload",
    "event_name",
    "format_head",
    "parse_head",
]


class PacketType(IntEnum):
    """Name the seven types; the value is the digit on the wire."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


RESERVED_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Names that only the library may raise, on either side."""

MAX_ACK_ID = 2**53 - 1
"""The largest integer that JavaScript counts with."""

TYPES = tuple(PacketType)
WHOLE_TYPES = frozenset(TYPES[:5])
"""Those that say what a packet is for; the other two only tell that attachments follow."""
BINARY_TYPES = (PacketType.BINARY_EVENT, PacketType.BINARY_ACK)
ACK_TYPES = (PacketType.ACK, PacketType.BINARY_ACK)

# JavaScript writes larger numbers with an exponent.
MAX_PLAIN_NUMBER = 1e21

# One pass, no backtracking: each group starts with a character that the next cannot start with, but for the digits of
# the attachment count and of the ack id, which the "-" tells apart.
HEAD = re.compile(r"([0-6])(?:([0-9]+)-)?(?:(/[^,]*)(?:,|\Z))?([0-9]+)?")

NOT_IN_NAMES = re.compile(r"[,\ud800-\udfff]")
"""What the JSON form cannot have in a namespace's name, and other parsers may read."""


@dataclass(slots=True)
class Packet:
    """Hold one decoded packet. `data` is the checked payload: an object, a list or nothing, by type."""

    type: PacketType
    namespace: str
    data: Any = None
    ack_id: int | None = None


class Head(NamedTuple):
    """Hold the head of a text form; the JSON starts at `json_start`."""

    type: PacketType
    n_attachments: int
    namespace: str
    ack_id: int | None
    json_start: int


def parse_head(text: str, limits: Limits) -> Head:
    """Read the head of a packet.

    Raises `SocketPacketError` for anything that is not one, and past `max_attachments`, `max_namespace_length` or
    `MAX_ACK_ID`. Digits are ASCII and have no leading zeros.
    """
    match = HEAD.match(text)
    if match is None:
        raise SocketPacketError(f"unknown packet type {text[:1]!r}")
    kind, attachments, namespace, ack = match.groups()
    type_ = TYPES[int(kind)]
    if (attachments is not None) != (type_ in BINARY_TYPES):
        raise SocketPacketError("only binary packets count their attachments, and they must")
    n_attachments = 0 if attachments is None else parse_number(attachments, limits.max_attachments, "attachments")
    if namespace is None:
        namespace = "/"
    elif len(namespace) > limits.max_namespace_length:
        raise SocketPacketError("the namespace's name is too long")
    ack_id = None if ack is None else parse_number(ack, MAX_ACK_ID, "acknowledgement id")
    if ack_id is None and type_ in ACK_TYPES:
        raise SocketPacketError("an acknowledgement without an id")
    return Head(type_, n_attachments, namespace, ack_id, match.end())


def parse_number(digits: str, maximum: int, what: str) -> int:
    """Read ASCII digits. The count of digits is bounded before they are converted, which is not linear."""
    if len(digits) > len(str(maximum)) or int(digits) > maximum:
        raise SocketPacketError(f"{what}: {digits[:20]} is more than {maximum}")
    if digits[0] == "0" and len(digits) > 1:
        raise SocketPacketError(f"{what}: a number with leading zeros")
    return int(digits)


def format_head(type_: PacketType, namespace: str, ack_id: int | None, n_attachments: int) -> str:
    """Write the head of a packet."""
    head = str(int(type_))
    if n_attachments:
        head += f"{n_attachments}-"
    if namespace != "/":
        head += namespace + ","
    return head if ack_id is None else f"{head}{ack_id}"


def check_payload(type_: PacketType, data: Any, limits: Limits) -> None:
    """Check that a decoded payload is what its type demands; `data` is `None` where there was no payload.

    Raises `SocketPacketError`. A name that is reserved, or too long (`max_event_name`), is refused here, before any
    handler is looked for.
    """
    match type_:
        case PacketType.CONNECT:
            is_valid = data is None or isinstance(data, dict)
        case PacketType.DISCONNECT:
            is_valid = data is None
        case PacketType.CONNECT_ERROR:
            is_valid = isinstance(data, str | dict)
        case PacketType.EVENT | PacketType.BINARY_EVENT:
            is_valid = isinstance(data, list) and bool(data) and is_event_name(data[0], limits)
        case _:  # the two acknowledgements
            is_valid = isinstance(data, list)
    if not is_valid:
        raise SocketPacketError(f"the payload of a packet of type {type_.name} is not valid")


def check_packet(packet: Packet, limits: Limits, n_bytes: int) -> None:
    """Check a packet that another parser than the JSON parser has read: what `parse_head` and `check_payload` check.

    Args: `n_bytes` is what the whole packet weighs, of which the auth object is the most where there is one.
    Raises `SocketPacketError`.
    """
    if not isinstance(packet, Packet):
        raise SocketPacketError(f"not a packet but a {type(packet).__name__}")
    type_, namespace, ack_id = packet.type, packet.namespace, packet.ack_id
    if not isinstance(type_, int) or isinstance(type_, bool) or type_ not in WHOLE_TYPES:
        raise SocketPacketError(f"unknown packet type {type_!r:.20}")
    packet.type = type_ = PacketType(type_)
    if not isinstance(namespace, str) or not namespace.startswith("/"):
        raise SocketPacketError("a namespace must be a text that starts with a slash")
    if len(namespace) > limits.max_namespace_length:
        raise SocketPacketError("the namespace's name is too long")
    if NOT_IN_NAMES.search(namespace) is not None:
        raise SocketPacketError("a namespace's name has no comma and no half of a character")
    if ack_id is None:
        if type_ is PacketType.ACK:
            raise SocketPacketError("an acknowledgement without an id")
    elif not isinstance(ack_id, int) or isinstance(ack_id, bool) or not 0 <= ack_id <= MAX_ACK_ID:
        raise SocketPacketError("an acknowledgement id must be an integer that JavaScript counts with")
    if type_ is PacketType.CONNECT and n_bytes > limits.max_auth_bytes:
        raise SocketPacketError("the auth object is too large")
    check_payload(type_, packet.data, limits)


def is_event_name(name: Any, limits: Limits) -> bool:
    """Whether a client may send an event of this name: a text that is not reserved, or a number."""
    if isinstance(name, bool) or not isinstance(name, str | int | float):
        return False
    return name not in RESERVED_EVENTS and len(event_name(name)) <= limits.max_event_name


def event_name(name: str | float) -> str:
    """Return the text by which an event is looked up: that of a number is JavaScript's, so 1.0 is "1"."""
    if isinstance(name, float) and name.is_integer() and abs(name) < MAX_PLAIN_NUMBER:
        name = int(name)
    return str(name)
