"""Who is where, and what was said: the chat's memory.

Rule of this module: no Socket.IO and no I/O. What a peer sent is `object` until it is checked here, by type, length and
content, and everything that is kept has a bound.
"""

import re
import secrets
import time
import unicodedata
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

BOT_NAME = "Ticker"

MAX_NAME = 24
MAX_TEXT = 2_000
MAX_FILE_BYTES = 700_000  # base64, as long-polling sends it, makes it 933 kB: still below the server's `max_payload`
MAX_FILE_NAME = 100
MAX_ROOMS = 20
MAX_MESSAGES = 50  # kept for each room
MAX_FILES = 8  # of those; socket.io-client refuses packets with more than ten attachments
MAX_KEPT_BYTES = 1_500_000  # of those files together

READY_ROOMS = ("lobby", "python", "javascript", "random")
ADJECTIVES = ("Calm", "Bright", "Swift", "Quiet", "Merry", "Clever", "Gentle", "Brave")
ANIMALS = ("Heron", "Otter", "Lynx", "Wren", "Badger", "Hare", "Swift", "Marten")
SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}

Message = dict[str, Any]


class Refused(Exception):
    """Say no to a peer in one sentence, which is shown to its user."""


def check_text(value: object) -> str:
    """Return a message's text, or raise `Refused`."""
    if not isinstance(value, str) or not value.strip():
        raise Refused("There is no text in this message.")
    if len(value) > MAX_TEXT:
        raise Refused(f"A message has {MAX_TEXT:,} characters at most.")
    if any(unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t" for character in value):
        raise Refused("A message cannot contain control characters.")
    return value.strip()


def check_name(value: object) -> str:
    """Return a person's name, or raise `Refused`."""
    name = " ".join(value.split()) if isinstance(value, str) else ""
    # `isprintable` also refuses the invisible characters that make one name look like another.
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise Refused(f"A name has 1 to {MAX_NAME} visible characters.")
    return name


def check_room(value: object) -> str:
    """Return a room's name, or raise `Refused`."""
    name = value.strip().lower() if isinstance(value, str) else ""
    if not re.fullmatch(rf"[\w-]{{1,{MAX_NAME}}}", name):
        raise Refused(f"A room's name has 1 to {MAX_NAME} letters, digits and hyphens.")
    return name


def check_file(name: object, data: object) -> dict[str, Any]:
    """Return what is told about a file, with its bytes, or raise `Refused`.

    What kind of file it is we see for ourselves: the sender's word would decide how other browsers treat it.
    """
    if not isinstance(data, bytes) or not data:
        raise Refused("There is nothing in this file.")
    if len(data) > MAX_FILE_BYTES:
        raise Refused(f"A file has {MAX_FILE_BYTES // 1000} kB at most.")
    kind = next((kind for signature, kind in SIGNATURES.items() if data.startswith(signature)), "")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "image/webp"
    return {"name": clean_file_name(name), "type": kind, "size": len(data), "data": data}


def clean_file_name(name: object) -> str:
    """Return a name under which a file can be saved anywhere. The end is what matters: it has the extension."""
    given = name if isinstance(name, str) else ""
    clean = "".join("_" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in given[-MAX_FILE_NAME:])
    return clean.strip(" .") or "file"


@dataclass
class Room:
    """Hold a room's recent messages."""

    name: str
    messages: deque[Message] = field(default_factory=lambda: deque(maxlen=MAX_MESSAGES))

    def keep(self, message: Message) -> None:
        """Add a message, and let go of the bytes of files that are too many or too old."""
        self.messages.append(message)
        n_files = n_bytes = 0
        for i in range(len(self.messages) - 1, -1, -1):
            kept = self.messages[i]
            if "data" in kept.get("file", {}):
                n_files += 1
                n_bytes += kept["file"]["size"]
                if n_files > MAX_FILES or n_bytes > MAX_KEPT_BYTES:
                    about = {key: value for key, value in kept["file"].items() if key != "data"}
                    self.messages[i] = {**kept, "file": about}


@dataclass
class Person:
    """Hold what the chat knows of one socket."""

    name: str
    room: str = ""


class Chat:
    """Hold the rooms, and the people by the id of their socket."""

    def __init__(self) -> None:
        self.rooms = {name: Room(name) for name in READY_ROOMS}
        self.people: dict[str, Person] = {}

    def enter(self, sid: str, wish: object) -> Person:
        """Add a person under the name they wish for, or one like it, or a new one."""
        if sid in self.people:
            raise Refused("You are in already.")
        try:
            base = check_name(wish)
        except Refused:
            base = f"{secrets.choice(ADJECTIVES)} {secrets.choice(ANIMALS)}"
        name, n = base, 1
        while self.is_taken(name):
            n += 1
            name = f"{base[: MAX_NAME - 5]} {n}"
        person = self.people[sid] = Person(name)
        return person

    def person(self, sid: str) -> Person:
        """Return who this socket is, or raise `Refused`."""
        try:
            return self.people[sid]
        except KeyError:
            raise Refused("Enter the chat first.") from None

    def rename(self, person: Person, wish: object) -> None:
        """Change a person's name, or raise `Refused`."""
        name = check_name(wish)
        if self.is_taken(name, besides=person):
            raise Refused(f"{name} is taken. Please choose another name.")
        person.name = name

    def is_taken(self, name: str, besides: Person | None = None) -> bool:
        """Whether somebody has this name, in whatever case."""
        others = (other.name for other in self.people.values() if other is not besides)
        return name.casefold() in {BOT_NAME.casefold(), *(other.casefold() for other in others)}

    def open_room(self, wish: object) -> Room:
        """Return the room of this name, made if there is none, or raise `Refused`."""
        name = check_room(wish)
        if name not in self.rooms and len(self.rooms) >= MAX_ROOMS:
            raise Refused(f"There are {MAX_ROOMS} rooms already. Please use one of them.")
        return self.rooms.setdefault(name, Room(name))

    def tidy(self, name: str) -> None:
        """Forget a room that somebody had created, once nobody is in it."""
        if name not in READY_ROOMS and not any(self.people_in(name)):
            self.rooms.pop(name, None)

    def people_in(self, room: str) -> Iterator[Person]:
        """Return who is in a room, in the order in which they came to the chat."""
        return (person for person in self.people.values() if person.room == room)

    def list_people(self, room: str) -> list[dict[str, Any]]:
        """Return what is told about who is in a room."""
        return [{"name": BOT_NAME, "bot": True}, *({"name": person.name} for person in self.people_in(room))]

    def list_rooms(self) -> list[dict[str, Any]]:
        """Return what is told about the rooms."""
        return [{"name": name, "people": len(list(self.people_in(name)))} for name in self.rooms]


def make_message(author: str, **content: Any) -> Message:
    """Make a message with an id and a time (milliseconds, as JavaScript counts them)."""
    return {"id": secrets.token_hex(8), "at": time.time_ns() // 1_000_000, "author": author, **content}
