"""WebSocket connections held by threads, against a server on another loop or in another process."""

from __future__ import annotations

import asyncio
import inspect
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from telex import websocket
from telex.errors import ConnectionClosed, InvalidStatus
from telex.limits import Limits
from telex.sync.connections import SMALL
from telex.sync.websocket import Connection, connect
from telex.websocket import State, reject
from tests.support.processes import Program
from tests.sync.serving import serve_websockets

SECONDS = 30.0


async def obey(ws: websocket.Connection) -> None:
    """Do what each message says, or send it back."""
    async for message in ws:
        command, _, rest = str(message).partition(" ") if isinstance(message, str) else ("", "", "")
        if command == "close":
            ws.close(int(rest), "as you wish")
        elif command == "flood":
            for i in range(int(rest)):
                await ws.send(str(i))
        else:
            await ws.send(message)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve_websockets(obey) as url:
        yield url


def test_messages_go_and_come(url: str) -> None:
    with connect(url) as ws:
        assert ws.state is State.OPEN
        for message in ("text", "", b"bytes", "größer", "x" * (SMALL + 1), b"y" * 300_000):
            ws.send(message)
            assert ws.recv(timeout=SECONDS) == message
        ws.send(bytearray(b"mutable"))
        assert ws.recv(timeout=SECONDS) == b"mutable"
        ws.send(memoryview(b"a view"))
        assert ws.recv(timeout=SECONDS) == b"a view"
    assert ws.state is State.CLOSED
    assert ws.close_code == 1000


def test_small_and_large_messages_keep_their_order(url: str) -> None:
    with connect(url) as ws:
        sent = [str(i).ljust(SMALL * (1 + i % 3 * 2 // 2), "x") for i in range(50)]
        sender = threading.Thread(target=lambda: [ws.send(message) for message in sent])
        sender.start()
        assert [ws.recv(SECONDS) for _ in sent] == sent
        sender.join(SECONDS)


def test_open_is_for_those_who_close_themselves(url: str) -> None:
    ws = connect(url).open()
    ws.send("hello")
    assert ws.recv(SECONDS) == "hello"
    ws.close()
    ws.close()
    assert ws.close_code == 1000
    with connect(url).open() as again:
        again.abort()
        again.wait_closed(SECONDS)
    assert again.close_code == 1006


def test_what_is_known_of_a_connection(url: str) -> None:
    with connect(url, headers=[("X-Me", "it's me")]) as ws:
        ws.send("flood 3")
        assert ws.recv(SECONDS) == "0"
        while ws.statistics().n_received < 3:
            pass
        statistics = ws.statistics()
        assert (statistics.n_sent, statistics.n_received, statistics.n_waiting) == (1, 3, 2)
        assert 0 < ws.ping(b"p", timeout=SECONDS) == ws.latency < SECONDS
        assert ws.request.headers["x-me"] == "it's me"
        assert ws.response.status == 101
        assert ws.subprotocol is None
        assert ws.close_code is None
        assert ws.close_reason == ""
        assert ws.buffered_bytes == 0
        assert ws.limits == Limits()
        assert f"{ws.remote_address[0]}:{ws.remote_address[1]}" in url
        assert ws.local_address != ws.remote_address
        assert ws.get_extra_info("ssl_object") is None
        assert "OPEN" in repr(ws)


def test_a_timeout_of_recv_loses_nothing(url: str) -> None:
    with connect(url) as ws:
        for timeout in (0.01, 0, -1):
            with pytest.raises(TimeoutError, match="no message within"):
                ws.recv(timeout)
        ws.send("flood 2")
        assert ws.recv(SECONDS) == "0"
        while ws.statistics().n_waiting < 1:
            pass
        assert ws.recv(0) == "1"


def test_iteration_ends_quietly_when_the_peer_is_done(url: str) -> None:
    with connect(url) as ws:
        ws.send("flood 40")
        ws.send("close 1001")
        assert list(ws) == [str(i) for i in range(40)]
    assert (ws.close_code, ws.close_reason) == (1001, "as you wish")
    with pytest.raises(ConnectionClosed, match="1001 as you wish"):
        ws.recv()
    with pytest.raises(ConnectionClosed, match="1001"):
        ws.send("x")
    with pytest.raises(ConnectionClosed):
        ws.ping()


def test_iteration_raises_when_something_went_wrong(url: str) -> None:
    with connect(url) as ws:
        ws.send("close 4000")
        with pytest.raises(ConnectionClosed, match="4000"):
            list(ws)


def test_what_was_fetched_may_be_taken_after_the_end(url: str) -> None:
    with connect(url) as ws:
        ws.send("flood 3")
        ws.send("close 1000")
        while ws.statistics().n_waiting < 3:
            pass
        assert ws.recv(SECONDS) == "0"
    assert [ws.recv(), ws.recv()] == ["1", "2"]


def test_leaving_under_a_flood_is_quick(url: str) -> None:
    began = time.monotonic()
    with connect(url, limits=Limits(close_timeout=SECONDS)) as ws:
        ws.send("flood 1000")
        ws.recv(SECONDS)
    assert ws.close_code == 1000
    assert time.monotonic() - began < SECONDS


def test_what_is_no_message_is_refused_and_nothing_sent(url: str) -> None:
    with connect(url) as ws:
        with pytest.raises(TypeError):
            ws.send(7)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="surrogate"):
            ws.send("\ud800")
        with pytest.raises(ValueError, match="close code"):
            ws.close(1)
        with pytest.raises(ValueError, match="125"):
            ws.ping(b"x" * 126)
        ws.send("still here")
        assert ws.recv(SECONDS) == "still here"


def test_an_opening_that_fails_raises() -> None:
    async def never(ws: websocket.Connection) -> None:
        raise AssertionError

    with (
        serve_websockets(never, process_request=lambda request: reject(403, "not you\n")) as url,
        pytest.raises(InvalidStatus) as caught,
    ):
        connect(url).open()
    assert (caught.value.status, caught.value.body) == (403, b"not you\n")
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        connect(url).open()
    with pytest.raises(ValueError, match="ftp"):
        connect("ftp://127.0.0.1")


def test_send_waits_for_room_and_no_longer_than_it_is_told(tmp_path: Path) -> None:
    release = threading.Event()
    received: list[int] = []

    async def deaf(ws: websocket.Connection) -> None:
        while not release.is_set():  # noqa: ASYNC110  # it reads nothing before
            await asyncio.sleep(0.001)
        async for message in ws:
            received.append(len(message))

    limits = Limits(slow_consumer_timeout=SECONDS)
    with serve_websockets(deaf) as url, connect(url, limits=limits) as ws:
        n_sent = 0

        def send_on() -> None:
            nonlocal n_sent
            while True:
                n_sent += 1
                ws.send(bytes(1 << 20), timeout=0.05)

        with pytest.raises(TimeoutError):
            send_on()
        assert ws.buffered_bytes > limits.send_buffer_high
        waiting = threading.Thread(target=ws.send, args=("small",))
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive()
        release.set()
        waiting.join(SECONDS)
        assert not waiting.is_alive()
    assert received == [1 << 20] * n_sent + [5]


def test_many_threads_share_a_connection(url: str) -> None:
    n_threads, n_each = 8, 50
    with connect(url) as ws:
        taken: list[Any] = []

        def talk(n: int) -> None:
            for i in range(n_each):
                ws.send(f"{n} {i}" if i % 2 else f"{n} {i}".ljust(SMALL + 1, "x"))
                taken.append(ws.recv(SECONDS))

        threads = [threading.Thread(target=talk, args=(n,)) for n in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        assert len(taken) == len(set(taken)) == n_threads * n_each


def test_a_waiting_thread_hears_of_the_end(url: str) -> None:
    with connect(url) as ws:
        failures: list[BaseException] = []

        def wait() -> None:
            try:
                ws.recv()
            except ConnectionClosed as error:
                failures.append(error)

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        ws.close()
        for thread in threads:
            thread.join(SECONDS)
        assert len(failures) == 3


def test_connections_come_one_after_another(url: str) -> None:
    codes: list[int | None] = []
    seen: list[Connection] = []
    for ws in connect(url, reconnection_delay=0.001):
        if seen:
            assert seen[-1].state is State.CLOSED
        seen.append(ws)
        if len(seen) == 4:
            break
        if len(seen) == 2:
            continue  # the loop closes it
        ws.send("close 1012")
        with pytest.raises(ConnectionClosed):
            ws.recv(SECONDS)
        codes.append(ws.close_code)
    seen[-1].wait_closed(SECONDS)
    assert codes == [1012, 1012]
    assert [ws.close_code for ws in seen] == [1012, 1000, 1012, 1000]


def test_an_exception_leaves_the_loop_and_closes_the_connection(url: str) -> None:
    seen: list[Connection] = []

    def work() -> None:
        for ws in connect(url, limits=Limits(close_timeout=SECONDS)):
            seen.append(ws)
            ws.send("flood 1000")
            ws.recv(SECONDS)
            raise KeyError("body")

    with pytest.raises(KeyError, match="body"):
        work()
    seen[0].wait_closed(SECONDS)
    assert [ws.close_code for ws in seen] == [1000]


def test_what_is_not_worth_another_attempt_is_raised() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nobody = f"ws://127.0.0.1:{listening.getsockname()[1]}"
    asked: list[Exception] = []

    def judge(error: Exception) -> bool:
        asked.append(error)
        return len(asked) < 3

    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        next(iter(connect(nobody, reconnection_delay=0.001, retry_if=judge)))
    assert len(asked) == 3


def test_it_works_where_a_loop_runs_already(url: str) -> None:
    async def cell() -> None:
        with connect(url) as ws:
            ws.send("from a notebook")
            assert ws.recv(SECONDS) == "from a notebook"

    asyncio.run(cell())


def test_the_options_are_those_of_the_asynchronous_one() -> None:
    ours = dict(inspect.signature(connect).parameters)
    theirs = dict(inspect.signature(websocket.connect).parameters)
    del theirs["listener"]
    assert list(ours) == list(theirs)
    assert [(p.kind, p.default, p.annotation) for p in ours.values()] == [
        (p.kind, p.default, p.annotation) for p in theirs.values()
    ]


# What needs a process of its own.

OPEN = """
import os, sys, time
from telex.sync.websocket import connect
ws = connect(sys.argv[1]).open()
ws.send("hello")
assert ws.recv() == "hello"
"""


def run_program(tmp_path: Path, url: str, text: str) -> Program:
    path = tmp_path / "program.py"
    path.write_text(OPEN + text)
    return Program([sys.executable, "-W", "error", str(path), url])


def test_a_program_that_ends_without_closing_ends_politely(tmp_path: Path) -> None:
    codes: list[int | None] = []

    async def note(ws: websocket.Connection) -> None:
        await obey(ws)
        codes.append(ws.close_code)

    with serve_websockets(note) as url, run_program(tmp_path, url, "") as program:
        assert program.wait() == 0
    assert codes == [1001]
    assert program.output == []


def test_an_exception_in_the_main_thread_ends_it_as_ever(tmp_path: Path, url: str) -> None:
    with run_program(tmp_path, url, "raise SystemExit(3)") as program:
        assert program.wait() == 3


def test_ctrl_c_while_receiving_leaves_the_connection_good(tmp_path: Path, url: str) -> None:
    text = """
try:
    print("waiting")
    ws.recv()
except KeyboardInterrupt:
    ws.send("again")
    print("got", ws.recv())
    ws.close()
"""
    with run_program(tmp_path, url, text) as program:
        program.wait_for("waiting")
        program.signal(signal.SIGINT)
        program.wait_for("got again")
        assert program.wait() == 0


def test_a_fork_leaves_the_parent_s_connection_alone(tmp_path: Path, url: str) -> None:
    text = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
child = os.fork()
if not child:
    try:
        ws.send("from the child")
    except RuntimeError as error:
        print(error, flush=True)
    try:
        ws.recv()
    except RuntimeError as error:
        print(error, flush=True)
    with connect(sys.argv[1]) as own:
        own.send("child")
        print(own.recv(), flush=True)
    del ws
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
ws.send("parent")
print(ws.recv(5))
ws.close()
"""
    with run_program(tmp_path, url, text) as program:
        program.wait_for("^child$")
        program.wait_for("^parent$")
        assert program.wait() == 0
    assert sum("before the process forked" in line for line in program.output) == 2
