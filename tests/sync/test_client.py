"""Socket.IO clients held by threads, against a server on another loop."""

from __future__ import annotations

import asyncio
import inspect
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import telex
from telex.sync.client import Client, Manager, Operator
from tests.support.processes import Program
from tests.sync.serving import serve_events

SECONDS = 30.0


def make_server() -> telex.Server:
    io = telex.Server()

    @io.use
    def check(socket: telex.Socket) -> None:
        if socket.handshake.auth.get("token") == "wrong":
            raise telex.ConnectRefused("not you", data={"retry": False})

    io.of("/admin")

    @io.on("echo")
    def echo(socket: telex.Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @io.on("never")
    async def never(socket: telex.Socket) -> None:
        await asyncio.Event().wait()

    @io.on("auth")
    def auth(socket: telex.Socket) -> Any:
        return dict(socket.handshake.auth)

    @io.on("say")
    def say(socket: telex.Socket, n: int, *args: Any) -> None:
        for i in range(n):
            socket.emit("said", i, *args)

    @io.on("ask", concurrent=True)
    async def ask(socket: telex.Socket, *args: Any) -> Any:
        return await socket.call("question", *args, timeout=SECONDS)

    @io.on("leave")
    def leave(socket: telex.Socket) -> None:
        socket.disconnect()

    @io.on("cut")
    def cut(socket: telex.Socket) -> None:
        socket.conn.abort()

    return io


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serve_events(make_server()) as url:
        yield url


class Noted:
    """Hold what handlers were told, for a test that waits for it."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self._changed = threading.Condition()

    def __call__(self, *args: Any) -> None:
        with self._changed:
            self.told.append(args)
            self._changed.notify_all()

    def wait_for(self, n: int) -> list[Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.told) >= n, SECONDS), self.told
            return self.told[:]


# Connecting, calling and leaving


def test_a_connected_client_in_a_block(url: str) -> None:
    with telex.sync.connect(url) as client:
        assert client.connected
        assert client.active
        assert not client.recovered
        assert client.has_room
        assert client.id is not None
        assert client.nsp.name == "/"
        assert client.reason is None
        assert client.call("echo", "hello") == "hello"
        assert client.call("echo", 1, b"two", timeout=SECONDS) == (1, b"two")
        assert client.call("echo") is None
    assert not client.connected
    assert not client.active
    assert client.reason is telex.DisconnectReason.IO_CLIENT_DISCONNECT


def give_up(wait: Callable[[float], object]) -> None:
    with pytest.raises(TimeoutError):
        wait(0)


def test_a_client_begins_with_its_first_use(url: str) -> None:
    uses: list[Callable[[Client], object]] = [
        lambda client: client.call("echo", timeout=SECONDS),
        lambda client: client.emit("echo"),
        lambda client: client.connect(timeout=SECONDS),
        lambda client: give_up(client.wait),
        lambda client: give_up(client.receive),
    ]
    for use in uses:
        client = Client(url)
        assert not client.active
        assert client.manager is None
        use(client)
        assert client.active
        client.connect(timeout=SECONDS)
        client.close()
    with Client(url, auto_connect=False) as client:
        assert client.connected


def test_one_that_does_not_begin_by_itself_waits_to_be_told(url: str) -> None:
    client = Client(url, auto_connect=False)
    client.emit("say", 1)
    assert not client.active
    client.connect(timeout=SECONDS)
    assert client.receive(SECONDS) == ("said", 0)
    client.disconnect()
    assert not client.connected
    client.connect(timeout=SECONDS)
    assert client.call("echo", 2, timeout=SECONDS) == 2
    client.close()
    client.close()


def test_namespaces_share_a_connection(url: str) -> None:
    with telex.sync.connect(url) as client, telex.sync.connect(url + "/admin") as admin:
        assert admin.nsp.name == "/admin"
        assert client._async.manager is admin._async.manager
        assert "in /admin" in repr(admin)


def test_a_refusal_and_a_server_that_is_not_there(url: str) -> None:
    with pytest.raises(telex.ConnectRefused, match="not you") as caught:
        telex.sync.connect(url, auth={"token": "wrong"})
    assert caught.value.data == {"retry": False}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nobody = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(telex.ConnectError):
        telex.sync.connect(nobody)
    client = Client(nobody)
    with pytest.raises(telex.ConnectError), client:
        pass
    assert not client.active
    with pytest.raises(ValueError, match="host"):
        Client("nowhere")
    with pytest.raises(TypeError, match="reconnect"):
        Client(url, reconnect=True)  # type: ignore[call-arg]


def test_auth_may_be_a_function_that_blocks(url: str) -> None:
    threads: list[threading.Thread] = []

    def ask() -> dict[str, str]:
        threads.append(threading.current_thread())
        return {"token": "asked"}

    with telex.sync.connect(url, auth=ask) as client:
        assert client.call("auth") == {"token": "asked"}
    assert threads[0].name == "telex.sync worker"

    async def asks() -> dict[str, str]:
        return {}

    with pytest.raises(TypeError, match="coroutine function"):
        Client(url, auth=asks)


def test_the_end_by_the_server(url: str) -> None:
    with telex.sync.connect(url) as client:
        client.emit("leave")
        client.wait(SECONDS)
        assert client.reason is telex.DisconnectReason.IO_SERVER_DISCONNECT
        with pytest.raises(telex.Disconnected, match="io server disconnect"):
            client.receive()
        assert list(client) == []
        with pytest.raises(telex.Disconnected):
            client.call("echo")


# Sending


def test_no_acknowledgement_in_time(url: str) -> None:
    with telex.sync.connect(url) as client:
        with pytest.raises(telex.AckTimeout):
            client.call("never", timeout=0.01)
        with pytest.raises(telex.AckTimeout):
            client.timeout(0.01).call("never")


def test_a_call_ends_with_the_connection(url: str) -> None:
    with telex.sync.connect(url, reconnection=False) as client:
        caught: list[BaseException] = []

        def call() -> None:
            try:
                client.call("never")
            except telex.Disconnected as error:
                caught.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        client.disconnect()
        thread.join(SECONDS)
        assert len(caught) == 1


def test_what_cannot_be_sent_is_refused(url: str) -> None:
    with telex.sync.connect(url) as client:
        with pytest.raises(TypeError):
            client.emit("echo", object())
        with pytest.raises(ValueError, match="reserved"):
            client.emit("connect")
        with pytest.raises(TypeError, match="coroutine function"):
            client.emit("echo", callback=asyncio.sleep)
        assert client.call("echo", 1) == 1


def test_how_an_event_is_sent(url: str) -> None:
    with telex.sync.connect(url) as client:
        noted = Noted()
        client.emit("echo", 1, 2, callback=noted)
        assert noted.wait_for(1) == [(1, 2)]
        client.volatile.compress(False).timeout(SECONDS).emit("echo", 3, callback=noted)
        assert noted.wait_for(2)[1] == (3,)
        client.emit("say", 1)
        assert client.receive(SECONDS) == ("said", 0)
        assert client.compress(True).call("echo", 4) == 4


def test_send_is_an_event_called_message() -> None:
    io = telex.Server()
    noted = Noted()
    io.on("message", lambda socket, *args: noted(*args))
    with serve_events(io) as url, telex.sync.connect(url) as client:
        client.send("a", 1)
        client.volatile.send("b")
        assert noted.wait_for(2) == [("a", 1), ("b",)]


def test_while_away_events_are_kept_and_emit_waits_when_there_are_many() -> None:
    limits = telex.Limits(max_offline_events=2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nobody = f"http://127.0.0.1:{listening.getsockname()[1]}"
    client = Client(nobody, limits=limits)
    client.emit("kept", 1)
    waiting = threading.Thread(target=client.emit, args=("kept", 2))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    assert not client.has_room
    with pytest.raises(TimeoutError):
        client.wait_room(0.01)
    with pytest.raises(telex.OutboxFull):
        client.emit("too much")
    client.close()
    waiting.join(SECONDS)
    assert not waiting.is_alive()


# Receiving


def test_events_without_a_handler_are_received(url: str) -> None:
    with telex.sync.connect(url) as client:
        with pytest.raises(TimeoutError):
            client.receive(timeout=0.01)
        client.emit("say", 100, "x")
        assert client.receive(SECONDS) == ("said", 0, "x")
        taken = []
        for event, *args in client:
            taken.append((event, *args))
            if len(taken) == 99:
                break
        assert taken == [("said", i, "x") for i in range(1, 100)]


def test_many_threads_share_a_client(url: str) -> None:
    n_threads, n_each = 8, 25
    with telex.sync.connect(url) as client:
        answers: list[list[Any]] = [[] for _ in range(n_threads)]

        def talk(n: int) -> None:
            answers[n].extend(client.call("echo", f"{n} {i}") for i in range(n_each))

        threads = [threading.Thread(target=talk, args=(n,)) for n in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        assert answers == [[f"{n} {i}" for i in range(n_each)] for n in range(n_threads)]


# Handlers


def test_handlers_run_in_threads_one_at_a_time_and_in_order(url: str) -> None:
    at_work: list[int] = []
    noted = Noted()
    client = Client(url)

    @client.on("said")
    def said(i: int) -> None:
        at_work.append(i)
        threading.Event().wait(0.001)
        noted(i, len(at_work), threading.current_thread().name)
        at_work.remove(i)

    with client:
        client.emit("say", 50)
        assert noted.wait_for(50) == [(i, 1, "telex.sync worker") for i in range(50)]


def test_a_handler_answers_and_may_block_and_call(url: str) -> None:
    client = Client(url)

    @client.on("question")
    def answer(what: str) -> tuple[str, Any]:
        return what, client.call("echo", "called by the handler", timeout=SECONDS)

    with client:
        assert client.call("ask", "what?", timeout=SECONDS) == ("what?", "called by the handler")


def test_handlers_of_two_clients_may_wait_for_one_another(url: str) -> None:
    meeting = threading.Barrier(2)

    def meet() -> int:
        return meeting.wait(SECONDS)

    with telex.sync.connect(url) as one, telex.sync.connect(url, force_new=True) as other:
        noted = Noted()
        for client in (one, other):
            client.on("question", meet)
            client.emit("ask", callback=noted)
        assert sorted(noted.wait_for(2)) == [(0,), (1,)]


def test_concurrent_handlers_run_beside_the_others(url: str) -> None:
    release = threading.Event()
    noted = Noted()
    with telex.sync.connect(url) as client:
        client.on("question", lambda: release.wait(SECONDS), concurrent=True)
        client.on("said", noted)
        client.emit("ask", callback=noted)
        client.emit("say", 1)
        assert noted.wait_for(1) == [(0,)]
        release.set()
        assert noted.wait_for(2)[1] == (True,)


def test_the_life_of_a_client_is_told(url: str) -> None:
    noted = Noted()
    client = Client(url, reconnection_delay=0.001)
    client.on("connect", lambda: noted("connect"))
    client.on("disconnect", lambda reason: noted("disconnect", str(reason)))
    with client:
        noted.wait_for(1)
        client.emit("cut")
        noted.wait_for(3)
    assert noted.wait_for(4) == [
        ("connect",),
        ("disconnect", "transport close"),
        ("connect",),
        ("disconnect", "io client disconnect"),
    ]
    refused = Client(url, auth={"token": "wrong"})
    refused.on("connect_error", noted)
    with pytest.raises(telex.ConnectRefused):
        refused.connect()
    assert isinstance(noted.wait_for(5)[4][0], telex.ConnectRefused)


def test_coroutines_and_generators_are_refused_with_a_sentence(url: str) -> None:
    client = Client(url)

    async def coroutine() -> None: ...

    async def stream() -> Any:
        yield 1

    def generator() -> Any:
        yield 1

    for function, what in ((coroutine, "coroutine function"), (stream, "coroutine function"), (generator, "generator")):
        with pytest.raises(TypeError, match=what):
            client.on("e", function)
        with pytest.raises(TypeError, match=what):
            client.once("e")(function)
        with pytest.raises(TypeError, match=what):
            client.on_any(function)
        with pytest.raises(TypeError, match=what):
            client.on_any_outgoing(function)
    with pytest.raises(TypeError, match="callable"):
        client.on("e", 7)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="takes 1 arguments, but gets 0"):
        client.on("connect", lambda x: None)
    assert not client.active


@pytest.mark.parametrize("error", [ValueError("too bad"), SystemExit(1), StopIteration("stop")])
def test_what_a_handler_raises_is_logged(url: str, error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    noted = Noted()

    def fail(i: int) -> None:
        if i == 0:
            raise error
        noted(i)

    with telex.sync.connect(url) as client:
        client.on("said", fail)
        client.emit("say", 2)
        assert noted.wait_for(1) == [(1,)]
        assert client.call("echo", 1, timeout=SECONDS) == 1
    assert "the handler for 'said' failed" in caplog.text
    assert type(error).__name__ in caplog.text


def test_handlers_can_be_forgotten_and_be_for_once(url: str) -> None:
    noted, once = Noted(), Noted()
    with telex.sync.connect(url) as client:
        assert client.on("said", noted) is noted
        client.off("said", once)
        client.emit("say", 1)
        noted.wait_for(1)
        client.off("said", noted)
        client.once("said", once)
        client.emit("say", 3)
        once.wait_for(1)
        assert client.call("echo", 1) == 1
        assert noted.told == once.told == [(0,)]


def test_functions_that_hear_everything(url: str) -> None:
    came, sent = Noted(), Noted()

    def first(event: str, *args: Any) -> None:
        came("first", event, *args)

    with telex.sync.connect(url) as client:
        client.on("*", came)
        client.prepend_any(first)
        client.on_any_outgoing(sent)
        client.prepend_any_outgoing(first)
        assert client.listeners_any() == [first, came]
        assert client.listeners_any_outgoing() == [first, sent]
        client.off_any_outgoing(first)
        client.emit("say", 1)
        client.emit("echo", 2)
        assert came.wait_for(2) == [("first", "said", 0), ("said", 0)]
        assert sent.wait_for(2) == [("say", 1), ("echo", 2)]
        client.off_any(first)
        assert client.listeners_any() == [came]
        client.off_any()
        client.off_any_outgoing()
        assert client.listeners_any() == client.listeners_any_outgoing() == []


def test_the_manager_tells_of_the_connection(url: str) -> None:
    noted = Noted()
    with telex.sync.connect(url, reconnection_delay=0.001, force_new=True) as client:
        manager = client.manager
        assert isinstance(manager, Manager)
        assert manager.is_open
        assert manager.transport in {"polling", "websocket"}
        assert "open" in repr(manager)
        manager.on("close", lambda reason: noted("close", str(reason)))

        @manager.on("reconnect")
        def reconnect(n: int) -> None:
            noted("reconnect", n)

        manager.on("reconnect_attempt", noted)
        manager.off("reconnect_attempt", noted)
        client.emit("cut")
        assert noted.wait_for(2) == [("close", "transport close"), ("reconnect", 1)]
        manager.off("close")
        with pytest.raises(ValueError, match="no event of a manager"):
            manager.on("opened", noted)
        with pytest.raises(TypeError, match="coroutine function"):
            manager.on("open", asyncio.sleep)


def test_a_handler_may_close_its_client(url: str) -> None:
    closed = threading.Event()
    with telex.sync.connect(url) as client:

        @client.on("said")
        def said(i: int) -> None:
            client.close()
            closed.set()

        client.emit("say", 1)
        client.wait(SECONDS)
        assert closed.wait(SECONDS)


def test_close_waits_for_handlers_but_not_for_ever(url: str) -> None:
    begun, release, ended = threading.Event(), threading.Event(), threading.Event()

    def work(i: int) -> None:
        begun.set()
        release.wait(SECONDS)
        ended.set()

    with telex.sync.connect(url) as client:
        client.on("said", work)
        client.emit("say", 1)
        assert begun.wait(SECONDS)
        closing = threading.Thread(target=client.close)
        closing.start()
        closing.join(0.05)
        assert closing.is_alive()
        release.set()
        closing.join(SECONDS)
        assert ended.is_set()
    for event in (begun, release):
        event.clear()
    with telex.sync.connect(url, limits=telex.Limits(close_timeout=0.01)) as client:
        client.on("said", work)
        client.emit("say", 1)
        assert begun.wait(SECONDS)
    assert not client.active
    release.set()


def test_it_works_where_a_loop_runs_already(url: str) -> None:
    async def cell() -> None:
        client = Client(url)
        noted = Noted()
        client.on("said", noted)
        with client:
            assert client.call("echo", "from a notebook") == "from a notebook"
            client.emit("say", 1)
            assert noted.wait_for(1) == [(0,)]

    asyncio.run(cell())


def test_the_options_are_those_of_the_asynchronous_one() -> None:
    ours, theirs = inspect.signature(telex.sync.connect), inspect.signature(telex.connect)
    assert list(ours.parameters.values()) == list(theirs.parameters.values())


def test_an_operator_says_what_a_client_says() -> None:
    for name in ("emit", "send", "call", "volatile", "compress", "timeout"):
        assert getattr(Operator, name) is getattr(Client, name)


# What needs a process of its own

OPEN = """
import os, sys, threading, time
import telex
client = telex.sync.connect(sys.argv[1])
assert client.call("echo", "hello") == "hello"
"""


def run_program(tmp_path: Path, url: str, text: str) -> Program:
    path = tmp_path / "program.py"
    path.write_text(OPEN + text)
    return Program([sys.executable, "-W", "error", str(path), url])


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_program_that_ends_without_closing_ends_politely(tmp_path: Path, transport: str) -> None:
    io = make_server()
    noted = Noted()
    io.on("disconnect", lambda socket, reason: noted(str(reason)))
    again = f"client.close(); client = telex.sync.connect(sys.argv[1], transports=[{transport!r}]); client.call('echo')"
    with serve_events(io) as url:
        with run_program(tmp_path, url, again) as program:
            assert program.wait() == 0
        assert noted.wait_for(2) == [("client namespace disconnect",)] * 2
    assert program.output == []


def test_a_handler_that_blocks_for_ever_does_not_keep_a_program(tmp_path: Path, url: str) -> None:
    text = """
begun = threading.Event()
@client.on("said")
def said(i):
    begun.set()
    threading.Event().wait()
client.emit("say", 1)
assert begun.wait(30)
"""
    with run_program(tmp_path, url, text) as program:
        assert program.wait() == 0, program.output


def test_a_server_that_is_away_does_not_keep_a_program(tmp_path: Path, url: str) -> None:
    text = """
away = telex.sync.Client("http://127.0.0.1:9")  # nobody serves the discard port
away.emit("kept")
"""
    with run_program(tmp_path, url, text) as program:
        assert program.wait() == 0, program.output


def test_ctrl_c_in_a_call_leaves_the_client_good(tmp_path: Path, url: str) -> None:
    text = """
try:
    print("waiting")
    client.wait()
except KeyboardInterrupt:
    print("got", client.call("echo", "again"))
    client.close()
"""
    with run_program(tmp_path, url, text) as program:
        program.wait_for("waiting")
        program.signal(signal.SIGINT)
        program.wait_for("got again")
        assert program.wait() == 0


def test_a_child_has_clients_of_its_own(tmp_path: Path, url: str) -> None:
    text = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
child = os.fork()
if not child:
    try:
        client.call("echo", 1)
    except RuntimeError as error:
        print(error, flush=True)
    with telex.sync.connect(sys.argv[1]) as own:
        print(own.call("echo", "child"), flush=True)
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
print(client.call("echo", "parent"))
client.close()
"""
    with run_program(tmp_path, url, text) as program:
        program.wait_for("^child$")
        program.wait_for("^parent$")
        assert program.wait() == 0
    assert any("before the process forked" in line for line in program.output)
