"""`telex run`, as somebody types it: the banner, the end, and a sentence for everything that goes wrong."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket as sockets
import subprocess
import sys
from pathlib import Path

import pytest

import telex
from telex.cli import main
from telex.serving.run import run
from tests.support.processes import Program, ServerProgram

PROGRAM = """
import telex

io = telex.Server(path="/live")
number = 7

@io.on("disconnect")
def gone(socket, reason):
    print("gone:", reason, flush=True)

@io.on("connect")
def met(socket):
    print("met", flush=True)
"""


@pytest.fixture(name="folder")
def make_folder(tmp_path: Path) -> Path:
    (tmp_path / "chat.py").write_text(PROGRAM)
    return tmp_path


def serve(folder: Path, *arguments: str, name: str = "chat:io") -> ServerProgram:
    return ServerProgram(["-m", "telex", "run", name, "--app-dir", folder, "--port", "0", *arguments])


def connect(server: ServerProgram) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)


def ask(connection: http.client.HTTPConnection, method: str, query: str = "", body: str | None = None) -> str:
    connection.request(method, f"/live/?EIO=4&transport=polling{query}", body)
    return connection.getresponse().read().decode()


def run_to_its_end(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "telex", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def fail(folder: Path, *arguments: str) -> str:
    """Run `telex` to its end, which must be status 1, and return what it said: one line, no traceback."""
    done = run_to_its_end(folder, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("telex: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_the_banner_says_where_and_what(folder: Path) -> None:
    with serve(folder) as server:
        server.wait_for("Ctrl-C stops it")
        banner = "\n".join(server.output)
        assert banner.startswith("Telex ")
        assert f"listening   {server.url}" in banner
        assert "Socket.IO   /live/ over polling and websocket" in banner
        assert f"CPython {sys.version.split()[0]}" in banner


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_it_in_order(folder: Path, number: signal.Signals, status: int) -> None:
    with serve(folder) as server, contextlib.closing(connect(server)) as talking:
        sid = ask(talking, "GET").split('"sid":"')[1][:20]
        assert ask(talking, "POST", f"&sid={sid}", "40") == "ok"
        server.wait_for("met")
        assert ask(talking, "GET", f"&sid={sid}").startswith('40{"sid":')
        talking.request("GET", f"/live/?EIO=4&transport=polling&sid={sid}")
        with contextlib.closing(connect(server)) as other:  # the poll has come when what was sent after it is answered
            assert ask(other, "POST", f"&sid={sid}", '42["hello"]') == "ok"
        server.signal(number)
        assert talking.getresponse().read() == b"1"  # the session's goodbye, not a broken connection
        assert server.wait_for("gone")[0]
        assert server.wait() == status
        assert "gone: server shutting down" in server.output
        assert not any("Traceback" in line for line in server.output)


ELSEWHERE = """
import asyncio
import threading
import telex

io, other, broken = telex.Server(), telex.Server(), telex.Server()

async def visit(server):
    scope = {"type": "websocket", "path": "/socket.io/", "headers": [], "query_string": b"EIO=4&transport=websocket"}
    receive = iter([{"type": "websocket.connect"}])
    async def tell():
        return next(receive, None) or await asyncio.Event().wait()
    async def hear(event):
        if event["type"] == "websocket.accept":
            there.set()
    await server(scope, tell, hear)

async def fail():
    raise LookupError("a mistake in a close")

there = threading.Event()
threading.Thread(target=asyncio.run, args=(visit(other),), daemon=True).start()
there.wait()
broken.close = fail

@io.on("disconnect")
def gone(socket, reason):
    print("gone:", reason, flush=True)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await broken({"type": "http", "path": "/", "headers": []}, receive, send_nothing)
    await io(scope, receive, send)

async def send_nothing(event):
    pass
"""


def test_a_server_of_another_loop_and_one_that_fails_do_not_break_the_end(tmp_path: Path) -> None:
    (tmp_path / "chat.py").write_text(ELSEWHERE)
    with serve(tmp_path, name="chat:app") as server, contextlib.closing(connect(server)) as talking:
        talking.request("GET", "/socket.io/?EIO=4&transport=polling")
        sid = talking.getresponse().read().decode().split('"sid":"')[1][:20]
        talking.request("POST", f"/socket.io/?EIO=4&transport=polling&sid={sid}", "40")
        assert talking.getresponse().read() == b"ok"
        server.signal(signal.SIGINT)
        assert server.wait() == 0
        assert "gone: server shutting down" in server.output
        assert any("a mistake in a close" in line for line in server.output)
        assert not any("event loop" in line for line in server.output)


def test_a_taken_port_is_one_sentence(folder: Path) -> None:
    with sockets.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Program(
            [sys.executable, "-m", "telex", "run", "chat:io", "--app-dir", folder, "--port", str(port)]
        ) as run:
            assert run.wait() == 1
            assert any("address already in use" in line for line in run.output)
            assert not any("Traceback" in line for line in run.output)


def test_what_is_no_application_is_one_sentence(folder: Path) -> None:
    assert "write module:name, such as chat:io" in fail(folder, "run", "chat")
    assert "No module named 'nobody'" in fail(folder, "run", "nobody:io")
    assert "has no attribute 'oi'" in fail(folder, "run", "chat:oi")
    assert "chat:number is no ASGI application" in fail(folder, "run", "chat:number")
    assert "No module named 'chat.more'" in fail(folder, "run", "chat.more:io")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("1 + 'a'", "TypeError: unsupported operand"),
        ("import telex\ntelex.Servant()", "AttributeError: module 'telex' has no attribute 'Servant'"),
        ("raise RuntimeError('no database')", "RuntimeError: no database"),
    ],
)
def test_a_mistake_in_the_module_keeps_its_traceback(tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "broken.py").write_text(text)
    done = run_to_its_end(tmp_path, "run", "broken:io")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert f'broken.py", line {text.count(chr(10)) + 1}' in done.stderr
    assert error in done.stderr


def test_options_that_cannot_be_heeded_are_refused_by_name() -> None:
    for options in ({"workers": 2}, {"reload": True}):
        with pytest.raises(ValueError, match="need the application's name"):
            run(telex.Server(), **options)  # type: ignore[arg-type]  # which option, they only know at run time
    for options in ({"drain": 1.0}, {"close_code": 1001}, {"slow_handler": 1.0}):
        with pytest.raises(ValueError, match="know neither drain nor close_code nor slow_handler"):
            run("chat:io", workers=2, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot heed factory"):
        run("chat:io", factory=True)
    with pytest.raises(ValueError, match="close code 1005"):
        run("chat:io", close_code=1005)
    for drain in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="drain"):
            run("chat:io", drain=drain)
        with pytest.raises(ValueError, match="slow_handler"):
            run("chat:io", slow_handler=drain)


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["run", "chat:io", "--colour"])
    assert end.value.code == 2
    assert "--colour" in capsys.readouterr().err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, text in ((["--help"], "run"), (["run", "--help"], "--port"), (["--version"], "telex ")):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 0
        assert text in capsys.readouterr().out
