"""Which inputs each model version scored, so that a bad version's can be scored again. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from stream_scorer.audit.records.columns import Outcomes
from stream_scorer.audit.verdict import Interval

MOST_INTERVALS: Final = 1000
"""Limit for one version in one partition; later scores extend the last interval."""


class VersionRanges:
    """Counts scores by model version, and keeps their intervals in each partition."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.intervals: dict[tuple[str, int], list[Interval]] = {}
        self._latest: dict[int, str] = {}

    def add(self, outcomes: Outcomes) -> None:
        """Add scores of one partition, in offset order; dead letters are ignored."""
        versions = outcomes.versions
        if not len(versions) or versions[0] < 0:
            return
        starts = np.flatnonzero(np.diff(versions, prepend=-1)).tolist()
        for start, stop in zip(starts, [*starts[1:], len(versions)], strict=True):
            sources, times = outcomes.source_offsets[start:stop], outcomes.times[start:stop]
            self._extend(
                outcomes.version_names[versions[start]],
                outcomes.partition,
                Interval(
                    int(sources.min()),
                    int(sources.max()),
                    int(times.min()),
                    int(times.max()),
                    stop - start,
                ),
            )

    def begin_run(self) -> None:
        """Reset the counts; the intervals stay."""
        self.counts.clear()

    def as_state(self) -> dict[str, Any]:
        """JSON values for :meth:`from_state`."""
        return {
            "counts": dict(self.counts),
            "latest": {str(p): v for p, v in self._latest.items()},
            "intervals": [
                [version, partition, [list(asdict(i).values()) for i in intervals]]
                for (version, partition), intervals in self.intervals.items()
            ],
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> VersionRanges:
        """Restore the result of :meth:`as_state`."""
        ranges = cls()
        ranges.counts.update(state["counts"])
        ranges._latest = {int(p): v for p, v in state["latest"].items()}
        for version, partition, rows in state["intervals"]:
            ranges.intervals[version, partition] = [Interval(*row) for row in rows]
        return ranges

    def _extend(self, version: str, partition: int, interval: Interval) -> None:
        self.counts[version] += interval.count
        known = self.intervals.setdefault((version, partition), [])
        is_same = self._latest.get(partition) == version
        if known and (is_same or len(known) >= MOST_INTERVALS):
            known[-1].extend(interval)
        else:
            known.append(interval)
        self._latest[partition] = version


def affected(
    intervals: dict[tuple[str, int], list[Interval]] | Any, version: str
) -> list[dict[str, Any]]:
    """What a version scored: one entry per partition, with its total range and its intervals."""
    return [
        {"partition": partition, **_merged(found), "intervals": [asdict(i) for i in found]}
        for (name, partition), found in sorted(intervals.items())
        if name == version
    ]


def _merged(intervals: Iterable[Interval]) -> dict[str, int]:
    first, *rest = intervals
    merged = Interval(**asdict(first))
    for interval in rest:
        merged.extend(interval)
    return asdict(merged)
