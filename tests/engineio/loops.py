"""An event loop whose clock jumps: where others would wait, it is later at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class JumpingSelector(selectors.DefaultSelector):
    """Pass the time that nobody uses."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Jump to where the loop wants to be woken."""
        assert timeout is not None, "nothing will ever happen any more"
        self.now += max(timeout, 0)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """Tell the selector's time."""

    def __init__(self) -> None:
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the seconds passed."""
        return self._jumping.now


def run(program: Coroutine[Any, Any, Result]) -> Result:
    """Run a test that does no I/O; its timeouts cost no time, and one that would hang fails."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(program)


async def settle() -> None:
    """Let every task come as far as it gets by itself."""
    for _ in range(20):
        await asyncio.sleep(0)
