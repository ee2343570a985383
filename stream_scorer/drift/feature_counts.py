"""Live values of features, counted into the bins of their version's reference histograms.

One row in eight is counted, chosen by its offset: a retry chooses the same rows, and busy and quiet
hours weigh as much as they have rows. Rows are collected and counted together, about 1,000 at a
time, so that the calls cost little; a scrape counts what is left.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.drift.features import FeatureReferences, FeatureSample

COUNTED_SHARE: Final = 1 / 8
"""Of the rows. Counting 30 features of each row would cost several percent of the throughput."""

_ROWS_AT_ONCE: Final = 1024
_MOST_VERSIONS: Final = 2  # the one that scores, and the one before
_KEPT_SECONDS: Final = 3600.0  # after a version's last row: scrapes have long seen its last counts


@dataclass(slots=True)
class VersionCounts:
    """The counts of one version, in the order of its features.

    Attributes:
        references: the version's reference histograms.
        rows: the rows counted.
        counts: for each feature the rows in each bin.
        last: when the last row was added, in seconds of the clock.
    """

    references: FeatureReferences
    rows: int = 0
    counts: list[NDArray[np.int64]] = field(default_factory=list)
    last: float = 0.0


class FeatureCounts:
    """Counts samples of batches by model version. Any thread may call it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._versions: dict[str, VersionCounts] = {}
        self._pending: list[FeatureSample] = []
        self._pending_rows = 0

    def add(self, sample: FeatureSample) -> None:
        """Add rows of a batch. All batches of a version have the same references."""
        with self._lock:
            if sample.references.version not in self._versions:
                self._begin(sample.references)
            self._pending.append(sample)
            self._pending_rows += len(sample.values)
            # Empty samples count too: their number must not grow without end.
            if self._pending_rows >= _ROWS_AT_ONCE or len(self._pending) >= _ROWS_AT_ONCE:
                self._count()

    def figures(self) -> list[VersionCounts]:
        """The counts of the versions that are kept, the newest last."""
        with self._lock:
            self._count()
            oldest = self._clock() - _KEPT_SECONDS
            for version in list(self._versions)[:-1]:
                if self._versions[version].last < oldest:
                    del self._versions[version]
            return [
                VersionCounts(one.references, one.rows, [c.copy() for c in one.counts], one.last)
                for one in self._versions.values()
            ]

    def _begin(self, references: FeatureReferences) -> None:
        self._count()
        empty = [np.zeros(len(one.counts), np.int64) for one in references.features]
        self._versions[references.version] = VersionCounts(references, 0, empty, self._clock())
        while len(self._versions) > _MOST_VERSIONS:
            del self._versions[next(iter(self._versions))]

    def _count(self) -> None:
        pending, self._pending, self._pending_rows = self._pending, [], 0
        now = self._clock()
        for version in dict.fromkeys(sample.references.version for sample in pending):
            values = [s.values for s in pending if s.references.version == version]
            found = self._versions[version]
            rows = np.concatenate(values)
            for total, new in zip(found.counts, found.references.count(rows), strict=True):
                total += new
            found.rows += len(rows)
            found.last = now
