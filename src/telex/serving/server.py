"""uvicorn's server, with Telex's way in and out.

Rule of this module: what uvicorn's `Server` does differently under `telex run`; settings are `run.py`'s.

*In*: connections are accepted in the compiled loop, where there is one (see `arrivals.py`).

*Out*: uvicorn waits for its requests to end before it stops, and a parked poll ends only when something happens. So
every Telex server in use on the same event loop is closed before, which answers the polls and says goodbye to the rest.
With a drain time they are drained before that (see `Server.drain`), and other WebSockets closed one after the other,
spread over it. Meanwhile the port stays open: clients on polling need it to the end, and those who come are told to go
elsewhere. A second signal ends the draining.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from telex.serving.adopted import adopted_by
from telex.serving.arrivals import Arrivals
from telex.serving.asgi import Server as TelexServer
from telex.serving.asgi import servers_in_use
from telex.serving.banner import banner
from telex.serving.uvicorn import Protocol
from telex.serving.watchdog import watch
from telex.streams import poll_of

__all__ = ["Server"]

logger = logging.getLogger("telex.serving")

ACCEPTS_PER_TURN = 64
"""Connections that the event loop accepts in a row, where it does. Each is some kilobytes until its handshake is done,
and what many at once have needed the process does not give back."""


class Server(uvicorn.Server):
    """Serve with Telex's way in and out.

    Args: `close_code` is what WebSockets are closed with when it stops, `drain` the seconds over which that is spread;
    `slow_handler` the seconds for which the loop may be held without a warning, 0 for any.
    """

    def __init__(self, config: uvicorn.Config, *, close_code: int, drain: float, slow_handler: float) -> None:
        super().__init__(config)
        self._close_code = close_code
        self._drain = drain
        self._slow_handler = slow_handler
        self._arrivals: Arrivals | None = None
        self._draining: asyncio.Future[Any] | None = None  # while it goes on

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say where."""
        if self._slow_handler:
            watch(self._slow_handler, servers_in_use)
        config = self.config
        app: Any = config.loaded_app
        while not isinstance(app, TelexServer) and hasattr(app, "app"):  # uvicorn's own layers
            app = app.app
        is_ours = isinstance(app, TelexServer)
        if is_ours:
            config.ws_per_message_deflate = app.per_message_deflate
        if config.ws_protocol_class is Protocol:
            config.ws_protocol_class = type("Protocol", (Protocol,), {"close_code": self._close_code})
        config.backlog, backlog = ACCEPTS_PER_TURN, config.backlog
        await super().startup(sockets)
        listeners = [found for each in getattr(self, "servers", ()) for found in each.sockets]
        for listener in listeners:
            # asyncio takes its number of accepts in a row for the length of the system's queue.
            with socket.socket(fileno=os.dup(listener.fileno())) as same:
                same.listen(backlog)
        if not self.started:
            return
        alone = app if is_ours and is_alone(config, app) else None
        self._accept_in_poll([listener.fileno() for listener in listeners], is_ours=is_ours, alone=alone)
        sys.stdout.write(banner(config, [listener.getsockname() for listener in listeners], app if is_ours else None))
        sys.stdout.flush()

    def _accept_in_poll(self, descriptors: list[int], *, is_ours: bool, alone: TelexServer | None) -> None:
        loop, config = asyncio.get_running_loop(), self.config
        poll = poll_of(loop)
        # Only asyncio's own loops let go of a listening socket.
        if poll is None or config.ssl is not None or not isinstance(loop, asyncio.SelectorEventLoop):
            return

        def make_http() -> asyncio.Protocol:
            kind: Any = config.http_protocol_class
            made: asyncio.Protocol = kind(config=config, server_state=self.server_state, app_state=self.lifespan.state)
            return made

        self._arrivals = Arrivals(
            poll,
            make_http,
            config=config,
            state=self.server_state,
            app_state=self.lifespan.state,
            close_code=self._close_code,
            is_eager=is_ours,
            alone=alone,
        )
        for descriptor in descriptors:
            loop.remove_reader(descriptor)
            self._arrivals.listen(descriptor)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal: the first ends the serving, a second also the draining."""
        super().handle_exit(sig, frame)
        draining = self._draining
        if self.force_exit and draining is not None:
            draining.get_loop().call_soon_threadsafe(draining.cancel)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Send off those who are there, take nobody new, and stop."""
        ours = [server for server in servers_in_use if not server.engine.is_elsewhere]
        if self._drain:
            closing = [server.drain(self._drain) for server in ours]
            self._draining = asyncio.gather(self._send_off(), *closing, return_exceptions=True)
            with contextlib.suppress(asyncio.CancelledError):
                log_failures(await self._draining)
        if self._arrivals is not None:
            self._arrivals.close()
        for server in self.servers:
            server.close()
        for connection in self._connections():
            connection.shutdown()
        log_failures(await asyncio.gather(*[server.close() for server in ours], return_exceptions=True))
        await super().shutdown(sockets)

    def _connections(self) -> list[Any]:
        """Return uvicorn's connections, WebSockets among them, without those of our sessions."""
        adopted: object = adopted_by(self.server_state)
        return [each for each in self.server_state.connections if each is not adopted]

    async def _send_off(self) -> None:
        """Close WebSockets of other applications one after the other, within the drain time."""
        loop, connections = asyncio.get_running_loop(), self._connections()
        begin = loop.time()
        for number, connection in enumerate(connections):
            if connection in self.server_state.connections:
                await asyncio.sleep(begin + self._drain * number / len(connections) - loop.time())
                connection.shutdown()


def is_alone(config: uvicorn.Config, server: TelexServer) -> bool:
    """Whether a server is served with nothing around it that looks at requests, and at the root of the paths.

    uvicorn's middleware for proxies is known: it is left out only for requests that came through none.
    """
    layer = config.loaded_app
    if type(layer) is ProxyHeadersMiddleware:
        layer = layer.app
    return layer is server and type(server).__call__ is TelexServer.__call__ and not config.root_path


def log_failures(results: Iterable[BaseException | None]) -> None:
    """Log what the closing of servers has raised."""
    for error in filter(None, results):
        logger.error("a server could not be closed", exc_info=error)
