"""A week of a scorer's drift metrics, counted by its own code and written as it would expose them.

Each scorer counts drawn rows (:mod:`tests.k8s.support.drift_alerts`) hour by hour. What it exposes
every half hour goes to a file of earlier samples for
``promtool tsdb create-blocks-from openmetrics``;
what it exposes at the end can be scraped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from stream_scorer.drift.features import FeatureSample, read_feature_references
from stream_scorer.drift.reference import read_reference
from stream_scorer.observability.metrics import ScorerMetrics
from stream_scorer.observability.probes import Health, HealthServer
from tests.k8s.support.drift_alerts import BLOCK_HOURS, FEATURES, Draw, reference

HOURS: Final = 170
"""The rules look back a week, at the sums of an hour."""

DRIFT_BEGINS: Final = 96
"""Hours after the start, by :func:`tests.k8s.support.drift_alerts.drifted`."""

WEEKEND: Final = 72
"""Hours later than the start: then the last day before now is a Saturday."""

_SCRAPES: Final = 2  # an hour
_ROWS: Final = 250  # between two scrapes: 12,000 a day
_EXPOSED: Final = ("fraud_scorer_drift_rows_total", "fraud_scorer_drift_bin_total",
                   "fraud_scorer_drift_reference_share", "fraud_scorer_score_bin_total",
                   "fraud_scorer_score_bin_expected")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pod:
    """A scorer that counts the drift of one version.

    Attributes:
        name: of the pod.
        version: the model version.
        draw: draws its rows.
        hours_later: than the start of the draws' first week.
    """

    name: str
    version: str
    draw: Draw
    hours_later: int = 0

    @property
    def labels(self) -> dict[str, str]:
        """What a scrape adds to its series."""
        return {"namespace": "fraud-detection-inference", "pod": self.name}


class Samples:
    """Old samples by metric family, in OpenMetrics format."""

    def __init__(self) -> None:
        self._families: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, family: str, kind: str, name: str, labels: dict[str, str], at: float,
            value: float) -> None:  # fmt: skip
        """Add a sample. Each family has one kind, which is ``gauge`` or ``counter``."""
        text = ",".join(f'{key}="{one}"' for key, one in labels.items())
        self._families[f"# TYPE {family} {kind}"].append(f"{name}{{{text}}} {value} {at:.0f}")

    def write(self, path: Path) -> None:
        """Write the file, with nothing but what was added."""
        with path.open("w", encoding="utf-8") as target:
            for head, lines in self._families.items():
                target.write("\n".join([head, *lines, ""]))
            target.write("# EOF\n")


@contextmanager
def counted(pod: Pod, end: float, samples: Samples) -> Iterator[int]:
    """Count a pod's week until ``end`` into ``samples``; yields the port of its metrics."""
    metrics, metadata = ScorerMetrics(), reference()
    features = read_feature_references(pod.version, metadata, FEATURES)
    scores = read_reference(metadata)
    rng = np.random.default_rng(8)
    for half in range(HOURS * _SCRAPES + 1):
        block = (half // _SCRAPES + pod.hours_later) // BLOCK_HOURS
        rows = pod.draw(rng, block, _ROWS)
        metrics.drift.committed(FeatureSample(features, rows.features))
        metrics.batches.count_bins(pod.version, scores, rows.scores)
        at = end - (HOURS - half / _SCRAPES) * 3600
        _expose(metrics, pod, at, samples)
    server = HealthServer("127.0.0.1", 0, Health(lambda: True), metrics.render)
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


def _expose(metrics: ScorerMetrics, pod: Pod, at: float, samples: Samples) -> None:
    for family in metrics.registry.restricted_registry(_EXPOSED).collect():
        for one in family.samples:
            labels = {**pod.labels, **one.labels}
            samples.add(family.name, family.type, one.name, labels, at, one.value)


def add_recorded(samples: Samples, found: Iterable[dict[str, Any]], name: str) -> None:
    """Add a range of the query API as the values of a recording rule."""
    for series in found:
        labels = {key: value for key, value in series["metric"].items() if key != "__name__"}
        for at, value in series["values"]:
            samples.add(name, "gauge", name, labels, float(at), float(value))
