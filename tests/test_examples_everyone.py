"""The programs of docs/namespaces.md and docs/broadcasting.md, run as they stand, with clients in memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import telex
from tests.socketio.harness import join, open_client, run, settle

DOCS = Path(__file__).parent.parent / "docs"


def load(page: str) -> dict[str, Any]:
    """Run all Python of a page, one block after the other, and return its names."""
    names: dict[str, Any] = {"__name__": "program"}
    for program in re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE):
        exec(compile(program, page, "exec"), names)  # noqa: S102  # it stands in our own documents
    return names


def test_namespaces(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        io: telex.Server = load("namespaces.md")["io"]
        ann, _ = await join(io, "/documents/1", {"token": "secret"})
        bob, _ = await join(io, "/documents/1", {"token": "secret"})
        cat, _ = await join(io, "/documents/2", {"token": "secret"})
        ann.emit("edit", "text", nsp="/documents/1")
        ann.emit("shutdown", "tonight", nsp="/documents/1")
        await settle()
        assert list(ann.messages) == ['2/documents/1,["shutdown","tonight"]']
        assert list(bob.messages) == ['2/documents/1,["edited","text"]', '2/documents/1,["shutdown","tonight"]']
        assert list(cat.messages) == ['2/documents/2,["shutdown","tonight"]']
        dan = await open_client(io)
        dan.send("0/documents/1,", "0/tenants/nobody,")
        assert await dan.heard() == [
            '4/documents/1,{"message":"readers only"}',
            '4/tenants/nobody,{"message":"Invalid namespace"}',
        ]
        await dan.connect("/tenants/acme")
        await dan.connect("/games/chess")
        dan.emit("move", 1, 2, nsp="/games/chess")
        assert (await dan.receive_event("/games/chess"))[2:] == [1, 2]

    run(main)
    made = ["/documents/1", "/documents/2", "/tenants/acme", "/games/chess"]
    assert capsys.readouterr().out == "".join(f"there is {name}\n" for name in made)


def test_broadcasting(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        io: telex.Server = load("broadcasting.md")["io"]
        ann, ann_socket = await join(io)
        bob, bob_socket = await join(io)
        assert capsys.readouterr().out.splitlines()[:2] == [
            f"{ann_socket.id} is there",
            f"{ann_socket.id} is in {ann_socket.id}",
        ]
        for socket, name in ((ann_socket, "Ann"), (bob_socket, "Bob")):
            socket.join("lobby")
            socket.data["name"] = name
        ann.emit("close the lobby", ack_id=0)
        assert await ann.receive() == '30[["Bob"]]'
        assert bob_socket.rooms == {bob_socket.id, "hall"}
        ann.emit("count everyone", ack_id=1)
        assert await ann.receive() == "31[2]"
        bob_socket.join("board")
        ann.emit("sign", "contract", ack_id=2)
        assert await bob.receive() == '20["sign this","contract"]'
        bob.send('30["Bob"]')
        assert await ann.receive() == '32[["Bob"]]'
        ann_socket.join("night shift")
        ann.emit("evening")
        await settle()
        assert (ann_socket.connected, bob_socket.connected) == (True, False)

    run(main)
