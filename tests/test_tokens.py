"""Unpredictable bytes: nobody gets what another has had, in a thread, a child process or otherwise."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter

import pytest

from telex.tokens import STORE_BYTES, chance, token_bytes, token_text

PORTION = 16


@pytest.mark.parametrize("n", [0, 1, 4, 15, 16, STORE_BYTES - 1, STORE_BYTES, STORE_BYTES + 1, 3 * STORE_BYTES])
def test_so_many(n: int) -> None:
    for _ in range(3):
        assert len(token_bytes(n)) == n
    assert len(token_bytes(4)) == 4


def test_text_is_url_safe() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{20}", token_text(15))
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", token_text(16))


def test_chance_is_spread_evenly() -> None:
    tenths = Counter(int(chance() * 10) for _ in range(10_000))
    assert sorted(tenths) == list(range(10))
    assert min(tenths.values()) > 700  # ten standard deviations below the mean


def test_no_portion_comes_twice() -> None:
    n = 5 * STORE_BYTES // PORTION
    assert len({token_bytes(PORTION) for _ in range(n)}) == n


def test_threads_do_not_share() -> None:
    found: list[bytes] = []
    together = threading.Barrier(4)

    def take() -> None:
        together.wait()
        found.extend(token_bytes(PORTION) for _ in range(1000))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 4000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no other way to have two processes with one memory")
def test_a_child_process_does_not_go_on_with_its_parent_s() -> None:
    token_bytes(STORE_BYTES)
    token_bytes(PORTION)  # so that there is something to go on with
    reader, writer = os.pipe()
    child = os.fork()
    if not child:  # nothing of pytest's may run in here
        try:
            os.write(writer, token_bytes(PORTION))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        theirs = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert len(theirs) == PORTION
    assert theirs != token_bytes(PORTION)  # which is the next in store
    assert theirs not in token_bytes(STORE_BYTES)
