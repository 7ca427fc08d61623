"""Open the websocket transport of a client: from options to a stream that carries a session.

Rule of this module: it leads a stream through the opening handshake and hands it to a `StreamTransport`. How there
comes to be a stream is `websocket/dialing.py`'s, what is right and wrong in a handshake `websocket/handshake.py`'s to
say.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

from telex.engineio.client.options import STAMP_BYTES, Options
from telex.engineio.client.promises import promise
from telex.engineio.client.refusals import refused
from telex.engineio.transports.stream import StreamTransport
from telex.errors import HandshakeError
from telex.streams.base import Stream
from telex.tokens import token_bytes, token_text
from telex.websocket.connection import Role
from telex.websocket.dialing import dial
from telex.websocket.handshake import (
    Response,
    ResponseReader,
    Url,
    build_request,
    check_response,
    make_key,
)

if TYPE_CHECKING:
    import asyncio

__all__ = ["open_websocket"]


async def open_websocket(
    options: Options, begin: Callable[[StreamTransport], None], *, sid: str | None = None
) -> StreamTransport:
    """Connect, and hand the transport to `begin` before it reads its first message.

    Args:
        begin: Gives the transport its session.
        sid: Of a session that polls, where this is to be its second transport.

    Raises `OSError`, `InvalidStatus` where the server refuses, `HandshakeError` where its answer is wrong.
    **Cancellation**: the connection is cut. **Next**: the caller bounds the time.
    """
    stamp = token_text(STAMP_BYTES) if options.timestamp_requests else None
    where = options.address("websocket", sid, stamp)
    handshaking = _Handshaking(options, where, begin)
    stream = await dial(where, handshaking, options.way, options.limits, timeout=options.open_timeout)
    try:
        return await handshaking.lead(stream)
    except BaseException:
        stream.abort()
        raise


class _Handshaking:
    """Lead a stream through the opening handshake: its sink until it carries a session or is lost."""

    __slots__ = ("_begin", "_key", "_opened", "_options", "_reader", "_request", "_stream", "_where")

    def __init__(
        self,
        options: Options,
        where: Url,
        begin: Callable[[StreamTransport], None],
    ) -> None:
        self._options = options
        self._where = where
        self._begin = begin
        self._key = make_key(token_bytes)
        self._request = build_request(
            where,
            self._key,
            subprotocols=options.subprotocols,
            headers=options.fields_for(where, time.time()),
            origin=options.origin,
            deflate=options.deflate_options,
        ).encode()
        self._reader = ResponseReader(options.limits)
        self._opened: asyncio.Future[StreamTransport] = promise()
        self._stream: Stream | None = None  # until we have asked

    async def lead(self, stream: Stream) -> StreamTransport:
        """Ask for a WebSocket; return its transport when the server has agreed."""
        self._stream = stream
        stream.write(self._request)
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
        options = self._options
        options.learn(self._where, response.headers, time.time())
        if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
            raise refused(response.status, response.reason, response.headers, response.body)
        negotiated = check_response(
            response, self._key, subprotocols=options.subprotocols, deflate=options.deflate_options
        )
        transport = StreamTransport(
            stream,
            limits=options.limits,
            frame_limits=options.frame_limits,
            deflate=negotiated.deflate,
            role=Role.CLIENT,
        )
        self._begin(transport)
        stream.sink = transport
        self._opened.set_result(transport)
        transport.open(self._reader.leftover)
