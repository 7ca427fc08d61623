"""`telex run`: an application on uvicorn, with Telex's own WebSocket.

Rule of this module: settings of uvicorn and nothing of the protocols.

uvicorn waits for its requests to end before it stops, and a parked poll ends only when something happens. So every
Telex server in use on the same event loop is closed before, which answers the polls and says goodbye to the rest.
"""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import socket
import sys
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

from telex import native
from telex.serving.asgi import App, Server, servers_in_use

if TYPE_CHECKING:
    import uvicorn

__all__ = ["MissingServer", "NoApplication", "load_app", "run"]

logger = logging.getLogger("telex.serving")

PROTOCOL = "telex.serving.uvicorn:Protocol"

ACCEPTS_PER_TURN = 64
"""Connections that the event loop accepts in a row. Each is some kilobytes until its handshake is done, and what many at
once have needed the process does not give back."""

USELESS_OPTIONS = {"factory", "reload", "reload_delay", "reload_dirs", "reload_excludes", "reload_includes", "workers"}
"""Options of `uvicorn.Config` that only its own command line heeds, which starts processes and loads the program."""


class MissingServer(RuntimeError):
    """Say that what serves applications is not installed."""


class NoApplication(ImportError):
    """Say that a name names no application."""


def run(app: App | str, *, host: str = "127.0.0.1", port: int = 8000, **options: Any) -> None:
    """Serve an ASGI application, such as a `telex.Server`, until Ctrl-C or SIGTERM.

    Clients are told and polls are answered before it returns.

    Args: `app` is the application, or "module:name" of it; `port` 0 takes a free one; `options` are those of
    `uvicorn.Config`, of which `log_level` ("warning") and `access_log` (off) have defaults of their own here.
    Raises `ValueError` for options that one process serving one application cannot heed, `MissingServer` (a
    `RuntimeError`) when uvicorn is not installed, `NoApplication` (an `ImportError`) when there is no such application
    or it cannot be called, and `SystemExit` when the server cannot start. What the program's own module raises when it
    is imported comes as it is.
    """
    useless = sorted(USELESS_OPTIONS & set(options))
    if useless:
        raise ValueError(f"telex.run serves one application in one process, and cannot heed {', '.join(useless)}")
    try:
        import uvicorn  # noqa: PLC0415  # an extra
    except ImportError:
        raise MissingServer("telex run needs uvicorn: pip install 'telex[server]'") from None

    application = load_app(app) if isinstance(app, str) else app
    settings: dict[str, Any] = {"log_level": "warning", "access_log": False, "ws": PROTOCOL}
    if isinstance(application, Server):
        # Engine.IO has a heartbeat and a size limit of its own, and compresses only if told to.
        settings |= {
            "ws_max_size": application.limits.max_payload,
            "ws_per_message_deflate": application.per_message_deflate,
            "ws_ping_interval": None,
        }
    config = uvicorn.Config(cast("Any", application), host=host, port=port, **settings | options)

    class TelexServer(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            self.config.backlog, backlog = ACCEPTS_PER_TURN, self.config.backlog
            await super().startup(sockets)
            for listener in [found for each in getattr(self, "servers", ()) for found in each.sockets]:
                # asyncio takes its number of accepts in a row for the length of the system's queue.
                with socket.socket(fileno=os.dup(listener.fileno())) as same:
                    same.listen(backlog)
            if self.started:
                sys.stdout.write(banner(self, application))
                sys.stdout.flush()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            for server in self.servers:
                server.close()  # nobody new, then
            ours = [server for server in list(servers_in_use) if not server.engine.is_elsewhere]
            results = await asyncio.gather(*[server.close() for server in ours], return_exceptions=True)
            for error in filter(None, results):
                logger.error("a server could not be closed", exc_info=error)
            await super().shutdown(sockets)

    server = TelexServer(config)
    try:
        server.run()
    except KeyboardInterrupt:
        pass  # uvicorn has stopped in order, and raises the signal again; SIGTERM ends the process by itself
    except SystemExit:
        raise SystemExit(1) from None  # it could not start, and has said why
    if not server.started:
        raise SystemExit(1)


def load_app(name: str) -> App:
    """Find the application that "module:name" names; the name may have dots.

    Raises `NoApplication`, and whatever the module itself raises.
    """
    module_name, _, attributes = name.partition(":")
    if not module_name or not attributes:
        raise NoApplication(f"{name!r} does not name an application: write module:name, such as chat:io")
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        # Its own module or a package above it is missing, not one that it imports.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise NoApplication(str(error)) from error
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise NoApplication(str(error)) from error
    if not callable(found):
        raise NoApplication(f"{name} is no ASGI application but of type {type(found).__name__}")
    return cast("App", found)


def banner(server: uvicorn.Server, app: App) -> str:
    """Say where the server is and what runs it."""
    config = server.config
    lines = [f"Telex {version('telex')}"]
    if config.uds is not None:
        lines.append(f"  listening   {config.uds}")
    for listener in [found for each in server.servers for found in each.sockets]:
        address = listener.getsockname()
        if config.uds is None:
            host = f"[{address[0]}]" if ":" in address[0] else address[0]
            lines.append(f"  listening   {'https' if config.ssl else 'http'}://{host}:{address[1]}")
    if isinstance(app, Server):
        lines.append(f"  Socket.IO   {config.root_path}{app.path.rstrip('/')}/ over {' and '.join(app.transports)}")
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    implementation = f"{platform.python_implementation()} {platform.python_version()}"
    lines.append(f"  running on  {implementation}, {loop}, {native.describe()}")
    lines.append("  Ctrl-C stops it")
    return "\n".join(lines) + "\n"
