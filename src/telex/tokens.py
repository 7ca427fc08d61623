"""Unpredictable bytes in small portions: masking keys, session ids, delays.

Rule of this module: the operating system's randomness and nothing else. A portion is never handed out twice, and a
child process never goes on with its parent's store.

A system call for each four-byte masking key (RFC 6455 §5.3: "derived from a strong source of entropy") would cost as
much as the rest of the frame, so the bytes are fetched by the page.
"""

from __future__ import annotations

import os
import threading
from base64 import urlsafe_b64encode
from contextlib import suppress
from functools import partial

__all__ = ["chance", "token_bytes", "token_text"]

STORE_BYTES = 4096


class _Store(threading.local):
    """Hold bytes that nobody has seen, for each thread its own."""

    data = b""
    pos = 0


_store = _Store()


def token_bytes(n: int) -> bytes:
    """Return so many unpredictable bytes."""
    store = _store
    pos = store.pos
    end = pos + n
    if end > len(store.data):
        store.data = os.urandom(max(STORE_BYTES, n))
        pos, end = 0, n
    store.pos = end
    return store.data[pos:end]


with suppress(AttributeError):  # where there is no fork
    os.register_at_fork(after_in_child=partial(setattr, _store, "data", b""))


def token_text(n_bytes: int) -> str:
    """Return so many unpredictable bytes as URL-safe base64 without padding."""
    return urlsafe_b64encode(token_bytes(n_bytes)).rstrip(b"=").decode("ascii")


def chance() -> float:
    """Return an unpredictable number from 0 up to 1, evenly spread: all 53 bits of a float's fraction are drawn."""
    return (int.from_bytes(token_bytes(7), "big") >> 3) * 2.0**-53
