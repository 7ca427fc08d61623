"""Cut bytes the ways a network does, so that every reader is tested on all of them.

Rule of this module: deterministic; the same name always cuts the same bytes the same way.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

__all__ = ["SPLITS", "noise", "split"]

SPLITS = ("whole", "bytewise", "random-1", "random-2", "random-3")
"""Names for `split`, to parametrize a test with."""

_LONGEST_PIECE = 40


def split(data: bytes, how: str) -> Iterator[bytes]:
    """Yield `data` in pieces: whole, one byte at a time, or of random sizes (empty ones too) from a seed."""
    if how == "whole":
        yield data
        return
    sizes = random.Random(how)  # noqa: S311  # not a secret
    position = 0
    while position < len(data):
        size = 1 if how == "bytewise" else sizes.randrange(_LONGEST_PIECE)
        yield data[position : position + size]
        position += size


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes without any pattern, the same every time."""
    return random.Random(seed).randbytes(size)  # noqa: S311  # not a secret
