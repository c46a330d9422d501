"""Where everything the tests need is installed, a skipped test is a failed one (``MODERATOR_NO_SKIP=1``)."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any, TypeVar

import pytest

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _counted(item.nodeid, (yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _counted(collector.nodeid, (yield))


def _counted(test: str, report: R) -> R:
    if os.environ.get("MODERATOR_NO_SKIP") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{test} was skipped, but MODERATOR_NO_SKIP is set: {report.longrepr}"
    return report
