"""The Engine.IO server: finds or opens the session that a request belongs to.

Rule of this module: it knows requests and sessions, and neither ASGI nor Socket.IO. What serves it hands in requests
and channels; what lies above is told of each new session through `on_session`.

Source: Engine.IO protocol v4, "Opening"; the order of the checks is the original server's.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from telex.engineio.compression import compress
from telex.engineio.cors import Cors
from telex.engineio.handshake import Cookie, Opening, Refusal, RefusalKind, Request, Response, open_packet
from telex.engineio.revisions import V3, V4, Revision, asked_for, revision_of
from telex.engineio.session import Session, SessionSink
from telex.engineio.transports import Body, Channel, PollingTransport, StreamTransport, WebSocketTransport
from telex.engineio.v3.jsonp import is_index
from telex.limits import Limits
from telex.streams.deadlines import deadlines_of
from telex.tokens import token_text

__all__ = ["AllowRequest", "Engine", "WebSocketAdmission"]

logger = logging.getLogger("telex.engineio")

AllowRequest = Callable[[Request], bool | str | Awaitable[bool | str | None] | None]
"""Decide on a handshake: `True` or `None` lets it in, `False` refuses it, a text refuses it with that text."""

SID_BYTES = 15
"""120 random bits, 20 characters: sticky load balancers and cluster adapters key on that length."""

UPGRADES = {"polling": ("websocket",), "websocket": ()}
"""What each transport may upgrade to."""

HEADER_TEXT = re.compile(r"[\t -~\x80-\xff]*")

RETRY_AFTER = 5
"""Seconds that a client is asked to wait when the server is full."""


class WebSocketAdmission:
    """Let in a WebSocket that passed all checks: `headers` go into the 101 answer, then `start` takes the channel.

    A new session's place is kept free meanwhile. **Next**: `start`, or `cancel` when the WebSocket does not come about.
    """

    def __init__(self, engine: Engine, request: Request, session: Session | None) -> None:
        self._engine = engine
        self._request = request
        self._session = session
        self._sid = token_text(SID_BYTES)
        self._revision = engine.revision_of(request, session)
        self.headers = [] if session else engine.cookie_headers(self._sid, request)
        if session is None:
            engine.admissions.add(self)

    def start(self, channel: Channel) -> WebSocketTransport:
        """Begin a session on the channel, or the upgrade of the one that the request names."""
        transport = self._revision.websocket(channel, self._engine.limits)
        self.start_on(transport, self._request)
        return transport

    @property
    def stream_transport(self) -> type[StreamTransport]:
        """The class of the transport for who has a stream instead of a channel, and then calls `start_on`."""
        return self._revision.stream

    def start_on(self, transport: WebSocketTransport, request: Opening) -> None:
        """Begin on a transport that is there already; `request` is kept for as long as the session lives."""
        self.cancel()
        self._engine.start_websocket(transport, request, self._sid, self._session, self._revision)

    def cancel(self) -> None:
        """Give the place back. Idempotent."""
        self._engine.admissions.discard(self)


class Engine:
    """Serve Engine.IO sessions.

    Args: `on_session` is called with each new session and its request, and returns what hears of it. `allow_eio3` lets
    in clients of protocol v3.
    """

    def __init__(
        self,
        on_session: Callable[[Session, Opening], SessionSink],
        *,
        limits: Limits,
        transports: Sequence[str] = ("polling", "websocket"),
        allow_upgrades: bool = True,
        cors: Cors | None = None,
        cookie: Cookie | None = None,
        compression_threshold: int | None = 1024,
        allow_request: AllowRequest | None = None,
        allow_eio3: bool = False,
        max_sessions: int,
    ) -> None:
        unknown = set(transports) - set(UPGRADES)
        if unknown or not transports:
            raise ValueError(f"transports must be some of {', '.join(UPGRADES)}, not {list(transports)}")
        self.sessions: dict[str, Session] = {}
        self.admissions: set[WebSocketAdmission] = set()
        self._on_session = on_session
        self.limits = limits
        self.frame_limits = replace(limits, max_message_size=limits.max_payload)  # of the WebSockets below
        self._transports = tuple(transports)
        self._allow_upgrades = allow_upgrades
        self._cors = cors or Cors()
        self._cookie = cookie
        self._compression_threshold = compression_threshold
        self._allow_request = allow_request
        self._protocols = {revision.session.protocol for revision in ((V4, V3) if allow_eio3 else (V4,))}
        self._max_sessions = max_sessions
        self._loop: asyncio.AbstractEventLoop | None = None  # the sessions'
        self._finished = self._session_finished  # one bound method for all
        self._ended: asyncio.Event | None = None  # set when the last session ends, while somebody waits for that

    # Requests.

    async def handle(self, request: Request, body: Body) -> Response:
        """Answer one long-polling request. Raises `PeerGone` when nobody is left to answer."""
        preflight = self._cors.preflight(request)
        if preflight is not None:
            return preflight
        response = await self._answer(request, body)
        response.headers += self._cors.headers(request)
        if self._compression_threshold is not None and response.may_compress:
            compress(response, request.headers.get("accept-encoding", ""), self._compression_threshold)
        return response

    async def admit_websocket(self, request: Request) -> WebSocketAdmission | Response:
        """Check one WebSocket upgrade request; the `Response`, if that is what comes, refuses it."""
        refusal = await self._check(request, is_upgrade=True)
        if refusal is not None:
            return refusal.websocket_response()
        if "sid" in request.query:
            return WebSocketAdmission(self, request, self.sessions[request.query["sid"]])
        return self._full() or WebSocketAdmission(self, request, None)

    async def _answer(self, request: Request, body: Body) -> Response:
        refusal = await self._check(request, is_upgrade=False)
        if refusal is not None:
            return refusal.response()
        if "sid" in request.query:
            current = self.sessions[request.query["sid"]].transport
            if not isinstance(current, PollingTransport):
                return Refusal(RefusalKind.BAD_REQUEST, "the session has left polling").response()
            return await current.handle(request, body)
        full = self._full()
        if full is not None:
            return full
        revision = self.revision_of(request, None)
        transport = revision.polling(self.limits)
        sid = token_text(SID_BYTES)
        self._open(self._make_session(sid, transport, revision), request)
        response = await transport.handle(request, body)
        response.headers += self.cookie_headers(sid, request)
        return response

    async def _check(self, request: Request, *, is_upgrade: bool) -> Refusal | None:
        """Find what is wrong with a request; `None` if nothing is. What costs least is looked at first."""
        refusal = self._check_form(request, is_upgrade) or self._check_session(request, is_upgrade)
        if refusal is None and "sid" not in request.query:
            refusal = await self._check_handshake(request)
        if refusal is not None:
            logger.info("refused a request from %s: %s", request.remote_address, refusal.hint)
        return refusal

    def _check_form(self, request: Request, is_upgrade: bool) -> Refusal | None:
        name = request.query.get("transport", "")
        if request.is_malformed:
            return Refusal(RefusalKind.BAD_REQUEST, "the query is malformed or repeats a key of the protocol")
        if name not in self._transports:
            return Refusal(RefusalKind.TRANSPORT_UNKNOWN, f"transport {name[:40]!r} is not enabled (transports=)")
        refusal = self._check_page(request)
        if refusal is None and is_upgrade and name != "websocket":
            return Refusal(RefusalKind.BAD_REQUEST, "a WebSocket upgrade request asks for another transport")
        return refusal

    def _check_page(self, request: Request) -> Refusal | None:
        """Find what is wrong with the page, if it is one, that a request comes from."""
        if request.origin is not None and not is_header_text(request.origin):
            return Refusal(RefusalKind.BAD_REQUEST, "the Origin header holds control characters")
        is_allowed = self._cors.is_allowed
        if "j" in request.query and V3.session.protocol in self._protocols:
            if not is_index(request.query["j"]):
                return Refusal(RefusalKind.BAD_REQUEST, "the number of a JSONP callback is none")
            is_allowed = self._cors.is_script_allowed
        if is_allowed(request):
            return None
        hint = f"origin {request.origin!r} is not allowed; name it in cors_allowed_origins to let it in"
        return Refusal(RefusalKind.FORBIDDEN, hint)

    def _check_session(self, request: Request, is_upgrade: bool) -> Refusal | None:
        if "sid" not in request.query:
            if request.method != "GET":
                return Refusal(RefusalKind.BAD_HANDSHAKE_METHOD, f"a handshake with method {request.method[:20]!r}")
        elif request.query["sid"] not in self.sessions:
            hint = "unknown session: it has ended, or lives in another process (several need sticky sessions)"
            return Refusal(RefusalKind.UNKNOWN_SID, hint)
        elif is_upgrade and not self._allow_upgrades:
            return Refusal(RefusalKind.BAD_REQUEST, "an upgrade, but upgrades are switched off (allow_upgrades)")
        if request.query["transport"] == "websocket" and not is_upgrade:
            return Refusal(RefusalKind.BAD_REQUEST, "the websocket transport without a WebSocket upgrade request")
        return None

    async def _check_handshake(self, request: Request) -> Refusal | None:
        protocol = asked_for(request.query)
        if protocol not in self._protocols:
            hint = f"protocol version {request.query.get('EIO', '')[:10]!r}: the client is not a Socket.IO 3 or 4 one"
            if protocol:
                hint += " (allow_eio3 lets those of Socket.IO 2 in)"
            return Refusal(RefusalKind.UNSUPPORTED_PROTOCOL_VERSION, hint)
        if "j" in request.query and protocol != V3.session.protocol:
            return Refusal(RefusalKind.BAD_REQUEST, "JSONP polling is for clients of Socket.IO 2 alone")
        if self._allow_request is None:
            return None
        try:
            verdict = self._allow_request(request)
            if inspect.isawaitable(verdict):
                verdict = await verdict
        except Exception:
            logger.exception("allow_request failed")
            return Refusal(RefusalKind.BAD_REQUEST, "allow_request failed")
        if verdict is None or verdict is True:
            return None
        return Refusal(RefusalKind.FORBIDDEN, "allow_request refused", verdict if isinstance(verdict, str) else None)

    def _full(self) -> Response | None:
        if len(self.sessions) + len(self.admissions) < self._max_sessions:
            return None
        logger.warning("refused a handshake: %d sessions are open (Limits.max_sessions)", len(self.sessions))
        return Response(503, [("retry-after", str(RETRY_AFTER)), ("content-type", "text/plain")], b"Too many sessions")

    # Sessions.

    def start_websocket(
        self,
        transport: WebSocketTransport,
        request: Opening,
        sid: str,
        session: Session | None,
        revision: Revision,
    ) -> None:
        """Begin a session on a transport, or the upgrade of `session`."""
        if session is None:
            self._open(self._make_session(sid, transport, revision), request)
        else:
            transport.session = session
            if not session.add_candidate(transport):
                transport.discard()

    def revision_of(self, request: Request, session: Session | None) -> Revision:
        """Return what serves a request that brings a transport, to a new session or to `session`."""
        protocol = asked_for(request.query) if session is None else session.protocol
        return revision_of(protocol, request.query)

    def _make_session(self, sid: str, transport: PollingTransport | WebSocketTransport, revision: Revision) -> Session:
        self._loop = asyncio.get_running_loop()
        transport.session = revision.session(
            sid,
            transport,
            limits=self.limits,
            deadlines=deadlines_of(self._loop),
            finished=self._finished,
        )
        return transport.session

    def _open(self, session: Session, request: Opening) -> None:
        offered = UPGRADES[session.transport.name] if self._allow_upgrades else ()
        upgrades = [name for name in offered if name in self._transports]
        self.sessions[session.sid] = session
        session.send([open_packet(session.sid, upgrades, self.limits)])
        try:
            session.sink = self._on_session(session, request)
        except BaseException:
            session.abort()
            raise

    def cookie_headers(self, sid: str, request: Request) -> list[tuple[str, str]]:
        """Return the headers that a handshake's answer carries besides its own."""
        return [self._cookie.header(sid, request.is_secure)] if self._cookie else []

    def _session_finished(self, session: Session) -> None:
        del self.sessions[session.sid]
        if not self.sessions and self._ended is not None:
            self._ended.set()
            self._ended = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether there are sessions, and another event loop than the running one serves them."""
        return bool(self.sessions) and self._loop is not asyncio.get_running_loop()

    def check_loop(self) -> None:
        """Raise `RuntimeError` where another event loop serves the sessions."""
        if self.is_elsewhere:
            raise RuntimeError("sessions are closed on the event loop that serves them")

    async def close(self) -> None:
        """Close every session, and wait until what they still had to say has left.

        Sessions that do not end within `Limits.close_timeout` are cut.
        Raises `RuntimeError` on another event loop than that of the sessions: nothing could wake them there.
        """
        if not self.sessions:
            return
        self.check_loop()
        ended = self._ended = self._ended or asyncio.Event()
        for session in list(self.sessions.values()):
            session.close()
        try:
            async with asyncio.timeout(self.limits.close_timeout):
                await ended.wait()
        except TimeoutError:
            for session in list(self.sessions.values()):
                session.abort()


def is_header_text(text: str) -> bool:
    """Whether a header's value holds only what RFC 9110 §5.5 allows."""
    return HEADER_TEXT.fullmatch(text) is not None
