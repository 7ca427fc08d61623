"""Python's garbage collector, in a process that serves.

Rule of this module: it is for the process that is Telex's own, under `telex run`; a library does not touch these
settings of a program.

What was imported lives as long as the process, and the collector would look at all of it again and again; and it looks
at the youngest objects each time 700 more were made than freed, which twenty connections do. Nothing of Telex needs it:
what a connection leaves behind goes by its reference count. So it is left to look less often, for the program's sake.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["at_service"]

YOUNG_OBJECTS = 5000
"""Objects made and not freed, after which the youngest are looked at; CPython's own default is 700 or 2,000."""


@contextmanager
def at_service() -> Iterator[None]:
    """Spare the collector what is there now, and have it look less often, until the end of the block.

    A program that has chosen more, or has switched the collector off, keeps its choice.
    """
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    if 0 < thresholds[0] < YOUNG_OBJECTS:
        gc.set_threshold(YOUNG_OBJECTS, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
