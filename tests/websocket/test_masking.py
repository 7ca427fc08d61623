"""The keys that clients mask with: each once, in this process and in its children."""

from __future__ import annotations

import os
import warnings

import pytest

from telex.websocket.masking import KEYS


def test_no_two_keys_are_the_same() -> None:
    keys = [KEYS.take() for _ in range(3000)]
    assert {len(key) for key in keys} == {4}
    assert len(set(keys)) > 2990  # of 2**32


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_does_not_use_its_parents_keys() -> None:
    KEYS.take()  # something is left of what was fetched
    receiver, sender = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that other threads may run is no matter here
        pid = os.fork()
    if pid == 0:
        os.write(sender, b"".join(KEYS.take() for _ in range(8)))
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    assert len(told) == 32
    assert told != b"".join(KEYS.take() for _ in range(8))
