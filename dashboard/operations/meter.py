"""Measures the stream from a sample of its scores: delays, versions by partition, score drift.

The feed's thread writes. Request threads read.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dashboard.feed.reading import Sample
from dashboard.operations.delays import MINUTE_MS, WINDOW_MINUTES, DelayWindow
from stream_scorer.drift.reference import Reference, stability_index

MIN_SCORES: Final = 1000
"""For a drift index: with fewer scores, chance alone moves it."""

MODERATE: Final = 0.1
LARGE: Final = 0.25
"""The usual bounds of the population stability index."""

_MAX_PARTITIONS: Final = 1000
_MAX_VERSIONS: Final = 20
_MAX_VERSION_CHARS: Final = 100


@dataclass(slots=True)
class Sighting:
    """When a version scored on a partition, by the times in its scores."""

    version: str
    first: int
    last: int


class Meter:
    """The measures of one dashboard since its start."""

    def __init__(
        self,
        reference_of: Callable[[str], Reference | None],
        is_live: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reference_of = reference_of
        self._is_live = is_live
        self._clock = clock
        self._lock = threading.Lock()
        self._scoring, self._reading, self._whole = DelayWindow(), DelayWindow(), DelayWindow()
        self._versions: dict[int, OrderedDict[str, Sighting]] = {}
        self._drift = _DriftWindow()

    def observe(self, sample: Sample) -> None:
        """Count one score. Old scores that are read again do not count as delays."""
        now, stamp = int(self._clock() * 1000), sample.stamp
        is_live = self._is_live()
        version = stamp.model_version[:_MAX_VERSION_CHARS]
        reference = self._reference_of(version)
        with self._lock:
            self._see(sample.partition, version, stamp.scored_at)
            if not is_live:
                return
            self._reading.add(now, now - stamp.scored_at)
            if stamp.event_time is not None:
                self._scoring.add(now, stamp.scored_at - stamp.event_time)
                self._whole.add(now, now - stamp.event_time)
            if reference is not None and reference.rows:
                self._drift.add(now, version, reference, sample.score)

    def delays(self) -> dict[str, Any]:
        """Percentiles by leg of the way. None where nothing was measured in the last hour."""
        now = int(self._clock() * 1000)
        with self._lock:
            found = {
                "event_to_score": self._scoring.percentiles(now),
                "score_to_dashboard": self._reading.percentiles(now),
                "event_to_dashboard": self._whole.percentiles(now),
            }
        return {name: None if p is None else p.as_json() for name, p in found.items()}

    def versions(self) -> list[dict[str, Any]]:
        """By partition, the version of the latest score, and all versions seen before."""
        with self._lock:
            rows = []
            for partition, seen in sorted(self._versions.items()):
                current = next(reversed(seen.values()))
                rows.append(
                    {
                        "partition": partition,
                        "version": current.version,
                        "since": current.first,
                        "last": current.last,
                        "before": [
                            {"version": s.version, "first": s.first, "last": s.last}
                            for s in list(seen.values())[-2::-1]
                        ],
                    }
                )
            return rows

    def drift(self) -> dict[str, Any] | None:
        """The stability index of the scores of the last hour. None without a reference."""
        with self._lock:
            return self._drift.describe(int(self._clock() * 1000))

    def _see(self, partition: int, version: str, scored_at: int) -> None:
        """Versions are kept in the order in which they were seen last."""
        if partition not in self._versions and len(self._versions) >= _MAX_PARTITIONS:
            return
        seen = self._versions.setdefault(partition, OrderedDict())
        found = seen.get(version)
        if found is None or next(reversed(seen)) != version:
            # A version that comes back, after a rollback for example, is live since now.
            seen[version] = Sighting(version, scored_at, scored_at)
            seen.move_to_end(version)
            if len(seen) > _MAX_VERSIONS:
                seen.popitem(last=False)
        else:
            found.first, found.last = min(found.first, scored_at), max(found.last, scored_at)


class _DriftWindow:
    """The scores of one version in the bins of its reference, for each minute of an hour."""

    def __init__(self) -> None:
        self._version = ""
        self._reference = Reference()
        self._minutes: deque[tuple[int, NDArray[np.int64]]] = deque()

    def add(self, now: int, version: str, reference: Reference, score: float) -> None:
        if version != self._version:
            self._version, self._reference = version, reference
            self._minutes.clear()
        minute = now // MINUTE_MS
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append((minute, np.zeros(len(self._reference.edges) + 1, np.int64)))
        self._minutes[-1][1][int(np.searchsorted(self._reference.edges, score, side="right"))] += 1

    def describe(self, now: int) -> dict[str, Any] | None:
        while self._minutes and self._minutes[0][0] <= now // MINUTE_MS - WINDOW_MINUTES:
            self._minutes.popleft()
        if not self._minutes:
            return None
        counts = np.sum([found for _, found in self._minutes], axis=0)
        total = int(counts.sum())
        index = stability_index(counts, self._reference.shares) if total >= MIN_SCORES else None
        return {
            "version": self._version,
            "index": None if index is None else round(index, 4),
            "verdict": _verdict(index),
            "scores": total,
            "needed": MIN_SCORES,
            "since": self._minutes[0][0] * MINUTE_MS,
            "reference_rows": self._reference.rows,
            "edges": self._reference.edges.tolist(),
            "shares": (counts / total).tolist(),
            "expected": self._reference.shares.tolist(),
        }


def _verdict(index: float | None) -> str:
    if index is None:
        return "too few scores"
    if index < MODERATE:
        return "stable"
    return "moderate shift" if index < LARGE else "large shift"
