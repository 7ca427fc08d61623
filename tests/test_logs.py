"""Log lines that a stranger can cause: bounded by kind, and none forgotten."""

from __future__ import annotations

import logging

import pytest

from telex.logs import BURST, INTERVAL, SparingLog

logger = logging.getLogger("telex.test")


def test_a_flood_is_a_handful_of_lines_and_a_number(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "telex.test")
    log = SparingLog(logger)
    written = [log.log(logging.INFO, "flood", 100.0, "came %d", n) for n in range(1000)]
    assert written == [True] * BURST + [False] * (1000 - BURST)
    assert caplog.messages == [f"came {n}" for n in range(BURST)]
    assert log.log(logging.INFO, "flood", 100.0 + INTERVAL, "came %d", 1000)
    assert caplog.messages[-1] == f"came 1000 (and {1000 - BURST} times before, since the last such line)"
    assert log.log(logging.INFO, "flood", 100.0 + 2 * INTERVAL, "came %d", 1001)
    assert caplog.messages[-1] == "came 1001"


def test_each_kind_has_its_own_number(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "telex.test")
    log = SparingLog(logger)
    for kind in ("a", "b"):
        for _ in range(100):
            log.log(logging.INFO, kind, 0.0, "kind %s", kind)
    assert caplog.messages == ["kind a"] * BURST + ["kind b"] * BURST


def test_what_nobody_reads_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "telex.test")
    log = SparingLog(logger)
    assert not any(log.log(logging.INFO, "kind", 0.0, "quiet") for _ in range(100))
    caplog.set_level(logging.INFO, "telex.test")
    assert log.log(logging.INFO, "kind", 0.0, "loud")
    assert caplog.messages == ["loud"]


def test_an_error_comes_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = LookupError("why")
    SparingLog(logger).log(logging.ERROR, "kind", 0.0, "failed", error=error)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[1] is error
