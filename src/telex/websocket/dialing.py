"""Connect to a server: from a host and a port to a stream.

Rule of this module: addresses, TLS and which loop reads the stream; nothing of what is said on it. What is said to a
proxy on the way stands in `tunnels.py`.

Source: RFC 8305, happy eyeballs.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl as ssl_module
from dataclasses import dataclass
from typing import Any, cast

from telex.limits import Limits
from telex.streams import AsyncioStream, Stream, poll_of, take_descriptor
from telex.streams.base import StreamSink
from telex.websocket.handshake import Url
from telex.websocket.proxies import Proxy, parse_proxy, proxy_from_environment
from telex.websocket.tunnels import open_socks, open_tunnel

__all__ = ["Way", "dial"]

HAPPY_EYEBALLS_DELAY = 0.25
"""Seconds until the next address is tried beside the one that has not answered yet (RFC 8305 §5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Say how a program wants to get to a server.

    Attributes:
        ssl: Context for TLS; by default the server's certificate and name are verified.
        server_hostname: The name the certificate must be for, where it is not the URL's.
        sock: A connected socket to use, for example to a Unix path; no proxy is asked then.
        proxy: A proxy's URL (see `parse_proxy`); True for what the environment says (`proxy_from_environment`), None
            or False for none.
        proxy_ssl: Context for TLS with an `https://` proxy itself, as `ssl`.
        local_address: Host and port to connect from; port 0 for any.

    Raises `ValueError` for what cannot be, or not together.
    """

    ssl: ssl_module.SSLContext | None = None
    server_hostname: str | None = None
    sock: socket.socket | None = None
    proxy: str | bool | None = True
    proxy_ssl: ssl_module.SSLContext | None = None
    local_address: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        proxy = parse_proxy(self.proxy) if isinstance(self.proxy, str) else None
        if self.sock is not None and (proxy is not None or self.local_address is not None):
            raise ValueError("a socket of the program's own goes neither through a proxy nor from a local address")
        if self.proxy_ssl is not None and proxy is not None and not proxy.is_secure:
            raise ValueError("an ssl context was given for a proxy that is not https://")

    def proxy_for(self, where: Url) -> Proxy | None:
        """Return the proxy to go through. Raises `ValueError` where the environment names one that is none."""
        if isinstance(self.proxy, str):
            return parse_proxy(self.proxy)
        return proxy_from_environment(where) if self.proxy and self.sock is None else None


async def dial(where: Url, sink: StreamSink, way: Way, limits: Limits, *, timeout: float) -> Stream:
    """Connect, and return the stream, which tells `sink` what comes; where this raises, `sink` is told nothing.

    Args: `timeout` in seconds bounds each TLS handshake; the caller bounds the whole.
    Raises `OSError` (of which `ssl.SSLError` and `ProxyError` are), `ImportError` where a SOCKS proxy needs
    `python-socks`. **Cancellation**: the connection is cut.
    """
    loop = asyncio.get_running_loop()
    transport = await _open(where, way, limits, loop, timeout)
    try:
        return _take(transport, sink, limits, loop)
    except BaseException:
        transport.abort()
        raise


async def _open(
    where: Url, way: Way, limits: Limits, loop: asyncio.AbstractEventLoop, timeout: float
) -> asyncio.Transport:
    """Return a transport to the server, directly or through a proxy, which is held."""
    target: dict[str, Any]
    proxy = way.proxy_for(where)
    if proxy is not None and not proxy.is_socks:
        target = _address(proxy.host, proxy.port, way, loop)
        if proxy.is_secure:
            target |= _tls(way.proxy_ssl, proxy.host, timeout)
        tunnel = await open_tunnel(proxy, where, limits, loop, target)
        try:
            return await _take_over(tunnel, where, way, loop, timeout)
        except BaseException:
            tunnel.abort()
            raise
    if proxy is not None:
        target = {"sock": await open_socks(proxy, where, local_address=way.local_address, timeout=timeout)}
    else:
        target = _address(where.host, where.port, way, loop)
    if where.is_secure:
        target |= _tls(way.ssl, way.server_hostname or where.host, timeout)
    transport, _ = await loop.create_connection(_Held, **target)
    return transport


def _address(host: str, port: int, way: Way, loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """Return what tells `create_connection` where to connect to."""
    if way.sock is not None:
        return {"sock": way.sock}
    target: dict[str, Any] = {"host": host, "port": port, "local_addr": way.local_address}
    if isinstance(loop, asyncio.BaseEventLoop):  # other loops do not know it
        target["happy_eyeballs_delay"] = HAPPY_EYEBALLS_DELAY
    return target


def _tls(context: ssl_module.SSLContext | None, name: str, timeout: float) -> dict[str, Any]:
    """Return what tells `create_connection` to speak TLS."""
    return {"ssl": context or default_context(), "server_hostname": name, "ssl_handshake_timeout": timeout}


async def _take_over(
    tunnel: asyncio.Transport, where: Url, way: Way, loop: asyncio.AbstractEventLoop, timeout: float
) -> asyncio.Transport:
    """Return the transport to the server in a tunnel: with TLS of its own where it wants it, be it in a proxy's TLS."""
    held = _Held()
    if not where.is_secure:
        tunnel.set_protocol(held)
        return tunnel
    target = _tls(way.ssl, way.server_hostname or where.host, timeout)
    transport = await loop.start_tls(tunnel, held, target.pop("ssl"), **target)
    if transport is None:  # it was lost in the last moment
        raise ConnectionResetError("the connection was lost during its opening")
    held.connection_made(transport)
    return transport


def _take(transport: asyncio.Transport, sink: StreamSink, limits: Limits, loop: asyncio.AbstractEventLoop) -> Stream:
    """Make a transport that is held a stream: of the compiled loop's where that can be, else of asyncio's."""
    if transport.is_closing() or cast("_Held", transport.get_protocol()).has_spoken:
        raise ConnectionResetError("the connection was lost during its opening")
    poll = poll_of(loop)
    descriptor = None if poll is None else take_descriptor(transport)
    if poll is not None and descriptor is not None:
        try:
            return poll.adopt(descriptor, sink, high_mark=limits.send_buffer_high)
        except OSError:
            os.close(descriptor)
            raise
    stream = AsyncioStream(sink, loop=loop, high_mark=limits.send_buffer_high)
    transport.set_protocol(stream)
    stream.connection_made(transport)
    transport.resume_reading()
    return stream


class _Held(asyncio.Protocol):
    """Hold a transport until it is somebody's; it is not to read what is not its own."""

    has_spoken = False
    """Whether the server spoke before it was asked, in the moment before its transport was held."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).pause_reading()

    def data_received(self, data: bytes) -> None:
        self.has_spoken = True


@functools.cache
def default_context() -> ssl_module.SSLContext:
    """Return the context by default: certificate and host name are verified. Making one is slow, so it is kept."""
    context = ssl_module.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
