"""The polling transport: each request gets one answer, and each misuse costs what the table says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from telex.engineio.handshake import Refusal, RefusalKind, Request, Response
from telex.engineio.hints import Hint
from telex.engineio.packets import PacketType, message
from telex.engineio.session import CloseReason, Session, State
from telex.engineio.transports.polling import BODY_GRACE, PeerGone, PollingTransport
from telex.limits import Limits
from telex.streams.deadlines import deadlines_of
from telex.types import Data, Headers
from tests.engineio.harness import Floor, MemoryWebSocket
from tests.engineio.loops import run, settle

OK = Response(200, [("content-type", "text/html")], b"ok")
BAD = Response(400)
UNKNOWN_SID = Refusal(RefusalKind.UNKNOWN_SID, Hint.UNKNOWN_SESSION).response()
BAD_REQUEST = Refusal(RefusalKind.BAD_REQUEST, Hint.LEFT_POLLING).response()
POLL_HEADERS = [("content-type", "text/plain; charset=UTF-8"), ("cache-control", "no-store")]


class MemoryBody:
    """A request's body that comes when the test wants: pieces, then `None`, or an error."""

    def __init__(self, *pieces: bytes | Exception | None) -> None:
        self.pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.n_reads = 0
        for piece in pieces:
            self.pieces.put_nowait(piece)

    def read_nowait(self) -> bytes | None:
        return None

    async def read(self) -> bytes | None:
        self.n_reads += 1
        piece = await self.pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def wait_gone(self) -> None:
        await self.gone.wait()


class Scene:
    """A session on a polling transport, on the loop that runs the test."""

    def __init__(self, limits: Limits | None = None) -> None:
        loop = asyncio.get_running_loop()
        limits = limits or Limits(ping_interval=1e6)
        self.transport = PollingTransport(limits)
        self.floor = Floor()
        self.deadlines = deadlines_of(loop)
        self.finished: list[Session] = []
        self.session = Session(
            "sid", self.transport, limits=limits, deadlines=self.deadlines, finished=self.finished.append
        )
        self.session.sink = self.floor
        self.transport.session = self.session

    def request(
        self, method: str, body: MemoryBody, headers: list[tuple[str, str]] | None = None
    ) -> asyncio.Task[Response]:
        request = Request(method, "/socket.io/", "", Headers(headers or []))
        return asyncio.create_task(self.transport.handle(request, body))

    async def get(self, body: MemoryBody | None = None) -> asyncio.Task[Response]:
        """Park a poll, or get its answer."""
        task = self.request("GET", body or MemoryBody())
        await settle()
        return task

    async def post(self, *pieces: bytes | Exception | None, content_type: str = "text/plain") -> asyncio.Task[Response]:
        """Post a body; one that does not end with `None` is still on its way."""
        task = self.request("POST", MemoryBody(*pieces), [("content-type", content_type)])
        await settle()
        return task

    def send(self, *messages: Data) -> None:
        self.session.send([message(data) for data in messages])

    async def check_over(self, *events: object) -> None:
        """Check what the floor heard, and that nothing is left: no deadline, no task."""
        await settle()
        assert self.floor.events == list(events)
        assert self.finished == [self.session]
        assert len(self.deadlines) == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}


# GET


def test_a_poll_waits_for_packets() -> None:
    async def main() -> None:
        scene = Scene()
        poll = await scene.get()
        assert not poll.done()
        assert scene.session.is_writable
        scene.send("one", b"two")
        response = await poll
        assert (response.status, response.headers, response.body) == (200, POLL_HEADERS, b"4one\x1ebdHdv")
        scene.session.abort()
        await scene.check_over(CloseReason.FORCED_CLOSE)

    run(main())


def test_a_poll_takes_what_waits() -> None:
    async def main() -> None:
        scene = Scene()
        scene.send("€")
        scene.send("two")
        assert (await (await scene.get())).body == "4€\x1e4two".encode()

    run(main())


@pytest.mark.parametrize(("flags", "may_compress"), [((True,), True), ((False,), False), ((False, True), True)])
def test_one_packet_that_may_be_compressed_is_enough(flags: tuple[bool, ...], may_compress: bool) -> None:
    async def main() -> None:
        scene = Scene()
        scene.session.send([message("x", compress) for compress in flags])
        assert (await (await scene.get())).may_compress == may_compress

    run(main())


def test_e07_a_second_poll_ends_both_and_the_session() -> None:
    async def main() -> None:
        scene = Scene()
        first = await scene.get()
        second = await scene.get()
        assert (await first).body == b"1"
        assert await second == BAD
        await scene.check_over(CloseReason.TRANSPORT_ERROR)

    run(main())


def test_e07_a_poll_while_the_last_answer_is_on_its_way_is_a_second_one() -> None:
    # Else a client that reads nothing could have any number of full answers waiting for it.
    async def main() -> None:
        scene = Scene()
        scene.send("x" * 1000)
        response = await (await scene.get())
        assert response.delivery is not None
        assert scene.session.buffered_bytes == 1001
        response.delivery.leaving(500, 1001)
        assert scene.session.buffered_bytes == 500
        assert await (await scene.get()) == BAD
        await scene.check_over(CloseReason.TRANSPORT_ERROR)
        response.delivery.leaving(100, 1001)
        assert scene.session.buffered_bytes == 0

    run(main())


def test_an_answer_that_leaves_makes_room() -> None:
    async def main() -> None:
        scene = Scene(Limits(send_buffer_high=100, ping_interval=1e6))
        scene.send("x" * 999)
        response = await (await scene.get())
        assert response.delivery is not None
        assert not scene.session.has_room
        response.delivery.leaving(500, 1000)
        assert scene.floor.events == []
        response.delivery.leaving(0, 1000)
        assert scene.floor.events == ["room"]
        poll = await scene.get()
        assert not poll.done()
        scene.session.abort()
        await poll

    run(main())


def test_room_is_not_told_to_a_floor_that_has_closed() -> None:
    async def main() -> None:
        scene = Scene(Limits(send_buffer_high=100, ping_interval=1e6))
        scene.send("x" * 999)
        response = await (await scene.get())
        scene.send("farewell")
        scene.session.close()
        assert response.delivery is not None
        response.delivery.leaving(0, 1000)
        assert scene.session.has_room
        assert (await (await scene.get())).body == b"4farewell"
        scene.transport.leaving(0, 1)
        assert (await (await scene.get())).body == b"6\x1e1"
        await scene.check_over(CloseReason.FORCED_CLOSE)

    run(main())


def test_an_answer_on_its_way_is_progress_of_a_slow_client() -> None:
    async def main() -> None:
        scene = Scene(Limits(send_buffer_high=100, slow_consumer_timeout=10, ping_interval=1e6))
        scene.send("x" * 999)
        response = await (await scene.get())
        assert response.delivery is not None
        for n_left in (900, 800, 700):
            await asyncio.sleep(9)
            response.delivery.leaving(n_left, 1000)
        assert scene.session.is_open
        await asyncio.sleep(20)
        await scene.check_over(CloseReason.SLOW_CONSUMER)

    run(main())


def test_an_answer_that_is_lost_ends_the_session() -> None:
    async def main() -> None:
        scene = Scene()
        scene.send("lost")
        response = await (await scene.get())
        assert response.delivery is not None
        response.delivery.lost()
        await scene.check_over(CloseReason.TRANSPORT_ERROR)

    run(main())


def test_e09_a_client_that_leaves_its_poll_ends_the_session() -> None:
    async def main() -> None:
        scene = Scene()
        body = MemoryBody()
        poll = await scene.get(body)
        body.gone.set()
        with pytest.raises(PeerGone):
            await poll
        await scene.check_over(CloseReason.TRANSPORT_ERROR)

    run(main())


def test_a_poll_that_is_cancelled_ends_the_session() -> None:
    async def main() -> None:
        scene = Scene()
        poll = await scene.get()
        poll.cancel()
        with pytest.raises(asyncio.CancelledError):
            await poll
        await scene.check_over(CloseReason.TRANSPORT_ERROR)

    run(main())


def test_packets_for_a_poll_that_is_cancelled_in_the_same_moment_are_not_lost_silently() -> None:
    async def main() -> None:
        scene = Scene()
        poll = await scene.get()
        scene.send("in the same moment")
        poll.cancel()
        with pytest.raises(asyncio.CancelledError):
            await poll
        await scene.check_over(CloseReason.TRANSPORT_ERROR)

    run(main())


def test_packets_and_a_client_that_leaves_in_the_same_moment() -> None:
    async def main() -> None:
        scene = Scene()
        body = MemoryBody()
        poll = await scene.get(body)
        scene.send("in the same moment")
        body.gone.set()
        assert (await poll).body == b"4in the same moment"  # the server below finds out that nobody takes it
        scene.session.abort()
        await scene.check_over(CloseReason.FORCED_CLOSE)

    run(main())


@pytest.mark.parametrize("n_turns", range(6))
def test_packets_sent_so_many_turns_after_the_client_left(n_turns: int) -> None:
    async def main() -> None:
        scene = Scene()
        body = MemoryBody()
        poll = await scene.get(body)
        body.gone.set()
        for _ in range(n_turns):
            await asyncio.sleep(0)
        scene.send("anybody there?")
        await asyncio.wait([poll])
        if poll.exception() is None:
            scene.transport.lost()  # as the server below finds out
        await scene.check_over(CloseReason.TRANSPORT_ERROR)

    run(main())


def test_a_cancelled_poll_leaves_the_next_one_parked() -> None:
    # The first is answered; before its task runs on, a second comes and the first is cancelled.
    async def main() -> None:
        scene = Scene()
        first = await scene.get()
        scene.session.send([message(b"")])  # weighs nothing, so the next poll is not an overlap
        second = scene.request("GET", MemoryBody())
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await second).body in {b"1", UNKNOWN_SID.body}  # it gets an answer
        await scene.check_over(CloseReason.TRANSPORT_ERROR)

    run(main())


# POST


def test_a_post_brings_packets() -> None:
    async def main() -> None:
        scene = Scene()
        assert await (await scene.post(b"4one\x1ebdHdv", None)) == OK
        assert await (await scene.post(b"4thr", b"", b"ee", None)) == OK
        assert scene.floor.events == ["one", b"two", "three"]

    run(main())


def test_a_post_with_one_byte_at_a_time() -> None:
    async def main() -> None:
        scene = Scene()
        body = "4one\x1e4€".encode()
        pieces: list[bytes | None] = [body[i : i + 1] for i in range(len(body))]
        assert await (await scene.post(*pieces, None)) == OK
        assert scene.floor.events == ["one", "€"]

    run(main())


def test_a_post_and_a_poll_do_not_disturb_each_other() -> None:
    async def main() -> None:
        scene = Scene()
        scene.floor.on_message = lambda data: scene.send(f"echo {data!r}")
        poll = await scene.get()
        assert await (await scene.post(b"4hi", None)) == OK
        assert (await poll).body == b"4echo 'hi'"

    run(main())


def test_e08_a_second_post_ends_both_and_the_session() -> None:
    async def main() -> None:
        scene = Scene()
        first = await scene.post(b"4unfinished")
        second = await scene.post(b"4whole", None)
        assert await second == BAD
        assert await first == UNKNOWN_SID
        await scene.check_over(CloseReason.TRANSPORT_ERROR)

    run(main())


def test_e08_a_second_post_while_the_first_waits_for_room() -> None:
    async def main() -> None:
        scene = Scene()
        scene.session.pause_reading()
        first = await scene.post(b"4one", None)
        assert await (await scene.post(b"4two", None)) == BAD
        assert await first == OK  # it was taken
        await scene.check_over("one", CloseReason.TRANSPORT_ERROR)

    run(main())


@pytest.mark.parametrize(
    "declared", ["11", "99999999999", "9" * 5000, "0" * 10 + "11"], ids=["11", "large", "5000 digits", "leading zeros"]
)
def test_e10_a_declared_size_over_the_bound_is_refused_unread(declared: str) -> None:
    async def main() -> None:
        scene = Scene(Limits(max_payload=10))
        body = MemoryBody(b"4small", None)
        assert await scene.request("POST", body, [("content-length", declared)]) == Response(413)
        assert body.n_reads == 0
        assert scene.session.is_open

    run(main())


@pytest.mark.parametrize("declared", ["10", "", "²", "-1", "ten", "10, 10"])
def test_a_size_within_the_bound_or_unreadable_is_counted(declared: str) -> None:
    async def main() -> None:
        scene = Scene(Limits(max_payload=10))
        body = MemoryBody(b"4456789", b"012", None)
        assert await scene.request("POST", body, [("content-length", declared)]) == OK

    run(main())


def test_e11_a_body_over_the_bound_is_refused_as_soon_as_it_is_known() -> None:
    async def main() -> None:
        scene = Scene(Limits(max_payload=10))
        body = MemoryBody(b"4456", b"789012", b"x", b"y" * 1000, None)
        assert await scene.request("POST", body) == Response(413)
        assert body.n_reads == 3
        assert scene.session.is_open
        assert await (await scene.post(b"4again", None)) == OK
        assert scene.floor.events == ["again"]

    run(main())


def test_e12_a_body_that_does_not_end_is_given_up() -> None:
    async def main() -> None:
        scene = Scene(Limits(body_timeout=3, ping_interval=1e6))
        start = asyncio.get_running_loop().time()
        assert await (await scene.post(b"4never finished")) == Response(408)
        assert asyncio.get_running_loop().time() - start == pytest.approx(3)
        await scene.check_over(CloseReason.TRANSPORT_ERROR)

    run(main())


def test_a_body_and_its_session_given_up_in_the_same_moment() -> None:
    async def main() -> None:
        scene = Scene(Limits(body_timeout=3, ping_interval=1e6))
        post = scene.request("POST", MemoryBody(b"4unfin"))
        await settle()
        loop = asyncio.get_running_loop()
        loop.call_at(loop.time() + 3 + 1e-10, scene.session.abort)  # the same turn of the loop
        assert await post == UNKNOWN_SID
        await scene.check_over(CloseReason.FORCED_CLOSE)

    run(main())


@pytest.mark.parametrize(("n_bytes", "seconds"), [(0, 5.0), (1024, 6.0), (10 * 1024, 15.0), (100 * 1024, 30.0)])
def test_e12_a_body_that_comes_too_slowly_is_given_up(n_bytes: int, seconds: float) -> None:
    async def main() -> None:
        scene = Scene()
        start = asyncio.get_running_loop().time()
        assert BODY_GRACE == 5
        assert await (await scene.post(b"x" * n_bytes)) == Response(408)
        assert asyncio.get_running_loop().time() - start == pytest.approx(seconds)

    run(main())


def test_a_body_that_comes_at_its_rate_is_read() -> None:
    async def main() -> None:
        scene = Scene()
        body = MemoryBody()
        post = scene.request("POST", body)
        for piece in [b"4", *[b"x" * 1024] * 20]:
            body.pieces.put_nowait(piece)
            await asyncio.sleep(1)
        body.pieces.put_nowait(None)
        assert await post == OK
        assert scene.floor.events == ["x" * 20 * 1024]

    run(main())


@pytest.mark.parametrize(
    "content_type",
    ["application/octet-stream", "Application/Octet-Stream", "application/octet-stream ; charset=x"],
)
def test_e13_a_binary_post_is_refused(content_type: str) -> None:
    async def main() -> None:
        scene = Scene()
        assert await (await scene.post(b"4hi", None, content_type=content_type)) == BAD
        await scene.check_over(CloseReason.TRANSPORT_ERROR)

    run(main())


@pytest.mark.parametrize(
    "body",
    [b"", b"abc", b"7", b"4ok\x1e\x1e4no", b"4ok\x1e", b"\xff", b"bA", b"bAQ==\n", b"\x1e" * 5000],
    ids=lambda body: repr(body[:12]),
)
def test_e14_e15_e17_a_body_that_is_no_payload(body: bytes) -> None:
    async def main() -> None:
        scene = Scene()
        assert await (await scene.post(body, None)) == BAD
        messages: list[object] = ["ok"] if body.startswith(b"4ok") else []  # what stood before it was said
        await scene.check_over(*messages, CloseReason.PARSE_ERROR)

    run(main())


@pytest.mark.parametrize(("n_packets", "expected"), [(1024, OK), (1025, BAD)])
def test_e16_a_legal_burst(n_packets: int, expected: Response) -> None:
    async def main() -> None:
        scene = Scene()
        assert await (await scene.post(b"\x1e".join([b"4"] * n_packets), None)) == expected
        assert len(scene.floor.events) == 1024 + (expected is BAD)
        assert scene.session.is_open == (expected is OK)

    run(main())


@pytest.mark.parametrize("rest", [b"\x1e4more", b"\x1e1", b"\x1enonsense"])
def test_e21_what_stands_behind_a_close_is_ignored(rest: bytes) -> None:
    async def main() -> None:
        scene = Scene()
        poll = await scene.get()
        assert await (await scene.post(b"4one\x1e1" + rest, None)) == OK
        assert (await poll).body == b"6"
        await scene.check_over("one", CloseReason.TRANSPORT_CLOSE)

    run(main())


def test_e18_a_ping_from_the_client() -> None:
    async def main() -> None:
        scene = Scene()
        poll = await scene.get()
        assert await (await scene.post(b"2", None)) == OK
        assert (await poll).body == b"1"
        await scene.check_over(CloseReason.TRANSPORT_ERROR)

    run(main())


def test_e19_a_flood_of_pongs() -> None:
    async def main() -> None:
        scene = Scene()
        assert await (await scene.post(b"\x1e".join([b"3"] * 300), None)) == BAD
        await scene.check_over(CloseReason.PARSE_ERROR)

    run(main())


@pytest.mark.parametrize("error", [PeerGone(), OSError("reset")])
def test_a_client_that_leaves_its_post_ends_the_session(error: Exception) -> None:
    async def main() -> None:
        scene = Scene()
        post = await scene.post(b"4unfin", error)
        with pytest.raises(type(error)):
            await post
        await scene.check_over(CloseReason.TRANSPORT_ERROR)

    run(main())


@pytest.mark.parametrize("is_paused", [False, True])
def test_a_post_that_is_cancelled_ends_the_session(is_paused: bool) -> None:
    async def main() -> None:
        scene = Scene()
        if is_paused:
            scene.session.pause_reading()
        post = await (scene.post(b"4one", None) if is_paused else scene.post(b"4one"))
        post.cancel()
        with pytest.raises(asyncio.CancelledError):
            await post
        await scene.check_over(*["one"] * is_paused, CloseReason.TRANSPORT_ERROR)

    run(main())


@pytest.mark.parametrize("method", ["PUT", "HEAD", "DELETE", "OPTIONS", "TRACE", "NONSENSE"])
def test_e37_other_methods_leave_the_session_alone(method: str) -> None:
    async def main() -> None:
        scene = Scene()
        poll = await scene.get()
        assert await scene.request(method, MemoryBody()) == Response(500)
        assert not poll.done()
        scene.session.abort()
        await poll

    run(main())


# Backpressure and the ends of a session, with requests under way


def test_a_post_is_answered_when_the_floor_above_has_room() -> None:
    async def main() -> None:
        scene = Scene()
        scene.floor.on_message = lambda data: scene.session.pause_reading()
        post = await scene.post(b"4one\x1e4two", None)
        assert not post.done()
        assert scene.floor.events == ["one", "two"]
        scene.session.resume_reading()
        assert await post == OK
        assert scene.session.is_open

    run(main())


@pytest.mark.parametrize("end", [Session.close, Session.abort])
def test_a_post_that_waits_for_room_is_answered_once_when_the_session_ends(end: Any) -> None:
    async def main() -> None:
        scene = Scene()
        scene.session.pause_reading()
        post = await scene.post(b"4taken", None)
        end(scene.session)
        assert await post == OK
        if scene.session.state is State.CLOSING:
            assert (await (await scene.get())).body == b"6\x1e1"
        await scene.check_over("taken", CloseReason.FORCED_CLOSE)

    run(main())


def test_a_post_under_way_is_answered_at_once_when_the_session_ends() -> None:
    async def main() -> None:
        scene = Scene()
        body = MemoryBody(b"4unfin")
        post = scene.request("POST", body)
        await settle()
        scene.session.abort()
        start = asyncio.get_running_loop().time()
        assert await post == UNKNOWN_SID
        assert asyncio.get_running_loop().time() == start
        await scene.check_over(CloseReason.FORCED_CLOSE)

    run(main())


def test_a_post_whose_body_comes_in_the_same_moment_as_the_end() -> None:
    async def main() -> None:
        for pieces in ([b"ished"], [b"ished", None], [None]):
            scene = Scene()
            body = MemoryBody(b"4unfin")
            post = scene.request("POST", body)
            await settle()
            for piece in pieces:
                body.pieces.put_nowait(piece)
            scene.session.abort()
            assert await post == UNKNOWN_SID
            await scene.check_over(CloseReason.FORCED_CLOSE)

    run(main())


def test_a_post_to_a_session_that_closes_is_read_and_dropped() -> None:
    async def main() -> None:
        scene = Scene()
        scene.session.close()
        assert await (await scene.post(b"4too late", None)) == OK
        assert (await (await scene.get())).body == b"6\x1e1"
        await scene.check_over(CloseReason.FORCED_CLOSE)

    run(main())


def test_requests_after_the_end() -> None:
    async def main() -> None:
        scene = Scene()
        scene.session.abort()
        assert await (await scene.get()) == UNKNOWN_SID
        assert await (await scene.post(b"4hi", None)) == UNKNOWN_SID
        await scene.check_over(CloseReason.FORCED_CLOSE)

    run(main())


def test_a_close_answers_a_parked_poll() -> None:
    async def main() -> None:
        scene = Scene()
        poll = await scene.get()
        scene.session.close()
        assert (await poll).body == b"1"
        await scene.check_over(CloseReason.FORCED_CLOSE)

    run(main())


def test_a_close_lets_packets_leave_in_an_answer_of_their_own() -> None:
    async def main() -> None:
        scene = Scene()
        scene.send("farewell")
        scene.session.close()
        first = await (await scene.get())
        assert first.body == b"4farewell"
        assert first.delivery is not None
        first.delivery.leaving(0, len(first.body))
        assert not scene.finished
        assert (await (await scene.get())).body == b"6\x1e1"
        await scene.check_over(CloseReason.FORCED_CLOSE)

    run(main())


def test_a_post_under_way_when_the_client_upgrades_is_refused() -> None:
    # No honest client posts then; taken, its packets would come out of order.
    async def main() -> None:
        scene = Scene()
        websocket = MemoryWebSocket()
        websocket.session = scene.session
        post = await scene.post(b"4unfin")
        poll = await scene.get()
        assert scene.session.add_candidate(websocket)
        scene.session.receive(websocket, PacketType.PING, "probe")
        scene.session.receive(websocket, PacketType.UPGRADE, "")
        assert (await poll).body == b"6"
        assert await post == BAD_REQUEST
        assert scene.session.is_open
        assert await (await scene.get()) == BAD_REQUEST
        assert await (await scene.post(b"4hi", None)) == BAD_REQUEST
        scene.session.abort()
        await scene.check_over(CloseReason.FORCED_CLOSE)

    run(main())
