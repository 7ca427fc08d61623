"""The Engine.IO server: finds or opens the session that a request belongs to.

Rule of this module: it knows requests and sessions, and neither ASGI nor Socket.IO. What serves it hands in requests
and channels; what lies above is told of each new session through `on_session`.

Source: Engine.IO protocol v4, "Opening"; the order of the checks is the original server's.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from telex.engineio.compression import compress
from telex.engineio.cors import Cors
from telex.engineio.handshake import (
    Cookie,
    Opening,
    Refusal,
    RefusalKind,
    RefusedRequest,
    Request,
    Response,
    open_packet,
)
from telex.engineio.hints import Hint
from telex.engineio.hooks import HookFailed, Hooks, is_header_text
from telex.engineio.packets import Packet, message
from telex.engineio.revisions import V3, V4, Revision, asked_for, revision_of
from telex.engineio.session import Session, SessionSink
from telex.engineio.transports import Body, Channel, PollingTransport, StreamTransport, WebSocketTransport
from telex.engineio.v3.jsonp import is_index
from telex.limits import Limits
from telex.streams.deadlines import deadlines_of
from telex.tokens import token_text
from telex.types import Data

__all__ = ["AllowRequest", "Engine", "GenerateId", "WebSocketAdmission"]

AllowRequest = Callable[[Request], bool | str | Awaitable[bool | str | None] | None]
"""Decide on a handshake: `True` or `None` lets it in, `False` refuses it, a text refuses it with that text."""

SID_BYTES = 15
"""120 random bits, 20 characters: sticky load balancers and cluster adapters key on that length."""

UPGRADES = {"polling": ("websocket",), "websocket": ()}
"""What each transport may upgrade to."""

GenerateId = Callable[[Request], str | Awaitable[str]]
"""Choose the id of a session: 1 to 64 URL-safe characters that no session has, and that nobody can guess."""

SID = re.compile(r"[A-Za-z0-9_-]{1,64}")

# What a wrong setting causes is worth a warning; what only a client can do wrong is not.
CLIENTS_FAULTS = frozenset(
    {Hint.MALFORMED, Hint.MALFORMED_ORIGIN, Hint.METHOD, Hint.LEFT_POLLING, Hint.JSONP, Hint.NOT_ALLOWED}
)

PROGRAM_S_FAULTS = frozenset({Hint.ALLOW_FAILED, Hint.ID_FAILED, Hint.MIDDLEWARE_FAILED})
"""Of these the log has a traceback already."""

FULL = "Too many sessions"
DRAINING = "The server is shutting down"

RETRY_AFTER = 5
"""Seconds that a client is asked to wait when the server is full."""


class WebSocketAdmission:
    """Let in a WebSocket that passed all checks: `headers` go into the 101 answer, then `start` takes the channel.

    A new session's place is kept free meanwhile, and its id. **Next**: `start`, or `cancel` when the WebSocket does
    not come about.
    """

    def __init__(self, engine: Engine, request: Request, sid: str, session: Session | None) -> None:
        self._engine = engine
        self._request = request
        self._session = session
        self.sid = sid
        self.headers = [] if session else engine.cookie_headers(sid, request)
        engine.change_headers(self.headers, request, is_initial=session is None)
        self._revision = engine.revision_of(request, session)
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
        self._engine.start_websocket(transport, request, self.sid, self._session, self._revision)

    def cancel(self) -> None:
        """Give the place back. Idempotent."""
        self._engine.admissions.discard(self)


class Refused(Exception):  # carries a refusal to the one place that answers it
    def __init__(self, kind: RefusalKind, hint: Hint, text: str | None = None, **context: str) -> None:
        self.refusal = Refusal(kind, hint, text, context)


class Engine(Hooks):
    """Serve Engine.IO sessions; what a program may hang into it is `Hooks`'.

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
        generate_id: GenerateId | None = None,
        initial_packet: Data | None = None,
        allow_eio3: bool = False,
        max_sessions: int,
    ) -> None:
        super().__init__()
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
        self._generate_id = generate_id
        self._initial: Packet | None = None if initial_packet is None else message(initial_packet)
        self._protocols = {revision.session.protocol for revision in ((V4, V3) if allow_eio3 else (V4,))}
        self._max_sessions = max_sessions
        self._drained_at: float | None = None  # by the loop's time; set once nobody new is let in
        self._loop: asyncio.AbstractEventLoop | None = None  # the sessions'
        self._finished = self._session_finished  # one bound method for all
        self._ended: asyncio.Event | None = None  # set when the last session ends, while somebody waits for that

    # Requests.

    async def handle(self, request: Request, body: Body) -> Response:
        """Answer one long-polling request. Raises `PeerGone` when nobody is left to answer."""
        is_initial = False
        response = self._cors.preflight(request)
        if response is None:
            try:
                response = await self._answer(request, body)
                is_initial = response.delivery is not None and "sid" not in request.query
            except Refused as refused:
                self._note(refused.refusal, request)
                response = refused.refusal.response()
            response.headers += self._cors.headers(request)
        self.change_headers(response.headers, request, is_initial=is_initial)
        if self._compression_threshold is not None and response.may_compress:
            compress(response, request.headers.get("accept-encoding", ""), self._compression_threshold)
        return response

    @property
    def shows_requests(self) -> bool:
        """Whether anything of the program's looks at requests before a session is there."""
        return self._allow_request is not None or self._generate_id is not None or self.has_hooks

    async def admit_websocket(self, request: Request) -> WebSocketAdmission | Response:
        """Check one WebSocket upgrade request; the `Response`, if that is what comes, refuses it."""
        try:
            admission = await self._admit(request)
        except Refused as refused:
            self._note(refused.refusal, request)
            admission = refused.refusal.websocket_response()
        if isinstance(admission, Response):
            self.change_headers(admission.headers, request, is_initial=False)
        return admission

    async def _answer(self, request: Request, body: Body) -> Response:
        response = await self._check(request, is_upgrade=False)
        if response is not None:
            return response
        if "sid" in request.query:
            current = self.sessions[request.query["sid"]].transport
            if not isinstance(current, PollingTransport):
                raise Refused(RefusalKind.BAD_REQUEST, Hint.LEFT_POLLING, name="TRANSPORT_MISMATCH")
            return await current.handle(request, body)
        sid = await self._choose_id(request)
        if isinstance(sid, Response):
            return sid
        revision = self.revision_of(request, None)
        transport = revision.polling(self.limits)
        self._open(self._make_session(sid, transport, revision), request)
        response = await transport.handle(request, body)
        response.headers += self.cookie_headers(sid, request)
        return response

    async def _admit(self, request: Request) -> WebSocketAdmission | Response:
        response = await self._check(request, is_upgrade=True)
        if response is not None:
            return response
        if "sid" in request.query:
            sid = request.query["sid"]
            return WebSocketAdmission(self, request, sid, self.sessions[sid])
        chosen = await self._choose_id(request)
        return chosen if isinstance(chosen, Response) else WebSocketAdmission(self, request, chosen, None)

    async def _check(self, request: Request, *, is_upgrade: bool) -> Response | None:
        """Find what is wrong with a request: raises `Refused`. What costs least is looked at first.

        Returns an answer where there is no place for a session, or where a middleware gives one.
        """
        is_handshake = "sid" not in request.query
        response = self._turn_away() if is_handshake else None
        if response is None and self._middlewares:
            response = await self._ask_middlewares(request)
        if response is None:
            self._check_form(request, is_upgrade)
            self._check_session(request, is_upgrade)
            if is_handshake:
                await self._check_handshake(request)
        return response

    async def _ask_middlewares(self, request: Request) -> Response | None:
        try:
            return await self.run_middlewares(request)
        except HookFailed:
            raise Refused(RefusalKind.BAD_REQUEST, Hint.MIDDLEWARE_FAILED, name="MIDDLEWARE_FAILURE") from None

    def _check_form(self, request: Request, is_upgrade: bool) -> None:
        name = request.query.get("transport", "")
        if request.is_malformed:
            raise Refused(RefusalKind.BAD_REQUEST, Hint.MALFORMED)
        if name not in self._transports:
            hint = Hint.TRANSPORT_UNKNOWN
            if not request.query.keys() & {"EIO", "transport", "sid"}:
                hint = Hint.PLAIN_WEBSOCKET if is_upgrade else Hint.NO_CLIENT
            raise Refused(RefusalKind.TRANSPORT_UNKNOWN, hint, transport=name)
        self._check_page(request)
        if is_upgrade and name != "websocket":
            raise Refused(RefusalKind.BAD_REQUEST, Hint.WRONG_UPGRADE, name="TRANSPORT_MISMATCH")

    def _check_page(self, request: Request) -> None:
        """Find what is wrong with the page, if it is one, that a request comes from. Raises `Refused`."""
        if request.origin is not None and not is_header_text(request.origin):
            raise Refused(RefusalKind.BAD_REQUEST, Hint.MALFORMED_ORIGIN, name="INVALID_ORIGIN", origin=request.origin)
        is_allowed = self._cors.is_allowed
        if "j" in request.query and V3.session.protocol in self._protocols:
            if not is_index(request.query["j"]):
                raise Refused(RefusalKind.BAD_REQUEST, Hint.JSONP_INDEX)
            is_allowed = self._cors.is_script_allowed
        if not is_allowed(request):
            raise Refused(RefusalKind.FORBIDDEN, Hint.ORIGIN, origin=request.origin or "")

    def _check_session(self, request: Request, is_upgrade: bool) -> None:
        sid = request.query.get("sid")
        if sid is None:
            if request.method != "GET":
                raise Refused(RefusalKind.BAD_HANDSHAKE_METHOD, Hint.METHOD, method=request.method)
        elif sid not in self.sessions:
            raise Refused(RefusalKind.UNKNOWN_SID, Hint.UNKNOWN_SESSION, sid=sid)
        elif is_upgrade and not self._allow_upgrades:
            raise Refused(RefusalKind.BAD_REQUEST, Hint.UPGRADES_OFF, name="TRANSPORT_MISMATCH")
        if request.query["transport"] == "websocket" and not is_upgrade:
            raise Refused(RefusalKind.BAD_REQUEST, Hint.NO_UPGRADE, name="TRANSPORT_HANDSHAKE_ERROR")

    async def _check_handshake(self, request: Request) -> None:
        version, protocol = request.query.get("EIO"), asked_for(request.query)
        if protocol not in self._protocols:
            hint = Hint.NO_VERSION if version is None else Hint.OLD_CLIENT
            raise Refused(RefusalKind.UNSUPPORTED_PROTOCOL_VERSION, hint, protocol=version or "")
        if "j" in request.query and protocol != V3.session.protocol:
            raise Refused(RefusalKind.BAD_REQUEST, Hint.JSONP)
        if self._allow_request is None:
            return
        try:
            verdict = await self.ask(self._allow_request, request, Hint.ALLOW_FAILED)
        except HookFailed:
            raise Refused(RefusalKind.BAD_REQUEST, Hint.ALLOW_FAILED) from None
        if verdict is not None and verdict is not True:
            text = verdict if isinstance(verdict, str) else None
            raise Refused(RefusalKind.FORBIDDEN, Hint.NOT_ALLOWED, text)

    async def _choose_id(self, request: Request) -> str | Response:
        """Return the id of a session to be opened now, or the answer if there is no place. Raises `Refused`."""
        sid = token_text(SID_BYTES)
        if self._generate_id is not None:
            try:
                sid = await self.ask(self._generate_id, request, Hint.ID_FAILED)
                if not isinstance(sid, str) or not SID.fullmatch(sid):
                    self.fail(Hint.ID_FAILED, ValueError("it gave what is not 1 to 64 URL-safe characters"))
                if sid in self.sessions or any(admission.sid == sid for admission in self.admissions):
                    self.fail(Hint.ID_FAILED, ValueError("it gave the id of another session"))
            except HookFailed:
                raise Refused(RefusalKind.BAD_REQUEST, Hint.ID_FAILED, name="ID_GENERATION_ERROR") from None
        return self._turn_away() or sid

    def _turn_away(self) -> Response | None:
        """Answer a handshake for which there is no place."""
        if self._drained_at is not None:
            seconds = max(math.ceil(self._drained_at - asyncio.get_running_loop().time()), 1)
            self.log(logging.INFO, DRAINING, "refused a handshake: the server is being drained")
            return unavailable(DRAINING, seconds)
        if len(self.sessions) + len(self.admissions) < self._max_sessions:
            return None
        text = "refused a handshake: %d sessions are open (Limits.max_sessions)"
        self.log(logging.WARNING, FULL, text, len(self.sessions))
        return unavailable(FULL, RETRY_AFTER)

    def _note(self, refusal: Refusal, request: Request) -> None:
        """Tell of a refusal: those who watch, and the log."""
        code = refusal.kind.value[0]
        hint = refusal.hint
        self.tell_connection_error(
            lambda: RefusedRequest(request, code, refusal.message, hint.text, dict(refusal.context))
        )
        if hint in PROGRAM_S_FAULTS:
            return
        level = logging.INFO if hint in CLIENTS_FAULTS else logging.WARNING
        details = ", ".join(f"{name} {value[:60]!r}" for name, value in refusal.context.items() if name != "name")
        text = "refused a request from %s (%s%s): %s"
        self.log(level, hint.text, text, request.remote_address, refusal.message, details and f", {details}", hint.text)

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
        if self._initial is not None:
            session.send([self._initial])
        try:
            session.sink = self._on_session(session, request)
        except BaseException:
            session.abort()
            raise
        self.tell_connection(session, request.unpack)
        if self._drained_at is not None:
            session.close()  # a WebSocket that was let in just before

    def cookie_headers(self, sid: str, request: Request) -> list[tuple[str, str]]:
        """Return the headers that a handshake's answer carries besides its own."""
        return [self._cookie.header(sid, request.is_secure)] if self._cookie else []

    def _session_finished(self, session: Session) -> None:
        del self.sessions[session.sid]
        if not self.sessions and self._ended is not None:
            self._ended.set()
            self._ended = None

    @property
    def clients_count(self) -> int:
        """How many sessions are open: the original's `clientsCount`."""
        return len(self.sessions)

    def begin_drain(self, seconds: float) -> None:
        """Let nobody new in any more: handshakes are answered 503, and told to come back in so many seconds."""
        self._drained_at = asyncio.get_running_loop().time() + seconds

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
        self.check_loop()
        for session in list(self.sessions.values()):
            session.close()
        if not await self.wait_ended(self.limits.close_timeout):
            for session in list(self.sessions.values()):
                session.abort()

    async def wait_ended(self, seconds: float) -> bool:
        """Wait so long until there is no session; return whether there is none."""
        if self.sessions:
            ended = self._ended = self._ended or asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await ended.wait()
        return not self.sessions


def unavailable(text: str, seconds: int) -> Response:
    """Answer that there is no place for a client now."""
    return Response(503, [("retry-after", str(seconds)), ("content-type", "text/plain")], text.encode())
