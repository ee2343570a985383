"""Reads the scorer's counters for the demo's live line, and whether a process answers."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class MetricSample:
    """The counters at one time (``at``, in monotonic seconds), and the partitions assigned."""

    at: float
    scored: int
    flagged: int
    dead_letters: int
    lag: int
    partitions: int = 0

    @property
    def outcomes(self) -> int:
        """Scores and dead letters."""
        return self.scored + self.dead_letters

    def describe(self, before: MetricSample | None) -> str:
        """The counters as one line, with the rate since the sample before."""
        rate = self.rate_since(before) if before else 0.0
        return (
            f"scored {self.scored:>9,}   flagged {self.flagged:>7,}   dead letters "
            f"{self.dead_letters:>5,}   {rate:>7,.0f}/s   lag {self.lag:>6,}"
        )

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
        int(sums["fraud_scorer_assigned_partitions"]),
    )


def read_sample(url: str) -> MetricSample:
    """Scrape a scorer.

    Raises:
        OSError: the scorer does not answer.
    """
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
        return parse_sample(response.read().decode(), time.monotonic())


class Totals:
    """The counters of a scorer, added up over its restarts.

    What an ended process did after its last sample is not in them: with a restart they are at least
    this much.

    Args:
        url: of its metrics, which is another one after a restart.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._ended: list[MetricSample] = []
        self.last = MetricSample(0.0, 0, 0, 0, 0)

    def read(self) -> MetricSample:
        """Scrape the scorer, and remember the totals as :attr:`last`.

        Raises:
            OSError: it does not answer.
        """
        now = read_sample(self._url())
        self.last = replace(
            now,
            scored=now.scored + sum(s.scored for s in self._ended),
            flagged=now.flagged + sum(s.flagged for s in self._ended),
            dead_letters=now.dead_letters + sum(s.dead_letters for s in self._ended),
        )
        return self.last

    def start_again(self) -> None:
        """The process has ended, and the next one counts from 0."""
        self._ended = [self.last]


def read_series(url: str) -> dict[str, float]:
    """All series of a scrape, ``name{labels}`` → value.

    Raises:
        OSError: the process does not answer.
    """
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
        lines = response.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in pairs}


def answers(url: str) -> bool:
    """Whether a process answers at ``url`` with 200."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
            return bool(response.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False
