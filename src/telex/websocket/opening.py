"""The opening handshake of a client: from a URL to a connection.

Rule of this module: it leads streams through opening handshakes, redirects included. How there comes to be a stream is
`dialing.py`'s, what is right and wrong in a handshake `handshake.py`'s to say.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from telex.errors import HandshakeError, InvalidStatus
from telex.limits import Limits
from telex.streams import Stream
from telex.tokens import token_bytes
from telex.websocket.api import Connection
from telex.websocket.connection import Role
from telex.websocket.deflate import DeflateOptions
from telex.websocket.dialing import Way, dial
from telex.websocket.handshake import (
    Request,
    Response,
    ResponseReader,
    Url,
    build_request,
    check_response,
    make_key,
)
from telex.websocket.receivers import Listener
from telex.websocket.redirects import follow, is_same_origin, without_credentials

__all__ = ["Plan", "default_user_agent", "open_connection"]


@functools.cache
def default_user_agent() -> str:
    """Return how Telex's clients call themselves, unless the program says otherwise."""
    from importlib.metadata import version  # noqa: PLC0415  # a heavy import

    return f"telex/{version('telex')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Be what `connect` was told. Raises `ValueError` for a request that cannot be."""

    url: Url
    listener: Listener | None
    subprotocols: Sequence[str]
    origin: str | None
    headers: tuple[tuple[str, str], ...]
    deflate: DeflateOptions | None
    keepalive: bool
    limits: Limits
    timeout: float
    follow_redirects: bool
    way: Way

    def __post_init__(self) -> None:
        if self.way.ssl is not None and not self.url.is_secure:
            raise ValueError("an ssl context was given for a URL that is not wss://")
        self.ask(make_key(token_bytes)).encode()

    def ask(self, key: str) -> Request:
        """Return the request."""
        return build_request(
            self.url,
            key,
            subprotocols=self.subprotocols,
            headers=self.headers,
            origin=self.origin,
            deflate=self.deflate,
        )

    def redirected(self, refusal: InvalidStatus) -> Plan | None:
        """Return the plan for the server that a refusal redirects to; None where it is no redirect to be followed.

        Another origin gets none of the program's credentials, and is who it says it is, not who `server_hostname` says.
        """
        target = follow(self.url, refusal) if self.follow_redirects else None
        if target is None:
            return None
        if self.way.sock is not None:
            raise HandshakeError(502, "the server redirects, and a socket of the program's own leads nowhere else")
        if is_same_origin(self.url, target):
            return replace(self, url=target)
        return replace(
            self,
            url=target,
            headers=tuple(without_credentials(self.headers)),
            way=replace(self.way, server_hostname=None),
        )


async def open_connection(plan: Plan) -> Connection:
    """Connect, ask for a WebSocket, and follow redirects; all within the plan's timeout.

    Raises what `connect` says. **Limits**: `max_redirects`. **Cancellation**: the connection is cut.
    """
    async with asyncio.timeout(plan.timeout):
        for _ in range(1 + plan.limits.max_redirects):
            try:
                return await _ask(plan)
            except InvalidStatus as refusal:
                redirected = plan.redirected(refusal)
                if redirected is None:
                    raise
            plan = redirected
    raise HandshakeError(502, f"the server redirects more than {plan.limits.max_redirects} times")


async def _ask(plan: Plan) -> Connection:
    opening = _Opening(plan, asyncio.get_running_loop())
    stream = await dial(plan.url, opening, plan.way, plan.limits, timeout=plan.timeout)
    try:
        return await opening.lead(stream)
    except BaseException:
        stream.abort()
        raise


class _Opening:
    """Lead a stream through the opening handshake: its sink until it is a connection or lost."""

    __slots__ = ("_key", "_opened", "_plan", "_reader", "_request", "_stream")

    def __init__(self, plan: Plan, loop: asyncio.AbstractEventLoop) -> None:
        self._plan = plan
        self._key = make_key(token_bytes)
        self._request = plan.ask(self._key)
        self._reader = ResponseReader(plan.limits)
        self._opened: asyncio.Future[Connection] = loop.create_future()
        self._stream: Stream | None = None  # until we have asked

    async def lead(self, stream: Stream) -> Connection:
        """Ask for a WebSocket; return it when the server has agreed."""
        self._stream = stream
        stream.write(self._request.encode())
        return await self._opened

    def data_received(self, data: bytes) -> None:
        if self._opened.done():
            return
        try:
            if self._stream is None:
                raise HandshakeError(400, "the server spoke before it was asked")
            response = self._reader.feed(data)
            if response is not None:
                self._conclude(self._stream, response)
        except HandshakeError as error:
            self._fail(error)

    def eof_received(self) -> None:
        if not self._opened.done():
            try:
                if self._stream is None:
                    raise HandshakeError(400, "the server has left before it was asked") from EOFError()
                self._conclude(self._stream, self._reader.receive_eof())
            except HandshakeError as error:
                self._fail(error)
        if self._stream is not None:
            self._stream.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionResetError("the connection was lost during its opening"))

    def writing_resumed(self) -> None:
        pass

    def _fail(self, error: Exception) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)
            self._opened.exception()  # seen: after a cancellation nobody awaits it

    def _conclude(self, stream: Stream, response: Response) -> None:
        plan = self._plan
        negotiated = check_response(response, self._key, subprotocols=plan.subprotocols, deflate=plan.deflate)
        connection = Connection(
            Role.CLIENT,
            stream,
            listener=plan.listener,
            request=self._request,
            response=response,
            subprotocol=negotiated.subprotocol,
            deflate=negotiated.deflate,
            limits=plan.limits,
            keepalive=plan.keepalive,
            token=token_bytes,
        )
        stream.sink = connection
        self._opened.set_result(connection)
        connection.open(self._reader.leftover)
