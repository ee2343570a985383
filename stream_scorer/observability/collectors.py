"""Metrics that are computed when they are scraped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Histogram
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from stream_scorer.drift.score_bins import ScoreBins

_STEPS: Final = 20  # buckets of the score histogram

_BOUNDS: Final = np.arange(1, _STEPS + 1) / _STEPS


class BatchHistogram(Collector):
    """A histogram over 0 to 1 in steps of 0.05 that observes a whole array at once."""

    def __init__(self, name: str, help_text: str) -> None:
        self._name = name
        self._help_text = help_text
        self._counts = np.zeros(_STEPS + 1, np.int64)
        self._sum = 0.0

    def observe(self, values: NDArray[np.float64]) -> None:
        """Count the values of a batch."""
        # A bucket includes its upper bound; values above the last bound go to +Inf.
        places = np.searchsorted(_BOUNDS, values, side="left")
        self._counts += np.bincount(places, minlength=_STEPS + 1)
        self._sum += float(values.sum())

    def collect(self) -> Iterator[Metric]:
        """The current metric."""
        sums = np.cumsum(self._counts).tolist()
        names = [*map(str, _BOUNDS.tolist()), "+Inf"]
        buckets = [(name, float(n)) for name, n in zip(names, sums, strict=True)]
        yield HistogramMetricFamily(self._name, self._help_text, buckets, self._sum)


class BinCollector(Collector):
    """Live scores by bin of the reference histogram, and the expected share of each bin."""

    def __init__(self, bins: ScoreBins) -> None:
        self._bins = bins

    def describe(self) -> Iterator[Metric]:
        """The two families, without samples."""
        yield from self._families()

    def collect(self) -> Iterator[Metric]:
        """The current counts."""
        counted, expected = self._families()
        if (figures := self._bins.figures()) is not None:
            version, counts, shares = figures
            for number, (count, share) in enumerate(zip(counts, shares, strict=True)):
                counted.add_metric([version, str(number)], count)
                expected.add_metric([version, str(number)], share)
        yield counted
        yield expected

    def _families(self) -> tuple[CounterMetricFamily, GaugeMetricFamily]:
        labels = ["version", "bin"]
        return (
            CounterMetricFamily(
                "fraud_scorer_score_bin",
                "Scores by bin of the version's reference histogram.",
                labels=labels,
            ),
            GaugeMetricFamily(
                "fraud_scorer_score_bin_expected",
                "Share of the reference rows that are in the bin.",
                labels=labels,
            ),
        )


def start_at_zero(metric: Counter | Histogram, labels: Iterable[str]) -> None:
    """Create the series of these labels; ``increase`` misses a series' first value otherwise."""
    for label in labels:
        metric.labels(label)
