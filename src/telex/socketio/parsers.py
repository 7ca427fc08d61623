"""The JSON parser: packets to messages and back, with binary attachments.

Rule of this module: sans-I/O. Nothing is decoded whose size, depth or number of parts is not bounded before.

Bytes inside the data travel as messages of their own, right behind the text; in the JSON each leaves a placeholder,
`{"_placeholder":true,"num":<index>}`. So one packet is one text message and as many binary ones as it has attachments.

Source: Socket.IO protocol v5, "Packet encoding"; RFC 8259.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from telex.errors import SocketPacketError
from telex.limits import Limits
from telex.socketio.events import SCALAR_TYPES
from telex.socketio.fastpath import has_digits, is_plain
from telex.socketio.packets import Head, Packet, PacketType, check_payload, format_head, parse_head
from telex.types import Data

__all__ = ["JSON", "Decoder", "JsonParser", "encode"]

BYTES_TYPES = (bytes, bytearray, memoryview)
WITH_ATTACHMENTS = {PacketType.EVENT: PacketType.BINARY_EVENT, PacketType.ACK: PacketType.BINARY_ACK}
WITHOUT_ATTACHMENTS = {binary: plain for plain, binary in WITH_ATTACHMENTS.items()}


def as_builtin(data: Any) -> str:
    """Turn what msgspec does not know into what it knows: a subclass of `str` is a text."""
    if isinstance(data, str):
        return str.__str__(data)
    raise TypeError(f"an object of type {type(data).__name__} cannot be sent")


_encoder = msgspec.json.Encoder(enc_hook=as_builtin)
_decoder = msgspec.json.Decoder()

# Where escapes are out of the way. Content with a string that never ends, it never fails and looks at nothing twice.
STRINGS = re.compile(r'"[^"]*"?')

# The escape of half a character: a high surrogate with no low one behind it, or a low one with no high one before it.
LONE_SURROGATES = re.compile(
    r"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)


def encode(type_: PacketType, namespace: str, data: Any = None, ack_id: int | None = None) -> list[Data]:
    """Write one packet: the text, then its attachments.

    Besides what JSON knows, `data` may hold bytes anywhere, and whatever msgspec can turn into these (structs,
    dataclasses, dates, UUIDs, enums).
    **Ownership**: `bytes` are sent as they are; `bytearray` and `memoryview` are copied now, so they may change later.
    Raises `TypeError` for what cannot be sent, and `ValueError` for data shaped like a placeholder beside real bytes,
    for text with a lone surrogate, and for data that is nested too deeply or holds itself.
    """
    attachments: list[Data] = []
    try:
        if type_ in WITH_ATTACHMENTS:
            data = take_attachments(data, attachments)
            if attachments:
                type_ = WITH_ATTACHMENTS[type_]
        elif contains_bytes(data):
            raise TypeError(f"a packet of type {type_.name} cannot carry bytes")
        text = "" if data is None else _encoder.encode(data).decode()
    except RecursionError as error:
        raise ValueError("the data is nested too deeply, or holds itself") from error
    return [format_head(type_, namespace, ack_id, len(attachments)) + text, *attachments]


class JsonParser:
    """The protocol's own parser, which every client has: JSON, and bytes as attachments."""

    __slots__ = ()

    def encode(self, packet: Packet) -> list[Data]:
        """Return the messages of a packet. Raises as `encode`."""
        return encode(packet.type, packet.namespace, packet.data, packet.ack_id)

    def decoder(self, limits: Limits) -> Decoder:
        """Return what decodes one packet."""
        return Decoder(limits)


JSON = JsonParser()
"""The one that servers use: what is known to be JSON may take the short way."""


def take_attachments(data: Any, attachments: list[Data]) -> Any:
    """Return `data` with each bytes object moved into `attachments`; the same object where there are none."""
    if is_plain(data):
        return data
    # Structs, dataclasses and other objects become plain containers, whose bytes can then be found.
    plain = msgspec.to_builtins(data, builtin_types=BYTES_TYPES, str_keys=True, enc_hook=as_builtin)
    if not contains_bytes(plain):
        return plain
    return replace_bytes(plain, attachments)


def contains_bytes(data: Any) -> bool:
    """Whether there are bytes anywhere in plain data."""
    if isinstance(data, dict):
        data = data.values()
    elif not isinstance(data, (list, tuple)):  # a tuple of types is quicker than their union
        return isinstance(data, BYTES_TYPES)
    for item in data:  # noqa: SIM110  # a generator takes twice as long
        # Most are scalars; a call for each would cost more than all the rest of the encoding.
        if type(item) not in SCALAR_TYPES and contains_bytes(item):
            return True
    return False


def replace_bytes(data: Any, attachments: list[Data]) -> Any:
    """Return a copy of plain data with placeholders, and collect the bytes in order."""
    if isinstance(data, BYTES_TYPES):
        attachments.append(bytes(data))
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(data, dict):
        if data.get("_placeholder") is True:
            raise ValueError("data with a true '_placeholder' cannot be sent beside bytes: the peer would confuse them")
        return {key: replace_bytes(value, attachments) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [replace_bytes(item, attachments) for item in data]
    return data


class Decoder:
    """Turn the messages of one connection into packets.

    At most one packet is unfinished at a time, since its attachments follow it directly.
    """

    __slots__ = ("_attachments", "_bytes_left", "_head", "_limits", "_payload")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._head: Head | None = None  # of the packet whose attachments are awaited
        self._payload: Any = None
        self._attachments: list[bytes] = []
        self._bytes_left = 0

    @property
    def is_waiting(self) -> bool:
        """Whether attachments are awaited; they have a deadline (`Limits.attachment_timeout`)."""
        return self._head is not None

    @property
    def namespace(self) -> str:
        """The namespace of the packet whose attachments are awaited; empty where none are."""
        return "" if self._head is None else self._head.namespace

    def add(self, message: Data) -> Packet | None:
        """Take one message; return the packet that it completes, if it does.

        Raises `SocketPacketError`; the connection is then beyond repair.
        """
        if isinstance(message, str):
            return self._add_text(message)
        return self._add_attachment(message)

    def reset(self) -> None:
        """Forget an unfinished packet."""
        self._head = None
        self._payload = None
        self._attachments = []

    def _add_text(self, text: str) -> Packet | None:
        if self._head is not None:
            raise SocketPacketError("a text message came where an attachment was awaited")
        limits = self._limits
        head = parse_head(text, limits)
        payload = None
        if len(text) > head.json_start:
            json = text[head.json_start :]
            if head.type is PacketType.CONNECT and len(json.encode(errors="replace")) > limits.max_auth_bytes:
                raise SocketPacketError("the auth object is too large")
            payload = parse_json(json, limits)
            if payload is None:
                raise SocketPacketError("a payload of null")
        check_payload(head.type, payload, limits)
        if head.n_attachments:
            self._head, self._payload = head, payload
            self._bytes_left = limits.max_attachment_bytes
            return None
        if head.type in WITHOUT_ATTACHMENTS:  # announced none: complete as it stands, and without placeholders
            put_attachments(payload, [])
        return Packet(WITHOUT_ATTACHMENTS.get(head.type, head.type), head.namespace, payload, head.ack_id)

    def _add_attachment(self, data: bytes) -> Packet | None:
        head = self._head
        if head is None:
            raise SocketPacketError("a binary message came where none was awaited")
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise SocketPacketError("the attachments are too large")
        self._attachments.append(data)
        if len(self._attachments) < head.n_attachments:
            return None
        payload = self._payload
        put_attachments(payload, self._attachments)
        self.reset()
        return Packet(WITHOUT_ATTACHMENTS[head.type], head.namespace, payload, head.ack_id)


def put_attachments(payload: Any, attachments: list[bytes]) -> None:
    """Replace each placeholder in a payload by its attachment; several may name one, and then share it."""
    containers: list[Any] = [payload]
    while containers:
        container = containers.pop()
        for key, value in container.items() if isinstance(container, dict) else enumerate(container):
            if isinstance(value, dict) and value.get("_placeholder") is True:
                index = value.get("num")
                # Anything but a plain index in range is an attack on parsers that look it up (type first: True == 1).
                if type(index) is not int or not 0 <= index < len(attachments):
                    raise SocketPacketError("a placeholder without an attachment")
                container[key] = attachments[index]
            elif isinstance(value, dict | list):
                containers.append(value)


def parse_json(text: str, limits: Limits) -> Any:
    """Read JSON within bounds of depth, number of values and digits.

    The bounds are checked before anything is built. Cheap counts come first: only text that could cross a bound is
    scanned, and that in linear time.
    A lone surrogate, which is what JavaScript sends of an emoji cut in two, becomes U+FFFD: one client's typo must
    neither end its connection nor make a later broadcast of that text fail.
    Raises `SocketPacketError`.
    """
    n_openings = text.count("[") + text.count("{")
    if n_openings > limits.max_json_depth or n_openings + text.count(",") >= limits.max_json_nodes:
        check_structure(text, limits)
    try:
        if len(text) > limits.max_number_digits:
            check_digits(text, limits.max_number_digits)
        return _decoder.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        mended = mend_surrogates(text)
        if mended == text:
            raise SocketPacketError(f"the payload is not valid JSON: {error}") from error
    return parse_json(mended, limits)


def mend_surrogates(text: str) -> str:
    """Replace the escapes of lone surrogates.

    An escaped backslash is no beginning of one, so those are out of the way meanwhile, behind a character that JSON
    does not know.
    """
    if "\0" in text:
        return text
    return LONE_SURROGATES.sub(r"\\ufffd", text.replace(r"\\", "\0")).replace("\0", r"\\")


def strip_strings(text: str) -> str:
    """Return JSON without its strings, in linear time.

    Outside of strings there is no backslash, or the decoder will refuse the text when it gets there; up to there this
    is exact.
    """
    return STRINGS.sub("", text.replace(r"\\", "").replace(r"\"", ""))


def check_structure(text: str, limits: Limits) -> None:
    """Measure depth and number of values, strings left aside.

    Each comma and each opening bracket stands for one value, and one more is the last or the only one.
    """
    bare = strip_strings(text)
    if bare.count("[") + bare.count("{") + bare.count(",") >= limits.max_json_nodes:
        raise SocketPacketError("the payload has too many values")
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", bare):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > limits.max_json_depth:
            raise SocketPacketError("the payload is nested too deeply")
        if depth < 0:
            return  # no JSON, as the decoder will say


def check_digits(text: str, maximum: int) -> None:
    """Find a number of too many digits, strings left aside."""
    if has_digits(text, maximum) and has_digits(strip_strings(text), maximum):
        raise SocketPacketError("the payload has a number of too many digits")
