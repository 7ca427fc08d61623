"""Find what compiled code forgets to give back.

Rule of this module: it counts, and knows no expectation.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

__all__ = ["ROUNDS", "blocks_kept"]

ROUNDS = 1000
"""How often `blocks_kept` does the work; what is lost each time is lost so often."""


def blocks_kept(work: Callable[[], object]) -> int:
    """Return how many blocks of memory are left over when work was done `ROUNDS` times.

    None at all cannot be asked for, since tables of the interpreter's may grow meanwhile. With the sanitizers, who have
    memory of their own, it is always 0.
    """
    for _ in range(ROUNDS // 10):  # until caches and free lists are filled
        work()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(ROUNDS):
        work()
    gc.collect()
    return sys.getallocatedblocks() - before
