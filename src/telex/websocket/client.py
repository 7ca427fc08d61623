"""Open plain WebSocket connections on asyncio, once or again and again.

Rule of this module: what a program says and what it gets. How a connection is opened is `opening.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl as ssl_module
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Sequence
from http import HTTPStatus
from typing import Any

from telex.backoff import Backoff, retry_after
from telex.errors import InvalidStatus, ProxyError
from telex.limits import Limits
from telex.tokens import chance
from telex.websocket.api import Connection
from telex.websocket.connection import State
from telex.websocket.deflate import DeflateOptions
from telex.websocket.dialing import Way
from telex.websocket.handshake import parse_url
from telex.websocket.opening import Plan, default_user_agent, open_connection
from telex.websocket.receivers import Listener

__all__ = ["Connecting", "connect", "is_transient"]

SERVER_ERRORS = range(500, 600)
PUTS_OFF = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""With which a server says when to come again (RFC 6585 §4, RFC 9110 §15.6.4)."""

logger = logging.getLogger("telex.websocket")


def is_transient(error: Exception) -> bool:
    """Tell whether the next attempt to connect may succeed where one failed with this error.

    It may after an `OSError`: nobody listens, no such name, a timeout, a connection that was lost, a proxy that leads
    nowhere today; and after the statuses 429 and 500 to 599. It may not where the server, or a proxy, refuses otherwise
    or breaks the protocol, nor where its certificate is not to be trusted.
    """
    if isinstance(error, InvalidStatus | ProxyError) and error.status is not None:
        return error.status == HTTPStatus.TOO_MANY_REQUESTS or error.status in SERVER_ERRORS
    if isinstance(error.__cause__, EOFError):  # the server left before it had answered: it may be starting
        return True
    return isinstance(error, OSError) and not isinstance(error, ssl_module.SSLCertVerificationError)


def connect(
    url: str,
    *,
    listener: Listener | None = None,
    subprotocols: Sequence[str] = (),
    origin: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    user_agent: str | bool | None = True,
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
    follow_redirects: bool = True,
    reconnection_delay: float = 1.0,
    reconnection_delay_max: float = 30.0,
    retry_if: Callable[[Exception], bool] = is_transient,
) -> Connecting:
    """Open a connection: `async with connect(url) as ws:`, or `ws = await connect(url)`.

    Or open one after another: `async for ws in connect(url):` (see `Connecting`).

    Args:
        url: `ws://` or `wss://`.
        listener: Is called for what happens; without one, messages are taken with `recv` or `async for`.
        subprotocols: Those the program speaks, the preferred first.
        origin: The value of `Origin`, which browsers send and other programs need not.
        headers: Further header fields of the request, for example `Authorization`.
        user_agent: The value of `User-Agent`; True for `telex/` and the version, None or False for none.
        deflate: Offer permessage-deflate: options, True for the default ones, None or False for none.
        keepalive: Ping the server every `ping_interval` and give it up when it does not answer.
        open_timeout: Seconds for everything up to the server's 101, proxies and redirects included;
            `limits.handshake_timeout` by default.
        ssl: Context for `wss://`; by default the server's certificate and name are verified.
        server_hostname: The name the certificate must be for, where it is not the URL's.
        sock: A connected socket to use, for example to a Unix path; no proxy is asked then.
        proxy: A proxy's URL (`http`, `https`, `socks4`, `socks4a`, `socks5`, `socks5h`); True for what the environment
            says, None or False for none.
        proxy_ssl: Context for TLS with an `https://` proxy itself.
        local_address: Host and port to connect from; port 0 for any.
        follow_redirects: Go where a server redirects to; else a redirect is an `InvalidStatus` like any refusal.
        reconnection_delay: Bound, in seconds, of the first delay of `async for`; it doubles at each failure.
        reconnection_delay_max: What it doubles up to.
        retry_if: Tells of an exception whether `async for` tries again; it is raised otherwise.

    Raises, when awaited, `OSError` (of which `ProxyError` is one), `TimeoutError`, `InvalidStatus` where the server
    refuses, `HandshakeError` where its answer is wrong or it redirects too often or out of TLS; `ImportError` where a
    SOCKS proxy needs the extra `telex[socks]`. `ValueError` at once for options that cannot be, and when awaited where
    the environment names a proxy that cannot be.
    Redirects are followed; those to another origin without `Authorization`, `Cookie` and `Proxy-Authorization`.
    **Limits**: `max_redirects`, `max_error_body`, those of heads. **Cancellation** of the wait: the connection is cut.
    """
    fields = tuple(headers)
    if user_agent and not any(name.lower() == "user-agent" for name, _ in fields):
        fields += (("User-Agent", default_user_agent() if user_agent is True else user_agent),)
    limits = limits or Limits()
    plan = Plan(
        url=parse_url(url),
        listener=listener,
        subprotocols=subprotocols,
        origin=origin,
        headers=fields,
        deflate=DeflateOptions() if deflate is True else deflate or None,
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
        follow_redirects=follow_redirects,
    )
    return Connecting(plan, Backoff(reconnection_delay, reconnection_delay_max, chance), retry_if)


class Connecting:
    """Be a connection to come: enter it with `async with`, or await it.

    Or go through connections with `async for`, one after another for as long as the loop runs. The first attempt is
    made at once. Before each further one there is a delay, drawn evenly from nothing up to a bound:
    `reconnection_delay` when a connection has ended, twice as much after each failure, at most
    `reconnection_delay_max`. What a server says in `Retry-After`, with 429 or 503, is waited for in full before. A
    connection that is over within `reconnection_delay`, before the body was done with it, counts as a failure: no
    server makes a program run in circles.

    Each connection is closed when the body of the loop is done with it. `ConnectionClosed` is the body's to catch: an
    exception that leaves the body leaves the loop, as with every `for`.
    """

    def __init__(self, plan: Plan, backoff: Backoff, retry_if: Callable[[Exception], bool]) -> None:
        self._plan = plan
        self._backoff = backoff
        self._retry_if = retry_if
        self._connection: Connection | None = None

    def __await__(self) -> Generator[Any, None, Connection]:
        return open_connection(self._plan).__await__()

    async def __aenter__(self) -> Connection:
        self._connection = await open_connection(self._plan)
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def __aiter__(self) -> AsyncIterator[Connection]:
        if self._plan.way.sock is not None:
            raise ValueError("a socket of the program's own connects only once")
        now = asyncio.get_running_loop().time
        while True:
            hint = None
            try:
                ws = await open_connection(self._plan)
            except Exception as error:
                if not self._retry_if(error):
                    raise
                hint = _hint(error, self._plan.limits)
                trouble = str(error) or type(error).__name__
            else:
                since = now()
                try:
                    yield ws
                finally:
                    has_held = ws.state is State.OPEN or now() - since >= self._backoff.minimum
                    await ws.close()
                if has_held:
                    self._backoff.reset()
                trouble = f"ended with {ws.close_code}"
            delay = self._backoff.next_delay(hint)
            logger.info("%s: %s; connecting again in %.1f s", self._plan.url.authority, trouble, delay)
            await asyncio.sleep(delay)


def _hint(error: Exception, limits: Limits) -> float | None:
    """Return how long a server, or a proxy, wants us to stay away."""
    if isinstance(error, InvalidStatus | ProxyError) and error.status in PUTS_OFF:
        return retry_after(error.headers, limits)
    return None
