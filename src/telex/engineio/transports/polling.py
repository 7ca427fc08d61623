"""The polling transport: packets in the answers to GET, and in the bodies of POST.

Rule of this module: one session's requests and nothing of how a session is found or opened. Every request gets exactly
one answer, and the table of what each misuse costs is the original's:

| request | answer | session |
|---|---|---|
| a second GET while one is parked | 400; the parked one gets "close" | closed |
| a second POST while one is being read | 400 | closed |
| a POST as `application/octet-stream` | 400 | closed |
| a POST over `max_payload` | 413 | goes on |
| a POST that comes too slowly | 408 | closed |
| a body that is no payload | 400 | closed, "parse error" |
| the client leaves a parked GET or an unfinished POST | none | closed |
| any other method | 500 | goes on |

Source: Engine.IO protocol v4, "HTTP long-polling".
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from ...errors import EnginePacketError
from ...limits import Limits
from .. import payloads
from ..handshake import Request, Response
from ..packets import Packet
from ..session import CloseReason, Session

__all__ = ["Body", "PeerGone", "PollingTransport"]

BODY_GRACE = 5.0
"""Seconds before the rate of a body is looked at: the first packets may be late on any network."""


class PeerGone(Exception):  # an end, not an error: never leaves the engine
    """Say that the client left before its request was done."""


class Body(Protocol):
    """Read the body of one request."""

    async def read(self) -> bytes | None:
        """Return the next piece, or `None` after the last. Raises `PeerGone`."""
        ...

    async def wait_gone(self) -> None:
        """Return when the client has left."""
        ...


class _Rejected(Exception):  # carries a status to the one place that answers
    def __init__(self, status: int) -> None:
        self.status = status


class PollingTransport:
    """Carry packets in the answers to GET and the bodies of POST."""

    name = "polling"
    session: Session  # set by the engine before the first request

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._poll: asyncio.Future[Sequence[Packet]] | None = None
        self._answered_bytes = 0  # in the last answer: the client has them for sure when it polls again
        self._is_posting = False
        self._reading = asyncio.Event()
        self._reading.set()

    # What the session does.

    @property
    def is_writable(self) -> bool:
        """Whether a GET is parked."""
        return self._poll is not None

    @property
    def buffered_bytes(self) -> int:
        """Bytes of the last answer, until the client polls again."""
        return self._answered_bytes

    def send(self, packets: Sequence[Packet]) -> None:
        """Answer the parked GET."""
        poll, self._poll = self._poll, None
        if poll is not None and not poll.done():
            self._answered_bytes = sum(packet.n_bytes for packet in packets)
            poll.set_result(packets)

    def close(self) -> None:
        """End: the session sent its "close" packet in the last answer."""
        self.discard()
        self.session.fail(self, CloseReason.FORCED_CLOSE)

    def discard(self) -> None:
        """End at once; a POST that waits for room is let go."""
        self._reading.set()
        self._answered_bytes = 0

    def pause_reading(self) -> None:
        """Let the client wait for the answer to its POST, and so with its next."""
        self._reading.clear()

    def resume_reading(self) -> None:
        """Answer the POST that waits."""
        self._reading.set()

    # What the client does.

    async def handle(self, request: Request, body: Body) -> Response:
        """Answer one request of this session. Raises `PeerGone` when nobody is left to answer."""
        match request.method:
            case "GET":
                return await self._get(body)
            case "POST":
                return await self._post(request, body)
            case _:
                return Response(500)

    async def _get(self, body: Body) -> Response:
        session = self.session
        if self._poll is not None:
            session.fail(self, CloseReason.TRANSPORT_ERROR)
            return Response(400)
        self._answered_bytes = 0
        self._poll = poll = asyncio.get_running_loop().create_future()
        session.flush()
        try:
            packets = await self._wait(poll, body)
        except BaseException:
            self._poll = None
            session.fail(self, CloseReason.TRANSPORT_ERROR)
            raise
        headers = [("content-type", "text/plain; charset=UTF-8"), ("cache-control", "no-store")]
        response = Response(200, headers, payloads.encode(packets))
        response.may_compress = any(packet.compress for packet in packets)
        return response

    async def _wait(self, poll: asyncio.Future[Sequence[Packet]], body: Body) -> Sequence[Packet]:
        if poll.done():
            return poll.result()
        gone = asyncio.ensure_future(body.wait_gone())
        try:
            await asyncio.wait((poll, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
        if not poll.done():
            raise PeerGone
        return poll.result()

    async def _post(self, request: Request, body: Body) -> Response:
        session = self.session
        if self._is_posting or request.headers.get("content-type") == "application/octet-stream":
            session.fail(self, CloseReason.TRANSPORT_ERROR)
            return Response(400)
        self._is_posting = True
        try:
            payload = await self._read(request, body)
            for kind, data in payloads.decode(payload, self._limits.max_packets_per_payload):
                session.receive(self, kind, data)
            await self._reading.wait()
        except _Rejected as rejected:
            if rejected.status != 413:  # noqa: PLR2004  # Content Too Large: the client may go on
                session.fail(self, CloseReason.TRANSPORT_ERROR)
            return Response(rejected.status)
        except EnginePacketError:
            session.fail(self, CloseReason.PARSE_ERROR)
            return Response(400)
        except (PeerGone, asyncio.CancelledError):
            session.fail(self, CloseReason.TRANSPORT_ERROR)
            raise
        finally:
            self._is_posting = False
        return Response(200, [("content-type", "text/html")], b"ok")

    async def _read(self, request: Request, body: Body) -> bytes:
        """Read a body within its bounds: the declared size first, then what really comes, and how fast."""
        limits = self._limits
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > limits.max_payload:
            raise _Rejected(413)
        loop = asyncio.get_running_loop()
        start = loop.time()
        received = bytearray()
        while True:
            patience = min(limits.body_timeout, BODY_GRACE + len(received) / limits.min_body_rate)
            try:
                async with asyncio.timeout_at(start + patience):
                    piece = await body.read()
            except TimeoutError:
                raise _Rejected(408) from None
            if piece is None:
                return bytes(received)
            if len(received) + len(piece) > limits.max_payload:
                raise _Rejected(413)
            received += piece
