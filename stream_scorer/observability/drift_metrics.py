"""The metrics of drift: live feature values by bin of their version's reference histograms.

Counters and the reference's shares are all that a scorer exports. Prometheus adds up any number of
scorers, and computes the distance over any window. No card is in a label. A scorer exposes at most
30 features of two versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_scorer.drift.feature_counts import FeatureCounts
from stream_scorer.drift.features import FeatureSample

MISSING: Final = "missing"
"""The label of the bin of missing values; all other bins have their number, the lowest 0."""


class DriftMetrics:
    """Feature values of committed rows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counts = FeatureCounts()
        registry.register(_FeatureCollector(self._counts))

    def committed(self, sample: FeatureSample | None) -> None:
        """Count the sample of a committed batch."""
        if sample is not None:
            self._counts.add(sample)


class _FeatureCollector(Collector):
    def __init__(self, counts: FeatureCounts) -> None:
        self._counts = counts

    def describe(self) -> Iterator[Metric]:
        """The families, without samples."""
        yield from _families()

    def collect(self) -> Iterator[Metric]:
        """The current counts."""
        rows, counted, expected = families = _families()
        for version in self._counts.figures():
            name = version.references.version
            rows.add_metric([name], version.rows)
            for feature, counts in zip(version.references.features, version.counts, strict=True):
                bins = [*map(str, range(len(counts) - 1)), MISSING]
                for label, count, share in zip(
                    bins, counts.tolist(), feature.shares.tolist(), strict=True
                ):
                    counted.add_metric([name, feature.name, label], count)
                    expected.add_metric([name, feature.name, label], share)
        yield from families


def _families() -> tuple[CounterMetricFamily, CounterMetricFamily, GaugeMetricFamily]:
    labels = ["version", "feature", "bin"]
    return (
        CounterMetricFamily(
            "fraud_scorer_drift_rows",
            "Rows whose features were counted, one in eight.",
            labels=["version"],
        ),
        CounterMetricFamily(
            "fraud_scorer_drift_bin",
            "Rows counted, by feature and bin of the version's reference histogram.",
            labels=labels,
        ),
        GaugeMetricFamily(
            "fraud_scorer_drift_reference_share",
            "Share of the reference rows that are in the bin.",
            labels=labels,
        ),
    )
