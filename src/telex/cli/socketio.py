"""`telex connect`, `emit`, `call` and `listen`: talk to a Socket.IO server.

Rule of this module: what events and acknowledgements look like; lines and the terminal are `terminal.py`'s, how values
are written `values.py`'s.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from telex.cli.failures import Failure, WrongUsage, describe
from telex.cli.options import (
    add_connection_options,
    argument,
    connection_options,
    read_file,
    read_json,
    read_pair,
    whole_number,
)
from telex.cli.terminal import Console, Style, until_first
from telex.cli.values import encode, escape, parse_argument, parse_line, plural
from telex.engineio.client import State
from telex.errors import TelexError
from telex.socketio import DisconnectReason
from telex.socketio.client import Client, Connecting
from telex.socketio.client import connect as connect_client

__all__ = ["add_call", "add_connect", "add_emit", "add_listen"]

HELP = """\
  event argument argument   send an event; its acknowledgement comes below
  ["event", argument]       the same
  /help                     show this
  Ctrl-D                    leave
An argument is JSON, a word, or @FILE for a file's bytes; bytes within JSON
are {"$base64": "..."}. A name with a space, or with a slash in front, is
written in quotes."""
COMMANDS = ("/help",)

MAX_PENDING = 256
"""Events of a pipe whose acknowledgements are awaited at once: far below `Limits.max_pending_acks`."""
MAX_WORDS = 1000
"""Names of events that are remembered for completion: a server may invent them."""

CLOSE_SECONDS = 5.0
"""How long what was sent may take to leave at the end: `Limits.close_timeout`."""
LOOK_SECONDS = 0.005
"""Between two looks whether it has left."""

ARGUMENTS = "JSON, text as it is, or @FILE for a file's bytes"


def add_connect(commands: Any) -> None:
    """Add `telex connect`."""
    parser = _add(
        commands,
        "connect",
        "talk to a Socket.IO server",
        "Talk to a Socket.IO server, at a prompt or through pipes: each line is an event.",
        epilog='A line is "event argument ...", or JSON: ["event", ...] or {"event": "...", "args": [...]}. An '
        "argument is JSON, a word, or @FILE. With pipes, events and acknowledgements go to standard output as lines of "
        "JSON, all else to standard error, and the command ends when every event of the input is acknowledged.",
    )
    parser.add_argument("--no-ack", action="store_true", help="ask for no acknowledgements")
    _add_options(parser, talk)


def add_emit(commands: Any) -> None:
    """Add `telex emit`."""
    parser = _add(commands, "emit", "send one event", "Send one event.")
    _add_event(parser)
    _add_options(parser, emit)


def add_call(commands: Any) -> None:
    """Add `telex call`."""
    parser = _add(
        commands,
        "call",
        "send one event and print its acknowledgement",
        "Send one event and print its acknowledgement as JSON: the value, null for none, an array of several.",
    )
    _add_event(parser)
    _add_options(parser, call)


def add_listen(commands: Any) -> None:
    """Add `telex listen`."""
    parser = _add(
        commands,
        "listen",
        "print the events of a server as lines of JSON",
        'Print the events of a server as lines of JSON: {"event": "...", "args": [...]}. Bytes are {"$base64": "..."}.',
    )
    parser.add_argument("events", metavar="EVENT", nargs="*", help="print only these")
    parser.add_argument("--count", metavar="N", type=argument(whole_number), help="leave after so many events")
    _add_options(parser, listen)


async def talk(options: argparse.Namespace) -> None:
    """Connect, and talk until one side is done. Raises `Failure`, `TelexError`, `OSError`."""
    async with _connected(options) as client:
        await Dialogue(Console(), client, options).lead()


async def emit(options: argparse.Namespace) -> None:
    """Send one event. Raises `Failure`, `TelexError`, `OSError`."""
    arguments = _arguments(options)
    async with _connected(options) as client:
        try:
            await client.emit(options.event, *arguments)
        except (TypeError, ValueError) as error:
            raise WrongUsage(escape(str(error))) from None


async def call(options: argparse.Namespace) -> None:
    """Send one event and print its answer. Raises `Failure`, `TelexError`, `OSError`."""
    arguments = _arguments(options)
    console = Console()
    async with _connected(options) as client:
        try:
            answer = await client.call(options.event, *arguments, timeout=options.timeout)
        except (TypeError, ValueError) as error:
            raise WrongUsage(escape(str(error))) from None
        console.show(encode(answer))


async def listen(options: argparse.Namespace) -> None:
    """Print events until there are enough. Raises `Failure`, `TelexError`, `OSError`."""
    console, n_left, events = Console(), options.count, frozenset(options.events)
    async with _connected(options) as client:
        _follow(console, client)
        async for event, *arguments in client:
            if events and event not in events:
                continue
            console.show(_line({"event": event, "args": arguments}))
            if n_left is not None:
                n_left -= 1
                if not n_left:
                    return
        raise _sent_off(client)


class Dialogue:
    """Lead a dialogue: show what comes, send what is typed."""

    def __init__(self, console: Console, client: Client, options: argparse.Namespace) -> None:
        self._console = console
        self._client = client
        self._options = options
        self._words: dict[str, None] = dict.fromkeys(COMMANDS)
        self._awaited: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MAX_PENDING)
        self._n_not_sent = self._n_not_acknowledged = 0

    async def lead(self) -> None:
        """Talk until somebody is done. Raises `Failure` where the server is, or where an input was not taken."""
        console, client = self._console, self._client
        _follow(console, client)
        if console.is_interactive:
            console.note(f"connected to {escape(self._options.url)} as {escape(client.id or '')}; /help tells more")
        with console.prompting("connect", lambda: self._words) as lines:
            await until_first(self._hear(), self._send_all(lines))
        if self._n_not_sent:
            raise Failure(f"{plural(self._n_not_sent, 'line')} of the input could not be sent")
        if self._n_not_acknowledged:
            raise Failure(f"without an acknowledgement: {plural(self._n_not_acknowledged, 'event')}")

    async def _hear(self) -> None:
        async for event, *arguments in self._client:
            self._learn(event)
            self._show(Style.GOOD, "<", "event", event, arguments)
        raise _sent_off(self._client)

    async def _send_all(self, lines: AsyncIterator[str]) -> None:
        number = 0
        try:
            async for line in lines:
                number += 1
                if line.strip():
                    await self._take(line, "" if self._console.is_interactive else f"line {number}: ")
            if not self._console.is_interactive:
                while self._awaited:
                    await asyncio.wait(self._awaited)
        finally:
            for task in self._awaited:
                task.cancel()

    async def _take(self, line: str, where: str) -> None:
        """Do what a line says."""
        if self._console.is_interactive and line.lstrip().startswith("/"):
            self._obey(line.strip())
            return
        try:
            event, arguments = parse_line(line, read_file)
            await self._send(event, arguments)
        except (ValueError, TypeError, TelexError) as error:
            self._n_not_sent += not self._console.is_interactive
            self._console.complain(f"{where}{describe(error)}")

    def _obey(self, command: str) -> None:
        if command == "/help":
            self._console.note(HELP)
        else:
            self._console.complain(f"there is no command {escape(command)}; /help tells more")

    async def _send(self, event: str, arguments: list[Any]) -> None:
        self._learn(event)
        if self._options.no_ack:
            await self._client.emit(event, *arguments)
            return
        encode(arguments)  # a mistake is told with its line
        await self._room.acquire()
        task = asyncio.create_task(self._ask(event, arguments))
        self._awaited.add(task)
        task.add_done_callback(self._awaited.discard)
        await self._client.wait_room()

    async def _ask(self, event: str, arguments: list[Any]) -> None:
        """Send an event and show its acknowledgement. At a prompt, one that does not come is not missed."""
        begun = time.perf_counter()
        try:
            answer = await self._client.call(event, *arguments, timeout=self._options.timeout)
        except (TelexError, OSError, ValueError, TypeError) as error:
            if not self._console.is_interactive:
                self._n_not_acknowledged += 1
                self._console.complain(f"{escape(event)}: {describe(error)}")
            elif not isinstance(error, TimeoutError):
                self._console.complain(f"{escape(event)}: {describe(error)}")
            return
        finally:
            self._room.release()
        values = [] if answer is None else list(answer) if isinstance(answer, tuple) else [answer]
        self._show(Style.ASIDE, "ack", "ack", event, values, milliseconds=(time.perf_counter() - begun) * 1000)

    def _show(
        self, style: Style, mark: str, key: str, event: str, values: list[Any], *, milliseconds: float | None = None
    ) -> None:
        console = self._console
        if not console.is_terminal:
            took = {} if milliseconds is None else {"ms": round(milliseconds, 3)}
            console.show(_line({key: event, "args": values} | took))
            return
        name = event if event.isprintable() and event and not set(event) & set(' "') else encode(event)
        took_text = "" if milliseconds is None else console.paint(f" ({milliseconds:.1f} ms)", Style.DIM)
        shown = "".join(f" {_text(value)}" for value in values)
        console.show(f"{console.paint(mark, style)} {console.paint(name, Style.BOLD)}{shown}{took_text}")

    def _learn(self, event: str) -> None:
        if len(self._words) < MAX_WORDS and event.isprintable() and " " not in event:
            self._words[event] = None


# Inside


def _add(commands: Any, name: str, text: str, description: str, **more: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=description, **more)
    parser.add_argument("url", metavar="URL", help="such as localhost:8000; a path is the namespace")
    return parser


def _add_event(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("event", metavar="EVENT", help="the event's name")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs="*", help=ARGUMENTS)


def _add_options(parser: argparse.ArgumentParser, command: Any) -> None:
    group = parser.add_argument_group("Socket.IO")
    group.add_argument("-n", "--namespace", metavar="NAME", help="the namespace (default: the URL's path)")
    group.add_argument(
        "--auth", metavar="JSON", type=argument(read_json), help="an object for the server's middlewares; @FILE has one"
    )
    group.add_argument("--path", default="/socket.io", help="where the server is (default: %(default)s)")
    group.add_argument(
        "--query",
        metavar="NAME=VALUE",
        action="append",
        type=argument(read_pair),
        default=[],
        help="a field of the query; may be repeated",
    )
    group.add_argument(
        "--transports", metavar="NAMES", help="in order, such as polling or websocket (default: polling,websocket)"
    )
    group.add_argument(
        "--parser", choices=("json", "msgpack"), default="json", help="the server's parser (default: %(default)s)"
    )
    add_connection_options(parser)
    parser.set_defaults(command=command)


@asynccontextmanager
async def _connected(options: argparse.Namespace) -> AsyncIterator[Client]:
    """Be connected for a while, and leave when all is said: what is sent by polling has not left at once."""
    client = await _connect(options)
    try:
        yield client
    finally:
        session = None if client.manager is None else client.manager.session
        await client.aclose()
        deadline = time.monotonic() + CLOSE_SECONDS
        while session is not None and session.state is not State.CLOSED and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)


def _connect(options: argparse.Namespace) -> Connecting:
    """Return a client to come. Raises `WrongUsage` for what cannot be."""
    url = options.url if "://" in options.url else f"http://{options.url}"
    if options.namespace is not None:
        scheme, _, rest = url.partition("://")
        host, mark, query = rest.partition("?")
        name = options.namespace if options.namespace.startswith("/") else f"/{options.namespace}"
        url = f"{scheme}://{host.partition('/')[0]}{name}{mark}{query}"
    if options.auth is not None and not isinstance(options.auth, dict):
        raise WrongUsage("--auth is a JSON object")
    chosen = {} if options.transports is None else {"transports": options.transports.split(",")}
    try:
        return connect_client(
            url,
            auth=options.auth,
            path=options.path,
            query=dict(options.query),
            parser=options.parser,
            timeout=options.timeout,
            **chosen,
            **connection_options(options, is_secure=url.startswith(("https:", "wss:"))),
        )
    except (ValueError, TypeError) as error:
        raise WrongUsage(escape(str(error))) from None


def _arguments(options: argparse.Namespace) -> list[Any]:
    try:
        return [parse_argument(text, read_file) for text in options.arguments]
    except ValueError as error:
        raise WrongUsage(str(error)) from None


def _follow(console: Console, client: Client) -> None:
    """Tell when the connection is lost, and when it is there again."""

    def left(reason: DisconnectReason) -> None:
        if client.active:
            console.note(f"disconnected: {reason}; connecting again")

    def joined() -> None:
        console.note(f"connected again{', nothing was missed' if client.recovered else ''}")

    client.on("disconnect", left)
    client.on("connect", joined)


def _sent_off(client: Client) -> Failure:
    """Return the failure that a client's end is which it did not wish for."""
    if client.reason is DisconnectReason.IO_SERVER_DISCONNECT:
        return Failure("the server disconnected us")
    return Failure(f"the connection has ended: {client.reason or 'it could not be made again'}")


def _line(value: dict[str, Any]) -> str:
    """Return a line of JSON; a value that JSON cannot say, as MessagePack has them, is told."""
    try:
        return encode(value)
    except ValueError as error:
        raise Failure(str(error)) from None


def _text(value: Any) -> str:
    try:
        return encode(value)
    except ValueError as error:
        return f"({escape(str(error))})"
