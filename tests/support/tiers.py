"""How long each tier of tests took: a tier is a folder directly under ``tests``."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest


class TierTimes:
    """A pytest plugin: one line for each tier at the end, with its tests and seconds."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._tests: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Adds set-up, test and tear-down to the tier's time."""
        tier = "/".join(report.nodeid.split("/")[:2])
        self._seconds[tier] += report.duration
        self._tests[tier] += report.when == "call"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Prints the tiers in the order they ran."""
        for tier, seconds in self._seconds.items():
            terminalreporter.write_line(f"{tier:20} {self._tests[tier]:5} tests {seconds:7.1f} s")
