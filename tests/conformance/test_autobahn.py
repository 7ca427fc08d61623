"""Groups 1 to 7 and 10 of the Autobahn test suite against the server, both ways of writing one, and the client.

`make conformance` runs all cases. Where there is no CPython 2.7 these tests are skipped, and say so in the summary.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.conformance.environment import Environment, PythonNotFoundError, prepare
from tests.conformance.suite import HANDLERS, N_QUICK_CASES, QUICK_CASES, Verdict, run_client, run_server


@pytest.fixture(scope="module")
def environment() -> Environment:
    try:
        return prepare()
    except PythonNotFoundError as error:
        pytest.skip(str(error))


def ignore(case: str) -> None: ...


@pytest.mark.parametrize("style", sorted(HANDLERS))
def test_server(environment: Environment, style: str, tmp_path: Path) -> None:
    verdict = asyncio.run(run_server(environment, style, QUICK_CASES, N_QUICK_CASES, tmp_path, on_case=ignore))
    assert verdict.is_good, str(verdict)


def test_client(environment: Environment, tmp_path: Path) -> None:
    verdict = asyncio.run(run_client(environment, QUICK_CASES, N_QUICK_CASES, tmp_path, on_case=ignore))
    assert verdict.is_good, str(verdict)


def test_a_case_that_is_missing_or_not_strict_is_a_failure() -> None:
    """The suite's own exit status tells nothing, so what judges instead is itself put to the test."""
    assert Verdict(2, 2).is_good
    assert not Verdict(2, 1).is_good
    assert not Verdict(2, 2, {"6.4.1": "NON-STRICT, close OK"}).is_good
