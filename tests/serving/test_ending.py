"""How `telex run` ends, as its clients see it; and several processes, and one that starts anew."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from telex.errors import InvalidStatus
from telex.websocket import Connection, ConnectionClosed, connect
from tests.serving.live import LOOPS, SOCKET, Client, run
from tests.support.processes import STOP_SECONDS, ServerProgram

PROGRAM = """
import json
import os
import telex

io = telex.Server()
VERSION = 1

@io.on("disconnect")
def gone(socket, reason):
    print("gone:", reason, flush=True)

@io.on("connect")
def met(socket):
    print("met", flush=True)

@io.on("pid")
def tell(socket):
    return os.getpid()

async def other(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({**event, "type": "websocket.send"})
        print("plain:", event["code"], flush=True)
        return
    text = json.dumps([os.getpid(), VERSION]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})

app = io.wrap(other)
"""

ON_EACH_LOOP = pytest.mark.parametrize("loop", LOOPS)


@pytest.fixture(name="folder")
def make_folder(tmp_path: Path) -> Path:
    (tmp_path / "chat.py").write_text(PROGRAM)
    return tmp_path


def serve(folder: Path, *arguments: str, name: str = "chat:app") -> ServerProgram:
    return ServerProgram(["-m", "telex", "run", name, "--app-dir", folder, "--port", "0", *arguments])


def check_quiet(server: ServerProgram) -> None:
    assert not [line for line in server.output if "Traceback" in line or "rror" in line]


async def open_plain(server: ServerProgram, deflate: bool | None = None) -> Connection:
    """Open a WebSocket of the other application, and see that it is served."""
    ws = await connect(f"ws://127.0.0.1:{server.port}/plain", deflate=deflate)
    ws.send("there")
    assert await ws.recv() == "there"
    return ws


async def open_client(server: ServerProgram) -> Client:
    client = Client(await connect(f"ws://127.0.0.1:{server.port}{SOCKET}"))
    await client.hear()
    await client.join()
    return client


async def wait_closed(ws: Connection) -> int | None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            await ws.recv()
    await ws.wait_closed()
    return ws.close_code


@ON_EACH_LOOP
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
@pytest.mark.parametrize("code", [None, 1001])
def test_everybody_is_told(folder: Path, loop: str, number: signal.Signals, status: int, code: int | None) -> None:
    arguments = [] if code is None else ["--close-code", str(code)]
    with serve(folder, "--loop", loop, *arguments) as server:

        async def main() -> None:
            plain = [await open_plain(server), await open_plain(server, deflate=True)]
            client = await open_client(server)
            server.signal(number)
            assert [await wait_closed(ws) for ws in plain] == [code or 1012] * 2
            assert await client.close_code() == 1000

        run(main)
        assert server.wait() == status
        assert server.output.count(f"plain: {code or 1012}") == 2
        assert server.output.count("gone: server shutting down") == 1
        check_quiet(server)


@ON_EACH_LOOP
@pytest.mark.parametrize("kind", ["Socket.IO", "plain"])
def test_with_a_drain_time_they_are_sent_off_one_by_one(folder: Path, loop: str, kind: str) -> None:
    seconds, n = 1.0, 20
    with serve(folder, "--loop", loop, "--drain", str(seconds)) as server:

        async def main() -> None:
            order: list[int] = []
            if kind == "plain":
                all_ws = [await open_plain(server) for _ in range(n)]
            else:
                all_ws = [(await open_client(server)).ws for _ in range(n)]

            async def wait(number: int) -> None:
                await wait_closed(all_ws[number])
                order.append(number)

            begin = time.monotonic()
            server.signal(signal.SIGINT)
            await asyncio.gather(*map(wait, range(n)))
            if kind == "Socket.IO":
                assert order == sorted(order), "those that came first go first"
            assert sorted(order) == list(range(n))
            assert time.monotonic() - begin > seconds / 2, "not all at once"

        run(main)
        assert server.wait() == 0
        if kind == "Socket.IO":
            assert server.output.count("gone: server shutting down") == n
        check_quiet(server)


@ON_EACH_LOOP
def test_while_it_is_drained_the_port_stays_open(folder: Path, loop: str) -> None:
    # Clients on polling go on, each request on a connection of its own, and nobody new is let in.
    with serve(folder, "--loop", loop, "--drain", "1000") as server:
        first, last = open_polling(server), open_polling(server)
        server.signal(signal.SIGTERM)
        assert poll(server, first) == "1", "it is its turn"
        assert send(server, last, '420["pid"]') == "ok"
        assert poll(server, last) == f"430[{server.pid}]"
        assert request(server, "GET", "EIO=4&transport=polling")[:2] == (503, "The server is shutting down")

        async def main() -> None:
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://127.0.0.1:{server.port}{SOCKET}")
            assert refused.value.status == 503
            assert int(dict(refused.value.headers)["retry-after"]) > 900

        run(main)
        assert send(server, last, "1") == "ok"
        assert server.wait() == -signal.SIGTERM, "all have gone"
        check_quiet(server)


@ON_EACH_LOOP
def test_a_second_signal_ends_the_drain(folder: Path, loop: str) -> None:
    with serve(folder, "--loop", loop, "--drain", "1000") as server:

        async def main() -> None:
            clients = [await open_client(server) for _ in range(3)]
            server.signal(signal.SIGINT)
            assert await clients[0].close_code() == 1000
            server.signal(signal.SIGINT)
            assert [await client.close_code() for client in clients] == [1000] * 3

        run(main)
        server.wait()
        assert server.output.count("gone: server shutting down") == 3


def request(server: ServerProgram, method: str, query: str, body: str | None = None) -> tuple[int, str]:
    """Ask on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=STOP_SECONDS)
    with contextlib.closing(connection):
        connection.request(method, f"/socket.io/?{query}", body)
        response = connection.getresponse()
        return response.status, response.read().decode()


def open_polling(server: ServerProgram) -> str:
    """Open a session on polling and join "/"; return its query."""
    _, opened = request(server, "GET", "EIO=4&transport=polling")
    query = f"EIO=4&transport=polling&sid={json.loads(opened[1:])['sid']}"
    assert send(server, query, "40") == "ok"
    assert poll(server, query).startswith("40")
    return query


def send(server: ServerProgram, query: str, payload: str) -> str:
    return request(server, "POST", query, payload)[1]


def poll(server: ServerProgram, query: str) -> str:
    return request(server, "GET", query)[1]


def test_a_drain_without_clients_takes_no_time(folder: Path) -> None:
    with serve(folder, "--drain", "1000") as server:
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        check_quiet(server)


def ask(port: int) -> list[int] | None:
    """Ask for process and version; None where nobody answers just now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STOP_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/")
            found: list[int] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException):
            return None
    return found


def answers(port: int) -> Iterator[list[int]]:
    """Ask again and again, with an end."""
    deadline = time.monotonic() + 3 * STOP_SECONDS
    while time.monotonic() < deadline:
        found = ask(port)
        if found is not None:
            yield found
    pytest.fail("what was waited for did not come")


@ON_EACH_LOOP
@pytest.mark.parametrize("name", ["chat:app", "chat:io"])
def test_two_workers_serve_one_port(folder: Path, loop: str, name: str) -> None:
    with serve(folder, "--workers", "2", "--loop", loop, "--log-level", "info", name=name) as server:
        for _ in range(2):
            server.wait_for("startup complete")

        async def main() -> None:
            pids: set[int] = set()
            clients: list[Client] = []
            while len(pids) < 2:  # the system chooses who accepts
                assert len(clients) < 1000
                with contextlib.suppress(ConnectionRefusedError):  # both have started, but maybe not to listen
                    clients.append(await open_client(server))
                    pids.add((await clients[-1].call("pid"))[0])
            assert server.pid not in pids
            server.signal(signal.SIGTERM)
            for client in clients:
                assert await client.close_code() == 1000

        run(main)
        server.wait()
        said = "\n".join(server.output)  # two processes write to one pipe, and a line of one may stand in the other's
        assert said.count("gone:") == said.count("met") > 1
        check_quiet(server)


def test_reload_starts_anew_when_the_program_changes(folder: Path) -> None:
    with ServerProgram(
        ["-m", "telex", "run", "chat:app", "--app-dir", folder, "--port", "0", "--reload"], cwd=folder
    ) as server:
        first = next(answers(server.port))
        assert first[1] == 1
        second = first
        for second in answers(server.port):
            if second[1] != 1:
                break
            # Again and again: a change before the first look at the files is none.
            (folder / "chat.py").write_text(PROGRAM.replace("VERSION = 1", "VERSION = 22"))
        assert second[1] == 22
        assert second[0] != first[0]
        server.signal(signal.SIGINT)
        server.wait()
        assert not any("Traceback" in line for line in server.output)
