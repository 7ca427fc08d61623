"""The threads that blocking functions run in."""

from __future__ import annotations

import threading

import pytest

from telex.sync import threads
from telex.sync.threads import Threads

SECONDS = 30.0


def test_a_result_and_an_error_come_back() -> None:
    pool = Threads()
    assert pool.submit(lambda a, b: a + b, 1, b=2).result(SECONDS) == 3
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result(SECONDS)


def test_who_blocks_holds_up_nobody_else() -> None:
    pool = Threads()
    release = threading.Event()
    blocked = [pool.submit(release.wait, SECONDS) for _ in range(40)]
    assert pool.submit(int, "7").result(SECONDS) == 7
    release.set()
    assert all(future.result(SECONDS) for future in blocked)


def test_a_thread_that_is_idle_takes_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "IDLE_SECONDS", SECONDS)
    pool = Threads()
    first = pool.submit(threading.current_thread).result(SECONDS)
    while not pool._n_idle:
        pass
    assert pool.submit(threading.current_thread).result(SECONDS) is first


def test_threads_without_work_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.001)
    pool = Threads()
    worker = pool.submit(threading.current_thread).result(SECONDS)
    worker.join(SECONDS)
    assert not worker.is_alive()
    assert pool.submit(int, "7").result(SECONDS) == 7


def test_threads_are_bounded_and_what_comes_beyond_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MAX_THREADS", 2)
    pool = Threads()
    release = threading.Event()
    blocked = [pool.submit(release.wait, SECONDS) for _ in range(2)]
    third = pool.submit(int, "7")
    assert pool._n_threads == 2
    assert not third.done()
    release.set()
    assert third.result(SECONDS) == 7
    assert all(future.result(SECONDS) for future in blocked)


def test_what_was_cancelled_in_time_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MAX_THREADS", 1)
    pool = Threads()
    release = threading.Event()
    blocked = pool.submit(release.wait, SECONDS)
    ran: list[int] = []
    waiting = pool.submit(ran.append, 1)
    assert waiting.cancel()
    release.set()
    assert blocked.result(SECONDS)
    pool.submit(int).result(SECONDS)
    assert ran == []


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(1)])
def test_what_would_end_a_loop_arrives_as_a_plain_error(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(RuntimeError, match=type(error).__name__) as caught:
        Threads().submit(fail).result(SECONDS)
    assert caught.value.__cause__ is error


def test_nobody_waits_for_the_threads() -> None:
    pool = Threads()
    release = threading.Event()
    blocked = pool.submit(release.wait, SECONDS)
    pool.shutdown(wait=True)
    assert not blocked.done()
    release.set()
    assert blocked.result(SECONDS)
