"""A session of protocol v3: the heartbeat goes the other way.

Rule of this module: sans-I/O, as `engineio.session`. The client pings every `ping_interval` and is answered at once;
one that has not for `ping_interval` and `ping_timeout` together is given up. All else is as in v4.

Source: Engine.IO protocol v3, "Ping" and "Timeouts".
"""

from __future__ import annotations

from typing import ClassVar

from telex.engineio.packets import PONG
from telex.engineio.session import Beat, CloseReason, Session

__all__ = ["SessionV3"]

PONGS = (PONG,)


class SessionV3(Session):
    """Drive a session with a client that pings."""

    __slots__ = ()

    protocol: ClassVar[int] = 3

    def _begin_heartbeat(self) -> None:
        self._beat = Beat.LISTENING
        self._await_client()

    def _await_client(self) -> None:
        self._deadlines.rota(self._limits.ping_interval + self._limits.ping_timeout).put(self)

    def _receive_ping(self) -> None:
        self._charge_control()  # each costs an answer
        self._await_client()
        self.send(PONGS)

    def _receive_pong(self) -> None:
        self._abandon(CloseReason.TRANSPORT_ERROR)  # an "invalid heartbeat direction", as a ping in v4
