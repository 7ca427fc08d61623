"""One WebSocket connection of an ASGI application, from its opening handshake on.

Rule of this module: it translates between `Connection` and ASGI's events. The stream comes from whoever accepted it:
uvicorn's transport (`uvicorn.py`) or the compiled loop (`arrivals.py`).

**The take-over.** A `telex.Server` finds itself offered the connection, under `TAKEOVER` in the scope's extensions.
When it has accepted in the ordinary way, so that middleware could add its cookies and headers, it takes the connection:
the descriptor leaves uvicorn's transport for the compiled loop, where it is not there already, the ASGI call returns,
and of the request stays an `_Opening`, which can make it anew. Where the descriptor cannot leave (TLS, or no compiled
loop), the transport stays and still nothing goes through ASGI any more. Any other application is served by a
`Connection`, made when it first asks for messages.

**The direct way.** A `telex.Server` that stands alone under `telex run` has nothing around it that would look at scope
and events. So it is asked without them (`_meet`), and takes the connection over as ever.

Source: the ASGI specification, HTTP & WebSocket 2.5, and its extension `websocket.http.response`.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from http import HTTPStatus
from operator import is_
from typing import Any
from urllib.parse import quote, unquote

from telex.engineio import Engine, WebSocketAdmission
from telex.engineio import Request as EngineRequest
from telex.engineio import Response as EngineResponse
from telex.errors import ConnectionClosed, HandshakeError
from telex.limits import Limits
from telex.serving.adopted import adopted_by
from telex.serving.asgi import TAKEOVER, Server, encode_headers, make_request
from telex.socketio.starting import start
from telex.streams import AsyncioStream, Deadline, Stream, deadlines_of, poll_of
from telex.tokens import token_bytes
from telex.types import Headers
from telex.websocket.api import Connection
from telex.websocket.connection import Role, State
from telex.websocket.deflate import DeflateOptions
from telex.websocket.handshake import (
    Negotiated,
    Request,
    RequestReader,
    Response,
    accept,
    check_request,
    refuse,
    reject,
)

__all__ = ["NEVER", "Conversation", "make_scope"]

logger = logging.getLogger("uvicorn.error")  # the one whose lines uvicorn's users read

Event = dict[str, Any]

NEVER = 10 * 365 * 86400.0
"""Seconds that stand for no timeout: `Limits` has no such value."""

N_ADDRESS_PARTS = 2
"""Host and port; an IPv6 address has more, a Unix socket's is no tuple."""


class _Phase(enum.Enum):
    READING = "the request is not complete"
    ASKING = "the application has not answered"
    REFUSING = "the application is sending a response that is not 101"
    ACCEPTED = "the 101 is sent, and the application has not said who serves what follows"
    OPEN = "the connection is there; its own state tells the rest"
    TAKEN = "a session of the application's has taken it over"
    OVER = "refused, or lost before it was answered"


class Conversation:
    """Hold one conversation between a peer and the application: the stream's sink until it is a connection."""

    def __init__(
        self,
        stream: Stream,
        limits: Limits,
        *,
        config: Any,
        state: Any,
        app_state: dict[str, Any],
        close_code: int,
        is_eager: bool = False,
        alone: Server | None = None,
        left: Callable[[], None] | None = None,
    ) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._config = config
        self._server_state = state
        self._app_state = app_state
        self._limits = limits
        self._close_code = close_code
        self._is_eager = is_eager
        self._alone = alone  # the application, where it is a server of ours and nothing stands around it
        self._left = left  # called when the stream tells its end to somebody else from now on, or has told us
        self._task: asyncio.Task[None] | None = None
        self._reader = RequestReader(limits)
        self._phase = _Phase.READING
        self._scope: Event = {}
        self._is_connect_told = False
        self._is_closed_by_app = False
        self._key = ""  # of the request
        self._base: Event = {}  # the scope as it was before anyone changed it
        self._agreed: tuple[Response, Negotiated]  # from ACCEPTED on
        self._early: list[bytes] = []  # what came in ACCEPTED
        self._answered: asyncio.Event | None = None  # made when the application waits for it
        self._connection: Connection | None = None
        self._request: Request  # from ASKING on
        self._refusal: tuple[int, list[tuple[str, str]], list[bytes]]  # in REFUSING
        self._linger: Deadline | None = None

    # The stream's sink

    def data_received(self, data: bytes) -> None:
        if self._phase is _Phase.ACCEPTED:
            self._early.append(data)
            self._stream.pause_reading()
        if self._phase not in (_Phase.READING, _Phase.ASKING, _Phase.REFUSING):
            return
        try:
            request = self._reader.feed(data)
            if request is not None:
                self._key = check_request(request)
                self._ask(request)
        except HandshakeError as error:
            self._refuse(refuse(error))

    def eof_received(self) -> None:
        self._stream.close()

    def writing_resumed(self) -> None:
        pass

    def connection_lost(self, error: Exception | None) -> None:
        if self._linger is not None:
            self._linger.cancel()
        self._enter(_Phase.OVER)
        self._leave()

    def connection_ended(self, connection: Connection) -> None:
        """Hear that the application's connection is gone (see `Connection`'s owner)."""
        self._leave()

    # What the Protocol calls

    def shutdown(self) -> None:
        if self._phase in (_Phase.ACCEPTED, _Phase.OPEN):
            self._connect().close(self._close_code)
        elif self._phase not in (_Phase.TAKEN, _Phase.OVER):  # `Adopted` sees to those that were taken
            self._refuse(reject(503, "The server is restarting."))

    # The application

    def _ask(self, request: Request) -> None:
        """Start the application on a sound request."""
        self._request = request
        self._phase = _Phase.ASKING
        asked = None if self._alone is None else self._meet(self._alone, request)
        if asked is None:
            self._scope = make_scope(request, self._stream, self._config, self._app_state.copy())
            self._scope["extensions"][TAKEOVER] = self
            self._base = dict(self._scope)
            asked = self._config.loaded_app(self._scope, self.receive, self.send)
        if self._is_eager:
            self._task = start(self._run(asked))  # which our own servers mostly end at once
        else:
            self._task = self._loop.create_task(self._run(asked))
        if self._task is not None:
            self._server_state.tasks.add(self._task)

    async def _run(self, asked: Awaitable[object]) -> None:
        """Run the application, and end the connection in the way the application ended."""
        code = 1000
        try:
            result = await asked
        except asyncio.CancelledError:
            code = 1012
            raise
        except ConnectionClosed as error:
            if self._is_open():
                logger.error("Exception in ASGI application\n", exc_info=error)
                code = 1011
        except BaseException as error:
            logger.error("Exception in ASGI application\n", exc_info=error)
            code = 1011
            if not isinstance(error, Exception):
                raise
        else:
            if self._phase in (_Phase.ASKING, _Phase.REFUSING):
                logger.error("ASGI callable returned without completing handshake.")
            elif result is not None:
                logger.error("ASGI callable should return None, but returned '%s'.", result)
        finally:
            self._server_state.tasks.discard(self._task)
            if self._phase in (_Phase.ACCEPTED, _Phase.OPEN):
                self._connect().close(code)
            elif self._phase in (_Phase.ASKING, _Phase.REFUSING):
                self._refuse(reject(500, "Internal Server Error"))

    def _meet(self, server: Server, request: Request) -> Coroutine[Any, Any, None] | None:
        """Ask a server that stands alone about a request; None where it must be asked by way of ASGI."""
        headers = request.headers
        raw_path, _, query = request.target.partition("?")
        path = unquote(raw_path)
        if (
            self._app_state
            or server.engine.shows_requests
            or not server.is_own_path(path)
            or "X-Forwarded-For" in headers  # which uvicorn's own middleware knows to judge
            or "X-Forwarded-Proto" in headers
        ):
            return None
        address: Any = _address(self._stream.get_extra_info("peername"))
        return self._admit(server, EngineRequest("GET", path, query, headers, remote_address=address))

    async def _admit(self, server: Server, request: EngineRequest) -> None:
        server.note_use()
        admission = await server.engine.admit_websocket(request)
        if self._phase is not _Phase.ASKING:  # the peer has gone, or we stop
            if not isinstance(admission, EngineResponse):
                admission.cancel()
        elif isinstance(admission, EngineResponse):
            self._begin_refusal({"status": admission.status, "headers": encode_headers(admission.headers)})
            self._go_on_refusing({"body": admission.body})
        else:
            self._accept({"headers": encode_headers(admission.headers)})
            if not self.take(server.engine, admission, {}):
                admission.cancel()

    def _is_open(self) -> bool:
        return self._connection is not None and self._connection.state is State.OPEN

    async def receive(self) -> Event:
        """Give the application the next event."""
        if not self._is_connect_told:
            self._is_connect_told = True
            return {"type": "websocket.connect"}
        while self._phase in (_Phase.ASKING, _Phase.REFUSING):
            if self._answered is None:
                self._answered = asyncio.Event()
            await self._answered.wait()
        if self._phase is _Phase.OVER:
            return {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        try:
            message = await self._connect().recv()
        except ConnectionClosed as error:
            return {"type": "websocket.disconnect", "code": error.code, "reason": error.reason}
        return {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}

    async def send(self, event: Event) -> None:
        """Do what the application says. On a lost connection this raises `ConnectionClosed`, which is an `OSError`."""
        kind = event["type"]
        if self._is_closed_by_app:
            raise RuntimeError(f"Unexpected ASGI message '{kind}', after the connection was closed or refused.")
        if self._phase is _Phase.OVER:
            raise ConnectionClosed(1006, "the peer has gone")
        connection = self._connect() if self._phase in (_Phase.ACCEPTED, _Phase.OPEN) else None
        if connection is not None and kind == "websocket.send":
            text, data = event.get("text"), event.get("bytes")
            if text is None and data is None:
                raise RuntimeError("The ASGI message 'websocket.send' needs 'text' or 'bytes'.")
            await connection.send(text if text is not None else data or b"")
        elif connection is not None and kind == "websocket.close":
            code = event.get("code")
            connection.close(1000 if code is None else code, event.get("reason") or "")
            self._is_closed_by_app = True
        elif (self._phase, kind) in _ANSWERS:
            _ANSWERS[self._phase, kind](self, event)
        else:
            raise RuntimeError(f"Unexpected ASGI message '{kind}'.")

    def _accept(self, event: Event) -> None:
        request = self._request
        wanted = event.get("subprotocol")
        deflate = DeflateOptions() if self._config.ws_per_message_deflate else None
        headers = [*self._server_state.default_headers, *event.get("headers", ())]
        try:
            response, negotiated = accept(
                request,
                subprotocols=() if wanted is None else (wanted,),
                deflate=deflate,
                headers=_decoded(headers),
                key=self._key,
            )
        except HandshakeError as error:  # what only the negotiation finds, such as a malformed list of extensions
            self._refuse(refuse(error))
            return
        head = response.encode()
        if wanted is not None and negotiated.subprotocol is None:
            logger.warning("The subprotocol %r was accepted but not offered, so the peer is not told.", wanted)
        self._log("[accepted]")
        self._agreed = response, negotiated
        self._stream.write(head)
        self._enter(_Phase.ACCEPTED)
        if self._reader.leftover:
            self._early.append(self._reader.leftover)

    def _connect(self) -> Connection:
        """Return the connection, made when it is first needed: what is taken over never has one."""
        if self._connection is None:
            limits = self._limits
            response, negotiated = self._agreed
            self._connection = connection = Connection(
                Role.SERVER,
                self._stream,
                listener=None,
                request=self._request,
                response=response,
                subprotocol=negotiated.subprotocol,
                deflate=negotiated.deflate,
                limits=limits,
                keepalive=limits.ping_interval < NEVER,
                token=token_bytes,
                owner=self,
            )
            self._stream.sink = connection
            self._enter(_Phase.OPEN)
            connection.open(b"".join(self._early))
            self._stream.resume_reading()
        return self._connection

    def take(self, engine: Engine, admission: WebSocketAdmission, scope: Mapping[str, Any]) -> bool:
        """Let a session have the connection, once it is accepted; False where it must go through ASGI after all."""
        if self._phase is not _Phase.ACCEPTED:
            return False
        adopted = adopted_by(self._server_state)
        stream = self._native(engine.limits.send_buffer_high)
        transport = admission.stream_transport(
            stream,
            limits=engine.limits,
            frame_limits=engine.frame_limits,
            deflate=self._agreed[1].deflate,
            owner=adopted,
        )
        stream.sink = transport
        self._phase = _Phase.TAKEN
        adopted.add(engine)
        extras: dict[str, Any] = {}
        is_changed = len(scope) != len(self._base) or not all(map(is_, scope.values(), self._base.values()))
        if is_changed or scope.get("state"):
            extras = {key: value for key, value in scope.items() if self._base.get(key) is not value or key == "state"}
        opening = _Opening(self._request.pack(), stream, self._config, extras or None)
        admission.start_on(transport, opening)
        transport.open(b"".join(self._early))
        self._stream.resume_reading()
        self._scope = self._base = {}  # which holds this object
        self._leave()
        return True

    def _leave(self) -> None:
        left, self._left = self._left, None
        if left is not None:
            left()

    def headers_of(self, scope: Mapping[str, Any]) -> Headers | None:
        """Return the headers of a scope, if they are still the request's own."""
        return self._request.headers if scope["headers"] is self._base["headers"] else None

    def _native(self, high_mark: int) -> Stream:
        """Return the stream in the compiled loop, if it can go there and is not there already."""
        stream = self._stream
        poll = poll_of(self._loop)
        if poll is None or not isinstance(stream, AsyncioStream):
            return stream
        descriptor = stream.detach()
        if descriptor is None:
            return stream
        try:
            return poll.adopt(descriptor, self, high_mark=high_mark)
        except OSError:  # nobody watches it, so it ends; the sink of the stream that it left hears of that
            os.close(descriptor)
            return stream

    def _reject(self, _: Event) -> None:
        self._is_closed_by_app = True
        self._log("403")
        self._refuse(reject(403, ""))

    def _begin_refusal(self, event: Event) -> None:
        status = event["status"]
        headers = _decoded(event.get("headers", ()))
        Response(status, "", Headers(headers)).encode()  # what HTTP cannot carry is refused now
        self._log(str(status))
        self._refusal = (status, headers, [])
        self._phase = _Phase.REFUSING

    def _go_on_refusing(self, event: Event) -> None:
        status, headers, body = self._refusal
        body.append(bytes(event.get("body", b"")))
        if event.get("more_body", False):
            return
        self._is_closed_by_app = True
        whole = b"".join(body)
        fields = Headers([*_decoded(self._server_state.default_headers), *headers])
        if "Content-Length" not in fields and "Transfer-Encoding" not in fields:
            fields.add("content-length", str(len(whole)))
        if "Connection" not in fields:
            fields.add("connection", "close")
        self._refuse(Response(status, _phrase(status), fields, whole))

    # Inside

    def _refuse(self, response: Response) -> None:
        """Send a response that is not 101, and end; the peer gets `close_timeout` to read it."""
        self._enter(_Phase.OVER)
        self._stream.write(response.encode())
        self._stream.close()
        if self._linger is None:
            deadline = self._loop.time() + self._limits.close_timeout
            self._linger = deadlines_of(self._loop).at(deadline, self._stream.abort)

    def _enter(self, phase: _Phase) -> None:
        self._phase = phase
        if self._answered is not None:
            self._answered.set()

    def _log(self, outcome: str) -> None:
        """Say what became of a request, as uvicorn's own classes do."""
        if not logger.isEnabledFor(logging.INFO):
            return
        scope = self._scope or make_scope(self._request, self._stream, self._config, {})
        client = ":".join(map(str, scope["client"] or ()))
        query = scope["query_string"].decode("ascii")
        path = quote(scope["path"]) + (f"?{query}" if query else "")
        logger.info('%s - "WebSocket %s" %s', client, path, outcome)


class _Opening:
    """Be the request that opened a taken connection, in few bytes; see `engineio.Opening`.

    `extras` is what middleware put into the scope.
    """

    __slots__ = ("_config", "_extras", "_packed", "_stream")

    def __init__(self, packed: bytes, stream: Stream, config: Any, extras: dict[str, Any] | None) -> None:
        self._packed = packed
        self._stream = stream
        self._config = config
        self._extras = extras

    def unpack(self) -> EngineRequest:
        scope = make_scope(Request.unpack(self._packed), self._stream, self._config, {})
        return make_request(scope | (self._extras or {}))


_ANSWERS = {
    (_Phase.ASKING, "websocket.accept"): Conversation._accept,
    (_Phase.ASKING, "websocket.close"): Conversation._reject,
    (_Phase.ASKING, "websocket.http.response.start"): Conversation._begin_refusal,
    (_Phase.REFUSING, "websocket.http.response.body"): Conversation._go_on_refusing,
}
"""What an application may answer a request with."""


def make_scope(request: Request, stream: Stream, config: Any, state: dict[str, Any]) -> Event:
    """Return the ASGI scope of a request."""
    raw_path, _, query = request.target.partition("?")
    subprotocols = request.headers.get("Sec-WebSocket-Protocol") or ""
    return {
        "type": "websocket",
        "asgi": {"version": config.asgi_version, "spec_version": "2.5"},
        "http_version": "1.1",
        "scheme": "wss" if stream.get_extra_info("sslcontext") else "ws",
        "server": _address(stream.get_extra_info("sockname")),
        "client": _address(stream.get_extra_info("peername")),
        "root_path": config.root_path,
        "path": config.root_path + unquote(raw_path),
        "raw_path": (config.root_path + raw_path).encode("ascii"),
        "query_string": query.encode("ascii"),
        "headers": [(name.lower().encode("ascii"), value.encode("latin-1")) for name, value in request.headers],
        "subprotocols": [name for part in subprotocols.split(",") if (name := part.strip(" \t"))],
        "state": state,
        "extensions": {"websocket.http.response": {}},
    }


def _address(address: Any) -> tuple[str, int | None] | None:
    """Return a socket address as ASGI wants it: host and port, or the path of a Unix socket and None."""
    if isinstance(address, tuple) and len(address) >= N_ADDRESS_PARTS:
        return str(address[0]), int(address[1])
    if isinstance(address, str) and address:
        return address, None
    return None


def _decoded(headers: Any) -> list[tuple[str, str]]:
    """Return ASGI's header fields as text."""
    return [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in headers]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
