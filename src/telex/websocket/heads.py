"""Read and write the heads of HTTP/1.1 messages: as much of HTTP as an opening handshake needs.

Rule of this module: the syntax of RFC 9110 and 9112 for a request without a body and for its response; what a head
means to WebSocket is `handshake.py`. No I/O, no clock. A peer's bad head is a `HandshakeError` with the status to
answer; what the program wants written and HTTP cannot carry is a `ValueError`, raised before a byte leaves.

Theory of operation. A reader takes bytes until it has a head, judging line by line: a line or a head that is too long
is refused as soon as that is certain, and every byte is looked at once. Syntax is strict where leniency has been a way
to smuggle requests past somebody: line ends are CR LF, nothing is folded, no control characters, no space before the
colon.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote

from telex.errors import HandshakeError
from telex.limits import Limits
from telex.types import Headers

__all__ = ["CONTROL", "DIGITS", "TCHAR", "TOKEN", "Request", "RequestReader", "Response", "ResponseReader", "elements"]

# Possessive quantifiers keep every pattern linear in what a peer sends.
TCHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
"""A character of a token (RFC 9110 §5.6.2), as a pattern."""
TOKEN = re.compile(rf"{TCHAR}++")
"""A token."""
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
"""A control character."""
DIGITS = re.compile(r"[0-9]++")
"""A number, in ASCII and without a sign."""
_FIELD_NAME = re.compile(TOKEN.pattern.encode())
_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+")  # RFC 9110 §5.5, without control characters
_C1_CONTROL = re.compile(r"[\x80-\x9f]")
_REQUEST_LINE = re.compile(rf"({TCHAR}++) ([!-~]++) HTTP/([0-9])\.([0-9])")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*+))?")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[ \t;][^\r\n]*+)?\r\n")


@dataclass(frozen=True, slots=True)
class Request:
    """Be the head of a request. `target` is as it was sent: path and query, still escaped."""

    method: str
    target: str
    headers: Headers

    @property
    def path(self) -> str:
        """Return the path, unescaped. It may hold `..` and `//`: compare it, do not resolve it."""
        return unquote(self.target.partition("?")[0])

    @property
    def query(self) -> str:
        """Return what follows the question mark, still escaped."""
        return self.target.partition("?")[2]

    def encode(self) -> bytes:
        """Return the request as it goes on the wire; raises `ValueError` for anything HTTP cannot carry."""
        line = f"{self.method} {self.target} HTTP/1.1"
        if not _REQUEST_LINE.fullmatch(line):
            raise ValueError(f"not a request line: {line!r}")
        return _encode_head(line, self.headers)

    def pack(self) -> bytes:
        """Return a sound head as compact bytes for `unpack`: a connection keeps it for as long as it lives."""
        return _pack(f"{self.method} {self.target}", self.headers)

    @classmethod
    def unpack(cls, packed: bytes) -> Request:
        """Return what was packed."""
        line, headers = _unpack(packed)
        method, target = line.split(" ")
        return cls(method, target, headers)


@dataclass(frozen=True, slots=True)
class Response:
    """Be a response."""

    status: int
    reason: str
    headers: Headers
    body: bytes = b""

    def encode(self) -> bytes:
        """Return the response as it goes on the wire; raises `ValueError` for anything HTTP cannot carry."""
        line = f"HTTP/1.1 {self.status} {self.reason}"
        if not _STATUS_LINE.fullmatch(line):
            raise ValueError(f"not a status line: {line!r}")
        return _encode_head(line, self.headers) + self.body

    def pack(self) -> bytes:
        """Return a sound head as compact bytes for `unpack`; the body is not kept."""
        return _pack(f"{self.status} {self.reason}", self.headers)

    @classmethod
    def unpack(cls, packed: bytes) -> Response:
        """Return what was packed."""
        line, headers = _unpack(packed)
        status, _, reason = line.partition(" ")
        return cls(int(status), reason, headers)


# What every handshake says, as one character each: control characters, of which no head holds any. Names come as the
# peer wrote them, or in lower case from servers that change them.
_COMMON = (
    "101 Switching Protocols\nUpgrade:websocket\nConnection:Upgrade\nSec-WebSocket-Accept:",
    "?EIO=4&transport=websocket",
    " AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
)
_COMMON_FIELDS = (
    "\nUpgrade:websocket",
    "\nConnection:Upgrade",
    "\nSec-WebSocket-Version:13",
    "\nSec-WebSocket-Key:",
    "\nSec-WebSocket-Extensions:permessage-deflate; client_max_window_bits",
    "\nAccept-Encoding:gzip, deflate, br",
    "\nAccept-Language:",
    "\nCache-Control:no-cache",
    "\nPragma:no-cache",
    "\nUser-Agent:Mozilla/5.0 (",
    "\nOrigin:http",
    "\nHost:",
)


def _lower_name(field: str) -> str:
    name, _, value = field.partition(":")
    return f"{name.lower()}:{value}"


_CODES = [chr(code) for code in range(0x20) if chr(code) not in "\0\t\n\r"]
_SHORT = dict(zip((*_COMMON, *_COMMON_FIELDS, *map(_lower_name, _COMMON_FIELDS)), _CODES, strict=False))
_LONG = {short: text for text, short in _SHORT.items()}
_SHORT_CHARACTER = re.compile(f"[{''.join(_LONG)}]")


# The same by the field's name, with what its value must begin with.
_SHORT_FIELDS: dict[str, tuple[str, str]] = {
    name.removeprefix("\n"): (value, _SHORT[f"{name}:{value}"])
    for name, _, value in [field.partition(":") for field in (*_COMMON_FIELDS, *map(_lower_name, _COMMON_FIELDS))]
}


def _shorten_fields(line: str, fields: Iterable[tuple[str, str]]) -> str:
    pieces = [line]
    for name, value in fields:
        found = _SHORT_FIELDS.get(name)
        if found is not None and value.startswith(found[0]):
            pieces.append(found[1] + value[len(found[0]) :])
        else:
            pieces.append(f"\n{name}:{value}")
    return "".join(pieces)


def _parts(text: str) -> tuple[str, list[tuple[str, str]]]:
    line, *fields = text.split("\n")
    return line, [(name, value) for name, _, value in [field.partition(":") for field in fields]]


_SHORT_COMMON = {_shorten_fields(*_parts(text)): _SHORT[text] for text in _COMMON}


def _pack(line: str, headers: Headers) -> bytes:
    """Return a line and fields that have been checked: none of them holds a line break, nor a name a colon."""
    text = _shorten_fields(line, headers)
    for long, short in _SHORT_COMMON.items():
        if long in text:
            text = text.replace(long, short)
    return text.encode("latin-1")


def _unpack(packed: bytes) -> tuple[str, Headers]:
    text = _SHORT_CHARACTER.sub(lambda match: _LONG[match[0]], packed.decode("latin-1"))
    line, fields = _parts(text)
    return line, Headers(fields)


def _encode_head(line: str, headers: Headers) -> bytes:
    """Return a head; raise `ValueError` for a field that would not come out as one line with that name and value."""
    lines, names, values = [line], [], []
    for name, value in headers:
        lines.append(f"{name}: {value}")
        names.append(name or " ")  # which no name holds
        values.append(value)
    # Beyond Latin-1 there is no way to write it (RFC 9110 §5.5); the error is a ValueError.
    if not (TOKEN.fullmatch("".join(names) or "-") and _FIELD_VALUE.fullmatch("".join(values).encode("latin-1"))):
        wrong = [field for field in headers if not _is_field(*field)]
        raise ValueError("not a header field: {!r}: {!r}".format(*wrong[0]))
    lines += ("", "")
    return "\r\n".join(lines).encode("latin-1")


def _is_field(name: str, value: str) -> bool:
    return TOKEN.fullmatch(name) is not None and _FIELD_VALUE.fullmatch(value.encode("latin-1")) is not None


def elements(headers: Headers, name: str) -> list[str]:
    """Return the elements of a list field, in lower case; several lines are one list (RFC 9110 §5.3)."""
    return [item for part in headers.get(name, "").split(",") if (item := part.strip(" \t").lower())]


@dataclass(slots=True)
class _Head:
    """Be a start line and header fields whose syntax is sound."""

    start: str
    headers: Headers = field(default_factory=Headers)


class _HeadReader:
    """Read a head line by line.

    **Limits**: `max_request_line`, `max_header_line`, `max_headers`, `max_header_bytes`. Cost: linear, in any split.
    Source: RFC 9112 §2.2, §5.
    """

    __slots__ = ("_buffer", "_head", "_limits", "_n_bytes", "leftover")

    def __init__(self, limits: Limits) -> None:
        self.leftover = b""
        self._limits = limits
        self._buffer = bytearray()  # the line that is not complete
        self._head: _Head | None = None  # what is complete
        self._n_bytes = 0  # of the header lines that are complete

    def read_head(self, data: bytes) -> _Head | None:
        """Take bytes; return the head when it is complete, and leave what follows it in `leftover`."""
        if not self._buffer and self._head is None:
            head = self._read_at_once(data)
            if head is not None:
                return head
        buffer = self._buffer
        unseen = len(buffer)
        buffer += data
        begin = 0
        while (end := buffer.find(b"\n", unseen)) >= 0:
            line = bytes(buffer[begin : end + 1])
            begin = unseen = end + 1
            self._check_length(len(line) - 2)
            if not line.endswith(b"\r\n"):
                raise HandshakeError(400, "A line does not end with CR LF.")
            if self._head is None:
                self._head = _Head(line[:-2].decode("latin-1"))
            elif line == b"\r\n":
                self.leftover = bytes(buffer[begin:])
                self._buffer = bytearray()
                return self._head
            else:
                self._add_field(self._head.headers, line[:-2])
        del buffer[:begin]
        if buffer:
            if self._head is None and not buffer[:1].isalpha():
                # A TLS client, or anything else that will never send a line: no need to wait for one.
                raise HandshakeError(400, "This is not HTTP.")
            self._check_length(len(buffer) - buffer.endswith(b"\r"))
        return None

    def _read_at_once(self, data: bytes) -> _Head | None:
        """Read a head that is there whole, plainly right and within each bound by its size alone; None for all else."""
        limits = self._limits
        end = data.find(b"\r\n\r\n")
        if end < 0 or end > min(limits.max_request_line, limits.max_header_line, limits.max_header_bytes):
            return None
        try:
            text = data[:end].decode("ascii")
        except UnicodeDecodeError:
            return None
        start, *lines = text.split("\r\n")
        if len(lines) > limits.max_headers or not "".join((start, *lines)).replace("\t", " ").isprintable():
            return None
        items = []
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name:
                return None
            items.append((name, value.strip(" \t")))
        if items and not TOKEN.fullmatch("".join([name for name, _ in items])):
            return None
        self.leftover = data[end + 4 :]
        return _Head(start, Headers(items))

    def _check_length(self, size: int) -> None:
        """Refuse a line of this size, complete or not."""
        limits = self._limits
        if self._head is None:
            if size > limits.max_request_line:
                raise HandshakeError(414, f"The request line is longer than {limits.max_request_line} bytes.")
        elif size > limits.max_header_line:
            raise HandshakeError(431, f"A header line is longer than {limits.max_header_line} bytes.")
        elif self._n_bytes + size > limits.max_header_bytes:
            raise HandshakeError(431, f"The header is longer than {limits.max_header_bytes} bytes.")

    def _add_field(self, headers: Headers, line: bytes) -> None:
        """Add one header field (RFC 9112 §5)."""
        self._n_bytes += len(line) + 2
        if len(headers) >= self._limits.max_headers:
            raise HandshakeError(431, f"There are more than {self._limits.max_headers} header lines.")
        name, colon, value = line.partition(b":")
        if not colon or not _FIELD_NAME.fullmatch(name):
            raise HandshakeError(400, "A header line has no proper name.")
        text = value.strip(b" \t")
        if not _FIELD_VALUE.fullmatch(text) or (not text.isascii() and _has_c1_control(text)):
            raise HandshakeError(400, "A header value has a control character.")
        headers.add(name.decode("ascii"), text.decode("latin-1"))


def _has_c1_control(value: bytes) -> bool:
    """Tell whether a value beyond ASCII holds U+0080 to U+009F, read as UTF-8 where it is that.

    Some of them end a line for careless code further up; in UTF-8 the same bytes are parts of ordinary letters.
    """
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return _C1_CONTROL.search(text) is not None


class RequestReader:
    """Read the request that opens a connection.

    `leftover` holds what came after it: the beginning of the peer's frames, if it is in a hurry. It becomes input of
    the connection after the 101 and is never read as another request.
    """

    __slots__ = ("_head", "_is_done", "_limits")

    def __init__(self, limits: Limits) -> None:
        self._head = _HeadReader(limits)
        self._limits = limits
        self._is_done = False

    @property
    def leftover(self) -> bytes:
        """Return the bytes that came after the request."""
        return self._head.leftover

    def feed(self, data: bytes) -> Request | None:
        """Take bytes and return the request when it is complete; after that only collect `leftover`.

        Raises `HandshakeError` 400, 414, 431 or 505, after which the reader must not be used.
        **Limits**: those of the head; `max_header_bytes` bounds `leftover`.
        """
        if self._is_done:
            self._head.leftover += data
            self._check_leftover()
            return None
        head = self._head.read_head(data)
        if head is None:
            return None
        self._is_done = True
        self._check_leftover()
        return _parse_request(head)

    def _check_leftover(self) -> None:
        if len(self.leftover) > self._limits.max_header_bytes:
            raise HandshakeError(400, "Too much was sent before the handshake was answered.")


def _parse_request(head: _Head) -> Request:
    """Return the request a head stands for (RFC 9112 §3)."""
    match = _REQUEST_LINE.fullmatch(head.start)
    if match is None:
        raise HandshakeError(400, "The request line is malformed.")
    method, target, major, minor = match.groups()
    if (major, minor) < ("1", "1") or major > "1":  # RFC 6455 §4.1: "HTTP version MUST be at least 1.1"
        raise HandshakeError(505, "HTTP/1.1 is needed.")
    # What a proxy would be sent (absolute and authority form) and `*` do not belong here.
    if not target.startswith("/") or "#" in target or _BAD_ESCAPE.search(target):
        raise HandshakeError(400, "The request target is malformed.")
    try:
        path = unquote(target.partition("?")[0], errors="strict")
        unquote(target.partition("?")[2], errors="strict")
    except UnicodeDecodeError:
        raise HandshakeError(400, "The request target is not UTF-8.") from None
    if CONTROL.search(path):
        raise HandshakeError(400, "The request target has a control character.")
    return Request(method, target, head.headers)


class ResponseReader:
    """Read the response to a client's opening handshake.

    A 101 is complete with its head, and `leftover` holds the server's first frames. Any other response is read with
    its body, as far as it helps to understand the refusal.
    **Limits**: those of the head, and `max_error_body`.

    Args: `is_head_enough` takes every response for complete with its head, as one to CONNECT is.
    """

    __slots__ = ("_body", "_expected", "_head", "_is_chunked", "_is_head_enough", "_limits", "_response")

    def __init__(self, limits: Limits, *, is_head_enough: bool = False) -> None:
        self._is_head_enough = is_head_enough
        self._head = _HeadReader(limits)
        self._limits = limits
        self._response: Response | None = None  # its head, while the body is read
        self._body = bytearray()
        self._expected = limits.max_error_body
        self._is_chunked = False

    @property
    def leftover(self) -> bytes:
        """Return the bytes that came after a head which is the whole response."""
        return self._head.leftover

    def feed(self, data: bytes) -> Response | None:
        """Take bytes and return the response when it is complete. Raises `HandshakeError` 502 where it is no HTTP."""
        if self._response is None:
            try:
                head = self._head.read_head(data)
            except HandshakeError as error:
                raise HandshakeError(502, f"The server's response is malformed: {error.reason}") from None
            if head is None:
                return None
            self._response = _parse_response(head)
            if self._is_head_enough or self._response.status == HTTPStatus.SWITCHING_PROTOCOLS:
                return self._response
            self._measure_body(self._response)
            data, self._head.leftover = self._head.leftover, b""
        self._body += data
        if len(self._body) >= self._expected or (self._is_chunked and self._body.endswith(b"0\r\n\r\n")):
            return self._complete(self._response)
        return None

    def receive_eof(self) -> Response:
        """Return the response that ends here. Raises `HandshakeError` 502, from `EOFError`, where its head does not."""
        if self._response is None:
            raise HandshakeError(502, "The server ended the connection without an answer.") from EOFError()
        return self._complete(self._response)

    def _measure_body(self, response: Response) -> None:
        """Find out how the body ends (RFC 9112 §6.3): by length, by a last chunk, or with the connection."""
        length = response.headers.get("Content-Length", "")
        if response.status < HTTPStatus.OK or response.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            self._expected = 0
        elif "Transfer-Encoding" in response.headers:
            self._is_chunked = "chunked" in elements(response.headers, "Transfer-Encoding")
        elif DIGITS.fullmatch(length) and len(length) <= len(str(self._expected)):
            self._expected = min(int(length), self._expected)

    def _complete(self, response: Response) -> Response:
        body = bytes(self._body[: self._expected])
        if self._is_chunked:
            body = _join_chunks(body)
        return Response(response.status, response.reason, response.headers, body)


def _parse_response(head: _Head) -> Response:
    """Return the response a head stands for (RFC 9112 §4)."""
    match = _STATUS_LINE.fullmatch(head.start)
    if match is None:
        raise HandshakeError(502, "The server's response is malformed: it has no status line.")
    minor, status, reason = match.groups()
    if int(status) == HTTPStatus.SWITCHING_PROTOCOLS and minor == "0":
        raise HandshakeError(502, "The server switched protocols in HTTP/1.0.")
    return Response(int(status), reason or "", head.headers)


def _join_chunks(data: bytes) -> bytes:
    """Return what of a chunked body is there (RFC 9112 §7.1); it may be cut off, and nothing depends on it."""
    chunks: list[bytes] = []
    position = 0
    while (match := _CHUNK_SIZE.match(data, position)) and (size := int(match[1], 16)):
        chunks.append(data[match.end() : match.end() + size])
        position = match.end() + size + 2
    return b"".join(chunks)
