"""Tunnels: lead a connection through a proxy.

Rule of this module: it talks to proxies, and knows nothing of what will be said to the server behind them. Whatever
fails, and at a cancellation too, the connection to the proxy is cut.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

from telex.errors import HandshakeError, ProxyError
from telex.limits import Limits
from telex.websocket.handshake import Url
from telex.websocket.heads import ResponseReader
from telex.websocket.proxies import Proxy, check_answer, connect_request

__all__ = ["open_socks", "open_tunnel"]


async def open_tunnel(
    proxy: Proxy, where: Url, limits: Limits, loop: asyncio.AbstractEventLoop, target: dict[str, Any]
) -> asyncio.Transport:
    """Connect to an HTTP proxy as `target` tells `create_connection`, and ask it for a tunnel to a server.

    Returns a transport that is not being read. **Next**: give it another protocol.
    Raises `OSError`, of which `ProxyError` is one. **Limits**: those of heads, for the proxy's answer.
    """
    transport, asking = await loop.create_connection(lambda: _Asking(proxy, where, limits, loop), **target)
    try:
        await asking.answered
    except BaseException:
        transport.abort()
        raise
    return transport


class _Asking(asyncio.Protocol):
    """Ask a proxy for a tunnel, and read its answer."""

    def __init__(self, proxy: Proxy, where: Url, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self.answered: asyncio.Future[None] = loop.create_future()
        self._proxy = proxy
        self._where = where
        self._reader = ResponseReader(limits, is_head_enough=True)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(connect_request(self._proxy, self._where))

    def data_received(self, data: bytes) -> None:
        if self.answered.done():
            return
        try:
            response = self._reader.feed(data)
            if response is None:
                return
            check_answer(self._proxy, response, self._reader.leftover)
        except HandshakeError:
            self._fail(ProxyError(f"the answer of the proxy {self._proxy} is malformed"))
        except ProxyError as error:
            self._fail(error)
        else:
            cast("asyncio.Transport", self._transport).pause_reading()
            self.answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ProxyError(f"the proxy {self._proxy} ended the connection without an answer"))

    def _fail(self, error: Exception) -> None:
        if not self.answered.done():
            self.answered.set_exception(error)
            self.answered.exception()  # seen: after a cancellation nobody awaits it


async def open_socks(
    proxy: Proxy, where: Url, *, local_address: tuple[str, int] | None, timeout: float
) -> socket.socket:
    """Return a socket that is connected to a server through a SOCKS proxy.

    Raises `OSError`, of which `ProxyError` is one; `ImportError` where `python-socks` is not installed.
    """
    try:
        from python_socks import ProxyError as SocksError  # noqa: PLC0415  # an extra
        from python_socks import ProxyType  # noqa: PLC0415
        from python_socks.async_.asyncio import Proxy as SocksProxy  # noqa: PLC0415
    except ImportError as error:
        raise ImportError("SOCKS proxies need python-socks: pip install 'telex[socks]'") from error
    socks = SocksProxy(
        ProxyType.SOCKS4 if proxy.scheme.startswith("socks4") else ProxyType.SOCKS5,
        proxy.host,
        proxy.port,
        username=proxy.user,
        password=proxy.password if proxy.user is not None else None,
        rdns=proxy.resolves,
    )
    try:
        return await socks.connect(where.host, where.port, timeout=timeout, local_addr=local_address)
    except SocksError as error:
        raise ProxyError(f"the proxy {proxy} does not lead to the server: {error}") from error
