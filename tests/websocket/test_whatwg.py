"""`WebSocket` by the standard's rules; what Chromium does in the same scenes is `tests/interop/test_whatwg.py`'s."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from telex.errors import ConnectionClosed, DOMSyntaxError, HandshakeError, InvalidAccessError, InvalidStateError
from telex.limits import Limits
from telex.websocket import (
    CloseEvent,
    Connection,
    DOMException,
    ErrorEvent,
    Event,
    MessageEvent,
    ReadyState,
    WebSocket,
    serve,
)
from telex.websocket.frames import Opcode
from telex.websocket.whatwg_rules import Unsent, check_close, check_protocols, parse_address, to_scalars
from tests.support.processes import NodeScript
from tests.websocket.raw import RawPeer, answer_key, raw_server, run, until

HOST = "127.0.0.1"
KINDS = ("open", "message", "error", "close")


def log_of(ws: WebSocket) -> list[Event]:
    """Gather all events of a WebSocket."""
    log: list[Event] = []
    for kind in KINDS:
        ws.add_event_listener(kind, log.append)  # type: ignore[call-overload]
    return log


def kinds(log: list[Event]) -> list[str]:
    return [event.type for event in log]


async def echo(ws: Connection) -> None:
    async for message in ws:
        await ws.send(message)


# The rules


def test_addresses() -> None:
    assert parse_address("\t HTTPS://Example.ORG:443/a ") == ("wss://example.org/a", "wss://example.org")
    assert parse_address("ws://h:8080?x") == ("ws://h:8080/?x", "ws://h:8080")
    assert parse_address("ws://h/a/b/../../../c/.").url == "ws://h/c/"
    for text in ("", "h", "/a", "ws:", "mailto:a@b", "ws://h/#", "ws://u:p@h/", "ws://h:99999/", "ws://h\0/"):
        with pytest.raises(DOMSyntaxError) as caught:
            parse_address(text)
        assert caught.value.name == "SyntaxError"
        assert isinstance(caught.value, ValueError)


def test_protocols() -> None:
    assert check_protocols("a") == ("a",)
    assert check_protocols(iter(["a", "A"])) == ("a", "A")
    for protocols in (["a", "a"], "", ["a b"], ["é"], ["a,b"]):
        with pytest.raises(DOMSyntaxError):
            check_protocols(protocols)


def test_closes() -> None:
    assert check_close(None, "") == (None, "")
    assert check_close(None, "why") == (1000, "why")
    assert check_close(4999, "é" * 61) == (4999, "é" * 61)
    for code in (0, 999, 1001, 1005, 2999, 5000, -1, 1 << 70):
        with pytest.raises(InvalidAccessError):
            check_close(code, "")
    with pytest.raises(DOMSyntaxError):
        check_close(None, "é" * 62)
    wrong: list[tuple[Any, Any]] = [("1000", ""), (1000.0, ""), (1000, b"x")]
    for one, other in wrong:
        with pytest.raises(TypeError):
            check_close(one, other)


def test_text_without_lone_surrogates() -> None:
    assert to_scalars("aé😀") == "aé😀"
    assert to_scalars("\ud83d\ude00") == "😀"
    assert to_scalars("a\ud800\ud800b\udc00") == "a\ufffd\ufffdb\ufffd"


def test_what_is_unsent() -> None:
    unsent = Unsent()
    assert unsent.add(10, 16, 116) is True
    assert unsent.add(100, 108, 224) is False
    assert unsent.amount(224) == 110, "it counts whole until the task is over"
    unsent.end_task(100)
    assert unsent.amount(100) == 110
    assert unsent.amount(105) == 10 + 100, "framing is not counted"
    assert unsent.amount(112) == 4 + 100
    assert unsent.amount(117) == 100
    assert unsent.amount(223) == 1
    assert unsent.amount(224) == 0
    assert unsent.add(1000, 100, 324) is True, "compressed"
    unsent.end_task(224)
    assert unsent.amount(274) == 500
    unsent.add_never(7)
    assert unsent.amount(324) == 7
    unsent.add(5, 11, 335)
    unsent.lose(324)
    assert unsent.amount(10_000) == 12
    unsent.add_never(1)
    assert unsent.amount(10_000) == 13


# The constructor


def test_a_running_loop_is_needed() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        WebSocket("ws://localhost")


def test_bad_options_are_refused_at_once() -> None:
    async def main() -> None:
        with pytest.raises(DOMSyntaxError):
            WebSocket("ws://localhost/#x")
        with pytest.raises(DOMSyntaxError):
            WebSocket("ws://localhost/", ["a", "a"])
        with pytest.raises(TypeError, match="sub_protocols"):
            WebSocket("ws://localhost", sub_protocols=["a"])  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="Upgrade"):
            WebSocket("ws://localhost", headers=[("Upgrade", "x")])

    run(main)


def test_a_conversation() -> None:
    async def main() -> None:
        async with serve(echo, HOST, 0, subprotocols=["chat"], deflate=True) as server:
            ws = WebSocket(f"http://{HOST}:{server.port}/path", "chat", headers=[("Authorization", "Bearer x")])
            assert ws.url == f"ws://{HOST}:{server.port}/path"
            assert (ws.ready_state, ws.protocol, ws.extensions) == (WebSocket.CONNECTING, "", "")
            assert repr(ws) == f"<WebSocket {ws.url} CONNECTING>"
            log = log_of(ws)
            await ws.wait_opened()
            assert (ws.ready_state, ws.protocol) == (ReadyState.OPEN, "chat")
            assert ws.extensions.startswith("permessage-deflate")
            for message in ("grüße", b"\0\xff", bytearray(b"ab"), memoryview(b"cd"), "x" * 100_000):
                ws.send(message)
            await until(lambda: len(log) == 6)
            ws.close(4000, "bye")
            assert ws.ready_state is ReadyState.CLOSING
            await ws.wait_closed()
            await ws.wait_closed()
            await ws.wait_opened()
        messages = [event for event in log if isinstance(event, MessageEvent)]
        assert [event.data for event in messages] == ["grüße", b"\0\xff", b"ab", b"cd", "x" * 100_000]
        assert {(event.origin, event.last_event_id) for event in messages} == {(ws.url.removesuffix("/path"), "")}
        assert all(event.target is ws for event in log)
        close = log[-1]
        assert isinstance(close, CloseEvent)
        assert (close.was_clean, close.code) == (True, 4000)
        assert kinds(log) == ["open", *["message"] * 5, "close"]

    run(main)


def test_over_tls(tmp_path: Path) -> None:
    async def main() -> None:
        authority = trustme.CA()
        server_side, client_side = contexts(authority)
        async with serve(echo, HOST, 0, ssl=server_side) as server:
            ws = WebSocket(f"https://localhost:{server.port}", ssl=client_side)
            assert ws.url == f"wss://localhost:{server.port}/"
            got = asyncio.get_running_loop().create_future()
            ws.on_open = lambda _: ws.send("x" * 1_000_000)
            ws.on_message = lambda event: got.set_result(event.data)
            assert await got == "x" * 1_000_000
            await until(lambda: ws.buffered_amount == 0)
            ws.close()
            await ws.wait_closed()
            stranger = WebSocket(f"wss://localhost:{server.port}")
            log = log_of(stranger)
            with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
                await stranger.wait_opened()
            assert kinds(log) == ["error", "close"]

    run(main)


def contexts(authority: trustme.CA) -> tuple[Any, Any]:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    return server_side, client_side


def test_nobody_need_hold_it() -> None:
    """A WebSocket lives as long as its connection, from the constructor on."""

    async def main() -> None:
        async with serve(echo, HOST, 0) as server:
            got: list[Any] = []

            def begin() -> weakref.ref[WebSocket]:
                ws = WebSocket(f"ws://{HOST}:{server.port}")
                ws.on_open = lambda event: event.target.send("still here")
                ws.on_message = lambda event: got.append(event.data) or event.target.close()  # type: ignore[func-returns-value]
                return weakref.ref(ws)

            seen = begin()
            while not got:
                gc.collect()
                await asyncio.sleep(0)
            await until(lambda: gc.collect() >= 0 and seen() is None)
        assert got == ["still here"]

    run(main)


# Connecting fails


def test_why_it_could_not_be_established() -> None:
    async def main() -> None:
        async def refuse(peer: RawPeer, head: bytes) -> None:
            await peer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            await peer.read_rest()

        async def redirect(peer: RawPeer, head: bytes) -> None:
            await peer.write(b"HTTP/1.1 307 Go\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n")
            await peer.read_rest()

        async def wait(peer: RawPeer, head: bytes) -> None:
            await peer.read_rest()

        reasons: list[tuple[Callable[[RawPeer, bytes], Awaitable[None]], type[BaseException], str]] = [
            (refuse, HandshakeError, "403"),
            (redirect, HandshakeError, "307"),
            (wait, TimeoutError, ""),
        ]
        for answer, kind, text in reasons:
            async with raw_server(answer) as port:
                ws = WebSocket(f"ws://{HOST}:{port}", open_timeout=20 if text else 0.01)
                log = log_of(ws)
                with pytest.raises(kind) as caught:
                    await ws.wait_opened()
                assert text in str(caught.value)
                assert kinds(log) == ["error", "close"]
                error, close = log
                assert isinstance(error, ErrorEvent)
                assert isinstance(error.error, kind)
                assert isinstance(close, CloseEvent)
                assert (close.was_clean, close.code, close.reason) == (False, 1006, "")
                assert ws.ready_state is ReadyState.CLOSED
        ws = WebSocket(f"ws://{HOST}:{port}")  # nobody listens there any more
        with pytest.raises(OSError, match="Connect call failed"):
            await ws.wait_opened()

    run(main)


def test_a_subprotocol_that_was_asked_for_must_be_chosen() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head) + b"\x89\x00\x81\x02hi")
            await peer.read_rest()

        async with raw_server(answer) as port:
            ws = WebSocket(f"ws://{HOST}:{port}", ["chat"])
            log = log_of(ws)
            with pytest.raises(HandshakeError, match="none of the subprotocols"):
                await ws.wait_opened()
            assert kinds(log) == ["error", "close"]
            assert (ws.protocol, ws.extensions) == ("", "")

    run(main)


def test_close_while_connecting() -> None:
    async def main() -> None:
        async def wait(peer: RawPeer, head: bytes) -> None:
            asked.set()
            assert await peer.read_rest() == b""

        asked = asyncio.Event()
        async with raw_server(wait) as port:
            for is_asked in (False, True):
                ws = WebSocket(f"ws://{HOST}:{port}")
                log = log_of(ws)
                if is_asked:
                    await asked.wait()
                ws.close()
                ws.close(3000, "again")
                assert ws.ready_state is ReadyState.CLOSING
                assert log == [], "events come in a callback of their own"
                with pytest.raises(ConnectionAbortedError):
                    await ws.wait_opened()
                assert kinds(log) == ["error", "close"]

    run(main)


def test_the_program_ends_while_it_connects() -> None:
    log: list[Event] = []

    async def main() -> None:
        async def wait(peer: RawPeer, head: bytes) -> None:
            await peer.read_rest()

        async with raw_server(wait) as port:
            log.append(Event("begin", None))
            ws = WebSocket(f"ws://{HOST}:{port}")
            ws.on_close = log.append

    run(main)
    assert kinds(log) == ["begin", "close"]


# Sending


def test_states_in_which_nothing_is_sent() -> None:
    async def main() -> None:
        async with serve(echo, HOST, 0) as server:
            ws = WebSocket(f"ws://{HOST}:{server.port}")
            with pytest.raises(InvalidStateError) as caught:
                ws.send("early")
            assert isinstance(caught.value, DOMException)
            for bad in (None, 5, ["x"], object()):
                with pytest.raises(TypeError):
                    ws.send(bad)  # type: ignore[arg-type]
            assert ws.buffered_amount == 0
            await ws.wait_opened()
            with pytest.raises(TypeError):
                ws.send(5)  # type: ignore[arg-type]
            log = log_of(ws)
            ws.close()
            ws.send("é")
            assert ws.buffered_amount == 2
            await ws.wait_closed()
            ws.send(memoryview(b"12345678").cast("I"))
            assert ws.buffered_amount == 10
            assert kinds(log) == ["close"]

    run(main)


def test_the_amount_that_is_buffered() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head))
            await go.wait()
            assert await peer.read_frame() is not None
            await peer.write_frame(Opcode.TEXT, b"got it")
            await leave.wait()
            peer.reset()

        go, leave = asyncio.Event(), asyncio.Event()
        async with raw_server(answer) as port:
            ws = WebSocket(f"ws://{HOST}:{port}", deflate=False, limits=Limits(send_buffer_max=1 << 30))
            await ws.wait_opened()
            ws.send("é" * 3)
            assert ws.buffered_amount == 6
            await asyncio.sleep(0)
            await until(lambda: ws.buffered_amount == 0)

            size = 30_000_000  # more than the kernel takes
            go.set()
            await heard(ws)
            ws.send(bytes(size))
            assert ws.buffered_amount == size
            ws.send(b"123")
            assert ws.buffered_amount == size + 3
            await until(lambda: ws.buffered_amount < size)
            assert ws.buffered_amount > 3
            leave.set()
            await ws.wait_closed()
            left = ws.buffered_amount
            assert 3 < left < size + 3, "it is not reset"
            ws.send("x")
            assert ws.buffered_amount == left + 1

    run(main)


async def heard(ws: WebSocket) -> None:
    """Wait for one message."""
    got = asyncio.Event()
    ws.add_event_listener("message", lambda _: got.set(), once=True)
    await got.wait()


def test_all_is_sent_before_a_close() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head))
            frames = [await peer.read_frame() for _ in range(2)]
            got.extend((frame.opcode, len(frame.payload)) for frame in frames if frame is not None)
            await peer.write_frame(Opcode.CLOSE)

        got: list[tuple[Opcode, int]] = []
        async with raw_server(answer) as port:
            ws = WebSocket(f"ws://{HOST}:{port}", deflate=False)
            await ws.wait_opened()
            ws.send(bytes(5_000_000))
            ws.close()
            assert ws.buffered_amount == 5_000_000
            await ws.wait_closed()
            assert ws.buffered_amount == 0
        assert got == [(Opcode.BINARY, 5_000_000), (Opcode.CLOSE, 0)]

    run(main)


def test_a_server_that_does_not_take_what_it_is_sent() -> None:
    """The standard: "if the data cannot be sent, e.g. because it would need to be buffered but the buffer is full"."""

    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head))
            await over.wait()

        over = asyncio.Event()
        limits = Limits(send_buffer_high=1000, send_buffer_max=100_000, close_timeout=0.05)
        async with raw_server(answer) as port:
            ws = WebSocket(f"ws://{HOST}:{port}", deflate=False, limits=limits)
            log = log_of(ws)
            await ws.wait_opened()
            n_bytes = 0
            while ws.ready_state is ReadyState.OPEN:
                ws.send(bytes(1_000_000))
                n_bytes += 1_000_000
                await asyncio.sleep(0)
            ws.send("more")
            assert ws.buffered_amount > 4
            await ws.wait_closed()
            over.set()
        assert kinds(log) == ["open", "error", "close"]
        assert 4 < ws.buffered_amount < n_bytes + 4
        error, close = log[1:]
        assert isinstance(error, ErrorEvent)
        assert isinstance(error.error, ConnectionClosed)
        assert isinstance(close, CloseEvent)
        assert (error.error.code, close.was_clean, close.code) == (1013, False, 1006)

    run(main)


# Events


def test_binary_types() -> None:
    async def main() -> None:
        async with serve(echo, HOST, 0) as server:
            ws = WebSocket(f"ws://{HOST}:{server.port}")
            got: list[Any] = []
            ws.on_message = lambda event: got.append(event.data)
            await ws.wait_opened()
            assert ws.binary_type == "bytes"
            ws.send(b"a")
            await until(lambda: len(got) == 1)
            ws.binary_type = "bytearray"
            ws.send(b"b")
            ws.send("text")
            await until(lambda: len(got) == 3)
            for bad in ("blob", "", None):
                with pytest.raises(ValueError, match="bytearray"):
                    ws.binary_type = bad  # type: ignore[assignment]
            assert ws.binary_type == "bytearray"
            ws.close()
            await ws.wait_closed()
        assert [(type(data), data) for data in got] == [(bytes, b"a"), (bytearray, b"b"), (str, "text")]

    run(main)


def test_who_is_called_and_in_which_order() -> None:
    async def main() -> None:
        async with serve(echo, HOST, 0) as server:
            ws = WebSocket(f"ws://{HOST}:{server.port}")
            calls: list[str] = []

            def first(event: Event) -> None:
                calls.append("first")

            def remover(event: Event) -> None:
                calls.append("remover")
                ws.remove_event_listener("message", removed)
                ws.add_event_listener("message", added)

            def removed(event: Event) -> None:
                calls.append("removed")

            def added(event: Event) -> None:
                calls.append("added")

            def handler(event: Event) -> None:
                calls.append("handler")

            def second_handler(event: Event) -> None:
                calls.append("second handler")

            def one(event: Event) -> None:
                calls.append("once")

            assert ws.on_message is None
            ws.add_event_listener("message", first)
            ws.on_message = handler
            ws.add_event_listener("message", first)  # it is there already
            ws.add_event_listener("message", one, once=True)
            ws.add_event_listener("message", remover)
            ws.add_event_listener("message", removed)
            ws.on_message = second_handler  # in the place of the first
            assert ws.on_message is second_handler
            ws.remove_event_listener("message", added)
            ws.remove_event_listener("message", second_handler)  # that is no listener
            with pytest.raises(ValueError, match="no events"):
                ws.add_event_listener("ping", first)  # type: ignore[call-overload]

            await ws.wait_opened()
            ws.send("a")
            await heard(ws)
            assert calls == ["first", "second handler", "once", "remover"]
            calls.clear()
            ws.on_message = None
            ws.on_message = handler  # gave its place up
            ws.send("b")
            await heard(ws)
            assert calls == ["first", "remover", "added", "handler"]
            for callback in (first, remover, added):
                ws.remove_event_listener("message", callback)
            ws.on_message = None
            assert ws.on_message is None
            ws.send("nobody hears it")
            ws.close()
            await ws.wait_closed()

    run(main)


def test_a_callback_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serve(echo, HOST, 0) as server:
            ws = WebSocket(f"ws://{HOST}:{server.port}")

            def fail(event: Event) -> None:
                raise LookupError("a plain one")

            async def fail_later(event: Event) -> None:
                await asyncio.sleep(0)
                raise LookupError("a coroutine")

            def cancel(event: Event) -> None:
                raise asyncio.CancelledError

            ws.on_open = fail
            ws.add_event_listener("open", fail_later)
            ws.add_event_listener("open", cancel)
            log = log_of(ws)
            await ws.wait_opened()
            ws.send("on it goes")
            await heard(ws)
            ws.close()
            await ws.wait_closed()
            assert kinds(log) == ["open", "message", "close"]

    with caplog.at_level(logging.ERROR, logger="telex.websocket"):
        run(main)
    texts = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert sorted(texts) == ["", "a coroutine", "a plain one"]
    assert all("a callback of <WebSocket ws://" in record.getMessage() for record in caplog.records)


def test_coroutines_run_side_by_side_and_hold_a_flood_off() -> None:
    n_messages, n_high = 200, 8

    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head))
            for index in range(n_messages):
                await peer.write_frame(Opcode.TEXT, b"%d" % index)
            await peer.write_frame(Opcode.CLOSE, b"\x03\xe8")
            assert await peer.read_frame() is not None

        async with raw_server(answer) as port:
            ws = WebSocket(f"ws://{HOST}:{port}", limits=Limits(recv_queue_high=n_high))
            begun: list[str] = []
            done: list[str] = []
            waiting: list[asyncio.Future[None]] = []

            async def on_message(event: MessageEvent) -> None:
                assert isinstance(event.data, str)
                begun.append(event.data)
                future = asyncio.get_running_loop().create_future()
                waiting.append(future)
                await future
                done.append(event.data)

            ws.on_message = on_message
            log: list[CloseEvent] = []
            ws.on_close = log.append
            await until(lambda: len(waiting) == n_high)
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(begun) == n_high, "the server is not read"
            assert ws.ready_state is ReadyState.OPEN
            while not log:
                assert len(waiting) - len(done) <= n_high
                for future in waiting:
                    if not future.done():
                        future.set_result(None)
                await asyncio.sleep(0)
            await until(lambda: len(done) == n_messages)
        assert begun == [str(index) for index in range(n_messages)]
        assert log[0].was_clean

    run(main)


def test_coroutines_hold_large_messages_off() -> None:
    async def main() -> None:
        async def flood(ws: Connection) -> None:
            for _ in range(50):
                await ws.send(bytes(100_000))

        gate = asyncio.Event()
        n_begun = 0
        async with serve(flood, HOST, 0) as server:
            limits = Limits(recv_queue_high_bytes=250_000)
            ws = WebSocket(f"ws://{HOST}:{server.port}", limits=limits)

            async def on_message(event: MessageEvent) -> None:
                nonlocal n_begun
                n_begun += 1
                await gate.wait()

            ws.on_message = on_message
            await until(lambda: n_begun == 3)
            for _ in range(100):
                await asyncio.sleep(0)
            assert n_begun == 3
            gate.set()
            await ws.wait_closed()
            assert n_begun == 50

    run(main)


def test_a_pause_is_kept_while_answers_are_held() -> None:
    """A server that does not read is not read either; that it reads again says nothing about the program's pace."""

    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head))
            for _ in range(10):
                await peer.write_frame(Opcode.TEXT, b"x")
            await full.wait()
            while (frame := await peer.read_frame()) is not None and frame.opcode is not Opcode.CLOSE:
                pass
            await peer.write_frame(Opcode.CLOSE)

        full, gate = asyncio.Event(), asyncio.Event()
        n_begun = 0
        limits = Limits(recv_queue_high=2, send_buffer_max=1 << 30)
        async with raw_server(answer) as port:
            ws = WebSocket(f"ws://{HOST}:{port}", deflate=False, limits=limits)

            async def on_message(event: MessageEvent) -> None:
                nonlocal n_begun
                n_begun += 1
                if n_begun == 2:
                    ws.send(bytes(30_000_000))
                await gate.wait()

            ws.on_message = on_message
            await until(lambda: ws.buffered_amount)
            full.set()
            await until(lambda: not ws.buffered_amount)
            for _ in range(100):
                await asyncio.sleep(0)
            assert n_begun == 2
            gate.set()
            await until(lambda: n_begun == 10)
            ws.close()
            await ws.wait_closed()

    run(main)


# The end


@pytest.mark.parametrize("rest", [b"\x83\x00", b"\x81\x01\xff", b"\x81\x81abcdx"], ids=["opcode", "text", "masked"])
def test_a_violation_is_an_error(rest: bytes) -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head) + b"\x81\x02hi" + rest)
            one = await peer.read_frame()
            assert one is not None
            assert one.opcode is Opcode.CLOSE

        async with raw_server(answer) as port:
            ws = WebSocket(f"ws://{HOST}:{port}")
            log = log_of(ws)
            await ws.wait_closed()
        assert kinds(log) == ["open", "message", "error", "close"]
        error, close = log[2:]
        assert isinstance(error, ErrorEvent)
        assert isinstance(error.error, ConnectionClosed)
        assert error.error.code in (1002, 1007)
        assert isinstance(close, CloseEvent)
        assert (close.was_clean, close.code, close.reason) == (False, 1006, "")

    run(main)


def test_a_loss_is_no_error() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head))
            peer.end()
            await peer.read_rest()

        async with raw_server(answer) as port:
            ws = WebSocket(f"ws://{HOST}:{port}")
            log = log_of(ws)
            await ws.wait_closed()
        assert kinds(log) == ["open", "close"]

    run(main)


def test_a_server_that_does_not_close_in_turn() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head))
            await peer.read_rest()

        async with raw_server(answer) as port:
            ws = WebSocket(f"ws://{HOST}:{port}", limits=Limits(close_timeout=0.02))
            log = log_of(ws)
            await ws.wait_opened()
            ws.close(4000)
            await ws.wait_closed()
        assert kinds(log) == ["open", "close"]
        assert isinstance(log[-1], CloseEvent)
        assert (log[-1].was_clean, log[-1].code) == (False, 1006)

    run(main)


def test_the_state_from_within_events() -> None:
    async def main() -> None:
        async def answer(peer: RawPeer, head: bytes) -> None:
            await peer.write(answer_key(head) + b"\x81\x02hi" + b"\x88\x02\x03\xe8")
            closing.append((await peer.read_frame()) is not None)
            await seen.wait()

        closing: list[bool] = []
        seen = asyncio.Event()
        async with raw_server(answer) as port:
            ws = WebSocket(f"ws://{HOST}:{port}")
            states: list[tuple[str, ReadyState]] = []
            for kind in KINDS:
                ws.add_event_listener(kind, lambda event: states.append((event.type, ws.ready_state)))  # type: ignore[call-overload]
            await until(lambda: closing)
            assert ws.ready_state is ReadyState.CLOSING, "the server has begun to close"
            ws.close()
            seen.set()
            await ws.wait_closed()
        assert states == [("open", ReadyState.OPEN), ("message", ReadyState.OPEN), ("close", ReadyState.CLOSED)]

    run(main)


def test_waiting_may_be_cancelled() -> None:
    async def main() -> None:
        async with serve(echo, HOST, 0) as server:
            ws = WebSocket(f"ws://{HOST}:{server.port}")
            for wait in (ws.wait_opened, ws.wait_closed):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(wait(), 0)
            await ws.wait_opened()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ws.wait_closed(), 0.001)
            assert ws.ready_state is ReadyState.OPEN
            ws.close()
            await ws.wait_closed()

    run(main)


def test_with_the_server_of_ws() -> None:
    with NodeScript(Path(__file__).parent.parent / "interop" / "ws_server.mjs") as script:
        port = int(script.wait_for(r"listening http://127\.0\.0\.1:(\d+)")[1])

        async def main() -> None:
            ws = WebSocket(f"ws://{HOST}:{port}", ["chat"])
            got: list[Any] = []
            ws.on_message = lambda event: got.append(event.data)
            await ws.wait_opened()
            assert ws.protocol == "chat"
            assert ws.extensions.startswith("permessage-deflate")
            for message in ("grüße", b"\0\xff", "x" * 200_000):
                ws.send(message)
            await until(lambda: len(got) == 3)
            assert got == ["grüße", b"\0\xff", "x" * 200_000]
            ends: list[CloseEvent] = []
            ws.on_close = ends.append
            ws.send("close")
            await ws.wait_closed()
            assert (ends[0].was_clean, ends[0].code, ends[0].reason) == (True, 4001, "as you like")

        run(main)
