"""Connection state recovery: every missed event, once and in order, or none of it and `recovered=False`.

A client here does what the official one does with offsets: it keeps the last argument of any event without an
acknowledgement, where that is a text.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from typing import Any

import pytest

import telex
from telex.engineio import Packet
from telex.socketio.recovery import Journal, Presence, Recovery, Seat
from telex.streams import Deadlines
from tests.engineio.harness import ManualClock
from tests.socketio.harness import Client, advance, head, note, open_client, run, settle

WINDOW = 120.0


class Person:
    """Be somebody who connects, is cut off and comes back, with the official client's memory."""

    def __init__(self, io: telex.Server, nsp: str = "/") -> None:
        self.io = io
        self.nsp = nsp
        self.auth: dict[str, Any] = {}
        self.pid: str | None = None
        self.offset: Any = None
        self.sid = ""
        self.recovered = False
        self.events: list[list[Any]] = []  # without their offsets
        self.asked: list[list[Any]] = []
        self.client: Client

    async def come(self, client: Client | None = None) -> None:
        """Connect, and hear what there is to hear."""
        self.client = client or await open_client(self.io)
        payload = dict(self.auth)
        if self.pid is not None:
            payload["pid"] = self.pid
            if self.offset is not None:
                payload["offset"] = self.offset
        self.client.send("0" + head(self.nsp) + json.dumps(payload))
        answer = await self.client.receive()
        assert isinstance(answer, str)
        assert answer.startswith("0" + head(self.nsp)), answer
        said = json.loads(answer.removeprefix("0" + head(self.nsp)))
        self.recovered = said["pid"] == self.pid
        self.pid, self.sid = said["pid"], said["sid"]
        await self.hear()

    async def hear(self) -> list[list[Any]]:
        """Take what has come; return the events among it, without their offsets."""
        news: list[list[Any]] = []
        for message in await self.client.heard():
            assert isinstance(message, str), message
            kind, rest = message[0], message[1:].removeprefix(head(self.nsp))
            assert kind == "2", message
            start = rest.index("[")
            event = json.loads(rest[start:])
            if start:
                self.asked.append([int(rest[:start]), *event])
                continue
            if isinstance(event[-1], str):
                self.offset = event[-1]
            news.append(event[:-1])
        self.events += news
        return news

    def cut(self) -> None:
        """Lose the connection; what is under way to it is lost."""
        self.client.hold()
        self.client.leave(is_clean=False)

    def answer(self, ack_id: int, *values: Any) -> None:
        self.client.send(f"3{head(self.nsp)}{ack_id}{json.dumps(values)}")

    @property
    def socket(self) -> telex.Socket:
        return self.io.of(self.nsp).sockets[self.sid]


def make_server(**options: Any) -> telex.Server:
    return telex.Server(connection_state_recovery=telex.Recovery(**options) if options else True)


async def someone(io: telex.Server, nsp: str = "/") -> Person:
    person = Person(io, nsp)
    await person.come()
    return person


def statistics(io: telex.Server) -> dict[str, int]:
    assert io.journal is not None
    return dict(io.journal.statistics())


# What is recovered.


@pytest.mark.parametrize("nsp", ["/", "/admin"])
def test_id_rooms_data_and_events_are_recovered(nsp: str) -> None:
    async def main() -> None:
        io = make_server()
        namespace = io.of(nsp)
        calls = note(namespace, "connect", "disconnect")
        person = await someone(io, nsp)
        former = person.socket
        assert not former.recovered
        former.join(["red", "green"])
        former.leave("green")
        former.data["user"] = "ada"
        namespace.emit("first", 1)
        await person.hear()
        sid, pid = person.sid, person.pid
        person.cut()
        await settle()
        assert not namespace.sockets
        namespace.emit("to all", 2)
        namespace.to("red").emit("to the room", 3)
        namespace.to(sid).emit("to the id", 4)
        former.emit("to the socket", 5)  # a handler that is still at work
        namespace.to("green").emit("to a room it has left", 6)
        namespace.except_("red").emit("not to it", 7)
        namespace.except_(sid).emit("not to it", 8)
        namespace.to("red", sid).except_("blue").emit("to both, once", 9)
        await person.come()
        assert person.recovered
        assert (person.sid, person.pid) == (sid, pid)
        socket = person.socket
        assert socket is not former
        assert socket.recovered
        assert not former.recovered
        assert socket.rooms == {sid, "red"}
        assert socket.data == {"user": "ada"}
        assert person.events == [
            ["first", 1],
            ["to all", 2],
            ["to the room", 3],
            ["to the id", 4],
            ["to the socket", 5],
            ["to both, once", 9],
        ]
        assert [call[0] for call in calls] == ["connect", "disconnect", "connect"]
        namespace.to("red").emit("live", 10)
        former.emit("from the former", 11)
        assert await person.hear() == [["live", 10], ["from the former", 11]]

    run(main)


def test_the_answer_comes_before_what_was_missed() -> None:
    """So that a line that breaks between them leaves nothing with the client that would come again."""

    async def main() -> None:
        io = make_server()
        person = await someone(io)
        person.cut()
        io.emit("missed")
        client = await open_client(io)
        client.send("0" + json.dumps({"pid": person.pid}))
        answer, event = await client.heard()
        assert str(answer).startswith("0{")
        assert str(event).startswith('2["missed"')

    run(main)


def test_what_was_sent_but_never_arrived_is_recovered() -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        io.emit("a", 1)
        await person.hear()
        person.client.hold()  # the line is dead, and nobody knows
        io.emit("a", 2)
        person.socket.emit("a", 3)
        io.volatile.emit("gone", 4)
        person.cut()
        io.emit("a", 5)
        await person.come()
        assert person.recovered
        assert person.events == [["a", 1], ["a", 2], ["a", 3], ["a", 5]]

    run(main)


def test_a_client_that_has_received_nothing_is_recovered() -> None:
    async def main() -> None:
        io = make_server()
        io.emit("before its time")
        person = await someone(io)
        assert person.offset is None
        person.client.hold()
        io.emit("under way", 1)
        person.cut()
        io.emit("while away", 2)
        await person.come()
        assert person.recovered
        assert person.events == [["under way", 1], ["while away", 2]]

    run(main)


def test_an_idle_client_is_recovered_however_long_it_was_idle() -> None:
    async def main() -> None:
        io = make_server()
        person, other = await someone(io), await someone(io)
        io.emit("last")
        await person.hear()
        for number in range(20):
            other.socket.emit("for somebody else", number)
            await advance(100)
        assert statistics(io)["events"] <= 2
        person.cut()
        await advance(WINDOW - 1)
        other.socket.emit("for somebody else")
        await person.come()
        assert person.recovered
        assert person.events == [["last"]]
        # And one that is idle after it was recovered.
        await advance(1000)
        person.cut()
        io.to(person.sid).emit("now", 1)
        await person.come()
        assert person.recovered
        assert person.events == [["last"], ["now", 1]]

    run(main)


def test_a_second_outage_replays_nothing_twice() -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        sent: list[list[Any]] = []
        for number in range(5):
            person.cut()
            io.emit("n", number)
            sent.append(["n", number])
            await person.come()
            assert person.recovered
            assert person.events == sent
        person.cut()
        await person.come()
        assert person.events == sent

    run(main)


def test_an_outage_amid_the_replay_loses_and_repeats_nothing() -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        person.cut()
        for number in range(6):
            io.emit("n", number)
        client = await open_client(io)
        client.send("0" + json.dumps({"pid": person.pid}))
        answer = await client.receive()
        person.client = client
        client.hold()
        heard = [client.messages.popleft() for _ in range(3)]  # and the others never arrive
        client.messages.clear()
        assert str(answer).startswith("0{")
        events = [json.loads(str(message)[1:]) for message in heard]
        person.offset = events[-1][-1]
        person.cut()
        io.emit("n", 6)
        await person.come()
        assert person.recovered
        assert person.events == [["n", 3], ["n", 4], ["n", 5], ["n", 6]]

    run(main)


def test_a_volatile_event_and_a_trailing_text_are_no_offsets() -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        io.emit("chat", "hello")
        await person.hear()
        person.socket.volatile.emit("position", "north")
        io.volatile.emit("ping")
        person.socket.emit("asks", "a text", callback=lambda: None)
        assert await person.hear() == [["position", "north"], ["ping"]]
        person.cut()
        io.volatile.emit("position", "south")
        io.emit("chat", "missed")
        await person.come()
        assert person.recovered
        assert person.events == [["chat", "hello"], ["position", "north"], ["ping"], ["chat", "missed"]]

    run(main)


def test_attachments_are_recovered() -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        person.cut()
        io.emit("file", b"\x00\x01", {"name": "a"})
        client = await open_client(io)
        client.send("0" + json.dumps({"pid": person.pid}))
        _, text, attachment = await client.heard()
        assert str(text).startswith('51-["file",{"_placeholder":true,"num":0},{"name":"a"},"')
        assert attachment == b"\x00\x01"

    run(main)


@pytest.mark.parametrize("skip", [False, True])
def test_middlewares_run_again_unless_told_otherwise(skip: bool) -> None:
    async def main() -> None:
        io = make_server(skip_middlewares=skip)
        seen: list[tuple[bool, str, dict[str, Any]]] = []

        @io.use
        async def note_it(socket: telex.Socket) -> None:
            await asyncio.sleep(0)
            seen.append((socket.recovered, socket.id, dict(socket.handshake.auth)))

        person = Person(io)
        person.auth = {"token": 1}
        await person.come()
        io.emit("first")
        await person.hear()
        person.cut()
        io.emit("missed")
        await person.come()
        assert person.recovered
        assert person.events == [["first"], ["missed"]]
        # Neither the secret nor the offset is for the program to see.
        first = [(False, person.sid, {"token": 1})]
        assert seen == (first if skip else [*first, (True, person.sid, {"token": 1})])
        assert person.socket.handshake.auth == {"token": 1}

    run(main)


def test_who_was_banned_meanwhile_stays_out() -> None:
    async def main() -> None:
        io = make_server()
        banned = False

        @io.use
        def check(socket: telex.Socket) -> None:
            if banned:
                raise telex.ConnectRefused("banned")

        person = await someone(io)
        person.socket.join("room")
        person.cut()
        io.emit("secret")
        banned = True
        client = await open_client(io)
        client.send("0" + json.dumps({"pid": person.pid}))
        assert await client.heard() == ['4{"message":"banned"}']
        assert statistics(io)["absent"] == 0
        banned = False
        await person.come()  # pardoned, and begins anew
        assert not person.recovered
        assert person.socket.rooms == {person.sid}
        assert person.events == []

    run(main)


def test_what_is_sent_while_the_middlewares_run_comes_in_its_place() -> None:
    async def main() -> None:
        io = make_server()
        gate = asyncio.Event()
        gate.set()

        @io.use
        async def wait(socket: telex.Socket) -> None:
            if socket.recovered:
                socket.emit("from the middleware", 2)
                socket.volatile.emit("dropped")
            await gate.wait()

        person = await someone(io)
        person.cut()
        io.emit("missed", 1)
        gate.clear()
        coming = asyncio.ensure_future(person.come())
        await settle()
        io.emit("meanwhile", 3)
        gate.set()
        await coming
        assert person.recovered
        assert person.events == [["missed", 1], ["from the middleware", 2], ["meanwhile", 3]]

    run(main)


def test_a_client_that_is_cut_off_again_in_the_middlewares_is_recovered_later() -> None:
    async def main() -> None:
        io = make_server()
        gate = asyncio.Event()
        gate.set()

        @io.use
        async def wait(socket: telex.Socket) -> None:
            await gate.wait()

        person = await someone(io)
        person.socket.join("room")
        person.cut()
        gate.clear()
        io.to("room").emit("n", 1)
        first = await open_client(io)
        first.send("0" + json.dumps({"pid": person.pid}))
        await settle()
        first.leave(is_clean=False)
        io.to("room").emit("n", 2)
        second = await open_client(io)
        second.send("0" + json.dumps({"pid": person.pid}))
        await settle()
        io.to("room").emit("n", 3)
        coming = asyncio.ensure_future(person.come())  # a third, before the second is known to be dead
        await settle()
        assert second.is_closed
        gate.set()
        await coming
        assert person.recovered
        assert person.events == [["n", 1], ["n", 2], ["n", 3]]

    run(main)


def test_those_who_leave_again_in_the_middlewares_count_as_away() -> None:
    async def main() -> None:
        io = make_server(max_sessions=1)
        ann, bob = await someone(io), await someone(io)
        io.use(lambda socket: asyncio.Event().wait())
        ann.cut()
        await settle()
        client = await open_client(io)
        client.send(f'0{{"pid":"{ann.pid}"}}')
        bob.cut()
        await settle()
        assert statistics(io)["absent"] == 1
        client.leave()
        await settle()
        assert statistics(io)["absent"] == 1
        assert io.sockets.recovery.find("/", ann.pid) is not None
        assert io.sockets.recovery.find("/", bob.pid) is None, "it left first"

    run(main)


def test_a_client_that_is_back_before_its_loss_was_noticed_is_recovered() -> None:
    async def main() -> None:
        io = make_server()
        calls = note(io, "disconnect")
        person = await someone(io)
        dead = person.client
        dead.hold()
        io.emit("into the void", 1)
        await person.come()
        assert person.recovered
        assert dead.is_closed
        assert calls == [("disconnect", telex.DisconnectReason.TRANSPORT_CLOSE)]
        assert person.events == [["into the void", 1]]
        assert list(io.sockets.sockets) == [person.sid]

    run(main)


def test_what_is_said_in_a_farewell_reaches_who_comes_back() -> None:
    async def main() -> None:
        io = make_server()

        @io.on("disconnecting")
        def leaving(socket: telex.Socket) -> None:
            io.to("room").emit("somebody is gone", 1)
            socket.leave("room")

        person = await someone(io)
        person.socket.join("room")
        person.cut()
        io.to("room").emit("to those who stayed", 2)
        await person.come()
        assert person.recovered
        assert person.events == [["somebody is gone", 1]]
        assert person.socket.rooms == {person.sid}

    run(main)


def test_an_absent_clients_private_room_cannot_be_joined() -> None:
    async def main() -> None:
        io = make_server()
        person, other = await someone(io), await someone(io)
        person.cut()
        with pytest.raises(ValueError, match="the id of another socket"):
            other.socket.join(person.sid)

    run(main)


# Events that ask for an acknowledgement.


def test_a_broadcast_that_asks_waits_for_who_is_away() -> None:
    async def main() -> None:
        io = make_server()
        here, away = await someone(io), await someone(io)
        away.cut()
        call = asyncio.ensure_future(io.call("vote", timeout=60))
        await here.hear()
        here.answer(here.asked[0][0], "yes")
        await away.come()
        assert away.recovered
        (ask,) = away.asked
        assert ask[1:] == ["vote"]
        away.answer(ask[0], "no")
        assert await call == ["yes", "no"]
        # It was sent once, whether or not its client knows an offset behind it.
        away.cut()
        await away.come()
        assert len(away.asked) == 1

    run(main)


def test_a_broadcast_that_asks_says_that_somebody_has_not_come_back() -> None:
    async def main() -> None:
        io = make_server()
        here, away = await someone(io), await someone(io)
        away.cut()
        call = asyncio.ensure_future(io.call("vote", timeout=5))
        await here.hear()
        here.answer(here.asked[0][0], "yes")
        await advance(6)
        with pytest.raises(telex.AckTimeout) as caught:
            await call
        assert caught.value.responses == ["yes"]
        await away.come()  # too late: nobody awaits it, so it is not asked
        assert away.recovered
        assert away.asked == []

    run(main)


def test_a_broadcast_that_asks_ends_when_who_is_away_cannot_come_back() -> None:
    async def main() -> None:
        io = make_server(max_disconnection_duration=10.0)
        away = await someone(io)
        away.cut()
        call = asyncio.ensure_future(io.call("vote", timeout=60))
        await advance(11)
        with pytest.raises(telex.AckTimeout):
            await call

    run(main)


def test_a_volatile_broadcast_that_asks_passes_by_who_is_away() -> None:
    async def main() -> None:
        io = make_server()
        away = await someone(io)
        away.cut()
        assert await io.volatile.call("vote", timeout=60) == []

    run(main)


def test_a_call_under_way_fails_when_the_client_is_cut_off() -> None:
    """Whether it was handled nobody can know, so it is not sent again."""

    async def main() -> None:
        io = make_server()
        person = await someone(io)
        call = asyncio.ensure_future(person.socket.call("confirm"))
        await person.hear()
        person.cut()
        with pytest.raises(telex.Disconnected):
            await call
        await person.come()
        assert person.recovered
        assert len(person.asked) == 1

    run(main)


def test_a_callback_that_will_not_be_called_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        answers: list[Any] = []
        person.socket.emit("confirm", callback=answers.append)
        await person.hear()
        with caplog.at_level(logging.WARNING, "telex.socketio"):
            person.cut()
            await settle()
        assert "a client has left without acknowledging the event 'confirm'" in caplog.text
        assert answers == []

    run(main)


def test_a_callback_of_an_absent_client_is_called_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        former = person.socket
        answers: list[Any] = []
        person.cut()
        former.emit("confirm", 1, callback=answers.append)
        former.timeout(5).emit("confirm", 2, callback=answers.append)  # nobody awaits it by then
        former.volatile.emit("confirm", 3, callback=answers.append)
        io.emit("between", 4)
        await advance(6)
        await person.come()
        assert person.recovered
        (ask,) = person.asked
        assert ask[1:] == ["confirm", 1]
        person.answer(ask[0], "done")
        assert answers == ["done"]
        former.emit("confirm", 5, callback=answers.append)  # by way of the socket that is there now
        former.timeout(5).emit("confirm", 6, callback=answers.append)
        await person.hear()
        await advance(6)
        for ask in person.asked[1:]:
            person.answer(ask[0], ask[-1])
        assert answers == ["done", 5]

    run(main)


def test_what_asks_more_than_a_client_may_owe_is_not_lost_silently() -> None:
    async def main() -> None:
        io = telex.Server(connection_state_recovery=True, limits=telex.Limits(max_pending_acks=1))
        person = await someone(io)
        person.cut()
        calls = [asyncio.ensure_future(io.call("vote", n, timeout=60)) for n in range(2)]
        await settle()
        await person.come()
        (ask,) = person.asked
        person.answer(ask[0], "yes")
        with pytest.raises(telex.AckTimeout):
            await calls[1]
        assert await calls[0] == ["yes"]

    run(main)


# What is not.


def test_after_the_window_nothing_is_recovered() -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        person.socket.join("room")
        person.cut()
        io.emit("missed")
        await advance(WINDOW + 1)
        assert statistics(io)["absent"] == 0
        sid, pid = person.sid, person.pid
        await person.come()
        assert not person.recovered
        assert person.sid != sid
        assert person.pid != pid
        assert person.socket.rooms == {person.sid}
        assert person.events == []
        await advance(WINDOW + 60)
        assert statistics(io) == {"absent": 0, "events": 0, "bytes": 0}

    run(main)


@pytest.mark.parametrize("end", ["client", "server"])
def test_who_has_left_the_namespace_is_not_recovered(end: str) -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        if end == "client":
            person.client.send("1")
        else:
            person.socket.disconnect()
        await person.client.heard()
        person.cut()
        await person.come()
        assert not person.recovered

    run(main)


BAD_OFFSETS = ["", "hello", "1", "1.", ".", "1.0000", "0.é", "x" * 100, 1, 1.5, True, [], {}, "00.000000000000"]


@pytest.mark.parametrize("offset", BAD_OFFSETS)
def test_an_offset_that_the_server_did_not_give_out_is_not_believed(offset: Any) -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        person.socket.join("room")
        io.emit("a", 1)
        await person.hear()
        person.cut()
        io.emit("a", 2)
        person.offset = offset
        await person.come()
        assert not person.recovered
        assert person.socket.rooms == {person.sid}
        assert person.events == [["a", 1]]
        assert statistics(io)["absent"] == 0

    run(main)


def test_an_offset_of_a_former_server_does_no_harm_where_nothing_was_sent() -> None:
    """The official client keeps the last offset of a session that has ended until an event brings another."""

    async def main() -> None:
        io = make_server()
        person = await someone(io)
        person.offset = "of another process"
        person.cut()
        io.emit("missed", 1)
        await person.come()
        assert person.recovered
        assert person.events == [["missed", 1]]

    run(main)


def test_an_offset_of_ones_own_former_session_says_that_nothing_was_received() -> None:
    async def main() -> None:
        io = make_server(max_disconnection_duration=10.0)
        person = await someone(io)
        io.emit("a", 1)
        await person.hear()
        person.cut()
        await advance(11)
        io.emit("a", 2)
        await person.come()
        assert not person.recovered
        person.client.hold()
        io.emit("a", 3)
        person.cut()
        await person.come()
        assert person.recovered
        assert person.events == [["a", 1], ["a", 3]]

    run(main)


def test_an_offset_from_before_the_last_return_is_refused_rather_than_served_in_part() -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        io.emit("a", 1)
        await person.hear()
        old = person.offset
        io.emit("a", 2)
        await person.hear()
        person.cut()
        await person.come()
        assert person.recovered
        person.offset = old
        person.cut()
        io.emit("a", 3)
        await person.come()
        assert not person.recovered
        assert person.events == [["a", 1], ["a", 2]]

    run(main)


def test_offset_and_pid_are_good_in_their_namespace_only() -> None:
    async def main() -> None:
        io = make_server()
        io.of("/other")
        person, other = await someone(io), await someone(io, "/other")
        io.emit("a")
        io.of("/other").emit("b")
        await person.hear()
        await other.hear()
        stolen = Person(io, "/other")
        stolen.pid, stolen.offset = person.pid, person.offset
        person.cut()
        await stolen.come()
        assert not stolen.recovered
        other.cut()
        other.offset = person.offset
        await other.come()
        assert not other.recovered
        await person.come()
        assert person.recovered

    run(main)


@pytest.mark.parametrize("pid", ["", "x" * 10_000, 1, None, [], {"a": 1}, True])
def test_a_pid_that_is_none_begins_anew(pid: Any) -> None:
    async def main() -> None:
        io = make_server()
        client = await open_client(io)
        client.send("0" + json.dumps({"pid": pid, "offset": "1"}))
        (answer,) = await client.heard()
        said = json.loads(str(answer)[1:])
        assert said["pid"] != pid
        assert said["pid"] != said["sid"]
        assert io.sockets.sockets[said["sid"]].handshake.auth == {}

    run(main)


def test_without_recovery_the_answer_has_no_pid_and_events_no_offset() -> None:
    async def main() -> None:
        io = telex.Server()
        client = await open_client(io)
        client.send('0{"pid":"a","offset":"b"}')
        (answer,) = await client.heard()
        assert list(json.loads(str(answer)[1:])) == ["sid"]
        (socket,) = io.sockets.sockets.values()
        assert socket.handshake.auth == {"pid": "a", "offset": "b"}
        assert not socket.recovered
        assert socket.is_direct_out
        socket.emit("a", 1)
        io.emit("b", 2)
        assert await client.heard() == ['2["a",1]', '2["b",2]']
        with pytest.raises(RuntimeError, match="connection_state_recovery"):
            _ = io.sockets.recovery

    run(main)


# Bounds.


@pytest.mark.parametrize("missed", [3, 4])
def test_who_has_missed_too_many_events_is_not_recovered(missed: int) -> None:
    async def main() -> None:
        io = make_server(max_packets=3)
        person = await someone(io)
        person.cut()
        for number in range(missed):
            io.emit("n", number)
        assert statistics(io)["absent"] == (missed == 3)
        await person.come()
        assert person.recovered is (missed == 3)
        assert person.events == ([["n", n] for n in range(3)] if missed == 3 else [])

    run(main)


def test_who_has_missed_too_many_bytes_is_not_recovered() -> None:
    async def main() -> None:
        io = make_server(max_bytes=10_000)
        person = await someone(io)
        person.cut()
        io.emit("n", "x" * 9000)
        assert statistics(io)["absent"] == 1
        io.emit("n", "x" * 1000)
        assert statistics(io)["absent"] == 0
        await person.come()
        assert not person.recovered
        io.emit("huge", "x" * 20_000)  # which a client that is there gets all the same
        await person.hear()
        person.cut()
        io.emit("n", 1)
        await person.come()
        assert person.recovered
        assert [event[0] for event in person.events] == ["huge", "n"]

    run(main)


def test_a_client_that_lags_behind_the_journal_is_not_recovered_partly() -> None:
    async def main() -> None:
        io = make_server(max_packets=3)
        person = await someone(io)
        person.client.hold()
        for number in range(4):
            io.emit("n", number)
        person.cut()
        await person.come()
        assert not person.recovered
        assert person.events == []

    run(main)


def test_the_journal_is_bounded_as_a_whole() -> None:
    async def main() -> None:
        io = make_server(max_journal_bytes=50_000)
        person, idle = await someone(io), await someone(io)
        idle.cut()
        person.cut()
        for number in range(10):
            io.to(person.sid).emit("n", number, "x" * 10_000)
            assert statistics(io)["bytes"] <= 50_000
        await person.come()
        assert not person.recovered
        await idle.come()  # nothing was for it
        assert idle.recovered

    run(main)


def test_who_left_first_goes_first_when_too_many_are_away() -> None:
    async def main() -> None:
        io = make_server(max_sessions=2)
        people = [await someone(io) for _ in range(3)]
        for person in people:
            person.cut()
        for person in people:
            await person.come()
        assert [person.recovered for person in people] == [False, True, True]

    run(main)


def test_bounds_crossed_in_the_middlewares_end_the_connection() -> None:
    """What the middlewares saw was recovered; it is not then let in as somebody else, but begins anew."""

    async def main() -> None:
        io = make_server(max_packets=2)
        gate = asyncio.Event()
        gate.set()

        @io.use
        async def wait(socket: telex.Socket) -> None:
            await gate.wait()

        person = await someone(io)
        person.cut()
        gate.clear()
        client = await open_client(io)
        client.send("0" + json.dumps({"pid": person.pid}))
        await settle()
        for number in range(3):
            io.emit("n", number)
        gate.set()
        assert await client.heard() == []
        assert client.is_closed
        await person.come()
        assert not person.recovered

    run(main)


def test_a_large_replay_is_not_held_against_the_client() -> None:
    async def main() -> None:
        io = telex.Server(
            connection_state_recovery=telex.Recovery(max_bytes=10_000_000),
            limits=telex.Limits(send_buffer_max=1_000_000),
        )
        person = await someone(io)
        person.cut()
        for _ in range(30):
            io.emit("n", "x" * 100_000)
        await person.come()
        assert person.recovered
        assert len(person.events) == 30

    run(main)


def test_nothing_is_kept_after_the_server_is_closed() -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        io.emit("a")
        await io.close()
        assert statistics(io) == {"absent": 0, "events": 0, "bytes": 0}
        assert not person.client.messages or person.client.is_closed

    run(main)


def test_an_event_that_cannot_be_sent_leaves_no_trace() -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        person.cut()
        with pytest.raises(TypeError):
            io.emit("a", object())
        with pytest.raises(ValueError, match="reserved"):
            io.emit("connect")
        assert statistics(io)["events"] == 0
        await person.come()
        assert person.recovered
        assert person.events == []

    run(main)


def test_statistics_tell_what_is_kept() -> None:
    async def main() -> None:
        io = make_server()
        person = await someone(io)
        io.emit("a")
        person.cut()
        await settle()
        found = io.statistics()
        assert (found["sockets"], found["recovery_absent"], found["recovery_events"]) == (0, 1, 1)
        assert 0 < found["recovery_bytes"] < 1000

    run(main)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_packets": 0}, ValueError),
        ({"max_packets": 1.5}, TypeError),
        ({"max_bytes": True}, TypeError),
        ({"max_disconnection_duration": -1}, ValueError),
        ({"max_disconnection_duration": float("nan")}, ValueError),
        ({"max_disconnection_duration": "120"}, TypeError),
        ({"skip_middlewares": 1}, TypeError),
        ({"window": 1}, TypeError),
    ],
)
def test_options_are_checked(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        telex.Recovery(**options)


def test_the_option_is_checked() -> None:
    with pytest.raises(TypeError, match="connection_state_recovery"):
        telex.Server(connection_state_recovery={"max_packets": 1})  # type: ignore[arg-type]
    assert telex.Server(connection_state_recovery=False).journal is None


# The journal itself.


def make_journal(**options: Any) -> Journal[str]:
    deadlines = Deadlines(ManualClock())
    pids = map(str, itertools.count())
    return Journal(
        Recovery(**options), heartbeat=45.0, key=b"key", make_pid=lambda: next(pids), deadlines=lambda: deadlines
    )


def test_a_seat_tells_where_its_client_is_and_not_its_secret() -> None:
    seat: Seat[str] = Seat("/admin", "sid", "secret", 0)
    assert repr(seat) == "<Seat of sid in /admin present>"


def test_who_was_given_up_cannot_leave_and_come_back() -> None:
    journal = make_journal()
    seat = journal.open("/", "sid")
    journal.forget(seat)
    journal.forget(seat)
    journal.leave(seat, ["sid"], None)
    assert seat.presence is Presence.OVER
    assert journal.find("/", seat.pid) is None
    assert not journal.is_absent("/", "sid")
    assert journal.claim(seat, None) is None
    assert journal.statistics() == {"absent": 0, "events": 0, "bytes": 0}


def test_who_is_present_or_claimed_is_not_claimed_again() -> None:
    journal = make_journal()
    seat = journal.open("/", "sid")
    assert journal.claim(seat, None) is None
    assert seat.presence is Presence.PRESENT
    journal.leave(seat, ["sid"], None)
    assert journal.claim(seat, None) == 0
    assert journal.claim(seat, None) is None
    assert seat.presence is Presence.CLAIMED, "the first claim stands"
    assert journal.restore(seat, 0) == []


def test_nobody_becomes_what_the_table_does_not_allow() -> None:
    journal = make_journal()
    seat = journal.open("/", "sid")
    with pytest.raises(RuntimeError, match="<Seat of sid in / present> cannot become CLAIMED"):
        journal._move(seat, Presence.CLAIMED)
    assert seat.presence is Presence.PRESENT


def test_a_journal_that_nobody_has_used_can_be_cleared() -> None:
    journal = make_journal()
    seat = journal.open("/", "sid")
    journal.clear()
    assert seat.presence is Presence.OVER
    journal.clear()


def test_an_event_larger_than_the_whole_journal_is_not_kept() -> None:
    journal = make_journal(max_journal_bytes=1000)
    seats = [journal.open("/", sid) for sid in ("a", "b")]
    journal.leave(seats[1], ["b"], None)
    packets = journal.write("/", lambda offset: [Packet("4" + offset + "x" * 1000)], seats)
    assert [len(packet.wire) > 1000 for packet in packets] == [True]
    assert journal.statistics() == {"absent": 0, "events": 0, "bytes": 0}
    assert [seat.presence for seat in seats] == [Presence.PRESENT, Presence.OVER], "who was away has missed it"
