"""Ways to a server: directly, through real proxies, and through ones that do wrong; with and without TLS."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from telex.limits import Limits
from telex.streams import poll_of
from telex.websocket import Connection, HandshakeError, ProxyError, connect, serve
from telex.websocket.dialing import Way
from tests.support.processes import ServerProgram
from tests.websocket.raw import SECONDS, RawPeer, answer_key, raw_server, run, until

HOST = "127.0.0.1"
SCHEMES = ["http", "https", "socks4", "socks5", "socks5h"]


class Trust(NamedTuple):
    server: ssl.SSLContext
    client: ssl.SSLContext
    certificate: Path


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", HOST)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued.configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    certificate = tmp_path_factory.mktemp("tls") / "proxy.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    return Trust(server, client, certificate)


class Proxies:
    """Real proxies, each started when it is first asked for."""

    def __init__(self, certificate: Path) -> None:
        self._certificate = certificate
        self._programs: dict[tuple[str, str], ServerProgram] = {}

    def find(self, scheme: str, user: str = "") -> ServerProgram:
        kind = {"http": "http", "https": "http+ssl"}.get(scheme, scheme[:6])
        if (kind, user) not in self._programs:
            url = f"{kind}://{HOST}:0" + (f"#{user}" if user else "")
            arguments: list[str | Path] = ["-m", "tests.support.proxy", url, "--certificate", self._certificate]
            self._programs[kind, user] = ServerProgram(arguments)
        return self._programs[kind, user]

    def stop(self) -> None:
        for program in self._programs.values():
            program.stop()


@pytest.fixture(scope="module")
def proxies(trust: Trust) -> Iterator[Proxies]:
    found = Proxies(trust.certificate)
    try:
        yield found
    finally:
        found.stop()


async def echo(ws: Connection) -> None:
    async for message in ws:
        await ws.send(message)


async def use(ws: Connection) -> None:
    for message in ("grüße", b"\x00\xff" * 200_000):
        await ws.send(message)
        assert await ws.recv() == message


def run_on_uvloop(main: Callable[[], Awaitable[None]]) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), SECONDS))


@pytest.mark.parametrize("run", [run, run_on_uvloop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_through_a_real_proxy(
    proxies: Proxies, trust: Trust, scheme: str, is_secure: bool, run: Callable[[Callable[[], Awaitable[None]]], None]
) -> None:
    proxy = proxies.find(scheme)
    options: dict[str, Any] = {
        "ssl": trust.client if is_secure else None,
        "proxy": f"{scheme}://{HOST}:{proxy.port}",
        "proxy_ssl": trust.client if scheme == "https" else None,
    }

    async def main() -> None:
        async with serve(echo, HOST, ssl=trust.server if is_secure else None) as server:
            url = f"{'wss' if is_secure else 'ws'}://localhost:{server.port}"
            ws = await connect(url, **options)
            assert (ws.get_extra_info("ssl_object") is not None) is (is_secure or scheme == "https")
            assert ws.remote_address[1] == proxy.port
            await use(ws)
            await ws.close(4001, "bye")
            assert ws.close_code == 4001

    run(main)
    assert proxy.wait_for(rf"{scheme[:4]}.* 127\.0\.0\.1:\d+")


@pytest.mark.parametrize(
    ("scheme", "name"), [("socks4a", b"server.example\0"), ("socks5h", b"\x0eserver.example\x03\xe8")]
)
def test_names_are_looked_up_by_the_proxy_where_that_is_asked(scheme: str, name: bytes) -> None:
    async def main() -> None:
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if scheme == "socks5h":
                await reader.readexactly(3)
                writer.write(b"\x05\x00")
            heard.set_result(await reader.readuntil(name))
            writer.close()

        async with await asyncio.start_server(proxy, HOST, 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            with pytest.raises(ProxyError):
                await connect("ws://server.example:1000", proxy=f"{scheme}://{HOST}:{port}")
        assert (await heard).endswith(name)

    run(main)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
def test_with_a_user_and_a_password(proxies: Proxies, trust: Trust, scheme: str) -> None:
    proxy = proxies.find(scheme, "us@er:se:cret")
    tls = {"proxy_ssl": trust.client} if scheme == "https" else {}

    async def main() -> None:
        async with serve(echo, HOST) as server:
            url = f"ws://{HOST}:{server.port}"
            for wrong in ("", "us%40er:wrong@"):
                with pytest.raises(ProxyError) as refused:
                    await connect(url, proxy=f"{scheme}://{wrong}{HOST}:{proxy.port}", **tls)
                assert refused.value.status == (None if scheme == "socks5" else 407)
                assert "wrong" not in str(refused.value)
            async with connect(url, proxy=f"{scheme}://us%40er:se%3Acret@{HOST}:{proxy.port}", **tls) as ws:
                await use(ws)

    run(main)


def test_as_the_environment_says(proxies: Proxies, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = proxies.find("http")

    async def ports(url: str, **options: Any) -> int:
        async with connect(url, **options) as ws:
            await use(ws)
            return int(ws.remote_address[1])

    async def main() -> None:
        async with serve(echo, HOST) as server:
            url = f"ws://{HOST}:{server.port}"
            monkeypatch.delenv("no_proxy", raising=False)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.setenv("ws_proxy", f"http://{HOST}:{proxy.port}")
            assert await ports(url) == proxy.port
            assert await ports(url, proxy=None) == server.port
            assert await ports(url, proxy=False) == server.port
            sock = socket.create_connection((HOST, server.port))
            sock.setblocking(False)
            assert await ports(url, sock=sock) == server.port
            monkeypatch.setenv("no_proxy", HOST)
            assert await ports(url) == server.port

    run(main)


def test_a_certificate_is_verified_behind_a_proxy_and_the_proxy_s_own(proxies: Proxies, trust: Trust) -> None:
    async def main() -> None:
        async with serve(echo, HOST, ssl=trust.server) as server:
            url = f"wss://localhost:{server.port}"
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(url, proxy=f"http://{HOST}:{proxies.find('http').port}")
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(url, ssl=trust.client, proxy=f"https://{HOST}:{proxies.find('https').port}")
            through = f"http://{HOST}:{proxies.find('http').port}"
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(url, ssl=trust.client, server_hostname="example.com", proxy=through)

    run(main)


def test_a_plain_stream_out_of_a_tunnel_is_the_compiled_loop_s(proxies: Proxies) -> None:
    async def main() -> None:
        poll = poll_of(asyncio.get_running_loop())
        if poll is None:
            pytest.skip("there is no compiled loop")
        async with serve(echo, HOST) as server:
            for scheme in ("http", "socks5"):
                n_before = len(poll)
                proxy = f"{scheme}://{HOST}:{proxies.find(scheme).port}"
                async with connect(f"ws://{HOST}:{server.port}", proxy=proxy) as ws:
                    await use(ws)
                    assert len(poll) == n_before + 2  # the server's end is there too
                await until(lambda n_before=n_before: len(poll) == n_before)

    run(main)


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "answered 407 Proxy Authentication Required"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere\r\n\r\n", "answered 302"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "answered 101"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "malformed"),
        (b"\x05\x00", "malformed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000, "malformed"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000, "malformed"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101", "spoke before it was asked"),
        (b"HTTP/1.1 200 OK\r\n", "without an answer"),
        (b"", "without an answer"),
    ],
)
@pytest.mark.parametrize("url", ["ws://server.example", "wss://server.example"])
def test_answers_of_a_proxy_that_are_none(answer: bytes, sentence: str, url: str) -> None:
    async def main() -> None:
        async def proxy(peer: RawPeer, head: bytes) -> None:
            assert head.startswith(b"CONNECT server.example:")
            await peer.write(answer)
            peer.end()
            await peer.read_rest()

        async with raw_server(proxy) as port:
            with pytest.raises(ProxyError, match=sentence):
                await connect(url, proxy=f"http://{HOST}:{port}")

    run(main)


def test_the_proxy_s_words_are_bounded() -> None:
    async def main() -> None:
        async def proxy(peer: RawPeer, head: bytes) -> None:
            try:
                await peer.write(b"HTTP/1.1 200 OK\r\n")
                while True:
                    await peer.write(b"X: x\r\n" * 1000)
            except ConnectionError:
                pass

        async with raw_server(proxy) as port:
            with pytest.raises(ProxyError, match="malformed"):
                await connect("ws://server.example", proxy=f"http://{HOST}:{port}", limits=Limits(max_headers=10))

    run(main)


def test_a_tunnel_that_leads_nowhere() -> None:
    """The proxy agrees and leaves: the opening fails, with TLS and without."""

    async def main() -> None:
        async def proxy(peer: RawPeer, head: bytes) -> None:
            await peer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            peer.end()
            await peer.read_rest()

        async with raw_server(proxy) as port:
            for url in ("ws://server.example", "wss://server.example"):
                with pytest.raises((ConnectionError, HandshakeError)):
                    await connect(url, proxy=f"http://{HOST}:{port}")

    run(main)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_proxy_that_does_not_answer(scheme: str) -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def proxy(peer: RawPeer, head: bytes) -> None:
            await peer.read_rest()
            gone.set()

        async with raw_server(proxy) as port:
            with pytest.raises(TimeoutError):
                await connect("ws://server.example", proxy=f"{scheme}://{HOST}:{port}", open_timeout=0.05)
            await gone.wait()

    run(main)


@pytest.mark.parametrize("moment", ["before the answer", "during TLS"])
def test_cancelling_cuts_the_tunnel(moment: str) -> None:
    async def main() -> None:
        asked, gone = asyncio.Event(), asyncio.Event()

        async def proxy(peer: RawPeer, head: bytes) -> None:
            if moment == "during TLS":
                await peer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                loop = asyncio.get_running_loop()
                assert (await loop.sock_recv(peer.socket, 65536))[0] == 22  # a TLS handshake
            asked.set()
            await peer.read_rest()
            gone.set()

        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with raw_server(proxy) as port:
            opening = asyncio.ensure_future(_await(connect("wss://server.example", proxy=f"http://{HOST}:{port}")))
            await asked.wait()
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            await gone.wait()
        gc.collect()
        assert complaints == []

    run(main)


async def _await(connecting: Any) -> Connection:
    connection: Connection = await connecting
    return connection


def test_nobody_listens_where_the_proxy_should_be() -> None:
    async def main() -> None:
        with socket.create_server((HOST, 0)) as listening:
            port = listening.getsockname()[1]
        for scheme in ("http", "socks5"):
            with pytest.raises(OSError, match=r"\w"):
                await connect("ws://server.example", proxy=f"{scheme}://{HOST}:{port}")

    run(main)


def test_socks_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)

    async def main() -> None:
        with pytest.raises(ImportError, match=r"telex\[socks\]"):
            await connect("ws://server.example", proxy=f"socks5://{HOST}:1")

    run(main)


def test_from_a_local_address() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            assert peer.socket.getpeername()[0] == "127.0.0.2"
            await peer.write(answer_key(head) + b"\x88\x02\x03\xe8")

        async with raw_server(answer) as port:
            ws = await connect(f"ws://{HOST}:{port}", local_address=("127.0.0.2", 0))
            assert ws.local_address[0] == "127.0.0.2"
            await ws.wait_closed()

    if sys.platform == "linux":  # where the whole of 127.0.0.0/8 is the loopback
        run(main)


@pytest.mark.parametrize(
    "options",
    [
        {"proxy": "ftp://proxy"},
        {"sock": socket.socket(), "proxy": "http://proxy"},
        {"sock": socket.socket(), "local_address": (HOST, 0)},
        {"proxy": "http://proxy", "proxy_ssl": ssl.create_default_context()},
    ],
)
def test_ways_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Way(**options)
    with pytest.raises(ValueError, match=r"\w"):
        connect("ws://server.example", **options)
    if "sock" in options:
        options["sock"].close()
