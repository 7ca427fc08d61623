"""The polling transport of a client: a GET that waits for packets, and POSTs that carry ours.

Rule of this module: one session's requests. There is one GET at a time, and one POST beside it: servers close a session
that has two. What has come with a poll is handed up in portions, with a turn of the loop between them, and the next
poll is made when it has been taken: so a server that sends much, or to one that lags, waits.

Source: Engine.IO protocol v4, "HTTP long-polling".
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

from telex.engineio import payloads
from telex.engineio.client.http import ACCEPT_ENCODING, Answer, HttpClient
from telex.engineio.client.options import STAMP_BYTES, Options
from telex.engineio.client.refusals import refused
from telex.engineio.client.session import ClientSession
from telex.engineio.interfaces import CloseReason, SessionSink
from telex.engineio.packets import CLOSE, Packet
from telex.errors import EnginePacketError, HandshakeError
from telex.streams import FRAMES_PER_TURN
from telex.streams.base import Stream
from telex.tokens import token_text

if TYPE_CHECKING:
    from telex.websocket.codec import Keys

__all__ = ["PollingTransport"]

logger = logging.getLogger("telex.engineio")


class PollingTransport:
    """Carry packets in the answers to GET and the bodies of POST.

    **Next**: give it a session, then call `open`.
    """

    name = "polling"
    plain: Stream | None = None  # there is no stream of its own
    keys: Keys | None = None

    __slots__ = (
        "_http",
        "_is_closing",
        "_is_ended",
        "_is_held",
        "_is_polling",
        "_options",
        "_poller",
        "_poster",
        "_reading",
        "_resting",
        "direct",
        "session",
    )

    session: ClientSession  # set by who opens it

    def __init__(self, options: Options) -> None:
        self._options = options
        self._http = HttpClient(options.way, options.limits, timeout=options.open_timeout)
        self._is_polling = False  # a GET is under way, or what it brought has not been taken
        self._is_held = False  # no more requests, but for those under way
        self._is_closing = False  # "close" is said, or about to be
        self._is_ended = False
        self._poller: asyncio.Task[None] | None = None
        self._poster: asyncio.Task[None] | None = None  # while a POST is under way
        self._reading = asyncio.Event()
        self._reading.set()
        self._resting = asyncio.Event()  # set while it is not held
        self._resting.set()
        self.direct: SessionSink | None = None  # of no use here: a payload is taken packet by packet

    async def open(self) -> None:
        """Make the first request, which opens the session; what it brought is handed up from then on.

        Raises `OSError`, `InvalidStatus` where the server refuses, `HandshakeError`, `EnginePacketError`.
        **Next**: the caller bounds the time.
        """
        self._is_polling = True
        payload = await self._get()
        self._poller = asyncio.get_running_loop().create_task(self._poll(payload))

    # What the session does.

    @property
    def is_writable(self) -> bool:
        """Whether a POST can be made now."""
        return self._poster is None and not self._is_held and not self._is_ended

    @property
    def buffered_bytes(self) -> int:
        """Bytes of the POST under way that have not left."""
        return self._http.unsent_bytes("POST")

    def offer(self, packets: Sequence[Packet]) -> int | None:
        """Send packets if no POST is under way (see `Transport`)."""
        if not self.is_writable:
            return None
        self.send(packets)
        return self.buffered_bytes

    def send(self, packets: Sequence[Packet]) -> None:
        """Send packets, in as many POSTs as the server's bound calls for."""
        if self.is_writable:
            self._poster = asyncio.get_running_loop().create_task(self._post(packets))

    def release(self) -> None:
        """Do nothing: no request of the server's waits here."""

    def close(self) -> None:
        """Say "close" when the POST under way is done; then the session ends. May be called again."""
        if self._poster is None and not self._is_closing and not self._is_ended:
            self._is_closing = True
            self._is_held = False
            self.send([CLOSE])

    def discard(self) -> None:
        """End at once."""
        self._is_ended = True
        for task in (self._poller, self._poster):
            if task is not None:
                task.cancel()
        self._http.close()

    def pause_reading(self) -> None:
        """Hand nothing more up, and make no further poll, until `resume_reading`."""
        self._reading.clear()

    def resume_reading(self) -> None:
        """Hand up again what has come."""
        self._reading.set()

    def hold(self) -> None:
        """Let the requests in flight end, and make no more: the session's `held` is called then, or at once."""
        self._is_held = True
        self._resting.clear()
        self._rest()

    def go_on(self) -> None:
        """Make requests again."""
        self._is_held = False
        self._resting.set()

    def _rest(self) -> None:
        if self._is_held and not self._is_polling and self._poster is None:
            self.session.held(self)

    # What comes.

    async def _poll(self, payload: bytes) -> None:
        """Hand up what polls bring, for as long as there is a session."""
        try:
            while await self._take(payload):
                await self._reading.wait()
                self._is_polling = False
                self._rest()
                await self._resting.wait()
                self._is_polling = True
                payload = await self._get()
        except (OSError, HandshakeError) as error:
            self._fail(error, CloseReason.TRANSPORT_ERROR)
        except EnginePacketError as error:
            self._fail(error, CloseReason.PARSE_ERROR)
        except Exception:
            logger.exception("a message could not be handled")
            self.session.fail(self, CloseReason.TRANSPORT_ERROR)

    async def _take(self, payload: bytes) -> bool:
        """Hand up the packets of a payload; `False` when nobody takes more."""
        for n_taken, (kind, data) in enumerate(payloads.decode(payload, len(payload) + 1), 1):
            await self._reading.wait()
            if self._is_ended:
                return False
            self.session.receive(self, kind, data)
            if n_taken % FRAMES_PER_TURN == 0:
                await asyncio.sleep(0)  # the others' turn
        return not self._is_ended

    async def _get(self) -> bytes:
        answer = await self._ask("GET", [("Accept-Encoding", ACCEPT_ENCODING)])
        return answer.body

    # What goes.

    async def _post(self, packets: Sequence[Packet]) -> None:
        limits, max_bytes = self._options.limits, self.session.max_payload or math.inf
        timeout = self._options.request_timeout or limits.body_timeout
        try:
            for portion in payloads.split(packets, max_bytes, limits.max_packets_per_payload):
                async with asyncio.timeout(timeout):
                    await self._ask("POST", [("Content-Type", "text/plain;charset=UTF-8")], payloads.encode(portion))
        except (OSError, HandshakeError, EnginePacketError) as error:  # of which TimeoutError is one
            self._fail(error, CloseReason.TRANSPORT_ERROR)
            return
        finally:
            self._poster = None
        if self._is_closing:
            self.session.fail(self, CloseReason.FORCED_CLOSE)
        else:
            self._rest()
            self.session.flush()

    # Both.

    async def _ask(self, method: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> Answer:
        """Make a request of the session. Raises as `HttpClient.ask`, and `InvalidStatus` for anything but 200."""
        options = self._options
        stamp = token_text(STAMP_BYTES) if options.timestamp_requests is not False else None
        where = options.address("polling", self.session.sid or None, stamp)
        answer = await self._http.ask(method, where, [*options.fields_for(where, time.time()), *headers], body)
        options.learn(where, answer.headers, time.time())
        if answer.status != HTTPStatus.OK:
            raise refused(answer.status, answer.reason, answer.headers, answer.body)
        return answer

    def _fail(self, error: Exception, reason: CloseReason) -> None:
        if not self._is_ended and not self._is_closing:
            logger.info("the session %s ended: %s", self.session.sid, error)
        self.session.fail(self, reason)
