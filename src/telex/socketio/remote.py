"""A socket of any node, as `fetch_sockets` tells of it.

Rule of this module: it holds what was so when it was fetched, and acts through a broadcast to the socket's own room,
which finds the socket wherever it is by then.

Source: the original's `RemoteSocket`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from telex.errors import Disconnected
from telex.socketio.broadcast import BroadcastOperator, Flags, Sent

if TYPE_CHECKING:
    from telex.socketio.namespace import Namespace
    from telex.socketio.socket import Handshake

__all__ = ["RemoteSocket"]


class RemoteSocket:
    """Know and direct one client in one namespace, of this node or of another.

    Attributes:
        id: The socket's id.
        nsp: The namespace, on this node.
        rooms: The rooms it was in when it was fetched, its own id among them.
        data: **Ownership**: the socket's own `data` on this node, a copy of it from another. Read it, and write to
            `socket.data` where the socket is.
    """

    __slots__ = ("_flags", "_handshake", "data", "id", "nsp", "rooms")

    def __init__(
        self,
        nsp: Namespace,
        sid: str,
        rooms: frozenset[str],
        data: Mapping[str, Any],
        handshake: Callable[[], Handshake],
        *,
        flags: Flags = Flags(),  # noqa: B008  # immutable
    ) -> None:
        self.id = sid
        self.nsp = nsp
        self.rooms = rooms
        self.data = data
        self._handshake = handshake
        self._flags = flags

    def __repr__(self) -> str:
        return f"<RemoteSocket {self.id} in {self.nsp.name}>"

    @property
    def handshake(self) -> Handshake:
        """What the client said when it connected; made each time, so keep it if you need more than one thing of it."""
        return self._handshake()

    def join(self, rooms: str | Iterable[str]) -> Sent:
        """Let it join one room or several. Raises as `Socket.join`. Once it has left nothing happens."""
        return self._operator.sockets_join(rooms)

    def leave(self, rooms: str | Iterable[str]) -> Sent:
        """Let it leave one room or several."""
        return self._operator.sockets_leave(rooms)

    def emit(self, event: str, *args: Any) -> Sent:
        """Send it an event, at once. Once it has left nothing is sent. Raises as `Broadcaster.emit`."""
        return self._operator.emit(event, *args)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send it an event and return its one acknowledgement, as `Socket.call`.

        Raises `AckTimeout` when it does not answer in time, or leaves before it does; `Disconnected` when it has left
        already; and as `emit`. **Units**: `timeout` in seconds, 60 by default.
        **Cancellation**: the event stays sent, the answer is ignored.
        """
        answers = await self._operator.call(event, *args, timeout=timeout)
        if not answers:
            raise Disconnected("not connected any more")
        return answers[0]

    def timeout(self, seconds: float) -> RemoteSocket:
        """Return the same socket, whose `call` waits no longer than this."""
        flags = replace(self._flags, timeout=seconds)
        return RemoteSocket(self.nsp, self.id, self.rooms, self.data, self._handshake, flags=flags)

    def disconnect(self, close: bool = False) -> Sent:
        """Send it off, as `Socket.disconnect` does; `close` ends its whole connection."""
        return self._operator.disconnect_sockets(close)

    @property
    def _operator(self) -> BroadcastOperator:
        return BroadcastOperator(self.nsp, frozenset({self.id}), flags=self._flags)
