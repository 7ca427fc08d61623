"""One namespace of a server, from the client's side.

Rule of this module: what a program does with a client.

Source: the original's `Socket`.
"""

from __future__ import annotations

import asyncio
from asyncio import _get_running_loop  # None in a thread without one, and many times cheaper than an exception
from collections.abc import Callable, Generator, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from telex.errors import Disconnected
from telex.socketio.broadcast import Sent
from telex.socketio.client.manager import Manager
from telex.socketio.client.member import Member
from telex.socketio.client.operators import ClientOperator
from telex.socketio.client.options import ClientOptions, read_options
from telex.socketio.client.sender import Flags, Sender
from telex.socketio.client.states import Phase
from telex.socketio.events import CONNECTED
from telex.socketio.packets import Packet, PacketType
from telex.socketio.reasons import DisconnectReason
from telex.tokens import token_text

__all__ = ["Client", "Joining"]

CLIENT_ID_BYTES = 16


class Client(Member):
    """Talk with a server in one of its namespaces.

    The client connects by itself as soon as an event loop runs, and again whenever the connection is lost, until it
    leaves (`disconnect`, `aclose`), is refused by the server's middleware, or sent off. Everything belongs to one event
    loop, and is called in its thread.

    Args:
        url: `http://`, `https://`, `ws://` or `wss://` with a host; the path is the namespace.
        auth: What the server's middlewares are told: a mapping, or a function, plain or not, that is asked for it at
            every CONNECT packet.
        auto_connect: Connect without being told to: at once where a loop runs, else with the first use.
        multiplex, force_new: Share the connection with the clients of other namespaces, or have one of its own.
        retries: How often each event is sent again until the server acknowledges it, in strict order (docs/client.md).
        ack_timeout: Seconds that `call` waits, and each try where there are `retries`; 60 by default.
        parser: "json", "msgpack" or an object; it must be the server's.
        reconnection: Connect again when the connection is lost or cannot be made.
        reconnection_attempts: How often in a row; None without end.
        reconnection_delay, reconnection_delay_max: Bounds of the delay before each attempt, drawn evenly below one that
            doubles from the first to the second. A server's Retry-After comes on top.
        timeout: Seconds until a connection is open, until the auth is had, and until a CONNECT packet is answered.
        limits: Bounds of what the server may cost.
        path: Where the server is, "/socket.io" by default.
        query, headers, origin, cookies, subprotocols, transports, upgrade, remember_upgrade, try_all_transports,
            deflate, request_timeout, transport_options, timestamp_requests, timestamp_param, add_trailing_slash: as for
            `telex.engineio.connect`.
        ssl, server_hostname, sock, proxy, local_address: as for `telex.websocket.connect`.

    Raises `ValueError` and `TypeError` for what cannot be.
    Attributes:
        id: What the server calls this client; new for each connection, but for one that was recovered. None while it is
            not connected.
        recovered: Whether the client was away and has missed nothing: it has its former id, and everything that was
            sent to it meanwhile comes.
        nsp: The namespace; `nsp.name` is its name.
    """

    __slots__ = ("__weakref__", "_client_id", "_sender")

    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        self._sender: Sender | None = None
        self._client_id: str | None = None
        super().__init__(*read_options(url, **options))
        if self.wishes.auto_connect and _get_running_loop() is not None:
            self.want()

    def __repr__(self) -> str:
        return f"<Client {self.id} in {self.nsp.name} of {self.settings.origin} {self.phase.name.lower()}>"

    # What it is.

    @property
    def connected(self) -> bool:
        """Whether the server has let the client in, and the connection is there."""
        return self.state is CONNECTED

    @property
    def active(self) -> bool:
        """Whether the client is connected or will try to be: not before it begins, nor after its end."""
        return self.phase is not Phase.IDLE

    @property
    def reason(self) -> DisconnectReason | None:
        """Why it disconnected last; None if it never has."""
        return self._reason

    @property
    def manager(self) -> Manager | None:
        """What keeps the connection; None as long as the client has not begun."""
        return self.connection

    # Connecting and leaving.

    def connect(self) -> Joining:
        """Connect, unless the client is active already; awaiting the result waits until it is connected.

        Awaiting raises `ConnectRefused` when the server's middleware refuses the client, which then does not try again,
        `ConnectError` when the next attempt fails, after which the client goes on trying, if it reconnects at all, and
        `Disconnected` when it leaves meanwhile. **Cancellation**: only the waiting ends.
        """
        self.want()
        return Joining(self)

    def disconnect(self) -> None:
        """Leave the namespace; the connection is closed behind its last client. Nothing happens if it is not active.

        What was emitted before still leaves if the client is connected; what waits for a connection is kept for the
        next `connect`, but for what asks for an acknowledgement: `call` raises `Disconnected`.
        """
        if self.phase is Phase.IDLE:
            return
        self.check_thread()
        if self.phase is Phase.JOINED or (self.phase is Phase.JOINING and self._asking is None):
            self.connection.send_own(Packet(PacketType.DISCONNECT, self.nsp.name))
        if self.active:
            self._end(DisconnectReason.IO_CLIENT_DISCONNECT, None)

    async def aclose(self) -> None:
        """Leave, and wait until the handlers that are at work have ended. **Cancellation**: only the waiting ends."""
        self.disconnect()
        inbox = self._inbox
        done = None if inbox is None else inbox.done()
        if inbox is not None and done is not None and inbox.worker is not asyncio.current_task():
            await asyncio.shield(done)

    async def __aenter__(self) -> Self:
        if not self.connected:
            self.want()
            try:
                await self.joined()
            except BaseException:
                self.disconnect()
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def wait(self) -> None:
        """Wait until the client has ended: not while it is away and tries again.

        It begins if it has not begun yet and `auto_connect` says so. `reason` tells why it has ended.
        **Cancellation**: only the waiting ends.
        """
        self._begin()
        while self.active:
            await self._hear_news()

    async def joined(self, *, persistent: bool = False) -> Self:
        """Wait until the client is connected, as awaiting `connect` does; `persistent`: after failed attempts too."""
        while not self.connected:
            if not self.active:
                raise self._error or Disconnected(self.absence)
            news = await self._hear_news()
            if news is not None and not (persistent and self.active):
                raise news
        return self

    # Sending.

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event to the server and return its acknowledgement.

        While the client is away the event waits, as with `emit`, and the time runs.
        Returns: its value; a tuple where there are several, `None` where there is none.
        Raises `AckTimeout` (a `TimeoutError`; the event is taken back if it still waits), `Disconnected` when the
        connection is lost before the answer or the client has ended, `OutboxFull`, and as `emit`.
        **Units**: `timeout` in seconds; by default `ack_timeout`, else 60. With `retries` it bounds all tries together,
        and by default nothing does but their number. **Cancellation**: the event is taken back if it still waits.
        """
        return await ClientOperator(self).call(event, *args, timeout=timeout)

    def send(self, *args: Any) -> Sent:
        """Send an event called "message"."""
        return self.emit("message", *args)

    @property
    def volatile(self) -> ClientOperator:
        """Send only what can leave right now; else drop it."""
        return ClientOperator(self, Flags(volatile=True))

    def compress(self, compress: bool) -> ClientOperator:
        """Say whether the next event may be compressed, where compression is on."""
        return ClientOperator(self, Flags(compress=compress))

    def timeout(self, seconds: float) -> ClientOperator:
        """Bound how long the next `call` waits, or the next `callback` may be called."""
        return ClientOperator(self, Flags(timeout=seconds))

    @property
    def has_room(self) -> bool:
        """Whether the program may emit more without waiting.

        While connected: at most `Limits.send_buffer_high` bytes wait for the server. While away: at most that waits for
        the connection, and fewer events than `Limits.max_offline_events`. After the end: always.
        """
        if self.phase is Phase.IDLE:
            return True
        if self._sender is not None and not self._sender.has_room:
            return False
        return self.state is not CONNECTED or bool(self.connection.session.has_room)

    async def wait_room(self) -> None:
        """Wait until `has_room`. **Cancellation**: only the waiting ends."""
        while not self.has_room:
            await self.connection.wait_room()

    # Receiving.

    async def receive(self, timeout: float | None = None) -> tuple[Any, ...]:
        """Return the next event that has no handler: its name, and its arguments.

        Events are kept from the beginning, the newest of them, unless the client has handlers of events; from the first
        `receive` on all are kept, and when too many wait the connection is not read.
        Raises `Disconnected` when the client has ended and nothing is left, `TimeoutError` after `timeout` seconds.
        **Limits**: `recv_queue_high`, `recv_queue_high_bytes`. **Cancellation**: no event is lost.
        """
        self._begin()
        box = self.box
        box.is_read = True
        async with asyncio.timeout(timeout):
            while True:
                event = box.take()
                if event is not None:
                    self.regulate()
                    return event
                if not self.active:
                    raise Disconnected(self.absence)
                await box.wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Any, ...]:
        try:
            return await self.receive()
        except Disconnected:
            raise StopAsyncIteration from None

    # What the operators and the connection ask and do.

    def ready_sender(self) -> Sender:
        """Return what sends its events on the long way; the library's own. Raises `RuntimeError` in another thread."""
        self._begin()
        if self._sender is None:
            self._sender = Sender(self)
        return self._sender

    def forget_ack(self, ack_id: int) -> None:
        """Await it no longer; an event that still waits is taken back. The library's own."""
        if self._sender is not None:
            self._sender.forget(ack_id)
        self.make_room()
        self.regulate_all()

    def take_ack(self, ack_id: int, values: list[Any]) -> None:
        """Take an acknowledgement, at once: it never waits behind handlers. The library's own."""
        if self._sender is not None:
            self._sender.resolve(ack_id, values)
            self.regulate_all()

    @property
    def is_awaiting_ack(self) -> bool:
        """Whether the server owes an acknowledgement; the library's own."""
        return self._sender is not None and self._sender.is_awaiting_ack

    def client_id(self) -> str:
        """Return what servers that know Telex's extensions know it by: a secret. The library's own."""
        if self._client_id is None:
            self._client_id = token_text(CLIENT_ID_BYTES)
        return self._client_id

    def _entered(self, is_numbering: bool) -> None:
        sender = self._sender
        if sender is None and self.wishes.retries:
            sender = self._sender = Sender(self)
        if sender is not None:
            sender.is_numbering = is_numbering and self.wishes.retries > 0
            sender.connected()

    def _left(self, for_good: bool) -> None:
        sender = self._sender
        if sender is not None:
            sender.disconnected()
            if for_good:
                sender.ended()

    def _emit(self, event: str, args: Sequence[Any], callback: Callable[..., Any] | None) -> Sent:
        return ClientOperator(self).emit(event, *args, callback=callback)

    def _begin(self) -> None:
        """Begin, with the first use of a client that was made where no loop ran; check the thread of any other."""
        if self.connection is not None:
            self.check_thread()
        elif self.wishes.auto_connect:
            self.want()


class Joining:
    """Be what `Client.connect` returns: awaiting it waits until the client is connected."""

    __slots__ = ("_client",)

    def __init__(self, client: Client) -> None:
        self._client = client

    def __await__(self) -> Generator[Any, None, Client]:
        return self._client.joined().__await__()
