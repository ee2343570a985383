"""Reads the scorer's counters for the demo's live line."""

from __future__ import annotations

import time
import urllib.request
from collections import defaultdict
from dataclasses import dataclass

_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class MetricSample:
    """The counters at one time (``at``, in monotonic seconds)."""

    at: float
    scored: int
    flagged: int
    dead_letters: int
    lag: int

    @property
    def outcomes(self) -> int:
        """Scores and dead letters."""
        return self.scored + self.dead_letters

    def rate_since(self, before: MetricSample) -> float:
        """Outcomes per second between two samples."""
        seconds = self.at - before.at
        return (self.outcomes - before.outcomes) / seconds if seconds > 0 else 0.0


def parse_sample(text: str, at: float) -> MetricSample:
    """Parse a scrape in the Prometheus text format."""
    sums: dict[str, float] = defaultdict(float)
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        series, _, value = line.rpartition(" ")
        name = series.partition("{")[0]
        if name == "fraud_scorer_decisions_total" and 'decision="APPROVE"' in series:
            continue
        sums[name] += float(value)
    return MetricSample(
        at,
        int(sums["prediction_count_total"]),
        int(sums["fraud_scorer_decisions_total"]),
        int(sums["fraud_scorer_dead_letters_total"]),
        int(sums["fraud_scorer_lag_records"]),
    )


def read_sample(url: str) -> MetricSample:
    """Scrape a scorer.

    Raises:
        OSError: the scorer does not answer.
    """
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
        return parse_sample(response.read().decode(), time.monotonic())
