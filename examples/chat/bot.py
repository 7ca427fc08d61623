"""Ticker, a bot that lives in every room.

It is no client: it hears what the handlers hand it and speaks through the server, as any part of a program can.
"""

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Coroutine
from datetime import datetime
from typing import Any

from rooms import BOT_NAME, Chat, Message, Person, make_message

import telex

HELP = """This is what I know:
/help  this list
/time  the server's clock
/roll 2d6  dice: how many, and with how many sides
/flip  a coin
/who  who is in this room
/ping  your round trip, measured from here
Mention @Ticker and I echo what you say."""

MAX_ANSWERS = 32  # at once; whoever floods the room with commands is not answered further
MAX_DICE = 20
MAX_SIDES = 1000
PING_TIMEOUT = 5.0
SECONDS_TO_TYPE = 0.9  # the same for all answers, so that they keep their order


class Bot:
    """Answer in the rooms of a chat."""

    def __init__(self, io: telex.Server, chat: Chat) -> None:
        self._io = io
        self._chat = chat
        self._tasks: set[asyncio.Task[None]] = set()  # the loop alone would not keep them

    def greet(self, person: Person, *, again: bool) -> None:
        """Welcome somebody who has entered the chat."""
        greeting = "Welcome back" if again else "Welcome"
        text = f"{greeting}, {person.name}! I am {BOT_NAME}, a bot. Type /help to see what I know."
        self._soon(self._say(person.room, text, keep=False))

    def hear(self, socket: telex.Socket, person: Person, text: str) -> None:
        """Answer a message, if it is for the bot."""
        if text.startswith("/") or f"@{BOT_NAME}".casefold() in text.casefold():
            self._soon(self._answer(socket, person, text))

    def see(self, person: Person, file: dict[str, Any]) -> None:
        """Remark on a file: the digest shows that its bytes came through as they are."""
        digest = hashlib.sha256(file["data"]).hexdigest()[:8]
        self._soon(self._say(person.room, f"{file['size']:,} bytes, sent as binary. SHA-256: {digest}…"))

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something while the handlers go on."""
        if len(self._tasks) >= MAX_ANSWERS:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, socket: telex.Socket, person: Person, text: str) -> None:
        room = person.room  # they may have moved on before we are done
        command, _, rest = text.partition(" ")
        match command.lower():
            case "/help":
                answer = HELP
            case "/time":
                answer = f"{datetime.now().astimezone():%A %d %B %Y, %H:%M:%S %Z}"
            case "/roll":
                answer = roll(rest)
            case "/flip":
                answer = secrets.choice(("Heads.", "Tails."))
            case "/who":
                answer = "Here are " + ", ".join(each.name for each in self._chat.people_in(room)) + " and I."
            case "/ping":
                answer = await ping(socket)
            case _ if text.startswith("/"):
                answer = f"I do not know {command[:40]}. /help lists what I know."
            case _:
                said = re.sub(rf"@{BOT_NAME}\b[,:]?", "", text, flags=re.IGNORECASE).strip()
                answer = f"{person.name} says: {said}" if said else f"Yes, {person.name}?"
        await self._say(room, answer)

    async def _say(self, room: str, text: str, *, keep: bool = True) -> None:
        """Type for a moment, then send a message to a room."""
        await self._io.to(channel(room)).volatile.emit("typing", BOT_NAME, True)
        await asyncio.sleep(SECONDS_TO_TYPE)
        message: Message = make_message(BOT_NAME, bot=True, text=text)
        if keep and room in self._chat.rooms:
            self._chat.rooms[room].keep(message)
        await self._io.to(channel(room)).emit("message", message)


def channel(room: str) -> str:
    """Return the Socket.IO room of a chat room.

    The prefix keeps the names that users choose apart from socket ids, which are rooms too.
    """
    return f"room:{room}"


def roll(dice: str) -> str:
    """Throw dice such as "2d6"; one with six sides if nothing is said."""
    match = re.fullmatch(r"(\d{0,3})d(\d{1,4})", dice.strip().lower() or "1d6", flags=re.ASCII)
    if match is None:
        return "Say it like this: /roll 2d6"
    n_dice, n_sides = int(match[1] or 1), int(match[2])
    if not (1 <= n_dice <= MAX_DICE and 1 < n_sides <= MAX_SIDES):
        return f"I have {MAX_DICE} dice, with 2 to {MAX_SIDES} sides each."
    eyes = [secrets.randbelow(n_sides) + 1 for _ in range(n_dice)]
    return f"{' + '.join(map(str, eyes))} = {sum(eyes)}" if n_dice > 1 else f"{eyes[0]}"


async def ping(socket: telex.Socket) -> str:
    """Ask a client for an acknowledgement, and say how long it took."""
    start = time.perf_counter()
    try:
        await socket.call("probe", timeout=PING_TIMEOUT)
    except (telex.AckTimeout, telex.Disconnected):
        return "I heard nothing back."
    return f"To you and back: {(time.perf_counter() - start) * 1000:.1f} ms."
