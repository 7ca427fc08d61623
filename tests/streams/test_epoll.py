"""The compiled driver: what is its own beside the contract of every driver (`test_contract.py`).

Where the number of system calls matters, the socket is a SOCK_SEQPACKET pair: there the peer sees each `send` as one
message of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from telex.streams import AsyncioStream, fairness, poll_of, take_descriptor
from tests.streams.ends import LOOPS, SECONDS, Contexts, Peer, Sink, World, connect, pair, run, turn, worlds
from tests.twins import IS_PURE, compiled

ROOT = Path(__file__).parent.parent.parent

if sys.platform != "linux":
    pytest.skip("epoll is Linux's", allow_module_level=True)


if IS_PURE:
    pytest.skip("TELEX_PURE: there is no compiled loop", allow_module_level=True)

LOOP = pytest.mark.parametrize("loop", LOOPS)
TCP = pytest.mark.parametrize("world", worlds("tcp", driver="epoll"), ids=str)


def poll_here() -> Any:
    """Return the running loop's `Poll`."""
    poll = poll_of(asyncio.get_running_loop())
    assert poll is not None
    return poll


def adopt(ours: socket.socket, sink: Sink | None = None, *, high_mark: int = 64 * 1024) -> Sink:
    """Make a stream of a socket; return its sink."""
    sink = sink or Sink()
    sink.stream = poll_here().adopt(ours.detach(), sink, high_mark=high_mark)
    return sink


@contextlib.asynccontextmanager
async def packets() -> AsyncIterator[tuple[Sink, socket.socket]]:
    """Give a stream whose peer sees each `send` by itself."""
    ours, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with peer:
        peer.setblocking(False)
        sink = adopt(ours)
        yield sink, peer
        sink.stream.abort()
        await sink.end()


async def receive(peer: socket.socket) -> bytes:
    async with asyncio.timeout(SECONDS):
        return await asyncio.get_running_loop().sock_recv(peer, 1 << 20)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


# Output


@LOOP
def test_what_a_batch_writes_leaves_in_one_send(loop: str) -> None:
    async def main() -> None:
        async with packets() as (sink, peer):
            sink.on_data = lambda data: [sink.stream.write(bytes([byte])) for byte in data]
            peer.send(b"one by one")
            assert await receive(peer) == b"one by one"

    run(loop, main)


@LOOP
def test_what_a_task_writes_leaves_in_one_send_at_the_end_of_the_turn(loop: str) -> None:
    async def main() -> None:
        async with packets() as (sink, peer):
            for word in (b"a", b"", b"task", b"'s"):
                sink.stream.write(word)
            with pytest.raises(BlockingIOError):
                peer.recv(100)
            assert await receive(peer) == b"atask's"

    run(loop, main)


@LOOP
def test_what_others_write_leaves_in_one_send_when_the_batch_is_done(loop: str) -> None:
    async def main() -> None:
        async with packets() as (writer, writes), packets() as (reader, reads):
            seen: list[int] = []

            def answer(_: bytes) -> None:
                for word in (b"for ", b"somebody ", b"else"):
                    reader.stream.write(word)
                seen.append(reader.stream.buffered_bytes)

            writer.on_data = answer
            writes.send(b"x")
            assert await receive(reads) == b"for somebody else"
            assert seen == [17]

    run(loop, main)


@pytest.mark.parametrize("sizes", [[1] * 200_000, [700, 1, 0, 9000] * 300, [70_000, 1, 1, 70_000] * 20, [1_500_000]])
@TCP
def test_partial_sends_lose_and_double_nothing(world: World, sizes: list[int]) -> None:
    """Pieces of every size, more than go into one copy or one vector, through a narrow socket."""

    async def scene(sink: Sink, peer: Peer) -> None:
        expected = bytearray()
        for i, size in enumerate(sizes):
            piece = bytes([i % 251]) * size
            expected += piece
            sink.stream.write(piece)
        assert sink.stream.buffered_bytes == len(expected)
        found = bytearray()
        while len(found) < len(expected):
            found += await peer.read(5000)
            assert sink.stream.buffered_bytes + sink.stream.sent_bytes == len(expected)
            sink.stream.write(b"")
        assert found == expected
        assert (sink.stream.buffered_bytes, sink.stream.sent_bytes) == (0, len(expected))

    world.run(scene, send_buffer=4096, receive_buffer=4096)


@TCP
def test_what_is_written_while_the_socket_is_full_comes_after(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        expected = b""
        sink.stream.write(b"x" * 300_000)
        await turn(2)
        for i in range(200):
            piece = b"%d," % i
            expected += piece
            sink.stream.write(piece)
            if i % 10 == 0:
                await turn()
        assert await peer.read_exactly(300_000) == b"x" * 300_000
        assert await peer.read_exactly(len(expected)) == expected

    world.run(scene, send_buffer=4096, receive_buffer=4096)


@LOOP
def test_only_bytes_can_be_written(loop: str) -> None:
    async def main() -> None:
        async with packets() as (sink, _):
            for wrong in (None, "text", bytearray(b"x"), memoryview(b"x"), 5):
                with pytest.raises(TypeError):
                    sink.stream.write(wrong)
            assert sink.stream.buffered_bytes == 0

    run(loop, main)


# Whose turn it is


@LOOP
def test_a_flooding_peer_does_not_keep_a_quiet_one_waiting(loop: str) -> None:
    async def main() -> None:
        async with pair("epoll", "unix") as (flooded, flood), pair("epoll", "unix") as (quiet, whisper):
            assert flood.sock is not None
            assert whisper.sock is not None
            block = b"x" * 1_000_000
            order: list[str] = []
            largest = 0

            def pour(data: bytes = b"") -> None:
                """Never let the socket run dry."""
                nonlocal largest
                largest = max(largest, len(data))
                order.append("flood")
                if len(order) == 5:
                    whisper.sock.send(b"psst")  # type: ignore[union-attr]
                with contextlib.suppress(BlockingIOError):
                    while True:
                        flood.sock.send(block)  # type: ignore[union-attr]

            quiet.on_data = lambda data: order.append("quiet")
            flooded.on_data = pour
            pour()
            await quiet.until(lambda: quiet.received == b"psst")
            flooded.on_data = lambda data: None
            assert 0 < order.index("quiet") - 4 <= 2, "the quiet one waits for one read of the other's, or two"
            assert largest <= fairness.BYTES_PER_TURN

    run(loop, main)


@LOOP
def test_a_stream_reads_once_in_a_turn_and_the_rest_comes_up_again(loop: str) -> None:
    async def main() -> None:
        async with pair("epoll", "tcp") as (sink, peer):
            sizes: list[int] = []
            sink.on_data = lambda data: sizes.append(len(data))
            sink.stream.pause_reading()
            total = 2_000_000
            sending = asyncio.ensure_future(peer.send(b"x" * total))
            await turn(20)
            sink.stream.resume_reading()
            await sending
            await sink.until(lambda: len(sink.received) == total)
            assert max(sizes) <= fairness.BYTES_PER_TURN
            assert len(sizes) >= total // fairness.BYTES_PER_TURN

    run(loop, main)


@LOOP
def test_more_are_ready_than_one_batch_holds(loop: str) -> None:
    async def main() -> None:
        n = 300
        sinks, peers = [], []
        for _ in range(n):
            ours, peer = socket.socketpair()
            sinks.append(adopt(ours))
            peers.append(peer)
        for sink in sinks:
            sink.on_data, sink.on_eof = sink.stream.write, sink.stream.close
        for i, peer in enumerate(peers):
            peer.send(b"%d" % i)
        for i, (sink, peer) in enumerate(zip(sinks, peers, strict=True)):
            await sink.until(lambda s=sink, i=i: s.received == b"%d" % i)
            peer.settimeout(SECONDS)
            assert peer.recv(10) == b"%d" % i
            peer.close()
        for sink in sinks:
            await sink.end()
        assert len(poll_here()) == 0

    run(loop, main)


@LOOP
@pytest.mark.parametrize("how", ["pause_reading", "close", "abort"])
def test_who_was_paused_or_ended_earlier_in_a_batch_hears_nothing_more(loop: str, how: str) -> None:
    async def main() -> None:
        async with packets() as (one, to_one), packets() as (two, to_two):
            one.on_data = lambda data: getattr(two.stream, how)()
            two.on_data = lambda data: getattr(one.stream, how)()
            to_one.send(b"x")
            to_two.send(b"x")  # both are ready in the same batch, in whatever order
            await asyncio.wait_for(either(one, two), SECONDS)
            await turn(3)
            assert sorted([one.received, two.received]) == [b"", b"x"]
            if how == "pause_reading":
                one.on_data = two.on_data = lambda data: None
                one.stream.resume_reading()
                two.stream.resume_reading()
                await one.until(lambda: one.received == b"x")
                await two.until(lambda: two.received == b"x")

    run(loop, main)


async def either(one: Sink, two: Sink) -> None:
    while not one.received and not two.received:
        await turn()


@LOOP
def test_an_event_for_a_descriptor_that_is_somebody_elses_by_now(loop: str) -> None:
    """In one batch a stream closes a listener, and its descriptor's number becomes another stream's."""

    async def main() -> None:
        poll = poll_here()
        listener = socket.create_server(("127.0.0.1", 0))
        number, address = listener.fileno(), listener.getsockname()
        listening = poll.listen(number, lambda fd: pytest.fail("nobody is accepted"))
        ours, peer = socket.socketpair()
        mine, other = socket.socketpair()
        late = Sink()
        async with packets() as (first, to_first):

            def swap(_: bytes) -> None:
                listening.close()
                listener.close()
                os.dup2(mine.fileno(), number, inheritable=False)
                mine.close()
                late.stream = poll.adopt(number, late, high_mark=1)

            first.on_data = swap
            to_first.send(b"x")
            with socket.create_connection(address), ours, peer, other:
                await first.until(lambda: first.received == b"x")
                await turn(3)
                assert late.events == []
                other.send(b"hello")
                await late.until(lambda: late.received == b"hello")
                late.stream.abort()
                await late.end()

    run(loop, main)


@LOOP
def test_streams_that_end_each_other_hear_of_it_once(loop: str) -> None:
    async def main() -> None:
        sinks, peers = [], []
        for _ in range(30):
            ours, peer = socket.socketpair()
            sinks.append(adopt(ours))
            peers.append(peer)

        def end_all(*_: Any) -> None:
            for sink in sinks:
                sink.stream.write(b"x")
                sink.stream.abort()

        for sink in sinks:
            sink.on_data = sink.on_eof = sink.on_lost = end_all
        for peer in peers:
            peer.send(b"x")
            peer.close()
        for sink in sinks:
            await sink.end()
        await turn(3)
        assert len(poll_here()) == 0
        assert [sink.events.count("lost") for sink in sinks] == [1] * 30

    run(loop, main)


@LOOP
def test_what_the_end_of_one_does_to_others_waits_for_the_next_turn(loop: str) -> None:
    async def main() -> None:
        async with packets() as (one, _), packets() as (two, to_two):

            def tell() -> None:
                two.stream.write(b"one is gone")
                two.stream.close()

            one.on_lost = tell
            one.stream.abort()
            assert await receive(to_two) == b"one is gone"
            assert await receive(to_two) == b""
            to_two.close()
            assert await two.end() is None

    run(loop, main)


# What fails


@LOOP
@pytest.mark.parametrize("where", ["room", "lost"])
def test_a_sink_that_fails_elsewhere_is_reported(loop: str, where: str) -> None:
    async def main() -> None:
        reports: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
        error = ValueError("mine")

        def fail() -> None:
            raise error

        async with pair("epoll", "tcp", high_mark=1) as (sink, _):
            if where == "room":
                sink.on_room = fail
                sink.stream.write(b"xyz")
                assert await sink.end() is error
            else:
                sink.on_lost = fail
                sink.stream.abort()
                await sink.end()
        assert [report["exception"] for report in reports] == [error]
        assert "EpollStream" in reports[0]["message"]

    run(loop, main)


def test_what_ends_the_program_comes_out_and_everybody_hears_of_the_end() -> None:
    sinks: list[Sink] = []

    async def main() -> None:
        for _ in range(3):
            ours, peer = socket.socketpair()
            sink = adopt(ours)
            sink.peer = peer  # type: ignore[attr-defined]
            sinks.append(sink)

        def interrupt(_: bytes) -> None:
            raise KeyboardInterrupt

        sinks[1].on_data = interrupt
        for sink in sinks:
            sink.peer.send(b"x")  # type: ignore[attr-defined]
        await asyncio.get_running_loop().create_future()

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    for sink in sinks:
        assert sink.events[-1] == "lost"
        sink.peer.close()  # type: ignore[attr-defined]


@LOOP
def test_what_cannot_be_adopted_stays_the_callers(loop: str) -> None:
    async def main() -> None:
        poll = poll_here()
        for wrong in (-1, 1_000_000):
            with pytest.raises(OSError, match="Bad file descriptor"):
                poll.adopt(wrong, Sink(), high_mark=1)
        with open(__file__, "rb") as file:  # noqa: ASYNC230
            with pytest.raises(PermissionError):
                poll.adopt(file.fileno(), Sink(), high_mark=1)
            assert file.read(3) == b'"""'
        async with packets() as (sink, _):
            assert len(poll) == 1
            sink.stream.pause_reading()
            assert len(poll) == 1
        assert len(poll) == 0

    run(loop, main)


def test_a_stream_is_not_made_by_hand() -> None:
    with pytest.raises(TypeError, match="adopt"):
        compiled("telex.streams._epoll").EpollStream()


# What is known


@TCP
def test_a_silent_peer_is_given_up_by_the_system_in_time(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        inner = sink.stream.get_extra_info("socket")
        assert inner.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
        assert inner.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

    world.run(scene)


@TCP
def test_the_peers_address_is_known_also_afterwards(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        assert peer.sock is not None
        address = peer.sock.getsockname()
        sink.stream.abort()
        await sink.end()
        assert sink.stream.get_extra_info("peername") == address
        assert str(address) in repr(sink.stream)
        assert sink.stream.get_extra_info("sockname", 1) == 1

    world.run(scene)


@pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")
def test_an_ipv6_address() -> None:
    async def main() -> None:
        with (
            socket.create_server(("::1", 0), family=socket.AF_INET6) as listener,
            socket.socket(socket.AF_INET6) as peer,
        ):
            peer.connect(listener.getsockname())
            sink = adopt(listener.accept()[0])
            assert sink.stream.get_extra_info("peername") == peer.getsockname()
            assert sink.stream.get_extra_info("sockname") == peer.getpeername()
            sink.stream.abort()
            await sink.end()

    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    asyncio.run(main())


def test_an_address_of_a_unix_socket(tmp_path: Path) -> None:
    async def main() -> None:
        name = str(tmp_path / ("peer" * 10))
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as peer:
            listener.bind(str(tmp_path / "server"))
            listener.listen()
            peer.bind(name)
            peer.connect(str(tmp_path / "server"))
            sink = adopt(listener.accept()[0])
            assert sink.stream.get_extra_info("peername") == name
            assert sink.stream.get_extra_info("sockname") == str(tmp_path / "server")
            sink.stream.abort()
            await sink.end()
            assert sink.stream.get_extra_info("peername") is None

    asyncio.run(main())


@LOOP
def test_a_socket_that_was_asked_for_goes_with_its_stream(loop: str) -> None:
    async def main() -> None:
        numbers = set()
        for _ in range(3):  # the same descriptors come again
            async with pair("epoll", "tcp") as (sink, peer):
                assert peer.sock is not None
                inner = sink.stream.get_extra_info("socket")
                assert sink.stream.get_extra_info("socket").fileno() == inner.fileno()
                assert inner.getpeername() == peer.sock.getsockname()
                numbers.add(inner.fileno())
                sink.stream.abort()
                await sink.end()
                assert inner.fileno() == -1
        assert not [number for number in numbers if is_open(number)]

    run(loop, main)


# Accepting


@LOOP
def test_connections_are_accepted_until_the_listening_is_closed(loop: str) -> None:
    async def main() -> None:
        poll = poll_here()
        sinks: list[Sink] = []
        reports: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context["exception"]))

        def accepted(fd: int) -> None:
            if len(sinks) == 3:
                os.close(fd)
                sinks.append(sinks[0])
                raise ValueError("not this one")
            sink = Sink()
            sink.stream = poll.adopt(fd, sink, high_mark=1000)
            sink.on_data, sink.on_eof = sink.stream.write, sink.stream.close
            sinks.append(sink)

        n = 100  # more than are accepted in a row
        with socket.create_server(("127.0.0.1", 0), backlog=n) as listener:
            listener.setblocking(False)
            listening = poll.listen(listener.fileno(), accepted)
            assert len(poll) == 0, "a listener is no stream"
            peers = [socket.create_connection(listener.getsockname()) for _ in range(n)]
            async with asyncio.timeout(SECONDS):
                while len(sinks) < n:
                    await turn()
            assert len(poll) == n - 1
            assert [str(error) for error in reports] == ["not this one"]
            for peer in peers:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    peer.send(b"x")
            for sink in sinks:
                await sink.until(lambda sink=sink: sink.received == b"x")
            listening.close()
            listening.close()
            late = socket.create_connection(listener.getsockname())
            await turn(3)
            assert len(sinks) == n
            late.close()
        for peer in peers:
            peer.close()
        for sink in sinks:
            await sink.end()

    run(loop, main)


@LOOP
def test_a_listener_may_be_closed_by_who_is_accepted(loop: str) -> None:
    async def main() -> None:
        n_accepted = 0

        def accepted(fd: int) -> None:
            nonlocal n_accepted
            n_accepted += 1
            os.close(fd)
            listening.close()

        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            peers = [socket.create_connection(listener.getsockname()) for _ in range(3)]
            listening = poll_here().listen(listener.fileno(), accepted)
            async with asyncio.timeout(SECONDS):
                while not n_accepted:
                    await turn()
            await turn(3)
            assert n_accepted == 1
            for peer in peers:
                peer.close()

    run(loop, main)


EXHAUSTED = """
    import asyncio, logging, os, resource, socket, sys
    from telex.streams import poll_of
    import uvloop

    logging.basicConfig(format="%(name)s: %(message)s", stream=sys.stdout)

    class Echo:
        def data_received(self, data): self.stream.write(data)
        def eof_received(self): self.stream.close()
        def writing_resumed(self): pass
        def connection_lost(self, error): pass

    async def ask(loop, peer, word):
        await loop.sock_sendall(peer, word)
        assert await loop.sock_recv(peer, 100) == word

    async def main():
        loop = asyncio.get_running_loop()
        poll = poll_of(loop)
        accepted = 0
        def accept(fd):
            nonlocal accepted
            accepted += 1
            sink = Echo()
            sink.stream = poll.adopt(fd, sink, high_mark=1000)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        poll.listen(listener.fileno(), accept)
        first, *others = [socket.socket() for _ in range(5)]
        for each in (first, *others):
            each.setblocking(False)
        await loop.sock_connect(first, listener.getsockname())
        await ask(loop, first, b"before")
        resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
        fillers = []
        try:
            while True:
                fillers.append(os.dup(0))
        except OSError:
            pass
        for each in others:
            await loop.sock_connect(each, listener.getsockname())
        began = loop.time()
        for i in range(50):
            await ask(loop, first, b"meanwhile %d" % i)
        assert loop.time() - began < 0.9, "this machine is too slow to tell"
        assert accepted == 1, accepted
        print("rests", flush=True)
        for fd in fillers:
            os.close(fd)
        for i, each in enumerate(others):
            await asyncio.wait_for(ask(loop, each, b"after %d" % i), 20)
        assert accepted == 5
        for each in (first, *others):
            each.close()
        print("done", flush=True)

    with asyncio.Runner(loop_factory={"asyncio": asyncio, "uvloop": uvloop}[sys.argv[1]].new_event_loop) as runner:
        runner.run(main())
"""


@LOOP
def test_accepting_rests_while_descriptors_have_run_out(loop: str) -> None:
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", textwrap.dedent(EXHAUSTED), loop]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "telex.streams: no connection is accepted for 1 s: [Errno 24] Too many open files"
    assert said.count("rests") == 1
    assert said[-1] == "done"
    assert len(said) <= 4, "it rests, and does not spin"


# Beginning and end


@LOOP
def test_a_loop_that_ends_takes_its_streams_along(loop: str) -> None:
    sinks: list[Sink] = []
    peers: list[socket.socket] = []
    numbers: list[int] = []
    gone: list[weakref.ref[Any]] = []

    async def main() -> None:
        poll = poll_here()
        listener = socket.create_server(("127.0.0.1", 0))
        poll.listen(listener.fileno(), lambda fd: None)
        for i in range(5):
            ours, peer = socket.socketpair()
            numbers.append(ours.fileno())
            sink = adopt(ours)
            sinks.append(sink)
            peers.append(peer)
            if i == 1:
                sink.stream.pause_reading()
            if i == 2:
                sink.stream.write(b"x" * 10_000_000)
            if i == 3:
                sink.stream.get_extra_info("socket")
        await turn(2)
        gone.append(weakref.ref(poll))
        listener.close()

    run(loop, main)
    gc.collect()
    for sink, peer, number in zip(sinks, peers, numbers, strict=True):
        assert sink.events == ["lost"]
        assert sink.lost.result() is None
        assert sink.stream.is_closing
        sink.stream.write(b"harmless")
        sink.stream.abort()
        assert not is_open(number)
        peer.close()
    sinks.clear()
    del sink
    gc.collect()
    assert gone[0]() is None


@LOOP
def test_nothing_can_be_adopted_when_the_loop_has_ended(loop: str) -> None:
    kept: list[Any] = []

    async def main() -> None:
        kept.append(poll_here())

    run(loop, main)
    (poll,) = kept
    assert poll.is_closed
    poll.close()
    ours, peer = socket.socketpair()
    with ours, peer:
        with pytest.raises(RuntimeError, match="shut down"):
            poll.adopt(ours.fileno(), None, high_mark=1)
        assert is_open(ours.fileno())
        poll.listen(ours.fileno(), None).close()


@LOOP
def test_one_loop_after_the_other(loop: str) -> None:
    n_descriptors = []

    async def main() -> None:
        assert poll_here() is poll_here()
        async with pair("epoll", "tcp") as (sink, peer):
            sink.on_data = sink.stream.write
            await peer.send(b"hello")
            assert await peer.read_exactly(5) == b"hello"

    for _ in range(5):
        run(loop, main)
        gc.collect()
        n_descriptors.append(len(os.listdir("/proc/self/fd")))
    assert len(set(n_descriptors[1:])) == 1, "nothing is left behind"


def test_two_loops_in_two_threads() -> None:
    n = 500
    found: list[Any] = []

    def play(loop: str) -> None:
        async def main() -> None:
            async with pair("epoll", "tcp") as (sink, peer):
                sink.on_data = sink.stream.write
                for i in range(n):
                    word = b"%s %d" % (loop.encode(), i)
                    await peer.send(word)
                    assert await peer.read_exactly(len(word)) == word
                found.append(poll_here())

        run(loop, main)

    threads = [threading.Thread(target=play, args=(loop,)) for loop in [*LOOPS, *LOOPS]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert len(set(map(id, found))) == 4


def test_a_loop_that_cannot_watch_descriptors_has_none() -> None:
    class Loop(asyncio.SelectorEventLoop):
        def add_reader(self, *_: Any) -> None:
            raise NotImplementedError

    async def main() -> None:
        assert poll_of(asyncio.get_running_loop()) is None

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())


def test_pure_mode_has_none() -> None:
    program = """
        import asyncio, sys, telex.native
        from telex.streams import poll_of
        async def main():
            assert poll_of(asyncio.get_running_loop()) is None
        asyncio.run(main())
        assert "telex.streams._epoll" not in sys.modules
        print(telex.native.describe())
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    env = {**os.environ, "TELEX_PURE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT, env=env)
    assert done.stdout == "pure Python (TELEX_PURE)\n"


# Taking over


@LOOP
def test_a_connection_is_taken_from_its_transport(loop: str) -> None:
    async def main() -> None:
        ours, theirs = await connect("tcp")
        before = Sink()
        before.stream = AsyncioStream(before)
        peer = Peer(theirs)
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: before.stream, ours)
        await peer.send(b"1")
        await before.until(lambda: before.received == b"1")
        transport.pause_reading()
        await peer.send(b"2")
        descriptor = take_descriptor(transport)
        assert descriptor is not None
        assert not os.get_inheritable(descriptor)
        after = Sink()
        after.stream = poll_here().adopt(descriptor, after, high_mark=1000)
        after.on_data, after.on_eof = after.stream.write, after.stream.close
        assert await peer.read_exactly(1) == b"2"
        assert await before.end() is None
        await peer.send(b"3")
        assert await peer.read_exactly(1) == b"3"
        assert (before.received, after.received) == (b"1", b"23")
        peer.close()
        await after.end()

    run(loop, main)


@LOOP
def test_what_cannot_be_taken_stays(loop: str, contexts: Contexts) -> None:
    async def main() -> None:
        async with pair("asyncio", "tls", contexts=contexts) as (sink, peer):
            assert take_descriptor(sink.stream._transport) is None
            await peer.send(b"still here")
            await sink.until(lambda: sink.received == b"still here")
        async with pair("asyncio", "tcp", receive_buffer=4096) as (sink, peer):
            sink.stream.write(b"x" * 8_000_000)
            await turn(2)
            assert take_descriptor(sink.stream._transport) is None
            assert await peer.read_exactly(8_000_000) == b"x" * 8_000_000

    run(loop, main)


@LOOP
def test_a_stream_gives_its_connection_away(loop: str) -> None:
    async def main() -> None:
        ours, theirs = await connect("tcp")
        before = Sink()
        before.stream = AsyncioStream(before)
        peer = Peer(theirs)
        assert before.stream.detach() is None, "it has none yet"
        await asyncio.get_running_loop().connect_accepted_socket(lambda: before.stream, ours)
        before.stream.write(b"corked")
        descriptor = before.stream.detach()
        assert descriptor is not None
        assert before.stream.is_closing
        assert before.stream.detach() is None
        before.stream.write(b"never sent")
        after = Sink()
        after.stream = poll_here().adopt(descriptor, after, high_mark=1000)
        after.stream.write(b", and more")
        assert await peer.read_exactly(16) == b"corked, and more"
        assert await before.end() is None
        assert before.events == ["lost"]
        after.stream.close()
        assert await peer.read_all() == b""
        peer.close()
        assert await after.end() is None

    run(loop, main)
