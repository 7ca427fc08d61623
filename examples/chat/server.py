"""A chat on Telex: rooms, people, typing, files and a bot. Run it, and open the page that it names.

Read it in this order: this file is the conversation, event by event; `rooms.py` is what the chat remembers and what it
accepts; `bot.py` is one who answers; `pages.py` serves the page, whose side of the conversation is `static/app.js`.

Handlers here are plain functions: what they do is quickly done, and `emit` sends when it is called.
What a handler returns becomes the acknowledgement: the tick beside a message.
"""

import argparse
import errno
import functools
import socket as sockets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

from bot import Bot, channel
from pages import Pages
from rooms import READY_ROOMS, Chat, Person, Refused, check_file, check_text, make_message

import telex

HERE = Path(__file__).parent
CLIENT = HERE.parents[1] / "node_modules/socket.io-client/dist/socket.io.min.js"

Answer = dict[str, Any]
Said = ParamSpec("Said")

io = telex.Server()
# Faster than anybody types: who says more waits, and loses nothing.
PACE = telex.RateLimit(5, burst=20)
chat = Chat()
bot = Bot(io, chat)


def answering(
    handler: Callable[Concatenate[telex.Socket, Said], Answer],
) -> Callable[Concatenate[telex.Socket, Said], Answer]:
    """Make a refusal an answer: the page shows its sentence."""

    @functools.wraps(handler)
    def answer(socket: telex.Socket, /, *args: Said.args, **kwargs: Said.kwargs) -> Answer:
        try:
            return handler(socket, *args, **kwargs)
        except Refused as refusal:
            return {"error": str(refusal)}

    return answer


@io.on("enter")
@answering
def enter(socket: telex.Socket, wish: object = None) -> Answer:
    """Let somebody in, or back in: `wish` may hold a name, a room, and whether they have been here before."""
    wishes: dict[str, object] = wish if isinstance(wish, dict) else {}
    person = chat.enter(socket.id, wishes.get("name"))
    try:
        answer = move(socket, person, wishes.get("room"))
    except Refused:  # a room in the page's address that cannot be
        answer = move(socket, person, READY_ROOMS[0])
    bot.greet(person, again=wishes.get("back") is True)
    return {"name": person.name, **answer}


@io.on("join")
@answering
def join(socket: telex.Socket, wish: object = None) -> Answer:
    """Go to another room, which is created if there is none of that name."""
    return move(socket, chat.person(socket.id), wish)


@io.on("rename")
@answering
def rename(socket: telex.Socket, wish: object = None) -> Answer:
    """Take another name."""
    person = chat.person(socket.id)
    old = person.name
    chat.rename(person, wish)
    if person.name != old:
        socket.to(channel(person.room)).emit("notice", f"{old} is now {person.name}")
        tell_people(person.room)
    return {"name": person.name}


@io.on("message", rate_limit=PACE)
@answering
def message(socket: telex.Socket, text: object = None) -> Answer:
    """Send a text to one's room."""
    person = chat.person(socket.id)
    checked = check_text(text)
    answer = post(socket, person, text=checked)
    bot.hear(socket, person, checked)
    return answer


@io.on("file", rate_limit=PACE)
@answering
def file(socket: telex.Socket, name: object = None, data: object = None) -> Answer:
    """Send a file to one's room: its bytes come and go as a binary attachment."""
    person = chat.person(socket.id)
    checked = check_file(name, data)
    answer = post(socket, person, file=checked)
    bot.see(person, checked)
    return answer


@io.on("typing")
def typing(socket: telex.Socket, is_typing: object = None) -> None:
    """Tell the room that somebody is typing. Not worth keeping for those who cannot take it now: volatile."""
    person = chat.people.get(socket.id)
    if person is not None:
        socket.to(channel(person.room)).volatile.emit("typing", person.name, is_typing is True)


@io.on("rtt")
def rtt(socket: telex.Socket) -> Answer:
    """Answer at once: the page measures the round trip."""
    return {}


@io.on("connect")
def connected(socket: telex.Socket) -> None:
    """Show the rooms to whoever comes to the page."""
    socket.emit("rooms", chat.list_rooms())


@io.on("disconnect")
def disconnected(socket: telex.Socket, reason: telex.DisconnectReason) -> None:
    """Say goodbye for somebody who is gone. When the server itself goes, everybody knows."""
    person = chat.people.pop(socket.id, None)
    if person is not None and reason is not telex.DisconnectReason.SERVER_SHUTTING_DOWN:
        leave(person)
        tell_rooms()


def move(socket: telex.Socket, person: Person, wish: object) -> Answer:
    """Bring somebody to a room, and describe it to them. Nothing happens if the room is refused."""
    room = chat.open_room(wish)
    if person.room != room.name:
        old, person.room = person.room, room.name
        if old:
            socket.leave(channel(old))
            leave(Person(person.name, old))
        socket.to(channel(room.name)).emit("notice", f"{person.name} joined")
        socket.join(channel(room.name))
        tell_people(room.name)
        tell_rooms()
    return {"room": room.name, "people": chat.list_people(room.name), "history": list(room.messages)}


def leave(person: Person) -> None:
    """Tell a room that somebody has left it."""
    io.to(channel(person.room)).emit("notice", f"{person.name} left")
    tell_people(person.room)
    chat.tidy(person.room)


def post(socket: telex.Socket, person: Person, **content: Any) -> Answer:
    """Keep a message and send it to everyone else in the room; the sender, who shows it already, gets its id."""
    sent = make_message(person.name, **content)
    chat.rooms[person.room].keep(sent)
    socket.to(channel(person.room)).emit("message", sent)
    return {"id": sent["id"]}


def tell_people(room: str) -> None:
    """Tell a room who is in it."""
    io.to(channel(room)).emit("people", chat.list_people(room))


def tell_rooms() -> None:
    """Tell everyone which rooms there are."""
    io.emit("rooms", chat.list_rooms())


def main() -> None:
    """Serve the chat until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A chat on Telex.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="the port to listen on (default: %(default)s)")
    options = parser.parse_args()
    if not CLIENT.exists():
        sys.exit("The JavaScript client is not installed: run `npm ci` in the project's folder first.")
    static = HERE / "static"
    pages = Pages(
        {
            "/": static / "index.html",
            "/app.js": static / "app.js",
            "/style.css": static / "style.css",
            "/icon.svg": static / "icon.svg",
            "/socket.io.min.js": CLIENT,
        }
    )
    family = sockets.AF_INET6 if ":" in options.host else sockets.AF_INET
    try:
        # Only to say it well, before the banner; the server listens by itself.
        with sockets.create_server((options.host, options.port), family=family) as probe:
            port = probe.getsockname()[1]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sys.exit(f"Port {options.port} is taken by another program: stop that one, or choose another with --port.")
        sys.exit(f"Cannot listen on {options.host} port {options.port}: {error.strerror}.")
    except OverflowError:
        sys.exit("A port is a number from 0 to 65535.")
    url = f"http://[{options.host}]:{port}" if ":" in options.host else f"http://{options.host}:{port}"
    sys.stdout.write(
        f"\n  The chat is open:  {url}\n"
        "  Come in with two windows, or with a phone and a desk, and type /help to meet the bot.\n\n"
    )
    # The pages have no use for ASGI's lifespan; heartbeat, bounds and compression are the Socket.IO server's.
    telex.run(
        io.wrap(pages),
        host=options.host,
        port=port,
        lifespan="off",
        ws_max_size=io.limits.max_payload,
        ws_per_message_deflate=io.per_message_deflate,
        ws_ping_interval=None,
    )


if __name__ == "__main__":
    main()
