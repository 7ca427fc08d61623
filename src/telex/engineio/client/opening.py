"""Open a session: the first transport, and what the server says on it.

Rule of this module: one opening, from the options to a session that may be used.
"""

from __future__ import annotations

import asyncio

from telex.engineio.client.handshake import Welcome
from telex.engineio.client.options import Options
from telex.engineio.client.session import ClientSession
from telex.engineio.client.websocket import open_websocket
from telex.engineio.interfaces import CloseReason, SessionSink
from telex.engineio.transports.stream import StreamTransport
from telex.errors import EnginePacketError
from telex.streams import deadlines_of

__all__ = ["open_session"]


async def open_session(options: Options, sink: SessionSink) -> ClientSession:
    """Connect to a server, and return the session when the server has opened it.

    The sink is told nothing before this returns, and `session_closed` exactly once after that.

    Raises `OSError` where there is no connection, `TimeoutError`, `InvalidStatus` where the server refuses (with its
    status, headers and body), `HandshakeError` where its answer is wrong, `EnginePacketError` where it is no Engine.IO.
    **Cancellation**: the connection is cut, and the sink is told nothing.
    """
    opening = _Opening(options)
    async with asyncio.timeout(options.open_timeout):
        return await opening.run(sink)


class _Opening:
    """Wait for what the server says first."""

    __slots__ = ("_error", "_opened", "_options", "_session")

    def __init__(self, options: Options) -> None:
        self._options = options
        self._opened: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()
        self._error: EnginePacketError | None = None
        self._session: ClientSession | None = None

    async def run(self, sink: SessionSink) -> ClientSession:
        options = self._options.for_transport("websocket")
        try:
            await open_websocket(options, options.address("websocket"), self._begin)
            await self._opened
        except BaseException:
            self._opened.cancel()
            if self._session is not None:
                self._session.abort()
            raise
        session = self._session
        if session is None or not session.is_open:
            raise ConnectionResetError("the server ended the session at once")
        session.sink = sink
        session.resume_reading()
        return session

    def _begin(self, transport: StreamTransport) -> None:
        loop = asyncio.get_running_loop()
        self._session = session = ClientSession(
            transport, limits=self._options.limits, deadlines=deadlines_of(loop), owner=self
        )
        transport.session = session

    # What the session tells.

    def session_opened(self, welcome: Welcome) -> None:
        if self._session is not None:
            self._session.owner = None
        if not self._opened.done():
            self._opened.set_result(welcome)

    def session_refused(self, error: EnginePacketError) -> None:
        self._error = error

    def session_finished(self, reason: CloseReason) -> None:
        if not self._opened.done():
            error = ConnectionResetError(f"the server did not open the session: {reason}")
            self._opened.set_exception(self._error or error)
