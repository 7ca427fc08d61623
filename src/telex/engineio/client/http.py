"""A small client of HTTP/1.1: requests on connections that are kept, and answers that are bounded.

Rule of this module: h11 reads and writes, `dial` connects; what is asked for and what an answer means is the caller's.

Theory of operation. A connection has one request under way at a time, and is kept when its answer is whole and its
server does not close it. What a server may make of an answer is bounded on the way in: its head, its headers, its body
as it comes and as it is inflated. A kept connection may be closed by the server in the moment in which we ask again. A
GET is then asked once more on a new one, if nothing of an answer has come; a POST is not, for it may have taken effect:
instead, it uses no connection that has been idle for so long that a server is about to close it.

Source: RFC 9110, RFC 9112 §9.3.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

import h11

from telex.engineio.client.promises import promise
from telex.errors import EnginePacketError, HandshakeError
from telex.limits import Limits
from telex.streams.base import Stream
from telex.types import Headers
from telex.websocket.dialing import Way, dial
from telex.websocket.handshake import Url

__all__ = ["ACCEPT_ENCODING", "Answer", "HttpClient"]

ACCEPT_ENCODING = "gzip, deflate"

WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}

MAX_IDLE_SECONDS = 4.0
"""For how long an idle connection is good for a POST: uvicorn and Node close theirs after five seconds."""

MAX_INTERIM = 16
"""Interim answers (1xx) before the answer itself; one is usual."""

IDLE_CONNECTIONS = 2
"""Connections kept: one polls, one posts."""


class Answer(NamedTuple):
    """Be what a server answered; `body` is inflated, and of a refusal only the beginning (`Limits.max_error_body`)."""

    status: int
    reason: str
    headers: Headers
    body: bytes


class Stale(ConnectionResetError):
    """Say that a kept connection ended before anything of the answer came."""


class HttpClient:
    """Ask one server, or those it redirects to.

    Args: `timeout` in seconds bounds the TLS handshake of a connection; the caller bounds a request.
    **Limits**: `max_server_payload`, `max_error_body`, `max_header_bytes`, `max_headers`.
    """

    __slots__ = ("_idle", "_limits", "_timeout", "_under_way", "_way")

    def __init__(self, way: Way, limits: Limits, *, timeout: float) -> None:
        self._way = way
        self._limits = limits
        self._timeout = timeout
        self._idle: list[_Connection] = []
        self._under_way: dict[str, _Connection] = {}  # by method; there is one request of each at most

    async def ask(self, method: str, where: Url, headers: Iterable[tuple[str, str]], body: bytes = b"") -> Answer:
        """Send a request and return the answer, whatever its status.

        Raises `OSError`; `HandshakeError` 502 for what is no HTTP; `EnginePacketError` for a body that is larger than
        may be, or cannot be inflated. **Cancellation**: the connection is cut.
        """
        connection = self._take(where, may_repeat=method == "GET")
        if connection is not None:
            try:
                return await self._exchange(connection, method, where, headers, body)
            except Stale:
                if method != "GET":
                    raise
        return await self._exchange(await self._connect(where), method, where, headers, body)

    def unsent_bytes(self, method: str) -> int:
        """Return how many bytes of the request under way the operating system has not taken."""
        connection = self._under_way.get(method)
        return 0 if connection is None else connection.unsent_bytes

    def close(self) -> None:
        """Cut every connection."""
        for connection in (*self._idle, *self._under_way.values()):
            connection.abort()
        self._idle.clear()

    def _take(self, where: Url, *, may_repeat: bool) -> _Connection | None:
        """Take a connection that was kept, the one used last."""
        self._idle = [connection for connection in self._idle if not connection.is_over]
        now = asyncio.get_running_loop().time()
        for connection in reversed(self._idle):
            if connection.origin == _origin(where) and (may_repeat or now - connection.idle_since < MAX_IDLE_SECONDS):
                self._idle.remove(connection)
                return connection
        return None

    async def _connect(self, where: Url) -> _Connection:
        connection = _Connection(where, self._limits)
        stream = await dial(where, connection, self._way, self._limits, timeout=self._timeout)
        connection.begin(stream)
        return connection

    async def _exchange(
        self, connection: _Connection, method: str, where: Url, headers: Iterable[tuple[str, str]], body: bytes
    ) -> Answer:
        self._under_way[method] = connection
        try:
            answer = await connection.exchange(method, where, headers, body)
        except BaseException:
            connection.abort()
            raise
        finally:
            del self._under_way[method]
        if not connection.is_over:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
            if len(self._idle) > IDLE_CONNECTIONS:
                self._idle.pop(0).abort()
        return answer


def _origin(where: Url) -> tuple[bool, str, int]:
    return where.is_secure, where.host, where.port


class _Connection:
    """One connection: the sink of its stream."""

    __slots__ = (
        "_answered",
        "_body",
        "_has_answered",
        "_head",
        "_http",
        "_limits",
        "_n_answers",
        "_n_interim",
        "_stream",
        "idle_since",
        "is_over",
        "origin",
    )

    def __init__(self, where: Url, limits: Limits) -> None:
        self.origin = _origin(where)
        self.is_over = False
        self.idle_since = 0.0
        self._limits = limits
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.max_header_bytes)
        self._stream: Stream | None = None
        self._answered: asyncio.Future[Answer] | None = None  # while a request is under way
        self._head: h11.Response | None = None
        self._body: _Body | None = None
        self._has_answered = False  # something of the answer has come
        self._n_answers = 0
        self._n_interim = 0

    def begin(self, stream: Stream) -> None:
        """Take the stream."""
        self._stream = stream

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the operating system has not taken."""
        return 0 if self._stream is None else self._stream.buffered_bytes

    async def exchange(self, method: str, where: Url, headers: Iterable[tuple[str, str]], body: bytes) -> Answer:
        """Ask, and return the answer. Raises as `HttpClient.ask`, and `Stale`."""
        http, stream = self._http, self._stream
        if stream is None or self.is_over:
            raise ConnectionResetError("the connection was lost during its opening")
        self._answered = promise()
        self._has_answered = False
        self._n_interim = 0
        fields = list(headers)
        if not any(name.lower() == "host" for name, _ in fields):
            fields.insert(0, ("Host", where.authority))
        if body or method == "POST":
            fields.append(("Content-Length", str(len(body))))
        request = h11.Request(
            method=method,
            target=where.target,
            headers=[(name.encode("ascii"), value.encode("latin-1")) for name, value in fields],
        )
        pieces = (http.send(request), http.send(h11.Data(data=body)), http.send(h11.EndOfMessage()))
        stream.write(b"".join(piece or b"" for piece in pieces))
        try:
            return await self._answered
        finally:
            self._answered = None

    def abort(self) -> None:
        """Cut it."""
        self.is_over = True
        if self._stream is not None:
            self._stream.abort()

    # What the stream tells.

    def data_received(self, data: bytes) -> None:
        if self._answered is None or self._answered.done():
            self.abort()  # nobody asked
            return
        self._has_answered = True
        self._http.receive_data(data)
        self._read()

    def eof_received(self) -> None:
        self.is_over = True
        if self._has_answered and self._answered is not None and not self._answered.done():
            self._http.receive_data(b"")  # which ends a body without a length
            self._read()
        self._lose(None)
        if self._stream is not None:
            self._stream.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_over = True
        self._lose(error)

    def writing_resumed(self) -> None:
        pass

    # Inside.

    def _lose(self, error: Exception | None) -> None:
        if self._answered is None or self._answered.done():
            return
        if self._n_answers and not self._has_answered:
            error = Stale("the server closed a connection that was kept")
        self._answered.set_exception(error or ConnectionResetError("the server closed the connection"))

    def _read(self) -> None:
        """Take what has come of the answer."""
        try:
            while self._answered is not None and not self._answered.done():
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED or not self._take(event):
                    return
        except h11.RemoteProtocolError as error:
            self._fail(HandshakeError(502, f"the server's answer is no HTTP: {error}"))
        except (HandshakeError, EnginePacketError) as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self.abort()
        if self._answered is not None:
            self._answered.set_exception(error)

    def _take(self, event: object) -> bool:
        """Take one event; `False` after the last."""
        if isinstance(event, h11.InformationalResponse):
            self._n_interim += 1
            if self._n_interim > MAX_INTERIM:
                raise HandshakeError(502, "the server answers without coming to an end")
        elif isinstance(event, h11.Response):
            if len(event.headers) > self._limits.max_headers:
                raise HandshakeError(502, f"the server's answer has more than {self._limits.max_headers} header lines")
            self._head = event
            self._body = _Body(event, self._limits)
        elif isinstance(event, h11.Data) and self._body is not None:
            if not self._body.feed(event.data):
                self.abort()
                self._conclude()
        elif isinstance(event, h11.EndOfMessage):
            self._n_answers += 1
            self._conclude()
            self._renew()
        else:  # the end of the connection
            return False
        return True

    def _conclude(self) -> None:
        head, body, answered = self._head, self._body, self._answered
        self._head = self._body = None
        if head is not None and body is not None and answered is not None:
            answered.set_result(
                Answer(head.status_code, bytes(head.reason).decode("latin-1"), _headers(head), body.finish())
            )

    def _renew(self) -> None:
        """Make ready for another request, where the connection can take one."""
        http = self._http
        if not self.is_over and http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            if not http.trailing_data[0]:
                return
        self.abort()


def _headers(head: h11.Response) -> Headers:
    return Headers([(name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers])


class _Body:
    """Collect the body of an answer, within its bounds."""

    __slots__ = ("_inflator", "_is_refusal", "_left", "_max", "_n_received", "_pieces")

    def __init__(self, head: h11.Response, limits: Limits) -> None:
        self._is_refusal = head.status_code != HTTPStatus.OK
        self._max = self._left = limits.max_error_body if self._is_refusal else limits.max_server_payload
        self._n_received = 0
        self._pieces: list[bytes] = []
        coding = (_headers(head).get("content-encoding") or "identity").strip(" \t").lower()
        self._inflator = None
        if coding != "identity":
            if coding not in WINDOW_BITS:
                raise HandshakeError(502, "the server encodes its answer as it was not asked to")
            self._inflator = zlib.decompressobj(WINDOW_BITS[coding])

    def feed(self, data: bytes) -> bool:
        """Take a piece; `False` when there is enough of a refusal. Raises `EnginePacketError` for too much else."""
        self._n_received += len(data)
        inflator = self._inflator
        if inflator is not None:
            try:
                data = inflator.decompress(data, self._left + 1)
            except zlib.error as error:
                raise EnginePacketError(f"the server's answer cannot be inflated: {error}") from error
        if len(data) > self._left or self._n_received > self._max:
            if not self._is_refusal:
                raise EnginePacketError(f"the server's answer is larger than {self._max} bytes")
            self._pieces.append(data[: self._left])
            self._left = 0
            return False
        self._left -= len(data)
        self._pieces.append(data)
        return True

    def finish(self) -> bytes:
        """Return the whole body. Raises `EnginePacketError` where the end of compressed data is missing."""
        if self._inflator is not None and self._pieces and not self._inflator.eof and not self._is_refusal:
            raise EnginePacketError("the server's answer ends before its compressed data do")
        return b"".join(self._pieces)
