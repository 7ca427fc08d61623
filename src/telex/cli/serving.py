"""`telex run`: serve an application.

Rule of this module: arguments in, one call of `telex.run` out.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from telex.serving.run import MissingServer, NoApplication, run
from telex.serving.uvicorn import SERVICE_RESTART

__all__ = ["add_run", "serve"]


def add_run(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("run", help="serve an application", description="Serve an ASGI application.")
    parser.add_argument("app", metavar="MODULE:APP", help="the application, such as chat:io")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port, 0 for a free one (default: %(default)s)")
    parser.add_argument("--app-dir", default=".", help="folder to find the module in (default: the current one)")
    parser.add_argument("--loop", default="auto", help="event loop, as uvicorn names it (default: %(default)s)")
    parser.add_argument("--root-path", default="", help="path that a proxy in front has cut off")
    parser.add_argument("--log-level", default="warning", help="uvicorn's log level (default: %(default)s)")
    parser.add_argument("--access-log", action="store_true", help="log each request")
    parser.add_argument("--forwarded-allow-ips", help="proxies whose X-Forwarded headers are believed")
    parser.add_argument("--ssl-keyfile", help="TLS key")
    parser.add_argument("--ssl-certfile", help="TLS certificate")
    parser.add_argument("--workers", type=int, help="processes that share the port (no cluster yet: see the docs)")
    parser.add_argument("--reload", action="store_true", help="start anew when the program's files change")
    parser.add_argument(
        "--close-code",
        type=int,
        default=SERVICE_RESTART,
        help="what WebSockets are closed with at the end: 1012 restart, 1001 going away (default: %(default)s)",
    )
    parser.add_argument(
        "--drain", type=float, default=0.0, help="seconds over which clients are sent off at the end (default: 0)"
    )
    parser.add_argument(
        "--slow-handler",
        type=float,
        help="seconds for which a handler may hold the event loop without a warning, 0 for any (default: 0.1)",
    )
    parser.set_defaults(command=serve)


def serve(options: argparse.Namespace) -> None:
    """Serve until a signal ends it."""
    chosen = dict(vars(options))
    chosen.pop("command")
    sys.path.insert(0, os.path.abspath(chosen.pop("app_dir")))  # a plain string is what sys.path wants
    try:
        run(chosen.pop("app"), **chosen)
    except (NoApplication, MissingServer) as error:
        sys.exit(f"telex: {error}")
