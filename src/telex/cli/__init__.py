"""The command line: `telex run`.

Rule of this module: arguments in, one call out; what goes wrong here is one sentence and exit status 1 or 2,
what goes wrong in the program itself keeps its traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from telex.serving.run import MissingServer, NoApplication, run
from telex.serving.uvicorn import SERVICE_RESTART

__all__ = ["main"]


def make_parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    parser = argparse.ArgumentParser(prog="telex", description="Realtime messaging: WebSocket, Engine.IO, Socket.IO.")
    parser.add_argument("--version", action="version", version=f"telex {version('telex')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    command = commands.add_parser("run", help="serve an application", description="Serve an ASGI application.")
    command.add_argument("app", metavar="MODULE:APP", help="the application, such as chat:io")
    command.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    command.add_argument("--port", type=int, default=8000, help="port, 0 for a free one (default: %(default)s)")
    command.add_argument("--app-dir", default=".", help="folder to find the module in (default: the current one)")
    command.add_argument("--loop", default="auto", help="event loop, as uvicorn names it (default: %(default)s)")
    command.add_argument("--root-path", default="", help="path that a proxy in front has cut off")
    command.add_argument("--log-level", default="warning", help="uvicorn's log level (default: %(default)s)")
    command.add_argument("--access-log", action="store_true", help="log each request")
    command.add_argument("--forwarded-allow-ips", help="proxies whose X-Forwarded headers are believed")
    command.add_argument("--ssl-keyfile", help="TLS key")
    command.add_argument("--ssl-certfile", help="TLS certificate")
    command.add_argument("--workers", type=int, help="processes that share the port (no cluster yet: see the docs)")
    command.add_argument("--reload", action="store_true", help="start anew when the program's files change")
    command.add_argument(
        "--close-code",
        type=int,
        default=SERVICE_RESTART,
        help="what WebSockets are closed with at the end: 1012 restart, 1001 going away (default: %(default)s)",
    )
    command.add_argument(
        "--drain", type=float, default=0.0, help="seconds over which clients are sent off at the end (default: 0)"
    )
    command.add_argument(
        "--slow-handler",
        type=float,
        help="seconds for which a handler may hold the event loop without a warning, 0 for any (default: 0.1)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name."""
    options = vars(make_parser().parse_args(arguments))
    options.pop("command")
    app_dir = options.pop("app_dir")
    sys.path.insert(0, os.path.abspath(app_dir))  # a plain string is what sys.path wants
    try:
        run(options.pop("app"), **options)
    except (NoApplication, MissingServer) as error:
        sys.exit(f"telex: {error}")
