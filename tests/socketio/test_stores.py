"""What an event does is done once, by stores that are real: SQLite, and a Redis server of the test's own."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

import telex
from telex.socketio.reliable import _event_id
from tests.socketio.harness import Client, join, run
from tests.support.processes import Program, ProgramError

DEDUP = telex.Dedup(key=lambda number: number, scope=None, max_events=1)
"""One that soon forgets, as a server does that is started anew."""


async def answer(client: Client) -> Any:
    message = str(await client.receive())
    return json.loads(message[message.index("[") :])


@pytest.fixture
def in_event() -> Iterator[str]:
    """Be in the handler of an event; return its id."""
    name = 'an "event"; DROP TABLE events'
    token = _event_id.set(name)
    yield name
    _event_id.reset(token)


# SQL.


class FormatCursor(sqlite3.Cursor):
    """SQLite with the parameters of psycopg."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        assert "?" not in sql
        return super().execute(sql.replace("%s", "?"), parameters)


class FormatConnection(sqlite3.Connection):
    def cursor(self, factory: Any = FormatCursor) -> Any:
        return super().cursor(factory)


class Shop:
    """A database with orders."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.connect() as db:
            db.execute("CREATE TABLE orders (what TEXT)")
            telex.SqlStore(db).create()
            telex.SqlStore(db).create()

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=30)

    @property
    def orders(self) -> list[str]:
        db = self.connect()
        try:
            return [what for (what,) in db.execute("SELECT what FROM orders ORDER BY rowid")]
        finally:
            db.close()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


def test_a_restarted_server_answers_a_retry_from_the_database(shop: Shop) -> None:
    def place(db: sqlite3.Connection, number: int) -> tuple[str, int]:
        db.execute("INSERT INTO orders VALUES (?)", (f"order {number}",))
        return "placed", number

    def serve() -> telex.Server:
        io = telex.Server()

        @io.on("order", thread=True, dedup=DEDUP)
        def order(socket: telex.Socket, number: int) -> Any:
            db = shop.connect()
            try:
                with db:
                    return telex.once(telex.SqlStore(db))(place)(db, number)
            finally:
                db.close()

        return io

    async def main() -> None:
        for _ in range(2):
            client, _ = await join(serve())
            for ack_id, number in enumerate([1, 2, 1]):
                client.emit("order", number, ack_id=ack_id)
                assert await answer(client) == ["placed", number]
        assert shop.orders == ["order 1", "order 2"]

    run(main)


def test_what_fails_leaves_neither_effect_nor_claim(shop: Shop, in_event: str) -> None:
    db = shop.connect()

    def place(fails: bool) -> str:
        db.execute("INSERT INTO orders VALUES ('tea')")
        if fails:
            raise RuntimeError("no more tea")
        return "placed"

    with pytest.raises(RuntimeError, match="no more tea"), db:
        telex.once(telex.SqlStore(db))(place)(True)
    with db:
        assert telex.once(telex.SqlStore(db))(place)(False) == "placed"
    with db:
        assert telex.once(telex.SqlStore(db))(place)(True) == "placed"
    db.close()
    assert shop.orders == ["tea"]


def test_what_was_begun_elsewhere_is_in_progress(shop: Shop, in_event: str) -> None:
    db = shop.connect()
    store = telex.SqlStore(db)
    assert store.claim(in_event) is None
    with pytest.raises(telex.EventInProgress, match="somebody else"):
        telex.once(store)(lambda: "again")()
    store.complete(in_event, '["done"]')
    assert telex.once(store)(lambda: "again")() == "done"
    db.close()


def test_old_events_are_pruned(shop: Shop, in_event: str) -> None:
    db = shop.connect()
    store = telex.SqlStore(db)
    assert store.claim(in_event) is None
    assert store.prune(60) == 0
    assert store.prune(-1) == 1
    assert store.claim(in_event) is None
    db.close()


def test_another_parameter_style_and_table(tmp_path: Path, in_event: str) -> None:
    db = sqlite3.connect(tmp_path / "shop", factory=FormatConnection)
    store = telex.SqlStore(db, table="main.events", paramstyle="format")
    store.create()
    runs: list[int] = []
    for _ in range(2):
        assert telex.once(store)(lambda: runs.append(1))() is None
    assert runs == [1]
    assert store.prune(-1) == 1
    db.close()


@pytest.mark.parametrize("table", ["", "a b", "a;b", 'a"', "1a", "a.b.c", "ä"])
def test_a_tables_name_is_checked(table: str) -> None:
    with pytest.raises(ValueError, match="table"):
        telex.SqlStore(None, table=table)
    with pytest.raises(ValueError, match="paramstyle"):
        telex.SqlStore(None, paramstyle="named")


# Whatever the store.


class MemoryStore:
    """The smallest store, and a coroutine's."""

    def __init__(self) -> None:
        self.results: dict[str, str | None] = {}

    async def claim(self, event_id: str, /) -> str | None:
        if event_id not in self.results:
            self.results[event_id] = None
            return None
        found = self.results[event_id]
        if found is None:
            raise telex.EventInProgress(event_id)
        return found

    async def complete(self, event_id: str, result: str, /) -> None:
        self.results[event_id] = result

    async def release(self, event_id: str, /) -> None:
        del self.results[event_id]


@pytest.mark.parametrize("result", [None, "text", 1.5, [1, [2]], {"a": None}, ("two", "values"), (), [()]])
def test_results_come_back_as_they_were(result: Any, in_event: str) -> None:
    async def main() -> None:
        runs: list[int] = []

        @telex.once(MemoryStore())
        async def work(argument: int, *, more: int) -> Any:
            runs.append(argument + more)
            return result

        first, again = await work(1, more=2), await work(3, more=4)
        assert first == result
        assert json.dumps(again) == json.dumps(None if result == () else result)
        assert runs == [3]
        assert work.__name__ == "work"

    asyncio.run(main())


@pytest.mark.parametrize("bad", [b"bytes", [{"a": b""}], object()])
def test_a_result_that_cannot_be_kept_releases_the_event(bad: Any, in_event: str) -> None:
    async def main() -> None:
        store = MemoryStore()

        @telex.once(store)
        async def work() -> Any:
            return bad

        with pytest.raises(TypeError):
            await work()
        assert store.results == {}

    asyncio.run(main())


def test_a_cancelled_function_releases_the_event(in_event: str) -> None:
    async def main() -> None:
        store = MemoryStore()

        @telex.once(store)
        async def work() -> None:
            await asyncio.Event().wait()

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0)
        with pytest.raises(telex.EventInProgress):
            await work()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.results == {}

    asyncio.run(main())


def test_without_an_event_there_is_nothing_to_do_once() -> None:
    with pytest.raises(LookupError, match="dedup"):
        telex.once(MemoryStore())(lambda: None)()


def test_a_plain_function_takes_no_store_that_must_be_awaited(in_event: str) -> None:
    with pytest.raises(TypeError, match="must be awaited"):
        telex.once(MemoryStore())(lambda: None)()


def test_a_plain_function_that_returns_an_awaitable_is_no_plain_function(shop: Shop, in_event: str) -> None:
    db = shop.connect()
    future = asyncio.Future[None](loop=asyncio.new_event_loop())
    with pytest.raises(TypeError, match="coroutine function"):
        telex.once(telex.SqlStore(db))(lambda: future)()
    future.get_loop().close()
    db.close()


# Redis.


@pytest.fixture(scope="module")
def redis_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a server, and return its socket: a free port might be taken before it listens."""
    program = shutil.which("redis-server")
    if program is None:
        raise ProgramError("no redis-server was found; `scripts/setup redis` brings one")
    folder = tmp_path_factory.mktemp("redis")
    path = str(folder / "socket")
    arguments = [program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", str(folder)]
    with Program(arguments, env={"LD_PRELOAD": ""}) as server:  # the sanitizers watch what is ours
        server.wait_for("ready to accept connections")
        yield path


@pytest.mark.parametrize("decode", [False, True])
def test_redis_for_coroutine_functions(redis_path: str, decode: bool, in_event: str) -> None:
    async def main() -> None:
        async with redis.asyncio.Redis(unix_socket_path=redis_path, decode_responses=decode) as client:
            await client.flushall()
            begun, gate = asyncio.Event(), asyncio.Event()
            runs: list[int] = []

            @telex.once(telex.RedisStore(client))
            async def work(number: int) -> Any:
                runs.append(number)
                begun.set()
                await gate.wait()
                if number == 1:
                    raise RuntimeError("not yet")
                return "done", number

            first = asyncio.ensure_future(work(1))
            await begun.wait()
            with pytest.raises(telex.EventInProgress):
                await work(2)
            gate.set()
            with pytest.raises(RuntimeError, match="not yet"):
                await first
            assert await work(2) == ("done", 2)
            assert await telex.once(telex.RedisStore(client))(work)(3) == ("done", 2)  # a server started anew
            assert runs == [1, 2]
            assert 86_000_000 < await client.pttl(f"telex:once:{in_event}") <= 86_400_000

    asyncio.run(main())


def test_redis_for_plain_functions(redis_path: str, in_event: str) -> None:
    with redis.Redis(unix_socket_path=redis_path) as client:
        client.flushall()
        runs: list[int] = []
        store = telex.RedisStore(client, prefix="shop:", window=5)
        assert telex.once(store)(lambda: runs.append(1))() is None
        assert telex.once(store)(lambda: runs.append(2))() is None
        assert runs == [1]
        assert client.keys() == [f"shop:{in_event}".encode()]


def test_a_lease_that_was_too_short_is_reported(
    redis_path: str, in_event: str, caplog: pytest.LogCaptureFixture
) -> None:
    with redis.Redis(unix_socket_path=redis_path) as client:
        client.flushall()
        store, other = telex.RedisStore(client), telex.RedisStore(client)

        def slow() -> str:
            client.delete(f"telex:once:{in_event}")  # the lease has run out
            assert telex.once(other)(lambda: "by another")() == "by another"
            return "too late"

        with caplog.at_level(logging.WARNING, "telex.socketio"):
            assert telex.once(store)(slow)() == "too late"
        assert "took longer than RedisStore's lease" in caplog.text
        assert telex.once(store)(lambda: "again")() == "by another"
        store.release(in_event)  # which it does not hold
        assert client.exists(f"telex:once:{in_event}")


@pytest.mark.parametrize("times", [{"window": 0}, {"lease": -1}, {"lease": float("nan")}])
def test_redis_times_are_checked(times: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        telex.RedisStore(None, **times)
