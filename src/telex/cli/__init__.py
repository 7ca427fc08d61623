"""The command line: `telex run`, and clients to talk to a server with.

Rule of this module: arguments in, one call out; what goes wrong here is one sentence and an exit status, what goes
wrong in a served program keeps its traceback.

Exit statuses: 0, and 1 where it failed, 2 where it was told what cannot be, 130 where Ctrl-C ended a client.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from importlib.metadata import version
from typing import Any

from telex.cli.failures import Failure, Interrupted, OutputClosed, describe
from telex.cli.serving import add_run, serve
from telex.cli.socketio import add_call, add_connect, add_emit, add_listen
from telex.cli.websocket import add_ws
from telex.errors import TelexError

__all__ = ["main"]

INTERRUPTED = 130
"""128 and the number of SIGINT, as a shell would say it."""

EXAMPLES = """\
examples:
  telex run chat:io                             serve the application io of chat.py
  telex connect localhost:8000                  talk to a Socket.IO server
  telex call localhost:8000 sum 1 2             ask it something
  telex listen localhost:8000 news | jq .args   take its events as lines of JSON
  telex ws localhost:8765                       talk to a plain WebSocket
"""


def make_parser() -> argparse.ArgumentParser:
    """Describe the arguments."""
    parser = argparse.ArgumentParser(
        prog="telex",
        description="Realtime messaging: WebSocket, Engine.IO, Socket.IO.",
        epilog=EXAMPLES + "\n'telex COMMAND --help' tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"telex {version('telex')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for add in (add_run, add_connect, add_emit, add_call, add_listen, add_ws):
        add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that the arguments name. Raises `SystemExit`."""
    options = make_parser().parse_args(arguments)
    if options.command is serve:
        serve(options)
    else:
        sys.exit(run_client(options.command, options))


def run_client(command: Callable[[argparse.Namespace], Coroutine[Any, Any, None]], options: argparse.Namespace) -> int:
    """Run a client to its end and return the exit status; why it failed is told on standard error."""
    try:
        asyncio.run(command(options))
    except (KeyboardInterrupt, Interrupted):
        return INTERRUPTED
    except OutputClosed:
        # What is left in the buffer goes nowhere, and Python does not complain of it at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Failure as error:
        print(f"telex: {error}", file=sys.stderr)  # noqa: T201  # what a command says
        return error.status
    except (TelexError, OSError, ImportError) as error:
        print(f"telex: {describe(error, options.timeout)}", file=sys.stderr)  # noqa: T201
        return 1
    return 0
