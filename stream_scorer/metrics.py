"""Every metric of the scorer: name, kind and meaning in one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_scorer.pipeline import Outcome
from stream_scorer.ports import Polled

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_STEPS: Final = 20  # buckets of the score histogram
_BOUNDS: Final = np.arange(1, _STEPS + 1) / _STEPS
_ROWS: Final = (1, 5, 10, 50, 100, 250, 500, 1000, 2000, 5000, 10000)


class BatchHistogram(Collector):
    """A histogram over 0 to 1 in steps of 0.05 that takes a whole array at once."""

    def __init__(self, name: str, meaning: str) -> None:
        self._name = name
        self._meaning = meaning
        self._counts = np.zeros(_STEPS + 1, np.int64)
        self._sum = 0.0

    def observe(self, values: NDArray[np.float64]) -> None:
        """Count the values of a batch."""
        # A bucket's upper bound belongs to it; above the last bound only +Inf is left.
        places = np.searchsorted(_BOUNDS, values, side="left")
        self._counts += np.bincount(places, minlength=_STEPS + 1)
        self._sum += float(values.sum())

    def collect(self) -> Iterator[Metric]:
        """The metric as it stands."""
        sums = np.cumsum(self._counts).tolist()
        names = [*map(str, _BOUNDS.tolist()), "+Inf"]
        buckets = [(name, float(n)) for name, n in zip(names, sums, strict=True)]
        yield HistogramMetricFamily(self._name, self._meaning, buckets, self._sum)


class ScorerMetrics:
    """The scorer's metrics in a registry of their own."""

    def __init__(self) -> None:
        self._version: str | None = None
        self._lagging: set[int] = set()
        self.registry = registry = CollectorRegistry()
        self.predictions = Counter(
            "prediction_count_total", "Transactions scored.", registry=registry
        )
        self.decisions = Counter(
            "fraud_scorer_decisions_total", "Scores by decision.", ["decision"], registry=registry
        )
        self.dead_letters = Counter(
            "fraud_scorer_dead_letters_total",
            "Dead letters by stage.",
            ["stage"],
            registry=registry,
        )
        self.batches = Counter(
            "fraud_scorer_batches_total", "Batches committed.", registry=registry
        )
        self.aborts = Counter(
            "fraud_scorer_aborts_total", "Batches put off and tried again.", registry=registry
        )
        self.batch_seconds = Histogram(
            "fraud_scorer_batch_seconds",
            "From poll to commit, by batch.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_records = Histogram(
            "fraud_scorer_batch_records", "Records in a batch.", buckets=_ROWS, registry=registry
        )
        self.scores = BatchHistogram("fraud_scorer_score", "Distribution of the scores.")
        registry.register(self.scores)
        self.lag = Gauge(
            "fraud_scorer_lag_records",
            "Records not yet read, by input partition.",
            ["partition"],
            registry=registry,
        )
        self.assigned = Gauge(
            "fraud_scorer_assigned_partitions", "Input partitions owned.", registry=registry
        )
        self.model_version = Gauge(
            "model_version", "1 for the version that scores now.", ["version"], registry=registry
        )
        self.model_load_seconds = Gauge(
            "model_load_time_seconds", "Time the last load took.", registry=registry
        )
        self.model_refusals = Counter(
            "fraud_scorer_model_refusals_total", "Versions that were refused.", registry=registry
        )

    def committed(self, polled: Polled, outcome: Outcome, seconds: float) -> None:
        """Count a committed batch."""
        self.predictions.inc(outcome.scored)
        self.batches.inc()
        self.batch_seconds.observe(seconds)
        self.batch_records.observe(len(polled))
        for decision, count in outcome.decisions.items():
            self.decisions.labels(decision).inc(count)
        for rejection in outcome.rejections:
            self.dead_letters.labels(rejection.stage.value).inc()
        self.scores.observe(outcome.scores)

    def loaded(self, version: str, seconds: float) -> None:
        """A model version took over."""
        # The new one first: a scrape in between must not find none.
        self.model_version.labels(version).set(1)
        if self._version not in (None, version):
            self.model_version.remove(self._version)
        self._version = version
        self.model_load_seconds.set(seconds)

    def set_lag(self, lag: Mapping[int, int], assigned: int) -> None:
        """Replace the lag of every partition; those no longer owned disappear."""
        for partition, records in lag.items():
            self.lag.labels(str(partition)).set(records)
        for partition in self._lagging - lag.keys():
            self.lag.remove(str(partition))
        self._lagging = set(lag)
        self.assigned.set(assigned)

    def render(self) -> bytes:
        """The text format of a scrape."""
        return generate_latest(self.registry)
