"""Slow clients: what is replaced, what is dropped by policy, and what never is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import telex
from telex.socketio.backlog import SlowConsumers, least_lossy

from .harness import Client, advance, join, run, settle

FILLER = "x" * 1000
LIMITS = telex.Limits(send_buffer_high=1000, send_buffer_max=20_000, max_droppable_events=4, max_droppable_bytes=5000)


def fill(client: Client, socket: telex.Socket) -> None:
    """Leave the client without room: the next event waits in the session."""
    client.hold()
    socket.send_packets(socket.nsp.encode_event("filler", [FILLER]))
    assert not socket.has_room


async def arrived(client: Client) -> list[list[Any]]:
    """Return the events that came after the filler, once the client takes again."""
    client.take()
    events = [json.loads(str(message).lstrip("0123456789")) for message in await client.heard()]
    return [event for event in events if event[0] != "filler"]


def drops(socket: telex.Socket) -> dict[str, int]:
    return dict(socket.statistics()["dropped"])


# latest.


def test_with_room_every_value_leaves_at_once() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server())
        for value in range(3):
            socket.latest("k").emit("value", value)
        assert await arrived(client) == [["value", 0], ["value", 1], ["value", 2]]
        assert drops(socket)["replaced"] == 0

    run(main)


def test_without_room_the_newest_takes_its_place_at_the_end() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server(limits=LIMITS))
        fill(client, socket)
        socket.latest("a").emit("a", 1)
        socket.latest("b").emit("b", 1)
        socket.emit("between")
        socket.latest("a").emit("a", 2)
        socket.emit("after")
        assert await arrived(client) == [["b", 1], ["between"], ["a", 2], ["after"]]
        assert drops(socket) == {"volatile": 0, "newest": 0, "oldest": 0, "replaced": 1}
        socket.latest("a").emit("a", 3)
        assert await arrived(client) == [["a", 3]]

    run(main)


def test_a_value_with_bytes_is_replaced_whole() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server(limits=LIMITS))
        fill(client, socket)
        for value in (b"one", b"two"):
            socket.latest("k").emit("value", value, value)
        client.take()
        assert (await client.heard())[1:] == [
            '52-["value",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
            b"two",
            b"two",
        ]

    run(main)


def test_replacing_costs_no_memory() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server(limits=LIMITS))
        fill(client, socket)
        socket.latest("k").emit("value", 100_000)
        before = socket.statistics()["buffered_bytes"]
        for value in range(100_001, 100_501):
            socket.latest("k").emit("value", value)
        assert socket.statistics()["buffered_bytes"] == before
        assert await arrived(client) == [["value", 100_500]]

    run(main)


def test_the_acknowledgement_of_a_replaced_value_fails_at_once() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server(limits=LIMITS))
        fill(client, socket)
        first = asyncio.ensure_future(socket.latest("k").call("value", 1))
        await settle()
        second = asyncio.ensure_future(socket.latest("k").call("value", 2))
        with pytest.raises(telex.AckTimeout):
            await first
        client.take()
        *_, question = await client.heard()
        assert str(question) == '21["value",2]'
        client.send('31["fine"]')
        assert await second == "fine"
        assert socket.statistics()["pending_acks"] == 0

    run(main)


def test_values_under_too_many_keys_are_like_any_event() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server(limits=telex.Limits(send_buffer_high=1000, max_latest_keys=2)))
        fill(client, socket)
        for value in range(2):
            for key in "abc":
                socket.latest(key).emit(key, value)
        assert await arrived(client) == [["c", 0], ["a", 1], ["b", 1], ["c", 1]]
        fill(client, socket)
        for value in range(2):
            for key in "cd":  # the keys of what has left are free again
                socket.latest(key).emit(key, value)
        assert await arrived(client) == [["c", 1], ["d", 1]]

    run(main)


def test_latest_in_a_broadcast_replaces_where_there_is_no_room() -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS)
        quick, _ = await join(io)
        slow, socket = await join(io)
        fill(slow, socket)
        for value in range(3):
            io.latest("k").emit("value", value)
        assert [event[1] for event in await arrived(quick)] == [0, 1, 2]
        assert [event[1] for event in await arrived(slow)] == [2]

    run(main)


def test_replacing_is_no_progress_of_the_client() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server(limits=LIMITS))
        fill(client, socket)
        for value in range(12):
            socket.latest("k").emit("value", value)
            await advance(1)
        assert not socket.connected
        assert socket.absence == telex.DisconnectReason.SLOW_CONSUMER

    run(main)


def test_what_latest_does_not_take() -> None:
    async def main() -> None:
        io = telex.Server()
        _, socket = await join(io)
        with pytest.raises(TypeError, match="str"):
            socket.latest(1)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="256 characters"):
            io.latest("k" * 257)
        with pytest.raises(ValueError, match="choose one"):
            socket.volatile.latest("k")
        with pytest.raises(ValueError, match="choose one"):
            io.latest("k").volatile.emit("value")

    run(main)


step = st.one_of(
    st.tuples(st.just("emit"), st.just(None)),
    st.tuples(st.just("latest"), st.sampled_from("abcd")),
    st.tuples(st.just("hold"), st.just(None)),
    st.tuples(st.just("take"), st.just(None)),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(step, max_size=60))
def test_what_arrives_is_what_was_sent_in_order_without_what_was_replaced(steps: list[tuple[str, str | None]]) -> None:
    async def main() -> None:
        limits = telex.Limits(send_buffer_high=50, max_latest_keys=3)
        client, socket = await join(telex.Server(limits=limits))
        sent: list[tuple[str | None, int]] = []
        for number, (what, key) in enumerate(steps):
            if what == "emit" or key is not None:
                operator = socket if key is None else socket.latest(key)
                operator.emit("e", key, number)
                sent.append((key, number))
            elif what == "hold":
                client.hold()
            else:
                client.take()
        got = [(key, number) for _, key, number in await arrived(client)]
        assert got == [item for item in sent if item in set(got)]
        assert [item for item in got if item[0] is None] == [item for item in sent if item[0] is None]
        assert dict(got) == dict(sent)  # the last of each key
        assert len(sent) - len(got) == drops(socket)["replaced"]

    run(main)


# Policies.


def test_an_unknown_policy_is_an_error() -> None:
    with pytest.raises(ValueError, match="SlowConsumers"):
        telex.Server(slow_consumers="drop some")
    io = telex.Server()
    with pytest.raises(ValueError, match="SlowConsumers"):
        io.room_policy("room", "drop some")
    with pytest.raises(TypeError, match="str"):
        io.room_policy(7, "close")  # type: ignore[arg-type]


def test_by_default_nothing_is_dropped_and_the_client_goes_at_the_end_of_its_room() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server(limits=LIMITS))
        fill(client, socket)
        while socket.connected:
            socket.emit("event", FILLER)
            await settle()
        assert socket.absence == telex.DisconnectReason.SLOW_CONSUMER

    run(main)


def test_drop_newest_keeps_what_waits() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server(limits=LIMITS, slow_consumers="drop newest"))
        socket.emit("before")
        fill(client, socket)
        for value in range(100):
            socket.emit("event", value)
        with pytest.raises(telex.AckTimeout):
            await socket.call("question")
        assert drops(socket) == {"volatile": 0, "newest": 101, "oldest": 0, "replaced": 0}
        assert await arrived(client) == [["before"]]
        socket.emit("event", "again")
        assert await arrived(client) == [["event", "again"]]

    run(main)


def test_drop_oldest_keeps_the_newest_events_in_order() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server(limits=LIMITS, slow_consumers=SlowConsumers.DROP_OLDEST))
        fill(client, socket)
        for value in range(1000):
            socket.emit("event", value)
        assert drops(socket)["oldest"] == 996
        assert socket.connected
        assert [value for _, value in await arrived(client)] == [996, 997, 998, 999]
        for value in range(10):  # with room, nothing is dropped
            socket.emit("event", value)
        assert len(await arrived(client)) == 10
        assert drops(socket)["oldest"] == 996

    run(main)


def test_drop_oldest_bounds_bytes_too() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server(limits=LIMITS, slow_consumers="drop oldest"))
        fill(client, socket)
        for value in range(4):
            socket.emit("event", value, "x" * 2000)
        assert drops(socket)["oldest"] == 2
        socket.emit("event", 4, "x" * 6000)  # alone too large to wait
        assert drops(socket)["oldest"] == 5
        assert await arrived(client) == []
        socket.emit("event", 5, "x" * 6000)  # but not too large to leave
        assert [value for _, value, _ in await arrived(client)] == [5]

    run(main)


def test_drop_oldest_drops_no_half_of_an_event_and_no_acknowledgement() -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS, slow_consumers="drop oldest")
        io.on("ask", lambda socket, value: value)
        client, socket = await join(io)
        fill(client, socket)
        for ack_id in range(6):
            client.emit("ask", ack_id, ack_id=ack_id)
            socket.emit("event", bytes([ack_id]))
        client.take()
        heard = (await client.heard())[1:]
        assert [m for m in heard if str(m).startswith("3")] == [f"3{n}[{n}]" for n in range(6)]
        binary = [m for m in heard if not str(m).startswith("3")]
        head = '51-["event",{"_placeholder":true,"num":0}]'
        assert binary == [part for n in range(2, 6) for part in (head, bytes([n]))]

    run(main)


def test_a_dropped_event_s_acknowledgement_fails_at_once() -> None:
    async def main() -> None:
        client, socket = await join(telex.Server(limits=LIMITS, slow_consumers="drop oldest"))
        answers: list[Any] = []
        fill(client, socket)
        question = asyncio.ensure_future(socket.call("question"))
        await settle()
        for _ in range(4):
            socket.emit("event", callback=answers.append)
        with pytest.raises(telex.AckTimeout):
            await question
        assert socket.statistics()["pending_acks"] == 4
        with pytest.raises(telex.AckTimeout):
            await socket.call("large", "x" * 6000)
        assert socket.statistics()["pending_acks"] == 0
        assert not answers
        assert await arrived(client) == []

    run(main)


def test_a_broadcast_that_asks_hears_of_the_dropped_at_once() -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS, slow_consumers="drop oldest")
        client, socket = await join(io)
        fill(client, socket)
        question = asyncio.ensure_future(io.call("question"))
        await settle()
        for value in range(4):
            io.emit("event", value)
        with pytest.raises(telex.AckTimeout):
            await question
        assert [value for _, value in await arrived(client)] == [0, 1, 2, 3]

    run(main)


def test_what_must_arrive_still_ends_a_client_that_takes_nothing() -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS, slow_consumers="drop oldest")
        io.on("ask", lambda socket: FILLER)
        client, socket = await join(io)
        fill(client, socket)
        for ack_id in range(30):
            client.emit("ask", ack_id=ack_id)
            socket.emit("event", ack_id)
        await settle()
        assert not socket.connected
        assert socket.absence == telex.DisconnectReason.SLOW_CONSUMER

    run(main)


def test_a_room_has_a_policy_of_its_own() -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS)
        io.room_policy("ticks", "drop oldest")
        io.room_policy("noise", "drop newest")
        client, socket = await join(io)
        quick, other = await join(io)
        socket.join(["ticks", "noise"])
        other.join("ticks")
        fill(client, socket)
        for value in range(6):
            io.to("ticks").emit("tick", value)
            io.to("noise").emit("noise", value)
            io.emit("news", value)
        io.to("ticks", "noise").emit("tick", "both")  # the least lossy of the two
        io.to("ticks", "others").emit("tick", "all")  # the server's, which drops nothing
        io.room_policy("noise", None)
        io.to("noise").emit("noise", "kept")
        events = await arrived(client)
        assert [value for name, value in events if name == "news"] == list(range(6))
        assert [value for name, value in events if name == "tick"] == [3, 4, 5, "both", "all"]
        assert [value for name, value in events if name == "noise"] == ["kept"]
        assert drops(socket) == {"volatile": 0, "newest": 6, "oldest": 3, "replaced": 0}
        assert io.statistics()["dropped"] == drops(socket)
        assert len([event for event in await arrived(quick) if event[0] == "tick"]) == 8

    run(main)


def test_the_least_lossy_policy_wins() -> None:
    close, newest, oldest = SlowConsumers.CLOSE, SlowConsumers.DROP_NEWEST, SlowConsumers.DROP_OLDEST
    assert least_lossy([newest, oldest]) is oldest
    assert least_lossy([oldest, newest, close]) is close
    assert least_lossy([newest]) is newest


def test_a_client_that_left_leaves_nothing_behind() -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS, slow_consumers="drop oldest")
        client, socket = await join(io)
        fill(client, socket)
        for value in range(10):
            socket.emit("event", value)
        client.leave()
        await settle()
        socket.emit("event")  # nothing happens
        assert drops(socket)["oldest"] == 0  # its own are forgotten
        assert io.statistics()["dropped"]["oldest"] == 6  # the sum is not
        assert not socket.nsp._backlogs

    run(main)


# Awaiting.

WAYS: dict[str, Callable[[telex.Socket], telex.Sent]] = {
    "emit": lambda socket: socket.emit("event", 1),
    "send": lambda socket: socket.send(1),
    "with bytes": lambda socket: socket.emit("event", b"1"),
    "callback": lambda socket: socket.emit("event", 1, callback=print),
    "volatile": lambda socket: socket.volatile.emit("event", 1),
    "compress": lambda socket: socket.compress(False).emit("event", 1),
    "timeout": lambda socket: socket.timeout(1).emit("event", 1, callback=print),
    "latest": lambda socket: socket.latest("k").emit("event", 1),
}


@pytest.mark.parametrize("policy", list(SlowConsumers))
@pytest.mark.parametrize("nsp", ["/", "/chat"])
@pytest.mark.parametrize("way", WAYS)
def test_awaiting_an_emit_waits_for_room_on_every_way(way: str, nsp: str, policy: SlowConsumers) -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS, slow_consumers=policy)
        io.of(nsp)
        client, socket = await join(io, nsp)
        await WAYS[way](socket)  # with room it does not wait
        fill(client, socket)

        async def say() -> None:
            await WAYS[way](socket)

        task = asyncio.ensure_future(say())
        await settle()
        assert not task.done()
        client.take()
        await task
        fill(client, socket)
        task = asyncio.ensure_future(say())
        await settle()
        client.leave()  # nor does it wait for who is gone
        await task

    run(main)


def test_volatile_events_that_are_dropped_are_counted() -> None:
    async def main() -> None:
        io = telex.Server(limits=LIMITS)
        client, socket = await join(io)
        fill(client, socket)
        socket.volatile.emit("event")
        io.volatile.emit("event")
        with pytest.raises(telex.AckTimeout):
            await socket.volatile.call("event")
        assert drops(socket)["volatile"] == 3
        assert await arrived(client) == []

    run(main)
