"""Open plain WebSocket connections on asyncio.

Rule of this module: it leads a stream through the opening handshake and hands out a `Connection`. How there comes to be
a stream is `dialing.py`'s, what is right and wrong in a handshake `handshake.py`'s to say.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as ssl_module
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from telex.errors import HandshakeError
from telex.limits import Limits
from telex.streams import Stream
from telex.tokens import token_bytes
from telex.websocket.api import Connection
from telex.websocket.connection import Role
from telex.websocket.deflate import DeflateOptions
from telex.websocket.dialing import Way, dial
from telex.websocket.handshake import (
    Request,
    Response,
    ResponseReader,
    Url,
    build_request,
    check_response,
    make_key,
    parse_url,
)
from telex.websocket.receivers import Listener

__all__ = ["connect"]


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
    proxy: str | bool | None = True,
    proxy_ssl: ssl_module.SSLContext | None = None,
    local_address: tuple[str, int] | None = None,
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
    limits = limits or Limits()
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
            timeout=limits.handshake_timeout if open_timeout is None else open_timeout,
            way=Way(
                ssl=ssl,
                server_hostname=server_hostname,
                sock=sock,
                proxy=proxy,
                proxy_ssl=proxy_ssl,
                local_address=local_address,
            ),
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
        opening = _Opening(plan, asyncio.get_running_loop())
        async with asyncio.timeout(plan.timeout):
            stream = await dial(plan.url, opening, plan.way, plan.limits, timeout=plan.timeout)
            try:
                return await opening.lead(stream)
            except BaseException:
                stream.abort()
                raise


class _Opening:
    """Lead a stream through the opening handshake: its sink until it is a connection or lost."""

    __slots__ = ("_opened", "_plan", "_reader", "_stream")

    def __init__(self, plan: _Plan, loop: asyncio.AbstractEventLoop) -> None:
        self._plan = plan
        self._reader = ResponseReader(plan.limits)
        self._opened: asyncio.Future[Connection] = loop.create_future()
        self._stream: Stream | None = None  # until we have asked

    async def lead(self, stream: Stream) -> Connection:
        """Ask for a WebSocket; return it when the server has agreed."""
        self._stream = stream
        stream.write(self._plan.request.encode())
        return await self._opened

    def data_received(self, data: bytes) -> None:
        if self._opened.done():
            return
        try:
            if self._stream is None:
                raise HandshakeError(400, "the server spoke before it was asked")
            response = self._reader.feed(data)
            if response is not None:
                self._conclude(self._stream, response)
        except HandshakeError as error:
            self._opened.set_exception(error)

    def eof_received(self) -> None:
        if not self._opened.done():
            try:
                if self._stream is None:
                    raise HandshakeError(400, "the server has left before it was asked")
                self._conclude(self._stream, self._reader.receive_eof())
            except HandshakeError as error:
                self._opened.set_exception(error)
        if self._stream is not None:
            self._stream.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._opened.done():
            self._opened.set_exception(error or ConnectionResetError("the connection was lost during its opening"))

    def writing_resumed(self) -> None:
        pass

    def _conclude(self, stream: Stream, response: Response) -> None:
        plan = self._plan
        negotiated = check_response(response, plan.key, subprotocols=plan.subprotocols, deflate=plan.deflate)
        connection = Connection(
            Role.CLIENT,
            stream,
            listener=plan.listener,
            request=plan.request,
            response=response,
            subprotocol=negotiated.subprotocol,
            deflate=negotiated.deflate,
            limits=plan.limits,
            keepalive=plan.keepalive,
            token=token_bytes,
        )
        stream.sink = connection
        self._opened.set_result(connection)
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
    way: Way
