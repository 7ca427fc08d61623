"""A shop: clients that lose their connection are recovered, and an order that is sent again is placed once.

    telex run orders:io --app-dir examples

The database is `shop.db` in the working directory, or what SHOP names.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import telex

io = telex.Server(connection_state_recovery=True, cors_allowed_origins="*")


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """Open the database for one transaction."""
    db = sqlite3.connect(os.environ.get("SHOP", "shop.db"), timeout=10)
    try:
        with db:
            db.execute("CREATE TABLE IF NOT EXISTS orders (user TEXT, what TEXT)")
            telex.SqlStore(db).create()
            yield db
    finally:
        db.close()


def user(socket: telex.Socket) -> str:
    """Return who this is; a real shop has it checked by then, in a middleware."""
    name = socket.handshake.auth.get("user")
    return name if isinstance(name, str) else ""


@io.use
def only_with_a_name(socket: telex.Socket) -> None:
    if not user(socket):
        raise telex.ConnectRefused("say who you are: auth={user: ...}")


@io.on("connect")
def connected(socket: telex.Socket) -> None:
    if not socket.recovered:
        socket.join("till")


def place(db: sqlite3.Connection, name: str, what: str) -> int:
    """Write an order and return its number."""
    return db.execute("INSERT INTO orders VALUES (?, ?)", (name, what)).lastrowid or 0


@io.on("order", thread=True, dedup=telex.Dedup(key=lambda order: order["id"], scope=user))
def order(socket: telex.Socket, order: dict[str, Any]) -> dict[str, int]:
    with transaction() as db:
        return {"number": telex.once(telex.SqlStore(db))(place)(db, user(socket), str(order["what"]))}


@io.on("announce")
def announce(socket: telex.Socket, text: str) -> None:
    io.to("till").emit("announcement", text)  # which those who are away hear when they are back
