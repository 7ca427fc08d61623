"""What every driver promises (`streams/base.py`), over real sockets, on asyncio's own event loop and on uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import Any

import pytest

from tests.streams.ends import Contexts, Peer, Sink, World, turn, worlds

ANY = pytest.mark.parametrize("world", worlds("tcp", "unix", "tls"), ids=str)
PLAIN = pytest.mark.parametrize("world", worlds("tcp", "unix"), ids=str)  # what can half-close
TCP = pytest.mark.parametrize("world", worlds("tcp"), ids=str)


@ANY
def test_reads_writes_and_sees_a_regular_end(world: World, contexts: Contexts) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        sink.on_data = lambda data: sink.stream.write(data.upper())
        sink.on_eof = sink.stream.close
        await peer.send(b"hello")
        assert await peer.read_exactly(5) == b"HELLO"
        assert (sink.stream.received_bytes, sink.stream.sent_bytes, sink.stream.buffered_bytes) == (5, 5, 0)
        assert not sink.stream.is_closing
        peer.end()
        if world.kind != "tls":
            assert await peer.read_all() == b""
        assert await sink.end() is None
        assert sink.events == ["data", "eof", "lost"]
        assert sink.stream.is_closing

    world.run(scene, contexts=contexts)


@ANY
def test_after_the_end_every_call_is_harmless(world: World, contexts: Contexts) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        await peer.send(b"x")
        await sink.until(lambda: sink.received == b"x")

        def use() -> None:
            stream = sink.stream
            stream.write(b"never sent")
            stream.pause_reading()
            stream.resume_reading()
            stream.close()
            stream.abort()
            stream.close()
            assert stream.is_closing
            assert stream.buffered_bytes == 0
            assert stream.sent_bytes == 0
            assert stream.acknowledged_bytes == 0
            assert stream.received_bytes == 1
            assert stream.get_extra_info("socket", "gone") == "gone"
            assert stream.get_extra_info("nonsense") is None

        sink.on_lost = use
        sink.stream.abort()
        assert await sink.end() is None
        use()
        await turn(3)
        assert sink.events == ["data", "lost"]

    world.run(scene, contexts=contexts)


@ANY
def test_output_is_corked(world: World, contexts: Contexts) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        def answer(data: bytes) -> None:
            for byte in data:
                sink.stream.write(bytes([byte]))
            sink.stream.write(b"")
            assert (sink.stream.buffered_bytes, sink.stream.sent_bytes) == (len(data), 0)

        sink.on_data = answer
        await peer.send(b"abc")
        await sink.until(lambda: bool(sink.received))
        assert await peer.read_exactly(3) == b"abc"
        sink.stream.write(b"1")
        sink.stream.write(b"2")
        assert (sink.stream.buffered_bytes, sink.stream.sent_bytes) == (2, 3)
        await turn(2)
        assert (sink.stream.buffered_bytes, sink.stream.sent_bytes) == (0, 5)
        assert await peer.read_exactly(2) == b"12"

    world.run(scene, contexts=contexts)


@ANY
@pytest.mark.parametrize(("size", "n"), [(1, 3000), (1000, 3000), (70_000, 50), (3_000_000, 1)])
def test_any_number_of_pieces_arrives_in_order(world: World, size: int, n: int, contexts: Contexts) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        expected = bytearray()
        for i in range(n):
            piece = bytes([i % 251]) * size
            expected += piece
            sink.stream.write(piece)
        assert sink.stream.buffered_bytes == len(expected)
        assert await peer.read_exactly(len(expected)) == expected
        sink.stream.write(b"and more")
        assert await peer.read_exactly(8) == b"and more"
        assert sink.stream.sent_bytes == len(expected) + 8

    small = {} if world.kind == "tls" else {"send_buffer": 4096, "receive_buffer": 4096}
    world.run(scene, contexts=contexts, **small)


@ANY
def test_a_large_input_arrives_whole(world: World, contexts: Contexts) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        data = bytes(range(251)) * 20_000
        await peer.send(data)
        await sink.until(lambda: len(sink.received) >= len(data))
        assert sink.received == data
        assert sink.stream.received_bytes == len(data)

    world.run(scene, contexts=contexts)


@PLAIN
def test_a_half_closed_peer_still_gets_its_answer(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        await peer.send(b"question")
        peer.end()
        await sink.until(lambda: "eof" in sink.events)
        assert not sink.stream.is_closing
        sink.stream.write(b"answer")
        await turn(2)
        sink.stream.pause_reading()
        sink.stream.resume_reading()
        sink.stream.write(b" and more")
        sink.stream.close()
        assert await peer.read_all() == b"answer and more"
        assert await sink.end() is None
        assert sink.events[-2:] == ["eof", "lost"]

    world.run(scene)


@PLAIN
def test_our_half_closes_first_and_the_rest_is_dropped(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        sink.stream.write(b"last")
        sink.stream.close()
        sink.stream.close()
        assert await peer.read_all() == b"last"
        await peer.send(b"unheard")
        await turn(3)
        assert sink.events == []
        assert not sink.lost.done()
        peer.end()
        assert await sink.end() is None
        assert sink.events == ["lost"]

    world.run(scene)


@PLAIN
def test_the_last_words_survive_unread_input(world: World) -> None:
    """A close with unread input would send RST, which destroys what the peer has not read yet."""

    async def scene(sink: Sink, peer: Peer) -> None:
        def refuse(_: bytes) -> None:
            sink.stream.write(b"no, because")
            sink.stream.close()
            sink.stream.close()
            sink.stream.write(b"never sent")
            sink.on_data = lambda data: pytest.fail("what comes after close is dropped")

        sink.on_data = refuse
        await peer.send(b"x")
        await sink.until(lambda: sink.stream.is_closing)
        await peer.send(b"y" * 500_000)
        assert await peer.read_all() == b"no, because"
        assert not sink.lost.done()
        peer.end()
        assert await sink.end() is None

    world.run(scene)


@PLAIN
def test_last_words_that_do_not_fit_leave_before_the_end(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        n = 5_000_000
        sink.stream.write(b"x" * n)
        await turn(2)
        assert sink.stream.buffered_bytes > 0
        sink.stream.close()
        assert sink.stream.is_closing
        peer.end()
        assert await peer.read_all() == b"x" * n
        assert await sink.end() is None

    world.run(scene, receive_buffer=4096)


@PLAIN
def test_close_resumes_reading_so_that_the_end_is_seen(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        sink.stream.pause_reading()
        sink.stream.pause_reading()
        await peer.send(b"unread")
        sink.stream.close()
        peer.end()
        assert await sink.end() is None
        assert sink.received == b""

    world.run(scene)


@PLAIN
def test_the_end_while_reading_is_paused(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        sink.stream.pause_reading()
        await peer.send(b"before the end")
        peer.end()
        await turn(5)
        assert sink.events == []
        sink.stream.resume_reading()
        await sink.until(lambda: "eof" in sink.events)
        assert sink.received == b"before the end"
        assert sink.events == ["data", "eof"]

    world.run(scene)


@TCP
def test_a_peer_that_resets(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        peer.reset()
        assert isinstance(await sink.end(), ConnectionResetError)
        assert sink.events == ["lost"]

    world.run(scene)


@TCP
def test_a_peer_that_resets_while_we_do_not_read(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        sink.stream.pause_reading()
        peer.reset()
        sink.stream.close()
        await sink.end()
        assert sink.events == ["lost"]

    world.run(scene)


@TCP
def test_a_reset_is_found_by_writing_where_nothing_is_read(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        sink.stream.pause_reading()
        peer.reset()
        async with asyncio.timeout(20):
            while not sink.lost.done():
                with sink.calling():
                    sink.stream.write(b"x")
                await turn()
        assert isinstance(await sink.end(), ConnectionError)

    world.run(scene)


@TCP
@pytest.mark.parametrize("paused", [False, True])
def test_a_peer_that_resets_while_we_are_blocked(world: World, paused: bool) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        if paused:
            sink.stream.pause_reading()
        sink.stream.write(b"x" * 8_000_000)
        await turn(3)
        assert sink.stream.buffered_bytes > 0
        peer.reset()
        assert isinstance(await sink.end(), ConnectionError)
        assert sink.events == ["lost"]

    world.run(scene, receive_buffer=4096)


@TCP
def test_what_a_reset_has_dropped_was_not_sent(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        size = 10_000_000
        sink.stream.write(bytes(size))
        await turn(2)
        peer.reset()
        await sink.end()
        assert sink.stream.sent_bytes < size

    world.run(scene)


@ANY
def test_what_abort_has_dropped_was_not_sent(world: World, contexts: Contexts) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        size = 10_000_000
        sink.stream.write(bytes(size))
        await turn(2)
        n_sent = sink.stream.sent_bytes
        sink.stream.abort()
        assert (sink.stream.sent_bytes, sink.stream.buffered_bytes) == (n_sent, 0)
        await sink.end()
        assert sink.stream.sent_bytes == n_sent < size

    world.run(scene, contexts=contexts)


@ANY
def test_abort_drops_what_is_corked(world: World, contexts: Contexts) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        with sink.calling():
            sink.stream.write(b"never sent")
            sink.stream.abort()
            assert sink.stream.is_closing
            assert sink.stream.buffered_bytes == sink.stream.sent_bytes == 0
        assert not sink.lost.done(), "connection_lost does not come inside the call"
        assert await sink.end() is None
        with contextlib.suppress(ConnectionError):
            assert await peer.read_all() == b""

    world.run(scene, contexts=contexts)


@ANY
@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("where", ["data", "eof"])
def test_the_sink_ends_the_stream_from_inside(world: World, end: str, where: str, contexts: Contexts) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        def finish(*_: Any) -> None:
            sink.stream.write(b"bye")
            getattr(sink.stream, end)()
            sink.stream.abort()

        if where == "data":
            sink.on_data = finish
        else:
            sink.on_eof = finish
        await peer.send(b"now")
        if where == "eof":
            peer.end()
        await sink.end()
        assert sink.events.count("lost") == 1
        assert sink.events[-1] == "lost"

    world.run(scene, contexts=contexts)


@PLAIN
def test_room_is_told_once_after_the_high_mark(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        n = 8_000_000
        sink.stream.write(b"x" * n)
        assert sink.stream.buffered_bytes == n
        await turn(2)
        before = sink.stream.sent_bytes
        assert sink.stream.buffered_bytes > 100_000
        assert "room" not in sink.events
        sink.on_room = lambda: sink.received.append(sink.stream.buffered_bytes <= 50_000)
        assert await peer.read_exactly(n) == b"x" * n
        await sink.until(lambda: "room" in sink.events)
        assert sink.received == b"\x01"
        assert sink.stream.sent_bytes > before
        sink.stream.write(b"y" * 100_000)
        assert await peer.read_exactly(100_000) == b"y" * 100_000
        assert sink.events == ["room"], "the mark was not passed again"

    world.run(scene, high_mark=100_000, receive_buffer=4096)


@ANY
def test_room_is_told_also_when_the_kernel_takes_all_at_once(world: World, contexts: Contexts) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        sink.stream.write(b"x" * 2000)
        await sink.until(lambda: "room" in sink.events)
        assert await peer.read_exactly(2000) == b"x" * 2000
        sink.stream.write(b"x" * 1000)
        assert await peer.read_exactly(1000) == b"x" * 1000
        assert sink.events == ["room"]

    world.run(scene, high_mark=1000, contexts=contexts)


@PLAIN
def test_room_is_told_also_while_the_rest_leaves_before_the_end(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        sink.stream.write(b"x" * 5_000_000)
        await turn(2)
        assert sink.stream.buffered_bytes > 1000
        sink.stream.close()
        await peer.read_all()
        await sink.until(lambda: "room" in sink.events)
        peer.end()
        assert await sink.end() is None
        assert sink.events == ["room", "lost"]

    world.run(scene, high_mark=1000, receive_buffer=4096)


@ANY
def test_reading_pauses(world: World, contexts: Contexts) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        sink.on_data = lambda data: sink.stream.pause_reading()
        await peer.send(b"1")
        await sink.until(lambda: sink.received == b"1")
        await peer.send(b"2")
        await turn(5)
        assert sink.received == b"1"
        sink.stream.write(b"writing goes on")
        assert await peer.read_exactly(15) == b"writing goes on"
        sink.stream.resume_reading()
        sink.stream.resume_reading()
        await sink.until(lambda: sink.received == b"12")

    world.run(scene, contexts=contexts)


@ANY
def test_another_sink_may_take_over(world: World, contexts: Contexts) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        other = Sink()
        other.stream = sink.stream

        def hand_over(_: bytes) -> None:
            sink.stream.sink = other

        sink.on_data = hand_over
        await peer.send(b"1")
        await sink.until(lambda: sink.received == b"1")
        await peer.send(b"2")
        await other.until(lambda: other.received == b"2")
        sink.stream.abort()
        assert await other.end() is None
        assert sink.events == ["data"]
        sink.connection_lost(None)  # so that this scene ends like any other

    world.run(scene, contexts=contexts)


@PLAIN
@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), asyncio.CancelledError("mine")])
@pytest.mark.parametrize("where", ["data", "eof"])
def test_a_sink_that_fails_is_reported_and_its_stream_ends(world: World, where: str, error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError) and world.driver == "asyncio":
        pytest.skip("what the event loop's own transports do then is theirs")
    reports: list[Any] = []

    async def scene(sink: Sink, peer: Peer) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context.get("exception")))

        def fail(*_: Any) -> None:
            sink.stream.write(b"said before")
            raise error

        if where == "data":
            sink.on_data = fail
            await peer.send(b"x")
        else:
            sink.on_eof = fail
            peer.end()
        assert await sink.end() is error
        assert sink.events == [where, "lost"]
        assert reports == [error]

    world.run(scene)


@PLAIN
def test_what_is_known_of_the_connection(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        stream = sink.stream
        assert peer.sock is not None
        inner = stream.get_extra_info("socket")
        assert inner.fileno() != peer.sock.fileno()
        assert inner.getsockname() == peer.sock.getpeername() == stream.get_extra_info("sockname")
        assert inner.family == peer.sock.family
        assert stream.get_extra_info("peername") == peer.sock.getsockname()
        assert stream.get_extra_info("nonsense") is None
        assert stream.get_extra_info("nonsense", 5) == 5
        assert stream.get_extra_info("sslcontext") is None
        assert stream.get_extra_info("ssl_object") is None

    world.run(scene)


@TCP
def test_nagle_is_off(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        inner = sink.stream.get_extra_info("socket")
        assert inner.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0

    world.run(scene)


@TCP
@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="this system does not tell")
def test_what_the_kernel_holds_is_not_acknowledged(world: World) -> None:
    async def scene(sink: Sink, peer: Peer) -> None:
        stream = sink.stream
        assert stream.acknowledged_bytes == 0
        stream.write(b"x" * 50_000)
        async with asyncio.timeout(20):
            while not stream.sent_bytes:
                await turn()
            assert stream.acknowledged_bytes < stream.sent_bytes == 50_000
            await peer.read_exactly(50_000)
            while stream.acknowledged_bytes < 50_000:
                await turn()
        stream.abort()
        await sink.end()
        assert stream.acknowledged_bytes == stream.sent_bytes == 50_000

    world.run(scene, receive_buffer=4096)
