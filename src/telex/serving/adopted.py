"""What stands for connections that were taken over, in uvicorn's set of connections.

Rule of this module: counting and closing. uvicorn waits at its end until that set is empty, and tells each member to
shut down; one object for all of a server's sessions is enough for that, and costs an idle client nothing.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from telex.engineio import Engine

__all__ = ["Adopted", "adopted_by"]


class Adopted:
    """Stand for all connections of one server that were taken over, in uvicorn's set of connections."""

    def __init__(self, server_state: Any) -> None:
        self._server_state = server_state
        self._engines: weakref.WeakSet[Engine] = weakref.WeakSet()
        self._n_open = 0

    def add(self, engine: Engine) -> None:
        self._n_open += 1
        self._engines.add(engine)
        self._server_state.connections.add(self)

    def connection_ended(self) -> None:
        self._n_open -= 1
        if not self._n_open:
            self._server_state.connections.discard(self)

    def shutdown(self) -> None:
        """Close their sessions, for the server stops. Idempotent."""
        for engine in list(self._engines):
            task = asyncio.get_running_loop().create_task(engine.close())
            self._server_state.tasks.add(task)
            task.add_done_callback(self._server_state.tasks.discard)


_adopted: weakref.WeakKeyDictionary[Any, Adopted] = weakref.WeakKeyDictionary()


def adopted_by(server_state: Any) -> Adopted:
    """Return what stands for a server's connections that were taken over."""
    found = _adopted.get(server_state)
    if found is None:
        found = _adopted[server_state] = Adopted(weakref.proxy(server_state))
    return found
