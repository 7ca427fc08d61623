"""Redirects that are followed, and connections that are opened again and again: against servers made by hand."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
from typing import Any

import pytest
import trustme

from telex.limits import Limits
from telex.websocket import (
    Connecting,
    Connection,
    ConnectionClosed,
    HandshakeError,
    InvalidStatus,
    ProxyError,
    State,
    connect,
    is_transient,
    serve,
)
from telex.websocket.frames import Opcode
from tests.websocket.raw import RawPeer, answer_key, raw_server, run, until

HOST = "127.0.0.1"
SOON: dict[str, Any] = {"reconnection_delay": 0.001, "reconnection_delay_max": 0.002}
GOODBYE = b"\x88\x02\x03\xe8"


def field(head: bytes, name: bytes) -> bytes | None:
    found = [line.partition(b": ")[2] for line in head.split(b"\r\n") if line.lower().startswith(name + b":")]
    return found[0] if found else None


def redirect(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(status: int) -> None:
    async def main() -> None:
        keys = []

        async def answer(peer: RawPeer, head: bytes) -> None:
            keys.append(field(head, b"sec-websocket-key"))
            if head.startswith(b"GET /old "):
                await peer.write(redirect("/new?x", status))
                await peer.read_rest()
            else:
                assert head.startswith(b"GET /new?x ")
                assert field(head, b"authorization") == b"Bearer x"
                await peer.write(answer_key(head) + GOODBYE)
                await peer.read_frame()

        async with raw_server(answer) as port:
            ws = await connect(f"ws://{HOST}:{port}/old", headers=[("Authorization", "Bearer x")])
            assert ws.request.target == "/new?x"
            await ws.wait_closed()
        assert len(set(keys)) == 2

    run(main)


def test_credentials_do_not_follow_to_another_origin_nor_come_back_from_there() -> None:
    async def main() -> None:
        heads: list[bytes] = []
        ports: list[int] = []

        async def first(peer: RawPeer, head: bytes) -> None:
            heads.append(head)
            if head.startswith(b"GET /back "):
                await peer.write(answer_key(head) + GOODBYE)
                await peer.read_frame()
            else:
                await peer.write(redirect(f"http://{HOST}:{ports[1]}/"))
                await peer.read_rest()

        async def second(peer: RawPeer, head: bytes) -> None:
            heads.append(head)
            await peer.write(redirect(f"http://{HOST}:{ports[0]}/back"))
            await peer.read_rest()

        async with raw_server(first) as one, raw_server(second) as two:
            ports[:] = one, two
            secrets = [("Authorization", "a"), ("Cookie", "b"), ("Proxy-Authorization", "c"), ("Host", "mine")]
            ws = await connect(f"ws://{HOST}:{one}/", headers=[*secrets, ("X-Kept", "d")])
            await ws.wait_closed()
        assert [field(head, b"x-kept") for head in heads] == [b"d"] * 3
        for name in (b"authorization", b"cookie", b"proxy-authorization"):
            assert [field(head, name) is not None for head in heads] == [True, False, False]
        assert [field(head, b"host") for head in heads] == [
            b"mine",
            b"%s:%d" % (HOST.encode(), two),
            b"%s:%d" % (HOST.encode(), one),
        ]

    run(main)


@pytest.mark.parametrize("maximum", [1, 3, None])
def test_a_loop_of_redirects_ends(maximum: int | None) -> None:
    async def main() -> None:
        n_asked = 0

        async def answer(peer: RawPeer, head: bytes) -> None:
            nonlocal n_asked
            n_asked += 1
            await peer.write(redirect("/"))
            await peer.read_rest()

        limits = Limits() if maximum is None else Limits(max_redirects=maximum)
        async with raw_server(answer) as port:
            with pytest.raises(HandshakeError, match=f"more than {limits.max_redirects} times"):
                await connect(f"ws://{HOST}:{port}", limits=limits)
        assert n_asked == limits.max_redirects + 1

    run(main)


def test_redirects_that_are_refused() -> None:
    async def main() -> None:
        locations = ["unix:/run/x.sock", "file:///etc/passwd", "http://user:pass@localhost/"]

        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(redirect(locations.pop()))
            await peer.read_rest()

        async with raw_server(answer) as port:
            for _ in list(locations):
                with pytest.raises(HandshakeError, match="no WebSocket URL"):
                    await connect(f"ws://{HOST}:{port}")
            locations.append("/x")
            sock = socket.create_connection((HOST, port))
            sock.setblocking(False)
            with pytest.raises(HandshakeError, match="a socket of the program's own leads nowhere else"):
                await connect(f"ws://{HOST}:{port}", sock=sock)

    run(main)


def test_a_program_may_want_no_redirects() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            assert head.startswith(b"GET /here ")
            await peer.write(redirect("/there"))
            await peer.read_rest()

        async with raw_server(answer) as port:
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://{HOST}:{port}/here", follow_redirects=False)
            assert ("Location", "/there") in refused.value.headers

    run(main)


def test_a_redirect_without_a_location_is_a_refusal() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n")
            await peer.read_rest()

        async with raw_server(answer) as port:
            with pytest.raises(InvalidStatus, match="302"):
                await connect(f"ws://{HOST}:{port}")

    run(main)


def test_tls_and_redirects() -> None:
    """Into TLS is fine, out of it is not; and another origin is not who `server_hostname` says."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def main() -> None:
        async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(redirect(location))
            writer.close()

        async def echo(ws: Connection) -> None:
            async for message in ws:
                await ws.send(message)

        async with (
            serve(echo, HOST, ssl=context) as server,
            await asyncio.start_server(leave, HOST, 0, ssl=context) as listening,
        ):
            port = listening.sockets[0].getsockname()[1]
            location = f"https://localhost:{server.port}/"
            async with connect(f"wss://localhost:{port}", ssl=trusting) as ws:
                await ws.send("x")
                assert await ws.recv() == "x"
            location = f"https://{HOST}:{server.port}/"
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(f"wss://{HOST}:{port}", ssl=trusting, server_hostname="localhost")
            location = f"http://localhost:{server.port}/"
            with pytest.raises(HandshakeError, match="out of TLS"):
                await connect(f"wss://localhost:{port}", ssl=trusting)

    run(main)


def test_redirects_and_their_answers_share_one_deadline() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            if head.startswith(b"GET /silent "):
                await peer.read_rest()
            else:
                await peer.write(redirect("/silent"))
                await peer.read_rest()

        async with raw_server(answer) as port:
            with pytest.raises(TimeoutError):
                await connect(f"ws://{HOST}:{port}", open_timeout=0.1)

    run(main)


# Who the client is


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({}, rb"telex/\d.*"),
        ({"user_agent": True}, rb"telex/\d.*"),
        ({"user_agent": "mine/1"}, rb"mine/1"),
        ({"user_agent": None}, None),
        ({"user_agent": False}, None),
        ({"headers": [("user-agent", "other")]}, rb"other"),
    ],
)
def test_the_user_agent(options: dict[str, Any], value: bytes | None) -> None:
    async def main() -> None:
        heads = []

        async def answer(peer: RawPeer, head: bytes) -> None:
            heads.append(head)
            await peer.write(answer_key(head) + GOODBYE)
            await peer.read_frame()

        async with raw_server(answer) as port:
            await (await connect(f"ws://{HOST}:{port}", **options)).wait_closed()
        found = field(heads[0], b"user-agent")
        assert heads[0].lower().count(b"user-agent:") == (value is not None)
        assert found is None if value is None else re.fullmatch(value, found or b"")

    run(main)


# Again and again


async def open_first(connecting: Connecting) -> Connection:
    """Return the first connection of a loop, which then goes on without anybody."""
    async for ws in connecting:
        return ws
    raise AssertionError("such a loop does not end")


def test_one_connection_after_another() -> None:
    async def main() -> None:
        n_served = 0

        async def answer(peer: RawPeer, head: bytes) -> None:
            nonlocal n_served
            n_served += 1
            await peer.write(answer_key(head) + b"\x81\x01%d" % n_served)
            if n_served == 2:
                peer.reset()
            else:
                await peer.write(GOODBYE)
                await peer.read_frame()

        async with raw_server(answer) as port:
            received: list[object] = []
            seen: list[Connection] = []
            async for ws in connect(f"ws://{HOST}:{port}", **SOON):
                assert all(before.state is State.CLOSED for before in seen)
                seen.append(ws)
                try:
                    async for message in ws:
                        received.append(message)
                except ConnectionClosed:
                    received.append("lost")
                    continue
                if len(seen) == 3:
                    break
            assert received[0] == "1"
            assert received[-1] == "3"
            assert "lost" in received

    run(main)


@pytest.mark.parametrize("how", ["break", "an exception", "closed"])
def test_who_leaves_the_loop_closes_the_connection(how: str) -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head))
            one = await peer.read_frame()
            assert one is not None
            assert one.opcode is Opcode.CLOSE
            gone.set()

        async def program(port: int) -> None:
            async for ws in connect(f"ws://{HOST}:{port}"):
                if how == "break":
                    break
                if how == "an exception":
                    raise RuntimeError("the program's own")
                ws.close()
                await ws.send("x")

        async with raw_server(answer) as port:
            if how == "break":
                await program(port)
            else:
                with pytest.raises(RuntimeError if how == "an exception" else ConnectionClosed):
                    await program(port)
            await gone.wait()

    run(main)


def test_a_body_that_is_done_goes_on_with_the_next() -> None:
    async def main() -> None:
        heard = []

        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head))
            one = await peer.read_frame()
            heard.append(one and one.opcode)

        async with raw_server(answer) as port:
            n = 0
            async for _ in connect(f"ws://{HOST}:{port}", **SOON):
                assert heard == [Opcode.CLOSE] * n
                n += 1
                if n == 3:
                    break
            await until(lambda: heard == [Opcode.CLOSE] * 3)

    run(main)


@pytest.mark.parametrize("trouble", ["429", "500", "503", "599", "reset", "leaves", "silent"])
def test_what_may_pass_is_tried_again(trouble: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        n_asked = 0

        async def answer(peer: RawPeer, head: bytes) -> None:
            nonlocal n_asked
            n_asked += 1
            if n_asked > 2:
                await peer.write(answer_key(head))
                await peer.read_frame()
            elif trouble == "reset":
                peer.reset()
            elif trouble == "leaves":
                peer.end()
            elif trouble == "silent":
                await peer.read_rest()
            else:
                await peer.write(f"HTTP/1.1 {trouble} Sorry\r\nContent-Length: 0\r\n\r\n".encode())
                await peer.read_rest()

        async with raw_server(answer) as port:
            timeout = 0.05 if trouble == "silent" else None
            async for ws in connect(f"ws://{HOST}:{port}", open_timeout=timeout, **SOON):
                assert ws.state is State.OPEN
                break
            assert n_asked == 3

    caplog.set_level(logging.INFO, "telex.websocket")
    run(main)
    assert caplog.text.count("connecting again in 0.0 s") == 2


def test_a_server_that_comes_later_is_found() -> None:
    async def main() -> None:
        with socket.create_server((HOST, 0)) as listening:
            port = listening.getsockname()[1]
        troubles: asyncio.Queue[Exception] = asyncio.Queue()

        def note(error: Exception) -> bool:
            troubles.put_nowait(error)
            return is_transient(error)

        async def program() -> None:
            async for ws in connect(f"ws://{HOST}:{port}", retry_if=note, **SOON):
                assert await ws.recv() == "hi"
                break

        async def greet(ws: Connection) -> None:
            await ws.send("hi")
            await ws.wait_closed()

        task = asyncio.create_task(program())
        assert isinstance(await troubles.get(), ConnectionRefusedError)
        async with serve(greet, HOST, port):
            await task

    run(main)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "401"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "malformed"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "switch"),
    ],
)
def test_what_will_not_pass_is_raised(answer: bytes, sentence: str) -> None:
    async def main() -> None:
        n_asked = 0

        async def refuse(peer: RawPeer, head: bytes) -> None:
            nonlocal n_asked
            n_asked += 1
            await peer.write(answer)
            await peer.read_rest()

        async with raw_server(refuse) as port:
            with pytest.raises(HandshakeError, match=sentence):
                await open_first(connect(f"ws://{HOST}:{port}", **SOON))
            assert n_asked == 1

    run(main)


def test_the_program_may_say_what_passes() -> None:
    async def main() -> None:
        asked: list[Exception] = []

        def is_patient(error: Exception) -> bool:
            asked.append(error)
            return len(asked) < 3

        async def refuse(peer: RawPeer, head: bytes) -> None:
            await peer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            await peer.read_rest()

        async with raw_server(refuse) as port:
            with pytest.raises(InvalidStatus) as last:
                await open_first(connect(f"ws://{HOST}:{port}", retry_if=is_patient, **SOON))
        assert [type(error) for error in asked] == [InvalidStatus] * 3
        assert last.value is asked[-1]

    run(main)


def test_a_server_is_not_seen_before_it_wants_to_be() -> None:
    async def main() -> None:
        times: list[float] = []

        async def answer(peer: RawPeer, head: bytes) -> None:
            times.append(asyncio.get_running_loop().time())
            if len(times) == 1:
                await peer.write(b"HTTP/1.1 503 Full\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n")
            else:
                await peer.write(answer_key(head))
            await peer.read_frame()

        async with raw_server(answer) as port:
            async for _ in connect(f"ws://{HOST}:{port}", limits=Limits(max_retry_after=0.2), **SOON):
                break
        assert times[1] - times[0] >= 0.2

    run(main)


def test_a_server_that_ends_every_connection_at_once_makes_nobody_run_in_circles() -> None:
    """The delays grow as if it had refused; `chance` is at its largest here, so that they can be told."""

    async def main() -> None:
        times: list[float] = []

        async def answer(peer: RawPeer, head: bytes) -> None:
            times.append(asyncio.get_running_loop().time())
            await peer.write(answer_key(head) + b"\x88\x02\x03\xf5")  # 1013, try again later
            await peer.read_frame()

        async with raw_server(answer) as port:
            connecting = connect(f"ws://{HOST}:{port}", reconnection_delay=0.05, reconnection_delay_max=10)
            connecting._backoff._chance = lambda: 1.0
            n = 0
            async for ws in connecting:
                n += 1
                if n == 4:
                    break
                with pytest.raises(ConnectionClosed):
                    await ws.recv()
        assert [times[i + 1] - times[i] >= 0.05 * 2**i for i in range(3)] == [True] * 3

    run(main)


def test_a_socket_connects_once() -> None:
    async def main() -> None:
        with socket.socket() as sock, pytest.raises(ValueError, match="only once"):
            await open_first(connect(f"ws://{HOST}", sock=sock))

    run(main)


@pytest.mark.parametrize("options", [{"reconnection_delay": 0}, {"reconnection_delay": 2, "reconnection_delay_max": 1}])
def test_delays_are_checked_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a delay must lie between"):
        connect("ws://localhost", **options)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionRefusedError(), True),
        (socket.gaierror(), True),
        (TimeoutError(), True),
        (ssl.SSLError(), True),
        (ssl.SSLCertVerificationError(), False),
        (ProxyError("no way"), True),
        (ProxyError("no way", 502), True),
        (ProxyError("no way", 407), False),
        (InvalidStatus(503, "Full"), True),
        (InvalidStatus(429, "Too many"), True),
        (InvalidStatus(600, "What"), False),
        (InvalidStatus(403, "Forbidden"), False),
        (HandshakeError(502, "violation"), False),
        (ValueError("a bug"), False),
        (ImportError("an extra is missing"), False),
    ],
)
def test_which_troubles_pass(error: Exception, expected: bool) -> None:
    assert is_transient(error) is expected


def test_cancelling_while_it_waits_for_the_next_attempt() -> None:
    async def main() -> None:
        with socket.create_server((HOST, 0)) as listening:
            port = listening.getsockname()[1]

        patient = {"reconnection_delay": 3600, "reconnection_delay_max": 3600}
        task = asyncio.create_task(open_first(connect(f"ws://{HOST}:{port}", **patient)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await task
        assert task.cancelled()

    run(main)
