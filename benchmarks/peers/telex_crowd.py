"""Telex, watching how late its own loop is: `telex run telex_crowd:io`.

`CROWD` in the environment says how many connections are to come, `CROWD_PING` how often they are pinged and how long
they may take to answer.
"""

import asyncio
import os
import resource
from typing import Any

import telex

TICK = 0.005
"""Seconds from one look at the clock to the next."""

N = int(os.environ["CROWD"])
PING_INTERVAL, PING_TIMEOUT = map(float, os.environ["CROWD_PING"].split())
SPARE = 16
"""Who else connects: the one that asks for the report."""

_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Watch:
    """Compare when a timer was due with when it came, apart for each phase: opening, holding, shouting, closing."""

    def __init__(self) -> None:
        self.phase = "opening"
        self.lateness: dict[str, list[float]] = {}
        self.n_lost = 0
        self._has_begun = False

    def begin(self, _: object) -> bool:
        """Begin with the first handshake, when there is a loop; let everybody in."""
        if not self._has_begun:
            self._has_begun = True
            self._arm(asyncio.get_running_loop())
        return True

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + TICK
        loop.call_at(due, self._tick, loop, due)

    def _tick(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        late = loop.time() - due
        self.lateness.setdefault(self.phase, []).append(late)  # what held it up was the phase up to now
        if self.phase == "opening" and len(io.sockets.sockets) >= N:
            self.phase = "holding"
        self._arm(loop)

    def lost(self, _: telex.Socket, __: str) -> None:
        """Count whom we lost; after the shout the load leaves."""
        if self.phase in ("opening", "holding"):
            self.n_lost += 1
        else:
            self.phase = "closing"

    def report(self, _: telex.Socket) -> dict[str, Any]:
        """Return milliseconds for each phase."""
        phases = {}
        for phase, lateness in self.lateness.items():
            ordered = sorted(lateness)
            phases[phase] = {
                "n_ticks": len(ordered),
                "max_ms": ordered[-1] * 1e3,
                "p999_ms": ordered[int(len(ordered) * 0.999)] * 1e3,
                "p50_ms": ordered[len(ordered) // 2] * 1e3,
            }
        return {"phases": phases, "n_lost": self.n_lost}


watch = Watch()
io = telex.Server(
    ping_interval=PING_INTERVAL,
    ping_timeout=PING_TIMEOUT,
    allow_request=watch.begin,
    limits=telex.Limits(max_sessions=N + SPARE, max_connections=N + SPARE),
)
io.on("disconnect", watch.lost)
io.on("report", watch.report)


@io.on("shout")
def shout(socket: telex.Socket, data: str) -> None:
    watch.phase = "shouting"
    io.emit("shout", data)
