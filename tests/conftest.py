"""What every test stands on: Hypothesis settings that give the same run everywhere, however busy the machine is."""

from __future__ import annotations

from pathlib import Path

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
