"""`telex run`: an application on uvicorn, with Telex's own WebSocket.

Rule of this module: settings of uvicorn and nothing of the protocols; what its server does differently stands in
`server.py`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, cast

from telex.serving.asgi import App, Server
from telex.serving.banner import banner
from telex.serving.collector import at_service
from telex.serving.uvicorn import SERVICE_RESTART
from telex.websocket.frames import CLOSE_CODES

__all__ = ["MissingServer", "NoApplication", "load_app", "run"]

SLOW_HANDLER = 0.1
"""Seconds; a tenth is where people begin to notice."""

PROTOCOL = "telex.serving.uvicorn:Protocol"


class MissingServer(RuntimeError):
    """Say that what serves applications is not installed."""


class NoApplication(ImportError):
    """Say that a name names no application."""


def run(
    app: App | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    close_code: int = SERVICE_RESTART,
    drain: float = 0.0,
    slow_handler: float | None = None,
    **options: Any,
) -> None:
    """Serve an ASGI application, such as a `telex.Server`, until Ctrl-C or SIGTERM.

    Clients are told and polls are answered before it returns.

    Args:
        app: The application, or "module:name" of it; the name is needed for `reload` and for several `workers`, which
            are processes that load it themselves.
        port: 0 takes a free one.
        close_code: What WebSockets are closed with when the server stops: 1012 (restart), or 1001 (going away) for one
            that will not come back.
        drain: Seconds over which the clients are sent off when it stops, so that they do not all come back at once (see
            `Server.drain`).
        slow_handler: Seconds for which the event loop may be held before a warning names what holds it; 0 for no such
            warning. By default it is the server's `Limits.slow_handler`, or 0.1 where that is None. Several workers
            know only the limit.
        options: Those of `uvicorn.Config`, of which `log_level` ("warning") and `access_log` (off) have defaults of
            their own here.

    Raises `ValueError` for options that cannot be heeded, `MissingServer` (a `RuntimeError`) when uvicorn is not
    installed, `NoApplication` (an `ImportError`) when there is no such application or it cannot be called, and
    `SystemExit` when the server cannot start. What the program's own module raises when it is imported comes as it is.
    """
    check_options(app, close_code, drain, slow_handler, options)
    has_children = bool(options.get("reload")) or n_workers(options) > 1
    try:
        import uvicorn  # noqa: PLC0415  # an extra
        from uvicorn.supervisors import ChangeReload, Multiprocess  # noqa: PLC0415

        from telex.serving.server import Server as UvicornServer  # noqa: PLC0415
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] != "uvicorn":
            raise
        raise MissingServer("telex run needs uvicorn: pip install 'telex[server]'") from None

    application = load_app(app) if isinstance(app, str) else app
    settings: dict[str, Any] = {"log_level": "warning", "access_log": False, "ws": PROTOCOL}
    if isinstance(application, Server):
        # Engine.IO has a heartbeat and a size limit of its own.
        settings |= {"ws_max_size": application.limits.max_payload, "ws_ping_interval": None}
    served: Any = app if has_children else application
    config = uvicorn.Config(cast("Any", served), host=host, port=port, **settings | options)
    if slow_handler is None:
        limit = application.limits.slow_handler if isinstance(application, Server) else None
        slow_handler = SLOW_HANDLER if limit is None else limit
    server = UvicornServer(config, close_code=close_code, drain=drain, slow_handler=slow_handler)
    try:
        if config.should_reload:
            ChangeReload(config, target=server.run, sockets=[config.bind_socket()]).run()
        elif config.workers > 1:
            listener = config.bind_socket()
            sys.stdout.write(banner(config, [listener.getsockname()], application))
            sys.stdout.flush()
            Multiprocess(config, sockets=[listener]).run()  # whose children are uvicorn's own, and say nothing
        else:
            with at_service():
                server.run()
    except KeyboardInterrupt:
        pass  # uvicorn has stopped in order, and raises the signal again; SIGTERM ends the process by itself
    except SystemExit:
        raise SystemExit(1) from None  # it could not start, and has said why
    if not has_children and not server.started:
        raise SystemExit(1)


def n_workers(options: dict[str, Any]) -> int:
    """Return how many processes are to serve."""
    return int(options.get("workers") or 1)


def check_options(
    app: App | str, close_code: int, drain: float, slow_handler: float | None, options: dict[str, Any]
) -> None:
    """Raise `ValueError` for options that cannot be heeded, or not together."""
    if options.get("factory"):
        raise ValueError("telex.run serves an application, not a function that makes one, and cannot heed factory")
    if close_code not in CLOSE_CODES:
        raise ValueError(f"close code {close_code} may not be sent")
    if not 0 <= drain < float("inf"):  # not NaN either
        raise ValueError(f"drain must be seconds, not {drain}")
    if slow_handler is not None and not 0 <= slow_handler < float("inf"):
        raise ValueError(f"slow_handler must be seconds, not {slow_handler}")
    if (options.get("reload") or n_workers(options) > 1) and not isinstance(app, str):
        raise ValueError("reload and workers need the application's name, such as chat:io: each process loads it anew")
    if n_workers(options) > 1 and (drain or close_code != SERVICE_RESTART or slow_handler is not None):
        raise ValueError("several workers are uvicorn's own, which know neither drain nor close_code nor slow_handler")


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
