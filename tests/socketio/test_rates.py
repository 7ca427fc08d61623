"""Rate limits: their numbers, and what happens past them by policy."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import telex
from telex.limits import Quota
from tests.socketio.harness import advance, join, note, open_client, run, settle, the_loop


def test_a_rate_limit_is_checked_when_it_is_made() -> None:
    for rate in (0, -1, math.nan):
        with pytest.raises(ValueError, match="rate of a rate limit must be positive"):
            telex.RateLimit(rate)
    for burst in (0, 0.5, math.nan):
        with pytest.raises(ValueError, match="burst of a rate limit must be 1 at least"):
            telex.RateLimit(1, burst)
    with pytest.raises(ValueError, match="one of delay, drop, close, not 'ban'"):
        telex.RateLimit(1, policy="ban")  # type: ignore[arg-type]
    for wrong in (("1",), (True,), (1, "1"), (1, False)):
        with pytest.raises(TypeError, match="must be a number"):
            telex.RateLimit(*wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limit", "n"), [(telex.RateLimit(3), 3), (telex.RateLimit(0.5), 1), (telex.RateLimit(1, 4), 4)]
)
def test_the_burst_is_the_rate_and_at_least_one(limit: telex.RateLimit, n: int) -> None:
    quota = limit.quota()
    assert [quota.take(0) for _ in range(n + 1)] == [True] * n + [False]


def test_no_limit_at_all() -> None:
    quota = telex.RateLimit(math.inf).quota()
    assert all(quota.take(now) for now in (0, 0, 1, 1))
    assert [quota.reserve(now) for now in (0, 0, 1, 1)] == [0] * 4


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 20),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_what_is_put_off_keeps_to_the_rate(rate: float, burst: int, gaps: list[float]) -> None:
    """Whoever waits as `reserve` says has at no time had more than the burst and the rate since any earlier moment."""
    quota, now, times = Quota(rate, burst), 0.0, []
    for gap in gaps:
        now += gap
        now += quota.reserve(now)
        times.append(now)
    for first in range(len(times)):
        for last in range(first, len(times)):
            assert last - first + 1 <= burst + (times[last] - times[first]) * rate + 1e-6


# Delay.


def test_delayed_events_come_later_in_order_and_stop_the_reading() -> None:
    async def main() -> None:
        io = telex.Server(rate_limit=telex.RateLimit(2, 3))
        calls = note(io, "a", "b", "disconnect")
        client, socket = await join(io)
        for n in range(8):
            client.emit("ab"[n % 2], n)
        await settle()
        assert [n for _, n in calls] == [0, 1, 2]
        assert client.line.is_paused
        assert client.n_unsaid == 4
        seen = [len(calls)]
        for _ in range(5):
            await advance(0.5)
            seen.append(len(calls))
        assert seen == [3, 4, 5, 6, 7, 8]
        assert [n for _, n in calls] == list(range(8))
        assert not client.line.is_paused
        assert socket.statistics()["delayed_events"] == io.statistics()["delayed_events"] == 5
        assert socket.worker is None
        await advance(10)
        client.emit("a", 8)
        assert len(calls) == 9

    run(main)


def test_a_delay_holds_no_other_client_up() -> None:
    async def main() -> None:
        io = telex.Server(rate_limit=telex.RateLimit(1))
        calls = note(io, "e")
        ann, _ = await join(io)
        bob, _ = await join(io)
        for _ in range(2):
            ann.emit("e", "ann")
        bob.emit("e", "bob")
        await settle()
        assert calls == [("e", "ann"), ("e", "bob")]

    run(main)


def test_acknowledgements_pass_what_is_delayed() -> None:
    async def main() -> None:
        io = telex.Server(rate_limit=telex.RateLimit(1))
        client, socket = await join(io)
        asking = asyncio.ensure_future(socket.call("question", timeout=100))
        assert await client.receive() == '20["question"]'
        client.emit("e")
        client.emit("e")
        client.send('30["answer"]')
        await settle()
        assert asking.done()
        assert asking.result() == "answer"
        await settle()
        assert client.line.is_paused  # now that nothing is awaited

    run(main)


@pytest.mark.parametrize("how", ["leaves", "is sent off", "server closes"])
def test_a_client_that_has_left_is_not_waited_for(how: str) -> None:
    async def main() -> None:
        io = telex.Server(rate_limit=telex.RateLimit(0.01))
        calls = note(io, "e", "disconnect")
        client, socket = await join(io)
        client.emit("e", 1)
        client.emit("e", 2)
        await settle()
        assert calls == [("e", 1)]
        before = the_loop().now
        if how == "leaves":
            client.leave()
        elif how == "is sent off":
            socket.disconnect()
        else:
            await io.close()
        await settle()
        assert the_loop().now == before
        # What it sent before it left is handled yet, but for one that the server sends off.
        assert [event for event, *_ in calls[1:]] == ([] if how == "is sent off" else ["e"]) + ["disconnect"]
        assert socket.worker is None

    run(main)


def test_a_heartbeat_outlives_a_long_delay() -> None:
    async def main() -> None:
        io = telex.Server(rate_limit=telex.RateLimit(1 / 120))
        calls = note(io, "e")
        client, socket = await join(io)
        client.emit("e", 1)
        client.emit("e", 2)
        await advance(121)
        assert calls == [("e", 1), ("e", 2)]
        assert socket.connected
        await advance(121)
        assert socket.connected

    run(main)


# Drop.


def test_dropped_events_are_seen_by_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        caplog.set_level("INFO")
        io = telex.Server(rate_limit=telex.RateLimit(1, 2, policy="drop"))
        calls = note(io, "e")
        client, socket = await join(io)
        seen: list[str] = []
        socket.on_any(lambda who, event, *args: seen.append("catch-all"))
        socket.use(lambda *_: seen.append("middleware"))
        for n in range(5):
            client.emit("e", n, ack_id=n)
        await settle()
        assert calls == [("e", 0), ("e", 1)]
        assert seen == ["catch-all", "middleware"] * 2
        assert await client.heard() == ["30[]", "31[]"]
        assert socket.statistics()["dropped_events"] == io.statistics()["dropped_events"] == 3
        assert caplog.text.count("dropped an event 'e'") == 1
        await advance(1)
        client.emit("e", 5)
        assert len(calls) == 3
        assert socket.connected

    run(main)


def test_counts_outlive_their_socket() -> None:
    async def main() -> None:
        io = telex.Server(rate_limit=telex.RateLimit(1, policy="drop"))
        for _ in range(2):
            client, _ = await join(io)
            client.emit("e")
            client.emit("e")
            client.leave()
        assert io.statistics()["dropped_events"] == 2

    run(main)


# Close.


def test_the_connection_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        caplog.set_level("INFO")
        io = telex.Server(rate_limit=telex.RateLimit(1, 2, policy="close"))
        calls = note(io, "e", "disconnect")
        client, _ = await join(io)
        for n in range(4):
            client.emit("e", n)
        await settle()
        assert client.is_closed
        assert calls == [("e", 0), ("e", 1), ("disconnect", "forced close")]
        assert io.statistics()["closed_for_rate"] == 1
        assert "closed the connection of ('192.0.2.7', 50000): more than 1 events per second: 'e'" in caplog.text

    run(main)


def test_max_events_per_second_is_for_all_sockets_of_a_client() -> None:
    async def main() -> None:
        io = telex.Server(limits=telex.Limits(max_events_per_second=3))
        calls, others = note(io, "e"), note(io.of("/x"), "e")
        client, _ = await join(io)
        await client.connect("/x")
        for nsp in ("/", "/x", "/"):
            client.emit("e", nsp=nsp)
        await settle()
        assert not client.is_closed
        client.emit("e", nsp="/x")
        await settle()
        assert client.is_closed
        assert io.statistics()["closed_for_rate"] == 1
        assert (calls, others) == ([("e",), ("e",)], [("e",)])

    run(main)


# Where a limit holds.


def test_a_limit_of_one_event() -> None:
    async def main() -> None:
        io = telex.Server()
        calls: list[Any] = []
        limit = telex.RateLimit(1, policy="drop")

        @io.on("search", rate_limit=limit)
        async def search(_: telex.Socket, n: int) -> int:
            calls.append(n)
            return n

        io.on("find", lambda _, n: calls.append(n), rate_limit=limit)
        io.on("free", lambda _: calls.append("free"))
        ann, socket = await join(io)
        bob, _ = await join(io)
        assert socket.is_direct_in
        for client in (ann, bob):
            client.emit("search", 1, ack_id=1)
            client.emit("search", 2, ack_id=2)
            client.emit("find", 3)  # one object, one count
            client.emit("free")
        assert await ann.heard() == await bob.heard() == ["31[1]"]
        assert calls == [1, "free", 1, "free"]

    run(main)


def test_a_limit_of_a_sockets_own_handler() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        calls: list[int] = []
        socket.on("e", lambda _, n: calls.append(n), rate_limit=telex.RateLimit(1, policy="drop"))
        for n in range(3):
            client.emit("e", n)
        assert calls == [0]

    run(main)


def test_an_event_may_fall_under_several_limits() -> None:
    async def main() -> None:
        io = telex.Server(rate_limit=telex.RateLimit(10, 2))
        calls = note(io, "free")
        io.on("e", lambda _, n: calls.append(("e", n)), rate_limit=telex.RateLimit(1, policy="drop"))
        io.on("slow", lambda _, n: calls.append(("slow", n)), rate_limit=telex.RateLimit(1))
        client, _ = await join(io)
        client.emit("e", 1)
        client.emit("e", 2)  # dropped, and not counted by the other
        client.emit("free", 3)
        client.emit("free", 4)
        await settle()
        assert calls == [("e", 1), ("free", 3)]
        await advance(0.1)
        assert calls[2:] == [("free", 4)]
        client.emit("slow", 5)
        client.emit("slow", 6)
        await advance(0.2)
        assert calls[3:] == [("slow", 5)]
        await advance(1)
        assert calls[4:] == [("slow", 6)]

    run(main)


def test_a_namespace_may_have_its_own() -> None:
    async def main() -> None:
        usual, own = telex.RateLimit(5), telex.RateLimit(1, policy="drop")
        io = telex.Server(rate_limit=usual)
        assert io.of("/").rate_limit is io.of("/plain").rate_limit is usual
        assert io.of("/own", rate_limit=own).rate_limit is own
        assert io.of("/own").rate_limit is own
        assert io.register(telex.Namespace("/class", rate_limit=own)).rate_limit is own
        calls = note(io.of("/own"), "e")
        client = await open_client(io)
        await client.connect("/own")
        for n in range(3):
            client.emit("e", n, nsp="/own")
        assert calls == [("e", 0)]

    run(main)


def test_a_limit_may_be_set_and_lifted_while_clients_are_there() -> None:
    async def main() -> None:
        io = telex.Server()
        calls = note(io, "e")
        client, socket = await join(io)
        io.of("/", rate_limit=telex.RateLimit(1, policy="drop"))
        assert not socket.is_direct_in
        for n in range(3):
            client.emit("e", n)
        io.of("/").rate_limit = None
        assert socket.is_direct_in
        for n in range(3, 6):
            client.emit("e", n)
        assert [n for _, n in calls] == [0, 3, 4, 5]
        own = io.register(telex.Namespace("/own", rate_limit=telex.RateLimit(1)))
        await client.connect("/own")
        own.rate_limit = None
        assert all(socket.is_direct_in for socket in own.sockets.values())

    run(main)


def test_what_the_library_tells_has_no_limit() -> None:
    io = telex.Server()
    for event in ("connect", "disconnect", "disconnecting"):
        with pytest.raises(ValueError, match="no event of the client's"):
            io.on(event, print, rate_limit=telex.RateLimit(1))
