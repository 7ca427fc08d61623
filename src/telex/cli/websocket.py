"""`telex ws`: talk to a plain WebSocket.

Rule of this module: what a message, a ping and an end look like; lines and the terminal are `terminal.py`'s.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

from telex.cli import pipes
from telex.cli.failures import Failure, WrongUsage
from telex.cli.options import add_connection_options, argument, connection_options, read_file, seconds, whole_number
from telex.cli.terminal import Console, Style, until_first
from telex.cli.values import encode, escape, plural
from telex.errors import ConnectionClosed
from telex.types import Data
from telex.websocket import Connection, Listener, connect

__all__ = ["add_ws", "talk"]

HELP = """\
  text              send it
  //text            send text that begins with a slash: /text
  /send FILE        send a file's bytes as a binary message
  /ping             ping, and show how long the answer takes
  /close [CODE [REASON]]
                    close; so does Ctrl-D
  /help             show this"""
COMMANDS = ("/send ", "/ping", "/close", "/help")

QUIET = (1000, 1001, 1005)
"""Close codes of an end that is nobody's fault."""
MEANINGS = {
    1000: "done",
    1001: "going away",
    1002: "protocol error",
    1003: "kind of data not taken",
    1005: "no code was given",
    1006: "lost, without a goodbye",
    1007: "no valid data",
    1008: "against the rules",
    1009: "message too large",
    1010: "extension missing",
    1011: "internal error",
    1012: "restarting",
    1013: "try again later",
    1014: "bad gateway",
}
"""RFC 6455 §7.4.1 and the registry of IANA's, in short."""

MAX_HEX = 32
"""Bytes of a binary message that a terminal shows."""
WAIT = 1.0


def add_ws(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "ws",
        help="talk to a plain WebSocket",
        description="Talk to a plain WebSocket, at a prompt or through pipes: each line is a message.",
        epilog="Without a scheme a URL is ws://. With pipes, results go to standard output and all else to standard "
        "error; binary messages are printed as JSON, or with --binary as they are.",
    )
    parser.add_argument("url", metavar="URL", help="such as localhost:8765 or wss://example.org/feed")
    parser.add_argument(
        "-s",
        "--subprotocol",
        dest="subprotocols",
        metavar="NAME",
        action="append",
        default=[],
        help="offer a subprotocol; may be repeated",
    )
    parser.add_argument(
        "-b", "--binary", action="store_true", help="send binary messages; a pipe is one message, whatever it is"
    )
    parser.add_argument(
        "--count", metavar="N", type=argument(whole_number), help="leave when so many messages have come"
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=argument(seconds),
        default=WAIT,
        help="leave when nothing has come for so long after the end of a piped input; inf for never "
        "(default: %(default)g)",
    )
    parser.add_argument("--origin", metavar="ORIGIN", help="send what a browser would")
    add_connection_options(parser)
    parser.set_defaults(command=talk)


async def talk(options: argparse.Namespace) -> None:
    """Connect, and talk until one side is done. Raises `Failure`, `OSError` and what `connect` does."""
    url = options.url if "://" in options.url else f"ws://{options.url}"
    if url.startswith(("http://", "https://")):
        url = f"ws{url[4:]}"
    conversation = Conversation(Console(), options)
    try:
        connecting = connect(
            url,
            listener=conversation,
            subprotocols=options.subprotocols,
            origin=options.origin,
            open_timeout=options.timeout,
            **connection_options(options, is_secure=url.startswith("wss:")),
        )
    except ValueError as error:
        raise WrongUsage(str(error)) from None
    async with connecting as ws:
        await conversation.lead(ws)


class Conversation(Listener):
    """Lead a conversation: show what comes, send what is typed."""

    __slots__ = ("_console", "_ended", "_heard", "_n_left", "_options")

    def __init__(self, console: Console, options: argparse.Namespace) -> None:
        self._console = console
        self._options = options
        self._n_left: int | None = options.count
        self._heard = asyncio.Event()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def lead(self, ws: Connection) -> None:
        """Talk until somebody is done. Raises `Failure` where the end was somebody's fault."""
        console = self._console
        subprotocol = "" if ws.subprotocol is None else f", subprotocol {escape(ws.subprotocol)}"
        if console.is_interactive:
            console.note(f"connected to {escape(self._options.url)}{subprotocol}; /help tells more")
        if self._options.binary and not console.is_interactive:
            sending = self._send_input(ws)
            await until_first(self._end(), sending)
            return
        with console.prompting("ws", self._words) as lines:
            await until_first(self._end(), self._send_lines(ws, lines))

    # What comes (see `Listener`). Nobody would see what is raised here, so it is the end's to raise.

    def on_message(self, ws: Connection, message: Data) -> None:
        if self._ended.done():
            return
        self._heard.set()
        try:
            self._show(message)
        except Exception as error:
            self._ended.set_exception(error)
            return
        if self._n_left is not None:
            self._n_left -= 1
            if not self._n_left:
                self._ended.set_result(None)

    def on_ping(self, ws: Connection, payload: bytes) -> None:
        if self._console.is_interactive and not self._ended.done():
            told = f" {_hex(payload)}" if payload else ""
            self._console.note(f"ping{told}")

    def on_close(self, ws: Connection, code: int, reason: str) -> None:
        if self._ended.done():
            return
        told = f"closed: {code} ({MEANINGS.get(code, 'a code of its own')}) {escape(reason)}".rstrip()
        if code in QUIET:
            if self._console.is_interactive:
                self._console.note(told)
            self._ended.set_result(None)
        else:
            self._ended.set_exception(Failure(told))

    # Inside

    async def _end(self) -> None:
        await self._ended

    def _words(self) -> Iterable[str]:
        return COMMANDS

    def _show(self, message: Data) -> None:
        console = self._console
        if not console.is_terminal:
            if isinstance(message, str):
                console.show(message)
            elif self._options.binary:
                console.show_bytes(message)
            else:
                console.show(encode(message))
            return
        text = _hex(message) if isinstance(message, bytes) else escape(message).replace("\n", "\n  ")
        console.show(f"{console.paint('<', Style.GOOD)} {text}")

    async def _send_input(self, ws: Connection) -> None:
        data = await pipes.whole()
        try:
            await ws.send(data)
        except ConnectionClosed:
            await self._end()
        await self._listen_on()

    async def _send_lines(self, ws: Connection, lines: AsyncIterator[str]) -> None:
        try:
            async for line in lines:
                if not self._console.is_interactive:
                    await ws.send(line)
                elif line.strip() and not await self._obey(ws, line):
                    return
        except ConnectionClosed:  # which `on_close` tells
            await self._end()
        if not self._console.is_interactive:
            await self._listen_on()

    async def _listen_on(self) -> None:
        """Wait until the server has said nothing for a while, or for the messages that were asked for."""
        wait = None if self._n_left is not None or self._options.wait == float("inf") else self._options.wait
        while True:
            self._heard.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._heard.wait()
            except TimeoutError:
                return

    async def _obey(self, ws: Connection, line: str) -> bool:
        """Do what was typed; say whether to go on."""
        try:
            if not line.startswith("/"):
                await self._send(ws, line)
                return True
            if line.startswith("//"):
                await self._send(ws, line[1:])
                return True
            return await self._command(ws, *line[1:].split(maxsplit=1))
        except (ValueError, TypeError) as error:
            self._console.complain(escape(str(error)))
        return True

    async def _send(self, ws: Connection, text: str) -> None:
        await ws.send(text.encode() if self._options.binary else text)

    async def _command(self, ws: Connection, name: str = "", rest: str = "") -> bool:
        match name:
            case "send":
                data = read_file(rest.strip())
                await ws.send(data)
                self._console.note(f"sent {plural(len(data), 'byte')}")
            case "ping":
                await self._ping(ws, rest)
            case "close":
                code, _, reason = rest.partition(" ")
                if code and not code.isdecimal():
                    raise ValueError("a close code is a number: 1000, or 3000 to 4999")
                await ws.close(int(code or 1000), reason.strip())
            case "help":
                self._console.note(HELP)
            case _:
                raise ValueError(f"there is no command /{name}; //{name} sends it as text, /help tells more")
        return name != "close"

    async def _ping(self, ws: Connection, payload: str) -> None:
        timeout = self._options.timeout
        try:
            async with asyncio.timeout(timeout):
                latency = await ws.ping(payload.encode() or None)
        except TimeoutError:
            self._console.complain(f"no pong within {timeout:g} s")
        else:
            self._console.note(f"pong after {latency * 1000:.1f} ms")


def _hex(data: bytes) -> str:
    more = " ..." if len(data) > MAX_HEX else ""
    return f"{plural(len(data), 'byte')}: {data[:MAX_HEX].hex(' ')}{more}" if data else "0 bytes"
