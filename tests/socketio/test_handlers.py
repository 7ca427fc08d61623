"""Handlers: what may be registered, and how one socket's are run."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from telex.limits import Limits
from telex.socketio.handlers import Handler, Inbox, Job, call, make_handler
from tests.socketio.harness import run, settle

# What may be registered.


class Callables:
    """Functions of every kind; a method's `self` counts for nothing."""

    def method(self, socket: Any, a: Any) -> None: ...
    async def coroutine_method(self, socket: Any, a: Any) -> None: ...
    @classmethod
    def class_method(cls, socket: Any, a: Any) -> None: ...
    @staticmethod
    def static_method(socket: Any, a: Any) -> None: ...


class PlainCall:
    def __call__(self, socket: Any, a: Any) -> None: ...


class CoroutineCall:
    async def __call__(self, socket: Any, a: Any) -> None: ...


def plain(socket: Any, a: Any) -> None: ...
async def coroutine(socket: Any, a: Any) -> None: ...
def with_first(first: Any, socket: Any, a: Any) -> None: ...


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function as decorators do: the signature shown is that of the function within."""

    @functools.wraps(function)
    async def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (plain, False),
        (coroutine, True),
        (Callables().method, False),
        (Callables().coroutine_method, True),
        (Callables.class_method, False),
        (Callables.static_method, False),
        (PlainCall(), False),
        (CoroutineCall(), True),
        (functools.partial(with_first, 1), False),
        (functools.partial(coroutine), True),
        (wrapped(plain), True),
        (lambda socket, a: None, False),
    ],
)
def test_every_kind_of_callable_is_a_handler(function: Callable[..., Any], is_async: bool) -> None:
    handler = make_handler(function, "e")
    assert (handler.n_min, handler.n_max) == (1, 1)
    assert handler.is_async is is_async
    assert handler.name == "e"
    assert not handler.is_concurrent


@pytest.mark.parametrize(
    ("function", "n_min", "n_max"),
    [
        (lambda socket: None, 0, 0),
        (lambda socket, a, b=1: None, 1, 2),
        (lambda socket, /, a: None, 1, 1),
        (lambda *args: None, 0, None),
        (lambda socket, *args: None, 0, None),
        (lambda socket, a, b, *args: None, 2, None),
        (lambda socket=None: None, 0, 0),
        (lambda socket, *, key=1: None, 0, 0),
        (lambda socket, **options: None, 0, 0),
        (max, 0, None),  # a builtin that shows no signature
    ],
)
def test_a_signature_says_how_many_arguments(function: Callable[..., Any], n_min: int, n_max: int | None) -> None:
    handler = make_handler(function, "e")
    assert (handler.n_min, handler.n_max) == (n_min, n_max)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (None, "must be callable, not NoneType"),
        ("name", "must be callable, not str"),
        (lambda: None, "must take the socket"),
        (lambda *, socket: None, "keyword-only parameters: socket"),
        (lambda socket, *, a, b: None, "keyword-only parameters: a, b"),
        (lambda **options: None, "must take the socket"),
    ],
)
def test_a_wrong_signature_is_refused(function: Any, why: str) -> None:
    with pytest.raises(TypeError, match=why):
        make_handler(function, "e")


def test_the_librarys_own_events_give_so_many_arguments() -> None:
    assert make_handler(lambda socket, reason: None, "disconnect", n_given=1).n_max == 1
    assert make_handler(lambda socket: None, "disconnect", n_given=1).n_max == 0
    with pytest.raises(TypeError, match="'connect' takes 2 arguments after the socket, but gets 1"):
        make_handler(lambda socket, environ, auth: None, "connect", n_given=1)


@pytest.mark.parametrize(
    ("function", "n_min", "n_max"),
    [
        (lambda: None, 0, 0),
        (lambda a: None, 1, 1),
        (lambda a, b=1: None, 1, 2),
        (lambda *args: None, 0, None),
        (lambda a, *args: None, 1, None),
        (lambda **options: None, 0, 0),
        (max, 0, None),
    ],
)
def test_a_clients_handler_takes_the_arguments_alone(
    function: Callable[..., Any], n_min: int, n_max: int | None
) -> None:
    handler = make_handler(function, "e", takes_socket=False)
    assert (handler.n_min, handler.n_max) == (n_min, n_max)
    assert handler.arguments("socket", [1, 2]) == (1, 2)
    assert make_handler(max, "e").arguments("socket", [1, 2]) == ("socket", 1, 2)


def test_what_a_client_cannot_call_is_refused() -> None:
    async def stream() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="only a server's clients ask for a stream"):
        make_handler(stream, "e", takes_socket=False)
    with pytest.raises(TypeError, match="'disconnect' takes 2 arguments, but gets 1"):
        make_handler(lambda reason, details: None, "disconnect", n_given=1, takes_socket=False)
    with pytest.raises(TypeError, match="keyword-only parameters: a"):
        make_handler(lambda *, a: None, "e", takes_socket=False)


def test_a_thread_is_for_plain_functions() -> None:
    assert make_handler(plain, "e", thread=True).is_async
    assert make_handler(plain, "e", thread=True).n_max == 1
    for function in (coroutine, CoroutineCall()):
        with pytest.raises(TypeError, match="coroutine function"):
            make_handler(function, "e", thread=True)


# Running them.


class Desk:
    """An inbox, and what its handlers were called with and its connection was told."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.done: list[Any] = []
        self.paused: list[bool] = []
        self.is_awaiting_ack = False
        self.gate = asyncio.Event()
        self.inbox = Inbox(limits or Limits(), self)

    def submit(self, function: Callable[..., Any], *args: Any, n_bytes: int = 0, **options: Any) -> None:
        handler = make_handler(function, "e", **options)
        self.inbox.submit(Job(handler, args, lambda result: self.done.append(("reply", result)), n_bytes))

    def regulate(self, is_full: bool) -> None:
        self.paused.append(is_full)

    async def slow(self, name: Any) -> None:
        """Begin, and wait at the gate."""
        self.done.append(("begin", name))
        await self.gate.wait()
        self.done.append(("end", name))

    def quick(self, name: Any) -> Any:
        self.done.append(name)
        return name


def test_a_plain_function_is_called_at_once() -> None:
    async def main() -> None:
        desk = Desk()
        desk.submit(desk.quick, 1)
        assert desk.done == [1, ("reply", 1)]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)


def test_handlers_run_in_order() -> None:
    async def main() -> None:
        desk = Desk()
        desk.submit(desk.slow, "a")
        desk.submit(desk.quick, "b")
        desk.submit(desk.slow, "c")
        assert desk.done == [("begin", "a")]  # at once: it gets a task only when it suspends
        assert len(desk.inbox) == 2
        desk.gate.set()
        await settle()
        replies = [("reply", None)]
        assert desk.done == [
            *[("begin", "a"), ("end", "a"), *replies],
            *["b", ("reply", "b")],
            *[("begin", "c"), ("end", "c"), *replies],
        ]
        assert len(desk.inbox) == 0
        desk.submit(desk.quick, "d")
        assert desk.done[-2:] == ["d", ("reply", "d")]

    run(main)


def test_a_plain_function_that_returns_a_coroutine_keeps_the_order() -> None:
    async def main() -> None:
        desk = Desk()

        async def answer(name: str) -> str:
            await desk.gate.wait()
            return name

        desk.submit(lambda name: answer(name + "!"), "a")
        desk.submit(desk.quick, "b")
        await settle()
        assert desk.done == []
        desk.gate.set()
        await settle()
        assert desk.done == [("reply", "a!"), "b", ("reply", "b")]

    run(main)


def test_a_coroutine_comes_before_what_its_function_submitted() -> None:
    async def main() -> None:
        desk = Desk()

        async def rest() -> str:
            return "rest"

        def function(name: str) -> Any:
            desk.submit(desk.slow, name)
            return rest()

        desk.gate.set()
        desk.submit(function, "inner")
        await settle()
        assert desk.done == [("reply", "rest"), ("begin", "inner"), ("end", "inner"), ("reply", None)]

    run(main)


def test_concurrent_handlers_pass_the_others() -> None:
    async def main() -> None:
        desk = Desk()
        desk.submit(desk.slow, "a")
        desk.submit(desk.slow, "b")
        desk.submit(desk.slow, "c", concurrent=True)
        desk.submit(desk.quick, "d", concurrent=True)
        await settle()
        assert desk.done == [("begin", "a"), ("begin", "c"), "d", ("reply", "d")]

    run(main)


def test_max_inflight_handlers() -> None:
    async def main() -> None:
        desk = Desk(Limits(max_inflight_handlers=2))
        for name in range(4):
            desk.submit(desk.slow, name, concurrent=True)
        await settle()
        assert desk.done == [("begin", 0), ("begin", 1), ("begin", 2)]  # the third runs in the ordered way
        assert len(desk.inbox) == 1
        desk.gate.set()
        await settle()
        desk.done.clear()
        desk.gate.clear()
        for name in range(2):
            desk.submit(desk.slow, name, concurrent=True)
        await settle()
        assert desk.done == [("begin", 0), ("begin", 1)]
        assert len(desk.inbox) == 0

    run(main)


def test_a_thread_blocks_nobody() -> None:
    async def main() -> None:
        desk = Desk()
        loop, started, go, end = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), asyncio.Event()

        def block(name: str) -> str:
            loop.call_soon_threadsafe(started.set)
            assert go.wait(20)
            return threading.current_thread().name

        desk.submit(block, "a", thread=True)
        desk.submit(desk.quick, "b")
        desk.submit(lambda _: end.set(), "c")
        await started.wait()
        assert desk.done == []
        go.set()
        await end.wait()
        assert desk.done[0][1] != threading.main_thread().name
        assert desk.done[1:] == ["b", ("reply", "b"), ("reply", None)]

    run(main)


def boom(*args: Any) -> None:
    raise RuntimeError("boom")


async def slow_boom(*args: Any) -> None:
    await asyncio.sleep(0)
    raise RuntimeError("boom")


def cancelled(*args: Any) -> None:
    raise asyncio.CancelledError


async def slow_cancelled(*args: Any) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("function", [boom, slow_boom, cancelled, slow_cancelled])
@pytest.mark.parametrize("options", [{}, {"concurrent": True}])
def test_s40_what_fails_is_logged_once_and_ends_nothing(
    function: Callable[..., Any], options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        desk = Desk()
        desk.submit(function, "a", **options)
        desk.submit(desk.quick, "b")
        await settle()
        assert desk.done == ["b", ("reply", "b")]
        desk.gate.set()
        desk.submit(desk.slow, "c")
        await settle()
        assert desk.done[-1] == ("reply", None)

    run(main)
    (record,) = caplog.records
    assert record.levelno >= logging.WARNING
    assert "'e'" in record.getMessage()


@pytest.mark.parametrize("is_slow", [False, True])
def test_s40_an_answer_that_cannot_be_sent_is_logged(is_slow: bool, caplog: pytest.LogCaptureFixture) -> None:
    def reply(result: Any) -> None:
        raise TypeError("cannot be sent")

    async def slow() -> None: ...

    async def main() -> None:
        desk = Desk()
        desk.inbox.submit(Job(make_handler(lambda *_: slow() if is_slow else None, "e"), ("socket",), reply))
        await settle()
        desk.submit(desk.quick, "b")
        assert desk.done == ["b", ("reply", "b")]

    run(main)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_call_that_nobody_waits_for() -> None:
    async def main() -> None:
        desk = Desk()
        desk.gate.set()
        call(Job(Handler(desk.quick, "e", 0, None, False), ("a",)))
        assert desk.done == ["a"]
        desk.gate.clear()
        call(Job(Handler(desk.slow, "e", 0, None, True), ("b",)))
        assert desk.done == ["a", ("begin", "b")]
        desk.gate.set()
        await settle()
        assert desk.done == ["a", ("begin", "b"), ("end", "b")]

    run(main)


def test_whoever_cancels_a_handler_does_not_mean_the_events_behind_it() -> None:
    async def main() -> None:
        desk = Desk()
        tasks: list[asyncio.Task[Any]] = []

        async def remember(name: str) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            await asyncio.Event().wait()

        desk.submit(remember, "a")
        desk.submit(desk.quick, "b")
        await settle()
        tasks.pop().cancel()
        await settle()
        assert desk.done == ["b", ("reply", "b")]
        # One that nothing waits behind, and one beside the others.
        desk.submit(remember, "c")
        desk.submit(remember, "d", concurrent=True)
        await settle()
        for task in tasks:
            task.cancel()
        await settle()
        desk.submit(desk.quick, "e")
        assert desk.done[-2:] == ["e", ("reply", "e")]

    run(main)


def test_recv_queue_high() -> None:
    async def main() -> None:
        desk = Desk(Limits(recv_queue_high=3))
        desk.submit(desk.slow, "in hand")
        await settle()
        for name in range(3):
            desk.submit(desk.slow, name)
        assert desk.paused == []
        desk.submit(desk.slow, 3)
        assert desk.paused == [True]
        desk.submit(desk.slow, 4)
        assert desk.paused == [True]
        desk.gate.set()
        await settle()
        assert desk.paused == [True, False]

    run(main)


def test_recv_queue_high_bytes() -> None:
    async def main() -> None:
        desk = Desk(Limits(recv_queue_high_bytes=100))
        desk.submit(desk.slow, "in hand", n_bytes=1000)
        await settle()
        desk.paused.clear()
        desk.submit(desk.slow, 1, n_bytes=99)
        desk.submit(desk.slow, 2, n_bytes=1)
        assert desk.paused == []
        desk.submit(desk.slow, 3, n_bytes=1)
        assert desk.paused == [True]
        desk.gate.set()
        await settle()
        assert desk.paused == [True, False]
        assert len(desk.inbox) == 0

    run(main)


def test_more_is_read_while_an_acknowledgement_is_awaited() -> None:
    async def main() -> None:
        desk = Desk(Limits(recv_queue_high=2))
        desk.submit(desk.slow, "in hand")
        await settle()
        for name in range(3):
            desk.submit(desk.slow, name)
        assert desk.paused == [True]
        desk.is_awaiting_ack = True
        desk.inbox.regulate()
        assert desk.paused == [True, False]
        for name in range(2 * 16 - 3):
            desk.submit(desk.slow, name)
        assert desk.paused == [True, False]
        desk.submit(desk.slow, "too many")
        assert desk.paused == [True, False, True]
        desk.is_awaiting_ack = False
        desk.gate.set()
        await settle()
        assert desk.paused == [True, False, True, False]

    run(main)


def test_r13_an_inbox_that_is_done_is_not_kept() -> None:
    async def main() -> None:
        desk = Desk()
        desk.gate.set()
        for name in range(3):
            desk.submit(desk.slow, name)
            desk.submit(desk.slow, name, concurrent=True)
        await settle()
        gone = weakref.ref(desk)
        del desk
        gc.collect()
        assert gone() is None
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main)
