"""How the WHATWG's interfaces connect: `connect` with the standard's checks around it.

Rule of this module: what both constructors share.

Source: WHATWG WebSockets Standard, "establish a WebSocket connection".
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from collections.abc import Callable, Iterable
from socket import socket
from typing import TypedDict

from telex.errors import HandshakeError
from telex.limits import Limits
from telex.websocket.api import Connection
from telex.websocket.client import Connecting, connect
from telex.websocket.deflate import DeflateOptions
from telex.websocket.receivers import Listener
from telex.websocket.whatwg_rules import Address, check_protocols, parse_address

__all__ = ["Options", "begin", "start", "unacknowledged", "why_not"]


class Options(TypedDict, total=False):
    """Be what `connect` takes and a browser does not let a page say; the meaning is that of `connect`."""

    origin: str | None
    headers: Iterable[tuple[str, str]]
    user_agent: str | bool | None
    deflate: DeflateOptions | bool | None
    keepalive: bool
    limits: Limits | None
    open_timeout: float | None
    ssl: ssl_module.SSLContext | None
    server_hostname: str | None
    sock: socket | None
    proxy: str | bool | None
    proxy_ssl: ssl_module.SSLContext | None
    local_address: tuple[str, int] | None


def begin(
    url: str, protocols: str | Iterable[str], options: Options, listener: Listener | None = None
) -> tuple[Address, tuple[str, ...], Connecting]:
    """Check what a constructor was given; return it, with the connection to come.

    Source: "constructor steps"; "establish a WebSocket connection": permessage-deflate is offered, and the redirect
    mode is "error".
    """
    address = parse_address(url)
    names = check_protocols(protocols)
    given: Options = {"deflate": True}
    given.update(options)
    connecting = connect(address.url, listener=listener, subprotocols=names, follow_redirects=False, **given)
    return address, names, connecting


def unacknowledged() -> HandshakeError:
    """Return why to fail: the standard wants one of the subprotocols to be chosen, where RFC 6455 does not."""
    return HandshakeError(502, "the server chose none of the subprotocols")


_openings: set[asyncio.Task[Connection]] = set()  # an event loop keeps no hold of its tasks


def start(connecting: Connecting, done: Callable[[asyncio.Task[Connection]], None]) -> asyncio.Task[Connection]:
    """Connect, and call `done` in the end, whatever it is; the task stays in memory until then."""

    async def run() -> Connection:
        return await connecting

    task = asyncio.get_running_loop().create_task(run())
    _openings.add(task)
    task.add_done_callback(_openings.discard)
    task.add_done_callback(done)
    return task


def why_not(opening: asyncio.Task[Connection]) -> BaseException | None:
    """Return why a connection could not be established; None where it was."""
    return ConnectionAbortedError("connecting was cancelled") if opening.cancelled() else opening.exception()
