"""Skipped tests: told in one line, and failures where everything is to be tried.

A test that needs nginx, a compiler or root is skipped where they are not there. In CI
that would be a test less, and nobody would see it: there every skip fails, but for
those that another run there does not have.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator

import pytest

NO_SKIPS_BUT = 'NO_SKIPS_BUT'
"""The variable that makes skips failures, but for reasons that it matches."""


def judge(
    report: pytest.TestReport | pytest.CollectReport, but: str | None
) -> pytest.TestReport | pytest.CollectReport:
    """Make a failure of what was skipped.

    Args:
        report: of a test, or of a module.
        but: what reasons may be, as a regular expression; None: any.
    """
    if but is None or not report.skipped or hasattr(report, 'wasxfail'):
        return report
    reason = report.longrepr
    text = reason[-1] if isinstance(reason, tuple) else str(reason)
    if not but or not re.search(but, text):
        report.outcome = 'failed'
        report.longrepr = f'{text}; here no test may be skipped, see .ci/run'
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, object]:
    """A test has run, or was skipped."""
    return judge((yield), os.environ.get(NO_SKIPS_BUT))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, object]:
    """A module has been read, or was skipped as a whole."""
    return judge((yield), os.environ.get(NO_SKIPS_BUT))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what would have them run."""
    skipped = len(terminalreporter.stats.get('skipped', []))
    if skipped:
        terminalreporter.write_line(
            f'{skipped} skipped (-rs says why): .ci/debian and .ci/node install what '
            'they need, and some need root'
        )
