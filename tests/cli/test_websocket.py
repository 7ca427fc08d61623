"""`telex ws`: through pipes and at a prompt, against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.cli.programs import telex
from tests.cli.screen import telex_on_terminal
from tests.support.processes import ServerProgram


@pytest.fixture(name="url", scope="module")
def make_server() -> Iterator[str]:
    with ServerProgram(["-m", "tests.cli.echo"]) as server:
        yield f"127.0.0.1:{server.port}"


# Pipes.


def test_each_line_is_a_message_and_each_message_a_line(url: str) -> None:
    done = telex("ws", url, "--count", "3", stdin="one\n\nzwölf")
    assert done == (0, "one\n\nzwölf\n", "")


def test_without_a_count_it_leaves_when_it_has_become_quiet(url: str) -> None:
    assert telex("ws", f"ws://{url}/path?query", "--wait", "0.5", stdin="one\ntwo\n") == (0, "one\ntwo\n", "")


def test_an_http_url_will_do(url: str) -> None:
    assert telex("ws", f"http://{url}", "--count", "1", stdin="one").out == "one\n"


def test_binary_messages_are_json_among_lines(url: str) -> None:
    done = telex("ws", url, "--count", "2", stdin="bytes\ntext")
    assert [json.loads(done.lines[0]).keys(), done.lines[1]] == [{"$base64"}, "text"]


def test_with_binary_the_input_is_one_message_as_it_is(url: str) -> None:
    data = bytes(range(256)) * 1000
    done = telex("ws", "--binary", url, "--count", "1", stdin=data)
    assert done.status == 0
    assert done.out.encode(errors="surrogateescape") == data


def test_a_pipe_gets_messages_as_they_are(url: str) -> None:
    done = telex("ws", url, "--count", "2", stdin="evil\nlong\n")
    assert done.out == f"a\x1b[2Jb\u202ec\nsecond row\n{'x' * 100_000}\n"


def test_what_it_is_told_to_send(url: str, tmp_path: Path) -> None:
    (tmp_path / "headers").write_text("X-Who: me\n\nX-More: 1\n")
    done = telex(
        *("ws", url, "-s", "v3", "-s", "v2", "--origin", f"http://{url}", "-H", f"@{tmp_path}/headers", "--count", "1"),
        stdin="who",
    )
    assert done == (0, f"me v2 http://{url}\n", "")


def test_the_end_of_it_is_its_exit_status(url: str) -> None:
    assert telex("ws", url, stdin="one\ndone\n") == (0, "one\n", "")
    done = telex("ws", url, stdin="leave\n")
    assert done == (1, "", "telex: closed: 4000 (a code of its own) so \\x1b[1mlong\n")
    assert telex("ws", url, stdin="cut\n").err.startswith("telex: closed: 1006 (lost, without a goodbye)")


def test_a_listener_waits_as_long_as_it_is_told(url: str) -> None:
    assert telex("ws", url, "--wait", "inf", stdin="ping\ndone\n").lines == ["you are"]


def test_what_is_not_utf_8_is_one_sentence(url: str) -> None:
    assert telex("ws", url, stdin=b"\xff\n") == (1, "", "telex: line 1 of the input is not UTF-8\n")


def test_nobody_reads_any_more(url: str) -> None:
    program = subprocess.Popen(
        [sys.executable, "-m", "telex", "ws", url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdin is not None
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdin.write(b"one\n")
    program.stdin.flush()
    assert program.stdout.readline() == b"one\n"
    program.stdout.close()
    program.stdin.write(b"two\n")
    program.stdin.flush()
    assert program.wait(60) == 0
    assert program.stderr.read() == b""
    program.stdin.close()
    program.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["127.0.0.1:1"], 1, "telex: nobody listens there: the connection was refused\n"),
        (["no.host.invalid"], 1, "telex: the host is not known: "),
        (["wss://{url}"], 1, "telex: TLS failed: "),
        (["{url}/#fragment"], 2, "telex: a WebSocket URL has no fragment\n"),
        (["ftp://{url}"], 2, "telex: a WebSocket URL begins with ws:// or wss://"),
        (["{url}", "--proxy", "gopher://x"], 2, "telex: a proxy's URL begins with"),
        (["{url}", "-H", "nonsense"], 2, "a header field is 'Name: value', not 'nonsense'\n"),
        (["{url}", "-H", "@missing"], 2, "cannot read missing: No such file or directory\n"),
        (["{url}", "-H", "Upgrade: x"], 2, "telex: "),
        (["{url}", "--timeout", "soon"], 2, "soon is no number of seconds\n"),
        (["{url}", "--timeout", "nan"], 2, "nan is no number of seconds\n"),
        (["{url}", "--count", "0"], 2, "0 is no number of things\n"),
        (["wss://{url}", "--cacert", "missing"], 2, "telex: missing has no certificates: No such file or directory\n"),
        ([], 2, "arguments are required: URL\n"),
    ],
)
def test_what_is_wrong_is_one_sentence(url: str, arguments: list[str], status: int, why: str) -> None:
    done = telex("ws", *(argument.format(url=url) for argument in arguments))
    assert (done.status, done.out) == (status, "")
    assert why in done.err.splitlines(keepends=True)[-1]
    assert "Traceback" not in done.err


def test_a_server_that_does_not_answer_has_its_time() -> None:
    with ServerProgram(["-c", SILENT]) as server:
        done = telex("ws", f"127.0.0.1:{server.port}", "--timeout", "0.2")
    assert done == (1, "", "telex: no answer within 0.2 s\n")


SILENT = """
import socket, time
server = socket.create_server(("127.0.0.1", 0))
print(f"listening http://127.0.0.1:{server.getsockname()[1]}", flush=True)
while True: time.sleep(60)
"""


@pytest.fixture(name="authority", scope="module")
def make_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder


def test_certificates(authority: Path) -> None:
    with ServerProgram(["-m", "tests.cli.echo", authority / "server.pem"]) as server:
        url = f"wss://127.0.0.1:{server.port}"
        done = telex("ws", url, "--count", "1", stdin="one")
        assert done.status == 1
        assert done.err.startswith("telex: the server's certificate is not trusted: ")
        assert done.err.endswith(" (--insecure takes any)\n")
        assert telex("ws", url, "--count", "1", "--insecure", stdin="one") == (0, "one\n", "")
        assert telex("ws", url, "--count", "1", "--cacert", f"{authority}/authority.pem", stdin="one").out == "one\n"


def test_proxies(url: str) -> None:
    with ServerProgram(["-m", "tests.support.proxy", "http://127.0.0.1:0#user:secret"]) as proxy:
        # First without the password: the proxy trusts an address that has once given it.
        done = telex("ws", url, "--proxy", f"http://127.0.0.1:{proxy.port}")
        assert done.status == 1
        assert "407" in done.err or "proxy" in done.err
        address = f"http://user:secret@127.0.0.1:{proxy.port}"
        assert telex("ws", url, "--proxy", address, "--count", "1", stdin="one") == (0, "one\n", "")
        proxy.wait_for(r"http")  # the tunnel's line
        assert telex("ws", url, "--count", "1", stdin="one", http_proxy="http://127.0.0.1:1").status == 1
        done = telex("ws", url, "--count", "1", "--proxy", "none", stdin="one", http_proxy="http://127.0.0.1:1")
        assert done == (0, "one\n", "")


# At a prompt.


def test_a_conversation(url: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"\0\1\2")
    with telex_on_terminal("ws", url, home=tmp_path) as terminal:
        terminal.wait(f"^connected to {url}; /help tells more\n>")
        terminal.enter("hello")
        terminal.wait("^> hello\n< hello\n>")
        terminal.enter("evil")
        terminal.wait(r"^< a\\x1b\[2Jb\\u202ec\n  second row\n>")
        terminal.enter("/ping")
        terminal.wait(r"^pong after \d+\.\d ms$")
        terminal.enter("ping")
        terminal.wait(r"^ping 13 bytes: 61 72 .*\n< you are")
        terminal.enter("//slash")
        terminal.wait(r"^> //slash\n< /slash")
        terminal.enter(f"/send {tmp_path}/data")
        terminal.wait("^sent 3 bytes\n< 3 bytes: 00 01 02")
        terminal.enter("bytes")
        terminal.wait(r"^< 40 bytes: 00 01 [\s\S]*1f\s+\.\.\.")
        terminal.enter("/send missing")
        terminal.wait("^cannot read missing: No such file")
        terminal.enter("/nonsense")
        terminal.wait("^there is no command /nonsense; //nonsense sends it as text")
        terminal.enter("/close one")
        terminal.wait("^a close code is a number")
        terminal.enter("/close 1005")
        terminal.wait("^close code 1005 may not be sent")
        terminal.enter("/help")
        terminal.wait("^  /send FILE")
        terminal.enter("/close 3000 see you")
        terminal.wait(r"closed: 3000")
        assert terminal.end() == 1
        assert not terminal.screen.is_pasting_known


def test_the_end_of_the_input_is_a_goodbye(url: str, tmp_path: Path) -> None:
    with telex_on_terminal("ws", url, home=tmp_path) as terminal:
        terminal.wait("^>")
        terminal.type("\x04")
        assert terminal.end() == 0
        assert "telex:" not in terminal.screen.text


def test_the_server_s_end_is_shown(url: str, tmp_path: Path) -> None:
    with telex_on_terminal("ws", url, home=tmp_path) as terminal:
        terminal.wait("^>")
        terminal.enter("leave")
        assert terminal.end() == 1
        assert terminal.screen.text.endswith(r"telex: closed: 4000 (a code of its own) so \x1b[1mlong")


def test_typed_lines_may_be_binary(url: str, tmp_path: Path) -> None:
    with telex_on_terminal("ws", url, "--binary", home=tmp_path) as terminal:
        terminal.wait("^>")
        terminal.enter("abc")
        terminal.wait("^< 3 bytes: 61 62 63")


def test_a_message_that_is_too_long_to_look_at_is_cut(url: str, tmp_path: Path) -> None:
    with telex_on_terminal("ws", url, home=tmp_path) as terminal:
        terminal.wait("^>")
        terminal.enter("long")
        terminal.wait(r"xx\.\.\. \(80,\d+ characters more\)|characters\s+more")
