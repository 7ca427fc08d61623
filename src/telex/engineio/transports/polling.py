"""The polling transport: packets in the answers to GET, and in the bodies of POST.

Rule of this module: one session's requests and nothing of how a session is found or opened. Every request gets exactly
one answer, and the table of what each misuse costs is the original's:

| request | answer | session |
|---|---|---|
| a second GET while one is parked, or its answer on its way | 400; the parked one gets "close" | closed |
| a second POST while one is being read | 400 | closed |
| a POST as `application/octet-stream` | 400 | closed |
| a POST over `max_payload` | 413 | goes on |
| a POST that comes too slowly | 408 | closed |
| a body that is no payload | 400 | closed, "parse error" |
| the client leaves a parked GET, or a POST that is unfinished or waits for room | none | closed |
| a POST still unfinished when the session ends | 400, "Session ID unknown" | is closed |
| a POST still unfinished when the session leaves polling | 400, "Bad request" | goes on |
| any other method | 500 | goes on |

Protocol v3 writes its payloads otherwise, and takes binary ones: `v3/transports.py`.

Of these the original resets the connection where a POST is unfinished or undecodable; an answer says more.

Source: Engine.IO protocol v4, "HTTP long-polling".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

from telex.engineio import payloads
from telex.engineio.handshake import Refusal, RefusalKind, Request, Response
from telex.engineio.hints import Hint
from telex.engineio.packets import CLOSE, NOOP, Packet, PacketType
from telex.engineio.session import CloseReason, Session, SessionSink
from telex.errors import EnginePacketError
from telex.limits import Limits
from telex.types import Data

if TYPE_CHECKING:
    from telex.streams.base import Stream
    from telex.websocket.codec import Keys

__all__ = ["Body", "PeerGone", "PollingTransport"]

BINARY_TYPE = "application/octet-stream"
TEXT_TYPE = "text/plain; charset=UTF-8"

BODY_GRACE = 5.0
"""Seconds before the rate of a body is looked at: the first packets may be late on any network."""


class PeerGone(Exception):  # an end, not an error: never leaves the engine
    """Say that the client left before its request was done."""


class Body(Protocol):
    """Read the body of one request."""

    def read_nowait(self) -> bytes | None:
        """Return the whole body if it is there already; else None, and nothing is read."""
        ...

    async def read(self) -> bytes | None:
        """Return the next piece, or `None` after the last. Raises `PeerGone`."""
        ...

    async def wait_gone(self) -> None:
        """Return when the client has left."""
        ...


class _Rejected(Exception):  # carries an answer to the one place that gives it
    def __init__(self, response: Response) -> None:
        self.response = response


class PollingTransport:
    """Carry packets in the answers to GET and the bodies of POST."""

    name = "polling"
    refused_type: ClassVar[str | None] = BINARY_TYPE  # of a POST: payloads of this protocol are text
    plain: Stream | None = None  # there is no stream of its own
    keys: Keys | None = None
    session: Session  # set by the engine before the first request

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._poll: asyncio.Future[Sequence[Packet]] | None = None  # while a GET is parked
        self._answer_bytes = 0  # of the last answer
        self._unsent_bytes = 0  # of them, those that the server below has not taken
        self._is_posting = False
        self._body_timeout: asyncio.Timeout | None = None  # while a body is read
        self._reading = asyncio.Event()
        self._reading.set()
        self._owes_close = False
        self._is_ended = False
        self.direct: SessionSink | None = None  # of no use here: a payload is taken packet by packet

    # What the session does.

    @property
    def is_writable(self) -> bool:
        """Whether a GET is parked."""
        return self._poll is not None

    @property
    def buffered_bytes(self) -> int:
        """Bytes of the last answer that have not left."""
        return self._unsent_bytes

    def offer(self, packets: Sequence[Packet]) -> int | None:
        """Answer the parked GET, if there is one (see `Transport`)."""
        if self._poll is None:
            return None
        self.send(packets)
        return self._unsent_bytes

    def send(self, packets: Sequence[Packet]) -> None:
        """Answer the parked GET."""
        poll, self._poll = self._poll, None
        if poll is not None and not poll.done():
            self._answer_bytes = self._unsent_bytes = sum(packet.n_bytes for packet in packets)
            poll.set_result(packets)

    def release(self) -> None:
        """Answer the parked GET, if there is one, with a "noop"."""
        self.send([NOOP])

    def close(self) -> None:
        """End with a "close" packet in an answer of its own, this one or the next.

        The JavaScript client handles a "close" before the messages that come with it. Two packets as the original.
        """
        if self._poll is None:
            self._owes_close = True
        else:
            self.send([NOOP, CLOSE] if self._owes_close else [CLOSE])
            self.session.fail(self, CloseReason.FORCED_CLOSE)

    def discard(self) -> None:
        """End at once: a parked GET, and a POST that waits for room or for the rest of its body, are answered."""
        self.send([CLOSE])
        self._is_ended = True
        self._unsent_bytes = 0
        self._reading.set()
        if self._body_timeout is not None and not self._body_timeout.expired():
            self._body_timeout.reschedule(asyncio.get_running_loop().time())

    def pause_reading(self) -> None:
        """Let the client wait for the answer to its POST, and so with its next."""
        self._reading.clear()

    def resume_reading(self) -> None:
        """Answer the POST that waits."""
        self._reading.set()

    # What the server below tells of the answer to a GET.

    def leaving(self, n_left: int, n_total: int) -> None:
        """Hear how much of the answer is still to leave."""
        if not self._is_ended:
            self._unsent_bytes = self._answer_bytes * n_left // n_total
            self.session.flush()

    def lost(self) -> None:
        """Hear that the answer did not leave, and its packets with it."""
        self.session.fail(self, CloseReason.TRANSPORT_ERROR)

    # What the client does.

    async def handle(self, request: Request, body: Body) -> Response:
        """Answer one request of this session. Raises `PeerGone` when nobody is left to answer."""
        if self._is_ended:
            return self._too_late()
        match request.method:
            case "GET":
                return await self._get(request, body)
            case "POST":
                return await self._post(request, body)
            case _:
                return Response(500)

    async def _get(self, request: Request, body: Body) -> Response:
        session = self.session
        if self._poll is not None or self._unsent_bytes:
            # While an answer is on its way, a next request cannot be that of a client which has read it.
            session.fail(self, CloseReason.TRANSPORT_ERROR)
            return Response(400)
        self._poll = poll = asyncio.get_running_loop().create_future()
        session.flush()
        try:
            packets = poll.result() if poll.done() else await self._wait(poll, body)
        except BaseException:
            session.fail(self, CloseReason.TRANSPORT_ERROR)
            raise
        media_type, payload = self._encode(packets, request)
        headers = [("content-type", media_type), ("cache-control", "no-store")]
        may_compress = any(packet.compress for packet in packets)
        return Response(200, headers, payload, may_compress, self)

    def _encode(self, packets: Sequence[Packet], request: Request) -> tuple[str, bytes]:
        """Write the body of the answer to a GET. **Shape**: its media type, then the payload."""
        return TEXT_TYPE, payloads.encode(packets)

    def _decode(self, body: bytes, media_type: str) -> Iterator[tuple[PacketType, Data]]:
        """Yield the packets of a POST's body. Raises `EnginePacketError` as `payloads.decode`."""
        return payloads.decode(body, self._limits.max_packets_per_payload)

    async def _wait(self, poll: asyncio.Future[Sequence[Packet]], body: Body) -> Sequence[Packet]:
        async def watch() -> None:
            try:
                await body.wait_gone()
            finally:
                if not poll.done():
                    poll.set_exception(PeerGone())

        watcher = asyncio.get_running_loop().create_task(watch())
        try:
            return await poll
        finally:
            watcher.cancel()

    async def _post(self, request: Request, body: Body) -> Response:
        session = self.session
        media_type = request.headers.get("content-type", "").partition(";")[0].strip(" \t").lower()
        if self._is_posting or media_type == self.refused_type:
            session.fail(self, CloseReason.TRANSPORT_ERROR)
            return Response(400)
        self._is_posting = True
        try:
            payload = await self._read(request, body)
            for kind, data in self._decode(payload, media_type):
                session.receive(self, kind, data)
                if not session.is_open:
                    break  # what stands behind a "close" is nobody's
            await self._wait_reading(body)
        except _Rejected as rejected:
            return rejected.response
        except EnginePacketError:
            session.fail(self, CloseReason.PARSE_ERROR)
            return Response(400)
        except BaseException:  # the client has left, or the request was cancelled
            session.fail(self, CloseReason.TRANSPORT_ERROR)
            raise
        finally:
            self._is_posting = False
        return Response(200, [("content-type", "text/html")], b"ok")

    async def _wait_reading(self, body: Body) -> None:
        """Wait until the session reads again. Raises `PeerGone`."""
        if self._reading.is_set():
            return
        loop = asyncio.get_running_loop()
        reading, gone = loop.create_task(self._reading.wait()), loop.create_task(body.wait_gone())
        try:
            await asyncio.wait((reading, gone), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                gone.result()
                raise PeerGone
        finally:
            reading.cancel()
            gone.cancel()

    async def _read(self, request: Request, body: Body) -> bytes:
        """Read a body within its bounds: the declared size first, then what really comes, and how fast.

        Raises `_Rejected`, `PeerGone`. A body over the bound leaves the session open: the client may go on.
        """
        limits = self._limits
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > limits.max_payload:
            raise _Rejected(Response(413))
        start = asyncio.get_running_loop().time()
        received = bytearray()
        whole = body.read_nowait()
        if whole is not None and len(whole) <= limits.max_payload:
            return whole
        if whole is not None:
            raise _Rejected(Response(413))
        try:
            async with asyncio.timeout_at(start + self._patience(received)) as self._body_timeout:
                while (piece := await body.read()) is not None:
                    if self._is_ended:
                        break
                    if len(received) + len(piece) > limits.max_payload:
                        raise _Rejected(Response(413))
                    received += piece
                    self._body_timeout.reschedule(start + self._patience(received))
        except TimeoutError:
            if not self._is_ended:
                self.session.fail(self, CloseReason.TRANSPORT_ERROR)
                raise _Rejected(Response(408)) from None
        finally:
            self._body_timeout = None
        if self._is_ended:
            raise _Rejected(self._too_late())
        return bytes(received)

    def _patience(self, received: bytearray) -> float:
        return min(self._limits.body_timeout, BODY_GRACE + len(received) / self._limits.min_body_rate)

    def _too_late(self) -> Response:
        if self.session.transport is self:
            return Refusal(RefusalKind.UNKNOWN_SID, Hint.UNKNOWN_SESSION).response()
        return Refusal(RefusalKind.BAD_REQUEST, Hint.LEFT_POLLING).response()
