"""What runs compiled, and that it is what is used."""

from __future__ import annotations

import asyncio
import asyncio.tasks
import sys
from importlib import import_module
from typing import Any

import pytest

import telex.native
from telex.engineio import fastpath as engineio
from telex.engineio.session import Session
from telex.engineio.transports.stream import StreamTransport
from telex.socketio import fastpath as socketio
from telex.socketio import starting
from telex.socketio.connection import Connection
from telex.socketio.namespace import Namespace
from telex.socketio.socket import Socket
from telex.websocket import codec
from telex.websocket import fastpath as websocket
from tests.twins import IS_PURE, compiled

CHOOSERS = [
    ("frames", codec, "telex.websocket.frames"),
    ("handover", websocket, "telex.websocket.handover"),
    ("messages", engineio, "telex.engineio.messages"),
    ("events", socketio, "telex.socketio.events"),
    ("pools", starting, "telex.socketio.pools"),
]


def test_all_that_can_be_is_compiled_unless_the_environment_says_no() -> None:
    assert telex.native.active() == (() if IS_PURE else tuple(telex.native.COMPILED))
    assert telex.native.describe() == ("pure Python (TELEX_PURE)" if IS_PURE else "native")


def test_a_part_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(telex.native.COMPILED)
    for missing in names:
        with monkeypatch.context() as patch:
            for name in names:
                patch.setitem(telex.native._loaded, name, None if name == missing else object())
            assert telex.native.active() == tuple(name for name in names if name != missing)
            assert telex.native.describe() == f"native but for {missing}"


@pytest.mark.parametrize(("name", "chooser", "pure"), CHOOSERS)
def test_each_chooser_gives_the_twin_in_use(name: str, chooser: Any, pure: str) -> None:
    twin = import_module(pure) if IS_PURE else compiled(telex.native.COMPILED[name])
    names = ["Pool"] if chooser is starting else chooser.__all__
    assert names
    for each in names:
        assert getattr(chooser, each) is getattr(twin, each)


@pytest.mark.parametrize(
    ("part", "base"),
    [
        (StreamTransport, engineio.MessageReceiver),
        (Session, engineio.MessageSender),
        (Connection, socketio.EventReceiver),
        (Socket, socketio.Emitter),
        (Namespace, socketio.Registry),
    ],
)
def test_the_usual_way_is_no_longer_than_it_must_be(part: type, base: type) -> None:
    """A method that a subclass brought in between would cost every message its share, and nobody would notice."""
    short = {name for name in vars(base) if not name.startswith("_")}
    mine = {name for name in short if any(name in vars(each) for each in part.__mro__[: part.__mro__.index(base)])}
    assert {name for name in mine if getattr(part, name) is not getattr(base, name)} <= {"send"}


def test_the_table_of_current_tasks_is_the_one_that_asyncio_reads() -> None:
    table = telex.native.current_tasks()
    if sys.version_info < (3, 12):
        assert table is not None

    async def main() -> None:
        assert table is None or table[asyncio.get_running_loop()] is asyncio.current_task()

    asyncio.run(main())


@pytest.mark.parametrize("hidden", [None, [], {}], ids=["none", "no table", "another table"])
def test_a_table_that_asyncio_does_not_read_is_none(monkeypatch: pytest.MonkeyPatch, hidden: object) -> None:
    monkeypatch.setattr(asyncio.tasks, "_current_tasks", hidden)
    assert telex.native.current_tasks() is None


def test_where_asyncio_lets_nobody_enter_a_task_there_is_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("not the running loop")

    monkeypatch.setattr(asyncio.tasks, "_enter_task", refuse)
    assert telex.native.current_tasks() is None
