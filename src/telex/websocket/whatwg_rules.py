"""What the WHATWG's WebSocket interfaces demand of a program, and how they count what has not left yet.

Rule of this module: sans-I/O; the standard's checks and conversions, for both interfaces. What RFC 6455 says of the
same things stands in `handshake.py` and `frames.py`.

Source: WHATWG WebSockets Standard, "The WebSocket interface"; the URL Standard; Web IDL, `USVString`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple
from urllib.parse import urlsplit

from telex.errors import DOMSyntaxError, InvalidAccessError
from telex.types import Data
from telex.websocket.handshake import parse_url
from telex.websocket.heads import TOKEN

__all__ = ["Address", "ReadyState", "Unsent", "check_close", "check_protocols", "parse_address", "to_scalars"]

MAX_REASON_BYTES = 123
"""What fits into a Close frame beside the code (RFC 6455 §5.5)."""

NORMAL = 1000
"""The one code of RFC 6455's own that a program may use."""
PRIVATE = range(3000, 5000)
"""The codes that libraries and programs may use (RFC 6455 §7.4.2)."""

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_C0_AND_SPACE = "".join(map(chr, range(0x21)))
_ONE_DOT = frozenset({".", "%2e"})
_TWO_DOTS = frozenset({"..", ".%2e", "%2e.", "%2e%2e"})


class ReadyState(IntEnum):
    """Be the state of a WHATWG WebSocket."""

    CONNECTING = 0
    """The connection has not been established yet."""
    OPEN = 1
    """Messages go both ways."""
    CLOSING = 2
    """The closing handshake has begun, or `close` was called."""
    CLOSED = 3
    """The connection is gone, or there never was one."""


class Address(NamedTuple):
    """Be where a WebSocket leads: its `url`, serialized, and the origin of that, as message events tell it."""

    url: str
    origin: str


def parse_address(text: str) -> Address:
    """Read a URL as the standard does: `http` and `https` stand for `ws` and `wss`, dots in the path are resolved.

    Raises `DOMSyntaxError` for a fragment, another scheme, and what `parse_url` refuses. There is no base, so a
    relative URL is refused too.
    """
    text = text.strip(_C0_AND_SPACE)
    if "#" in text:
        raise DOMSyntaxError("a WebSocket URL has no fragment")
    try:
        parts = urlsplit(text)
        scheme = _SCHEMES.get(parts.scheme)
        if scheme is None:
            raise DOMSyntaxError(f"a WebSocket URL begins with ws, wss, http or https, not {parts.scheme!r}")
        where = parse_url(parts._replace(scheme=scheme, path=_without_dots(parts.path)).geturl())
    except ValueError as error:
        if isinstance(error, DOMSyntaxError):
            raise
        raise DOMSyntaxError(str(error)) from error
    origin = f"{scheme}://{where.authority}"
    return Address(origin + where.target, origin)


def _without_dots(path: str) -> str:
    """Resolve `.` and `..` (URL Standard, "path state")."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for index, segment in enumerate(segments):
        is_last = index == len(segments) - 1
        folded = segment.lower()
        if folded in _TWO_DOTS:
            del kept[-1:]
        elif folded not in _ONE_DOT:
            kept.append(segment)
            continue
        if is_last:
            kept.append("")  # what ends with dots names a folder
    return "/" + "/".join(kept)


def check_protocols(protocols: str | Iterable[str]) -> tuple[str, ...]:
    """Return the subprotocols to offer; one string stands for itself.

    Raises `DOMSyntaxError` for one that is no token, or is there twice.
    """
    names = (protocols,) if isinstance(protocols, str) else tuple(protocols)
    for name in names:
        if not TOKEN.fullmatch(name):
            raise DOMSyntaxError(f"not a subprotocol: {name!r}")
    if len(set(names)) < len(names):
        raise DOMSyntaxError("a subprotocol is named twice")
    return names


def check_close(code: int | None, reason: str) -> tuple[int | None, str]:
    """Return what is to stand in the Close frame: None for a frame without a body.

    A reason without a code gets 1000, for a frame cannot hold it alone.
    Raises `InvalidAccessError` for a code that is neither 1000 nor 3000 to 4999, `DOMSyntaxError` for a reason of more
    than 123 bytes, `TypeError` for what is no number or no text.
    """
    if code is not None:
        if not isinstance(code, int):
            raise TypeError(f"a close code is an int, not {type(code).__name__}")
        if code != NORMAL and code not in PRIVATE:
            raise InvalidAccessError(f"a close code is 1000 or 3000 to 4999, not {code}")
    if not isinstance(reason, str):
        raise TypeError(f"a reason is text, not {type(reason).__name__}")
    reason = to_scalars(reason)
    if len(reason.encode()) > MAX_REASON_BYTES:
        raise DOMSyntaxError(f"a reason has at most {MAX_REASON_BYTES} bytes in UTF-8")
    return (NORMAL if code is None and reason else code), reason


def to_scalars(text: str) -> str:
    """Return text that UTF-8 can carry: two surrogates that belong together are joined, lone ones become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Unsent:
    """Count the program's bytes that have not been transmitted: `buffered_amount`.

    The standard counts application data, and neither framing nor what the operating system holds; what was sent in the
    present task counts whole until that is over, so a program sees the same whether or not bytes could leave meanwhile.
    Frames are known by where in the output they end. Memory: an entry for each message that has not left.
    """

    __slots__ = ("_frames", "_n_bytes", "_n_never", "_n_new")

    def __init__(self) -> None:
        self._frames: deque[tuple[int, int, int]] = deque()  # where it ends in the output; its size; the message's
        self._n_bytes = 0  # of the messages in `_frames`
        self._n_new = 0  # frames of the present task
        self._n_never = 0  # bytes that never leave

    def add(self, n_bytes: int, frame_bytes: int, end: int) -> bool:
        """Count a message that was sent in a frame which ends there; tell whether it is the first in this task."""
        self._frames.append((end, frame_bytes, n_bytes))
        self._n_bytes += n_bytes
        self._n_new += 1
        return self._n_new == 1

    def add_never(self, n_bytes: int) -> None:
        """Count a message that is not sent."""
        self._n_never += n_bytes

    def end_task(self, n_gone: int) -> None:
        """Note that the present task is over; so many bytes of the output have been transmitted."""
        self._n_new = 0
        self.amount(n_gone)

    def lose(self, n_gone: int) -> None:
        """Note that nothing more is transmitted: what is left stays in the count for ever."""
        self._n_new = 0
        self._n_never = self.amount(n_gone)
        self._frames.clear()
        self._n_bytes = 0

    def amount(self, n_gone: int) -> int:
        """Return the bytes, `n_gone` bytes of the output having been transmitted. Cost: O(frames that have left)."""
        frames = self._frames
        while len(frames) > self._n_new and frames[0][0] <= n_gone:
            self._n_bytes -= frames.popleft()[2]
        amount = self._n_bytes + self._n_never
        if len(frames) > self._n_new:
            end, frame_bytes, n_bytes = frames[0]
            n_left = end - n_gone
            if n_left < frame_bytes:  # it has left in part; of one that is compressed, as much is counted
                amount -= n_bytes - (
                    min(n_left, n_bytes) if n_bytes <= frame_bytes else n_bytes * n_left // frame_bytes
                )
        return amount


def size_in_utf8(message: Data | bytearray | memoryview) -> int:
    """Return the bytes that a message is on the wire, framing aside."""
    if isinstance(message, str):
        return len(message) if message.isascii() else len(message.encode())
    return message.nbytes if isinstance(message, memoryview) else len(message)
