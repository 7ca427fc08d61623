"""Open plain WebSocket connections on asyncio.

Rule of this module: it connects a stream, leads it through the opening handshake and hands out a `Connection`; what is
right and wrong in a handshake is `handshake.py`'s to say.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl as ssl_module
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from telex.errors import HandshakeError
from telex.limits import Limits
from telex.streams import AsyncioStream, Stream, poll_of, take_descriptor
from telex.tokens import token_bytes
from telex.websocket.api import Connection
from telex.websocket.connection import Role
from telex.websocket.deflate import DeflateOptions
from telex.websocket.handshake import (
    Request,
    ResponseReader,
    Url,
    build_request,
    check_response,
    make_key,
    parse_url,
)
from telex.websocket.receivers import Listener

__all__ = ["connect"]

HAPPY_EYEBALLS_DELAY = 0.25
"""Seconds until the next address is tried beside the one that has not answered yet (RFC 8305 §5)."""


def connect(
    url: str,
    *,
    listener: Listener | None = None,
    subprotocols: Sequence[str] = (),
    origin: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    deflate: DeflateOptions | bool | None = None,
    keepalive: bool = True,
    limits: Limits | None = None,
    open_timeout: float | None = None,
    ssl: ssl_module.SSLContext | None = None,
    server_hostname: str | None = None,
    sock: socket.socket | None = None,
) -> Connecting:
    """Open a connection: `async with connect(url) as ws:`, or `ws = await connect(url)`.

    Args:
        url: `ws://` or `wss://`.
        listener: Is called for what happens; without one, messages are taken with `recv` or `async for`.
        subprotocols: Those the program speaks, the preferred first.
        origin: The value of `Origin`, which browsers send and other programs need not.
        headers: Further header fields of the request, for example `Authorization`.
        deflate: Offer permessage-deflate: options, True for the default ones, None or False for none.
        keepalive: Ping the server every `ping_interval` and give it up when it does not answer.
        open_timeout: Seconds for everything up to the server's 101; `limits.handshake_timeout` by default.
        ssl: Context for `wss://`; by default the server's certificate and name are verified.
        server_hostname: The name the certificate must be for, where it is not the URL's.
        sock: A connected socket to use, for example to a Unix path.

    Raises, when awaited, `OSError`, `TimeoutError`, `InvalidStatus` where the server refuses, `HandshakeError` where
    its answer is wrong; `ValueError` at once for options that cannot be.
    **Cancellation** of the wait: the connection is cut.
    """
    where = parse_url(url)
    options = DeflateOptions() if deflate is True else deflate or None
    key = make_key(token_bytes)
    request = build_request(where, key, subprotocols=subprotocols, headers=headers, origin=origin, deflate=options)
    request.encode()
    if ssl is not None and not where.is_secure:
        raise ValueError("an ssl context was given for a URL that is not wss://")
    target: dict[str, Any] = {}
    if sock is not None:
        target["sock"] = sock
    else:
        target |= {"host": where.host, "port": where.port}
    limits = limits or Limits()
    timeout = limits.handshake_timeout if open_timeout is None else open_timeout
    if where.is_secure:
        target |= {
            "ssl": ssl,
            "server_hostname": server_hostname or where.host,
            "ssl_handshake_timeout": timeout,
        }
    return Connecting(
        _Plan(
            url=where,
            request=request,
            key=key,
            listener=listener,
            subprotocols=tuple(subprotocols),
            deflate=options,
            keepalive=keepalive,
            limits=limits,
            timeout=timeout,
            target=target,
        )
    )


class Connecting:
    """Be a connection to come: enter it with `async with`, or await it. Once."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._connection: Connection | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return self._open().__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await self._open()
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _open(self) -> Connection:
        plan = self._plan
        loop = asyncio.get_running_loop()
        target: dict[str, Any] = plan.target
        if plan.url.is_secure and target["ssl"] is None:
            target = {**target, "ssl": default_context()}
        if "host" in target and isinstance(loop, asyncio.BaseEventLoop):  # other loops do not know it
            target = {**target, "happy_eyeballs_delay": HAPPY_EYEBALLS_DELAY}
        opening = _Opening(plan, loop)
        try:
            async with asyncio.timeout(plan.timeout):
                await opening.connect(target)
                opening.stream.write(plan.request.encode())
                return await opening.opened
        except BaseException:
            opening.stream.abort()
            raise


class _Handover(asyncio.Protocol):
    """Hold a transport that is about to be left; it is not to read what is not its own."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).pause_reading()


class _Opening:
    """Lead a stream through the opening handshake: its sink until it is a connection or lost."""

    __slots__ = ("_loop", "_plan", "_reader", "opened", "stream")

    def __init__(self, plan: _Plan, loop: asyncio.AbstractEventLoop) -> None:
        self._plan = plan
        self._loop = loop
        self._reader = ResponseReader(plan.limits)
        self.opened: asyncio.Future[Connection] = loop.create_future()
        self.stream: Stream = AsyncioStream(self, loop=loop, high_mark=plan.limits.send_buffer_high)

    async def connect(self, target: dict[str, Any]) -> None:
        """Let the event loop connect, then take the connection to the compiled loop, where it can be."""
        poll = None if self._plan.url.is_secure else poll_of(self._loop)
        if poll is None:
            await self._loop.create_connection(lambda: cast("AsyncioStream", self.stream), **target)
            return
        transport, _ = await self._loop.create_connection(_Handover, **target)
        descriptor = cast("int", take_descriptor(transport))  # nothing was written, and TLS does not come here
        try:
            self.stream = poll.adopt(descriptor, self, high_mark=self._plan.limits.send_buffer_high)
        except OSError:
            os.close(descriptor)
            raise

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            return
        try:
            response = self._reader.feed(data)
            if response is not None:
                self._conclude(response)
        except HandshakeError as error:
            self.opened.set_exception(error)

    def eof_received(self) -> None:
        if not self.opened.done():
            try:
                self._conclude(self._reader.receive_eof())
            except HandshakeError as error:
                self.opened.set_exception(error)
        self.stream.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.opened.done():
            self.opened.set_exception(error or ConnectionResetError("the connection was lost during its opening"))

    def writing_resumed(self) -> None:
        pass

    def _conclude(self, response: Any) -> None:
        plan = self._plan
        negotiated = check_response(response, plan.key, subprotocols=plan.subprotocols, deflate=plan.deflate)
        connection = Connection(
            Role.CLIENT,
            self.stream,
            listener=plan.listener,
            request=plan.request,
            response=response,
            subprotocol=negotiated.subprotocol,
            deflate=negotiated.deflate,
            limits=plan.limits,
            keepalive=plan.keepalive,
            token=token_bytes,
        )
        self.stream.sink = connection
        self.opened.set_result(connection)
        connection.open(self._reader.leftover)


@dataclass(frozen=True)
class _Plan:
    """Be what `connect` was told, checked."""

    url: Url
    request: Request
    key: str
    listener: Listener | None
    subprotocols: tuple[str, ...]
    deflate: DeflateOptions | None
    keepalive: bool
    limits: Limits
    timeout: float
    target: dict[str, Any]


@functools.cache
def default_context() -> ssl_module.SSLContext:
    """Return the context for `wss://`: certificate and host name are verified. Making one is slow, so it is kept."""
    context = ssl_module.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
