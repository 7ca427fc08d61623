"""What every test stands on.

Hypothesis gives the same run everywhere, however busy the machine is; and what a server in this process did to the
process's logging does not outlive its test.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

CACHE = Path(__file__).parent.parent / ".cache"

settings.register_profile(
    "telex",
    deadline=None,  # a loaded machine is not a failure
    derandomize=True,  # the same examples on every run; to search for new ones use --hypothesis-profile=search
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "search",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=2000,
    database=DirectoryBasedExampleDatabase(CACHE / "hypothesis"),
)
settings.load_profile("telex")

UVICORN_LOGGERS = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")]


@pytest.fixture(autouse=True)
def logging_of_uvicorn_is_put_back() -> Iterator[None]:
    before = [
        (logger, logger.level, logger.propagate, logger.disabled, logger.handlers[:]) for logger in UVICORN_LOGGERS
    ]
    yield
    for logger, level, propagate, disabled, handlers in before:
        logger.setLevel(level)
        logger.propagate, logger.disabled, logger.handlers[:] = propagate, disabled, handlers
