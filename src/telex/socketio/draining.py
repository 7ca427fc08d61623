"""Sending the clients of a server off, spread over a time.

Rule of this module: who goes when. How a connection ends is `connection.py`'s, how a server closes `server.py`'s.

Theory of operation. The sessions that are there get a moment each, in the order in which they came. At its moment a
session with nothing under way is closed; one with handlers at work, or that owes an acknowledgement, is watched over by
a task of its own until it is idle or the time is over. Moments are points in time and no pauses, so that many sessions
in a short time do not make it longer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from telex.socketio.connection import Connection
    from telex.socketio.server import Server

__all__ = ["drain"]

CLOSED_PER_TURN = 64
"""Sessions closed in a row when they are overdue: the rest of the server wants its turn."""


async def drain(server: Server, seconds: float) -> set[asyncio.Future[None]]:
    """Send everybody off within so many seconds (see `Server.drain`); some may be left at the end.

    Returns: what is done when the handlers that heard of it have ended.
    """
    if not 0 <= seconds < float("inf"):  # not NaN either
        raise ValueError(f"a server is drained within a number of seconds, not {seconds}")
    engine = server.engine
    engine.check_loop()
    engine.begin_drain(seconds)
    loop, caller = asyncio.get_running_loop(), asyncio.current_task()
    begin = loop.time()
    sessions = list(engine.sessions.values())
    busy: set[asyncio.Task[None]] = set()
    farewells: set[asyncio.Future[None]] = set()
    try:
        for number, session in enumerate(sessions):
            moment = begin + seconds * number / len(sessions)
            if session.is_open and moment > loop.time():
                await engine.wait_ended(moment - loop.time())
            elif number % CLOSED_PER_TURN == 0:
                await asyncio.sleep(0)
            if session.is_open:
                connection = cast("Connection", session.sink)
                if connection.at_work(caller):
                    busy.add(asyncio.create_task(send_off(connection, caller, farewells)))
                else:
                    close(connection, caller, farewells)
        if busy:
            await asyncio.wait(busy, timeout=max(begin + seconds - loop.time(), 0))
    finally:
        for task in busy:
            task.cancel()
    return farewells


async def send_off(
    connection: Connection, caller: asyncio.Task[Any] | None, farewells: set[asyncio.Future[None]]
) -> None:
    """Close a connection as soon as nothing is under way on it."""
    while waiting := connection.at_work(caller):
        await asyncio.wait(waiting)
    close(connection, caller, farewells)


def close(connection: Connection, caller: asyncio.Task[Any] | None, farewells: set[asyncio.Future[None]]) -> None:
    """Close a connection, and note what is done when its last handlers have ended, until that is so."""
    for done in connection.shut_down(caller):
        farewells.add(done)
        done.add_done_callback(farewells.discard)
