"""Go on from polling to websocket, once a session is open.

Rule of this module: it connects the candidate and hands it to the session, which probes it. That an upgrade fails is
no error: the session goes on as it was.

Source: Engine.IO protocol v4, "Upgrade".
"""

from __future__ import annotations

import asyncio
import logging
from typing import cast

from telex.engineio.client.handshake import Welcome
from telex.engineio.client.options import Options
from telex.engineio.client.session import ClientSession, PausableTransport
from telex.engineio.client.websocket import open_websocket
from telex.engineio.interfaces import CloseReason
from telex.engineio.transports.stream import StreamTransport
from telex.errors import EnginePacketError, HandshakeError

__all__ = ["Upgrading"]

logger = logging.getLogger("telex.engineio")


class Upgrading:
    """Upgrade one session: its owner, until that is done or the session is over."""

    __slots__ = ("_options", "_session", "_task")

    def __init__(self, session: ClientSession, options: Options) -> None:
        self._session = session
        self._options = options
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        session, options = self._session, self._options.for_transport("websocket")
        try:
            async with asyncio.timeout(options.limits.upgrade_timeout):
                transport = await open_websocket(options, self._begin, sid=session.sid)
        except (OSError, HandshakeError) as error:  # of which TimeoutError is one
            logger.debug("the session %s stays with polling: %s", session.sid, error)
            options.memory.websocket_worked = False
            return
        if not session.add_candidate(transport, cast("PausableTransport", session.transport)):
            transport.close()

    def _begin(self, transport: StreamTransport) -> None:
        transport.session = self._session

    # What the session tells.

    def session_opened(self, welcome: Welcome) -> None:
        pass

    def session_refused(self, error: EnginePacketError) -> None:
        pass

    def session_upgraded(self) -> None:
        self._options.memory.websocket_worked = True
        self._session.owner = None

    def session_finished(self, reason: CloseReason) -> None:
        self._task.cancel()
