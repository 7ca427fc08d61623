"""Groups 1 to 7 and 10 of the Autobahn test suite against each of Telex's ends.

`make conformance` runs all cases. Where there is no CPython 2.7 these tests are skipped, and say so in the summary.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.conformance.environment import PythonNotFoundError, prepare
from tests.conformance.suite import ENDS, N_QUICK_CASES, QUICK_CASES, Verdict


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict | BaseException]:
    """Try all ends at once, since most of a run is waiting, and tell what became of each."""
    try:
        environment = prepare()
    except PythonNotFoundError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("autobahn")

    def ignore(case: str) -> None: ...

    async def run_one(name: str) -> Verdict:
        return await ENDS[name](environment, QUICK_CASES, N_QUICK_CASES, Path(folder, name), on_case=ignore)

    async def run_all() -> dict[str, Verdict | BaseException]:
        verdicts = await asyncio.gather(*map(run_one, ENDS), return_exceptions=True)
        return dict(zip(ENDS, verdicts, strict=True))

    return asyncio.run(run_all())


@pytest.mark.parametrize("name", ENDS)
def test_every_case_is_ok_or_informational(outcomes: dict[str, Verdict | BaseException], name: str) -> None:
    outcome = outcomes[name]
    if isinstance(outcome, BaseException):
        raise outcome
    assert outcome.is_good, str(outcome)


def test_a_case_that_is_missing_or_not_strict_is_a_failure() -> None:
    """The suite's own exit status tells nothing, so what judges instead is itself put to the test."""
    assert Verdict(2, 2).is_good
    assert not Verdict(2, 1).is_good
    assert not Verdict(2, 2, {"6.4.1": "NON-STRICT, close OK"}).is_good
