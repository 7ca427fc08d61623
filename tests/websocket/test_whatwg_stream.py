"""`WebSocketStream`; what Chromium does in the same scenes is `tests/interop/test_whatwg.py`'s."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from telex.errors import ConnectionClosed, DOMSyntaxError, HandshakeError, InvalidAccessError
from telex.limits import Limits
from telex.websocket import CloseInfo, Connection, InvalidStateError, WebSocketError, WebSocketStream, serve
from telex.websocket.frames import Opcode
from tests.websocket.raw import RawPeer, answer_key, raw_server, run, until

HOST = "127.0.0.1"


async def echo(ws: Connection) -> None:
    async for message in ws:
        await ws.send(message)


async def silence(peer: RawPeer, head: bytes) -> None:
    await peer.read_rest()


def test_a_conversation() -> None:
    async def main() -> None:
        async with serve(echo, HOST, 0, subprotocols=["chat"], deflate=True) as server:
            wss = WebSocketStream(f"http://{HOST}:{server.port}/", protocols=["x", "chat"])
            assert wss.url == f"ws://{HOST}:{server.port}/"
            assert repr(wss) == f"<WebSocketStream {wss.url}>"
            info = await wss.opened
            assert (await wss.opened) is info
            assert info.protocol == "chat"
            assert info.extensions.startswith("permessage-deflate")
            for message in ("grüße", b"\0\xff", "x" * 100_000, ""):
                await info.writable.write(message)
                assert await anext(info.readable) == message
            await info.writable.write(bytearray(b"ab"))
            info.writable.write(memoryview(b"cd"))
            info.writable.write("\ud800")
            info.writable.close()
            assert [message async for message in info.readable] == []
            assert await wss.closed == await wss.closed == CloseInfo(1005, "")

    run(main)


def test_what_is_there_is_read_before_the_end() -> None:
    async def main() -> None:
        async def send_three(ws: Connection) -> None:
            for message in ("one", b"two", "three"):
                ws.send(message)
            await ws.close(4000, "done")

        async with serve(send_three, HOST, 0) as server:
            wss = WebSocketStream(f"ws://{HOST}:{server.port}")
            readable = (await wss.opened).readable
            assert [message async for message in readable] == ["one", b"two", "three"]
            assert [message async for message in readable] == []
            assert await wss.closed == CloseInfo(4000, "done")

    run(main)


def test_bad_arguments() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        WebSocketStream("ws://localhost")

    async def main() -> None:
        for url, protocols in (("ws://localhost/#x", []), ("ws://localhost", ["a", "a"])):
            with pytest.raises(DOMSyntaxError):
                WebSocketStream(url, protocols=protocols)
        with pytest.raises(TypeError, match="signal"):
            WebSocketStream("ws://localhost", signal=None)  # type: ignore[call-arg]
        async with serve(echo, HOST, 0) as server:
            wss = WebSocketStream(f"ws://{HOST}:{server.port}")
            info = await wss.opened
            with pytest.raises(InvalidAccessError):
                wss.close(1001)
            for close in (info.readable.cancel, info.writable.abort):
                with pytest.raises(InvalidAccessError):
                    close(WebSocketError("", 1001))
            with pytest.raises(DOMSyntaxError):
                wss.close(reason="x" * 124)
            with pytest.raises(TypeError):
                info.writable.write(5)  # type: ignore[arg-type]
            await info.writable.write("nothing has happened")
            assert await anext(info.readable) == "nothing has happened"
            await wss.close()

    run(main)


# Connecting fails


def test_why_it_could_not_be_established() -> None:
    async def main() -> None:
        async def refuse(peer: RawPeer, head: bytes) -> None:
            await peer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            await peer.read_rest()

        async def forget(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head) + b"\x81\x02hi")
            await peer.read_rest()

        for answer, text in ((refuse, "403"), (forget, "none of the subprotocols")):
            async with raw_server(answer) as port:
                wss = WebSocketStream(f"ws://{HOST}:{port}", protocols=["chat"])
                for wait, code in ((wss.opened, None), (wss.closed, 1006), (wss.opened, None)):
                    with pytest.raises(WebSocketError) as caught:
                        await wait
                    assert (caught.value.close_code, caught.value.reason) == (code, "")
                    assert isinstance(caught.value.__cause__, HandshakeError)
                    assert text in str(caught.value.__cause__)
                await wss.close()
        with pytest.raises(WebSocketError) as caught:
            await WebSocketStream(f"ws://{HOST}:{port}").closed  # nobody listens there any more
        assert isinstance(caught.value.__cause__, OSError)

    run(main)


def test_close_while_connecting() -> None:
    async def main() -> None:
        async def wait(peer: RawPeer, head: bytes) -> None:
            asked.set()
            assert await peer.read_rest() == b""

        asked = asyncio.Event()
        async with raw_server(wait) as port:
            for is_asked in (False, True):
                wss = WebSocketStream(f"ws://{HOST}:{port}")
                if is_asked:
                    await asked.wait()
                wss.close(4000)
                await wss.close()
                for outcome in (wss.opened, wss.closed):
                    with pytest.raises(WebSocketError) as caught:
                        await outcome
                    assert isinstance(caught.value.__cause__, ConnectionAbortedError)

    run(main)


def test_who_gives_up_waiting_gives_up_connecting() -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def wait(peer: RawPeer, head: bytes) -> None:
            assert await peer.read_rest() == b""
            ended.set()

        async with raw_server(wait) as port:
            wss = WebSocketStream(f"ws://{HOST}:{port}")
            other = asyncio.ensure_future(wss.closed)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await wss.opened
            await ended.wait()
            with pytest.raises(WebSocketError) as caught:
                await other
            assert isinstance(caught.value.__cause__, ConnectionAbortedError)

    run(main)


def test_who_gives_up_waiting_for_the_end_changes_nothing() -> None:
    async def main() -> None:
        async with serve(echo, HOST, 0) as server:
            wss = WebSocketStream(f"ws://{HOST}:{server.port}")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wss.closed, 0)
            info = await wss.opened
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(wss.closed, 0.001)
            await info.writable.write("still here")
            assert await anext(info.readable) == "still here"
            await wss.close(4000, "bye")
            assert (await wss.closed).close_code == 4000

    run(main)


def test_nobody_asks_how_it_ended(recwarn: pytest.WarningsRecorder) -> None:
    """Outcomes that nobody awaits are nobody's trouble."""

    async def main() -> None:
        async with raw_server(silence) as port:
            wss = WebSocketStream(f"ws://{HOST}:{port}", open_timeout=0.01)
            await until(lambda: wss._opening is None)

    run(main)
    assert list(recwarn) == []


# Backpressure


def test_who_does_not_read_holds_the_server_off() -> None:
    async def main() -> None:
        n_messages = 3000  # of 10 KB: more than the kernel takes

        async def flood(ws: Connection) -> None:
            for _ in range(n_messages):
                await ws.send(bytes(10_000))

        async with serve(flood, HOST, 0) as server:
            wss = WebSocketStream(f"ws://{HOST}:{server.port}", limits=Limits(recv_queue_high=4))
            readable = (await wss.opened).readable
            (sending,) = server.connections
            n_quiet_turns, n_sent = 0, 0
            while n_quiet_turns < 200:
                await asyncio.sleep(0)
                n_quiet_turns = n_quiet_turns + 1 if sending.statistics().n_sent == n_sent else 0
                n_sent = sending.statistics().n_sent
            assert 4 < n_sent < n_messages, "the server waits"
            assert [len(message) async for message in readable] == [10_000] * n_messages
            assert (await wss.closed).close_code == 1000

    run(main)


def test_a_write_waits_for_room() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head))
            await go.wait()
            frames = [await peer.read_frame() for _ in range(2)]
            assert [len(frame.payload) for frame in frames if frame is not None] == [20_000_000, 2]
            await peer.write_frame(Opcode.CLOSE)
            assert await peer.read_frame() is not None

        go = asyncio.Event()
        async with raw_server(answer) as port:
            wss = WebSocketStream(f"ws://{HOST}:{port}", deflate=False)
            writable = (await wss.opened).writable
            writing = asyncio.ensure_future(writable.write(bytes(20_000_000)))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(writing), 0.02)
            go.set()
            await writing
            await writable.write("ok")
            assert await wss.closed == CloseInfo(1005, "")

    run(main)


def test_a_write_that_waits_when_the_connection_is_lost() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head))
            await go.wait()
            peer.reset()

        go = asyncio.Event()
        async with raw_server(answer) as port:
            wss = WebSocketStream(f"ws://{HOST}:{port}", deflate=False)
            writable = (await wss.opened).writable
            writing = asyncio.ensure_future(writable.write(bytes(20_000_000)))
            go.set()
            with pytest.raises(WebSocketError) as caught:
                await writing
            assert caught.value.close_code == 1006

    run(main)


# The end


def test_writing_too_late() -> None:
    async def main() -> None:
        async with serve(echo, HOST, 0) as server:
            wss = WebSocketStream(f"ws://{HOST}:{server.port}")
            info = await wss.opened
            closing = wss.close(4000)
            with pytest.raises(InvalidStateError):
                info.writable.write("closing")
            await closing
            with pytest.raises(InvalidStateError):
                info.writable.write("closed")
            await wss.close(4001, "again")
            assert (await wss.closed).close_code == 4000

    run(main)


@pytest.mark.parametrize("is_violation", [False, True])
def test_an_end_that_is_not_clean(is_violation: bool) -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head) + b"\x81\x02hi")
            if is_violation:
                await peer.write(b"\x83\x00")
                one = await peer.read_frame()
                assert one is not None
                assert one.payload[:2] == b"\x03\xea"

        async with raw_server(answer) as port:
            wss = WebSocketStream(f"ws://{HOST}:{port}")
            info = await wss.opened
            assert await anext(info.readable) == "hi"
            with pytest.raises(WebSocketError) as caught:
                await anext(info.readable)
            for again in (lambda: anext(info.readable), lambda: wss.closed):
                with pytest.raises(WebSocketError):
                    await again()
            with pytest.raises(WebSocketError):
                info.writable.write("too late")
            error = caught.value
            assert (error.name, error.close_code, error.reason) == ("WebSocketError", 1006, "")
            assert isinstance(error.__cause__, ConnectionClosed)
            assert error.__cause__.code == (1002 if is_violation else 1006)

    run(main)


def test_cancel_while_another_task_reads() -> None:
    async def main() -> None:
        async with serve(echo, HOST, 0) as server:
            wss = WebSocketStream(f"ws://{HOST}:{server.port}")
            info = await wss.opened

            async def read() -> list[Any]:
                return [message async for message in info.readable]

            reading = asyncio.create_task(read())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task"):
                await anext(info.readable)
            await info.readable.cancel(WebSocketError("", 3000, "enough"))
            assert await reading == []
            assert (await wss.closed).close_code == 3000

    run(main)


def test_the_end_is_seen_though_nobody_reads() -> None:
    async def main() -> None:
        async def leave(ws: Connection) -> None:
            await ws.send("unread")
            await ws.close(4000)

        async with serve(leave, HOST, 0) as server:
            limits = Limits(recv_queue_high=1, close_timeout=20.0)
            wss = WebSocketStream(f"ws://{HOST}:{server.port}", limits=limits)
            info = await wss.opened
            assert await anext(info.readable) == "unread"
            assert (await wss.closed).close_code == 4000

    run(main)
