"""Open a session: the first transport that the server takes, and what it says on it.

Rule of this module: one opening, from the options to a session that may be used. What comes after it, the upgrade, is
`upgrading.py`'s.
"""

from __future__ import annotations

import asyncio

from telex.engineio.client.handshake import Welcome
from telex.engineio.client.options import Options
from telex.engineio.client.promises import promise
from telex.engineio.client.session import ClientSession
from telex.engineio.client.upgrading import Upgrading
from telex.engineio.client.websocket import open_websocket
from telex.engineio.interfaces import CloseReason, SessionSink, Transport
from telex.engineio.transports.stream import StreamTransport
from telex.errors import EnginePacketError, HandshakeError
from telex.streams import deadlines_of

__all__ = ["open_session"]


async def open_session(options: Options, sink: SessionSink) -> ClientSession:
    """Connect to a server, and return the session when the server has opened it.

    The sink is told nothing before this returns, and `session_closed` exactly once after that. Where the server and the
    options want it, a session that polls goes on to websocket by itself.

    Raises `OSError` where there is no connection, `TimeoutError`, `InvalidStatus` where the server refuses (with its
    status, headers and body), `HandshakeError` where its answer is wrong, `EnginePacketError` where it is no Engine.IO.
    **Cancellation**: the connection is cut, and the sink is told nothing.
    """
    names = _in_order(options)
    loop = asyncio.get_running_loop()
    end = loop.time() + options.open_timeout
    while True:
        name = names.pop(0)
        opening = _Opening(options, name)
        try:
            # One that hangs, as WebSockets do behind some proxies, leaves time to the others.
            async with asyncio.timeout_at(loop.time() + (end - loop.time()) / (len(names) + 1)):
                return await opening.run(sink)
        except (OSError, HandshakeError, EnginePacketError):  # of which TimeoutError is one
            if name == "websocket":
                options.memory.websocket_worked = False
            if not names:
                raise


def _in_order(options: Options) -> list[str]:
    """Return the names of the transports that are to be tried."""
    names = list(options.transports)
    if options.remember_upgrade and options.memory.websocket_worked and "websocket" in names:
        names.sort(key=lambda name: name != "websocket")
    return names if options.try_all_transports else names[:1]


class _Opening:
    """Try one transport, and wait for what the server says first."""

    __slots__ = ("_error", "_name", "_opened", "_options", "_session")

    def __init__(self, options: Options, name: str) -> None:
        self._options = options
        self._name = name
        self._opened: asyncio.Future[Welcome] = promise()
        self._error: EnginePacketError | None = None
        self._session: ClientSession | None = None

    async def run(self, sink: SessionSink) -> ClientSession:
        """Return the session, of which the sink hears from then on."""
        try:
            await (self._connect() if self._name == "websocket" else self._poll())
            welcome = await self._opened
            session = self._session
            if session is None or not session.is_open:
                raise ConnectionResetError("the server ended the session at once")
        except BaseException:
            self._opened.cancel()
            if self._session is not None:
                self._session.abort()
            raise
        session.sink = sink
        session.resume_reading()
        if self._name == "websocket":
            self._options.memory.websocket_worked = True
        elif "websocket" in welcome.upgrades and "websocket" in self._options.transports and self._options.upgrade:
            session.owner = Upgrading(session, self._options)
        return session

    async def _connect(self) -> None:
        options = self._options.for_transport("websocket")
        await open_websocket(options, self._begin)

    async def _poll(self) -> None:
        # Who uses WebSockets only needs no HTTP client.
        from telex.engineio.client.polling import PollingTransport  # noqa: PLC0415

        transport = PollingTransport(self._options.for_transport("polling"))
        transport.session = self._make(transport)
        await transport.open()

    def _begin(self, transport: StreamTransport) -> None:
        transport.session = self._make(transport)

    def _make(self, transport: Transport) -> ClientSession:
        deadlines = deadlines_of(asyncio.get_running_loop())
        self._session = ClientSession(transport, limits=self._options.limits, deadlines=deadlines, owner=self)
        return self._session

    # What the session tells.

    def session_opened(self, welcome: Welcome) -> None:
        if self._session is not None:
            self._session.owner = None
        if not self._opened.done():
            self._opened.set_result(welcome)

    def session_refused(self, error: EnginePacketError) -> None:
        self._error = error

    def session_upgraded(self) -> None:
        pass

    def session_finished(self, reason: CloseReason) -> None:
        if not self._opened.done():
            error = ConnectionResetError(f"the server did not open the session: {reason}")
            self._opened.set_exception(self._error or error)
